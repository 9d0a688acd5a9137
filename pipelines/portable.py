"""Running Beam on Spark: a Java job server here, Python workers beside the executors.

Nothing but split indices and key tables crosses between them; rows go from a source to the work area inside one worker.
"""

from __future__ import annotations

import logging
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import apache_beam as beam
import grpc  # type: ignore[import-untyped]
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.spark_runner import SparkRunner
from apache_beam.runners.runner import PipelineState

from pipelines import job_server, worker, worker_pool
from pipelines.locks import scratch

if TYPE_CHECKING:
    from pipelines.runners import SparkProfile

_POLL_SECONDS: Final = 0.2
_CANCEL_SECONDS: Final = 10.0

_TRIES: Final = 4
"""How often Spark itself tries a task; its own default for clusters, where ``local`` would have 1."""

_WAVES: Final = 4
"""Partitions for each worker: what a slow one leaves to do is shared."""

_IDLE_MILLIS: Final = 60_000
"""How long a Python worker outlives its last bundle; without it every stage of a job would start new ones."""

_OPENED: Final = (
    *(f"java.base/java.{name}" for name in ("lang", "lang.invoke", "lang.reflect", "io", "net", "nio", "util")),
    *(f"java.base/java.util.concurrent{name}" for name in ("", ".atomic")),
    *(f"java.base/sun.{name}" for name in ("nio.ch", "nio.cs", "security.action", "util.calendar")),
    "java.base/jdk.internal.ref",
    "java.security.jgss/sun.security.krb5",
)
"""Java's own packages that Spark reaches into."""

_JAVA_SETTINGS: Final = {
    "org.slf4j.simpleLogger.defaultLogLevel": "warn",
    "beam.spark.test.reuseSparkContext": "true",
}
"""The job server tells warnings, and keeps its Spark application, executors and all, from one pass to the next."""

_LOOPBACK: Final = re.compile(r"local$|\w+://(127\.\d+\.\d+\.\d+|localhost)(:|$)")


_AN_ERROR: Final = re.compile(r"\w+(Error|Exception)\b")


class JobError(Exception):
    """A job failed; what is committed stays."""


class SparkJobs:
    """Runs pipelines as jobs of a Spark application, ``workers`` splits at a time.

    Raises:
        ConfigError: Java, Spark or the job server is missing.
    """

    def __init__(self, profile: SparkProfile, work: Path, workers: int) -> None:
        self.profile, self.work, self.workers = profile, work, workers
        job_server.expect_java()
        self.jar = job_server.find(profile.job_server_jar)
        shutil.rmtree(scratch(work) / "artifacts", ignore_errors=True)  # of a run that was stopped
        self.options = self._options(job_server.with_spark(self.jar))
        self.pool: grpc.Server | None = None

    def _options(self, runnable: Path) -> list[str]:
        local = self.profile.master == "local"
        options = {
            "spark_master_url": f"local[{self.workers},{_TRIES}]" if local else self.profile.master,
            "spark_job_server_jar": runnable,
            "job_server_java_launcher": sys.executable,
            "environment_type": "EXTERNAL",
            "environment_cache_millis": _IDLE_MILLIS,
            "artifacts_dir": scratch(self.work) / "artifacts",
            "experiments": "disable_logging_submission_environment",  # a call of pip freeze a pass
            "sdk_worker_parallelism": self.workers if local else self.profile.workers_per_executor,
        }
        if runnable != self.jar:
            options["files_to_stage"] = self.jar
        opened = [f"--add-opens={package}=ALL-UNNAMED" for package in _OPENED]
        settings = [f"-D{name}={value}" for name, value in {**_JAVA_SETTINGS, **self._settings()}.items()]
        watched = ("-P", "-m", job_server.__name__)
        java = [f"--job_server_jvm_properties={argument}" for argument in (*watched, *opened, *settings)]
        return [*(f"--{name}={value}" for name, value in options.items()), *java]

    def _settings(self) -> dict[str, str]:
        """Spark's settings: what fits a run of ours, then the profile's own."""
        own = self.profile.spark.items()
        here = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
        return {
            "spark.ui.enabled": "false",
            "spark.default.parallelism": str(_WAVES * self.workers),
            "spark.cores.max": str(self.workers),
            **(here if _LOOPBACK.match(self.profile.master) else {}),
            **{name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in own},
        }

    def run(self, build: Callable[[beam.Pipeline], object], elements: int) -> None:
        """Build and run one pipeline, again if it loses its workers on the way: what it has finished it finds.

        Raises:
            JobError: no Python worker started, a step failed, or workers were lost time and again.
        """
        self._quieten()
        for attempt in range(1, self.profile.attempts + 1):
            try:
                self._submit(build)
                return
            except RuntimeError as error:
                raised = "Traceback (most recent call last)" in str(error)
                if not raised and not self._alive() and "UNAVAILABLE" in str(error):
                    raise JobError(
                        f"no pool answers at {self._pool()} beside an executor; start: sluice worker-pool"
                    ) from error
                if raised or attempt == self.profile.attempts or not self._alive():
                    raise JobError(f"{_told(str(error))}; see {self._log('driver.log')}") from error
                logging.warning("attempt %d failed, the job is submitted again: %s", attempt, error)

    def _submit(self, build: Callable[[beam.Pipeline], object]) -> None:
        worker.forget_arrivals(self.work)
        options = PipelineOptions([*self.options, f"--environment_config={self._pool()}"])
        pipeline = beam.Pipeline(SparkRunner(), options)
        build(pipeline)
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            result = pipeline.run()  # sets a handler of Beam's, once
        except (RuntimeError, grpc.RpcError) as error:
            raise JobError(f"the job was not submitted: {error}; see {self._log('job-server.log')}") from error
        with _cancelled_by_signals(result, before):
            self._wait(result)
        result.wait_until_finish()

    def _wait(self, result: Any) -> None:
        """Until the job has ended, provided that a worker shows itself in time."""
        until = time.monotonic() + self.profile.start_seconds
        alive = False
        while not PipelineState.is_terminal(self._state(result)):
            alive = alive or self._alive()
            if not alive and time.monotonic() > until:
                _cancel(result)
                raise JobError(self._silence())
            time.sleep(_POLL_SECONDS)

    def _state(self, result: Any) -> str:
        try:
            return str(result.state)
        except grpc.RpcError as error:
            raise JobError(f"the job server ended while a job ran; see {self._log('job-server.log')}") from error

    def _silence(self) -> str:
        seconds = f"no Python worker has started within {self.profile.start_seconds:g} s"
        if self.profile.worker_pool is None:
            told = [line for line in self._log("workers.log").read_text().splitlines() if _AN_ERROR.match(line)]
            said = f"; the last one said {told[-1]}" if told else ""
            return f"{seconds}{said}; see {self._log('workers.log')} and {self._log('job-server.log')}"
        return (
            f"{seconds}; does {self.profile.master} have {self.workers} free cores, and does a pool listen at "
            f"{self.profile.worker_pool} beside each executor (sluice worker-pool), whose Python has Sluice? "
            f"see its output, and {self._log('job-server.log')}"
        )

    def _alive(self) -> bool:
        return worker.arrived(self.work)

    def _pool(self) -> str:
        """The address of the pool; one of our own is started with the first job."""
        if self.profile.worker_pool is not None:
            return self.profile.worker_pool
        if self.pool is None:
            self.address, self.pool = worker_pool.serve("127.0.0.1", 0, self._log("workers.log").open("ab"))
        return self.address

    def _log(self, name: str) -> Path:
        folder = scratch(self.work) / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    def _quieten(self) -> None:
        """Send what Beam and the job server say to log files: errors are told in one line at the end."""
        logging.basicConfig(filename=self._log("driver.log"), level=logging.WARNING, force=True)
        logging.raiseExceptions = False
        server = logging.getLogger("SparkJarJobServer")
        if not server.handlers:
            server.setLevel(logging.INFO)
            server.propagate = False
            server.addHandler(logging.FileHandler(self._log("job-server.log")))


def _told(message: str) -> str:
    """What a step of ours raised, or else what Spark said first."""
    lines = message.splitlines()
    raised = [line.strip() for line in lines if "[while running" in line]
    return raised[-1] if raised else lines[0].rpartition("FAILED: ")[2]


def _cancel(result: Any) -> None:
    """Cancel a job; the call has a thread of its own, since a signal may have come amid another."""

    def call() -> None:
        with suppress(Exception):
            result.cancel()

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(_CANCEL_SECONDS)


@contextmanager
def _cancelled_by_signals(result: Any, before: dict[signal.Signals, Any]) -> Iterator[None]:
    """Cancel the job on a signal, then do what was done ``before``; that stays set afterwards."""
    ours = threading.current_thread() is threading.main_thread()

    def end(number: int, frame: FrameType | None) -> None:
        _cancel(result)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for number in before if ours else ():
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items() if ours else ():
            signal.signal(number, handler)
