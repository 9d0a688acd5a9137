"""Which message answers which response: against a plain reading of the definition, message by message."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.conversation import CONVERSATION, ROLES
from tests.builders import Row, message, some_split, talk, thread
from transforms.feedback import turns

FLAGS = ("toxic", "redacted", "moderation_flagged")
TIMES = [None, datetime(2023, 4, 9, tzinfo=UTC), datetime(2024, 2, 29, 12, tzinfo=UTC)]
SPLIT = some_split()


def extract(threads: list[Row], max_history: int = 20) -> list[Row]:
    table = pa.Table.from_pylist(threads, schema=CONVERSATION)
    return turns.extract(pl.DataFrame(table), SPLIT, max_history).to_dicts()


def expected(threads: list[Row], max_history: int) -> list[Row]:
    """The definition of an instance, one message after another."""
    found: list[Row] = []
    ordinals: Counter[int] = Counter()
    for here in threads:
        messages = here["messages"]
        for at, feedback in enumerate(messages):
            if at == 0 or feedback["role"] != "user" or messages[at - 1]["role"] != "assistant" or at < here["seen"]:
                continue
            above = messages[:at]
            users = sum(m["role"] == "user" for m in above)
            query = above[-2] if at >= 2 and above[-2]["role"] == "user" else None
            history_turns = max(users - 1, 0)
            texts = [query and query["content"], above[-1]["content"], feedback["content"]]
            stated = {f: [m[f] for m in messages[: at + 1] if m[f] is not None] for f in FLAGS}
            found.append(
                {
                    "source_row": here["source_row"],
                    "ordinal": ordinals[here["source_row"]],
                    "conversation_id": here["conversation_id"],
                    "user": here["user"],
                    "model": here["model"],
                    "conversation_language": here["language"],
                    "language": feedback["language"],
                    "query_language": query and query["language"],
                    "query": texts[0],
                    "response": texts[1],
                    "feedback": texts[2],
                    "history": [{"role": m["role"], "content": m["content"]} for m in messages[: max(at - 2, 0)]]
                    if history_turns <= max_history
                    else None,
                    "history_turns": history_turns,
                    "turn_index": users - 1 if query else None,
                    "n_turns": sum(m["role"] == "user" for m in messages),
                    "timestamp": above[-1]["timestamp"] or here["timestamp"],
                    "flags": {f: any(stated[f]) if stated[f] else here[f] for f in FLAGS},
                    "reason": "no_query" if not query else "empty_message" if not all(map(_says, texts)) else None,
                    "unit": "instance",
                    "source_uri": SPLIT.file.relative_uri,
                }
            )
            ordinals[here["source_row"]] += 1
    return found


def _says(text: str | None) -> bool:
    return bool(text and text.strip())


flag = st.sampled_from([None, None, False, True])
messages = st.builds(
    message,
    st.sampled_from([*ROLES, "user", "assistant", "user", "assistant"]),
    st.sampled_from(["a", "b", "漢字", "long " * 30, "a", "b", None, "", " \n\t", "\u3000"]),
    language=st.sampled_from([None, "en", "zh"]),
    timestamp=st.sampled_from(TIMES),
    toxic=flag,
    redacted=flag,
    moderation_flagged=flag,
)


@st.composite
def conversations(draw: st.DrawFn) -> list[Row]:
    """Threads of several source rows, in order; a row may have several, each having seen part of the last."""
    found: list[Row] = []
    for row in draw(st.lists(st.integers(0, 10_000), unique=True, max_size=4).map(sorted)):
        count = draw(st.integers(1, 3))
        for number in range(count):
            talk = draw(st.lists(messages, min_size=1, max_size=9))
            facts: dict[str, Any] = {name: draw(flag) for name in FLAGS}
            facts |= {"user": draw(st.sampled_from([None, "u1", "u2"])), "timestamp": draw(st.sampled_from(TIMES))}
            facts |= {"model": draw(st.sampled_from([None, "m"])), "language": draw(st.sampled_from([None, "fr"]))}
            seen = draw(st.integers(0, len(talk))) if number else 0
            found.append(thread(row, talk, seen=seen, **facts))
    return found


@given(conversations(), st.integers(0, 3))
def test_every_instance_is_what_the_definition_says(threads: list[Row], max_history: int) -> None:
    found = extract(threads, max_history)
    wanted = expected(threads, max_history)
    instances = [row for row in found if row["unit"] == "instance"]
    assert [{name: row[name] for name in want} for row, want in zip(instances, wanted, strict=True)] == wanted


@given(conversations())
def test_every_source_row_becomes_instances_or_is_rejected_once(threads: list[Row]) -> None:
    found = extract(threads)
    used = {row["source_row"] for row in found if row["unit"] == "instance"}
    silent = [row for row in found if row["unit"] == "row"]
    assert used | {row["source_row"] for row in silent} == {row["source_row"] for row in threads}
    assert used.isdisjoint(row["source_row"] for row in silent)
    assert len({row["source_row"] for row in silent}) == len(silent)
    assert all(row["reason"] == "no_feedback" for row in silent)
    assert len({row["record_id"] for row in found}) == len(found)


@given(conversations(), st.integers(0, 4))
def test_instances_do_not_depend_on_where_a_file_was_cut(threads: list[Row], at: int) -> None:
    rows = sorted({row["source_row"] for row in threads})
    border = rows[at] if at < len(rows) else 10**6
    parts = [[t for t in threads if t["source_row"] < border], [t for t in threads if t["source_row"] >= border]]
    whole = {row["record_id"]: row for row in extract(threads)}
    cut = {row["record_id"]: row for part in parts for row in extract(part)}
    for row in (*whole.values(), *cut.values()):
        row.pop("thread")  # numbers the threads of a chunk
    assert whole == cut


def test_record_ids_differ_between_files_rows_and_instances() -> None:
    threads = [thread(row, talk("a", "b", "c", "d", "e")) for row in range(3)]
    table = pl.DataFrame(pa.Table.from_pylist(threads, schema=CONVERSATION))
    ids = [
        record_id
        for name in ("a.jsonl", "b.jsonl", "folder/a.jsonl")
        for record_id in turns.extract(table, some_split(name), 20)["record_id"]
    ]
    assert len(ids) == 18 == len(set(ids))
    assert all(len(record_id) == 32 for record_id in ids)


def test_a_conversation_of_n_turns_has_n_minus_1_instances_and_one_more_for_an_unanswered_last_message() -> None:
    assert [len(extract([thread(0, talk(*("x" * n)))])) for n in (3, 4, 5, 6, 9)] == [1, 1, 2, 2, 4]
    (row,) = extract([thread(0, talk("x", "y"))])
    assert (row["unit"], row["reason"]) == ("row", "no_feedback")


def test_nothing_of_one_conversation_leaks_into_the_next() -> None:
    before = thread(0, talk("secret", "secret"), toxic=True)
    here = thread(1, [message("assistant", "hello"), message("user", "hi", toxic=False), *talk("q", "r", "f")[1:]])
    rows = [row for row in extract([before, here]) if row["unit"] == "instance"]
    assert [(row["query"], row["response"], row["feedback"]) for row in rows] == [
        (None, "hello", "hi"),
        ("hi", "r", "f"),
    ]
    assert "secret" not in str(rows)
    assert [row["flags"]["toxic"] for row in rows] == [False, False]


def test_no_conversations_give_no_instances() -> None:
    assert extract([]) == []
    assert turns.keys(CONVERSATION.empty_table(), "content", "user").num_rows == 0


# --- Keys of exchanges


def keys(threads: list[Row], **settings: Any) -> list[Row]:
    table = pa.Table.from_pylist(threads, schema=CONVERSATION)
    return turns.keys(table, **{"by": "content", "owner_is": "user", **settings}).to_pylist()


def exchanges(threads: list[Row]) -> list[tuple[Any, ...]]:
    """Every instance's messages up to the feedback, in the order of the instances."""
    return [
        tuple((m["role"], m["content"]) for m in here["messages"][: at + 1])
        for here in threads
        for at, m in enumerate(here["messages"])
        if at and at >= here["seen"] and m["role"] == "user" and here["messages"][at - 1]["role"] == "assistant"
    ]


similar = st.builds(
    message,
    st.sampled_from(["user", "assistant", "user", "assistant", "tool"]),
    st.sampled_from(["a", "b", "a", "", None, "\0", "a\0user\0a", "0", "1\0user"]),
)


@given(st.lists(st.lists(similar, min_size=2, max_size=6), min_size=1, max_size=12))
def test_keys_are_equal_exactly_where_exchanges_are(talks: list[list[Row]]) -> None:
    threads = [thread(row, messages) for row, messages in enumerate(talks)]
    found = [(row["key"], row["check"]) for row in keys(threads)]
    wanted = exchanges(threads)
    assert len(found) == len(wanted)
    for key, exchange in zip(found, wanted, strict=True):
        assert [key == other for other in found] == [exchange == other for other in wanted]


def test_the_same_messages_in_another_order_are_another_exchange() -> None:
    talks = [talk("a", "x", "b", "y", "c"), talk("b", "x", "a", "y", "c"), talk("a", "y", "b", "x", "c")]
    last = [keys([thread(row, messages)])[-1] for row, messages in enumerate(talks)]
    assert len({row["key"] for row in last}) == len({row["check"] for row in last}) == 3


@given(conversations())
def test_keys_stand_in_the_order_of_the_instances_whatever_the_cut(threads: list[Row]) -> None:
    instances = [(row["source_row"], row["ordinal"]) for row in extract(threads) if row["unit"] == "instance"]
    whole = keys(threads)
    assert [(row["source_row"], row["ordinal"]) for row in whole] == instances
    rows = sorted({row["source_row"] for row in threads})
    assert [key for row in rows for key in keys([t for t in threads if t["source_row"] == row])] == whole


def test_keys_ignore_what_is_not_said() -> None:
    said = talk("a", "b", "c")
    facts = {"language": "en", "timestamp": TIMES[1], "toxic": True, "moderation_flagged": False}
    other = [{**m, **facts} for m in said]
    one, two = keys([thread(0, said), thread(7, other, user="u", model="m", language="zh", toxic=True)])
    assert (one["key"], one["check"]) == (two["key"], two["check"])


@pytest.mark.parametrize("owner_is", ["user", "conversation"])
def test_exchanges_belong_to_their_user_or_else_to_their_conversation(owner_is: str) -> None:
    said = talk("a", "b", "c")
    threads = [
        thread(0, said, user="u", conversation_id="x"),
        thread(1, said, user="u", conversation_id="y"),
        thread(2, said, conversation_id="x"),
        thread(3, said, conversation_id="u"),
        thread(4, said, user="x", conversation_id="z"),
    ]
    owners = [row["owner"] for row in keys(threads, owner_is=owner_is)]
    same = [(one, two) for one in range(5) for two in range(one) if owners[one] == owners[two]]
    assert same == ([(1, 0)] if owner_is == "user" else [(2, 0)])


def test_by_conversation_id_instances_are_one_when_id_and_turn_are() -> None:
    threads = [
        thread(0, talk("a", "b", "c", "d", "e"), conversation_id="x"),
        thread(1, talk("a", "b", "other"), conversation_id="x"),
        thread(2, talk("a", "b", "c"), conversation_id="y"),
    ]
    found = [(row["key"], row["check"]) for row in keys(threads, by="conversation_id")]
    assert found[0] == found[2]
    assert len({found[0], found[1], found[3]}) == 3
