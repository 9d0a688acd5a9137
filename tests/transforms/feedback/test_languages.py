"""Which exchanges are in a language that can be judged: against a row-by-row reading of the rule."""

from __future__ import annotations

from functools import cache
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import some_split
from transforms.feedback import languages
from transforms.text import language

ENGLISH = "What is the best way to learn about the history of the railways in this country?"
CHINESE = "请你告诉我学习铁路历史最好的办法是什么？"
FRENCH = "Quelle est la meilleure façon d'apprendre l'histoire des chemins de fer dans ce pays ?"
BRIEF = "ok"

SCHEMA = dict.fromkeys(("conversation_language", "query_language", "query", "response", "feedback"), pl.String)


def exchange(query: str, response: str, feedback: str, stated: str | None = None, asked: str | None = None) -> Any:
    """One instance; ``stated`` is the source's word on the conversation, ``asked`` on the query message."""
    return {
        "conversation_language": stated,
        "query_language": asked,
        "query": query,
        "response": response,
        "feedback": feedback,
    }


def require(*rows: Any, supported: tuple[str, ...] = ("en", "zh")) -> list[dict[str, Any]]:
    return languages.require(pl.DataFrame(list(rows), schema=SCHEMA), some_split(), supported).to_dicts()


@cache
def detected(text: str) -> str | None:
    return language.detect(pl.Series([text], dtype=pl.String))[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (exchange(ENGLISH, ENGLISH, ENGLISH), ("en", "en", None)),
        (exchange(CHINESE, CHINESE, CHINESE), ("zh", "zh", None)),
        (exchange(ENGLISH, ENGLISH, CHINESE), ("en", "zh", None)),
        (exchange(ENGLISH, ENGLISH, BRIEF), ("en", "en", None)),
        (exchange(CHINESE, CHINESE, BRIEF), ("zh", "zh", None)),
        (exchange(FRENCH, FRENCH, BRIEF), ("fr", "fr", "fr / fr")),
        (exchange(ENGLISH, ENGLISH, FRENCH), ("en", "fr", "en / fr")),
        (exchange(FRENCH, ENGLISH, ENGLISH), ("fr", "en", "fr / en")),
        (exchange("1 + 1", "2", "3"), (None, None, "undetermined / undetermined")),
    ],
)
def test_both_the_conversation_and_the_feedback_must_be_in_a_supported_language(
    row: Any, expected: tuple[str | None, str | None, str | None]
) -> None:
    (found,) = require(row)
    assert (found["language"], found["feedback_language"], found["detail"]) == expected
    assert found["reason"] == ("unsupported_language" if expected[2] else None)


def test_what_the_source_states_wins_then_the_query_then_the_response_then_the_query_messages_own() -> None:
    rows = [
        exchange(ENGLISH, ENGLISH, BRIEF, stated="fr"),
        exchange(ENGLISH, FRENCH, BRIEF),
        exchange("1 + 1", FRENCH, BRIEF),
        exchange("1 + 1", "2", BRIEF, asked="de"),
    ]
    assert [row["language"] for row in require(*rows)] == ["fr", "en", "fr", "de"]


def test_only_configured_languages_are_let_through() -> None:
    rows = [exchange(ENGLISH, ENGLISH, ENGLISH), exchange(CHINESE, CHINESE, CHINESE)]
    assert [row["reason"] for row in require(*rows, supported=("zh",))] == ["unsupported_language", None]


def test_no_rows_are_no_error() -> None:
    assert require() == []


texts = st.sampled_from([ENGLISH, CHINESE, FRENCH, BRIEF, "1 + 1", "👍"])
stated = st.sampled_from([None, "en", "zh", "fr"])


@given(st.lists(st.builds(exchange, texts, texts, texts, stated, stated), max_size=12))
def test_every_row_is_decided_as_if_it_stood_alone(rows: list[Any]) -> None:
    for row, found in zip(rows, require(*rows), strict=True):
        own = row["conversation_language"] or detected(row["query"]) or detected(row["response"])
        own = own or row["query_language"]
        said = detected(row["feedback"]) or own
        assert (found["language"], found["feedback_language"]) == (own, said)
        assert (found["reason"] is None) == ({own, said} <= {"en", "zh"})
