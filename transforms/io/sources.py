"""Finding source files: URIs, globs and directories over fsspec, and a cheap fingerprint of each.

A fingerprint is read from a file's size, head and tail (which holds a Parquet footer), so that ten
thousand files are planned in seconds; the SHA-256 of the whole file is taken later, while reading.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final, Protocol

import fsspec
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from schemas.provenance import Container, Split
from transforms.io import warc

PROBE_BYTES = 64 * 1024
_GZIP = b"\x1f\x8b"
_ROWS = b"\x16"  # how Thrift announces a footer's third field, the number of rows
_MOST_SCHEMAS = 100

SUFFIXES: dict[str, Container] = {
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".jsonl.gz": "jsonl.gz",
    ".ndjson.gz": "jsonl.gz",
    ".json.gz": "jsonl.gz",
    ".jsonl.zst": "jsonl.zst",
    ".ndjson.zst": "jsonl.zst",
    ".json.zst": "jsonl.zst",
    ".txt": "text",
    ".txt.gz": "text.gz",
    ".txt.zst": "text.zst",
    ".warc": "warc",
    ".wet": "warc",
    ".warc.gz": "warc.gz",
    ".wet.gz": "warc.gz",
    ".warc.zst": "warc.zst",
    ".wet.zst": "warc.zst",
}

ROWS: Final[frozenset[Container]] = frozenset({"parquet", "jsonl", "jsonl.gz", "jsonl.zst"})
"""Containers of rows that have named fields."""

PLAIN: Final[frozenset[Container]] = frozenset({"jsonl", "text", "warc"})
"""Containers that are cut by bytes as stored, and opened anywhere."""

STREAMS: Final[frozenset[Container]] = frozenset(
    {"jsonl.gz", "jsonl.zst", "text.gz", "text.zst", "warc.stream.gz", "warc.zst"}
)
"""Compressed streams, which are read from their beginning and tell their size at their end."""

_TOKENS = re.compile(rb'[{}\[\]]|"(?P<key>(?:[^"\\]|\\.)*+)"\s*+:|"(?:[^"\\]|\\.)*+"?', re.DOTALL)
"""What tells the keys of a JSON text that is cut off: brackets, keys, other strings."""


class SourceError(Exception):
    """A source cannot be read: the message says what was expected, what came, and where."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file that matched a source's URIs."""

    fs: fsspec.AbstractFileSystem
    path: str
    uri: str
    relative_uri: str
    size: int | None
    stamp: str


@dataclass(frozen=True, slots=True)
class Probe:
    """What a look at a file's head and tail tells.

    ``fields`` are the column names of a Parquet file or the keys of the first JSON objects; ``empty`` says that
    there is no text; ``footer`` is the Parquet metadata; ``ratio`` estimates decompressed bytes per stored byte.
    """

    container: Container
    size: int
    fingerprint: str
    fields: frozenset[str]
    empty: bool = False
    footer: pq.FileMetaData | None = None
    ratio: float = 1.0


@dataclass(frozen=True, slots=True)
class Recognised:
    """How a file is to be read.

    ``format`` names it in plans and manifests, ``reader`` is all of the format that decides what rows become, and
    ``whole`` says that the file cannot be cut.
    """

    format: str
    reader: tuple[str, ...]
    whole: bool = False


class Source(Protocol):
    """How files of the configured sources are read, as conversations or as documents; a source is known by its index."""

    @property
    def version(self) -> int:
        """Raised whenever the same bytes give other rows; part of the plan."""

    @property
    def containers(self) -> frozenset[Container]:
        """What directories are searched for."""

    @property
    def options(self) -> tuple[Mapping[str, Any], ...]:
        """What fsspec is given to open the files of each source."""

    def recognised(self, source: int, probe: Probe) -> Recognised:
        """The format forced in the config, or the one that the file's fields give away.

        Raises:
            SourceError: no format fits; the message tells what would and what was found, and lacks the file's name.
        """

    def first_rows(self, split: Split, limit: int) -> tuple[int, int | None]:
        """How many of the first ``limit`` rows of a split there are, and where a split of them alone stops."""


def find(
    uris: Iterable[str], root: str | None, options: Mapping[str, Any], containers: Collection[Container] = ROWS
) -> list[Found]:
    """List the files behind URIs, globs and directories, sorted by relative URI.

    ``relative_uri`` is relative to ``root``; without one, to the directory that a file stands in or to
    the last directory before a glob's first wildcard. Directories are searched recursively for files whose
    suffix (``SUFFIXES``) is that of one of the ``containers``; files named outright may have any suffix.

    Raises:
        SourceError: nothing matches, or a file lies outside ``root``.
    """
    found: dict[str, Found] = {}
    for uri in uris:
        try:
            fs, path = fsspec.core.url_to_fs(uri, **options)
            base = fsspec.core.url_to_fs(root, **options)[1] if root else None
            infos, start = _list(fs, path, containers)
        except Exception as error:  # every filesystem has exceptions of its own
            raise SourceError(f"{uri}: cannot be listed: {_line(error)}") from error
        if not infos:
            raise SourceError(f"{uri}: expected at least one file, found none; check the path or glob")
        start = (base if base is not None else start).rstrip("/")
        for name, info in infos.items():
            if start and not name.startswith(start + "/"):
                raise SourceError(f"{name}: expected a file under the source's root {start}")
            relative = _without_query(fs, name)
            relative = relative[len(start) :].lstrip("/") if start else relative
            found[name] = Found(fs, name, fs.unstrip_protocol(name), relative, info.get("size"), _stamp(info))
    return sorted(found.values(), key=lambda file: file.relative_uri)


def _list(
    fs: fsspec.AbstractFileSystem, path: str, containers: Collection[Container]
) -> tuple[dict[str, dict[str, Any]], str]:
    if isinstance(fs, LocalFileSystem) and os.path.isfile(path):
        return {path: fs.info(path)}, str(PurePosixPath(path).parent)
    marks = "*[" if _is_http(fs) else "*?["
    if any(mark in path for mark in marks):
        stem = path[: min(path.find(mark) for mark in marks if mark in path)]
        infos = fs.glob(path, detail=True)
        return {n: i for n, i in infos.items() if i["type"] == "file"}, stem.rpartition("/")[0]
    is_file = _is_http(fs) and container_of(_without_query(fs, path))  # where telling a directory is a download
    if not is_file and fs.isdir(path):
        infos = fs.find(path, detail=True)
        return {n: i for n, i in infos.items() if container_of(n) in containers}, path
    return {path: fs.info(path)}, _without_query(fs, path).rstrip("/").rpartition("/")[0]


def _is_http(fs: fsspec.AbstractFileSystem) -> bool:
    return "http" in fs.protocol


def _without_query(fs: fsspec.AbstractFileSystem, path: str) -> str:
    return path.partition("?")[0] if _is_http(fs) else path


def container_of(name: str) -> Container | None:
    """The container a file name promises, or None."""
    lower = name.lower()
    return next((kind for suffix, kind in SUFFIXES.items() if lower.endswith(suffix)), None)


def probe(file: Found, small: int = 0, containers: Collection[Container] = ROWS) -> Probe:
    """Read a file's head and tail. A name that promises none of the ``containers`` is ignored for the first bytes.

    Parsing ten thousand wide footers takes longer than all the rest of planning. A Parquet file of at most ``small``
    bytes is one split whatever its row groups are, and its footer is parsed only if its schema is a new one.

    Raises:
        SourceError: the file cannot be opened, or its Parquet footer or compressed stream cannot be read.
    """
    try:
        size, head, tail = _ends(file)
    except Exception as error:
        raise SourceError(f"{file.uri}: cannot be opened: {_line(error)}") from error
    mark = fingerprint(size, head, tail)
    container = container_of(_without_query(file.fs, file.path))
    if container not in containers or container is None:
        container = _sniff(head, containers)
    if container == "warc.gz" and warc.several_in_first_member(head):
        container = "warc.stream.gz"
    if container != "parquet":
        text, damage = _decompressed(head, container)
        if damage and not text and size > len(head):  # a block of zstd may be longer than the head
            head = _start(file, 4 * PROBE_BYTES)
            text, damage = _decompressed(head, container)
        by_member = container == "warc.gz" and head.startswith(_GZIP)  # whose members are read one by one
        if damage and size <= len(head) and not by_member:
            raise SourceError(f"{file.uri}: expected a {codec_of(container)} stream: {_line(damage)}")
        ratio = 1.0 if container in PLAIN else max(1.0, len(text) / max(1, min(size, len(head))))
        empty = size <= len(head) and not text.strip()
        fields = _first_keys(text) if container in ROWS else frozenset[str]()
        return Probe(container, size, mark, fields, empty, ratio=ratio)
    if size == 0:
        raise SourceError(f"{file.uri}: expected a Parquet file, found an empty file")
    tail = _with_footer(file, size, tail)
    stored = tail[-8 - int.from_bytes(tail[-8:-4], "little") : -8] if tail.endswith(b"PAR1") else b""
    if size <= small and (known := _known_names(stored)) is not None:
        return Probe(container, size, mark, known)
    try:
        footer = pq.read_metadata(pa.BufferReader(tail))
        names = frozenset(footer.schema.to_arrow_schema().names)
        _remember(stored, footer, names)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{file.uri}: expected a Parquet footer: {_line(error)}") from error
    return Probe(container, size, mark, names, footer=None if size <= small else footer)


_schemas: dict[bytes, frozenset[str]] = {}
"""Column names by the bytes that a Parquet footer begins with, its version and schema, of files parsed before."""


def _known_names(footer: bytes) -> frozenset[str] | None:
    """The column names of a footer whose schema was met before. Names are searched nowhere else, as a footer quotes values too."""
    found = (names for start, names in list(_schemas.items()) if footer.startswith(start + _ROWS))
    return next(found, None)


def _remember(footer: bytes, parsed: pq.FileMetaData, names: frozenset[str]) -> None:
    """Note a footer's schema: it ends behind its last name, where the number of rows stands in Thrift's spelling."""
    number, digits = parsed.num_rows << 1, bytearray(_ROWS)
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    digits.append(number)
    leaves = (parsed.schema.column(at).name.encode() for at in range(parsed.num_columns))
    end = footer.find(bytes(digits), max((footer.find(name) + len(name) for name in leaves), default=0))
    if end > 0 and len(_schemas) < _MOST_SCHEMAS:
        _schemas[footer[:end]] = names


def probe_all(
    files: list[Found], small: int = 0, containers: Collection[Container] = ROWS
) -> list[Probe | SourceError]:
    """Probe many files at once, in order; a file that cannot be read gives its error."""

    def attempt(file: Found) -> Probe | SourceError:
        try:
            return probe(file, small, containers)
        except SourceError as error:
            return error

    local = all(isinstance(file.fs, LocalFileSystem) for file in files)
    with ThreadPoolExecutor(2 if local else 16) as pool:
        return list(pool.map(attempt, files, chunksize=64))


def fingerprint(size: int, head: bytes, tail: bytes) -> str:
    """Identify content by its size, first and last bytes."""
    return hashlib.sha256(b"%d\0" % size + head + b"\0" + tail).hexdigest()[:32]


def current(uri: str, options: Mapping[str, Any]) -> tuple[str, str]:
    """Fingerprint of a file as it is now, and its stamp where listings give the same one; else an empty one."""
    fs, path = fsspec.core.url_to_fs(uri, **options)
    fs.invalidate_cache(path)
    info = fs.info(path)
    sure = isinstance(fs, LocalFileSystem) or info.get("ETag")
    return fingerprint(*_ends(Found(fs, path, uri, path, info.get("size"), ""))), _stamp(info) if sure else ""


def _stamp(info: Mapping[str, Any]) -> str:
    return next((str(info[k]) for k in ("ETag", "mtime", "LastModified", "created") if info.get(k)), "")


def _ends(file: Found) -> tuple[int, bytes, bytes]:
    if isinstance(file.fs, LocalFileSystem):
        with open(file.path, "rb", buffering=0) as stream:
            size = os.fstat(stream.fileno()).st_size
            head = stream.read(PROBE_BYTES)
            stream.seek(max(0, size - PROBE_BYTES))
            return size, head, stream.read(PROBE_BYTES)
    if file.size is None or file.size <= 2 * PROBE_BYTES:
        data = file.fs.cat_file(file.path)
        return len(data), data[:PROBE_BYTES], data[-PROBE_BYTES:]
    head = file.fs.cat_file(file.path, start=0, end=PROBE_BYTES)
    tail = file.fs.cat_file(file.path, start=file.size - PROBE_BYTES, end=file.size)
    return file.size, head[:PROBE_BYTES], tail[-PROBE_BYTES:]  # a server may give the whole file instead


def _with_footer(file: Found, size: int, tail: bytes) -> bytes:
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if length <= len(tail) or length > size:
        return tail
    return bytes(file.fs.cat_file(file.path, start=size - length, end=size))


def _sniff(head: bytes, containers: Collection[Container]) -> Container:
    if head.startswith(b"PAR1"):
        return "parquet"
    codecs: dict[bytes, tuple[Container, Container, Container]] = {
        _GZIP: ("jsonl.gz", "text.gz", "warc.gz"),
        b"\x28\xb5\x2f\xfd": ("jsonl.zst", "text.zst", "warc.zst"),
        b"": ("jsonl", "text", "warc"),
    }
    jsonl, text, archive = next(kinds for magic, kinds in codecs.items() if head.startswith(magic))
    start = _decompressed(head, jsonl)[0].lstrip()
    if archive in containers and start.startswith(b"WARC/"):
        return archive
    return text if text in containers and not start.startswith(b"{") else jsonl


def _start(file: Found, size: int) -> bytes:
    with file.fs.open(file.path, "rb") as stream:
        return bytes(stream.read(size))


def _decompressed(head: bytes, container: Container) -> tuple[bytes, OSError | None]:
    """What a head decompresses to, up to 64 times its size, and what ended it but the end of a stream."""
    if container in PLAIN or not head:
        return head, None
    text = bytearray()
    with pa.CompressedInputStream(pa.BufferReader(head), codec_of(container)) as stream:
        try:
            while len(text) < 64 * len(head):
                block = stream.read(4096)
                if not block:
                    break
                text += block
        except OSError as error:
            return bytes(text), error
    return bytes(text), None


def codec_of(container: Container) -> str:
    """Arrow's name of a container's compression."""
    return {"gz": "gzip", "zst": "zstd"}[container.rpartition(".")[2]]


def _first_keys(text: bytes) -> frozenset[str]:
    """Keys of the first lines that are JSON objects; a first line longer than the head is searched for its own."""
    keys: set[str] = set()
    for line in text.split(b"\n")[:50]:
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(value, dict):
            keys.update(value)
    if keys:
        return frozenset(keys)
    depth = 0
    for token in _TOKENS.finditer(text):
        depth = max(0, depth + {b"{": 1, b"[": 1, b"}": -1, b"]": -1}.get(token[0], 0))
        if token["key"] is not None and depth == 1:
            keys.add(token["key"].decode("utf-8", "replace"))
        if keys and depth == 0:
            break
    return frozenset(keys)


def _line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
