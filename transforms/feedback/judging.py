"""What the user's next message says of the response: five levels, from that message alone.

The judge never grades the response. Level 3 is the default: a new request, a topic extension or an
unclear message takes no side (WildFB section 2; the published prompt's "optional re-grading by response
quality" is left out, since it would pass a model's opinion off as a user's).
"""

from __future__ import annotations

from typing import Final

import polars as pl

from schemas.feedback import JUDGE
from schemas.provenance import Split
from transforms.models import rules
from transforms.models.rules import RuleSet

VERSION: Final = 1


def judge_by_rules(frame: pl.DataFrame, split: Split, ruleset: RuleSet) -> pl.DataFrame:
    """Add ``judge`` (struct ``JUDGE``) and ``level`` (1-5), read off the feedback message by rules."""
    verdict = rules.classify(frame["feedback"], ruleset)
    judge = verdict.select(
        engine=pl.lit("rules"),
        model=pl.lit(f"{ruleset.name}-{ruleset.version}"),
        prompt_sha256=pl.lit(ruleset.sha256),
        level=pl.col("label").cast(pl.Int8),
        rule="rule",
        reason="matched",
        raw=pl.lit(None, pl.String),
        parse_status=pl.lit("ok"),
    )
    assert judge.columns == [field.name for field in JUDGE]
    return frame.with_columns(judge.to_struct("judge"), level=judge["level"])
