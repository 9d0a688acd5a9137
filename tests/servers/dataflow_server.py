"""Dataflow's REST interface and the uploads of Cloud Storage, as far as a driver uses them; what jobs do is told by a test.

Bound to loopback.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_JOBS = re.compile(r"/v1b3/projects/[^/]+/locations/[^/]+/jobs(?:/(?P<id>[^/?]+)(?P<messages>/messages)?)?")
_OBJECT = re.compile(r"/storage/v1/b/[^/]+/o/(?P<name>.+)")
_BUCKET = re.compile(r"/storage/v1/b/(?P<name>[^/]+)")


@dataclass
class Cloud:
    """What was submitted and uploaded. ``state`` is that of every job which was not cancelled; ``refuses``: all is forbidden."""

    state: str = "JOB_STATE_RUNNING"
    message: str = ""
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    submitted: threading.Event = field(default_factory=threading.Event)
    address: str = ""
    refuses: bool = False

    def job(self, identifier: str) -> dict[str, Any]:
        known = self.jobs[identifier]
        return {**known, "currentState": known.get("currentState", self.state)}


@contextmanager
def started(**facts: Any) -> Iterator[Cloud]:
    """A cloud on a free port."""
    import google_crc32c
    from google.cloud import dataflow_v1beta3

    cloud = Cloud(**facts)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *ignored: Any) -> None:
            pass

        def body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                pieces = []
                while size := int(self.rfile.readline(), 16):
                    pieces.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(pieces)
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def answer(self, value: Any, status: int = 200, **headers: str) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            for name, said in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, said)
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if found := _JOBS.fullmatch(path):
                if found["messages"]:
                    told = {"messageImportance": "JOB_MESSAGE_ERROR", "messageText": cloud.message}
                    told |= {"id": "1", "time": "2026-01-01T00:00:00Z"}
                    return self.answer({"jobMessages": [told] if cloud.message else []})
                return self.answer(cloud.job(found["id"]))
            if _OBJECT.fullmatch(path):
                return self.answer({"error": {"code": 404, "message": "no such object"}}, 404)
            if cloud.refuses:
                return self.answer({"error": {"code": 403, "message": "no permission"}}, 403)
            if found := _BUCKET.fullmatch(path):
                return self.answer({"kind": "storage#bucket", "name": found["name"], "id": found["name"]})
            return self.answer({"error": {"code": 404, "message": path}}, 404)

        def do_POST(self) -> None:
            parts = urlsplit(self.path)
            data = self.body()
            if _JOBS.fullmatch(parts.path):
                identifier = f"job-{len(cloud.jobs) + 1}"
                cloud.jobs[identifier] = {**json.loads(data), "id": identifier}
                self.answer(cloud.job(identifier))
                cloud.submitted.set()
                return None
            name = parse_qs(parts.query).get("name", [""])[0] or json.loads(data or b"{}").get("name", "")
            return self.answer({}, 200, Location=f"{cloud.address}/upload/{name}")

        def do_PUT(self) -> None:
            path = urlsplit(self.path).path
            data = self.body()
            if found := _JOBS.fullmatch(path):
                wanted = dataflow_v1beta3.JobState(json.loads(data)["requestedState"])
                cloud.jobs[found["id"]]["currentState"] = wanted.name
                return self.answer(cloud.job(found["id"]))
            name = unquote(path.removeprefix("/upload/"))
            cloud.objects[name] = data
            checksum = base64.b64encode(google_crc32c.Checksum(data).digest()).decode()
            return self.answer({"name": name, "size": str(len(data)), "crc32c": checksum})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    cloud.address = f"http://localhost:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield cloud
    finally:
        server.shutdown()
        server.server_close()
