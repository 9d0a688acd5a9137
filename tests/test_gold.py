"""The gold set: what its README promises is what the file holds."""

import re
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from sklearn.metrics import cohen_kappa_score

from schemas.feedback import LEVELS
from transforms.feedback import evaluation

FOLDER = Path(str(files("configs"))) / "feedback" / "gold"
PAGE = Path(__file__).parents[1] / "docs" / "labels.md"
FIELDS = {"id", "language", "query", "response", "feedback", "level", "first", "second", "kind", "note"}
KINDS = {
    "code",
    "long",
    "mixed",
    "negation",
    "no_attitude_words",
    "plain",
    "polite_rejection",
    "politeness_only",
    "question_as_correction",
    "quoted_text",
    "role_play",
    "sarcasm",
    "terse",
    "thanks_then_request",
    "topic_change",
    "typo_slang",
}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (FOLDER / "feedback.jsonl").read_bytes().splitlines()]


@pytest.fixture(scope="module")
def readme() -> str:
    return (FOLDER / "README.md").read_text("utf-8")


def test_at_least_300_messages_in_two_languages(rows: list[dict[str, Any]]) -> None:
    languages = Counter(row["language"] for row in rows)
    assert set(languages) == {"en", "zh"}
    assert languages.total() >= 300
    assert min(languages.values()) >= 100


def test_fields_are_the_documented_ones(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert set(row) == FIELDS, row["id"]
        assert row["id"].startswith(row["language"] + "-")
        for name in ("query", "response", "feedback", "note"):
            assert row[name].strip(), (row["id"], name)
        for name in ("level", "first", "second"):
            assert type(row[name]) is int and row[name] in LEVELS, row["id"]


def test_every_level_and_every_kind_in_both_languages(rows: list[dict[str, Any]]) -> None:
    for language in ("en", "zh"):
        levels = Counter(row["level"] for row in rows if row["language"] == language)
        assert set(levels) == set(LEVELS)
        assert min(levels.values()) >= 20
        assert {row["kind"] for row in rows if row["language"] == language} == KINDS


def test_no_message_stands_twice(rows: list[dict[str, Any]]) -> None:
    assert len({row["id"] for row in rows}) == len(rows)
    assert len({re.sub(r"\W", "", row["feedback"]).casefold() for row in rows}) == len(rows)


def test_agreed_levels_stand(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if row["first"] == row["second"]:
            assert row["level"] == row["first"], row["id"]


def test_chinese_is_simplified_and_traditional(rows: list[dict[str, Any]]) -> None:
    chinese = "".join(row["feedback"] for row in rows if row["language"] == "zh")
    assert len(set("這個還沒謝應該") & set(chinese)) >= 4
    assert len(set("这个还没谢应该") & set(chinese)) >= 4


def test_evaluation_reads_it(rows: list[dict[str, Any]]) -> None:
    gold = evaluation.read_gold(FOLDER / "feedback.jsonl")
    assert gold["feedback"].to_list() == [row["feedback"] for row in rows]
    assert gold["level"].to_list() == [row["level"] for row in rows]
    assert gold.null_count().row(0) == (0,) * gold.width


def test_the_readme_counts_the_levels(rows: list[dict[str, Any]], readme: str) -> None:
    for level, name in LEVELS.items():
        counts = [sum(r["level"] == level and r["language"] in among for r in rows) for among in ("en", "zh", "en zh")]
        assert f"| {level} {name} | {' | '.join(map(str, counts))} |" in readme


def test_the_readme_counts_the_kinds(rows: list[dict[str, Any]], readme: str) -> None:
    for kind, count in Counter(row["kind"] for row in rows).items():
        assert re.search(rf"\| `{kind}` \| {count} \|", readme), kind


def test_the_readme_states_the_agreement(rows: list[dict[str, Any]], readme: str) -> None:
    first, second = ([row[name] for row in rows] for name in ("first", "second"))
    raw = sum(one == other for one, other in zip(first, second, strict=True))
    kappa, weighted = cohen_kappa_score(first, second), cohen_kappa_score(first, second, weights="quadratic")
    assert f"| {raw} of {len(rows)} | {kappa:.3f} | {weighted:.3f} |" in readme


def test_the_page_on_labels_has_the_figures_of_the_rules() -> None:
    page = PAGE.read_text("utf-8")
    gold = evaluation.read_gold(FOLDER / "feedback.jsonl")
    gold = gold.with_columns(judged=pl.Series(evaluation.judged_by_rules(gold)))
    for name, part in (("all", gold), ("English", gold.filter(language="en")), ("Chinese", gold.filter(language="zh"))):
        found = evaluation.evaluate(part["level"].to_list(), part["judged"].to_list())
        overall = (found.accuracy, found.macro_f1, found.kappa, found.weighted_kappa)
        assert figures(page, name) == [str(part.height), *(f"{measure.value:.3f}" for measure in overall)]
    found = evaluation.evaluate(gold["level"].to_list(), gold["judged"].to_list())
    for one in found.levels:
        measures = (one.precision, one.recall, one.f1)
        assert figures(page, f"{one.level} {LEVELS[one.level]}") == [
            str(one.support),
            *(f"{measure.value:.3f}" for measure in measures),
        ]
    for (kind,), part in gold.group_by("kind"):
        right = (part["level"] == part["judged"]).sum()
        neutral = (part["judged"] == 3).sum()
        opposite = ((part["level"] - 3) * (part["judged"] - 3) < 0).sum()
        assert figures(page, f"`{kind}`") == [str(part.height), str(right), str(neutral), str(opposite)]


def figures(page: str, row: str) -> list[str]:
    """The cells of the first table row of that name, without what stands in parentheses."""
    found = re.search(rf"^\| {re.escape(row)} \| (.+) \|$", page, re.MULTILINE)
    assert found, row
    return [cell.partition(" (")[0] for cell in found[1].split(" | ")]
