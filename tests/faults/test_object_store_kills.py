"""Runs on an object store that are killed at drawn moments, and what the next run makes of it: what it would on a disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pipelines.presentations.feedback import PRESENTATION as FEEDBACK
from tests.faults import kills, rig
from tests.faults.conftest import Workload
from tests.faults.rig import Run
from tests.servers import s3_server
from tests.servers.s3_server import Store
from transforms.io import files, snapshots, verification

pytestmark = pytest.mark.faults


@pytest.fixture
def remote(run: Run, store: Store, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Run:
    """The workload's command, with its output on the store."""
    return replace(run, output=s3_server.folder(store, monkeypatch, request.node.name))


def work(run: Run) -> Path | None:
    """The plan's work area."""
    found = [name for name in files.names(run.output / "work") if len(name) == 16]
    return run.output / "work" / found[0] if found else None


def committed(run: Run) -> dict[str, str]:
    """Receipts and key tables, with what would change if one were written again."""
    area = work(run)
    fs, root = run.output.fs, area.path if area else ""  # type: ignore[attr-defined]
    held = fs.find(root, detail=True) if area else {}
    return {
        name: f"{facts['ETag']} {facts['LastModified']}"
        for name, facts in held.items()
        if "/receipts/" in name or "/keytables/" in name
    }


def expect_undisturbed(run: Run, workload: Workload) -> None:
    """The dataset is the one that an undisturbed local run made, sound, and the only one."""
    assert rig.checksums(run.output) == workload.checksums
    newest = snapshots.latest(run.output)
    assert list(verification.problems(newest, FEEDBACK)) == []
    assert files.names(run.output / "snapshots") == {newest.name}


def moment(run: Run, phase: str, splits: int) -> Callable[[], bool]:
    """A drawn moment of a phase, as a condition on what is on the store."""
    rng = kills.seeded()
    if phase == "publication":
        return lambda: bool(files.names(run.output / "snapshots"))
    folder, share = {"keys": ("keytables", 0.5), "rows": ("receipts", 0.5), "shards": ("shards", 0.1)}[phase]
    wanted = rng.randint(1, max(1, int(share * splits)))

    def reached() -> bool:
        area = work(run)
        return area is not None and len(files.names(area / folder)) >= wanted

    return reached


@pytest.mark.parametrize("phases", [["keys", "rows"], ["rows", "shards", "publication"]], ids="-".join)
def test_a_run_killed_in_any_phase_is_finished_by_the_next_to_the_same_bytes(
    remote: Run, workload: Workload, phases: list[str]
) -> None:
    before: dict[str, str] = {}
    for phase in phases:
        started = remote.start()
        assert started.until(moment(remote, phase, workload.splits)), "the run ended before it could be killed"
        started.kill()
        held = committed(remote)
        assert held.items() >= before.items(), "what is committed is never written again"
        before = held
    remote.end().expect(0)
    assert committed(remote).items() >= before.items()
    expect_undisturbed(remote, workload)


def test_a_killed_worker_ends_the_run_and_the_next_one_finishes(remote: Run, workload: Workload) -> None:
    started = remote.start(**{rig.PAUSE: "0.3"})
    assert started.until(moment(remote, "rows", workload.splits))
    psutil.Process(started.process.pid).children()[0].kill()
    began = time.monotonic()
    ended = started.end()
    assert time.monotonic() - began < 15
    ended.expect(1)
    assert "resume with: sluice run" in ended.err
    remote.end().expect(0)
    expect_undisturbed(remote, workload)


def test_a_store_that_goes_away_ends_the_run_with_the_command_that_resumes(
    run: Run, workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server.serving() as passing:
        remote = replace(run, output=s3_server.folder(passing, monkeypatch, "gone"))
        started = remote.start(**{rig.PAUSE: "0.3"})
        assert started.until(moment(remote, "rows", workload.splits))
        passing.process.kill()
        ended = started.end(200)
    ended.expect(1)
    assert "resume with: sluice run" in ended.err
