"""What must not matter: how many workers, which output, which run, and what lies in the working directory."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.faults import rig
from tests.faults.conftest import Workload
from tests.faults.rig import Run

pytestmark = pytest.mark.faults

_BAIT = '''\
"""Not Sluice's: whoever imports it has looked in the working directory."""
from pathlib import Path

Path(__file__).with_name("IMPORTED-" + __name__).touch()
raise ImportError(f"{__file__} was imported")
'''


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_outputs_and_repetition_do_not_matter(
    run: Run, workload: Workload, tmp_path: Path, workers: int
) -> None:
    """Two outputs, and into one of them a second run that computes everything again."""
    for output in (tmp_path / "one", tmp_path / "deeper down" / "ein anderer Ort"):
        there = run.with_(output=output, workers=workers)
        assert there.end().expect(0).facts["changed"]
        assert rig.checksums(output) == workload.checksums
    shutil.rmtree(output / "work")
    again = there.end().expect(0).facts
    assert not again["changed"] and again["splits"]["reused"] == 0
    assert rig.checksums(output) == workload.checksums
    assert len(list((output / "snapshots").iterdir())) == 1
    rig.expect_sound(output)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_working_directory_with_modules_of_its_own(
    run: Run, workload: Workload, tmp_path: Path, workers: int
) -> None:
    place = tmp_path / "place"
    for package in ("transforms", "configs", "schemas", "pipelines", "apache_beam"):
        for name in ("__init__.py", "worker.py", "io.py"):
            (place / package).mkdir(parents=True, exist_ok=True)
            (place / package / name).write_text(_BAIT)
    for module in ("types", "json", "polars", "orjson", "sitecustomize", "usercustomize"):
        (place / f"{module}.py").write_text(_BAIT)
    run.with_(workers=workers, cwd=place).end().expect(0)
    assert list(place.rglob("IMPORTED-*")) == []
    assert rig.checksums(run.output) == workload.checksums
