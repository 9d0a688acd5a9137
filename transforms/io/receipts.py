"""Receipts in bulk: listed at once, read from bundles, and added up.

A receipt is one small object, so that a worker commits with one request. A million of them take a million requests to
read, so workers put those of a finished pass into bundles (``bundles/<digest>.parquet`` beside ``receipts/``), and the driver
reads bundles. A bundle only saves reading: a receipt counts if it is listed, and what a bundle says of it counts if the receipt
still has the stamp it had then.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.provenance import Counts, Receipt
from transforms.io import files, keys, parts, plans, snapshots
from transforms.io.parts import PartError
from transforms.io.splits import Splits

WORTH_BUNDLING: Final = 10_000
"""Receipts in no bundle that are read one by one all the same."""

_LISTED: Final = pa.schema([("part", pa.string()), ("stamp", pa.string())])
_BUNDLE: Final = _LISTED.append(pa.field("receipt", pa.binary()))


def listing(work: Path) -> pl.DataFrame:
    """All receipts, by one listing: ``part``, and a ``stamp`` that changes when the receipt does."""
    names, stamps = [], []
    for name, stamp in files.stamps(work / "receipts", keys.FIRSTS):
        names.append(name.removesuffix(".json"))
        stamps.append(stamp)
    return pl.DataFrame({"part": names, "stamp": stamps}, {"part": pl.String, "stamp": pl.String})


def loose(work: Path, listed: pl.DataFrame) -> pl.DataFrame:
    """The listed receipts that are in no bundle."""
    return listed.join(_bundled(work), on=["part", "stamp"], how="anti").sort("part")


def write_plan(path: Path, listed: pl.DataFrame) -> int:
    """Write a plan file of receipts to bundle, a row group for each bundle; returns how many."""
    plans.write(path, _LISTED, (piece.to_arrow().cast(_LISTED) for piece in listed.iter_slices(plans.GROUP_ROWS)))
    return -(-len(listed) // plans.GROUP_ROWS)


def bundle(number: int, plan: Path, work: Path) -> None:
    """Put the receipts in a row group of a plan into a bundle, be they sound or not."""
    listed = pl.DataFrame(plans.group(plan, number))
    data = files.contents(work / "receipts", [f"{part}.json" for part in listed["part"]])
    bundled = listed.with_columns(receipt=pl.Series(list(data), dtype=pl.Binary))
    sink = pa.BufferOutputStream()
    pq.write_table(
        bundled.to_arrow().cast(_BUNDLE), sink, compression="zstd", use_dictionary=False, write_page_checksum=True
    )
    written = sink.getvalue().to_pybytes()
    files.write_bytes(work / "bundles" / f"{hashlib.sha256(written).hexdigest()[:20]}.parquet", written)


def read(work: Path, listed: pl.DataFrame) -> Iterator[Receipt]:
    """Load the receipts of a listing, in no particular order: from bundles, and those that are in none one by one.

    Raises:
        PartError: at least one cannot be read, the first of which is named once all others are loaded. They are
            removed, so that their splits are computed again by the next run.
    """
    damaged: list[PartError] = []
    current = _bundled(work).join(listed, on=["part", "stamp"], how="semi").unique("part", maintain_order=True)
    read = [listed.clear()]
    for (name,), mine in current.partition_by("bundle", as_dict=True).items():
        found = _bundle(work / "bundles" / name).join(mine, on=["part", "stamp"], how="semi")
        yield from _parsed(work, found.select("part", "receipt").iter_rows(), damaged)
        read.append(found.select("part", "stamp"))
    names = listed.join(pl.concat(read), on="part", how="anti")["part"].sort()
    data = files.contents(work / "receipts", [f"{part}.json" for part in names])
    yield from _parsed(work, zip(names, data, strict=True), damaged)
    if damaged:
        raise damaged[0]


def _bundled(work: Path) -> pl.DataFrame:
    """What all bundles hold: ``part``, ``stamp``, and the name of the ``bundle``."""
    names = sorted(files.names(work / "bundles"))
    held = (_bundle(work / "bundles" / name, ["part", "stamp"]).with_columns(bundle=pl.lit(name)) for name in names)
    return pl.concat([pl.DataFrame(schema=dict.fromkeys(("part", "stamp", "bundle"), pl.String)), *held])


def _parsed(work: Path, found: Iterable[tuple[str, bytes]], damaged: list[PartError]) -> Iterator[Receipt]:
    for part, data in found:
        try:
            yield parts.parsed(data)
        except parts.MALFORMED:
            try:
                yield parts.read_receipt(parts.receipt_path(work, part))
            except PartError as error:
                damaged.append(error)


def _bundle(path: Path, columns: Sequence[str] = ("part", "stamp", "receipt")) -> pl.DataFrame:
    """A bundle; an empty one in place of one that is damaged, which is removed."""
    try:
        data = pa.BufferReader(path.read_bytes())
        table = pq.read_table(data, columns=list(columns), page_checksum_verification=True)
    except (pa.ArrowException, OSError):
        path.unlink(missing_ok=True)
        table = _BUNDLE.empty_table()
    return pl.DataFrame(table.select(list(columns)))


def forget(work: Path, unwanted: Callable[[Receipt], bool]) -> None:
    """Remove receipts, so that their splits are computed anew."""
    for receipt in read(work, listing(work)):
        if unwanted(receipt):
            parts.receipt_path(work, receipt.part).unlink()


@dataclass(frozen=True)
class Finished:
    """Splits with a receipt, in order, and what a run goes on with of their receipts.

    ``facts`` has a row a split: the ``mark`` of its part (``snapshots.mark``), the source ``rows`` it read, and the
    ``sha256`` of the whole source file, at a file's first split. ``counts`` and ``tallies`` are sums over all.
    """

    splits: Splits
    facts: pl.DataFrame
    counts: Counts
    tallies: dict[str, Counter[str]]

    def by_file(self) -> pl.DataFrame:
        """Rows read and SHA-256 (null if no first split is among these) of each source file: ``uri``, ``relative_uri``, ``rows``, ``sha256``."""
        names = pl.DataFrame(
            {name: [getattr(file, name) for file in self.splits.files] for name in ("uri", "relative_uri")},
            {"uri": pl.String, "relative_uri": pl.String},
        ).with_row_index("file")
        sums = (
            self.facts.with_columns(file=self.splits.table["file"])
            .group_by("file", maintain_order=True)
            .agg(pl.col("rows").sum(), pl.col("sha256").drop_nulls().first())
        )
        return names.join(sums, on="file", maintain_order="left").drop("file")


def finished(work: Path, splits: Splits, listed: pl.DataFrame) -> Finished:
    """Read the receipts of splits, all of which are listed.

    Raises:
        PartError: a receipt cannot be read, see ``read``.
    """
    marks: list[pl.DataFrame] = []
    held: list[tuple[str, str, int, str | None]] = []

    def noted() -> Iterator[Receipt]:
        for receipt in read(work, listed.join(wanted, on="part", how="semi")):
            held.append((receipt.part, snapshots.mark(receipt), receipt.stages[0].rows_in, receipt.source_sha256))
            if len(held) == plans.GROUP_ROWS:
                marks.append(_facts(held))
                held.clear()
            yield receipt
        marks.append(_facts(held))

    wanted = splits.table.with_columns(part=splits.parts)
    counts, tallies = snapshots.total(noted())
    have = wanted.join(pl.concat(marks), on="part", maintain_order="left")
    found = Splits(splits.files, have.select(splits.table.columns))
    return Finished(found, have.select("mark", "rows", "sha256"), counts, tallies)


def _facts(held: list[tuple[str, str, int, str | None]]) -> pl.DataFrame:
    schema = {"part": pl.String, "mark": pl.String, "rows": pl.Int64, "sha256": pl.String}
    return pl.DataFrame(held, schema, orient="row")
