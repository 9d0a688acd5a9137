"""Segments: the journal's files, whole and checked, in the one order in which they were committed.

``00000012.parquet`` is the segment that was committed as the thirteenth; ``00000000-00000063.parquet`` holds those of a range,
merged. Names that begin with a dot are attempts.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
import threading
import uuid
from binascii import unhexlify
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.answers import JOURNAL
from transforms.io import files
from transforms.models import journal_index
from transforms.models.journal_index import Index, Keys, Ranks

GROUP_ROWS: Final = 1024
"""Rows of a row group: what is decoded for the sake of one answer."""

GROUP_BYTES: Final = 32 << 20
"""Bytes of text after which a row group ends sooner."""

_INDEXED_AT_ONCE: Final = 1 << 20
_GROUPS_AT_ONCE: Final = 64
_REMEMBERED_BYTES: Final = 32 << 20
_OPEN_FILES: Final = 64
_NAME: Final = re.compile(r"(\d{8})(?:-(\d{8}))?\.parquet")
_REPEATED: Final = ["identity", "template", "finish_reason", "failure"]


class JournalError(Exception):
    """The journal holds something that is no segment, or cannot be used any more; the message says what to do."""


class Segment(NamedTuple):
    """The numbers that a segment holds: its own alone, or a range."""

    first: int
    last: int

    @property
    def name(self) -> str:
        """Its file's name."""
        return f"{self.first:08}.parquet" if self.first == self.last else f"{self.first:08}-{self.last:08}.parquet"


def numbered(number: int) -> Segment:
    """The segment of one number."""
    return Segment(number, number)


def listed(folder: Path) -> tuple[list[Segment], list[Segment]]:
    """Segments in order, and those that a merged one has replaced.

    Raises:
        JournalError: a file has a name that no segment has.
    """
    found = _named_in(folder)
    highest = max((segment.last for segment in found), default=-1)
    while (again := {segment for segment in _named_in(folder) if segment.last <= highest}) != found:
        found = again  # a scan may miss what is committed while it lasts, though not the numbers below it, again
    live: list[Segment] = []
    replaced: list[Segment] = []
    for segment in sorted(found, key=lambda one: (one.first, -one.last)):
        if not live or segment.first > live[-1].last:
            live.append(segment)
        elif segment.last <= live[-1].last:
            replaced.append(segment)
        else:
            raise JournalError(
                f"{folder / segment.name}: overlaps {live[-1].name}; delete it: its answers are asked for again"
            )
    return live, replaced


def _named_in(folder: Path) -> set[Segment]:
    found = set()
    for name in files.names(folder):
        if name.endswith(".parquet"):
            match = _NAME.fullmatch(name)
            if match is None or int(match[1]) > int(match[2] or match[1]):
                raise JournalError(f"{folder / name}: is no segment of the journal; move it elsewhere")
            found.add(Segment(int(match[1]), int(match[2] or match[1])))
    return found


@contextmanager
def attempted(folder: Path, tables: Iterable[pa.Table]) -> Iterator[Path]:
    """Write row groups to a file of a passing name, and have them on the disk.

    Raises:
        OSError: they cannot be written; it names the folder.
    """
    near = Path(tempfile.gettempdir()) if files.on_store(folder) else folder
    _create(near)
    path = near / f".segment.{os.getpid()}-{uuid.uuid4().hex[:8]}"  # as transforms.io.files.sweep knows it
    try:
        with path.open("xb") as stream:
            with pq.ParquetWriter(
                stream,
                JOURNAL,
                compression="zstd",
                use_dictionary=_REPEATED,
                write_statistics=False,
                write_page_checksum=True,
            ) as writer:
                for table in tables:
                    writer.write_table(table, row_group_size=GROUP_ROWS)
            stream.flush()
            os.fsync(stream.fileno())
        yield path
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}:
            raise OSError(error.errno, os.strerror(error.errno), str(folder)) from error
        raise
    finally:
        path.unlink(missing_ok=True)


def claim(attempt: Path, folder: Path, segment: Segment) -> bool:
    """Commit an attempt as this segment, durably, unless there is one already."""
    if files.on_store(folder):
        return files.upload(attempt, folder / segment.name)
    try:
        os.link(attempt, folder / segment.name)
    except FileExistsError:
        return False
    synchronise(folder)
    return True


def synchronise(folder: Path) -> None:
    """Have a folder's names on the disk; a store has them already."""
    if files.on_store(folder):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _create(folder: Path) -> None:
    """Make a folder that outlives a loss of power."""
    if not folder.exists():
        _create(folder.parent)
        folder.mkdir(exist_ok=True)
        synchronise(folder.parent)


def opened(path: Path) -> pq.ParquetFile:
    """Open a segment; its pages are checked as they are read.

    Raises:
        JournalError: it is none, or not a whole one.
        FileNotFoundError: it is gone.
    """
    with _named(path):
        file = files.parquet(path, page_checksum_verification=True, pre_buffer=False)
        if not file.schema_arrow.equals(JOURNAL, check_metadata=True):
            raise pa.ArrowInvalid("its columns are others")
        return file


def read(path: Path, file: pq.ParquetFile, groups: list[int], columns: list[str]) -> pa.Table:
    """Read columns of some row groups.

    Raises:
        JournalError: a page is damaged.
    """
    with _named(path):
        return file.read_row_groups(groups, columns=columns, use_threads=False)


def entries(folder: Path, segment: Segment, columns: Sequence[str] = ()) -> Iterator[tuple[Keys, Ranks, pa.Table]]:
    """A segment's keys, ranks and more columns, some row groups at a time.

    Raises:
        JournalError, FileNotFoundError: as ``opened`` and ``read``.
    """
    path, rows = folder / segment.name, 0
    with opened(path) as file:
        groups = list(range(file.num_row_groups))
        for at in range(0, len(groups), _GROUPS_AT_ONCE):
            table = read(path, file, groups[at : at + _GROUPS_AT_ONCE], ["key", "failure", *columns])
            with _named(path):
                digits = table["key"].cast(pa.binary()).cast(pa.binary(32)).combine_chunks()
                keys = np.frombuffer(unhexlify(digits.buffers()[1]), "S16")
            yield keys, journal_index.ranks(segment.first, table["failure"].is_valid().to_numpy(), rows), table
            rows += len(table)


def indexed(folder: Path) -> tuple[Index, list[Segment]]:
    """What counts in a folder's segments, and they in order.

    Raises:
        JournalError: as ``listed`` and ``opened``.
    """
    live, _ = listed(folder)
    index = Index()
    keys, ranks = [np.empty(0, "S16")], [np.empty(0, np.uint64)]
    try:
        for segment in live:
            for some, of, _ in entries(folder, segment):
                keys.append(some)
                ranks.append(of)
            if segment is live[-1] or sum(map(len, keys)) >= _INDEXED_AT_ONCE:
                index.add(np.concatenate(keys), np.concatenate(ranks))
                del keys[1:], ranks[1:]
    except FileNotFoundError:  # merged meanwhile
        return indexed(folder)
    if live:
        synchronise(folder)
    return index, live


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say which segment is damaged, and what to do."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError) or (isinstance(error, OSError) and error.errno is not None):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise JournalError(
            f"{path}: is no whole segment of the journal ({reason}); delete it and run the same command again: its answers "
            "are asked for again"
        ) from error


class Reader:
    """Rows of a folder's segments. Row groups that were read lately are remembered, some megabytes of them. Thread-safe."""

    def __init__(self, folder: Path, columns: list[str]) -> None:
        self.folder, self.columns = folder, columns
        self._lock = threading.Lock()
        self._files: OrderedDict[Segment, tuple[pq.ParquetFile, npt.NDArray[np.int64]]] = OrderedDict()
        self._groups: OrderedDict[tuple[Segment, int], pa.Table] = OrderedDict()
        self._bytes = 0

    def rows(self, segment: Segment, wanted: npt.NDArray[np.int64]) -> pa.Table:
        """The rows of a segment, which are given in ascending order.

        Raises:
            JournalError, FileNotFoundError: as ``opened``.
        """
        with self._lock:
            file, starts = self._open(segment)
            groups = np.searchsorted(starts, wanted, side="right") - 1
            return pa.concat_tables(
                self._group(segment, file, int(group)).take(wanted[groups == group] - starts[group])
                for group in np.unique(groups)
            )

    def close(self) -> None:
        """Let go of files and memory."""
        with self._lock:
            for file, _ in self._files.values():
                file.close()
            self._files.clear()
            self._groups.clear()
            self._bytes = 0

    def _open(self, segment: Segment) -> tuple[pq.ParquetFile, npt.NDArray[np.int64]]:
        if segment not in self._files:
            file = opened(self.folder / segment.name)
            lengths = [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)]
            self._files[segment] = file, np.cumsum([0, *lengths[:-1]])
            if len(self._files) > _OPEN_FILES:
                self._files.popitem(last=False)[1][0].close()
        self._files.move_to_end(segment)
        return self._files[segment]

    def _group(self, segment: Segment, file: pq.ParquetFile, group: int) -> pa.Table:
        place = (segment, group)
        if place not in self._groups:
            table = read(self.folder / segment.name, file, [group], self.columns)
            self._groups[place] = table
            self._bytes += table.nbytes
            while self._bytes > _REMEMBERED_BYTES and len(self._groups) > 1:
                self._bytes -= self._groups.popitem(last=False)[1].nbytes
        self._groups.move_to_end(place)
        return self._groups[place]
