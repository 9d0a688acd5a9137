"""Small sources for tests: files of every container, and what a pipeline reads of them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from pipelines import feedback, planning
from pipelines.feedback import FeedbackConfig
from schemas.provenance import Container, SourceFile, Split, StageCount
from transforms.feedback import rejects, turns
from transforms.io import chats, sources, splits
from transforms.io.chats import ChatSource

Row = dict[str, Any]

MAX_LINE_BYTES = 16 * 1024 * 1024


def jsonl(rows: Iterable[Any]) -> bytes:
    """Rows as JSON lines; times as WildChat's own export writes them, text unescaped."""
    return b"".join(json.dumps(row, ensure_ascii=False, default=str).encode() + b"\n" for row in rows)


def packed(data: bytes, container: Container, frames: int = 1) -> bytes:
    """Bytes as a line container stores them, in so many gzip members or zstd frames."""
    if container == "jsonl":
        return data
    step = max(1, -(-len(data) // frames))
    pieces = [data[at : at + step] for at in range(0, len(data), step)] or [b""]
    if container == "jsonl.gz":
        return b"".join(gzip.compress(piece, 1) for piece in pieces)
    return b"".join(zstandard.ZstdCompressor(1, write_checksum=True).compress(piece) for piece in pieces)


def write(path: Path, data: bytes) -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def write_rows(
    folder: Path, rows: Sequence[Row], container: Container, schema: pa.Schema | None = None, name: str = "chats"
) -> Path:
    """Write rows to ``chats.<container>``; Parquet in row groups of four rows."""
    path = folder / f"{name}.{container}"
    if container != "parquet":
        return write(path, packed(jsonl(rows), container, frames=2))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path, row_group_size=4)
    return path


@dataclass
class Planned:
    """The files of a config's sources, how to read them, and their splits."""

    files: list[SourceFile]
    splits: list[Split]
    source: ChatSource

    @property
    def error(self) -> str | None:
        """Why the first file that cannot be read cannot."""
        return next((file.error for file in self.files if file.error), None)


def config(*uris: str | Path, **settings: Any) -> FeedbackConfig:
    """A config with one source; settings named like a source's own go there."""
    own = {name: settings.pop(name) for name in ("root", "format", "mapping", "storage_options") if name in settings}
    entry = {"uri": [str(uri) for uri in uris], **own}
    values: Row = {"pipeline": "feedback", "dataset": {"name": "test"}, "sources": [entry], **settings}
    return FeedbackConfig.model_validate(values)


def plan(*uris: str | Path, target: int | None = None, base: Path = Path(), **settings: Any) -> Planned:
    """Discover what the URIs name. ``target`` cuts finer than a config may ask for."""
    given = config(*uris, **settings)
    source = feedback.source(given, base)
    found = planning.discover(given, source)
    cut = list(found.splits)
    if target is not None:
        entry = given.sources[0]
        probes = {f.uri: sources.probe(f) for f in sources.find(entry.uri, entry.root, entry.storage_options)}
        cut = [split for file in found.files if not file.error for split in splits.cut(file, probes[file.uri], target)]
    return Planned(found.files, cut, source)


@dataclass
class Told:
    """What was read: conversations, rejected rows, and the ledger."""

    conversations: list[Row] = field(default_factory=list)
    rejected: list[Row] = field(default_factory=list)
    counts: list[StageCount] = field(default_factory=list)
    instances: list[Row] = field(default_factory=list)

    @property
    def reasons(self) -> list[tuple[int, str]]:
        """Place and reason of every rejected row, in order."""
        return [(row["source_row"], row["reason"]) for row in self.rejected]

    @property
    def rows_read(self) -> int:
        return sum(count.rows_in for count in self.counts)

    def expect_closed(self, rows: int) -> None:
        """The ledger closes over ``rows`` source rows, each of which is used or rejected, once."""
        used = {row["source_row"] for row in self.conversations}
        lost = [row["source_row"] for row in self.rejected]
        assert len(set(lost)) == len(lost), "a source row is rejected once"
        assert not used & set(lost), "a source row is used or rejected, never both"
        assert self.rows_read == sum(c.rows_out + sum(c.rejected.values()) for c in self.counts) == rows
        assert len(used) == sum(c.rows_out for c in self.counts)
        assert len(lost) == sum(sum(c.rejected.values()) for c in self.counts)


def read(planned: Planned, order: Iterable[int] | None = None) -> Told:
    """Read all splits, and extract the instances of their conversations."""
    import polars as pl

    told = Told()
    for index in order if order is not None else range(len(planned.splits)):
        for chunk in chats.read_chunks(planned.splits[index], planned.source, rejects.rejected):
            told.conversations += chunk.kept.to_pylist()
            told.rejected += chunk.rejected.to_pylist()
            told.counts += chunk.stages
            found = turns.extract(pl.DataFrame(chunk.kept), chunk.split, max_history=1000)
            told.instances += [row for row in found.to_dicts() if row["unit"] == "instance"]
    return told


def message(role: str, content: str | None, **facts: Any) -> Row:
    """One message as ``schemas.conversation.MESSAGE`` has it."""
    empty: Mapping[str, Any] = dict.fromkeys(("language", "timestamp", "toxic", "redacted", "moderation_flagged"), None)
    return {"role": role, "content": content, **empty, **facts}


def talk(*contents: str | None) -> list[Row]:
    """Messages by user and assistant in turn."""
    return [message("assistant" if at % 2 else "user", content) for at, content in enumerate(contents)]


def sharegpt(name: str | None, *turns: tuple[str, str]) -> Row:
    """A row as ShareGPT exports have it."""
    return {"id": name, "conversations": [{"from": role, "value": text} for role, text in turns]}


def some_split(relative_uri: str = "chats.jsonl", ordinal: int = 0) -> Split:
    """A split of a file that need not exist."""
    file = SourceFile(
        f"file:///{relative_uri}", relative_uri, 0, "jsonl", "sharegpt", 100, "f", "s", f"key-{relative_uri}"
    )
    return Split(file, ordinal, 100 * ordinal, 100 * (ordinal + 1), 100)


def thread(source_row: int, messages: Sequence[Row], **facts: Any) -> Row:
    """One thread as ``schemas.conversation.CONVERSATION`` has it."""
    empty = dict.fromkeys(("user", "model", "language", "timestamp", "toxic", "redacted", "moderation_flagged"), None)
    return {
        "source_row": source_row,
        "seen": 0,
        "conversation_id": f"c{source_row}",
        **empty,
        "messages": list(messages),
        **facts,
    }
