"""Plan files: what workers are to do, one row each, in Parquet. A worker reads the row group that its row is in.

Neither the driver nor a worker ever holds a whole plan: it is written and read a row group at a time.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.io import files

GROUP_ROWS: Final = 4_000
"""Rows of a row group: 100 to 300 kB as stored, read in milliseconds."""

RANGES: Final = 10_000
"""Elements that a pipeline begins with at most: Beam keeps all of them in its graph, in Python, one object each."""


def write(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """Write a plan of tables that have ``GROUP_ROWS`` rows each, save the last."""
    with files.committed(path) as attempt, pq.ParquetWriter(attempt, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table, row_group_size=GROUP_ROWS)


def row(path: Path, index: int) -> dict[str, Any]:
    """One row of a plan; its row group is kept for the next."""
    number, at = divmod(index, GROUP_ROWS)
    found: dict[str, Any] = group(path, number).slice(at, 1).to_pylist()[0]
    return found


def group(path: Path, number: int) -> pa.Table:
    """A row group of a plan."""
    return _group(path, path.stat().st_mtime, number)


@functools.lru_cache(maxsize=4)
def _group(path: Path, stamp: float, number: int) -> pa.Table:
    with files.parquet(path) as plan:
        return plan.read_row_group(number)


def rows(start: int, stop: int, step: int) -> range:
    """The rows of a range."""
    return range(start, stop, step)


def ranges(rows: int, hands: int) -> Iterator[tuple[int, int, int]]:
    """Rows of a plan as at most about ``RANGES`` ranges (start, stop, step), to be dealt out in turn.

    Every hand gets each ``hands``-th row, as if rows were dealt out one by one; the rows of a range lie near to each other.
    """
    size = max(1, -(-rows // RANGES))
    for start in range(0, rows, hands * size):
        stop = min(rows, start + hands * size)
        yield from ((first, stop, hands) for first in range(start, min(start + hands, stop)))
