"""The ceiling: bytes made beforehand on bare connections, answers thrown away. What is missing to 1 is the server's and the machine's."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from typing import Any
from urllib.parse import urlsplit

import contest
import uvloop


class Connection(asyncio.Protocol):
    """Sends the next request when the last one is answered."""

    def __init__(self, waiting: deque[bytes], answered: list[int], done: asyncio.Event) -> None:
        self.waiting, self.answered, self.done = waiting, answered, done
        self.buffer = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        if self.waiting:
            self.transport.write(self.waiting.popleft())

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, end, body = self.buffer.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            return
        assert head.startswith(b"HTTP/1.1 200"), head
        self.buffer = b""
        self.answered[0] -= 1
        if not self.answered[0]:
            self.done.set()
        self.send()


async def load(task: contest.Task) -> None:
    """All requests on as many connections as may be in flight."""
    address = urlsplit(task.url)
    requests = deque(_request(address.netloc, prompt) for prompt in task.prompts())
    answered, done = [len(requests)], asyncio.Event()
    watch = contest.Watch()
    loop = asyncio.get_running_loop()
    for _ in range(task.in_flight):
        await loop.create_connection(lambda: Connection(requests, answered, done), address.hostname, address.port)
    await done.wait()
    watch.tell(task.requests)


def _request(host: str, prompt: str) -> bytes:
    body = json.dumps(
        {"model": contest.MODEL, "messages": [{"role": "user", "content": prompt}], **contest.SAMPLING}
    ).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


if __name__ == "__main__":
    uvloop.run(load(contest.task()))
