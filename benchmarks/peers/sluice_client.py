"""Sluice, as a model stage asks: every answer is in a closed segment of the journal before its reply.

With ``--stage`` it is the judge's stage itself: whole prompts, rendered from a frame as they are sent.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from itertools import islice
from pathlib import Path

import contest
import polars as pl
import psutil

from pipelines.desk import Desk
from schemas.answers import Request, canonical
from schemas.provenance import SourceFile, Split
from transforms.chunks import ModelStage
from transforms.feedback import judging
from transforms.models import prompts
from transforms.models.asking import Client, Reply
from transforms.models.settings import OpenAISettings, Price, Sampling

CHUNK = 5_000
"""Requests of a chunk: about what a split of 64 MiB of chats comes to."""

SIDE_BY_SIDE = 2
"""Chunks that wait for their replies at once, as in the pipeline."""

NOWHERE = Split(SourceFile("bench", "bench", 0, "jsonl", "bench", 0, "", "", "bench"), 0, 0, None, 0)
PROMPT = Path(__file__).resolve().parents[2] / "configs/feedback/prompts/judge.yaml"


def main() -> None:
    """Ask, and tell."""
    whole_stage = "--stage" in sys.argv
    if whole_stage:
        sys.argv.remove("--stage")
    task = contest.task()
    stage = _stage(task)
    desk = Desk(task.folder / "journal", task.folder / "leases", max_requests=10 * task.requests + 100, max_cost=1e9)
    client = desk.client(stage)
    warmed = client.ask(map(partial(_request, stage), task.warming())).result()
    assert all(reply.usable for reply in warmed)
    segments = _segments(desk)
    source = _frames(task, stage) if whole_stage else _chunks(task, stage)
    process, resident, answered = psutil.Process(), [], 0
    watch = contest.Watch()
    for replies in _replies(client, source):
        assert all(reply.usable and reply.sent == 1 for reply in replies)
        answered += len(replies)
        resident.append(process.memory_info().rss)
    tenth = resident[max(len(resident) // 10 - 1, 0)]
    watch.tell(
        answered,
        segments=_segments(desk) - segments,
        resident={"tenth": tenth, "end": resident[-1], "peak": max(resident)},
    )


def _stage(task: contest.Task) -> ModelStage:
    model = OpenAISettings(
        engine="openai",
        model=contest.MODEL,
        base_url=task.url,
        in_flight=task.in_flight,
        price=Price(input=0.1, output=0.4),
    )
    sampling = canonical(Sampling(**contest.SAMPLING).model_dump())
    ask = partial(judging.ask, prompt=prompts.load(PROMPT), context="exchange", sampling=sampling, cascade=None)
    return ModelStage("judge", 1, model, 3, ask, judging.settle)


def _request(stage: ModelStage, prompt: str) -> Request:
    asked: dict[str, object] = stage.ask.keywords  # type: ignore[attr-defined]
    judge: prompts.Prompt = asked["prompt"]
    return Request((("user", prompt),), judge.template, asked["sampling"], judge.schema)


def _chunks(task: contest.Task, stage: ModelStage) -> Iterator[Iterable[Request]]:
    """Requests, a chunk at a time."""
    drawn = task.prompts()
    while chunk := list(islice(drawn, CHUNK)):
        yield map(partial(_request, stage), chunk)


def _frames(task: contest.Task, stage: ModelStage) -> Iterator[Iterable[Request]]:
    """The same of frames, by the stage's own function."""
    for start in range(0, task.requests, CHUNK):
        rows = [task.exchange(number) for number in range(start, min(start + CHUNK, task.requests))]
        yield stage.ask(pl.DataFrame(rows), NOWHERE)


def _replies(client: Client, chunks: Iterable[Iterable[Request]]) -> Iterator[list[Reply]]:
    """Replies chunk by chunk, a few chunks waiting side by side."""
    pending: deque[Future[list[Reply]]] = deque()
    for requests in chunks:
        pending.append(client.ask(requests))
        while pending and (len(pending) > SIDE_BY_SIDE or pending[0].done()):
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _segments(desk: Desk) -> int:
    return sum(1 for _ in desk.journal.glob("*.parquet"))


if __name__ == "__main__":
    main()
