"""The files of the duplicate pass: what is computed of a split once, and read again by every later pass.

=================================  ===================================================================================
``<area>/<key>.parquet``           a document a row, in order: ``source_row``, ``ordinal``, key and check of the text,
                                   ``length``, ``rank``, and a column of hashes for every band, so that one band is
                                   read as one column; written last
``<area>/<key>.arrow``             the document's distinct shingles, uncompressed, so that single rows are read
``<lists>/<key>.<rows>.<digest>``  a split's list: what is removed from it, for which record, how similar the two are
=================================  ===================================================================================

The area is named for all that decides these files, the sources' content (in the splits' keys) apart. A document's
number is its place in the *catalogue*: published splits first, then in order of file and row, so that it is the
survivor order of the rule ``first``, whatever the order in which splits were read.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.provenance import Split
from transforms.io import files
from transforms.io.records import record_ids
from transforms.io.tables import shaped
from transforms.text import minhash, shingles, words
from transforms.text.duplicates import Flags, Floats, Settings, Settled, Shelf, values
from transforms.text.shingles import Hashes, Sets, gather
from transforms.text.words import Integers

LIST: Final = pa.schema(
    [
        ("source_row", pa.int64()),
        ("ordinal", pa.int32()),
        ("duplicate_of", pa.string()),
        ("similarity", pa.float32()),
        ("exact", pa.bool_()),
    ]
)
"""A split's list: removed instances, the record id of the survivor of each, and whether their texts are equal."""

_BATCH: Final = 4096
"""Documents whose shingles are read from a store at once."""

_TEXTS_AT_ONCE: Final = 10_000

OTHER: Final = -1
"""The source of a dataset that was not made here."""


@dataclass(frozen=True, slots=True)
class TextTable:
    """The texts of one split: ``source_row`` Int64, ``ordinal`` Int32, ``text`` String and, where there is one,
    ``rank``.

    ``rows`` were read of the source; ``end`` tells that the file has no more splits.
    """

    split: Split
    texts: pl.DataFrame
    rows: int
    end: bool


ReadTexts = Callable[[Split], Iterator[TextTable]]


class Signed(NamedTuple):
    """A split with its files: ``documents`` of ``rows`` source rows."""

    key: str
    uri: str
    source: int
    ordinal: int
    documents: int
    rows: int


@dataclass(frozen=True, slots=True)
class Published:
    """A split whose documents are published, except those in ``listed``, its list of an earlier pass. They survive all
    others.

    ``area`` holds its files, which ``sign_published`` makes of a dataset that was not made here.
    """

    key: str
    area: Path
    listed: Path | None = None


def area(work: Path, settings: Settings) -> Path:
    """The folder of the splits' files, for these settings."""
    by = (
        f"{words.VERSION} {shingles.VERSION} {minhash.VERSION} {settings.shingling} {settings.slots} {settings.banding}"
    )
    return work / "signatures" / hashlib.sha256(by.encode()).hexdigest()[:16]


def cached(
    read: ReadTexts, folder: Path, split: Split, following: Callable[[Split], Split], settings: Settings
) -> Iterator[Signed]:
    """Make the files of a split, and after an open one of all that follow; a split that has them is not read."""
    piece = split
    while (path := folder / f"{piece.key}.parquet").exists():
        signed, end = _described(path, piece.key)
        yield signed
        if end or split.stop is not None:
            return
        piece = following(piece)
    for found in read(piece):
        file = found.split.file
        facts = {"uri": file.relative_uri, "source": file.source, "ordinal": found.split.ordinal, "rows": found.rows}
        yield _sign(folder, found.split.key, [found.texts], {**facts, "end": int(found.end)}, settings)


def sign_published(path: Path, folder: Path, settings: Settings, text: str = "text", key: str = "") -> Published:
    """Make the files of a published Parquet file, unless they are there; ``record_id`` is kept where there is one.

    Args:
        key: names the content, such as the checksum in a manifest; the file's SHA-256 where none is given.
    """
    key = (key or files.sha256(path))[:32]
    if not (folder / f"{key}.parquet").exists():
        file = files.parquet(path)
        columns = [text, *({"record_id"} & set(file.schema_arrow.names))]
        facts = {"uri": path.name, "source": OTHER, "ordinal": 0, "rows": file.metadata.num_rows, "end": 1}
        _sign(folder, key, _published_texts(file, text, columns), facts, settings)
    return Published(key, folder)


def _published_texts(file: pq.ParquetFile, text: str, columns: list[str]) -> Iterator[pl.DataFrame]:
    """The rows of a published file in pieces, of which the first is empty."""
    empty = file.schema_arrow.empty_table().select(columns)
    at = 0
    for table in chain([empty], map(_table, file.iter_batches(_TEXTS_AT_ONCE, columns=columns))):
        rows = pl.int_range(at, at + len(table), dtype=pl.Int64)
        piece = pl.DataFrame(table).rename({text: "text"}).cast(pl.String)
        yield piece.with_columns(source_row=rows, ordinal=pl.lit(0, pl.Int32))
        at += len(table)


def _table(batch: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([batch])


def _sign(folder: Path, key: str, pieces: Iterable[pl.DataFrame], facts: dict[str, Any], settings: Settings) -> Signed:
    signatures, sets = zip(*(_signed(piece, settings) for piece in pieces), strict=True)
    table = pa.concat_tables(signatures)
    table = table.replace_schema_metadata({name: str(value) for name, value in facts.items()})
    write_mapped(folder / f"{key}.arrow", pa.concat_tables(sets))
    with files.committed(folder / f"{key}.parquet") as attempt:
        pq.write_table(table, attempt, compression="none", use_dictionary=["ordinal"], write_statistics=False)
    return _described(folder / f"{key}.parquet", key)[0]


def _signed(texts: pl.DataFrame, settings: Settings) -> tuple[pa.Table, pa.Table]:
    """The rows of both files."""
    texts = texts.sort("source_row", "ordinal")
    shingled = shingles.shingle(texts["text"], settings.shingling)
    sets = shingles.distinct(shingled.sets)
    bands = minhash.banded(minhash.signatures(sets, settings.slots), *settings.banding)
    rank = pl.col("rank").cast(pl.Float64) if "rank" in texts.columns else pl.lit(None, pl.Float64).alias("rank")
    frame = texts.select(
        *(["record_id"] if "record_id" in texts.columns else []),
        pl.col("source_row").cast(pl.Int64),
        pl.col("ordinal").cast(pl.Int32),
        pl.Series("key", shingled.keys[:, 0].copy()),
        pl.Series("check", shingled.keys[:, 1].copy()),
        pl.col("text").str.len_chars().cast(pl.Int64).fill_null(0).alias("length"),
        rank,
        *(pl.Series(band_name(at), band) for at, band in enumerate(bands)),
    )
    lists = pa.LargeListArray.from_arrays(pa.array(sets.offsets), pa.array(sets.hashes))
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest()), pa.table({"shingles": lists})


def _described(path: Path, key: str) -> tuple[Signed, bool]:
    """A split's facts from its file, and whether its source file ends with it."""
    file = files.parquet(path)
    facts = file.schema_arrow.metadata
    source, ordinal, rows = (int(facts[name]) for name in (b"source", b"ordinal", b"rows"))
    signed = Signed(key, facts[b"uri"].decode(), source, ordinal, file.metadata.num_rows, rows)
    return signed, facts[b"end"] == b"1"


def band_name(band: int) -> str:
    """The column of a band."""
    return f"band_{band:02d}"


def write_mapped(path: Path, table: pa.Table) -> None:
    """Commit a table as an Arrow IPC file that can be mapped into memory, in batches of ``_BATCH`` rows."""
    with files.committed(path) as attempt, pa.ipc.new_file(str(attempt), table.schema) as writer:
        writer.write_table(table.combine_chunks(), max_chunksize=_BATCH)


# --- The catalogue


class Catalogue:
    """All splits of a pass and where their documents are: a row a split, in order of the documents' numbers.

    Columns: those of ``Signed``, ``first`` (number of its first document), ``published``, ``planned`` (it needs a
    list), ``area`` and ``listed`` (paths), ``block`` (of consecutive splits, that one task takes).
    """

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame
        self.first: Integers = frame["first"].to_numpy()
        self.documents = int(frame["documents"].sum())
        self.published = int(frame.filter("published")["documents"].sum())

    @property
    def blocks(self) -> dict[int, tuple[int, int]]:
        """The number of the first document of each block, and that after its last."""
        ends = self.frame.group_by("block", maintain_order=True).agg(pl.col("first").min(), pl.col("documents").sum())
        return {block: (first, first + documents) for block, first, documents in ends.iter_rows()}

    @classmethod
    def of(cls, folder: Path, signed: Iterable[Signed], published: Sequence[Published], blocks: int) -> Catalogue:
        """Number the documents of splits in ``folder`` and of what is published."""
        known = {one.key: one for one in published}
        planned = {one.key: one for one in signed}
        entries = []
        for key in sorted(known.keys() | planned.keys()):
            place = known[key].area if key in known else folder
            one = planned[key] if key in planned else _described(place / f"{key}.parquet", key)[0]
            listed = known[key].listed if key in known else None
            marks = {"published": key in known, "planned": key in planned}
            entries.append({**one._asdict(), **marks, "area": str(place), "listed": str(listed) if listed else None})
        schema = dict.fromkeys(("key", "uri", "area", "listed"), pl.String)
        frame = pl.DataFrame(entries, schema_overrides=schema).sort(~pl.col("published"), "uri", "ordinal", "key")
        ends = pl.col("documents").cum_sum()
        block = (ends - pl.col("documents")) * blocks // pl.max_horizontal(pl.col("documents").sum(), 1)
        return cls(frame.with_columns(first=ends - pl.col("documents"), block=pl.min_horizontal(block, blocks - 1)))

    @classmethod
    def read(cls, path: Path) -> Catalogue:
        """The catalogue that was written there."""
        return cls(pl.DataFrame(files.read_arrow(path)))

    def write(self, path: Path) -> None:
        """Commit the catalogue."""
        files.write_arrow(path, self.frame.to_arrow(compat_level=pl.CompatLevel.oldest()))

    def path(self, at: int, ending: str) -> Path:
        """A file of the split at a place."""
        return files.located(self.frame["area"][at]) / f"{self.frame['key'][at]}.{ending}"

    def columns(self, names: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
        """These columns of all splits, one split after another: number of its first document, and the table."""

        def read(at: int) -> pa.Table:
            return files.parquet(self.path(at, "parquet")).read(columns=list(names))

        places = range(len(self.frame))
        area = self.path(0, "parquet") if places else Path()
        yield from zip(self.first.tolist(), files.each(area, read, places), strict=True)

    def hashes(self, names: Sequence[str], hidden: Flags, prefix: int, bits: int) -> tuple[Integers, list[Hashes]]:
        """Documents that are not hidden and whose first column begins with a prefix, and their columns."""
        documents, found = [np.empty(0, np.int64)], [[np.empty(0, np.uint64)] for _ in names]
        for first, table in self.columns(names):
            columns = [column.to_numpy() for column in table.columns]
            wanted = ~hidden[first : first + len(table)]
            if bits:
                wanted &= columns[0] >> np.uint64(64 - bits) == prefix
            documents.append(first + np.flatnonzero(wanted))
            for parts, column in zip(found, columns, strict=True):
                parts.append(column[wanted])
        return np.concatenate(documents), [np.concatenate(parts) for parts in found]

    def values(self, settings: Settings) -> Floats | None:
        """What the survivor rule goes by, for every document."""
        if settings.survivor == "first":
            return None
        tables = [pl.DataFrame(table) for _, table in self.columns(["length", "rank"])]
        frame = pl.concat(tables)
        return values(settings.survivor, frame["length"], frame["rank"])

    def absent(self) -> Integers:
        """Documents of published splits that are not published: their lists name them."""
        found = [np.empty(0, np.int64)]
        for at in np.flatnonzero(self.frame["listed"].is_not_null().to_numpy()).tolist():
            removed = pl.DataFrame(files.read_arrow(files.located(self.frame["listed"][at])))
            rows = pl.DataFrame(files.parquet(self.path(at, "parquet")).read(columns=["source_row", "ordinal"]))
            numbered = rows.with_columns(document=pl.int_range(len(rows), dtype=pl.Int64) + int(self.first[at]))
            gone = numbered.join(removed, on=["source_row", "ordinal"], how="semi", maintain_order="left")
            found.append(gone["document"].to_numpy())
        return np.concatenate(found)

    def record_ids(self, documents: Integers) -> pl.Series:
        """The record ids of documents, which are sorted, each once."""
        found = [pl.Series([], dtype=pl.String)]
        for at, rows in self._by_split(documents):
            file = files.parquet(self.path(at, "parquet"))
            if "record_id" in file.schema_arrow.names:
                found.append(pl.Series(file.read(columns=["record_id"])["record_id"].take(rows)).cast(pl.String))
                continue
            frame = pl.DataFrame(file.read(columns=["source_row", "ordinal"]).take(rows))
            uri = pl.lit(self.frame["uri"][at])
            found.append(frame.select(record_ids(uri, pl.col("source_row"), pl.col("ordinal"))).to_series())
        return pl.concat(found)

    def shelf(self) -> Shelf:
        """The shingles of all documents; files on a disk are mapped, of files on a store batches of rows are read."""
        stored = len(self.frame) > 0 and files.on_store(self.path(0, "arrow"))

        @functools.lru_cache(maxsize=8 if stored else 128)
        def opened(at: int) -> pa.ipc.RecordBatchFileReader:
            path = self.path(at, "arrow")
            return pa.ipc.open_file(pa.PythonFile(path.open("rb"), "r") if stored else pa.memory_map(str(path)))

        @functools.lru_cache(maxsize=16 if stored else 1 << 16)
        def read(at: int, batch: int) -> tuple[Hashes, Integers]:
            column = opened(at).get_batch(batch).column(0)
            return column.values.to_numpy(), column.offsets.to_numpy()

        def batches(documents: Integers) -> Iterator[tuple[Hashes, Integers, Integers]]:
            """Shingles and offsets of each batch that holds some of the documents, and their rows in it."""
            for at, rows in self._by_split(documents):
                first, last = int(rows[0]) // _BATCH, int(rows[-1]) // _BATCH
                bounds = np.searchsorted(rows, np.arange(first, last + 2) * _BATCH)
                for batch in (np.flatnonzero(bounds[1:] > bounds[:-1]) + first).tolist():
                    chosen = rows[bounds[batch - first] : bounds[batch - first + 1]] - batch * _BATCH
                    yield *read(at, batch), chosen

        def sizes(documents: Integers) -> Integers:
            found = [offsets[rows + 1] - offsets[rows] for _, offsets, rows in batches(documents)]
            return np.concatenate([np.empty(0, np.int64), *found])

        def sets(documents: Integers) -> Sets:
            hashes, bounds = [np.empty(0, np.uint64)], [np.zeros(1, np.int64)]
            for held, offsets, rows in batches(documents):
                bounds.append(offsets[rows + 1] - offsets[rows])
                hashes.append(gather(held, offsets, rows, int(bounds[-1].sum())))
            return Sets(np.concatenate(hashes), np.cumsum(np.concatenate(bounds)))

        return Shelf(sizes, sets)

    def _by_split(self, documents: Integers) -> Iterator[tuple[int, Integers]]:
        """Sorted documents, parted: place of the split, rows in it."""
        bounds = np.searchsorted(documents, np.append(self.first, self.documents))
        for at in np.flatnonzero(bounds[1:] > bounds[:-1]).tolist():
            yield at, documents[bounds[at] : bounds[at + 1]] - self.first[at]


# --- Lists


def write_list(folder: Path, catalogue: Catalogue, at: int, removed: pl.DataFrame) -> None:
    """Write the list of a split; a published one has the list that it had.

    Args:
        removed: ``document`` Int64, ``duplicate_of``, ``similarity``, ``exact``, of this split.
    """
    split = catalogue.frame.row(at, named=True)
    if split["published"]:
        listed = split["listed"]
        table = files.read_arrow(files.located(listed)) if listed else LIST.empty_table()
    else:
        rows = files.parquet(catalogue.path(at, "parquet")).read(columns=["source_row", "ordinal"])
        frame = pl.DataFrame(rows.take(removed["document"].to_numpy() - split["first"]))
        table = shaped(pl.concat([frame, removed], how="horizontal"), LIST)
    files.write_arrow(folder / f"{split['key']}.{split['rows']}.{_digest(table)}.arrow", table)


def _digest(table: pa.Table) -> str:
    """12 hexadecimal digits for what a list says, whatever the buffers it is in."""
    digest = hashlib.sha256()
    for name in ("source_row", "ordinal", "similarity", "exact"):
        digest.update(np.ascontiguousarray(table[name].to_numpy()).tobytes())
    digest.update("\n".join(table["duplicate_of"].to_pylist()).encode())
    return digest.hexdigest()[:12]


def told(catalogue: Catalogue, settled: Settled) -> pl.DataFrame:
    """What is removed, as lists tell it: ``document``, ``duplicate_of``, ``similarity``, ``exact``."""
    survivors, places = np.unique(settled.survivors, return_inverse=True)
    return pl.DataFrame(
        {
            "document": settled.documents,
            "duplicate_of": catalogue.record_ids(survivors).gather(places),
            "similarity": settled.similarity.astype(np.float32),
            "exact": settled.equal,
        }
    )


@functools.lru_cache(maxsize=2)
def _listed(folder: Path, split: str, listed: str | None) -> pl.DataFrame:
    if listed is None:
        (name,) = (name for name in files.names(folder) if name.startswith(f"{split}.") and name.endswith(".arrow"))
    else:
        name = f"{split}.{listed}.arrow"
    return pl.DataFrame(files.read_arrow(folder / name))


def drop_duplicates(frame: pl.DataFrame, split: Split, lists: Path) -> pl.DataFrame:
    """Reject what the duplicate pass removed: ``reason`` is ``duplicate`` for equal texts, ``near_duplicate`` for
    similar ones.

    Adds ``duplicate_of`` (String, record id of the survivor) and ``similarity`` (Float32).
    """
    found = frame.join(
        _listed(lists, split.key, split.listed), on=["source_row", "ordinal"], how="left", maintain_order="left"
    )
    reason = pl.when("exact").then(pl.lit("duplicate")).when(~pl.col("exact")).then(pl.lit("near_duplicate"))
    return found.with_columns(reason=reason).drop("exact")
