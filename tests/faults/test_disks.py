"""Outputs that cannot be written to: read-only, full, or taken by another run. Real mounts, so root is needed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults import kills, rig
from tests.faults.conftest import Workload
from tests.faults.rig import Run

pytestmark = pytest.mark.faults

Mount = Callable[..., None]


@pytest.fixture
def mount() -> Iterator[Mount]:
    """``mount`` with the given arguments, the last of them the place; undone at the end."""
    places: list[str] = []

    def attempt(*arguments: str | Path) -> None:
        done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"mounting is not possible here: {done.stderr.strip()}")
        if not any("remount" in str(argument) for argument in arguments):
            places.append(str(arguments[-1]))

    yield attempt
    for place in reversed(places):
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
def small_disk(mount: Mount, tmp_path: Path) -> Callable[[str], Path]:
    """A tmpfs of so many bytes."""

    def make(size: str) -> Path:
        place = tmp_path / "disk"
        place.mkdir()
        mount("-t", "tmpfs", "-o", f"size={size}", "sluice-tests", place)
        return place

    return make


@contextmanager
def ballast(place: Path) -> Iterator[None]:
    """Fill a disk to its last page, even while others write to it."""
    path = place / "ballast"
    with path.open("wb", buffering=0) as stream:
        size = 1 << 20
        while size >= 4096:
            try:
                os.posix_fallocate(stream.fileno(), path.stat().st_size, size)
            except OSError:
                size //= 2
    try:
        yield
    finally:
        path.unlink()


def test_an_output_that_is_read_only_from_the_start(run: Run, mount: Mount, tmp_path: Path) -> None:
    place = tmp_path / "locked"
    place.mkdir()
    mount("--bind", place, place)
    mount("-o", "remount,bind,ro", place)
    run.with_(output=place / "out").end().expect_failure(str(place / "out"), "Read-only file system")
    run.with_(output=place).end().expect_failure(str(place), "Read-only file system")
    assert list(place.iterdir()) == []


def test_a_published_output_that_becomes_read_only(run: Run, workload: Workload, mount: Mount) -> None:
    run.end().expect(0)
    mount("--bind", run.output, run.output)
    mount("-o", "remount,bind,ro", run.output)
    run.end().expect_failure(str(run.output), "Read-only file system")
    assert rig.checksums(run.output) == workload.checksums
    rig.expect_sound(run.output)
    verified = subprocess.run([rig.COMMAND, "verify", run.output], capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_receipts_that_cannot_be_written(run: Run, workload: Workload, mount: Mount, workers: int) -> None:
    run = run.with_(workers=workers)
    started = run.start(**{rig.PAUSE: "0.2"})
    assert started.until(kills.moment(run, "rows", workload.splits, kills.seeded()))
    assert run.work is not None
    receipts = run.work / "receipts"
    mount("--bind", receipts, receipts)
    mount("-o", "remount,bind,ro", receipts)
    started.end().expect_failure("Read-only file system", "receipts")
    rig.expect_unpublished(run.output)
    kept = rig.stamps(receipts)
    mount("-o", "remount,bind,rw", receipts)
    assert run.end().expect(0).facts["splits"]["reused"] == len(kept)
    assert rig.checksums(run.output) == workload.checksums
    rig.expect_sound(run.output)
    rig.expect_tidy(run.output)


def test_too_little_room_is_told_before_anything_is_computed(
    run: Run, workload: Workload, small_disk: Callable[[str], Path]
) -> None:
    output = small_disk("400k") / "out"
    run.with_(output=output).end().expect_failure(str(output), "free bytes")
    rig.expect_unpublished(output)
    assert rig.Run(run.config, output).names("keytables") == []


@pytest.mark.parametrize(
    ("phase", "workers"), [("keys", 1), ("rows", 1), ("rows", 2), ("shards", 2), ("publication", 1)]
)
def test_a_disk_that_fills_up_in_mid_run(
    run: Run, workload: Workload, small_disk: Callable[[str], Path], phase: str, workers: int
) -> None:
    """The free-space check passed, then somebody else took the room."""
    disk = small_disk("12m")
    run = run.with_(output=disk / "out", workers=workers)
    started = run.start(**{rig.PAUSE: "0.1"})
    assert started.until(kills.moment(run, phase, workload.splits, kills.seeded()))
    with ballast(disk):
        ended = started.end()
        print(ended.err)
        ended.expect_failure("No space left on device", str(run.output))
        rig.expect_unpublished(run.output)
        kept = rig.stamps(run.work / "receipts") if run.work else {}
        rig.seconds_until(lambda: not rig.workers_of(run.output), within=5)
        run.end().expect(1)
        rig.expect_unpublished(run.output)
    facts = run.end().expect(0).facts
    assert facts["splits"]["reused"] == len(kept)
    assert run.work and kept.items() <= rig.stamps(run.work / "receipts").items()
    assert rig.checksums(run.output) == workload.checksums
    rig.expect_sound(run.output)
    rig.expect_tidy(run.output)


@pytest.mark.parametrize("workers", [1, 2])
def test_two_runs_into_one_output(run: Run, workload: Workload, workers: int) -> None:
    run = run.with_(workers=workers)
    first = run.start(**{rig.PAUSE: "0.3"})
    assert first.until(kills.moment(run, "rows", workload.splits, kills.seeded()))
    second = run.with_("mining.window=1").end()
    second.expect_failure(str(run.output), f"process {first.process.pid} ")
    assert first.process.poll() is None, "the first run ended before the second was refused"
    first.end().expect(0)
    assert rig.checksums(run.output) == workload.checksums
    rig.expect_sound(run.output)
    rig.expect_tidy(run.output)
