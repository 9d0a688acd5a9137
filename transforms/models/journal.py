"""The journal: every answer a model gave, stored before it is used.

A folder of segments, whole Parquet objects in schema ``JOURNAL``, numbered in the one order in which they were committed, by
any number of processes at once. Of a key's entries the first success counts, in the order of segments and rows; where there is
none, the last failure. Whoever commits a segment has seen all before it, so that everybody agrees on what counts.

Lone surrogates, which UTF-8 cannot hold, are kept as U+FFFD.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from schemas.answers import JOURNAL, Answer, Request
from transforms.models import journal_index, journal_segments
from transforms.models.journal_index import UNKNOWN, Keys, Ranks
from transforms.models.journal_merging import merge
from transforms.models.journal_segments import GROUP_BYTES, JournalError, Reader, Segment, numbered
from transforms.models.journal_summary import Summary, Usage, summary

__all__ = ["Journal", "JournalError", "Summary", "Usage", "merge", "summary"]


AT_ONCE: Final = 16
"""Answers that are given out before other threads get their turn: one that receives answers must not wait for a segment's."""


class _Added(NamedTuple):
    """An answer that waits for its segment; ``answered_at`` in microseconds since 1970."""

    key: str
    identity: str
    request: Request
    answer: Answer
    answered_at: int
    future: Future[Answer]


class Journal:
    """A folder of answers, to look up and to add to. Thread-safe; any number of processes may have it open.

    A segment is closed when ``rows`` answers wait, 32 MiB of them, or the oldest has waited ``seconds``.

    Raises:
        JournalError: a segment in the folder is damaged or none; the message says what to do.
    """

    def __init__(self, folder: Path, seconds: float = 1.0, rows: int = 1000) -> None:
        self.folder, self.seconds, self.rows = folder, seconds, rows
        self._lock = threading.Lock()
        self._reader = Reader(folder, ["key", *Answer._fields])
        self._load()
        self._change = threading.Condition()
        self._waiting: list[_Added] = []
        self._bytes = 0
        self._oldest = 0.0
        self._closing = False
        self._error: Exception | None = None
        self._writer: threading.Thread | None = None

    def find(self, keys: Sequence[str], failures: bool = True) -> dict[str, Answer]:
        """The answers that count, of those in segments that anybody has closed until now; without ``failures``, only answers.

        Raises:
            JournalError: a segment is damaged; the message says what to do.
            ValueError: a key is not of 32 hexadecimal digits.
        """
        wanted = list(dict.fromkeys(keys))
        held = journal_index.packed(wanted)
        try:
            with self._lock:
                self._refresh()
                found = self._look_up(held)
            return self._read(wanted, found, failures)
        except FileNotFoundError:  # merged meanwhile
            with self._lock:
                self._load()
                found = self._look_up(held)
            return self._read(wanted, found, failures)

    def add(self, key: str, identity: str, request: Request, answer: Answer) -> Future[Answer]:
        """Store an answer. The future gives the answer that counts for the key, once the segment that holds it is durable.

        What is called when it is done runs on the writer's thread. The future raises ``OSError`` where the segment cannot be
        written, and so do all later ones.

        Raises:
            JournalError: the journal is closed.
            ValueError: the key is not of 32 hexadecimal digits.
        """
        journal_index.packed([key])
        future: Future[Answer] = Future()
        future.set_running_or_notify_cancel()
        with self._change:
            if self._closing:
                raise JournalError(f"{self.folder}: the journal is closed")
            if self._error is not None:
                future.set_exception(self._error)
                return future
            if not self._waiting:
                self._oldest = time.monotonic()
                self._change.notify()
            self._waiting.append(_Added(key, identity, request, answer, time.time_ns() // 1000, future))
            self._bytes += len(answer.text) + len(answer.reasoning or "") + len(answer.detail or "")
            if self._writer is None:
                self._writer = threading.Thread(target=self._write, name="journal", daemon=True)
                self._writer.start()
            elif self._full():
                self._change.notify()
        return future

    def flush(self) -> None:
        """Close the open segment now: nobody has more to add for the moment."""
        with self._change:
            if self._waiting:
                self._oldest = time.monotonic() - self.seconds
                self._change.notify()

    def close(self) -> None:
        """Close the open segment, and end the writer."""
        with self._change:
            self._closing = True
            self._change.notify()
        if self._writer is not None:
            self._writer.join()
        self._reader.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _full(self) -> bool:
        return len(self._waiting) >= self.rows or self._bytes >= GROUP_BYTES

    def _write(self) -> None:
        """The writer's thread: segment after segment."""
        while True:
            with self._change:
                while not (self._closing or self._full()):
                    left = self._oldest + self.seconds - time.monotonic() if self._waiting else None
                    if left is not None and left <= 0:
                        break
                    self._change.wait(left)
                if not self._waiting:
                    return
                waiting, self._waiting, self._bytes = self._waiting, [], 0
            answers: list[Answer] = []
            try:
                answers = self._commit(waiting)
            except Exception as error:  # whatever it is, whoever waits has to know
                with self._change:
                    self._error = error
                    waiting += self._waiting
                    self._waiting = []
                for one in waiting:
                    one.future.set_exception(error)
                return
            for number, (one, answer) in enumerate(zip(waiting, answers, strict=True), 1):
                one.future.set_result(answer)
                if number % AT_ONCE == 0:
                    time.sleep(0)

    def _commit(self, added: list[_Added]) -> list[Answer]:
        """Make a segment durable; the answers that count for its keys."""
        keys = journal_index.packed([one.key for one in added])
        failed = np.array([one.answer.failure is not None for one in added])
        columns = _columns(added)
        with journal_segments.attempted(self.folder, [_table(columns)]) as attempt:
            while True:
                with self._lock:
                    self._refresh()
                    number = self._next
                if journal_segments.claim(attempt, self.folder, numbered(number)):
                    break
        own = journal_index.ranks(number, failed)
        with self._lock:
            if self._next == number:
                self._index.add(keys, own)
                self._next += 1
            else:
                self._refresh()
            ranks, merged = self._look_up(keys)
        other = np.flatnonzero(ranks != own)
        others = self._read([added[at].key for at in other], (ranks[other], merged))
        own_answers = map(Answer._make, zip(*columns[-len(Answer._fields) :], strict=True))
        return [others.get(one.key, answer) for one, answer in zip(added, own_answers, strict=True)]

    def _load(self) -> None:
        """Index all segments anew."""
        self._index, live = journal_segments.indexed(self.folder)
        self._segments = {segment.first: segment for segment in live if segment.first < segment.last}
        self._next = live[-1].last + 1 if live else 0

    def _refresh(self) -> None:
        """Index what was closed since. The lock is held."""
        first = self._next
        while (self.folder / numbered(self._next).name).exists():
            for keys, ranks, _ in journal_segments.entries(self.folder, numbered(self._next)):
                self._index.add(keys, ranks)
            self._next += 1
        if self._next > first:
            journal_segments.synchronise(self.folder)  # whoever wrote them may not have come to it

    def _look_up(self, keys: Keys) -> tuple[Ranks, dict[int, Segment]]:
        """What counts for keys, and the merged segments by their first number. The lock is held."""
        return self._index.find(keys), self._segments

    def _read(
        self, keys: Sequence[str], found: tuple[Ranks, dict[int, Segment]], failures: bool = True
    ) -> dict[str, Answer]:
        ranks, merged = found
        segments, rows, failed = journal_index.places(ranks)
        known = (ranks != UNKNOWN) & (failures | ~failed)
        order = np.lexsort([rows, segments])
        order = order[known[order]]
        answers: dict[str, Answer] = {}
        for first, run in groupby(order, key=lambda at: int(segments[at])):
            chosen = list(run)
            segment = merged.get(first, numbered(first))
            table = self._reader.rows(segment, rows[chosen].astype(np.int64))
            for at, key, *values in zip(
                chosen, *(table[name].to_pylist() for name in self._reader.columns), strict=True
            ):
                if key != keys[at]:
                    raise JournalError(
                        f"{self.folder / segment.name}: was changed meanwhile; run the same command again"
                    )
                answers[key] = Answer(*values)
        return answers


def _storable(text: str) -> str:
    """The text as valid Unicode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _columns(added: Sequence[_Added]) -> list[list[Any]]:
    """Rows of ``JOURNAL``, column by column, as they can be stored."""
    columns: list[Sequence[Any]] = [
        [one.key for one in added],
        [one.identity for one in added],
        [one.request.template for one in added],
        [one.request.attempt for one in added],
        [one.answered_at for one in added],
        *zip(*(one.answer for one in added), strict=True),
    ]
    return [
        [None if value is None else _storable(value) for value in column] if _is_text(field.type) else list(column)
        for field, column in zip(JOURNAL, columns, strict=True)
    ]


def _is_text(kind: pa.DataType) -> bool:
    return bool((kind.value_type if pa.types.is_dictionary(kind) else kind) == pa.string())


def _table(columns: Sequence[Sequence[Any]]) -> pa.Table:
    arrays = []
    for field, values in zip(JOURNAL, columns, strict=True):
        if pa.types.is_dictionary(field.type):
            arrays.append(pa.array(values, field.type.value_type).dictionary_encode())
        else:
            arrays.append(pa.array(values, field.type))
    return pa.Table.from_arrays(arrays, schema=JOURNAL)
