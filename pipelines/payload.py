"""The payload pass: splits to parts, one after another through all stages in one worker."""

from __future__ import annotations

import errno
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

import apache_beam as beam
import polars as pl
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

import transforms.coders  # noqa: F401  # chunks travel in Arrow IPC
from pipelines import worker
from pipelines.desk import Desk
from pipelines.recipe import Recipe
from schemas.provenance import Chunk, Split
from transforms.chunks import AnyStage, ModelStage, Stage, apply, settle
from transforms.io import files, parts, plans, snapshots, splits, tallies
from transforms.io.snapshots import Group
from transforms.io.sources import SourceError
from transforms.io.tables import shaped
from transforms.models.asking import AskingError, Reply

_HELD_BYTES: Final = 256 << 20
"""Bytes of chunks that may wait for their replies beside the newest two: small chunks keep an engine busy together."""

T = TypeVar("T")

IN_PROCESS: Final = ("vllm", "transformers")
"""Engines that run in the worker's own process; others are asked over the network."""

_FATAL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


def indices(pipeline: beam.Pipeline, rows: int, hands: int, work: Path) -> beam.PCollection:
    """Indices of a plan's rows, dealt out to so many hands in turn; the graph holds ranges of them."""
    ranges = pipeline | "plan" >> beam.Create(plans.ranges(rows, hands), reshuffle=False)
    dealt = ranges | "arrive" >> beam.Map(worker.arrive, work) | "deal" >> beam.Reshuffle()
    return dealt | "rows" >> beam.FlatMapTuple(plans.rows).with_output_types(int)


def record_failure(work: Path, split: Split, stage: str, error: Exception) -> None:
    """Note that a split failed and why; its neighbours go on.

    Raises:
        OSError: the work area cannot be written to, which ends the run.
    """
    if isinstance(error, OSError) and error.errno in _FATAL:
        raise error
    worker.release(str(split))
    told = isinstance(error, SourceError | AskingError)
    kind = "" if told else f"{type(error).__name__}: "
    facts = {"split": split.key, "uri": split.file.relative_uri, "place": str(split), "stage": stage}
    if isinstance(error, AskingError):
        facts["advice"] = "run the same command to go on"
    message = f"{kind}{error}".splitlines()[0] if str(error) else type(error).__name__
    files.write_bytes(work / "failures" / f"{split.key}.json", json.dumps({**facts, "error": message}).encode())


def failures(work: Path) -> list[dict[str, str]]:
    """Failed splits of this run, in order of their place."""
    folder = work / "failures"
    found = [json.loads(path.read_bytes()) for path in folder.glob("*.json")] if folder.exists() else []
    return sorted(found, key=lambda failure: failure["place"])


def following(split: Split) -> Split:
    """The open split after one of a stream whose end is not known."""
    return replace(split, ordinal=split.ordinal + 1, start=split.start + split.bytes)


def read_keys(index: int, plan: Path, work: Path, read: Callable[[Split], Iterator[T]]) -> Iterator[T]:
    """What a key pass reads of a planned split; a split that cannot be read is a failure of its own."""
    split = splits.read_plan(plan, index)
    worker.claim(f"keys of {split}")
    try:
        yield from read(split)
    except Exception as error:
        record_failure(work, split, "read keys", error)
    worker.release(f"keys of {split}")


class ReadSplit(beam.DoFn):
    """Split index to its chunk, unless the split has a receipt."""

    def __init__(self, recipe: Recipe, plan: Path, work: Path) -> None:
        self.recipe, self.plan, self.work = recipe, plan, work

    def process(self, index: int) -> Iterator[Chunk]:
        split = splits.read_plan(self.plan, index)
        if parts.receipt_path(self.work, split.part).exists():
            return
        worker.claim(str(split))
        try:
            yield from self.recipe.read(split)
        except Exception as error:
            record_failure(self.work, split, "read", error)


class ApplyStage(beam.DoFn):
    """One stage; a chunk it cannot process fails its split, not the run."""

    def __init__(self, stage: Stage, recipe: Recipe, work: Path) -> None:
        self.stage, self.reject, self.work = stage, recipe.reject, work
        self.rows = beam.metrics.Metrics.counter("sluice", f"{stage.name}: rows in")

    def process(self, chunk: Chunk) -> Iterator[Chunk]:
        self.rows.inc(chunk.kept.num_rows)
        try:
            yield apply(self.stage, chunk, self.reject)
        except Exception as error:
            record_failure(self.work, chunk.split, self.stage.name, error)


class AskModel(beam.DoFn):
    """One model stage. Chunks wait for their replies side by side, so that the engine never runs empty between them."""

    def __init__(self, stage: ModelStage, recipe: Recipe, work: Path, desk: Desk) -> None:
        self.stage, self.reject, self.work, self.desk = stage, recipe.reject, work, desk
        self.rows = beam.metrics.Metrics.counter("sluice", f"{stage.name}: rows in")
        self.requests = beam.metrics.Metrics.counter("sluice", f"{stage.name}: requests")

    def start_bundle(self) -> None:
        self.pending: deque[tuple[Chunk, Future[list[Reply]]]] = deque()

    def process(self, chunk: Chunk) -> Iterator[Chunk]:
        self.rows.inc(chunk.kept.num_rows)
        try:
            requests = self.stage.ask(pl.DataFrame(chunk.kept), chunk.split)
            self.pending.append((chunk, self.desk.client(self.stage).ask(requests)))
        except Exception as error:
            record_failure(self.work, chunk.split, self.stage.name, error)
        while self.pending and (self.pending[0][1].done() or self._full()):
            yield from self._settled()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        while self.pending:
            for chunk in self._settled():
                yield WindowedValue(chunk, GlobalWindow().max_timestamp(), [GlobalWindow()])

    def _full(self) -> bool:
        held: int = sum(chunk.kept.nbytes for chunk, _ in list(self.pending)[:-2])
        return held > _HELD_BYTES

    def _settled(self) -> Iterator[Chunk]:
        chunk, future = self.pending.popleft()
        try:
            settled = settle(self.stage, chunk, future.result(), self.reject)
        except Exception as error:
            record_failure(self.work, chunk.split, self.stage.name, error)
            return
        self.requests.inc(settled.stages[-1].usage["requests"])
        yield settled


class CommitPart(beam.DoFn):
    """Chunk to part and receipt."""

    def __init__(self, recipe: Recipe, work: Path, plan_hash: str) -> None:
        self.recipe, self.work, self.plan_hash = recipe, work, plan_hash

    def process(self, chunk: Chunk) -> None:
        began = time.perf_counter()
        try:
            presentation = self.recipe.presentation
            kept = shaped(pl.DataFrame(chunk.kept), presentation.kept)
            frames = [pl.DataFrame(table).lazy() for table in (kept, chunk.rejected)]
            counted = {name: tallies.counted(frames, tally) for name, tally in presentation.tallies.items()}
            seconds = sum(count.seconds for count in chunk.stages) + time.perf_counter() - began
            parts.commit(self.work, chunk.split.part, self.plan_hash, chunk, kept, counted, seconds)
        except Exception as error:
            record_failure(self.work, chunk.split, "commit", error)
        worker.release(str(chunk.split))


class WriteShard(beam.DoFn):
    """A group of parts to its shard."""

    def __init__(self, recipe: Recipe, work: Path) -> None:
        self.recipe, self.work = recipe, work

    def process(self, group: Group) -> None:
        what = f"the shard {group.key} of {len(group.parts)} splits"
        worker.claim(what)
        presentation = self.recipe.presentation
        snapshots.write_shard(self.work, group, presentation.kept, presentation.rejected)
        worker.release(what)


class PayloadPass(beam.PTransform):
    """Split indices to committed parts.

    ``model_hints`` are Beam's resource hints for the steps that run a model in their own process, and for no others.
    """

    def __init__(
        self,
        recipe: Recipe,
        stages: tuple[AnyStage, ...],
        plan: Path,
        work: Path,
        plan_hash: str,
        desk: Desk,
        model_hints: Mapping[str, str] | None = None,
    ):
        super().__init__()
        self.recipe, self.stages, self.plan, self.desk = recipe, stages, plan, desk
        self.model_hints = model_hints or {}
        self.work, self.plan_hash = work, plan_hash

    def expand(self, indices: beam.PCollection) -> beam.PCollection:
        read = beam.ParDo(ReadSplit(self.recipe, self.plan, self.work))
        chunks = indices | "read" >> read.with_output_types(Chunk)
        for stage in self.stages:
            step = beam.ParDo(
                AskModel(stage, self.recipe, self.work, self.desk)
                if isinstance(stage, ModelStage)
                else ApplyStage(stage, self.recipe, self.work)
            )
            if isinstance(stage, ModelStage) and stage.model.engine in IN_PROCESS:
                step = step.with_resource_hints(**self.model_hints)
            chunks = chunks | stage.name >> step.with_output_types(Chunk)
        return chunks | "commit" >> beam.ParDo(CommitPart(self.recipe, self.work, self.plan_hash))
