"""C4's rules (Raffel et al. 2020, "Exploring the Limits of Transfer Learning", JMLR 21, section 2.2), as scores and as a cleaner.

C4 drops lines first and judges a page by what is left. ``measure`` leaves the text as it is and says what C4 would find; ``clean``
drops the lines. A rule about pages has the published threshold; a rule about lines has none for a page, so it is only a score
unless a config gives it a bound. To do as C4 did, clean, then keep what has the sentences.

====================  ===========================================================================================================
line                  as ``lines`` says
end                   what is left of a line without citations ("[1]", "[edit]", "[citation needed]") and the white space at its end.
                      It is terminal punctuation if it is a character that may end a sentence in some script (Unicode's
                      Sentence_Terminal) or a quotation mark, but not "..."
word                  as the segmentation says. 3 a line, at most 1,000 characters long (the latter from the published code)
phrase                ``javascript``, and ``POLICIES`` from the published code; in any ASCII case
sentence              ends with terminal characters, then any closing quotation marks or brackets, then white space or the line's
                      end; full-width terminals need no white space. It has a character that is none of these. Counted in the
                      lines that C4 keeps. C4 used NLTK's tokenizer
bad word              from a list that the user gives; not next to a letter or digit, in any case
====================  ===========================================================================================================

The paper says 5 sentences and lines of 3 words; the code published with TensorFlow Datasets says 3 and 5.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import numba
import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from transforms.text.filtering import Rule, table
from transforms.text.lines import Lines
from transforms.text.words import (
    CLOSING,
    QUOTATION,
    SPACE,
    TERMINAL,
    Bytes,
    Integers,
    Texts,
    Words,
    decode,
    properties,
)

VERSION: Final = 1
"""Raised whenever a text gets another score or is cleaned in another way."""

MIN_LINE_WORDS: Final = 3
MAX_WORD_CHARACTERS: Final = 1_000
LOREM_IPSUM: Final = "lorem ipsum"
JAVASCRIPT: Final = "javascript"
POLICIES: Final = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)

_SOURCE: Final = "C4: Raffel et al. 2020, section 2.2"
_CODE: Final = "C4's code: TensorFlow Datasets, c4_utils.clean_page"

RULES: Final = table(
    [
        Rule("c4_sentences", _SOURCE, "sentences in the lines that C4 keeps", minimum=5),
        Rule("c4_lorem_ipsum", _SOURCE, 'lines with "lorem ipsum"', maximum=0),
        Rule("c4_curly_brackets", _SOURCE, 'lines with "{"', maximum=0),
        Rule("c4_bad_words", _SOURCE, "words of the list of bad words", maximum=0),
        Rule("c4_open_lines", _SOURCE, "lines that do not end with terminal punctuation"),
        Rule("c4_short_lines", _SOURCE, f"lines with fewer than {MIN_LINE_WORDS} words"),
        Rule("c4_long_word_lines", _CODE, f"lines with a word of more than {MAX_WORD_CHARACTERS:,} characters"),
        Rule("c4_javascript_lines", _SOURCE, 'lines with "javascript"'),
        Rule("c4_policy_lines", _CODE, "lines that speak of cookies or terms of use"),
    ]
)

_COLUMNS: Final = (
    "c4_sentences",
    "c4_lorem_ipsum",
    "c4_curly_brackets",
    "c4_open_lines",
    "c4_short_lines",
    "c4_long_word_lines",
    "c4_javascript_lines",
    "c4_policy_lines",
)
_SENTENCES, _LOREM, _CURLY, _OPEN, _SHORT, _LONG_WORD, _JAVASCRIPT, _POLICY = range(len(_COLUMNS))

_CITATION: Final = r"\[[0-9]*\]|\[edit\]|\[citation needed\]"
_CITATION_WORDS: Final = tuple(np.frombuffer(word, np.uint8) for word in (b"[edit]", b"[citation needed]"))
_PHRASES: Final = (LOREM_IPSUM, JAVASCRIPT, *POLICIES)
_PHRASE_COLUMNS: Final = np.array([_LOREM, _JAVASCRIPT] + [_POLICY] * len(POLICIES), np.int64)
_PHRASE_BYTES: Final = np.frombuffer("".join(_PHRASES).encode(), np.uint8)
_PHRASE_OFFSETS: Final = np.concatenate([[0], np.cumsum([len(phrase) for phrase in _PHRASES])]).astype(np.int64)

_WITHOUT_SPACES: Final = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
_CURLY_BRACKET: Final = ord("{")
_DOT: Final = ord(".")
_WIDE: Final = 0x3000


def measure(series: pl.Series, texts: Texts, words: Words, lines: Lines) -> pl.DataFrame:
    """The scores of all ``RULES`` but the bad words, an Int64 column each, one row a text.

    Args:
        series: String, n texts.
        texts: The same in one buffer.
        words: Their words.
        lines: Their lines.
    """
    scores, _ = _measure(texts.data, *words, *lines, _has_phrase(series), properties())
    return pl.DataFrame(dict(zip(_COLUMNS, scores, strict=True)))


def clean(series: pl.Series, texts: Texts, words: Words, lines: Lines) -> pl.Series:
    """The texts with the lines that C4 keeps, parted by line feeds, and without citations; String, null where the text is null."""
    _, kept = _measure(texts.data, *words, *lines, _has_phrase(series), properties())
    data, offsets = _join(texts.data, *lines, kept)
    cleaned = _strings(data, offsets).str.replace_all(_CITATION, "").rename(series.name)
    return pl.select(pl.when(series.is_not_null()).then(cleaned)).to_series()


def count_bad_words(series: pl.Series, bad_words: Sequence[str]) -> pl.Series:
    """How many of a text's words (or phrases) are on the list: Int64.

    Raises:
        ValueError: The list is empty, or has an empty entry.
    """
    if not bad_words or not all(word.strip() for word in bad_words):
        raise ValueError("expected at least one bad word, and no empty one")
    return series.fill_null("").str.count_matches("|".join(map(_bad_word, bad_words))).cast(pl.Int64)


def _bad_word(word: str) -> str:
    """A pattern for a word; an end that is of a script without spaces may touch other letters."""
    word = word.strip()
    before = "" if re.match(_WITHOUT_SPACES, word[0]) else r"\b{start-half}"
    after = "" if re.match(_WITHOUT_SPACES, word[-1]) else r"\b{end-half}"
    return f"(?i:{before}{pl.escape_regex(word)}{after})"


def _has_phrase(series: pl.Series) -> npt.NDArray[np.bool_]:
    return series.fill_null("").str.contains_any(list(_PHRASES), ascii_case_insensitive=True).to_numpy()


def _strings(data: Bytes, offsets: Integers) -> pl.Series:
    array = pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))
    return pl.Series(array)


@numba.njit(cache=True, nogil=True)
def _measure(
    data: Bytes,
    word_starts: Integers,
    word_stops: Integers,
    word_offsets: Integers,
    line_starts: Integers,
    line_stops: Integers,
    line_offsets: Integers,
    has_phrase: npt.NDArray[np.bool_],
    table: Bytes,
) -> Any:
    """Int64 scores by [column, text], and for each line whether C4 keeps it."""
    scores = np.zeros((len(_COLUMNS), len(line_offsets) - 1), np.int64)
    kept = np.zeros(len(line_starts), np.bool_)
    found = np.zeros(len(_COLUMNS), np.int64)
    for row in range(len(line_offsets) - 1):
        word, last_word = word_offsets[row], word_offsets[row + 1]
        for line in range(line_offsets[row], line_offsets[row + 1]):
            start, stop = line_starts[line], line_stops[line]
            found[:] = 0
            count = 0
            while word < last_word and word_starts[word] < stop:
                count += 1
                if word_stops[word] - word_starts[word] > MAX_WORD_CHARACTERS:
                    found[_LONG_WORD] |= _characters(data, word_starts[word], word_stops[word]) > MAX_WORD_CHARACTERS
                word += 1
            found[_SHORT] = count < MIN_LINE_WORDS
            stop = _without_citations(data, start, stop, table)
            found[_OPEN] = not _is_terminated(data, start, stop, table)
            for at in range(start, stop):
                found[_CURLY] |= data[at] == _CURLY_BRACKET
            if has_phrase[row]:
                for phrase in range(len(_PHRASE_COLUMNS)):
                    wanted = _PHRASE_BYTES[_PHRASE_OFFSETS[phrase] : _PHRASE_OFFSETS[phrase + 1]]
                    found[_PHRASE_COLUMNS[phrase]] |= _contains(data, start, stop, wanted)
            kept[line] = not (
                found[_OPEN] or found[_SHORT] or found[_LONG_WORD] or found[_JAVASCRIPT] or found[_POLICY]
            )
            if kept[line]:
                found[_SENTENCES] = _sentences(data, start, stop, table)
            scores[:, row] += found
    return scores, kept


@numba.njit(cache=True, nogil=True)
def _characters(data: Bytes, start: int, stop: int) -> int:
    count = 0
    for at in range(start, stop):
        count += data[at] & 0xC0 != 0x80
    return count


@numba.njit(cache=True, nogil=True)
def _before(data: Bytes, stop: int) -> int:
    """Where the character that ends at a byte starts."""
    at = stop - 1
    while data[at] & 0xC0 == 0x80:
        at -= 1
    return at


@numba.njit(cache=True, nogil=True)
def _without_citations(data: Bytes, start: int, stop: int, table: Bytes) -> int:
    """Where a line ends without the citations and white space at its end."""
    while stop > start:
        at = _before(data, stop)
        if table[decode(data, at)[0]] & SPACE:
            stop = at
            continue
        opened = _citation(data, start, stop)
        if opened == stop:
            break
        stop = opened
    return stop


@numba.njit(cache=True, nogil=True)
def _citation(data: Bytes, start: int, stop: int) -> int:
    """Where the citation starts that ends at ``stop``; ``stop`` where none does."""
    for citation in _CITATION_WORDS:
        if stop - start >= len(citation) and (data[stop - len(citation) : stop] == citation).all():
            return stop - len(citation)
    if data[stop - 1] == ord("]"):
        at = stop - 2
        while at >= start and ord("0") <= data[at] <= ord("9"):
            at -= 1
        if at >= start and data[at] == ord("["):
            return at
    return stop


@numba.njit(cache=True, nogil=True)
def _is_terminated(data: Bytes, start: int, stop: int, table: Bytes) -> Any:
    if stop == start:
        return False
    if stop - start >= 3 and data[stop - 1] == _DOT and data[stop - 2] == _DOT and data[stop - 3] == _DOT:
        return False
    return (table[decode(data, _before(data, stop))[0]] & (TERMINAL | QUOTATION)) != 0


@numba.njit(cache=True, nogil=True)
def _sentences(data: Bytes, start: int, stop: int, table: Bytes) -> int:
    count, begun, ended, wide = 0, False, False, False
    at = start
    while at < stop:
        point, length = decode(data, at)
        known = table[point]
        if known & TERMINAL:
            wide = (ended and wide) or point >= _WIDE
            ended = True
        elif not known & CLOSING:
            space = known & SPACE != 0
            if ended and (space or wide):
                count += begun
                begun = False
            begun |= not space
            ended = False
        at += length
    return count + begun


@numba.njit(cache=True, nogil=True)
def _contains(data: Bytes, start: int, stop: int, phrase: Bytes) -> bool:
    """Whether bytes, in any ASCII case, hold a phrase in lower case."""
    for at in range(start, stop - len(phrase) + 1):
        same = 0
        while same < len(phrase) and _lower(data[at + same]) == phrase[same]:
            same += 1
        if same == len(phrase):
            return True
    return False


@numba.njit(cache=True, inline="always")
def _lower(byte: int) -> int:
    return byte | 0x20 if 0x41 <= byte <= 0x5A else byte


@numba.njit(cache=True, nogil=True)
def _join(data: Bytes, starts: Integers, stops: Integers, offsets: Integers, kept: npt.NDArray[np.bool_]) -> Any:
    """The kept lines with line feeds between them, as one buffer and n + 1 offsets."""
    size = 0
    for line in range(len(starts)):
        size += kept[line] * (stops[line] - starts[line] + 1)
    joined, joined_offsets = np.empty(size, np.uint8), np.zeros(len(offsets), np.int64)
    end = 0
    for row in range(len(offsets) - 1):
        for line in range(offsets[row], offsets[row + 1]):
            if kept[line]:
                if end > joined_offsets[row]:
                    joined[end] = 0x0A
                    end += 1
                length = stops[line] - starts[line]
                joined[end : end + length] = data[starts[line] : stops[line]]
                end += length
        joined_offsets[row + 1] = end
    return joined, joined_offsets
