"""Runner profiles, the job server's jar, the pool of Python workers, and what is said when one of them is missing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from apache_beam.portability.api import beam_fn_api_pb2 as api
from apache_beam.portability.api import beam_fn_api_pb2_grpc as services

from pipelines import job_server, runners, worker, worker_pool
from pipelines.config import ConfigError
from tests.faults import rig

JOB_SERVER_CLASS = "org/apache/beam/runners/spark/SparkJobServerDriver.class"
SPARK_CLASS = "org/apache/spark/SparkContext.class"


# --- profiles ---------------------------------------------------------------------------------------------------------


def test_profiles_ship_by_name() -> None:
    assert runners.load("local", []) == runners.LocalProfile()
    spark = runners.load("spark", ["workers=3"])
    assert isinstance(spark, runners.SparkProfile)
    assert (spark.master, spark.workers, spark.worker_pool) == ("local", 3, None)


def test_a_profile_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(
        "runner: spark\nmaster: spark://10.0.0.1:7077\nworkers: 8\nworker_pool: 127.0.0.1:50000\nspark: {spark.executor.memory: 4g, spark.eventLog.enabled: true}\n"
    )
    profile = runners.load(str(path), ["workers_per_executor=4"])
    assert isinstance(profile, runners.SparkProfile)
    assert (profile.workers, profile.workers_per_executor) == (8, 4)
    assert profile.spark == {"spark.executor.memory": "4g", "spark.eventLog.enabled": True}


@pytest.mark.parametrize(
    ("name", "override", "words"),
    [
        ("nothing", "workers=1", "--runner nothing: expected a profile's file, or one of"),
        ("spark", "runner=hadoop", "runner: expected one of local, spark"),
        ("spark", "master=http://127.0.0.1:7077", "master"),
        ("spark", "worker_pool=50000", "worker_pool"),
        ("spark", "spark={executor.memory: 4g}", "spark"),
        ("spark", "pool=127.0.0.1:50000", "pool"),
        ("local", "workers=0", "workers"),
    ],
)
def test_a_wrong_profile_is_told_with_its_place(name: str, override: str, words: str) -> None:
    with pytest.raises(ConfigError) as told:
        runners.load(name, [override])
    assert words in str(told.value)
    assert "\n" not in str(told.value)


def test_a_cluster_needs_to_be_told_how_much_of_it_to_take_and_where_its_pools_are() -> None:
    master, pool = "master=spark://127.0.0.1:7077", "worker_pool=127.0.0.1:50000"
    with pytest.raises(ConfigError, match="--workers"):
        runners.load("spark", [master, pool])
    with pytest.raises(ConfigError, match="worker_pool"):
        runners.load("spark", [master, "workers=2"])
    assert runners.load("spark", [master, pool, "workers=2"]).workers == 2


# --- the command, where something is missing --------------------------------------------------------------------------


def said(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(rig.COMMAND), *arguments], capture_output=True, text=True, check=False, env={**os.environ, **env}
    )


def expect_told(ended: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 2 and one line with these words."""
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.strip().splitlines()
    for word in words:
        assert word in line, f"{word!r} not in {line!r}"


@pytest.fixture
def run(tmp_path: Path) -> tuple[str, ...]:
    rig.write_chats(tmp_path / "sources" / "a.jsonl", rig.chats(0, 5))
    config = rig.write_config(tmp_path, tmp_path / "sources")
    return ("run", str(config), "--output", str(tmp_path / "out"), "--runner", "spark", "--quiet")


@pytest.fixture
def no_tools(tmp_path: Path) -> str:
    """A PATH on which nothing is."""
    empty = tmp_path / "bin"
    empty.mkdir()
    return str(empty)


def test_without_java_the_run_says_how_to_get_it(run: tuple[str, ...], no_tools: str) -> None:
    expect_told(said(*run, PATH=no_tools, JAVA_HOME=""), "expected Java", "apt-get install openjdk-17-jre-headless")


def test_without_a_job_server_the_run_says_how_to_get_one(run: tuple[str, ...], tmp_path: Path) -> None:
    expect_told(
        said(*run, XDG_CACHE_HOME=str(tmp_path / "empty")),
        "expected Beam's Spark job server",
        "sluice spark-job-server",
        "--spark_job_server_jar FILE",
    )


def test_a_job_server_that_is_none_is_told(run: tuple[str, ...], tmp_path: Path) -> None:
    other = tmp_path / "other.jar"
    with zipfile.ZipFile(other, "w") as jar:
        jar.writestr("Other.class", b"")
    expect_told(said(*run, "--spark_job_server_jar", str(other)), str(other), "found no org.apache.beam.runners.spark")
    text = tmp_path / "text.jar"
    text.write_text("no jar")
    expect_told(said(*run, "--spark_job_server_jar", str(text)), str(text), "found no jar")
    expect_told(said(*run, "--spark_job_server_jar", str(tmp_path / "none.jar")), "none.jar", "found no file")


def test_without_maven_the_job_server_cannot_be_assembled(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "java").write_text("#!/bin/sh\n")
    (tools / "java").chmod(0o755)
    ended = said("spark-job-server", PATH=str(tools), JAVA_HOME="", XDG_CACHE_HOME=str(tmp_path / "empty"))
    expect_told(ended, "expected Maven (mvn)", "apt-get install maven", "--spark_job_server_jar FILE")


# --- the job server's jar ---------------------------------------------------------------------------------------------


def test_the_official_job_server_runs_as_it_is(tmp_path: Path) -> None:
    official = tmp_path / "official.jar"
    with zipfile.ZipFile(official, "w") as jar:
        for entry in (JOB_SERVER_CLASS, SPARK_CLASS):
            jar.writestr(entry, b"")
    assert job_server.with_spark(job_server.find(str(official))) == official


def test_a_job_server_without_spark_runs_with_that_of_pyspark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyspark")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    bare = tmp_path / "bare.jar"
    with zipfile.ZipFile(bare, "w") as jar:
        jar.writestr(JOB_SERVER_CLASS, b"")
    runnable = job_server.with_spark(bare)
    with zipfile.ZipFile(runnable) as jar:
        manifest = jar.read("META-INF/MANIFEST.MF").decode()
    assert max(map(len, manifest.splitlines())) < 72
    lines = dict(line.split(": ", 1) for line in manifest.replace("\r\n ", "").splitlines())
    first, *others = lines["Class-Path"].split(" ")
    assert lines["Main-Class"] == "org.apache.beam.runners.spark.SparkJobServerDriver"
    assert first == bare.as_uri()
    assert any("spark-core_2.12-3." in other for other in others)


# --- the worker pool --------------------------------------------------------------------------------------------------


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[services.BeamFnExternalWorkerPoolStub]:
    with (tmp_path / "workers.log").open("ab") as log:
        address, server = worker_pool.serve("127.0.0.1", 0, log)
        with grpc.insecure_channel(address) as channel:
            yield services.BeamFnExternalWorkerPoolStub(channel)
        server.stop(None)


def workers() -> list[psutil.Process]:
    found = psutil.Process().children()
    return [process for process in found if "pipelines.worker_pool" in process.cmdline()]


def test_the_pool_starts_this_python_and_stops_it(
    pool: services.BeamFnExternalWorkerPoolStub, monkeypatch: pytest.MonkeyPatch, no_tools: str
) -> None:
    monkeypatch.setenv("PATH", no_tools)
    nowhere = {"url": "127.0.0.1:9"}
    assert not pool.StartWorker(api.StartWorkerRequest(worker_id="one", control_endpoint=nowhere)).error
    (process,) = workers()
    assert process.cmdline()[:3] == [sys.executable, "-P", "-m"]
    pool.StopWorker(api.StopWorkerRequest(worker_id="one"))
    assert workers() == []


def test_two_pools_cannot_share_a_port() -> None:
    address, server = worker_pool.serve("127.0.0.1", 0)
    with pytest.raises(OSError, match=address):
        worker_pool.serve("127.0.0.1", int(address.rpartition(":")[2]))
    server.stop(None)


def test_workers_end_with_their_pool(tmp_path: Path) -> None:
    command = [str(rig.COMMAND), "worker-pool", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        assert address.startswith("127.0.0.1:")
        with grpc.insecure_channel(address) as channel:
            request = api.StartWorkerRequest(worker_id="one", control_endpoint={"url": "127.0.0.1:9"})
            services.BeamFnExternalWorkerPoolStub(channel).StartWorker(request)
        (child,) = psutil.Process(process.pid).children()
        time.sleep(3)
        assert child.is_running()
        process.kill()
        rig.seconds_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, within=5)


# --- signs of life ----------------------------------------------------------------------------------------------------


def test_the_first_piece_of_work_leaves_a_sign_of_life(tmp_path: Path) -> None:
    assert not worker.arrived(tmp_path)
    assert worker.arrive(7, tmp_path) == 7
    assert worker.arrived(tmp_path)
    worker.forget_arrivals(tmp_path)
    assert not worker.arrived(tmp_path)
