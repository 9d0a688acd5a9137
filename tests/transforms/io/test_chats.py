"""Chat formats people have, read into one conversation schema."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.conversation import CONVERSATION
from schemas.provenance import Container
from tests.builders import Row, Told, jsonl, message, packed, plan, read, sharegpt, write, write_rows
from transforms.feedback import turns
from transforms.io import chats

NOON = datetime(2023, 4, 9, 12, 0, 0, tzinfo=UTC)
LATER = NOON + timedelta(seconds=90, microseconds=250)

UTTERANCE = [
    ("content", pa.string()),
    ("country", pa.string()),
    ("hashed_ip", pa.string()),
    ("header", pa.struct([("accept-language", pa.string()), ("user-agent", pa.string())])),
    ("language", pa.string()),
    ("redacted", pa.bool_()),
    ("role", pa.string()),
    ("state", pa.string()),
    ("timestamp", pa.timestamp("us", tz="UTC")),
    ("toxic", pa.bool_()),
    ("turn_identifier", pa.int64()),
]
MODERATION = pa.list_(pa.struct([("categories", pa.struct([("hate", pa.bool_())])), ("flagged", pa.bool_())]))
WILDCHAT_1M = pa.schema(
    [
        ("conversation_hash", pa.string()),
        ("model", pa.string()),
        ("timestamp", pa.timestamp("us", tz="UTC")),
        ("conversation", pa.list_(pa.struct(UTTERANCE))),
        ("turn", pa.int64()),
        ("language", pa.string()),
        ("openai_moderation", MODERATION),
        ("detoxify_moderation", pa.list_(pa.struct([("toxicity", pa.float64())]))),
        ("toxic", pa.bool_()),
        ("redacted", pa.bool_()),
        ("state", pa.string()),
        ("country", pa.string()),
        ("hashed_ip", pa.string()),
        ("header", pa.struct([("accept-language", pa.string()), ("user-agent", pa.string())])),
    ]
)


def _naive(fields: list[Any]) -> list[Any]:
    return [(name, pa.timestamp("ns") if name == "timestamp" else kind) for name, kind in fields]


CALL = [("openai_id", pa.string()), ("temperature", pa.float64()), ("usage", pa.struct([("total_tokens", pa.int64())]))]
WILDCHAT_4_8M = pa.schema(
    [
        (f.name, pa.list_(pa.struct([*_naive(UTTERANCE), *CALL])) if f.name == "conversation" else f.type)
        for f in WILDCHAT_1M
        if f.name != "timestamp"
    ]
    + [("timestamp", pa.timestamp("us"))]
)

WILDCHAT_ROW: Row = {
    "conversation_hash": "c0ffee",
    "model": "gpt-4",
    "timestamp": LATER,
    "conversation": [
        {"role": "user", "content": "你好 <|im_end|>", "language": "Chinese", "hashed_ip": "ip-1", "toxic": False,
         "redacted": True, "turn_identifier": 1, "country": "Chile", "header": {"user-agent": "x"}},
        {"role": "assistant", "content": "Hello\n\nthere", "language": "English", "timestamp": NOON, "toxic": False},
        {"role": "user", "content": None, "language": "Klingon", "hashed_ip": "ip-1", "toxic": True},
    ],
    "turn": 2,
    "language": "Chinese",
    "openai_moderation": [{"flagged": False}, {"flagged": None}, {"flagged": True, "categories": {"hate": True}}],
    "toxic": True,
    "redacted": True,
    "hashed_ip": "ip-1",
    "country": "Chile",
}  # fmt: skip
WILDCHAT_CONVERSATION: Row = {
    "source_row": 0,
    "seen": 0,
    "conversation_id": "c0ffee",
    "user": "ip-1",
    "model": "gpt-4",
    "language": "zh",
    "timestamp": LATER,
    "toxic": True,
    "redacted": True,
    "moderation_flagged": True,
    "messages": [
        message("user", "你好 <|im_end|>", language="zh", toxic=False, redacted=True, moderation_flagged=False),
        message("assistant", "Hello\n\nthere", language="en", timestamp=NOON, toxic=False),
        message("user", None, toxic=True, moderation_flagged=True),
    ],
}

CONTAINERS: list[Container] = ["parquet", "jsonl", "jsonl.gz", "jsonl.zst"]


def naive(row: Row) -> Row:
    """The row with times that name no zone, and the columns that WildChat-4.8M added."""
    copied = copy.deepcopy(row)
    copied["timestamp"] = copied["timestamp"].replace(tzinfo=None)
    for turn in copied["conversation"]:
        turn |= {"openai_id": "chatcmpl-1", "temperature": 0.7, "usage": {"total_tokens": 5}}
        if "timestamp" in turn:
            turn["timestamp"] = turn["timestamp"].replace(tzinfo=None)
    return copied


def told_by(folder: Path, rows: list[Row], container: Container = "jsonl", schema: Any = None, **settings: Any) -> Told:
    planned = plan(write_rows(folder, rows, container, schema), **settings)
    assert planned.error is None
    told = read(planned)
    told.expect_closed(len(rows))
    return told


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("version", ["1M", "4.8M"])
def test_wildchat_keeps_every_field_that_later_stages_need(tmp_path: Path, container: Container, version: str) -> None:
    row, schema = (WILDCHAT_ROW, WILDCHAT_1M) if version == "1M" else (naive(WILDCHAT_ROW), WILDCHAT_4_8M)
    told = told_by(tmp_path, [row], container, schema)
    assert told.conversations == [WILDCHAT_CONVERSATION]


@pytest.mark.parametrize("writer", ["polars", "duckdb", "datasets"])
def test_parquet_of_other_writers_is_read_the_same(tmp_path: Path, writer: str) -> None:
    table = pa.Table.from_pylist([WILDCHAT_ROW] * 3, schema=WILDCHAT_1M)
    path = tmp_path / "chats.parquet"
    if writer == "polars":
        pl.DataFrame(table).write_parquet(path, row_group_size=2)
    elif writer == "duckdb":
        import duckdb

        duckdb.connect().register("found", table).execute("SET timezone='UTC'").execute(
            f"COPY (SELECT * FROM found) TO '{path}'"
        )
    else:
        from datasets import Dataset

        Dataset(table).to_parquet(path)
    told = read(plan(path))
    assert told.conversations == [{**WILDCHAT_CONVERSATION, "source_row": row} for row in range(3)]


@pytest.mark.parametrize("container", ["parquet", "jsonl"])
@pytest.mark.parametrize("name", sorted(set(WILDCHAT_1M.names) - {"conversation", "conversation_hash"}))
def test_a_column_that_is_null_or_missing_is_null_and_spoils_nothing_else(
    tmp_path: Path, container: Container, name: str
) -> None:
    missing_schema = pa.schema([f for f in WILDCHAT_1M if f.name != name])
    missing = told_by(
        tmp_path / "missing", [{k: v for k, v in WILDCHAT_ROW.items() if k != name}], container, missing_schema
    )
    null = told_by(tmp_path / "null", [{**WILDCHAT_ROW, name: None}], container, WILDCHAT_1M)
    assert missing.conversations == null.conversations
    (found,) = null.conversations
    if name == "openai_moderation":
        assert found["moderation_flagged"] is None
        assert all(m["moderation_flagged"] is None for m in found["messages"])
    elif name == "hashed_ip":
        assert found["user"] == "ip-1", "the messages still name the user"
    elif name in WILDCHAT_CONVERSATION:
        assert found == {**WILDCHAT_CONVERSATION, name: None}
    else:
        assert found == WILDCHAT_CONVERSATION


@pytest.mark.parametrize("container", ["parquet", "jsonl"])
def test_columns_that_are_null_in_some_rows_only(tmp_path: Path, container: Container) -> None:
    names = [n for n in WILDCHAT_1M.names if n not in {"conversation", "conversation_hash"}]
    rows = [WILDCHAT_ROW, *({**WILDCHAT_ROW, name: None} for name in names), WILDCHAT_ROW]
    told = told_by(tmp_path, rows, container, WILDCHAT_1M)
    first, *_, last = told.conversations
    assert {**first, "source_row": 0} == {**last, "source_row": 0} == WILDCHAT_CONVERSATION
    assert len(told.conversations) == len(rows)


@pytest.mark.parametrize(
    ("flags", "per_message", "whole"),
    [
        ([False, False, False], [False, False, False], False),
        ([False, True, False], [False, True, False], True),
        ([True], [True, None, None], True),
        ([False, None], [False, None, None], False),
        ([False, False, False, True], [False, False, False], False),
        ([], [None, None, None], None),
        (None, [None, None, None], None),
    ],
)
@pytest.mark.parametrize("container", ["parquet", "jsonl"])
def test_moderation_flags_belong_to_their_messages(
    tmp_path: Path, container: Container, flags: list[bool | None] | None, per_message: list[Any], whole: bool | None
) -> None:
    stated = None if flags is None else [{"flagged": flag} for flag in flags]
    rows = [WILDCHAT_ROW, {**WILDCHAT_ROW, "openai_moderation": stated}, WILDCHAT_ROW]
    told = told_by(tmp_path, rows, container, WILDCHAT_1M)
    found = told.conversations[1]
    assert [m["moderation_flagged"] for m in found["messages"]] == per_message
    assert found["moderation_flagged"] is whole
    assert told.conversations[0]["messages"] == told.conversations[2]["messages"] == WILDCHAT_CONVERSATION["messages"]


@pytest.mark.parametrize(
    ("top", "named", "expected"),
    [
        ("a", [None, None, "b"], "a"),
        (None, [None, None, "b"], "b"),
        (None, ["c", None, "b"], "c"),
        (None, [None, None, None], None),
    ],
)
@pytest.mark.parametrize("container", ["parquet", "jsonl"])
def test_the_user_is_the_rows_own_or_the_first_that_a_message_names(
    tmp_path: Path, container: Container, top: str | None, named: list[str | None], expected: str | None
) -> None:
    conversation = [{**turn, "hashed_ip": name} for turn, name in zip(WILDCHAT_ROW["conversation"], named, strict=True)]
    told = told_by(tmp_path, [{**WILDCHAT_ROW, "hashed_ip": top, "conversation": conversation}], container, WILDCHAT_1M)
    assert told.conversations[0]["user"] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2023-04-09T12:00:00Z", NOON),
        ("2023-04-09 12:00:00", NOON),
        ("2023-04-09 12:00:00+00:00", NOON),
        ("2023-04-09 12:00:00 UTC", NOON),
        ("2023-04-09T14:00:00+02:00", NOON),
        ("2023-04-09T07:00:00.000000-0500", NOON),
        ("2023-04-09T12:01:30.000250Z", LATER),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_times_in_json_are_read_with_or_without_zone(tmp_path: Path, text: str | None, expected: Any) -> None:
    told = told_by(tmp_path, [{**WILDCHAT_ROW, "timestamp": text}])
    assert told.conversations[0]["timestamp"] == expected


@pytest.mark.parametrize(
    "kind", [pa.timestamp("ns"), pa.timestamp("ms", tz="UTC"), pa.timestamp("us", tz="Asia/Tokyo")]
)
def test_any_timestamp_type_of_parquet_is_one_moment(tmp_path: Path, kind: pa.DataType) -> None:
    times = pa.array([NOON], pa.timestamp("us", tz="UTC")).cast(kind)
    if kind.unit == "ns":  # times of pandas have nanoseconds, which ours have no room for
        times = pa.array([times[0].value + 7], pa.int64()).cast(kind)
    table = pa.Table.from_pylist([WILDCHAT_ROW], schema=WILDCHAT_1M)
    table = table.set_column(table.column_names.index("timestamp"), "timestamp", times)
    pq.write_table(table, tmp_path / "chats.parquet")
    assert read(plan(tmp_path / "chats.parquet")).conversations[0]["timestamp"] == NOON


@pytest.mark.parametrize(("container", "kind"), [("jsonl", None), ("parquet", pa.int64()), ("parquet", pa.float64())])
def test_numbers_as_times_are_seconds_since_1970(tmp_path: Path, container: Container, kind: Any) -> None:
    seconds = int(NOON.timestamp())
    row = {"messages": [{"role": "user", "content": "hi"}], "created_at": seconds}
    turn = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    schema = pa.schema([("messages", turn), ("created_at", kind)]) if kind else None
    assert told_by(tmp_path, [row], container, schema).conversations[0]["timestamp"] == NOON


LMSYS_ROW: Row = {
    "conversation_id": "l-1",
    "model": "vicuna-13b",
    "conversation": [{"content": "hi", "role": "user"}, {"content": "hello", "role": "assistant"}],
    "turn": 1,
    "language": "English",
    "openai_moderation": [{"flagged": True}, {"flagged": False}],
    "redacted": False,
}
LMSYS = pa.schema(
    [
        ("conversation_id", pa.string()),
        ("model", pa.string()),
        ("conversation", pa.list_(pa.struct([("content", pa.string()), ("role", pa.string())]))),
        ("turn", pa.int64()),
        ("language", pa.string()),
        ("openai_moderation", MODERATION),
        ("redacted", pa.bool_()),
    ]
)
BARE: Row = dict.fromkeys(CONVERSATION.names) | {"source_row": 0, "seen": 0}


@pytest.mark.parametrize("container", CONTAINERS)
def test_lmsys(tmp_path: Path, container: Container) -> None:
    told = told_by(tmp_path, [LMSYS_ROW], container, LMSYS)
    turns = [message("user", "hi", moderation_flagged=True), message("assistant", "hello", moderation_flagged=False)]
    known = {"conversation_id": "l-1", "model": "vicuna-13b", "language": "en", "redacted": False}
    assert told.conversations == [{**BARE, **known, "moderation_flagged": True, "messages": turns}]


SHAREGPT = pa.schema(
    [
        ("id", pa.string()),
        ("conversations", pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))),
    ]
)


@pytest.mark.parametrize("container", CONTAINERS)
def test_sharegpt_pieces_of_one_conversation_have_one_id(tmp_path: Path, container: Container) -> None:
    rows = [
        sharegpt("QWJhYvA_0", ("human", "a"), ("gpt", "b")),
        sharegpt("QWJhYvA_12", ("gpt", "c"), ("human", "d"), ("chatgpt", "e"), ("human", "f")),
        sharegpt("plain", ("system", "s"), ("user", "g"), ("bing", "h")),
        sharegpt("1_a", ("human", "i")),
    ]
    told = told_by(tmp_path, rows, container, SHAREGPT)
    assert [c["conversation_id"] for c in told.conversations] == ["QWJhYvA", "QWJhYvA", "plain", "1_a"]
    assert [[m["role"] for m in c["messages"]] for c in told.conversations] == [
        ["user", "assistant"],
        ["assistant", "user", "assistant", "user"],
        ["system", "user", "assistant"],
        ["user"],
    ]
    found = {(i["feedback"], i["response"], i["query"], i["reason"]) for i in told.instances}
    assert found == {("d", "c", None, "no_query"), ("f", "e", "d", None)}


OPENAI_ROW: Row = {
    "id": "o-1",
    "user": "u",
    "model": "gpt-4o",
    "created_at": "2023-04-09T12:00:00Z",
    "tools": [{"type": "function", "function": {"name": "weather"}}],
    "messages": [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {}}],
        },
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"arguments": "{}"}}]},
        {"role": "tool", "content": "rain", "tool_call_id": "1"},
        {"role": "assistant", "content": [{"type": "text", "text": "Rain"}, {"type": "text", "text": "and wind."}]},
        {"role": "user", "content": "thanks", "name": "Ann"},
    ],
}


@pytest.mark.parametrize("container", ["jsonl", "jsonl.gz", "jsonl.zst"])
def test_openai_messages_with_parts_and_tools(tmp_path: Path, container: Container) -> None:
    told = told_by(tmp_path, [OPENAI_ROW], container)
    (found,) = told.conversations
    assert [(m["role"], m["content"]) for m in found["messages"]] == [
        ("system", "Be brief."),
        ("user", "What is this?\n[image_url]"),
        ("assistant", None),
        ("tool", "rain"),
        ("assistant", "Rain\nand wind."),
        ("user", "thanks"),
    ]
    assert (found["conversation_id"], found["user"], found["model"], found["timestamp"]) == ("o-1", "u", "gpt-4o", NOON)


def test_openai_messages_in_parquet(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "name": "x"}]}]
    (found,) = told_by(tmp_path, rows, "parquet").conversations
    assert [(m["role"], m["content"]) for m in found["messages"]] == [("user", "a"), ("assistant", "b")]
    assert found["conversation_id"] == "chats.parquet#0"


@pytest.mark.parametrize(
    "messages",
    [
        [None],
        ["text"],
        [{"role": "user", "content": {"text": "x"}}],
        [{"role": "user", "content": [7]}],
        {"role": "user"},
        "text",
        7,
    ],
)
def test_messages_of_another_shape_are_a_rejected_row(tmp_path: Path, messages: Any) -> None:
    good = {"messages": [{"role": "user", "content": "a"}]}
    told = told_by(tmp_path, [good, {"messages": messages}, good])
    assert len(told.conversations) == 2
    assert [reason for _, reason in told.reasons] in (["schema_mismatch"], ["unknown_role"])


@pytest.mark.parametrize("container", ["parquet", "jsonl"])
def test_roles_are_read_in_any_case_and_an_unknown_one_is_named(tmp_path: Path, container: Container) -> None:
    rows: list[Row] = [
        {"messages": [{"role": " User ", "content": "a"}, {"role": "ASSISTANT", "content": "b"}]},
        {"messages": [{"role": "narrator", "content": "a"}, {"role": "user", "content": "b"}, {"role": "chorus"}]},
        {"messages": [{"role": None, "content": "a"}]},
        {"messages": []},
        {"messages": None},
    ]
    told = told_by(tmp_path, rows, container)
    assert [m["role"] for m in told.conversations[0]["messages"]] == ["user", "assistant"]
    outcomes = [(row["reason"], row["detail"]) for row in told.rejected]
    assert sorted(outcomes, key=str) == [
        ("no_messages", None),
        ("no_messages", None),
        ("unknown_role", "chorus, narrator"),
        ("unknown_role", "null"),
    ]


def test_rows_without_an_id_are_conversations_of_their_own(tmp_path: Path) -> None:
    rows = [sharegpt(None, ("human", "a")), sharegpt("x", ("human", "a")), sharegpt(None, ("human", "a"))]
    for name in ("one", "other"):
        write_rows(tmp_path, rows, "jsonl", name=name)
    ids = [c["conversation_id"] for c in read(plan(tmp_path)).conversations]
    assert len(set(ids)) == 5 and ids.count("x") == 2


# --- Message trees


def node(role: str, text: str, *replies: Row, **facts: Any) -> Row:
    return {"role": role, "text": text, "lang": "en", "replies": list(replies), **facts}


def tree(name: str, prompt: Row) -> Row:
    return {"message_tree_id": name, "tree_state": "ready_for_export", "prompt": prompt}


def feedback_by_recursion(prompt: Row) -> list[tuple[tuple[str, ...], str]]:
    """Every prompter message below an assistant one, with the texts above it."""
    found = []

    def walk(here: Row, above: list[Row]) -> None:
        if here["role"] == "prompter" and above and above[-1]["role"] == "assistant":
            found.append((tuple(m["text"] for m in above), here["text"]))
        for reply in here.get("replies") or []:
            walk(reply, [*above, here])

    walk(prompt, [])
    return found


@st.composite
def trees(draw: st.DrawFn) -> Row:
    """A tree of up to 25 messages whose texts are their numbers; roles alternate mostly."""
    size = draw(st.integers(1, 25))
    nodes = [node("prompter", "0")]
    for number in range(1, size):
        parent = nodes[draw(st.integers(0, number - 1))]
        other = "assistant" if parent["role"] == "prompter" else "prompter"
        role = draw(st.sampled_from([other, other, other, parent["role"]]))
        nodes.append(node(role, str(number), deleted=draw(st.booleans())))
        parent["replies"].append(nodes[-1])
    for found in nodes:
        if not found["replies"] and draw(st.booleans()):
            found.pop("replies")
    return nodes[0]


def contents(messages: list[Row]) -> tuple[str, ...]:
    return tuple(m["content"] for m in messages)


@given(st.lists(trees(), min_size=1, max_size=4))
def test_each_prompter_message_below_an_assistant_one_is_an_instance_once(
    tmp_path_factory: pytest.TempPathFactory, prompts: list[Row]
) -> None:
    rows = [tree(f"t{number}", prompt) for number, prompt in enumerate(prompts)]
    told = told_by(tmp_path_factory.mktemp("trees"), rows)
    for number, prompt in enumerate(prompts):
        found = [i for i in told.instances if i["conversation_id"] == f"t{number}"]
        assert sorted(i["ordinal"] for i in found) == list(range(len(found)))
        expected = feedback_by_recursion(prompt)
        assert sorted((i["response"], i["feedback"]) for i in found) == sorted((up[-1], text) for up, text in expected)
        whole = [((*contents(i["history"]), i["query"], i["response"]), i["feedback"]) for i in found if i["query"]]
        assert set(whole) <= set(expected)
        assert len(whole) == sum(i["reason"] != "no_query" for i in found)
    assert len({i["record_id"] for i in told.instances}) == len(told.instances)


def test_real_openassistant_trees_give_380_instances(shared_chats: Path) -> None:
    path = shared_chats / "oasst_trees_en_100.jsonl"
    told = read(plan(path))
    trees = [json.loads(line) for line in path.read_bytes().splitlines()]
    told.expect_closed(len(trees))
    assert len(told.instances) == sum(len(feedback_by_recursion(row["prompt"])) for row in trees) == 380
    assert {c["conversation_id"] for c in told.conversations} == {row["message_tree_id"] for row in trees}


def test_real_sharegpt_rows_are_all_accounted_for(shared_chats: Path) -> None:
    path = shared_chats / "sharegpt_500.jsonl"
    told = read(plan(path))
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    told.expect_closed(len(lines))
    assert [c["source_row"] for c in told.conversations] == sorted(c["source_row"] for c in told.conversations)
    pairs = sum(
        1
        for row in lines
        for above, here in zip(row["conversations"], row["conversations"][1:], strict=False)
        if above["from"] in {"gpt", "bing", "chatgpt", "bard"} and here["from"] in {"human", "user"}
    )
    assert len(told.instances) == pairs


@pytest.mark.parametrize("replies", [1, 5000])
def test_a_tree_as_deep_as_it_likes_is_read(tmp_path: Path, replies: int) -> None:
    prompt = here = node("prompter", "0")
    for number in range(1, min(replies, 150) + 1):  # a parser's own limit on nesting lies above
        here["replies"] = [node("assistant" if number % 2 else "prompter", str(number)) for _ in range(1)]
        here = here["replies"][0]
    here["replies"] = [node("assistant", f"leaf {number}") for number in range(replies)]
    told = told_by(tmp_path, [tree("deep", prompt)])
    assert len(told.conversations) == replies


def test_a_tree_with_a_broken_branch_is_one_row_with_one_outcome(tmp_path: Path) -> None:
    good = tree("good", node("prompter", "a", node("assistant", "b", node("prompter", "c"))))
    branches = [node("narrator", "x"), node("assistant", "b", node("prompter", "c")), node("chorus", "y")]
    strange = tree("strange", node("prompter", "a", *branches))
    wrong = tree("wrong", node("prompter", "a", node("assistant", "b"), node("assistant", 7), node("assistant", 8)))  # type: ignore[arg-type]
    partial = {"message_tree_id": "partial", "prompt": {"role": "prompter"}}
    told = told_by(tmp_path, [good, strange, wrong, partial, good])
    assert {c["conversation_id"] for c in told.conversations} == {"good"}
    assert [reason for _, reason in told.reasons] == ["unknown_role", "schema_mismatch", "schema_mismatch"]
    assert "narrator" in told.rejected[0]["detail"] and "chorus" in told.rejected[0]["detail"]


# --- Which format


SAMPLES: dict[str, Row] = {
    "wildchat": WILDCHAT_ROW,
    "lmsys": LMSYS_ROW,
    "sharegpt": sharegpt("s", ("human", "a")),
    "openai": OPENAI_ROW,
    "openassistant": tree("t", node("prompter", "a")),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_the_format_of_a_file_is_detected(tmp_path: Path, name: str) -> None:
    broken = b'{"half": \n\n[1]\n'
    for container in ("jsonl", "jsonl.gz", "jsonl.zst"):
        path = write(tmp_path / f"a.{container}", packed(broken + jsonl([SAMPLES[name]]), container))
        assert plan(path).files[0].format == name


@pytest.mark.parametrize("container", ["jsonl", "jsonl.gz", "jsonl.zst"])
@pytest.mark.parametrize("name", SAMPLES)
def test_the_format_is_detected_behind_a_first_line_longer_than_what_is_probed(
    tmp_path: Path, name: str, container: Container
) -> None:
    text = '"{}[],: \\" ' + "".join(chr(0x4E00 + at * 7 % 20000) for at in range(70_000))
    long = json.dumps(SAMPLES[name], ensure_ascii=False, default=str)
    long = (
        long.replace('"a"', json.dumps(text)).replace('"hi"', json.dumps(text)).replace('"Be brief."', json.dumps(text))
    )
    long = long.replace('"Hello\\n\\nthere"', json.dumps(text, ensure_ascii=False))
    path = write(tmp_path / f"a.{container}", packed(long.encode() + b"\n", container))
    assert len(long) > 65536
    assert plan(path).files[0].format == name


@pytest.mark.parametrize("name", SAMPLES)
def test_a_forced_format_wins_over_the_detected_one(tmp_path: Path, name: str) -> None:
    row = {**SAMPLES[name], "conversations": [{"from": "human", "value": "forced"}], "id": "forced"}
    told = told_by(tmp_path, [row], format="sharegpt")
    assert [m["content"] for m in told.conversations[0]["messages"]] == ["forced"]


@pytest.mark.parametrize("container", ["parquet", *CONTAINERS[1:]])
def test_fields_of_no_known_format_are_an_error_that_names_them(tmp_path: Path, container: Container) -> None:
    planned = plan(write_rows(tmp_path, [{"prompt": "a", "completion": "b"}], container))
    assert planned.splits == []
    assert planned.error is not None
    assert "chats." in planned.error and "completion, prompt" in planned.error and "wildchat" in planned.error


def test_a_columns_name_counts_only_where_it_names_a_column(tmp_path: Path) -> None:
    """Not within another column, nor as a value, which Parquet's footer quotes too."""
    talk = [{"role": "user", "content": "a"}]
    odd: list[Row] = [
        {"messages": talk, "about": {"conversations": [{"from": "x", "value": "y"}]}},
        {"messages": talk, "kind": "conversations"},
        {"messages": talk, "conversation_id": "conversation"},
        {"messages": talk},
        {"messages": talk, "kind": "other"},
        {"messages": talk, "prompt": {"message_tree_id": "x"}},
    ]
    for number, row in enumerate([*odd, *odd]):
        write_rows(tmp_path, [row] * (1 + number), "parquet", name=f"{number:02d}")
    write_rows(tmp_path, [sharegpt("x", ("human", "a"))], "parquet", name="99")
    planned = plan(tmp_path)
    assert [file.format for file in planned.files] == ["openai"] * 12 + ["sharegpt"]
    assert read(planned).rows_read == sum(range(13)) + 1


MAPPING = {
    "turns": "dialog",
    "role": "speaker",
    "content": "utterance",
    "roles": {"customer": "user", "agent": "assistant"},
    "id": "ticket",
    "user": "account",
    "model": "engine",
    "language": "lang",
    "time": "opened",
    "toxic": "bad",
    "redacted": "masked",
    "message_language": "lang",
    "message_time": "at",
}
TICKET: Row = {
    "ticket": "42",
    "account": "acc",
    "engine": "eliza",
    "lang": "de-DE",
    "opened": NOON,
    "bad": False,
    "masked": True,
    "priority": 3,
    "dialog": [
        {"speaker": "customer", "utterance": "Hallo", "lang": "de", "at": NOON},
        {"speaker": "agent", "utterance": "Guten Tag", "lang": "German", "at": LATER, "mood": "fine"},
    ],
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_mapping_reads_a_schema_nobody_foresaw(tmp_path: Path, container: Container) -> None:
    told = told_by(tmp_path, [TICKET], container, format="mapping", mapping=MAPPING)
    expected = {
        **BARE,
        "conversation_id": "42",
        "user": "acc",
        "model": "eliza",
        "language": "de",
        "timestamp": NOON,
        "toxic": False,
        "redacted": True,
        "messages": [
            message("user", "Hallo", language="de", timestamp=NOON),
            message("assistant", "Guten Tag", language="de", timestamp=LATER),
        ],
    }
    assert told.conversations == [expected]


@pytest.mark.parametrize("container", ["parquet", "jsonl"])
@pytest.mark.parametrize(
    "mapping",
    [
        {"turns": "messages", "role": "role", "content": "content", "message_user": "author", "message_time": "at"},
        {"turns": "row", "id": "detail", "user": "moderation", "role": "stated", "content": "row"},
        {"turns": "detail", "id": "row", "role": "row", "content": "stated"},
        {"turns": "moderation", "id": "language", "language": "user", "user": "id", "model": "seen"},
        {"turns": "toxic", "id": "key", "user": "key", "model": "key"},
    ],
)
def test_a_mapping_may_use_any_names(tmp_path: Path, container: Container, mapping: dict[str, str]) -> None:
    role, content = mapping.get("role", "role"), mapping.get("content", "content")
    turns = [{role: "user", content: "a", "author": "ann", "at": NOON}, {role: "assistant", content: "b"}]
    columns = {mapping[name]: f"the {name}" for name in ("language", "model", "user", "id") if name in mapping}
    row = {**columns, mapping["turns"]: turns}
    (found,) = told_by(tmp_path, [row], container, format="mapping", mapping=mapping).conversations
    assert [(m["role"], m["content"]) for m in found["messages"]] == [("user", "a"), ("assistant", "b")]
    if "id" in mapping:
        assert found["conversation_id"] == columns[mapping["id"]]
        assert found["user"] == columns.get(mapping.get("user", ""))
    else:
        assert found["user"] == "ann" and found["messages"][0]["timestamp"] == NOON


OWN = """
from datetime import datetime, timezone


def read(row):
    if row.get("kind") == "skip":
        return []
    if row.get("kind") == "fail":
        raise RuntimeError("cannot read this one")
    if row.get("kind") == "none":
        return None
    if row.get("kind") == "shape":
        return [{"messages": "text"}]
    if row.get("kind") == "two":
        return [one(row, "a"), one(row, "b")]
    return [one(row, "")]


def one(row, suffix):
    messages = [{"role": "user", "content": line} for line in row["text"].split("|")]
    time = datetime(2023, 4, 9, 12, tzinfo=timezone.utc)
    return {"id": row["name"] + suffix, "user": "u", "model": "m", "time": time, "messages": messages}
"""


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_reader_of_ones_own(tmp_path: Path, container: Container) -> None:
    write(tmp_path / "mine.py", OWN.encode())
    kinds = [None, "skip", "fail", "none", "shape", "two", None]
    rows = [{"name": f"n{at}", "kind": kind, "text": "a|b", "more": [1, 2]} for at, kind in enumerate(kinds)]
    told = told_by(tmp_path, rows, container, format="mine.py:read", base=tmp_path)
    assert [c["conversation_id"] for c in told.conversations] == ["n0", "n5a", "n5b", "n6"]
    assert contents(told.conversations[0]["messages"]) == ("a", "b")
    assert told.conversations[0]["timestamp"] == NOON
    assert [reason for _, reason in told.reasons] == ["no_messages", *["schema_mismatch"] * 3]
    assert "cannot read this one" in told.rejected[1]["detail"]


# --- Parquet in odd shapes


@pytest.mark.parametrize("list_type", [pa.list_, pa.large_list])
@pytest.mark.parametrize("target", [200, 10**9])
def test_nulls_in_lists_survive_any_cut(tmp_path: Path, list_type: Callable[[Any], pa.DataType], target: int) -> None:
    text = pa.large_string()
    turn = pa.struct([("role", text), ("content", text)])
    schema = pa.schema([("conversation_hash", text), ("conversation", list_type(turn)), ("openai_moderation", list_type(pa.struct([("flagged", pa.bool_())])))])  # fmt: skip
    rows: list[Row] = []
    for number in range(40):
        talk = [{"role": "user", "content": str(number)}, {"role": "assistant", "content": None}]
        flags = [{"flagged": True}, None] if number % 3 else None
        rows.append(
            {"conversation_hash": str(number), "conversation": talk if number % 5 else None, "openai_moderation": flags}
        )
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "chats.parquet")
    planned = plan(tmp_path / "chats.parquet", target=target)
    assert (len(planned.splits) > 1) == (target == 200)
    told = read(planned)
    told.expect_closed(40)
    assert [c["conversation_id"] for c in told.conversations] == [str(n) for n in range(40) if n % 5]
    assert told.reasons == [(n, "no_messages") for n in range(0, 40, 5)]
    flagged = [[m["moderation_flagged"] for m in c["messages"]] for c in told.conversations]
    assert flagged == [[True, None] if n % 3 else [None, None] for n in range(40) if n % 5]


def test_text_stored_as_a_dictionary_or_binary(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([WILDCHAT_ROW] * 3, schema=WILDCHAT_1M)
    for name in ("model", "hashed_ip"):
        at = table.column_names.index(name)
        kind = pa.dictionary(pa.int32(), pa.string()) if name == "model" else pa.binary()
        table = table.set_column(at, name, table[name].cast(kind))
    pq.write_table(table, tmp_path / "chats.parquet")
    told = read(plan(tmp_path / "chats.parquet"))
    assert told.conversations == [{**WILDCHAT_CONVERSATION, "source_row": row} for row in range(3)]


@pytest.mark.parametrize("column", ["conversation", "toxic", "timestamp"])
def test_a_parquet_column_of_another_type_is_an_error_that_names_file_column_and_type(
    tmp_path: Path, column: str
) -> None:
    from transforms.io.sources import SourceError

    schema = pa.schema([(f.name, pa.binary() if f.name == column else f.type) for f in WILDCHAT_1M])
    path = write_rows(tmp_path, [{**WILDCHAT_ROW, column: b"text"}], "parquet", schema)
    with pytest.raises(SourceError, match=rf"chats\.parquet.*{column}.*expected.*found binary"):
        read(plan(path))


# --- The key pass sees what the payload pass sees


@pytest.mark.parametrize("container", ["parquet", "jsonl"])
def test_the_key_pass_counts_the_same_rows_and_instances_as_the_payload_pass(
    tmp_path: Path, container: Container
) -> None:
    rows = [copy.deepcopy(WILDCHAT_ROW) for _ in range(6)]
    rows[1]["conversation"] = None
    rows[2]["conversation"][0]["role"] = "narrator"
    if container == "jsonl":
        rows[3]["model"] = 7
        rows[4]["conversation"][1]["language"] = 7
    planned = plan(write_rows(tmp_path, rows, container, WILDCHAT_1M))
    told = read(planned)
    found = [
        table
        for split in planned.splits
        for table in chats.read_keys(split, planned.source, lambda rows: turns.keys(rows, "content", "user"))
    ]
    keyed = pa.concat_tables([table.keys for table in found]).to_pylist()
    assert sum(table.rows for table in found) == told.rows_read == 6
    places = [(row["source_row"], row["ordinal"]) for row in keyed]
    assert places == [(i["source_row"], i["ordinal"]) for i in told.instances]
