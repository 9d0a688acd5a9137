"""Running Beam on this machine: one process, or several watched ones."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import apache_beam as beam
import psutil
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from pipelines import worker
from pipelines.locks import scratch

_GRACE_SECONDS = 0.5
"""How long a run may take to end by itself once a worker has failed."""

_WORKER_THREAD = "run_worker"
"""Beam's name of the threads that wait for worker processes."""


class LocalRunner:
    """Runs pipelines with ``workers`` processes, over one work area.

    ``on_lost`` is called with the claim of a worker that was killed; Beam's runner would wait for it for
    ever, so this must end the process.
    """

    def __init__(self, work: Path, workers: int, on_lost: Callable[[str], None]) -> None:
        self.work, self.workers, self.on_lost = work, workers, on_lost
        self.claims = scratch(work) / "claims"
        self.log = scratch(work) / "logs" / "workers.log"
        self.lost = threading.Event()

    def run(self, build: Callable[[beam.Pipeline], object], elements: int) -> None:
        """Build and run one pipeline over so many elements, and wait for its end."""
        workers = max(1, min(self.workers, elements))
        self._quieten()
        if workers == 1:
            pipeline = beam.Pipeline(FnApiRunner(), PipelineOptions([]))
            build(pipeline)
            pipeline.run().wait_until_finish()
            return
        self.claims.mkdir(parents=True, exist_ok=True)
        for old in self.claims.iterdir():
            old.unlink()
        os.environ[worker.PARENT] = str(os.getpid())
        os.environ[worker.LOCK] = str(scratch(self.work.parent) / "workers.lock")
        os.environ[worker.CLAIMS] = str(self.claims)
        os.environ.setdefault("POLARS_MAX_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
        command = f"exec {shlex.quote(sys.executable)} -P -m pipelines.worker >>{shlex.quote(str(self.log))} 2>&1"
        runner = FnApiRunner(default_environment=SubprocessSDKEnvironment.from_command_string(command))
        pipeline = beam.Pipeline(runner, PipelineOptions([f"--direct_num_workers={workers}"]))
        build(pipeline)
        finished = threading.Event()
        watchdog = threading.Thread(target=self._watch, args=(finished,), daemon=True)
        watchdog.start()
        try:
            pipeline.run().wait_until_finish()
        finally:
            finished.set()
            self.lost.set()

    def _quieten(self) -> None:
        """Send what Beam and its threads say to a log file: errors are told in one line at the end."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        logging.basicConfig(filename=self.log.parent / "driver.log", level=logging.WARNING, force=True)
        logging.raiseExceptions = False
        self.lost.clear()
        threading.excepthook = self._note

    def _note(self, failed: threading.ExceptHookArgs) -> None:
        """Log what ended a thread; Beam waits for each worker process in one that fails when the process does."""
        logging.error("thread %s: %r", failed.thread, failed.exc_value)
        if failed.thread is not None and failed.thread.name == _WORKER_THREAD:
            self.lost.set()

    def _watch(self, finished: threading.Event) -> None:
        """Tell of a worker that was lost, unless the run ends by itself."""
        self.lost.wait()
        if not finished.wait(_GRACE_SECONDS):
            self.on_lost(self._claim_of_the_lost())

    def _claim_of_the_lost(self) -> str:
        claims = [path.read_text() for path in self.claims.iterdir() if not _alive(int(path.name))]
        return claims[0] if claims else worker.IDLE


def _alive(process: int) -> bool:
    try:
        return bool(psutil.Process(process).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def on_signal(say: Callable[[], None]) -> None:
    """On Ctrl-C or SIGTERM kill the workers, have something said, and end at once with 128 + the signal.

    Beam's runner would wait for its workers to finish what they are at.
    """

    def end(number: int, frame: FrameType | None) -> None:
        end_workers()
        say()
        os._exit(128 + number)

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)


def end_workers() -> None:
    """Kill all worker processes of this one."""
    for child in psutil.Process().children(recursive=True):
        try:
            child.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
