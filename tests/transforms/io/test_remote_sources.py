"""Sources that are not on this machine: HTTP, S3 and the Hugging Face Hub, each served from loopback."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import yaml

from schemas.provenance import Container
from tests.builders import Row, jsonl, packed, plan, read, sharegpt, write, write_rows
from tests.servers.s3_server import Store
from transforms.io.sources import SourceError

CONTAINERS: list[Container] = ["parquet", "jsonl", "jsonl.gz", "jsonl.zst"]


def rows(count: int, start: int = 0) -> list[Row]:
    """Conversations that do not compress to nothing; each has one instance, which is kept."""
    found = []
    for at in range(start, start + count):
        question = ("human", f"Please explain to me how the number {at:06d} is written in words.")
        answer = ("gpt", f"The number {at:06d} is written out digit by digit, as {' and '.join(f'{at * 7919:011d}')}.")
        found.append(sharegpt(f"id-{at}", question, answer, ("human", "No, that is wrong. Try again.")))
    return found


# --- HTTP


class Site(BaseHTTPRequestHandler):
    """Serves ``server.files``; with ``server.ranges`` parts of them, and lists directories."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_HEAD(self) -> None:
        self.do_GET(body=False)

    def do_GET(self, body: bool = True) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append((self.command, self.path))
        if self.server.broken:
            self.close_connection = True
        elif path.startswith("/forbidden"):
            self._answer(403, b"no", {})
        elif path in self.server.files:
            self._file(self.server.files[path], body)
        elif path.endswith("/"):
            names = sorted({name[len(path) :].partition("/")[0] for name in self.server.files if name.startswith(path)})
            page = "".join(f'<a href="{name}">{name}</a>' for name in names).encode()
            self._answer(200 if names else 404, page, {"Content-Type": "text/html"}, body)
        else:
            self._answer(404, b"", {}, body)

    def _file(self, data: bytes, body: bool) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        headers = {"Content-Type": "text/html" if data.startswith(b"{") else "application/octet-stream"}
        if not self.server.ranges:
            self._answer(200, data, headers, body)
        elif wanted and body:
            start, stop = int(wanted[1]), min(int(wanted[2] or len(data)) + 1, len(data))
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
            self._answer(206, data[start:stop], headers)
        else:
            self._answer(200, data, {**headers, "Accept-Ranges": "bytes"}, body)

    def _answer(self, status: int, data: bytes, headers: dict[str, str], body: bool = True) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    files: dict[str, bytes]
    requests: list[tuple[str, str]]
    ranges = True
    broken = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[Server]:
    with Server(("127.0.0.1", 0), handler) as server:
        server.files, server.requests = {}, []
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def site() -> Iterator[Server]:
    with serving(Site) as server:
        yield server


def stored(folder: Path, container: Container, count: int = 2000, start: int = 0) -> bytes:
    return write_rows(folder, rows(count, start), container).read_bytes()


@pytest.mark.parametrize("ranges", [True, False], ids=["with ranges", "without ranges"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_files_over_http_are_read_as_local_ones(
    site: Server, tmp_path: Path, container: Container, ranges: bool
) -> None:
    site.ranges = ranges
    site.files[f"/chats/a.{container}"] = stored(tmp_path, container)
    here = plan(tmp_path / f"chats.{container}", target=200_000)
    there = plan(f"{site.url}/chats/a.{container}", target=200_000)
    assert there.files[0].relative_uri == f"a.{container}"
    assert [(s.start, s.stop) for s in there.splits] == [(s.start, s.stop) for s in here.splits]
    assert read(there).conversations == read(here).conversations


def test_parts_of_large_files_are_asked_for_where_the_server_gives_parts(site: Server) -> None:
    site.files["/a.jsonl"] = jsonl([{**row, "noise": "x" * 500} for row in rows(3000)])
    planned = plan(f"{site.url}/a.jsonl")
    assert planned.files[0].size == len(site.files["/a.jsonl"]) > 2_000_000
    assert sum(1 for method, _ in site.requests if method == "GET") == 2


def test_a_directory_over_http(site: Server, tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl.gz", "notes.txt"):
        site.files[f"/chats/{name}"] = packed(jsonl(rows(3)), "jsonl.gz" if name.endswith("gz") else "jsonl")
    planned = plan(f"{site.url}/chats/")
    assert [file.relative_uri for file in planned.files] == ["a.jsonl", "b.jsonl.gz"]
    assert read(planned).rows_read == 6


def test_links_within_a_chat_are_no_directory(site: Server) -> None:
    talk = sharegpt("x", ("human", 'see <a href="b.jsonl">this</a>'), ("gpt", "b"), ("human", "c"))
    site.files |= {"/a.jsonl": jsonl([talk]), "/a.jsonl/b.jsonl": jsonl(rows(5))}
    planned = plan(f"{site.url}/a.jsonl")
    assert [file.relative_uri for file in planned.files] == ["a.jsonl"]
    assert read(planned).rows_read == 1


def test_the_query_of_a_url_is_no_glob_and_no_part_of_the_name(site: Server) -> None:
    site.files["/a.jsonl.gz"] = packed(jsonl(rows(3)), "jsonl.gz")
    planned = plan(f"{site.url}/a.jsonl.gz?download=true&signature=secret")
    assert [file.relative_uri for file in planned.files] == ["a.jsonl.gz"]
    assert read(planned).rows_read == 3
    assert all("signature=secret" in path for _, path in site.requests)


@pytest.mark.parametrize("path", ["absent.jsonl", "forbidden/a.jsonl", "absent/"])
def test_a_url_that_cannot_be_had_is_an_error_that_names_it(site: Server, path: str) -> None:
    with pytest.raises(SourceError, match=re.escape(f"{site.url}/{path}")):
        plan(f"{site.url}/{path}")


def test_a_server_that_fails_is_an_error_that_names_the_file(site: Server) -> None:
    site.files["/a.jsonl"] = jsonl(rows(3))
    planned = plan(f"{site.url}/a.jsonl")
    site.broken = True
    with pytest.raises(SourceError, match=r"a\.jsonl"):
        read(planned)
    with pytest.raises(SourceError, match=re.escape(site.url)):
        plan(f"{site.url}/a.jsonl")


def test_a_server_that_is_not_there_is_an_error_that_names_the_file() -> None:
    with serving(Site) as server:
        url = server.url
    with pytest.raises(SourceError, match=re.escape(url)):
        plan(f"{url}/a.jsonl")


def test_a_file_that_changed_on_the_server_is_never_read(site: Server) -> None:
    site.files["/a.jsonl"] = jsonl(rows(3))
    planned = plan(f"{site.url}/a.jsonl")
    site.files["/a.jsonl"] = jsonl(rows(3, start=5))
    with pytest.raises(SourceError, match="changed since it was planned"):
        read(planned)


# --- S3


@pytest.fixture
def s3(store: Store) -> dict[str, Any]:
    """Storage options for an S3-compatible server."""
    return {"key": "k", "secret": "s", "endpoint_url": store.endpoint}


def bucket(options: dict[str, Any], name: str, files: dict[str, bytes]) -> Any:
    import s3fs

    fs = s3fs.S3FileSystem(**options)
    if not fs.exists(name):
        fs.mkdir(name)
    fs.pipe({f"{name}/{path}": data for path, data in files.items()})
    fs.invalidate_cache()
    return fs


@pytest.mark.parametrize("container", CONTAINERS)
def test_files_on_s3_are_read_as_local_ones(s3: dict[str, Any], tmp_path: Path, container: Container) -> None:
    data = stored(tmp_path, container)
    bucket(
        s3,
        container.replace(".", "-"),
        {f"in/a.{container}": data, "in/notes.txt": b"", f"in/deep/b.{container}": data},
    )
    here = plan(tmp_path / f"chats.{container}", target=200_000)
    base = f"s3://{container.replace('.', '-')}/in"
    for uri in (base, f"{base}/", f"{base}/**/*.{container}"):
        there = plan(uri, target=200_000, storage_options=s3)
        assert [file.relative_uri for file in there.files] == [f"a.{container}", f"deep/b.{container}"]
    assert plan(f"{base}/deep/b.{container}", storage_options=s3).files[0].relative_uri == f"b.{container}"
    rooted = plan(f"{base}/deep/b.{container}", root=base, storage_options=s3)
    assert rooted.files[0].relative_uri == f"deep/b.{container}"
    whole, found = read(here).conversations, read(there).conversations
    assert found == whole * 2


@pytest.mark.parametrize("change", ["grown", "other", "same size, in the middle", "gone"])
def test_a_file_that_changed_on_s3_is_never_read(s3: dict[str, Any], change: str) -> None:
    data = jsonl(rows(2000))
    assert len(data) > 500_000
    fs = bucket(s3, "changes", {"a.jsonl": data})
    planned = plan("s3://changes/", storage_options=s3)
    changed = {
        "grown": data + jsonl(rows(10)),
        "other": jsonl(rows(5, start=9)),
        "same size, in the middle": data[:300_000] + data[300_000:300_100].replace(b"e", b"E") + data[300_100:],
    }
    if change == "gone":
        fs.rm("changes/a.jsonl")
    else:
        subprocess.run([sys.executable, "-c", PUT, json.dumps(s3)], input=changed[change], check=True)
    with pytest.raises(SourceError, match=r"a\.jsonl"):
        read(planned)


PUT = """
import json, s3fs, sys
s3fs.S3FileSystem(**json.loads(sys.argv[1])).pipe_file("changes/a.jsonl", sys.stdin.buffer.read())
"""  # in another process, so that nothing of this one is told


@pytest.mark.parametrize(
    "uri", ["s3://none/a.jsonl", "s3://none/*.jsonl", "s3://some/absent.jsonl", "s3://some/empty/"]
)
def test_what_is_not_on_s3_is_an_error_that_names_it(s3: dict[str, Any], uri: str) -> None:
    bucket(s3, "some", {"a.txt": b""})
    with pytest.raises(SourceError, match=re.escape(uri.rstrip("/"))):
        plan(uri, storage_options=s3)


def start_cli(folder: Path, config: dict[str, Any], output: str, *arguments: str) -> subprocess.Popen[str]:
    path = write(folder / f"{output}.yaml", yaml.safe_dump(config).encode())
    start = [sys.executable, "-P", "-c", "from pipelines.cli import main; main()"]
    command = [*start, "run", str(path), "--output", str(folder / output), "--json", *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def published(folder: Path, output: str) -> dict[str, bytes]:
    """The files of the newest snapshot that decide its identity."""
    snapshot = folder / output / "snapshots" / (folder / output / "LATEST").read_text().strip()
    paths = [*snapshot.glob("data/*"), *snapshot.glob("rejected/*"), snapshot / "manifest.json"]
    return {path.relative_to(snapshot).as_posix(): path.read_bytes() for path in paths}


def test_a_run_over_s3_publishes_what_a_local_one_does_whatever_the_workers(s3: dict[str, Any], tmp_path: Path) -> None:
    names = {"a.jsonl.zst": 0, "b.parquet": 300, "sub/c.jsonl": 600, "sub/d.jsonl.gz": 900}
    data = {}
    for name, start in names.items():
        container: Container = name.partition(".")[2]  # type: ignore[assignment]
        data[name] = write_rows(tmp_path / name, rows(300, start), container).read_bytes()
        write(tmp_path / "local" / name, data[name])
    bucket(s3, "run", data)
    config: dict[str, Any] = {"pipeline": "feedback", "dataset": {"name": "remote"}, "split_bytes": 50_000}
    there = {**config, "sources": [{"uri": "s3://run/", "storage_options": s3}]}
    here = {**config, "sources": [{"uri": str(tmp_path / "local")}]}
    runs = [
        start_cli(tmp_path, there, "one", "--workers", "1"),
        start_cli(tmp_path, there, "two", "--workers", "2"),
        start_cli(tmp_path, here, "here", "--workers", "1"),
    ]
    for run in runs:
        told, errors = run.communicate(timeout=120)
        assert run.returncode == 0, errors
        summary = json.loads(told)
        assert summary["rows_read"] == 1200
        assert summary["kept"] + sum(summary["instances_rejected"].values()) == summary["instances"] == 1200
        assert summary["kept"] > 600
        assert summary["splits"]["total"] >= 8
    one = published(tmp_path, "one")
    assert one == published(tmp_path, "two") == published(tmp_path, "here")
    assert not any(secret in b"".join(one.values()) for secret in (b"endpoint_url", b"127.0.0.1"))


# --- The Hugging Face Hub


class Hub(Site):
    """As much of the Hub's API as its filesystem asks for: one dataset, ``org/chats``."""

    def do_GET(self, body: bool = True) -> None:
        self.server.requests.append((self.command, self.path))
        path = unquote(urlsplit(self.path).path)
        tree = re.fullmatch(r"/api/datasets/org/chats/tree/main/?(.*)", path)
        resolve = re.fullmatch(r"/datasets/org/chats/resolve/main/(.*)", path)
        if tree:
            deep = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() == "true"
            self._json(self._entries(tree[1], deep))
        elif resolve and resolve[1] in self.server.files:
            self._file(self.server.files[resolve[1]], body)
        elif re.fullmatch(r"/api/datasets/org/chats(/revision/main)?", path):
            self._json({"id": "org/chats", "sha": "0" * 40, "private": False, "tags": [], "downloads": 0, "likes": 0})
        else:
            missing = {"X-Error-Code": "RepoNotFound" if path.startswith("/api") else "EntryNotFound"}
            self._answer(404, b"{}", missing, body)

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        wanted = form.get("paths", [])
        self._json([entry for entry in self._entries("", deep=True) if entry["path"] in wanted])

    def _entries(self, folder: str, deep: bool) -> list[dict[str, Any]]:
        prefix = f"{folder}/" if folder else ""
        found: dict[str, dict[str, Any]] = {}
        for name, data in self.server.files.items():
            if name.startswith(prefix):
                parts = name[len(prefix) :].split("/")
                for depth in range(1, len(parts)):
                    path = prefix + "/".join(parts[:depth])
                    found[path] = {"type": "directory", "oid": "0", "size": 0, "path": path}
                found[name] = {"type": "file", "oid": "1", "size": len(data), "path": name}
        return [entry for path, entry in found.items() if deep or "/" not in path[len(prefix) :]]

    def _json(self, value: Any) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})


@pytest.fixture
def hub() -> Iterator[Server]:
    with serving(Hub) as server:
        yield server


@pytest.mark.parametrize("container", CONTAINERS)
def test_files_on_the_hub_are_read_as_local_ones(hub: Server, tmp_path: Path, container: Container) -> None:
    data = stored(tmp_path, container)
    hub.files = {f"data/train.{container}": data, "README.md": b"# chats"}
    options = {"endpoint": hub.url, "token": False}
    here = plan(tmp_path / f"chats.{container}", target=200_000)
    for uri in ("hf://datasets/org/chats", f"hf://datasets/org/chats/data/*.{container}"):
        there = plan(uri, target=200_000, storage_options=options)
        assert [file.relative_uri.removeprefix("data/") for file in there.files] == [f"train.{container}"]
        assert read(there).conversations == read(here).conversations


def test_a_file_that_changed_on_the_hub_is_never_read(hub: Server) -> None:
    hub.files = {"a.jsonl": jsonl(rows(3))}
    planned = plan("hf://datasets/org/chats/a.jsonl", storage_options={"endpoint": hub.url, "token": False})
    hub.files = {"a.jsonl": jsonl(rows(3)) + jsonl(rows(3))}
    with pytest.raises(SourceError, match="changed since it was planned"):
        read(planned)


def test_a_dataset_that_is_not_on_the_hub_is_an_error_that_names_it(hub: Server) -> None:
    with pytest.raises(SourceError, match="hf://datasets/org/none"):
        plan("hf://datasets/org/none/a.jsonl", storage_options={"endpoint": hub.url, "token": False})
