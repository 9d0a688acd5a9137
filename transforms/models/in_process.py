"""Engines that run a model in this process: one thread owns the model, another hands out the answers.

submit -> prompt's tokens -> waiting -> [model's thread: add, step, add, step, ...] -> [desk's thread: text, future]

The model never waits for whoever uses the answers, and a request joins what is under way at the model's next step.
"""

from __future__ import annotations

import atexit
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Final, Protocol

from schemas.answers import Answer, Request
from transforms.models.chat_templates import ChatTokenizer, Prompt, one_line
from transforms.models.settings import Sampling

RESTARTS: Final = 3
"""Failed steps in a row, no answer between them, after which a model is not loaded again."""

HALF_CHARACTER: Final = "\ufffd"
"""What is left of a character whose last bytes fell beyond the token limit."""

CLOSED: Final = "the engine was closed before the answer came"


@dataclass(frozen=True, slots=True)
class Written:
    """The tokens a model wrote for the request of that number, or the ``error`` that kept it from writing.

    ``finish_reason`` is ``stop`` (the last token is the one that ended it) or ``length``; ``held`` says that all of it, from the first token on, was held to the
    request's schema: there is no thinking in it. ``at`` is when, by the clock that counts seconds of latency.
    """

    number: int
    ids: Sequence[int] = ()
    finish_reason: str = ""
    held: bool = False
    error: str | None = None
    at: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True, slots=True)
class Job:
    """A request with its prompt's tokens. ``seed`` is the sampling's, raised by the attempt."""

    number: int
    prompt: Prompt
    request: Request
    sampling: Sampling

    @property
    def seed(self) -> int | None:
        """The seed of this attempt."""
        return None if self.sampling.seed is None else self.sampling.seed + self.request.attempt


class Model(Protocol):
    """A loaded model. Only the thread that loaded it touches it."""

    context: int
    """Tokens of prompt and answer together, at most."""

    vocabulary: int
    """Token ids it knows: those below this."""

    linger: float
    """Seconds it waits for one more request before a step, as long as it has fewer than it takes at once."""

    def add(self, job: Job) -> None:
        """Take a request in. Raises ValueError where the request is at fault."""

    def step(self) -> list[Written]:
        """Go on with what was taken in; what is finished. An exception ends all that was taken in."""

    def close(self) -> None:
        """Let go of memory and threads."""


@dataclass(slots=True)
class _Asked:
    job: Job
    future: Future[Answer]
    since: float = field(default_factory=time.perf_counter)


class InProcessEngine:
    """The ``Engine`` protocol over a ``Model``.

    ``load`` makes the model, in the thread that will own it; the event it is given is set when the engine closes, so that a
    long step can end early. A step that raises fails the requests inside, and the model is loaded anew; where that fails,
    or steps go on failing, every later request fails with the reason.

    Raises:
        CheckpointError: the model cannot be loaded.
    """

    def __init__(self, chat: ChatTokenizer, load: Callable[[threading.Event], Model], in_flight: int) -> None:
        self.in_flight = in_flight
        self._chat, self._load = chat, load
        self._numbers = itertools.count()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._waiting: SimpleQueue[_Asked | None] = SimpleQueue()
        self._written: SimpleQueue[tuple[_Asked, Written | Answer] | None] = SimpleQueue()
        self._inside: dict[int, _Asked] = {}
        loaded: Future[Model] = Future()
        self._threads = [
            threading.Thread(target=self._own, args=(loaded,), name="sluice-model", daemon=True),
            threading.Thread(target=self._hand_out, name="sluice-answers", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        try:
            self._model = loaded.result()
        except BaseException:
            self.close()
            raise
        atexit.register(self.close)

    def submit(self, request: Request) -> Future[Answer]:
        """Send one request, from any thread; ``kind`` embedding is refused."""
        future: Future[Answer] = Future()
        future.set_running_or_notify_cancel()
        try:
            asked = _Asked(self._job(request), future)
        except ValueError as error:
            future.set_result(Answer(failure="bad_request", detail=one_line(error)))
            return future
        if (refusal := self._refusal(asked.job.prompt.ids)) is not None:
            future.set_result(refusal)
            return future
        with self._lock:
            if not self._closing.is_set():
                self._waiting.put(asked)
                return future
        future.set_result(Answer(failure="engine_error", detail=CLOSED))
        return future

    def close(self) -> None:
        """Stop; requests under way come back as failures. May be called more than once."""
        with self._lock:
            if not self._closing.is_set():
                self._closing.set()
                self._waiting.put(None)
        for thread in self._threads:
            thread.join()
        atexit.unregister(self.close)

    def _job(self, request: Request) -> Job:
        if request.kind != "chat":
            raise ValueError(f"expected a chat, got kind {request.kind!r}: this engine makes no embeddings")
        sampling = Sampling.model_validate_json(request.sampling)
        return Job(next(self._numbers), self._chat.prompt(request.messages), request, sampling)

    def _refusal(self, ids: list[int]) -> Answer | None:
        """What is said to a prompt that the model cannot take."""
        length, model = len(ids), self._model
        if length >= model.context:
            detail = f"the prompt is {length} tokens long, the context {model.context}"
            return Answer(failure="context_too_long", input_tokens=length, detail=detail)
        if not ids or max(ids) >= model.vocabulary:
            detail = f"the prompt holds no token, or one beyond the model's {model.vocabulary}"
            return Answer(failure="bad_request", input_tokens=length, detail=detail)
        return None

    def _own(self, loaded: Future[Model]) -> None:
        """The model's thread: load, then take in and step until closed."""
        try:
            self._model = self._load(self._closing)
        except BaseException as error:
            self._written.put(None)
            loaded.set_exception(error)
            return
        loaded.set_result(self._model)
        failed = 0
        lost: str | None = None
        while not self._closing.is_set():
            for asked in self._arrivals():
                if lost is not None:
                    self._written.put((asked, Answer(failure="engine_error", detail=lost)))
                else:
                    self._take_in(asked)
            if not self._inside or self._closing.is_set():
                continue
            try:
                for written in self._model.step():
                    failed = 0
                    self._written.put((self._inside.pop(written.number), written))
            except BaseException as error:  # nobody above this thread would notice
                failed += 1
                reason = f"the model failed: {one_line(error)}"
                self._fail_inside(reason)
                lost = self._reload(reason, failed)
        self._fail_inside(CLOSED)
        while not self._waiting.empty():
            if (late := self._waiting.get()) is not None:
                self._written.put((late, Answer(failure="engine_error", detail=CLOSED)))
        try:
            if lost is None:
                self._model.close()
        finally:
            self._written.put(None)

    def _arrivals(self) -> Iterator[_Asked]:
        """What waits now; with nothing inside, the next that comes; with little inside, what comes soon."""
        try:
            while True:
                soon = self._model.linger if 0 < len(self._inside) < self.in_flight else 0.0
                asked = self._waiting.get(timeout=soon) if soon else self._waiting.get(block=not self._inside)
                if asked is None:
                    return
                yield asked
        except Empty:
            return

    def _take_in(self, asked: _Asked) -> None:
        try:
            self._model.add(asked.job)
        except ValueError as error:
            self._written.put((asked, Answer(failure="bad_request", detail=one_line(error))))
        except Exception as error:
            self._written.put((asked, Answer(failure="engine_error", detail=one_line(error))))
        else:
            self._inside[asked.job.number] = asked

    def _fail_inside(self, reason: str) -> None:
        for asked in self._inside.values():
            self._written.put((asked, Answer(failure="engine_error", detail=reason)))
        self._inside.clear()

    def _reload(self, reason: str, failed: int) -> str | None:
        """Load the model again; why no more requests are taken, if that cannot be."""
        try:
            self._model.close()
            if failed > RESTARTS:
                return f"given up after {failed} failed steps in a row; {reason}"
            self._model = self._load(self._closing)
        except Exception as error:
            return f"given up: {reason}; loading it again: {one_line(error)}"
        return None

    def _hand_out(self) -> None:
        """The desk's thread: texts and futures."""
        while (item := self._written.get()) is not None:
            asked, written = item
            asked.future.set_result(written if isinstance(written, Answer) else self._answer(asked, written))

    def _answer(self, asked: _Asked, written: Written) -> Answer:
        job = asked.job
        usage: dict[str, Any] = {
            "input_tokens": len(job.prompt.ids),
            "output_tokens": len(written.ids),
            "latency": written.at - asked.since,
        }
        if written.error is not None:
            return Answer(failure="engine_error", detail=written.error, **usage)
        ids = written.ids[:-1] if written.finish_reason == "stop" else written.ids
        try:
            if written.held:
                text, reasoning = self._chat.text(ids), None
            else:
                text, reasoning = self._chat.separate(ids, job.prompt.thinking)
        except Exception as error:  # nobody above this thread would notice
            return Answer(failure="engine_error", detail=f"what was written cannot be read: {one_line(error)}", **usage)
        if written.finish_reason == "length":
            text = text.rstrip(HALF_CHARACTER)
        return Answer(text=text, reasoning=reasoning, finish_reason=written.finish_reason, **usage)
