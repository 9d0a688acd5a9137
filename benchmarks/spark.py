"""A standalone Spark cluster against the local runner, on the same chats with the same number of workers.

    python benchmarks/spark.py                 200 MB; makes its data under .bench/ first
    python benchmarks/spark.py --bytes 1e9     1 GB

Two Spark workers of one core, a pool of Python workers beside each. Start-up is excluded alike for both: every runner also
runs on two files of ten rows, and that time is subtracted. Peaks of memory are those of the driver, Python and job server
apart; shuffled bytes are Spark's own count, from its event log.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import chats
import speed
import yaml
from speed import BENCH, WORKERS, Bench, Run, config, count_rows, measure, tell

CLUSTER: Final = Path(__file__).resolve().parent.parent / "deploy" / "spark" / "cluster.sh"


def run(sources: Path, runner: str, output: Path) -> Run:
    """A whole ``sluice run`` into an empty directory, without mining."""
    shutil.rmtree(output, ignore_errors=True)
    options = ["--workers", str(WORKERS), "--set", "mining.window=0", "--quiet", "--runner", runner]
    return measure([speed.SLUICE, "run", str(config(sources)), "--output", str(output), *options])


def rate(sources: Path, tiny: Path, runner: str, repeats: int) -> float:
    """Rows per second, start-up subtracted: medians."""
    pairs = [(run(tiny, runner, BENCH / "out"), run(sources, runner, BENCH / "out")) for _ in range(repeats)]
    start, full = (statistics.median(r.seconds for r in runs) for runs in zip(*pairs, strict=True))
    peaks = pairs[-1][1]
    tell(f"{Path(runner).stem}: start-up", f"{start:.1f} s", f"whole run {full:.1f} s; {peaks.peaks()}")
    return count_rows(sources) / (full - start)


def shuffled(events: Path) -> int:
    """Bytes that the tasks of an application wrote to shuffles."""
    lines = [json.loads(line) for log in events.iterdir() for line in log.read_text().splitlines()]
    tasks = [
        line["Task Metrics"] for line in lines if line["Event"] == "SparkListenerTaskEnd" and "Task Metrics" in line
    ]
    return sum(int(task["Shuffle Write Metrics"]["Shuffle Bytes Written"]) for task in tasks)


def profile(folder: Path, started: str) -> Path:
    """The started cluster's profile, with Spark's event log."""
    events = folder / "events"
    events.mkdir()
    values: dict[str, Any] = yaml.safe_load(started)
    values["spark"] = {"spark.eventLog.enabled": True, "spark.eventLog.dir": events.as_uri()}
    values["start_seconds"] = 300
    path = folder / "spark.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=float, default=2e8, help="Parquet to read")
    parser.add_argument("--repeats", type=int, default=1)
    given = parser.parse_args()
    size = int(given.bytes)
    sources = speed._once(BENCH / f"chats-{size}", lambda path: chats.write_parquet(path, size))
    tiny = Bench(1, small=True).tiny()
    folder = BENCH / "cluster"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    env = {**os.environ, "PYTHON": sys.executable}
    started = subprocess.run(
        [str(CLUSTER), "start", str(folder)], env=env, check=True, stdout=subprocess.PIPE, text=True
    )
    print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    try:
        path = profile(folder, started.stdout)
        spark = rate(sources, tiny, str(path), given.repeats)
        local = rate(sources, tiny, "local", given.repeats)
        events = folder / "events"
        shutil.rmtree(events)
        events.mkdir()
        run(sources, str(path), BENCH / "out")
    finally:
        subprocess.run([str(CLUSTER), "stop", str(folder)], check=True)
    tell("spark", f"{spark:,.0f} rows/s")
    tell("local", f"{local:,.0f} rows/s")
    tell("spark / local", f"{spark / local:.2f}", "at least 0.7")
    rows = count_rows(sources)
    tell("shuffled, all passes", f"{shuffled(events):,} bytes", f"{shuffled(events) / rows:.0f} bytes a source row")
    shutil.rmtree(BENCH / "out")


if __name__ == "__main__":
    main()
