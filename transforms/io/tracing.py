"""One published row back to the bytes it came from."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.provenance import Container
from transforms.io import snapshots, sources
from transforms.io.chats import joined
from transforms.io.snapshots import SnapshotError

_BLOCK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Origin:
    """A source row as it stands in its file. ``line`` counts from 1, for line formats."""

    uri: str
    row: int
    line: int | None
    content: Any


def find(snapshot: Path, identifier: str, schemas: dict[str, pa.Schema]) -> tuple[str, dict[str, Any]]:
    """The row with that record id or instance id: ("data" or "rejected", row).

    Raises:
        SnapshotError: there is no such row, or an instance id names several.
    """
    for column in ("record_id", "instance_id"):
        hits = [
            (kind, row)
            for kind, schema in schemas.items()
            for row in snapshots.scan(snapshot, kind, schema).filter(pl.col(column) == identifier).collect().to_dicts()
        ]
        if len(hits) > 1:
            ids = ", ".join(row["record_id"] for _, row in hits[:5])
            raise SnapshotError(f"{identifier}: names {len(hits)} rows; give one of their record ids: {ids}")
        if hits:
            return hits[0]
    raise SnapshotError(f"{identifier}: expected a record_id or instance_id of {snapshot}; found no such row")


def origin(uri: str, row: int, container: Container) -> Origin:
    """Read one source row: a Parquet row index, or the line at a byte offset of the decompressed stream.

    Raises:
        SnapshotError: the file is gone, or has no such row.
    """
    try:
        with fsspec.open(uri, "rb") as stream:
            if container == "parquet":
                return Origin(uri, row, None, _parquet_row(pq.ParquetFile(stream), row))
            raw = stream if container == "jsonl" else _decompressed(stream, container)
            line, text = _line_at(raw, row)
    except (OSError, pa.ArrowException, IndexError) as error:
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


def _line_at(raw: Any, offset: int) -> tuple[int, bytes]:
    line, at = 1, 0
    while at < offset:
        block = raw.read(min(_BLOCK, offset - at))
        if not block:
            raise IndexError(f"the stream has {at} bytes")
        line, at = line + block.count(b"\n"), at + len(block)
    text = b""
    while block := raw.read(_BLOCK):
        head, newline, _ = block.partition(b"\n")
        text += head
        if newline:
            break
    return line, text


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
