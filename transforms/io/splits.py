"""Cutting source files into splits, and the plan file that holds their descriptors."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Final, overload

import numpy as np
import polars as pl
import pyarrow as pa

from schemas.provenance import SourceFile, Split
from transforms.io import plans
from transforms.io.sources import PLAIN, STREAMS, Probe

SPLIT_BYTES: Final = 64 * 1024 * 1024

_FILE_FIELDS: Final = tuple(f.name for f in fields(SourceFile))
_INTEGERS: Final = {"source", "size", "ordinal", "start", "stop", "bytes"}
_COLUMNS: Final = pl.Schema(
    {
        "file": pl.UInt32,
        "ordinal": pl.Int64,
        "start": pl.Int64,
        "stop": pl.Int64,
        "bytes": pl.Int64,
        "listed": pl.String,
    }
)


class Splits(Sequence[Split]):
    """Splits as columns: 54 bytes each, where a million objects would take some 300 MB. A ``Split`` is made when it is asked for.

    ``table`` has the fields of ``Split``, and in ``file`` an index into ``files``.
    """

    def __init__(self, files: Sequence[SourceFile], table: pl.DataFrame) -> None:
        self.files, self.table = files, table

    @classmethod
    def of(cls, splits: Iterable[Split]) -> Splits:
        """Columns of splits; those of one file stand together."""
        files: list[SourceFile] = []
        numbers = {name: array("q") for name in ("file", "ordinal", "start", "stop", "bytes")}
        listed: list[str | None] = []
        for split in splits:
            if not files or files[-1] is not split.file:
                files.append(split.file)
            numbers["file"].append(len(files) - 1)
            numbers["ordinal"].append(split.ordinal)
            numbers["start"].append(split.start)
            numbers["stop"].append(-1 if split.stop is None else split.stop)
            numbers["bytes"].append(split.bytes)
            listed.append(split.listed)
        columns = {name: pl.Series(name, np.array(held, np.int64)) for name, held in numbers.items()}
        table = pl.DataFrame({**columns, "listed": pl.Series(listed, dtype=pl.String)})
        return cls(files, table.with_columns(stop=pl.when(pl.col("stop") >= 0).then("stop")).cast(_COLUMNS))

    @property
    def keys(self) -> pl.Series:
        """``Split.key`` of each."""
        file_keys = pl.Series([file.key for file in self.files], dtype=pl.String)
        ordinals = self.table["ordinal"].cast(pl.String).str.zfill(6)
        return (file_keys.gather(self.table["file"]) + "-" + ordinals).alias("key")

    @property
    def parts(self) -> pl.Series:
        """``Split.part`` of each."""
        digests = self.table["listed"].fill_null("").str.split(".").list.last()
        return (self.keys + "-" + digests).alias("part")

    @property
    def bytes(self) -> int:
        """Estimated Arrow bytes of all."""
        return int(self.table["bytes"].sum())

    def of_files(self, files: Sequence[SourceFile]) -> Splits:
        """The same splits, of other descriptions of their files."""
        return Splits(files, self.table)

    def where(self, mask: pl.Series) -> Splits:
        """Those splits for which the mask holds."""
        return Splits(self.files, self.table.filter(mask))

    def without(self, listed: pl.DataFrame) -> Splits:
        """Those splits whose ``part`` is not listed."""
        found = self.table.with_columns(part=self.parts).join(listed, on="part", how="anti", maintain_order="left")
        return Splits(self.files, found.drop("part"))

    def __len__(self) -> int:
        return len(self.table)

    @overload
    def __getitem__(self, at: int) -> Split: ...

    @overload
    def __getitem__(self, at: slice) -> Splits: ...

    def __getitem__(self, at: int | slice) -> Split | Splits:
        if isinstance(at, slice):
            return Splits(self.files, self.table[at])
        file, *rest = self.table.row(at)
        return Split(self.files[file], *rest)

    def __iter__(self) -> Iterator[Split]:
        for file, *rest in self.table.iter_rows():
            yield Split(self.files[file], *rest)


def cut(file: SourceFile, probe: Probe, target: int = SPLIT_BYTES, whole: bool = False) -> list[Split]:
    """Cut one file into splits of about ``target`` bytes of Arrow, or make one split of the ``whole``.

    Parquet is cut by rows: small row groups together, large ones inside. ``warc.gz`` is cut by bytes as stored, all
    others by (decompressed) bytes; how many splits a compressed stream has is only known at its end, so its last one is open.
    """
    if whole:
        stop = probe.size if file.container in PLAIN else None
        return [Split(file, 0, 0, stop, max(1, round(probe.size * probe.ratio)))]
    if probe.footer is not None:
        return [Split(file, i, *piece) for i, piece in enumerate(_row_ranges(probe, target))]
    if file.container == "parquet":
        return [Split(file, 0, 0, None, probe.size)]
    if file.container not in STREAMS:
        step = max(1, round(target / probe.ratio))
        starts = range(0, probe.size, step)
        return [
            Split(file, i, start, min(start + step, probe.size), round(min(step, probe.size - start) * probe.ratio))
            for i, start in enumerate(starts)
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


def digest(splits: Splits, by: str) -> str:
    """Names a set of splits and what is done with them: SHA-256 of their keys and ranges, and of ``by``."""
    told = hashlib.sha256(f"splits {by}".encode())
    places = pl.concat_str("key", "start", pl.col("stop").cast(pl.String).fill_null("end"), separator=" ")
    for piece in splits.table.with_columns(key=splits.keys).select(places).iter_slices(plans.GROUP_ROWS):
        told.update("\n".join(["", *piece.to_series()]).encode())
    return told.hexdigest()


def deal(sizes: Sequence[int] | pl.Series, hands: int) -> list[int]:
    """Order splits of some sizes so that dealing them out in turn gives every worker about the same bytes.

    Beam's local runner deals elements out round-robin and once. Rounds of ``hands`` splits are dealt
    alternately forwards and backwards, largest first, so that sums stay level; within a hand, splits of
    one compressed file keep their order, which lets a worker read on where it stands in the stream.
    """
    largest_first = np.argsort(-np.asarray(sizes, np.int64), kind="stable")
    rounds = largest_first[: len(largest_first) // hands * hands].reshape(-1, hands)
    rounds[1::2] = rounds[1::2, ::-1].copy()
    order: list[int] = largest_first.tolist()
    return order


def write_plan(path: Path, splits: Splits, order: Sequence[int] | None = None) -> None:
    """Write split descriptors as Parquet: one row a split, in the order given, file fields repeated."""
    columns = {name: [getattr(file, name) for file in splits.files] for name in _FILE_FIELDS}
    described = pl.DataFrame(columns, {name: pl.Int64 if name in _INTEGERS else pl.String for name in columns})
    table = splits.table if order is None else splits.table[order]

    def rows() -> Iterator[pa.Table]:
        for piece in table.iter_slices(plans.GROUP_ROWS):
            yield pl.concat([described[piece["file"]], piece.drop("file")], how="horizontal").to_arrow().cast(_PLAN)

    plans.write(path, _PLAN, rows())


_PLAN: Final = pa.schema(
    (name, pa.int64() if name in _INTEGERS else pa.string())
    for name in (*_FILE_FIELDS, "ordinal", "start", "stop", "bytes", "listed")
)


def read_plan(path: Path, index: int) -> Split:
    """The split at ``index`` of a plan file."""
    row = plans.row(path, index)
    return Split(file=SourceFile(**{name: row.pop(name) for name in _FILE_FIELDS}), **row)


def exact(planned: Splits, written: pl.DataFrame) -> Splits:
    """The splits that hold rows, with their lists, now that the ends of compressed streams are known; every file's first one.

    ``written`` is what the key pass found (``keys.written``). An open split ends after its estimated bytes, and those
    that were found behind it follow.
    """
    compressed = pl.Series([file.container in STREAMS for file in planned.files], dtype=pl.Boolean)
    rows = planned.table.drop("listed").with_columns(
        split=planned.keys, open=pl.col("stop").is_null() & compressed.gather(planned.table["file"])
    )
    place = pl.col("split").str.extract_groups(r"^(?<of>.*)-(?<at>\d+)$").struct
    behind = (
        written.join(rows, on="split", how="anti")
        .select("split", "rows", "digest", place.field("of"), at=place.field("at").cast(pl.Int64))
        .join(rows.filter("open").with_columns(of=place.field("of")).drop("split"), on="of")
        .filter(pl.col("at") > pl.col("ordinal"))
        .with_columns(start=pl.col("start") + (pl.col("at") - pl.col("ordinal")) * pl.col("bytes"), ordinal="at")
        .drop("of", "at")
    )
    found = pl.concat([rows.join(written, on="split"), behind], how="diagonal")
    kept = found.filter((pl.col("rows") > 0) | (pl.col("ordinal") == 0)).sort("file", "ordinal")
    table = kept.with_columns(
        stop=pl.when("open").then(pl.col("start") + pl.col("bytes")).otherwise("stop"),
        listed=pl.concat_str("rows", pl.lit("."), "digest"),
    )
    return Splits(planned.files, table.select(_COLUMNS.names()))
