"""Where patterns that need Python can match, so that Python reads a few dozen characters and not the text around them.

Three steps, each linear in the bytes of the texts:

1. One compiled pass over the Arrow buffer marks *triggers*: what a match cannot do without, such as seven digits with little between
   them, an ``@`` between a name and a domain, or the prefix of a token.
2. Each trigger becomes a *window*, as wide as the longest match around it and what a pattern looks at beside it. Windows that overlap
   become one.
3. In a window the detectors whose trigger is there look for matches, in order. What one has found the next ones see as ``MASK``, and
   so they see placeholders that are there already. Patterns treat ``MASK`` as a letter and as a digit, so nothing is found because
   something beside it was replaced, and a second run over the replaced text finds no more.

Full-width forms, Unicode's hyphens and its spaces are read as ASCII (``FOLD``), one character for one.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from transforms.text.words import Bytes, Integers, Texts

MASK: Final = "\ufdd0"
"""A noncharacter: no text holds it for a purpose of its own (Unicode Standard, 23.7)."""

# Triggers, bits of a window's set.
NUMBER: Final = 1
"""Seven digits, or five around three dots, with nothing but spaces and ``.-()/+`` between them, and no date; or the start of an
IBAN."""
ADDRESS: Final = 2
"""``@`` after a name and before something with a dot."""
HEXADECIMAL: Final = 4
"""A colon after four hexadecimal digits, the first of them 2 or 3."""
CREDENTIALS: Final = 8
"""``@`` after ``://`` and a colon."""
ASSIGNMENT: Final = 16
"""A sign such as ``=``, ``:`` or 是 after one of ``SECRET_NAMES`` and before ASCII."""
LITERAL: Final = 32
"""A detector's literal at the start of a word."""
LONG_LITERAL: Final = 64
"""The same, of a value of up to 8,000 characters without white space."""
BLOCK: Final = 128
"""The same, of a value of up to 14,000 characters."""

SECRET_NAMES: Final = "password passwd passphrase passcode pwd pass key secret token credential credentials 密码 密碼 口令 密钥 秘钥 令牌".split()

_Literals = tuple[Bytes, Integers, Integers]
"""Values as rows, their lengths and their triggers; of two that start alike the shorter first."""
_Names = tuple[Bytes, Integers]
"""Values as rows, backwards, and their lengths."""


class Reach(NamedTuple):
    """How far around a trigger a window goes, in bytes, and whether white space ends it there."""

    before: int
    after: int
    ends_before: bool
    ends_after: bool


_REACHES: Final = {
    NUMBER: Reach(96, 64, False, False),
    ADDRESS: Reach(420, 1100, True, True),
    HEXADECIMAL: Reach(8, 48, False, False),
    CREDENTIALS: Reach(320, 200, True, True),
    ASSIGNMENT: Reach(48, 320, False, True),
    LITERAL: Reach(4, 1100, False, True),
    LONG_LITERAL: Reach(4, 8100, False, True),
    BLOCK: Reach(4, 14000, False, False),
}
_CONTEXT: Final = 4
"""Characters at a cut end of a window that patterns may look at and not match."""
_BATCH: Final = 1 << 14
"""Triggers that the compiled pass returns at a time."""
_GAP: Final = 18
"""Characters that may part two digits of a number."""

_FULL_WIDTH = {0xFEE0 + ord(c): c for c in map(chr, range(0x21, 0x7F)) if c.isalnum() or c in "@.-+()/_:=%&#"}
FOLD: Final = _FULL_WIDTH | {0x3000: " ", 0xA0: " ", 0x202F: " ", 0x2010: "-", 0x2011: "-", 0x2013: "-"}
"""What patterns read for a code point."""
_FOLDED: Final = re.compile("[" + "".join(map(chr, FOLD)) + "]")


class Detector(NamedTuple):
    """One pattern of a kind of thing to find."""

    kind: str
    trigger: int
    pattern: re.Pattern[str]
    """The candidate is group ``found``. Looks no further than ``_CONTEXT`` characters beside its match."""
    accept: Callable[[re.Match[str]], int]
    """How many characters of the candidate to take; 0 for none."""
    literals: tuple[str, ...] = ()
    """For the triggers ``LITERAL``, ``LONG_LITERAL`` and ``BLOCK``: how the pattern starts."""


class Finds(NamedTuple):
    """What was found, by row and place: Int64 ``rows``, byte ``starts`` and ``stops`` in the buffer; and ``kinds``."""

    rows: Integers
    starts: Integers
    stops: Integers
    kinds: list[str]


def whole(match: re.Match[str]) -> int:
    """Accept a candidate as it is."""
    return len(match["found"])


def find(texts: Texts, detectors: Sequence[Detector]) -> Finds:
    """Find everything in the texts that a detector accepts; of two that overlap, the earlier detector's.

    Python runs once per window, because patterns with look-around and checksums have no columnar form; web text has about one window
    in twenty thousand characters.
    """
    if not texts.data.size:
        nowhere = np.zeros(0, np.int64)
        return Finds(nowhere, nowhere, nowhere, [])
    rows: list[int] = []
    starts: list[int] = []
    stops: list[int] = []
    kinds: list[str] = []
    placeholders = re.compile("<(?:" + "|".join(sorted({detector.kind.upper() for detector in detectors})) + ")>")
    windows = _windows(texts, detectors)
    by_set = {known: [d for d in detectors if d.trigger & known] for known in set(windows[-1].tolist())}
    for row, start, stop, cut_before, cut_after, triggers in zip(*(column.tolist() for column in windows), strict=True):
        raw = texts.data[start:stop].tobytes()
        text = raw.decode()
        spans = _search(
            _readable(text, placeholders),
            by_set[triggers],
            _CONTEXT if cut_before else 0,
            len(text) - _CONTEXT if cut_after else len(text),
        )
        at = start
        done = 0
        for first, last, kind in spans:
            at += first - done if len(raw) == len(text) else len(text[done:first].encode())
            rows.append(row)
            starts.append(at)
            at += last - first if len(raw) == len(text) else len(text[first:last].encode())
            done = last
            stops.append(at)
            kinds.append(kind)
    return Finds(np.array(rows, np.int64), np.array(starts, np.int64), np.array(stops, np.int64), kinds)


def _readable(text: str, placeholders: re.Pattern[str]) -> str:
    """The text as patterns read it, of the same length."""
    if not text.isascii() and _FOLDED.search(text):
        text = text.translate(FOLD)
    return placeholders.sub(lambda match: MASK * len(match[0]), text) if "<" in text else text


def _search(text: str, detectors: Sequence[Detector], first: int, last: int) -> list[tuple[int, int, str]]:
    """Start, stop and kind of what the detectors accept between two places of a text, in its order."""
    found: list[tuple[int, int, str]] = []
    for detector in detectors:
        known = len(found)
        at = first
        while match := detector.pattern.search(text, at):
            size = detector.accept(match)
            start = match.start("found")
            if size and start + size <= last:
                found.append((start, start + size, detector.kind))
                at = start + size
            else:
                at = match.start() + 1
        if len(found) > known:
            text = _masked(text, found[known:])
    return sorted(found)


def _masked(text: str, spans: Sequence[tuple[int, int, str]]) -> str:
    parts: list[str] = []
    at = 0
    for start, stop, _ in spans:
        parts += [text[at:start], MASK * (stop - start)]
        at = stop
    return "".join([*parts, text[at:]])


def _windows(texts: Texts, detectors: Sequence[Detector]) -> tuple[npt.NDArray[Any], ...]:
    """Row, start, stop, whether text was cut off before and after, and triggers of each window, in the order of the buffer."""
    bits = LITERAL | LONG_LITERAL | BLOCK
    literals = sorted((literal.encode(), found.trigger & bits) for found in detectors for literal in found.literals)
    values = [literal for literal, _ in literals]
    names = [name.encode()[::-1] for name in SECRET_NAMES]
    begins = np.zeros((256, 256), np.uint8)
    begins[[value[0] for value in values], [value[1] for value in values]] = _WORD_START
    begins[_SYMBOLS] = _SYMBOL
    arguments = (
        functools.reduce(operator.or_, (found.trigger for found in detectors), 0),
        begins,
        (_matrix(values), _lengths(values), np.array([trigger for _, trigger in literals], np.int64)),
        (_matrix(names), _lengths(names)),
    )
    parts = []
    row = at = 0
    while row < len(texts.offsets) - 1:
        found = np.empty((_BATCH, 4), np.int64)
        count, row, at = _find_triggers(texts.data, texts.offsets, row, at, *arguments, found)
        parts.append(found[:count])
    rows, starts, stops, triggers = np.concatenate([np.empty((0, 4), np.int64), *parts]).T.copy()
    starts, stops = _extend(texts.data, texts.offsets, rows, starts, stops, triggers, _reaches())
    order = np.argsort(starts, kind="stable")
    return _merge(texts.offsets, rows[order], starts[order], stops[order], triggers[order])  # type: ignore[no-any-return]


@functools.cache
def _reaches() -> Integers:
    """For each set of triggers its widest reach; white space ends it where it ends all of them."""
    reaches = np.zeros((256, 4), np.int64)
    for bits in range(1, 256):
        members = np.array([reach for trigger, reach in _REACHES.items() if trigger & bits], np.int64)
        reaches[bits] = [*members[:, :2].max(axis=0), *members[:, 2:].min(axis=0)]
    return reaches


def _lengths(values: Sequence[bytes]) -> Integers:
    return np.array([len(value) for value in values], np.int64)


def _matrix(values: Sequence[bytes]) -> Bytes:
    """Short values as rows of bytes, filled up with zeros."""
    width = max(map(len, values), default=1)
    return np.frombuffer(b"".join(value.ljust(width, b"\0") for value in values), np.uint8).reshape(-1, width)


# What a byte and the next can begin.
_NOTHING: Final = 0
_SYMBOL: Final = 1
_WORD_START: Final = 2
_SYMBOLS: Final = [*range(48, 58), 0x40, 0x3A, 0x3D, 0xEF, 0xE6, 0xE4]
"""Digits, ``@ : =``, and what full-width forms, 是 and 为 start with."""
_WORD: Final = np.zeros(256, np.bool_)
_WORD[[*range(48, 58), *range(65, 91), *range(97, 123), 95]] = True
_HEX: Final = np.zeros(256, np.bool_)
_HEX[[*range(48, 58), *range(65, 71), *range(97, 103)]] = True
_LOCAL: Final = _WORD.copy()
_LOCAL[[0x25, 0x2B, 0x2D]] = True


@numba.njit(cache=True, nogil=True)
def _folded(data: Bytes, at: int, stop: int) -> Any:
    """What a pattern reads at a byte, if it is ASCII (else 0), and how many bytes that takes. As ``FOLD``, but folds all full width."""
    first = np.int64(data[at])
    if first < 0x80:
        return first, 1
    if first < 0xE0:
        return (0x20 if first == 0xC2 and at + 1 < stop and data[at + 1] == 0xA0 else 0), 2
    if first >= 0xF0 or at + 2 >= stop:
        return 0, 4 if first >= 0xF0 else 3
    second, third = np.int64(data[at + 1]), np.int64(data[at + 2])
    symbol: Any = 0
    if first == 0xEF and second == 0xBC and third > 0x80:
        symbol = third - 0x60
    elif first == 0xEF and second == 0xBD and third < 0x9F:
        symbol = third - 0x20
    elif first == 0xE2 and second == 0x80:
        if third in (0x90, 0x91, 0x93):
            symbol = 0x2D
        elif third == 0xAF:
            symbol = 0x20
    elif first == 0xE3 and second == 0x80 and third == 0x80:
        symbol = 0x20
    return symbol, 3


@numba.njit(cache=True, nogil=True)
def _find_triggers(
    data: Bytes,
    offsets: Integers,
    row: int,
    at: int,
    wanted: int,
    begins: Bytes,
    literals: _Literals,
    names: _Names,
    found: Integers,
) -> Any:
    """Fill ``found`` with the row, start, stop and bits of triggers, by place, from a byte of a row on.

    Returns how many there are, and the row and byte to go on from: the row is n at the end.
    """
    count = 0
    while row < len(offsets) - 1:
        begin, end = offsets[row], offsets[row + 1]
        at = max(at, begin)
        while at < end:
            what = begins[data[at], data[at + 1] if at + 1 < end else 0]
            if what == _NOTHING:
                at += 1
                continue
            if what == _WORD_START:
                bits, stop, after = 0, at + 1, at + 1
                if at == begin or not (_WORD[data[at]] and _WORD[data[at - 1]]):
                    bits, stop = _literal(data, at, end, literals)
            else:
                bits, stop, after = _symbol(data, begin, at, end, names)
            if bits & wanted:
                if count == len(found):
                    return count, row, at
                found[count, 0], found[count, 1], found[count, 2], found[count, 3] = row, at, stop, bits & wanted
                count += 1
            at = after
        row += 1
    return count, row, at


@numba.njit(cache=True, nogil=True)
def _literal(data: Bytes, at: int, end: int, literals: _Literals) -> Any:
    """The trigger of the longest literal at a byte, and where it ends."""
    values, lengths, triggers = literals
    found, stop = 0, at + 1
    for literal in range(len(lengths)):
        length = lengths[literal]
        index = 0
        while index < length and at + index < end and data[at + index] == values[literal, index]:
            index += 1
        if index == length:
            found, stop = triggers[literal], at + length
    return found, stop


@numba.njit(cache=True, nogil=True)
def _symbol(data: Bytes, begin: int, at: int, end: int, names: _Names) -> Any:
    """The triggers at a digit, an ``@`` or a sign, perhaps full-width; where they end; and where to go on."""
    symbol, width = _folded(data, at, end)
    after = at + width
    if 48 <= symbol < 58:
        is_number, last = _number(data, begin, at, end)
        return (NUMBER if is_number else 0), last, last
    found, stop = 0, after
    if symbol == 0x40:
        found |= ADDRESS if _is_address(data, begin, at, after, end) else 0
        found |= CREDENTIALS if _has_credentials(data, begin, at) else 0
    elif symbol in (0x3A, 0x3D) or _is_copula(data, at, after):
        found |= HEXADECIMAL if _is_hexadecimal(data, begin, at, end) else 0
        value = _value_after(data, after, end)
        if value and _is_named(data, begin, at, names):
            found |= ASSIGNMENT
            stop = value
    return found, stop, after


@numba.njit(cache=True, nogil=True)
def _is_copula(data: Bytes, at: int, after: int) -> Any:
    """Whether a character is 是 or 为."""
    if after - at != 3:
        return False
    first, second, third = data[at], data[at + 1], data[at + 2]
    return (first == 0xE6 and second == 0x98 and third == 0xAF) or (first == 0xE4 and second == 0xB8 and third == 0xBA)


@numba.njit(cache=True, nogil=True)
def _number(data: Bytes, begin: int, start: int, end: int) -> tuple[bool, int]:
    """Whether the digits from a first one on are a trigger, and where the last one ends."""
    at = last = start
    digits = dots = gap = 0
    before = 0x20
    closed = True  # nothing has parted two digits yet
    while at < end and gap <= _GAP:
        symbol, width = _folded(data, at, end)
        if 48 <= symbol < 58:
            digits += 1
            closed = closed and gap == 0
            dots += gap == 1 and before == 0x2E
            gap = 0
            at += width
            last = at
        elif symbol in (0x20, 0x2E, 0x2D, 0x28, 0x29, 0x2F, 0x2B):
            gap += 1
            at += width
        else:
            break
        before = symbol
    if (closed and digits > 40) or (8 <= digits <= 10 and _is_date(data, start, last)):
        return False, last
    return digits >= 7 or (dots >= 3 and digits >= 5) or _starts_iban(data, begin, start, end), last


@numba.njit(cache=True, nogil=True)
def _is_date(data: Bytes, start: int, stop: int) -> bool:
    """Whether digits start as 2023-10-05, 2023/10/05 or 2023.10.05 do, and no more than two come after: no detector takes that."""
    if stop - start < 10 or (stop - start > 10 and 48 <= data[start + 10] < 58):
        return False
    century = 10 * (data[start] - 48) + data[start + 1] - 48
    if century not in (19, 20) or data[start + 5] not in (48, 49) or not 48 <= data[start + 8] <= 51:
        return False
    for place in range(2, 10):
        if place in (4, 7):
            if data[start + place] not in (0x2D, 0x2E, 0x2F):
                return False
        elif not 48 <= data[start + place] < 58:
            return False
    return True


@numba.njit(cache=True, nogil=True)
def _starts_iban(data: Bytes, begin: int, start: int, end: int) -> bool:
    """Whether a digit is the third place of two capital letters, two digits, and eleven more of either."""
    if start - begin < 2 or not (65 <= data[start - 1] < 91 and 65 <= data[start - 2] < 91):
        return False
    places = 0
    at = start
    while at < end and places < 13:
        if 48 <= data[at] < 58 or (65 <= data[at] < 91 and places >= 2):
            places += 1
        elif data[at] != 0x20:
            return False
        at += 1
    return places == 13


@numba.njit(cache=True, nogil=True)
def _is_wide(data: Bytes, begin: int, at: int) -> bool:
    """Whether a full-width form ends just before a byte."""
    return at - begin >= 3 and data[at - 3] == 0xEF and (data[at - 2] == 0xBC or data[at - 2] == 0xBD)


@numba.njit(cache=True, nogil=True)
def _is_address(data: Bytes, begin: int, at: int, after: int, end: int) -> bool:
    if at == begin or not (_LOCAL[data[at - 1]] or _is_wide(data, begin, at)):
        return False
    limit = min(end, after + 512)
    while after < limit:
        symbol, width = _folded(data, after, end)
        if symbol == 0x2E:
            return True
        if symbol != 0x2D and (symbol in (0, 0x5F) or not _WORD[symbol]):
            return False
        after += width
    return False


@numba.njit(cache=True, nogil=True)
def _has_credentials(data: Bytes, begin: int, at: int) -> bool:
    colon = False
    back = at - 1
    limit = max(begin + 2, at - 300)
    while back >= limit and data[back] > 0x20 and data[back] != 0x40:
        if data[back] == 0x2F:
            return colon and data[back - 1] == 0x2F and data[back - 2] == 0x3A
        colon = colon or data[back] == 0x3A
        back -= 1
    return False


@numba.njit(cache=True, nogil=True)
def _is_hexadecimal(data: Bytes, begin: int, at: int, end: int) -> Any:
    if at - begin < 4 or at + 1 >= end or not (data[at - 4] == 0x32 or data[at - 4] == 0x33):
        return False
    return (
        _HEX[data[at - 3]]
        and _HEX[data[at - 2]]
        and _HEX[data[at - 1]]
        and (_HEX[data[at + 1]] or data[at + 1] == 0x3A)
    )


@numba.njit(cache=True, nogil=True)
def _is_named(data: Bytes, begin: int, at: int, names: _Names) -> bool:
    """Whether a name ends before a sign, whatever its case, with up to six spaces, quotes or brackets between."""
    last = at - 1
    limit = max(begin, at - 6)
    while last >= limit and data[last] in (0x20, 0x09, 0x22, 0x27, 0x60, 0x29, 0x5D, 0x2A):
        last -= 1
    backwards, lengths = names
    for name in range(len(lengths)):
        length = lengths[name]
        if last - length + 1 < begin:
            continue
        index = 0
        while index < length:
            byte = data[last - index]
            if (byte + 32 if 65 <= byte < 91 else byte) != backwards[name, index]:
                break
            index += 1
        if index == length:
            return True
    return False


@numba.njit(cache=True, nogil=True)
def _value_after(data: Bytes, at: int, end: int) -> int:
    """Where the value after a sign starts; 0 where none does within eight bytes."""
    limit = min(end, at + 8)
    while at < limit and data[at] in (0x20, 0x09, 0x22, 0x27, 0x60, 0x2A, 0x3A, 0x3D, 0x3E):
        at += 1
    return at if at < end and 0x21 <= data[at] < 0x7F else 0


@numba.njit(cache=True, nogil=True)
def _extend(
    data: Bytes, offsets: Integers, rows: Integers, starts: Integers, stops: Integers, bits: Integers, reaches: Integers
) -> Any:
    """The triggers' windows, at the borders of characters."""
    lows, highs = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    row, space = -1, 0  # the first white space after an earlier trigger of the row
    for index in range(len(rows)):
        begin, end = offsets[rows[index]], offsets[rows[index] + 1]
        before, after, ends_before, ends_after = reaches[bits[index]]
        low = max(begin, starts[index] - before)
        if ends_before:
            at = starts[index]
            while at > low and data[at - 1] > 0x20:
                at -= 1
            low = at
        high = min(end, stops[index] + after)
        if ends_after:
            if rows[index] != row or space < stops[index]:
                row, space = rows[index], stops[index]
                while space < end and data[space] > 0x20:
                    space += 1
            high = min(high, space)
        for _ in range(_CONTEXT + 1):
            low, high = _previous(data, begin, low), _next(data, high, end)
        lows[index], highs[index] = low, high
    return lows, highs


@numba.njit(cache=True, nogil=True)
def _previous(data: Bytes, begin: int, at: int) -> Any:
    """The start of the character before a byte."""
    if at > begin:
        at -= 1
        while at > begin and data[at] & 0xC0 == 0x80:
            at -= 1
    return at


@numba.njit(cache=True, nogil=True)
def _next(data: Bytes, at: int, end: int) -> Any:
    """The start of the character after a byte."""
    if at < end:
        at += 1
        while at < end and data[at] & 0xC0 == 0x80:
            at += 1
    return at


@numba.njit(cache=True, nogil=True)
def _merge(offsets: Integers, rows: Integers, starts: Integers, stops: Integers, bits: Integers) -> Any:
    """Windows that overlap as one, and which of their ends are not their text's."""
    last = np.empty(len(rows), np.int64)
    merged_starts, merged_stops = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    sets = np.empty(len(rows), np.int64)
    count = 0
    for index in range(len(rows)):
        if count and last[count - 1] == rows[index] and starts[index] <= merged_stops[count - 1]:
            merged_stops[count - 1] = max(merged_stops[count - 1], stops[index])
            sets[count - 1] |= bits[index]
        else:
            last[count], merged_starts[count], merged_stops[count] = rows[index], starts[index], stops[index]
            sets[count] = bits[index]
            count += 1
    last, merged_starts, merged_stops = last[:count], merged_starts[:count], merged_stops[:count]
    return (
        last,
        merged_starts,
        merged_stops,
        merged_starts > offsets[last],
        merged_stops < offsets[last + 1],
        sets[:count],
    )
