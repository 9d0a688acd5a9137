"""Language identification: as fast as bare fastText, and how often it is right on real messages.

    python -m benchmarks.language ../shared/data            everything
    python -m benchmarks.language ../shared/data speed      one of speed, messages, short, thresholds, code

speed     ``identification.identify`` beside fastText's ``predict`` alone, on lines cut to the same characters and ready beforehand.
          Contestants take turns; the least CPU seconds of a process of each are told, as other work on a machine only adds
messages  who names the language of each message of sharegpt_500.jsonl
short     the first words of longer messages whose language is clear, and of the sentences in the tests, which are in 28 languages
thresholds  on the same beginnings: how often bare fastText is right, by how many letters it saw and how sure it was
code      the insides of fenced code, and capitals

``messages`` needs to know what is right. The file's own tags do not: they come from another detector, for which "continue" is Italian.
A tag counts where fastText and the rules (or fastText alone, where the rules are silent) say the same. The other messages, 146 different ones,
were read: all are English but those in ``READ``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from tests.transforms.text.test_language import KNOWN
from transforms.text import fasttext_models, identification, language
from transforms.text.identification import LID_176, MAX_CHARACTERS

ROUNDS: Final = 3
SPEED_BYTES: Final = 10_000_000
WORDS: Final = (1, 2, 4, 8)

READ: Final = {
    **dict.fromkeys(
        ("749fbcbc", "f4e48e66", "e3b0c442", "599b0bb8", "6b86b273", "19581e27", "7902699b", "4b227777"), ""
    ),
    **dict.fromkeys(("1af9b238",), "fr"),
    **dict.fromkeys(("9e98ccfc", "467bc233", "967939dc", "fd993844"), "zh"),
    **dict.fromkeys(("415e4d86", "22077c55", "3a5d7a5d"), "id"),
    **dict.fromkeys(
        ("84c50cc3", "2660b734", "65cc2dd2"), "en ko"
    ),  # "keep going", and the button of a Korean translator
    "c15f31a6": "de",
    "d9df4cf5": "en de",
    "5ef77e2e": "en ta",
    "d3751d33": "de nl af",
    "10129219": "de nl",
    "806d6d6a": "en de",
}
"""By the start of a message's SHA-256: the languages that are right, empty for none."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("sections", nargs="*", default=["speed", "messages", "short", "thresholds", "code"])
    given = parser.parse_args()
    sections = {"speed": speed, "messages": messages, "short": short, "thresholds": thresholds, "code": code}
    for name in given.sections:
        print(f"\n{name}")
        sections[name](given.data)


def speed(data: Path) -> None:
    predict = LID_176.load().f.predict
    for name, texts in (("documents", documents(data)), ("messages", chat(data)["text"])):
        repeats = -(-SPEED_BYTES // int(texts.str.head(MAX_CHARACTERS).str.len_bytes().sum()))
        many = pl.concat([texts] * repeats)
        cut = many.str.head(MAX_CHARACTERS)
        ready = (cut.str.replace_all("\n", " ", literal=True) + "\n").to_list()
        size = int(cut.str.len_bytes().sum())
        ours, bare = in_turns(
            lambda many=many: identification.identify(many),
            lambda ready=ready: [predict(line, 1, 0.0, "strict") for line in ready],
        )
        print(f"  {name}: {len(many):,} texts, {size / 1e6:.1f} MB within {MAX_CHARACTERS:,} characters")
        for who, (cpu, wall) in (("sluice", ours), ("bare fastText", bare)):
            print(
                f"    {who:14} {cpu:.2f} CPU s  {size / cpu / 1e6:5.2f} MB/s of CPU  {size / wall / 1e6:5.2f} MB/s of wall time"
            )
        print(f"    sluice / bare  {bare[0] / ours[0]:.2f} of CPU, {bare[1] / ours[1]:.2f} of wall time")


def in_turns(*contestants: Callable[[], object]) -> list[tuple[float, float]]:
    """The least CPU seconds and wall seconds of each, of ``ROUNDS`` after one that does not count."""
    seen: list[list[tuple[float, float]]] = [[] for _ in contestants]
    for at in range(ROUNDS + 1):
        for contestant, times in zip(contestants, seen, strict=True):
            cpu, wall = time.process_time(), time.perf_counter()
            contestant()
            if at:
                times.append((time.process_time() - cpu, time.perf_counter() - wall))
    return [(min(cpu for cpu, _ in times), min(wall for _, wall in times)) for times in seen]


def messages(data: Path) -> None:
    said = chat(data).pipe(verdicts)
    agreed = (pl.col("bare fastText") == pl.col("tag")) & (pl.col("rules").fill_null(pl.col("tag")) == pl.col("tag"))
    said = said.with_columns(agreed=agreed.fill_null(False))
    marks = [hashlib.sha256(text.encode()).hexdigest()[:8] for text in said["text"]]
    read = pl.Series([READ.get(mark, "en") for mark in marks])
    said = said.with_columns(right=pl.when("agreed").then("tag").otherwise(read))
    open_ = said.filter(~pl.col("agreed"))
    print(f"  {len(said):,} messages, {len(open_)} read, {open_['text'].n_unique()} of them different")
    brief = pl.col("text").str.len_chars() < 50
    for name, some in (("all", said), ("under 50 characters", said.filter(brief)), ("read", open_)):
        table(name, some)


def short(data: Path) -> None:
    for name, texts in beginnings(data).items():
        for words in WORDS:
            table(f"{name}, first {words} words", first(texts, words).pipe(verdicts))


def thresholds(data: Path) -> None:
    for name, texts in beginnings(data).items():
        all_ = pl.concat([first(texts, words) for words in WORDS]).unique(maintain_order=True)
        answers = fasttext_models.best(LID_176.load(), fasttext_models.one_line(all_["text"], MAX_CHARACTERS))
        letters = all_["text"].str.count_matches(r"\p{L}")
        for low, high in ((1, 2), (3, 9), (10, 19), (20, 1_000)):
            for least, most in ((0.0, 0.5), (0.5, 0.65), (0.65, 0.8), (0.8, 1.01)):
                seen = answers["probability"]
                some = letters.is_between(low, high) & (seen >= least) & (seen < most)
                right = (answers["label"] == all_["right"]).filter(some)
                share = f"right {right.mean():6.1%}" if len(right) else ""
                print(f"  {name:16} {low:3} to {high:5,} letters  {least:4} <= p < {most:4}  {len(right):5,}  {share}")


def beginnings(data: Path) -> dict[str, pl.DataFrame]:
    """Texts whose language is clear, ``text`` and ``right``; those in a script of one language are left out."""
    clear = chat(data).pipe(verdicts).filter(pl.all_horizontal(pl.col("bare fastText", "rules", "tag") == "en"))
    known = pl.DataFrame(KNOWN, schema=["text", "right"], orient="row")
    several = ~pl.col("right").is_in(["zh", "ja", "ko", "th", "el"])
    return {"English": clear.select("text", right=pl.lit("en")), "other languages": known.filter(several)}


def first(texts: pl.DataFrame, words: int) -> pl.DataFrame:
    parts = pl.col("text").str.split(" ")
    longer = texts.filter(parts.list.len() > words)
    return longer.with_columns(parts.list.head(words).list.join(" ")).unique(maintain_order=True)


def code(data: Path) -> None:
    blocks = (block for text in chat(data)["text"] for block in re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL))
    inside = pl.Series("text", [block for block in blocks if len(block) > 20])
    found = identification.identify(inside)
    print(f"  {len(inside)} pieces of code: {found['language'].is_null().mean():.0%} null", end="; ")
    kept = identification.select(inside.to_frame())["reason"].is_null()
    print(f"{kept.mean():.0%} pass at a probability of {identification.MINIMUM_PROBABILITY}")
    web = documents(data)
    loud = pl.DataFrame({"text": web.str.to_uppercase(), "right": "en"})
    table(f"{len(web)} documents in capitals", loud.pipe(verdicts))


def verdicts(frame: pl.DataFrame) -> pl.DataFrame:
    bare = fasttext_models.best(LID_176.load(), fasttext_models.one_line(frame["text"], MAX_CHARACTERS))["label"]
    ours = identification.identify(frame["text"])
    return frame.with_columns(
        bare.alias("bare fastText"), language.detect(frame["text"]).alias("rules"), ours["language"].alias("sluice")
    )


def table(name: str, frame: pl.DataFrame) -> None:
    """Shares that each contestant names rightly, wrongly and not at all. Where nothing is right, to say nothing is."""
    rights = [set(right.split()) for right in frame["right"]]
    for who in ("tag", "rules", "bare fastText", "sluice"):
        if who not in frame.columns:
            continue
        said = frame[who].replace("unknown", None)
        good = np.array([one in right if one else not right for one, right in zip(said, rights, strict=True)])
        silent = said.is_null().to_numpy() & ~good
        wrong = len(said) - int(good.sum()) - int(silent.sum())
        shares = f"right {good.mean():6.1%}  wrong {wrong / len(said):6.1%} ({wrong})  null {silent.mean():6.1%}"
        print(f"  {name:30} {len(said):6,}  {who:14} {shares}")


def chat(data: Path) -> pl.DataFrame:
    with (data / "chats" / "sharegpt_500.jsonl").open() as lines:
        said = [turn for line in lines for turn in json.loads(line)["conversations"]]
    return pl.DataFrame({"text": [turn["value"] for turn in said], "tag": [turn.get("language") for turn in said]})


def documents(data: Path) -> pl.Series:
    with (data / "text" / "web_wiki_471.jsonl").open() as lines:
        return pl.Series("text", [json.loads(line)["text"] for line in lines])


if __name__ == "__main__":
    main()
