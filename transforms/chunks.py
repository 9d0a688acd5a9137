"""Stages, and how one is applied to a chunk.

A stage is a named pure function from a frame to a frame. To reject rows it adds a column ``reason``
(null = keep), and may add ``detail``, ``failed`` (every rule that failed) and ``unit`` (row or instance).
A model stage is two such functions, with a model's answers between them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from schemas.answers import Request
from schemas.provenance import Chunk, Split, StageCount, Unit
from transforms.models.asking import Reply
from transforms.models.engines import AnyModelSettings

Run = Callable[[pl.DataFrame, Split], pl.DataFrame]
Reject = Callable[[pl.DataFrame, str], pa.Table]


class StageError(Exception):
    """A stage broke its contract: it lost rows, or gave rows that it should not have."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A named step. ``version`` goes up whenever the same input gives other rows; it is part of the plan.

    ``turns_rows_into_instances`` marks the one stage whose output rows are not its input rows.
    """

    name: str
    version: int
    run: Run
    turns_rows_into_instances: bool = False


@dataclass(frozen=True, slots=True)
class ModelStage:
    """A step that a model decides: ``ask`` makes requests of the rows, ``settle`` turns the replies into columns.

    Replies come in the order of the requests, however many chunks are asked about at once. ``attempts`` bounds how often
    an unusable answer is asked for.
    """

    name: str
    version: int
    model: AnyModelSettings
    attempts: int
    ask: Callable[[pl.DataFrame, Split], Iterable[Request]]
    settle: Callable[[pl.DataFrame, Split, Sequence[Reply]], pl.DataFrame]


AnyStage = Stage | ModelStage


def apply(stage: Stage, chunk: Chunk, reject: Reject) -> Chunk:
    """Run one stage on a chunk, part kept from rejected rows, and enter both in the ledger.

    Raises:
        StageError: the stage returned another number of rows than it was given.
    """
    began = time.perf_counter()
    before = pl.DataFrame(chunk.kept)
    after = stage.run(before, chunk.split)
    return _entered(stage, chunk, before, after, reject, began, {})


def settle(stage: ModelStage, chunk: Chunk, replies: Sequence[Reply], reject: Reject) -> Chunk:
    """Finish a model stage on a chunk whose requests are answered, as ``apply`` does.

    Raises:
        StageError: the stage returned another number of rows than it was given.
    """
    began = time.perf_counter()
    before = pl.DataFrame(chunk.kept)
    after = stage.settle(before, chunk.split, replies)
    usage = {
        "replies": len(replies),
        "requests": sum(reply.sent for reply in replies),
        "hits": sum(reply.sent == 0 for reply in replies),
        "failed": sum(not reply.usable for reply in replies),
        "input_tokens": sum(reply.input_tokens for reply in replies),
        "output_tokens": sum(reply.output_tokens for reply in replies),
    }
    return _entered(stage, chunk, before, after, reject, began, usage)


def _entered(
    stage: AnyStage,
    chunk: Chunk,
    before: pl.DataFrame,
    after: pl.DataFrame,
    reject: Reject,
    began: float,
    usage: dict[str, int],
) -> Chunk:
    unit: Unit = "instance" if any(count.unit == "instance" for count in chunk.stages) else "row"
    absent = {"reason": pl.lit(None, pl.String), "unit": pl.lit(unit)}
    after = after.with_columns(**{name: value for name, value in absent.items() if name not in after.columns})
    kept = after.filter(pl.col("reason").is_null())
    lost = after.filter(pl.col("reason").is_not_null())
    rejected = pa.concat_tables([chunk.rejected, reject(lost, stage.name)])
    seconds = time.perf_counter() - began
    if isinstance(stage, Stage) and stage.turns_rows_into_instances:
        counts = _turned(stage, before, after, lost, seconds, chunk.kept.nbytes)
    else:
        counts = (
            StageCount(stage.name, unit, len(before), len(kept), reasons(lost), seconds, usage, chunk.kept.nbytes),
        )
    for count in counts:
        if count.rows_in != count.rows_out + sum(count.rejected.values()):
            raise StageError(
                f"stage {stage.name}: {count.rows_in} {count.unit}s in, but {count.rows_out} out and {count.rejected}"
            )
    left = kept.drop("reason", "detail", "failed", "unit", strict=False).to_arrow(compat_level=pl.CompatLevel.newest())
    return Chunk(chunk.split, left, rejected, (*chunk.stages, *counts), chunk.source_sha256)


def reasons(rejected: pl.DataFrame) -> dict[str, int]:
    """Rejected rows per reason."""
    return dict(rejected["reason"].value_counts().sort("reason").rows())


def _turned(
    stage: Stage, before: pl.DataFrame, after: pl.DataFrame, lost: pl.DataFrame, seconds: float, size: int
) -> tuple[StageCount, ...]:
    """Both ledgers' entries of the stage that turns source rows into instances."""
    instances = after.filter(pl.col("unit") == "instance")
    rows, used = before["source_row"].n_unique(), instances["source_row"].n_unique()
    by_unit = {unit: reasons(lost.filter(pl.col("unit") == unit)) for unit in ("row", "instance")}
    kept = instances["reason"].null_count()
    return (
        StageCount(stage.name, "row", rows, used, by_unit["row"], seconds, {}, size),
        StageCount(stage.name, "instance", len(instances), kept, by_unit["instance"], 0.0),
    )
