"""What a filter rule is, and how the scores of many become a verdict.

A module of rules (``quality``, ``repetition``) offers ``RULES``, and ``measure``, which gives one score column a rule. ``select`` turns
scores into ``failed`` and ``reason``, whichever modules they come from. A rule's name is its score's column, its key in a config and
the reason of a text that it rejects.

==========  ==============================================================================
score       verdict
==========  ==============================================================================
inside      passes: ``minimum <= score <= maximum``, a bound that is None holds for all
at a bound  passes, unless the rule is ``strict``: then ``minimum < score < maximum``
null, NaN   fails: what could not be measured has not passed
==========  ==============================================================================

A Float32 score is compared with the bound as a Float32, so that a verdict follows from the stored score alone: a share ``a / b`` is told
from a bound of two decimals as long as ``b`` is below 100,000.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypedDict

import polars as pl

VERSION: Final = 1
"""Raised whenever the same scores and rules give another verdict."""


@dataclass(frozen=True)
class Rule:
    """One published rule: what is measured, and between which bounds a text is kept.

    Attributes:
        name: The score's column, the config's key and the reason of a rejected text.
        source: Where the rule was published: paper and section.
        description: What the score counts, with its unit.
        minimum: The least score that is kept, as published, or None.
        maximum: The largest score that is kept, as published, or None.
        strict: Whether a score at a bound fails.
    """

    name: str
    source: str
    description: str
    minimum: float | None = None
    maximum: float | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        bounds = [bound for bound in (self.minimum, self.maximum) if bound is not None]
        if any(math.isnan(bound) for bound in bounds) or sorted(bounds) != bounds:
            raise ValueError(f"{self.name}: expected minimum <= maximum, got {self.minimum} and {self.maximum}")


class Bounds(TypedDict, total=False):
    """What a config may say of a rule. A bound that is left out is as published; None is no bound."""

    minimum: float | None
    maximum: float | None


def choose(rules: Mapping[str, Rule], settings: Mapping[str, Bounds]) -> list[Rule]:
    """The named rules with a config's bounds, in the config's order.

    Raises:
        ValueError: A name that is no rule's, or bounds that no score can meet.
    """
    unknown = [name for name in settings if name not in rules]
    if unknown:
        raise ValueError(f"no rule called {', '.join(unknown)}; there are {', '.join(rules)}")
    return [replace(rules[name], **bounds) for name, bounds in settings.items()]


def table(rules: Iterable[Rule]) -> dict[str, Rule]:
    """Rules by name, in order."""
    return {rule.name: rule for rule in rules}


def select(frame: pl.DataFrame, scores: pl.DataFrame, rules: Sequence[Rule]) -> pl.DataFrame:
    """Add scores and verdicts to a frame.

    Args:
        frame: Any columns, n rows.
        scores: n rows; a numeric or Boolean column for each rule, other columns allowed.
        rules: In the order in which they decide.

    Returns:
        The frame's columns and the scores', with ``failed`` (List(String): every rule that failed, in order) and ``reason``
        (String: the first that failed; null where the text is kept).
    """
    measured = frame.with_columns(scores.get_columns())
    if not rules:
        nothing = pl.lit([], dtype=pl.List(pl.String))
        return measured.with_columns(failed=nothing, reason=pl.lit(None, dtype=pl.String))
    named = [pl.when(_passes(rule, scores.schema[rule.name])).then(None).otherwise(pl.lit(rule.name)) for rule in rules]
    failed = measured.select(failed=pl.concat_list(named).list.drop_nulls()).to_series()
    return measured.with_columns(failed, reason=failed.list.first())


def _passes(rule: Rule, dtype: pl.DataType) -> pl.Expr:
    """Whether a score is within a rule's bounds; null, which is no pass, where the score is null."""
    number = dtype if dtype.is_float() else pl.Float64()
    score = pl.col(rule.name).cast(number)
    passes = score.is_not_nan()
    if rule.minimum is not None:
        bound = pl.lit(rule.minimum, dtype=number)
        passes &= (score > bound) if rule.strict else (score >= bound)
    if rule.maximum is not None:
        bound = pl.lit(rule.maximum, dtype=number)
        passes &= (score < bound) if rule.strict else (score <= bound)
    return passes
