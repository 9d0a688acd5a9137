"""The ``sluice`` command. Heavy imports stay inside the commands, so that ``--help`` answers at once."""

from __future__ import annotations

import json
import logging
import os
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

if TYPE_CHECKING:
    from pipelines.config import RunConfig
    from pipelines.recipe import Recipe
    from pipelines.usercode import UserFunction
    from transforms.io.sources import Source

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
config_app = typer.Typer(no_args_is_help=True, help="Show the config's schema, or a config with its defaults.")
app.add_typer(config_app, name="config")


def _place(text: str) -> Path:
    """A path on a disk or, for a URI, on an object store."""
    if "://" not in text:
        return Path(text)
    from transforms.io import files

    try:
        return files.located(text)
    except (ValueError, ImportError) as error:
        raise typer.BadParameter(f"{text.partition('://')[0]}://: {error}") from error


Config = Annotated[
    str, typer.Argument(metavar="CONFIG", help="a YAML file, or the name of a config that ships with Sluice")
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="override a config value, e.g. mining.window=1")
]
Json = Annotated[bool, typer.Option("--json", help="print JSON for machines")]
Debug = Annotated[bool, typer.Option("--debug", help="show the traceback of an error")]
Limit = Annotated[int | None, typer.Option(help="read only so many source rows, for a trial", min=1)]
TrustCode = Annotated[bool, typer.Option("--trust-code", help="allow the config to name Python files of its own")]
Dataset = Annotated[
    Path, typer.Argument(metavar="DIR", help="a dataset directory or URI, or one snapshot of it", parser=_place)
]


@app.callback()
def _sluice() -> None:
    """Turn chat logs and corpora into training data: filtered, labelled, traceable, resumable."""


@app.command()
def run(
    config: Config,
    set: Set = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="directory of the dataset, or s3://... and the like", parser=_place),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="ask again for what a model gave no answer to")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(help="worker processes; default: all cores, where there is enough to do", min=1)
    ] = None,
    runner: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="where it runs: local, spark, dataflow, or a profile's file")
    ] = "local",
    runner_set: Annotated[
        list[str] | None, typer.Option("--runner-set", metavar="KEY=VALUE", help="override a value of the profile")
    ] = None,
    spark_job_server_jar: Annotated[
        Path | None, typer.Option("--spark_job_server_jar", help="Beam's Spark 3 job server")
    ] = None,
    limit: Limit = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="no progress")] = False,
    debug: Debug = False,
) -> None:
    """Run a pipeline, or resume it, and publish a snapshot."""
    with _errors(debug, resume=True):
        from rich.console import Console

        from pipelines import dataflow, local, planning, runners
        from pipelines import run as running
        from pipelines.progress import Progress

        os.environ["PYTHONSAFEPATH"] = "1"
        jar = [f"job_server_jar={spark_job_server_jar}"] if spark_job_server_jar else []
        hands = [f"workers={workers}"] if workers else []
        profile = runners.load(runner, [*(runner_set or []), *jar, *hands])
        loaded, recipe, source, own, key = _load(config, set, limit, trust_code, create_key=True)
        target = output or (_place(loaded.output) if loaded.output else None)
        if target is None:
            _fail("output: expected a directory; give --output DIR or set output in the config", 2)
        target = target.resolve()
        if isinstance(profile, dataflow.DataflowProfile):
            stages = planning.with_own(recipe.stages(target), loaded, own)
            dataflow.expect_fit(profile, loaded, stages, str(target))
            if profile.dry_run:
                found = planning.discover(loaded, source, target)
                _print_graphs(dataflow.dry_run(profile, loaded, recipe, stages, len(found.splits), target), as_json)
                return
        _expect_writable(target)
        console = Console(stderr=True)

        def on_lost(claim: str) -> None:
            local.end_workers()
            console.show_cursor(True)
            print(f"\nsluice: a worker process was killed while it computed {claim}", file=sys.stderr)
            print(_resume(), file=sys.stderr, flush=True)
            os._exit(1)

        local.on_signal(lambda: print(f"\nsluice: stopped\n{_resume()}", file=sys.stderr, flush=True))
        job = running.Job(
            loaded,
            recipe,
            source,
            own,
            key,
            target,
            workers,
            on_lost,
            Progress(console, quiet or as_json),
            retry_failed,
            profile,
        )
        result = running.run(job)
        if as_json:
            _print_json(_summary(result))
        else:
            _print_summary(result, target)


def _print_graphs(graphs: list[Any], as_json: bool) -> None:
    """Jobs of a dry run, their steps, and what each step asks of its workers."""
    if as_json:
        steps = [[{"name": step.name, "hints": step.hints} for step in graph.steps] for graph in graphs]
        _print_json([{"job": graph.name, "steps": found} for graph, found in zip(graphs, steps, strict=True)])
        return
    for graph in graphs:
        print(f"{graph.name}: {len(graph.steps)} steps")
        for step in graph.steps:
            hints = ", ".join(f"{name} {value}" for name, value in step.hints.items())
            print(f"  {step.name}{f'  [{hints}]' if hints else ''}")


@app.command()
def plan(
    config: Config,
    set: Set = None,
    limit: Limit = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what a run would read and compute. Touches nothing."""
    with _errors(debug):
        from dataclasses import asdict

        from pipelines import estimating, planning

        loaded, recipe, source, own, key = _load(config, set, limit, trust_code, create_key=False)
        found = planning.discover(loaded, source)
        settings = planning.plan_settings(loaded, recipe, own, key)
        readable = [file for file in found.files if not file.error]
        needed = estimating.estimates(recipe, found, source)
        facts = {
            "plan": planning.plan_hash(settings),
            "sources": {
                "files": len(found.files),
                "bytes": sum(file.size for file in found.files),
                "formats": dict(Counter(f"{file.format} ({file.container})" for file in readable)),
                "errors": [file.error for file in found.files if file.error],
            },
            "splits": len(found.splits),
            "arrow_bytes": sum(split.bytes for split in found.splits),
            "shards": len(planning.shard_groups([split.bytes for split in found.splits], loaded.shard_bytes)),
            "requests": sum(estimate.requests for estimate in needed),
            "tokens": sum(estimate.input_tokens + estimate.output_tokens for estimate in needed),
            "cost": round(sum(estimate.cost for estimate in needed), 4),
            "calls": [asdict(estimate) for estimate in needed],
            "stages": settings["stages"],
            "models": settings["models"],
            "config": loaded.model_dump(mode="json", exclude={"sources": {"__all__": {"storage_options"}}}),
        }
        if as_json:
            _print_json(facts)
        else:
            _print_plan(facts)
        if facts["sources"]["errors"]:
            raise typer.Exit(1)


def _print_plan(facts: dict[str, Any]) -> None:
    import yaml

    print(yaml.safe_dump(facts["config"], sort_keys=False, allow_unicode=True).rstrip())
    sources = facts["sources"]
    formats = ", ".join(f"{n} x {name}" for name, n in sources["formats"].items())
    print(f"\nsources: {sources['files']:,} files, {sources['bytes']:,} bytes: {formats or 'none readable'}")
    for error in sources["errors"]:
        print(f"         cannot be read: {error}")
    print(
        f"splits:  {facts['splits']:,} of about {facts['config']['split_bytes']:,} bytes, in {facts['shards']:,} shards a subset"
    )
    print(f"stages:  {' > '.join(stage['name'] for stage in facts['stages'])}")
    print(f"models:  {', '.join(model['name'] for model in facts['models'])}")
    for call in facts["calls"]:
        print(
            f"calls:   {call['stage']}: about {call['requests']:,} requests of {call['model']}, {call['input_tokens']:,} "
            f"tokens in, {call['output_tokens']:,} out, cost {call['cost']:,.2f}; less what the journal knows"
        )
    if not facts["calls"]:
        print("calls:   no model is asked")
    print(f"plan:    {facts['plan'][:16]}")


@app.command()
def verify(
    directory: Dataset,
    sources: Annotated[
        bool, typer.Option("--sources", help="also compare the source files with their checksums")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Check a snapshot's checksums, schemas, counts and lineage."""
    with _errors(debug):
        from pipelines import presentations
        from transforms.io import snapshots, verification

        snapshot = snapshots.latest(directory)
        manifest = snapshots.manifest(snapshot)
        wrong = list(verification.problems(snapshot, presentations.of(manifest)))
        if sources:
            wrong += verification.changed_sources(manifest, _source_files(snapshot))
        if as_json:
            _print_json({"snapshot": str(snapshot), "problems": wrong})
        elif wrong:
            for problem in wrong:
                print(f"sluice: {snapshot.name}: {problem}", file=sys.stderr)
        else:
            counts = manifest["counts"]
            print(
                f"{snapshot}: sound: {len(manifest['shards'])} shards, {counts['kept']:,} rows kept of {counts['instances']:,}"
            )
        if wrong:
            raise typer.Exit(1)


def _source_files(snapshot: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((snapshot / "run.json").read_bytes())["source_files"]
    return found


@app.command()
def trace(
    directory: Dataset,
    identifier: Annotated[str, typer.Argument(metavar="ID", help="a record_id or instance_id, kept or rejected")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Walk one row back through every stage and model answer to its source row."""
    with _errors(debug):
        from pipelines import presentations, tracing
        from transforms.io import snapshots
        from transforms.io.tracing import find

        snapshot = snapshots.latest(directory)
        manifest = snapshots.manifest(snapshot)
        kind, row = find(snapshot, identifier, presentations.of(manifest))
        journal = snapshot.resolve().parent.parent / "work" / "journal"
        story = tracing.story(kind, row, manifest, _source_files(snapshot), journal)
        if as_json:
            _print_json(story)
        else:
            tracing.show(story)


@app.command()
def report(
    directory: Dataset,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="where to write it; default: say where the snapshot's own is", parser=_place),
    ] = None,
    debug: Debug = False,
) -> None:
    """Render a snapshot's report anew as one self-contained HTML file."""
    with _errors(debug):
        from pipelines import presentations
        from transforms.io import files, reports, snapshots

        snapshot = snapshots.latest(directory)
        manifest = snapshots.manifest(snapshot)
        presentation = presentations.of(manifest)
        snapshots.expect_readable(snapshot, presentation.kept)
        if output is None:
            print(snapshot / "report.html")
            return
        data, rejected = (snapshots.shard_paths(snapshot, kind) for kind in ("data", "rejected"))
        chosen = reports.samples(data, rejected, presentation)
        facts = json.loads((snapshot / "run.json").read_bytes())
        files.write_bytes(output, reports.render(manifest, facts, chosen, presentation).encode())
        print(output)


@app.command()
def export(
    directory: Dataset,
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="directory for train.jsonl and test.jsonl", parser=_place)
    ],
    history_budget: Annotated[
        int | None, typer.Option(help="words of history kept in text, from the right", min=0)
    ] = None,
    debug: Debug = False,
) -> None:
    """Write a snapshot in WildFB's own columns, for its training code."""
    with _errors(debug):
        from schemas.feedback import KEPT
        from transforms.feedback import wildfb
        from transforms.io import files, snapshots

        snapshot = snapshots.latest(directory)
        snapshots.expect_readable(snapshot, KEPT)
        manifest = snapshots.manifest(snapshot)
        for subset in snapshots.SUBSETS:
            paths = [snapshot / s["path"] for s in manifest["shards"] if s["subset"] == subset and s["rows"]]
            target = output / f"{subset}.jsonl"
            with files.committed(target) as attempt, attempt.open("wb") as stream:
                for batch in snapshots.batches(paths):
                    table = wildfb.export(batch, history_budget)
                    for row in table.to_pylist():
                        stream.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            print(target)


@app.command()
def journal(
    directory: Dataset,
    price_input: Annotated[float, typer.Option(help="price of a million tokens in")] = 0.0,
    price_output: Annotated[float, typer.Option(help="price of a million tokens out")] = 0.0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what models have answered: size, journal hits of the last run, failures by kind, tokens and cost."""
    with _errors(debug):
        from pipelines import journals
        from transforms.models.settings import Price

        facts = journals.facts(directory, Price(input=price_input, output=price_output))
        if as_json:
            _print_json(facts)
        else:
            journals.show(facts)


@app.command()
def evaluate(
    config: Config = "feedback",
    gold: Annotated[Path | None, typer.Option(help="JSONL with feedback and level; default: the bundled set")] = None,
    set: Set = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="dataset directory whose journal keeps a model's answers", parser=_place),
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="write the confusion matrix as SVG or PNG")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="ask again what has no answer")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure the judge of a config against messages whose levels are known."""
    with _errors(debug):
        from importlib.resources import files as resources

        from pipelines import evaluating
        from transforms.feedback import evaluation

        loaded, _ = _read(config, set, None)
        bundled = resources("configs").joinpath("feedback", "gold", "feedback.jsonl")
        if picture is not None:
            evaluation.expect_picture(picture)
        known = evaluation.read_gold(gold or Path(str(bundled)))
        with _scratch(output) as work:
            levels = evaluating.judged(loaded, known, work, retry_failed)
        result = evaluation.evaluate(known["level"].to_list(), levels)
        if picture is not None:
            evaluation.picture(result, picture)
        if as_json:
            _print_json(evaluation.as_dict(result))
        else:
            from rich.console import Console

            Console(highlight=False).print(evaluation.show(result))


@contextmanager
def _scratch(output: Path | None) -> Iterator[Path]:
    """The work area of a dataset, or one that is thrown away."""
    import tempfile

    if output is not None:
        yield output / "work"
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@app.command()
def cascade(
    config: Config,
    output: Annotated[
        Path,
        typer.Option(metavar="DIR", help="dataset directory whose journal holds the judge's answers", parser=_place),
    ],
    classifier: Annotated[Path | None, typer.Option(help="write the classifier to this file")] = None,
    set: Set = None,
    limit: Limit = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a classifier on a model's own labels, and show what it would save and change (cross-validation)."""
    with _errors(debug):
        from dataclasses import asdict

        from pipelines import cascading, planning
        from transforms.models.journal import Journal

        everything = [*(set or []), "judge.cascade=null"]
        loaded, recipe, source, _, _ = _load(config, everything, limit, trust_code, create_key=False)
        with Journal(output / "work" / "journal") as known:
            messages = cascading.labelled(recipe, planning.discover(loaded, source, output), known)
        found = cascading.savings(messages)
        if classifier is not None:
            cascading.train(messages, classifier)
        if as_json:
            _print_json({"messages": len(messages), "savings": [asdict(saving) for saving in found]})
        else:
            _print_savings(len(messages), found)


def _print_savings(messages: int, found: list[Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        box=None, pad_edge=False, title=f"{messages:,} messages, 5-fold cross-validation", title_justify="left"
    )
    for heading in ("confidence", "requests saved", "labels changed", "levels 1-2 lost", "levels 4-5 lost"):
        table.add_column(heading, justify="right")
    for saving in found:
        shares = (saving.saved, saving.changed, saving.lost_negatives, saving.lost_positives)
        table.add_row(f"{saving.confidence:g}", *(f"{share:.1%}" for share in shares))
    Console(highlight=False, soft_wrap=True).print(table)


@app.command("train-classifier")
def train_classifier(
    labelled: Annotated[
        list[str],
        typer.Argument(metavar="LABELLED...", help="JSONL or Parquet files, globs or URIs with texts and their labels"),
    ],
    text: Annotated[str, typer.Option(metavar="COLUMN", help="the column of texts")],
    label: Annotated[str, typer.Option(metavar="COLUMN", help="the column of labels")],
    output: Annotated[
        Path,
        typer.Option(metavar="FILE", help="write the classifier to this file, and FILE.json beside it", parser=_place),
    ],
    positive: Annotated[
        str | None,
        typer.Option(metavar="LABEL", help="whose probability is the score; default: the last of two labels"),
    ] = None,
    held_out: Annotated[float, typer.Option(help="share of texts that metrics are taken on", min=0.01, max=0.5)] = 0.1,
    max_characters: Annotated[int, typer.Option(help="how much of each text is read", min=1)] = 5_000,
    plain: Annotated[
        bool, typer.Option("--plain", help="texts as they are, not lower case with punctuation apart")
    ] = False,
    set: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="a setting of fastText's, e.g. epoch=20")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a quality classifier on labelled texts, and measure it on those held out."""
    with _errors(debug):
        from pipelines import classifying

        chosen = classifying.settings(set or [])
        read = classifying.read(labelled, text, label)
        preparation: Literal["plain", "tokens"] = "plain" if plain else "tokens"
        told = classifying.train(read, (text, label), output, chosen, positive, preparation, max_characters, held_out)
        if as_json:
            _print_json(told)
        else:
            _print_classifier(told, output)


def _print_classifier(told: dict[str, Any], output: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    counts = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in told["examples"].items())
    table = Table(box=None, pad_edge=False, title=counts, title_justify="left")
    table.add_column("label")
    for heading in ("held out", "precision", "recall", "AUC"):
        table.add_column(heading, justify="right")
    for name, found in told["metrics"].items():
        shares = (
            "-" if value is None else f"{value:.3f}" for value in (found["precision"], found["recall"], found["auc"])
        )
        table.add_row(f"{name} (scored)" if name == told["positive"] else name, f"{found['examples']:,}", *shares)
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(
        f"classifier: {output}, {told['model']['bytes']:,} bytes; {output.name}.json tells the rest", markup=False
    )


@app.command("spark-job-server")
def spark_job_server(debug: Debug = False) -> None:
    """Assemble Beam's Spark job server with Maven, once, and print where it is."""
    with _errors(debug):
        from pipelines import job_server

        print(job_server.assemble())


@app.command("worker-pool")
def worker_pool(
    port: Annotated[int, typer.Option(help="where executors find it; 0: any free one", min=0)] = 50000,
    host: Annotated[str, typer.Option(help="the address to listen at")] = "127.0.0.1",
    debug: Debug = False,
) -> None:
    """Start Python workers for the Spark executor on this machine, until it is stopped."""
    with _errors(debug):
        from pipelines import worker_pool as pools

        address, server = pools.serve(host, port)
        print(f"worker pool at {address}", flush=True)
        server.wait_for_termination()


@config_app.command("schema")
def config_schema(
    pipeline: Annotated[str, typer.Argument(help="the pipeline: feedback or corpus")] = "feedback", debug: Debug = False
) -> None:
    """Print the JSON schema of a pipeline's config."""
    with _errors(debug):
        from pipelines import catalogue

        _print_json(catalogue.named(pipeline, "config schema").CONFIG.model_json_schema())


@config_app.command("show")
def config_show(config: Config, set: Set = None, debug: Debug = False) -> None:
    """Print a config with every default filled in."""
    with _errors(debug):
        import yaml

        loaded, _ = _read(config, set, None)
        shown = loaded.model_dump(mode="json", exclude={"sources": {"__all__": {"storage_options"}}})
        print(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True), end="")


def _load(
    name: str, overrides: list[str] | None, limit: int | None, trust_code: bool, create_key: bool
) -> tuple[RunConfig, Recipe, Source, tuple[UserFunction, ...], str]:
    from pipelines import catalogue, userkey
    from pipelines import config as configs
    from pipelines.usercode import UserFunction

    loaded, base = _read(name, overrides, limit)
    named = [source.code for source in loaded.sources if source.code]
    named += [stage.use for stage in loaded.stages]
    if named and not trust_code:
        raise configs.ConfigError(f"{name}: would run the code in {', '.join(named)}; read it, then add --trust-code")
    pipeline = catalogue.named(loaded.pipeline, name)
    source = pipeline.source(loaded, base)
    key = userkey.dataset_key(loaded.dataset.name, create_key)
    recipe = pipeline.recipe(loaded, source, key)
    own = tuple(UserFunction.load(stage.use, base) for stage in loaded.stages)
    return loaded, recipe, source, own, key


def _read(name: str, overrides: list[str] | None, limit: int | None) -> tuple[Any, Path]:
    from pipelines import catalogue
    from pipelines import config as configs

    path = configs.locate(name)
    values = configs.read(path, overrides or [])
    if limit is not None:
        values["limit"] = limit
    pipeline = catalogue.named(values.get("pipeline"), path)
    return configs.validate(pipeline.CONFIG, values, path), path.resolve().parent


def _expect_writable(output: Path) -> None:
    from pipelines.run import RunError
    from transforms.io import files

    if files.on_store(output):
        try:
            files.expect_conditional(output / "work")
        except Exception as error:
            raise RunError(f"{output}: expected a store that can be written to: {_one_line(error)}") from error
        return
    probe = output / "work" / f".probe-{os.getpid()}"
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise RunError(f"{output}: expected a directory that can be written to: {error.strerror}") from error


def _summary(result: Any) -> dict[str, Any]:
    counts = result.counts
    return {
        "snapshot": str(result.snapshot),
        "changed": result.changed,
        "rows_read": counts.rows_read,
        "rows_rejected": counts.rows_rejected,
        "instances": counts.instances,
        "kept": counts.kept,
        "instances_rejected": counts.instances_rejected,
        "labels": result.labels,
        "splits": result.splits,
        "usage": result.usage,
        "failures": result.failures,
    }


def _print_summary(result: Any, output: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    counts = result.counts
    table = Table(box=None, pad_edge=False)
    for heading in ("outcome", "unit"):
        table.add_column(heading)
    table.add_column("count", justify="right")
    table.add_row("read", "row", f"{counts.rows_read:,}", style="bold")
    for reason, n in sorted(counts.rows_rejected.items(), key=lambda item: -item[1]):
        table.add_row(f"  {reason}", "row", f"{n:,}")
    table.add_row("instances", "instance", f"{counts.instances:,}", style="bold")
    for reason, n in sorted(counts.instances_rejected.items(), key=lambda item: -item[1]):
        table.add_row(f"  {reason}", "instance", f"{n:,}")
    table.add_row("kept", "instance", f"{counts.kept:,}", style="bold")
    for subset, labels in result.labels.items():
        spread = ", ".join(f"label {label}: {n:,}" for label, n in sorted(labels.items()))
        table.add_row(f"  {subset}", "instance", f"{sum(labels.values()):,}", spread)
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    for failure in result.failures:
        console.print(f"skipped: {failure['error']}", style="red", markup=False)
    console.print(f"\n{'dataset' if result.changed else 'nothing changed'}: {result.snapshot}", markup=False)
    console.print(f"report:  {result.snapshot / 'report.html'}", markup=False)
    console.print(f"check:   sluice verify {shlex.quote(str(output))}", markup=False)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False, default=str))


def _resume() -> str:
    return f"resume with: {shlex.join(['sluice', *sys.argv[1:]])}"


def _fail(message: str, code: int) -> NoReturn:
    print(f"sluice: {message}", file=sys.stderr, flush=True)
    raise typer.Exit(code)


_CONFIG_ERRORS = (
    "BadParameter",
    "RulesError",
    "PromptError",
    "CascadeError",
    "EngineUnavailableError",
    "EncoderUnavailableError",
)
"""By name, since to import them is slow."""


@contextmanager
def _errors(debug: bool, resume: bool = False) -> Iterator[None]:
    """Turn errors into one line and an exit code: 1 the data or the run, 2 the command or config."""
    logging.getLogger().setLevel(logging.ERROR)
    try:
        yield
    except typer.Exit:
        raise
    except Exception as error:
        if debug:
            raise
        from pipelines.config import ConfigError

        wrong = isinstance(error, ConfigError) or type(error).__name__ in _CONFIG_ERRORS
        print(f"sluice: {_one_line(error)}", file=sys.stderr, flush=True)
        if resume and not wrong:
            print(_resume(), file=sys.stderr, flush=True)
        raise typer.Exit(2 if wrong else 1) from error


def _one_line(error: Exception) -> str:
    """The message alone. Beam wraps a worker's traceback: its last telling line is what happened."""
    known = type(error).__module__.partition(".")[0] in {"pipelines", "transforms", "schemas"}
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if known and lines:
        return lines[0]
    told = [line for line in lines if not line.startswith(("File ", "Traceback", "^", "During handling"))]
    last = next((line for line in reversed(told) if "Error" in line or "Exception" in line), told[-1] if told else "")
    return last or type(error).__name__


def main() -> None:
    """Entry point of the console command."""
    app()
