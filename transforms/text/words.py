"""What a word is: the spans of the words of each text, found in one compiled pass over the Arrow buffer.

==============  =============================================================================================================
``whitespace``  runs of characters that are not White_Space, punctuation included: the words of Gopher's and C4's published code
``script``      the same, but a character of a script that is written without spaces (Han, kana, Thai, Lao, Khmer, Burmese) is a
                word of its own, with the marks on it, so that a Chinese document is not one word a line
``unicode``     the segments between default word boundaries (Unicode Standard Annex 29, rules WB1 to WB999) that hold a letter or
                a number: punctuation is no word, "can't" and "3.14" are one, an ideograph is one
==============  =============================================================================================================

All three are one kernel with other tables. A table gives each code point a class, and another says, for a class and the one before it,
whether there is a boundary between them. Only a few pairs of ``unicode`` need more: what comes after a quotation mark, or how many
regional indicators came before.

``hashes`` gives words as numbers, on which n-grams are built. It is XXH64 (https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md) with
seed 0, so any xxHash library gives the same. Among n different words the expected number of pairs with one hash is n^2 / 2^65:
0.0003 for 100 million, 27 for 32 billion.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import polars as pl

Segmentation = Literal["whitespace", "script", "unicode"]

VERSION: Final = 1
"""Raised whenever a text has other words, or a word another hash."""

Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

SPACE: Final = 1
ALPHABETIC: Final = 2
ALONE: Final = 4
NUMBER: Final = 8
MARK: Final = 16
TERMINAL: Final = 32
QUOTATION: Final = 64
CLOSING: Final = 128

_PROPERTIES: Final = {
    SPACE: r"\p{White_Space}",
    ALPHABETIC: r"\p{Alphabetic}",
    ALONE: r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]",
    NUMBER: r"\p{N}",
    MARK: r"\p{M}",
    TERMINAL: r"\p{Sentence_Terminal}",
    QUOTATION: r"\p{Quotation_Mark}",
    CLOSING: r"[\p{Pe}\p{Pf}\p{Quotation_Mark}]",
}


class Texts(NamedTuple):
    """Texts as one buffer: UInt8 ``data``, and n + 1 Int64 ``offsets`` into it. A null text is empty."""

    data: Bytes
    offsets: Integers


class Words(NamedTuple):
    """The words of n texts: Int64 byte ``starts`` and ``stops`` in the buffer, and n + 1 ``offsets`` of each text's first word."""

    starts: Integers
    stops: Integers
    offsets: Integers


def buffer(texts: pl.Series) -> Texts:
    """The texts' UTF-8 in one contiguous buffer.

    Args:
        texts: String, n texts; null allowed.
    """
    array = texts.fill_null("").rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, data = array.buffers()
    if len(array) == 0:
        offsets, data = bytes(8), b""
    first = array.offset * 8
    return Texts(np.frombuffer(data or b"", np.uint8), np.frombuffer(offsets, np.int64, len(array) + 1, first))


def batches(texts: pl.Series, size: int) -> Iterator[pl.Series]:
    """Runs of texts of about ``size`` bytes each; one, which is empty, of no texts."""
    runs = texts.fill_null("").str.len_bytes().cast(pl.Int64).cum_sum() // size
    lengths = runs.rle().struct.field("len").to_list() or [0]
    for start, length in zip(itertools.accumulate(lengths, initial=0), lengths, strict=False):
        yield texts.slice(start, length)


def segment(texts: Texts, by: Segmentation = "whitespace") -> Words:
    """Find the words of each text.

    Args:
        texts: n texts.
        by: What a word is.

    Returns:
        The words' spans, in order. Linear time; 16 bytes a word.

    Raises:
        ValueError: ``by`` is no segmentation.
    """
    return Words(*_find(texts.data, texts.offsets, *_tables(by)))


def hashes(texts: Texts, words: Words) -> Hashes:
    """The XXH64 of each word's bytes: UInt64, one a word."""
    return _hash_words(texts.data, words.starts, words.stops)


@functools.cache
def properties() -> Bytes:
    """UInt8 of properties (``SPACE``, ``ALPHABETIC``, ...) for every code point, as Polars' regular expressions know them."""
    points, characters = _characters()
    table = np.zeros(0x110000, np.uint8)
    for bit, pattern in _PROPERTIES.items():
        table[points] |= characters.str.contains(pattern).to_numpy().astype(np.uint8) * np.uint8(bit)
    return table


@functools.cache
def _characters() -> tuple[npt.NDArray[np.uint32], pl.Series]:
    """Every code point that has a property, as a number and as a text: not those unassigned or for private use."""
    points = np.delete(np.arange(0x110000, dtype=np.uint32), np.s_[0xD800:0xE000])
    characters = pl.Series(list(points.tobytes().decode("utf-32-le")))
    used = characters.str.contains(r"[^\p{Cn}\p{Co}]|\p{Extended_Pictographic}")
    return points[used.to_numpy()], characters.filter(used)


# What may be said of a class and the class before it.
_BREAK: Final = 0
_JOIN: Final = 1
_IGNORE: Final = 2  # joins, and the next is compared with what came before
_PAIR: Final = 3  # joins, and the next of the class does not
_BRIDGE_LETTERS: Final = 4  # is ignored if a letter comes next, else a boundary
_BRIDGE_HEBREW: Final = 5
_BRIDGE_NUMBERS: Final = 6
_BRIDGE_OR_JOIN: Final = 7  # is ignored if a letter comes next, else joins

# A code point's class is in the low bits of its entry.
_CLASS: Final = 0x3F
_PICTOGRAPHIC: Final = 0x40
_IN_WORDS: Final = 0x80  # a segment that holds one is a word
_START: Final = 0  # the class before a text; white space or a line's end, to which nothing joins

_ZERO_WIDTH_JOINER: Final = 0x200D

_TEXT: Final = 1
_APART: Final = 2
_ON_TOP: Final = 3

# The classes of ``unicode``: Word_Break, with Extend, Format and ZWJ as one, because WB4 treats them alike.
_WORD_BREAK: Final = {
    name: number
    for number, name in enumerate(
        "Newline CR LF Extend Other ALetter Hebrew_Letter Numeric Katakana ExtendNumLet MidLetter MidNum MidNumLet Single_Quote"
        " Double_Quote Regional_Indicator WSegSpace".split()
    )
}
_EXTEND: Final = _WORD_BREAK["Extend"]
_OTHER: Final = _WORD_BREAK["Other"]
_LETTER: Final = _WORD_BREAK["ALetter"]
_HEBREW: Final = _WORD_BREAK["Hebrew_Letter"]
_NUMERIC: Final = _WORD_BREAK["Numeric"]

_LETTERS: Final = "ALetter Hebrew_Letter"
_MID_LETTERS: Final = "MidLetter MidNumLet Single_Quote"
_MID_NUMBERS: Final = "MidNum MidNumLet Single_Quote"
_WORD_PARTS: Final = f"{_LETTERS} Numeric Katakana ExtendNumLet"

# Annex 29's rules by pairs of classes. WB3c (pictographs after a joiner) is in the kernel; a later line wins.
_UNICODE_RULES: Final[tuple[tuple[str, str, str, int], ...]] = (
    ("WB3", "CR", "LF", _JOIN),
    ("WB3d", "WSegSpace", "WSegSpace", _JOIN),
    ("WB4", f"Other {_WORD_PARTS} {_MID_LETTERS} MidNum Double_Quote Regional_Indicator", "Extend", _IGNORE),
    ("WB4", "Extend WSegSpace", "Extend", _JOIN),
    ("WB5", _LETTERS, _LETTERS, _JOIN),
    ("WB6, WB7", _LETTERS, _MID_LETTERS, _BRIDGE_LETTERS),
    ("WB7a", "Hebrew_Letter", "Single_Quote", _BRIDGE_OR_JOIN),
    ("WB7b, WB7c", "Hebrew_Letter", "Double_Quote", _BRIDGE_HEBREW),
    ("WB8", "Numeric", "Numeric", _JOIN),
    ("WB9", _LETTERS, "Numeric", _JOIN),
    ("WB10", "Numeric", _LETTERS, _JOIN),
    ("WB11, WB12", "Numeric", _MID_NUMBERS, _BRIDGE_NUMBERS),
    ("WB13", "Katakana", "Katakana", _JOIN),
    ("WB13a", _WORD_PARTS, "ExtendNumLet", _JOIN),
    ("WB13b", "ExtendNumLet", f"{_LETTERS} Numeric Katakana", _JOIN),
    ("WB15, WB16", "Regional_Indicator", "Regional_Indicator", _PAIR),
)


@functools.cache
def _tables(by: Segmentation) -> tuple[Bytes, Bytes]:
    """A segmentation's class for every code point, and its actions by [class before, class]."""
    if by == "unicode":
        return _unicode_classes(), _unicode_actions()
    if by not in ("whitespace", "script"):
        raise ValueError(f"expected whitespace, script or unicode as a segmentation, got {by!r}")
    known = properties()
    classes = np.where(known & SPACE, _START, _TEXT | _IN_WORDS).astype(np.uint8)
    actions = np.zeros((4, 4), np.uint8)
    actions[_TEXT, _TEXT] = _JOIN
    if by == "script":
        classes[(known & ALONE) != 0] = _APART | _IN_WORDS
        classes[(known & MARK) != 0] = _ON_TOP | _IN_WORDS
        actions[[_TEXT, _APART], _ON_TOP] = _IGNORE
        actions[_ON_TOP, [_TEXT, _ON_TOP]] = _JOIN
    return classes, actions


def _unicode_classes() -> Bytes:
    points, characters = _characters()
    patterns = {name: rf"\p{{wb={name}}}" for name in _WORD_BREAK if name not in ("Other", "Extend")}
    patterns["Extend"] = r"[\p{wb=Extend}\p{wb=Format}\p{wb=ZWJ}]"
    classes = np.full(0x110000, _OTHER, np.uint8)
    for name, pattern in patterns.items():
        classes[points[characters.str.contains(pattern).to_numpy()]] = _WORD_BREAK[name]
    classes[points[characters.str.contains(r"\p{Extended_Pictographic}").to_numpy()]] |= _PICTOGRAPHIC
    classes[(properties() & (ALPHABETIC | NUMBER)) != 0] |= _IN_WORDS
    return classes


def _unicode_actions() -> Bytes:
    actions = np.zeros((len(_WORD_BREAK), len(_WORD_BREAK)), np.uint8)
    for _, before, after, action in _UNICODE_RULES:
        actions[np.ix_(_numbers(before.split()), _numbers(after.split()))] = action
    return actions


def _numbers(names: Iterable[str]) -> list[int]:
    return [_WORD_BREAK[name] for name in names]


@numba.njit(cache=True, inline="always")
def decode(data: Bytes, at: int) -> Any:
    """The code point that starts at a byte of valid UTF-8, and its length in bytes."""
    first = np.int64(data[at])
    if first < 0x80:
        return first, 1
    if first < 0xE0:
        return (first & 0x1F) << 6 | (np.int64(data[at + 1]) & 0x3F), 2
    if first < 0xF0:
        return (first & 0x0F) << 12 | (np.int64(data[at + 1]) & 0x3F) << 6 | (np.int64(data[at + 2]) & 0x3F), 3
    high = (first & 0x07) << 18 | (np.int64(data[at + 1]) & 0x3F) << 12
    return high | (np.int64(data[at + 2]) & 0x3F) << 6 | (np.int64(data[at + 3]) & 0x3F), 4


@numba.njit(cache=True, nogil=True)
def _find(data: Bytes, offsets: Integers, classes: Bytes, actions: Bytes) -> Any:
    spans = np.empty((2, (offsets[-1] - offsets[0]) // 4), np.int64)
    firsts = np.zeros(len(offsets), np.int64)
    for row in range(len(offsets) - 1):
        spans = with_room(spans, firsts[row], offsets[row + 1] - offsets[row])
        found = _find_in_text(data, offsets[row], offsets[row + 1], classes, actions, spans[0], spans[1], firsts[row])
        firsts[row + 1] = found
    return spans[0, : firsts[-1]], spans[1, : firsts[-1]], firsts


@numba.njit(cache=True, nogil=True)
def with_room(spans: Integers, used: int, more: int) -> Any:
    """Spans with room for more after those used. What is never written takes address space only, no memory. For kernels."""
    if used + more <= spans.shape[1]:
        return spans
    larger = np.empty((2, max(used + more, 2 * spans.shape[1])), np.int64)
    larger[:, :used] = spans[:, :used]
    return larger


@numba.njit(cache=True, nogil=True)
def _find_in_text(
    data: Bytes, at: int, stop: int, classes: Bytes, actions: Bytes, starts: Integers, stops: Integers, found: int
) -> int:
    """Write the spans of one text's words from ``found`` on; how many there are then. A kernel of its own, because numba counts
    references to an array in every turn of a loop that replaces it."""
    start, in_words, before, after_joiner = at, np.int64(0), np.int64(_START), False
    while at < stop:
        point, length = decode(data, at)
        entry = np.int64(classes[point])
        kind = entry & _CLASS
        action = np.int64(actions[before, kind])
        if action > _PAIR:
            action = _bridged(action, _class_after(data, at + length, stop, classes))
        if action == _BREAK and not (after_joiner and entry & _PICTOGRAPHIC):
            if in_words:
                starts[found], stops[found] = start, at
                found += 1
            start, in_words = at, np.int64(0)
        if action != _IGNORE:
            before = np.int64(_OTHER) if action == _PAIR else kind
        in_words |= entry & _IN_WORDS
        after_joiner = point == _ZERO_WIDTH_JOINER
        at += length
        if actions[kind, kind] == _JOIN:  # nothing changes within a run of one class
            while at < stop and data[at] < 0x80 and classes[data[at]] == entry:
                at += 1
    if in_words:
        starts[found], stops[found] = start, stop
        found += 1
    return found


@numba.njit(cache=True, nogil=True)
def _class_after(data: Bytes, at: int, stop: int, classes: Bytes) -> Any:
    """The class of the next code point that WB4 does not ignore."""
    while at < stop:
        point, length = decode(data, at)
        kind = np.int64(classes[point]) & _CLASS
        if kind != _EXTEND:
            return kind
        at += length
    return _START


@numba.njit(cache=True, nogil=True)
def _bridged(action: Any, after: Any) -> Any:
    """What a pair's action is once the class that follows is known."""
    letter = after in (_LETTER, _HEBREW)
    if (
        (action == _BRIDGE_LETTERS and letter)
        or (action == _BRIDGE_OR_JOIN and letter)
        or (action == _BRIDGE_HEBREW and after == _HEBREW)
        or (action == _BRIDGE_NUMBERS and after == _NUMERIC)
    ):
        return _IGNORE
    return _JOIN if action == _BRIDGE_OR_JOIN else _BREAK


_PRIME_1: Final = np.uint64(0x9E3779B185EBCA87)
_PRIME_2: Final = np.uint64(0xC2B2AE3D27D4EB4F)
_PRIME_3: Final = np.uint64(0x165667B19E3779F9)
_PRIME_4: Final = np.uint64(0x85EBCA77C2B2AE63)
_PRIME_5: Final = np.uint64(0x27D4EB2F165667C5)


@numba.njit(cache=True, nogil=True)
def _hash_words(data: Bytes, starts: Integers, stops: Integers) -> Hashes:
    found = np.empty(len(starts), np.uint64)
    for word in range(len(starts)):
        found[word] = hash_bytes(data, starts[word], stops[word])
    return found


@numba.njit(cache=True, nogil=True)
def hash_bytes(data: Bytes, start: Any, stop: Any) -> Any:
    """The XXH64, with seed 0, of the bytes from start to stop: UInt64. For kernels."""
    at = start
    if stop - start >= 32:
        first, second, third, fourth = _PRIME_1 + _PRIME_2, _PRIME_2, np.uint64(0), np.uint64(0) - _PRIME_1
        while stop - at >= 32:
            first = _round(first, _load(data, at, 8))
            second = _round(second, _load(data, at + 8, 8))
            third = _round(third, _load(data, at + 16, 8))
            fourth = _round(fourth, _load(data, at + 24, 8))
            at += 32
        mixed = _rotate(first, 1) + _rotate(second, 7) + _rotate(third, 12) + _rotate(fourth, 18)
        for lane in (first, second, third, fourth):
            mixed = (mixed ^ _round(np.uint64(0), lane)) * _PRIME_1 + _PRIME_4
    else:
        mixed = _PRIME_5
    mixed += np.uint64(stop - start)
    while stop - at >= 8:
        mixed = _rotate(mixed ^ _round(np.uint64(0), _load(data, at, 8)), 27) * _PRIME_1 + _PRIME_4
        at += 8
    if stop - at >= 4:
        mixed = _rotate(mixed ^ _load(data, at, 4) * _PRIME_1, 23) * _PRIME_2 + _PRIME_3
        at += 4
    while at < stop:
        mixed = _rotate(mixed ^ np.uint64(data[at]) * _PRIME_5, 11) * _PRIME_1
        at += 1
    mixed = (mixed ^ mixed >> np.uint64(33)) * _PRIME_2
    mixed = (mixed ^ mixed >> np.uint64(29)) * _PRIME_3
    return mixed ^ mixed >> np.uint64(32)


@numba.njit(cache=True, inline="always")
def _load(data: Bytes, at: int, count: int) -> Any:
    """Bytes as a little-endian number."""
    value = np.uint64(0)
    for index in range(count):
        value |= np.uint64(data[at + index]) << np.uint64(8 * index)
    return value


@numba.njit(cache=True, inline="always")
def _rotate(value: Any, bits: int) -> Any:
    return value << np.uint64(bits) | value >> np.uint64(64 - bits)


@numba.njit(cache=True, inline="always")
def _round(lane: Any, value: Any) -> Any:
    return _rotate(lane + value * _PRIME_2, 31) * _PRIME_1
