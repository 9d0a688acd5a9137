"""The published quality rules of Gopher, C4 and FineWeb, as scores and as a filter.

=============  ==========================================================
``gopher``     Rae et al. 2021: words, symbols, lines, stop words
``c4``         Raffel et al. 2020: sentences, code, placeholders, notices
``fineweb``    Penedo et al. 2024: punctuation, short and repeated lines
=============  ==========================================================

Each rule is a score column under its own name, with the published thresholds in ``RULES``. Words and lines are found once for all of them.
Texts are worked through about four megabytes at a time, so that the memory for their words does not grow with
the frame. Null texts are measured as empty ones. Time is linear in the bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from transforms.text import c4, filtering, fineweb, gopher, lines, words
from transforms.text.filtering import Rule
from transforms.text.words import Segmentation

VERSION: Final = 1
"""Raised whenever a text gets another score; with it, ``VERSION`` of the modules it is made of."""

RULES: Final = {**gopher.RULES, **c4.RULES, **fineweb.RULES}

DEFAULT: Final = tuple(rule for rule in RULES.values() if rule.name != "c4_bad_words")
"""Every rule that needs nothing but the text."""

_PIECE: Final = 1 << 22  # bytes of text measured at a time


def measure(
    texts: pl.Series,
    rules: Sequence[Rule] = DEFAULT,
    segmentation: Segmentation = "whitespace",
    bad_words: Sequence[str] = (),
) -> pl.DataFrame:
    """Score texts by rules.

    Args:
        texts: String, n texts; null allowed.
        rules: Which scores; a rule's bounds do not matter here.
        segmentation: What a word is.
        bad_words: For ``c4_bad_words``, which needs them.

    Returns:
        n rows, a column for each rule, named by it: Int64 counts, Float32 means, shares and ratios. Neither null nor NaN.

    Raises:
        ValueError: A rule of another module, an unknown segmentation, or ``c4_bad_words`` without words.
    """
    names = [rule.name for rule in rules]
    unknown = [name for name in names if name not in RULES]
    if unknown:
        raise ValueError(f"no quality rule called {', '.join(unknown)}; there are {', '.join(RULES)}")
    scores = [_measure(piece, set(names), segmentation) for piece in words.batches(texts, _PIECE)]
    measured = pl.concat(scores)
    if "c4_bad_words" in names:
        measured = measured.with_columns(c4.count_bad_words(texts, bad_words).alias("c4_bad_words"))
    return measured.select(names)


def select(
    frame: pl.DataFrame,
    rules: Sequence[Rule] = DEFAULT,
    segmentation: Segmentation = "whitespace",
    bad_words: Sequence[str] = (),
) -> pl.DataFrame:
    """Add the scores of a frame's ``text``, ``failed`` and ``reason``: see ``measure`` and ``filtering.select``."""
    return filtering.select(frame, measure(frame["text"], rules, segmentation, bad_words), rules)


def clean(texts: pl.Series, segmentation: Segmentation = "whitespace") -> pl.Series:
    """The texts with only the lines that C4 keeps: String, null where a text is null. See ``c4``."""
    cleaned = []
    for piece in words.batches(texts, _PIECE):
        flat = words.buffer(piece)
        cleaned.append(c4.clean(piece, flat, words.segment(flat, segmentation), lines.split(flat)))
    return pl.concat(cleaned)


def _measure(texts: pl.Series, names: set[str], segmentation: Segmentation) -> pl.DataFrame:
    flat = words.buffer(texts)
    found, split = words.segment(flat, segmentation), lines.split(flat)
    scores = []
    if names & gopher.RULES.keys():
        scores.append(gopher.measure(flat, found, split))
    if names & c4.RULES.keys():
        scores.append(c4.measure(texts, flat, found, split))
    if names & fineweb.RULES.keys():
        scores.append(fineweb.measure(flat, found, split))
    return pl.concat(scores, how="horizontal") if scores else pl.DataFrame(height=len(texts))
