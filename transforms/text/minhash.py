"""MinHash signatures of sets of shingles, and the bands by which similar ones are found (Broder 1997; Leskovec,
Rajaraman and Ullman, Mining of Massive Datasets, section 3.4).

Two sets agree in a slot with a probability of their Jaccard similarity ``s``, and in one band of ``r`` slots at least,
of ``b`` bands, with ``1 - (1 - s^r)^b``. Slots of 32 bits: each permutes the upper halves of the shingles' hashes by an
odd factor and an exclusive or, both fixed in this module by their number.

The loop goes over the shingles of a text for one slot at a time, so that the compiler computes eight shingles in one
instruction and keeps the minimum in a register.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np
import numpy.typing as npt

from transforms.text.shingles import Hashes, Sets
from transforms.text.words import Integers

VERSION: Final = 1
"""Raised whenever a set has another signature or other bands."""

Slots = npt.NDArray[np.uint32]

_BLOCK: Final = 4096
"""Shingles that are permuted at once: they stay in the first cache."""

_NONE: Final = np.uint32(0xFFFFFFFF)


def signatures(sets: Sets, slots: int = 128) -> Slots:
    """The signature of each set: UInt32 (m, slots). Shingles may be repeated and in any order; an empty set has the
    largest values."""
    found = np.full((len(sets.offsets) - 1, slots), _NONE, np.uint32)
    _sketch(sets.hashes, sets.offsets, *_permutations(slots), found)
    return found


def banded(signatures: Slots, bands: int, rows: int) -> Hashes:
    """The hash of each band of each signature: UInt64 (bands, m).

    Raises:
        ValueError: the signatures have fewer slots than the bands take.
    """
    if bands * rows > signatures.shape[1]:
        raise ValueError(f"bands: expected at most {signatures.shape[1]} slots, got {bands} bands of {rows}")
    found = np.empty((bands, len(signatures)), np.uint64)
    _band(signatures, rows, found)
    return found


def found_share(similarity: float, bands: int, rows: int) -> float:
    """The share of pairs of this similarity that have a band in common."""
    return 1.0 - (1.0 - similarity**rows) ** bands


def bands_for(threshold: float, slots: int = 128, recall: float = 0.98) -> tuple[int, int]:
    """The bands and their rows: the longest rows, for the fewest candidates, that find this share of the pairs at the
    threshold.

    Raises:
        ValueError: no bands of so few slots do.
    """
    for rows in range(slots, 0, -1):
        if found_share(threshold, slots // rows, rows) >= recall:
            return slots // rows, rows
    raise ValueError(f"{slots} slots find less than {recall} of the pairs at {threshold}; give more, or less recall")


def _permutations(slots: int) -> tuple[Slots, Slots]:
    """Odd factors and masks: UInt32, numbers of SplitMix64 (Steele, Lea and Flood 2014)."""
    state = np.arange(1, 2 * slots + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    numbers = ((state ^ (state >> np.uint64(31))) >> np.uint64(32)).astype(np.uint32)
    return numbers[0::2] | np.uint32(1), numbers[1::2].copy()


@numba.njit(cache=True, nogil=True)
def _sketch(hashes: Hashes, offsets: Integers, factors: Slots, masks: Slots, found: Slots) -> None:
    block = np.empty(_BLOCK, np.uint32)
    for row in range(len(offsets) - 1):
        for first in range(offsets[row], offsets[row + 1], _BLOCK):
            count = min(_BLOCK, offsets[row + 1] - first)
            for at in range(count):
                block[at] = np.uint32(hashes[first + at] >> np.uint64(32))
            for slot in range(len(factors)):
                factor, mask, least = factors[slot], masks[slot], found[row, slot]
                for at in range(count):
                    least = min(least, np.uint32(np.uint32(block[at] * factor) ^ mask))
                found[row, slot] = least


@numba.njit(cache=True, nogil=True)
def _band(signatures: Slots, rows: int, found: Any) -> None:
    for band in range(found.shape[0]):
        for row in range(len(signatures)):
            value = np.uint64(0xCBF29CE484222325)
            for slot in range(band * rows, band * rows + rows):
                value = (value ^ np.uint64(signatures[row, slot])) * np.uint64(0x9E3779B97F4A7C15)
                value ^= value >> np.uint64(32)
            found[band, row] = value
