"""Snapshots: parts compacted into shards, published in one step, verified and read back.

A shard holds a fixed group of consecutive splits. It is written once per group, under a name made of what
it holds, and hard-linked into every snapshot that has it. On a store a snapshot is built where it stays, of
shards that the store copies; it is one as soon as it has a ``manifest.json``, which comes last.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.provenance import Counts, Receipt, StageCount, Unit
from transforms.io import files, parts, plans
from transforms.io.parts import PartError

ROW_GROUP_ROWS: Final = 2_000
SUBSETS: Final = ("train", "test")
_NAME: Final = re.compile(r"\d+-[0-9a-f]{12}")
_PLAIN: Final = {
    *("content", "query", "response", "feedback", "text", "metadata", "url", "excerpt"),
    *("record_id", "instance_id", "document_id"),
}
"""Columns of long or unique texts, which no dictionary makes smaller."""


class SnapshotError(Exception):
    """A dataset directory is not what it should be; the message names what is wrong and where."""


@dataclass(frozen=True, slots=True)
class Group:
    """Consecutive parts that share a shard. ``key`` names what the shard holds."""

    key: str
    parts: tuple[str, ...]


def mark(receipt: Receipt) -> str:
    """What a part adds to the name of its group: its own name and what it holds."""
    return f"{receipt.part} {receipt.files['kept']['sha256']} {receipt.files['rejected']['sha256']}"


def group(marks: Iterable[str]) -> Group:
    """The group of some parts by their marks, named by their contents."""
    marks = list(marks)
    name = hashlib.sha256("\n".join(marks).encode()).hexdigest()[:20]
    return Group(name, tuple(mark.partition(" ")[0] for mark in marks))


_PLAN: Final = pa.schema([("key", pa.string()), ("parts", pa.list_(pa.string()))])


def write_plan(path: Path, groups: Sequence[Group]) -> None:
    """Write groups as a plan file (``transforms.io.plans``)."""
    pieces = (groups[at : at + plans.GROUP_ROWS] for at in range(0, len(groups), plans.GROUP_ROWS))
    tables = (pa.table({"key": [g.key for g in p], "parts": [g.parts for g in p]}, schema=_PLAN) for p in pieces)
    plans.write(path, _PLAN, tables)


def read_plan(path: Path, index: int) -> Group:
    """The group at ``index`` of a plan file."""
    row = plans.row(path, index)
    return Group(row["key"], tuple(row["parts"]))


def unwritten(work: Path, groups: Sequence[Group]) -> list[Group]:
    """The groups that have no shard yet."""
    there = files.each(work, lambda g: (work / "shards" / g.key / "shard.json").exists(), groups)
    return [g for g, found in zip(groups, there, strict=True) if not found]


def write_shard(work: Path, group: Group, kept: pa.Schema, rejected: pa.Schema) -> None:
    """Compact a group of parts into at most three Parquet files and a description, unless it is there already.

    Kept rows without a column ``subset`` are all train.
    """
    folder = work / "shards" / group.key
    if (folder / "shard.json").exists():
        return
    receipts = [parts.read_receipt(parts.receipt_path(work, part)) for part in group.parts]
    kept_rows = (parts.load(work, receipt, "kept") for receipt in receipts)
    rejected_rows = (parts.load(work, receipt, "rejected") for receipt in receipts)
    with files.staged(folder) as here:
        kept_shards = _write(here, kept_rows, kept, SUBSETS if "subset" in kept.names else SUBSETS[:1])
        shards = {**kept_shards, **_write(here, rejected_rows, rejected, ("rejected",))}
    files.write_bytes(folder / "shard.json", json.dumps(shards).encode())


def _write(
    folder: Path, tables: Iterable[pa.Table], schema: pa.Schema, names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Stream tables into one file a name, in row groups of ``ROW_GROUP_ROWS``; several share rows out by their subset."""
    rows: Counter[str] = Counter()
    with ExitStack() as stack:
        paths = {name: stack.enter_context(files.committed(folder / f"{name}.parquet")) for name in names}
        writers = {name: stack.enter_context(_writer(path, schema)) for name, path in paths.items()}
        held: dict[str, list[pa.Table]] = {name: [] for name in names}
        for table in tables:
            for name in names:
                wanted = table.filter(pc.equal(table["subset"], name)) if len(names) > 1 else table
                rows[name] += wanted.num_rows
                held[name].append(wanted)
                held[name] = _flush(writers[name], held[name], last=False)
        for name in names:
            _flush(writers[name], held[name], last=True)
    return {name: _describe(folder / f"{name}.parquet", rows[name]) for name in names}


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        path, schema, compression="zstd", compression_level=3, use_dictionary=_dictionary(schema), write_page_index=True
    )


def _dictionary(schema: pa.Schema) -> list[str]:
    """Parquet paths of columns worth a dictionary: all but long or unique texts."""
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    stored = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    paths = [stored.column(i).path for i in range(len(stored))]
    return [path for path in paths if path.split(".")[-1] not in _PLAIN]


def _flush(writer: pq.ParquetWriter, tables: list[pa.Table], last: bool) -> list[pa.Table]:
    if sum(table.num_rows for table in tables) < (1 if last else ROW_GROUP_ROWS):
        return tables
    table = pa.concat_tables(tables)
    whole = table.num_rows if last else table.num_rows // ROW_GROUP_ROWS * ROW_GROUP_ROWS
    writer.write_table(table.slice(0, whole), row_group_size=ROW_GROUP_ROWS)
    return [table.slice(whole)]


def _describe(path: Path, rows: int) -> dict[str, Any]:
    return {"rows": rows, "bytes": path.stat().st_size, "sha256": files.sha256(path)}


@dataclass(slots=True)
class _Sum:
    """Counts of one stage, added up in place: a million receipts have ten million counts."""

    rows_in: int = 0
    rows_out: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    usage: Counter[str] = field(default_factory=Counter)
    bytes: int = 0

    def add(self, count: StageCount) -> None:
        self.rows_in += count.rows_in
        self.rows_out += count.rows_out
        self.seconds += count.seconds
        self.bytes += count.bytes
        for sums, values in ((self.rejected, count.rejected), (self.usage, count.usage)):
            for name, n in values.items():
                sums[name] += n

    def count(self, stage: str, unit: Unit) -> StageCount:
        rejected = {name: n for name, n in sorted(self.rejected.items()) if n}
        return StageCount(
            stage, unit, self.rows_in, self.rows_out, rejected, self.seconds, dict(self.usage), self.bytes
        )


def total(receipts: Iterable[Receipt]) -> tuple[Counts, dict[str, Counter[str]]]:
    """Add up the ledgers and tallies of receipts."""
    sums: defaultdict[tuple[str, Unit], _Sum] = defaultdict(_Sum)
    tallies: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for receipt in receipts:
        for count in receipt.stages:
            sums[count.stage, count.unit].add(count)
        for name, values in receipt.tallies.items():
            tallies[name].update(values)
    stages = {(stage, unit): summed.count(stage, unit) for (stage, unit), summed in sums.items()}
    rows = [count for count in stages.values() if count.unit == "row"]
    instances = [count for count in stages.values() if count.unit == "instance"]
    return (
        Counts(
            rows_read=rows[0].rows_in if rows else 0,
            rows_used=rows[-1].rows_out if rows else 0,
            rows_rejected=_sum(rows),
            instances=instances[0].rows_in if instances else 0,
            kept=instances[-1].rows_out if instances else 0,
            instances_rejected=_sum(instances),
            stages=list(stages.values()),
        ),
        tallies,
    )


def _sum(counts: Iterable[StageCount]) -> dict[str, int]:
    together: Counter[str] = Counter()
    for count in counts:
        together.update(count.rejected)
    return dict(sorted(together.items()))


def listed(work: Path, groups: Sequence[Group]) -> list[dict[str, Any]]:
    """The shards of some groups under Hugging Face names, as the manifest lists them.

    A subset without rows has no shard: Hugging Face's reader fails on an empty one.

    Raises:
        PartError: a shard is not as it was written; it is written anew by the next run.
    """
    return [entry for _, entry in _placed(work, groups)]


def place(work: Path, groups: Sequence[Group], target: Path) -> list[dict[str, Any]]:
    """Link the shards of some groups into a snapshot; returns what ``listed`` does."""
    placed = _placed(work, groups)
    list(files.each(target, lambda shard: files.link(shard[0], target / shard[1]["path"]), placed))
    return [entry for _, entry in placed]


def _placed(work: Path, groups: Sequence[Group]) -> list[tuple[Path, dict[str, Any]]]:
    """Shards where they were written, and what the manifest says of each."""
    told = files.each(work, lambda g: json.loads((work / "shards" / g.key / "shard.json").read_bytes()), groups)
    described = list(zip(groups, told, strict=True))
    placed = []
    for name in (*SUBSETS, "rejected"):
        kind = "rejected" if name == "rejected" else "data"
        chosen = [(g, shards[name]) for g, shards in described if name in shards and shards[name]["rows"]]
        for number, (g, shard) in enumerate(chosen):
            path = f"{kind}/{name}-{number:05d}-of-{len(chosen):05d}.parquet"
            entry = {"path": path, "kind": kind, "subset": None if kind == "rejected" else name, **shard}
            placed.append((g, name, shard, entry))
    paths = files.each(work, lambda one: _checked(work / "shards" / one[0].key, one[1], one[2]), placed)
    return [(path, entry) for path, (*_, entry) in zip(paths, placed, strict=True)]


def _checked(folder: Path, name: str, shard: dict[str, Any]) -> Path:
    """A shard that is as long as it was when it was written: after a power cut it may not be."""
    path = folder / f"{name}.parquet"
    if not path.is_file() or path.stat().st_size != shard["bytes"]:
        (folder / "shard.json").unlink(missing_ok=True)
        raise PartError(f"{path}: expected {shard['bytes']} bytes; run the same command again to write it anew")
    return path


@contextmanager
def built(snapshot: Path, manifest: bytes) -> Iterator[Path]:
    """Give a folder to build a snapshot in; if the block succeeds, it is the snapshot with that manifest."""
    if files.on_store(snapshot):
        yield snapshot
        files.create(snapshot / "manifest.json", manifest)
        return
    attempt = snapshot.with_name(f".attempt-{os.getpid()}-{time.monotonic_ns()}")
    files.write_bytes(attempt / "manifest.json", manifest)
    yield attempt
    os.rename(attempt, snapshot)


def published(folder: Path) -> dict[str, Path]:
    """The snapshots in a folder, by the digest in their names."""
    found = [folder / name for name in sorted(files.names(folder)) if _NAME.fullmatch(name)]
    if files.on_store(folder):
        found = [path for path in found if (path / "manifest.json").exists()]
    return {path.name.partition("-")[2]: path for path in found}


def latest(output: Path) -> Path:
    """The newest snapshot of a dataset directory, or the snapshot itself when given one.

    Raises:
        SnapshotError: the directory holds no published snapshot.
    """
    if (output / "manifest.json").is_file():
        return output
    pointer = output / "LATEST"
    if not pointer.is_file():
        raise SnapshotError(f"{output}: expected a dataset directory with a LATEST file, or a snapshot; found neither")
    snapshot = output / "snapshots" / pointer.read_text().strip()
    if not (snapshot / "manifest.json").is_file():
        raise SnapshotError(f"{pointer}: names {snapshot.name}, which has no manifest.json")
    return snapshot


def manifest(snapshot: Path) -> dict[str, Any]:
    """A snapshot's manifest.

    Raises:
        SnapshotError: it is missing or not JSON.
    """
    try:
        found: dict[str, Any] = json.loads((snapshot / "manifest.json").read_bytes())
    except (OSError, ValueError) as error:
        raise SnapshotError(f"{snapshot}/manifest.json: cannot be read: {error}") from error
    return found


def shard_paths(snapshot: Path, kind: str) -> list[Path]:
    """The data or rejected shards that the manifest lists."""
    return [snapshot / shard["path"] for shard in manifest(snapshot)["shards"] if shard["kind"] == kind]


def batches(paths: Iterable[Path]) -> Iterator[pl.DataFrame]:
    """Rows of Parquet files, a row group at a time."""
    for path in paths:
        stored = files.parquet(path)
        for index in range(stored.num_row_groups):
            yield pl.DataFrame(stored.read_row_group(index))


def expect_readable(snapshot: Path, schema: pa.Schema) -> None:
    """Check that this version can read a snapshot.

    Raises:
        SnapshotError: the snapshot was written by a newer version.
    """
    current = int(schema.metadata[b"sluice.schema_version"])
    version = manifest(snapshot)["schema_version"]
    if version > current:
        raise SnapshotError(f"{snapshot}: expected schema version {current} or older, found {version}; upgrade Sluice")


def scan(snapshot: Path, kind: str, schema: pa.Schema) -> pl.LazyFrame:
    """Rows of a snapshot in the current schema, also of one written by an older version.

    Columns that the older version lacked are null; those it had and the current one has not are dropped.

    Raises:
        SnapshotError: the snapshot was written by a newer version.
    """
    expect_readable(snapshot, schema)
    target = pl.DataFrame(schema.empty_table()).schema
    paths = shard_paths(snapshot, kind)
    if not paths:
        return pl.LazyFrame(schema=target)
    frame = files.scan_parquet(paths)
    stored = frame.collect_schema()
    return frame.select(
        pl.col(name).cast(kind_) if name in stored else pl.lit(None, kind_).alias(name)
        for name, kind_ in target.items()
    )


def stray_attempts(snapshots: Path) -> Iterator[Path]:
    """Directories that a killed run left half-built."""
    if files.on_store(snapshots):
        found = (snapshots / name for name in files.names(snapshots))
        return (path for path in found if not (path / "manifest.json").exists())
    return (path for path in snapshots.glob(".attempt-*") if path.is_dir()) if snapshots.exists() else iter(())
