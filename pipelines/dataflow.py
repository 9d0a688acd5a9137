"""Google Cloud Dataflow: what a user may say about a job, and how one is submitted, awaited and cancelled.

Each pass of a run is a Dataflow job of its own; the driver waits between them. Workers run in an image that holds this
package (``deploy/dataflow``), so nothing is installed when they start and no session is sent along.
"""

from __future__ import annotations

import logging
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from pipelines.config import ConfigError, Model, RunConfig
from transforms.chunks import AnyStage, ModelStage

if TYPE_CHECKING:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    from pipelines.recipe import Recipe

_PROJECT: Final = re.compile(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_BUCKET: Final = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?)*")
_IMAGE: Final = re.compile(
    r"[\w.-]+(?::\d+)?(?:/[\w.-]+)+(?::(?P<tag>[\w][\w.-]{0,127}))?(?P<digest>@sha256:[0-9a-f]{64})?"
)
_LABEL_KEY: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE: Final = re.compile(r"[a-z0-9_-]{0,63}")
_REMOTE: Final = re.compile(r"[a-z][a-z0-9+.-]+://")

_SUBMIT_SECONDS: Final = 120.0
"""How long Ctrl-C waits for a submission under way, so that the job it makes can be cancelled."""


class DataflowError(Exception):
    """A job failed, was cancelled by somebody else, or could not be submitted."""


def expect_bucket_uri(uri: str) -> str:
    """A ``gs://bucket/path`` whose bucket can exist, without a slash at its end.

    Raises:
        ValueError: it cannot; Beam would ask for it for two minutes.
    """
    bucket, _, path = uri.removeprefix("gs://").partition("/")
    if not uri.startswith("gs://") or not path.strip("/"):
        raise ValueError("expected gs://BUCKET/PATH")
    length = 222 if "." in bucket else 63
    forbidden = bucket.startswith("goog") or "google" in bucket or re.fullmatch(r"[\d.]+", bucket)
    if not 3 <= len(bucket) <= length or forbidden or not _BUCKET.fullmatch(bucket):
        raise ValueError(f"expected the name of a bucket (3 to 63 of a-z 0-9 - _ .) after gs://, found {bucket!r}")
    return uri.rstrip("/")


class AcceleratorConfig(Model):
    """GPUs for the steps that run a model in their own process."""

    type: str = Field(
        pattern=r"^nvidia-[a-z0-9-]+$", description="as Compute Engine calls it: nvidia-l4, nvidia-tesla-t4"
    )
    count: int = Field(1, ge=1, le=16, description="GPUs of a worker")
    driver: str = Field(
        "install-nvidia-driver", pattern=r"^install-nvidia-driver(:5xx)?$", description="how the driver is installed"
    )
    machine_type: str | None = Field(
        None, pattern=r"^[a-z0-9-]+$", description="machine of the GPU workers, where it is not the job's"
    )

    def hint(self) -> str:
        """The value of Beam's ``accelerator`` hint."""
        machine = [f"machine_type:{self.machine_type}"] if self.machine_type else []
        return ";".join([f"type:{self.type}", f"count:{self.count}", *machine, self.driver])


class DataflowProfile(Model):
    """Where and on what a job runs. None of it decides a byte of the dataset."""

    runner: Literal["dataflow"]
    project: str = Field(description="id of the project that pays, not its number")
    region: str = Field(pattern=r"^[a-z]+-[a-z]+\d{1,2}$", description="us-central1, europe-west4, ...")
    temp_location: str = Field(description="gs://BUCKET/PATH for temporary files")
    staging_location: str | None = Field(
        None, description="gs://BUCKET/PATH for the job's files; default: temp_location"
    )
    worker_image: str = Field(
        description="the image built from deploy/dataflow/, with a tag or digest that is not latest"
    )
    job_name: str = Field(
        "sluice", pattern=r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$", description="what the names of the jobs begin with"
    )
    labels: dict[str, str] = Field(default_factory=dict)
    machine_type: str | None = Field(None, pattern=r"^[a-z0-9-]+$", description="n2-standard-4, ...")
    disk_gb: int | None = Field(None, ge=10, le=65536)
    disk_type: str | None = Field(None, description="compute.googleapis.com/projects//zones//diskTypes/pd-ssd, ...")
    workers: int | None = Field(None, ge=1, le=4000, description="workers to begin with")
    max_workers: int | None = Field(None, ge=1, le=4000)
    autoscaling: Literal["throughput", "none"] | None = None
    threads: int | None = Field(None, ge=1, le=500, description="threads of a worker; default: Dataflow's choice")
    zone: str | None = Field(None, pattern=r"^[a-z]+-[a-z]+\d{1,2}-[a-z]$", description="default: any of the region")
    service_account: str | None = Field(
        None, pattern=r"^[a-z0-9-]+@[a-z0-9.-]+\.gserviceaccount\.com$", description="whom the workers act as"
    )
    network: str | None = Field(None, pattern=r"^[a-z][a-z0-9-]{0,62}$")
    subnetwork: str | None = Field(None, description="regions/REGION/subnetworks/NAME, or its full URL")
    public_ips: bool = Field(True, description="false wants a subnetwork with Private Google Access")
    kms_key: str | None = Field(
        None,
        pattern=r"^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$",
        description="for data at rest",
    )
    experiments: tuple[str, ...] = ()
    service_options: tuple[str, ...] = ()
    accelerator: AcceleratorConfig | None = Field(None, description="GPUs for the steps that run a model themselves")
    model_ram: Annotated[str, Field(pattern=r"^[1-9]\d{0,4}(GB|GiB)$")] | None = Field(
        None, description="memory of a worker that runs a model, e.g. 64GB"
    )
    endpoint: str | None = Field(
        None, pattern=r"^https?://[\w.-]+(:\d+)?/?$", description="another Dataflow endpoint than the public one"
    )
    dry_run: bool = Field(False, description="translate to job graphs and show them; needs no account, submits nothing")

    @field_validator("project")
    @classmethod
    def _possible_project(cls, value: str) -> str:
        if not _PROJECT.fullmatch(value):
            raise ValueError("expected a project id: 6 to 30 of a-z 0-9 -, a letter first")
        return value

    @field_validator("temp_location", "staging_location")
    @classmethod
    def _possible_bucket(cls, value: str | None) -> str | None:
        return value if value is None else expect_bucket_uri(value)

    @field_validator("worker_image")
    @classmethod
    def _pinned(cls, value: str) -> str:
        found = _IMAGE.fullmatch(value)
        if not found or not (found["digest"] or found["tag"]) or found["tag"] == "latest":
            raise ValueError("expected REGISTRY/PATH:TAG or @sha256:DIGEST, and no tag latest")
        return value

    @field_validator("labels")
    @classmethod
    def _possible_labels(cls, value: dict[str, str]) -> dict[str, str]:
        for key, said in value.items():
            if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(said):
                raise ValueError(f"expected a-z 0-9 _ -, at most 63, a letter first in the key; found {key}={said}")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> DataflowProfile:
        if self.workers and self.max_workers and self.workers > self.max_workers:
            raise ValueError(f"expected workers ({self.workers}) to be at most max_workers ({self.max_workers})")
        if self.zone and not self.zone.startswith(f"{self.region}-"):
            raise ValueError(f"expected a zone of {self.region}, found {self.zone}")
        if not self.public_ips and not self.subnetwork and not self.network:
            raise ValueError("public_ips: false wants a network or subnetwork whose workers reach Google privately")
        if self.subnetwork and f"regions/{self.region}/subnetworks/" not in self.subnetwork:
            raise ValueError(f"subnetwork: expected regions/{self.region}/subnetworks/NAME, found {self.subnetwork}")
        if self.model_hints and self.whole_pool_has_gpus:
            raise ValueError("accelerator and model_ram exclude the service option worker_accelerator; keep one")
        return self

    @property
    def model_hints(self) -> dict[str, str]:
        """Resource hints for the steps that run a model in their own process."""
        found = {"accelerator": self.accelerator.hint() if self.accelerator else None, "min_ram": self.model_ram}
        return {name: value for name, value in found.items() if value}

    @property
    def whole_pool_has_gpus(self) -> bool:
        """Whether every worker has GPUs, by a service option."""
        return any("worker_accelerator" in option for option in self.service_options)


def expect_fit(profile: DataflowProfile, config: RunConfig, stages: Sequence[AnyStage], output: str) -> None:
    """See that a run can work on Dataflow before anything is submitted.

    Raises:
        ConfigError: workers could not reach the output or a source, or a model would find no GPU.
    """
    try:
        expect_bucket_uri(output)
    except ValueError as error:
        raise ConfigError(f"output: {error}, where Dataflow's workers can write; found {output}") from error
    for at, source in enumerate(config.sources):
        local = [uri for uri in source.uri if not _REMOTE.match(uri) or uri.startswith("file://")]
        if local and not profile.dry_run:
            raise ConfigError(
                f"sources.{at}.uri: expected gs://, s3://, hf:// or https://, which Dataflow's workers can read; "
                f"found {local[0]}"
            )
    for stage in stages:
        runs_vllm = isinstance(stage, ModelStage) and stage.model.engine == "vllm"
        if runs_vllm and profile.accelerator is None and not profile.whole_pool_has_gpus:
            raise ConfigError(
                f"accelerator: expected GPUs in the profile for {stage.name}, which runs vLLM; found none"
            )


def pipeline_options(profile: DataflowProfile, name: str, in_process_models: bool) -> PipelineOptions:
    """A job's options, as Beam calls them.

    A worker that runs a model has one process: each would load the model, into the same GPU.
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    experiments = [*profile.experiments, "disable_logging_submission_environment"]
    if in_process_models:
        experiments.append("no_use_multiple_sdk_containers")
    scaling = {"throughput": "THROUGHPUT_BASED", "none": "NONE", None: None}
    given = {
        "project": profile.project,
        "region": profile.region,
        "job_name": name,
        "temp_location": profile.temp_location,
        "staging_location": profile.staging_location or profile.temp_location,
        "sdk_container_image": profile.worker_image,
        "labels": [f"{key}={value}" for key, value in sorted(profile.labels.items())] or None,
        "machine_type": profile.machine_type,
        "disk_size_gb": profile.disk_gb,
        "disk_type": profile.disk_type,
        "num_workers": profile.workers,
        "max_num_workers": profile.max_workers,
        "autoscaling_algorithm": scaling[profile.autoscaling],
        "number_of_worker_harness_threads": profile.threads,
        "worker_zone": profile.zone,
        "service_account_email": profile.service_account,
        "network": profile.network,
        "subnetwork": profile.subnetwork,
        "use_public_ips": None if profile.public_ips else False,
        "dataflow_kms_key": profile.kms_key,
        "dataflow_service_options": list(profile.service_options) or None,
        "dataflow_endpoint": profile.endpoint,
        "experiments": experiments,
        "dry_run": profile.dry_run or None,
        "no_auth": profile.dry_run or (profile.endpoint or "").startswith("http://localhost") or None,
        "save_main_session": False,
    }
    return PipelineOptions([], **{option: value for option, value in given.items() if value is not None})


@dataclass(frozen=True)
class Step:
    """A step of a job graph and the resource hints of where it runs, as text by their name."""

    name: str
    hints: dict[str, str]


@dataclass(frozen=True)
class JobGraph:
    """A pipeline as Dataflow is given it. ``proto`` is Beam's pipeline proto, serialised."""

    name: str
    steps: tuple[Step, ...]
    proto: bytes


class DataflowJobs:
    """Runs pipelines as Dataflow jobs, one after another, and waits for each.

    ``workers`` is how many Dataflow may start, as far as the profile says. ``log`` is where Beam's own messages go.
    """

    def __init__(self, profile: DataflowProfile, log: Path | None = None) -> None:
        self.profile, self.log = profile, log
        self.workers = profile.max_workers or profile.workers or 1
        self.graphs: list[JobGraph] = []
        self._submitted: Future[Any] | None = None

    def run(self, build: Callable[[beam.Pipeline], object], elements: int) -> None:
        """Build a pipeline, submit it and wait for its end; a dry run keeps its graph instead.

        Raises:
            DataflowError: it could not be submitted, failed, or was cancelled.
        """
        import apache_beam as beam
        from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner, DataflowRuntimeException

        self._quieten()
        pipeline = beam.Pipeline(DataflowRunner(), pipeline_options(self.profile, self.profile.job_name, False))
        build(pipeline)
        what, in_process_models = _outline(pipeline)
        name = f"{self.profile.job_name}-{what}-{time.strftime('%m%d-%H%M%S', time.gmtime())}"
        pipeline._options = pipeline_options(self.profile, name, in_process_models)
        try:
            with self._cancelled_by_signals():
                result = self._submit(pipeline, name)
                if self.profile.dry_run:
                    self.graphs.append(_graph(name, result.job.proto_pipeline))
                    return
                logging.warning("%s: %s", name, self._console(result.job_id()))
                result.wait_until_finish()
        except DataflowRuntimeException as error:
            raise DataflowError(f"{name}: {_told(error)}; see {self._console(error.result.job_id())}") from error
        except AssertionError as error:
            raise DataflowError(f"{name}: lost touch with the job, which goes on; see {self._console()}") from error
        finally:
            self._submitted = None

    def _submit(self, pipeline: beam.Pipeline, name: str) -> Any:
        try:
            if not self.profile.dry_run:
                _expect_bucket(pipeline._options)
            self._submitted = _started(pipeline.run)
            return self._submitted.result()
        except Exception as error:
            raise DataflowError(f"{name}: could not be submitted: {_told(error)}") from error

    @contextmanager
    def _cancelled_by_signals(self) -> Iterator[None]:
        """Have Ctrl-C and SIGTERM cancel the job before they do what they did; a second one does not wait for that."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        def end(number: int, frame: FrameType | None) -> None:
            restore()
            sys.stderr.write(f"\nsluice: {self.cancel()}\n")
            signal.raise_signal(number)

        for number in before:
            signal.signal(number, end)
        try:
            yield
        finally:
            restore()

    def cancel(self) -> str:
        """Cancel the job under way, one that is just being submitted included. Returns what came of it."""
        if self._submitted is None:
            return "no Dataflow job was under way"
        try:
            result = self._submitted.result(_SUBMIT_SECONDS)
            result.cancel()
        except Exception as error:
            return f"could not cancel the Dataflow job: {_told(error)}; see {self._console()}"
        return f"cancelled the Dataflow job {result.job_id()}"

    def _quieten(self) -> None:
        """Send what Beam and Google's libraries say to a log file: errors are told in one line at the end."""
        if self.log is not None:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            logging.basicConfig(filename=self.log, level=logging.WARNING, force=True)

    def _console(self, job: str | None = None) -> str:
        where = f"/{self.profile.region}/{job}" if job else ""
        return f"https://console.cloud.google.com/dataflow/jobs{where}?project={self.profile.project}"


def _started(call: Callable[[], Any]) -> Future[Any]:
    """The result to be of a call in a thread of its own, which a signal does not break off."""
    future: Future[Any] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name="submit", daemon=True).start()
    return future


def _expect_bucket(options: PipelineOptions) -> None:
    """Ask for the staging bucket once; Beam would go on asking for minutes where it may not, or where there is none."""
    from apache_beam.io.gcp.gcsio import create_storage_client
    from apache_beam.options.pipeline_options import GoogleCloudOptions

    cloud = options.view_as(GoogleCloudOptions)
    client = create_storage_client(options, not cloud.no_auth)
    client.get_bucket(cloud.staging_location.removeprefix("gs://").partition("/")[0], retry=None, timeout=30)


def _told(error: Exception) -> str:
    """The last line that tells something; workers' errors come as tracebacks."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() not in ("", "None")]
    telling = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b.*:", line)]
    return (telling or lines or [type(error).__name__])[-1]


def _outline(pipeline: beam.Pipeline) -> tuple[str, bool]:
    """A pipeline's last step as part of a job's name, and whether any step runs a model in its own process."""
    from apache_beam.pipeline import PipelineVisitor

    from pipelines.payload import IN_PROCESS, AskModel

    tops: list[str] = []
    engines: set[str] = set()

    class Outline(PipelineVisitor):
        def visit_transform(self, node: Any) -> None:
            if node.full_label:
                tops.append(node.full_label.partition("/")[0])
            asking = getattr(node.transform, "fn", None)
            if isinstance(asking, AskModel):
                engines.add(asking.stage.model.engine)

    pipeline.visit(Outline())
    return re.sub(r"[^a-z0-9]+", "-", tops[-1].lower()).strip("-"), not engines.isdisjoint(IN_PROCESS)


def _graph(name: str, proto: Any) -> JobGraph:
    """Leaf steps of a pipeline proto with the hints of their environments."""
    parts = proto.components
    steps = tuple(
        Step(
            transform.unique_name,
            {
                urn.split(":")[2]: value.decode()
                for urn, value in sorted(parts.environments[transform.environment_id].resource_hints.items())
            },
        )
        for transform in parts.transforms.values()
        if transform.environment_id and not transform.subtransforms
    )
    return JobGraph(name, steps, proto.SerializeToString())


def dry_run(
    profile: DataflowProfile, config: RunConfig, recipe: Recipe, stages: Sequence[AnyStage], splits: int, output: Path
) -> list[JobGraph]:
    """The graphs of a run's two passes, translated as for submission; nothing is read, written or sent."""
    from pipelines import payload
    from pipelines.desk import Desk
    from pipelines.recipe import KeyWork

    work = output / "work" / "dry-run"
    jobs = DataflowJobs(profile)
    keyed = recipe.key_pass(KeyWork(work / "keys.parquet", work, work / "lists", splits * config.split_bytes))
    desk = Desk(output / "work" / "journal", work / "leases", **config.budget.model_dump())
    rows = payload.PayloadPass(recipe, tuple(stages), work / "plan.parquet", work, "dry-run", desk, profile.model_hints)
    for name, transform in (
        ("key pass", keyed),
        ("payload pass", rows),
    ):
        jobs.run(partial(_pass, transform=transform, name=name, splits=splits, work=work), splits)
    return jobs.graphs


def _pass(pipeline: beam.Pipeline, transform: beam.PTransform, name: str, splits: int, work: Path) -> object:
    from pipelines import payload

    return payload.indices(pipeline, splits, 1, work) | name >> transform
