"""Gopher's repetition rules against a plain reading of the paper, on real documents and on texts made to repeat."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from transforms.text import repetition, words
from transforms.text.filtering import Rule
from transforms.text.words import Segmentation

SHARED_TEXT = Path(__file__).resolve().parents[4] / "shared" / "data" / "text"

PUBLISHED = {
    "duplicate_line_fraction": 0.30,
    "duplicate_paragraph_fraction": 0.30,
    "duplicate_line_character_fraction": 0.20,
    "duplicate_paragraph_character_fraction": 0.20,
    "top_2_gram_character_fraction": 0.20,
    "top_3_gram_character_fraction": 0.18,
    "top_4_gram_character_fraction": 0.16,
    "duplicate_5_gram_character_fraction": 0.15,
    "duplicate_6_gram_character_fraction": 0.14,
    "duplicate_7_gram_character_fraction": 0.13,
    "duplicate_8_gram_character_fraction": 0.12,
    "duplicate_9_gram_character_fraction": 0.11,
    "duplicate_10_gram_character_fraction": 0.10,
}


@pytest.fixture(scope="module")
def real_texts() -> list[str]:
    """Every document of the real data, which only some checkouts have beside them."""
    if not SHARED_TEXT.is_dir():
        pytest.skip(f"no real documents at {SHARED_TEXT}")
    texts = [json.loads(line)["text"] for line in (SHARED_TEXT / "web_wiki_471.jsonl").read_text().splitlines()]
    with gzip.open(SHARED_TEXT / "dolma_documents_000.json.gz", "rt") as lines:
        texts += [json.loads(line)["text"] for line in lines]
    return [*texts, (SHARED_TEXT / "tinyshakespeare.txt").read_text()]


def by_hand(text: str, segmentation: Segmentation = "whitespace") -> dict[str, float]:
    """All scores with strings, sets and counters."""
    scores = dict.fromkeys(PUBLISHED, 0.0)
    if not text:
        return scores
    for name, pattern in {"line": r"[\r\n]+", "paragraph": r"[\r\n]*\n\r*\n[\r\n]*"}.items():
        pieces = [piece for piece in re.split(pattern, text.strip("\r\n")) if piece]
        firsts: dict[str, int] = {}
        for index, piece in enumerate(pieces):
            firsts.setdefault(piece, index)
        again = [piece for index, piece in enumerate(pieces) if index > firsts[piece]]
        scores[f"duplicate_{name}_fraction"] = len(again) / max(len(pieces), 1)
        scores[f"duplicate_{name}_character_fraction"] = sum(map(len, again)) / len(text)
    found = spans(text, segmentation)
    tokens = [text[start:stop] for start, stop in found]
    touching = [False, *(one[1] == two[0] for one, two in zip(found, found[1:], strict=False))]
    for n in (2, 3, 4):
        grams = [tuple(tokens[at : at + n]) for at in range(len(tokens) - n + 1)]
        if grams:
            gram, occurrences = Counter(grams).most_common(1)[0]
            first = grams.index(gram)
            spaces = (n - 1) - sum(touching[first + 1 : first + n])
            scores[f"top_{n}_gram_character_fraction"] = (sum(map(len, gram)) + spaces) * occurrences / len(text)
    for n in range(5, 11):
        seen, characters, at = set(), 0, 0
        while at + n <= len(tokens):
            gram = tuple(tokens[at : at + n])
            if gram in seen:
                characters += sum(map(len, gram))
                at += n
            else:
                seen.add(gram)
                at += 1
        scores[f"duplicate_{n}_gram_character_fraction"] = characters / len(text)
    return scores


def spans(text: str, segmentation: Segmentation) -> list[tuple[int, int]]:
    """Where words are, in characters; found here for whitespace, asked of ``words`` else."""
    if segmentation == "whitespace":
        return [match.span() for match in regex.finditer(r"\P{White_Space}+", text)]
    found = words.segment(words.buffer(pl.Series([text])), segmentation)
    data = text.encode()
    return [(len(data[:a].decode()), len(data[:b].decode())) for a, b in zip(found.starts, found.stops, strict=True)]


def expected(texts: list[str], segmentation: Segmentation = "whitespace") -> pl.DataFrame:
    schema = dict.fromkeys(PUBLISHED, pl.Float64)
    return pl.DataFrame([by_hand(text, segmentation) for text in texts], schema=schema).cast(pl.Float32)


def test_the_rules_and_thresholds_are_the_papers() -> None:
    assert {name: rule.maximum for name, rule in repetition.RULES.items()} == PUBLISHED
    assert all(rule.minimum is None and not rule.strict for rule in repetition.RULES.values())


def test_every_real_document_scores_as_by_hand(real_texts: list[str]) -> None:
    scores = repetition.measure(pl.Series(real_texts))
    assert scores.equals(expected(real_texts))
    assert all(largest > 0 for largest in scores.max().row(0))


REPEATING = st.one_of(
    st.text(alphabet="ab \n", max_size=60),
    st.text(alphabet="a \r\n\t", max_size=40),
    st.text(alphabet="ab中 文́\n\x00\x1f ", max_size=60),
    st.lists(st.sampled_from(["the", "cat", "sat", "on", "it.", "\n", "\n\n"]), max_size=80).map(" ".join),
    st.tuples(st.lists(st.sampled_from("one two three four".split())), st.integers(1, 6)).map(
        lambda drawn: " ".join(drawn[0] * drawn[1])
    ),
    st.text(max_size=40).map(lambda text: text * 3),
)


@given(st.lists(REPEATING, max_size=8), st.sampled_from(["whitespace", "script", "unicode"]))
def test_any_texts_score_as_by_hand(texts: list[str], segmentation: Segmentation) -> None:
    measured = repetition.measure(pl.Series(texts, dtype=pl.String), segmentation=segmentation)
    assert measured.equals(expected(texts, segmentation))


@pytest.mark.parametrize(
    ("text", "rule", "score"),
    [
        ("a\nb\na\nc\n", "duplicate_line_fraction", 1 / 4),
        ("aaa\nb\naaa\nc", "duplicate_line_character_fraction", 3 / 11),
        ("one\ntwo\n\none\ntwo\n\nthree", "duplicate_paragraph_fraction", 1 / 3),
        ("one\ntwo\n\none\ntwo\n\nthree", "duplicate_paragraph_character_fraction", 7 / 23),
        ("éa b éa b éa b x", "top_2_gram_character_fraction", 3 * 4 / 16),
        ("a b c d", "top_3_gram_character_fraction", 5 / 7),
        ("a a a a", "top_2_gram_character_fraction", 3 * 3 / 7),
        ("1 2 3 4 5 1 2 3 4 5 1 2 3 4 5", "duplicate_5_gram_character_fraction", 10 / 29),
        ("1 2 3 4 5 1 2 3 4 5 6 7", "duplicate_6_gram_character_fraction", 0.0),
        ("a bc d e f ab c d e f", "duplicate_5_gram_character_fraction", 0.0),
    ],
)
def test_scores_of_small_texts(text: str, rule: str, score: float) -> None:
    assert repetition.measure(pl.Series([text]))[rule].to_list() == [pytest.approx(score)]


def test_characters_that_are_words_are_not_joined_by_spaces() -> None:
    measured = repetition.measure(pl.Series(["中文中文中文"]), segmentation="script")
    assert measured["top_2_gram_character_fraction"].to_list() == [1.0]


def test_windows_line_ends_score_as_others() -> None:
    text = "one\ntwo\n\nthree\nfour\n\none\ntwo\n\nthree\n\nfive\n"
    names = [name for name in PUBLISHED if name in ("duplicate_line_fraction", "duplicate_paragraph_fraction")]
    unix, windows = repetition.measure(pl.Series([text, text.replace("\n", "\r\n")])).select(names).rows()
    assert unix[0] == pytest.approx(3 / 8)
    assert windows[0] == unix[0]
    assert (
        repetition.measure(pl.Series([text.replace("\n\n", "\r\n\r\n")]))["duplicate_paragraph_fraction"][0] == unix[1]
    )


def test_only_the_rules_asked_for_in_their_order() -> None:
    rules = [repetition.RULES[name] for name in ("duplicate_9_gram_character_fraction", "duplicate_line_fraction")]
    assert repetition.measure(pl.Series(["a a"]), rules).columns == [rule.name for rule in rules]
    assert repetition.measure(pl.Series(["a a"]), rules[1:]).columns == ["duplicate_line_fraction"]
    assert set(repetition.measure(pl.Series(["a"])).dtypes) == {pl.Float32}


def test_a_rule_of_another_module_is_refused() -> None:
    with pytest.raises(ValueError, match="no repetition rule called gopher_word_count"):
        repetition.measure(pl.Series(["a"]), [Rule("gopher_word_count", "", "")])


def test_a_repeating_text_is_rejected_and_says_why() -> None:
    plain = " ".join(f"word{number}" for number in range(100))
    texts = pl.Series("text", [plain, "\n".join([plain, plain, plain])])
    rules = [replace(rule, maximum=0.25) for rule in repetition.DEFAULT]
    verdicts = repetition.select(texts.to_frame(), rules)
    assert verdicts["reason"].to_list() == [None, "duplicate_line_fraction"]
    assert "duplicate_10_gram_character_fraction" in verdicts["failed"].to_list()[1]


def test_texts_do_not_touch_their_neighbours(real_texts: list[str]) -> None:
    texts = [*real_texts[:40], "", "a b " * 1_000_000, None, "a", *real_texts[40:60]]
    together = repetition.measure(pl.Series(texts))
    assert together.equals(pl.concat([repetition.measure(pl.Series([text])) for text in texts]))
    assert together[20:50].equals(repetition.measure(pl.Series(texts).slice(20, 30)))


BAD = {
    "empty": "",
    "blank": " \n\t　\r\n\n ",
    "controls": "\x00\x01\x1f\x7f\x85 " * 50,
    "no spaces": "YWJjZGVm" * 50_000,
    "chinese": "这是一个没有空格的句子。" * 5_000,
    "one word a line": "word\n" * 20_000,
    "right to left": "שלום עולם \u200fمرحبا\n" * 100,
    "marks": "e" + "́" * 10_000 + " x" * 10,
    "replaced": "�" * 1_000 + " � � �",
    "line breaks": "\n" * 100_000,
    "returns": "\r" * 1_000 + "a\r\r\nb",
    "outside the basic plane": "😀 😀 😀\n😀",
}


@pytest.mark.parametrize("segmentation", ["whitespace", "script", "unicode"])
def test_bad_input_is_scored(segmentation: Segmentation) -> None:
    texts = pl.Series([*BAD.values(), None])
    scores = repetition.measure(texts, segmentation=segmentation)
    assert scores.height == len(BAD) + 1
    assert not any(scores.null_count().row(0))
    assert scores.select(pl.all().is_finite().all()).row(0) == (True,) * len(PUBLISHED)
    assert scores[-1].equals(scores[0])
    assert set(scores.row(0)) == {0.0}


def test_no_texts() -> None:
    assert repetition.measure(pl.Series([], dtype=pl.String)).shape == (0, len(PUBLISHED))


def test_no_rules() -> None:
    assert repetition.select(pl.DataFrame({"text": ["a", None]}), [])["reason"].to_list() == [None, None]


@pytest.mark.parametrize("kind", ["same", "different", "period", "letters", "lines"])
def test_time_grows_with_the_text(kind: str) -> None:
    """Ten times the text takes about ten times as long; a quadratic step would take a hundred."""
    small, large = _text(kind, 20_000), _text(kind, 200_000)
    repetition.measure(pl.Series([small]))
    assert _seconds(large) < 40 * max(_seconds(small), 0.001)


def _text(kind: str, many: int) -> str:
    random = np.random.default_rng(0)
    if kind == "same":
        return "a " * many
    if kind == "different":
        return " ".join(map(str, range(many)))
    if kind == "period":
        return "one two three four five six seven " * (many // 7)
    if kind == "letters":
        return " ".join(random.choice(list("abcdefgh"), many))
    return "\n".join(map(str, random.integers(0, many, many)))


def _seconds(text: str) -> float:
    texts, taken = pl.Series([text]), []
    for _ in range(3):
        began = time.process_time()
        repetition.measure(texts)
        taken.append(time.process_time() - began)
    return min(taken)
