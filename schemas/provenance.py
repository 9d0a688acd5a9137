"""Where data came from and what was done with it: source files, splits, chunks, receipts, manifests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

import pyarrow as pa

MANIFEST_VERSION: Final = 1

Container = Literal["parquet", "jsonl", "jsonl.gz", "jsonl.zst"]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source.

    ``uri`` is absolute and opens the file; ``relative_uri`` names it in every published row.
    ``fingerprint`` identifies the content (size, head and tail); ``stamp`` (mtime or ETag) tells that a
    file was touched. ``format`` is the chat format its rows are read with, ``error`` why it cannot be read.
    """

    uri: str
    relative_uri: str
    container: Container
    format: str
    size: int
    fingerprint: str
    stamp: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """A deterministic piece of one source file: the unit of work, retry and resume.

    ``start`` and ``stop`` are row indices for Parquet and byte offsets in the decompressed stream for line
    formats; ``stop`` is None for "to the end of the stream", whose size a compressed file does not tell.
    """

    file: SourceFile
    ordinal: int
    start: int
    stop: int | None
    bytes: int

    @property
    def key(self) -> str:
        """Name of the split's part and receipt; stable as long as the file's content is."""
        return f"{self.file.fingerprint}-{self.ordinal:06d}"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A split's rows on their way through the stages: the only payload of a PCollection.

    ``counts`` is the running ledger: ``rows_read``, ``rows_used`` and ``instances`` (see ``Receipt``).
    """

    split: Split
    kept: pa.Table
    rejected: pa.Table
    counts: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Receipt:
    """The commit record of a split, written last.

    Two ledgers close in every receipt: ``rows_read = rows_used + sum(rows_rejected)`` and
    ``instances = kept + sum(instances_rejected)``. ``levels`` counts the judge's own levels, ``labels`` the
    published ones per subset (``{"train": {"1": 10}}``). ``source_sha256`` is set on the receipt of a
    file's first split. ``last`` marks the split that reached the end of its file.
    """

    split: str
    plan: str
    keys: str
    rows_read: int
    rows_used: int
    rows_rejected: dict[str, int]
    instances: int
    kept: int
    instances_rejected: dict[str, int]
    levels: dict[str, int]
    labels: dict[str, dict[str, int]]
    files: dict[str, dict[str, str | int]]
    seconds: dict[str, float]
    source_sha256: str | None = None
    last: bool = False
