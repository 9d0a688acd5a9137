"""FineWeb's own quality rules (Penedo et al. 2024, "The FineWeb Datasets", arXiv 2406.17557, section 3.6, custom filters).

The paper names three rules; the fourth is in the published code only (datatrove, ``FineWebQualityFilter``), which also differs from
the paper in one threshold: it drops a text when 0.01 of its characters, not 0.1, are in duplicated lines. Defaults are the paper's.

================  ==============================================================================================================
line              as ``lines`` says: without the white space around it, blank lines left out
punctuation       a character that may end a sentence in some script (Unicode's Sentence_Terminal), or a quotation mark, right
                  before the line's end: white space between them, as wikitext has it, makes it none, in the published code too
short             fewer than 30 characters
duplicated        equal to a line before it: the first is not. Lines are compared by XXH64
================  ==============================================================================================================

A share of nothing is 0. Linear time; a table of 32 to 64 bytes for each line of the longest text of a call.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np
import polars as pl

from transforms.text.filtering import Rule, table
from transforms.text.gopher import per
from transforms.text.lines import Lines, ends_line
from transforms.text.words import QUOTATION, TERMINAL, Bytes, Integers, Texts, Words, decode, hash_bytes, properties

VERSION: Final = 1
"""Raised whenever a text gets another score."""

SHORT: Final = 30
"""Characters that a line has to have not to be short."""

_SOURCE: Final = "FineWeb: Penedo et al. 2024, section 3.6"

RULES: Final = table(
    [
        Rule(
            "fineweb_punctuated_lines",
            _SOURCE,
            "share of lines that end with punctuation",
            minimum=0.12,
            strict=True,
        ),
        Rule(
            "fineweb_duplicate_line_characters",
            _SOURCE,
            "share of characters in duplicated lines",
            maximum=0.1,
            strict=True,
        ),
        Rule(
            "fineweb_short_lines",
            _SOURCE,
            f"share of lines shorter than {SHORT} characters",
            maximum=0.67,
            strict=True,
        ),
        Rule(
            "fineweb_newline_ratio",
            "FineWeb's code: datatrove, FineWebQualityFilter, new_line_ratio",
            "line feeds a word",
            maximum=0.3,
        ),
    ]
)

_LINE_FEED: Final = 0x0A


def measure(texts: Texts, words: Words, lines: Lines) -> pl.DataFrame:
    """The scores of all ``RULES``, a Float32 column each, one row a text."""
    punctuated, short, characters, duplicated = _measure_lines(texts.data, texts.offsets, *lines, properties())
    line_count = np.diff(lines.offsets)
    scores = {
        "fineweb_punctuated_lines": per(punctuated, line_count),
        "fineweb_duplicate_line_characters": per(duplicated, characters),
        "fineweb_short_lines": per(short, line_count),
        "fineweb_newline_ratio": per(_line_feeds(texts.data, texts.offsets), np.diff(words.offsets)),
    }
    return pl.DataFrame(scores)


@numba.njit(cache=True, nogil=True)
def _measure_lines(
    data: Bytes, text_offsets: Integers, starts: Integers, stops: Integers, offsets: Integers, table: Bytes
) -> Any:
    """For each text: punctuated lines, short lines, characters of all lines, and those of lines equal to one before."""
    rows = len(offsets) - 1
    punctuated, short = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    characters, duplicated = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    size = 2
    for row in range(rows):
        while size < 2 * (offsets[row + 1] - offsets[row]):
            size *= 2
    # A hash table that all texts share: an entry is taken when it bears the text's own number.
    seen, taken_by = np.empty(size, np.uint64), np.full(size, -1, np.int64)
    for row in range(rows):
        for line in range(offsets[row], offsets[row + 1]):
            start, stop = starts[line], stops[line]
            length = 0
            for at in range(start, stop):
                length += data[at] & 0xC0 != 0x80
            characters[row] += length
            short[row] += length < SHORT
            last = stop - 1
            while data[last] & 0xC0 == 0x80:
                last -= 1
            if stop == text_offsets[row + 1] or ends_line(decode(data, stop)[0]):
                punctuated[row] += (table[decode(data, last)[0]] & (TERMINAL | QUOTATION)) != 0
            line_hash = hash_bytes(data, start, stop)
            slot = np.int64(line_hash & np.uint64(size - 1))
            while taken_by[slot] == row and seen[slot] != line_hash:
                slot = (slot + 1) & (size - 1)
            if taken_by[slot] == row:
                duplicated[row] += length
            else:
                seen[slot], taken_by[slot] = line_hash, row
    return punctuated, short, characters, duplicated


@numba.njit(cache=True, nogil=True)
def _line_feeds(data: Bytes, offsets: Integers) -> Integers:
    counts = np.zeros(len(offsets) - 1, np.int64)
    for row in range(len(counts)):
        found = 0
        for at in range(offsets[row], offsets[row + 1]):
            found += data[at] == _LINE_FEED
        counts[row] = found
    return counts
