"""Which judged instances are fit for training: the rules of WildFB's S8, each with a score.

Every rule of the list is evaluated on every row, so that ``failed`` names all that failed; the first
one in config order is the ``reason``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal

import polars as pl

from schemas.provenance import Split
from transforms.models import rules
from transforms.models.rules import RuleSet
from transforms.text import filtering, personal_data, quality, repetition
from transforms.text.filtering import Rule

VERSION: Final = 2

FilterName = Literal[
    "too_many_turns",
    "query_too_short",
    "response_too_short",
    "external_context",
    "contains_url",
    "personal_data",
    "toxic",
    "redacted",
    "response_rules",
]

TEXTS: Final = ("query", "response", "feedback")


def drop_neutral(frame: pl.DataFrame, split: Split) -> pl.DataFrame:
    """Reject what mining left at level 3: no one said whether the response was good."""
    return frame.with_columns(reason=pl.when(pl.col("level") == 3).then(pl.lit("neutral")))


def select(
    frame: pl.DataFrame,
    split: Split,
    names: Sequence[FilterName],
    max_history: int,
    history_unit: Literal["turns", "messages"],
    min_query_length: int,
    min_response_length: int,
    external_context: RuleSet,
    response_rules: Sequence[Rule] = (),
) -> pl.DataFrame:
    """Add the scores of the named rules and the ``reason`` of the first that fails.

    ``response_rules`` are rules of quality and repetition (``transforms.text``) that the response must keep; those that it
    fails stand in ``detail`` with their scores.
    """
    measured = frame.with_columns(
        length(pl.col("query")).alias("query_length"), length(pl.col("response")).alias("response_length")
    )
    if "personal_data" in names:
        measured = measured.with_columns(_personal_data(frame))
    judged = _judged(frame["response"], response_rules)
    history = measured["history_turns" if history_unit == "turns" else "history_messages"]
    flags = measured["flags"].struct
    failing: dict[FilterName, Callable[[], pl.Series]] = {
        "too_many_turns": lambda: history > max_history,
        "query_too_short": lambda: measured["query_length"] < min_query_length,
        "response_too_short": lambda: measured["response_length"] < min_response_length,
        "external_context": lambda: (
            rules.classify(frame["query"], external_context)["label"] != external_context.default
        ),
        "contains_url": lambda: _any_text(frame, personal_data.contains_url),
        "personal_data": lambda: measured["personal_data"].list.len() > 0,
        "toxic": lambda: flags.field("toxic").fill_null(False),
        "redacted": lambda: flags.field("redacted").fill_null(False),
        "response_rules": judged.is_not_null,
    }
    if not names:
        return measured
    verdicts = pl.DataFrame([failing[name]().alias(name) for name in names], schema=list(names))
    named = [pl.when(name).then(pl.lit(name)) for name in names]
    failed = verdicts.select(failed=pl.concat_list(named).list.drop_nulls()).to_series()
    if "response_rules" in names:
        measured = measured.with_columns(judged.alias("detail"))
    return measured.with_columns(failed, reason=failed.list.first())


def _judged(responses: pl.Series, rules: Sequence[Rule]) -> pl.Series:
    """The rules that each response fails, as ``name=score``; null where it keeps them all."""
    texts = responses.rename("text").to_frame()
    found = (
        [rule for rule in rules if rule.name in quality.RULES],
        [rule for rule in rules if rule.name in repetition.RULES],
    )
    scores = [
        module.measure(texts["text"], own) for module, own in zip((quality, repetition), found, strict=True) if own
    ]
    if not scores:
        return pl.Series([None], dtype=pl.String).new_from_index(0, len(texts))
    verdicts = filtering.select(texts, pl.concat(scores, how="horizontal"), rules)
    told = [
        pl.when(pl.col("failed").list.contains(rule.name)).then(
            pl.format("{}={}", pl.lit(rule.name), pl.col(rule.name).round(4))
        )
        for rule in rules
    ]
    return verdicts.select(
        pl.when(pl.col("reason").is_not_null()).then(pl.concat_str(told, separator=", ", ignore_nulls=True))
    ).to_series()


def length(text: pl.Expr) -> pl.Expr:
    """Words, as the paper counts them: runs between white space; for text in Han script, its characters.

    The larger of the two counts is taken, so that a Chinese sentence is not one word and an English one
    that quotes a character is not one character. Int32.
    """
    words = text.str.count_matches(r"\S+")
    han = text.str.count_matches(r"\p{Han}")
    return pl.max_horizontal(words, han).fill_null(0).cast(pl.Int32)


def _any_text(frame: pl.DataFrame, test: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """Whether the test holds for the query, the response, the feedback or a message of the history."""
    found = test(frame["query"]) | test(frame["response"]) | test(frame["feedback"])
    return found | _history(frame, test).list.any().fill_null(False)


def _personal_data(frame: pl.DataFrame) -> pl.Series:
    """Kinds of personal data in the exchange and its history: List(String), sorted."""
    kinds = [personal_data.kinds(frame[name]) for name in TEXTS]
    history = _history(frame, personal_data.kinds).list.eval(pl.element().explode()).fill_null([])
    together = pl.concat_list(*(k.fill_null([]) for k in kinds), history)
    return pl.select(together.list.unique().list.drop_nulls().list.sort().alias("personal_data")).to_series()


def _history(frame: pl.DataFrame, test: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """The test's result for every message of every history, as one list a row."""
    contents = frame.select(pl.col("history").list.eval(pl.element().struct.field("content"))).to_series()
    lengths = contents.list.len().fill_null(0)
    rows = (
        pl.DataFrame({"row": pl.int_range(len(frame), eager=True), "text": contents})
        .filter(lengths > 0)
        .explode("text")
    )
    results = rows.select("row", result=test(rows["text"])).group_by("row", maintain_order=True).agg("result")
    return pl.DataFrame({"row": pl.int_range(len(frame), eager=True)}).join(
        results, on="row", how="left", maintain_order="left"
    )["result"]
