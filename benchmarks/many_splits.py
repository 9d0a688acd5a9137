"""A million splits of metadata: seconds and peak memory of planning, receipts and compaction planning. No payload is made.

    python benchmarks/many_splits.py                     100,000 files of 10 splits; 9 GB under .bench/, removed at the end
    python benchmarks/many_splits.py --files 10000       a tenth, for a look
    python benchmarks/many_splits.py --step plan         one step, and those that make what it needs

Each step is a process of its own, whose peak of resident memory is told: what it was given and the interpreter with its
packages included (the step ``imports``). CPU seconds stand beside wall seconds, as
other work on the machine moves them less. Two thirds of the files are JSONL, one third is zstd, whose last split is open. What
the workers would leave is made as they leave it: lists by name alone, receipts in full. ``first run`` and ``rerun`` are all
that the driver does, in one process: from probed files to the manifest, Beam's passes and the workers' own time left out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
BENCH: Final = HERE.parent / ".bench" / "many_splits"
SPLIT: Final = 64 * 1024 * 1024
HANDS: Final = 2
WANTED_SECONDS: Final = 300
WANTED_BYTES: Final = 2_000_000_000

STAGES: Final = (
    "read", "extract turns", "drop duplicates", "choose languages", "judge", "mine", "validate refusals", "filter", "label"
)  # fmt: skip


@dataclass
class Bench:
    """A work area with so many files of ten splits."""

    work: Path
    files: int
    began: float = 0.0
    cpu: float = 0.0
    told: str = ""

    def start(self) -> None:
        """Begin to count seconds: what was made before is given."""
        self.began, self.cpu = time.perf_counter(), time.process_time()

    def probed(self) -> Any:
        """Files as they were found and probed, and the splits that are cut of them."""
        from fsspec.implementations.local import LocalFileSystem

        from pipelines import planning
        from transforms.io.chats import FORMATS, ChatSource
        from transforms.io.sources import Found, Probe

        store, fields = LocalFileSystem(), frozenset({"conversation_hash", "conversation", "model", "language"})

        def found() -> Iterator[tuple[int, Found]]:
            for at in range(self.files):
                suffix = "jsonl" if at % 3 else "jsonl.zst"
                name = f"crawl=2026-{at % 52:02d}/shard-{at:07d}.{suffix}"
                yield 0, Found(store, f"/data/{name}", f"file:///data/{name}", name, 10 * SPLIT, f"{at}.5")

        def probes() -> Iterator[Probe]:
            for at in range(self.files):
                mark = hashlib.sha256(str(at).encode()).hexdigest()[:32]
                if at % 3:
                    yield Probe("jsonl", 10 * SPLIT, mark, fields)
                else:
                    yield Probe("jsonl.zst", 2 * SPLIT, mark, fields, ratio=5.0)

        forced = next(one for one in FORMATS if one.name == "wildchat")
        source = ChatSource((forced,), ({},), 16 * 1024 * 1024)
        return planning.cut(found(), probes(), source, SPLIT), source

    def planned(self) -> Any:
        """The splits that the plan begins with."""
        return self.probed()[0]

    def exact(self) -> Any:
        """The splits that hold rows, from the index of a finished key pass."""
        import polars as pl

        from transforms.io import files, splits

        return splits.exact(self.planned().splits, pl.DataFrame(files.read_arrow(self.work / "lists" / "DONE")))


# --- the steps --------------------------------------------------------------------------------------------------------


def imports(bench: Bench) -> None:
    """Nothing but the interpreter and what a run imports."""
    import pipelines.run  # noqa: F401

    bench.start()


def discover(bench: Bench) -> None:
    """Probed files to described ones and their splits, with the ledger of earlier runs."""
    import pipelines.run  # noqa: F401
    from pipelines.planning import Ledger

    bench.start()
    found, source = bench.probed()
    found = Ledger(bench.work / "sources.json").settle(found, source)
    bench.told = f"{len(found.splits):,} splits of {len(found.files):,} files"


def plan(bench: Bench) -> None:
    """Dealing order and plan file."""
    from transforms.io import splits

    found = bench.planned().splits
    bench.start()
    path = bench.work / "keys.parquet"
    splits.write_plan(path, found, splits.deal(found.table["bytes"], HANDS))
    bench.told = f"{path.stat().st_size / 1e6:,.1f} MB"


def begin(bench: Bench) -> None:
    """A pipeline that deals all indices out and does nothing with them, on the local runner in one process."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from pipelines import payload

    bench.start()
    pipeline = beam.Pipeline(FnApiRunner(), PipelineOptions([]))
    _ = payload.indices(pipeline, 10 * bench.files, HANDS, bench.work) | "count" >> beam.ParDo(_Count())
    graph = pipeline.to_runner_api().ByteSize()
    pipeline.run().wait_until_finish()
    assert _Count.seen == 10 * bench.files
    bench.told = f"a graph of {graph / 1e6:.2f} MB"


def look_up(bench: Bench) -> None:
    """What one worker of two does in 10,000 of its turns: look its split up."""
    from transforms.io import plans, splits

    path = bench.work / "keys.parquet"
    dealt = [row for piece in list(plans.ranges(10 * bench.files, HANDS))[::HANDS] for row in plans.rows(*piece)]
    bench.start()
    for row in dealt[:10_000]:
        splits.read_plan(path, row)


def lists(bench: Bench) -> None:
    """The key pass's lists, from one listing, and the exact splits."""
    from transforms.io import files, keys, splits

    folder = bench.work / "lists"
    found = bench.planned().splits
    folder.mkdir(parents=True, exist_ok=True)
    for key in found.keys:
        (folder / f"{key}.25000.{hashlib.sha256(key.encode()).hexdigest()[:12]}.arrow").touch()
    bench.start()
    written = keys.written(folder)
    files.write_arrow(folder / "DONE", written.to_arrow())
    exact = splits.exact(found, written)
    assert len(exact) == len(found)


def again_lists(bench: Bench) -> None:
    """The same from the index that the first run left."""
    from transforms.io import files, splits

    found = bench.planned().splits
    bench.start()
    import polars as pl

    splits.exact(found, pl.DataFrame(files.read_arrow(bench.work / "lists" / "DONE")))
    bench.told = f"{(bench.work / 'lists' / 'DONE').stat().st_size / 1e6:,.1f} MB"


def commit(bench: Bench) -> None:
    """A receipt for every split, as workers write them: one process here, all workers there."""
    from transforms.io import files, parts

    exact = bench.exact()
    bench.start()
    written = 0
    for part, split in zip(exact.parts, exact, strict=True):
        data = json.dumps(asdict(_receipt(part, split))).encode()
        files.write_bytes(parts.receipt_path(bench.work, part), data)
        written += len(data)
    bench.told = f"{written / len(exact):,.0f} bytes each"


def pending(bench: Bench) -> None:
    """Which splits have no receipt."""
    from transforms.io import receipts

    exact = bench.exact()
    bench.start()
    assert len(exact.without(receipts.listing(bench.work))) == 0


def read(bench: Bench) -> None:
    """All receipts: bundles are made of them, and read."""

    shutil.rmtree(bench.work / "bundles", ignore_errors=True)
    exact = bench.exact()
    bench.start()
    _finished(bench, exact)
    sizes = [path.stat().st_size for path in (bench.work / "bundles").iterdir()]
    bench.told = f"{len(sizes)} bundles of {sum(sizes) / 1e6:,.0f} MB"


def again_read(bench: Bench) -> None:
    """All receipts from bundles, a thousand of them newer than those."""
    from transforms.io import parts

    exact = bench.exact()
    for part in exact.parts[::997][:1_000]:
        path = parts.receipt_path(bench.work, part)
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    bench.start()
    finished = _finished(bench, exact)
    assert len(finished.splits) == len(exact)


def compact(bench: Bench) -> None:
    """Groups for shards, which of them have no shard yet, and their plan file."""
    from pipelines import run

    finished = _finished(bench, bench.exact())
    job = _job(bench)
    bench.start()
    groups = run._compact(job, _NoRunner(), bench.work, finished)
    bench.told = f"{len(groups):,} shards, {(bench.work / 'shards.parquet').stat().st_size / 1e6:,.1f} MB"


def manifest(bench: Bench) -> None:
    """The manifest, but for the shards, as JSON."""
    from pipelines import run

    found = bench.planned()
    finished = _finished(bench, bench.exact())
    job = _job(bench)
    bench.start()
    text = run._sorted(run._manifest(job, {}, "0" * 64, found, finished, []))
    bench.told = f"{len(text) / 1e6:,.1f} MB"


def first_run(bench: Bench) -> None:
    """All that the driver does where nothing is known but workers have just finished."""
    shutil.rmtree(bench.work / "bundles", ignore_errors=True)
    (bench.work / "lists" / "DONE").unlink(missing_ok=True)
    (bench.work / "sources.json").unlink(missing_ok=True)
    rerun(bench)


def rerun(bench: Bench) -> None:
    """All that the driver does to find that everything is done."""
    import polars as pl

    from pipelines import run
    from pipelines.planning import Ledger
    from transforms.io import files, keys, receipts, splits

    job = _job(bench)
    bench.start()
    files.sweep(bench.work)
    found, source = bench.probed()
    ledger = Ledger(bench.work / "sources.json")
    found = ledger.settle(found, source)
    run._expect_space(found.splits, bench.work, bench.work)
    run._worth(found.splits)
    splits.digest(found.splits, "")
    done = bench.work / "lists" / "DONE"
    if not done.exists():
        splits.write_plan(bench.work / "keys.parquet", found.splits, splits.deal(found.splits.table["bytes"], HANDS))
        files.write_arrow(done, keys.written(bench.work / "lists").to_arrow())
    exact = splits.exact(found.splits, pl.DataFrame(files.read_arrow(done)))
    if not (bench.work / "bundles").exists():
        splits.write_plan(bench.work / "plan.parquet", exact, splits.deal(exact.table["bytes"], HANDS))
    assert not exact.without(receipts.listing(bench.work))
    finished = _finished(bench, exact)
    ledger.record(run._digests(finished))
    run._compact(job, _NoRunner(), bench.work, finished)
    run._sorted(run._manifest(job, {}, "0" * 64, found, finished, []))


STEPS: Final[dict[str, Callable[[Bench], None]]] = {
    "imports": imports,
    "discover": discover,
    "plan": plan,
    "begin a pipeline": begin,
    "look up 10,000 splits": look_up,
    "lists": lists,
    "lists, again": again_lists,
    "commit (workers)": commit,
    "pending": pending,
    "receipts": read,
    "receipts, again": again_read,
    "compaction plan": compact,
    "manifest": manifest,
    "first run": first_run,
    "rerun": rerun,
}


# --- what they are given ----------------------------------------------------------------------------------------------


class _NoRunner:
    """Runs nothing: compaction is planned, not done."""

    workers = HANDS

    def run(self, build: Callable[[Any], object], elements: int) -> None:
        """Nothing."""


class _Count:
    """Counts in its own process; a DoFn once Beam is imported."""

    seen = 0

    def __new__(cls) -> Any:
        import apache_beam as beam

        class Count(beam.DoFn):
            def process(self, index: int) -> None:
                cls.seen += 1

        return Count()


def _finished(bench: Bench, exact: Any) -> Any:
    """Receipts as a run reads them; bundles are made in this process, where a cluster's workers would make them."""
    from pipelines import run, runners
    from transforms.io import receipts

    runner = runners.start(runners.LocalProfile(), bench.work, 1, print)
    return run._receipts(_job(bench), runner, bench.work, exact, receipts.listing(bench.work), [])


def _job(bench: Bench) -> Any:
    from rich.console import Console

    from pipelines import cli, run
    from pipelines.progress import Progress

    config, recipe, source, own, key = cli._load("feedback", ["sources=[{uri: /data}]"], None, False, create_key=False)
    quiet = Progress(Console(stderr=True), quiet=True)
    return run.Job(config, recipe, source, own, key, bench.work, HANDS, print, quiet)


def _receipt(part: str, split: Any) -> Any:
    """A receipt of the size that the feedback pipeline's have."""
    from schemas.provenance import Receipt, StageCount

    number = split.ordinal + 1
    stages = [StageCount("read", "row", 25_000, 24_990, {"invalid_json": 10}, 1.234)]
    reasons = {"duplicate": number, "query_too_short": 120, "contains_url": 31}
    stages += [StageCount(name, "instance", 20_000, 19_000 - number, reasons, 0.4321) for name in STAGES[1:]]
    tallies = {
        "levels": {str(level): 1_000 * level for level in range(1, 6)},
        "labels": {f"{subset}/{label}": 400 for subset in ("train", "test") for label in range(1, 5)},
    }
    digests = [hashlib.sha256(f"{part} {name}".encode()).hexdigest() for name in ("kept", "rejected", "source")]
    sizes = {
        name: {"bytes": 31_415_926, "sha256": digest}
        for name, digest in zip(("kept", "rejected"), digests, strict=False)
    }
    whole = digests[2] if split.ordinal == 0 else None
    return Receipt(part, split.key, "0" * 64, 19_000, 6_000, tuple(stages), tallies, sizes, 12.345, whole)


# --- the processes ----------------------------------------------------------------------------------------------------


def measure(name: str, bench: Bench) -> None:
    """Take one step in this process, and print what it took as JSON."""
    STEPS[name](bench)
    seconds, cpu = time.perf_counter() - bench.began, time.process_time() - bench.cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak, "told": bench.told}))


def main() -> None:
    """Take all steps in turn, or the one that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--step", choices=STEPS, action="append")
    parser.add_argument("--keep", action="store_true", help="leave the work area where it is")
    parser.add_argument("--measure", choices=STEPS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    bench = Bench(BENCH / str(asked.files), asked.files)
    if asked.measure:
        measure(asked.measure, bench)
        return
    bench.work.mkdir(parents=True, exist_ok=True)
    print(f"| {10 * asked.files:,} splits | seconds | CPU seconds | peak MB | |\n|---|---|---|---|---|")
    for name in asked.step or STEPS:
        command = [sys.executable, __file__, "--files", str(asked.files), "--measure", name]
        took = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        print(
            f"| {name} | {took['seconds']:,.1f} | {took['cpu']:,.1f} | {took['peak'] / 1e6:,.0f} | {took['told']} |",
            flush=True,
        )
        if name in ("first run", "rerun"):
            kept = took["seconds"] <= WANTED_SECONDS and took["peak"] <= WANTED_BYTES
            print(
                f"| | at most {WANTED_SECONDS} | | {WANTED_BYTES / 1e6:,.0f} | {'kept' if kept else 'MISSED'} |",
                flush=True,
            )
    if not asked.keep:
        shutil.rmtree(bench.work)


if __name__ == "__main__":
    main()
