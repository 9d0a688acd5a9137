"""Which of a key's entries counts, for millions of keys: 24 bytes a key.

An entry's *rank* is a uint64 made of its place and of whether it failed, such that of a key's entries the one with the lowest
rank counts: the first success or, where there is none, the last failure.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.bytes_]
"""Keys of 128 bits, as ``S16``."""

Ranks = npt.NDArray[np.uint64]

UNKNOWN: Final = np.uint64(2**64 - 1)
"""The rank of a key without entries."""

_FAILED: Final = np.uint64(2**63)
_ROW_BITS: Final = np.uint64(32)


def packed(keys: Sequence[str]) -> Keys:
    """Keys of 32 hexadecimal digits, in 16 bytes each.

    Raises:
        ValueError: one of them is something else.
    """
    wrong = next((key for key in keys if len(key) != 32), None)
    if wrong is not None:
        raise ValueError(f"expected a key of 32 hexadecimal digits, got {wrong!r}")
    return np.frombuffer(unhexlify("".join(keys)), "S16")


def ranks(segment: int, failed: npt.NDArray[np.bool_], row: int = 0) -> Ranks:
    """The ranks of a segment's rows in their order, from a certain one on."""
    places = (np.uint64(segment) << _ROW_BITS) + np.arange(row, row + len(failed), dtype=np.uint64)
    return np.where(failed, ~places - np.uint64(1), places)


def places(of: Ranks) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
    """Segments, rows, and whether they failed."""
    failed = of >= _FAILED
    at = np.where(failed, ~(of + np.uint64(1)), of)
    return at >> _ROW_BITS, at & np.uint64(2**32 - 1), failed


class Index:
    """The lowest rank of each key. Not thread-safe.

    Runs sorted by key, each more than twice as long as the next: adding costs a logarithm of the size, looking up a binary
    search a run.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[Keys, Ranks]] = []

    def add(self, keys: Keys, added: Ranks) -> None:
        """Take entries in."""
        if not len(keys):
            return
        run = _sorted(keys, added)
        while self._runs and len(self._runs[-1][0]) <= 2 * len(run[0]):
            longer = self._runs.pop()
            run = _sorted(np.concatenate([longer[0], run[0]]), np.concatenate([longer[1], run[1]]))
        self._runs.append(run)

    def find(self, keys: Keys) -> Ranks:
        """The rank that counts for each key, or ``UNKNOWN``."""
        found = np.full(len(keys), UNKNOWN)
        for held, of in self._runs:
            at = np.minimum(np.searchsorted(held, keys), len(held) - 1)
            np.minimum(found, np.where(held[at] == keys, of[at], UNKNOWN), out=found)
        return found


def _sorted(keys: Keys, of: Ranks) -> tuple[Keys, Ranks]:
    """By key, and only the lowest rank of each."""
    order: Any = np.argsort(keys, kind="stable")  # merges what is sorted already, in linear time
    keys, of = keys[order], of[order]
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)])
    return (keys[first], np.minimum.reduceat(of, first)) if len(keys) > len(first) else (keys, of)
