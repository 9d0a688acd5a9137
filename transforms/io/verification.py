"""Checking a published snapshot against its manifest and against itself."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.presentation import Presentation
from schemas.provenance import MANIFEST_VERSION
from transforms.io import files, snapshots, tallies
from transforms.io.snapshots import SnapshotError


def problems(snapshot: Path, presentation: Presentation) -> Iterator[str]:
    """Everything that is wrong with a snapshot, one line each; nothing when it is sound.

    The manifest's own checksum, which names the snapshot, and checksums, schemas and row counts of shards come
    first, then what the rows say: that both ledgers close and agree with the shards, that record ids are unique,
    that tallies are those of the rows, that every row comes from a listed source, and that no user and no conversation
    is in two subsets.
    """
    manifest = snapshots.manifest(snapshot)
    if manifest.get("manifest_version", 0) > MANIFEST_VERSION:
        raise SnapshotError(
            f"{snapshot}: expected manifest version {MANIFEST_VERSION} or older, found {manifest['manifest_version']}"
        )
    yield from _seal(snapshot)
    broken = list(_shards(snapshot, manifest, {"data": presentation.kept, "rejected": presentation.rejected}))
    yield from broken
    if not broken:
        yield from _ledgers(manifest)
        yield from _rows(snapshot, manifest, presentation)


def _seal(snapshot: Path) -> Iterator[str]:
    """The manifest's digest, where the snapshot still has the name that it was published under."""
    published = re.fullmatch(r"\d+-([0-9a-f]{12})", snapshot.resolve().name)
    found = files.sha256(snapshot / "manifest.json")
    if published and not found.startswith(published[1]):
        yield f"manifest.json: expected SHA-256 {published[1]}..., found {found}"


def _shards(snapshot: Path, manifest: dict[str, Any], schemas: dict[str, pa.Schema]) -> Iterator[str]:
    listed = {shard["path"] for shard in manifest["shards"]}
    for name in sorted(f"{kind}/{path.name}" for kind in ("data", "rejected") for path in (snapshot / kind).glob("*")):
        if name not in listed:
            yield f"{name}: in the snapshot, but not in its manifest"
    for shard in manifest["shards"]:
        try:
            with files.fetched(snapshot / shard["path"]) as path:
                yield from _shard(path, shard, manifest["schema_version"], schemas[shard["kind"]])
        except FileNotFoundError:
            yield f"{shard['path']}: missing"


def _shard(path: Path, shard: dict[str, Any], version: int, expected: pa.Schema) -> Iterator[str]:
    if (size := path.stat().st_size) != shard["bytes"]:
        yield f"{shard['path']}: expected {shard['bytes']} bytes, found {size}"
    elif (digest := files.sha256(path)) != shard["sha256"]:
        yield f"{shard['path']}: expected SHA-256 {shard['sha256']}, found {digest}"
    else:
        stored = pq.ParquetFile(path)
        if stored.metadata.num_rows != shard["rows"]:
            yield f"{shard['path']}: expected {shard['rows']} rows, found {stored.metadata.num_rows}"
        current = version == int(expected.metadata[b"sluice.schema_version"])
        if current and not stored.schema_arrow.equals(expected, check_metadata=False):
            yield f"{shard['path']}: its columns differ from schema version {version}"


def _ledgers(manifest: dict[str, Any]) -> Iterator[str]:
    counts = manifest["counts"]
    rows = counts["rows_used"] + sum(counts["rows_rejected"].values())
    if rows != counts["rows_read"]:
        yield f"manifest: {counts['rows_read']} rows read, but {rows} used or rejected"
    instances = counts["kept"] + sum(counts["instances_rejected"].values())
    if instances != counts["instances"]:
        yield f"manifest: {counts['instances']} instances, but {instances} kept or rejected"
    labelled = sum(n for labels in counts.get("labels", {}).values() for n in labels.values())
    if "labels" in counts and labelled != counts["kept"]:
        yield f"manifest: {counts['kept']} kept, but {labelled} labelled"
    for stage in counts["stages"]:
        if stage["in"] != stage["out"] + sum(stage["rejected"].values()):
            yield f"manifest: stage {stage['stage']}: {stage['in']} in, but {stage['out']} out and {stage['rejected']}"
    read = sum(source["rows"] for source in manifest["sources"])
    if read != counts["rows_read"]:
        yield f"manifest: {counts['rows_read']} rows read, but its sources have {read}"


def _rows(snapshot: Path, manifest: dict[str, Any], presentation: Presentation) -> Iterator[str]:
    data = snapshots.scan(snapshot, "data", presentation.kept)
    lost = snapshots.scan(snapshot, "rejected", presentation.rejected)
    counts = manifest["counts"]
    reasons = lost.group_by("unit", "reason").len().collect()
    for unit, name in (("row", "rows_rejected"), ("instance", "instances_rejected")):
        found = {r: n for u, r, n in reasons.rows() if u == unit}
        if Counter(found) != Counter(counts[name]):
            yield f"rejected: expected {name} {counts[name]}, found {found}"
    for name, told in tallies.told(counts, presentation).items():
        found = tallies.counted((data, lost), presentation.tallies[name])
        if Counter(found) != Counter(told):
            yield f"manifest: expected {name} {told}, found {found}"
    if (stored := data.select(pl.len()).collect().item()) != counts["kept"]:
        yield f"manifest: {counts['kept']} kept, but the data shards hold {stored}"
    if "subset" in presentation.kept.names:
        yield from _subsets(snapshot, manifest)
        yield from _leaks(data, manifest, presentation.kept.names)
    ids = pl.concat([data.select("record_id"), lost.select("record_id")])
    for record, n in ids.group_by("record_id").len().filter(pl.col("len") > 1).head(3).collect().rows():
        yield f"record_id {record}: stands {n} times"
    compared = any(model.get("role") == "published" for model in manifest["plan"].get("models", []))
    if "duplicate_of" in presentation.rejected.names and not compared:  # survivors may be of another dataset
        yield from _survivors(lost, ids)
    sources = [source["uri"] for source in manifest["sources"]]
    for frame, kind in ((data, "data"), (lost, "rejected")):
        strangers = frame.filter(~pl.col("source_uri").is_in(sources)).select(pl.len()).collect().item()
        if strangers:
            yield f"{kind}: {strangers} rows from sources that the manifest does not list"


def _subsets(snapshot: Path, manifest: dict[str, Any]) -> Iterator[str]:
    """Rows that say they are of another subset than their shard."""
    for shard in manifest["shards"]:
        if shard["kind"] == "data":
            other = files.scan_parquet([snapshot / shard["path"]]).filter(pl.col("subset") != shard["subset"])
            if n := other.select(pl.len()).collect().item():
                yield f"{shard['path']}: {n} rows of another subset"


def _survivors(lost: pl.LazyFrame, ids: pl.LazyFrame) -> Iterator[str]:
    """Duplicates of rows that are not there."""
    unknown = lost.filter(pl.col("duplicate_of").is_not_null()).join(
        ids, left_on="duplicate_of", right_on="record_id", how="anti"
    )
    for record, other in unknown.select("record_id", "duplicate_of").head(3).collect().rows():
        yield f"record_id {record}: is a duplicate of {other}, which is not in the snapshot"


def _leaks(data: pl.LazyFrame, manifest: dict[str, Any], names: list[str]) -> Iterator[str]:
    """Users and conversations on both sides, where rows have them, unless the plan splits otherwise."""
    by = manifest["plan"]["settings"].get("subset", {}).get("by", "user")
    kept_together = {"user": ("conversation_id", "user_id"), "conversation": ("conversation_id",)}.get(by, ())
    for column in (name for name in kept_together if name in names):
        crossing = data.group_by(column).agg(pl.col("subset").n_unique()).filter(pl.col(column).is_not_null())
        for (value,) in crossing.filter(pl.col("subset") > 1).select(column).head(3).collect().rows():
            yield f"{column} {value}: in both train and test"


def changed_sources(manifest: dict[str, Any], where: dict[str, str]) -> Iterator[str]:
    """Source files that are gone or differ from the manifest; ``where`` maps relative to full URIs."""
    for source in manifest["sources"]:
        if not source["sha256"]:
            continue
        try:
            with fsspec.open(where[source["uri"]], "rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        except (OSError, KeyError) as error:
            yield f"source {source['uri']}: cannot be read: {error}"
            continue
        if digest != source["sha256"]:
            yield f"source {source['uri']}: expected SHA-256 {source['sha256']}, found {digest}"
