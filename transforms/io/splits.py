"""Cutting source files into splits, and the plan file that holds their descriptors."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.provenance import SourceFile, Split
from transforms.io.sources import Probe

SPLIT_BYTES: Final = 64 * 1024 * 1024

_FILE_FIELDS: Final = tuple(f.name for f in fields(SourceFile))


def cut(file: SourceFile, probe: Probe, target: int = SPLIT_BYTES) -> list[Split]:
    """Cut one file into splits of about ``target`` bytes of Arrow.

    Parquet is cut by rows: small row groups together, large ones inside. Lines are cut by (decompressed)
    bytes; how many splits a compressed file has is only known at its end, so its last one is open.
    """
    if probe.footer is not None:
        return [Split(file, i, *piece) for i, piece in enumerate(_row_ranges(probe, target))]
    if file.container == "parquet":
        return [Split(file, 0, 0, None, probe.size)]
    if file.container == "jsonl":
        stops = range(target, probe.size + target, target)
        return [
            Split(file, i, stop - target, min(stop, probe.size), min(target, probe.size - stop + target))
            for i, stop in enumerate(stops)
        ] or [Split(file, 0, 0, 0, 0)]
    count = max(1, round(probe.size * probe.ratio / target))
    return [Split(file, i, i * target, (i + 1) * target if i + 1 < count else None, target) for i in range(count)]


def _row_ranges(probe: Probe, target: int) -> Iterator[tuple[int, int, int]]:
    footer = probe.footer
    assert footer is not None
    start, row, held = 0, 0, 0
    for index in range(footer.num_row_groups):
        group = footer.row_group(index)
        rows, size = group.num_rows, group.total_byte_size
        if held and held + size > target:
            yield start, row, held
            start, held = row, 0
        if rows and size > target:
            pieces = min(rows, -(-size // target))
            bounds = [row + rows * i // pieces for i in range(pieces + 1)]
            yield from ((a, b, size // pieces) for a, b in zip(bounds, bounds[1:], strict=False))
            start, row = row + rows, row + rows
            continue
        row, held = row + rows, held + size
    if row > start or row == 0:
        yield start, row, held


def deal(splits: Sequence[Split], hands: int) -> list[int]:
    """Order splits so that dealing them out in turn gives every worker about the same bytes.

    Beam's local runner deals elements out round-robin and once. Rounds of ``hands`` splits are dealt
    alternately forwards and backwards, largest first, so that sums stay level; within a hand, splits of
    one compressed file keep their order, which lets a worker read on where it stands in the stream.
    """
    largest_first = sorted(range(len(splits)), key=lambda i: (-splits[i].bytes, i))
    order: list[int] = []
    for turn, at in enumerate(range(0, len(largest_first), hands)):
        hand = largest_first[at : at + hands]
        order += hand[::-1] if turn % 2 and len(hand) == hands else hand
    return order


def write_plan(path: Path, splits: Sequence[Split]) -> None:
    """Write split descriptors as Parquet: one row a split, file fields repeated (dictionary-encoded)."""
    columns = {name: [getattr(s.file, name) for s in splits] for name in _FILE_FIELDS}
    columns |= {name: [getattr(s, name) for s in splits] for name in ("ordinal", "start", "stop", "bytes")}
    schema = pa.schema([(name, pa.int64() if name in _INTEGERS else pa.string()) for name in columns])
    pq.write_table(pa.table(columns, schema=schema), path, compression="zstd")


_INTEGERS: Final = {"source", "size", "ordinal", "start", "stop", "bytes"}


@functools.lru_cache(maxsize=2)
def _plan_table(path: str, stamp: int) -> pa.Table:
    return pq.read_table(path)


def read_plan(path: Path, index: int) -> Split:
    """The split at ``index`` of a plan file; the file is read once per process."""
    row = _plan_table(str(path), path.stat().st_mtime_ns).slice(index, 1).to_pylist()[0]
    return Split(file=SourceFile(**{name: row.pop(name) for name in _FILE_FIELDS}), **row)
