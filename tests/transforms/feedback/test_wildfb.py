"""WildFB's own columns: what its training code reads."""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.feedback import KEPT, WILDFB
from transforms.feedback import wildfb

Row = dict[str, Any]

QUERY, RESPONSE = "And how do I reverse it?", "Pass reverse=True to sorted, and it is the other way round."


def kept(*history: str, **facts: Any) -> Row:
    return {
        "record_id": "r",
        "instance_id": "c_turn1",
        "history": [{"role": "assistant" if at % 2 else "user", "content": t} for at, t in enumerate(history)],
        "query": QUERY,
        "response": RESPONSE,
        "feedback": "Thanks!",
        "label": 4,
        "subset": "train",
        "source_uri": "a",
        "source_row": 0,
        **facts,
    }


def export(*rows: Row, budget: int | None = None) -> list[Row]:
    table = wildfb.export(pl.DataFrame(pa.Table.from_pylist(list(rows), schema=KEPT)), budget)
    assert table.schema.equals(WILDFB)
    return table.to_pylist()  # type: ignore[no-any-return]


def between(text: str, start: str, end: str) -> str:
    return text.partition(start)[2].partition(end)[0].strip()


def shown(text: str) -> str:
    return between(text, "# Context (History)", "# User Query")


def test_the_columns_are_wildfbs() -> None:
    (row,) = export(kept("Hello", "Hi!"))
    assert {name: value for name, value in row.items() if name != "text"} == {
        "id": "c_turn1",
        "history": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi!"}],
        "messages": [{"role": "user", "content": QUERY}, {"role": "assistant", "content": RESPONSE}],
        "user_feedback": {"role": "user", "content": "Thanks!"},
        "label": 4,
    }


def test_the_text_holds_task_history_query_response_and_what_is_wanted_in_this_order() -> None:
    (row,) = export(kept("Hello", "Hi!"))
    wanted = ["# Task", "1: ", "5: ", "user: Hello\nassistant: Hi!", QUERY, RESPONSE, "Output a single integer"]
    places = [row["text"].index(piece) for piece in wanted]
    assert places == sorted(places)
    assert between(row["text"], "# User Query", "# Assistant Response") == QUERY
    assert row["text"].endswith("Output a single integer from 1 to 5.")
    assert "Thanks!" not in row["text"], "the feedback is what is to be predicted"


def test_no_history_is_said_in_words() -> None:
    assert [shown(row["text"]) for row in export(kept(), kept(history=None))] == ["No previous context."] * 2


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (None, "user: one two\nassistant: three\nuser: 四五六\nassistant: seven eight"),
        (8, "user: one two\nassistant: three\nuser: 四五六\nassistant: seven eight"),
        (7, "assistant: three\nuser: 四五六\nassistant: seven eight"),
        (5, "user: 四五六\nassistant: seven eight"),
        (4, "assistant: seven eight"),
        (1, "No previous context."),
        (0, "No previous context."),
    ],
)
def test_a_budget_cuts_whole_messages_from_the_left(budget: int | None, expected: str) -> None:
    (row,) = export(kept("one two", "three", "四五六", "seven eight"), budget=budget)
    assert shown(row["text"]) == expected
    assert len(row["history"]) == 4, "the history itself is never cut"


texts = st.text(st.sampled_from("ab 字\n"), max_size=12)


@given(st.lists(st.lists(texts, max_size=5), max_size=4), st.integers(0, 12))
def test_whatever_the_budget_the_query_and_the_response_stay_whole(histories: list[list[str]], budget: int) -> None:
    rows = [kept(*history, query=f"{QUERY} {at}", response=RESPONSE * 50) for at, history in enumerate(histories)]
    for at, (row, history) in enumerate(zip(export(*rows, budget=budget), histories, strict=True)):
        assert between(row["text"], "# User Query", "# Assistant Response") == f"{QUERY} {at}"
        assert f"# Assistant Response\n{RESPONSE * 50}\n\nOutput" in row["text"]
        sizes = [max(len(t.split()), t.count("字")) for t in history]
        fitting = [n for n in range(len(history) + 1) if sum(sizes[len(history) - n :]) <= budget]
        lines = [f"{'assistant' if i % 2 else 'user'}: {t}" for i, t in enumerate(history)]
        expected = "\n".join(lines[len(history) - max(fitting) :]) if max(fitting) else "No previous context."
        assert f"# Context (History)\n{expected}\n\n# User Query" in row["text"]
