"""The ``openai`` engine: requests to endpoints that speak OpenAI's API, many at once, from one thread.

submit (any thread) -> queue -> thread: try -> response -> answer -> future
                         ^                          |
                         +---- pause <--- failure that may pass
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from schemas.answers import Answer, Request
from transforms.models import openai_api
from transforms.models.openai_api import identity
from transforms.models.openai_client import Client, ExchangeError, loop_in_thread, on_one_core
from transforms.models.openai_endpoints import FIRST_PAUSE, PASSING, REFUSING, Endpoint, pause
from transforms.models.settings import OpenAISettings

__all__ = ["OpenAIEngine", "identity"]

_log: Final = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Call:
    """A request on its way. ``failures`` are the tries that count: those that another try may mend."""

    request: Request
    future: Future[Answer] = field(default_factory=Future)
    tries: int = 0
    failures: int = 0
    last: Endpoint | None = None
    refused_by: tuple[Endpoint, ...] = ()


def _reluctance(call: _Call, endpoint: Endpoint) -> tuple[bool, bool, float]:
    """What endpoints are ordered by: a request that has failed tries no doubtful one, nor the last one again."""
    return endpoint.doubtful and call.tries > 0, endpoint is call.last, endpoint.active / endpoint.limit


class OpenAIEngine:
    """Any number of endpoints that hold the same model; each request goes to the least busy of those that are well.

    The key is that of the environment when the engine is made.

    Raises:
        ValueError: the key cannot be sent.
    """

    def __init__(self, settings: OpenAISettings) -> None:
        from pyreqwest.http import Url

        self.settings, self.in_flight = settings, settings.in_flight
        patience = settings.max_tries * max(settings.max_wait, settings.timeout)
        self._endpoints = [
            Endpoint(base, settings.in_flight, settings.max_wait, patience) for base in settings.base_url
        ]
        self._urls = {
            (base, kind): Url(openai_api.address(base, path))
            for base in settings.base_url
            for kind, path in openai_api.PATHS.items()
        }
        self._adaptations: dict[str, str | None] = {}
        self._submitted: deque[_Call] = deque()
        self._again: deque[_Call] = deque()
        self._pausing: set[_Call] = set()
        self._flying: dict[_Call, asyncio.Task[None]] = {}
        self._awake = self._closed = False
        self._alarm: asyncio.TimerHandle | None = None
        with on_one_core():
            self._client = Client(settings, settings.timeout)
            self._loop, self._thread = loop_in_thread("sluice-openai")

    def submit(self, request: Request) -> Future[Answer]:
        """Queue one request, from any thread. The future is set by the engine's thread."""
        call = _Call(request)
        self._submitted.append(call)
        if self._closed:
            self._drop()
        elif not self._awake:
            self._awake = True
            try:
                self._loop.call_soon_threadsafe(self._pump)
            except RuntimeError:  # closed since
                self._drop()
        return call.future

    def close(self) -> None:
        """Stop; requests under way come back as failures."""
        if self._closed:
            return
        self._closed = True
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    async def _stop(self) -> None:
        stopped = set(self._flying) | self._pausing
        tasks = list(self._flying.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._submitted.extend(stopped)
        self._drop()
        await self._client.close()
        self._loop.stop()

    def _drop(self) -> None:
        """Fail what is queued: the engine is closed."""
        for queue in (self._again, self._submitted):
            while True:
                try:
                    call = queue.popleft()
                except IndexError:  # so that two threads can do this
                    break
                if not call.future.done():
                    closed = Answer(failure="engine_error", detail="the engine was closed", tries=call.tries)
                    call.future.set_result(closed)

    def _pump(self) -> None:
        """Send what waits, as far as there is room. Runs in the engine's thread only, as does everything below."""
        self._awake = False
        while (self._again or self._submitted) and len(self._flying) < self.in_flight and not self._closed:
            queue = self._again or self._submitted
            call, now = queue[0], time.monotonic()
            able = [endpoint for endpoint in self._endpoints if endpoint not in call.refused_by]
            ready = [endpoint for endpoint in able if endpoint.takes(now)]
            if ready:
                queue.popleft()
                if call.tries or call.future.set_running_or_notify_cancel():
                    self._send(call, min(ready, key=partial(_reluctance, call)))
            elif (last := able[-1].last) is not None and all(endpoint.given_up(now) for endpoint in able):
                queue.popleft()
                if call.tries or call.future.set_running_or_notify_cancel():
                    self._settle(call, last)
                    self._awake = False
            elif call.refused_by:  # others need not wait for what it waits for
                queue.popleft()
                self._resume_in(max(min(one.rests_until for one in able) - now, FIRST_PAUSE / 2), call)
            else:
                self._wake_at(min((one.rests_until for one in able if one.rests_until > now), default=None))
                return

    def _wake_at(self, moment: float | None) -> None:
        """Pump again when the first endpoint has rested. Without a moment, whatever comes back will do it."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_later(moment - time.monotonic(), self._pump) if moment is not None else None

    def _send(self, call: _Call, endpoint: Endpoint) -> None:
        call.tries += 1
        call.last = endpoint
        probe = endpoint.sent()
        self._flying[call] = self._loop.create_task(self._try(call, endpoint, probe))

    async def _try(self, call: _Call, endpoint: Endpoint, probe: bool) -> None:
        """Send a request once, and see to what comes of it."""
        sent_at = time.monotonic()
        answer = None
        try:
            answer = await self._asked(call, endpoint, sent_at)
        except Exception as error:
            answer = Answer(failure="engine_error", detail=f"{type(error).__name__}: {error}")
        finally:
            endpoint.returned(probe)
            del self._flying[call]
        try:
            if answer is not None:
                self._settle(call, answer, time.monotonic() - sent_at)
        finally:
            self._pump()

    async def _asked(self, call: _Call, endpoint: Endpoint, sent_at: float) -> Answer | None:
        """What to settle a request with; None if it has been queued again."""
        kind, most = call.request.kind, self.settings.max_answer_bytes
        body = openai_api.body(self.settings, call.request, self._adaptations)
        received, unreachable = None, False
        try:
            received = await self._client.exchange(self._client.post(self._urls[endpoint.base, kind], body), most)
            answer = openai_api.answer(kind, received.status, received.content)
        except ExchangeError as error:
            answer, unreachable = error.answer, error.unreachable
        if answer.failure is None:
            endpoint.succeeded()
            return answer
        answer = answer._replace(detail=f"{urlsplit(endpoint.base).hostname}: {answer.detail}")
        now, status = time.monotonic(), received.status if received else 0
        if status in (400, 422) and received and self._adapted(received.content, body):
            endpoint.alive()
            self._again.append(call)
            return None
        if answer.failure in REFUSING and len(self._endpoints) > 1:
            call.refused_by = (*call.refused_by, endpoint)
            endpoint.troubled(answer, sent_at, now, False, None)
            if len(call.refused_by) < len(self._endpoints):
                self._again.append(call)
                return None
            return answer
        if answer.failure in ("rate_limited", "timeout") or status == 503:
            endpoint.overloaded(sent_at, now)
        if answer.failure in ("rate_limited", "server_error", "connection", "timeout"):
            endpoint.troubled(answer, sent_at, now, unreachable, received.retry_after if received else None)
        else:
            endpoint.alive()
        call.failures += 1
        if answer.failure in PASSING and call.failures < self.settings.max_tries:
            self._resume_in(pause(call.failures, self.settings.max_wait), call)
            return None
        return answer

    def _adapted(self, refusal: bytes, body: bytes) -> bool:
        """Whether a refused request would now be sent otherwise: the endpoint does not know one of its fields."""
        unknown = openai_api.unsupported(refusal, body)
        if unknown is None:
            return False
        name, instead = unknown
        if name not in self._adaptations:
            self._adaptations[name] = instead
            _log.warning(
                "the endpoint does not know %s: it is %s", name, f"sent as {instead}" if instead else "left out"
            )
        return name not in self.settings.extra_body

    def _resume_in(self, seconds: float, call: _Call) -> None:
        self._pausing.add(call)
        self._loop.call_later(seconds, self._resume, call)

    def _resume(self, call: _Call) -> None:
        self._pausing.discard(call)
        self._again.append(call)
        self._pump()

    def _settle(self, call: _Call, answer: Answer, latency: float = 0.0) -> None:
        self._awake = True  # what the future's callbacks submit is pumped after them
        answer = self._client.secrets.cleared(answer)
        call.future.set_result(answer._replace(tries=call.tries, latency=latency))
