"""The feedback pipeline on Spark: inside the job server, and on a standalone cluster of two workers."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml

from pipelines import job_server
from tests import prose as corpus
from tests.clusters.conftest import SCRIPT, Cluster, Workload, free_port
from tests.faults import rig
from tests.faults.rig import Ended, Run, Started

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]

GIVE_UP_SECONDS = 300.0
PATIENCE = ("--runner-set", "start_seconds=200")
"""A machine that runs other tests beside these starts six processes slowly."""


def on(profile: Path | str, workload: Workload, output: Path, **changes: object) -> Run:
    options = ("--json", "--trust-code", "--runner", str(profile), *PATIENCE)
    return Run(workload.config, output, options=options, **changes)  # type: ignore[arg-type]


def expect_as_local(run: Run, workload: Workload, ended: Ended) -> None:
    """Same bytes, same counts, sound, and it says where it ran."""
    ended.expect(0)
    assert rig.checksums(run.output) == workload.checksums
    manifest = rig.expect_sound(run.output)
    for count in ("rows_read", "rows_rejected", "instances", "kept", "instances_rejected", "labels"):
        assert ended.facts[count] == workload.facts[count], count
    assert manifest["counts"]["rows_read"] == workload.facts["rows_read"]
    facts = json.loads(
        (run.output / "snapshots").joinpath((run.output / "LATEST").read_text().strip(), "run.json").read_bytes()
    )
    assert (facts["runner"], facts["workers"]) == ("spark", 2)
    rig.expect_tidy(run.output)


def when(run: Run, receipts: int) -> Callable[[], bool]:
    """Once so many splits are committed, and more are under way."""
    return lambda: len(run.names("receipts")) >= receipts


def children(started: Started) -> list[psutil.Process]:
    try:
        return psutil.Process(started.process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


# --- inside the job server --------------------------------------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def jar() -> Path:
    return job_server.assemble()


def test_spark_inside_the_job_server_gives_the_local_bytes(workload: Workload, tmp_path: Path) -> None:
    run = on("spark", workload, tmp_path / "out")
    expect_as_local(run, workload, run.start().end(GIVE_UP_SECONDS))


def test_an_output_on_a_store_gives_the_local_bytes(workload: Workload, out: Path) -> None:
    on("spark", workload, out).start().end(GIVE_UP_SECONDS).expect(0)
    assert rig.checksums(out) == workload.checksums


def test_the_quickstart_gives_the_local_bytes_from_anywhere(tmp_path: Path) -> None:
    """Folders of the user's own called as ours are not imported."""
    (tmp_path / "transforms").mkdir()
    (tmp_path / "transforms" / "__init__.py").write_text("raise ImportError('not this one')\n")
    for runner, patience in (("local", ()), ("spark", PATIENCE)):
        command = [str(rig.COMMAND), "run", "quickstart", "--output", runner, "--runner", runner, "--json", *patience]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert rig.checksums(tmp_path / "spark") == rig.checksums(tmp_path / "local")


def test_ctrl_c_ends_the_job_server_and_its_workers(workload: Workload, tmp_path: Path) -> None:
    run = on("spark", workload, tmp_path / "out")
    started = run.start()
    assert started.until(when(run, 3))
    processes = children(started)
    assert any("java" in process.name() for process in processes)
    os.killpg(started.process.pid, signal.SIGINT)
    ended = started.end(60)
    ended.expect(130)
    assert "resume with: sluice run" in ended.err
    rig.seconds_until(lambda: all(map(gone, processes)), within=60)
    rig.expect_unpublished(run.output)
    expect_as_local(run, workload, run.start().end(GIVE_UP_SECONDS))


def test_a_killed_driver_takes_its_job_server_along(workload: Workload, tmp_path: Path) -> None:
    run = on("spark", workload, tmp_path / "out")
    started = run.start()
    assert started.until(when(run, 3))
    processes = children(started)
    started.kill()
    rig.seconds_until(lambda: all(map(gone, processes)), within=60)


def test_a_split_that_fails_is_told_as_locally(workload: Workload, tmp_path: Path) -> None:
    (tmp_path / "explode.py").write_text("def explode(frame):\n    raise ValueError('boom')\n")
    values = yaml.safe_load(workload.config.read_text())
    values["stages"] = [{"use": "explode.py:explode", "after": "extract turns"}]
    config = tmp_path / "exploding.yaml"
    config.write_text(yaml.safe_dump(values))
    told = []
    for runner, patience in (("local", ()), ("spark", PATIENCE)):
        run = Run(config, tmp_path / runner, options=("--json", "--trust-code", "--runner", runner, *patience))
        told += run.start().end(GIVE_UP_SECONDS).expect_failure("ValueError: boom", "stage: explode").told
    assert told[0] == told[1]


# --- a cluster --------------------------------------------------------------------------------------------------------


def test_a_cluster_gives_the_local_bytes(cluster: Cluster, workload: Workload, tmp_path: Path) -> None:
    run = on(cluster.profile, workload, tmp_path / "out")
    started = run.start()
    assert started.until(when(run, 3))
    assert len(cluster.executors()) == 2
    assert {process.parent().pid for process in cluster.python_workers()} == {  # type: ignore[union-attr]
        int(path.read_text()) for path in cluster.folder.glob("pool-*.pid")
    }
    expect_as_local(run, workload, started.end(GIVE_UP_SECONDS))


def test_a_corpus_is_deduplicated_to_the_local_bytes(cluster: Cluster, tmp_path: Path) -> None:
    corpus.sources(tmp_path / "sources")
    config = corpus.config(tmp_path, tmp_path / "sources")
    Run(config, tmp_path / "local", workers=1).end().expect(0)
    run = Run(config, tmp_path / "out", options=("--json", "--runner", str(cluster.profile), *PATIENCE))
    run.start().end(GIVE_UP_SECONDS).expect(0)
    assert rig.checksums(run.output) == rig.checksums(tmp_path / "local")
    lost = rig.expect_sound(run.output)["counts"]["instances_rejected"]
    assert lost["duplicate"] + lost["near_duplicate"] == corpus.COPIES


@pytest.mark.parametrize("phase", ["keytables", "receipts"])
def test_a_killed_python_worker_costs_nothing(cluster: Cluster, workload: Workload, tmp_path: Path, phase: str) -> None:
    run = on(cluster.profile, workload, tmp_path / "out")
    started = run.start()
    assert started.until(lambda: len(run.names(phase)) >= 4)
    random.choice(cluster.python_workers()).kill()
    expect_as_local(run, workload, started.end(GIVE_UP_SECONDS))


def test_a_lost_executor_costs_nothing(cluster: Cluster, workload: Workload, tmp_path: Path) -> None:
    run = on(cluster.profile, workload, tmp_path / "out")
    started = run.start()
    assert started.until(when(run, 4))
    random.choice(cluster.executors()).kill()
    expect_as_local(run, workload, started.end(GIVE_UP_SECONDS))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_the_job(cluster: Cluster, workload: Workload, tmp_path: Path, number: signal.Signals) -> None:
    run = on(cluster.profile, workload, tmp_path / "out")
    started = run.start()
    assert started.until(when(run, 3))
    os.killpg(started.process.pid, number)
    ended = started.end(60)
    ended.expect(128 + number)
    assert "resume with: sluice run" in ended.err
    rig.seconds_until(lambda: not cluster.executors() and not cluster.python_workers(), within=90)
    rig.expect_unpublished(run.output)
    expect_as_local(run, workload, run.start().end(GIVE_UP_SECONDS))


def test_a_pool_that_cannot_start_python_is_an_error(workload: Workload, tmp_path: Path) -> None:
    """Beam's own pool starts the first python on PATH: here one that has no Beam."""
    (tmp_path / "python").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    port = free_port()
    command = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}"]
    pool = subprocess.Popen(command, env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    try:
        settings = ("--runner-set", f"worker_pool=127.0.0.1:{port}", "--runner-set", "start_seconds=30")
        run = on("spark", workload, tmp_path / "out")
        ended = run.with_(options=(*run.options, *settings)).start().end()
        ended.expect_failure("no Python worker has started within 30 s", f"127.0.0.1:{port}", "sluice worker-pool")
    finally:
        pool.kill()
        pool.wait()


def test_a_pool_that_does_not_run_is_an_error(workload: Workload, tmp_path: Path) -> None:
    place = f"127.0.0.1:{free_port()}"
    run = on("spark", workload, tmp_path / "out")
    ended = run.with_(options=(*run.options, "--runner-set", f"worker_pool={place}")).start().end(GIVE_UP_SECONDS)
    ended.expect_failure(f"no pool answers at {place}", "sluice worker-pool")


def test_a_port_that_is_taken_starts_no_cluster(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        env = {**os.environ, "PYTHON": sys.executable, "MASTER_PORT": str(taken.getsockname()[1])}
        told = subprocess.run([SCRIPT, "start", tmp_path], env=env, check=False, capture_output=True, text=True)
    assert told.returncode == 2
    assert "expected a free port" in told.stderr
    assert told.stdout == ""


def test_nothing_but_descriptors_crosses_the_wire(cluster: Cluster, workload: Workload, tmp_path: Path) -> None:
    """By Spark's own count of shuffled bytes, in its event log."""
    events = tmp_path / "events"
    events.mkdir()
    profile = yaml.safe_load(cluster.profile.read_text())
    profile["spark"] = {"spark.eventLog.enabled": True, "spark.eventLog.dir": events.as_uri()}
    path = tmp_path / "profile.yaml"
    path.write_text(yaml.safe_dump(profile))
    run = on(path, workload, tmp_path / "out")
    ended = run.start().end(GIVE_UP_SECONDS)
    expect_as_local(run, workload, ended)
    (log,) = events.iterdir()
    area = run.work
    assert area is not None
    ends = [path.stat().st_mtime for path in (*area.glob("lists/*/DONE"), area / "shards.parquet")]
    keys, rows, shards = shuffled(log, *ends)
    splits = ended.facts["splits"]["total"]
    instances = ended.facts["instances"]
    print(f"shuffled bytes: keys {keys:,} ({keys / instances:.0f} an instance), rows {rows:,}, shards {shards:,}")
    payload = sum(p.stat().st_size for p in (tmp_path / "out" / "work").glob("*/parts/*/*.arrow"))
    assert rows < 200 * splits < payload / 10
    assert shards < payload / 10


def shuffled(log: Path, *ends: float) -> list[int]:
    """Bytes that tasks wrote to shuffles, in each of the passes that ended at these times and in the last."""
    totals = [0] * (len(ends) + 1)
    for line in log.read_text().splitlines():
        event = json.loads(line)
        if event["Event"] == "SparkListenerTaskEnd" and (metrics := event.get("Task Metrics")):
            at = sum(event["Task Info"]["Finish Time"] / 1000 > end for end in ends)
            totals[at] += metrics["Shuffle Write Metrics"]["Shuffle Bytes Written"]
    return totals
