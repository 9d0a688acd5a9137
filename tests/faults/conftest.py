"""One workload and one undisturbed run of it, which the broken ones are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults import rig
from tests.faults.rig import Run


@dataclass(frozen=True)
class Workload:
    """Sources of every container in some dozens of splits, and the checksums of their undisturbed dataset."""

    config: Path
    splits: int
    checksums: dict[str, str]


@pytest.fixture(scope="session")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    folder = tmp_path_factory.mktemp("workload")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_USER_KEY", "a key for tests")
        return make_workload(folder)


def make_workload(folder: Path) -> Workload:
    """Write the sources and run them undisturbed, in one process."""
    for at, name in enumerate(("a.parquet", "b.jsonl", "c.jsonl.zst", "d.jsonl.gz", "e.parquet")):
        rig.write_chats(folder / "sources" / name, rig.chats(at, 120, first=1000 * at))
    config = rig.write_config(folder, folder / "sources", audited=True, split_bytes=40_000, shard_bytes=150_000)
    run = Run(config, folder / "undisturbed", workers=1, env={rig.AUDIT: str(folder / "audit")})
    ended = run.end().expect(0)
    rig.expect_sound(run.output)
    return Workload(config, ended.facts["splits"]["total"], rig.checksums(run.output))


@pytest.fixture
def run(workload: Workload, tmp_path: Path) -> Run:
    """The workload's command, with two workers and an output of its own."""
    audit = tmp_path / "audit"
    audit.mkdir()
    return Run(workload.config, tmp_path / "out", env={rig.AUDIT: str(audit / "attempts"), rig.PAUSE: "0.02"})
