"""Where data came from and what was done with it: source files, splits, chunks, receipts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

import pyarrow as pa

MANIFEST_VERSION: Final = 1

Container = Literal[
    "parquet",
    "jsonl",
    "jsonl.gz",
    "jsonl.zst",
    "text",
    "text.gz",
    "text.zst",
    "warc",
    "warc.gz",
    "warc.stream.gz",
    "warc.zst",
]
"""What a file holds and how it is compressed. In ``warc.gz`` each record is a gzip member, in ``warc.stream.gz`` not."""

Unit = Literal["row", "instance"]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source.

    ``uri`` opens the file, ``relative_uri`` names it in every published row. ``fingerprint`` identifies
    the content (size, head and tail); ``stamp`` (mtime or ETag) only tells that the file was touched.
    ``source`` is the index of the configured source it belongs to, ``format`` the format its rows are
    read with, ``key`` a hash of all that decides what a split of it holds, ``error`` why it cannot be read.
    """

    uri: str
    relative_uri: str
    source: int
    container: Container
    format: str
    size: int
    fingerprint: str
    stamp: str
    key: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """A deterministic piece of one source file: the unit of work, retry and resume.

    ``start`` and ``stop`` are row indices for Parquet, byte offsets in the stored file for ``warc.gz``, and byte
    offsets in the decompressed stream for all others. ``stop`` is None for "to the end of the stream", which a
    compressed file does not tell.
    ``bytes`` is the estimated Arrow size; an open split continues in steps of it. ``listed`` tells the split's list
    from the key pass, once there is one: source rows read and the list's digest, with a dot between them.
    """

    file: SourceFile
    ordinal: int
    start: int
    stop: int | None
    bytes: int
    listed: str | None = None

    @property
    def key(self) -> str:
        """Names the split's key table and list; stable as long as the file's content is."""
        return f"{self.file.key}-{self.ordinal:06d}"

    @property
    def part(self) -> str:
        """Names the split's part and receipt: its key and the digest of its list."""
        return f"{self.key}-{(self.listed or '').rpartition('.')[2]}"

    def __str__(self) -> str:
        unit = "rows" if self.file.container == "parquet" else "bytes"
        stop = "end" if self.stop is None else self.stop
        return f"{self.file.relative_uri} split {self.ordinal} ({unit} {self.start}-{stop})"


@dataclass(frozen=True, slots=True)
class StageCount:
    """What one stage took in, let through and rejected, per reason. ``seconds`` is its wall time, ``bytes`` the Arrow size of its input.

    ``usage`` counts what a model stage needed: replies, requests sent, journal hits, failed replies, tokens in and out.
    """

    stage: str
    unit: Unit
    rows_in: int
    rows_out: int
    rejected: dict[str, int]
    seconds: float
    usage: dict[str, int] = field(default_factory=dict)
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """A split's rows on their way through the stages: the only payload element of any PCollection.

    ``stages`` is the running ledger. ``source_sha256`` is set on a file's first split.
    """

    split: Split
    kept: pa.Table
    rejected: pa.Table
    stages: tuple[StageCount, ...] = ()
    source_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The commit record of a split, written last. A split with a valid receipt is never computed again.

    ``part`` names the part's files, ``files`` their bytes and SHA-256, ``tallies`` counts values of
    columns worth reporting (``{"level": {"3": 10}}``). ``seconds`` is wall time from reading to commit.
    """

    part: str
    split: str
    plan: str
    kept: int
    rejected: int
    stages: tuple[StageCount, ...]
    tallies: dict[str, dict[str, int]]
    files: dict[str, dict[str, str | int]]
    seconds: float
    source_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """The two ledgers: source rows and instances.

    ``rows_read = rows_used + rows_rejected`` and ``instances = kept + instances_rejected`` must hold.
    """

    rows_read: int
    rows_used: int
    rows_rejected: dict[str, int]
    instances: int
    kept: int
    instances_rejected: dict[str, int]
    stages: list[StageCount] = field(default_factory=list)

    def imbalance(self) -> str | None:
        """Say which ledger does not close, or None when both do."""
        rows = self.rows_used + sum(self.rows_rejected.values())
        if rows != self.rows_read:
            return f"{self.rows_read} rows read, but {self.rows_used} used and {rows - self.rows_used} rejected"
        instances = self.kept + sum(self.instances_rejected.values())
        if instances != self.instances:
            return f"{self.instances} instances, but {self.kept} kept and {instances - self.kept} rejected"
        return None
