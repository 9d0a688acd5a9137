"""Twenty kills of runs that ask a model: what is paid for twice, and what is published."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest

from tests.pipelines import rig
from tests.pipelines.test_models import chats, configured, journal, manifest, run
from tests.servers.openai_server import started

pytestmark = [pytest.mark.faults, pytest.mark.soak]

KILLS = 20
IN_FLIGHT = 8
LATENCY = 0.05
WORKERS = 2
UNCLOSED_SECONDS = 1.5
"""An answer waits at most a second for its segment to be closed, and some time for the disk."""


def entries(output: Path) -> int:
    return len(journal(output)) if list(output.glob("work/journal/*.parquet")) else 0


def test_twenty_kills_cost_what_was_in_flight_and_publish_the_same(tmp_path: Path) -> None:
    rng = random.Random(7)
    with started("--latency", str(LATENCY)) as server:
        path = configured(tmp_path, server, chats(2500), split_bytes=65536, model={"in_flight": IN_FLIGHT})
        run(path, tmp_path / "undisturbed")
        needed = server.stats()["total"]
        output = tmp_path / "out"
        command = [rig.COMMAND, "run", str(path), "--output", str(output), "--json", "--workers", str(WORKERS)]
        lost: list[int] = []
        for _ in range(KILLS):
            before = server.stats()["total"] - entries(output)
            process = subprocess.Popen(command, env=rig.environment(TEST_KEY="k"), stdout=subprocess.DEVNULL, stderr=-3)
            target = server.stats()["total"] + rng.randint(1, needed // KILLS)
            while process.poll() is None and server.stats()["total"] < target:
                time.sleep(0.02)
            assert process.poll() is None, "it ended before it was killed"
            process.kill()
            process.wait()
            time.sleep(2.0)
            lost.append(server.stats()["total"] - entries(output) - before)
        run(path, output, "--workers", str(WORKERS))
        sent = server.stats()["total"] - needed
        print(f"{KILLS} kills: {needed:,} requests needed, {sent:,} sent, at most {max(lost)} lost by a kill")
    in_flight = WORKERS * IN_FLIGHT * (1 + UNCLOSED_SECONDS / LATENCY)
    assert 0 < max(lost) <= in_flight
    assert needed <= sent <= needed + KILLS * in_flight
    assert manifest(output) == manifest(tmp_path / "undisturbed")
