"""The tests' server, with two things that peers rely on: it closes connections where that is asked for, and tells ``total_tokens``.

datatrove opens a connection for every request and reads to its end; curator reads the total.
"""

from __future__ import annotations

from typing import Any

from tests.servers import openai_server


class Model(openai_server.Model):
    """Answers with a total."""

    def chat(self, request: dict[str, Any], key: str, wrong: str) -> bytes:
        return super().chat(request, key, wrong).replace(b'"usage":{', b'"usage":{"total_tokens":600,', 1)


class Connection(openai_server.Connection):
    """One connection; ``Connection: close`` ends it after the reply."""

    closing = False

    def handle(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        self.closing = headers.get("connection") == "close"
        super().handle(method, path, headers, body)
        if self.closing and not path.endswith("/chat/completions"):
            self.transport.close()

    def reply(self, reply: bytes, wrong: str, value: str) -> None:
        super().reply(reply, wrong, value)
        if self.closing:
            self.transport.close()


if __name__ == "__main__":
    openai_server.Model = Model  # type: ignore[misc]
    openai_server.Connection = Connection  # type: ignore[misc]
    openai_server.main()
