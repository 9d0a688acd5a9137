"""Text filters side by side in one go: Sluice, and what else people use.

    python benchmarks/text_filters.py             on 300 MB of text; makes it under .bench/ first
    python benchmarks/text_filters.py --small     on a tenth, for a look

============  =====================================================================================================================
Gopher        Gopher's quality rules on all documents: Sluice, Daft, Polars, DuckDB. The same eight rules, the same words (between
              white space), and the same documents kept, or the run fails
all four      Gopher's quality and repetition rules, C4's and FineWeb's, on samples: Sluice, the same rules in plain Python (the same
              documents kept, or the run fails), datatrove with words between white space, datatrove as shipped. datatrove's filters
              work in turns, and what one drops the next is spared; Sluice and the plain version compute every score.
              Whose verdicts agree is told by ``text_agreement.py``
============  =====================================================================================================================

Every contestant is one process. It runs on twenty documents first, then the clock starts: imports, models, start-up and compilation
are left out for all. Reading Parquet and naming the kept documents are in. On a sample that is short for Sluice it runs several times.
CPU seconds are the process's, all threads together. Contestants take turns; medians are told.

Peers get environments of their own under .bench/peers, made with uv from benchmarks/peers/text-*.txt.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import corpus_text
import polars as pl

HERE: Final = Path(__file__).resolve().parent
BENCH: Final = HERE.parent / ".bench"
PEERS: Final = HERE / "peers"

MEGABYTES: Final = 300
SAMPLE_MEGABYTES: Final = 20
SMALL_SAMPLE_MEGABYTES: Final = 4
FEW: Final = 20
REPEATS: Final = 3


@dataclass(frozen=True)
class Contestant:
    """Who competes: a script of ``peers/``, the environment it runs in (None: this one), and its options."""

    name: str
    script: str
    environment: str | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Documents:
    """Parquet files with ``id`` and ``text``."""

    files: tuple[Path, ...]
    count: int
    megabytes: float


@dataclass(frozen=True)
class Run:
    """What a contestant took: wall and CPU seconds, peak bytes, and the ids it kept by set of rules."""

    seconds: float
    cpu: float
    peak: int
    kept: dict[str, set[str]]


SLUICE_GOPHER: Final = Contestant("Sluice", "text_sluice.py", None, ("gopher",))
SLUICE: Final = Contestant("Sluice", "text_sluice.py", None, ("all",))
DAFT: Final = Contestant("Daft", "text_daft.py", "text-expressions")
POLARS: Final = Contestant("Polars", "text_polars.py", "text-expressions")
DUCKDB: Final = Contestant("DuckDB", "text_duckdb.py", "text-expressions")
PYTHON: Final = Contestant("plain Python", "text_python.py")
WHITESPACE: Final = Contestant(
    "datatrove, words between white space", "text_datatrove.py", "text-datatrove", ("whitespace",)
)
SHIPPED: Final = Contestant("datatrove, as shipped", "text_datatrove.py", "text-datatrove", ("shipped",))


def main() -> None:
    """Run everything, and print the tables of docs/text-benchmarks.md."""
    parser = argparse.ArgumentParser(description="Text filters side by side.")
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    part = 10 if small else 1
    made = corpus_text.corpus(MEGABYTES // part)
    whole = _documents(made.parquet)
    sample = _sample(made.parquet, SAMPLE_MEGABYTES / part)
    tiny = _sample(made.parquet, SMALL_SAMPLE_MEGABYTES / part)
    few = _few(made.parquet)
    repeats = 1 if small else REPEATS
    for name in ("text-expressions", "text-datatrove"):
        _environment(name)

    _title("Gopher quality", whole)
    _compare(whole, few, repeats, {SLUICE_GOPHER: 1, DAFT: 1, POLARS: 1, DUCKDB: 1}, same=(DAFT, POLARS, DUCKDB))
    _title("Gopher quality, Gopher repetition, C4 and FineWeb", whole)
    _compare(whole, few, repeats, {SLUICE: 1})
    _title("The same on a sample", sample)
    _compare(sample, few, repeats, {SLUICE: 10, PYTHON: 1, WHITESPACE: 1}, same=(PYTHON,))
    _title("The same on a smaller sample", tiny)
    _compare(tiny, few, repeats, {SLUICE: 50, SHIPPED: 1})
    _repeating()


def _compare(
    documents: Documents, few: Path, repeats: int, times: dict[Contestant, int], same: Sequence[Contestant] = ()
) -> None:
    """A table of contestants on the same documents, the first one's CPU seconds as the measure.

    Raises:
        SystemExit: one of ``same`` keeps other documents than the first.
    """
    runs: dict[Contestant, list[Run]] = {one: [] for one in times}
    for _ in range(repeats):
        for one, often in times.items():
            runs[one].append(run(one, documents.files, few, often))
    first = next(iter(times))
    for one in same:
        for name, ids in runs[one][0].kept.items():
            if ids != runs[first][0].kept[name]:
                odd = sorted(ids ^ runs[first][0].kept[name])
                raise SystemExit(f"{one.name} and {first.name} disagree on {name} of {len(odd)} documents: {odd[:5]}")
    _row("", "CPU s", "lowest, highest", "CPU s of it / Sluice's", "MB / CPU s", "wall s", "peak MB", "kept")
    _row(*["---"] * 8)
    measure = statistics.median(each.cpu for each in runs[first])
    for one, each in runs.items():
        cpu = statistics.median(run.cpu for run in each)
        _row(
            one.name,
            f"{cpu:.2f}",
            f"{min(run.cpu for run in each):.2f}, {max(run.cpu for run in each):.2f}",
            f"{cpu / measure:.1f}",
            f"{documents.megabytes / cpu:.2f}",
            f"{statistics.median(run.seconds for run in each):.2f}",
            f"{max(run.peak for run in each) / 1e6:.0f}",
            f"{len(next(iter(each[0].kept.values()))):,}",
        )


def _repeating() -> None:
    """Of the n-grams of the real documents, the share that occurs more than once in its document."""
    words = [text.split() for text in corpus_text.real_documents()["text"]]
    print("\nn-grams that occur more than once in their document, of all\n")
    for n in (2, 3, 4, 5, 10):
        counts = [Counter(zip(*(found[start:] for start in range(n)), strict=False)) for found in words]
        repeated = sum(times for count in counts for times in count.values() if times > 1)
        _row(str(n), f"{repeated / sum(map(Counter.total, counts)):.1%}")


def run(one: Contestant, files: Sequence[Path], few: Path, times: int) -> Run:
    """Let one compete.

    Raises:
        SystemExit: it failed.
    """
    kept = BENCH / "kept.json"
    command = [
        sys.executable if one.environment is None else str(_environment(one.environment)),
        str(PEERS / one.script),
        *one.options,
        *("--few", str(few), "--kept", str(kept), "--times", str(times)),
        *map(str, files),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{one.name} failed:\n{done.stderr[-2000:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    ids = {name: set(values) for name, values in json.loads(kept.read_text()).items()}
    return Run(told["seconds"], told["cpu"], told["peak"], ids)


def _documents(files: Sequence[Path]) -> Documents:
    count, size = pl.scan_parquet(list(files)).select(pl.len(), pl.col("text").str.len_bytes().sum()).collect().row(0)
    return Documents(tuple(files), count, size / 1e6)


def _sample(files: Sequence[Path], megabytes: float) -> Documents:
    """About so much of a corpus, taken evenly."""
    whole = _documents(files)
    path = BENCH / f"sample-{megabytes:g}.parquet"
    step = max(int(whole.megabytes / megabytes), 1)
    pl.scan_parquet(list(files)).gather_every(step).collect().write_parquet(path)
    return _documents([path])


def _few(files: Sequence[Path]) -> Path:
    path = BENCH / "few.parquet"
    pl.scan_parquet(list(files)).head(FEW).collect().write_parquet(path)
    return path


def _environment(name: str) -> Path:
    """A peer's interpreter; its packages are installed if they are not there.

    Raises:
        SystemExit: they cannot be.
    """
    folder, requirements = BENCH / "peers" / name, PEERS / f"{name}.txt"
    python, done = folder / "bin" / "python", folder / ".done"
    if not (done.exists() and done.read_text() == requirements.read_text()):
        uv = str(Path(sys.executable).parent / "uv")
        install = ["pip", "install", "--compile-bytecode", "--python", str(python), "--requirement", str(requirements)]
        for step in (["venv", "--clear", "--python", sys.executable, str(folder)], install):
            made = subprocess.run([uv, "--quiet", *step], capture_output=True, text=True, check=False)
            if made.returncode:
                raise SystemExit(f"{name} cannot be installed: {made.stderr[-500:]}")
        shutil.copyfile(requirements, done)
    return python


def _title(text: str, documents: Documents) -> None:
    print(f"\n{text}: {documents.count:,} documents, {documents.megabytes:.1f} MB\n", flush=True)


def _row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
