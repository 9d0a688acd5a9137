"""Twenty kills, at drawn moments of four runs: by phase, and wherever the clock happens to stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import kills, rig
from tests.faults.conftest import Workload, make_workload
from tests.faults.rig import Run

pytestmark = [pytest.mark.faults, pytest.mark.soak]

ROUNDS = (
    (2, kills.PHASES),
    (1, kills.PHASES),
    (2, ("any", "rows", "rows", "shards", "publication")),
    (2, ("keys", "any", "any", "shards", "publication")),
)


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_USER_KEY", "a key for tests")
        return make_workload(tmp_path_factory.mktemp("workload"))


def test_twenty_kills_leave_the_same_bytes(workload: Workload, tmp_path: Path) -> None:
    rng = kills.seeded()
    stories = []
    for number, (workers, phases) in enumerate(ROUNDS):
        place = tmp_path / str(number)
        place.mkdir()
        run = Run(workload.config, place / "out", workers, env={rig.AUDIT: str(place / "audit"), rig.PAUSE: "0.05"})
        story = kills.kill_and_rerun(run, phases, workload.splits, rng)
        print(f"{workers} workers: {story}")
        assert max(story.recomputed, default=0) <= workers
        assert rig.checksums(run.output) == workload.checksums
        rig.expect_sound(run.output)
        rig.expect_tidy(run.output)
        rig.seconds_until(lambda run=run: not rig.workers_of(run.output), within=5)  # type: ignore[misc]
        stories.append(story)
    hit = [phase for story in stories for phase in story.phases]
    print(f"{len(hit)} kills, {sum(sum(story.recomputed) for story in stories)} splits recomputed")
    assert len(hit) == 20
    assert {"keys", "rows", "shards", "publication"} <= set(hit)
