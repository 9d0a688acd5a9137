"""Gopher's quality rules (Rae et al. 2021, "Scaling Language Models", arXiv 2112.11446, section A.1.1, quality filtering).

The paper leaves open what its words stand for. Here:

==============  ================================================================================================================
word            as the segmentation says; its length is in characters (code points)
symbol ratio    number signs, or ellipses ("..." or "…"), for each word; a text without words counts as one word
line            as ``lines`` says: without the white space around it, blank lines left out
bullet          one of ``• ‣ ◦ ⁃ ▪ * -`` as a line's first character
stop word       different ones, as they are written: "The" and "the," are none
==============  ================================================================================================================

A share of nothing is 0. The kernels read each byte of a text twice, once for words and once for lines.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np
import numpy.typing as npt
import polars as pl

from transforms.text.filtering import Rule, table
from transforms.text.lines import Lines
from transforms.text.words import ALPHABETIC, Bytes, Integers, Texts, Words, decode, properties

VERSION: Final = 1
"""Raised whenever a text gets another score."""

STOP_WORDS: Final = ("the", "be", "to", "of", "and", "that", "have", "with")

_SOURCE: Final = "Gopher: Rae et al. 2021, section A.1.1"

RULES: Final = table(
    [
        Rule("gopher_word_count", _SOURCE, "words", minimum=50, maximum=100_000),
        Rule("gopher_mean_word_length", _SOURCE, "mean characters of a word", minimum=3, maximum=10),
        Rule("gopher_hash_ratio", _SOURCE, "number signs (#) a word", maximum=0.1),
        Rule("gopher_ellipsis_ratio", _SOURCE, "ellipses a word", maximum=0.1),
        Rule("gopher_bullet_lines", _SOURCE, "share of lines that start with a bullet", maximum=0.9),
        Rule("gopher_ellipsis_lines", _SOURCE, "share of lines that end with an ellipsis", maximum=0.3),
        Rule("gopher_alphabetic_words", _SOURCE, "share of words with an alphabetic character", minimum=0.8),
        Rule("gopher_stop_words", _SOURCE, f"how many of {', '.join(STOP_WORDS)} occur", minimum=2),
    ]
)

_BULLETS: Final = np.array([ord(character) for character in "•‣◦⁃▪*-"], np.int64)
_PACKED_STOP_WORDS: Final = np.array([int.from_bytes(word.encode(), "little") for word in STOP_WORDS], np.int64)
_LONGEST_STOP_WORD: Final = max(map(len, STOP_WORDS))
_HASH: Final = ord("#")
_DOT: Final = ord(".")
_ELLIPSIS: Final = 0x2026


def measure(texts: Texts, words: Words, lines: Lines) -> pl.DataFrame:
    """The scores of all ``RULES``, a column each: Int64 counts and Float32 shares, one row a text."""
    characters, alphabetic, stop_words = _measure_words(texts.data, *words, properties())
    hashes, ellipses, bulleted, trailing = _measure_lines(texts.data, *lines)
    word_count, line_count = np.diff(words.offsets), np.diff(lines.offsets)
    scores = {
        "gopher_word_count": word_count,
        "gopher_mean_word_length": per(characters, word_count),
        "gopher_hash_ratio": per(hashes, word_count),
        "gopher_ellipsis_ratio": per(ellipses, word_count),
        "gopher_bullet_lines": per(bulleted, line_count),
        "gopher_ellipsis_lines": per(trailing, line_count),
        "gopher_alphabetic_words": per(alphabetic, word_count),
        "gopher_stop_words": stop_words,
    }
    return pl.DataFrame(scores)


def per(amounts: Integers, units: Integers) -> npt.NDArray[np.float32]:
    """Amounts for each unit as Float32, where no units count as one."""
    return (amounts / np.maximum(units, 1)).astype(np.float32)


@numba.njit(cache=True, nogil=True)
def _measure_words(data: Bytes, starts: Integers, stops: Integers, offsets: Integers, table: Bytes) -> Any:
    """For each text: the characters in its words, the words with an alphabetic one, and how many stop words occur."""
    rows = len(offsets) - 1
    characters, alphabetic, stop_words = np.zeros(rows, np.int64), np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    for row in range(rows):
        length, spelled = 0, 0
        met = np.zeros(len(_PACKED_STOP_WORDS), np.bool_)
        for word in range(offsets[row], offsets[row + 1]):
            at, stop = starts[word], stops[word]
            if stop - at <= _LONGEST_STOP_WORD:
                packed = np.int64(0)
                for index in range(stop - at):
                    packed |= np.int64(data[at + index]) << (8 * index)
                for index in range(len(_PACKED_STOP_WORDS)):
                    met[index] |= packed == _PACKED_STOP_WORDS[index]
            known = 0
            while at < stop:
                point, size = decode(data, at)
                known |= table[point]
                length += 1
                at += size
            spelled += (known & ALPHABETIC) != 0
        characters[row], alphabetic[row], stop_words[row] = length, spelled, met.sum()
    return characters, alphabetic, stop_words


@numba.njit(cache=True, nogil=True)
def _measure_lines(data: Bytes, starts: Integers, stops: Integers, offsets: Integers) -> Any:
    """For each text: its number signs, ellipses, lines that start with a bullet, and lines that end with an ellipsis."""
    rows = len(offsets) - 1
    hashes, ellipses = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    bulleted, trailing = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    for row in range(rows):
        for line in range(offsets[row], offsets[row + 1]):
            at, stop = starts[line], stops[line]
            bulleted[row] += decode(data, at)[0] in _BULLETS
            trailing[row] += _is_ellipsis(data, stop - 3, at)
            dots = 0
            while at < stop:
                byte = data[at]
                hashes[row] += byte == _HASH
                dots = dots + 1 if byte == _DOT else 0
                if dots == 3:
                    ellipses[row] += 1
                    dots = 0
                if byte == 0xE2 and decode(data, at)[0] == _ELLIPSIS:
                    ellipses[row] += 1
                at += 1
    return hashes, ellipses, bulleted, trailing


@numba.njit(cache=True, nogil=True)
def _is_ellipsis(data: Bytes, at: int, start: int) -> Any:
    """Whether the three bytes from ``at`` on, if they are not before ``start``, are an ellipsis."""
    if at < start:
        return False
    dots = data[at] == _DOT and data[at + 1] == _DOT and data[at + 2] == _DOT
    return dots or (data[at] == 0xE2 and data[at + 1] == 0x80 and data[at + 2] == 0xA6)
