"""Web archives: every record once whatever the cut, its main text, and an outcome for all that is broken in it."""

from __future__ import annotations

import gzip
import random
import sys
import tempfile
import zlib
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import write
from tests.documents import again, archived, http, page, plan, read, record
from transforms.io import documents, reading, warc
from transforms.io.sources import SourceError

CONTAINERS = ["warc", "warc.gz", "warc.stream.gz", "warc.zst"]
INFO = record(b"software: a crawler\r\n", "warcinfo", Content_Type="application/warc-fields")
TEXTS = [
    f"Paragraph one of page {at} says enough to be read.\n\nParagraph two ends it, with ö and 漢字." for at in range(5)
]
PAGES = [record(http(page(text)), at=at) for at, text in enumerate(TEXTS)]


def path_for(folder: Path, container: str) -> Path:
    return folder / f"crawl.{container.replace('.stream', '')}"


def stored(folder: Path, container: str, records: list[bytes]) -> Path:
    return write(path_for(folder, container), archived(records, container))


@pytest.mark.parametrize("container", CONTAINERS)
def test_all_containers_give_the_same_documents(tmp_path: Path, container: str) -> None:
    request = record(b"GET / HTTP/1.1\r\n\r\n", "request")
    planned = plan(stored(tmp_path, container, [INFO, *(one for p in PAGES for one in (request, p))]))
    assert [file.container for file in planned.files] == [container]
    told = read(planned)
    told.expect_closed(5)
    assert [text.split() for text in told.texts] == [text.split() for text in TEXTS], "navigation and footer are gone"
    first = told.documents[0]
    assert first["document_id"] == "urn:uuid:00000000"
    assert first["url"] == "https://site.example/0"
    assert first["title"] == "A title"
    assert first["date"] == datetime(2024, 5, 1, 12, tzinfo=UTC)


def test_a_place_in_an_archive_of_members_is_where_the_member_starts(tmp_path: Path) -> None:
    path = stored(tmp_path, "warc.gz", [INFO, *PAGES])
    for row in read(plan(path)).documents:
        member = zlib.decompressobj(31).decompress(path.read_bytes()[row["source_row"] :])
        assert row["url"].encode() in member


@pytest.mark.parametrize("container", ["warc", "warc.stream.gz", "warc.zst"])
def test_a_place_in_another_archive_is_where_the_record_starts(tmp_path: Path, container: str) -> None:
    plain = b"".join([INFO, *PAGES])
    for row in read(plan(stored(tmp_path, container, [INFO, *PAGES]))).documents:
        assert plain[row["source_row"] :].startswith(PAGES[int(row["url"][-1])])


def test_wet_records_are_their_block(tmp_path: Path) -> None:
    wet = [
        record(f"Text {at} — 漢字\n".encode(), "conversion", at, WARC_Identified_Content_Language="zho,eng")
        for at in range(3)
    ]
    told = read(plan(write(tmp_path / "crawl.warc.wet.gz", archived([INFO, *wet], "warc.gz"))))
    told.expect_closed(3)
    assert told.texts == [f"Text {at} — 漢字\n" for at in range(3)]
    assert told.documents[0]["metadata"] == '{"content_languages":"zho,eng"}'


# --- Splits


NESTED = archived([INFO, record(http(page("A page in an archive in an archive.")), at=9)], "warc.gz")
PLAIN_NESTED = archived([INFO, record(http(page("A page in an archive in an archive.")), at=9)], "warc")
piece = st.sampled_from(
    [
        *(record(http(page(text)), at=at) for at, text in enumerate(TEXTS[:2])),
        INFO,
        record(http(b"missing", status="404 Not Found")),
        record(http(NESTED, "application/gzip")),
        record(http(PLAIN_NESTED, "application/warc")),
        record(b"Some text.", "conversion"),
        record(random.Random(0).randbytes(3000), "resource", Content_Type="image/png"),
    ]
)


@settings(max_examples=40)
@given(
    pieces=st.lists(piece, max_size=12),
    container=st.sampled_from(CONTAINERS),
    target=st.integers(1, 6000),
    block=st.integers(50, 5000),
    lookback=st.sampled_from([4096, 1024 * 1024]),
    shuffled=st.randoms(use_true_random=False),
)
def test_all_splits_of_an_archive_give_its_records_once_whatever_the_cut(
    pieces: list[bytes], container: str, target: int, block: int, lookback: int, shuffled: random.Random
) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(reading, "_BLOCK_BYTES", block),
        mock.patch.object(warc, "LOOKBACK", lookback),
    ):
        path = stored(Path(folder), container, [INFO, *pieces])
        target = max(target, path.stat().st_size // 12)
        whole = read(plan(path))
        planned = plan(path, target=target)
        order = list(range(len(planned.splits)))
        shuffled.shuffle(order)
        told = read(planned, order)
        once_more = again(planned, told)
    rows = sum(one != INFO for one in pieces)
    whole.expect_closed(rows)
    told.expect_closed(rows)
    assert told.documents == whole.documents == once_more.documents
    assert told.rejected == whole.rejected == once_more.rejected


@settings(max_examples=50)
@given(
    damage=st.sampled_from(["garbage", "cut", "flipped", "length", "duplicated"]),
    container=st.sampled_from(["warc", "warc.gz"]),
    place=st.floats(0, 1),
    target=st.integers(50, 5000),
)
def test_damage_anywhere_gives_the_same_rows_whatever_the_cut(
    damage: str, container: str, place: float, target: int
) -> None:
    data = archived([INFO, *PAGES, *PAGES], container)
    at = int(place * (len(data) - 1))
    broken = {
        "garbage": data[:at] + b"\x00garbage\r\nWARC/1.0 or so\n" + data[at:],
        "cut": data[:at],
        "flipped": data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :],
        "length": data.replace(b"Content-Length: ", b"Content-Length: 1", 3),
        "duplicated": data[: at + 100] + data[at:],
    }
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / f"a.{container}", broken[damage])
        planned = plan(path, target=max(target, len(data) // 12))
        if planned.errors:
            assert at < 2, "it is not even recognised"
            return
        told, whole = read(planned), read(plan(path))
    assert told.documents == whole.documents
    assert told.rejected == whole.rejected
    told.expect_closed(len(told.documents) + len(told.rejected))
    if damage in {"garbage", "flipped"}:
        assert len(told.documents) >= 8, "the records around the damage are read"


# --- What is wrong with records


def told_of(folder: Path, bad: bytes, container: str = "warc.gz", **limits: int) -> list[tuple[str, str]]:
    """The reasons and details of a bad record; its neighbours are read."""
    told = read(plan(stored(folder, container, [INFO, *PAGES[:2], bad, *PAGES[2:]]), **limits))
    assert [row["url"][-1] for row in told.documents if row["url"].startswith("https://site.example/")][:5] == list(
        "01234"
    )
    told.expect_closed(5 + len(told.rejected))
    return [(row["reason"], row["detail"]) for row in told.rejected]


HTML = page("The text of this page is long enough.")
BAD_RECORDS = {
    "too short a length": (record(http(HTML), length=20), "broken_record"),
    "too long a length": (record(http(HTML), length=10**6), "broken_record"),
    "a length beyond all": (record(http(HTML), length=10**17), "document_too_long"),
    "another digest": (record(http(HTML), WARC_Block_Digest="sha1:" + "A" * 32), "digest_mismatch"),
    "a redirect": (record(http(b"", status="301 Moved")), "http_error"),
    "an image": (record(http(b"\x89PNG\r\n\x1a\n" + bytes(100), "image/png")), "not_text"),
    "an image that is called a page": (record(http(b"\x89PNG\r\n\x1a\n" + bytes(100), "text/html")), "not_text"),
    "JSON": (record(http(b'{"a": 1}', "application/json")), "not_text"),
    "no HTTP": (record(b"hello"), "payload_broken"),
    "nothing": (record(b""), "payload_broken"),
    "an empty page": (record(http(b"")), "empty_document"),
    "a page without text": (record(http(b"<html><body><img src=x></body></html>")), "empty_document"),
    "broken gzip": (record(http(b"\x1f\x8bnot gzip", Content_Encoding="gzip")), "payload_broken"),
    "broken chunks": (record(http(b"5\r\nhello\r\nZZ\r\n", Transfer_Encoding="chunked")), "payload_broken"),
    "a revisit": (record(http(b""), "revisit"), "no_payload"),
    "a continuation": (record(b"the rest", "continuation"), "no_payload"),
    "WET text that is not UTF-8": (record(b"caf\xe9", "conversion"), "invalid_utf8"),
    "blank WET text": (record(b" \n\t\n", "conversion"), "empty_document"),
    "nested 100,000 deep": (record(http(b"<div>" * 100_000 + b"x")), "extraction_failed"),
    "100,000 attributes": (record(http(b"<div " + b" ".join(b"a%d=1" % at for at in range(100_000)) + b">x</div>")), "extraction_failed"),
    "2,000 kinds of formatting": (record(http(b"<p>" + b"".join(b"<font a=%d>" % at for at in range(2000)) + b"</p>" + b"<p>x</p>" * 2000)), "extraction_failed"),
    "a page that is too long": (record(http(b"x" * 17_000_000)), "document_too_long"),
}  # fmt: skip


@pytest.mark.parametrize("container", ["warc", "warc.gz"])
@pytest.mark.parametrize("damage", BAD_RECORDS)
def test_a_bad_record_is_a_rejected_row_and_its_neighbours_are_read(
    tmp_path: Path, damage: str, container: str
) -> None:
    bad, reason = BAD_RECORDS[damage]
    ((found, detail),) = told_of(tmp_path, bad, container)
    by_member = damage == "a length beyond all" and container == "warc.gz"  # which says how long the record really is
    assert found == ("broken_record" if by_member else reason)
    assert detail or reason == "empty_document"


@pytest.mark.parametrize("container", ["warc", "warc.gz"])
def test_garbage_between_records_is_a_rejected_row(tmp_path: Path, container: str) -> None:
    data = archived([INFO, *PAGES[:2]], container) + b"some garbage\r\n\r\n" + archived(PAGES[2:], container)
    told = read(plan(write(tmp_path / f"a.{container}", data)))
    told.expect_closed(len(told.documents) + 1)
    assert [row["reason"] for row in told.rejected] == ["broken_record"]
    assert len(told.documents) == 5


@pytest.mark.parametrize("container", ["warc", "warc.gz"])
def test_an_archive_that_is_cut_off_loses_its_last_record_only(tmp_path: Path, container: str) -> None:
    data = archived([INFO, *PAGES], container)[:-100]
    told = read(plan(write(tmp_path / f"a.{container}", data)))
    told.expect_closed(5)
    assert [row["reason"] for row in told.rejected] == ["broken_record"]


def test_several_records_in_a_later_member_are_named(tmp_path: Path) -> None:
    data = archived([INFO, PAGES[0]], "warc.gz") + gzip.compress(PAGES[1] + PAGES[2]) + archived(PAGES[3:], "warc.gz")
    told = read(plan(write(tmp_path / "a.warc.gz", data)))
    assert len(told.documents) == 3
    (row,) = told.rejected
    assert row["reason"] == "broken_record" and "WARC/1.0" in row["detail"]


# --- Encodings


def body_of(folder: Path, block: bytes) -> str:
    (row,) = read(plan(stored(folder, "warc.gz", [INFO, record(block)]))).documents
    return str(row["text"])


SENTENCE = "Это предложение достаточно длинное, чтобы его прочитали. Второе предложение тоже."


@pytest.mark.parametrize("how", ["header", "meta", "guess", "wrong header", "unknown header"])
@pytest.mark.parametrize("charset", ["utf-8", "windows-1251"])
def test_pages_are_decoded_by_header_meta_or_guess(tmp_path: Path, how: str, charset: str) -> None:
    html = page(SENTENCE * 5, charset=charset)
    if how == "meta":
        html = html.replace(b"<head>", f'<head><meta charset="{charset}">'.encode())
    header = {
        "header": f"; charset={charset}",
        "unknown header": "; charset=klingon",
        "wrong header": "; charset=utf-8",
    }
    assert SENTENCE in body_of(tmp_path, http(html, "text/html" + header.get(how, ""))) or (how, charset) == (
        "wrong header",
        "windows-1251",
    )


@pytest.mark.parametrize("charset", ["punycode", "unicode_escape", "hex", "rot13", "undefined", "utf-7"])
def test_a_header_names_no_codec_of_pythons_own(tmp_path: Path, charset: str) -> None:
    block = http(page("The text says \\u0041 and is long enough."), f"text/html; charset={charset}")
    assert body_of(tmp_path, block) == "The text says \\u0041 and is long enough."


def test_transfer_and_content_encodings_are_undone(tmp_path: Path) -> None:
    packed = gzip.compress(HTML)
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (packed[:10], packed[10:])) + b"0\r\n\r\n"
    block = http(chunked, Transfer_Encoding="chunked", Content_Encoding="gzip")
    assert body_of(tmp_path, block) == "The text of this page is long enough."


def test_plain_text_is_as_it_is(tmp_path: Path) -> None:
    assert body_of(tmp_path, http("  a\r\n<b>ö".encode(), "text/plain; charset=utf-8")) == "  a\r\n<b>ö"


# --- Bombs


def test_a_member_that_expands_too_far_is_a_rejected_row(tmp_path: Path) -> None:
    bomb = record(http(bytes(50_000_000), "text/plain"))
    assert told_of(tmp_path, bomb, max_document_bytes=1_000_000)[0][0] == "document_too_long"


def test_a_payload_that_expands_too_far_is_a_rejected_row(tmp_path: Path) -> None:
    inner = gzip.compress(b"x" * 50_000_000)
    ((reason, detail),) = told_of(
        tmp_path, record(http(inner, "text/plain", Content_Encoding="gzip")), max_document_bytes=1_000_000
    )
    assert reason == "document_too_long" and "payload" in detail


def test_a_split_of_many_bombs_is_a_source_that_cannot_be_read(tmp_path: Path) -> None:
    bomb = record(http(b"x " * 10_000_000, "text/plain"))
    planned = plan(stored(tmp_path, "warc.gz", [INFO, *([bomb] * 8)]))
    with (
        mock.patch.object(reading, "_SURE_BYTES", 50_000_000),
        pytest.raises(SourceError, match=r"crawl\.warc\.gz split 0.*expand"),
    ):
        read(planned)


# --- The extra


def test_without_the_extra_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stored(tmp_path, "warc.gz", [INFO, *PAGES])
    monkeypatch.setattr(warc.importlib.util, "find_spec", lambda name: None)
    (error,) = plan(path).errors
    assert "fastwarc" in error and "sluice-curation[warc]" in error


def test_nothing_but_archives_needs_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fastwarc", "fastwarc.warc", "resiliparse"):
        monkeypatch.setitem(sys.modules, name, None)
    path = write(tmp_path / "a.jsonl", b'{"text": "hello"}\n')
    assert read(plan(path)).texts == ["hello"]
    assert documents.CONTAINERS
