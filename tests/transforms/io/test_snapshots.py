"""Shards, snapshots and what is read back: names, row groups, older and newer schema versions."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.feedback import KEPT, REJECTED
from schemas.provenance import Chunk, Receipt, StageCount
from tests.builders import some_split
from transforms.io import files, parts, snapshots
from transforms.io.snapshots import SnapshotError

Row = dict[str, Any]


def kept_row(name: str, subset: str = "train") -> Row:
    return {"record_id": name, "label": 4, "subset": subset, "source_uri": "a", "source_row": 0, "query": name * 3}


def lost_row(name: str) -> Row:
    facts = {"unit": "row", "stage": "read", "reason": "invalid_json", "source_uri": "a", "source_row": 0}
    return {"record_id": name, **facts}


def commit(work: Path, name: str, kept: list[Row], lost: list[Row]) -> Receipt:
    """A finished split."""
    tables = pa.Table.from_pylist(kept, schema=KEPT), pa.Table.from_pylist(lost, schema=REJECTED)
    counts = (
        StageCount("read", "row", len(kept) + len(lost), len(kept), {"invalid_json": len(lost)} if lost else {}, 0.5),
        StageCount("label", "instance", len(kept), len(kept), {}, 0.5),
    )
    chunk = Chunk(some_split(), *tables, stages=counts)
    tallies = {"labels": dict(Counter(f"{row['subset']}/{row['label']}" for row in kept))}
    return parts.commit(work, name, "plan", chunk, tables[0], tallies, 1.0)


def published(folder: Path, groups: list[list[Receipt]], work: Path, version: int = 1) -> Path:
    """A snapshot of shards of receipts, without what is only told of it."""
    made = [snapshots.group(map(snapshots.mark, receipts)) for receipts in groups]
    for group in made:
        snapshots.write_shard(work, group, KEPT, REJECTED)
    folder.mkdir(parents=True)
    shards = snapshots.place(work, made, folder)
    (folder / "manifest.json").write_text(json.dumps({"schema_version": version, "shards": shards}))
    return folder


@st.composite
def splits(draw: st.DrawFn) -> list[tuple[list[Row], list[Row]]]:
    names = (f"r{number}" for number in range(10_000))
    found = []
    for _ in range(draw(st.integers(0, 5))):
        kept = [kept_row(next(names), draw(st.sampled_from(["train", "test"]))) for _ in range(draw(st.integers(0, 4)))]
        found.append((kept, [lost_row(next(names)) for _ in range(draw(st.integers(0, 2)))]))
    return found


@settings(max_examples=25)
@given(splits(), st.integers(1, 3))
def test_every_row_is_in_its_subsets_shards_once_in_the_order_of_splits(
    tmp_path_factory: pytest.TempPathFactory, told: list[tuple[list[Row], list[Row]]], size: int
) -> None:
    work = tmp_path_factory.mktemp("work")
    receipts = [commit(work, f"part-{at}", *rows) for at, rows in enumerate(told)]
    groups = [receipts[at : at + size] for at in range(0, len(receipts), size)]
    snapshot = published(work / "snapshot", groups, work)
    for name in ("train", "test", "rejected"):
        rows = [row for kept, lost in told for row in (lost if name == "rejected" else kept)]
        expected = [row["record_id"] for row in rows if name in (row.get("subset"), "rejected")]
        kind = "rejected" if name == "rejected" else "data"
        paths = [p for p in snapshots.shard_paths(snapshot, kind) if p.name.startswith(name)]
        assert [p.name for p in paths] == [f"{name}-{n:05d}-of-{len(paths):05d}.parquet" for n in range(len(paths))]
        found = [row for path in paths for row in pq.read_table(path)["record_id"].to_pylist()]
        assert found == expected
        assert all(pq.ParquetFile(path).metadata.num_rows for path in paths), "no shard is empty"
    assert {p.relative_to(snapshot).as_posix() for p in snapshot.rglob("*.parquet")} == {
        shard["path"] for shard in snapshots.manifest(snapshot)["shards"]
    }
    for shard in snapshots.manifest(snapshot)["shards"]:
        assert (shard["bytes"], shard["sha256"]) == (
            (snapshot / shard["path"]).stat().st_size,
            files.sha256(snapshot / shard["path"]),
        )


def test_row_groups_do_not_depend_on_how_rows_came_in_parts(tmp_path: Path) -> None:
    rows = [kept_row(f"r{number}") for number in range(4_500)]
    digests, groups = set(), []
    for name, size in (("one", 4_500), ("many", 700)):
        work = tmp_path / name
        receipts = [commit(work, f"p{at}", rows[at : at + size], []) for at in range(0, len(rows), size)]
        (path,) = snapshots.shard_paths(published(work / "snapshot", [receipts], work), "data")
        digests.add(files.sha256(path))
        footer = pq.ParquetFile(path).metadata
        groups.append([footer.row_group(at).num_rows for at in range(footer.num_row_groups)])
    assert groups == [[2_000, 2_000, 500]] * 2
    assert len(digests) == 1


def test_a_shard_is_written_once_and_linked_into_every_snapshot(tmp_path: Path) -> None:
    one, other = commit(tmp_path, "one", [kept_row("a")], []), commit(tmp_path, "other", [kept_row("b")], [])
    first = published(tmp_path / "first", [[one]], tmp_path)
    second = published(tmp_path / "second", [[one], [other]], tmp_path)
    old, new = snapshots.shard_paths(first, "data")[0], snapshots.shard_paths(second, "data")[0]
    assert (old.name, new.name) == ("train-00000-of-00001.parquet", "train-00000-of-00002.parquet")
    assert old.samefile(new)


def test_rows_without_a_subset_are_all_train(tmp_path: Path) -> None:
    receipts = [commit(tmp_path, name, [kept_row(name)], [lost_row(f"{name}x")]) for name in "ab"]
    group = snapshots.group(map(snapshots.mark, receipts))
    plain = KEPT.remove(KEPT.get_field_index("subset"))
    for receipt in receipts:  # as a pipeline without subsets commits them
        table = pa.Table.from_pylist([kept_row(receipt.part)], schema=plain)
        path = tmp_path / "parts" / receipt.part / "kept.arrow"
        files.write_arrow(path, table)
        receipt.files["kept"]["sha256"] = files.sha256(path)
        files.write_bytes(parts.receipt_path(tmp_path, receipt.part), json.dumps(asdict(receipt)).encode())
    snapshots.write_shard(tmp_path, group, plain, REJECTED)
    shards = snapshots.place(tmp_path, [group], tmp_path / "snapshot")
    assert [(shard["path"], shard["subset"], shard["rows"]) for shard in shards] == [
        ("data/train-00000-of-00001.parquet", "train", 2),
        ("rejected/rejected-00000-of-00001.parquet", None, 2),
    ]


def test_a_group_is_named_after_what_it_holds(tmp_path: Path) -> None:
    one, other = commit(tmp_path, "one", [kept_row("a")], []), commit(tmp_path, "other", [kept_row("b")], [])
    changed = replace(one, files={**one.files, "kept": {"bytes": 1, "sha256": "0" * 64}})
    again = commit(tmp_path / "again", "one", [kept_row("a")], [])
    groups = ([one], [again], [changed], [one, other], [other, one])
    keys = [snapshots.group(map(snapshots.mark, receipts)).key for receipts in groups]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 4


def test_ledgers_and_tallies_add_up(tmp_path: Path) -> None:
    receipts = [
        commit(tmp_path, "one", [kept_row("a"), kept_row("b", "test")], [lost_row("c")]),
        commit(tmp_path, "other", [kept_row("d")], []),
    ]
    counts, tallies = snapshots.total(receipts)
    assert counts.imbalance() is None
    assert (counts.rows_read, counts.rows_used, counts.rows_rejected) == (4, 3, {"invalid_json": 1})
    assert (counts.instances, counts.kept, counts.instances_rejected) == (3, 3, {})
    assert tallies == {"labels": Counter({"train/4": 2, "test/4": 1})}
    assert snapshots.total([])[0].rows_read == 0


# --- reading back -----------------------------------------------------------------------------------------------------


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    receipt = commit(tmp_path, "one", [kept_row("a"), kept_row("b", "test")], [lost_row("c")])
    return published(tmp_path / "out" / "snapshots" / "0001-abc", [[receipt]], tmp_path)


def older(snapshot: Path, drop: list[str], **extra: pl.Expr) -> None:
    """Make the snapshot one of an older version, which had other columns."""
    for path in snapshots.shard_paths(snapshot, "data"):
        frame = pl.read_parquet(path).drop(drop).with_columns(**extra)
        path.unlink()
        frame.write_parquet(path)
    told = snapshots.manifest(snapshot)
    (snapshot / "manifest.json").write_text(json.dumps({**told, "schema_version": 0}))


def test_an_older_snapshot_reads_in_the_current_columns_with_nulls(snapshot: Path) -> None:
    older(snapshot, ["mining", "user_id", "journal_keys"], gone=pl.lit(1))
    frame = snapshots.scan(snapshot, "data", KEPT).collect()
    assert frame.schema == pl.DataFrame(KEPT.empty_table()).schema
    assert frame["record_id"].sort().to_list() == ["a", "b"]
    assert frame["mining"].null_count() == frame["user_id"].null_count() == 2
    assert frame["query"].sort().to_list() == ["aaa", "bbb"]


def test_an_older_snapshots_narrower_types_are_widened(snapshot: Path) -> None:
    older(snapshot, [], source_row=pl.col("source_row").cast(pl.Int32))
    assert snapshots.scan(snapshot, "data", KEPT).collect().schema["source_row"] == pl.Int64


def test_a_newer_snapshot_is_refused(snapshot: Path) -> None:
    told = snapshots.manifest(snapshot)
    (snapshot / "manifest.json").write_text(json.dumps({**told, "schema_version": 2}))
    with pytest.raises(SnapshotError, match="expected schema version 1 or older, found 2; upgrade Sluice"):
        snapshots.scan(snapshot, "data", KEPT)


def test_duckdb_and_polars_read_the_shards(snapshot: Path) -> None:
    query = f"select record_id, subset, label from '{snapshot}/data/*.parquet' order by record_id"
    expected = [("a", "train", 4), ("b", "test", 4)]
    assert duckdb.connect().execute(query).fetchall() == expected
    frame = pl.read_parquet(snapshot / "data" / "*.parquet")
    assert frame.select("record_id", "subset", "label").sort("record_id").rows() == expected


@pytest.mark.parametrize("kind", ["data", "rejected"])
def test_a_snapshot_without_rows_of_a_kind_reads_as_none(tmp_path: Path, kind: str) -> None:
    empty = published(tmp_path / "snapshot", [[commit(tmp_path, "one", [], [])]], tmp_path)
    schema = KEPT if kind == "data" else REJECTED
    frame = snapshots.scan(empty, kind, schema).collect()
    assert (frame.height, frame.schema) == (0, pl.DataFrame(schema.empty_table()).schema)


def test_the_latest_snapshot_is_what_the_pointer_names(snapshot: Path) -> None:
    output = snapshot.parents[1]
    with pytest.raises(SnapshotError, match="expected a dataset directory with a LATEST file"):
        snapshots.latest(output)
    (output / "LATEST").write_text("0001-abc\n")
    assert snapshots.latest(output) == snapshot
    assert snapshots.latest(snapshot) == snapshot
    (output / "LATEST").write_text("0002-def\n")
    with pytest.raises(SnapshotError, match="names 0002-def, which has no manifest"):
        snapshots.latest(output)


@pytest.mark.parametrize("text", [None, "{", ""])
def test_a_broken_manifest_is_an_error_that_names_it(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(SnapshotError, match=r"manifest\.json: cannot be read"):
        snapshots.manifest(tmp_path)


def test_batches_are_row_groups_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"n": range(10)}), path, row_group_size=4)
    assert [batch["n"].to_list() for batch in snapshots.batches([path, path])] == [
        [0, 1, 2, 3], [4, 5, 6, 7], [8, 9], [0, 1, 2, 3], [4, 5, 6, 7], [8, 9],
    ]  # fmt: skip


def test_half_built_snapshots_are_found_to_be_swept_away(snapshot: Path) -> None:
    folder = snapshot.parent
    (folder / ".attempt-1-2").mkdir()
    assert [path.name for path in snapshots.stray_attempts(folder)] == [".attempt-1-2"]
    assert list(snapshots.stray_attempts(folder / "none")) == []
