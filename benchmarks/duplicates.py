"""Duplicates: how fast signatures are made and clustered, how much memory that takes, and what is found.

    python benchmarks/duplicates.py ../shared/data            all three
    python benchmarks/duplicates.py ../shared/data clusters   one of signatures, clusters, found

signatures  documents a CPU second from text to signature of 128 slots, beside datasketch 2.0 and Daft, and rensa's R sketch in place
            of the kernel. Texts are windows of 3 kB of ``text/web_wiki_471.jsonl``. Contestants take turns, each in a process of
            its own; the median of the rounds is told. Daft is given the fastest of its hash functions
clusters    10 million synthetic signatures of 18 bands on a disk: every step of the pass after signing, one after another in one
            process, and the most memory it took; 1 million beside it tell what of this is a constant
found       pairs of texts with known similarity: share that is removed, and that is removed though it is less alike, for the
            bands that are the default and for the 16 of 8 that others use

Peers get an environment of their own under .bench/peers, made with uv from benchmarks/peers/duplicates.txt.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.io import duplicate_files
from transforms.io.duplicate_files import Signed
from transforms.io.duplicate_pass import SUMMARY, Steps
from transforms.text import duplicates, minhash, shingles
from transforms.text.duplicates import Settings
from transforms.text.shingles import Shingling

HERE: Final = Path(__file__).resolve().parent
BENCH: Final = HERE.parent / ".bench"
PEERS: Final = HERE / "peers"
ROUNDS: Final = 5
DOCUMENTS: Final = {"sluice": 12_000, "rensa": 12_000, "daft": 12_000, "datasketch": 1_500}
WORDS: Final = 490
SMALL, LARGE = 1_000_000, 10_000_000
SPLITS: Final = 16
PAIRS: Final = 3_000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("section", nargs="?", choices=["signatures", "clusters", "found"])
    parser.add_argument("--sketch", choices=["sluice", "rensa"], help="one contestant, in this process")
    parser.add_argument("--cluster", type=int, help="cluster so many made documents, in this process")
    given = parser.parse_args()
    if given.sketch:
        print(json.dumps(sketched(BENCH / "duplicates" / "texts" / "texts.parquet", given.sketch)))
    elif given.cluster:
        print(json.dumps(clustered(BENCH / "duplicates" / f"{given.cluster}")))
    else:
        sections = {"signatures": lambda: signatures(given.data), "clusters": clusters, "found": found}
        for name in [given.section] if given.section else sections:
            sections[name]()


# --- Signatures


def signatures(data: Path) -> None:
    """Text to signature, a core."""
    folder = BENCH / "duplicates" / "texts"
    folder.mkdir(parents=True, exist_ok=True)
    texts = windows(data / "text" / "web_wiki_471.jsonl", max(DOCUMENTS.values()))
    texts.write_parquet(folder / "texts.parquet")
    client, python = str(PEERS / "duplicates_client.py"), environment("duplicates")
    own = [sys.executable, __file__, str(data), "--sketch"]
    commands = {
        "sluice": [*own, "sluice"],
        "rensa": [*own, "rensa"],
        "daft": [python, client, "daft", str(folder / "texts.parquet"), "--documents", str(DOCUMENTS["daft"])],
        "datasketch": [
            *(python, client, "datasketch", str(folder / "texts.parquet")),
            *("--documents", str(DOCUMENTS["datasketch"])),
        ],
    }
    rates: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            told = _run(command)
            rates[name].append(told["documents"] / told["cpu"])
    shutil.rmtree(folder)
    size = texts["text"].str.len_bytes().mean()
    print(
        f"Text to signature: 128 slots, shingles of 5 words, texts of {size:,.0f} bytes on average, {ROUNDS} rounds\n"
    )
    _row("", "documents a CPU second", "lowest, highest", "x datasketch", "x Daft")
    _row(*["---"] * 5)
    names = {
        "sluice": "Sluice",
        "rensa": "Sluice's shingles, rensa's R sketch",
        "daft": "Daft 0.7.26, not normalised",
        "datasketch": "datasketch 2.0.0, not normalised",
    }
    middle = {name: statistics.median(found) for name, found in rates.items()}
    for name, title in names.items():
        spread = f"{min(rates[name]):,.0f}, {max(rates[name]):,.0f}"
        ratios = [f"{middle[name] / middle[peer]:.1f}" for peer in ("datasketch", "daft")]
        _row(title, f"{middle[name]:,.0f}", spread, *ratios)
    print()


def windows(path: Path, count: int) -> pl.DataFrame:
    """Texts of consecutive words, drawn from all texts of a file."""
    words = " ".join(pl.read_ndjson(path)["text"]).split(" ")
    draw = random.Random(0)
    starts = [draw.randrange(len(words) - WORDS) for _ in range(count)]
    return pl.DataFrame({"text": [" ".join(words[start : start + WORDS]) for start in starts]})


def sketched(path: Path, how: str) -> dict[str, float]:
    """Sign the texts of a file; the first few before the clock starts."""
    texts = pl.read_parquet(path)["text"][: DOCUMENTS[how]].rechunk()

    def sign(some: pl.Series) -> Any:
        sets = shingles.shingle(some, Shingling()).sets
        if how == "sluice":
            return minhash.signatures(sets)
        from rensa import RMinHash

        return RMinHash.digest_matrix_from_flat_token_hashes(
            sets.hashes, sets.offsets.astype(np.uint64), num_perm=128, seed=1
        )

    sign(texts[:50])
    cpu = _used()
    sign(texts)
    return {"documents": len(texts), "cpu": _used() - cpu}


def environment(name: str) -> str:
    """The interpreter of an environment made of pinned requirements."""
    folder, requirements = BENCH / "peers" / name, PEERS / f"{name}.txt"
    python, done = folder / "bin" / "python", folder / ".done"
    if not (done.exists() and done.read_text() == requirements.read_text()):
        uv = str(Path(sys.executable).parent / "uv")
        install = ["pip", "install", "--compile-bytecode", "--python", str(python), "--requirement", str(requirements)]
        for step in (["venv", "--clear", "--python", sys.executable, str(folder)], install):
            subprocess.run([uv, "--quiet", *step], check=True)
        shutil.copyfile(requirements, done)
    return str(python)


# --- Clusters


def clusters() -> None:
    """Cluster synthetic signatures: documents a second, and bytes a document."""
    told: dict[int, dict[str, Any]] = {}
    for documents in (SMALL, LARGE):
        make(BENCH / "duplicates" / f"{documents}", documents)
        told[documents] = _run([sys.executable, __file__, ".", "clusters", "--cluster", str(documents)])
        shutil.rmtree(BENCH / "duplicates" / f"{documents}")
    names = list(told[LARGE]["seconds"])
    print("Clustering synthetic signatures: one process, one step after another, CPU seconds\n")
    _row(
        "documents",
        *names,
        "all, CPU s",
        "wall s",
        "documents a CPU second",
        "peak, MB",
        "with mapped files",
        "removed",
    )
    _row(*["---"] * (len(names) + 7))
    for documents, one in told.items():
        seconds = sum(one["seconds"].values())
        each = [f"{one['seconds'][name]:.1f}" for name in names]
        rate = f"{documents / seconds:,.0f}"
        peaks = [f"{one[name] / 1e6:,.0f}" for name in ("peak", "mapped")]
        _row(f"{documents:,}", *each, f"{seconds:.1f}", f"{one['wall']:.1f}", rate, *peaks, f"{one['removed']:,}")
    slope = (told[LARGE]["peak"] - told[SMALL]["peak"]) / (LARGE - SMALL)
    constant = (told[SMALL]["peak"] - slope * SMALL) / 1e6
    print(f"\nPeak: {constant:,.0f} MB and {slope:.0f} bytes a document, mapped files apart.\n")


def make(work: Path, documents: int) -> None:
    """Write signature and shingle files as signing does: four in ten documents have relatives.

    Groups have 2 to 5 members, one in a thousand 200, and one has a hundredth of all documents. Members have 20
    shingles, of which a quarter of them changed one; each band of theirs is the group's with a probability of 0.4.
    """
    shutil.rmtree(work, ignore_errors=True)
    settings = Settings()
    bands, _ = settings.banding
    draw = np.random.default_rng(1)
    related = int(documents * 0.4)
    small = np.repeat(np.arange(related), draw.choice([2, 3, 4, 5, 200], related, p=[0.5, 0.3, 0.1, 0.099, 0.001]))
    group_of = np.full(documents, -1, np.int64)
    places = draw.permutation(documents)
    crowd = documents // 100
    group_of[places[:crowd]] = related
    group_of[places[crowd:related]] = small[: related - crowd]
    each = documents // SPLITS
    for split in range(SPLITS):
        groups = group_of[split * each : (split + 1) * each]
        member = groups >= 0
        sets = draw.integers(0, 2**63, (each, 20), np.int64).astype(np.uint64)
        grouped = _spread(groups[:, None] * 64 + np.arange(20))
        changed = member & (draw.random(each) < 0.25)
        own = sets[changed, 0]
        sets[member] = grouped[member]
        sets[changed, 0] = own
        sets.sort(axis=1)
        columns = {
            "source_row": np.arange(each),
            "ordinal": np.zeros(each, np.int32),
            "key": draw.integers(0, 2**63, each).astype(np.uint64),
            "check": draw.integers(0, 2**63, each).astype(np.uint64),
            "length": np.full(each, 3000),
            "rank": pa.nulls(each, pa.float64()),
        }
        for band in range(bands):
            hashes = draw.integers(0, 2**63, each).astype(np.uint64)
            alike = member & (draw.random(each) < 0.4)
            hashes[alike] = _spread(groups[alike] * 64 + 32 + band)
            columns[duplicate_files.band_name(band)] = hashes
        facts = {"uri": f"{split:02d}.jsonl", "source": "0", "ordinal": "0", "rows": str(each), "end": "1"}
        table = pa.table(columns).replace_schema_metadata(facts)
        area = duplicate_files.area(work, settings)
        area.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, area / f"{split:02d}-0.parquet", compression="none", use_dictionary=["ordinal"])
        lists = pa.LargeListArray.from_arrays(pa.array(np.arange(each + 1) * 20), pa.array(sets.reshape(-1)))
        duplicate_files.write_mapped(area / f"{split:02d}-0.arrow", pa.table({"shingles": lists}))


def _spread(values: Any) -> Any:
    """Other numbers, one for each: multiplied by an odd constant, and mixed."""
    spread = values.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    spread ^= spread >> np.uint64(29)
    return spread * np.uint64(0xBF58476D1CE4E5B9)


def clustered(work: Path) -> dict[str, Any]:
    """The steps of the pass after signing, as its tasks run them."""
    settings = Settings()
    area, lists = duplicate_files.area(work, settings), work / "lists" / "lists"
    rows = pq.read_metadata(area / "00-0.parquet").num_rows
    signed = [Signed(f"{at:02d}-0", f"{at:02d}.jsonl", 0, 0, rows, rows) for at in range(SPLITS)]
    steps = Steps(work, lists, settings)
    _warm(settings)
    peak = Peak()
    peak.start()
    seconds: dict[str, float] = {}
    wall = [0.0]

    def timed(name: str, do: Any, tasks: Any) -> Any:
        cpu, began = _used(), time.perf_counter()
        told = [do(task) for task in tasks]
        seconds[name] = _used() - cpu
        wall[0] += time.perf_counter() - began
        return told

    (prefixes,) = timed("catalogue", steps.catalogue, [[tuple(one) for one in signed]])
    timed("equal", steps.equal, prefixes)
    timed("bands", steps.group, steps.bands())
    timed("verify", steps.verify, steps.checks())
    (blocks,) = timed("settle", lambda _: steps.settle(), [None])
    timed("lists", steps.write, blocks)
    removed = json.loads((lists / SUMMARY).read_bytes())
    return {
        "seconds": seconds,
        "wall": wall[0],
        "peak": peak.stopped(),
        "mapped": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "removed": sum(removed["removed"].values()),
    }


class Peak(threading.Thread):
    """The most memory of this process, mapped files apart, seen twenty times a second: bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self.done = 0, threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.05):
            lines = Path("/proc/self/status").read_text().splitlines()
            (held,) = (int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
            self.most = max(self.most, held)

    def stopped(self) -> int:
        self.done.set()
        self.join()
        return self.most


def _warm(settings: Settings) -> None:
    """Load the compiled kernels."""
    text = " ".join(map(str, range(40)))
    duplicates.mark(
        pl.DataFrame({"text": [text, text, f"{text} 40", *(f"{text} {n} {n}" for n in range(60))]}), settings
    )


# --- What is found


def found() -> None:
    """Recall and precision of removal, by similarity."""
    names = [f"w{number}" for number in range(50_000)]
    settings = {"18 bands of 7 (default)": Settings(), "16 bands of 8": Settings(bands=(16, 8))}
    print("Pairs of texts of 364 words with known similarity, threshold 0.8: share that is removed\n")
    _row("similarity", "pairs", *settings, *(f"formula, {name.partition(' (')[0]}" for name in settings))
    _row(*["---"] * 6)
    for changed in (18, 12, 10, 9, 8, 7, 6, 4, 2):
        draw = random.Random(changed)
        pairs = [versions(draw, names, changed) for _ in range(PAIRS)]
        exact = (360 - 5 * changed) / (360 + 5 * changed)
        frame = pl.DataFrame({"text": [text for pair in pairs for text in pair]})
        shares = []
        for chosen in settings.values():
            named = duplicates.mark(frame, chosen)["duplicate_of"].to_numpy()[1::2]
            gone = np.flatnonzero(~np.isnan(named))
            assert (named[gone] == 2 * gone).all() and (exact >= 0.8 or not len(gone)), "precision is 1"
            shares.append(f"{len(gone) / len(pairs):.4f}")
        formula = [f"{minhash.found_share(exact, *chosen.banding):.4f}" for chosen in settings.values()]
        _row(f"{exact:.3f}", f"{len(pairs):,}", *shares, *formula)
    print(
        "\nPrecision is 1: no pair below the threshold is removed, and every removed text names the other of its pair.\n"
    )


def versions(draw: random.Random, names: list[str], changed: int) -> tuple[str, str]:
    """Two texts of 364 different words, 360 shingles, and so many words changed, five or more apart: each changes five
    shingles."""
    one = draw.sample(names, 364)
    other = list(one)
    for at in draw.sample(range(4, 360, 5), changed):
        other[at] = f"{other[at]}x"
    return " ".join(one), " ".join(other)


def _run(command: list[str]) -> Any:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def _used() -> float:
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return spent.ru_utime + spent.ru_stime


def _row(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
