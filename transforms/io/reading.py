"""Reading one split: Parquet rows, lines or other pieces of a stream, as Arrow, with every broken row accounted for."""

from __future__ import annotations

import codecs
import functools
import hashlib
import io
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, BinaryIO, Final, Protocol, TypeVar

import fsspec
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from schemas.provenance import Chunk, SourceFile, Split, StageCount
from transforms.io import sources
from transforms.io.records import record_ids
from transforms.io.sources import STREAMS, SourceError
from transforms.io.splits import SPLIT_BYTES

MAX_LINE_BYTES: Final = 16 * 1024 * 1024
MAX_EXPANSION: Final = 200
"""Decompressed bytes per stored byte, beyond which a file is taken for a bomb."""

_SURE_BYTES: Final = 256 * 1024 * 1024
"""What a file may always expand to."""

_BLOCK_BYTES: Final = 4 * 1024 * 1024
_BATCH_ROWS: Final = 2048
_BATCH_BYTES: Final = 64 * 1024 * 1024
_MILLISECONDS_FROM: Final = 1e11
_UNFIT: Final = (pa.ArrowException, TypeError, ValueError, OverflowError)

BROKEN: Final = pa.schema([("source_row", pa.int64()), ("reason", pa.string()), ("detail", pa.string())])


@dataclass(frozen=True, slots=True)
class Reading:
    """What a split holds: ``rows`` in the requested schema plus ``source_row``, and ``broken`` rows.

    ``broken`` has ``source_row``, ``reason`` and ``detail``. ``end`` says that the stream ends here.
    """

    split: Split
    rows: pa.Table
    broken: pa.Table
    end: bool


Prepare = Callable[[dict[str, Any]], list[dict[str, Any]]]


Reject = Callable[[pl.DataFrame, str], pa.Table]
"""Makes rejected rows of a frame of rows with their ``reason``, and of the stage's name."""

_T = TypeVar("_T")


class _Raw(Protocol):
    def read(self, size: int, /) -> bytes: ...


def read(
    split: Split,
    schema: pa.Schema,
    prepare: Prepare,
    options: Mapping[str, Any],
    max_line_bytes: int = MAX_LINE_BYTES,
    rowwise: bool = False,
) -> Iterator[Reading]:
    """Read a split, and after an open one (``stop`` None) every split to the end of its stream.

    ``schema`` names the source columns wanted, nested fields included; absent ones are read as null.
    ``prepare`` turns a JSON object into the objects to store (a message tree into its threads); with
    ``rowwise`` it is also applied to the rows of a Parquet file, all columns read.

    Raises:
        SourceError: the file vanished, changed since it was planned, or is not what its name says.
    """
    if split.file.container == "parquet":
        found = _read_parquet(split, schema, options, prepare if rowwise else None)
    else:
        found = read_objects(split, schema, prepare, options, max_line_bytes)
    yield from unchanged(split, options, found)


def unchanged(split: Split, options: Mapping[str, Any], found: Iterable[_T]) -> Iterator[_T]:
    """What is read of a split, as long as its file is the one that was planned.

    Raises:
        SourceError: the file vanished, changed since it was planned, or is not what its name says.
    """
    try:
        _expect_unchanged(split.file, options)
        for one in found:
            _expect_unchanged(split.file, options)  # before anyone can commit what was read
            yield one
    except SourceError:
        raise
    except Exception as error:  # every filesystem has exceptions of its own
        raise SourceError(f"{split}: {(str(error) or type(error).__name__).splitlines()[0]}") from error


def sha256(file: SourceFile, options: Mapping[str, Any]) -> str:
    """SHA-256 of a whole source file as stored, in hexadecimal."""
    with fsspec.open(file.uri, "rb", **options) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def chunk(
    split: Split,
    kept: pa.Table,
    broken: pl.DataFrame,
    reject: Reject,
    began: float,
    options: Mapping[str, Any],
) -> Chunk:
    """The chunk that a split's reading gives, with the first entry of its ledger.

    Args:
        split: what was read.
        kept: rows with their ``source_row``, of which several may be of one source row.
        broken: source rows that became none, with ``source_row``, ``reason`` and ``detail``.
        reject: makes rejected rows of them.
        began: when reading began, in seconds of ``time.perf_counter``.
        options: what fsspec is given to open the file.
    """
    uri = pl.lit(split.file.relative_uri)
    ids = record_ids(uri, pl.col("source_row"), pl.lit(None, pl.Int32))
    rejected = reject(broken.with_columns(record_id=ids, unit=pl.lit("row"), source_uri=uri), "read")
    used = pl.Series(kept["source_row"]).n_unique()
    reasons = dict(broken["reason"].value_counts().sort("reason").rows())
    count = StageCount("read", "row", used + len(broken), used, reasons, time.perf_counter() - began)
    return Chunk(split, kept, rejected, (count,), sha256(split.file, options) if split.ordinal == 0 else None)


def _expect_unchanged(file: SourceFile, options: Mapping[str, Any]) -> None:
    found, stamp = sources.current(file.uri, options)
    if found != file.fingerprint or (stamp and file.stamp and stamp != file.stamp):
        raise SourceError(f"{file.relative_uri}: changed since it was planned; run the same command again")


def _open(file: SourceFile, options: Mapping[str, Any]) -> BinaryIO:
    fs, path = fsspec.core.url_to_fs(file.uri, **options)
    if isinstance(fs, LocalFileSystem):
        return open(path, "rb")
    if file.size <= SPLIT_BYTES:
        return io.BytesIO(fs.cat_file(path))
    stream: BinaryIO = fs.open(path, "rb")
    return stream


def _read_parquet(
    split: Split, schema: pa.Schema, options: Mapping[str, Any], prepare: Prepare | None
) -> Iterator[Reading]:
    table = parquet_rows(split, lambda stored: None if prepare else _leaves(stored, schema), options)
    if prepare:
        objects: list[dict[str, Any]] = []
        failed: list[tuple[int, str, str]] = []
        for at, item in enumerate(table.to_pylist(), split.start):
            _prepare(item, at, prepare, objects, failed)
        yield Reading(split, _to_table(objects, _as_stored(schema), schema, failed), _broken(sorted(failed)), end=True)
        return
    rows = conform(table, schema).append_column(
        "source_row", pa.array(range(split.start, split.start + table.num_rows), pa.int64())
    )
    yield Reading(split, *valid_rows(rows), end=True)


def parquet_rows(
    split: Split,
    columns_of: Callable[[pa.Schema], list[str] | None],
    options: Mapping[str, Any],
    max_bytes: int | None = None,
) -> pa.Table:
    """A split's rows as a Parquet file stores them.

    ``columns_of`` chooses the columns to decode, by their paths, from the stored schema; None for all.

    Raises:
        OSError: they are more than ``max_bytes``, as a text that is stored once can stand in every row.
    """
    with _open(split.file, options) as stream:
        parquet = pq.ParquetFile(stream)
        stop = parquet.metadata.num_rows if split.stop is None else split.stop
        groups, first = _groups(parquet.metadata, split.start, stop)
        columns = columns_of(parquet.schema_arrow)
        batches, at, held = [], first, 0
        size = _batch_rows(parquet.metadata, groups)
        for batch in parquet.iter_batches(size, row_groups=groups, columns=columns, use_threads=False):
            low, high = max(split.start - at, 0), min(stop - at, batch.num_rows)
            if low < high:
                batches.append(batch.slice(low, high - low))
                held += batches[-1].nbytes
            if max_bytes is not None and held > max_bytes:
                raise expansion(split.file.size, max_bytes)
            at += batch.num_rows
            if at >= stop:
                break
        if batches:
            return pa.Table.from_batches(batches)
        chosen = {path.partition(".")[0] for path in columns or []}
        stored = parquet.schema_arrow
        return pa.schema([field for field in stored if columns is None or field.name in chosen]).empty_table()


def _batch_rows(footer: pq.FileMetaData, groups: list[int]) -> int:
    """Rows to decode at once: few where they are large."""
    described = [footer.row_group(index) for index in groups]
    size = max((group.total_byte_size // max(1, group.num_rows) for group in described), default=0)
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(1, size)))


def valid_rows(rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Rows whose text is UTF-8, and the broken others (``BROKEN``). ``rows`` has the column ``source_row``."""
    try:
        rows.validate(full=True)
    except pa.ArrowInvalid:
        return _without_invalid_text(rows)
    return rows, BROKEN.empty_table()


def _groups(footer: pq.FileMetaData, start: int, stop: int) -> tuple[list[int], int]:
    """Row groups that hold rows start to stop, and the index of the first row among them."""
    groups: list[int] = []
    first, at = 0, 0
    for index in range(footer.num_row_groups):
        rows = footer.row_group(index).num_rows
        if at < stop and at + rows > start:
            if not groups:
                first = at
            groups.append(index)
        at += rows
    return groups, first


def _leaves(stored: pa.Schema, wanted: pa.Schema) -> list[str]:
    """Parquet column paths of the wanted fields that are stored, so that no other column is decoded."""

    def walk(path: str, have: pa.DataType, want: pa.DataType) -> Iterator[str]:
        if pa.types.is_list(have) or pa.types.is_large_list(have):
            if _is_list(want):
                yield from walk(f"{path}.list.{have.value_field.name}", have.value_type, want.value_type)
            else:
                yield path
        elif pa.types.is_struct(have) and pa.types.is_struct(want):
            for field in want:
                at = have.get_field_index(field.name)
                if at >= 0:
                    yield from walk(f"{path}.{field.name}", have.field(at).type, field.type)
        else:
            yield path

    return [p for f in wanted if f.name in stored.names for p in walk(f.name, stored.field(f.name).type, f.type)]


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Give a table exactly the columns of ``schema``: missing ones null, others cast, extra ones dropped.

    Raises:
        ArrowTypeError: a column has a type that cannot be cast, named with both types.
    """
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(table.num_rows, field.type))
            continue
        column = table[field.name]
        try:
            columns.append(pa.chunked_array([_conform(c, field.type) for c in column.chunks], field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            raise pa.ArrowTypeError(f"column {field.name}: expected {field.type}, found {column.type}") from error
    return pa.Table.from_arrays(columns, schema=schema)


def _conform(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if _is_list(kind) and _is_list(array.type):
        offsets = pc.add(array.offsets.cast(pa.int64()), 0)  # anew, as a mask goes with no slice
        values = _conform(array.values, kind.value_type)
        mask = array.is_null() if array.null_count else None
        return pa.LargeListArray.from_arrays(offsets, values, type=kind, mask=mask)
    if pa.types.is_struct(kind) and pa.types.is_struct(array.type):
        names = [field.name for field in array.type]
        children = [
            _conform(array.field(f.name), f.type) if f.name in names else pa.nulls(len(array), f.type) for f in kind
        ]
        mask = array.is_null() if array.null_count else None
        return pa.StructArray.from_arrays(children, fields=list(kind), mask=mask)
    if pa.types.is_timestamp(kind) and pa.types.is_string(array.type) | pa.types.is_large_string(array.type):
        return parse_times(array, kind)
    if pa.types.is_timestamp(kind) and (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        return epoch_times(array, kind)
    if pa.types.is_large_string(kind) and (pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type)):
        return array.cast(pa.large_binary()).view(kind)  # what is no UTF-8 is found later, row by row
    if pa.types.is_timestamp(kind):
        return array.cast(kind, safe=False)  # nanoseconds are cut off
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), kind)
    return array.cast(kind)


def parse_times(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """ISO 8601 texts, with or without zone, to UTC; null where unparsable."""
    texts = pl.Series(array).str.replace(" ", "T").str.replace(r"(Z|\+00:?00| ?UTC)$", "")
    frame = pl.DataFrame({"text": texts}).select(
        pl.coalesce(
            pl.col("text").str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False),
            pl.col("text")
            .str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", strict=False)
            .dt.replace_time_zone(None),
        ).dt.replace_time_zone("UTC")
    )
    return frame.to_series().to_arrow().cast(kind)


def epoch_times(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Numbers of seconds since 1970, or of milliseconds where they are that large."""
    number = pl.col("number").cast(pl.Float64)
    scale = pl.when(number.abs() < _MILLISECONDS_FROM).then(1e6).otherwise(1e3)
    micros = (number * scale).round().cast(pl.Int64, strict=False)
    frame = pl.DataFrame({"number": pl.Series(array)}).select(micros.cast(pl.Datetime("us", "UTC")))
    return frame.to_series().to_arrow().cast(kind)


def _without_invalid_text(rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Part rows whose text is not UTF-8 (Parquet does not check) from the others, by halving."""
    good: list[pa.Table] = [rows.slice(0, 0)]
    bad: list[tuple[int, str, str]] = []
    left = [(0, rows.num_rows)]
    while left:
        start, stop = left.pop()
        piece = rows.take(pa.array(range(start, stop), pa.int64()))  # a slice would be validated with its neighbours
        try:
            piece.validate(full=True)
            good.append(piece)
        except pa.ArrowInvalid as error:
            if stop - start == 1:
                bad.append((piece["source_row"][0].as_py(), "invalid_utf8", str(error).splitlines()[0][:200]))
            else:
                middle = (start + stop) // 2
                left += [(middle, stop), (start, middle)]
    return pa.concat_tables(good), _broken(bad)


def _broken(rows: list[tuple[int, str, str]]) -> pa.Table:
    """A table of broken rows, each once, whatever else is wrong with it."""
    once = {row[0]: row for row in reversed(rows)}
    return pa.Table.from_pylist([dict(zip(BROKEN.names, once[at], strict=True)) for at in sorted(once)], schema=BROKEN)


class Window:
    """A sliding view of a stream, forward only: the bytes from ``start`` to ``stop``; ``ended`` once no more come."""

    def __init__(self, raw: _Raw, start: int) -> None:
        self.raw, self.start, self.data, self.ended = raw, start, bytearray(), False

    @property
    def stop(self) -> int:
        return self.start + len(self.data)

    def fill(self, upto: int) -> None:
        """Hold the bytes to an offset, as far as the stream has them."""
        while self.stop < upto and not self.ended:
            block = self.raw.read(_BLOCK_BYTES)
            self.ended = not block
            self.data += block

    def discard(self, upto: int) -> None:
        """Let go of the bytes before an offset."""
        while self.stop < upto and not self.ended:
            self.start, self.data = self.stop, bytearray()
            self.fill(self.start + 1)
        cut = min(upto, self.stop) - self.start
        if cut > 0:
            del self.data[:cut]
            self.start += cut


class _Expanding:
    """A decompressed stream that ends in an error where it grows beyond a bound."""

    def __init__(self, raw: _Raw, stored: int, max_expansion: int) -> None:
        self.raw, self.stored, self.read_bytes = raw, stored, 0
        self.bound = most_bytes(stored, max_expansion)

    def read(self, size: int, /) -> bytes:
        block = self.raw.read(size)
        self.read_bytes += len(block)
        if self.read_bytes > self.bound:
            raise expansion(self.stored, self.bound)
        return block


def most_bytes(stored: int, max_expansion: int) -> int:
    """How many bytes so many stored ones may expand to."""
    return max(_SURE_BYTES, stored * max_expansion)


def expansion(stored: int, bound: int) -> OSError:
    """The error of bytes that expand further than they may."""
    return OSError(f"{stored} bytes expand to more than {bound}; raise max_expansion if they are no bomb")


_windows: dict[str, Window] = {}
"""The compressed stream this process reads, kept open between the splits of one file."""


def _window(file: SourceFile, start: int, options: Mapping[str, Any], max_expansion: int = MAX_EXPANSION) -> Window:
    if file.container not in STREAMS:
        return stored_window(file, start, options)
    held = _windows.pop(file.key, None)
    if held is None or held.start > start:
        _windows.clear()
        codec = sources.codec_of(file.container)
        stream = pa.CompressedInputStream(pa.PythonFile(_open(file, options), "r"), codec)
        held = Window(_Expanding(stream, file.size, max_expansion), 0)
    held.discard(start)
    return held


def stored_window(file: SourceFile, start: int, options: Mapping[str, Any]) -> Window:
    """A view of a file's bytes as stored."""
    stream = _open(file, options)
    stream.seek(start)
    return Window(stream, start)


def pieces(
    split: Split,
    find: Callable[[Window, Split], _T],
    options: Mapping[str, Any],
    lookback: int = 1,
    max_expansion: int = MAX_EXPANSION,
) -> Iterator[tuple[Split, _T, bool]]:
    """What is found in a split of a stream, and after an open one in every piece to the end; whether it ends there.

    ``find`` gets a window that begins ``lookback`` bytes before the split, and is to discard no more.
    """
    window = _window(split.file, max(0, split.start - lookback), options, max_expansion)
    piece = split if split.stop is not None else replace(split, stop=split.start + split.bytes)
    while True:
        assert piece.stop is not None
        found = find(window, piece)
        window.fill(piece.stop + 1)
        end = window.ended and window.stop <= piece.stop
        yield piece, found, end
        if end or split.stop is not None:
            break
        piece = replace(piece, ordinal=piece.ordinal + 1, start=piece.stop, stop=piece.stop + split.bytes)
    if split.file.container in STREAMS:
        _windows[split.file.key] = window


def read_objects(
    split: Split,
    schema: pa.Schema,
    prepare: Prepare,
    options: Mapping[str, Any],
    max_line_bytes: int = MAX_LINE_BYTES,
    max_expansion: int = MAX_EXPANSION,
) -> Iterator[Reading]:
    """JSON lines as rows of a schema; see ``read``, which also looks whether the file changed."""
    found = pieces(split, functools.partial(lines, max_bytes=max_line_bytes), options, max_expansion=max_expansion)
    for piece, (begin, text, too_long), end in found:
        rows, broken = _parse(text, begin, schema, prepare, max_line_bytes)
        if too_long is not None:
            detail = f"longer than {max_line_bytes} bytes"
            broken = pa.concat_tables([broken, _broken([(too_long, "line_too_long", detail)])])
        yield Reading(piece, rows, broken, end)


def lines(window: Window, piece: Split, max_bytes: int) -> tuple[int, bytes, int | None]:
    """The lines that start within a piece: their offset, their bytes, and where an over-long last one starts."""
    assert piece.stop is not None
    window.discard(max(0, piece.start - 1))
    window.fill(piece.stop)
    origin, data = window.start, window.data
    begin = 0
    if piece.start > 0:
        newline = data.find(b"\n", 0, piece.stop - origin)
        if newline < 0:
            return piece.stop, b"", None
        begin = newline + 1
    if origin + begin >= min(piece.stop, window.stop):
        return piece.stop, b"", None
    search = max(piece.stop - 1 - origin, begin)
    last_start = data.rfind(b"\n", begin, search) + 1 or begin
    while True:
        newline = data.find(b"\n", search)
        if newline >= 0 and newline - last_start <= max_bytes:
            return origin + begin, bytes(data[begin : newline + 1]), None
        if newline >= 0 or len(data) - last_start > max_bytes:
            return origin + begin, bytes(data[begin:last_start]), origin + last_start
        if window.ended:
            return origin + begin, bytes(data[begin:]), None
        search = len(data)
        window.fill(window.stop + 1)


def _parse(
    text: bytes, begin: int, schema: pa.Schema, prepare: Prepare, max_line_bytes: int
) -> tuple[pa.Table, pa.Table]:
    """JSON lines to Arrow. One error spoils one line: this row loop is what that costs."""
    stored = _as_stored(schema)
    tables: list[pa.Table] = []
    broken: list[tuple[int, str, str]] = []
    objects: list[dict[str, Any]] = []
    held, offset = 0, begin

    def flush() -> None:
        if objects:
            tables.append(_to_table(objects, stored, schema, broken))
            objects.clear()

    for line in text.split(b"\n"):
        at, offset = offset, offset + len(line) + 1
        if len(line) > max_line_bytes:
            broken.append((at, "line_too_long", f"longer than {max_line_bytes} bytes"))
            continue
        if at == 0:
            line = line.removeprefix(codecs.BOM_UTF8)
        if not line or line.isspace():
            continue
        try:
            value = orjson.loads(line)
            if not isinstance(value, dict):
                raise orjson.JSONDecodeError(f"expected an object, found {type(value).__name__}", "", 0)
        except orjson.JSONDecodeError as error:
            broken.append((at, _text_or_json(line), str(error)[:200]))
            continue
        _prepare(value, at, prepare, objects, broken)
        held += len(line)
        if held > _BLOCK_BYTES:
            flush()
            held = 0
    flush()
    wanted = schema.append(pa.field("source_row", pa.int64()))
    return pa.concat_tables(tables) if tables else wanted.empty_table(), _broken(sorted(broken))


def _prepare(
    item: dict[str, Any],
    at: int,
    prepare: Prepare,
    objects: list[dict[str, Any]],
    broken: list[tuple[int, str, str]],
) -> None:
    try:
        found = [{**one, "source_row": at} for one in prepare(item)]
    except Exception as error:  # a user's reader may raise anything
        broken.append((at, "schema_mismatch", f"{type(error).__name__}: {error}"[:200]))
        return
    if not found:
        broken.append((at, "no_messages", "the reader found no conversation in the row"))
    objects += found


def _text_or_json(line: bytes) -> str:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return "invalid_utf8"
    return "invalid_json"


def _to_table(
    objects: list[dict[str, Any]], stored: pa.Schema, schema: pa.Schema, broken: list[tuple[int, str, str]]
) -> pa.Table:
    try:
        table = pa.Table.from_pylist(objects, schema=stored)
    except _UNFIT:
        row = pa.struct(list(schema))
        good = []
        for item in (_with_text_times(item, row) for item in objects):
            try:
                pa.Table.from_pylist([item], schema=stored)
                good.append(item)
            except _UNFIT as error:
                broken.append((item["source_row"], "schema_mismatch", str(error)[:200]))
        failed = {place for place, _, _ in broken}
        table = pa.Table.from_pylist([item for item in good if item["source_row"] not in failed], schema=stored)
    return conform(table, schema.append(pa.field("source_row", pa.int64())))


def _with_text_times(value: Any, kind: pa.DataType) -> Any:
    """A JSON value whose times, if numbers or a reader's datetimes, are texts as in all other rows."""
    if pa.types.is_struct(kind) and isinstance(value, dict):
        timed = [f for f in kind if f.name in value and not (pa.types.is_string(f.type) or pa.types.is_boolean(f.type))]
        return {**value, **{f.name: _with_text_times(value[f.name], f.type) for f in timed}}
    if _is_list(kind) and isinstance(value, list):
        return [_with_text_times(item, kind.value_type) for item in value]
    if pa.types.is_timestamp(kind) and isinstance(value, datetime):
        return value.isoformat()
    if pa.types.is_timestamp(kind) and isinstance(value, int | float) and not isinstance(value, bool):
        return epoch_times(pa.array([float(value)]), kind).cast(pa.string())[0].as_py()
    return value


@functools.lru_cache
def _as_stored(schema: pa.Schema) -> pa.Schema:
    """The schema JSON is first read with: times as text, since JSON has none."""

    def text_times(kind: pa.DataType) -> pa.DataType:
        if pa.types.is_timestamp(kind):
            return pa.large_string()
        if _is_list(kind):
            return pa.large_list(text_times(kind.value_type))
        if pa.types.is_struct(kind):
            return pa.struct([pa.field(f.name, text_times(f.type)) for f in kind])
        return kind

    return pa.schema([(f.name, text_times(f.type)) for f in schema] + [("source_row", pa.int64())])


def first_rows(split: Split, limit: int, options: Mapping[str, Any], max_line_bytes: int) -> tuple[int, int | None]:
    """How many of the first ``limit`` lines of a line split there are, and where a split of them alone stops."""
    window = _window(split.file, max(0, split.start - 1), options)
    piece = split if split.stop is not None else replace(split, stop=split.start + split.bytes)
    rows = 0
    while True:
        assert piece.stop is not None
        begin, text, too_long = lines(window, piece, max_line_bytes)
        at = 0
        while rows < limit and at < len(text):
            end = text.find(b"\n", at)
            end = len(text) if end < 0 else end + 1
            rows += not text[at:end].isspace()
            at = end
        if rows == limit:
            return rows, min(begin + at, piece.stop)
        rows += too_long is not None
        window.fill(piece.stop + 1)
        if rows == limit or split.stop is not None or (window.ended and window.stop <= piece.stop):
            return rows, piece.stop if rows == limit else split.stop
        piece = replace(piece, start=piece.stop, stop=piece.stop + split.bytes)
