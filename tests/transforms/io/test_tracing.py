"""From a published row to its source row: the right line, counted independently, in every container."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.presentations.feedback import PRESENTATION as FEEDBACK
from schemas.feedback import KEPT, REJECTED
from schemas.provenance import Container
from tests.builders import packed, write
from transforms.io import tracing
from transforms.io.snapshots import SnapshotError

Row = dict[str, Any]
LINES: tuple[Container, ...] = ("jsonl", "jsonl.gz", "jsonl.zst")


def offsets(lines: Sequence[bytes]) -> list[int]:
    """Where each line starts in the decompressed stream."""
    found, at = [], 0
    for line in lines:
        found.append(at)
        at += len(line)
    return found


@pytest.mark.parametrize("container", LINES)
@given(texts=st.lists(st.text(st.sampled_from("ab 字\u2028"), max_size=8), min_size=1, max_size=30), ends=st.booleans())
def test_a_line_is_found_by_its_offset_and_told_by_its_number(
    tmp_path_factory: pytest.TempPathFactory, container: Container, texts: list[str], ends: bool
) -> None:
    lines = [json.dumps({"text": text}, ensure_ascii=False).encode() + b"\n" for text in texts]
    if not ends:
        lines[-1] = lines[-1].removesuffix(b"\n")
    path = write(tmp_path_factory.mktemp("lines") / f"a.{container}", packed(b"".join(lines), container, frames=3))
    for number, (text, offset) in enumerate(zip(texts, offsets(lines), strict=True), start=1):
        found = tracing.origin(path.as_uri(), offset, container)
        assert (found.line, found.row, found.content) == (number, offset, {"text": text})


@pytest.mark.parametrize("container", LINES)
def test_a_line_longer_than_what_is_read_at_once_is_found(tmp_path: Path, container: Container) -> None:
    lines = [json.dumps({"text": mark * 3_000_000}).encode() + b"\n" for mark in "abc"]
    path = write(tmp_path / f"a.{container}", packed(b"".join(lines), container, frames=2))
    found = tracing.origin(path.as_uri(), offsets(lines)[1], container)
    assert (found.line, found.content) == (2, {"text": "b" * 3_000_000})


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b'{"conversation": [', '{"conversation": ['),
        (b'{"text": "caf\xe9"}', '{"text": "caf\N{REPLACEMENT CHARACTER}"}'),
        (b"[1, 2]", [1, 2]),
        (b"[" * 100_000, "[" * 2_000),
    ],
    ids=["cut off", "not UTF-8", "an array", "nested"],
)
def test_a_broken_line_is_shown_as_it_stands(tmp_path: Path, line: bytes, shown: Any) -> None:
    path = write(tmp_path / "a.jsonl", b'{"a": 1}\n' + line + b'\n{"b": 2}\n')
    found = tracing.origin(path.as_uri(), 9, "jsonl")
    assert (found.line, found.content) == (2, shown)


def test_a_row_of_parquet_is_found_across_row_groups_and_batches(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"n": range(5_000), "text": [str(n) for n in range(5_000)]}), path, row_group_size=700)
    for row in (0, 699, 700, 1_024, 3_333, 4_999):
        found = tracing.origin(path.as_uri(), row, "parquet")
        assert (found.line, found.content) == (None, {"n": row, "text": str(row)})


@pytest.mark.parametrize("container", ["parquet", *LINES])
def test_the_name_of_a_file_need_not_say_what_it_is(tmp_path: Path, container: Container) -> None:
    path = tmp_path / "chats.part-0"
    if container == "parquet":
        pq.write_table(pa.table({"n": [0, 1, 2]}), path)
    else:
        write(path, packed(b'{"n": 0}\n{"n": 1}\n{"n": 2}\n', container))
    assert tracing.origin(path.as_uri(), 2 if container == "parquet" else 18, container).content == {"n": 2}


@pytest.mark.parametrize(
    ("container", "data", "row"),
    [
        ("jsonl", None, 0),
        ("parquet", None, 0),
        ("jsonl", b'{"n": 0}\n', 500),
        ("parquet", b"no parquet", 0),
        ("jsonl.gz", b"no gzip", 9),
        ("jsonl.zst", b"no zst", 9),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(
    tmp_path: Path, container: Container, data: bytes | None, row: int
) -> None:
    path = tmp_path / f"a.{container}"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(SnapshotError, match=rf"{path.name}: row {row} cannot be read") as error:
        tracing.origin(path.as_uri(), row, container)
    assert "\n" not in str(error.value)


def test_a_row_beyond_the_end_of_parquet_is_an_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": [1]}), tmp_path / "a.parquet")
    with pytest.raises(SnapshotError, match="the file has 1 rows"):
        tracing.origin((tmp_path / "a.parquet").as_uri(), 1, "parquet")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=12,
)


@given(json_values)
def test_strings_are_all_texts_that_stand_as_values(value: Any) -> None:
    def texts(item: Any) -> set[str]:
        if isinstance(item, dict):
            return set().union(*map(texts, item.values()))
        if isinstance(item, list):
            return set().union(*map(texts, item))
        return {item} if isinstance(item, str) else set()

    assert tracing.strings(value) == texts(value)


KEPT_ROW: Row = {"label": 4, "subset": "train", "source_uri": "a.jsonl", "source_row": 0}
LOST_ROW: Row = {"unit": "instance", "stage": "judge", "reason": "neutral", "source_uri": "a.jsonl", "source_row": 0}


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """Two kept and two rejected rows; one instance id stands twice."""
    tables = {
        "data/train-00000-of-00001.parquet": pa.Table.from_pylist(
            [{**KEPT_ROW, "record_id": f"k{n}", "instance_id": f"c{n}_turn0"} for n in (1, 2)], schema=KEPT
        ),
        "rejected/rejected-00000-of-00001.parquet": pa.Table.from_pylist(
            [{**LOST_ROW, "record_id": f"r{n}", "instance_id": f"c{n}_turn0"} for n in (2, 3)], schema=REJECTED
        ),
    }
    for name, table in tables.items():
        (tmp_path / name).parent.mkdir()
        pq.write_table(table, tmp_path / name)
    shards = [{"path": name, "kind": name.split("/")[0]} for name in tables]
    (tmp_path / "manifest.json").write_text(json.dumps({"schema_version": 1, "shards": shards}))
    return tmp_path


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        ("k1", ("data", "k1")),
        ("c1_turn0", ("data", "k1")),
        ("r3", ("rejected", "r3")),
        ("c3_turn0", ("rejected", "r3")),
    ],
)
def test_rows_are_found_by_record_and_by_instance(snapshot: Path, identifier: str, expected: tuple[str, str]) -> None:
    kind, row = tracing.find(snapshot, identifier, FEEDBACK)
    assert (kind, row["record_id"]) == expected


def test_an_instance_id_that_names_several_rows_is_answered_with_their_record_ids(snapshot: Path) -> None:
    with pytest.raises(SnapshotError, match="names 2 rows; give one of their record ids: k2, r2"):
        tracing.find(snapshot, "c2_turn0", FEEDBACK)


def test_an_unknown_id_is_an_error_that_repeats_it(snapshot: Path) -> None:
    with pytest.raises(SnapshotError, match="nobody: expected a record_id or instance_id"):
        tracing.find(snapshot, "nobody", FEEDBACK)


# -- text and web archives

RECORD = b"WARC/1.0\r\nWARC-Type: conversion\r\nContent-Length: %d\r\n\r\n%s\r\n\r\n"


def members(containers: Sequence[bytes]) -> bytes:
    return b"".join(gzip.compress(record) for record in containers)


@pytest.mark.parametrize("container", ["warc", "warc.gz", "warc.stream.gz", "warc.zst"])
def test_a_record_of_a_web_archive_is_shown_with_its_head(tmp_path: Path, container: Container) -> None:
    records = [RECORD % (len(text), text) for text in ("première".encode(), b"zweite" * 5_000, b"\xff")]
    stored = {
        "warc": b"".join(records),
        "warc.gz": members(records),
        "warc.stream.gz": gzip.compress(b"".join(records)),
        "warc.zst": packed(b"".join(records), "jsonl.zst"),
    }[container]
    path = write(tmp_path / f"a.{container}", stored)
    starts = offsets([gzip.compress(record) for record in records] if container == "warc.gz" else records)
    shown = [tracing.origin(path.as_uri(), start, container).content for start in starts]
    assert [content["head"] for content in shown] == [
        record.partition(b"\r\n\r\n")[0].decode().split("\r\n") for record in records
    ]
    assert shown[0]["block"].startswith("première\r\n\r\n")
    assert shown[1]["block"].startswith("zweitezweite")
    assert len(shown[1]["block"]) < 10_000
    assert shown[2]["block"].startswith("\N{REPLACEMENT CHARACTER}")


@pytest.mark.parametrize("offset", [3, 10_000])
def test_a_place_without_a_record_is_told_in_one_line(tmp_path: Path, offset: int) -> None:
    path = write(tmp_path / "a.warc.gz", members([RECORD % (1, b"a")]))
    with pytest.raises(SnapshotError, match=f"row {offset} cannot be read"):
        tracing.origin(path.as_uri(), offset, "warc.gz")


@pytest.mark.parametrize("container", ["text", "text.gz", "text.zst"])
def test_text_is_shown_from_the_row_on(tmp_path: Path, container: Container) -> None:
    data = b"eins\nzwei\ndrei\n"
    path = write(tmp_path / f"a.{container}", packed(data, container.replace("text", "jsonl")))  # type: ignore[arg-type]
    found = tracing.origin(path.as_uri(), 5, container)
    assert (found.line, found.content) == (2, "zwei\ndrei\n")
