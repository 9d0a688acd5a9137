"""A work area that is damaged on disk: noticed, named, computed again by the next run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import kills, rig
from tests.faults.conftest import Workload
from tests.faults.rig import Run

pytestmark = pytest.mark.faults


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def some_work(run: Run, workload: Workload, phase: str = "rows") -> Path:
    """A work area with some committed splits, by a run that was killed."""
    started = run.start(**{rig.PAUSE: "0.1"})
    assert started.until(kills.moment(run, phase, workload.splits, kills.seeded()))
    started.kill()
    rig.seconds_until(lambda: not rig.workers_of(run.output), within=5)
    assert run.work is not None
    return run.work


def expect_noticed_and_mended(run: Run, workload: Workload, *words: str) -> None:
    """The next run names the damage and publishes nothing; the one after computes one split again, with equal bytes."""
    run.end().expect_failure(*words, "run the same command again")
    rig.expect_unpublished(run.output)
    facts = run.end().expect(0).facts
    assert facts["splits"]["computed"] == 1
    assert facts["splits"]["reused"] == workload.splits - 1
    assert rig.checksums(run.output) == workload.checksums
    rig.expect_sound(run.output)
    rig.expect_tidy(run.output)


@pytest.mark.parametrize("garbage", [b"", b"garbage", b'{"part": "x", "stages": []}'])
def test_a_receipt_of_garbage(run: Run, workload: Workload, garbage: bytes) -> None:
    run = run.with_(workers=1)
    work = some_work(run, workload)
    receipt = min((work / "receipts").glob("[!.]*"))
    receipt.write_bytes(garbage)
    expect_noticed_and_mended(run, workload, receipt.name)


def test_many_receipts_of_garbage_are_mended_at_once(run: Run, workload: Workload) -> None:
    run = run.with_(workers=1)
    run.end().expect(0)
    assert run.work is not None
    receipts = sorted((run.work / "receipts").iterdir())[:7]
    for receipt in receipts:
        receipt.write_bytes(b"\0" * 100)
    run.end().expect_failure(receipts[0].parent.name)
    assert rig.checksums(run.output) == workload.checksums
    facts = run.end().expect(0).facts
    assert (facts["splits"]["computed"], facts["changed"]) == (7, False)
    assert rig.checksums(run.output) == workload.checksums


def _flip(path: Path) -> None:
    flip_a_bit(path)


def _remove(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize(
    ("name", "damage", "workers"), [("kept", _flip, 2), ("rejected", _flip, 1), ("kept", _remove, 1), ("kept", _cut, 1)]
)
def test_a_damaged_part(run: Run, workload: Workload, name: str, damage: Callable[[Path], None], workers: int) -> None:
    run = run.with_(workers=workers)
    work = some_work(run, workload)
    part = min((work / "receipts").glob("[!.]*")).stem
    damage(work / "parts" / part / f"{name}.arrow")
    expect_noticed_and_mended(run, workload, part, f"{name}.arrow")


def test_a_shard_that_was_cut_off(run: Run, workload: Workload) -> None:
    """As a power cut may leave it: described, but not on disk as a whole."""
    run = run.with_(workers=1)
    work = some_work(run, workload, "publication")
    shard = min(work.glob("shards/*/train.parquet"))
    kept = shard.read_bytes()
    shard.unlink()  # another inode, as the killed attempt links this one
    shard.write_bytes(kept[: len(kept) // 2])
    run.end().expect_failure(str(shard), "run the same command again")
    rig.expect_unpublished(run.output)
    assert run.end().expect(0).facts["splits"]["computed"] == 0
    assert rig.checksums(run.output) == workload.checksums
    rig.expect_sound(run.output)
    rig.expect_tidy(run.output)
