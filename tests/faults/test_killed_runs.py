"""Runs and workers that are killed, and what the next run makes of it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.faults import kills, rig
from tests.faults.conftest import Workload
from tests.faults.rig import Run

pytestmark = pytest.mark.faults


def expect_undisturbed(run: Run, workload: Workload) -> None:
    """The dataset is the undisturbed one, sound, and nothing else lies about."""
    assert rig.checksums(run.output) == workload.checksums
    rig.expect_sound(run.output)
    rig.expect_tidy(run.output)
    rig.seconds_until(lambda: not rig.workers_of(run.output), within=5)


def test_five_kills_leave_the_same_bytes(run: Run, workload: Workload) -> None:
    story = kills.kill_and_rerun(run, kills.PHASES, workload.splits, kills.seeded())
    print(story)
    assert set(story.phases) >= {"keys", "rows", "shards", "publication"}
    assert max(story.recomputed) <= run.workers
    expect_undisturbed(run, workload)


def test_a_run_killed_before_its_pointer_flips_is_finished_by_the_next(run: Run, workload: Workload) -> None:
    run.end().expect(0)
    (run.output / "LATEST").unlink()
    assert run.end().expect(0).facts["splits"]["computed"] == 0
    expect_undisturbed(run, workload)
    assert len(list((run.output / "snapshots").iterdir())) == 1


@pytest.mark.parametrize("phase", ["keys", "rows", "shards"])
def test_a_killed_worker_ends_the_run(run: Run, workload: Workload, phase: str) -> None:
    rng = kills.seeded()
    started = run.start(**{rig.PAUSE: "0.3"})
    assert started.until(kills.moment(run, phase, workload.splits, rng))
    victim = rng.choice(started.workers())
    victim.kill()
    began = time.monotonic()
    ended = started.end()
    seconds = time.monotonic() - began
    print(f"worker killed in {phase}: exit {ended.code} after {seconds:.1f} s: {ended.err.strip()}")
    assert seconds < 10
    ended.expect(1)
    assert "resume with: sluice run" in ended.err
    assert "worker" in ended.told[0]
    if phase == "rows":
        assert " split " in ended.told[0]
    rig.seconds_until(lambda: not rig.workers_of(run.output), within=5)
    rig.expect_unpublished(run.output)
    run.end().expect(0)
    expect_undisturbed(run, workload)


def test_a_worker_killed_as_it_starts_ends_the_run(run: Run, workload: Workload) -> None:
    started = run.start()
    assert started.until(lambda: any(_children(started.process.pid)))
    _children(started.process.pid)[0].kill()
    began = time.monotonic()
    ended = started.end()
    assert time.monotonic() - began < 10
    ended.expect(1)
    assert "resume with: sluice run" in ended.err
    run.end().expect(0)
    expect_undisturbed(run, workload)


def _children(process: int) -> list[psutil.Process]:
    try:
        return psutil.Process(process).children()
    except psutil.NoSuchProcess:
        return []


@pytest.mark.parametrize("whole_group", [True, False])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_its_code(
    run: Run, workload: Workload, number: signal.Signals, whole_group: bool
) -> None:
    """A terminal sends Ctrl-C to the whole process group, ``kill`` to one process."""
    started = run.start(**{rig.PAUSE: "0.3"})
    assert started.until(kills.moment(run, "rows", workload.splits, kills.seeded()))
    (os.killpg if whole_group else os.kill)(started.process.pid, number)
    began = time.monotonic()
    ended = started.end()
    print(f"{number.name}: exit {ended.code} after {time.monotonic() - began:.1f} s")
    assert time.monotonic() - began < 10
    ended.expect(128 + number)
    assert f"resume with: sluice run {run.config}" in ended.err
    rig.seconds_until(lambda: not rig.workers_of(run.output), within=5)
    rig.expect_unpublished(run.output)
    run.end().expect(0)
    expect_undisturbed(run, workload)


def test_the_printed_command_resumes(run: Run, workload: Workload, tmp_path: Path) -> None:
    started = run.start(**{rig.PAUSE: "0.3"})
    assert started.until(kills.moment(run, "rows", workload.splits, kills.seeded()))
    started.process.send_signal(signal.SIGINT)
    (line,) = [line for line in started.end().err.splitlines() if line.startswith("resume with: ")]
    command = line.removeprefix("resume with: ").replace("sluice", str(rig.COMMAND), 1)
    assert os.system(f"{rig.AUDIT}={tmp_path}/again {command} >{tmp_path}/said 2>&1") == 0  # through a shell, as pasted
    expect_undisturbed(run, workload)
