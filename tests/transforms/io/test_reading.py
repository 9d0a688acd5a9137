"""Reading splits: every line and row once, whatever the cut; broken ones named, their neighbours unharmed."""

from __future__ import annotations

import json
import os
import random
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.provenance import Container
from tests.builders import Planned, jsonl, packed, plan, read, sharegpt, write
from transforms.io import reading
from transforms.io.chats import as_is
from transforms.io.reading import Reading
from transforms.io.sources import SourceError

LINES: list[Container] = ["jsonl", "jsonl.gz", "jsonl.zst"]
COMPRESSED: list[Container] = ["jsonl.gz", "jsonl.zst"]
TEXT = pa.schema([("text", pa.large_string())])
MAX_LINE = 120

Line = tuple[int, str]


def _no_json(value: Any) -> Any:
    raise ValueError(f"{value} is no JSON object")


def expected_lines(data: bytes) -> tuple[list[Line], list[Line]]:
    """What a file's lines hold, by cutting it whole: (offset, text) of good ones, (offset, reason) of broken ones."""
    good, broken, at = [], [], 0
    for line in data.split(b"\n"):
        if len(line) > MAX_LINE:
            broken.append((at, "line_too_long"))
        elif line.strip():
            try:
                value = json.loads(line.decode("utf-8"), parse_constant=_no_json)
                good.append((at, _no_json(value) if isinstance(value, list) else value["text"]))
            except UnicodeDecodeError:
                broken.append((at, "invalid_utf8"))
            except ValueError:
                broken.append((at, "invalid_json"))
        at += len(line) + 1
    return good, broken


def read_lines(planned: Planned, order: list[int] | None = None) -> tuple[list[Line], list[Line], list[Reading]]:
    found: list[Reading] = []
    for index in order if order is not None else range(len(planned.splits)):
        found += reading.read(planned.splits[index], TEXT, as_is, {}, max_line_bytes=MAX_LINE)
    good = [(row["source_row"], row["text"]) for one in found for row in one.rows.to_pylist()]
    broken = [(row["source_row"], row["reason"]) for one in found for row in one.broken.to_pylist()]
    return sorted(good), sorted(broken), found


def planned_text(path: Path, target: int) -> Planned:
    return plan(path, target=target, format="mapping", mapping={"turns": "text"})


text = st.text(st.sampled_from('ab é漢😀\u2028\\"{}'), max_size=40)
line = st.one_of(
    text.map(lambda value: json.dumps({"text": value}, ensure_ascii=False).encode()),
    text.map(lambda value: json.dumps({"text": value * 4}, ensure_ascii=False).encode()),
    st.integers(100, 400).map(lambda size: json.dumps({"text": "x" * size}).encode()),
    st.sampled_from([b"", b" ", b"\t ", b"{oops", b'{"text":"\xff\xfe"}', b" " * 130, b"[1]", b'{"text": NaN}']),
)


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    lines = draw(st.lists(line, max_size=12))
    ends = [draw(st.sampled_from([b"\n", b"\n", b"\r\n"])) for _ in lines]
    data = b"".join(one + end for one, end in zip(lines, ends, strict=True))
    return data if draw(st.booleans()) else data.rstrip(b"\r\n")


@given(
    data=documents(),
    container=st.sampled_from(LINES),
    frames=st.integers(1, 4),
    target=st.integers(1, 500),
    block=st.integers(1, 400),
    shuffled=st.randoms(use_true_random=False),
)
@example(b'{"text":"a"}\n' * 3, "jsonl.zst", 3, 13, 13, random.Random(0))
@example(b'{"text":"a"}\n' * 3, "jsonl", 1, 13, 1, random.Random(0))
@example(b'{"text":"' + b"x" * 400 + b'"}', "jsonl", 1, 50, 10, random.Random(0))
def test_all_splits_of_a_file_give_its_lines_once_whatever_the_cut(
    data: bytes, container: Container, frames: int, target: int, block: int, shuffled: random.Random
) -> None:
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(reading, "_BLOCK_BYTES", block):
        path = write(Path(folder) / f"a.{container}", packed(data, container, frames))
        planned = planned_text(path, target)
        order = list(range(len(planned.splits)))
        shuffled.shuffle(order)
        good, broken, found = read_lines(planned, order)
    assert (good, broken) == expected_lines(data)
    for one in found:
        start, stop = one.split.start, one.split.stop
        rows = [*one.rows["source_row"].to_pylist(), *one.broken["source_row"].to_pylist()]
        assert stop is not None and all(start <= row < stop for row in rows), "a line belongs to the split it starts in"
    ordinals = [one.split.ordinal for one in found]
    assert len(set(ordinals)) == len(ordinals)


@pytest.mark.parametrize("container", LINES)
def test_lines_longer_than_the_blocks_they_are_read_in(tmp_path: Path, container: Container) -> None:
    texts = [letter * size for letter, size in zip("abcdef", [9_000_000, 1, 5_000_000, 4_194_290, 0, 7], strict=True)]
    data = jsonl({"text": text} for text in texts)
    planned = planned_text(write(tmp_path / f"a.{container}", packed(data, container, 3)), 1_000_000)
    found = [r for split in planned.splits for r in reading.read(split, TEXT, as_is, {})]
    rows = [row for one in found for row in one.rows.to_pylist()]
    assert [row["text"] for row in rows] == texts
    lines = data.splitlines(keepends=True)
    assert [row["source_row"] for row in rows] == [sum(map(len, lines[:at])) for at in range(len(lines))]


@pytest.mark.parametrize("container", COMPRESSED)
def test_an_open_split_goes_on_to_the_end_of_the_stream(tmp_path: Path, container: Container) -> None:
    """Repeats after an incompressible head: far more bytes than the head lets expect."""
    head = [{"text": os.urandom(3000).hex()} for _ in range(300)]
    data = jsonl([*head, *({"text": "again"} for _ in range(200_000))])
    planned = planned_text(write(tmp_path / f"a.{container}", packed(data, container)), 300_000)
    assert planned.splits[-1].stop is None
    assert sum(split.bytes for split in planned.splits) < len(data) / 2
    found = [r for split in planned.splits for r in reading.read(split, TEXT, as_is, {})]
    assert [row["text"] for one in found for row in one.rows.to_pylist()] == [json.loads(x)["text"] for x in data.splitlines()]  # fmt: skip
    assert [one.split.ordinal for one in found] == list(range(len(found)))
    assert [one.end for one in found] == [False] * (len(found) - 1) + [True]
    assert all(a.split.stop == b.split.start for a, b in zip(found, found[1:], strict=False))


@pytest.mark.parametrize("container", COMPRESSED)
def test_splits_beyond_the_end_of_a_stream_are_empty(tmp_path: Path, container: Container) -> None:
    """An incompressible tail after a head that repeats: far fewer bytes than the head lets expect."""
    rows = [*({"text": "again"} for _ in range(100_000)), *({"text": os.urandom(3000).hex()} for _ in range(100))]
    planned = planned_text(write(tmp_path / f"a.{container}", packed(jsonl(rows), container)), 50_000)
    found = [r for split in planned.splits for r in reading.read(split, TEXT, as_is, {})]
    assert [row["text"] for one in found for row in one.rows.to_pylist()] == [row["text"] for row in rows]
    assert not found[-1].rows.num_rows and found[-1].end
    assert not found[-1].broken.num_rows


# --- Parquet


def parquet(path: Path, rows: int, group: int) -> Path:
    table = pa.table({"text": pa.array([f"{at} {'x' * (at % 7)}" for at in range(rows)], pa.string())})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group)
    return path


@given(
    rows=st.integers(0, 6000),
    group=st.integers(1, 6000),
    target=st.integers(8, 60_000),
    shuffled=st.randoms(use_true_random=False),
)
@example(5000, 5000, 100, random.Random(0))
@example(5000, 3, 20_000, random.Random(0))
def test_row_ranges_of_parquet_give_every_row_once(rows: int, group: int, target: int, shuffled: random.Random) -> None:
    group = max(group, rows // 200)
    target = max(target, rows)
    with tempfile.TemporaryDirectory() as folder:
        planned = planned_text(parquet(Path(folder) / "a.parquet", rows, group), target)
        order = list(range(len(planned.splits)))
        shuffled.shuffle(order)
        good, broken, found = read_lines(planned, order)
    assert good == [(at, f"{at} {'x' * (at % 7)}") for at in range(rows)]
    assert not broken
    for one in found:
        assert one.rows["source_row"].to_pylist() == list(range(one.split.start, one.split.stop or 0))


def test_large_row_groups_are_cut_inside_and_small_ones_joined(tmp_path: Path) -> None:
    large = planned_text(parquet(tmp_path / "large.parquet", 5000, 5000), 5000)
    small = planned_text(parquet(tmp_path / "small.parquet", 5000, 10), 5000)
    assert len(large.splits) > 5
    assert 5 < len(small.splits) < 200


# --- Damage: each has its outcome, and its neighbours none


GOOD = sharegpt("good", ("human", "a"), ("gpt", "b"), ("human", "c"))


def neighbours(bad: bytes, container: Container = "jsonl") -> bytes:
    return packed(jsonl([GOOD] * 2) + bad + b"\n" + jsonl([GOOD] * 3), container)


WITH_VALUE = '{"id": "x", "conversations": [{"from": "human", "value": "a"}], "model": %s}'
BROKEN_LINES: dict[str, tuple[bytes, str]] = {
    "half an object": (b'{"id": "x", "conversations": [', "invalid_json"),
    "invalid UTF-8": (WITH_VALUE.encode() % b'"\xff"', "invalid_utf8"),
    "UTF-16": (WITH_VALUE.replace("%s", "null").encode("utf-16-le").replace(b"\n", b""), "invalid_json"),
    "truncated multi-byte character": (WITH_VALUE.encode() % '"漢'.encode()[:-1], "invalid_utf8"),
    "nested 100,000 deep": (b'{"conversations": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "invalid_json"),
    "nested 100,000 deep and never closed": (b'{"a":' * 100_000, "invalid_json"),
    "longer than allowed": (b'{"id": "' + b"x" * 50_000_000 + b'"}', "line_too_long"),
    "lone surrogate": (WITH_VALUE.encode() % b'"\\ud800"', "invalid_json"),
    "NaN": (WITH_VALUE.encode() % b"NaN", "invalid_json"),
    "infinity": (WITH_VALUE.encode() % b"-Infinity", "invalid_json"),
    "an array": (b'[{"conversations": []}]', "invalid_json"),
    "a number": (b"7", "invalid_json"),
    "a text": (b'"conversations"', "invalid_json"),
    "null": (b"null", "invalid_json"),
    "two objects": (b'{"id": "x"} {"id": "y"}', "invalid_json"),
    "NUL bytes": (b"\0" * 100, "invalid_json"),
    "control character in text": (WITH_VALUE.encode() % b'"\x01"', "invalid_json"),
    "number as text": (WITH_VALUE.encode() % b"7", "schema_mismatch"),
    "huge number": (WITH_VALUE.encode() % (b"9" * 400), "invalid_json"),
    "text as list": (b'{"id": "x", "conversations": "hello"}', "schema_mismatch"),
    "object as list": (b'{"id": "x", "conversations": {"from": "human"}}', "schema_mismatch"),
    "number as turn": (b'{"id": "x", "conversations": [1]}', "schema_mismatch"),
    "list as turn": (b'{"id": "x", "conversations": [["human", "a"]]}', "schema_mismatch"),
    "no turns": (b'{"id": "x", "conversations": []}', "no_messages"),
    "null turns": (b'{"id": "x", "conversations": null}', "no_messages"),
    "an empty object": (b"{}", "no_messages"),
    "null turn": (b'{"id": "x", "conversations": [null]}', "unknown_role"),
    "duplicate keys": (b'{"conversations": [1], "conversations": []}', "no_messages"),
}


@pytest.mark.parametrize("container", LINES)
@pytest.mark.parametrize("damage", BROKEN_LINES)
def test_a_broken_line_is_a_rejected_row_and_its_neighbours_are_read(
    tmp_path: Path, damage: str, container: Container
) -> None:
    bad, reason = BROKEN_LINES[damage]
    if len(bad) > 10**7 and container == "jsonl.gz":
        pytest.skip("as the others, only slower to make")
    planned = plan(write(tmp_path / f"a.{container}", neighbours(bad, container)))
    told = read(planned)
    told.expect_closed(6)
    assert told.reasons == [(2 * len(jsonl([GOOD])), reason)]
    assert [c["conversation_id"] for c in told.conversations] == ["good"] * 5
    assert len(told.instances) == 5
    (row,) = told.rejected
    assert (row["unit"], row["stage"], row["source_uri"]) == ("row", "read", f"a.{container}")
    assert row["detail"] or reason == "no_messages"


def test_only_broken_lines(tmp_path: Path) -> None:
    bad = [bad for bad, _ in BROKEN_LINES.values() if len(bad) < 10**7]
    told = read(plan(write(tmp_path / "a.jsonl", b"\n".join(bad)), target=100_000, format="sharegpt"))
    told.expect_closed(len(bad))
    assert not told.conversations
    assert [reason for _, reason in told.reasons] == [why for bad, why in BROKEN_LINES.values() if len(bad) < 10**7]


def test_a_byte_order_mark_spoils_no_line(tmp_path: Path) -> None:
    told = read(plan(write(tmp_path / "a.jsonl", b"\xef\xbb\xbf" + jsonl([GOOD] * 2))))
    told.expect_closed(2)
    assert [c["source_row"] for c in told.conversations] == [0, 3 + len(jsonl([GOOD]))]


@pytest.mark.parametrize("container", ["jsonl", "jsonl.gz", "jsonl.zst"])
@pytest.mark.parametrize("stored", ["nothing at all", "an empty stream", "blank lines"])  # fmt: skip
def test_an_empty_file_has_no_rows_and_is_no_error(tmp_path: Path, container: Container, stored: str) -> None:
    content = {
        "nothing at all": b"",
        "an empty stream": packed(b"", container),
        "blank lines": packed(b"\n \r\n\n", container),
    }
    path = write(tmp_path / f"a.{container}", content[stored])
    planned = plan(path)
    assert planned.error is None
    told = read(planned)
    told.expect_closed(0)
    assert len(told.counts) == 1


def test_a_parquet_file_without_rows(tmp_path: Path) -> None:
    schema = pa.schema([("id", pa.string()), ("conversations", pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())])))])  # fmt: skip
    pq.write_table(schema.empty_table(), tmp_path / "a.parquet")
    planned = plan(tmp_path / "a.parquet")
    assert planned.error is None
    read(planned).expect_closed(0)


def expect_error(planned: Planned, pattern: str) -> None:
    """Reading fails with one line that names the file, and so does the key pass's reading."""
    with pytest.raises(SourceError, match=pattern) as caught:
        read(planned)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("container", COMPRESSED)
@pytest.mark.parametrize("target", [50_000, 10**9])
def test_a_truncated_stream_is_an_error_that_names_the_file(tmp_path: Path, container: Container, target: int) -> None:
    rows = [{**GOOD, "noise": random.Random(at).randbytes(90).hex()} for at in range(3000)]
    data = packed(jsonl(rows), container)
    planned = plan(write(tmp_path / f"a.{container}", data[:-20]), target=target)
    expect_error(planned, rf"a\.{container} split \d.*Truncated")


@pytest.mark.parametrize("container", COMPRESSED)
@pytest.mark.parametrize("form", ["auto", "sharegpt"])
def test_a_small_truncated_stream_is_named_when_planning(tmp_path: Path, container: Container, form: str) -> None:
    planned = plan(write(tmp_path / f"a.{container}", packed(jsonl([GOOD]), container)[:-5]), format=form)
    assert planned.splits == []
    assert planned.error is not None and f"a.{container}" in planned.error and "Truncated" in planned.error


@pytest.mark.parametrize("container", COMPRESSED)
def test_damage_within_a_stream_is_an_error_that_names_the_file(tmp_path: Path, container: Container) -> None:
    data = bytearray(
        packed(jsonl([{**GOOD, "noise": random.Random(at).randbytes(90).hex()} for at in range(9000)]), container)
    )
    data[len(data) // 2 : len(data) // 2 + 5000] = bytes(5000)
    expect_error(plan(write(tmp_path / f"a.{container}", bytes(data))), rf"a\.{container} split 0")


@pytest.mark.parametrize("container", COMPRESSED)
def test_plain_text_behind_a_compressed_name_is_an_error(tmp_path: Path, container: Container) -> None:
    planned = plan(write(tmp_path / f"a.{container}", jsonl([GOOD])), format="sharegpt")
    assert planned.error is not None and f"a.{container}: expected a" in planned.error


def sharegpt_parquet(path: Path, rows: int = 100) -> Path:
    pq.write_table(pa.Table.from_pylist([GOOD] * rows), path, row_group_size=10, compression="none")
    return path


@pytest.mark.parametrize("damage", ["footer cut off", "footer overwritten", "footer length", "not parquet", "empty"])
def test_a_parquet_file_with_a_broken_footer_is_named_when_planning(tmp_path: Path, damage: str) -> None:
    path = sharegpt_parquet(tmp_path / "a.parquet")
    data = path.read_bytes()
    size = int.from_bytes(data[-8:-4], "little")
    broken = {
        "footer cut off": data[:-100],
        "footer overwritten": data[: -8 - size] + bytes(size) + data[-8:],
        "footer length": data[:-8] + b"\xff\xff\xff\x7f" + data[-4:],
        "not parquet": b"hello" * 1000,
        "empty": b"",
    }
    write(path, broken[damage])
    planned = plan(path)
    assert planned.splits == []
    assert planned.error is not None and "a.parquet" in planned.error and "Parquet" in planned.error
    assert "\n" not in planned.error


def test_damage_within_a_parquet_file_fails_the_splits_it_touches_only(tmp_path: Path) -> None:
    path = sharegpt_parquet(tmp_path / "a.parquet")
    data = bytearray(path.read_bytes())
    meta = pq.ParquetFile(path).metadata.row_group(5).column(2)
    start = meta.dictionary_page_offset or meta.data_page_offset
    data[start : start + meta.total_compressed_size] = b"\xff" * meta.total_compressed_size
    planned = plan(write(path, bytes(data)), target=200)
    assert len(planned.splits) > 5
    for index, split in enumerate(planned.splits):
        if split.start < 60 and (split.stop or 0) > 50:
            with pytest.raises(SourceError, match=r"a\.parquet split"):
                read(planned, [index])
        else:
            read(planned, [index]).expect_closed((split.stop or 0) - split.start)


@pytest.mark.parametrize("column", ["value", "id"])
@pytest.mark.parametrize("target", [300, 10**9])
def test_text_in_parquet_that_is_not_utf_8_rejects_its_rows_only(tmp_path: Path, column: str, target: int) -> None:
    bad = {3, 17, 18, 90}
    rows = [sharegpt(f"id-{n:03d}", ("human", f"a{n:03d}"), ("gpt", "b"), ("human", f"c{n:03d}")) for n in range(100)]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=40, compression="none", use_dictionary=False)
    data = path.read_bytes()
    for n in bad:
        stored = f"c{n:03d}" if column == "value" else f"id-{n:03d}"
        assert data.count(stored.encode()) >= 1
        data = data.replace(stored.encode(), b"\xff" + stored[1:].encode())
    planned = plan(write(path, data), target=target)
    told = read(planned)
    told.expect_closed(100)
    assert told.reasons == [(n, "invalid_utf8") for n in sorted(bad)]
    assert [c["source_row"] for c in told.conversations] == [n for n in range(100) if n not in bad]
    assert all(c["messages"][2]["content"] == f"c{c['source_row']:03d}" for c in told.conversations)


# --- A file that is not what was planned


def lines_file(path: Path, container: Container, letter: str, rows: int = 5000) -> Path:
    data = [sharegpt(f"{at}", ("human", letter * 20), ("gpt", "b"), ("human", "c")) for at in range(rows)]
    if container == "parquet":
        pq.write_table(pa.Table.from_pylist(data), path, compression="none", use_dictionary=False)
        return path
    return write(path, packed(jsonl(data), container))


CONTAINERS: list[Container] = ["parquet", *LINES]


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_file_that_changed_since_it_was_planned_is_never_read(tmp_path: Path, container: Container) -> None:
    planned = plan(lines_file(tmp_path / f"a.{container}", container, "a"))
    lines_file(tmp_path / f"a.{container}", container, "z")
    expect_error(planned, rf"a\.{container}: changed since it was planned")


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_file_that_grew_since_it_was_planned_is_never_read(tmp_path: Path, container: Container) -> None:
    path = lines_file(tmp_path / f"a.{container}", container, "a")
    planned = plan(path)
    write(path, path.read_bytes() + path.read_bytes())
    expect_error(planned, rf"a\.{container}: changed since it was planned")


def test_a_change_in_the_middle_of_a_file_of_the_same_size_is_noticed(tmp_path: Path) -> None:
    path = lines_file(tmp_path / "a.jsonl", "jsonl", "a")
    planned = plan(path)
    data = bytearray(path.read_bytes())
    assert len(data) > 300_000
    data[150_000:150_100] = data[150_000:150_100].replace(b"a", b"z")
    write(path, bytes(data))
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 10**9))
    expect_error(planned, r"a\.jsonl: changed since it was planned")


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_file_that_vanished_since_it_was_planned_is_an_error_that_names_it(
    tmp_path: Path, container: Container
) -> None:
    path = lines_file(tmp_path / f"a.{container}", container, "a", rows=3)
    planned = plan(path)
    path.unlink()
    expect_error(planned, rf"a\.{container}")


def test_a_file_that_changes_while_it_is_read_is_noticed_before_its_rows_are_handed_on(tmp_path: Path) -> None:
    path = lines_file(tmp_path / "a.jsonl", "jsonl", "a")
    (split,) = plan(path).splits
    stored = path.read_bytes()

    def shorten(row: dict[str, Any]) -> list[dict[str, Any]]:
        write(path, stored[:-1000])
        return [row]

    with pytest.raises(SourceError, match="changed"):
        next(reading.read(split, TEXT, shorten, {}))


# --- A trial


@settings(max_examples=30)
@given(
    rows=st.integers(1, 40),
    limit=st.integers(1, 50),
    container=st.sampled_from(CONTAINERS),
    split_bytes=st.sampled_from([1024, 4096, 10**6]),
    blank=st.booleans(),
)
def test_a_limit_reads_exactly_the_first_rows(
    rows: int, limit: int, container: Container, split_bytes: int, blank: bool
) -> None:
    data = [sharegpt(f"{at}", ("human", "a" * (at * 37 % 400)), ("gpt", "b"), ("human", "c")) for at in range(rows)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{container}"
        if container == "parquet":
            pq.write_table(pa.Table.from_pylist(data), path, row_group_size=7)
        else:
            lines = jsonl(data).replace(b"\n", b"\n\n") if blank else jsonl(data)
            write(path, packed(lines.rstrip(b"\n"), container, 2))
        planned = plan(path, limit=limit, split_bytes=split_bytes, max_line_bytes=400)
        told = read(planned)
    told.expect_closed(min(rows, limit))
    first = [row for row in data[:limit] if container == "parquet" or len(jsonl([row])) <= 401]
    assert [c["conversation_id"] for c in told.conversations] == [row["id"] for row in first]
