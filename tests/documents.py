"""Small corpora for tests: archives written byte by byte, and what the readers make of files."""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from schemas.provenance import SourceFile, Split, StageCount
from transforms.corpus import rejects
from transforms.io import documents, sources, splits
from transforms.io.documents import DocumentSource
from transforms.io.sources import SourceError

Row = dict[str, Any]


@dataclass
class Planned:
    """Files, how to read them, and their splits."""

    source: DocumentSource
    files: list[SourceFile]
    splits: list[Split]

    @property
    def errors(self) -> list[str]:
        return [file.error for file in self.files if file.error]


def plan(
    *uris: Path, target: int = splits.SPLIT_BYTES, mapping: Any = None, text_by: Any = "file", **limits: int
) -> Planned:
    """Files of one source, found, probed and cut."""
    source = DocumentSource((mapping,), (text_by,), ({},), **limits)
    planned = Planned(source, [], [])
    for found in sources.find([str(uri) for uri in uris], None, {}, source.containers):
        name = (found.uri, found.relative_uri)
        try:
            probe = sources.probe(found, containers=source.containers)
            told = source.recognised(0, probe)
        except SourceError as error:
            planned.files.append(SourceFile(*name, 0, "text", "unknown", 0, "", found.stamp, "", str(error)))
            continue
        key = hashlib.sha256(f"{probe.fingerprint}{name}".encode()).hexdigest()[:20]
        file = SourceFile(*name, 0, probe.container, told.format, probe.size, probe.fingerprint, found.stamp, key)
        planned.files.append(file)
        planned.splits += splits.cut(file, probe, target, told.whole)
    return planned


@dataclass
class Told:
    """What was read: documents, rejected rows, the ledger, and what the key pass reads."""

    documents: list[Row] = field(default_factory=list)
    rejected: list[Row] = field(default_factory=list)
    counts: list[StageCount] = field(default_factory=list)
    splits: list[Split] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        return [row["text"] for row in self.documents]

    @property
    def reasons(self) -> list[tuple[int, str]]:
        return [(row["source_row"], row["reason"]) for row in self.rejected]

    def expect_closed(self, rows: int) -> None:
        """The ledger closes over ``rows`` source rows, each of which is a document or rejected, once."""
        places = Counter((row["source_uri"], row["source_row"]) for row in (*self.documents, *self.rejected))
        assert not [place for place, times in places.items() if times > 1]
        assert (
            sum(c.rows_in for c in self.counts)
            == sum(c.rows_out + sum(c.rejected.values()) for c in self.counts)
            == rows
        )
        assert len(self.documents) == sum(c.rows_out for c in self.counts)
        assert len(self.rejected) == sum(sum(c.rejected.values()) for c in self.counts)


def read(planned: Planned, order: Iterable[int] | None = None) -> Told:
    """Read all splits as both passes do, and see that they agree."""
    assert not planned.errors
    told = Told()
    for index in order if order is not None else range(len(planned.splits)):
        split = planned.splits[index]
        keys = list(documents.read_texts(split, planned.source))
        chunks = list(documents.read_chunks(split, planned.source, rejects.rejected))
        for chunk, key in zip(chunks, keys, strict=True):
            rows = chunk.kept.to_pylist()
            told.documents += [{**row, "source_uri": split.file.relative_uri} for row in rows]
            told.rejected += chunk.rejected.to_pylist()
            told.counts += chunk.stages
            told.splits.append(chunk.split)
            assert key.texts.to_pylist() == [
                {"source_row": r["source_row"], "ordinal": 0, "text": r["text"]} for r in rows
            ]
            assert (key.split, key.rows) == (chunk.split, chunk.stages[0].rows_in)
        assert [key.end for key in keys[:-1]] == [False] * (len(keys) - 1)
    told.documents.sort(key=lambda row: (row["source_uri"], row["source_row"]))
    told.rejected.sort(key=lambda row: (row["source_uri"], row["source_row"]))
    return told


def again(planned: Planned, told: Told) -> Told:
    """Read the splits that a first pass found, each by itself: what the payload pass does after the key pass."""
    found = [replace(split, listed=None) for split in told.splits]
    return read(Planned(planned.source, planned.files, found))


def sha1(block: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(block).digest()).decode()


def record(block: bytes, kind: str = "response", at: int = 0, length: int | None = None, **headers: str) -> bytes:
    """One WARC record, its two empty lines included."""
    told = {
        "WARC-Type": kind,
        "WARC-Record-ID": f"<urn:uuid:{at:08d}>",
        "WARC-Date": "2024-05-01T12:00:00Z",
        "WARC-Target-URI": f"https://site.example/{at}",
        "WARC-Block-Digest": sha1(block),
        "Content-Type": "application/http; msgtype=response" if kind == "response" else "text/plain",
        **{name.replace("_", "-"): value for name, value in headers.items()},
        "Content-Length": str(len(block) if length is None else length),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items() if value)
    return f"WARC/1.0\r\n{lines}\r\n".encode() + block + b"\r\n\r\n"


def http(body: bytes, content_type: str = "text/html; charset=utf-8", status: str = "200 OK", **headers: str) -> bytes:
    """An HTTP response."""
    told = {"Content-Type": content_type, **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items() if value)
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


def page(text: str, title: str = "A title", charset: str = "utf-8") -> bytes:
    """A page whose main content is a text, with navigation around it."""
    paragraphs = "".join(f"<p>{part}</p>" for part in text.split("\n\n"))
    html = (
        f"<html><head><title>{title}</title></head><body><nav><ul><li><a href='/'>Home</a></li></ul></nav>"
        f"<main><article>{paragraphs}</article></main><footer>Imprint</footer></body></html>"
    )
    return html.encode(charset)


def archived(records: Iterable[bytes], container: str) -> bytes:
    """Records as a container stores them."""
    import zstandard

    found = list(records)
    if container == "warc.gz":
        return b"".join(gzip.compress(one, 6, mtime=0) for one in found)
    if container == "warc.stream.gz":
        return gzip.compress(b"".join(found), 6, mtime=0)
    if container == "warc.zst":
        return b"".join(zstandard.ZstdCompressor(1, write_checksum=True).compress(one) for one in found)
    return b"".join(found)
