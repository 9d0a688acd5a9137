"""How chunks and tables travel between processes: Arrow IPC, never pickle."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict
from typing import Any

import polars as pl
import pyarrow as pa
from apache_beam import coders

from schemas.provenance import Chunk, SourceFile, Split, StageCount


def _is_view(kind: pa.DataType) -> bool:
    """Whether a type is, or holds, views into text kept elsewhere."""
    inner = (kind.field(at).type for at in range(kind.num_fields))
    return bool(pa.types.is_string_view(kind) or pa.types.is_binary_view(kind)) or any(map(_is_view, inner))


class TableCoder(coders.Coder):
    """Arrow IPC for tables: slices are written without the buffers they were cut from."""

    def encode(self, table: pa.Table) -> bytes:
        if any(_is_view(field.type) for field in table.schema):  # a view drags the buffers it was cut from
            table = pl.DataFrame(table).to_arrow()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue())

    def decode(self, data: bytes) -> pa.Table:
        return pa.ipc.open_stream(data).read_all()

    def estimate_size(self, table: pa.Table) -> int:
        return int(table.nbytes)

    def is_deterministic(self) -> bool:
        return True

    def to_type_hint(self) -> Any:
        return pa.Table


class ChunkCoder(coders.Coder):
    """A length-prefixed JSON header, then the kept and the rejected table in Arrow IPC."""

    _tables = TableCoder()

    def encode(self, chunk: Chunk) -> bytes:
        header = {
            "split": asdict(chunk.split),
            "stages": [asdict(s) for s in chunk.stages],
            "source_sha256": chunk.source_sha256,
        }
        parts = [json.dumps(header).encode(), self._tables.encode(chunk.kept), self._tables.encode(chunk.rejected)]
        return b"".join(struct.pack("<Q", len(part)) + part for part in parts)

    def decode(self, data: bytes) -> Chunk:
        parts, at = [], 0
        for _ in range(3):
            (length,) = struct.unpack_from("<Q", data, at)
            parts.append(data[at + 8 : at + 8 + length])
            at += 8 + length
        header = json.loads(parts[0])
        split = Split(file=SourceFile(**header["split"].pop("file")), **header["split"])
        stages = tuple(StageCount(**s) for s in header["stages"])
        kept, rejected = (self._tables.decode(part) for part in parts[1:])
        return Chunk(split, kept, rejected, stages, header["source_sha256"])

    def estimate_size(self, chunk: Chunk) -> int:
        return int(chunk.kept.nbytes + chunk.rejected.nbytes)

    def is_deterministic(self) -> bool:
        return True


coders.registry.register_coder(pa.Table, TableCoder)
coders.registry.register_coder(Chunk, ChunkCoder)
