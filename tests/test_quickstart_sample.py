"""The bundled sample: what its README promises is what its files hold."""

import io
import re
from collections import Counter, defaultdict
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
import zstandard

from configs.quickstart import make_sample
from configs.quickstart.make_sample import Conversation, SampleError

FOLDER = Path(make_sample.__file__).parent
PARQUET, JSONL = FOLDER / make_sample.PARQUET, FOLDER / make_sample.JSONL

ROW = {"conversation_hash", "model", "timestamp", "conversation", "turn", "language", "openai_moderation"}
ROW |= {"detoxify_moderation", "toxic", "redacted"}
ORIGIN = {"state", "country", "hashed_ip", "header"}
UTTERANCE = {"content", "country", "hashed_ip", "header", "language", "redacted", "role", "state", "timestamp", "toxic"}
UTTERANCE |= {"turn_identifier"}
CALL = {"created", "openai_id", "temperature", "top_p", "token_counter", "system_fingerprint", "usage"}
DAMAGED = ("truncated", "invalid_utf8", "array", "wrong_type")


@pytest.fixture(scope="module")
def conversations() -> list[Conversation]:
    return make_sample.load()


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return b"".join(_frames(JSONL.read_bytes())).splitlines(keepends=True)


@pytest.fixture(scope="module")
def rows(lines: list[bytes]) -> list[dict[str, Any]]:
    """Every row of both files that can be read."""
    objects = [_parsed(line) for line in lines]
    return [*pq.read_table(PARQUET).to_pylist(), *(row for row in objects if isinstance(row, dict))]


def _frames(data: bytes) -> list[bytes]:
    frames = []
    while data:
        frame = zstandard.ZstdDecompressor().decompressobj()
        frames.append(frame.decompress(data))
        data = frame.unused_data
    return frames


def _parsed(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


def test_building_twice_gives_the_same_bytes() -> None:
    assert make_sample.build() == make_sample.build()


def test_files_are_what_the_dialogues_give(conversations: list[Conversation], lines: list[bytes]) -> None:
    assert lines == make_sample.json_lines(conversations)
    built = make_sample.parquet_bytes(conversations)
    stored = pq.read_table(io.BytesIO(built))
    assert pq.read_table(PARQUET).equals(stored)
    if pq.read_metadata(PARQUET).created_by == pq.read_metadata(io.BytesIO(built)).created_by:
        assert PARQUET.read_bytes() == built


def test_files_are_small_and_hold_a_few_hundred_conversations(conversations: list[Conversation]) -> None:
    assert PARQUET.stat().st_size + JSONL.stat().st_size < 400_000
    assert 250 <= len(conversations) <= 400
    halves = Counter(row.file for row in conversations)
    assert min(halves.values()) > 0.45 * len(conversations)


def test_parquet_has_the_columns_of_wildchat_1m() -> None:
    schema = pq.read_schema(PARQUET)
    assert schema.equals(make_sample.SCHEMA_1M)
    assert set(schema.names) == ROW | ORIGIN
    assert {field.name for field in schema.field("conversation").type.value_type} == UTTERANCE
    assert str(schema.field("timestamp").type) == "timestamp[us, tz=UTC]"
    assert pq.read_metadata(PARQUET).num_row_groups > 1


def test_json_lines_have_the_fields_of_wildchat_4_8m(lines: list[bytes]) -> None:
    rows = [row for row in map(_parsed, lines) if isinstance(row, dict)]
    for row in rows:
        assert set(row) == ROW
        assert datetime.fromisoformat(row["timestamp"]).tzinfo is None
    messages = [m for row in rows if isinstance(row["conversation"], list) for m in row["conversation"]]
    assert all(set(message) == UTTERANCE | CALL for message in messages)
    assert all((m["usage"] is not None) == (m["role"] == "assistant") for m in messages)
    assert all(
        "illicit" in m["categories"] and "illicit/violent" in m["categories"]
        for r in rows
        for m in r["openai_moderation"]
    )


def test_json_lines_are_two_frames_of_whole_lines() -> None:
    frames = _frames(JSONL.read_bytes())
    assert len(frames) == 2
    assert all(frame.endswith(b"\n") for frame in frames)


def test_four_json_lines_are_damaged_each_in_its_way(conversations: list[Conversation], lines: list[bytes]) -> None:
    ordered = [row for row in conversations if row.file == "4.8m"]
    damaged = {row.damage: line for row, line in zip(ordered, lines, strict=True) if row.damage}
    assert set(damaged) == set(DAMAGED)
    assert _parsed(damaged["truncated"]) is None
    assert damaged["truncated"].decode()
    with pytest.raises(UnicodeDecodeError):
        damaged["invalid_utf8"].decode()
    assert isinstance(_parsed(damaged["array"]), list)
    assert isinstance(_parsed(damaged["wrong_type"])["conversation"], str)
    whole = [line for row, line in zip(ordered, lines, strict=True) if not row.damage]
    assert all(isinstance(_parsed(line), dict) for line in whole)


def test_broken_rows_stand_in_both_files(conversations: list[Conversation]) -> None:
    files = defaultdict(set)
    for row in conversations:
        for case in row.cases:
            if case.startswith("broken_") and not row.damage:
                files[case].add(row.file)
    assert len(files) == 7
    assert all(where == {"1m", "4.8m"} for where in files.values())


def test_broken_rows_are_broken_as_named(rows: list[dict[str, Any]]) -> None:
    chats = [row["conversation"] for row in rows if not isinstance(row["conversation"], str)]
    orders = [[m["role"] for m in chat] for chat in chats if chat]
    assert sum(chat is None for chat in chats) == 2
    assert sum(chat == [] for chat in chats) == 2
    assert sum(any(m["content"] is None for m in chat) for chat in chats if chat) == 2
    assert sum("moderator" in order for order in orders) == 2
    assert sum(order[0] == "assistant" for order in orders) == 2
    assert sum(_adjacent(order, "user") for order in orders) == 2
    assert sum(_adjacent(order, "assistant") for order in orders) == 2


def _adjacent(order: list[str], role: str) -> bool:
    return any(a == b == role for a, b in pairwise(order))


def test_next_messages_cover_every_level_in_english_and_chinese(conversations: list[Conversation]) -> None:
    levels = defaultdict(Counter)  # type: defaultdict[str, Counter[int]]
    for row in conversations:
        levels[row.language].update(message.level for message in row.messages or () if message.level)
    for language in ("English", "Chinese"):
        assert min(levels[language][level] for level in make_sample.LEVELS) >= 10
    total = sum(levels.values(), Counter[int]())
    assert 0.65 <= total[3] / total.total() <= 0.75


def test_languages_are_mixed_as_planned(conversations: list[Conversation]) -> None:
    shares = Counter(row.language for row in conversations)
    assert 0.55 <= shares["English"] / shares.total() <= 0.65
    assert 0.20 <= shares["Chinese"] / shares.total() <= 0.30
    assert set(shares) == {"English", "Chinese", "Spanish", "French", "Russian", "Japanese", "German"}


def test_no_exchange_is_shared_by_accident(conversations: list[Conversation]) -> None:
    where = defaultdict(set)
    for row in conversations:
        messages = row.messages or ()
        for query, answer in pairwise(messages):
            if row.copy_of is None and (query.role, answer.role) == ("user", "assistant"):
                where[query.content, answer.content].add(row.key)
    assert [keys for keys in where.values() if len(keys) > 1] == []


def test_copies_repeat_a_conversation_under_another_user(conversations: list[Conversation]) -> None:
    by_key = {row.key: row for row in conversations}
    copies = [(row, by_key[row.copy_of]) for row in conversations if row.copy_of]
    assert {copy.file == original.file for copy, original in copies} == {True, False}
    for copy, original in copies:
        assert (copy.hash, copy.messages) == (original.hash, original.messages)
        assert copy.user != original.user


def test_one_hash_belongs_to_two_conversations(conversations: list[Conversation]) -> None:
    contents = defaultdict(set)
    for row in conversations:
        contents[row.hash].add(row.messages)
    assert sorted(map(len, contents.values()))[-2:] == [1, 2]


def test_users_return_and_keep_their_country(rows: list[dict[str, Any]]) -> None:
    chats = [row["conversation"] for row in rows if isinstance(row["conversation"], list)]
    said = [(m["hashed_ip"], m["country"]) for chat in chats for m in chat if m["role"] == "user"]
    assert all(re.fullmatch("[0-9a-f]{64}", user) for user, _ in said)
    assert len(set(said)) == len({user for user, _ in said})
    openers = Counter(chat[0]["hashed_ip"] for chat in chats if chat)
    assert sum(count > 1 for count in openers.values()) > 20
    assert all(m["hashed_ip"] is None for chat in chats for m in chat if m["role"] == "assistant")


def test_times_lie_in_spring_2024_and_run_forward(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if not isinstance(row["conversation"], list):
            continue
        times = [_time(message["timestamp"]) for message in row["conversation"] if message["timestamp"]]
        assert times == sorted(times)
        assert not times or times[-1] <= _time(row["timestamp"])
        assert datetime(2024, 4, 8, tzinfo=UTC) <= _time(row["timestamp"]) < datetime(2024, 6, 1, tzinfo=UTC)


def _time(value: datetime | str) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value).replace(tzinfo=UTC)


def test_short_refusals_are_short(conversations: list[Conversation]) -> None:
    refusals = [row for row in conversations if {"refusal_harmful", "refusal_benign"} & set(row.cases)]
    assert {row.language for row in refusals} >= {"English", "Chinese"}
    for row in refusals:
        assert row.messages and len(row.messages[1].content or "") < 300


def test_mined_cases_have_a_neutral_message_before_a_positive_one(conversations: list[Conversation]) -> None:
    for row in conversations:
        if "mined" in row.cases:
            levels = [message.level for message in row.messages or () if message.level]
            assert any(level == 3 and max(levels[i + 1 : i + 3], default=0) > 3 for i, level in enumerate(levels)), (
                row.key
            )


def test_one_conversation_is_longer_than_22_turns(rows: list[dict[str, Any]]) -> None:
    assert sum(row["turn"] > 22 for row in rows) == 1


def test_flags_are_rare_but_there(rows: list[dict[str, Any]]) -> None:
    for flag in ("toxic", "redacted"):
        assert 0 < sum(row[flag] for row in rows) < 10
    flagged = [m for row in rows for m in row["openai_moderation"] or () if m["flagged"]]
    assert flagged and all(any(m["categories"].values()) for m in flagged)


def test_personal_data_is_made_up(conversations: list[Conversation]) -> None:
    text = "\n".join(message.content or "" for row in conversations for message in row.messages or ())
    mails, hosts = re.findall(r"[\w.]+@([\w.]+\w)", text), re.findall(r"https?://([\w.]+)", text)
    assert mails and set(mails) == {"example.com"}
    assert hosts and all(re.search(r"(^|\.)example\.(com|org|net)$", host) for host in hosts)
    phones = re.findall(r"\+?[\d()][\d ()-]{8,}\d", text)
    known = r"\+1-555-01\d\d|\(555\) 555-01\d\d|138 ?0013 ?8000|\d{4}-\d\d-\d\d"
    assert [phone for phone in phones if not re.fullmatch(known, phone.strip())] == []


def test_readme_counts_are_right(conversations: list[Conversation]) -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    listed = {name: int(count) for name, count in re.findall(r"^\| `?(\w+)`? \|.* (\d+) \|$", readme, re.MULTILINE)}
    assert listed == {name: count for _, name, count in make_sample.counts(conversations)}


def test_check_tells_a_stale_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(make_sample, "HERE", tmp_path)
    assert make_sample.main(["--check"]) == 1
    assert "out of date" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    assert make_sample.main([]) == 0
    assert make_sample.main(["--check"]) == 0


@pytest.mark.parametrize(
    ("dialogue", "expected"),
    [
        ("{id: a, chat: [{ask: hi}], mood: sad}", "unknown key mood"),
        ("{id: a, chat: [{ask: «city»}]}", "expected values for"),
        ("{id: a, rows: [{city: Rome}], chat: [{ask: hi}]}", "expected values for"),
        ("{id: a, chat: [{ask: hi}, {bot: hello}, {6: wow}]}", "expected a level from 1 to 5"),
        ("{id: a, chat: [{ask: no}]}", "expected text, got False"),
        ("{id: a}", "chat"),
        ("{id: a", "a.yaml"),
    ],
)
def test_a_wrong_dialogue_is_named(tmp_path: Path, dialogue: str, expected: str) -> None:
    (tmp_path / "a.yaml").write_text(f"language: English\ndialogues:\n  - {dialogue}\n", encoding="utf-8")
    with pytest.raises(SampleError, match=expected):
        make_sample.load(tmp_path)


def test_a_repeated_id_is_an_error(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(
            "language: English\ndialogues:\n  - {id: a, chat: [{ask: hi}]}\n", encoding="utf-8"
        )
    with pytest.raises(SampleError, match="repeated id"):
        make_sample.load(tmp_path)
