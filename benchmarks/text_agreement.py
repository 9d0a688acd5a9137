"""Whether Sluice and datatrove keep the same documents, rule by rule.

    python benchmarks/text_agreement.py [JSONL ...]     columns: text; default ../shared/data/text/web_wiki_471.jsonl

datatrove runs in an environment of its own under .bench/peers, once with words between white space put in for its tokenizer, once as it
comes (spaCy). Sluice takes datatrove's bound where the paper has another (``fineweb_duplicate_line_characters``), and cleans lines before
C4's rules, as datatrove does. Prints Markdown.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import polars as pl

from transforms.text import filtering, quality, repetition, words
from transforms.text.words import Segmentation

HERE: Final = Path(__file__).resolve().parent
ENVIRONMENT: Final = HERE.parent / ".bench" / "peers" / "text-datatrove"
REQUIREMENTS: Final = ("datatrove==0.10.1", "spacy==3.8.18", "regex==2026.11.15", "orjson>=3", "pyarrow>=20")
DOCUMENTS: Final = HERE.parent.parent / "shared" / "data" / "text" / "web_wiki_471.jsonl"

RULES: Final = {rule.name: rule for rule in (*quality.DEFAULT, *repetition.RULES.values())} | {
    "fineweb_duplicate_line_characters": replace(
        quality.RULES["fineweb_duplicate_line_characters"], maximum=0.01, strict=False
    )
}
FAMILIES: Final = {
    "gopher": [name for name in RULES if name.startswith("gopher_")],
    "c4": [name for name in RULES if name.startswith("c4_")],
    "fineweb": [name for name in RULES if name.startswith("fineweb_")],
    "repetition": list(repetition.RULES),
}


def main() -> None:
    """Compare, print."""
    paths = [Path(path) for path in sys.argv[1:]] or [DOCUMENTS]
    texts = [json.loads(line)["text"] for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    peer = datatrove(texts)
    for answer in peer.values():
        answer["verdicts"] = {"all four": every(answer["verdicts"][name] for name in FAMILIES)} | answer["verdicts"]
    print(table(texts, peer))
    print()
    print(word_counts(texts, peer))


def datatrove(texts: list[str]) -> dict[str, Any]:
    """What ``peers/text_verdicts.py`` says of the texts."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        subprocess.run(["uv", "venv", "--quiet", str(ENVIRONMENT)], check=True)
        subprocess.run(["uv", "pip", "install", "--quiet", "--python", str(python), *REQUIREMENTS], check=True)
    script = HERE / "peers" / "text_verdicts.py"
    answer = subprocess.run(
        [str(python), str(script)], input=json.dumps(texts), capture_output=True, text=True, check=True
    )
    return json.loads(answer.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def sluice(texts: list[str], segmentation: Segmentation) -> dict[str, pl.Series]:
    """Whether each rule keeps each text."""
    frame = pl.DataFrame({"text": texts})
    scores = quality.measure(frame["text"], [RULES[name] for name in RULES if name in quality.RULES], segmentation)
    cleaned = quality.measure(
        quality.clean(frame["text"], segmentation), [RULES["c4_curly_brackets"], RULES["c4_lorem_ipsum"]], segmentation
    )
    whole = cleaned.rename({name: f"{name} in what is left" for name in cleaned.columns})
    repeated = repetition.measure(frame["text"], segmentation=segmentation)
    left = {name: replace(RULES[name.split(" ")[0]], name=name) for name in whole.columns}
    rules = [*RULES.values(), *left.values()]
    judged = filtering.select(frame, pl.concat([scores, whole, repeated], how="horizontal"), rules)
    kept = {rule.name: ~judged["failed"].list.contains(rule.name) for rule in rules}
    families = FAMILIES | {"c4": ["c4_sentences", *left]}
    wholes = {family: together([kept[name] for name in names]) for family, names in families.items()}
    return kept | wholes | {"all four": together(list(wholes.values()))}


def together(verdicts: list[pl.Series]) -> pl.Series:
    """Kept by all."""
    return (
        pl.DataFrame([verdict.alias(str(number)) for number, verdict in enumerate(verdicts)])
        .select(pl.all_horizontal(pl.all()))
        .to_series()
    )


def table(texts: list[str], peer: dict[str, Any]) -> str:
    """A row for each rule and filter: how many documents both keep, and on which share they agree."""
    ours = {by: sluice(texts, by) for by in ("whitespace", "unicode")}
    lines = [
        "| rule or filter | datatrove keeps | Sluice keeps | same verdict | shipped keeps | same as whitespace | same as unicode |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, verdict in peer["whitespace"]["verdicts"].items():
        same_words, shipped = pl.Series(verdict), pl.Series(peer["shipped"]["verdicts"][name])
        kept = {by: together([found[part] for part in parts(name)]) for by, found in ours.items()}
        figures = [
            f"{same_words.sum()}",
            f"{kept['whitespace'].sum()}",
            share(kept["whitespace"], same_words),
            f"{shipped.sum()}",
            share(kept["whitespace"], shipped),
            share(kept["unicode"], shipped),
        ]
        lines.append(f"| {', '.join(f'`{part}`' for part in parts(name))} | {' | '.join(figures)} |")
    return "\n".join(lines)


def parts(name: str) -> list[str]:
    """The rules of Sluice that are one of datatrove's."""
    return [name] if name == "all four" else name.split()


def share(one: pl.Series, other: pl.Series) -> str:
    """On which share of documents two agree, and on how many not."""
    different = int((one != other).sum())
    return f"{1 - different / len(one):.1%}" + (f" ({different})" if different else "")


def every(verdicts: Iterable[list[bool]]) -> list[bool]:
    """Kept by all."""
    return [all(row) for row in zip(*verdicts, strict=True)]


def word_counts(texts: list[str], peer: dict[str, Any]) -> str:
    """How many words each notion of a word finds."""
    flat = words.buffer(pl.Series(texts))
    whitespace = len(words.segment(flat).starts)
    shipped = peer["shipped"]
    counts = {
        "whitespace": whitespace,
        "script": len(words.segment(flat, "script").starts),
        "unicode": len(words.segment(flat, "unicode").starts),
        "datatrove as shipped (spaCy)": shipped["words"],
        "the same without tokens of punctuation only": shipped["words"] - shipped["symbols"],
    }
    rows = [f"| {name} | {count:,} | {count / whitespace:.3f} |" for name, count in counts.items()]
    return "\n".join(["| words | count | to whitespace |", "|---|---|---|", *rows])


if __name__ == "__main__":
    main()
