"""What a journal holds, in figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from transforms.models import journal_segments
from transforms.models.journal_index import Index
from transforms.models.journal_segments import Segment


@dataclass(frozen=True)
class Usage:
    """What one model was asked with one template.

    ``requests`` and tokens are of all entries, ``answers`` and ``failures`` (by kind) of those that count.
    """

    identity: str
    template: str
    requests: int
    answers: int
    failures: dict[str, int]
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Summary:
    """What a journal holds. ``keys`` are different requests; each has one entry that counts, an answer or a failure.

    ``failures`` are those that count, by kind.
    """

    segments: int
    bytes: int
    requests: int
    keys: int
    answers: int
    failures: dict[str, int]
    input_tokens: int
    output_tokens: int
    usage: tuple[Usage, ...]


def summary(folder: Path) -> Summary:
    """Count what a journal holds; a folder that is not there holds nothing.

    Raises:
        JournalError: a segment is damaged; the message says what to do.
    """
    index, live = journal_segments.indexed(folder)
    try:
        parts = [part for segment in live for part in _counts(folder, segment, index)]
        size = sum((folder / segment.name).stat().st_size for segment in live)
    except FileNotFoundError:  # merged meanwhile
        return summary(folder)
    counts = pl.concat([_NOTHING, *parts])
    counts = counts.group_by("identity", "template", "failure").sum().sort("identity", "template", "failure")
    usage = tuple(
        Usage(str(identity), str(template), **_totals(part))
        for (identity, template), part in counts.group_by("identity", "template", maintain_order=True)
    )
    return Summary(
        segments=len(live),
        bytes=size,
        keys=int(counts["counting"].sum()),
        usage=usage,
        **_totals(counts),
    )


_NOTHING: Final = pl.DataFrame(
    schema={
        "identity": pl.String,
        "template": pl.String,
        "failure": pl.String,
        "requests": pl.Int64,
        "counting": pl.Int64,
        "input_tokens": pl.Int64,
        "output_tokens": pl.Int64,
    }
)


def _counts(folder: Path, segment: Segment, index: Index) -> Iterator[pl.DataFrame]:
    """Entries of a segment, those that count, and tokens, by model, template and failure."""
    columns = ["identity", "template", "input_tokens", "output_tokens"]
    for keys, ranks, table in journal_segments.entries(folder, segment, columns):
        frame = pl.DataFrame(table.drop_columns(["key"])).with_columns(pl.col("identity", "template").cast(pl.String))
        counting = pl.Series(index.find(keys) == ranks, dtype=pl.Int64)
        yield (
            frame.with_columns(requests=pl.lit(1, pl.Int64), counting=counting)
            .group_by("identity", "template", "failure")
            .sum()
            .select(_NOTHING.columns)
        )


def _totals(counts: pl.DataFrame) -> dict[str, Any]:
    failed = pl.col("failure").is_not_null()
    failures = counts.filter(failed & (pl.col("counting") > 0)).group_by("failure").agg(pl.col("counting").sum())
    return {
        "requests": int(counts["requests"].sum()),
        "answers": int(counts.filter(~failed)["counting"].sum()),
        "failures": dict(sorted(failures.rows())),
        "input_tokens": int(counts["input_tokens"].sum()),
        "output_tokens": int(counts["output_tokens"].sum()),
    }
