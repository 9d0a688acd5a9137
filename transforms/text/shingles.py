"""Shingles: the hashes of all runs of n words of a text, and a key that equal texts share, in one compiled pass.

Texts are equal, and words are, when they are after this normalisation:

===============  =======================================================================================================
NFC              Unicode's canonical composition, always
``case``         folded, each character for itself: ``STRASSE`` is ``strasse``, but not ``straße``
``punctuation``  dropped, with control and format characters (``don't`` is ``dont``); a word of nothing else is no word
white space      separates words; how much of it, and of which kind, makes no difference
===============  =======================================================================================================

A text of fewer than n words has one shingle of all its words. A text without words (``:-)``, or nothing at all) has one
of all its characters but white space.

The hash of a word is FNV-1a over its code points with 64 bits, mixed by the finaliser of MurmurHash3; a shingle is the
same over the hashes of its words. Nothing is seeded by the process: the same on every machine. Which characters fold,
join or are punctuation is what Unicode says, in the version that Python and Polars know; only characters that it adds
later can change.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import polars as pl

from transforms.text.words import (
    ALONE,
    SPACE,
    Bytes,
    Integers,
    Segmentation,
    Words,
    buffer,
    decode,
    properties,
    segment,
)

VERSION: Final = 1
"""Raised whenever a text has other shingles or another key."""

Hashes = npt.NDArray[np.uint64]
Codes = npt.NDArray[np.uint32]

_BREAK: Final = 0
_DROP: Final = 1
_FIRST_CODE: Final = 2
_SINGLE: Final = 1 << 31
"""Codes of characters: white space, dropped, and two more than the folded code point; with this bit, a word of its
own."""

_NO_SPANS: Final = Words(*(np.empty(0, np.int64) for _ in range(3)))

_SEED: Final = np.uint64(0xCBF29CE484222325)
_PRIME: Final = np.uint64(0x100000001B3)
_OTHER_SEED: Final = np.uint64(0x9AE16A3B2F90404F)
_OTHER_PRIME: Final = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Shingling:
    """What a shingle is: ``n`` words, found by ``words``, with ``case`` and ``punctuation`` or without."""

    n: int = 5
    words: Segmentation = "script"
    case: bool = False
    punctuation: bool = False

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n: expected at least 1 word a shingle, got {self.n}")


class Sets(NamedTuple):
    """Shingles of m texts: UInt64 ``hashes``, and m + 1 Int64 ``offsets`` of each text's first one."""

    hashes: Hashes
    offsets: Integers


class Shingled(NamedTuple):
    """Shingles of m texts in the order of the text, repeated ones too, and UInt64 (m, 2) ``keys`` of 128 bits."""

    sets: Sets
    keys: Hashes


def shingle(texts: pl.Series, settings: Shingling) -> Shingled:
    """The shingles and the key of each text.

    Args:
        texts: String, m texts; a null is an empty text.
    """
    joined = buffer(composed(texts))
    data, offsets = joined
    if settings.words == "unicode":
        spans = segment(joined, settings.words)
        sizes = np.diff(spans.offsets)
    else:
        spans = _NO_SPANS
        sizes = np.diff(offsets) // 2  # at most: a word has a byte and a space, or three bytes
    most, longest = int(sizes.sum()) + len(texts), int(sizes.max(initial=0)) + 1
    hashes, bounds = np.empty(most, np.uint64), np.empty(len(offsets), np.int64)
    keys = np.empty((len(texts), 2), np.uint64)
    codes = _codes(settings.words, settings.case, settings.punctuation)
    used = _shingle(data, offsets, spans, codes, settings.n, np.empty(longest, np.uint64), hashes, bounds, keys)
    return Shingled(Sets(hashes[:used], bounds), keys)


def distinct(sets: Sets) -> Sets:
    """Each text's shingles sorted, each once."""
    hashes = sets.hashes.copy()
    for start, stop in pairwise(sets.offsets.tolist()):  # NumPy's vectorised sort of a row outruns any compiled loop
        hashes[start:stop].sort()
    offsets = np.empty_like(sets.offsets)
    return Sets(hashes[: _compact(hashes, sets.offsets, offsets)].copy(), offsets)


def composed(texts: pl.Series) -> pl.Series:
    """The texts in NFC. Only those that hold a character that could be composed are touched."""
    data, offsets = buffer(texts)
    loose = np.flatnonzero(_loose(data, offsets, _composing()))
    if not len(loose):
        return texts
    return texts.clone().scatter(loose, texts.gather(loose).str.normalize("NFC"))


@numba.njit(cache=True, nogil=True)
def gather(hashes: Hashes, offsets: Integers, rows: Integers, total: int) -> Any:
    """The shingles of some rows, ``total`` in all, one row after another: UInt64."""
    found = np.empty(total, np.uint64)
    used = 0
    for row in rows:
        for at in range(offsets[row], offsets[row + 1]):
            found[used] = hashes[at]
            used += 1
    return found


def _characters() -> tuple[Codes, pl.Series]:
    points = np.delete(np.arange(0x110000, dtype=np.uint32), np.s_[0xD800:0xE000])
    return points, pl.Series(list(points.tobytes().decode("utf-32-le")))


@functools.cache
def _composing() -> npt.NDArray[np.bool_]:
    """Bool for every code point: whether NFC changes it, or may join it to the one before it."""
    points, characters = _characters()
    table = np.zeros(0x110000, bool)
    joining = characters.str.contains(r"[\p{M}\x{1161}-\x{1175}\x{11A8}-\x{11C2}]")
    table[points] = (joining | (characters.str.normalize("NFC") != characters)).to_numpy()
    return table


@functools.cache
def _codes(words: Segmentation, case: bool, punctuation: bool) -> Codes:
    """UInt32 for every code point: what the hash of its word takes of it."""
    points, characters = _characters()
    codes = np.arange(_FIRST_CODE, 0x110000 + _FIRST_CODE, dtype=np.uint32)
    if not case:
        for character in characters.filter(characters.str.contains(r"\p{Changes_When_Casefolded}")):
            folded = character.casefold()
            if len(folded) == 1:
                codes[ord(character)] = ord(folded) + _FIRST_CODE
    if words == "script":
        codes[(properties() & ALONE) != 0] |= np.uint32(_SINGLE)
    if not punctuation:
        codes[points[characters.str.contains(r"[\p{P}\p{Cc}\p{Cf}]").to_numpy()]] = _DROP
    codes[(properties() & SPACE) != 0] = _BREAK
    return codes


@numba.njit(cache=True, inline="always")
def _mixed(value: Any) -> Any:
    """The finaliser of MurmurHash3 for 64 bits (Appleby): a permutation that spreads every bit over all."""
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xFF51AFD7ED558CCD)
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> np.uint64(33))


@numba.njit(cache=True, nogil=True)
def _shingle(
    data: Bytes,
    texts: Integers,
    spans: Words,
    codes: Codes,
    n: int,
    words: Hashes,
    hashes: Hashes,
    offsets: Integers,
    keys: Hashes,
) -> int:
    """Fill all but the first five; ``words`` is room for those of one text. ``spans`` without offsets: words are found
    by codes."""
    used = 0
    for row in range(len(texts) - 1):
        offsets[row] = used
        if len(spans.offsets):
            first, last = spans.offsets[row], spans.offsets[row + 1]
            count, spelled = _given(data, spans.starts[first:last], spans.stops[first:last], codes, words)
        else:
            count, spelled = _found(data, texts[row], texts[row + 1], codes, words)
        if count == 0:
            words[0], spelled = _signs(data, texts[row], texts[row + 1], codes)
            count = 1
        key = _SEED
        for at in range(count):
            key = (key ^ words[at]) * _PRIME
        keys[row, 0], keys[row, 1] = _mixed(key), _mixed(spelled)
        length = min(n, count)
        for start in range(count - length + 1):
            run = _SEED
            for at in range(start, start + length):
                run = (run ^ words[at]) * _PRIME
            hashes[used] = _mixed(run)
            used += 1
    offsets[len(texts) - 1] = used
    return used


@numba.njit(cache=True)
def _found(data: Bytes, at: int, stop: int, codes: Codes, words: Hashes) -> tuple[int, Any]:
    """Hash the words between white space, and those of one character: how many, and a hash of how all are spelled."""
    count, word, within = 0, _SEED, False
    spelled = _OTHER_SEED
    while at < stop:
        if data[at] < 0x80:
            code = codes[data[at]]
            at += 1
        else:
            point, length = decode(data, at)
            code = codes[point]
            at += length
        if code == _DROP:
            continue
        if within and (code == _BREAK or code & _SINGLE):
            words[count] = _mixed(word)
            spelled = (spelled ^ np.uint64(_BREAK)) * _OTHER_PRIME
            count += 1
            word, within = _SEED, False
        if code == _BREAK:
            continue
        word = (word ^ np.uint64(code)) * _PRIME
        spelled = (spelled ^ np.uint64(code)) * _OTHER_PRIME
        within = True
        if code & _SINGLE:
            words[count] = _mixed(word)
            count += 1
            word, within = _SEED, False
    if within:
        words[count] = _mixed(word)
        spelled = (spelled ^ np.uint64(_BREAK)) * _OTHER_PRIME
        count += 1
    return count, spelled


@numba.njit(cache=True)
def _given(data: Bytes, starts: Integers, stops: Integers, codes: Codes, words: Hashes) -> tuple[int, Any]:
    """The same of words whose places are known."""
    count, spelled = 0, _OTHER_SEED
    for span in range(len(starts)):
        word, at, within = _SEED, starts[span], False
        while at < stops[span]:
            point, length = decode(data, at)
            at += length
            code = codes[point]
            if code in (_DROP, _BREAK):
                continue
            word = (word ^ np.uint64(code)) * _PRIME
            spelled = (spelled ^ np.uint64(code)) * _OTHER_PRIME
            within = True
        if within:
            words[count] = _mixed(word)
            spelled = (spelled ^ np.uint64(_BREAK)) * _OTHER_PRIME
            count += 1
    return count, spelled


@numba.njit(cache=True)
def _signs(data: Bytes, at: int, stop: int, codes: Codes) -> tuple[Any, Any]:
    """Two hashes of a text without words: of all its characters but white space."""
    one, other = _OTHER_SEED, _SEED
    while at < stop:
        point, length = decode(data, at)
        if codes[point] != _BREAK:
            one = (one ^ np.uint64(point)) * _PRIME
            other = (other ^ np.uint64(point)) * _OTHER_PRIME
        at += length
    return _mixed(one), other


@numba.njit(cache=True, nogil=True)
def _loose(data: Bytes, offsets: Integers, composing: npt.NDArray[np.bool_]) -> Any:
    found = np.zeros(len(offsets) - 1, np.bool_)
    for row in range(len(found)):
        at, stop = offsets[row], offsets[row + 1]
        while at < stop:
            if data[at] < 0xCC:  # characters before U+0300, and the later bytes of others
                at += 1
                continue
            point, length = decode(data, at)
            if composing[point]:
                found[row] = True
                break
            at += length
    return found


@numba.njit(cache=True, nogil=True)
def _compact(hashes: Hashes, offsets: Integers, compacted: Integers) -> int:
    used = 0
    for row in range(len(offsets) - 1):
        compacted[row] = used
        for at in range(offsets[row], offsets[row + 1]):
            if at == offsets[row] or hashes[at] != hashes[used - 1]:
                hashes[used] = hashes[at]
                used += 1
    compacted[len(offsets) - 1] = used
    return used
