"""Sources that change under the same name: noticed between runs and during one, never mixed."""

from __future__ import annotations

import os
import random
from pathlib import Path

import polars as pl
import pytest

from tests.faults import kills, rig
from tests.faults.rig import Run
from transforms.io import snapshots
from transforms.io.sources import PROBE_BYTES

pytestmark = pytest.mark.faults


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file with a middle: longer than the head and tail that its fingerprint is made of."""
    path = rig.write_chats(tmp_path / "sources" / "chats.jsonl", rig.chats(5, 240))
    assert path.stat().st_size > 3 * PROBE_BYTES
    return path


@pytest.fixture
def changing(tmp_path: Path, source: Path) -> Run:
    rig.write_chats(tmp_path / "sources" / "neighbour.jsonl", rig.chats(6, 60, first=5000))
    config = rig.write_config(tmp_path, tmp_path / "sources", audited=True, split_bytes=60_000)
    return Run(config, tmp_path / "out", workers=1, env={rig.AUDIT: str(tmp_path / "audit")})


def change_the_middle(path: Path) -> None:
    """Other words of equal length between head and tail, saved a second later."""
    before = path.stat()
    data = path.read_bytes()
    middle = data[PROBE_BYTES:-PROBE_BYTES].replace(b" stands beside the ", b" floats above the  ")
    changed = data[:PROBE_BYTES] + middle + data[-PROBE_BYTES:]
    assert len(changed) == len(data) and changed != data
    path.write_bytes(changed)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000_000))


def floating(run: Run) -> int:
    """Rows whose response has the new words."""
    shards = snapshots.shard_paths(snapshots.latest(run.output), "data")
    return pl.read_parquet(shards).filter(pl.col("response").str.contains("floats above the")).height


def expect_as_if_fresh(run: Run) -> None:
    fresh = run.with_(output=run.output.with_name(f"fresh-{random.randrange(10**9)}"))
    fresh.end().expect(0)
    assert rig.checksums(run.output) == rig.checksums(fresh.output)
    rig.expect_sound(run.output)
    rig.expect_tidy(run.output)


def test_a_middle_that_changes_between_runs(changing: Run, source: Path) -> None:
    first = changing.end().expect(0).facts
    assert floating(changing) == 0
    original = source.read_bytes()
    change_the_middle(source)
    second = changing.end().expect(0).facts
    assert second["changed"] and second["snapshot"] != first["snapshot"]
    assert second["splits"]["reused"] >= 1, "the neighbour was computed again"
    assert floating(changing) > 0
    expect_as_if_fresh(changing)

    source.write_bytes(original)
    third = changing.end().expect(0).facts
    assert third["changed"] and third["snapshot"] == first["snapshot"]
    assert floating(changing) == 0
    rig.expect_sound(changing.output)


def test_a_middle_that_changes_between_a_killed_run_and_its_rerun(changing: Run, source: Path) -> None:
    started = changing.start(**{rig.PAUSE: "0.2"})
    assert started.until(kills.moment(changing, "rows", 8, kills.seeded()))
    started.kill()
    change_the_middle(source)
    changing.end().expect(0)
    assert floating(changing) > 0
    expect_as_if_fresh(changing)


def test_a_touched_file_is_not_computed_again(changing: Run, source: Path) -> None:
    first = changing.end().expect(0).facts
    os.utime(source, ns=(1, 2_000_000_000_000_000_000))
    second = changing.end().expect(0).facts
    assert not second["changed"] and second["snapshot"] == first["snapshot"]
    assert second["splits"]["computed"] == 0
    assert [path.name for path in (changing.output / "snapshots").iterdir()] == [Path(first["snapshot"]).name]


@pytest.mark.parametrize(("how", "workers"), [("middle", 1), ("middle", 2), ("appended", 1), ("touched", 1)])
def test_a_file_that_changes_while_the_run_reads_it(changing: Run, source: Path, workers: int, how: str) -> None:
    changing = changing.with_(workers=workers)
    started = changing.start(**{rig.PAUSE: "0.3"})
    assert started.until(kills.moment(changing, "rows", 4, kills.seeded()))
    if how == "middle":
        change_the_middle(source)
    elif how == "appended":
        with source.open("ab") as stream:
            stream.write(source.read_bytes()[: PROBE_BYTES // 2])
    else:
        os.utime(source, ns=(1, 2_000_000_000_000_000_000))
    started.end().expect_failure("chats.jsonl", "changed since it was planned")
    rig.expect_unpublished(changing.output)
    changing.end().expect(0)
    assert (floating(changing) > 0) == (how == "middle")
    expect_as_if_fresh(changing)
