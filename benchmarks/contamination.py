"""What the search for benchmarks costs, and what it finds in real data.

    python benchmarks/contamination.py ../shared/data speed --megabytes 300
    python benchmarks/contamination.py ../shared/data found
    python benchmarks/contamination.py ../shared/data planted

speed   CPU seconds of ``measure`` on the web and wiki documents, repeated, against IFEval; of its parts; of a plain Python version
found   what web documents, Dolma documents, ShareGPT chats, OpenAssistant prompts and Alpaca instructions share with IFEval, by
        setting; every document found is shown by its span, so that a reader can judge it
planted each IFEval prompt put into a web document, with a share of its words replaced by others: how many are found

Spans are printed on the screen only: they quote a benchmark.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from transforms.text import contamination, words
from transforms.text.contamination import Benchmark, Benchmarks, Settings

SETTINGS = {
    "13 words (default)": Settings(),
    "13 words, templates too": Settings(common=1_000_000),
    "8 words": Settings(ngram=8),
    "8 words, templates too": Settings(ngram=8, common=1_000_000),
}

OTHERS = ("other", "something", "large", "blue", "went", "under")


def documents(folder: Path) -> dict[str, pl.Series]:
    """Texts by source: String."""
    chats = pl.read_ndjson(folder / "chats" / "sharegpt_500.jsonl")["conversations"].explode()
    dolma = gzip.decompress((folder / "text" / "dolma_documents_000.json.gz").read_bytes())
    trees = (folder / "chats" / "oasst_trees_en_100.jsonl").read_text(encoding="utf-8").splitlines()
    alpaca = json.loads((folder / "instructions" / "alpaca_en_999.json").read_text(encoding="utf-8"))
    return {
        "web and wiki": pl.read_ndjson(folder / "text" / "web_wiki_471.jsonl")["text"],
        "Dolma": pl.Series([json.loads(line)["text"] for line in dolma.splitlines()]),
        "ShareGPT messages": chats.struct.field("value"),
        "OpenAssistant messages": pl.Series([text for tree in trees for text in messages(json.loads(tree))]),
        "Alpaca": pl.Series([f"{row['instruction']}\n{row['input']}\n{row['output']}" for row in alpaca]),
    }


def messages(tree: dict[str, Any]) -> Iterator[str]:
    """The texts of a tree of messages."""
    waiting = [tree.get("prompt", tree)]
    while waiting:
        node = waiting.pop()
        yield node["text"]
        waiting += node.get("replies", [])


def ifeval(folder: Path, settings: Settings) -> Benchmarks:
    """IFEval's prompts."""
    return Benchmarks.load([Benchmark("ifeval", str(folder / "instructions" / "ifeval_prompts.jsonl"))], settings)


def show_found(folder: Path) -> None:
    """Print how many texts of each source each setting finds, and what the default and the widest find."""
    sources = documents(folder)
    print(ifeval(folder, Settings()).summary)
    print("| source | texts |", " | ".join(SETTINGS), "|")
    print("|---|---|", "---|" * len(SETTINGS))
    for source, texts in sources.items():
        found = [contamination.measure(texts, ifeval(folder, settings)) for settings in SETTINGS.values()]
        counts = [f"{(scores['contamination'] > 0).sum():,}" for scores in found]
        print(f"| {source} | {len(texts):,} |", " | ".join(counts), "|")
        for text, score in zip(texts, found[-1].to_dicts(), strict=True):
            if score["contamination"] > 0:
                span = score["contaminated_span"]
                quoted = text[span["start"] : span["stop"]]
                print(f"    {score['contamination']:.2f} {score['contaminated_by']} {quoted!r}")


def show_planted(folder: Path) -> None:
    """Print the share of planted prompts that is found, and of those found how many are named, by share of words replaced."""
    prompts = [json.loads(line)["prompt"] for line in (folder / "instructions" / "ifeval_prompts.jsonl").open()]
    carriers = documents(folder)["web and wiki"]
    chosen = random.Random(0)
    compared = (13, 8)
    print("| words replaced |", " | ".join(f"{n} words: found | named right | mean share" for n in compared), "|")
    print("|---|", "---|" * 3 * len(compared))
    for share in (0.0, 0.02, 0.05, 0.1, 0.2):
        texts = []
        for number, prompt in enumerate(prompts):
            planted = [chosen.choice(OTHERS) if chosen.random() < share else word for word in prompt.split()]
            carrier = carriers[number % len(carriers)].split("\n")
            at = chosen.randrange(len(carrier) + 1)
            texts.append("\n".join([*carrier[:at], " ".join(planted).upper(), *carrier[at:]]))
        cells = [f"{share:.0%}"]
        for n in compared:
            scores = contamination.measure(pl.Series(texts), ifeval(folder, Settings(ngram=n)))
            found = scores["contamination"] > 0
            own = scores["contaminated_by"] == pl.Series([f"ifeval:{number}" for number in range(len(prompts))])
            cells += [f"{found.mean():.3f}", f"{own.mean():.3f}", f"{scores['contamination'].mean():.2f}"]
        print("|", " | ".join(cells), "|")


def cpu_seconds(work: Callable[[], Any], runs: int = 3) -> float:
    """The least CPU time of a few runs."""
    times = []
    for _ in range(runs):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def show_speed(folder: Path, megabytes: int) -> None:
    """Print megabytes of text a CPU second."""
    texts = documents(folder)["web and wiki"]
    size = int(texts.str.len_bytes().sum())
    copies = max(1, round(megabytes * 1e6 / size))
    repeated = pl.concat([texts] * copies)
    benchmarks, buffer = ifeval(folder, Settings()), words.buffer(repeated)
    contamination.measure(texts, benchmarks)  # compiles
    steps: dict[str, Callable[[], Any]] = {
        "measure": lambda: contamination.measure(repeated, benchmarks),
        "of which words.segment": lambda: words.segment(buffer, benchmarks.settings.words),
    }
    print(f"{size * copies / 1e6:,.0f} MB, {len(repeated):,} documents")
    for name, work in steps.items():
        seconds = cpu_seconds(work)
        print(f"| {name} | {seconds:.2f} s | {size * copies / 1e6 / seconds:,.0f} MB/s |")
    prompts = [json.loads(line)["prompt"] for line in (folder / "instructions" / "ifeval_prompts.jsonl").open()]
    seconds = cpu_seconds(lambda: plain(texts, prompts), runs=1)
    print(
        f"| plain Python, set of tuples | {seconds * copies:.0f} s (from {size / 1e6:.1f} MB) | {size / 1e6 / seconds:,.1f} MB/s |"
    )
    whole = pl.Series(prompts)
    own = contamination.measure(pl.concat([whole] * 400), benchmarks)
    seconds = cpu_seconds(lambda: contamination.measure(pl.concat([whole] * 400), benchmarks))
    size = 400 * int(whole.str.len_bytes().sum())
    print(
        f"| nothing but the benchmark ({own['contamination'].min()}) | {seconds:.2f} s | {size / 1e6 / seconds:,.0f} MB/s |"
    )


def plain(texts: pl.Series, prompts: list[str], n: int = 13) -> int:
    """How many texts share an n-gram, in plain Python."""

    def ngrams(text: str) -> Iterator[tuple[str, ...]]:
        folded = ("".join(filter(str.isalnum, word)).casefold() for word in text.split())
        kept = [word for word in folded if word]
        return (tuple(kept[at : at + n]) for at in range(len(kept) - n + 1))

    known = {gram for prompt in prompts for gram in ngrams(prompt)}
    return sum(any(gram in known for gram in ngrams(text)) for text in texts)


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", choices=["speed", "found", "planted"])
    parser.add_argument("--megabytes", type=int, default=300)
    arguments = parser.parse_args()
    if arguments.what == "speed":
        show_speed(arguments.folder, arguments.megabytes)
    elif arguments.what == "found":
        show_found(arguments.folder)
    else:
        show_planted(arguments.folder)


if __name__ == "__main__":
    main()
