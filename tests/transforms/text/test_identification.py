"""Which language a text is in: who decides, what is left open, and what a filter makes of it."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.transforms.text.test_language import KNOWN, MIXED
from transforms.text import fasttext_models, identification
from transforms.text.fasttext_models import Model, ModelError
from transforms.text.identification import LID_176


def identified(*texts: str | None, model: Model = LID_176, **options: int) -> list[tuple[str | None, float | None]]:
    return identification.identify(pl.Series("text", texts, dtype=pl.String), model, **options).rows()


def languages(*texts: str | None) -> list[str | None]:
    return [language for language, _ in identified(*texts)]


# --- who decides ------------------------------------------------------------------------------------------------------


def test_sentences_of_thirty_languages() -> None:
    found = languages(*(text for text, _ in KNOWN))
    wrong = [(text, code, said) for (text, code), said in zip(KNOWN, found, strict=True) if said != code]
    assert {(code, said) for _, code, said in wrong} <= {("id", "ms")}, wrong
    assert len(wrong) <= 1


def test_mixed_texts() -> None:
    found = languages(*(text for text, _ in MIXED))
    wrong = [text for (text, code), said in zip(MIXED, found, strict=True) if said != code]
    assert wrong == ["请修复这个 TypeError: cannot read property of undefined", "Что значит machine learning?"]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("好", "zh"),
        ("ひらがな", "ja"),
        ("東京都に行きたい", "ja"),
        ("日本的「の」是什么意思？请详细说明一下", "zh"),
        ("네", "ko"),
        ("ใช่", "th"),
        ("λ", "el"),
        ("ok 知道了", "zh"),
        ("ລາວ", "lo"),
        ("አማርኛ", "am"),
    ],
)
def test_a_script_of_one_language_decides(text: str, language: str) -> None:
    assert identified(text) == [(language, 1.0)]


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        " \n\t",
        "42",
        "12:30, 2024-01-05",
        "👍🏽",
        "\u200b",
        "\ufffd\ufffd",
        "٣٤٥",
        "```python\nfor the in that:\n    pass\n```",
        "```\nnever closed, and long enough to be a language",
        "https://the.example.org/what/is/this/and/that",
        "www.example.org/what-is-this",
    ],
)
def test_without_letters_nobody_decides(text: str | None) -> None:
    assert identified(text) == [(None, None)]


@pytest.mark.parametrize("text", ["ok", "é", "LGTM", "x^2 + y^2 = r^2", "blub", "finish", "if (a) { return b; }"])
def test_with_few_letters_an_unsure_model_does_not_decide(text: str) -> None:
    ((language, probability),) = identified(text)
    assert language is None
    assert probability is not None


def test_the_same_few_letters_are_enough_where_the_model_is_sure() -> None:
    assert languages("keep going", "Please continue", "merci beaucoup") == ["en", "en", "fr"]


def test_letters_of_other_scripts_are_for_the_model() -> None:
    ((language, probability),) = identified("ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ")
    assert language is None
    assert probability is not None


def test_many_signs_need_a_sure_model() -> None:
    code = "$('#' + inputId).on('focus', () => { $(this).removeClass(err); $(lbl).hide(); });"
    bare = fasttext_models.best(LID_176.load(), pl.Series([code]))
    assert bare["probability"][0] < identification.SURE
    assert languages(code) == [None]


def test_fences_and_addresses_are_no_evidence() -> None:
    assert languages(
        "这段代码为什么报错？\n```python\nfor x in the_list:\n    print(x and y or this is that)\n```",
        "Пожалуйста, прочитай это: https://www.example.org/this/is/an/english/address/with/many/words",
    ) == ["zh", "ru"]


def test_capitals_are_read() -> None:
    texts = [text for text, code in KNOWN if code in {"en", "de", "fr", "ru", "es"}]
    assert languages(*(text.upper() for text in texts)) == languages(*texts)


def test_texts_that_would_end_fasttexts_line() -> None:
    assert (
        languages("</s> Das ist ein ganz gewöhnlicher Satz.", "\nDas ist ein\n\nganz gewöhnlicher Satz.\n")
        == ["de"] * 2
    )


def test_only_the_head_is_read() -> None:
    english, german = "This is an ordinary sentence. " * 5, "Das ist ein gewöhnlicher Satz. " * 50
    assert identified(english + german, max_characters=150) == identified(english)
    assert languages(english + german) == ["de"]
    assert identified("1 " * 500 + "你好") == [(None, None)]


def test_names_nulls_and_empty_columns() -> None:
    empty = identification.identify(pl.Series("body", [], dtype=pl.String))
    assert empty.schema == {"language": pl.String, "language_probability": pl.Float32}
    assert len(empty) == 0
    assert_frame_equal(
        identification.identify(pl.Series("nulls", [None, None], dtype=pl.String)),
        pl.DataFrame({"language": [None] * 2, "language_probability": [None] * 2}, schema=empty.schema),
    )
    sliced = pl.Series("body", ["drop me", "what is this about?", None, "好"])[1:]
    assert identification.identify(sliced)["language"].to_list() == ["en", None, "zh"]


@pytest.mark.parametrize(
    "text",
    [
        "A" * 50_000_000,
        "的" * 20_000_000,
        "e\u0301" * 1_000_000,
        "\u202eabc" * 1_000_000,
        "\x00\x01\x1f" * 1_000_000,
        "`" * 9_999,
    ],
    ids=["one word", "no spaces", "marks", "right to left", "controls", "fences"],
)
def test_large_and_odd_texts(text: str) -> None:
    found = identified(text, "what is this about?")
    assert found[1][0] == "en"
    assert found[0] == identified(text[:1_000])[0]


# --- the same, written plainly ----------------------------------------------------------------------------------------

NAMES = {"LATIN": "Latn", "CYRILLIC": "Cyrl", "GREEK": "Grek", "THAI": "Thai", "HANGUL": "Hang", "CJK": "Hani"}
NAMES |= {"HIRAGANA": "Jpan", "KATAKANA": "Jpan"}
ALPHABET = "etaoinshrdlu ETAOIN жизньЖ λόγος ไทย 한국어 中文字典 かなカナ 0123 .,!?(){}[]<>=/\\|@#\n"


def plainly(text: str) -> tuple[str | None, float | None]:
    """The module's table, one character at a time, with the character database in place of Polars' expressions."""
    counts: Counter[str] = Counter()
    signs = characters = capitals = 0
    for character in text:
        if ord(character) <= 32:
            continue
        characters += 1
        signs += character in '{}[]()<>=;_\\/|#$&*+~^%@"`:'
        if unicodedata.category(character).startswith("L"):
            counts[NAMES[unicodedata.name(character).split()[0]]] += 1
            capitals += unicodedata.category(character) == "Lu"
    kana, han = counts.pop("Jpan", 0), counts.pop("Hani", 0)
    counts["Jpan" if kana and kana * 10 >= han else "Hani"] += kana + han
    weighed = {iso: n * (5 if iso in {"Jpan", "Hani", "Hang"} else 1) for iso, n in counts.items() if n}
    if not weighed:
        return None, None
    order = ["Latn", "Hani", "Jpan", "Hang", "Cyrl", "Grek", "Thai"]
    script = max(weighed, key=lambda iso: (weighed[iso], -order.index(iso)))
    sole = {"Hani": "zh", "Jpan": "ja", "Hang": "ko", "Grek": "el", "Thai": "th"}
    if script in sole:
        return sole[script], 1.0
    total = sum(weighed.values())
    if weighed[script] < (1 - 0.1) * total:
        kept = ("LATIN",) if script == "Latn" else ("CYRILLIC",)
        letter = [unicodedata.category(c).startswith("L") for c in text]
        words, within = [], False
        for character, known in zip(text, letter, strict=True):
            if known and not unicodedata.name(character).startswith(kept):
                words.append("" if within else " ")
                within = True
            else:
                words.append(character)
                within = False
        text = "".join(words)
    if capitals * 2 > total:
        text = text.lower()
    ((probability, label),) = LID_176.load().f.predict(text.replace("\n", " ") + "\n", 1, 0.0, "strict")
    probability = round(min(probability, 1.0), 6)
    telling = weighed[script] >= 20 and signs <= 0.1 * characters
    trusted = (telling or np.float32(probability) >= np.float32(0.65)) and weighed[script] >= 3
    return label.removeprefix("__label__") if trusted else None, probability


@settings(max_examples=200)
@given(st.lists(st.text(st.sampled_from(ALPHABET), max_size=60), min_size=1, max_size=6))
def test_the_table_written_plainly_gives_the_same(texts: list[str]) -> None:
    for found, expected in zip(identified(*texts), map(plainly, texts), strict=True):
        assert found[0] == expected[0]
        assert found[1] == (None if expected[1] is None else pytest.approx(expected[1], abs=2e-6))


@given(st.lists(st.text() | st.none(), max_size=5))
def test_rows_do_not_influence_each_other(texts: list[str | None]) -> None:
    assert identified(*texts) == [identified(text)[0] for text in texts]


# --- other models -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def glot(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model whose labels name scripts, as GlotLID's do."""
    folder = tmp_path_factory.mktemp("glot")
    sentences = {
        "eng_Latn": "en",
        "deu_Latn": "de",
        "rus_Cyrl": "ru",
        "ukr_Cyrl": "uk",
        "tha_Thai": "th",
        "cmn_Hani": "zh",
    }
    pairs = [(label, text) for label, code in sentences.items() for text, known in KNOWN if known == code]
    pairs.append(("yue_Hani", "佢哋喺度做緊嘢"))
    labels, texts = (pl.Series(column) for column in zip(*pairs * 5, strict=True))
    chosen = {"dim": 8, "epoch": 50, "lr": 0.5, "minn": 1, "maxn": 3, "bucket": 5_000, "wordNgrams": 1}
    model = fasttext_models.train(labels, fasttext_models.one_line(texts, 1_000), chosen, folder / "lines.txt")
    model.save_model(str(folder / "glot.bin"))
    return Model.find(folder / "glot.bin")


def test_a_users_model_keeps_its_labels(glot: Model) -> None:
    assert identified("มนุษย์", model=glot) == [("tha_Thai", 1.0)]
    found = identified("佢哋喺度做緊嘢", "All human beings are born free and equal", "Ελλάδα", model=glot)
    assert [language for language, _ in found][:2] == ["yue_Hani", "eng_Latn"]
    assert all(probability is not None and probability < 1 for _, probability in found)


def test_a_model_is_its_bytes(glot: Model, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere.bin"
    copy.write_bytes(glot.path.read_bytes())
    assert identification.identity(Model.find(copy)) == identification.identity(glot)
    assert identification.identity(glot) != identification.identity()
    assert identification.identity(max_characters=500) != identification.identity()
    assert str(tmp_path) not in json.dumps(identification.identity(Model.find(copy)))


# --- the filter -------------------------------------------------------------------------------------------------------


def test_every_reason() -> None:
    texts = [
        "what is this about, please?",
        "das ist ein gewöhnlicher Satz",
        "42",
        "finish the thing, bruh, JSON to yaml",
        None,
    ]
    frame = pl.DataFrame({"id": range(5), "text": texts})
    kept = identification.select(frame, ["en"], 0.65)
    assert kept.columns == ["id", "text", "language", "language_probability", "failed", "reason"]
    low = kept["language_probability"][3]
    assert kept["reason"].to_list() == [None, "language_unwanted", "language_unknown", None, "language_unknown"]
    strict = identification.select(frame, ["de"], 0.99)
    assert strict["failed"].to_list() == [
        ["language_unwanted", "language_uncertain"],
        [] if strict["language_probability"][1] >= 0.99 else ["language_uncertain"],
        ["language_unknown"],
        ["language_unwanted", "language_uncertain"],
        ["language_unknown"],
    ]
    assert strict["reason"].to_list() == strict["failed"].list.first().to_list()
    at = identification.select(frame[3:4], ["en"], low)
    assert at["reason"].to_list() == [None]
    any_language = identification.select(frame, (), 0.0)
    assert any_language["reason"].to_list() == [None, None, "language_unknown", None, "language_unknown"]


def test_a_language_that_the_model_does_not_know_is_named(glot: Model) -> None:
    with pytest.raises(ValueError, match=r"eng_Latn: expected labels of lid\.176\.ftz"):
        identification.select(pl.DataFrame({"text": ["a"]}), ["en", "eng_Latn"])
    with pytest.raises(ValueError, match=r"en: expected labels of glot\.bin"):
        identification.expect_languages(["en"], glot)


def test_a_model_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone\.bin"):
        identified("what is this about?", model=Model(str(tmp_path / "gone.bin"), "0" * 64))


# --- real texts -------------------------------------------------------------------------------------------------------


def test_real_messages(shared_chats: Path) -> None:
    """Wherever the file's tags, of another detector, and bare fastText agree, so does this, or it does not say."""
    with (shared_chats / "sharegpt_500.jsonl").open() as lines:
        said = [turn for line in lines for turn in json.loads(line)["conversations"]]
    frame = pl.DataFrame({"text": [turn["value"] for turn in said], "tag": [turn.get("language") for turn in said]})
    bare = fasttext_models.best(LID_176.load(), fasttext_models.one_line(frame["text"], 1_000))["label"]
    found = frame.with_columns(identification.identify(frame["text"]).get_columns()).filter(bare == frame["tag"])
    assert len(found) > 3_500
    assert found["language"].is_null().mean() < 0.03
    assert (found["language"] != found["tag"]).fill_null(False).mean() < 0.002
