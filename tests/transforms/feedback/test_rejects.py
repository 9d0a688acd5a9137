"""What is published of a rejected row: reason and scores, never the payload."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.feedback import REJECTED
from transforms.feedback import rejects

Row = dict[str, Any]
SCHEMA: dict[str, Any] = {"failed": pl.List(pl.String), "detail": pl.String, "feedback": pl.String}


def rejected(**facts: Any) -> Row:
    row = {
        "record_id": "r",
        "unit": "instance",
        "reason": "neutral",
        "source_uri": "a.jsonl",
        "source_row": 0,
        "feedback": "and then?",
        "query": "a secret query",
        "response": "a secret response",
        "history": "a secret history",
        "failed": None,
        "detail": None,
        **facts,
    }
    table = rejects.rejected(pl.DataFrame([row], schema_overrides=SCHEMA), "some stage")
    assert table.schema.equals(REJECTED, check_metadata=True)
    return table.to_pylist()[0]  # type: ignore[no-any-return]


def test_the_payload_is_left_out_and_the_stage_is_named() -> None:
    row = rejected(level=3, query_length=7)
    assert "secret" not in str(row)
    assert (row["stage"], row["reason"], row["level"], row["query_length"]) == ("some stage", "neutral", 3, 7)


def test_the_excerpt_is_the_start_of_the_feedback() -> None:
    assert rejected(feedback="short")["excerpt"] == "short"
    assert rejected(feedback="x" * 161)["excerpt"] == "x" * 160
    assert rejected(feedback="字" * 161)["excerpt"] == "字" * 160
    assert rejected(feedback=None)["excerpt"] is None


def test_personal_data_is_replaced_in_the_excerpt() -> None:
    assert rejected(feedback="mail me at john.smith@gmail.com")["excerpt"] == "mail me at <EMAIL>"


@given(st.integers(100, 200))
def test_personal_data_across_the_excerpts_end_does_not_slip_through_in_part(at: int) -> None:
    excerpt = rejected(feedback="x" * at + " john.smith@gmail.com and more")["excerpt"]
    assert "john" not in excerpt
    assert len(excerpt) <= rejects.EXCERPT_CHARACTERS


@pytest.mark.parametrize("sensitive", ["personal_data", "toxic", "redacted"])
def test_the_excerpt_is_withheld_where_it_is_what_was_wrong(sensitive: str) -> None:
    assert rejected(reason=sensitive, failed=[sensitive])["excerpt"] is None
    assert rejected(reason="query_too_short", failed=["query_too_short", sensitive])["excerpt"] is None
    assert rejected(reason="query_too_short", failed=["query_too_short"])["excerpt"] == "and then?"


def test_the_detail_is_redacted_as_it_may_quote_the_row() -> None:
    row = rejected(reason="schema_mismatch", detail="cannot convert 'john.smith@gmail.com' to a list")
    assert row["detail"] == "cannot convert '<EMAIL>' to a list"


def test_source_rows_without_feedback_have_no_excerpt() -> None:
    frame = pl.DataFrame(
        {"record_id": ["r"], "unit": ["row"], "reason": ["invalid_json"], "source_uri": ["a"], "source_row": [5]}
    )
    (row,) = rejects.rejected(frame, "read").to_pylist()
    assert row["excerpt"] is None
    assert (row["unit"], row["source_row"]) == ("row", 5)


def test_a_row_without_a_place_cannot_be_published() -> None:
    with pytest.raises(ValueError, match="source_uri"):
        rejected(source_uri=None)
