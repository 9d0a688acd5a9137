"""An OpenAI-compatible server for tests and benchmarks, cheap enough not to be what is measured; it misbehaves on demand.

``python tests/servers/openai_server.py --port 0`` prints its address. ``started()`` runs it in another process.

Every answer is a function of the messages: ``{"level": 1..5, "reason": "..."}``. A marker in a prompt, ``[[name]]``,
``[[name=value]]`` or ``[[name=value:times]]``, asks for a misbehaviour of ``MISBEHAVIOURS``, always or so many times for that
prompt; ``--misbehave 429=0.1,500=0.05`` deals them out by chance. GET /stats tells what was seen; POST /control changes options
of a running server.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import re
import struct
import subprocess
import sys
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any

import orjson

Reply = tuple[int, dict[str, str], bytes]

MARKER = re.compile(rb"\[\[([a-z0-9-]+)(?:=([0-9.]+))?(?::([0-9]+))?\]\]")
HUGE = 10 * 1024 * 1024

TRANSPORT = ("reset", "reset-amid", "hang", "trickle", "truncated", "huge")
ERRORS: dict[str, tuple[int, dict[str, Any]]] = {
    "400": (400, {"message": "Invalid value for 'messages'.", "type": "invalid_request_error"}),
    "403": (403, {"message": "Country, region, or territory not supported", "code": "unsupported_country"}),
    "409": (409, {"message": "conflict"}),
    "413": (413, {"message": "Request too large: reduce the length of the messages."}),
    "429": (429, {"message": "Rate limit reached", "code": "rate_limit_exceeded"}),
    "500": (500, {"message": "The server had an error while processing your request.", "type": "server_error"}),
    "503": (503, {"message": "The engine is currently overloaded", "type": "server_error"}),
    "content-filter": (400, {"message": "The response was filtered", "code": "content_filter"}),
    "too-long": (
        400,
        {
            "message": "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens.",
            "code": "context_length_exceeded",
        },
    ),
    "too-long-vllm": (
        400,
        {"message": "The decoder prompt (length 9001) is longer than the maximum model length of 8192.", "code": 400},
    ),
    "unknown-model": (404, {"message": "The model `none` does not exist", "code": "model_not_found"}),
    "unknown-model-400": (400, {"message": "invalid model ID", "code": "model_not_found"}),
}
CHOICES = (
    "429-after",
    "429-date",
    "expired-key",
    "error-200",
    "not-json",
    "wrong-shape",
    "wrong-schema",
    "two-objects",
    "prose",
    "fenced",
    "in-reasoning",
    "think",
    "think-open",
    "empty",
    "null",
    "parts",
    "nan",
    "nan-answer",
    "surrogate",
    "deep",
    "length",
    "refusal",
    "echo-key",
)
MISBEHAVIOURS = (*TRANSPORT, *ERRORS, *CHOICES)


@dataclass
class Options:
    """What can be set on the command line, and by POST /control while running."""

    latency: float = 0.0
    model: str = ""
    key: str = ""
    capacity: int = 0
    retry_after: str = ""
    reject: tuple[str, ...] = ()
    misbehave: dict[str, float] = field(default_factory=dict)
    seed: int = 0
    storm: str = ""
    storm_requests: int = 0
    record: bool = False
    fixed: str = ""
    batch_polls: int = 2
    batch_end: str = "completed"


@dataclass
class Seen:
    """What GET /stats tells: requests that came to an answering endpoint, whatever they were answered."""

    total: int = 0
    answered: int = 0
    concurrent: int = 0
    max_concurrent: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    batches: int = 0
    files: int = 0
    keys: Counter[str] = field(default_factory=Counter)
    prompts: Counter[str] = field(default_factory=Counter)
    arrivals: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    bodies: list[Any] = field(default_factory=list)


class Model:
    """Answers, well or ill: a function of the request, the options, and how often this prompt has come before."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.seen = Seen()
        self.times: Counter[bytes] = Counter()
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}

    def misbehaviour(self, body: bytes) -> tuple[str, str]:
        """Name and value of what is to go wrong with this request; blank if nothing."""
        options = self.options
        if options.storm and options.storm_requests > 0:
            options.storm_requests -= 1
            return options.storm, options.retry_after
        if options.capacity and self.seen.concurrent > options.capacity:
            return "429", ""
        if b"[[" in body:
            for name, value, times in MARKER.findall(body):
                if name.decode() in MISBEHAVIOURS:
                    at = hashlib.sha256(body).digest()[:8] + name
                    self.times[at] += 1
                    if not times or self.times[at] <= int(times):
                        return name.decode(), value.decode()
        if options.misbehave:
            at = hashlib.sha256(b"%d" % options.seed + body).digest()
            self.times[at[:8]] += 1
            draw = hashlib.sha256(at + b"%d" % self.times[at[:8]]).digest()
            chance = int.from_bytes(draw[:6]) / 2**48
            for name, share in options.misbehave.items():
                if chance < share:
                    return name, options.retry_after
                chance -= share
        return "", ""

    def answer(self, path: str, request: dict[str, Any], key: str, wrong: str, value: str) -> Reply:
        """The reply to a chat or an embedding, apart from what is done to the connection."""
        options = self.options
        unknown = next((name for name in options.reject if name in request), None)
        if wrong in ERRORS:
            status, fault = ERRORS[wrong]
            return error(status, fault, {"retry-after": value} if value else {})
        if wrong == "429-after":
            return error(*ERRORS["429"], {"retry-after": value or "1"})
        if wrong == "429-date":
            return error(*ERRORS["429"], {"retry-after": formatdate(time.time() + float(value or 1), usegmt=True)})
        if wrong == "expired-key" or (options.key and key != f"Bearer {options.key}"):
            return error(
                401, {"message": f"Incorrect API key provided: {key}. It has expired.", "code": "invalid_api_key"}
            )
        if options.model and request.get("model") != options.model:
            return error(*ERRORS["unknown-model"])
        if unknown == "max_tokens":
            message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
            return error(400, {"message": message, "param": "max_tokens", "code": "unsupported_parameter"})
        if unknown:
            return error(400, {"message": f"Unrecognized request argument supplied: {unknown}", "param": None})
        if wrong == "error-200":
            return 200, {}, orjson.dumps({"error": {"message": "provider overloaded", "code": 503}})
        if wrong == "not-json":
            return 200, {"content-type": "text/html"}, b"<html>welcome to the proxy</html>"
        if wrong == "wrong-shape":
            return 200, {}, b'{"choices": "none", "usage": []}'
        if path.endswith("/embeddings"):
            return 200, {}, embedding(request)
        return 200, {}, self.chat(request, key, wrong)

    def chat(self, request: dict[str, Any], key: str, wrong: str) -> bytes:
        """The body of a chat's answer."""
        messages = request.get("messages") or []
        prompt = orjson.dumps(messages)
        good = self.options.fixed or label(prompt, b"verdict" in orjson.dumps(request.get("response_format")))
        message: dict[str, Any] = {"role": "assistant", "content": good}
        finish = "stop"
        usage: Any = {"prompt_tokens": len(prompt) // 4, "completion_tokens": len(good) // 4}
        match wrong:
            case "wrong-schema":
                message["content"] = '{"level": "high", "why": 7}'
            case "two-objects":
                message["content"] = good + "\n" + good.replace('"level": ', '"level": 1')
            case "prose":
                message["content"] = f"Here is my judgement: {good} I hope this helps!"
            case "fenced":
                message["content"] = f"```json\n{good}\n```"
            case "in-reasoning":
                message |= {"content": "", "reasoning_content": f"So the answer is {good}"}
            case "think":
                message["content"] = f'<think>The user says {{"level": 9}}.\nHm.</think>\n\n{good}'
            case "think-open":
                message["content"], finish = "<think>The user says", "length"
            case "empty":
                message["content"] = ""
            case "null":
                message["content"], usage = None, None
            case "parts":
                thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
                message["content"] = [thinking, {"type": "text", "text": good}]
            case "nan-answer":
                message["content"] = '{"level": NaN, "reason": "x"}'
            case "length":
                message["content"], finish = good[: len(good) // 2], "length"
            case "refusal":
                message |= {"content": None, "refusal": "I cannot help with that."}
            case "deep":
                message["content"] = "[" * 100_000 + "]" * 100_000
            case "echo-key":
                message["content"] = f'{{"level": 1, "reason": "your header was {key}"}}'
        self.seen.answered += 1
        if usage:
            self.seen.input_tokens += usage["prompt_tokens"]
            self.seen.output_tokens += usage["completion_tokens"]
        body = orjson.dumps(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "model": request.get("model"),
                "choices": [{"index": 0, "message": message, "finish_reason": finish}],
                "usage": usage,
            }
        )
        if wrong == "nan":
            return re.sub(rb'"completion_tokens":\d+', b'"completion_tokens":NaN,"speed":Infinity', body)
        if wrong == "surrogate":
            return body.replace(b'"content":"', b'"content":"\\ud83d', 1)
        return body

    def run_batch(self, batch: dict[str, Any]) -> None:
        """Answer a batch's requests into its two files, in another order."""
        results, faults = [], []
        lines = [orjson.loads(line) for line in self.files[batch["input_file_id"]].splitlines() if line]
        end = self.options.batch_end
        kept = lines if end == "completed" else lines[: len(lines) // 2] if end in ("expired", "cancelled") else []
        for line in reversed(lines):
            self.count(orjson.dumps(line["body"]), batch["key"])
            entry: dict[str, Any] = {
                "id": "batch_req_1",
                "custom_id": line["custom_id"],
                "response": None,
                "error": None,
            }
            if line not in kept:
                if end == "expired":
                    entry["error"] = {"code": "batch_expired", "message": "This request could not be executed in time."}
                    faults.append(orjson.dumps(entry))
                continue
            wrong, value = self.misbehaviour(orjson.dumps(line["body"]))
            if wrong == "truncated":
                results.append(orjson.dumps(entry)[:-9])
                continue
            status, _, body = self.answer(line["url"], line["body"], batch["key"], wrong, value)
            if wrong == "huge":
                body = body.replace(b'"assistant"', b'"' + b"x" * HUGE + b'"', 1)
            entry["response"] = {"status_code": status, "request_id": "req", "body": orjson.Fragment(body)}
            (results if status == 200 else faults).append(orjson.dumps(entry))
        batch["status"] = end
        if end == "failed":
            fault = {"code": "invalid_json_line", "message": "This line is not parseable as valid JSON.", "line": 1}
            batch["errors"] = {"object": "list", "data": [fault]}
            return
        for field_name, rows in (("output_file_id", results), ("error_file_id", faults)):
            if rows:
                batch[field_name] = self.keep_file(b"\n".join(rows) + b"\n")

    def keep_file(self, data: bytes) -> str:
        name = f"file-{len(self.files) + 1}"
        self.files[name] = data
        self.seen.files += 1
        return name

    def count(self, body: bytes, key: str) -> None:
        seen = self.seen
        seen.total += 1
        seen.keys[key] += 1
        if self.options.record:
            request = orjson.loads(body)
            prompt = request["messages"][-1]["content"] if "messages" in request else request["input"]
            seen.prompts[prompt] += 1
            seen.arrivals[prompt].append(time.time())
            if len(seen.bodies) < 100:
                seen.bodies.append(request)


def label(prompt: bytes, verdict: bool = False) -> str:
    """The answer of a model that labels, or gives a verdict on a refusal: made from the prompt alone."""
    digest = hashlib.blake2b(prompt, digest_size=8).hexdigest()
    if verdict:
        said = ("answered", "correct_refusal", "false_refusal")[int(digest[0], 16) % 3]
        return f'{{"reason": "seen {digest}", "verdict": "{said}"}}'
    return f'{{"level": {int(digest[0], 16) % 5 + 1}, "reason": "seen {digest}"}}'


def embedding(request: dict[str, Any]) -> bytes:
    """A unit vector of 8 numbers, as floats or base64."""
    digest = hashlib.sha256(orjson.dumps(request["input"])).digest()
    numbers = [byte / 255 for byte in digest[:8]]
    packed: Any = numbers
    if request.get("encoding_format") == "base64":
        packed = base64.b64encode(struct.pack("<8f", *numbers)).decode()
    usage = {"prompt_tokens": len(request["input"]) // 4, "total_tokens": len(request["input"]) // 4}
    return orjson.dumps({"object": "list", "data": [{"index": 0, "embedding": packed}], "usage": usage})


def error(status: int, fault: dict[str, Any], headers: dict[str, str] | None = None) -> Reply:
    return status, headers or {}, orjson.dumps({"error": fault})


def rendered(reply: Reply) -> bytes:
    """A reply as HTTP/1.1 bytes."""
    status, headers, body = reply
    fields = {"content-type": "application/json", **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{lines}\r\n".encode() + body


class Connection(asyncio.Protocol):
    """One connection: HTTP/1.1 with content-length or chunked bodies, kept alive."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.buffer = bytearray()
        self.loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.buffer[:end])
            first, *lines = head.decode("latin-1").split("\r\n")
            method, path, _ = first.split(" ", 2)
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            if headers.get("transfer-encoding") == "chunked":
                body, size = unchunked(self.buffer, end + 4)
                if size < 0:
                    return
            else:
                size = end + 4 + int(headers.get("content-length", 0))
                if len(self.buffer) < size:
                    return
                body = bytes(self.buffer[end + 4 : size])
            del self.buffer[:size]
            self.handle(method, path.partition("?")[0], headers, body)

    def handle(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        if not path.endswith(("/chat/completions", "/embeddings")):
            self.transport.write(rendered(self.desk(method, path, headers, body)))
            return
        model, key = self.model, headers.get("authorization", "")
        seen = model.seen
        model.count(body, key)
        seen.concurrent += 1
        seen.max_concurrent = max(seen.max_concurrent, seen.concurrent)
        wrong, value = model.misbehaviour(body)
        reply = rendered(model.answer(path, orjson.loads(body), key, wrong, value))
        if model.options.latency and wrong not in ("hang", "reset"):
            self.loop.call_later(model.options.latency, self.reply, reply, wrong, value)
        else:
            self.reply(reply, wrong, value)

    def reply(self, reply: bytes, wrong: str, value: str) -> None:
        if wrong == "hang":
            self.loop.call_later(float(value or 3600), self.transport.abort)
            return
        self.model.seen.concurrent -= 1
        if self.transport.is_closing():
            return
        match wrong:
            case "reset":
                self.transport.abort()
            case "reset-amid":
                self.transport.write(reply[: len(reply) - 20])
                self.loop.call_later(0.02, self.transport.abort)
            case "truncated":
                head, _, body = reply.partition(b"\r\n\r\n")
                body = body[: len(body) // 2]
                self.transport.write(re.sub(rb"content-length: \d+", b"content-length: %d" % len(body), head))
                self.transport.write(b"\r\n\r\n" + body)
            case "trickle":
                self.trickle(reply, 0)
            case "huge":
                body = b'{"choices":[{"message":{"content":"' + b"x" * HUGE + b'"},"finish_reason":"stop"}]}'
                if value:
                    self.transport.write(rendered((200, {}, body)))
                else:
                    head = b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
                    self.transport.write(head + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n")
            case _:
                self.transport.write(reply)

    def trickle(self, reply: bytes, at: int) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(reply[at : at + 1])
        if at + 1 < len(reply):
            self.loop.call_later(0.05, self.trickle, reply, at + 1)

    def desk(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        """Everything that is not a request for an answer."""
        model, parts = self.model, path.strip("/").split("/")
        if path == "/stats":
            return 200, {}, json.dumps(vars(model.seen)).encode()
        if path == "/control":
            for name, value in orjson.loads(body).items():
                if name == "forget":
                    concurrent = model.seen.concurrent
                    model.seen = Seen(concurrent=concurrent, max_concurrent=concurrent)
                else:
                    setattr(model.options, name, value)
            return 200, {}, b"{}"
        if parts[-1] == "models":
            return 200, {}, orjson.dumps({"object": "list", "data": [{"id": model.options.model or "any"}]})
        key = headers.get("authorization", "")
        if model.options.key and key != f"Bearer {model.options.key}":
            return error(401, {"message": f"Incorrect API key provided: {key}.", "code": "invalid_api_key"})
        if parts[-1] == "files" and method == "POST":
            content, purpose = upload(headers["content-type"], body)
            if purpose != "batch":
                return error(400, {"message": f"purpose {purpose!r} is not supported"})
            return 200, {}, orjson.dumps({"id": model.keep_file(content), "object": "file", "bytes": len(content)})
        if parts[-1] == "content" and parts[-3] == "files":
            found = model.files.get(parts[-2])
            return (200, {}, found) if found is not None else error(404, {"message": "No such file"})
        if parts[-1] == "batches" and method == "GET":
            rows = [public(batch) for batch in reversed(model.batches.values())]
            return 200, {}, orjson.dumps({"object": "list", "data": rows, "has_more": False})
        if parts[-1] == "batches":
            batch = {**orjson.loads(body), "id": f"batch_{len(model.batches) + 1}", "status": "validating", "key": key}
            model.batches[batch["id"]] = {**batch, "polls": 0, "output_file_id": None, "error_file_id": None}
            model.seen.batches += 1
            return 200, {}, orjson.dumps(public(model.batches[batch["id"]]))
        if parts[-2:-1] == ["batches"] and parts[-1] in model.batches:
            batch = model.batches[parts[-1]]
            batch["polls"] += 1
            if batch["status"] in ("validating", "in_progress"):
                batch["status"] = "in_progress"
                if batch["polls"] > model.options.batch_polls:
                    model.run_batch(batch)
            return 200, {}, orjson.dumps(public(batch))
        return error(404, {"message": f"Unknown request URL: {method} {path}"})


def public(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in batch.items() if name not in ("polls", "key")}


def upload(content_type: str, body: bytes) -> tuple[bytes, str]:
    """File and purpose of a multipart upload."""
    boundary = content_type.partition("boundary=")[2].strip('"').encode()
    fields = {}
    for part in body.split(b"--" + boundary)[1:-1]:
        head, _, value = part.strip(b"\r\n").partition(b"\r\n\r\n")
        name = re.search(rb'[ ;]name="([^"]+)"', head)
        assert name, head
        fields[name[1].decode()] = value
    return fields["file"], fields["purpose"].decode()


def unchunked(buffer: bytearray, at: int) -> tuple[bytes, int]:
    """A chunked body and where it ends; -1 where it is not all there."""
    pieces = []
    while (line := buffer.find(b"\r\n", at)) >= 0:
        size = int(bytes(buffer[at:line]), 16)
        if len(buffer) < line + 4 + size:
            break
        pieces.append(bytes(buffer[line + 2 : line + 2 + size]))
        at = line + 4 + size
        if size == 0:
            return b"".join(pieces), at
    return b"", -1


async def serve(options: Options, port: int) -> None:
    model = Model(options)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(model), "127.0.0.1", port, backlog=4096, reuse_address=True
    )
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--model", default="", help="the only model that is known (default: any)")
    parser.add_argument("--key", default="", help="the only key that is accepted (default: any)")
    parser.add_argument("--capacity", type=int, default=0, help="more requests than this at once are answered 429")
    parser.add_argument("--reject", default="", help="fields of a request that are refused, by comma")
    parser.add_argument("--misbehave", default="", help="NAME=SHARE,... of " + ", ".join(MISBEHAVIOURS))
    parser.add_argument("--seed", type=int, default=0, help="of --misbehave")
    parser.add_argument("--storm", default="", help="NAME:N, what the first N requests are answered")
    parser.add_argument("--retry-after", default="", help="sent with --storm and --misbehave")
    parser.add_argument("--fixed", default="", help="the text of every answer (default: made from the prompt)")
    parser.add_argument("--record", action="store_true", help="keep prompts, their times and 100 bodies for /stats")
    parser.add_argument("--batch-polls", type=int, default=2, help="polls before a batch is done")
    parser.add_argument("--batch-end", default="completed", help="completed, expired, failed or cancelled")
    given = vars(parser.parse_args())
    port = given.pop("port")
    given["reject"] = tuple(filter(None, given["reject"].split(",")))
    shares = (one.split("=") for one in filter(None, given["misbehave"].split(",")))
    given["misbehave"] = {name: float(share) for name, share in shares}
    given["storm"], _, requests = given["storm"].partition(":")
    options = Options(**given, storm_requests=int(requests or 0))
    try:
        import uvloop

        runner = uvloop.run
    except ImportError:
        runner = asyncio.run
    runner(serve(options, port))


@dataclass
class Server:
    """A server in another process."""

    url: str
    process: subprocess.Popen[str]

    def stats(self) -> dict[str, Any]:
        """What it has seen, see `Seen`."""
        with urllib.request.urlopen(self.url.removesuffix("/v1") + "/stats") as response:
            found: dict[str, Any] = json.load(response)
        return found

    def control(self, **options: Any) -> None:
        """Change options; ``forget=True`` starts the counts anew."""
        address = self.url.removesuffix("/v1") + "/control"
        with urllib.request.urlopen(urllib.request.Request(address, json.dumps(options).encode())):
            pass

    def kill(self) -> None:
        """As a machine dies."""
        self.process.kill()
        self.process.wait()


@contextmanager
def started(*options: str, port: int = 0) -> Iterator[Server]:
    """A server with these options, for as long as the context lasts."""
    command = [sys.executable, str(Path(__file__).resolve()), "--port", str(port), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert address, "the server did not start"
        yield Server(address, process)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    main()
