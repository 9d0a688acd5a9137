"""Refusals: was the user right to be cross?

A short response that refuses is judged by the query alone: refusing a harmful query is correct, so the
user's negative feedback on it is unjustified and is turned around; refusing a benign one is a false
refusal, and the feedback stands (WildFB, S6 and S7). No verdict is ever a default: what cannot be
judged keeps its level.
"""

from __future__ import annotations

from typing import Final, Literal

import polars as pl

from schemas.provenance import Split
from transforms.models import rules
from transforms.models.rules import RuleSet

VERSION: Final = 1

REFUSAL_CHARACTERS: Final = 300
"""Responses shorter than this can be refusals (published code)."""

_NEUTRAL: Final = 3


def validate_by_rules(
    frame: pl.DataFrame,
    split: Split,
    refusal: RuleSet,
    harmful_query: RuleSet,
    scope: Literal["negatives", "all"],
    corrected_level: Literal[4, 5],
    validate_mined: bool,
) -> pl.DataFrame:
    """Add ``refusal`` (struct ``REFUSAL``) and correct ``level`` where the feedback was unjustified.

    Scope ``negatives`` looks at levels 1 and 2 only (paper); ``all`` at all but neutral instances, and then a
    false refusal also goes down to level 1 (published code).
    """
    short = pl.col("response").str.len_chars() < REFUSAL_CHARACTERS
    looked_at = pl.col("level") <= 2 if scope == "negatives" else pl.col("level") != _NEUTRAL
    if not validate_mined:
        looked_at &= ~pl.col("mining").struct.field("applied")
    frame = frame.with_columns(
        rules.classify(frame.select(pl.when(short).then("response")).to_series(), refusal).select(
            refused="label", refusal_rule="rule"
        )
    )
    candidate = (pl.col("refused") == "refusal") & looked_at
    harm = rules.classify(frame.select(pl.when(candidate).then("query")).to_series(), harmful_query).select(
        harm="label", harm_rule="rule"
    )
    frame = frame.with_columns(harm, candidate=candidate)
    harmful = pl.col("candidate") & (pl.col("harm") != harmful_query.default)
    benign = pl.col("candidate") & ~harmful
    verdict = pl.when(harmful).then(pl.lit("correct_refusal")).when(benign).then(pl.lit("false_refusal"))
    lowered = pl.when(benign).then(pl.lit(1, pl.Int8)).otherwise("level") if scope == "all" else pl.col("level")
    return frame.with_columns(
        level=pl.when(harmful).then(pl.lit(corrected_level, pl.Int8)).otherwise(lowered),
        refusal=pl.struct(
            candidate=pl.col("candidate"),
            verdict=verdict,
            rule=pl.when("candidate").then(
                pl.concat_str("refusal_rule", "harm_rule", separator=" ", ignore_nulls=True)
            ),
            raw=pl.lit(None, pl.String),
        ),
    ).drop("refused", "refusal_rule", "harm", "harm_rule", "candidate")
