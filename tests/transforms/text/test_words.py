"""The spans of words against annex 29 in plain Python and the regex package; their hashes against XXH64 in plain Python."""

from __future__ import annotations

import time
from collections.abc import Sequence

import polars as pl
import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from transforms.text import words
from transforms.text.words import Segmentation

SEGMENTATIONS: Sequence[Segmentation] = ("whitespace", "script", "unicode")

# Characters whose classes meet in the rules: letters, digits, marks, joiners, quotes, emoji, flags, scripts of both directions.
CHARACTERS = (
    "abXYZ19_-.,:;'\"’·  \t\r\n\u00a0\u0085\u2028\u3000#()"
    "бгд߀٣١ابجשלום״׳אב"
    "漢字かなカタカナー〇한국어ไทยກາမြន်ក្"
    "\u0301\u0308\u0345\u103c\u200d\u200c\u200b\u00ad\ufe0f\u202e\ufeff\u0000\u001c\ufffd"
    "👩👍🏽❤🔬🇩🇪🇨🇭©®Ⓜⓐ²½Ⅷ𝐀𠀀"
)
texts = st.text(st.sampled_from(CHARACTERS), max_size=40)

WITHOUT_SPACES = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"


def whitespace(text: str) -> list[str]:
    return [word for word in regex.split(r"\p{White_Space}+", text) if word]


def script(text: str) -> list[str]:
    alone = rf"[[{WITHOUT_SPACES}]--\p{{M}}]"
    return regex.findall(rf"(?V1){alone}\p{{M}}*|[[^\p{{White_Space}}]--{alone}]+", text)


def unicode(text: str) -> list[str]:
    bounds = [0, *(at for at in range(1, len(text)) if is_boundary(text[:at], text[at:])), len(text)]
    return in_words([text[start:stop] for start, stop in zip(bounds, bounds[1:], strict=False)])


def in_words(pieces: list[str]) -> list[str]:
    return [piece for piece in pieces if regex.search(r"[\p{Alphabetic}\p{N}]", piece)]


def rule(before: str, after: str, boundary: bool = False) -> tuple[regex.Pattern[str], regex.Pattern[str], bool]:
    """A rule of annex 29 from class names; "~" stands for what WB4 ignores."""

    def pattern(classes: str) -> str:
        for name in (
            "MidLetter",
            "MidNumLet",
            "MidNum",
            "Single_Quote",
            "Double_Quote",
            "Hebrew_Letter",
            "ALetter",
            "Numeric",
        ):
            classes = regex.sub(rf"\b{name}\b", rf"\\p{{wb={name}}}", classes)
        for name in ("Katakana", "ExtendNumLet", "WSegSpace", "Extend", "Format", "ZWJ", "Newline", "CR", "LF"):
            classes = regex.sub(rf"\b{name}\b", rf"\\p{{wb={name}}}", classes)
        return classes.replace(" ", "").replace("~", r"[\p{wb=Extend}\p{wb=Format}\p{wb=ZWJ}]*")

    return regex.compile(f"(?s).*(?:{pattern(before)})"), regex.compile(f"(?s)(?:{pattern(after)}).*"), boundary


LETTER = "[ALetter Hebrew_Letter]"
MID_LETTER = "[MidLetter MidNumLet Single_Quote]"
MID_NUMBER = "[MidNum MidNumLet Single_Quote]"
RULES = [
    rule("CR", "LF"),
    rule("[Newline CR LF]", "", boundary=True),
    rule("", "[Newline CR LF]", boundary=True),
    rule("ZWJ", r"\p{Extended_Pictographic}"),
    rule("WSegSpace", "WSegSpace"),
    rule("", "[Extend Format ZWJ]"),
    rule(f"{LETTER}~", LETTER),
    rule(f"{LETTER}~", f"{MID_LETTER}~{LETTER}"),
    rule(f"{LETTER}~{MID_LETTER}~", LETTER),
    rule("Hebrew_Letter~", "Single_Quote"),
    rule("Hebrew_Letter~", "Double_Quote~Hebrew_Letter"),
    rule("Hebrew_Letter~Double_Quote~", "Hebrew_Letter"),
    rule("Numeric~", "Numeric"),
    rule(f"{LETTER}~", "Numeric"),
    rule("Numeric~", LETTER),
    rule(f"Numeric~{MID_NUMBER}~", "Numeric"),
    rule("Numeric~", f"{MID_NUMBER}~Numeric"),
    rule("Katakana~", "Katakana"),
    rule("[ALetter Hebrew_Letter Numeric Katakana ExtendNumLet]~", "ExtendNumLet"),
    rule("ExtendNumLet~", "[ALetter Hebrew_Letter Numeric Katakana]"),
    rule(r"(?:^|(?![\p{RI} Extend Format ZWJ]).)~(?:\p{RI}~\p{RI}~)*\p{RI}~", r"\p{RI}"),
]


def is_boundary(before: str, after: str) -> bool:
    """Whether the first rule that speaks of a place puts a word boundary there."""
    for left, right, boundary in RULES:
        if left.fullmatch(before) and right.fullmatch(after):
            return boundary
    return True


BY_HAND = {"whitespace": whitespace, "script": script, "unicode": unicode}


def found(series: pl.Series, by: Segmentation) -> list[list[str]]:
    flat = words.buffer(series)
    starts, stops, offsets = words.segment(flat, by)
    spans = [flat.data[start:stop].tobytes().decode() for start, stop in zip(starts, stops, strict=True)]
    return [spans[start:stop] for start, stop in zip(offsets, offsets[1:], strict=False)]


@pytest.mark.parametrize("by", SEGMENTATIONS)
@given(st.lists(texts, max_size=4))
@example(
    [
        "b'" + "\u0301" * 50 + "c",
        "b.\u200d1",
        "1.\u03012",
        "\u0301\u0301b",
        " \u0301 ",
        "\r\u0301\n",
        "👩\u200d🔬\u200d",
        "🇩🇪🇨",
    ]
)
@example(['ש"', "ש'", "ש'ל", 'ש"\u0301ל', 'ש"b', "b'ש", "ש'_", "1'2", "1,b", "_1_b_", "カ_カ", "b\u200d👩", "\u200d👩"])
@example(["::\u0345", "  \u103c", "\n\n\u0345", "b🇩🇪\u103c🇨\u103c🇭🇨\u103c", "1..\u0345", "__\u0345-", 'ש""\u0345'])
def test_words_are_as_defined(by: Segmentation, documents: list[str]) -> None:
    assert found(pl.Series(documents, dtype=pl.String), by) == [BY_HAND[by](document) for document in documents]


@pytest.mark.parametrize("by", ["whitespace", "script"])
def test_real_documents_have_these_words(by: Segmentation, shared_texts: pl.Series) -> None:
    assert found(shared_texts, by) == [BY_HAND[by](document) for document in shared_texts]


def test_real_documents_have_the_words_of_the_regex_package(shared_texts: pl.Series) -> None:
    # The package joins an apostrophe to a vowel that follows it, which annex 29 does not.
    documents = shared_texts.str.slice(0, 10_000).str.replace_all(r"(?i)['’][^b-dfgj-np-tv-z\s]", "’x")
    assert found(documents, "unicode") == [in_words(regex.split(r"(?wV1)\b", document)) for document in documents]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I can't pay $3.14, 1,000 times!", ["I", "can't", "pay", "3.14", "1,000", "times"]),
        ("l’île d'être", ["l’île", "d'être"]),
        ("snake_case x-ray e.g. U.S.A.", ["snake_case", "x", "ray", "e.g", "U.S.A"]),
        ("我爱 Python", ["我", "爱", "Python"]),
        ("カタカナ ひら", ["カタカナ", "ひ", "ら"]),
        ('צה"ל', ['צה"ל']),
        ("-- ... #️⃣ 🇩🇪 👩‍🔬", []),
        ("naïve nai\u0308ve", ["naïve", "nai\u0308ve"]),
    ],
)
def test_unicode_words_are_what_a_reader_calls_words(text: str, expected: list[str]) -> None:
    assert found(pl.Series([text]), "unicode") == [expected]


def test_scripts_without_spaces_are_a_word_a_character_with_its_marks() -> None:
    assert found(pl.Series(["我爱Python3。ที่นี่ ok"]), "script") == [["我", "爱", "Python3。", "ที่", "นี่", "ok"]]


@pytest.mark.parametrize("by", SEGMENTATIONS)
def test_null_empty_and_sliced_series(by: Segmentation) -> None:
    series = pl.Series(["not seen", None, "", " \n ", "two words", "unseen"]).slice(1, 4)
    assert found(series, by) == [[], [], [], ["two", "words"]]
    assert found(pl.Series([], dtype=pl.String), by) == []


def test_an_unknown_segmentation_is_refused() -> None:
    with pytest.raises(ValueError, match="expected whitespace, script or unicode as a segmentation, got 'spacy'"):
        words.segment(words.buffer(pl.Series(["a"])), "spacy")  # type: ignore[arg-type]


@pytest.mark.parametrize("by", SEGMENTATIONS)
@pytest.mark.parametrize("piece", ["x", "漢", "b'\u0301", "\u0301", "🇩", "' ", "b."])
def test_time_is_linear(by: Segmentation, piece: str) -> None:
    def seconds(repeats: int) -> float:
        flat = words.buffer(pl.Series([piece * repeats]))
        start = time.process_time()
        words.segment(flat, by)
        return time.process_time() - start

    seconds(10)
    short = min(seconds(100_000) for _ in range(3))
    assert seconds(1_600_000) < 100 * short + 0.5


def xxh64(data: bytes) -> int:
    """XXH64 with seed 0, from its specification."""
    mask = (1 << 64) - 1
    one, two, three = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
    four, five = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5

    def turn(value: int, bits: int) -> int:
        return (value << bits | value >> (64 - bits)) & mask

    def mix(accumulator: int, lane: int) -> int:
        return turn((accumulator + lane * two) & mask, 31) * one & mask

    rest = data
    if len(data) >= 32:
        accumulators = [(one + two) & mask, two, 0, -one & mask]
        while len(rest) >= 32:
            lanes = [int.from_bytes(rest[at : at + 8], "little") for at in range(0, 32, 8)]
            accumulators = [mix(accumulator, lane) for accumulator, lane in zip(accumulators, lanes, strict=True)]
            rest = rest[32:]
        value = (
            sum(turn(accumulator, bits) for accumulator, bits in zip(accumulators, (1, 7, 12, 18), strict=True)) & mask
        )
        for accumulator in accumulators:
            value = ((value ^ mix(0, accumulator)) * one + four) & mask
    else:
        value = five
    value = (value + len(data)) & mask
    while len(rest) >= 8:
        value = (turn(value ^ mix(0, int.from_bytes(rest[:8], "little")), 27) * one + four) & mask
        rest = rest[8:]
    if len(rest) >= 4:
        value = (turn(value ^ int.from_bytes(rest[:4], "little") * one & mask, 23) * two + three) & mask
        rest = rest[4:]
    for byte in rest:
        value = turn(value ^ byte * five & mask, 11) * one & mask
    value = (value ^ value >> 33) * two & mask
    value = (value ^ value >> 29) * three & mask
    return value ^ value >> 32


def test_published_hashes() -> None:
    assert [xxh64(text) for text in (b"", b"a", b"abc")] == [0xEF46DB3751D8E999, 0xD24EC4F1A98C6E5B, 0x44BC2CF5AD770999]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Z", "C"]), min_size=1, max_size=60), min_size=1))
@example(["x" * length for length in range(1, 100)])
def test_hashes_are_xxh64(tokens: list[str]) -> None:
    flat = words.buffer(pl.Series([" ".join(tokens)]))
    hashed = words.hashes(flat, words.segment(flat))
    assert hashed.tolist() == [xxh64(token.encode()) for token in tokens]


def test_real_words_have_no_hash_in_common(shared_texts: pl.Series) -> None:
    flat = words.buffer(shared_texts)
    split = words.segment(flat)
    different = {flat.data[start:stop].tobytes() for start, stop in zip(split.starts, split.stops, strict=True)}
    assert len(set(words.hashes(flat, split).tolist())) == len(different)
