"""A sound snapshot has no problems; whatever is done to it is noticed and named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from pipelines.presentations.feedback import PRESENTATION as FEEDBACK
from schemas.feedback import KEPT, REJECTED
from tests.builders import jsonl, write
from tests.pipelines import rig
from tests.pipelines.rig import Dataset, scored
from transforms.io import files, verification
from transforms.io.snapshots import SnapshotError
from transforms.io.tables import shaped

Change = Callable[[pl.DataFrame], pl.DataFrame]

TRAIN, TEST = "data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"
REJECTS = "rejected/rejected-00000-of-00001.parquet"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Chats of ten users, each with two conversations, one of them twice."""
    folder = tmp_path_factory.mktemp("dataset")
    chats = [scored(at, "thanks for that, and", "and so on", user=f"u{at % 10}") for at in range(20)]
    source = write(folder / "chats.jsonl", jsonl([*chats, chats[0]]) + b"{broken\n")
    settings = {"subset": {"test_fraction": 0.5}, "filters": {"rules": []}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_USER_KEY", rig.KEY)
        return rig.publish(rig.config(folder, source, **settings), folder / "out")


@pytest.fixture
def snapshot(dataset: Dataset, tmp_path: Path) -> Path:
    """A copy to be damaged, under a name that does not tell the manifest's checksum."""
    return shutil.copytree(dataset.snapshot, tmp_path / "copy")


def problems(snapshot: Path) -> list[str]:
    return list(verification.problems(snapshot, FEEDBACK))


def edit(snapshot: Path, change: Callable[[Any], None]) -> None:
    """Change the manifest."""
    path = snapshot / "manifest.json"
    manifest = json.loads(path.read_bytes())
    change(manifest)
    path.write_text(json.dumps(manifest))


def rewrite(snapshot: Path, name: str, change: Change) -> None:
    """Change the rows of a shard, and the manifest with them, so that only what the rows say is wrong."""
    path = snapshot / name
    table = shaped(change(pl.read_parquet(path)), REJECTED if name == REJECTS else KEPT)
    path.unlink()  # the original is linked
    pq.write_table(table, path)
    rows = pl.concat([pl.read_parquet(snapshot / shard) for shard in (TRAIN, TEST)])

    def seal(manifest: Any) -> None:
        shard = next(s for s in manifest["shards"] if s["path"] == name)
        shard.update(rows=table.num_rows, bytes=path.stat().st_size, sha256=files.sha256(path))
        labels = rows.group_by("subset", "label").len().sort("subset", "label").rows()
        manifest["counts"]["labels"] = {
            subset: {str(label): n for s, label, n in labels if s == subset} for subset in ("train", "test")
        }

    edit(snapshot, seal)


def test_a_sound_snapshot_has_no_problems(dataset: Dataset, snapshot: Path) -> None:
    assert problems(dataset.snapshot) == problems(snapshot) == []
    manifest = dataset.manifest
    assert {shard["path"] for shard in manifest["shards"]} == {TRAIN, TEST, REJECTS}
    rewrite(snapshot, TRAIN, lambda frame: frame)
    assert problems(snapshot) == [], "what rewrites shards for the tests below does no damage of its own"


@pytest.mark.parametrize("name", [TRAIN, REJECTS])
@pytest.mark.parametrize("place", [0.0, 0.3, 0.999])
def test_a_flipped_byte_is_noticed(snapshot: Path, name: str, place: float) -> None:
    data = bytearray((snapshot / name).read_bytes())
    data[int(place * len(data))] ^= 1
    (snapshot / name).unlink()
    (snapshot / name).write_bytes(data)
    (problem,) = problems(snapshot)
    assert problem.startswith(f"{name}: expected SHA-256 ")


def test_a_cut_off_shard_is_noticed(snapshot: Path) -> None:
    data = (snapshot / TRAIN).read_bytes()
    (snapshot / TRAIN).unlink()
    (snapshot / TRAIN).write_bytes(data[:-1])
    assert problems(snapshot) == [f"{TRAIN}: expected {len(data)} bytes, found {len(data) - 1}"]


def test_a_deleted_shard_is_noticed(snapshot: Path) -> None:
    (snapshot / TEST).unlink()
    assert problems(snapshot) == [f"{TEST}: missing"]


@pytest.mark.parametrize("name", ["data/train-00001-of-00002.parquet", "rejected/more.parquet", "data/notes.txt"])
def test_a_file_that_no_one_listed_is_noticed(snapshot: Path, name: str) -> None:
    (snapshot / name).write_bytes(b"")
    assert problems(snapshot) == [f"{name}: in the snapshot, but not in its manifest"]


@pytest.mark.parametrize(
    ("where", "told"),
    [
        (("counts", "rows_read"), "rows read, but"),
        (("counts", "rows_used"), "used or rejected"),
        (("counts", "kept"), "labelled"),
        (("counts", "instances"), "kept or rejected"),
        (("counts", "rows_rejected", "invalid_json"), "expected rows_rejected"),
        (("counts", "instances_rejected", "duplicate"), "expected instances_rejected"),
        (("counts", "levels", "5"), "expected levels"),
        (("counts", "labels", "test", "4"), "expected labels"),
        (("counts", "stages", 3, "out"), "out and"),
        (("sources", 0, "rows"), "its sources have"),
        (("shards", 0, "rows"), "rows, found"),
    ],
)
def test_a_count_edited_in_the_manifest_is_noticed(snapshot: Path, where: tuple[str | int, ...], told: str) -> None:
    def change(manifest: Any) -> None:
        for name in where[:-1]:
            manifest = manifest[name]
        manifest[where[-1]] += 1

    edit(snapshot, change)
    assert any(told in problem for problem in problems(snapshot)), problems(snapshot)


def test_any_edit_of_the_manifest_is_noticed_by_the_name_of_the_snapshot(dataset: Dataset, tmp_path: Path) -> None:
    snapshot = shutil.copytree(dataset.snapshot, tmp_path / dataset.snapshot.name)
    assert problems(snapshot) == []
    edit(snapshot, lambda manifest: manifest["dataset"].update(license="mit"))
    (problem,) = problems(snapshot)
    assert problem.startswith("manifest.json: expected SHA-256 ")


def test_a_row_that_says_it_is_of_another_subset_is_noticed(snapshot: Path) -> None:
    rewrite(snapshot, TRAIN, lambda frame: frame.with_columns(subset=pl.lit("test")))
    assert any(problem.startswith(f"{TRAIN}: ") and "of another subset" in problem for problem in problems(snapshot))


def test_a_row_moved_to_another_subset_is_noticed_by_its_user_and_its_conversation(snapshot: Path) -> None:
    moved = pl.read_parquet(snapshot / TRAIN).head(1)
    rewrite(snapshot, TRAIN, lambda frame: frame.slice(1))
    rewrite(snapshot, TEST, lambda frame: pl.concat([frame, moved.with_columns(subset=pl.lit("test"))]))
    assert problems(snapshot) == [f"user_id {moved['user_id'].item()}: in both train and test"]
    other = pl.read_parquet(snapshot / TRAIN).filter(pl.col("user_id") == moved["user_id"].item())
    same = {"conversation_id": pl.lit(other["conversation_id"][0]), "subset": pl.lit("test")}
    rewrite(snapshot, TEST, lambda frame: pl.concat([frame.head(-1), moved.with_columns(**same)]))
    assert f"conversation_id {other['conversation_id'][0]}: in both train and test" in problems(snapshot)


@pytest.mark.parametrize(("by", "found"), [("user", 1), ("conversation", 0), ("row", 0)])
def test_a_user_on_both_sides_is_a_leak_only_where_users_are_what_is_split(snapshot: Path, by: str, found: int) -> None:
    (user,) = pl.read_parquet(snapshot / TRAIN)["user_id"].head(1)
    rewrite(snapshot, TEST, lambda frame: frame.with_columns(user_id=pl.lit(user)))
    edit(snapshot, lambda manifest: manifest["plan"]["settings"]["subset"].update(by=by))
    assert len([problem for problem in problems(snapshot) if "user_id" in problem]) == found


@pytest.mark.parametrize("name", [TRAIN, REJECTS])
def test_a_repeated_record_id_is_noticed_wherever_it_stands(snapshot: Path, name: str) -> None:
    (record,) = pl.read_parquet(snapshot / TRAIN)["record_id"].head(1)
    last = pl.int_range(pl.len()) == pl.len() - 1
    other = pl.when(last).then(pl.lit(record)).otherwise("record_id")
    rewrite(snapshot, name, lambda frame: frame.with_columns(record_id=other))
    assert f"record_id {record}: stands 2 times" in problems(snapshot)


def test_a_duplicate_whose_survivor_is_gone_is_noticed(snapshot: Path) -> None:
    lost = pl.when(pl.col("duplicate_of").is_not_null()).then(pl.lit("nobody"))
    rewrite(snapshot, REJECTS, lambda frame: frame.with_columns(duplicate_of=lost))
    found = problems(snapshot)
    assert found
    assert all("is a duplicate of nobody, which is not in the snapshot" in problem for problem in found)


@pytest.mark.parametrize(("name", "kind"), [(TEST, "data"), (REJECTS, "rejected")])
def test_rows_from_a_source_that_is_not_listed_are_noticed(snapshot: Path, name: str, kind: str) -> None:
    rewrite(snapshot, name, lambda frame: frame.with_columns(source_uri=pl.lit("elsewhere.jsonl")))
    rows = pl.read_parquet(snapshot / name).height
    assert problems(snapshot) == [f"{kind}: {rows} rows from sources that the manifest does not list"]


def test_a_lost_column_is_noticed(snapshot: Path) -> None:
    path = snapshot / TEST
    frame = pl.read_parquet(path).drop("query_length")
    path.unlink()
    frame.write_parquet(path)
    digest = {"bytes": path.stat().st_size, "sha256": files.sha256(path)}
    edit(snapshot, lambda manifest: next(s for s in manifest["shards"] if s["path"] == TEST).update(digest))
    assert problems(snapshot) == [f"{TEST}: its columns differ from schema version 1"]


def test_a_newer_manifest_is_refused(snapshot: Path) -> None:
    edit(snapshot, lambda manifest: manifest.update(manifest_version=2))
    with pytest.raises(SnapshotError, match="expected manifest version 1 or older, found 2"):
        problems(snapshot)


def changed(dataset: Dataset, where: dict[str, str]) -> list[str]:
    return list(verification.changed_sources(dataset.manifest, where))


def test_a_changed_or_missing_source_is_named(dataset: Dataset, tmp_path: Path) -> None:
    source = dataset.output.parent / "chats.jsonl"
    assert changed(dataset, {"chats.jsonl": source.as_uri()}) == []
    data = source.read_bytes()
    other = write(tmp_path / "chats.jsonl", data[:500] + b"x" + data[501:])
    (problem,) = changed(dataset, {"chats.jsonl": other.as_uri()})
    assert problem.startswith("source chats.jsonl: expected SHA-256 ")
    other.unlink()
    (problem,) = changed(dataset, {"chats.jsonl": other.as_uri()})
    assert problem.startswith("source chats.jsonl: cannot be read: ")
    assert len(changed(dataset, {})) == 1
