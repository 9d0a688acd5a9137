"""Speed and memory, side by side in one go.

    python benchmarks/speed.py                     everything; makes its data under .bench/ first (12 GB)
    python benchmarks/speed.py columnar zst        some sections
    python benchmarks/speed.py memory --small      a tenth of the data, for a look

help      ``sluice --help``
plan      ``sluice plan`` on 10,000 source files
columnar  Sluice with 2 workers, the bare Polars script, a row-at-a-time Beam pipeline with 2 workers; no encoder
encoder   the mining stage by itself
memory    the largest resident size of each process, at 1x and 4x input, and how time grows
zst       one large .jsonl.zst with 1 and with 2 workers

Start-up is excluded alike for all: every command also runs on two files of ten rows each (two splits, so that Sluice starts its
worker processes), and that time is subtracted. Runs alternate, medians are told. CPU seconds of the whole process tree stand
beside wall seconds, since other work on the machine moves them less.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import chats
import psutil
import pyarrow.parquet as pq

HERE: Final = Path(__file__).resolve().parent
BENCH: Final = HERE.parent / ".bench"
SLUICE: Final = str(Path(sys.executable).parent / "sluice")
WORKERS: Final = 2
POLL_SECONDS: Final = 0.1


@dataclass
class Run:
    """What a command took. ``main`` and ``workers`` are peaks of resident memory in bytes, of workers the largest first."""

    seconds: float
    cpu: float
    main: int
    workers: list[int]
    output: str

    def peaks(self) -> str:
        """The peaks in MB; helper processes are left out."""
        workers = " ".join(f"{peak / 1e6:,.0f}" for peak in self.workers if peak > 5e7)
        return f"peak MB: main {self.main / 1e6:,.0f}" + (f", workers {workers}" if workers else "")


def measure(command: Sequence[str]) -> Run:
    """Run a command and watch its process tree.

    Raises:
        SystemExit: it failed.
    """
    cpu: dict[int, float] = {}
    peaks: dict[int, int] = {}
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        root = psutil.Process(process.pid)
        while process.poll() is None:
            _watch(root, cpu, peaks)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL_SECONDS)
        seconds = time.perf_counter() - began
        assert process.stdout is not None
        output = process.stdout.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}\n{output}")
    main = peaks.pop(root.pid, 0)
    return Run(seconds, sum(cpu.values()), main, sorted(peaks.values(), reverse=True), output)


def _watch(root: psutil.Process, cpu: dict[int, float], peaks: dict[int, int]) -> None:
    try:
        for process in [root, *root.children(recursive=True)]:
            times = process.cpu_times()
            cpu[process.pid] = times.user + times.system
            peaks[process.pid] = max(peaks.get(process.pid, 0), process.memory_info().rss)
    except psutil.NoSuchProcess:
        pass


@dataclass(frozen=True)
class Rate:
    """Rows per second and per CPU second, start-up subtracted, and the last run."""

    wall: float
    cpu: float
    run: Run


@dataclass
class Bench:
    """The data, and how each contestant is called on it."""

    repeats: int
    small: bool

    def size(self, gigabytes: float) -> int:
        """Bytes of a full or of a small data set."""
        return int(gigabytes * (1e8 if self.small else 1e9))

    def folder(self, times: int) -> Path:
        """At least ``times`` GB of Parquet; 1x holds the first files of 4x."""
        whole = _once(BENCH / f"chats{self.suffix}", lambda path: chats.write_parquet(path, self.size(4.5)))
        files = sorted(whole.glob("*.parquet"))
        return (
            whole
            if times == 4
            else _once(BENCH / f"quarter{self.suffix}", lambda p: _link(files[: len(files) // 4], p))
        )

    @property
    def suffix(self) -> str:
        """Marks small data sets."""
        return "-small" if self.small else ""

    def tiny(self) -> Path:
        """Two files of ten rows."""
        return _once(
            BENCH / "tiny", lambda path: _write(path, [chats.row_group(0, 0).slice(10 * i, 10) for i in (0, 1)])
        )

    def subset(self) -> Path:
        """About 50 MB: what the slower contestants get."""
        return _once(
            BENCH / "subset", lambda path: _write(path, [chats.row_group(0, i).slice(0, 7_000) for i in (0, 1)])
        )

    def lines(self) -> Path:
        """One .jsonl.zst of 2 GB."""
        return _once(
            BENCH / f"lines{self.suffix}", lambda path: chats.write_jsonl_zst(path / "chats.jsonl.zst", self.size(2))
        )

    def sluice(self, sources: Path, workers: int = WORKERS, window: int = 0) -> Run:
        """A whole ``sluice run`` into an empty directory; its run.json becomes the output."""
        output = BENCH / "out"
        shutil.rmtree(output, ignore_errors=True)
        options = ["--workers", str(workers), "--set", f"mining.window={window}", "--quiet"]
        done = measure([SLUICE, "run", str(config(sources)), "--output", str(output), *options])
        snapshot = output / "snapshots" / (output / "LATEST").read_text().strip()
        facts = json.loads((snapshot / "run.json").read_bytes())
        counts = json.loads((snapshot / "manifest.json").read_bytes())["counts"]
        shutil.rmtree(output)
        told = {**facts, "rows": counts["rows_read"], "kept": counts["kept"]}
        return replace(done, output=json.dumps(told))

    def polars(self, sources: Path) -> Run:
        """The bare script."""
        return measure([sys.executable, str(HERE / "polars_script.py"), str(sources), str(BENCH / "kept.parquet")])

    def rows(self, sources: Path) -> Run:
        """The row-at-a-time pipeline."""
        shutil.rmtree(BENCH / "rows", ignore_errors=True)
        return measure(
            [sys.executable, str(HERE / "row_beam.py"), str(sources), str(BENCH / "rows"), "--workers", str(WORKERS)]
        )

    def rates(self, contestants: dict[str, Path]) -> dict[str, Rate]:
        """Run the contestants in turn, each on its sources and on ten rows twice; start-up is subtracted."""
        runs: dict[str, list[tuple[Run, Run]]] = {name: [] for name in contestants}
        for _ in range(self.repeats):
            for name, sources in contestants.items():
                call: Callable[[Path], Run] = getattr(self, name)
                runs[name].append((call(self.tiny()), call(sources)))
        return {name: _rate(count_rows(contestants[name]), pairs) for name, pairs in runs.items()}


def _rate(rows: int, pairs: Sequence[tuple[Run, Run]]) -> Rate:
    start, full = zip(*pairs, strict=True)
    seconds = statistics.median(r.seconds for r in full) - statistics.median(r.seconds for r in start)
    cpu = statistics.median(r.cpu for r in full) - statistics.median(r.cpu for r in start)
    return Rate(rows / seconds, rows / cpu, full[-1])


def _once(path: Path, make: Callable[[Path], Any]) -> Path:
    """Make a data set unless it is there, whole."""
    done = path / ".done"
    if not done.exists():
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        make(path)
        done.touch()
    return path


def _link(files: Sequence[Path], folder: Path) -> None:
    for file in files:
        os.link(file, folder / file.name)


def _write(folder: Path, tables: Sequence[Any]) -> None:
    for number, table in enumerate(tables):
        pq.write_table(table, folder / f"train-{number:05d}.parquet", compression="zstd", row_group_size=1_750)


def count_rows(folder: Path) -> int:
    """Rows of a folder of Parquet files."""
    return sum(pq.read_metadata(path).num_rows for path in folder.glob("*.parquet"))


def config(sources: Path) -> Path:
    """A config that reads a folder."""
    path = BENCH / f"{sources.name}.yaml"
    path.write_text(f"pipeline: feedback\ndataset: {{name: bench}}\nsources: [{{uri: {json.dumps(str(sources))}}}]\n")
    return path


def tell(what: str, value: str, target: str = "") -> None:
    """One line of the table."""
    print(f"{what:<58} {value:>24}   {target}", flush=True)


def time_help(bench: Bench) -> None:
    """``sluice --help``."""
    seconds = statistics.median(measure([SLUICE, "--help"]).seconds for _ in range(5))
    tell("sluice --help", f"{seconds:.2f} s", "at most 0.5 s")


def time_plan(bench: Bench) -> None:
    """``sluice plan`` on 10,000 files: hard links to one of ten rows."""
    one = next(bench.tiny().glob("*.parquet"))

    def many(folder: Path) -> None:
        for number in range(10_000):
            os.link(one, folder / f"train-{number:05d}.parquet")

    sources = _once(BENCH / "many", many)
    seconds = statistics.median(measure([SLUICE, "plan", str(config(sources))]).seconds for _ in range(3))
    tell("sluice plan, 10,000 files", f"{seconds:.2f} s", "at most 5 s")


def time_columnar(bench: Bench) -> None:
    """Sluice against the bare Polars script, and a row-at-a-time pipeline on a subset."""
    whole = bench.folder(1)
    rates = bench.rates({"polars": whole, "sluice": whole, "rows": bench.subset()})
    script, ours, row = rates["polars"], rates["sluice"], rates["rows"]
    for name, rate in (
        ("bare Polars script", script),
        (f"sluice --workers {WORKERS}", ours),
        ("row-at-a-time Beam, 50 MB", row),
    ):
        tell(name, f"{rate.wall:,.0f} rows/s", f"{rate.cpu:,.0f} rows per CPU second; {rate.run.peaks()}")
    tell(
        "sluice / bare Polars script",
        f"{ours.wall / script.wall:.2f}",
        f"at least 0.8; per CPU second {ours.cpu / script.cpu:.2f}",
    )
    tell(
        "sluice / row-at-a-time Beam",
        f"{ours.wall / row.wall:.1f}",
        f"at least 10; per CPU second {ours.cpu / row.cpu:.1f}",
    )
    facts, told = json.loads(ours.run.output), json.loads(script.run.output)
    tell("rows kept by sluice and by the script", f"{facts['kept']:,} {told['kept']:,}", "equal")
    for stage, seconds in facts["stage_seconds"].items():
        tell(f"  stage: {stage}", f"{seconds:.1f} s", "both workers together")


def time_encoder(bench: Bench) -> None:
    """The mining stage with its encoder, on a subset: CPU seconds of both workers together."""
    facts = json.loads(bench.sluice(bench.subset(), window=2).output)
    seconds = facts["stage_seconds"]["mine implicit feedback"]
    tell(
        "mining with the encoder, 50 MB",
        f"{seconds:.1f} s",
        f"of {sum(facts['stage_seconds'].values()):.1f} s in all stages",
    )


def time_memory(bench: Bench) -> None:
    """Memory of each process and time, at 1x and 4x input."""
    start = bench.sluice(bench.tiny()).seconds
    one, four = bench.sluice(bench.folder(1)), bench.sluice(bench.folder(4))
    tell("memory at 1x", "", f"{one.peaks()}; a worker at most 1,500")
    tell("memory at 4x", "", f"{four.peaks()}; a worker at most 1,500")
    tell("largest worker at 4x / 1x", f"{four.workers[0] / one.workers[0]:.2f}", "at most 1.15")
    grows = (four.seconds - start) / (one.seconds - start)
    more = count_rows(bench.folder(4)) / count_rows(bench.folder(1))
    tell(f"time at {more:.2f}x rows / 1x", f"{grows:.2f}", "at most 4.4")


def time_zst(bench: Bench) -> None:
    """One compressed file with one worker and two."""
    sources = bench.lines()
    start = {workers: bench.sluice(bench.tiny(), workers).seconds for workers in (1, 2)}
    runs = {workers: bench.sluice(sources, workers) for workers in (1, 2)}
    net = {workers: runs[workers].seconds - start[workers] for workers in (1, 2)}
    rows = json.loads(runs[1].output)["rows"]
    for workers in (1, 2):
        tell(f"one .jsonl.zst, {workers} workers", f"{rows / net[workers]:,.0f} rows/s", runs[workers].peaks())
    tell("2 workers / 1 worker", f"{net[1] / net[2]:.2f}", "at least 1.5")


SECTIONS: Final[dict[str, Callable[[Bench], None]]] = {
    "help": time_help,
    "plan": time_plan,
    "columnar": time_columnar,
    "encoder": time_encoder,
    "memory": time_memory,
    "zst": time_zst,
}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", choices=[[], *SECTIONS], metavar="SECTION", help="default: all")
    parser.add_argument(
        "--repeats", type=int, default=3, help="runs of each contestant, alternating with start-up runs"
    )
    parser.add_argument("--small", action="store_true", help="a tenth of the data")
    given = parser.parse_args()
    bench = Bench(given.repeats, given.small)
    print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for name in given.sections or SECTIONS:
        SECTIONS[name](bench)
    print(f"load average after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
