"""Texts that break text code, through every measure of the room: a row for each text, the same however the texts come, in linear time.

=================  ==============================================================================================================
invalid UTF-8      no String column holds it: Polars and orjson refuse it, so what comes of it is decided by who reads the bytes
unpaired           no String column holds one: orjson refuses the line, which makes it a rejected row; Polars' own JSON reader puts
surrogates         NUL for it. Readers that replace leave U+FFFD. NUL and U+FFFD are among the texts here
linear time        each large text has to pass within ``SECONDS``, many times what is needed: what is quadratic takes hours
=================  ==============================================================================================================
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Final

import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from transforms.text import (
    classification,
    contamination,
    duplicates,
    fasttext_models,
    identification,
    language,
    minhash,
    personal_data,
    quality,
    repetition,
    shingles,
    words,
)
from transforms.text.classification import Classifier
from transforms.text.contamination import Benchmark, Benchmarks, Settings
from transforms.text.shingles import Shingling
from transforms.text.words import Segmentation

Measure = Callable[[pl.Series], pl.DataFrame]

SECONDS: Final = 60
MEGABYTE: Final = 1_000_000
LONG: Final = 100 * MEGABYTE

ENGLISH: Final = (
    "It was a bright cold day in April, and the clocks were striking thirteen; he wrote to a.b@example.com. "
)
CHINESE: Final = "四月间，天气寒冷晴朗，钟敲了十三下。请用三句话介绍长城的历史并说明它为什么重要。"
WHITE_SPACE: Final = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2003\u2009\u2028\u2029\u202f\u205f\u3000"

SMALL: Final[dict[str, str | None]] = {
    "null": None,
    "empty": "",
    "space": " ",
    "white space of every kind": WHITE_SPACE,
    "line feed": "\n",
    "carriage returns": "\r\r\r\n",
    "one letter": "a",
    "one ideograph": "长",
    "one mark": "\u0301",
    "one emoji": "🙂",
    "NUL": "\0",
    "NUL between words": "one\0two\0 three \0",
    "control characters": "".join(map(chr, [*range(32), *range(0x7F, 0xA0)])),
    "byte order mark": "\ufeff",
    "byte order mark before words": "\ufeffOnce upon a time there was a king who had three sons.",
    "byte order mark of the wrong end": "\ufffe\uffff",
    "replacement characters": "\ufffd" * 50,
    "replacement characters in words": "caf\ufffd na\ufffdve the \ufffd and a \ufffd\ufffd of it",
    "non-characters": "\ufdd0\U0001fffe\U0010ffff",
    "private use": "\ue000\U000f0000",
    "beyond the first plane": "𝕬𝖇𝖈 𠮷野家 😀 𐍈",
    "right to left": "مرحبا بالعالم، كيف حالك؟ שלום עולם",
    "right to left with marks and overrides": "\u202eabc\u202c \u2067مَرْحَبًا\u2069 שָׁלוֹם \u200f\u200e",
    "a hundred marks on a letter": "e" + "\u0301" * 100 + " and more words after it",
    "emoji sequences": "👨‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪🇫🇷🇬 1️⃣ " * 3,
    "zero-width characters": "\u200b\u200c\u200d\u2060\xad" * 5,
    "zero-width joined word": "s\u200be\u200bc\u200br\u200be\u200bt and more",
    "Hangul jamo": "\u1112\u1161\u11ab\u1100\u116e\u11a8",
    "Thai": "สวัสดีชาวโลก ฉันรักภาษาไทย",
    "Khmer and Burmese": "សួស្តី ពិភពលោក မင်္ဂလာပါ",
    "case that grows": "ßŉǰΐΰևẖẗẘẙẚﬀﬁﬂﬃ İıſ ΑΣ Σ ς",
    "normalisation that grows": "ﷺ㎏½①ﬃ" * 5,
    "Chinese": CHINESE * 3,
    "English": ENGLISH * 5,
    "English of many lines": (ENGLISH + "\n\n") * 5,
    "Windows lines": "one line.\r\nanother line.\r\n" * 5,
    "separators of Unicode": "one\u2028two\u2029three\x85four",
    "one word again": "buffalo " * 30,
    "punctuation": "!?.,;:-_()[]{}\"'`~@#$%^&*+=/\\|<>…—–«»“”",
    "e-mail addresses without end": "a@" * 40 + "b.com",
    "digits": "4" * 60 + " " + "1.2.3.4." * 10,
    "formats": "%s %d {} {0} $1 \\1 \\x41 ${jndi} <a href=''> '; --",
}

LARGE: Final[dict[str, Callable[[], str]]] = {
    "white space": lambda: " \t\u3000\n" * (MEGABYTE // 4),
    "line feeds": lambda: "\n" * MEGABYTE,
    "carriage returns and line feeds": lambda: "\r\n" * (MEGABYTE // 2),
    "control characters": lambda: "".join(map(chr, range(32))) * (MEGABYTE // 32),
    "NUL": lambda: "\0" * MEGABYTE,
    "replacement characters": lambda: "\ufffd" * (MEGABYTE // 3),
    "Chinese without a space": lambda: CHINESE * (5 * MEGABYTE // len(CHINESE.encode())),
    "base64": lambda: base64.b64encode(random.Random(0).randbytes(5 * MEGABYTE * 3 // 4)).decode(),
    "one letter": lambda: "a" * (5 * MEGABYTE),
    "one digit": lambda: "4" * MEGABYTE,
    "a hundred thousand marks on a letter": lambda: "e" + "\u0301" * 100_000,
    "a hundred thousand joined emoji": lambda: "👩\u200d" * 100_000,
    "flags": lambda: "🇩" * 100_001,
    "right to left": lambda: "مَرْحَبًا بالعالم " * 30_000,
    "one line": lambda: ENGLISH * (2 * MEGABYTE // len(ENGLISH)),
    "a hundred thousand lines": lambda: "line\n" * 100_000,
    "one word a million times": lambda: "a " * MEGABYTE,
    "two words by turns": lambda: "to be " * (MEGABYTE // 3),
    "every word another": lambda: " ".join(map(str, range(300_000))),
    "at signs": lambda: "@" * MEGABYTE,
    "beginnings of addresses": lambda: "a@" * (MEGABYTE // 2),
    "an address of dots": lambda: "a" + ".a" * (MEGABYTE // 2) + "@",
    "beginnings of web addresses": lambda: "http://" * (MEGABYTE // 7),
    "domains without end": lambda: "www." + "a." * (MEGABYTE // 2),
    "numbers and dashes": lambda: "1-" * (MEGABYTE // 2),
    "numbers and spaces": lambda: "1 2" * (MEGABYTE // 3),
    "addresses of a network": lambda: "1.2.3." * (MEGABYTE // 6),
    "colons": lambda: "1:" * (MEGABYTE // 2),
    "open brackets": lambda: "([{<" * (MEGABYTE // 4),
    "quotation marks": lambda: "'\"" * (MEGABYTE // 2),
    "fences": lambda: "```" * (MEGABYTE // 3),
    "full stops": lambda: "." * MEGABYTE,
    "bullets": lambda: "- \n" * (MEGABYTE // 3),
}


PIECES: Final = st.one_of(
    st.text(max_size=4),
    st.sampled_from([text for text in SMALL.values() if text]),
    st.sampled_from(
        [
            *" \n\r.,@-:/#*…•!?\"'{}<>0149aEé長\0\u0301\u200d\u2028\ufeff\ufffd",
            "the ",
            "www.",
            "http://",
            ".com",
            "4111",
            "[1]",
            "javascript",
        ]
    ),
)


def huge() -> str:
    return ENGLISH * (LONG // 2 // len(ENGLISH)) + "\n" + CHINESE * (LONG // 2 // len(CHINESE.encode()))


def spans(by: Segmentation) -> Measure:
    """How many words a text has, and how many bytes they have together."""

    def measure(texts: pl.Series) -> pl.DataFrame:
        held = words.buffer(texts)
        found = words.segment(held, by)
        assert (found.starts < found.stops).all()
        assert (found.stops[:-1] <= found.starts[1:]).all()
        sizes = [int((found.stops - found.starts)[low:high].sum()) for low, high in pairwise(found.offsets.tolist())]
        counts = pl.Series(found.offsets[1:] - found.offsets[:-1])
        return pl.DataFrame({"words": counts, "bytes": pl.Series(sizes, dtype=pl.Int64)})

    return measure


def signatures(texts: pl.Series) -> pl.DataFrame:
    shingled = shingles.shingle(texts, Shingling())
    slots = minhash.signatures(shingles.distinct(shingled.sets))
    columns = {f"slot {number}": slots[:, number] for number in range(0, slots.shape[1], 16)}
    return pl.DataFrame({"key": shingled.keys[:, 0], "check": shingled.keys[:, 1], **columns})


@pytest.fixture(scope="module")
def benchmarks(tmp_path_factory: pytest.TempPathFactory) -> Benchmarks:
    """A benchmark of hostile rows: every small text that is not the start of a huge one, and pieces of two large ones."""
    path = tmp_path_factory.mktemp("benchmark") / "hostile.jsonl"
    rows = [*(text for text in SMALL.values() if text not in (ENGLISH * 5, CHINESE * 3)), "a " * 50, "to be " * 30]
    path.write_text("".join(json.dumps({"prompt": row}) + "\n" for row in rows))
    return Benchmarks.load([Benchmark("hostile", str(path))], Settings(ngram=5, shortest=2))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    folder = tmp_path_factory.mktemp("classifier")
    labels = pl.Series(["__label__good", "__label__bad"] * 20)
    lines = pl.Series(["the king had three sons", "buy now 4 4 4"] * 20)
    model = fasttext_models.train(
        labels, lines, {**classification.SETTINGS, "dim": 4, "bucket": 1000}, folder / "lines"
    )
    model.save_model(str(folder / "model.bin"))
    return Classifier.find(folder / "model.bin", positive="__label__good")


MEASURES: Final[dict[str, Callable[[pl.Series], pl.DataFrame | pl.Series]]] = {
    "words.segment whitespace": spans("whitespace"),
    "words.segment script": spans("script"),
    "words.segment unicode": spans("unicode"),
    "language.detect": language.detect,
    "identification.identify": identification.identify,
    "quality.measure whitespace": quality.measure,
    "quality.measure unicode": partial(quality.measure, segmentation="unicode"),
    "quality.measure bad words": partial(
        quality.measure, rules=[quality.RULES["c4_bad_words"]], bad_words=["strike", "a", "长城", "\u0301"]
    ),
    "quality.clean": quality.clean,
    "repetition.measure whitespace": repetition.measure,
    "repetition.measure script": partial(repetition.measure, segmentation="script"),
    "personal_data.scan": personal_data.scan,
    "personal_data.kinds": personal_data.kinds,
    "personal_data.redact": personal_data.redact,
    "personal_data.contains_url": personal_data.contains_url,
    "minhash.signatures": signatures,
}


@pytest.fixture(params=[*MEASURES, "classification.score", "contamination.measure"])
def measure(request: pytest.FixtureRequest) -> Measure:
    """Each public measure, its answer as a frame."""
    if request.param == "contamination.measure":
        function = partial(contamination.measure, benchmarks=request.getfixturevalue("benchmarks"))
    elif request.param == "classification.score":
        function = partial(classification.score, classifier=request.getfixturevalue("classifier"))
    else:
        function = MEASURES[request.param]

    def framed(texts: pl.Series) -> pl.DataFrame:
        answer = function(texts)
        return answer.to_frame() if isinstance(answer, pl.Series) else answer

    return framed


def small() -> pl.Series:
    return pl.Series("text", [*SMALL.values()], dtype=pl.String)


def test_small_texts_row_by_row(measure: Measure) -> None:
    texts = small()
    together = measure(texts)
    assert together.height == len(texts)
    alone = [measure(texts[row : row + 1]) for row in range(len(texts))]
    for name, row, expected in zip(SMALL, alone, together.iter_slices(1), strict=True):
        assert row.equals(expected), f"{name}: {row.to_dicts()} alone, {expected.to_dicts()} among others"
        assert row.schema == together.schema, name


def test_scores_are_numbers(measure: Measure) -> None:
    texts = pl.concat([small(), pl.Series("text", [" ".join(filter(None, SMALL.values()))])])
    scores = measure(texts).select(pl.selectors.float())
    odd = scores.select(~pl.all().is_finite().fill_null(True)).select(pl.any_horizontal(False, pl.all())).to_series()
    assert not odd.any(), [*SMALL, "all together"][odd.arg_max() or 0]


@settings(max_examples=40)
@given(st.lists(st.none() | st.lists(PIECES, max_size=12).map("".join), min_size=2, max_size=5))
def test_any_texts_row_by_row(measure: Measure, texts: list[str | None]) -> None:
    series = pl.Series("text", texts, dtype=pl.String)
    together = measure(series)
    assert_frame_equal(pl.concat([measure(series[row : row + 1]) for row in range(len(series))]), together)
    assert_frame_equal(measure(series), together)


def test_small_texts_cut_and_joined(measure: Measure) -> None:
    texts = small()
    expected = measure(texts)
    count = len(texts)
    cut = pl.concat([pl.Series("text", ["before é"] * 7), texts, pl.Series("text", [None, "after"])], rechunk=True)
    joined = pl.concat([texts[:5], texts[5:6], texts[6:6], texts[6:]], rechunk=False)
    assert joined.n_chunks() > 1
    assert_frame_equal(measure(cut[7 : 7 + count]), expected)
    assert_frame_equal(measure(joined), expected)
    assert_frame_equal(measure(joined[3 : count - 2]), expected[3 : count - 2])
    assert_frame_equal(measure(texts.reverse()), expected.reverse())
    assert_frame_equal(measure(texts), expected)


def test_no_texts(measure: Measure) -> None:
    nothing = measure(pl.Series("text", [], dtype=pl.String))
    assert nothing.height == 0
    assert nothing.schema == measure(small()).schema


def test_only_nulls(measure: Measure) -> None:
    assert measure(pl.Series("text", [None, None], dtype=pl.String)).height == 2


def test_the_series_is_left_as_it_was(measure: Measure) -> None:
    texts = small()
    measure(texts)
    assert texts.to_list() == [*SMALL.values()]


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("name", LARGE)
def test_large_texts(measure: Measure, name: str) -> None:
    text = LARGE[name]()
    found = measure(pl.Series("text", ["before", text, None, "after"]))
    assert found.height == 4
    assert found.schema == measure(pl.Series("text", ["before"])).schema
    assert found[3:].equals(measure(pl.Series("text", ["after"])))


@pytest.mark.soak
@pytest.mark.timeout(5 * SECONDS)
def test_a_text_of_a_hundred_megabytes(measure: Measure) -> None:
    assert measure(pl.Series("text", [huge()])).height == 1


@pytest.mark.parametrize("name", LARGE)
def test_redacting_large_texts_twice(name: str) -> None:
    once = personal_data.redact(pl.Series([LARGE[name]()]))
    assert personal_data.redact(once).equals(once)


def test_redacting_small_texts_twice() -> None:
    once = personal_data.redact(small())
    assert personal_data.redact(once).equals(once)
    assert once.is_null().equals(small().is_null())


def test_duplicates_of_small_texts() -> None:
    texts = pl.concat([small(), small().reverse()], rechunk=False)
    marked = duplicates.mark(texts.to_frame(), duplicates.Settings())
    assert marked.height == len(texts)
    rows = marked.with_row_index("row").filter(pl.col("reason").is_not_null())
    assert (rows["duplicate_of"] < rows["row"]).all()
    assert rows.filter(pl.col("row") >= len(SMALL)).height == len(SMALL)
    exact = rows.filter(pl.col("reason") == "duplicate")
    assert (exact["similarity"] == 1).all()
    assert_frame_equal(duplicates.mark(texts.rechunk().to_frame(), duplicates.Settings()), marked)


@pytest.mark.timeout(5 * SECONDS)
def test_duplicates_of_large_texts() -> None:
    texts = pl.Series("text", [make() for make in LARGE.values()] * 2)
    marked = duplicates.mark(texts.to_frame(), duplicates.Settings())
    assert marked["reason"][len(LARGE) :].null_count() == 0


@pytest.mark.parametrize("held", [b"caf\xe9", b"\xed\xa0\x80", b"\xff", b"\xc0\x80"])
def test_bytes_that_are_no_text(held: bytes) -> None:
    for strict in (True, False):
        with pytest.raises(pl.exceptions.PolarsError):
            pl.Series([held]).cast(pl.String, strict=strict)
    with pytest.raises(pl.exceptions.PolarsError):
        pl.read_ndjson(b'{"text": "%b"}\n' % held)
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(b'{"text": "%b"}' % held)


@pytest.mark.parametrize("escaped", ["\\ud800b", "\\ud800", "\\udc00", "\\udc00\\ud800"])
def test_unpaired_surrogates(escaped: str) -> None:
    line = f'{{"text": "a{escaped}"}}'.encode()
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(line)
    with pytest.raises(UnicodeEncodeError):
        pl.Series([json.loads(line)["text"]])


def test_an_unpaired_surrogate_in_polars_json_is_nul() -> None:
    """Why no reader of ours leaves JSON to Polars; when this fails, Polars has changed."""
    assert pl.read_ndjson(b'{"text": "a\\ud800b"}\n')["text"].to_list() == ["a\0b"]
