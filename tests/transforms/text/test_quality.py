"""Every rule of Gopher, C4 and FineWeb against plain Python written from the papers, on real and on made-up texts."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from transforms.text import c4, fineweb, gopher, quality, words
from transforms.text.words import Segmentation

SEGMENTATIONS: Sequence[Segmentation] = ("whitespace", "script", "unicode")

FRAGMENTS = (
    *(
        "the",
        "be",
        "to",
        "of",
        "and",
        "that",
        "have",
        "with",
        "The",
        "word",
        "Ελλάδα",
        "שלום",
        "漢字。",
        "ไทย",
        "42",
        "x" * 1001,
    ),
    *(
        "#",
        "##",
        "...",
        "....",
        "......",
        "…",
        "•",
        "‣ ",
        "- ",
        "* ",
        "a.",
        "b!”",
        "c?",
        "d”)",
        "he said.",
        "。」ある",
        "“Quote”",
        "e.g.",
    ),
    *(
        " ",
        "  ",
        "\n",
        "\n\n",
        "\r\n",
        "\t",
        "\u2028",
        "\u0085",
        "\u00a0",
        "\x1c",
        "\u0301",
        "\ufffd",
        "\x00",
        "👩\u200d🔬",
        "\u103c",
    ),
    *(
        "{",
        "lorem ipsum",
        "Lorem IPSUM",
        "JavaScript",
        "use cookies",
        "Privacy Policy",
        "[1]",
        "[]",
        "[edit]",
        "[citation needed]",
        "[x]",
    ),
    *(" ends here. ", "One. Two! Three?", "A line of words that goes on for more than thirty characters."),
)
texts = st.one_of(
    st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join),
    st.lists(st.sampled_from(FRAGMENTS), max_size=30).map(" ".join),
    st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("\n".join),
    st.text(max_size=50),
)

LINE_END = "[\n\x0b\x0c\r\x85\u2028\u2029]"


SPACES = "".join(regex.findall(r"\p{White_Space}", "".join(map(chr, range(0x10000)))))
ALPHABETIC = regex.compile(r"\p{Alphabetic}")
PUNCTUATION = regex.compile(r"[\p{STerm}\p{QMark}]")
CITATION_AT_END = regex.compile(r"(?:\[[0-9]*\]|\[edit\]|\[citation needed\])$")


def strip(text: str) -> str:
    return text.strip(SPACES)


def is_punctuated(line: str) -> bool:
    return PUNCTUATION.match(line[-1:]) is not None


def share(part: float, whole: float) -> float:
    return part / max(whole, 1)


def found(series: pl.Series, by: Segmentation) -> list[list[str]]:
    """The words of each text: test_words.py has what they should be."""
    flat = words.buffer(series)
    starts, stops, offsets = words.segment(flat, by)
    spans = [flat.data[start:stop].tobytes().decode() for start, stop in zip(starts, stops, strict=True)]
    return [spans[start:stop] for start, stop in zip(offsets, offsets[1:], strict=False)]


def gopher_scores(text: str, tokens: list[str]) -> dict[str, float]:
    lines = [line for line in map(strip, regex.split(LINE_END, text)) if line]
    return {
        "gopher_word_count": len(tokens),
        "gopher_mean_word_length": share(sum(map(len, tokens)), len(tokens)),
        "gopher_hash_ratio": share(text.count("#"), len(tokens)),
        "gopher_ellipsis_ratio": share(text.count("...") + text.count("…"), len(tokens)),
        "gopher_bullet_lines": share(sum(line[0] in "•‣◦⁃▪*-" for line in lines), len(lines)),
        "gopher_ellipsis_lines": share(sum(line.endswith(("...", "…")) for line in lines), len(lines)),
        "gopher_alphabetic_words": share(sum(map(bool, map(ALPHABETIC.search, tokens))), len(tokens)),
        "gopher_stop_words": len({"the", "be", "to", "of", "and", "that", "have", "with"} & set(tokens)),
    }


def fineweb_scores(text: str, tokens: list[str]) -> dict[str, float]:
    lines = [line for line in regex.split(LINE_END, text) if strip(line)]
    stripped = [strip(line) for line in lines]
    duplicated, before = [], set()
    for line in stripped:
        duplicated += [line] if line in before else []
        before.add(line)
    return {
        "fineweb_punctuated_lines": share(sum(map(is_punctuated, lines)), len(lines)),
        "fineweb_duplicate_line_characters": share(sum(map(len, duplicated)), sum(map(len, stripped))),
        "fineweb_short_lines": share(sum(len(line) < 30 for line in stripped), len(lines)),
        "fineweb_newline_ratio": share(text.count("\n"), len(tokens)),
    }


def c4_lines(text: str, by: Segmentation) -> list[tuple[str, set[str]]]:
    """The lines of a text without the citations at their ends, and what C4 finds wrong with each."""
    lines = [line for line in map(strip, regex.split(LINE_END, text)) if line]
    faults = []
    for line, tokens in zip(lines, found(pl.Series(lines, dtype=pl.String), by), strict=True):
        shown = line
        while shown.endswith("]") and (shorter := strip(CITATION_AT_END.sub("", shown))) != shown:
            shown = shorter
        lowered = shown.encode().lower().decode()  # ASCII only
        tests = {
            "c4_open_lines": shown.endswith("...") or not is_punctuated(shown),
            "c4_short_lines": len(tokens) < 3,
            "c4_long_word_lines": any(len(token) > 1000 for token in tokens),
            "c4_javascript_lines": "javascript" in lowered,
            "c4_policy_lines": any(policy in lowered for policy in POLICIES),
            "c4_lorem_ipsum": "lorem ipsum" in lowered,
            "c4_curly_brackets": "{" in shown,
        }
        faults.append((shown, {name for name, fault in tests.items() if fault}))
    return faults


POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
DROPPING = {"c4_open_lines", "c4_short_lines", "c4_long_word_lines", "c4_javascript_lines", "c4_policy_lines"}
SENTENCE_END = regex.compile(
    r"(?V1)\p{STerm}+[\p{Pe}\p{Pf}\p{QMark}\p{STerm}]*(?=\p{White_Space}|$)"
    r"|[\p{STerm}&&[\u3000-\U0010ffff]][\p{Pe}\p{Pf}\p{QMark}]*"
)
CONTENT = regex.compile(r"[^\p{STerm}\p{Pe}\p{Pf}\p{QMark}\p{White_Space}]")


def sentences(line: str) -> int:
    return sum(CONTENT.search(piece) is not None for piece in SENTENCE_END.split(line))


def c4_scores(text: str, by: Segmentation) -> dict[str, float]:
    lines = c4_lines(text, by)
    counts = {
        name: sum(name in faults for _, faults in lines)
        for name in c4.RULES
        if name not in ("c4_sentences", "c4_bad_words")
    }
    return {"c4_sentences": sum(sentences(line) for line, faults in lines if not faults & DROPPING)} | counts


def c4_cleaned(text: str, by: Segmentation) -> str:
    lines = [line for line in map(strip, regex.split(LINE_END, text)) if line]
    kept = [line for line, (_, faults) in zip(lines, c4_lines(text, by), strict=True) if not faults & DROPPING]
    return regex.sub(r"\[[0-9]*\]|\[edit\]|\[citation needed\]", "", "\n".join(kept))


def assert_scores(documents: pl.Series, by: Segmentation) -> None:
    measured = quality.measure(documents, segmentation=by)
    expected = [
        gopher_scores(text, tokens) | c4_scores(text, by) | fineweb_scores(text, tokens)
        for text, tokens in zip(documents.fill_null(""), found(documents, by), strict=True)
    ]
    for name in measured.columns:
        wanted = np.array([scores[name] for scores in expected])
        if measured.schema[name] == pl.Float32:
            wanted = wanted.astype(np.float32)
        assert measured[name].to_list() == wanted.tolist(), name
    assert quality.clean(documents, by).to_list() == [c4_cleaned(text, by) for text in documents]


@pytest.mark.parametrize("by", SEGMENTATIONS)
@given(st.lists(texts, max_size=5))
@example(
    [
        "",
        " \n ",
        "\n\n\n",
        "#",
        "...",
        "[1]",
        "[1].",
        "word[",
        "]",
        "a b c.]",
        "x y z. [edit] [2]",
        "One two three... [1]",
    ]
)
@example(["Same line\nSame line\n same line \nSame line", "a.\nb”\nc. \nd.\r\ne", "- \n* x\n\n• y", "one two {three}."])
@example(
    [
        "We use cookies, so there.\nUse javascript or else.\nLorem ipsum dolor sit.\nThis one is fine.",
        "a b " + "x" * 1000 + ".",
        "他说。 他走了。好！」他 三",
    ]
)
def test_scores_are_those_of_plain_python(by: Segmentation, documents: list[str]) -> None:
    assert_scores(pl.Series("text", documents, dtype=pl.String), by)


@pytest.mark.parametrize("by", SEGMENTATIONS)
def test_real_documents_have_the_scores_of_plain_python(by: Segmentation, shared_texts: pl.Series) -> None:
    assert_scores(shared_texts, by)


def failed(text: str | None, *names: str, **settings: Sequence[str]) -> list[str]:
    rules = [quality.RULES[name] for name in names] or quality.DEFAULT
    return quality.select(pl.DataFrame({"text": [text]}, schema={"text": pl.String}), rules, **settings)["failed"][
        0
    ].to_list()  # type: ignore[arg-type]


PASSES = "the and " + "word " * 48
LINES = "This line is long enough and ends well, as it should.\n"


@pytest.mark.parametrize(
    ("name", "passes", "fails"),
    [
        ("gopher_word_count", "a " * 50, "a " * 49),
        ("gopher_word_count", "a " * 100_000, "a " * 100_001),
        ("gopher_mean_word_length", "abc", "ab abc"),
        ("gopher_mean_word_length", "ä" * 10, "ä" * 11),
        ("gopher_hash_ratio", "word " * 9 + "#", "word " * 9 + "##"),
        ("gopher_ellipsis_ratio", "word " * 9 + "...", "word " * 9 + "…..."),
        ("gopher_bullet_lines", "• x\n" * 9 + "x", "- x\n" * 10),
        ("gopher_ellipsis_lines", "x...\n" * 3 + "x\n" * 7, "x …\n" * 3 + "x\n" * 6),
        ("gopher_alphabetic_words", "word " * 4 + "1", "word " * 7 + "1 2"),
        ("gopher_stop_words", "to have", "to to To to, have."),
        ("c4_sentences", "One two three. " * 5, "One two three. " * 4 + "\nFive"),
        ("c4_lorem_ipsum", "lorem  ipsum", "Lorem Ipsum"),
        ("c4_curly_brackets", "}", "f() {"),
        ("fineweb_punctuated_lines", "x.\n" * 13 + "x\n" * 87, "x.\n" * 12 + "x\n" * 88),
        ("fineweb_duplicate_line_characters", "a\na\n" + "b" * 9, "a\na\n" + "b" * 8),
        ("fineweb_short_lines", "x" * 29 + "\n" + "x" * 30, ("x\n" * 67) + ("x" * 30 + "\n") * 33),
        ("fineweb_newline_ratio", "a b c d e f g\n\n\na b c", "a b c d e f g\n\n\na b"),
    ],
)
def test_published_thresholds_hold_at_their_edges(name: str, passes: str, fails: str) -> None:
    assert (failed(passes, name), failed(fails, name)) == ([], [name])


def test_the_reason_is_the_first_rule_that_fails_in_the_order_given() -> None:
    frame = pl.DataFrame({"id": [1, 2], "text": ["{#", LINES * 6 + PASSES]})
    for names in (["gopher_hash_ratio", "c4_curly_brackets"], ["c4_curly_brackets", "gopher_hash_ratio"]):
        judged = quality.select(frame, [quality.RULES[name] for name in names])
        assert judged["failed"].to_list() == [names, []]
        assert judged["reason"].to_list() == [names[0], None]
        assert judged.columns == ["id", "text", *names, "failed", "reason"]


def test_thresholds_are_settings() -> None:
    frame = pl.DataFrame({"text": ["a b c"]})
    assert quality.select(frame, [replace(gopher.RULES["gopher_word_count"], minimum=3)])["reason"].to_list() == [None]
    assert quality.select(frame, [replace(c4.RULES["c4_open_lines"], maximum=0)])["reason"].to_list() == [
        "c4_open_lines"
    ]


def test_every_rule_names_its_source_and_no_two_share_a_name() -> None:
    assert len(quality.RULES) == len(gopher.RULES) + len(c4.RULES) + len(fineweb.RULES)
    assert all(rule.source and rule.description and rule.name == name for name, rule in quality.RULES.items())


def test_the_documentation_has_every_rule_with_its_published_bounds() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "text-quality.md").read_text(encoding="utf-8")
    for rule in quality.RULES.values():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{rule.name}` |"))
        bounds = [float(bound.replace(",", "")) for bound in regex.findall(r"[\d.,]+", row.split(" | ")[2])]
        assert bounds == [bound for bound in (rule.minimum, rule.maximum) if bound is not None]
        assert row.split(" | ")[1] == rule.description and row.endswith(f"{rule.source} |")


@pytest.mark.parametrize("text", [None, "", " \n\t\u2028 "])
def test_a_text_with_nothing_in_it_fails_what_asks_for_something(text: str | None) -> None:
    assert failed(text) == [
        "gopher_word_count",
        "gopher_mean_word_length",
        "gopher_alphabetic_words",
        "gopher_stop_words",
        "c4_sentences",
        "fineweb_punctuated_lines",
        *(["fineweb_newline_ratio"] if text and "\n" in text else []),
    ]


@pytest.mark.parametrize("by", SEGMENTATIONS)
def test_scores_do_not_depend_on_what_else_is_in_the_frame(by: Segmentation, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = pl.Series("text", [PASSES, None, "", LINES * 3, "我爱你。" * 20, "- x\n{" * 4, LINES * 50])
    together = quality.measure(documents, segmentation=by)
    assert together.equals(pl.concat([quality.measure(documents.slice(row, 1), segmentation=by) for row in range(7)]))
    for size in (1, 7, 100, 1_000):
        monkeypatch.setattr(quality, "_PIECE", size)
        assert quality.measure(documents, segmentation=by).equals(together)
    assert quality.measure(documents.clear(), segmentation=by).schema == together.schema


def test_cleaning_drops_what_c4_drops_and_keeps_null_null() -> None:
    page = "Menu\n  This is a line.[1][edit]  \n\nWe use cookies to track you.\nPlease enable Javascript to read.\nNo end\nToo short.\nWell...\nHe said “so it is.”\n"
    cleaned = quality.clean(pl.Series("page", [page, None, "", "no"]))
    assert cleaned.name == "page"
    assert cleaned.to_list() == ["This is a line.\nHe said “so it is.”", None, "", ""]


def test_bad_words_are_whole_words_but_for_scripts_without_spaces() -> None:
    documents = pl.Series(
        "text", ["A Darn darn thing", "darned", "bad  phrase, bad phrase!", "这是坏话吗", None, "c++ and c+"]
    )
    rules = [c4.RULES["c4_bad_words"]]
    bad = ["darn", "bad phrase", "坏话", "c++"]
    assert quality.measure(documents, rules, bad_words=bad)["c4_bad_words"].to_list() == [2, 0, 1, 1, 0, 1]
    assert failed("A darn thing", "c4_bad_words", bad_words=bad) == ["c4_bad_words"]
    for wrong in ([], ["darn", " "]):
        with pytest.raises(ValueError, match="expected at least one bad word, and no empty one"):
            quality.measure(documents, rules, bad_words=wrong)


def test_a_rule_of_another_module_is_refused() -> None:
    rule = replace(gopher.RULES["gopher_word_count"], name="gopher_words")
    with pytest.raises(ValueError, match="no quality rule called gopher_words; there are gopher_word_count, "):
        quality.measure(pl.Series(["x"]), [rule])


@pytest.mark.parametrize("by", SEGMENTATIONS)
@pytest.mark.parametrize("piece", ["x", "漢", "x\n", "\n", ".", "]", "[1]", "{", "\u0301", "use cookie ", " "])
def test_time_is_linear(by: Segmentation, piece: str) -> None:
    def seconds(repeats: int) -> float:
        document = pl.Series([piece * repeats])
        gc.collect()
        start = time.process_time()
        quality.measure(document, segmentation=by)
        quality.clean(document, segmentation=by)
        return time.process_time() - start

    seconds(10)
    short = min(seconds(50_000) for _ in range(3))
    assert seconds(800_000) < 100 * short + 0.5
