"""Plain documents, read into one schema from rows with a text column, text files and web archives.

===============================  ========================================  =========================================
container                        a document is                             its place (``source_row``)
===============================  ========================================  =========================================
Parquet                          a row                                     row index
JSON lines (gzip, zstd)          a line                                    byte offset, once decompressed
text (gzip, zstd)                the file, a line, or a paragraph          byte offset, once decompressed
WARC, one gzip member a record   a record (``transforms.io.warc``)         byte offset of the member, as stored
WARC, plain or else compressed   a record                                  byte offset, once decompressed
===============================  ========================================  =========================================

What a row has no place for is kept as JSON in ``metadata``. A row without usable text is a rejected row
(``schemas.document.ROW_OUTCOMES``).
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any, Final, Literal

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from schemas.document import DOCUMENT
from schemas.provenance import Chunk, Container, SourceFile, Split
from transforms.io import reading, sources, warc
from transforms.io.reading import BROKEN, MAX_EXPANSION, MAX_LINE_BYTES, Reading, Reject, Window
from transforms.io.records import record_ids
from transforms.io.sources import Probe, Recognised, SourceError

VERSION: Final = 1
"""Raised whenever the same bytes give other documents; part of the plan."""

CONTAINERS: Final[frozenset[Container]] = frozenset(sources.SUFFIXES.values()) | {"warc.stream.gz"}
MAX_DOCUMENT_BYTES: Final = 128 * 1024 * 1024

TextUnit = Literal["file", "line", "paragraph"]

NAMES: Final = {
    "text": ("text", "content", "raw_content", "document", "body", "article"),
    "id": ("id", "document_id", "doc_id", "docid", "uuid"),
    "url": ("url", "uri", "source_url", "link"),
    "title": ("title", "headline"),
    "date": ("date", "timestamp", "published", "created", "added", "crawl_date", "date_download"),
    "origin": ("source", "origin", "dataset", "domain"),
}
"""Names by which columns are recognised, the first that a file has; there are no others."""

_METADATA_FIELDS: Final = 64
_METADATA_CHARACTERS: Final = 256
_LOOKBACK: Final = 128
_BLANK: Final = re.compile(rb"\n(?:[ \t\r]{0,80}+\n)++")
_LEADING: Final = re.compile(rb"(?:[ \t\r]{0,80}+\n)*+")
"""Blank lines: those between paragraphs, and those before the first. A line of more than 80 spaces is not blank."""

_SPACE: Final = np.isin(np.arange(256), list(b" \t\n\r\v\f"))
"""Which bytes are white space."""

_READ: Final = pa.schema(
    [(name, pa.large_string()) for name in ("text", "document_id", "url", "title", "date", "origin", "metadata")]
    + [("problem", pa.large_string()), ("detail", pa.large_string())]
)
_PLACED: Final = _READ.append(pa.field("source_row", pa.int64()))


@dataclass(frozen=True, slots=True)
class DocumentMapping:
    """Which columns of rows hold what a document needs. Only ``text`` must exist."""

    text: str
    id: str | None = None
    url: str | None = None
    title: str | None = None
    date: str | None = None
    origin: str | None = None

    def __str__(self) -> str:
        named = ((field.name, getattr(self, field.name)) for field in fields(self))
        return " ".join(f"{name}={column}" for name, column in named if column)

    def columns(self) -> dict[str, str]:
        """The columns of ``DOCUMENT`` that are mapped, with the source's names for them."""
        named = {"text": self.text, "document_id": self.id, "url": self.url, "title": self.title}
        named |= {"date": self.date, "origin": self.origin}
        return {ours: theirs for ours, theirs in named.items() if theirs}


@dataclass(frozen=True, slots=True)
class DocumentSource:
    """How the files of each configured source are read; a mapping of None is the one detected in each file.

    Args:
        mappings: columns of Parquet and JSON lines, per source.
        text_by: what is a document in text files, per source.
        options: what fsspec is given to open the files, per source.
        max_line_bytes: longer JSON lines are rejected rows.
        max_document_bytes: longer documents are rejected rows.
        max_expansion: decompressed bytes per stored byte; a file that expands further (and to 256 MiB) cannot be read.
    """

    mappings: tuple[DocumentMapping | None, ...]
    text_by: tuple[TextUnit, ...]
    options: tuple[Mapping[str, Any], ...]
    max_line_bytes: int = MAX_LINE_BYTES
    max_document_bytes: int = MAX_DOCUMENT_BYTES
    max_expansion: int = MAX_EXPANSION

    @property
    def version(self) -> int:
        """``VERSION``: raised whenever the same bytes give other documents."""
        return VERSION

    @property
    def containers(self) -> frozenset[Container]:
        """All there are."""
        return CONTAINERS

    def recognised(self, source: int, probe: Probe) -> Recognised:
        """How a file is to be read.

        Raises:
            SourceError: rows without a column for the text, or a web archive without the packages to read it.
        """
        if probe.container.startswith("warc"):
            if lacking := warc.missing():
                raise SourceError(lacking)
            return Recognised("warc", ("warc", *warc.reader()))
        if probe.container.startswith("text"):
            unit = self.text_by[source]
            return Recognised(f"text by {unit}", ("text", unit), whole=unit == "file")
        mapping = self.mappings[source] or detect(probe.fields) or (DocumentMapping("text") if probe.empty else None)
        if mapping is None:
            found = ", ".join(sorted(probe.fields)[:8]) or "no JSON object"
            raise SourceError(
                f"expected the text in one of {', '.join(NAMES['text'])}; found the fields {found}; name it in a mapping"
            )
        return Recognised(f"documents {mapping}", ("documents", str(mapping)))

    def mapping_of(self, file: SourceFile) -> DocumentMapping:
        """The mapping forced in the config, or the one that was detected and stands in the file's format."""
        forced = self.mappings[file.source]
        return forced or DocumentMapping(**dict(named.split("=") for named in file.format.split(" ")[1:]))

    def first_rows(self, split: Split, limit: int) -> tuple[int, int | None]:
        """How many of the first ``limit`` rows of a split there are, and where a split of them alone stops."""
        if split.file.container.startswith("jsonl"):
            return reading.first_rows(split, limit, self.options[split.file.source], self.max_line_bytes)
        if split.file.format == "text by file":
            return 1, split.stop
        rows = 0
        for found in _read(split, self):
            places = pl.concat([pl.Series(found.rows["source_row"]), pl.Series(found.broken["source_row"])]).sort()
            rows += len(places)
            if rows >= limit:
                return limit, int(places[len(places) - 1 - (rows - limit)]) + 1
        return rows, split.stop


@dataclass(frozen=True, slots=True)
class Texts:
    """What the key pass reads of a split: (source_row, ordinal, text), source rows read, and whether the stream ends."""

    split: Split
    texts: pa.Table
    rows: int
    end: bool


def detect(names: frozenset[str]) -> DocumentMapping | None:
    """The mapping of the columns that a file has under names of ``NAMES``, or None where none is for the text."""
    found = {ours: next((name for name in known if name in names), None) for ours, known in NAMES.items()}
    text = found.pop("text")
    return DocumentMapping(text, **found) if text else None


def read_chunks(split: Split, source: DocumentSource, reject: Reject) -> Iterator[Chunk]:
    """A split's documents (``DOCUMENT``) as a chunk, its broken rows rejected.

    Raises:
        SourceError: the file cannot be read, or changed since it was planned.
    """
    began = time.perf_counter()
    for found in _read(split, source):
        options = source.options[split.file.source]
        yield reading.chunk(found.split, found.rows, pl.DataFrame(found.broken), reject, began, options)
        began = time.perf_counter()


def read_texts(split: Split, source: DocumentSource) -> Iterator[Texts]:
    """The texts of a split, and after an open one of all that follow, each in the same rows as ``read_chunks`` gives.

    All columns are read, as a row that is broken in any of them must not be the one that duplicates yield to.

    Raises:
        SourceError: the file cannot be read, or changed since it was planned.
    """
    for found in _read(split, source):
        texts = found.rows.select(["source_row", "text"])
        ordinals = pa.array(np.zeros(texts.num_rows, np.int32))
        rows = found.rows.num_rows + found.broken.num_rows
        yield Texts(found.split, texts.add_column(1, "ordinal", ordinals), rows, found.end)


def identified(frame: pl.DataFrame, split: Split) -> pl.DataFrame:
    """Documents with what names them in a dataset: record_id, source_uri, ordinal (0) and unit (instance)."""
    uri = pl.lit(split.file.relative_uri)
    ids = record_ids(uri, pl.col("source_row"), pl.lit(0, pl.Int32))
    return frame.with_columns(record_id=ids, source_uri=uri, ordinal=pl.lit(0, pl.Int32), unit=pl.lit("instance"))


def _read(split: Split, source: DocumentSource) -> Iterator[Reading]:
    """A split's documents and broken rows, and after an open one those of every piece to the end."""
    options = source.options[split.file.source]
    for found in reading.unchanged(split, options, _found(split, source, options)):
        documents, unusable = _documents(found.rows, source.max_document_bytes)
        broken = pa.concat_tables([found.broken, unusable]).sort_by("source_row")
        yield Reading(found.split, documents, broken, found.end)


def _found(split: Split, source: DocumentSource, options: Mapping[str, Any]) -> Iterator[Reading]:
    container, bounded = split.file.container, functools.partial(reading.pieces, max_expansion=source.max_expansion)
    if container == "parquet":
        bound = reading.most_bytes(split.file.size, source.max_expansion)
        yield _parquet(split, source.mapping_of(split.file), options, bound)
    elif container.startswith("jsonl"):
        prepare = functools.partial(_of_object, mapping=source.mapping_of(split.file))
        yield from reading.read_objects(split, _READ, prepare, options, source.max_line_bytes, source.max_expansion)
    elif container == "warc.gz":
        yield _archive_members(split, source, options)
    elif container.startswith("warc"):
        records = functools.partial(_archive_records, max_bytes=source.max_document_bytes)
        for piece, rows, end in bounded(split, records, options, warc.LOOKBACK):
            yield Reading(piece, *rows, end)
    elif split.file.format == "text by file":
        yield _text_file(split, source, options)
    else:
        by_line = split.file.format == "text by line"
        find = functools.partial(_lines if by_line else _paragraphs, max_bytes=source.max_document_bytes)
        for piece, rows, end in bounded(split, find, options, 1 if by_line else _LOOKBACK):
            yield Reading(piece, *rows, end)


def _documents(rows: pa.Table, max_bytes: int) -> tuple[pa.Table, pa.Table]:
    """Rows in ``_PLACED`` parted into documents (``DOCUMENT``) and rows without usable text (``BROKEN``)."""
    text, length = pl.col("text"), pl.col("text").str.len_bytes()
    reason = (
        pl.when(pl.col("problem").is_not_null())
        .then("problem")
        .when(text.is_null())
        .then(pl.lit("text_missing"))
        .when(length > max_bytes)
        .then(pl.lit("document_too_long"))
        .when(~text.str.contains(r"\S"))
        .then(pl.lit("empty_document"))
    )
    long = pl.format("{} bytes, more than {}", length, pl.lit(max_bytes))
    frame = pl.DataFrame(rows).with_columns(reason=reason)
    frame = frame.with_columns(
        detail=pl.when(pl.col("reason") == "document_too_long").then(pl.coalesce("detail", long)).otherwise("detail")
    )
    broken = frame.filter(pl.col("reason").is_not_null()).select(BROKEN.names)
    good = frame.filter(pl.col("reason").is_null())
    good = good.with_columns(_dates(good["date"])).select(DOCUMENT.names)
    return good.to_arrow(compat_level=pl.CompatLevel.newest()), broken.to_arrow().cast(BROKEN)


def _dates(stated: pl.Series) -> pl.Series:
    """Dates, ISO 8601 times, and seconds or milliseconds since 1970, as texts, to UTC; null for all else."""
    date_only = pl.col("date").str.contains(r"^\d{4}-\d\d-\d\d$")
    number = pl.col("date").str.extract(r"^(\d{9,15}(?:\.\d+)?)$").cast(pl.Float64)
    frame = stated.to_frame("date").with_columns(
        number=number, date=pl.when(date_only).then(pl.col("date") + "T00:00:00").otherwise("date")
    )
    kind = DOCUMENT.field("date").type
    texts = pl.Series(reading.parse_times(frame["date"].to_arrow(), kind))
    numbers = pl.Series(reading.epoch_times(frame["number"].to_arrow(), kind))
    return pl.select(date=pl.coalesce(texts, numbers)).to_series()


# --- Rows with named fields


def _of_object(item: dict[str, Any], mapping: DocumentMapping) -> list[dict[str, Any]]:
    """A JSON object as a row of ``_READ``."""
    text = item.get(mapping.text)
    named = {ours: _scalar(item.get(theirs)) for ours, theirs in mapping.columns().items() if ours != "text"}
    taken = set(mapping.columns().values())
    named["metadata"] = _json((name, value) for name, value in item.items() if name not in taken)
    if isinstance(text, str):
        return [{**named, "text": text}]
    if text is None:
        return [{**named, "problem": "text_missing"}]
    return [{**named, "problem": "text_not_string", "detail": f"expected a text, found {type(text).__name__}"}]


def _scalar(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _json(named: Iterable[tuple[str, Any]]) -> str | None:
    """A JSON object of the scalars among some fields, in order of their names, or None.

    Texts of more than 256 characters, lists, objects and nulls are left out, and all that follow the first 64 fields.
    """
    short = (
        (name, value) for name, value in sorted(named, key=lambda item: item[0]) if len(name) <= _METADATA_CHARACTERS
    )
    scalars = (
        (name, value)
        for name, value in short
        if (isinstance(value, str) and len(value) <= _METADATA_CHARACTERS)
        or (isinstance(value, int | float) and value == value)  # noqa: PLR0124  # what is not itself is not a number
    )
    kept = dict(islice(scalars, _METADATA_FIELDS))
    return orjson.dumps(kept).decode() if kept else None


def _parquet(split: Split, mapping: DocumentMapping, options: Mapping[str, Any], max_bytes: int) -> Reading:
    columns = mapping.columns()

    def needed(stored: pa.Schema) -> list[str]:
        if mapping.text in stored.names and not _is_text(stored.field(mapping.text).type):
            kind = stored.field(mapping.text).type
            raise SourceError(f"{split.file.relative_uri}: column {mapping.text}: expected texts, found {kind}")
        return [field.name for field in stored if field.name == mapping.text or _is_scalar(field.type)]

    table = reading.parquet_rows(split, needed, options, max_bytes)
    others = sorted(set(table.column_names) - set(columns.values()))
    kinds = {name: _metadata_type(table.schema.field(name).type) for name in others}
    wanted = {theirs: pa.large_string() for theirs in columns.values()} | kinds
    if _decoded_bytes(table) > max_bytes:
        raise reading.expansion(split.file.size, max_bytes)
    rows = reading.conform(_plain(table), pa.schema(list(wanted.items())))
    places = pa.array(np.arange(split.start, split.start + table.num_rows))
    rows, broken = reading.valid_rows(rows.append_column("source_row", places))
    named = {ours: rows[theirs] for ours, theirs in columns.items()}
    named["metadata"] = pa.array(_metadata(rows.select(others)), pa.large_string())
    absent = {name: pa.nulls(rows.num_rows, pa.large_string()) for name in _READ.names if name not in named}
    placed = pa.table({**named, **absent, "source_row": rows["source_row"]}).select(_PLACED.names).cast(_PLACED)
    return Reading(split, placed, broken, end=True)


def _metadata(others: pa.Table) -> list[str | None]:
    """Other columns as JSON. Row by row, as every container is to spell it alike; they are small beside the text."""
    if not others.num_columns:
        return [None] * others.num_rows
    columns = [column.to_pylist() for column in others.columns]
    return [_json(zip(others.column_names, row, strict=True)) for row in zip(*columns, strict=True)]


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    return any(test(kind) for test in (*tests, pa.types.is_binary, pa.types.is_large_binary))


def _is_scalar(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_boolean)
    numbers = (pa.types.is_integer, pa.types.is_floating, pa.types.is_date, pa.types.is_timestamp)
    return any(test(kind) for test in (*tests, *numbers))


def _metadata_type(kind: pa.DataType) -> pa.DataType:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    is_number = pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return kind if is_number else pa.large_string()


def _decoded_bytes(table: pa.Table) -> int:
    """Bytes of the texts in dictionaries, once each stands in every row that has it."""
    chunks = [chunk for column in table.columns if pa.types.is_dictionary(column.type) for chunk in column.chunks]
    texts = [chunk for chunk in chunks if _is_text(chunk.dictionary.type)]
    lengths = [pc.sum(pc.binary_length(text.dictionary).take(text.indices).cast(pa.int64())) for text in texts]
    return sum(length.as_py() or 0 for length in lengths)


def _plain(table: pa.Table) -> pa.Table:
    """A table without dictionaries."""
    for at, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(at, field.name, table[field.name].cast(field.type.value_type))
    return table


# --- Text files


def _text_file(split: Split, source: DocumentSource, options: Mapping[str, Any]) -> Reading:
    """A file as one document. No more of it is read than a document may hold."""
    most = source.max_document_bytes

    def whole(window: Window, piece: Split) -> bytes:
        window.fill(most + 1)
        return bytes(window.data)

    alone = Split(split.file, 0, 0, most + 1, split.bytes)
    ((_, data, _),) = reading.pieces(alone, whole, options, max_expansion=source.max_expansion)
    rows, broken = _texts(pa.array([data], pa.large_binary()), np.zeros(1, np.int64), most)
    return Reading(split, rows, broken, end=True)


def _lines(window: Window, piece: Split, max_bytes: int) -> tuple[pa.Table, pa.Table]:
    """The lines that start within a piece, without their ends; blank ones are none."""
    begin, data, too_long = reading.lines(window, piece, max_bytes)
    held = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(held == ord("\n")) + 1
    offsets = np.concatenate([[0], ends, [len(data)] if not data.endswith(b"\n") else []]).astype(np.int64)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    stored = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)
    filled = np.logical_or.reduceat(~_SPACE[held], offsets[:-1]) if data else np.zeros(len(stored), bool)
    rows, broken = _texts(stored.filter(pa.array(filled)), begin + offsets[:-1][filled], max_bytes, too_long)
    text = pl.col("text").str.strip_suffix("\n").str.strip_suffix("\r")
    return pl.DataFrame(rows).with_columns(text).to_arrow().cast(_PLACED), broken


def _paragraphs(window: Window, piece: Split, max_bytes: int) -> tuple[pa.Table, pa.Table]:
    """The paragraphs that start within a piece. They start behind blank lines of at most 80 spaces each, which is what a
    reader that begins anywhere can tell.
    """
    assert piece.stop is not None
    window.discard(max(0, piece.start - _LOOKBACK))
    window.fill(piece.stop + _LOOKBACK)
    texts: list[bytes] = []
    places: list[int] = []
    at, too_long = _first_paragraph(window, piece), None
    while at < min(piece.stop, window.stop):
        found = _paragraph_end(window, at, max_bytes)
        if found is None:
            too_long = at
            break
        text = bytes(window.data[at - window.start : found[0] - window.start]).rstrip(b"\r\n")
        if text and not text.isspace():
            texts.append(text)
            places.append(at)
        at = found[1]
    return _texts(pa.array(texts, pa.large_binary()), np.array(places, np.int64), max_bytes, too_long)


def _first_paragraph(window: Window, piece: Split) -> int:
    """Where the first paragraph from a piece's start on begins, or the end of the view."""
    leading = _LEADING.match(window.data)
    if window.start == 0 and leading is not None and leading.end() >= piece.start:
        return leading.end()
    starts = (window.start + blank.end() for blank in _BLANK.finditer(window.data))
    return next((start for start in starts if start >= piece.start), window.stop)


def _paragraph_end(window: Window, at: int, max_bytes: int) -> tuple[int, int] | None:
    """Where a paragraph ends and where the next begins, or None if that is further than ``max_bytes`` away."""
    search = at
    while True:
        blank = _BLANK.search(window.data, search - window.start)
        if blank:
            return window.start + blank.start(), window.start + blank.end()
        if window.ended:
            return window.stop, window.stop
        if window.stop - at > max_bytes:
            return None
        search = max(at, window.stop - _LOOKBACK)
        window.fill(window.stop + 1)


def _texts(
    stored: pa.LargeBinaryArray, places: np.ndarray[Any, Any], max_bytes: int, too_long: int | None = None
) -> tuple[pa.Table, pa.Table]:
    """Texts at their places as rows in ``_PLACED``, and those (``BROKEN``) that are no UTF-8 or too long.

    Args:
        stored: LargeBinary, n texts as stored, which may end with their line's end.
        places: int64, n offsets.
        max_bytes: longer texts are broken rows.
        too_long: the offset of one more text, which was too long to be read.
    """
    long = pc.binary_length(stored).to_numpy() > max_bytes + 1
    lost = [*places[long].tolist(), *([] if too_long is None else [too_long])]
    detail = f"longer than {max_bytes} bytes"
    broken = [{"source_row": place, "reason": "document_too_long", "detail": detail} for place in lost]
    texts = stored.filter(pa.array(~long)) if long.any() else stored
    absent = {name: pa.nulls(len(texts), pa.large_string()) for name in _READ.names}
    rows = pa.table({**absent, "text": texts.view(pa.large_string()), "source_row": pa.array(places[~long])})
    valid, invalid = reading.valid_rows(rows.select(_PLACED.names))
    first = pl.when(pl.col("source_row") == 0).then(pl.col("text").str.strip_prefix("\ufeff"))
    marked = valid.num_rows and valid["source_row"][0].as_py() == 0
    valid = pl.DataFrame(valid).with_columns(text=first.otherwise("text")).to_arrow().cast(_PLACED) if marked else valid
    return valid, pa.concat_tables([invalid, pa.Table.from_pylist(broken, schema=BROKEN)])


# --- Web archives


def _archive_members(split: Split, source: DocumentSource, options: Mapping[str, Any]) -> Reading:
    assert split.stop is not None
    window = reading.stored_window(split.file, max(0, split.start - warc.LOOKBACK), options)
    bound = reading.most_bytes(split.stop - split.start, source.max_expansion)
    found = warc.members(window, split.start, split.stop, source.max_document_bytes, bound)
    return Reading(split, *_records(found, source.max_document_bytes), split.stop >= split.file.size)


def _archive_records(window: Window, piece: Split, max_bytes: int) -> tuple[pa.Table, pa.Table]:
    assert piece.stop is not None
    window.discard(max(0, piece.start - warc.LOOKBACK))
    return _records(warc.records(window, piece.start, piece.stop, max_bytes), max_bytes)


def _records(found: Iterable[warc.Record], max_bytes: int) -> tuple[pa.Table, pa.Table]:
    """Records as rows in ``_PLACED``, one by one, as each is parsed and its page extracted by itself."""
    documents = ((record.at, warc.document(record, max_bytes)) for record in found)
    rows = [{**row, "source_row": at} for at, row in documents if row is not None]
    return pa.Table.from_pylist(rows, schema=_PLACED), BROKEN.empty_table()
