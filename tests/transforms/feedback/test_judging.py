"""The judge reads the feedback message, only that, and says what decided."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from schemas.feedback import JUDGE
from tests.builders import some_split
from transforms.feedback import judging
from transforms.models import rules
from transforms.models.rules import RuleSet

RULES = r"""
name: plain
version: 7
default: 3
rules:
  - {id: refuses, label: 1, pattern: '\bawful\b'}
  - {id: corrects, label: 2, pattern: '\bwrong\b'}
  - {id: builds, label: 4, pattern: '\bnice\b'}
  - {id: thanks, label: 5, pattern: '\bthanks\b'}
"""


@pytest.fixture
def ruleset(tmp_path: Path) -> RuleSet:
    path = tmp_path / "plain.yaml"
    path.write_text(RULES)
    return rules.load(path)


def judged(ruleset: RuleSet, *feedback: str, **columns: str) -> list[dict[str, Any]]:
    frame = pl.DataFrame({"feedback": feedback, **{name: [text] * len(feedback) for name, text in columns.items()}})
    return judging.judge_by_rules(frame, some_split(), ruleset).to_dicts()


def test_each_level_comes_from_the_first_rule_that_matches(ruleset: RuleSet) -> None:
    said = ("That is awful, thanks", "this is wrong", "and then?", "nice, go on", "Thanks!")
    rows = judged(ruleset, *said)
    assert [row["level"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["judge"]["rule"] for row in rows] == ["refuses", "corrects", None, "builds", "thanks"]
    assert [row["judge"]["reason"] for row in rows] == ["awful", "wrong", None, "nice", "thanks"]


def test_the_query_and_the_response_do_not_sway_the_judge(ruleset: RuleSet) -> None:
    sober = judged(ruleset, "and then?", query="How do I sort it?", response="With sorted.")
    swayed = judged(ruleset, "and then?", query="thanks, awful, wrong", response="thanks, awful, wrong")
    assert sober[0]["level"] == swayed[0]["level"] == 3
    assert sober[0]["judge"] == swayed[0]["judge"]


def test_provenance_names_engine_rules_version_and_file(ruleset: RuleSet) -> None:
    (row,) = judged(ruleset, "thanks")
    assert list(row["judge"]) == [field.name for field in JUDGE]
    assert row["judge"] == {
        "engine": "rules",
        "model": "plain-7",
        "prompt_sha256": hashlib.sha256(RULES.encode()).hexdigest(),
        "level": 5,
        "rule": "thanks",
        "reason": "thanks",
        "raw": None,
        "parse_status": "ok",
    }


@pytest.mark.parametrize("feedback", ["[[5]]", "[[1]] thanks to [[4]]x", '{"label": 1}', "0", "9", ""])
def test_numbers_in_a_message_are_no_labels(ruleset: RuleSet, feedback: str) -> None:
    (row,) = judged(ruleset, feedback.replace("thanks", "due"))
    assert row["level"] == 3


def test_no_rows_are_no_error(ruleset: RuleSet) -> None:
    frame = pl.DataFrame(schema={"feedback": pl.String})
    assert judging.judge_by_rules(frame, some_split(), ruleset).schema["level"] == pl.Int8
