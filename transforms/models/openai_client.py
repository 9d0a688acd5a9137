"""HTTP to endpoints that hold models: one exchange at a time, bounded in time and size, and no key in what it tells."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

from schemas.answers import Answer
from transforms.models.openai_api import DETAIL, answer
from transforms.models.settings import OpenAISettings

CONNECTING: Final = 10.0
"""Seconds to make a connection in."""

KEY_LENGTH: Final = 16
"""A key at least this long is removed from answers too. A shorter one ("none", "EMPTY") is no secret, and may be a word."""

MESSAGE: Final = 64 * 1024
"""Bytes that are read of a message about an error."""

HIDDEN: Final = "[key]"


class Secrets:
    """What must not be told: the key, and passwords in addresses.

    Raises:
        ValueError: the key cannot be sent.
    """

    __slots__ = ("_key", "_words")

    def __init__(self, settings: OpenAISettings) -> None:
        self._key = os.environ.get(settings.api_key_env, "").strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise ValueError(
                f"expected a key that an HTTP header can hold in ${settings.api_key_env}, got other characters; set it anew"
            )
        passwords = (urlsplit(base).password for base in settings.base_url)
        written = self._key.replace("/", "\\/")  # as some write it in JSON
        self._words = [word for word in (self._key, written, *passwords) if word]

    def headers(self) -> dict[str, str]:
        """The header that carries the key, where there is one."""
        return {"authorization": f"Bearer {self._key}"} if self._key else {}

    def hidden(self, detail: str) -> str:
        """A detail without secrets, cut to its length."""
        for word in self._words:
            detail = detail.replace(word, HIDDEN)
        return detail[:DETAIL]

    def cleared(self, answer: Answer) -> Answer:
        """An answer without secrets, should the endpoint have echoed them."""
        if answer.detail is not None:
            answer = answer._replace(detail=self.hidden(answer.detail))
        key, thought = self._key, answer.reasoning
        if len(key) >= KEY_LENGTH and (key in answer.text or (thought is not None and key in thought)):
            thought = thought and thought.replace(key, HIDDEN)
            answer = answer._replace(text=answer.text.replace(key, HIDDEN), reasoning=thought)
        return answer


@dataclass(frozen=True, slots=True)
class Received:
    """A response. ``retry_after``: the seconds it asks to be left alone."""

    status: int
    content: bytes
    retry_after: float | None = None


class ExchangeError(Exception):
    """No response; ``answer`` says why. ``unreachable``: there was not even a connection."""

    def __init__(self, answer: Answer, unreachable: bool = False) -> None:
        super().__init__(answer.detail)
        self.answer, self.unreachable = answer, unreachable


class Client:
    """An HTTP client with the key in its headers. It follows no redirects: they would carry the key elsewhere."""

    def __init__(self, settings: OpenAISettings, timeout: float) -> None:
        from pyreqwest.client import ClientBuilder

        self.secrets = Secrets(settings)
        self._client = (
            ClientBuilder()
            .default_headers({"user-agent": "sluice", **self.secrets.headers()})
            .follow_redirects(False)
            .timeout(timedelta(seconds=timeout))
            .connect_timeout(timedelta(seconds=min(timeout, CONNECTING)))
            .build()
        )

    def post(self, url: Any, content: bytes) -> Any:
        """A request with a JSON body, to be exchanged."""
        return self._client.post(url).header("content-type", "application/json").body_bytes(content)

    def get(self, url: str) -> Any:
        """A request without a body, to be exchanged."""
        return self._client.get(url)

    def upload(self, url: str, content: bytes, **fields: str) -> Any:
        """A multipart request with a file of JSON lines, to be exchanged."""
        from pyreqwest.multipart import FormBuilder, PartBuilder

        form = FormBuilder()
        for name, value in fields.items():
            form = form.text(name, value)
        part = PartBuilder.from_bytes(content).file_name("requests.jsonl").mime("application/jsonl")
        return self._client.post(url).multipart(form.part("file", part))

    async def exchange(self, request: Any, most: int) -> Received:
        """Send it, and read the response as far as it may go.

        Args:
            request: of ``post``, ``get`` or ``upload``.
            most: bytes of the response at most; reading stops there.

        Raises:
            ExchangeError: no connection, no whole response, none in time, or one that is larger.
        """
        from pyreqwest.exceptions import PyreqwestError

        try:
            async with request.build_streamed() as response:
                length = response.get_header("content-length")
                content = b"" if length and int(length) > most else (await response.body_reader.read(most + 1) or b"")
                status = response.status
                if len(content) > most or (length and int(length) > most):
                    raise ExchangeError(
                        Answer(failure="answer_too_long", detail=f"the response is larger than {most:,} bytes")
                    )
                asked = None if status == 200 else retry_after(response)
        except PyreqwestError as error:
            raise self._broken(error) from None
        return Received(status, bytes(content), asked)

    async def chunks(self, request: Any) -> AsyncIterator[bytes]:
        """Send it, and give the response piece by piece.

        Raises:
            ExchangeError: no connection, a status other than 200, no whole response, or none in time.
        """
        from pyreqwest.exceptions import PyreqwestError

        try:
            async with request.build_streamed() as response:
                if response.status != 200:
                    content = bytes(await response.body_reader.read(MESSAGE) or b"")
                    raise ExchangeError(answer("chat", response.status, content))
                while (chunk := await response.body_reader.read_chunk()) is not None:
                    yield bytes(chunk)
        except PyreqwestError as error:
            raise self._broken(error) from None

    def _broken(self, error: Any) -> ExchangeError:
        from pyreqwest.exceptions import RequestTimeoutError

        if isinstance(error, RequestTimeoutError):
            return ExchangeError(Answer(failure="timeout", detail="no whole response in time"))
        causes = [str(cause["message"]) for cause in getattr(error, "details", {}).get("causes") or ()]
        lost = Answer(failure="connection", detail=causes[-1] if causes else error.message)
        return ExchangeError(self.secrets.cleared(lost), "client error (Connect)" in causes)

    async def close(self) -> None:
        """Drop all connections."""
        await self._client.close()


def public(base: str) -> str:
    """A base address without what may be secret in it: user, password, query."""
    parts = urlsplit(base)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def retry_after(response: Any) -> float | None:
    """Seconds that a response asks to wait: of ``retry-after-ms``, or ``Retry-After`` in seconds or as a date."""
    milliseconds, value = response.get_header("retry-after-ms"), response.get_header("retry-after")
    for text, unit in ((milliseconds, 0.001), (value, 1.0)):
        try:
            seconds = float(text) * unit
        except (TypeError, ValueError):
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


@contextmanager
def on_one_core() -> Iterator[None]:
    """Threads that are started within stay on one core of those allowed to this process; the caller does not.

    The event loop and the HTTP client's thread hand each other Python's lock at every answer, which is dear across cores.
    """
    try:
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {sorted(allowed)[os.getpid() % len(allowed)]})
    except (AttributeError, OSError):  # not on Linux, or not allowed
        yield
        return
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def loop_in_thread(name: str) -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
    """An event loop, and the thread that runs it until it is stopped."""
    try:
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    except ImportError:
        loop = asyncio.new_event_loop()

    def run() -> None:
        try:
            loop.run_forever()
        finally:
            loop.close()

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return loop, thread
