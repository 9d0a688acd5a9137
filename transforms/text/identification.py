"""Which language a text is in, by fastText's lid.176 or another fastText model, where a model can tell.

A model always answers, also on a digit. What it is asked, and what its answer counts for, is decided by what the text is made of:

=======================================================  =============  ========================================
a text                                                   is decided by  ``language``, ``language_probability``
=======================================================  =============  ========================================
without letters: empty, digits, fenced code, addresses   nobody         null, null
in a script that one language of the model has           the script     that language, 1
of one or two letters                                    nobody         null, the model's
of few letters or many signs, and the model is not sure  nobody         null, the model's
else                                                     the model      the model's
=======================================================  =============  ========================================

- **One script decides a mixed text**: the one with the most letters, where a character of Chinese, Japanese or Korean counts
  ``_WIDE`` letters, about a Latin word. A Chinese question full of English terms is Chinese, an English one that quotes a Chinese word is
  English. The model sees the letters of that script alone.
- **Scripts of one language** in lid.176 are Greek, Thai, hangul, Armenian and so on (``SCRIPTS``); kana make Japanese, Han characters
  without kana Chinese. A model whose labels name scripts (``rus_Cyrl``, as GlotLID and NLLB have) says itself which scripts are of one language.
- **Few letters** are fewer than ``FEW_LETTERS``; **many signs** (brackets, slashes, quotes: code and markup) are more than ``MANY_SIGNS`` of
  the characters; **sure** is from ``SURE`` on. Where these come from: docs/language.md.
- **Capitals** are read as small letters where most letters are capitals: the model has hardly seen any.

Labels are the model's own: ISO 639-1, or 639-3 where there is no shorter code, for lid.176; ``eng_Latn`` and the like for GlotLID.
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from importlib.metadata import version
from typing import Any, Final, Literal, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import polars as pl

from transforms.text import fasttext_models, words
from transforms.text.fasttext_models import Model

VERSION: Final = 1
"""Raised whenever ``identify`` or ``select`` give other answers."""

LID_176: Final = Model("lid.176.ftz", "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83")
"""The model that ships with Sluice; its source and licence are in ``transforms/text/models/README.md``."""

MAX_CHARACTERS: Final = 1_000
"""Characters of a text that are looked at, unless told otherwise."""

MINIMUM_PROBABILITY: Final = 0.65
"""Of a kept text, unless told otherwise: FineWeb's threshold for lid.176 (Penedo et al., 2024, section 3.3)."""

LEAST_LETTERS: Final = 3
FEW_LETTERS: Final = 20
MANY_SIGNS: Final = 0.1
SURE: Final = 0.65

Reason = Literal["language_unknown", "language_unwanted", "language_uncertain"]


class Script(NamedTuple):
    """A script: what its letters are in a regular expression, its ISO 15924 name, and the language of lid.176 that has it alone."""

    letters: str
    iso: str
    language: str | None
    wide: bool = False


SCRIPTS: Final = (
    Script(r"\p{Latin}", "Latn", None),
    Script(r"\p{Han}", "Hani", "zh", wide=True),
    Script(r"[\p{Hiragana}\p{Katakana}]", "Jpan", "ja", wide=True),
    Script(r"\p{Hangul}", "Hang", "ko", wide=True),
    Script(r"\p{Cyrillic}", "Cyrl", None),
    Script(r"\p{Arabic}", "Arab", None),
    Script(r"\p{Devanagari}", "Deva", None),
    Script(r"\p{Bengali}", "Beng", None),
    Script(r"\p{Hebrew}", "Hebr", None),
    Script(r"\p{Georgian}", "Geor", None),
    Script(r"\p{Greek}", "Grek", "el"),
    Script(r"\p{Thai}", "Thai", "th"),
    Script(r"\p{Armenian}", "Armn", "hy"),
    Script(r"\p{Khmer}", "Khmr", "km"),
    Script(r"\p{Lao}", "Laoo", "lo"),
    Script(r"\p{Myanmar}", "Mymr", "my"),
    Script(r"\p{Sinhala}", "Sinh", "si"),
    Script(r"\p{Tamil}", "Taml", "ta"),
    Script(r"\p{Telugu}", "Telu", "te"),
    Script(r"\p{Kannada}", "Knda", "kn"),
    Script(r"\p{Malayalam}", "Mlym", "ml"),
    Script(r"\p{Gujarati}", "Gujr", "gu"),
    Script(r"\p{Gurmukhi}", "Guru", "pa"),
    Script(r"\p{Oriya}", "Orya", "or"),
    Script(r"\p{Tibetan}", "Tibt", "bo"),
    Script(r"\p{Ethiopic}", "Ethi", "am"),
    Script(r"\p{Thaana}", "Thaa", "dv"),
    Script(r"\p{L}", "Zyyy", None),  # all others
)

_HAN: Final = 1
_KANA: Final = 2
_JAPANESE_KANA: Final = 10  # Han characters to one kana that Japanese may have; Chinese quotes kana more rarely
_WIDE: Final = 5
_MIXED: Final = 0.1  # share of letters of other scripts from which on the model does not see them
_LAST_LETTER: Final = 0x32000  # no letter is assigned above

_HINTS: Final = ["```", "://", "www."]
_NO_EVIDENCE: Final = r"(?s:```.*?(?:```|\z))|(?:https?://|www\.)[^\s\p{Han}]+"

_SIGNS: Final = r"""[{}\[\]()<>=;_\\/|#$&*+~^%@"`:]"""
_SCRIPT: Final = 0x3F
_CAPITAL: Final = 0x40
_SIGN: Final = 0x80
_SPACE_OR_CONTROL: Final = 0x20

Counts = npt.NDArray[np.int64]


class Makeup(NamedTuple):
    """What n texts are made of: Int64 ``letters`` by script (n x ``SCRIPTS``), ``capitals``, ``signs``, and ``characters`` but spaces."""

    letters: Counts
    capitals: Counts
    signs: Counts
    characters: Counts


def identify(texts: pl.Series, model: Model = LID_176, max_characters: int = MAX_CHARACTERS) -> pl.DataFrame:
    """The language of each text.

    Args:
        texts: String, n texts; null allowed.
        model: A fastText model of languages: the one that ships, or ``Model.find`` of lid.176.bin, GlotLID, ...
        max_characters: How much of each text is read.

    Returns:
        n rows: ``language`` (String, the model's label, or null where there is too little to tell) and ``language_probability``
        (Float32: the model's, 1 where the script decides; null where there is no letter).

    Raises:
        ModelError: the model's file is gone, or another than it was.
    """
    evidence = _evidence(texts.alias("text"), max_characters)
    makeup = _makeup(evidence)
    total, most, script = makeup.letters.sum(axis=1), makeup.letters.max(axis=1), makeup.letters.argmax(axis=1)
    own = pl.Series("language", _own_languages(model).values(), dtype=pl.String).gather(script)
    language = own.set(pl.Series(total == 0), None)
    sure = pl.when(language.is_not_null()).then(pl.lit(1.0, dtype=pl.Float32)).alias("language_probability")
    found = language.to_frame().with_columns(sure)
    asked = np.flatnonzero((total > 0) & own.is_null().to_numpy())
    if not len(asked):
        return found
    lines = _of_one_script(evidence.gather(asked), script[asked], (most < (1 - _MIXED) * total)[asked])
    lines = _in_small_letters(lines, (makeup.capitals * 2 > total)[asked])
    answers = fasttext_models.best(model.load(), fasttext_models.one_line(lines, max_characters))
    telling = (most >= FEW_LETTERS) & (makeup.signs <= MANY_SIGNS * makeup.characters)
    trusted = (pl.Series(telling[asked]) | (answers["probability"] >= SURE)) & pl.Series(most[asked] >= LEAST_LETTERS)
    answers = answers.with_columns(label=pl.when(trusted.fill_null(False)).then("label"))
    return found.with_columns(
        found["language"].scatter(asked, answers["label"]),
        found["language_probability"].scatter(asked, answers["probability"]),
    )


def select(
    frame: pl.DataFrame,
    languages: Collection[str] = (),
    minimum_probability: float = MINIMUM_PROBABILITY,
    model: Model = LID_176,
    max_characters: int = MAX_CHARACTERS,
) -> pl.DataFrame:
    """Add ``identify``'s columns and the verdict on each text.

    ======================  ==================================================================
    reason                  the text
    ======================  ==================================================================
    ``language_unknown``    has too little in it to tell
    ``language_unwanted``   is in a language that is not asked for
    ``language_uncertain``  is in its language with less than ``minimum_probability``
    ======================  ==================================================================

    Args:
        frame: ``text`` (String, null allowed) and any other columns, n rows.
        languages: The labels to keep; empty keeps all.
        minimum_probability: Of a kept text.
        model: As for ``identify``.
        max_characters: As for ``identify``.

    Returns:
        The frame with ``language``, ``language_probability``, ``failed`` (List(String): all reasons, in the order above) and ``reason``
        (String: the first; null where the text is kept).

    Raises:
        ValueError: a language is no label of the model.
        ModelError: the model's file is gone, or another than it was.
    """
    expect_languages(languages, model)
    language, probability = pl.col("language"), pl.col("language_probability")
    reasons: dict[Reason, pl.Expr] = {
        "language_unknown": language.is_null(),
        "language_unwanted": ~language.is_in(sorted(languages)) if languages else pl.lit(False),
        "language_uncertain": language.is_not_null() & (probability < pl.lit(minimum_probability, dtype=pl.Float32)),
    }
    named = [pl.when(fails).then(pl.lit(reason)) for reason, fails in reasons.items()]
    measured = frame.with_columns(identify(frame["text"], model, max_characters).get_columns())
    return measured.with_columns(failed=pl.concat_list(named).list.drop_nulls()).with_columns(
        reason=pl.col("failed").list.first()
    )


def expect_languages(languages: Collection[str], model: Model = LID_176) -> None:
    """Check that a model knows the languages that a config names.

    Raises:
        ValueError: a language is no label of the model.
    """
    unknown = sorted(set(languages) - set(model.labels))
    if unknown:
        some = ", ".join(sorted(model.labels)[:8])
        raise ValueError(f"{', '.join(unknown)}: expected labels of {model.path.name}, such as {some}")


def identity(model: Model = LID_176, max_characters: int = MAX_CHARACTERS) -> dict[str, Any]:
    """What decides ``identify``'s answers, for a plan: no path, since a model is its bytes."""
    return {
        "version": VERSION,
        "lines": fasttext_models.VERSION,
        "fasttext": version("fasttext-wheel"),
        "model": model.sha256,
        "max_characters": max_characters,
    }


def _own_languages(model: Model) -> dict[str, str | None]:
    """By ISO 15924 name of a script, the one label of a model that is written in it; None where there are none or several."""
    labels = model.labels
    if not any("_" in label for label in labels):
        return {script.iso: script.language if script.language in labels else None for script in SCRIPTS}
    written = {script.iso: [label for label in labels if label.endswith(f"_{script.iso}")] for script in SCRIPTS}
    return {iso: found[0] if len(found) == 1 else None for iso, found in written.items()}


def _evidence(texts: pl.Series, max_characters: int) -> pl.Series:
    """The heads of the texts without fenced code and addresses; null becomes empty."""
    heads = texts.fill_null("").str.head(max_characters)
    hinted = heads.str.contains_any(_HINTS)
    if not hinted.any():
        return heads
    rows = hinted.arg_true()
    return heads.scatter(rows, heads.gather(rows).str.replace_all(_NO_EVIDENCE, " "))


def _makeup(texts: pl.Series) -> Makeup:
    """Count what texts are made of; wide letters count ``_WIDE`` times, Han belongs to kana in Japanese, stray kana to Han."""
    data, offsets = words.buffer(texts)
    letters, capitals, signs, characters = _count(data, offsets, _table(), len(SCRIPTS))
    han, kana = letters[:, _HAN], letters[:, _KANA]
    japanese = (kana > 0) & (kana * _JAPANESE_KANA >= han)
    both = han + kana
    letters[:, _HAN] = np.where(japanese, 0, both)
    letters[:, _KANA] = np.where(japanese, both, 0)
    letters *= np.array([_WIDE if script.wide else 1 for script in SCRIPTS])
    return Makeup(letters, capitals, signs, characters)


def _of_one_script(texts: pl.Series, script: npt.NDArray[np.int64], mixed: npt.NDArray[np.bool_]) -> pl.Series:
    """The texts, without letters of other scripts where they are ``mixed``."""
    for at in np.unique(script[mixed]):
        rows = np.flatnonzero(mixed & (script == at))
        others = rf"[\p{{L}}&&[^{SCRIPTS[at].letters}]]+"
        texts = texts.scatter(rows, texts.gather(rows).str.replace_all(others, " "))
    return texts


def _in_small_letters(texts: pl.Series, capitals: npt.NDArray[np.bool_]) -> pl.Series:
    rows = np.flatnonzero(capitals)
    return texts.scatter(rows, texts.gather(rows).str.to_lowercase())


@functools.cache
def _table() -> words.Bytes:
    """UInt8 for every code point up to ``_LAST_LETTER``: ``_SIGN``, or the place of its script in ``SCRIPTS`` plus 1 and ``_CAPITAL``."""
    points = np.delete(np.arange(_LAST_LETTER, dtype=np.uint32), np.s_[0xD800:0xE000])
    characters = pl.Series(list(points.tobytes().decode("utf-32-le")))
    table = np.zeros(_LAST_LETTER, np.uint8)
    table[points[characters.str.contains(_SIGNS).to_numpy()]] = _SIGN
    letters = characters.str.contains(r"\p{L}").to_numpy()
    points, characters = points[letters], characters.filter(letters)
    for place, script in reversed([*enumerate(SCRIPTS, 1)]):
        table[points[characters.str.contains(script.letters).to_numpy()]] = place
    table[points[characters.str.contains(r"\p{Lu}").to_numpy()]] |= _CAPITAL
    return table


@numba.njit(cache=True, nogil=True)
def _count(
    data: words.Bytes, offsets: words.Integers, table: words.Bytes, scripts: int
) -> tuple[Counts, Counts, Counts, Counts]:
    texts = len(offsets) - 1
    letters = np.zeros((texts, scripts), np.int64)
    capitals, signs, characters = np.zeros(texts, np.int64), np.zeros(texts, np.int64), np.zeros(texts, np.int64)
    for row in range(texts):
        at, stop = offsets[row], offsets[row + 1]
        while at < stop:
            point, length = words.decode(data, at)
            at += length
            if point <= _SPACE_OR_CONTROL:
                continue
            characters[row] += 1
            known = table[point] if point < len(table) else 0
            if known == _SIGN:
                signs[row] += 1
            elif known & _SCRIPT:
                letters[row, (known & _SCRIPT) - 1] += 1
                capitals[row] += known >= _CAPITAL
    return letters, capitals, signs, characters
