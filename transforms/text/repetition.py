"""How much of a text repeats itself: the rules of Gopher (Rae et al. 2021, "Scaling Language Models", section A1.1, table A1).

Where the paper is silent, or leaves a choice, this module does as the published filter of datatrove, with the differences named:

=====================  ======================================================================================================
question               answer
=====================  ======================================================================================================
a line                 what stands between runs of line breaks (line feed, carriage return), as it is. Empty lines are none.
                       datatrove takes only the line feed for a break, so that a text with Windows line ends has a "\\r" between
                       any two paragraphs; and it counts an empty line at the start or end of a text
a paragraph            what stands between runs of line breaks that hold two line feeds or more
a duplicate            a line or paragraph equal to one before it, white space included: the first is none
characters             code points; the whole text's, white space included, is what fractions are of
a word                 ``segmentation``, see ``words``
equal                  has the same 64-bit hash: lines, paragraphs and words; n-grams have the same words
top n-gram             the characters of the most frequent n-gram, times its occurrences, overlapping ones included; among equally
                       frequent n-grams the one met first. One that occurs once counts too, so that few words fail. A space is counted
                       between two words unless they touch, as Chinese words do; datatrove counts it always
duplicate n-grams      one walk through the text: an n-gram equal to one walked before is counted, without spaces, and all its words
                       are stepped over, so that none is counted twice; else the walk goes on with the next word. To datatrove,
                       which joins their characters, "a bc" equals "ab c"
an empty text          0.0 everywhere: nothing repeats
=====================  ======================================================================================================

An n-gram can only repeat where both (n - 1)-grams in it do. Each place therefore gets the number of the first place with an equal bigram;
an equal trigram is then an equal pair of two such numbers, and so on. Only places whose n-gram repeats go on to n + 1: of web and
encyclopedia text a third after the bigrams, an eighth after the trigrams, one in twenty after the 4-grams. The other eight n-gram rules
together cost less than the bigrams. Time and memory are linear in a text's words: 16 bytes for each and 4 for each slot of a hash table
that is at most half full. Texts are worked through about a megabyte at a time, and share the tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numba
import numpy as np
import numpy.typing as npt
import polars as pl

from transforms.text import filtering, words
from transforms.text.filtering import Rule
from transforms.text.words import Bytes, Hashes, Integers, Segmentation, Texts, Words

VERSION: Final = 1
"""Raised whenever a text's scores change."""

Places = npt.NDArray[np.int32]

_ODD: Final = np.uint64(0x9E3779B97F4A7C15)
_ANOTHER_ODD: Final = np.uint64(0xC2B2AE3D27D4EB4F)

_LINE_FEED: Final = ord("\n")
_RETURN: Final = ord("\r")

_SHORTEST: Final = 2
_LONGEST: Final = 10
_LONGEST_TOP: Final = 4

_SOURCE: Final = "Rae et al. 2021, section A1.1, table A1"


def _piece_rules() -> Iterator[Rule]:
    for piece in ("line", "paragraph"):
        yield Rule(f"duplicate_{piece}_fraction", _SOURCE, f"share of {piece}s equal to one before", maximum=0.30)
    for piece in ("line", "paragraph"):
        yield Rule(
            f"duplicate_{piece}_character_fraction",
            _SOURCE,
            f"share of characters in {piece}s equal to one before",
            maximum=0.20,
        )


def _gram_rules() -> Iterator[Rule]:
    for n, maximum in {2: 0.20, 3: 0.18, 4: 0.16}.items():
        description = f"share of characters in the most frequent {n}-gram"
        yield Rule(f"top_{n}_gram_character_fraction", _SOURCE, description, maximum=maximum)
    for n, maximum in {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}.items():
        description = f"share of characters in {n}-grams equal to one before, none counted twice"
        yield Rule(f"duplicate_{n}_gram_character_fraction", _SOURCE, description, maximum=maximum)


RULES: Final = filtering.table([*_piece_rules(), *_gram_rules()])
"""The thirteen rules by name, in the paper's order. Scores are shares; only a top n-gram that overlaps itself can pass 1."""

DEFAULT: Final = tuple(RULES.values())

_BATCH: Final = 1 << 20  # bytes of text measured at a time


def measure(
    texts: pl.Series, rules: Sequence[Rule] = DEFAULT, segmentation: Segmentation = "whitespace"
) -> pl.DataFrame:
    """Score texts by rules.

    Args:
        texts: String, n texts; a null one is taken for empty.
        rules: Which scores; a rule's bounds do not matter here.
        segmentation: What a word is.

    Returns:
        n rows, a Float32 column for each rule, named by it. Neither null nor NaN.

    Raises:
        ValueError: A rule of another module, or an unknown segmentation.
    """
    scores = []
    for batch in words.batches(texts, _BATCH):
        held = words.buffer(batch)
        scores.append(measure_words(held, words.segment(held, segmentation), rules))
    return pl.concat(scores)


def select(
    frame: pl.DataFrame, rules: Sequence[Rule] = DEFAULT, segmentation: Segmentation = "whitespace"
) -> pl.DataFrame:
    """Add the scores of a frame's ``text``, ``failed`` and ``reason``: see ``measure`` and ``filtering.select``."""
    return filtering.select(frame, measure(frame["text"], rules, segmentation), rules)


def measure_words(texts: Texts, found: Words, rules: Sequence[Rule] = DEFAULT) -> pl.DataFrame:
    """As ``measure``, for texts whose words are found already.

    Raises:
        ValueError: A rule of another module.
    """
    names = [rule.name for rule in rules]
    unknown = [name for name in names if name not in RULES]
    if unknown:
        raise ValueError(f"no repetition rule called {', '.join(unknown)}; there are {', '.join(RULES)}")
    characters = _count_characters(*texts)
    held = texts.data[texts.offsets[0] : texts.offsets[-1]]
    breaks = texts.offsets[0] + np.flatnonzero((held == _LINE_FEED) | (held == _RETURN))
    scores = {}
    for piece, feeds in (("line", 0), ("paragraph", 2)):
        if any(name.startswith(f"duplicate_{piece}_") for name in names):
            pieces = Words(*_find_pieces(*texts, breaks, feeds))
            duplicates, repeated = _measure_pieces(texts.data, *pieces, words.hashes(texts, pieces))
            scores[f"duplicate_{piece}_fraction"] = _share(duplicates, np.diff(pieces.offsets))
            scores[f"duplicate_{piece}_character_fraction"] = _share(repeated, characters)
    if any("_gram_" in name for name in names):
        counts = _measure_grams(texts.data, *found, words.hashes(texts, found))
        for n, counted in enumerate(counts, _SHORTEST):
            kind = "top" if n <= _LONGEST_TOP else "duplicate"
            scores[f"{kind}_{n}_gram_character_fraction"] = _share(counted, characters)
    return pl.DataFrame({name: scores[name] for name in names} or None, height=len(characters))


def _share(parts: Integers, wholes: Integers) -> npt.NDArray[np.float32]:
    return (parts / np.maximum(wholes, 1)).astype(np.float32)


@numba.njit(cache=True, nogil=True)
def _count_characters(data: Bytes, offsets: Integers) -> Integers:
    counts = np.empty(len(offsets) - 1, np.int64)
    for row in range(len(counts)):
        counts[row] = _characters(data, offsets[row], offsets[row + 1])
    return counts


@numba.njit(cache=True, nogil=True)
def _find_pieces(data: Bytes, offsets: Integers, breaks: Integers, feeds: int) -> tuple[Integers, Integers, Integers]:
    """The spans between runs of line breaks with at least so many line feeds, and each text's first; no empty ones."""
    starts, stops = np.empty((2, len(breaks) + len(offsets) - 1), np.int64)
    firsts = np.zeros(len(offsets), np.int64)
    found = at = 0
    for row in range(len(offsets) - 1):
        start, last = offsets[row], offsets[row + 1]
        while at < len(breaks) and breaks[at] < last:
            stop = after = breaks[at]
            met = 0
            while at < len(breaks) and breaks[at] == after and after < last:
                met += data[after] == _LINE_FEED
                after += 1
                at += 1
            if met >= feeds or stop == start or after == last:
                if stop > start:
                    starts[found], stops[found] = start, stop
                    found += 1
                start = after
        if last > start:
            starts[found], stops[found] = start, last
            found += 1
        firsts[row + 1] = found
    return starts[:found], stops[:found], firsts


@numba.njit(cache=True, nogil=True)
def _measure_pieces(
    data: Bytes, starts: Integers, stops: Integers, firsts: Integers, hashes: Hashes
) -> tuple[Integers, Integers]:
    """How many of each text's pieces equal one before, and how many characters are in those."""
    rows = len(firsts) - 1
    duplicates, characters = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    table = np.empty(1 << _bits(_longest(firsts)), np.int32)
    for row in range(rows):
        first, many = firsts[row], firsts[row + 1] - firsts[row]
        bits = _bits(many)
        table[: 1 << bits] = 0
        for piece in range(many):
            key = hashes[first + piece]
            slot = np.int64(key >> np.uint64(64 - bits))
            while table[slot] and hashes[first + table[slot] - 1] != key:
                slot = (slot + 1) & ((1 << bits) - 1)
            if table[slot]:
                duplicates[row] += 1
                characters[row] += _characters(data, starts[first + piece], stops[first + piece])
            else:
                table[slot] = piece + 1
    return duplicates, characters


@numba.njit(cache=True, nogil=True)
def _measure_grams(data: Bytes, starts: Integers, stops: Integers, firsts: Integers, hashes: Hashes) -> Integers:
    """Characters in the top or duplicate n-grams of each text: [n - 2, row]."""
    counted = np.zeros((_LONGEST - _SHORTEST + 1, len(firsts) - 1), np.int64)
    longest = _longest(firsts)
    table = np.empty(1 << _bits(longest), np.int32)
    places, times = np.empty(longest, np.int32), np.empty(longest, np.int32)
    same, shorter = np.empty(longest, np.int32), np.empty(longest, np.int32)
    for row in range(len(firsts) - 1):
        first, last = firsts[row], firsts[row + 1]
        begins, ends = starts[first:last], stops[first:last]
        many = max(last - first - 1, 0)
        for place in range(many):
            places[place] = place
        for n in range(_SHORTEST, min(_LONGEST, last - first) + 1):
            if n == _SHORTEST:
                _number(hashes[first:last], places[:many], table, same, times)
            else:
                many = _keep_followed(places[:many])
                same, shorter = shorter, same
                _number(shorter, places[:many], table, same, times)
            many, top, most = _keep_repeated(places[:many], same, times)
            if n <= _LONGEST_TOP:
                counted[n - _SHORTEST, row] = most * _joined(data, begins[top : top + n], ends[top : top + n])
            else:
                counted[n - _SHORTEST, row] = _walk(data, begins, ends, places[:many], same, times, n)
    return counted


@numba.njit(cache=True, nogil=True)
def _number(keys: Any, places: Places, table: Places, same: Places, times: Places) -> None:
    """Write for each place the first place with an equal pair of keys, and for that how many there are."""
    bits = _bits(len(places))
    shift, mask = np.uint64(64 - bits), np.uint64((1 << bits) - 1)
    table[: 1 << bits] = 0
    for index in range(len(places)):
        place = places[index]
        one, two = keys[place], keys[place + 1]
        slot = _mixed(np.uint64(one), np.uint64(two)) >> shift
        while True:
            known = table[slot] - 1
            if known < 0:
                table[slot] = place + 1
                same[place] = place
                times[place] = 1
                break
            if keys[known] == one and keys[known + 1] == two:
                same[place] = known
                times[known] += 1
                break
            slot = (slot + np.uint64(1)) & mask


@numba.njit(cache=True, nogil=True)
def _keep_followed(places: Places) -> int:
    """Move to the front the places whose next is there too; how many."""
    kept = 0
    for index in range(len(places) - 1):
        place = places[index]
        followed = places[index + 1] == place + 1
        places[kept] = place
        kept += followed
    return kept


@numba.njit(cache=True, nogil=True)
def _keep_repeated(places: Places, same: Places, times: Places) -> tuple[int, int, int]:
    """Move to the front the places whose n-gram is at another place too.

    Returns:
        How many; the first place of the most frequent n-gram, or 0 where none repeats; how often it is there.
    """
    kept, top, most = 0, 0, 1
    for index in range(len(places)):
        place = places[index]
        often = times[same[place]]
        if often > most:
            top, most = place, often
        places[kept] = place
        kept += often > 1
    return kept, top, most


@numba.njit(cache=True, nogil=True)
def _walk(data: Bytes, starts: Integers, stops: Integers, places: Places, same: Places, met: Places, n: int) -> int:
    """The characters of the n-grams that equal one walked before; each such is stepped over. Overwrites ``met``."""
    for place in places:
        met[same[place]] = 0
    characters = free = 0
    for place in places:
        if place < free:
            continue
        if met[same[place]]:
            for word in range(place, place + n):
                characters += _characters(data, starts[word], stops[word])
            free = place + n
        met[same[place]] = 1
    return characters


@numba.njit(cache=True, nogil=True)
def _joined(data: Bytes, starts: Integers, stops: Integers) -> int:
    """The characters of words, with one between two that do not touch."""
    characters = _characters(data, starts[0], stops[0])
    for word in range(1, len(starts)):
        characters += _characters(data, starts[word], stops[word]) + (starts[word] > stops[word - 1])
    return characters


@numba.njit(cache=True, nogil=True)
def _characters(data: Bytes, start: int, stop: int) -> int:
    """The code points of valid UTF-8: bytes that are no continuation."""
    found = 0
    for at in range(start, stop):
        found += data[at] & 0xC0 != 0x80
    return found


@numba.njit(cache=True, nogil=True)
def _longest(firsts: Integers) -> int:
    longest = 0
    for row in range(len(firsts) - 1):
        longest = max(longest, firsts[row + 1] - firsts[row])
    return longest


@numba.njit(cache=True, nogil=True)
def _bits(many: int) -> int:
    """The least b for which 2^b slots are at most half full."""
    bits = 1
    while 1 << bits < 2 * many:
        bits += 1
    return bits


@numba.njit(cache=True, inline="always")
def _mixed(one: Any, two: Any) -> Any:
    mixed = (one * _ODD + two) * _ANOTHER_ODD
    return (mixed ^ mixed >> np.uint64(32)) * _ODD
