"""Plain documents: the same from every container, each once whatever the cut, and an outcome for all that is broken."""

from __future__ import annotations

import gzip
import json
import random
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.document import DOCUMENT, KEPT, REJECTED, ROW_OUTCOMES
from tests.builders import jsonl, packed, write
from tests.documents import Planned, again, plan, read
from transforms.corpus import rejects
from transforms.io import documents, reading
from transforms.io.documents import DocumentMapping
from transforms.io.sources import SourceError

SHARED_TEXT = Path(__file__).resolve().parents[4] / "shared" / "data" / "text"

ROWS: list[dict[str, Any]] = [
    {"text": "One document.\nTwo lines.", "id": "a-1", "url": "https://x.example/1", "source": "c4", "lang": "en", "score": 0.5},
    {"text": "漢字 and ö 😀 <|im_end|>", "id": "a-2", "url": None, "source": "wiki", "lang": None, "score": None},
    {"text": " padded ", "id": None, "url": "u", "source": None, "lang": "de", "score": -1.25},
]  # fmt: skip
ROW_CONTAINERS = ["parquet", "jsonl", "jsonl.gz", "jsonl.zst"]
TEXT_CONTAINERS = ["text", "text.gz", "text.zst"]


def text_path(folder: Path, container: str) -> Path:
    return folder / f"a.{container.replace('text', 'txt')}"


def stored(folder: Path, rows: list[dict[str, Any]], container: str, **options: Any) -> Path:
    path = folder / f"a.{container}"
    if container == "parquet":
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), path, **options)
        return path
    return write(path, packed(jsonl(rows), container, 2))  # type: ignore[arg-type]


def placeless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if not name.startswith("source_")} for row in rows]


@pytest.mark.parametrize("container", ROW_CONTAINERS)
def test_rows_of_all_containers_are_the_same_documents(tmp_path: Path, container: str) -> None:
    told = read(plan(stored(tmp_path, ROWS, container)))
    told.expect_closed(3)
    assert placeless(told.documents) == [
        {"text": row["text"], "document_id": row["id"], "url": row["url"], "title": None, "date": None, "origin": row["source"], "metadata": metadata}
        for row, metadata in zip(ROWS, ['{"lang":"en","score":0.5}', None, '{"lang":"de","score":-1.25}'], strict=True)
    ]  # fmt: skip
    assert list(told.documents[0])[:-1] == DOCUMENT.names


@pytest.mark.parametrize("container", ROW_CONTAINERS)
def test_a_mapping_names_the_columns(tmp_path: Path, container: str) -> None:
    rows = [{"words": "hello", "text": "not this", "key": 7, "made": "2019-04-25T12:57:54Z", "name": "T"}]
    mapping = DocumentMapping("words", id="key", date="made", title="name")
    (row,) = read(plan(stored(tmp_path, rows, container), mapping=mapping)).documents
    assert (row["text"], row["document_id"], row["title"]) == ("hello", "7", "T")
    assert row["date"] == datetime(2019, 4, 25, 12, 57, 54, tzinfo=UTC)
    assert row["metadata"] == '{"text":"not this"}'


@pytest.mark.parametrize("name", documents.NAMES["text"])
def test_columns_are_recognised_by_their_names(tmp_path: Path, name: str) -> None:
    planned = plan(write(tmp_path / "a.jsonl", jsonl([{name: "hello", "doc_id": 1, "dataset": "d"}])))
    (row,) = read(planned).documents
    assert (row["text"], row["document_id"], row["origin"]) == ("hello", "1", "d")
    assert planned.files[0].format == f"documents text={name} id=doc_id origin=dataset"


@pytest.mark.parametrize("container", ROW_CONTAINERS)
def test_rows_without_a_text_column_are_an_error_that_names_what_was_found(tmp_path: Path, container: str) -> None:
    planned = plan(stored(tmp_path, [{"conversation": "x", "idx": 1}], container))
    (error,) = planned.errors
    assert "conversation, idx" in error and "raw_content" in error
    assert not planned.splits


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("2019-04-25", datetime(2019, 4, 25, tzinfo=UTC)),
        ("2019-04-25T12:57:54Z", datetime(2019, 4, 25, 12, 57, 54, tzinfo=UTC)),
        ("2019-04-25 12:57:54", datetime(2019, 4, 25, 12, 57, 54, tzinfo=UTC)),
        ("2019-04-25T14:57:54.000+02:00", datetime(2019, 4, 25, 12, 57, 54, tzinfo=UTC)),
        (1556197074, datetime(2019, 4, 25, 12, 57, 54, tzinfo=UTC)),
        (1556197074000, datetime(2019, 4, 25, 12, 57, 54, tzinfo=UTC)),
        ("last year", None),
        ("2019-13-45", None),
        ("99999999999999999999", None),
        (None, None),
    ],
)
@pytest.mark.parametrize("container", ["parquet", "jsonl"])
def test_dates(tmp_path: Path, container: str, stated: Any, expected: datetime | None) -> None:
    (row,) = read(plan(stored(tmp_path, [{"text": "x", "date": stated}], container))).documents
    assert row["date"] == expected


@pytest.mark.parametrize("kind", [pa.timestamp("ns"), pa.timestamp("ms", tz="UTC"), pa.date32()])
def test_times_of_parquet(tmp_path: Path, kind: pa.DataType) -> None:
    day = datetime(2019, 4, 25, tzinfo=UTC)
    times = pa.array([day], pa.timestamp("us", tz="UTC")).cast(kind)
    pq.write_table(pa.table({"text": ["x"], "date": times, "seen": times}), tmp_path / "a.parquet")
    (row,) = read(plan(tmp_path / "a.parquet")).documents
    assert row["date"] == day
    assert json.loads(row["metadata"])["seen"].startswith("2019-04-25")


def test_metadata_is_bounded(tmp_path: Path) -> None:
    row = {
        "text": "x",
        "long": "y" * 257,
        "list": [1],
        "object": {"a": 1},
        "none": None,
        **{f"k{n:03}": n for n in range(100)},
    }
    (found,) = read(plan(write(tmp_path / "a.jsonl", jsonl([row])))).documents
    assert json.loads(found["metadata"]) == {f"k{n:03}": n for n in range(64)}


def test_parquet_columns_of_other_types(tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": pa.array(["a", "b", "a"]).dictionary_encode(),
            "id": pa.array([1, 2, None]),
            "url": pa.array([["no"], [], None]),
            "blob": pa.array([b"\xff", b"", None]),
            "kind": pa.array(["k", "k", None]).dictionary_encode(),
            "flag": pa.array([True, None, False]),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    told = read(plan(tmp_path / "a.parquet"))
    assert told.texts == ["a", "b", "a"]
    assert [row["document_id"] for row in told.documents] == ["1", "2", None]
    assert [row["url"] for row in told.documents] == [None] * 3
    assert [row["metadata"] for row in told.documents] == ['{"flag":true,"kind":"k"}', '{"kind":"k"}', '{"flag":false}']


def test_a_text_column_that_holds_no_text_is_an_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=r"a\.parquet: column text: expected texts, found int64"):
        read(plan(tmp_path / "a.parquet"))


# --- Text files


PARAGRAPHS = ["First line\nsecond line.", "Another, 漢字.", "  indented\n\ttext", "Last."]
PROSE = "\n" + "\n\n".join(PARAGRAPHS[:2]) + "\r\n \t\r\n\n\n" + "\n\n".join(PARAGRAPHS[2:]) + "\n\n"


@pytest.mark.parametrize("container", TEXT_CONTAINERS)
def test_text_by_file_paragraph_and_line(tmp_path: Path, container: str) -> None:
    path = write(text_path(tmp_path, container), packed(PROSE.encode(), container.replace("text", "jsonl"), 2))  # type: ignore[arg-type]
    assert read(plan(path)).texts == [PROSE]
    by_paragraph = read(plan(path, text_by="paragraph"))
    assert by_paragraph.texts == PARAGRAPHS
    assert all(PROSE.encode()[row["source_row"] :].startswith(row["text"].encode()) for row in by_paragraph.documents)
    by_line = read(plan(path, text_by="line"))
    assert by_line.texts == [line for line in PROSE.splitlines() if line.strip()]


def brute_paragraphs(data: bytes) -> list[tuple[int, bytes]]:
    """Paragraphs by going through the lines one by one."""
    found: list[tuple[int, bytes]] = []
    at, behind_blank = 0, True
    lines = data.split(b"\n")
    for number, line in enumerate(lines):
        blank = not line.strip(b" \t\r") and len(line) <= 80 and number < len(lines) - 1
        if not blank and behind_blank:
            found.append((at, line))
        elif not blank:
            found[-1] = (found[-1][0], found[-1][1] + b"\n" + line)
        behind_blank = blank
        at += len(line) + 1
    stripped = [(place, text.rstrip(b"\r\n")) for place, text in found]
    return [(place, text) for place, text in stripped if text.strip()]


line = st.one_of(
    st.sampled_from([b"", b"", b" ", b"\r", b"\t \r", b" " * 80, b" " * 81, b" " * 200]),
    st.text(st.sampled_from("ab é漢😀"), max_size=30).map(str.encode),
    st.integers(100, 300).map(lambda size: b"x" * size),
)


@settings(max_examples=60)
@given(
    lines=st.lists(line, max_size=14),
    unit=st.sampled_from(["paragraph", "line"]),
    container=st.sampled_from(TEXT_CONTAINERS),
    target=st.integers(1, 400),
    block=st.integers(1, 300),
    shuffled=st.randoms(use_true_random=False),
)
@example([b"", b"a"], "paragraph", "text", 1, 1, random.Random(0))
@example([b"a", b" " * 80, b"", b"b"], "paragraph", "text.gz", 20, 7, random.Random(0))
def test_all_splits_of_a_text_give_its_documents_once_whatever_the_cut(
    lines: list[bytes], unit: str, container: str, target: int, block: int, shuffled: random.Random
) -> None:
    data = b"\n".join(lines)
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(reading, "_BLOCK_BYTES", block):
        path = write(text_path(Path(folder), container), packed(data, container.replace("text", "jsonl"), 2))  # type: ignore[arg-type]
        planned = plan(path, target=max(target, len(data) // 12), text_by=unit)
        order = list(range(len(planned.splits)))
        shuffled.shuffle(order)
        told = read(planned, order)
        once_more = again(planned, told)
    found = [(row["source_row"], row["text"].encode()) for row in told.documents]
    if unit == "paragraph":
        expected = brute_paragraphs(data)
    else:
        starts = [sum(len(one) + 1 for one in lines[:at]) for at in range(len(lines))]
        expected = [(start, one.removesuffix(b"\r")) for start, one in zip(starts, lines, strict=True) if one.strip()]
    assert found == expected
    assert once_more.documents == told.documents
    told.expect_closed(len(expected))


@settings(max_examples=20)
@given(container=st.sampled_from(ROW_CONTAINERS), rows=st.integers(1, 30), target=st.integers(20, 2000))
def test_all_splits_of_rows_give_each_once(container: str, rows: int, target: int) -> None:
    data = [{"text": f"{at} " + "y" * (at * 37 % 200), "id": at} for at in range(rows)]
    with tempfile.TemporaryDirectory() as folder:
        path = stored(Path(folder), data, container, **({"row_group_size": 7} if container == "parquet" else {}))
        planned = plan(path, target=max(target, path.stat().st_size // 8))
        told = read(planned)
        assert again(planned, told).documents == told.documents
    told.expect_closed(rows)
    assert told.texts == [row["text"] for row in data]


def test_a_directory_of_mixed_containers(tmp_path: Path) -> None:
    for at, container in enumerate(ROW_CONTAINERS):
        stored(tmp_path / str(at), [{"text": container}], container)
    for container in TEXT_CONTAINERS:
        write(text_path(tmp_path / "texts", container), packed(container.encode(), container.replace("text", "jsonl")))  # type: ignore[arg-type]
    write(tmp_path / "image.png", b"\x89PNG")
    told = read(plan(tmp_path))
    told.expect_closed(7)
    assert sorted(told.texts) == sorted([*ROW_CONTAINERS, *TEXT_CONTAINERS])


def test_a_file_named_outright_is_told_by_its_first_bytes(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / "rows.dump", jsonl([{"text": "a"}])),
        write(tmp_path / "prose", b"Just text."),
        write(tmp_path / "rows.gzip", gzip.compress(jsonl([{"text": "b"}]))),
    ]
    assert sorted(read(plan(*paths)).texts) == ["Just text.", "a", "b"]


# --- Bad rows


BAD_LINES = {
    "half an object": (b'{"text": ', "invalid_json"),
    "invalid UTF-8": (b'{"text": "\xff"}', "invalid_utf8"),
    "half a surrogate pair": (b'{"text": "\\ud800"}', "invalid_json"),
    "an array": (b'["text"]', "invalid_json"),
    "no text": (b'{"id": 1}', "text_missing"),
    "null": (b'{"text": null}', "text_missing"),
    "a number": (b'{"text": 7}', "text_not_string"),
    "a list": (b'{"text": ["a"]}', "text_not_string"),
    "empty": (b'{"text": ""}', "empty_document"),
    "white space": ('{"text": " \\n\\t\u3000\u00a0"}'.encode(), "empty_document"),
    "too long": (b'{"text": "' + b"x" * 2000 + b'"}', "document_too_long"),
    "too long a line": (b'{"text": "' + b"x" * 5000 + b'"}', "line_too_long"),
}


@pytest.mark.parametrize("container", ["jsonl", "jsonl.gz", "jsonl.zst"])
@pytest.mark.parametrize("damage", BAD_LINES)
def test_a_bad_line_is_a_rejected_row_and_its_neighbours_are_read(tmp_path: Path, damage: str, container: str) -> None:
    bad, reason = BAD_LINES[damage]
    assert reason in ROW_OUTCOMES
    good = jsonl([{"text": "good"}])
    path = write(tmp_path / f"a.{container}", packed(good * 2 + bad + b"\n" + good, container))  # type: ignore[arg-type]
    told = read(plan(path, max_line_bytes=4000, max_document_bytes=1000))
    told.expect_closed(4)
    assert told.texts == ["good"] * 3
    assert told.reasons == [(2 * len(good), reason)]
    (row,) = told.rejected
    assert (row["unit"], row["stage"], row["source_uri"]) == ("row", "read", f"a.{container}")


def test_odd_values_beside_the_text_spoil_nothing(tmp_path: Path) -> None:
    rows = [{"text": "a", "id": odd, "url": odd, "date": odd, "source": odd, "more": odd} for odd in (True, 1.5, [1], {"a": 1}, "", -(2**63), 1e300)]  # fmt: skip
    told = read(plan(write(tmp_path / "a.jsonl", jsonl(rows))))
    told.expect_closed(len(rows))
    assert told.texts == ["a"] * len(rows)


def test_bad_rows_of_parquet(tmp_path: Path) -> None:
    texts = ["good", None, "", " \n", "x" * 2000, "broken", "good"]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": texts, "n": range(7)}), path, compression="none", use_dictionary=False)
    write(path, path.read_bytes().replace(b"broken", b"br\xffken"))
    told = read(plan(path, max_document_bytes=1000))
    told.expect_closed(7)
    assert told.texts == ["good", "good"]
    assert told.reasons == [
        (1, "text_missing"),
        (2, "empty_document"),
        (3, "empty_document"),
        (4, "document_too_long"),
        (5, "invalid_utf8"),
    ]


@pytest.mark.parametrize("unit", ["file", "line", "paragraph"])
@pytest.mark.parametrize("container", TEXT_CONTAINERS)
def test_bad_texts(tmp_path: Path, unit: str, container: str) -> None:
    def told_of(data: bytes) -> Any:
        path = write(text_path(tmp_path, container), packed(data, container.replace("text", "jsonl")))  # type: ignore[arg-type]
        return read(plan(path, text_by=unit, max_document_bytes=1000, target=64))

    assert told_of(b"\xff\xfea\0").reasons == [(0, "invalid_utf8")]
    assert told_of(b"x" * 1001).reasons == [(0, "document_too_long")]
    assert told_of(b"\xef\xbb\xbfmarked").texts == ["marked"]
    blank = told_of(b" \n\n ")
    assert blank.reasons == ([(0, "empty_document")] if unit == "file" else []) and not blank.texts
    if unit != "file":
        told = told_of(b"a\n\n" + b"x" * 3000 + b"\n\n\xff\n\nb")
        assert told.texts == ["a", "b"]
        assert told.reasons == [(3, "document_too_long"), (3005, "invalid_utf8")]


@pytest.mark.parametrize("container", [*ROW_CONTAINERS[1:], *TEXT_CONTAINERS])
def test_empty_files(tmp_path: Path, container: str) -> None:
    path = write(tmp_path / f"a.{container.replace('text', 'txt')}", b"")
    told = read(plan(path, text_by="line"))
    told.expect_closed(0)


def test_a_hundred_megabytes_in_one_document(tmp_path: Path) -> None:
    text = "0123456789" * 10_000_000
    pq.write_table(pa.table({"text": [text, "short"]}), tmp_path / "a.parquet")
    (split,) = plan(tmp_path / "a.parquet", target=10**9).splits
    (found,) = documents.read_texts(split, documents.DocumentSource((None,), ("file",), ({},)))
    assert [len(one) for one in found.texts["text"].to_pylist()] == [100_000_000, 5]


# --- Bombs


BOMB = """
import sys
from pathlib import Path
from tests.documents import plan, read
planned = plan(Path(sys.argv[1]), text_by=sys.argv[2])
try:
    told = read(planned)
    print("rejected", [row["reason"] for row in told.rejected], len(told.documents))
except Exception as error:
    print(type(error).__name__, str(error))
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]  # getrusage begins at the parent's
print(int(peak) // 1024)
"""


@pytest.mark.parametrize(
    ("name", "unit", "expected"),
    [
        ("a.jsonl.zst", "file", r"SourceError a\.jsonl\.zst split \d+ .*expand"),
        ("a.txt.zst", "file", r"rejected \['document_too_long'\] 0"),
        ("a.txt.zst", "line", r"SourceError a\.txt\.zst split \d+ .*expand"),
        ("a.txt.zst", "paragraph", r"SourceError a\.txt\.zst split \d+ .*expand"),
        ("a.warc.zst", "file", r"SourceError a\.warc\.zst split \d+ .*expand"),
    ],
)
def test_a_bomb_ends_in_an_outcome_with_bounded_memory(tmp_path: Path, name: str, unit: str, expected: str) -> None:
    start = b'{"text": "' if "jsonl" in name else b"WARC/1.0\r\n" if "warc" in name else b""
    frames = [zstandard.compress(start), *[zstandard.compress(bytes(100_000_000))] * 100]
    path = write(tmp_path / name, b"".join(frames))
    assert path.stat().st_size < 1_300_000, "and 10 GB once decompressed"
    command = [sys.executable, "-c", BOMB, str(path), unit]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parents[3], timeout=120, check=False
    )
    outcome, memory = done.stdout.splitlines()
    assert re.match(expected, outcome)
    assert int(memory) < 1_500


@pytest.mark.parametrize("as_dictionary", [True, False])
def test_a_text_stored_once_that_stands_in_every_row_is_a_source_that_cannot_be_read(
    tmp_path: Path, as_dictionary: bool
) -> None:
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), ["x" * 100_000])
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", store_schema=as_dictionary)
    with pytest.raises(SourceError, match=r"a\.parquet split 0 .*expand"):
        read(plan(tmp_path / "a.parquet"))


# --- Rejects


def test_no_personal_data_of_a_rejected_row_is_published(tmp_path: Path) -> None:
    import polars as pl

    frame = pl.DataFrame(
        {
            "record_id": ["a", "b"],
            "source_uri": ["f", "f"],
            "source_row": [0, 1],
            "unit": ["instance"] * 2,
            "text": ["Write to jane.roe@gmail.com " + "x" * 500, "jane.roe@gmail.com"],
            "url": ["https://x.example/?mail=jane.roe@gmail.com", None],
            "document_id": ["jane.roe@gmail.com", "7"],
            "detail": ["found jane.roe@gmail.com", None],
            "reason": ["too_short", "personal_data"],
        }
    )
    table = rejects.rejected(frame, "quality")
    assert table.schema.equals(REJECTED)
    assert "jane.roe" not in str(table.to_pylist())
    assert len(table["excerpt"][0].as_py()) == rejects.EXCERPT_CHARACTERS
    assert table["excerpt"][1].as_py() is None
    assert {"record_id", "text", "source_uri", "source_row"} <= set(KEPT.names)


# --- A trial


@settings(max_examples=40)
@given(
    container=st.sampled_from(["jsonl", "jsonl.gz", *TEXT_CONTAINERS]),
    unit=st.sampled_from(["file", "line", "paragraph"]),
    limit=st.integers(1, 12),
)
def test_a_limit_reads_exactly_the_first_rows(container: str, unit: str, limit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = [{"text": f"row {at}"} for at in range(8)]
        data = jsonl(rows) if container.startswith("jsonl") else b"\n\n".join(b"row %d" % at for at in range(8))
        path = write(text_path(Path(folder), container), packed(data, container.replace("text", "jsonl")))  # type: ignore[arg-type]
        planned = plan(path, text_by=unit)
        (split,) = planned.splits
        found, stop = planned.source.first_rows(split, limit)
        from dataclasses import replace

        told = read(Planned(planned.source, planned.files, [replace(split, stop=stop)]))
    whole = unit == "file" and not container.startswith("jsonl")
    assert found == (1 if whole else min(limit, 8))
    assert len(told.documents) == found


# --- Real data


@pytest.mark.skipif(not SHARED_TEXT.is_dir(), reason="no real texts")
def test_real_texts_are_all_read(tmp_path: Path) -> None:
    planned = plan(SHARED_TEXT, target=500_000)
    told = read(planned)
    web = [json.loads(text)["text"] for text in (SHARED_TEXT / "web_wiki_471.jsonl").read_bytes().splitlines()]
    dolma = [
        json.loads(text)
        for text in gzip.decompress((SHARED_TEXT / "dolma_documents_000.json.gz").read_bytes()).splitlines()
    ]
    told.expect_closed(len(web) + len(dolma) + 1)
    by_file: dict[str, list[Any]] = {}
    for row in told.documents:
        by_file.setdefault(row["source_uri"], []).append(row)
    assert [row["text"] for row in by_file["web_wiki_471.jsonl"]] == web
    assert [row["text"] for row in by_file["dolma_documents_000.json.gz"]] == [row["text"] for row in dolma]
    assert [row["document_id"] for row in by_file["dolma_documents_000.json.gz"]] == [row["id"] for row in dolma]
    assert [row["text"] for row in by_file["tinyshakespeare.txt"]] == [
        (SHARED_TEXT / "tinyshakespeare.txt").read_text()
    ]
    assert {row["origin"] for row in by_file["web_wiki_471.jsonl"]} >= {"c4_demo"}


@pytest.mark.skipif(not SHARED_TEXT.is_dir(), reason="no real texts")
def test_a_real_text_by_paragraph(tmp_path: Path) -> None:
    path = SHARED_TEXT / "tinyshakespeare.txt"
    told = read(plan(path, text_by="paragraph", target=100_000))
    assert [(row["source_row"], row["text"].encode()) for row in told.documents] == brute_paragraphs(path.read_bytes())
