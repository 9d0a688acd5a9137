"""What a line is: the spans of the lines of each text, found in one compiled pass over the Arrow buffer.

A line lies between line ends: the mandatory breaks of Unicode Standard Annex 14, which are line feed, carriage return, vertical tab,
form feed, next line, line separator and paragraph separator. It is what is there without the white space around it. A blank line is no
line, so that a rule about a share of lines means the same whether paragraphs are one or two line ends apart.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numba
import numpy as np

from transforms.text.words import SPACE, Bytes, Integers, Texts, decode, properties, with_room

VERSION: Final = 1
"""Raised whenever a text has other lines."""


class Lines(NamedTuple):
    """The lines of n texts: Int64 byte ``starts`` and ``stops`` in the buffer, and n + 1 ``offsets`` of each text's first line."""

    starts: Integers
    stops: Integers
    offsets: Integers


def split(texts: Texts) -> Lines:
    """Find the lines of each text."""
    return Lines(*_find(texts.data, texts.offsets, properties()))


@numba.njit(cache=True, nogil=True)
def _find(data: Bytes, offsets: Integers, table: Bytes) -> Any:
    spans = np.empty((2, (offsets[-1] - offsets[0]) // 32), np.int64)
    firsts = np.zeros(len(offsets), np.int64)
    for row in range(len(offsets) - 1):
        spans = with_room(spans, firsts[row], offsets[row + 1] - offsets[row])
        firsts[row + 1] = _find_in_text(data, offsets[row], offsets[row + 1], table, spans[0], spans[1], firsts[row])
    return spans[0, : firsts[-1]], spans[1, : firsts[-1]], firsts


@numba.njit(cache=True, nogil=True)
def _find_in_text(data: Bytes, at: int, stop: int, table: Bytes, starts: Integers, stops: Integers, found: int) -> int:
    """Write the spans of one text's lines from ``found`` on; how many there are then."""
    within = False
    while at < stop:
        point, length = decode(data, at)
        if not table[point] & SPACE:
            if not within:
                within = True
                starts[found] = at
                found += 1
            stops[found - 1] = at + length
        elif within and ends_line(point):
            within = False
        at += length
    return found


@numba.njit(cache=True, inline="always")
def ends_line(point: int) -> bool:
    """Whether a code point ends a line. For kernels."""
    return 0x0A <= point <= 0x0D or point in (0x85, 0x2028, 0x2029)
