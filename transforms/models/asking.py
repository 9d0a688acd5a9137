"""Asking a model: what the journal knows, then the engine; no answer is used before it is durable.

stage.ask -> requests -> journal? -> engine -> journal segment closed -> check -> reply
                            ^                                             |
                            +---------- unusable: asked once more --------+
"""

from __future__ import annotations

import base64
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Final, Protocol

from schemas.answers import USABLE, Answer, Request, request_key
from transforms.models import structured
from transforms.models.engines import Engine

HANDED: Final = 2
"""Requests handed to the engine, in units of what it takes at once: it never waits for the next."""

WAITING: Final = 8
"""Requests that wait here for the engine, in the same units, before whoever asks has to wait too."""

BLOCK: Final = 512
"""Requests that are looked up in the journal together."""

HOPELESS: Final = ("authentication", "unknown_model")
PATIENCE: Final = 16
"""So many hopeless failures in a row, and no answer before them, end the run: every other request would fare the same."""


class AskingError(Exception):
    """No more can be asked of this model; the message says why and what to do."""


class Journal(Protocol):
    """Where answers are kept (``transforms.models.journal``)."""

    def find(self, keys: Sequence[str], failures: bool = True) -> dict[str, Answer]: ...

    def add(self, key: str, identity: str, request: Request, answer: Answer) -> Future[Answer]: ...

    def flush(self) -> None: ...


class Budget(Protocol):
    """What may still be spent (``transforms.models.budgets``)."""

    def take(self, request: Request) -> float: ...

    def settle(self, charged: float, answer: Answer) -> None: ...


@dataclass(slots=True)
class Reply:
    """What came of one request, after as many attempts as were allowed.

    ``key`` names the journal entry that decided, ``status`` is of ``STATUSES``, ``value`` the answer's JSON object (a
    base64 text for embeddings) or None. ``sent`` counts the requests it took; 0 where the journal knew the answer.
    """

    key: str
    status: str
    value: Any
    answer: Answer
    sent: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def usable(self) -> bool:
        """Whether ``value`` is an answer."""
        return self.status in USABLE


@dataclass(slots=True)
class _Asked:
    """A request on its way: the futures' bookkeeping of one ``ask`` share a batch."""

    request: Request
    key: str
    batch: _Batch
    place: int
    charged: float = 0.0
    sent: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(slots=True)
class _Batch:
    """Replies of one ``ask``, as they come in; ``open`` counts those missing, and one more until all are asked for."""

    replies: list[Reply | None] = field(default_factory=list)
    open: int = 1
    future: Future[list[Reply]] = field(default_factory=Future)


class Client:
    """Asks one engine on behalf of any number of chunks at once. Thread-safe.

    ``attempts`` is how often an unusable answer is asked for in all; ``retry_failed`` asks again what the journal holds only
    as a failure. Requests that are equal are sent once.
    """

    def __init__(
        self,
        engine: Callable[[], Engine],
        identity: str,
        journal: Journal,
        budget: Budget,
        attempts: int,
        retry_failed: bool,
    ) -> None:
        self._start, self.identity, self.journal, self.budget = engine, identity, journal, budget
        self.attempts, self.retry_failed = attempts, retry_failed
        self._engine: Engine | None = None
        self._lock = threading.RLock()
        self._room = threading.Condition(self._lock)
        self._waiting: deque[_Asked] = deque()
        self._flying: dict[str, list[_Asked]] = {}
        self._out = 0
        self._drawing = 0
        self._hopeless: int | None = 0
        self._error: Exception | None = None

    def ask(self, requests: Iterable[Request]) -> Future[list[Reply]]:
        """Ask for answers, which the future gives in the order of the requests.

        Requests are drawn as the engine takes them: this returns when all but a queue's length are on their way. The
        future raises what ended the asking (``AskingError``, or ``OSError`` where the journal cannot be written).
        """
        batch = _Batch()
        drawn = iter(requests)
        with self._lock:
            self._drawing += 1
        try:
            self._draw(drawn, batch)
        finally:
            with self._lock:
                self._drawing -= 1
            self._flush_if_idle()
        return batch.future

    def _draw(self, drawn: Iterator[Request], batch: _Batch) -> None:
        """Send requests on their way, as there is room for them."""
        while block := list(islice(drawn, BLOCK)):
            with self._room:
                self._room.wait_for(lambda: self._error is not None or len(self._waiting) < self._most_waiting())
                first = len(batch.replies)
                batch.replies += [None] * len(block)
                batch.open += len(block)
            self._pursue(
                [_Asked(one, request_key(self.identity, one), batch, first + at) for at, one in enumerate(block)]
            )
            if batch.future.done():
                return
        self._close(batch)

    def _flush_if_idle(self) -> None:
        """When no answer is awaited and none will be asked for at once, the last ones need not wait for their segment."""
        with self._lock:
            idle = not (self._out or self._waiting or self._drawing)
        if idle:
            self.journal.flush()

    def _most_waiting(self) -> int:
        return WAITING * self._engine.in_flight if self._engine else BLOCK

    def _close(self, batch: _Batch) -> None:
        """One reply less to wait for."""
        with self._lock:
            batch.open -= 1
            done = batch.open == 0 and not batch.future.done()
        if done:
            batch.future.set_result([reply for reply in batch.replies if reply is not None])

    def _pursue(self, asked: list[_Asked]) -> None:
        """Settle from the journal what it knows, attempt after attempt, and queue the rest."""
        while asked:
            found = self.journal.find([one.key for one in asked], failures=not self.retry_failed)
            following = []
            for one in asked:
                answer = found.get(one.key)
                if answer is None:
                    with self._lock:
                        self._waiting.append(one)
                elif (again := self._judge(one, answer)) is not None:
                    following.append(again)
            asked = following
        self._pump()

    def _judge(self, one: _Asked, answer: Answer) -> _Asked | None:
        """Turn a durable answer into a reply, or into the next attempt."""
        status, value = _check(one.request, answer)
        if status not in USABLE and status != "failed" and one.request.attempt + 1 < self.attempts:
            one.request = one.request.again()
            one.key = request_key(self.identity, one.request)
            return one
        one.batch.replies[one.place] = Reply(
            one.key, status, value, answer, one.sent, one.input_tokens, one.output_tokens
        )
        self._close(one.batch)
        return None

    def _pump(self) -> None:
        """Hand waiting requests to the engine, as many as keep it busy."""
        while True:
            with self._lock:
                if not self._waiting:
                    return
                if self._error is not None:
                    self._fail(self._error)
                    return
                if self._engine is None:
                    self._engine = self._start()
                if self._out >= HANDED * self._engine.in_flight:
                    return
                one = self._waiting.popleft()
                if len(self._waiting) < self._most_waiting():
                    self._room.notify_all()
                if one.key in self._flying:
                    self._flying[one.key].append(one)
                    continue
                try:
                    one.charged = self.budget.take(one.request)
                except AskingError as error:
                    self._waiting.appendleft(one)
                    self._fail(error)
                    return
                self._flying[one.key] = [one]
                self._out += 1
                engine = self._engine
            engine.submit(one.request).add_done_callback(partial(self._answered, one))

    def _answered(self, one: _Asked, future: Future[Answer]) -> None:
        """Called by the engine: free its place at once, and have the answer written down."""
        try:
            answer = future.result()
        except Exception as error:
            answer = Answer(failure="engine_error", detail=f"{type(error).__name__}: {error}"[:500])
        self.budget.settle(one.charged, answer)
        self._watch(answer)
        with self._lock:
            self._out -= 1
        self.journal.add(one.key, self.identity, one.request, answer).add_done_callback(
            partial(self._durable, one, answer)
        )
        self._pump()
        self._flush_if_idle()

    def _watch(self, answer: Answer) -> None:
        """Notice a key or a model that the endpoint does not have, before every request is spent on it."""
        if answer.failure is None:
            self._hopeless = None
        elif self._hopeless is not None and answer.failure in HOPELESS:
            self._hopeless += 1
            if self._hopeless >= PATIENCE:
                self._error = AskingError(
                    f"{answer.failure}: {answer.detail}; the first {self._hopeless} requests failed; mend that, and add --retry-failed"
                )

    def _durable(self, one: _Asked, sent: Answer, future: Future[Answer]) -> None:
        """Called by the journal once the answer's segment is closed, with the answer that counts."""
        with self._lock:
            asked = self._flying.pop(one.key)
        one.sent += 1
        one.input_tokens += sent.input_tokens
        one.output_tokens += sent.output_tokens
        try:
            answer = future.result()
            if following := [again for waiting in asked if (again := self._judge(waiting, answer)) is not None]:
                self._pursue(following)
        except Exception as error:  # nobody above this thread would notice
            with self._lock:
                self._waiting.extendleft(asked)
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Give up on everything that waits. The lock is held."""
        self._error = error
        self._room.notify_all()
        while self._waiting:
            batch = self._waiting.popleft().batch
            if not batch.future.done():
                batch.future.set_exception(error)


def _check(request: Request, answer: Answer) -> tuple[str, Any]:
    """Status and value of a durable answer."""
    if request.kind == "chat":
        return structured.check(answer, request.schema)
    if answer.failure is not None:
        return "failed", None
    return ("ok", base64.b64decode(answer.text)) if answer.text else ("empty", None)
