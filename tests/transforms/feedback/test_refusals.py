"""Refusals: five levels, what the response did, and what becomes of the level. The table is written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import polars as pl
import pytest

from tests.builders import some_split
from transforms.feedback import refusals
from transforms.models import rules
from transforms.models.rules import RuleSet

Row = dict[str, Any]
Validate = Callable[..., list[Row]]

REFUSAL = "{name: refusal, version: 1, default: answer, rules: [{id: says-no, label: refusal, pattern: '^(i refuse|我拒绝)'}]}"
HARM = "{name: harm, version: 1, default: benign, rules: [{id: poison, label: drugs, pattern: 'poison|毒药'}]}"

CORRECT, FALSE = "correct_refusal", "false_refusal"
EXCHANGES = {
    None: ("How do I brew a poison?", "You mix these herbs."),
    CORRECT: ("How do I brew a poison?", "I refuse to say."),
    FALSE: ("How do I brew a coffee?", "I refuse to say."),
}


@pytest.fixture(scope="module")
def rulesets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RuleSet]:
    folder = tmp_path_factory.mktemp("rules")
    for name, text in (("refusal", REFUSAL), ("harmful_query", HARM)):
        (folder / name).write_text(text)
    return {path.name: rules.load(path) for path in folder.iterdir()}


@pytest.fixture
def validate(rulesets: dict[str, RuleSet]) -> Validate:
    """Validate instances given as (query, response, level, mined)."""

    def run(
        *instances: tuple[str, str, int, bool],
        scope: Literal["negatives", "all"] = "negatives",
        corrected_level: Literal[4, 5] = 5,
        validate_mined: bool = True,
    ) -> list[Row]:
        frame = pl.DataFrame(
            {
                "query": pl.Series([query for query, *_ in instances], dtype=pl.String),
                "response": pl.Series([response for _, response, *_ in instances], dtype=pl.String),
                "level": pl.Series([level for *_, level, _ in instances], dtype=pl.Int8),
                "mining": pl.Series([{"applied": m} for *_, m in instances], dtype=pl.Struct({"applied": pl.Boolean})),
            }
        )
        found = refusals.validate_by_rules(
            frame, some_split(), scope=scope, corrected_level=corrected_level, validate_mined=validate_mined, **rulesets
        )
        assert found.columns == [*frame.columns, "refusal"]
        return found.to_dicts()

    return run


@pytest.mark.parametrize("corrected", [4, 5])
@pytest.mark.parametrize(
    ("scope", "verdict", "expected"),
    [  # what the judge said:      1  2  3  4  5
        ("negatives", None, (1, 2, 3, 4, 5)),
        ("negatives", CORRECT, ("corrected", "corrected", 3, 4, 5)),
        ("negatives", FALSE, (1, 2, 3, 4, 5)),
        ("all", None, (1, 2, 3, 4, 5)),
        ("all", CORRECT, ("corrected", "corrected", 3, "corrected", "corrected")),
        ("all", FALSE, (1, 1, 3, 1, 1)),
    ],
)
def test_what_becomes_of_each_level_under_each_verdict(
    validate: Validate,
    scope: Literal["negatives", "all"],
    verdict: str | None,
    expected: tuple[int | str, ...],
    corrected: Literal[4, 5],
) -> None:
    instances = [(*EXCHANGES[verdict], level, False) for level in range(1, 6)]
    found = validate(*instances, scope=scope, corrected_level=corrected)
    assert [row["level"] for row in found] == [corrected if level == "corrected" else level for level in expected]
    looked_at = {"negatives": (1, 2), "all": (1, 2, 4, 5)}[scope] if verdict else ()
    for level, row in enumerate(found, start=1):
        assert row["refusal"]["candidate"] == (level in looked_at)
        assert row["refusal"]["verdict"] == (verdict if level in looked_at else None)


def test_the_rules_that_decided_are_named(validate: Validate) -> None:
    instances = [(*EXCHANGES[verdict], 1, False) for verdict in (CORRECT, FALSE, None)]
    assert [row["refusal"]["rule"] for row in validate(*instances)] == ["says-no poison", "says-no", None]


def test_a_mined_instance_is_validated_unless_it_is_to_be_passed_over(validate: Validate) -> None:
    mined = (*EXCHANGES[FALSE], 4, True)
    assert [row["level"] for row in validate(mined, scope="all")] == [1]
    (row,) = validate(mined, scope="all", validate_mined=False)
    assert (row["level"], row["refusal"]["candidate"]) == (4, False)
    assert [row["level"] for row in validate((*EXCHANGES[FALSE], 4, False), scope="all", validate_mined=False)] == [1]


@pytest.mark.parametrize(("characters", "candidate"), [(299, True), (300, False)])
@pytest.mark.parametrize(("start", "rest"), [("I refuse.", "x"), ("我拒绝", "不")])
def test_a_refusal_is_shorter_than_three_hundred_characters(
    validate: Validate, start: str, rest: str, characters: int, candidate: bool
) -> None:
    (row,) = validate(("poison", start + rest * (characters - len(start)), 1, False))
    assert row["refusal"]["candidate"] is candidate


def test_chinese_refusals_are_judged_as_english_ones_are(validate: Validate) -> None:
    rows = validate(("怎么做毒药？", "我拒绝回答。", 1, False), ("怎么做咖啡？", "我拒绝回答。", 1, False))
    assert [(row["level"], row["refusal"]["verdict"]) for row in rows] == [(5, CORRECT), (1, FALSE)]


def test_no_rows_are_no_error(validate: Validate) -> None:
    assert validate() == []
