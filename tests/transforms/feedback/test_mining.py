"""Implicit feedback: which neutral messages a later positive one raises, against a reading pair by pair."""

from __future__ import annotations

from itertools import groupby
from typing import Any, Literal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import some_split
from transforms.feedback import mining
from transforms.models import encoders

Row = dict[str, Any]

SCHEMA: dict[str, Any] = {
    "thread": pl.UInt32,
    "turn_index": pl.Int32,
    "level": pl.Int8,
    "feedback": pl.String,
    "query": pl.String,
}

SETTINGS: Row = {
    "encoder": "lexical",
    "threshold": 0.35,
    "window": 2,
    "label": "positive_engagement",
    "compare": "feedback",
    "window_by": "turn",
}

APPLE = "where do apples grow"
APPLES = "great, so where do apples grow best"
TRAINS = "perfect, trains run on rails"


def instance(turn: int, level: int, feedback: str, thread: int = 0, query: str = "something else") -> Row:
    return {"thread": thread, "turn_index": turn, "level": level, "feedback": feedback, "query": query}


def mine(*rows: Row, **settings: Any) -> list[Row]:
    frame = pl.DataFrame(list(rows), schema=SCHEMA)
    found = mining.mine(frame, some_split(), **{**SETTINGS, **settings})
    assert found.select("thread", "turn_index", "feedback", "query").equals(frame.drop("level"))
    return found.to_dicts()


def levels(*rows: Row, **settings: Any) -> list[int]:
    return [row["level"] for row in mine(*rows, **settings)]


def test_a_neutral_message_before_a_similar_positive_one_is_raised_and_says_why() -> None:
    raised, positive = mine(instance(0, 3, APPLE), instance(1, 5, APPLES))
    (similarity,) = encoders.similarity("lexical", [APPLE], [APPLES])
    assert raised["level"] == 4
    assert raised["mining"] == {
        "applied": True,
        "source_turn": 1,
        "similarity": pytest.approx(float(similarity)),
        "encoder": encoders.identity("lexical"),
    }
    assert positive["level"] == 5
    assert positive["mining"] == {"applied": False, "source_turn": None, "similarity": None, "encoder": None}


def test_another_topic_raises_nothing_and_its_similarity_is_told() -> None:
    (first, _) = mine(instance(0, 3, APPLE), instance(1, 5, TRAINS))
    assert first["level"] == 3
    assert not first["mining"]["applied"]
    assert first["mining"]["similarity"] == pytest.approx(0.0)
    assert first["mining"]["source_turn"] is None
    assert first["mining"]["encoder"] == encoders.identity("lexical")


def test_a_similarity_at_the_threshold_is_enough() -> None:
    (similarity,) = (float(x) for x in encoders.similarity("lexical", [APPLE], [APPLES]))
    rows = (instance(0, 3, APPLE), instance(1, 5, APPLES))
    assert levels(*rows, threshold=similarity) == [4, 5]
    assert levels(*rows, threshold=similarity + 0.001) == [3, 5]


@pytest.mark.parametrize(("window", "raised"), [(0, 0), (1, 1), (2, 2), (3, 3), (10, 5)])
def test_the_window_is_how_many_turns_ahead_the_positive_message_may_stand(window: int, raised: int) -> None:
    rows = [instance(turn, 3, APPLE) for turn in range(5)] + [instance(5, 4, APPLES)]
    assert levels(*rows, window=window) == [3] * (5 - raised) + [4] * (raised + 1)


def test_a_positive_message_raises_what_stands_before_it_never_after() -> None:
    assert levels(instance(0, 5, APPLES), instance(1, 3, APPLE)) == [5, 3]


@pytest.mark.parametrize("level", [1, 2, 3])
def test_only_positive_messages_raise(level: int) -> None:
    assert levels(instance(0, 3, APPLE), instance(1, level, APPLE)) == [3, level]


@pytest.mark.parametrize("level", [1, 2, 4, 5])
def test_only_neutral_messages_are_raised(level: int) -> None:
    assert levels(instance(0, level, APPLE), instance(1, 5, APPLES)) == [level, 5]


def test_a_mined_message_does_not_raise_another() -> None:
    rows = [instance(0, 3, APPLE), instance(1, 3, APPLE), instance(2, 5, APPLES)]
    assert levels(*rows, window=1) == [3, 4, 5]


def test_the_nearest_similar_message_decides_and_every_instance_stays_one() -> None:
    rows = [instance(0, 3, APPLE), instance(1, 4, APPLES), instance(2, 5, APPLES)]
    first, *_ = found = mine(*rows, label="copy")
    assert len(found) == 3
    assert (first["level"], first["mining"]["source_turn"]) == (4, 1)


def test_a_nearer_message_on_another_topic_does_not_stand_in_the_way() -> None:
    rows = [instance(0, 3, APPLE), instance(1, 4, TRAINS), instance(2, 5, APPLES)]
    first, *_ = mine(*rows, label="copy")
    assert (first["level"], first["mining"]["source_turn"]) == (5, 2)


def test_a_mined_instance_is_positive_engagement_or_takes_the_level_it_was_mined_from() -> None:
    rows = (instance(0, 3, APPLE), instance(1, 5, APPLES))
    assert levels(*rows, label="positive_engagement") == [4, 5]
    assert levels(*rows, label="copy") == [5, 5]


def test_gaps_count_by_turn_and_do_not_by_position() -> None:
    rows = (instance(0, 3, APPLE), instance(1, 2, TRAINS), instance(4, 5, APPLES))
    assert levels(*rows, window_by="turn") == [3, 2, 5]
    assert levels(*rows, window_by="position") == [4, 2, 5]


def test_another_conversation_raises_nothing() -> None:
    rows = (instance(0, 3, APPLE), instance(1, 5, APPLES, thread=1))
    assert levels(*rows) == [3, 5]
    assert levels(*rows, window_by="position") == [3, 5]


def test_queries_can_be_compared_in_place_of_the_feedback() -> None:
    rows = (instance(0, 3, APPLE, query=TRAINS), instance(1, 5, TRAINS, query=TRAINS))
    assert levels(*rows, compare="feedback") == [3, 5]
    assert levels(*rows, compare="query") == [4, 5]


@pytest.mark.parametrize("encoder", ["lexical", "use-multilingual"])
def test_chinese_messages_are_compared_as_english_ones_are(encoder: encoders.EncoderName) -> None:
    rows = (
        instance(0, 3, "在北京办理居住证要多长时间"),
        instance(1, 5, "谢谢！在北京办理居住证只用了十天"),
        instance(0, 3, "推荐几部适合周末看的电影", thread=1),
        instance(1, 5, "谢谢！在北京办理居住证只用了十天", thread=1),
    )
    assert levels(*rows, encoder=encoder, threshold=encoders.THRESHOLDS[encoder]) == [4, 5, 3, 5]


def test_no_rows_are_no_error() -> None:
    assert mine() == []


def reference(rows: list[Row], threshold: float, window: int, label: str, compare: str, window_by: str) -> list[Row]:
    """Every neutral instance, looked at on its own: the nearest similar positive one within the window."""
    found: list[Row] = []
    for _, group in groupby(rows, key=lambda row: row["thread"]):
        thread = list(group)
        for at, row in enumerate(thread):
            ahead = [(other["turn_index"] - row["turn_index"], other) for other in thread]
            if window_by == "position":
                ahead = [(place - at, other) for place, other in enumerate(thread)]
            ahead = [(far, other) for far, other in ahead if 1 <= far <= window and other["level"] >= 4]
            if row["level"] != 3:
                ahead = []
            ahead.sort(key=lambda item: item[0])
            scores = [float(encoders.similarity("lexical", [row[compare]], [o[compare]])[0]) for _, o in ahead]
            hit = next((i for i, score in enumerate(scores) if score >= threshold), None)
            if hit is not None:
                level = 4 if label == "positive_engagement" else ahead[hit][1]["level"]
                found.append({"level": level, "turn": ahead[hit][1]["turn_index"], "score": scores[hit]})
            else:
                found.append({"level": row["level"], "turn": None, "score": scores[0] if scores else None})
    return found


@st.composite
def conversations(draw: st.DrawFn) -> list[Row]:
    texts = st.sampled_from([APPLE, APPLES, TRAINS, "trains", "苹果长在哪里", "苹果", ""])
    rows = []
    for thread in range(draw(st.integers(0, 3))):
        turns = draw(st.lists(st.integers(0, 8), unique=True, max_size=6))
        rows += [instance(turn, draw(st.integers(1, 5)), draw(texts), thread, draw(texts)) for turn in sorted(turns)]
    return rows


@given(
    conversations(),
    st.sampled_from([0.0, 0.35, 0.9]),
    st.integers(0, 4),
    st.sampled_from(["positive_engagement", "copy"]),
    st.sampled_from(["feedback", "query"]),
    st.sampled_from(["turn", "position"]),
)
def test_mining_is_what_the_definition_says_pair_by_pair(
    rows: list[Row],
    threshold: float,
    window: int,
    label: str,
    compare: str,
    window_by: Literal["turn", "position"],
) -> None:
    settings = {"window": window, "label": label, "compare": compare, "window_by": window_by}
    found = mine(*rows, threshold=threshold, **settings)
    told = [
        {"level": row["level"], "turn": row["mining"]["source_turn"], "score": row["mining"]["similarity"]}
        for row in found
    ]
    for one, other in zip(told, reference(rows, threshold, **settings), strict=True):  # type: ignore[arg-type]
        assert one == {**other, "score": pytest.approx(other["score"], abs=1e-6) if other["score"] else other["score"]}
    assert [row["mining"]["applied"] for row in found] == [row["turn"] is not None for row in told]
