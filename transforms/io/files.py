"""Committing files, on disks and on object stores (S3, Google Cloud Storage, whatever fsspec has a filesystem for).

On a disk a file is written under a name unique to the attempt, then renamed in one step. On a store an object appears whole or
not at all, so it is written to a local file and uploaded to its final name: nothing is ever renamed there. Who has to be the
only one to take a name uses ``create``. Paths on stores are ``UPath``s, which do what ``Path``s do.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar, cast
from urllib.parse import urlsplit

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_ATTEMPT: Final = re.compile(r"\..+\.\d+-[0-9a-f]{8}")

_BLOCK: Final = 8 * 1024 * 1024
"""Bytes of an object that are read ahead at a place."""

_CONFLICTS: Final = 5
"""Times that a conditional upload is tried while another to the same name is under way."""


_T = TypeVar("_T")
_R = TypeVar("_R")

_THREADS: Final = 64
"""Requests to a store that wait side by side."""

_SIDE_BY_SIDE: Final = 1_000
"""Small objects that are asked for at once; the filesystem limits how many requests are under way."""


def located(place: str) -> Path:
    """The path that a place names: on a disk, or on the store of a URI such as ``s3://bucket/folder``.

    Credentials are found where the store's own package looks for them: environment, profiles, fsspec's configuration.

    Raises:
        ValueError: fsspec knows no such scheme, or the URI holds credentials.
        ImportError: the package for the store is missing; the message names it.
    """
    if "://" not in place:
        return Path(place)
    parts = urlsplit(place)
    if parts.scheme == "file":
        return Path(parts.path)
    if "@" in parts.netloc:
        raise ValueError(f"{parts.scheme}://: expected a URI without credentials; give them in the environment")
    from upath import UPath

    path = UPath(place.rstrip("/"), use_listings_cache=False)
    _ = path.fs  # imports the store's package
    return cast(Path, path)


def on_store(path: Path) -> bool:
    """Whether a path is on an object store."""
    return not isinstance(path, Path)


@contextmanager
def committed(path: Path) -> Iterator[Path]:
    """Give a local path to write to, and make it the file at ``path`` if the block succeeds.

    Raises:
        OSError: there is no room; the message names the file.
    """
    if on_store(path):
        with staged(path.parent) as folder:
            yield folder / path.name
        return
    with _attempt(path) as attempt:
        yield attempt
        os.replace(attempt, path)


@contextmanager
def _attempt(path: Path) -> Iterator[Path]:
    """A passing name beside a file on a disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    attempt = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        yield attempt
    except OSError as error:
        if error.errno in _FULL:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise
    finally:
        attempt.unlink(missing_ok=True)


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Give a local folder to write to: ``folder`` itself, or one whose files are uploaded there if the block succeeds.

    An object that is there with the same bytes stays as it is.
    """
    if not on_store(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="sluice-") as name:
        yield Path(name)
        for file in sorted(Path(name).iterdir()):
            if not upload(file, folder / file.name):
                store, key = _object(folder / file.name)
                store.put_file(str(file), key)


@contextmanager
def fetched(path: Path) -> Iterator[Path]:
    """A file where it can be read again and again: itself, or a local copy of an object for the time of the block.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if not on_store(path):
        yield path
        return
    store, key = _object(path)
    with tempfile.TemporaryDirectory(prefix="sluice-") as name:
        copy = Path(name, path.name)
        store.get_file(key, str(copy))
        yield copy


def write_bytes(path: Path, data: bytes) -> None:
    """Commit a small file, in place of any that is there."""
    if on_store(path):
        store, key = _object(path)
        store.pipe_file(key, data)
        return
    with committed(path) as attempt:
        attempt.write_bytes(data)


def create(path: Path, data: bytes) -> bool:
    """Commit a small file unless there is one: whether ``data`` is what is there now.

    Of processes that create a file with bytes of their own at the same time, exactly one succeeds.
    """
    if on_store(path):
        store, key = _object(path)
        return _created(path, lambda: store.pipe_file(key, data, mode="create")) or _holds(path, data)
    with _attempt(path) as attempt:
        attempt.write_bytes(data)
        try:
            os.link(attempt, path)
        except FileExistsError:
            return _holds(path, data)
        return True


def expect_conditional(folder: Path) -> None:
    """Check that a store refuses to create what is there, without which two runs could both think that they are the first.

    Raises:
        OSError: it overwrites, or a folder of it cannot be written to.
    """
    probe = folder / f".probe-{uuid.uuid4().hex}"
    try:
        if not create(probe, b"first") or create(probe, b"second"):
            raise OSError("it does not heed If-None-Match: a run could overwrite what another has committed")
    finally:
        probe.unlink(missing_ok=True)


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except FileNotFoundError:
        return False


def upload(file: Path, path: Path) -> bool:
    """Make an object of a local file unless there is one: whether its bytes are what is there now."""
    store, key = _object(path)
    return _created(path, lambda: store.put_file(str(file), key, mode="create")) or sha256(path) == sha256(file)


def _created(path: Path, put: Callable[[], object]) -> bool:
    """Whether a conditional upload made the object. Not to be told so is no proof: the answer may have been lost."""
    for again in range(_CONFLICTS):
        try:
            put()
            return True
        except (FileNotFoundError, PermissionError):
            raise
        except FileExistsError:
            return False
        except OSError:  # 409 of S3: another upload to this name is under way
            if path.exists():
                return False
            if again == _CONFLICTS - 1:
                raise
            time.sleep(0.2)
    return False


def _object(path: Path) -> tuple[Any, str]:
    """The filesystem of a path on a store, and the object's name there."""
    there: Any = path
    return there.fs, there.path


def link(source: Path, target: Path) -> None:
    """Give a file a second name: a hard link, or a copy where there is none; a store copies for itself."""
    if on_store(target):
        store, key = _object(target)
        store.cp_file(_object(source)[1], key)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def names(folder: Path) -> set[str]:
    """Names in a folder, save those that begin with a dot; none where there is no folder."""
    try:
        found = _listed(folder) if on_store(folder) else [entry.name for entry in os.scandir(folder)]
    except FileNotFoundError:
        return set()
    return {name for name in found if not name.startswith(".")}


def _listed(folder: Path) -> list[str]:
    store, key = _object(folder)
    return [path.rstrip("/").rpartition("/")[2] for path in store.ls(key, detail=False) if path.rstrip("/") != key]


def stamps(folder: Path, firsts: str) -> Iterator[tuple[str, str]]:
    """Names in a folder, each with what changes when its file does: time and size, or the store's ETag.

    A store lists a thousand names a request. It is asked side by side for those that begin with each character of
    ``firsts``; other names are not found there.
    """
    if not on_store(folder):
        if folder.exists():
            for entry in os.scandir(folder):
                if not entry.name.startswith("."):
                    facts = entry.stat()
                    yield entry.name, f"{facts.st_mtime_ns} {facts.st_size}"
        return
    store, key = _object(folder)

    def begun(first: str) -> list[tuple[str, str]]:
        found = store.find(key, prefix=first, detail=True)
        named = ((path.rpartition("/")[2], info) for path, info in found.items())
        return [(name, _stamp(info)) for name, info in named if name.startswith(first)]

    for found in each(folder, begun, firsts):
        yield from found


def _stamp(info: dict[str, Any]) -> str:
    return next((str(info[fact]) for fact in ("ETag", "etag", "LastModified", "created") if fact in info), "")


def each(place: Path, do: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[_R]:
    """Do something to each of many files, in order: one after another on a disk, side by side on a store."""
    if not on_store(place):
        yield from map(do, items)
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        yield from pool.map(do, items)


def contents(folder: Path, names: Sequence[str]) -> Iterator[bytes]:
    """The bytes of many small files of a folder, in order; a store is asked for a thousand side by side."""
    if not on_store(folder):
        yield from ((folder / name).read_bytes() for name in names)
        return
    store, key = _object(folder)
    for at in range(0, len(names), _SIDE_BY_SIDE):
        paths = [f"{key}/{name}" for name in names[at : at + _SIDE_BY_SIDE]]
        found = store.cat(paths)
        yield from (found[path] for path in paths)


def remove(folder: Path) -> None:
    """Remove a folder and all in it, where there is one."""
    if not on_store(folder):
        shutil.rmtree(folder, ignore_errors=True)
        return
    store, key = _object(folder)
    if held := store.find(key):
        store.rm(held)


def write_arrow(path: Path, table: pa.Table) -> None:
    """Commit a table as an Arrow IPC file, LZ4-compressed."""
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with committed(path) as attempt, pa.ipc.new_file(str(attempt), table.schema, options=options) as writer:
        writer.write_table(table)


def read_arrow(path: Path) -> pa.Table:
    """Read an Arrow IPC file whole."""
    with pa.BufferReader(path.read_bytes()) if on_store(path) else pa.OSFile(str(path), "rb") as source:
        return pa.ipc.open_file(source).read_all()


def parquet(path: Path, **settings: Any) -> pq.ParquetFile:
    """Open a Parquet file, to be read in parts."""
    return pq.ParquetFile(_stream(path) if on_store(path) else path, **settings)


def scan_parquet(paths: Sequence[Path]) -> pl.LazyFrame:
    """The rows of Parquet files, of which only what is asked for is read; at least one file."""
    if not on_store(paths[0]):
        return pl.scan_parquet(list(paths), glob=False, missing_columns="insert", extra_columns="ignore")
    from pyarrow import dataset

    store, _ = _object(paths[0])
    return pl.scan_pyarrow_dataset(dataset.dataset([_object(path)[1] for path in paths], filesystem=store))


def _stream(path: Path) -> Any:
    store, key = _object(path)
    return store.open(key, "rb", block_size=_BLOCK)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with _stream(path) if on_store(path) else path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sweep(folder: Path) -> None:
    """Remove what killed processes were writing below a folder on a disk; nobody else may be writing there."""
    if on_store(folder):
        return
    for parent, _, found in os.walk(folder):
        for name in found:
            if _ATTEMPT.fullmatch(name):
                Path(parent, name).unlink(missing_ok=True)
