"""Shingles, keys, signatures and bands, against plain versions of them."""

from __future__ import annotations

import random
import unicodedata

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.text import minhash
from transforms.text.minhash import banded, bands_for, found_share, signatures
from transforms.text.shingles import Sets, Shingling, distinct, shingle
from transforms.text.words import buffer, segment


def plain_words(text: str, settings: Shingling) -> list[str]:
    """The words of a text by the definition: found by ``words``, then folded and stripped character by character."""
    text = unicodedata.normalize("NFC", text)
    data = text.encode()
    found = segment(buffer(pl.Series([text])), settings.words)
    words = []
    for start, stop in zip(found.starts.tolist(), found.stops.tolist(), strict=True):
        word = data[start:stop].decode()
        if not settings.case:
            word = "".join(c.casefold() if len(c.casefold()) == 1 else c for c in word)
        if not settings.punctuation:
            word = "".join(
                c for c in word if unicodedata.category(c)[0] != "P" and unicodedata.category(c) not in ("Cc", "Cf")
            )
        if word:
            words.append(word)
    return words


def plain_shingles(text: str, settings: Shingling) -> list[tuple[str, ...]]:
    words = plain_words(text, settings)
    if not words:
        return [("".join(unicodedata.normalize("NFC", text).split()), "no words")]
    length = min(settings.n, len(words))
    return [tuple(words[at : at + length]) for at in range(len(words) - length + 1)]


def rows(sets: Sets) -> list[list[int]]:
    return [part.tolist() for part in np.split(sets.hashes, sets.offsets[1:-1])]


characters = st.sampled_from([*"abcAB ., \t\n-'", "é", "e", "\u0301", "É", "ß", "Σ", "ς", "中", "文", "。", "は", "ไ", "ا", "\u200d", "🙂", "\x00", "\u2028", "²", "각", "ᄀ", "ᅡ", "ᆨ"])  # fmt: skip
settings_of = st.builds(
    Shingling,
    n=st.integers(1, 4),
    words=st.sampled_from(["whitespace", "script", "unicode"]),
    case=st.booleans(),
    punctuation=st.booleans(),
)


@given(st.lists(st.text(characters, max_size=30), max_size=8), settings_of)
def test_shingles_are_equal_exactly_where_runs_of_words_are(texts: list[str], settings: Shingling) -> None:
    shingled = shingle(pl.Series(texts, dtype=pl.String), settings)
    found, wanted = rows(shingled.sets), [plain_shingles(text, settings) for text in texts]
    if not texts:
        assert len(shingled.sets.hashes) == 0
        return
    assert [len(row) for row in found] == [len(row) for row in wanted]
    meaning: dict[int, tuple[str, ...]] = {}
    for hashes, runs in zip(found, wanted, strict=True):
        for number, run in zip(hashes, runs, strict=True):
            assert meaning.setdefault(number, run) == run
    assert len(set(meaning.values())) == len(meaning)


@given(st.lists(st.text(characters, max_size=12), min_size=2, max_size=8), settings_of)
def test_keys_are_equal_exactly_where_words_are(texts: list[str], settings: Shingling) -> None:
    keys = [tuple(key) for key in shingle(pl.Series(texts), settings).keys.tolist()]
    words = [tuple(plain_words(text, settings)) or plain_shingles(text, settings)[0] for text in texts]
    for one in range(len(texts)):
        for other in range(one):
            assert (keys[one] == keys[other]) == (words[one] == words[other]), (texts[one], texts[other])
            assert (keys[one][0] == keys[other][0]) == (keys[one][1] == keys[other][1])


def test_hashes_are_the_same_on_every_machine_and_in_every_version() -> None:
    shingled = shingle(pl.Series(["The quick, brown fox jumps over", "早上好", None, ":-)"]), Shingling())
    assert rows(shingled.sets) == [
        [7718978299274545015, 11169396820036715826],
        [17738633291663400599],
        [17018369034104878653],
        [17494632120109447002],
    ]
    assert signatures(shingled.sets)[0, :4].tolist() == [1485156736, 1250688829, 1104208723, 1463269244]
    assert banded(signatures(shingled.sets), 2, 64)[:, 0].tolist() == [15828488851811192491, 7165099077077147057]


def test_case_punctuation_and_white_space_make_no_difference_unless_asked_for() -> None:
    texts = pl.Series(["Don't stop, now!", "dont  stop now", "DON\u2019T\n\u00a0stop \u2014 now"])
    assert len(np.unique(shingle(texts, Shingling()).keys, axis=0)) == 1
    assert len(np.unique(shingle(texts, Shingling(punctuation=True)).keys, axis=0)) == 3
    assert len(np.unique(shingle(texts, Shingling(case=True)).keys, axis=0)) == 3


def test_composing_leaves_the_series_it_was_given_as_it_is() -> None:
    texts = pl.Series(["cafe\u0301", "plain", None, "caf\u00e9"])
    before = texts.to_list()
    keys = shingle(texts, Shingling()).keys
    assert keys[0].tolist() == keys[3].tolist()
    assert texts.to_list() == before


@pytest.mark.parametrize(
    "text", ["", " \n\t", "\u0000", "a" * 1_000_000, "中" * 300_000, "\ufffd" * 10, "\u0301\u0301", "A\u200f\u05d0"]
)
def test_any_text_has_a_signature(text: str) -> None:
    shingled = shingle(pl.Series([text, None, text]), Shingling())
    sets = distinct(shingled.sets)
    assert rows(sets)[0] == rows(sets)[2] and len(rows(sets)[0]) >= 1
    found = signatures(sets)
    assert (found[0] == found[2]).all()


def test_no_texts_have_no_signatures() -> None:
    assert signatures(distinct(shingle(pl.Series([], dtype=pl.String), Shingling()).sets)).shape == (0, 128)


@given(st.lists(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 3), max_size=12), max_size=6))
def test_distinct_shingles_are_sorted_and_there_once(sets: list[list[int]]) -> None:
    offsets = np.cumsum([0, *map(len, sets)])
    found = distinct(Sets(np.array([h for one in sets for h in one], np.uint64), offsets))
    assert found.offsets.tolist() == np.cumsum([0, *(len(set(one)) for one in sets)]).tolist()
    assert found.hashes.tolist() == [h for one in sets for h in sorted(set(one))]


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=30), st.randoms())
def test_a_slot_is_the_least_of_the_permuted_halves(hashes: list[int], draw: random.Random) -> None:
    factors, masks = (column.tolist() for column in minhash._permutations(16))
    wanted = [min(((h >> 32) * f & 0xFFFFFFFF) ^ m for h in hashes) for f, m in zip(factors, masks, strict=True)]
    offsets = np.array([0, len(hashes)])
    assert signatures(Sets(np.array(hashes, np.uint64), offsets), 16)[0].tolist() == wanted
    repeated = hashes + draw.sample(hashes, len(hashes))
    assert signatures(Sets(np.array(repeated, np.uint64), offsets * 2), 16)[0].tolist() == wanted


def sets_with(similarity: float, pairs: int, size: int, seed: int) -> Sets:
    """Pairs of sets (0 and 1, 2 and 3, ...) of random hashes with this Jaccard similarity."""
    draw = np.random.default_rng(seed)
    both = round(2 * size * similarity / (1 + similarity))
    own = draw.integers(0, 2**64, (pairs, both + 2 * (size - both)), np.uint64)
    left, right = own[:, :size], np.concatenate([own[:, :both], own[:, size:]], axis=1)
    found = np.stack([left, right], axis=1).reshape(-1)
    return Sets(found, np.arange(2 * pairs + 1, dtype=np.int64) * size)


@pytest.mark.parametrize("similarity", [0.2, 0.5, 0.8, 0.95])
def test_slots_agree_as_often_as_the_sets_are_similar(similarity: float) -> None:
    found = signatures(sets_with(similarity, 2000, 400, 1))
    agree = (found[0::2] == found[1::2]).mean(axis=1)
    exact = round(800 * similarity / (1 + similarity)) / (800 - round(800 * similarity / (1 + similarity)))
    assert agree.mean() == pytest.approx(exact, abs=0.004)
    assert agree.std() == pytest.approx((exact * (1 - exact) / 128) ** 0.5, rel=0.1), "slots are independent"


def test_bands_find_the_share_that_the_formula_tells() -> None:
    bands, length = bands_for(0.8)
    assert (bands, length) == (18, 7) and found_share(0.8, bands, length) > 0.98 > found_share(0.8, 16, 8)
    for similarity in (0.8, 0.6):
        hashes = banded(signatures(sets_with(similarity, 4000, 400, 2)), bands, length)
        share = (hashes[:, 0::2] == hashes[:, 1::2]).any(axis=0).mean()
        both = round(800 * similarity / (1 + similarity))
        assert share == pytest.approx(found_share(both / (800 - both), bands, length), abs=0.02)


def test_bands_take_only_slots_that_there_are() -> None:
    with pytest.raises(ValueError, match="at most 16 slots, got 3 bands of 7"):
        banded(signatures(sets_with(0.5, 1, 4, 3), 16), 3, 7)
    with pytest.raises(ValueError, match="give more"):
        bands_for(0.1, 4, 0.99)
    with pytest.raises(ValueError, match="at least 1 word"):
        Shingling(n=0)
