"""Every rule of S8 at its boundary, which of them is named first, and what is told of the others."""

from __future__ import annotations

from typing import Any, get_args

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.feedback import INSTANCE_OUTCOMES
from tests.builders import some_split
from transforms.feedback import filters
from transforms.feedback.filters import FilterName
from transforms.models import rules
from transforms.models.rules import RuleSet
from transforms.text import quality, repetition

Row = dict[str, Any]

NAMES: tuple[FilterName, ...] = get_args(FilterName)
QUERY = "Why does the sun always set in the west?"
RESPONSE = "Because the earth turns east, so the sun seems to move west every single day."
MAIL = "write to john.smith@gmail.com"

RULES = "{name: context, version: 1, default: none, rules: [{id: draws, label: image, pattern: '^draw '}]}"
FLAGS = {"toxic": None, "redacted": None, "moderation_flagged": None}
SCHEMA: dict[str, Any] = {
    "query": pl.String,
    "response": pl.String,
    "feedback": pl.String,
    "history": pl.List(pl.Struct({"role": pl.String, "content": pl.String})),
    "history_turns": pl.Int32,
    "history_messages": pl.Int32,
    "flags": pl.Struct(dict.fromkeys(FLAGS, pl.Boolean)),
}
SETTINGS: Row = {
    "names": NAMES,
    "max_history": 20,
    "history_unit": "turns",
    "min_query_length": 5,
    "min_response_length": 10,
    "response_rules": [quality.RULES["gopher_hash_ratio"]],
}


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> RuleSet:
    path = tmp_path_factory.mktemp("rules") / "context.yaml"
    path.write_text(RULES)
    return rules.load(path)


def exchange(**facts: Any) -> Row:
    row = {"query": QUERY, "response": RESPONSE, "feedback": "Thanks!", "history": [], "flags": FLAGS, **facts}
    said = len(row["history"] or [])
    return {"history_turns": said // 2, "history_messages": said, **row}


def select(context: RuleSet, *rows: Row, **settings: Any) -> list[Row]:
    frame = pl.DataFrame(list(rows), schema=SCHEMA)
    return filters.select(frame, some_split(), **{**SETTINGS, "external_context": context, **settings}).to_dicts()


def reason(context: RuleSet, row: Row, **settings: Any) -> str | None:
    (found,) = select(context, row, **settings)
    return found["reason"]  # type: ignore[no-any-return]


def words(count: int, word: str = "word") -> str:
    return " ".join([word] * count)


def test_a_response_keeps_rules_of_quality_and_repetition(context: RuleSet) -> None:
    held = [quality.RULES["gopher_stop_words"], repetition.RULES["duplicate_5_gram_character_fraction"]]
    looping = f"The answer of the book is to be found with care. {words(30, 'again and again')}"
    rows = [exchange(), exchange(response=looping), exchange(response=words(12)), exchange(response=None)]
    told = [(row["reason"], row["detail"]) for row in select(context, *rows, response_rules=held)]
    assert told[0] == (None, None)
    assert told[1][0] == "response_rules"
    assert told[1][1].startswith("duplicate_5_gram_character_fraction=0.")
    assert told[2] == ("response_rules", "gopher_stop_words=0, duplicate_5_gram_character_fraction=0.678")
    assert told[3][0] == "response_too_short"
    rows = select(context, exchange(response=looping), names=NAMES[:2], response_rules=held)
    assert [row["reason"] for row in rows] == [None]


def test_a_sound_exchange_passes_every_rule(context: RuleSet) -> None:
    (found,) = select(context, exchange())
    assert found["reason"] is None
    assert found["failed"] == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (words(4), "query_too_short"),
        (words(5), None),
        (f"  {words(4)}\n\n", "query_too_short"),
        ("a\tb\nc\u3000d e", None),
        ("为什么天", "query_too_short"),
        ("为什么天蓝", None),
        ("为什么 天？！。", "query_too_short"),
        ("为什么ok天", "query_too_short"),
        ("why 天空 is blue", "query_too_short"),
        ("why 天空 is blue now", None),
    ],
)
def test_a_query_has_five_words_or_chinese_characters(context: RuleSet, query: str, expected: str | None) -> None:
    assert reason(context, exchange(query=query)) == expected


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (words(9), "response_too_short"),
        (words(10), None),
        ("因为空气散射蓝色光", "response_too_short"),
        ("因为空气会散射蓝色光", None),
        ("", "response_too_short"),
    ],
)
def test_a_response_has_ten_words_or_chinese_characters(context: RuleSet, response: str, expected: str | None) -> None:
    assert reason(context, exchange(response=response)) == expected


def test_lengths_are_scores_and_their_limits_settings(context: RuleSet) -> None:
    (found,) = select(context, exchange(query=words(4), response="因为空气散射蓝色光"))
    assert (found["query_length"], found["response_length"]) == (4, 9)
    assert reason(context, exchange(query=words(4)), min_query_length=4) is None
    assert reason(context, exchange(response=words(9)), min_response_length=9) is None
    assert reason(context, exchange(response=words(10)), min_response_length=11) == "response_too_short"


@pytest.mark.parametrize(
    ("unit", "turns", "said", "expected"),
    [
        ("turns", 20, 40, None),
        ("turns", 21, 42, "too_many_turns"),
        ("messages", 10, 20, None),
        ("messages", 10, 21, "too_many_turns"),
        ("turns", 10, 21, None),
    ],
)
def test_twenty_turns_or_messages_of_history_are_allowed(
    context: RuleSet, unit: str, turns: int, said: int, expected: str | None
) -> None:
    row = exchange(history=None, history_turns=turns, history_messages=said)
    assert reason(context, row, history_unit=unit) == expected


def test_a_query_for_something_outside_the_text_is_rejected(context: RuleSet) -> None:
    assert reason(context, exchange(query="draw a cat on the red roof")) == "external_context"
    assert reason(context, exchange(query="what are the drawbacks of a red roof")) is None
    assert reason(context, exchange(response="draw a cat on the red roof, and then another one on top")) is None


@pytest.mark.parametrize("where", ["query", "response", "feedback", "history"])
@pytest.mark.parametrize(("text", "expected"), [("see https://a.org/x", "contains_url"), (MAIL, "personal_data")])
def test_urls_and_personal_data_are_found_wherever_they_stand(
    context: RuleSet, where: str, text: str, expected: str
) -> None:
    said = f"{RESPONSE} {text}"
    history = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": said}]
    (found,) = select(context, exchange(**({"history": history} if where == "history" else {where: said})))
    assert found["reason"] == expected
    assert found["failed"] == [expected]
    assert found["personal_data"] == (["email"] if expected == "personal_data" else [])


def test_all_kinds_of_personal_data_are_told_once(context: RuleSet) -> None:
    history = [
        {"role": "user", "content": f"{MAIL}, my phone is (415) 555-2671"},
        {"role": "assistant", "content": None},
    ]
    (found,) = select(context, exchange(history=history, feedback=MAIL))
    assert found["personal_data"] == ["email", "phone"]


@pytest.mark.parametrize("flag", ["toxic", "redacted"])
def test_flags_reject_where_the_rule_is_configured_and_unknown_is_no_flag(context: RuleSet, flag: str) -> None:
    raised = exchange(flags={**FLAGS, flag: True})
    assert reason(context, raised) == flag
    assert reason(context, raised, names=["query_too_short"]) is None
    assert reason(context, exchange(flags={**FLAGS, flag: False})) is None
    assert reason(context, exchange(flags=FLAGS)) is None


FAULTS: dict[FilterName, Row] = {
    "too_many_turns": {"history_turns": 21},
    "query_too_short": {"query": "why?"},
    "response_too_short": {"response": "so."},
    "external_context": {"query": "draw a cat on the red roof"},
    "contains_url": {"feedback": "see https://a.org"},
    "personal_data": {"history": [{"role": "user", "content": MAIL}]},
    "toxic": {"flags": {**FLAGS, "toxic": True}},
    "redacted": {"flags": {**FLAGS, "redacted": True}},
    "response_rules": {"response": f"{RESPONSE} # # # #"},
}


def faulty(names: frozenset[FilterName]) -> Row:
    row = exchange()
    for name in sorted(names - {"query_too_short", "response_rules"}) + sorted(names & {"response_rules"}):
        row |= {**FAULTS[name], "flags": {**row["flags"], **FAULTS[name].get("flags", {})}}
    flags = {f: True if f in names else None for f in FLAGS}
    short = {"query": "draw it" if "external_context" in names else "why?"} if "query_too_short" in names else {}
    both = {"response": "so. #"} if {"response_too_short", "response_rules"} <= names else {}
    return {**row, "flags": flags, **short, **both}


@given(st.frozensets(st.sampled_from(NAMES)), st.permutations(NAMES), st.integers(0, len(NAMES)))
def test_the_first_failing_rule_in_config_order_is_the_reason_and_all_are_told(
    context: RuleSet, faults: frozenset[FilterName], order: list[FilterName], count: int
) -> None:
    names = order[:count]
    (found,) = select(context, faulty(faults), names=names)
    failed = [name for name in names if name in faults]
    assert found.get("failed", []) == failed
    assert found.get("reason") == (failed[0] if failed else None)


def test_every_rule_is_an_outcome_that_is_explained() -> None:
    assert set(NAMES) <= set(INSTANCE_OUTCOMES)


def test_no_rows_are_no_error(context: RuleSet) -> None:
    assert select(context) == []


@pytest.mark.parametrize(("level", "expected"), [(1, None), (2, None), (3, "neutral"), (4, None), (5, None)])
def test_what_stayed_neutral_is_dropped(level: int, expected: str | None) -> None:
    frame = pl.DataFrame({"level": pl.Series([level], dtype=pl.Int8)})
    assert filters.drop_neutral(frame, some_split())["reason"].to_list() == [expected]


han = st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF), max_size=5)
latin = st.text("ab'.,-1 \t\n", max_size=12)


@given(st.lists(st.one_of(han, latin), max_size=6).map("".join))
def test_length_is_the_larger_of_words_and_chinese_characters(text: str) -> None:
    expected = max(len(text.split()), sum("\u4e00" <= c <= "\u9fff" for c in text))
    assert pl.select(filters.length(pl.lit(text))).item() == expected


def test_the_length_of_nothing_is_zero() -> None:
    assert pl.select(filters.length(pl.lit(None, pl.String))).item() == 0
