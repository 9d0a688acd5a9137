"""Runner profiles: where a pipeline runs, as files in ``configs/runners/`` say it, and what a run wants of a runner."""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, Protocol

from pydantic import Field, model_validator

from pipelines import config as configs
from pipelines.config import ConfigError, Model
from pipelines.dataflow import DataflowJobs, DataflowProfile
from pipelines.locks import scratch

if TYPE_CHECKING:
    import apache_beam as beam


class Runner(Protocol):
    """What runs pipelines over one work area, ``workers`` splits at a time."""

    workers: int

    def run(self, build: Callable[[beam.Pipeline], object], elements: int) -> None:
        """Build and run one pipeline over so many elements, and wait for its end."""
        ...


class LocalProfile(Model):
    """Worker processes of this machine."""

    runner: Literal["local"] = "local"
    workers: int | None = Field(None, ge=1, description="worker processes; default: all cores, where there is enough")


class SparkProfile(Model):
    """A Spark 3 cluster, or Spark inside the job server for the master ``local``."""

    runner: Literal["spark"]
    workers: int | None = Field(None, ge=1, description="splits computed at once: executor cores that the run takes")
    master: str = Field(
        "local", pattern=r"^(local|(spark|yarn|k8s)(://.+)?)$", description="local, or spark://HOST:PORT and the like"
    )
    worker_pool: str | None = Field(
        None,
        pattern=r"^[^/:]+:\d+$",
        description="HOST:PORT, as each executor sees it, of the worker pool beside it; for local: one is started",
    )
    workers_per_executor: int = Field(1, ge=1, description="Python processes beside one executor: its cores")
    job_server_jar: str | None = Field(
        None, description="Beam's Spark job server; default: the one that sluice spark-job-server assembled"
    )
    spark: dict[Annotated[str, Field(pattern=r"^spark\.")], bool | int | float | str] = Field(
        default_factory=dict, description="settings of Spark's own, such as spark.executor.memory"
    )
    start_seconds: float = Field(60, gt=0, description="how long the first Python worker may take to start")
    attempts: int = Field(5, ge=1, description="how often a job is submitted that fails because workers were lost")

    @model_validator(mode="after")
    def _sized(self) -> SparkProfile:
        if self.master != "local" and self.workers is None:
            raise ValueError("a cluster's profile says how many executor cores a run takes: workers, or --workers")
        if self.master != "local" and self.worker_pool is None:
            raise ValueError("a cluster's profile says where an executor finds the pool beside it: worker_pool")
        return self


Profile = LocalProfile | SparkProfile | DataflowProfile

_KINDS: Final[dict[str, type[Profile]]] = {
    "local": LocalProfile,
    "spark": SparkProfile,
    "dataflow": DataflowProfile,
}


def load(name: str, overrides: list[str]) -> Profile:
    """A profile by path, or one that ships with Sluice by name (``local``, ``spark``, ``dataflow``).

    Raises:
        ConfigError: there is none, or it is wrong.
    """
    path = _locate(name)
    values = configs.read(path, overrides)
    kind = _KINDS.get(str(values.get("runner")))
    if kind is None:
        raise ConfigError(f"{path}: runner: expected one of {', '.join(_KINDS)}; found {values.get('runner')!r}")
    return configs.validate(kind, values, path)


def _locate(name: str) -> Path:
    path = Path(name)
    if path.is_file():
        return path
    shipped = Path(str(importlib.resources.files("configs"))) / "runners"
    known = sorted(found.stem for found in shipped.glob("*.yaml"))
    if name not in known:
        raise ConfigError(f"--runner {name}: expected a profile's file, or one of {', '.join(known)}; found neither")
    return shipped / f"{name}.yaml"


def model_hints(profile: Profile) -> dict[str, str]:
    """Beam's resource hints for steps that run a model in their own process, where a profile has any."""
    return profile.model_hints if isinstance(profile, DataflowProfile) else {}


def start(profile: Profile, work: Path, workers: int, on_lost: Callable[[str], None]) -> Runner:
    """The runner that a profile names.

    Raises:
        ConfigError: something that it needs is not installed.
    """
    if isinstance(profile, SparkProfile):
        from pipelines.portable import SparkJobs

        return SparkJobs(profile, work, workers)
    if isinstance(profile, DataflowProfile):
        return DataflowJobs(profile, scratch(work) / "logs" / "driver.log")
    from pipelines.local import LocalRunner

    return LocalRunner(work, workers, on_lost)
