"""The whole corpus pipeline on two workers: megabytes of text per second, and what each stage costs.

    python benchmarks/corpus.py                 300 MB, made under .bench/ from ../shared/data/text first
    python benchmarks/corpus.py --megabytes 30  a tenth, for a look

Start-up is excluded: the same command also runs on two files of ten documents, and that time is subtracted. Stage seconds are those
that workers spent in the stage, all splits added up; the key pass runs the stages up to repetition once more.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Any, Final

import corpus_text
import polars as pl
import yaml
from speed import BENCH, SLUICE, measure, tell

WORKERS: Final = 2


def config(folder: Path, name: str) -> Path:
    """A config with every stage that needs no file of the user's own."""
    values = {"pipeline": "corpus", "dataset": {"name": name}, "sources": [{"uri": [f"{folder}/*.parquet"]}]}
    path = BENCH / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def run(path: Path, output: Path) -> Any:
    """A whole run into an empty directory."""
    shutil.rmtree(output, ignore_errors=True)
    return measure([SLUICE, "run", str(path), "--output", str(output), "--workers", str(WORKERS), "--quiet"])


def facts(output: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The newest snapshot's manifest and run facts."""
    snapshot = output / "snapshots" / (output / "LATEST").read_text().strip()
    return json.loads((snapshot / "manifest.json").read_bytes()), json.loads((snapshot / "run.json").read_bytes())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=300, help="text to read")
    given = parser.parse_args()
    paths = corpus_text.corpus(given.megabytes).parquet
    text = pl.scan_parquet(paths).select(pl.col("text").str.len_bytes().sum()).collect().item()
    tiny = BENCH / "corpus-tiny"
    tiny.mkdir(parents=True, exist_ok=True)
    ten = pl.scan_parquet(paths[0]).head(10).collect()
    for name in ("a", "b"):
        ten.write_parquet(tiny / f"{name}.parquet")
    output = BENCH / "corpus-out"
    run(config(tiny, "corpus-tiny"), output)
    print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    start = run(config(tiny, "corpus-tiny"), output)
    whole = run(config(paths[0].parent, "corpus"), output)
    manifest, told = facts(output)
    seconds = whole.seconds - start.seconds
    tell("start-up", f"{start.seconds:.1f} s", f"whole run {whole.seconds:.1f} s; {whole.peaks()}")
    tell("text", f"{text / 1e6:,.0f} MB", f"{manifest['counts']['instances']:,} documents")
    tell("corpus pipeline", f"{text / 1e6 / seconds:.1f} MB/s", "at least 5")
    tell("CPU", f"{(whole.cpu - start.cpu) / text * 1e8:.1f} s per 100 MB")
    print("\n| stage | documents in | rejected | seconds | MB/s of its input, one core |\n|---|---|---|---|---|")
    for stage in manifest["counts"]["stages"]:
        spent, taken = told["stage_seconds"][stage["stage"]], told["stage_bytes"].get(stage["stage"], 0)
        rate = f"{taken / 1e6 / spent:,.0f}" if spent and taken else ""
        print(
            f"| {stage['stage']} ({stage['unit']}) | {stage['in']:,} | {stage['in'] - stage['out']:,} | {spent:.1f} | {rate} |"
        )
    shutil.rmtree(output)


if __name__ == "__main__":
    main()
