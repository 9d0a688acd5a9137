"""Refusals: was the user right to be cross?

A short response that refuses is judged by the query alone: refusing a harmful query is correct, so the
user's negative feedback on it is unjustified and is turned around; refusing a benign one is a false
refusal, and the feedback stands (WildFB, S6 and S7). No verdict is ever a default: what cannot be
judged is rejected as ``refusal_failed``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import polars as pl

from schemas.answers import Request
from schemas.provenance import Split
from transforms.feedback.judging import outcome, told
from transforms.models import prompts, rules
from transforms.models.asking import Reply
from transforms.models.prompts import Prompt
from transforms.models.rules import RuleSet

VERSION: Final = 1

REFUSAL_CHARACTERS: Final = 300
"""Responses shorter than this can be refusals (published code)."""

_NEUTRAL: Final = 3

Scope = Literal["negatives", "all"]


def validate_by_rules(
    frame: pl.DataFrame,
    split: Split,
    refusal: RuleSet,
    harmful_query: RuleSet,
    scope: Scope,
    corrected_level: Literal[4, 5],
    validate_mined: bool,
) -> pl.DataFrame:
    """Add ``refusal`` (struct ``REFUSAL``) and correct ``level`` where the feedback was unjustified.

    Scope ``negatives`` looks at levels 1 and 2 only (paper); ``all`` at all but neutral instances, and then a
    false refusal also goes down to level 1 (published code).
    """
    found = _candidates(frame, refusal, scope, validate_mined)
    query = frame.select(pl.when(found["candidate"]).then("query")).to_series()
    harm = rules.classify(query, harmful_query)
    harmful = harm["label"] != harmful_query.default
    verdict = pl.when(harmful).then(pl.lit("correct_refusal")).otherwise(pl.lit("false_refusal"))
    found = found.with_columns(
        verdict=pl.select(pl.when(found["candidate"]).then(verdict)).to_series(),
        rule=pl.when("candidate").then(pl.concat_str("rule", harm["rule"], separator=" ", ignore_nulls=True)),
    )
    return _corrected(frame, found, scope, corrected_level)


def ask(
    frame: pl.DataFrame,
    split: Split,
    prompt: Prompt,
    refusal: RuleSet,
    sampling: str,
    scope: Scope,
    validate_mined: bool,
) -> Iterator[Request]:
    """One request for each candidate, found by rules as in ``validate_by_rules``; the model sees query and response."""
    candidate = _candidates(frame, refusal, scope, validate_mined)["candidate"]
    for values in frame.filter(candidate).select("query", "response").iter_rows(named=True):
        yield Request(prompts.render(prompt, values), prompt.template, sampling, prompt.schema)


def settle(
    frame: pl.DataFrame,
    split: Split,
    replies: Sequence[Reply],
    refusal: RuleSet,
    scope: Scope,
    corrected_level: Literal[4, 5],
    validate_mined: bool,
) -> pl.DataFrame:
    """What ``validate_by_rules`` adds, from the model's verdicts; ``reason`` is ``refusal_failed`` without one."""
    found = _candidates(frame, refusal, scope, validate_mined)
    said = found.select(row=pl.arg_where(pl.col("candidate"))).with_columns(
        verdict=pl.Series([reply.value["verdict"] if reply.usable else None for reply in replies], dtype=pl.String),
        raw=pl.Series([reply.answer.text for reply in replies], dtype=pl.String),
        failed=pl.Series([None if reply.usable else outcome(reply) for reply in replies], dtype=pl.String),
        detail=pl.Series([None if reply.usable else told(reply) for reply in replies], dtype=pl.String),
        key=pl.Series([reply.key for reply in replies], dtype=pl.String),
    )
    found = found.drop("raw").with_row_index("row").join(said, on="row", how="left", maintain_order="left")
    return _corrected(frame, found, scope, corrected_level).with_columns(
        journal_keys=frame["journal_keys"].list.concat(
            found.select(pl.concat_list("key").list.drop_nulls()).to_series()
        ),
        reason=found.select(pl.when(pl.col("failed").is_not_null()).then(pl.lit("refusal_failed"))).to_series(),
        detail=found["detail"],
    )


def _candidates(frame: pl.DataFrame, refusal: RuleSet, scope: Scope, validate_mined: bool) -> pl.DataFrame:
    """``candidate``, and for candidates the ``rule`` that says the response refuses; ``raw`` is null."""
    short = pl.col("response").str.len_chars() < REFUSAL_CHARACTERS
    looked_at = pl.col("level") <= 2 if scope == "negatives" else pl.col("level") != _NEUTRAL
    if not validate_mined:
        looked_at &= ~pl.col("mining").struct.field("applied")
    refused = rules.classify(frame.select(pl.when(short & looked_at).then("response")).to_series(), refusal)
    candidate = refused["label"] == "refusal"
    return refused.select(candidate=candidate, rule=pl.when(candidate).then("rule"), raw=pl.lit(None, pl.String))


def _corrected(frame: pl.DataFrame, found: pl.DataFrame, scope: Scope, corrected_level: Literal[4, 5]) -> pl.DataFrame:
    """Enter the verdicts, and turn levels around where they say so."""
    verdict = found["verdict"]
    lowered = pl.when(verdict == "false_refusal").then(pl.lit(1, pl.Int8)).otherwise("level")
    return frame.with_columns(
        level=pl.when(verdict == "correct_refusal")
        .then(pl.lit(corrected_level, pl.Int8))
        .otherwise(lowered if scope == "all" else "level"),
        refusal=found.select("candidate", "verdict", "rule", "raw").to_struct(),
    )
