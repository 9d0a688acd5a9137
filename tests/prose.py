"""English documents for tests, which every published rule of quality keeps."""

from __future__ import annotations

import random
from pathlib import Path

import yaml

from tests.builders import jsonl, packed, write

FILES = 8
EACH = 25
DOCUMENTS = FILES * EACH
COPIES = (FILES - 1) * EACH // 5

NOUNS = """river engine teacher window forest market signal journal captain village harbour library mountain garden theory
    kitchen painter battle letter winter machine doctor bridge science island violin planet candle soldier farmer""".split()
VERBS = """follows repairs explains watches crosses measures describes forgets builds carries visits remembers paints
    studies collects answers defends improves discovers translates""".split()
QUALITIES = """quiet narrow ancient bright careful distant famous gentle hidden heavy modern northern patient
    remarkable simple wooden golden nervous curious broken""".split()


def prose(seed: int, sentences: int = 12) -> str:
    """An English document that every published rule keeps; no two seeds give similar ones."""
    rng = random.Random(seed)
    told = []
    for _ in range(sentences):
        one, two, three = rng.sample(NOUNS, 3)
        told.append(
            f"The {rng.choice(QUALITIES)} {one} {rng.choice(VERBS)} the {two} of that {rng.choice(QUALITIES)} {three}, "
            f"and {rng.choice(VERBS)} {rng.randrange(10_000)} {rng.choice(NOUNS)} with {rng.choice(QUALITIES)} care."
        )
    return " ".join(told)


def changed(text: str, words: int) -> str:
    """The text with its first words changed."""
    return " ".join([*(f"changed{at}" for at in range(words)), *text.split()[words:]])


def sources(folder: Path) -> None:
    """Files in which every fifth document is, almost or wholly, one of the file before."""
    for at in range(FILES):
        texts = [prose(1000 * at + number) for number in range(EACH)]
        if at:
            texts[::5] = [changed(prose(1000 * (at - 1) + number), number % 4) for number in range(1, EACH, 5)]
        rows = [{"id": f"{at}/{number}", "text": text} for number, text in enumerate(texts)]
        write(folder / f"{at}.jsonl.zst", packed(jsonl(rows), "jsonl.zst"))


def config(folder: Path, documents: Path) -> Path:
    """A config over a folder of documents, in many small splits."""
    values = {
        "pipeline": "corpus",
        "dataset": {"name": "documents", "license": "cc0-1.0"},
        "sources": [{"uri": str(documents)}],
        "split_bytes": 8_000,
        "shard_bytes": 40_000,
    }
    return write(folder / "corpus.yaml", yaml.safe_dump(values).encode())
