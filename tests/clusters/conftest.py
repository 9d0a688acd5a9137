"""A standalone Spark cluster on loopback, started and stopped as docs/running-on-clusters.md says."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from pipelines import job_server
from tests.faults import rig

SCRIPT = Path(job_server.__file__).parents[1] / "deploy" / "spark" / "cluster.sh"


@dataclass(frozen=True)
class Cluster:
    """A running cluster: the folder of its logs, and the profile that names it."""

    folder: Path
    profile: Path

    def executors(self) -> list[psutil.Process]:
        """Its executors' Java processes."""
        return self._processes("worker-*", "CoarseGrainedExecutorBackend")

    def python_workers(self) -> list[psutil.Process]:
        """The Python workers that its pools have started."""
        return self._processes("pool-*", "pipelines.worker_pool")

    def _processes(self, started: str, word: str) -> list[psutil.Process]:
        """Living descendants of what the script started, by a word of their command."""
        found: list[psutil.Process] = []
        for path in self.folder.glob(f"{started}.pid"):
            with suppress(psutil.NoSuchProcess):
                for process in psutil.Process(int(path.read_text())).children(recursive=True):
                    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                        if word in " ".join(process.cmdline()):
                            found.append(process)
        return found


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def running(folder: Path, **env: str) -> Iterator[Cluster]:
    """A cluster, for as long as the block runs."""
    ports = {"MASTER_PORT": str(free_port()), "POOL_PORT": str(free_port())}
    given = {**os.environ, "PYTHON": sys.executable, **ports, **env}
    started = subprocess.run(
        [str(SCRIPT), "start", str(folder)], env=given, check=False, capture_output=True, text=True
    )
    assert started.returncode == 0, started.stderr
    try:
        profile = folder / "profile.yaml"
        profile.write_text(started.stdout)
        yield Cluster(folder, profile)
    finally:
        subprocess.run([str(SCRIPT), "stop", str(folder)], check=True)
    assert not list(folder.glob("*.pid"))


@pytest.fixture(scope="session", autouse=True)
def _patience() -> Iterator[None]:
    """Six processes of a cluster start slowly on a busy machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rig, "GIVE_UP_SECONDS", 300.0)
        yield


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    job_server.assemble()
    with running(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@dataclass(frozen=True)
class Workload:
    """Sources of every container, with broken rows, in some dozens of splits; and what the local run makes of them."""

    config: Path
    checksums: dict[str, str]
    facts: rig.Row


_RESTING = """\
import time


def rest(frame):
    time.sleep(0.25)
    return frame
"""


@pytest.fixture(scope="session")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workload]:
    folder = tmp_path_factory.mktemp("workload")
    for at, name in enumerate(("a.parquet", "b.jsonl", "c.jsonl.zst", "d.jsonl.gz", "e.parquet")):
        rig.write_chats(folder / "sources" / name, rig.chats(at, 120, first=1000 * at))
    with (folder / "sources" / "b.jsonl").open("a") as lines:
        lines.write('{"conversation": \n' * 3)
    (folder / "rest.py").write_text(_RESTING)
    stages = [{"use": "rest.py:rest", "after": "extract turns"}]
    config = rig.write_config(folder, folder / "sources", split_bytes=40_000, shard_bytes=150_000, stages=stages)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_USER_KEY", "a key for tests")
        ended = rig.Run(config, folder / "local", workers=1).end().expect(0)
        yield Workload(config, rig.checksums(folder / "local"), ended.facts)
