"""Many splits: no object, element or request each where a column, a range or a listing does."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import tracemalloc
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import apache_beam as beam
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pipelines import payload, run, runners
from pipelines.planning import shard_groups
from pipelines.progress import Progress
from pipelines.runners import LocalProfile
from schemas.provenance import Container, Receipt, SourceFile, Split, StageCount
from transforms.io import parts, plans, receipts, snapshots, splits
from transforms.io.parts import PartError
from transforms.io.splits import Splits

MANY = 20_000
SPLIT = 64 * 1024 * 1024


def file(number: int, container: Container = "jsonl") -> SourceFile:
    key = hashlib.sha256(str(number).encode()).hexdigest()[:20]
    name = f"folder/{number:06d}.{container}"
    return SourceFile(f"file:///{name}", name, 0, container, "wildchat", 10 * SPLIT, key, f"{number}.5", key)


def many(count: int = MANY) -> Iterator[Split]:
    """Splits of ten to a file."""
    for number in range(count // 10):
        described = file(number)
        for at in range(10):
            yield Split(described, at, at * SPLIT, (at + 1) * SPLIT, SPLIT, f"1000.{number * 10 + at:012x}")


# --- the plan ---------------------------------------------------------------------------------------------------------


def alive(kind: type) -> int:
    """Objects of a kind in this process, other tests' included."""
    gc.collect()
    return sum(isinstance(one, kind) for one in gc.get_objects())


def test_many_splits_are_planned_without_an_object_each(tmp_path: Path) -> None:
    before = alive(Split)
    tracemalloc.start()
    planned = Splits.of(many())
    splits.write_plan(tmp_path / "plan.parquet", planned, splits.deal(planned.table["bytes"], 2))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(planned) == MANY
    assert alive(Split) <= before
    assert peak / MANY < 300, "bytes a split, its share of a file included"


def test_columns_of_splits_say_what_the_splits_say() -> None:
    given = list(many(50))
    planned = Splits.of(given)
    assert list(planned) == given
    assert [planned[at] for at in range(50)] == given
    assert list(planned[10:20]) == given[10:20]
    assert planned.keys.to_list() == [split.key for split in given]
    assert planned.parts.to_list() == [split.part for split in given]
    assert planned.bytes == sum(split.bytes for split in given)
    assert list(planned.where(pl.Series([True, False] * 25))) == given[::2]
    assert list(planned.without(pl.DataFrame({"part": [split.part for split in given[:45]]}))) == given[45:]
    assert len(Splits.of([])) == len(Splits.of([]).parts) == 0


@given(st.integers(0, 500), st.integers(1, 7), st.integers(1, 60))
def test_rows_are_dealt_out_in_ranges_as_if_one_by_one(rows: int, hands: int, most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plans, "RANGES", most)
        ranges = list(plans.ranges(rows, hands))
    for hand in range(hands):
        dealt = [row for piece in ranges[hand::hands] for row in plans.rows(*piece)]
        assert dealt == list(range(hand, rows, hands))
    assert len(ranges) <= max(most, hands) + hands


def test_a_pipeline_over_a_million_rows_begins_with_a_small_graph(tmp_path: Path) -> None:
    pipeline = beam.Pipeline()
    _ = payload.indices(pipeline, 1_000_000, 2, tmp_path)
    assert len(list(plans.ranges(1_000_000, 2))) <= 10_002
    assert pipeline.to_runner_api().ByteSize() < 1_000_000


def test_a_worker_reads_each_row_group_of_a_plan_once_and_keeps_few(tmp_path: Path) -> None:
    path = tmp_path / "plan.parquet"
    planned = Splits.of(many())
    order = splits.deal(planned.table["bytes"], 2)
    splits.write_plan(path, planned, order)
    assert pq.read_metadata(path).row_group(0).num_rows == plans.GROUP_ROWS
    plans._group.cache_clear()
    mine = [row for piece in list(plans.ranges(MANY, 2))[1::2] for row in plans.rows(*piece)]
    found = [splits.read_plan(path, row).key for row in mine]
    assert found == [planned[order[row]].key for row in mine]
    kept = plans._group.cache_info()
    assert kept.misses == MANY / plans.GROUP_ROWS
    assert (kept.maxsize or MANY) * plans.GROUP_ROWS < MANY


def test_a_plan_of_groups_reads_back_as_it_was_written(tmp_path: Path) -> None:
    made = [snapshots.group([f"part-{at} a b", f"part-{at}b a b"]) for at in range(plans.GROUP_ROWS + 3)]
    snapshots.write_plan(tmp_path / "shards.parquet", made)
    for at in (0, plans.GROUP_ROWS - 1, plans.GROUP_ROWS, plans.GROUP_ROWS + 2):
        assert snapshots.read_plan(tmp_path / "shards.parquet", at) == made[at]


# --- the ends of streams ----------------------------------------------------------------------------------------------


def one_by_one(planned: list[Split], written: dict[str, tuple[int, str]]) -> list[Split]:
    """``splits.exact``, a split at a time."""
    exact: list[Split] = []
    for split in planned:
        piece = split
        while (facts := written.get(piece.key)) is not None:
            is_open = piece.stop is None and piece.file.container != "parquet"
            stop = piece.start + piece.bytes if is_open else piece.stop
            if facts[0] or piece.ordinal == 0:
                exact.append(replace(piece, stop=stop, listed=f"{facts[0]}.{facts[1]}"))
            if split.stop is not None:
                break
            piece = payload.following(piece)
    return exact


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Split], dict[str, tuple[int, str]]]:
    planned: list[Split] = []
    written: dict[str, tuple[int, str]] = {}
    for number in range(draw(st.integers(0, 5))):
        container = draw(st.sampled_from(["parquet", "jsonl", "jsonl.gz", "jsonl.zst"]))
        described = file(number, container)
        count = 1 if container == "parquet" else draw(st.integers(1, 3))
        is_open = container != "jsonl"
        found = [Split(described, at, at * 10, None if is_open and at == count - 1 else at * 10 + 10, 10) for at in range(count)]  # fmt: skip
        planned += found
        more = draw(st.integers(0, 3)) if container in ("jsonl.gz", "jsonl.zst") else 0
        failed = draw(st.integers(0, 9)) == 0
        for at in range(0 if failed else count + more):
            written[replace(found[0], ordinal=at).key] = draw(st.integers(0, 2)), f"{number}{at}"
    return planned, written


@given(streams())
def test_exact_splits_are_those_with_rows_and_those_found_behind_an_open_one(
    streams: tuple[list[Split], dict[str, tuple[int, str]]],
) -> None:
    planned, written = streams
    listed = [(key, rows, digest) for key, (rows, digest) in written.items()]
    schema = {"split": pl.String, "rows": pl.Int64, "digest": pl.String}
    found = splits.exact(Splits.of(planned), pl.DataFrame(listed, schema, orient="row"))
    assert list(found) == one_by_one(planned, written)


# --- receipts ---------------------------------------------------------------------------------------------------------


def receipt(split: Split) -> Receipt:
    rows = split.ordinal + 1
    stages = (
        StageCount("read", "row", rows + 1, rows, {"invalid_json": 1}, 0.5),
        StageCount("judge", "instance", rows, rows - 1, {"neutral": 1}, 0.5, {"requests": rows}),
    )
    digest = hashlib.sha256(split.part.encode()).hexdigest()
    sizes: dict[str, dict[str, str | int]] = {name: {"bytes": 1, "sha256": digest} for name in ("kept", "rejected")}
    tallies = {"labels": {f"train/{split.ordinal}": 1}}
    return Receipt(split.part, split.key, "plan", rows - 1, 2, stages, tallies, sizes, 1.0, digest if rows == 1 else None)  # fmt: skip


def commit(work: Path, split: Split, **changes: object) -> None:
    path = parts.receipt_path(work, split.part)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(json.dumps(asdict(replace(receipt(split), **changes))).encode())  # type: ignore[arg-type]


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Splits:
    """Splits that are all committed, of which bundles of 300 are made."""
    monkeypatch.setattr(plans, "GROUP_ROWS", 300)
    monkeypatch.setattr(receipts, "WORTH_BUNDLING", 500)
    planned = Splits.of(many(1_000))
    for split in planned:
        commit(tmp_path, split)
    return planned


def read(work: Path, planned: Splits) -> receipts.Finished:
    """What a run does with receipts, in this process."""
    runner = runners.start(LocalProfile(), work, 1, pytest.fail)
    job = SimpleNamespace(progress=Progress(Console(), quiet=True))
    return run._receipts(cast(run.Job, job), runner, work, planned, receipts.listing(work), [])


def bundles(work: Path) -> list[Path]:
    return sorted((work / "bundles").glob("*"))


def spoil(path: Path) -> None:
    """Write as many other bytes to a file, as if it had not been touched."""
    before = path.stat()
    path.write_bytes(b"x" * before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_receipts_read_in_bulk_say_what_they_say_one_by_one(tmp_path: Path, planned: Splits) -> None:
    singly = [parts.read_receipt(parts.receipt_path(tmp_path, split.part)) for split in planned]
    for found in (read(tmp_path, planned), read(tmp_path, planned)):
        assert list(found.splits) == list(planned)
        assert (found.counts, found.tallies) == snapshots.total(singly)
        assert found.facts["mark"].to_list() == [snapshots.mark(one) for one in singly]
        files = found.by_file()
        assert files["relative_uri"].to_list() == [one.relative_uri for one in planned.files]
        assert set(files["rows"]) == {sum(range(2, 12))}
        assert files["sha256"].to_list() == [one.source_sha256 for one in singly if one.source_sha256]
    assert len(bundles(tmp_path)) == 4


def test_a_rerun_reads_bundles_and_not_the_receipts_in_them(tmp_path: Path, planned: Splits) -> None:
    before = read(tmp_path, planned)
    for split in planned:
        spoil(parts.receipt_path(tmp_path, split.part))
    after = read(tmp_path, planned)
    assert (after.counts, after.tallies) == (before.counts, before.tallies)


def test_a_receipt_that_came_after_its_bundle_counts(tmp_path: Path, planned: Splits) -> None:
    before = read(tmp_path, planned).counts
    changed = receipt(planned[7])
    stages = (replace(changed.stages[0], rows_in=1_000_000), *changed.stages[1:])
    commit(tmp_path, planned[7], stages=stages)
    commit(tmp_path, replace(planned[8], listed="1000.another"))
    after = read(tmp_path, planned).counts
    assert after.rows_read == before.rows_read + 1_000_000 - changed.stages[0].rows_in


def test_few_receipts_are_not_bundled(tmp_path: Path) -> None:
    for split in (few := Splits.of(many(20))):
        commit(tmp_path, split)
    assert len(read(tmp_path, few).splits) == 20
    assert bundles(tmp_path) == []


def test_a_damaged_receipt_is_named_and_its_split_alone_is_pending(tmp_path: Path, planned: Splits) -> None:
    read(tmp_path, planned)
    path = parts.receipt_path(tmp_path, planned[7].part)
    path.write_bytes(b"{")
    with pytest.raises(PartError, match=rf"{path.name}: is no receipt; run the same command again"):
        read(tmp_path, planned)
    assert list(planned.without(receipts.listing(tmp_path))) == [planned[7]]


def test_a_removed_receipt_does_not_live_on_in_its_bundle(tmp_path: Path, planned: Splits) -> None:
    read(tmp_path, planned)
    parts.receipt_path(tmp_path, planned[7].part).unlink()
    assert list(planned.without(receipts.listing(tmp_path))) == [planned[7]]
    with pytest.raises(run.RunError, match=r"split 7 .*: expected a receipt, found none \(1 missing\)"):
        read(tmp_path, planned)
    assert read(tmp_path, planned.where(planned.parts != planned[7].part)).counts.instances == 5_500 - 8


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "garbage"])
def test_a_damaged_bundle_is_read_around_and_made_anew_by_the_next_run(
    tmp_path: Path, planned: Splits, damage: str
) -> None:
    before = read(tmp_path, planned).counts
    for path in bundles(tmp_path):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes({"flipped": data, "cut": data[:-1], "empty": b"", "garbage": b"x" * 1_000}[damage])
    assert [read(tmp_path, planned).counts for _ in range(2)] == [before, before]
    assert all(pq.read_table(path, page_checksum_verification=True).num_rows for path in bundles(tmp_path))
    assert len(bundles(tmp_path)) == 4


def test_forgotten_receipts_are_read_from_bundles_too(tmp_path: Path, planned: Splits) -> None:
    read(tmp_path, planned)
    receipts.forget(tmp_path, lambda receipt: receipt.stages[1].usage["requests"] == 3)
    assert {split.ordinal for split in planned.without(receipts.listing(tmp_path))} == {2}


def test_of_many_receipts_little_is_kept(tmp_path: Path) -> None:
    planned = Splits.of(many(MANY))
    for split in planned:
        commit(tmp_path, split)
    before = alive(Receipt)
    tracemalloc.start()
    found = read(tmp_path, planned)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert found.counts.rows_read == MANY * 6.5
    assert alive(Receipt) <= before
    assert kept / MANY < 100, "bytes a receipt, in Python's objects"
    assert found.facts.estimated_size() / MANY < 300, "bytes a receipt, in columns"
    assert len(shard_groups(found.splits.table["bytes"].to_list(), 8 * SPLIT)) == MANY / 8


def test_receipts_on_a_store_are_listed_and_read_in_bulk(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "WORTH_BUNDLING", 50)
    planned = Splits.of(many(60))
    assert receipts.listing(out).is_empty()
    for split in planned:
        parts.receipt_path(out, split.part).write_bytes(json.dumps(asdict(receipt(split))).encode())
    assert not planned.without(receipts.listing(out))
    first, again = read(out, planned), read(out, planned)
    assert first.counts == again.counts
    assert first.counts.rows_read == 6 * 65
    parts.receipt_path(out, planned[7].part).write_bytes(b"{")
    with pytest.raises(PartError, match="is no receipt"):
        read(out, planned)
    assert list(planned.without(receipts.listing(out))) == [planned[7]]
