"""The journal: what counts, what is durable when, who agrees with whom, and what is damaged."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.answers import JOURNAL, Answer, Request
from transforms.models import journal_index
from transforms.models.journal import Journal, JournalError, merge, summary
from transforms.models.journal_index import UNKNOWN, Index

REQUEST = Request((("user", "a question"),), "judge@1")
FAILED = Answer(failure="timeout", detail="nothing for 60 s")


def key(of: object) -> str:
    return hashlib.sha256(repr(of).encode()).hexdigest()[:32]


def put(folder: Path, entries: Sequence[tuple[str, Answer]], rows: int = 1000) -> list[Answer]:
    """Add entries in a session of its own, and give what the futures gave."""
    with Journal(folder, seconds=60, rows=rows) as journal:
        futures = [journal.add(one, "engine", REQUEST, answer) for one, answer in entries]
    return [future.result(0) for future in futures]


def found(folder: Path, keys: Sequence[str], failures: bool = True) -> dict[str, Answer]:
    with Journal(folder) as journal:
        return journal.find(keys, failures)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def separate(folder: Path, entries: Sequence[tuple[str, Answer]]) -> None:
    """Each in a segment of its own."""
    for entry in entries:
        put(folder, [entry])


def test_an_answer_comes_back_as_it_was_and_polars_reads_it(tmp_path: Path) -> None:
    answer = Answer('{"level": 4}', "well, 好", "stop", 300, 12, 0.25, 2)
    with Journal(tmp_path, rows=2) as journal:
        futures = [
            journal.add(key(1), "engine", REQUEST, answer),
            journal.add(key(2), "another", REQUEST._replace(attempt=1), FAILED),
        ]
        assert [future.result(10) for future in futures] == [answer, FAILED]
        assert journal.find([key(2), key(3), key(1), key(1)]) == {key(1): answer, key(2): FAILED}
    frame = pl.read_parquet(tmp_path / "*.parquet")
    assert frame.columns == JOURNAL.names
    assert frame.select("key", "identity", "template", "attempt", "text", "reasoning", "failure").rows() == [
        (key(1), "engine", "judge@1", 0, '{"level": 4}', "well, 好", None),
        (key(2), "another", "judge@1", 1, "", None, "timeout"),
    ]
    assert abs(frame["answered_at"].dt.timestamp("ms")[0] / 1000 - time.time()) < 60
    assert pq.read_schema(tmp_path / "00000000.parquet").equals(JOURNAL, check_metadata=True)
    chunk = pq.ParquetFile(tmp_path / "00000000.parquet").metadata.row_group(0).column(5)
    assert chunk.compression == "ZSTD"


def test_an_empty_journal_knows_nothing_and_makes_no_folder(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    assert found(folder, [key(1)]) == {}
    assert found(folder, []) == {}
    assert summary(folder).requests == 0
    merge(folder)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("outcomes", "counts"),
    [("s", 0), ("ss", 0), ("f", 0), ("ff", 1), ("fs", 1), ("ffsf", 2), ("sf", 0), ("fsfs", 1), ("fff", 2)],
)
@pytest.mark.parametrize("together", [True, False])
def test_the_first_success_counts_or_else_the_last_failure(
    tmp_path: Path, outcomes: str, counts: int, together: bool
) -> None:
    entries = [
        (key(0), Answer(f"answer {at}") if outcome == "s" else FAILED._replace(detail=str(at)))
        for at, outcome in enumerate(outcomes)
    ]
    if together:
        assert put(tmp_path, entries) == [entries[counts][1]] * len(entries)
    else:
        separate(tmp_path, entries)
    assert found(tmp_path, [key(0)]) == {key(0): entries[counts][1]}
    merge(tmp_path, at_least=2)
    assert found(tmp_path, [key(0)]) == {key(0): entries[counts][1]}
    assert len(pl.read_parquet(tmp_path / "*.parquet")) == len(entries)


def test_failures_can_be_left_out_and_a_later_answer_replaces_them(tmp_path: Path) -> None:
    put(tmp_path, [(key(1), FAILED), (key(2), Answer("yes"))])
    assert found(tmp_path, [key(1), key(2)], failures=False) == {key(2): Answer("yes")}
    assert put(tmp_path, [(key(1), Answer("now"))]) == [Answer("now")]
    assert found(tmp_path, [key(1)], failures=False) == {key(1): Answer("now")}


def test_whoever_comes_second_is_given_the_first_answer(tmp_path: Path) -> None:
    with Journal(tmp_path, seconds=60, rows=3) as late:
        waiting = late.add(key(1), "engine", REQUEST, Answer("second"))
        put(tmp_path, [(key(1), Answer("first"))])
        late.add(key(2), "engine", REQUEST, Answer("other"))
        late.add(key(1), "engine", REQUEST, Answer("third"))
        assert waiting.result(10) == Answer("first")
        assert late.find([key(1)]) == {key(1): Answer("first")}
    assert len(pl.read_parquet(tmp_path / "*.parquet")) == 4, "what was paid for is kept"


@pytest.mark.parametrize("ended_by", ["rows", "seconds", "bytes", "close"])
def test_a_future_is_done_once_its_segment_is_closed(tmp_path: Path, ended_by: str) -> None:
    journal = Journal(tmp_path, seconds=0.3 if ended_by == "seconds" else 60, rows=3)
    futures = [journal.add(key(at), "engine", REQUEST, Answer("x")) for at in range(2)]
    time.sleep(0.1)
    assert not any(future.done() for future in futures)
    assert found(tmp_path, [key(0)]) == {} == journal.find([key(0)])
    if ended_by == "rows":
        journal.add(key(2), "engine", REQUEST, Answer("x"))
    elif ended_by == "bytes":
        journal.add(key(2), "engine", REQUEST, Answer("x" * (33 << 20)))
    elif ended_by == "close":
        journal.close()
    assert [future.result(10) for future in futures] == [Answer("x")] * 2
    assert found(tmp_path, [key(0)]) == {key(0): Answer("x")}
    journal.close()
    assert names(tmp_path) == ["00000000.parquet"]


def test_the_bytes_are_on_the_disk_before_the_name_and_the_name_before_anybody_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    real = {"fsync": os.fsync, "link": os.link}

    def fsync(descriptor: int) -> None:
        told.append("folder" if Path(f"/proc/self/fd/{descriptor}").resolve().is_dir() else "bytes")
        real["fsync"](descriptor)

    def link(source: Any, target: Any) -> None:
        told.append("name")
        real["link"](source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    with Journal(tmp_path, seconds=60, rows=1) as journal:
        journal.add(key(1), "engine", REQUEST, Answer("x")).add_done_callback(lambda _: told.append("told"))
    assert told == ["bytes", "name", "folder", "told"]


def test_segments_of_others_are_seen_as_they_close(tmp_path: Path) -> None:
    with Journal(tmp_path) as reader:
        for at in range(5):
            put(tmp_path, [(key(at), Answer(str(at)))])
            assert reader.find([key(at)]) == {key(at): Answer(str(at))}


def test_a_reader_outlives_a_merge(tmp_path: Path) -> None:
    entries = [(key(at), Answer(str(at))) for at in range(30)]
    separate(tmp_path, entries)
    with Journal(tmp_path) as reader:
        assert reader.find([key(3)]) == {key(3): Answer("3")}
        merge(tmp_path, at_least=10)
        assert reader.find([one for one, _ in entries]) == dict(entries)
        put(tmp_path, [(key("new"), Answer("new"))])
        assert reader.find([key("new"), key(3)]) == {key("new"): Answer("new"), key(3): Answer("3")}


def test_what_is_called_may_ask_and_add_again(tmp_path: Path) -> None:
    """As the asking does: the writer's thread looks up the next attempt and adds it."""
    with Journal(tmp_path, seconds=0.05) as journal:
        second: Future[Answer] = Future()

        def again(done: Future[Answer]) -> None:
            assert journal.find([key(1)]) == {key(1): done.result()}
            journal.add(key(2), "engine", REQUEST, Answer("second")).add_done_callback(
                lambda later: second.set_result(later.result())
            )

        journal.add(key(1), "engine", REQUEST, Answer("first")).add_done_callback(again)
        assert second.result(10) == Answer("second")


def test_a_closed_journal_takes_nothing_and_a_wrong_key_is_told(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for wrong in ("short", "g" * 32, key(1) + "0"):
            with pytest.raises(ValueError, match="hexadecimal"):
                journal.add(wrong, "engine", REQUEST, FAILED)
            with pytest.raises(ValueError, match="hexadecimal"):
                journal.find([wrong])
    with pytest.raises(JournalError, match="closed"):
        journal.add(key(1), "engine", REQUEST, FAILED)


@pytest.mark.parametrize(
    "text",
    ["", "\0", "a\0b\0", "\ufeff", "\U0001f600 e\u0301 \u202e", "\r\n\u2028", "x" * (10 << 20), "好" * 3_500_000],
    ids=["empty", "nul", "nuls", "bom", "emoji", "lines", "10MB", "10MB-wide"],
)
def test_strange_text_comes_back_as_it_was(tmp_path: Path, text: str) -> None:
    answer = Answer(text, reasoning=text, finish_reason=text[:50], detail=text)
    assert put(tmp_path, [(key(1), answer), (key(2), Answer("neighbour"))])[0] == answer
    assert found(tmp_path, [key(1), key(2)]) == {key(1): answer, key(2): Answer("neighbour")}
    assert pl.read_parquet(tmp_path / "*.parquet")["text"][0] == text


def test_lone_surrogates_become_replacement_characters_for_everybody(tmp_path: Path) -> None:
    answer = Answer("a\ud800b \ud83d\ude00", reasoning="\udfff", detail="\udc80")
    kept = Answer("a\ufffdb \U0001f600", reasoning="\ufffd", detail="\ufffd")
    assert put(tmp_path, [(key(1), answer)]) == [kept]
    assert found(tmp_path, [key(1)]) == {key(1): kept}


# -- against a dictionary --------------------------------------------------------------------------------------------------

ENTRIES = st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=6)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), ENTRIES),
        st.tuples(st.just("other"), ENTRIES),
        st.tuples(st.just("merge"), st.integers(2, 4)),
        st.just(("reopen", None)),
    ),
    max_size=10,
)


@given(steps=STEPS, rows=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_any_history_answers_as_a_dictionary_would(steps: list[tuple[str, Any]], rows: int) -> None:
    counts: dict[str, Answer] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        journal = Journal(folder, seconds=0, rows=rows)
        for at, (step, what) in enumerate(steps):
            if step == "merge":
                journal.close()
                merge(folder, at_least=what)
            elif step == "reopen":
                journal.close()
                journal = Journal(folder, seconds=0, rows=rows)
            else:
                if journal._closing:
                    journal = Journal(folder, seconds=0, rows=rows)
                writer = journal if step == "add" else Journal(folder, seconds=0, rows=rows)
                for number, (of, works) in enumerate(what):
                    answer = Answer(f"{at}.{number}") if works else FAILED._replace(detail=f"{at}.{number}")
                    before = counts.get(key(of))
                    if before is None or before.failure is not None:
                        counts[key(of)] = answer
                    assert writer.add(key(of), "engine", REQUEST, answer).result(10) == counts[key(of)]
                if writer is not journal:
                    writer.close()
            keys = [key(of) for of in range(7)]
            answers = {one: answer for one, answer in counts.items() if answer.failure is None}
            for reader in (journal, Journal(folder)):
                assert reader.find(keys) == counts
                assert reader.find(keys, failures=False) == answers
        journal.close()


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=1, max_size=30), max_size=12),
    st.sampled_from([0, 8, 64, 120]),
)
def test_the_index_keeps_the_lowest_rank_of_each_key(segments: list[list[tuple[int, bool]]], shift: int) -> None:
    """Keys that differ in their first, middle or last bytes only."""
    index = Index()
    success: dict[str, int] = {}
    failure: dict[str, int] = {}
    for number, rows in enumerate(segments):
        keys = [f"{(of + 215 << shift) % 2**128:032x}" for of, _ in rows]
        ranks = journal_index.ranks(number, np.array([failed for _, failed in rows]))
        index.add(journal_index.packed(keys), ranks)
        for one, (_, failed), rank in zip(keys, rows, ranks.tolist(), strict=True):
            if failed:
                failure[one] = rank
            else:
                success.setdefault(one, rank)
    every = [f"{(of + 215 << shift) % 2**128:032x}" for of in range(50)]
    expected = [success.get(one, failure.get(one, int(UNKNOWN))) for one in every]
    assert index.find(journal_index.packed(every)).tolist() == expected


@given(st.integers(0, 99_999_999), st.lists(st.booleans(), min_size=1, max_size=20))
def test_a_rank_tells_the_place(number: int, failed: list[bool]) -> None:
    segments, rows, said = journal_index.places(journal_index.ranks(number, np.array(failed)))
    assert segments.tolist() == [number] * len(failed)
    assert rows.tolist() == list(range(len(failed)))
    assert said.tolist() == failed


# -- merging ---------------------------------------------------------------------------------------------------------------


def test_merging_goes_in_tiers_and_rewrites_little(tmp_path: Path) -> None:
    entries = [(key(at % 50), Answer(str(at)) if at % 3 else FAILED._replace(detail=str(at))) for at in range(70)]
    separate(tmp_path, entries[:9])
    merge(tmp_path, at_least=4)
    assert names(tmp_path) == ["00000000-00000008.parquet"]
    first = (tmp_path / "00000000-00000008.parquet").stat().st_ino
    separate(tmp_path, entries[9:12])
    merge(tmp_path, at_least=4)
    assert names(tmp_path)[1:] == ["00000009.parquet", "00000010.parquet", "00000011.parquet"], "too few"
    separate(tmp_path, entries[12:17])
    merge(tmp_path, at_least=4)
    assert names(tmp_path) == ["00000000-00000008.parquet", "00000009-00000016.parquet"]
    assert (tmp_path / names(tmp_path)[0]).stat().st_ino == first, "not written again"
    separate(tmp_path, entries[17:21])
    merge(tmp_path, at_least=4)
    separate(tmp_path, entries[21:27])
    merge(tmp_path, at_least=4)
    assert names(tmp_path) == ["00000000-00000026.parquet"]
    frame = pl.read_parquet(tmp_path / "*.parquet")
    assert frame["key"].to_list() == [one for one, _ in entries[:27]]
    assert pq.read_schema(tmp_path / names(tmp_path)[0]).equals(JOURNAL, check_metadata=True)


def test_merged_segments_have_good_row_groups(tmp_path: Path) -> None:
    for at in range(8):
        put(tmp_path, [(key((at, n)), Answer("x")) for n in range(400)])
    merge(tmp_path, at_least=8)
    (path,) = tmp_path.iterdir()
    metadata = pq.ParquetFile(path).metadata
    assert metadata.num_rows == 3200
    assert [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)] == [1024, 176, 1024, 176, 800]
    wanted = [key((at, n)) for at in range(8) for n in range(0, 400, 57)]
    assert found(tmp_path, wanted) == dict.fromkeys(wanted, Answer("x"))


def test_a_merge_killed_at_any_step_loses_and_doubles_nothing(tmp_path: Path) -> None:
    entries = [(key(at % 4), Answer(str(at)) if at % 3 else FAILED._replace(detail=str(at))) for at in range(6)]
    before = tmp_path / "before"
    separate(before, entries)
    expected = found(before, [key(at) for at in range(4)])
    after = tmp_path / "after"
    shutil.copytree(before, after)
    merge(after, at_least=6)
    (merged,) = after.iterdir()

    def check(folder: Path) -> None:
        assert found(folder, [key(at) for at in range(4)]) == expected
        assert summary(folder).requests == len(entries)
        with Journal(folder) as journal:
            assert journal.add(key(0), "engine", REQUEST, Answer("later")).result(10) == expected[key(0)]
        assert found(folder, [key(at) for at in range(4)]) == expected
        assert "00000006.parquet" in names(folder)
        merge(folder, at_least=6)
        assert summary(folder).requests == len(entries) + 1
        assert [name for name in names(folder) if name.startswith(".")] == []
        assert len(names(folder)) in {1, 2}

    half = tmp_path / "half-written"
    shutil.copytree(before, half)
    (half / ".segment.4711-0123abcd").write_bytes(merged.read_bytes()[:1000])
    check(half)
    for gone in range(len(entries) + 1):
        state = tmp_path / f"{gone} originals removed"
        shutil.copytree(before, state)
        shutil.copy(merged, state)
        shutil.copy(merged, state / ".segment.4711-0123abcd")
        for name in names(before)[:gone]:
            (state / name).unlink()
        check(state)


# -- damage ----------------------------------------------------------------------------------------------------------------


def filled(folder: Path) -> tuple[Path, dict[str, Answer]]:
    """A journal of three segments; the one in the middle, and all answers."""
    answers = {key(at): Answer(f'{{"reason": "number {at}", "level": {at % 5}}}', "thought") for at in range(90)}
    put(folder, list(answers.items())[:30])
    put(folder, list(answers.items())[30:60])
    put(folder, list(answers.items())[60:])
    return folder / "00000001.parquet", answers


def other_schema(path: Path) -> None:
    pq.write_table(pa.table({"key": [key(1)], "text": ["x"]}), path)


def older_version(path: Path) -> None:
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"sluice.schema_version": b"0"}), path)


def flipped(path: Path) -> None:
    """One bit of a page of texts."""
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(5)
    data = bytearray(path.read_bytes())
    data[chunk.data_page_offset + chunk.total_compressed_size - 20] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(b'{"not": "Parquet"}\n' * 100),
        lambda path: path.write_bytes(path.read_bytes()[:1000] + bytes(200) + path.read_bytes()[1200:]),
        other_schema,
        older_version,
        flipped,
    ],
    ids=["empty", "a byte short", "half", "JSON", "zeros", "other schema", "older version", "one bit"],
)
@pytest.mark.parametrize("during", ["find", "merge"])
def test_a_damaged_segment_is_named_and_can_be_deleted(
    tmp_path: Path, damage: Callable[[Path], object], during: str
) -> None:
    path, answers = filled(tmp_path)
    damage(path)
    noticing = partial(found, tmp_path, list(answers)) if during == "find" else partial(merge, tmp_path, at_least=2)
    with pytest.raises(JournalError, match=f"^{path}: .*delete it") as raised:
        noticing()
    assert "\n" not in str(raised.value)
    path.unlink()
    left = {one: answer for at, (one, answer) in enumerate(answers.items()) if not 30 <= at < 60}
    assert found(tmp_path, list(answers)) == left
    put(tmp_path, list(answers.items())[30:60])
    assert found(tmp_path, list(answers)) == answers
    merge(tmp_path, at_least=2)
    assert found(tmp_path, list(answers)) == answers


def test_no_flipped_byte_changes_an_answer_unnoticed(tmp_path: Path) -> None:
    path, answers = filled(tmp_path)
    good = path.read_bytes()
    noticed = 0
    for at in range(0, len(good), 17):
        path.write_bytes(good[:at] + bytes([good[at] ^ (1 << at % 8)]) + good[at + 1 :])
        try:
            said = found(tmp_path, list(answers))
        except JournalError:
            noticed += 1
        else:
            assert said == answers
    assert noticed > len(range(0, len(good), 17)) / 2


def test_a_foreign_file_is_named_and_other_files_are_left_alone(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / "README.md").write_text("notes")
    (tmp_path / ".DS_Store").write_bytes(b"x")
    assert len(found(tmp_path, [key(1)])) == 1
    merge(tmp_path, at_least=2)
    assert names(tmp_path) == [".DS_Store", "00000000-00000002.parquet", "README.md"]
    (tmp_path / "copy of 00000001.parquet").write_bytes(b"x")
    with pytest.raises(JournalError, match=r"copy of 00000001.parquet: is no segment"):
        Journal(tmp_path)


def test_a_damaged_segment_of_another_process_reaches_whoever_waits(tmp_path: Path) -> None:
    with Journal(tmp_path, seconds=60, rows=2) as journal:
        waiting = journal.add(key(1), "engine", REQUEST, Answer("x"))
        (tmp_path / "00000000.parquet").write_bytes(b"torn")
        later = journal.add(key(2), "engine", REQUEST, Answer("x"))
        for future in (waiting, later):
            with pytest.raises(JournalError, match=r"00000000\.parquet"):
                future.result(10)
        with pytest.raises(JournalError, match=r"00000000\.parquet"):
            journal.add(key(3), "engine", REQUEST, Answer("x")).result(10)


# -- figures ---------------------------------------------------------------------------------------------------------------


def test_the_summary_counts_what_counts_and_what_was_paid(tmp_path: Path) -> None:
    def add(entries: Sequence[tuple[str, str, str, Answer]]) -> None:
        with Journal(tmp_path) as journal:
            for one, identity, template, answer in entries:
                journal.add(key(one), identity, REQUEST._replace(template=template), answer)

    paid = Answer("x", input_tokens=100, output_tokens=10)
    add([("a", "small", "judge@1", FAILED), ("b", "small", "judge@1", FAILED), ("c", "small", "judge@2", paid)])
    add([("a", "small", "judge@1", paid), ("d", "large", "judge@1", FAILED._replace(failure="server_error"))])
    add([("c", "small", "judge@2", paid), ("b", "small", "judge@1", FAILED)])
    whole = summary(tmp_path)
    assert (whole.segments, whole.requests, whole.keys, whole.answers) == (3, 7, 4, 2)
    assert whole.failures == {"server_error": 1, "timeout": 1}
    assert (whole.input_tokens, whole.output_tokens) == (300, 30)
    assert whole.bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert [(one.identity, one.template, one.requests, one.answers, one.failures) for one in whole.usage] == [
        ("large", "judge@1", 1, 0, {"server_error": 1}),
        ("small", "judge@1", 4, 1, {"timeout": 1}),
        ("small", "judge@2", 2, 1, {}),
    ]
    merge(tmp_path, at_least=2)
    assert replace(summary(tmp_path), bytes=whole.bytes, segments=3) == whole


# -- processes -------------------------------------------------------------------------------------------------------------

WRITER = """
import json, sys
from pathlib import Path
from schemas.answers import Answer, Request
from transforms.models.journal import Journal

folder, name, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
request = Request((("user", "hello"),), "judge@1")
given = {}
with Journal(folder, seconds=0.002, rows=7) as journal:
    print("ready", flush=True)
    sys.stdin.readline()
    for turn in range(rounds):
        futures = {}
        for at in range(20):
            key = f"{turn * 20 + at:032x}"
            answer = Answer(f"{name} {key}", failure="timeout" if (at + len(name)) % 4 == 0 else None)
            futures[key] = journal.add(key, "engine", request, answer)
        for key, future in futures.items():
            answer = future.result(30)
            given[key] = (answer.text, answer.failure)
print(json.dumps(given))
"""


def test_processes_that_add_the_same_keys_at_once_agree_with_each_other_and_with_the_journal(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), "x" * (1 + at), "60"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for at in range(3)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    given = [json.loads(writer.communicate(timeout=120)[0]) for writer in writers]
    keys = list(given[0])
    counts = found(tmp_path, keys)
    names_heard = set()
    for one in keys:
        assert counts[one].failure is None, "one of the three always had an answer"
        heard = {tuple(said[one]) for said in given if said[one][1] is None}
        assert heard == {(counts[one].text, None)}
        names_heard.add(counts[one].text.split()[0])
    assert len(names_heard) > 1, "they did not write at once"
    assert len(pl.read_parquet(tmp_path / "*.parquet")) == 3 * len(keys)
    numbers = [int(name.split(".")[0]) for name in names(tmp_path)]
    assert numbers == list(range(len(numbers)))
    merge(tmp_path, at_least=8)
    assert found(tmp_path, keys) == counts


GROWTH = """
import sys, time
from collections import deque
from pathlib import Path
import psutil
from schemas.answers import Answer, Request
from transforms.models.journal import Journal

request, process, sizes = Request((("user", "hello"),), "judge@1"), psutil.Process(), []
waiting = deque()
with Journal(Path(sys.argv[1])) as journal:
    for at in range(200_000):
        answer = Answer(f'{{"level": 4, "reason": "{at} is fine"}}' * 4)
        waiting.append(journal.add(f"{at * 2**100:032x}", "engine", request, answer))
        while waiting and (waiting[0].done() or len(waiting) > 4000):
            waiting.popleft().result(30)
        if at == 20_000:
            first, began = process.cpu_times(), time.monotonic()
        if at % 2000 == 0:
            sizes.append(process.memory_info().rss)
    while waiting:
        waiting.popleft().result(30)
    last, seconds = process.cpu_times(), time.monotonic() - began
spent = (last.user + last.system - first.user - first.system) / 180
print(max(sizes[10:]) - sizes[10], spent, 180_000 / seconds)
"""


def test_memory_stays_flat_over_200_000_answers_and_little_time_is_spent_on_each(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, str(tmp_path)], capture_output=True, text=True, check=True, timeout=280
    )
    growth, cpu_seconds, per_second = map(float, done.stdout.split())
    print(f"growth {growth / 2**20:.1f} MiB, {cpu_seconds:.4f} CPU s per 1,000 answers, {per_second:,.0f} answers/s")
    assert growth < 40 * 2**20
    assert cpu_seconds < 0.1
    assert per_second > 5000
