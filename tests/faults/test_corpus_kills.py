"""The corpus pipeline, killed while it looks for duplicates and after: the next run ends in the bytes of an undisturbed one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.document import KEPT
from tests import prose
from tests.faults import rig
from tests.faults.rig import Run
from transforms.io import snapshots

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, str]]:
    folder = tmp_path_factory.mktemp("corpus")
    prose.sources(folder / "sources")
    run = Run(prose.config(folder, folder / "sources"), folder / "undisturbed")
    run.end().expect(0)
    rig.expect_sound(run.output)
    return run, rig.checksums(run.output)


def signing(run: Run) -> bool:
    return len(run.names("signatures", "*/*.parquet")) >= 6


def comparing(run: Run) -> bool:
    return bool(run.names("duplicates", "*/*"))


def writing(run: Run) -> bool:
    return len(run.names("receipts")) >= 4


@pytest.mark.parametrize("reached", [signing, comparing, writing])
def test_a_killed_run_is_finished_by_the_next_to_the_same_bytes(
    undisturbed: tuple[Run, dict[str, str]], tmp_path: Path, reached: Callable[[Run], bool]
) -> None:
    first, wanted = undisturbed
    run = Run(first.config, tmp_path / "out")
    started = run.start()
    assert started.until(lambda: reached(run))
    started.kill()
    rig.expect_unpublished(run.output)
    run.end().expect(0)
    assert rig.checksums(run.output) == wanted
    manifest = rig.expect_sound(run.output)
    rejected = manifest["counts"]["instances_rejected"]
    assert rejected["duplicate"] + rejected["near_duplicate"] == prose.COPIES
    kept = snapshots.scan(snapshots.latest(run.output), "data", KEPT).collect()
    assert kept["document_id"].n_unique() == prose.DOCUMENTS - prose.COPIES
