"""What the user's next message says of the response: five levels, by rules or by a model.

The judge never grades the response. Level 3 is the default of the definitions: a new request, a topic extension or an
unclear message takes no side (WildFB section 2; the published prompt's "optional re-grading by response
quality" is left out, since it would pass a model's opinion off as a user's). It is never the default of a failure: a
message the model gave no valid answer for is rejected as ``judge_failed``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

import polars as pl

from schemas.answers import Request
from schemas.feedback import JUDGE
from schemas.provenance import Split
from transforms.feedback.cascade import Cascade
from transforms.models import prompts, rules
from transforms.models.asking import Reply
from transforms.models.prompts import Prompt
from transforms.models.rules import RuleSet

VERSION: Final = 1

Context = Literal["feedback", "exchange", "history"]

SHOWN: Final[dict[Context, tuple[str, ...]]] = {
    "feedback": ("feedback",),
    "exchange": ("query", "response", "feedback"),
    "history": ("history", "query", "response", "feedback"),
}
"""What a judge sees of an instance."""


def judge_by_rules(frame: pl.DataFrame, split: Split, ruleset: RuleSet) -> pl.DataFrame:
    """Add ``judge`` (struct ``JUDGE``), ``level`` (1-5) and ``journal_keys``, read off the feedback message by rules."""
    verdict = rules.classify(frame["feedback"], ruleset)
    return _judged(
        frame,
        verdict.select(
            engine=pl.lit("rules"),
            model=pl.lit(f"{ruleset.name}-{ruleset.version}"),
            prompt_sha256=pl.lit(ruleset.sha256),
            level=pl.col("label").cast(pl.Int8),
            rule="rule",
            reason="matched",
            raw=pl.lit(None, pl.String),
            parse_status=pl.lit("ok"),
        ),
    ).with_columns(journal_keys=pl.lit([], pl.List(pl.String)))


def ask(
    frame: pl.DataFrame, split: Split, prompt: Prompt, context: Context, sampling: str, cascade: Cascade | None
) -> Iterator[Request]:
    """One request for each instance that the cascade does not settle; a prompt is rendered when it is drawn."""
    open_ = frame if cascade is None else frame.filter(cascade.neutral(frame["feedback"]).is_null())
    for values in open_.select(SHOWN[context]).iter_rows(named=True):
        present = {name: value for name, value in values.items() if value is not None}
        yield Request(prompts.render(prompt, present), prompt.template, sampling, prompt.schema)


def settle(
    frame: pl.DataFrame,
    split: Split,
    replies: Sequence[Reply],
    engine: str,
    model: str,
    prompt: Prompt,
    cascade: Cascade | None,
) -> pl.DataFrame:
    """Add the model's verdicts as ``judge``, ``level`` and ``journal_keys``; ``reason`` is ``judge_failed`` without one."""
    said = pl.DataFrame(
        {
            "engine": pl.Series([engine] * len(replies), dtype=pl.String),
            "model": pl.Series([model] * len(replies), dtype=pl.String),
            "prompt_sha256": pl.Series([prompt.sha256] * len(replies), dtype=pl.String),
            "level": pl.Series([reply.value["level"] if reply.usable else None for reply in replies], dtype=pl.Int8),
            "rule": pl.Series([None] * len(replies), dtype=pl.String),
            "reason": pl.Series(
                [reply.value["reason"] if reply.usable else None for reply in replies], dtype=pl.String
            ),
            "raw": pl.Series([reply.answer.text for reply in replies], dtype=pl.String),
            "parse_status": pl.Series([outcome(reply) for reply in replies], dtype=pl.String),
            "detail": pl.Series([None if reply.usable else told(reply) for reply in replies], dtype=pl.String),
            "key": pl.Series([reply.key for reply in replies], dtype=pl.String),
        }
    )
    if cascade is not None:
        said = _beside(cascade.neutral(frame["feedback"]), said, cascade)
    failed = said["level"].is_null()
    return _judged(frame, said.drop("detail", "key")).with_columns(
        journal_keys=said.select(pl.concat_list(pl.col("key")).list.drop_nulls()).to_series(),
        reason=pl.select(pl.when(failed).then(pl.lit("judge_failed"))).to_series(),
        detail=said["detail"],
    )


def _beside(confidence: pl.Series, said: pl.DataFrame, cascade: Cascade) -> pl.DataFrame:
    """The model's verdicts on open rows and the cascade's on the others, in the order of the rows."""
    settled = pl.DataFrame({"confidence": confidence}).with_row_index("row")
    by_cascade = settled.filter(pl.col("confidence").is_not_null()).select(
        "row",
        engine=pl.lit("cascade"),
        model=pl.lit(cascade.name),
        prompt_sha256=pl.lit(cascade.sha256),
        level=pl.lit(3, pl.Int8),
        reason=pl.format("neutral with probability {}", pl.col("confidence").round(4)),
        parse_status=pl.lit("ok"),
    )
    open_ = settled.filter(pl.col("confidence").is_null()).select("row")
    return pl.concat([open_.hstack(said), by_cascade], how="diagonal").sort("row").drop("row")


def _judged(frame: pl.DataFrame, judge: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(
        judge.select([field.name for field in JUDGE]).to_struct("judge"), judge["level"].alias("level")
    )


def outcome(reply: Reply) -> str:
    """The reply's status; where there is no answer at all, why."""
    return reply.answer.failure or reply.status


def told(reply: Reply) -> str:
    """What to say of a reply that cannot be used."""
    if reply.answer.failure:
        return f"{reply.answer.failure}: {reply.answer.detail}"
    shown: Any = reply.answer.text[:120]
    return f"{reply.status}: {shown!r}"
