"""Verdicts from scores: bounds and their edges, what is not measured, which reason a text gets."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.text import filtering
from transforms.text.filtering import Rule

LENGTH = Rule("length", "a paper", "words", minimum=2, maximum=4)
SHARE = Rule("share", "a paper", "a share", maximum=0.1)
STRICT = Rule("strict", "a paper", "a share", minimum=0.12, maximum=0.67, strict=True)


def reasons(rule: Rule, scores: pl.Series) -> list[str | None]:
    frame = pl.DataFrame({"text": ["x"] * len(scores)})
    return filtering.select(frame, pl.DataFrame({rule.name: scores}), [rule])["reason"].to_list()


def test_a_score_at_a_bound_passes() -> None:
    assert reasons(LENGTH, pl.Series([1, 2, 4, 5])) == ["length", None, None, "length"]


def test_a_score_at_a_strict_bound_fails() -> None:
    scores = pl.Series([0.12, 0.13, 0.67, 0.66], dtype=pl.Float32)
    assert reasons(STRICT, scores) == ["strict", None, "strict", None]


@given(st.integers(1, 100_000), st.integers(1, 99), st.booleans())
def test_a_share_stored_as_float32_is_judged_as_the_fraction_it_was(whole: int, percent: int, below: bool) -> None:
    part = min(whole, whole * percent // 100 + (not below))
    score = pl.Series(np.array([part / whole]).astype(np.float32))
    rule = Rule("share", "a paper", "a share", maximum=percent / 100)
    assert (reasons(rule, score) == [None]) == (part * 100 <= whole * percent)


@pytest.mark.parametrize("dtype", [pl.Float32, pl.Float64])
def test_what_could_not_be_measured_has_not_passed(dtype: type[pl.DataType]) -> None:
    assert reasons(SHARE, pl.Series([None, math.nan, 0.05], dtype=dtype)) == ["share", "share", None]
    unbounded = Rule("share", "a paper", "a share")
    assert reasons(unbounded, pl.Series([None, math.nan, 1e9], dtype=dtype)) == ["share", "share", None]


def test_boolean_scores_are_numbers() -> None:
    assert reasons(Rule("length", "", "", maximum=0), pl.Series([True, False, None])) == ["length", None, "length"]


def test_every_failed_rule_is_named_and_the_first_in_order_is_the_reason() -> None:
    frame = pl.DataFrame({"id": ["a", "b", "c"], "text": ["x", "y", "z"]})
    scores = pl.DataFrame({"length": [9, 9, 3], "share": [0.5, 0.0, 0.0], "unused": [1, 2, 3]})
    for rules in ([LENGTH, SHARE], [SHARE, LENGTH]):
        judged = filtering.select(frame, scores, rules)
        names = [rule.name for rule in rules]
        assert judged["failed"].to_list() == [names, ["length"], []]
        assert judged["reason"].to_list() == [names[0], "length", None]
    assert judged.columns == ["id", "text", "length", "share", "unused", "failed", "reason"]
    assert judged.schema["failed"] == pl.List(pl.String)


def test_verdicts_of_empty_frames_and_of_no_rules_have_the_same_columns() -> None:
    frame, scores = pl.DataFrame({"text": ["x"]}), pl.DataFrame({"length": [9]})
    kept, judged = filtering.select(frame, scores, []), filtering.select(frame, scores, [LENGTH])
    assert kept.schema == judged.schema
    assert kept.rows() == [("x", 9, [], None)]
    assert filtering.select(frame.clear(), scores.clear(), [LENGTH]).schema == judged.schema


def test_a_config_changes_bounds_and_order_and_nothing_else() -> None:
    rules = filtering.table([LENGTH, SHARE, STRICT])
    chosen = filtering.choose(rules, {"strict": {"maximum": None}, "length": {"minimum": 3}})
    assert chosen == [
        Rule("strict", "a paper", "a share", minimum=0.12, maximum=None, strict=True),
        Rule("length", "a paper", "words", minimum=3, maximum=4),
    ]


def test_wrong_settings_say_what_was_expected() -> None:
    with pytest.raises(ValueError, match="no rule called lenght; there are length, share"):
        filtering.choose(filtering.table([LENGTH, SHARE]), {"lenght": {}})
    with pytest.raises(ValueError, match="length: expected minimum <= maximum, got 5 and 4"):
        filtering.choose(filtering.table([LENGTH]), {"length": {"minimum": 5}})
    with pytest.raises(ValueError, match="expected minimum <= maximum"):
        Rule("length", "", "", maximum=math.nan)
