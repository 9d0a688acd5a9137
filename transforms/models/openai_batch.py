"""The ``openai`` engine in mode ``batch``: the provider's half-price endpoint, which answers within a day.

collect until submissions pause -> note -> upload -> create -> note -> poll -> download -> answers

A note in the folder says which requests are in which batch. It is durable before the batch is waited for, so that a run
that was killed collects what it has paid for.
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson

from schemas.answers import Answer, Request, canonical, request_key
from transforms.io.files import committed, on_store
from transforms.models import openai_api
from transforms.models.journal_segments import synchronise
from transforms.models.openai_client import Client, ExchangeError, loop_in_thread, public
from transforms.models.openai_endpoints import PASSING, pause
from transforms.models.settings import OpenAISettings

MOST_REQUESTS: Final = 50_000
MOST_BYTES: Final = 100_000_000
"""What one batch may hold, by the API's terms."""

QUIET: Final = 5.0
"""Seconds without a new request, after which those that came are sent."""

TRANSFER: Final = 3600.0
"""Seconds for an upload or a download."""

KEPT: Final = 30 * 24 * 3600
"""Seconds a provider keeps results, and we the notes about them."""

REPLY: Final = 16 * 1024 * 1024
"""Bytes of a response about files and batches."""

ENDED: Final = {
    "completed": ("malformed_response", "the batch was completed without this request"),
    "expired": ("timeout", "the batch expired before this request was answered"),
    "cancelled": ("server_error", "the batch was cancelled before this request was answered"),
    "failed": ("bad_request", "the batch failed"),
}
"""How a batch ends, and what that makes of requests without a result."""

_CUSTOM_ID: Final = re.compile(rb'"custom_id"\s*:\s*"([0-9a-f]{32})"')

_Calls = dict[str, list[Future[Answer]]]
"""The futures of requests, by key."""


@dataclass(frozen=True)
class Note:
    """Which requests are in which batch. ``batch`` is None until the provider has named it."""

    name: str
    base: str
    kind: str
    keys: list[str]
    batch: str | None = None

    def write(self, folder: Path) -> None:
        """Keep it, durably."""
        path = folder / f"{self.name}.json"
        with committed(path) as attempt, attempt.open("wb") as stream:
            stream.write(orjson.dumps(self))
            stream.flush()
            os.fsync(stream.fileno())
        synchronise(folder)


def notes(folder: Path) -> Iterator[Note]:
    """The notes in a folder, the newest first; those whose results no provider keeps any more are removed.

    Raises:
        ValueError: a note cannot be read.
    """
    ages = []
    for path in folder.glob("*.json"):
        with suppress(FileNotFoundError):
            ages.append((time.time() - path.stat().st_mtime, path))
    for age, path in sorted(ages):
        if age > KEPT:
            path.unlink(missing_ok=True)
        elif (note := _read_note(path)) is not None:
            yield note


def _read_note(path: Path) -> Note | None:
    try:
        return Note(**orjson.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise ValueError(f"expected a note about a batch in {path}, got {error}; remove it to pay anew") from None


def strike(folder: Path, name: str, keys: Collection[str]) -> None:
    """Take keys off a note; one without keys is removed."""
    path = folder / f"{name}.json"
    note = _read_note(path)
    if note is None or not (left := [key for key in note.keys if key not in keys]):
        path.unlink(missing_ok=True)
    elif len(left) < len(note.keys):
        replace(note, keys=left).write(folder)


@dataclass(slots=True, eq=False)
class _Call:
    """A request that waits to be put into a batch."""

    request: Request
    future: Future[Answer] = field(default_factory=Future)


class BatchError(Exception):
    """The endpoint does not take, or does not give, a batch; ``answer`` is what becomes of its requests."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.detail)
        self.answer = answer


class OpenAIBatchEngine:
    """Requests in batches of up to 50,000. Notes about them are kept in ``folder``, which only runs of one output share.

    Raises:
        ValueError: the key cannot be sent.
    """

    in_flight = MOST_REQUESTS // 2

    def __init__(self, settings: OpenAISettings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        if not on_store(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._identity = canonical(openai_api.identity(settings))
        self._client = Client(settings, settings.timeout)
        self._lock = threading.Lock()
        self._submitted: list[_Call] = []
        self._open: set[Future[Answer]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._loop, self._thread = loop_in_thread("sluice-openai-batch")

    def submit(self, request: Request) -> Future[Answer]:
        """Queue one request, from any thread. The future is set by the engine's thread, perhaps a day later."""
        call = _Call(request)
        with self._lock:
            if not self._closed:
                self._submitted.append(call)
                if len(self._submitted) == 1:
                    self._loop.call_soon_threadsafe(self._listen, 0)
                return call.future
        call.future.set_result(_closed())
        return call.future

    def close(self) -> None:
        """Stop; requests under way come back as failures. Their batches go on, and a later run finds them."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for future in [*self._open, *(call.future for call in self._submitted)]:
            if not future.done():
                future.set_result(_closed())
        await self._client.close()
        self._loop.stop()

    def _listen(self, before: int) -> None:
        """Wait until no more requests come, or as many as a batch may hold."""
        with self._lock:
            if self._closed:
                return
            count = len(self._submitted)
            ready = count >= MOST_REQUESTS or count == before
            calls = self._submitted if ready else []
            if ready:
                self._submitted = []
        if not ready:
            self._loop.call_later(QUIET, self._listen, count)
            return
        started = [call for call in calls if call.future.set_running_or_notify_cancel()]
        self._open.update(call.future for call in started)
        self._start(self._dispatch(started), {"": [call.future for call in started]})

    def _start(self, work: Any, calls: _Calls) -> None:
        """Run something as a task; whatever goes wrong with it fails the calls it is about."""

        async def guarded() -> None:
            try:
                await work
            except BatchError as error:
                self._settle(calls, error.answer)
            except Exception as error:
                self._settle(calls, Answer(failure="engine_error", detail=f"{type(error).__name__}: {error}"))

        task = self._loop.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _settle(self, calls: _Calls, answer: Answer) -> None:
        for futures in calls.values():
            for future in futures:
                self._answer(future, answer)

    def _answer(self, future: Future[Answer], answer: Answer) -> None:
        self._open.discard(future)
        if not future.done():
            future.set_result(self._client.secrets.cleared(answer))

    async def _dispatch(self, started: list[_Call]) -> None:
        """Divide requests among batches that were noted before, and new ones."""
        calls: dict[str, _Call] = {}
        futures: _Calls = defaultdict(list)
        for call in started:
            key = request_key(self._identity, call.request)
            calls.setdefault(key, call)
            futures[key].append(call.future)
        for note in notes(self.folder):
            if found := {key: calls.pop(key) for key in note.keys if key in calls}:
                mine = {key: futures[key] for key in found}
                requests = {key: call.request for key, call in found.items()}
                self._start(self._resume(note, requests, mine), mine)
        self._renew({key: call.request for key, call in calls.items()}, futures)

    def _renew(self, requests: dict[str, Request], futures: _Calls) -> None:
        """Put requests into new batches."""
        for kind in openai_api.PATHS:
            keys: list[str] = []
            lines: list[bytes] = []
            size = 0
            for key, request in requests.items():
                if request.kind != kind:
                    continue
                try:
                    line = self._line(key, request)
                except Exception as error:
                    detail = f"{type(error).__name__}: {error}"
                    self._settle({key: futures[key]}, Answer(failure="engine_error", detail=detail))
                    continue
                if lines and (len(lines) == MOST_REQUESTS or size + len(line) > MOST_BYTES):
                    self._submit_batch(kind, keys, lines, futures)
                    keys, lines, size = [], [], 0
                keys.append(key)
                lines.append(line)
                size += len(line)
            if lines:
                self._submit_batch(kind, keys, lines, futures)

    def _line(self, key: str, request: Request) -> bytes:
        body = orjson.Fragment(openai_api.body(self.settings, request, {}))
        url = f"/v1/{openai_api.PATHS[request.kind]}"
        return orjson.dumps({"custom_id": key, "method": "POST", "url": url, "body": body}) + b"\n"

    def _submit_batch(self, kind: str, keys: list[str], lines: list[bytes], futures: _Calls) -> None:
        mine = {key: futures[key] for key in keys}
        self._start(self._new(Note(uuid.uuid4().hex, "", kind, keys), b"".join(lines), mine), mine)

    async def _new(self, note: Note, content: bytes, calls: _Calls) -> None:
        """Upload a file, make it a batch, note it, and wait for it."""
        base, file = await self._uploaded(content)
        del content
        note = replace(note, base=public(base))
        note.write(self.folder)
        try:
            batch = await self._created(note, base, file)
        except BatchError as error:
            if error.answer.failure not in PASSING:  # after those there may be a batch
                strike(self.folder, note.name, calls)
            raise
        note = replace(note, batch=batch)
        note.write(self.folder)
        for other in notes(self.folder):
            if other.name != note.name:
                strike(self.folder, other.name, calls)
        await self._collect(note, base, calls)

    async def _resume(self, note: Note, requests: dict[str, Request], calls: _Calls) -> None:
        """Wait for a batch that was noted before; where there is none after all, send its requests anew."""
        addresses = {public(base): base for base in self.settings.base_url}
        base = addresses.get(note.base, self.settings.base_url[0])
        if note.batch is None and (batch := await self._found(note, base)):
            note = replace(note, batch=batch)
            note.write(self.folder)
        if note.batch is not None:
            try:
                await self._collect(note, base, calls)
                return
            except BatchError as error:
                if error.answer.failure != "unknown_model":  # 404: the provider knows of no such batch
                    raise
        open_requests = {key: one for key, one in requests.items() if not calls[key][0].done()}
        self._renew(open_requests, calls)

    async def _uploaded(self, content: bytes) -> tuple[str, str]:
        """The first address that takes a file, and the file's id there."""
        refused = None
        for base in self.settings.base_url:
            url = openai_api.address(base, "files")
            try:
                reply = await self._asked(partial(self._client.upload, url, content, purpose="batch"), TRANSFER)
                return base, str(reply.get("id"))
            except BatchError as error:
                refused = error
        assert refused is not None
        raise refused

    async def _created(self, note: Note, base: str, file: str) -> str:
        """The id of a new batch. Whether there is one already is looked up before each further try."""
        wanted = {
            "input_file_id": file,
            "endpoint": f"/v1/{openai_api.PATHS[note.kind]}",
            "completion_window": "24h",
            "metadata": {"sluice": note.name},
        }
        url = openai_api.address(base, "batches")
        for failures in range(1, self.settings.max_tries + 1):
            try:
                reply = await self._once(self._client.post(url, orjson.dumps(wanted)))
                return str(reply.get("id"))
            except BatchError as error:
                if error.answer.failure not in PASSING or failures == self.settings.max_tries:
                    raise
            await asyncio.sleep(pause(failures, self.settings.max_wait))
            if batch := await self._found(note, base):
                return batch
        raise AssertionError

    async def _found(self, note: Note, base: str) -> str | None:
        """The id of a batch that was made, of which we did not hear."""
        after = ""
        while True:
            url = openai_api.address(base, "batches")
            url += f"{'&' if '?' in url else '?'}limit=100{after}"
            reply = await self._asked(partial(self._client.get, url))
            rows = reply.get("data") or []
            for row in rows:
                if (row.get("metadata") or {}).get("sluice") == note.name:
                    return str(row["id"])
            if not reply.get("has_more") or not rows:
                return None
            after = f"&after={rows[-1]['id']}"

    async def _collect(self, note: Note, base: str, calls: _Calls) -> None:
        """Wait for a batch to end, and settle its requests.

        Failures are struck off the note before they are told, so that asking again is a new request.
        """
        since = time.monotonic()
        batch = await self._ended(openai_api.address(base, f"batches/{note.batch}"))
        failures: dict[str, Answer] = {}
        missing = dict(calls)
        for name in ("output_file_id", "error_file_id"):
            if file := batch.get(name):
                url = openai_api.address(base, f"files/{file}/content")
                await self._read(url, note.kind, missing, failures, since)
        name, detail = ENDED[batch["status"]]
        faults = (batch.get("errors") or {}).get("data") or []
        if batch["status"] == "failed" and faults and isinstance(faults[0], dict):
            told = openai_api.failure(429 if "limit" in str(faults[0].get("code")) else 400, faults[0])
            name, detail = told.failure or name, f"the batch failed: {told.detail}"
        for key in missing:
            failures.setdefault(key, Answer(failure=name, detail=detail))
        if failures:
            strike(self.folder, note.name, failures)
        for key, answer in failures.items():
            self._settle({key: calls[key]}, answer)

    async def _ended(self, url: str) -> dict[str, Any]:
        """The batch, once it has ended."""
        wait = min(1.0, self.settings.max_wait)
        heard = time.monotonic()
        while True:
            try:
                batch = await self._once(self._client.get(url))
                if batch.get("status") in ENDED:
                    return batch
                heard = time.monotonic()
            except BatchError as error:
                patience = self.settings.max_tries * max(self.settings.max_wait, self.settings.timeout)
                if error.answer.failure not in PASSING or time.monotonic() - heard > patience:
                    raise
            await asyncio.sleep(wait)
            wait = min(wait * 1.5, self.settings.max_wait)

    async def _read(self, url: str, kind: str, missing: _Calls, failures: dict[str, Answer], since: float) -> None:
        """Settle what a result file answers, and take it off what is missing. A download that breaks is begun anew."""
        for tried in range(1, self.settings.max_tries + 1):
            try:
                async for key, answer in self._results(url, kind):
                    if key in missing and answer.failure is None:
                        self._settle({key: missing.pop(key)}, answer._replace(latency=time.monotonic() - since))
                    elif key in missing:
                        failures[key] = answer
                return
            except ExchangeError as error:
                if error.answer.failure not in PASSING or tried == self.settings.max_tries:
                    raise BatchError(error.answer) from None
            await asyncio.sleep(pause(tried, self.settings.max_wait))

    async def _results(self, url: str, kind: str) -> AsyncIterator[tuple[str, Answer]]:
        """Keys and answers of a result file, a line each. Lines that cannot be read are as if they were not there."""
        most = self.settings.max_answer_bytes
        chunks = self._client.chunks(self._client.get(url).timeout(timedelta(seconds=TRANSFER)))
        async for line in _lines(chunks, most):
            named = _CUSTOM_ID.search(line)
            if named is None:
                continue
            key = named[1].decode()
            if len(line) > most:
                yield key, Answer(failure="answer_too_long", detail=f"the response is larger than {most:,} bytes")
            elif (answer := _result(kind, line)) is not None:
                yield key, answer

    async def _asked(self, request: Callable[[], Any], timeout: float | None = None) -> dict[str, Any]:
        """The endpoint's reply, after as many tries as are allowed. ``timeout``: seconds for each."""
        limit = timedelta(seconds=timeout or self.settings.timeout)
        for tried in range(1, self.settings.max_tries + 1):
            try:
                return await self._once(request().timeout(limit))
            except BatchError as error:
                if error.answer.failure not in PASSING or tried == self.settings.max_tries:
                    raise
            await asyncio.sleep(pause(tried, self.settings.max_wait))
        raise AssertionError

    async def _once(self, request: Any) -> dict[str, Any]:
        """The endpoint's reply: an object.

        Raises:
            BatchError: there is none.
        """
        try:
            received = await self._client.exchange(request, REPLY)
        except ExchangeError as error:
            raise BatchError(error.answer) from None
        if received.status != 200:
            raise BatchError(openai_api.answer("chat", received.status, received.content))
        try:
            reply = openai_api.decoded(received.content)
        except (ValueError, RecursionError):
            reply = None
        if not isinstance(reply, dict):
            raise BatchError(Answer(failure="malformed_response", detail="expected a JSON object about a batch"))
        return reply


async def _lines(chunks: AsyncIterator[bytes], most: int) -> AsyncIterator[bytes]:
    """The lines of a stream; of one that is longer, so many bytes and one more."""
    held = bytearray()
    async for chunk in chunks:
        *whole, rest = chunk.split(b"\n")
        for piece in whole:
            yield bytes(held + piece[: most + 1 - len(held)])
            held.clear()
        held += rest[: most + 1 - len(held)]
    if held:
        yield bytes(held)


def _result(kind: str, line: bytes) -> Answer | None:
    """What one line of a result file says; None if it cannot be read."""
    try:
        entry = openai_api.decoded(line)
        response, error = entry.get("response"), entry.get("error")
        if response:
            return openai_api.interpreted(kind, int(response["status_code"]), response["body"])
        expired = error.get("code") == "batch_expired"
        return openai_api.failure(500, error)._replace(failure="timeout" if expired else "server_error")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _closed() -> Answer:
    return Answer(failure="engine_error", detail="the engine was closed")
