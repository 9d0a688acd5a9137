"""One published row back to the bytes it came from."""

from __future__ import annotations

import json
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.presentation import Presentation
from schemas.provenance import Container
from transforms.io import snapshots, sources
from transforms.io.chats import joined
from transforms.io.snapshots import SnapshotError

_BLOCK = 1024 * 1024
_SHOWN = 8 * 1024
"""Bytes of a text or a record that are shown."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A source row as it stands in its file. ``line`` counts from 1, for line formats."""

    uri: str
    row: int
    line: int | None
    content: Any


def find(snapshot: Path, identifier: str, presentation: Presentation) -> tuple[str, dict[str, Any]]:
    """The row with that record id, or another of the identifiers that a row has: ("data" or "rejected", row).

    Raises:
        SnapshotError: there is no such row, or the identifier names several.
    """
    schemas = {"data": presentation.kept, "rejected": presentation.rejected}
    for column in presentation.identifiers:
        hits = [
            (kind, row)
            for kind, schema in schemas.items()
            if column in schema.names
            for row in snapshots.scan(snapshot, kind, schema).filter(pl.col(column) == identifier).collect().to_dicts()
        ]
        if len(hits) > 1:
            ids = ", ".join(row["record_id"] for _, row in hits[:5])
            raise SnapshotError(f"{identifier}: names {len(hits)} rows; give one of their record ids: {ids}")
        if hits:
            return hits[0]
    named = " or ".join(presentation.identifiers)
    raise SnapshotError(f"{identifier}: expected a {named} of {snapshot}; found no such row")


def origin(uri: str, row: int, container: Container) -> Origin:
    """Read one source row as it stands in its file.

    ===========  ==========================================================================================
    container    ``row`` is, and what is read
    ===========  ==========================================================================================
    Parquet      an index; the row's columns
    lines        a byte offset in the decompressed stream; the line, parsed if it is JSON
    text         the same; text from there on
    web archive  the same, for ``warc.gz`` in the stored file; the record's head, line by line, and its block
    ===========  ==========================================================================================

    Text and blocks are cut after ``_SHOWN`` bytes.

    Raises:
        SnapshotError: the file is gone, or has no such row.
    """
    try:
        with fsspec.open(uri, "rb") as stream:
            if container == "parquet":
                return Origin(uri, row, None, _parquet_row(pq.ParquetFile(stream), row))
            if container == "warc.gz":
                return Origin(uri, row, None, _record(_member_at(stream, row)))
            raw = stream if "." not in container else _decompressed(stream, container)
            line = _skip(raw, row)
            if container.startswith("warc"):
                return Origin(uri, row, None, _record(raw.read(_SHOWN)))
            if container.startswith("text"):
                return Origin(uri, row, line, raw.read(_SHOWN).decode("utf-8", "replace"))
            text = _rest_of_line(raw)
    except (OSError, pa.ArrowException, IndexError, zlib.error) as error:
        raise SnapshotError(f"{uri}: row {row} cannot be read: {str(error).splitlines()[0]}") from error
    try:
        return Origin(uri, row, line, json.loads(text))
    except (ValueError, RecursionError):
        return Origin(uri, row, line, text[:2000].decode("utf-8", "replace"))


def _decompressed(stream: Any, container: Container) -> Any:
    return pa.CompressedInputStream(pa.PythonFile(stream, "r"), sources.codec_of(container))


def _parquet_row(stored: pq.ParquetFile, row: int) -> Any:
    at = 0
    for batch in stored.iter_batches(1024):
        if at + batch.num_rows > row:
            return batch.slice(row - at, 1).to_pylist()[0]
        at += batch.num_rows
    raise IndexError(f"the file has {at} rows")


def _skip(raw: Any, offset: int) -> int:
    """Read up to an offset; the number of the line that starts there."""
    line, at = 1, 0
    while at < offset:
        block = raw.read(min(_BLOCK, offset - at))
        if not block:
            raise IndexError(f"the stream has {at} bytes")
        line, at = line + block.count(b"\n"), at + len(block)
    return line


def _rest_of_line(raw: Any) -> bytes:
    text = b""
    while block := raw.read(_BLOCK):
        head, newline, _ = block.partition(b"\n")
        text += head
        if newline:
            break
    return text


def _member_at(stream: Any, offset: int) -> bytes:
    """The first bytes of the gzip member at an offset of the stored file."""
    stream.seek(offset)
    member, text = zlib.decompressobj(wbits=31), b""
    while len(text) < _SHOWN and not member.eof and (block := stream.read(_SHOWN)):
        text += member.decompress(block, _SHOWN - len(text))
    if not text:
        raise IndexError("there is no record")
    return text


def _record(text: bytes) -> dict[str, Any]:
    """The head of a web archive's record, and its block."""
    head, _, block = text.partition(b"\r\n\r\n")
    return {
        "head": head.decode("utf-8", "replace").splitlines(),
        "block": block.decode("utf-8", "replace"),
    }


def strings(value: Any) -> set[str]:
    """Every text anywhere in a source row, and those that its parts make together (``joined_parts``)."""
    found: set[str] = set()
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            found.add(item)
        elif isinstance(item, dict):
            stack += item.values()
        elif isinstance(item, list):
            stack += item
            if item and all(isinstance(part, dict) and "type" in part for part in item):
                with suppress(KeyError):
                    stack.append(joined(item))
    return found
