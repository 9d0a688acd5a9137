"""Language identification: what is decided, what is left open, and names to codes."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_series_equal

from transforms.text import language

SENTENCES = {
    "en": ("All human beings are born free and equal in dignity and rights.", "Can you make it shorter, please?"),
    "es": (
        "Todos los seres humanos nacen libres e iguales en dignidad y derechos.",
        "¿Puedes hacerlo más corto, por favor?",
    ),
    "fr": (
        "Tous les êtres humains naissent libres et égaux en dignité et en droits.",
        "Peux-tu le rendre plus court ?",
    ),
    "de": (
        "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
        "Kannst du das bitte kürzer machen?",
    ),
    "pt": (
        "Todos os seres humanos nascem livres e iguais em dignidade e em direitos.",
        "Você pode fazer isso mais curto?",
    ),
    "it": (
        "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti.",
        "Puoi farlo più corto, per favore?",
    ),
    "nl": (
        "Alle mensen worden vrij en gelijk in waardigheid en rechten geboren.",
        "Kun je het wat korter maken?",
    ),
    "pl": (
        "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności.",
        "Czy możesz to napisać krócej?",
    ),
    "tr": (
        "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar.",
        "Bunu daha kısa yazar mısın lütfen?",
    ),
    "vi": (
        "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm.",
        "Bạn có thể viết ngắn hơn không?",
    ),
    "id": (
        "Semua orang dilahirkan merdeka dan mempunyai martabat yang sama.",
        "Tolong buatkan yang lebih pendek.",
    ),
    "ro": (
        "Toate ființele umane se nasc libere și egale în demnitate și în drepturi.",
        "Poți să scrii mai scurt?",
    ),
    "sv": (
        "Alla människor är födda fria och lika i värde och rättigheter.",
        "Kan du skriva det lite kortare, tack?",
    ),
    "da": (
        "Alle mennesker er født frie og lige i værdighed og rettigheder af naturen.",
        "Hvad skal jeg gøre nu?",
    ),
    "no": (
        "Jeg vet ikke hva det betyr, men noe er galt her.",
        "Hva skal jeg gjøre nå?",
    ),
    "fi": (
        "Kaikki ihmiset syntyvät vapaina ja tasavertaisina, ja he ovat järkeviä.",
        "Voitko kirjoittaa sen niin että se on lyhyt?",
    ),
    "cs": (
        "Všichni lidé se rodí svobodní a sobě rovní co do důstojnosti a práv.",
        "Můžeš to prosím napsat kratší?",
    ),
    "hu": (
        "Minden emberi lény szabadon születik és egyenlő méltósága van.",
        "Kérlek, írj egy rövidebb változatot!",
    ),
    "zh": ("人人生而自由，在尊严和权利上一律平等。", "好", "請寫得短一點"),
    "ja": ("すべての人間は、生まれながらにして自由である。", "もっと短くしてください", "東京都に行きたい"),
    "ko": ("모든 인간은 태어날 때부터 자유롭다.", "더 짧게 해 주세요"),
    "ru": ("Все люди рождаются свободными и равными.", "Сделай короче, пожалуйста"),
    "uk": ("Всі люди народжуються вільними і рівними у своїй гідності.", "Зроби коротше, її тут немає"),
    "sr": ("Сва људска бића рађају се слободна и једнака.",),
    "ar": ("يولد جميع الناس أحرارا ومتساوين في الكرامة والحقوق.",),
    "fa": ("تمام افراد بشر آزاد به دنیا می‌آیند و گفته شده است.",),
    "ur": ("تمام انسان آزاد پیدا ہوئے ہیں۔",),
    "he": ("כל בני האדם נולדו בני חורין.",),
    "el": ("Όλοι οι άνθρωποι γεννιούνται ελεύθεροι.",),
    "th": ("มนุษย์ทั้งหลายเกิดมามีอิสระ",),
    "hi": ("सभी मनुष्य जन्म से स्वतन्त्र हैं।",),
}
KNOWN = [(text, code) for code, texts in SENTENCES.items() for text in texts]

UNDECIDED = (
    "",
    "   ",
    "ok",
    "OK!!!",
    "42",
    "12:30, 2024-01-05",
    "👍🏽",
    "LGTM",
    "x^2 + y^2 = r^2",
    "https://the.example.org/what/is/this/and/that",
    "someone@and.the.org",
    "```python\nfor the in that:\n    if this is not None and that:\n        pass\n```",
    "for i in range(10):\n    if x is not None and y:\n        return x;\n",
    "SELECT * FROM users WHERE id = 3;",
    "1. RootHub.com\n2. RootWave.com\n3. RootClimb.com",
    "λ",
    "é",
    "Alle mennesker er født frie og med samme rettigheter.",  # Danish and Norwegian alike
)

MIXED = (
    ("用Python写一个function来sort这个list", "zh"),
    ("请修复这个 TypeError: cannot read property of undefined", "zh"),
    ("How do I write the word 谢谢 in pinyin?", "en"),
    ("What is the meaning of 加油 and how do you use it in a sentence?", "en"),
    ("这段代码为什么报错？\n```python\nfor x in the_list:\n    print(x)\n```", "zh"),
    ("Explain the code below.\n```python\n# 打印列表\nprint('你好世界，这是一个很长的字符串')\n```", "en"),
    ("日本的「の」是什么意思？请详细说明一下", "zh"),
    ("Translate the word привет to English, please", "en"),
    ("Что значит machine learning?", "ru"),
)


def detected(*texts: str | None) -> list[str | None]:
    return language.detect(pl.Series("text", texts, dtype=pl.String)).to_list()


@pytest.mark.parametrize(("text", "code"), KNOWN)
def test_sentences_of_each_language(text: str, code: str) -> None:
    assert detected(text) == [code]


@pytest.mark.parametrize("text", UNDECIDED)
def test_too_little_evidence_is_null(text: str) -> None:
    assert detected(text) == [None]


@pytest.mark.parametrize(("text", "code"), MIXED)
def test_mixed_texts(text: str, code: str) -> None:
    assert detected(text) == [code]


def test_upper_case_is_read_too() -> None:
    assert detected("PLEASE WRITE THE STORY AGAIN", "ЧТО ЭТО ТАКОЕ") == ["en", "ru"]


def test_only_the_head_is_read() -> None:
    filler = "1 " * (language.MAX_CHARACTERS // 2)
    assert detected(filler + "你好", "你好" + filler) == [None, "zh"]


def test_nulls_names_and_empty_columns() -> None:
    found = language.detect(pl.Series("body", [None, "what is that?", None], dtype=pl.String))
    assert_series_equal(found, pl.Series("body", [None, "en", None], dtype=pl.String))
    assert_series_equal(
        language.detect(pl.Series("empty", [], dtype=pl.String)), pl.Series("empty", [], dtype=pl.String)
    )
    assert_series_equal(language.detect(pl.Series("nulls", [None])), pl.Series("nulls", [None], dtype=pl.String))


@given(st.permutations(range(len(KNOWN))))
def test_rows_do_not_influence_each_other(order: list[int]) -> None:
    assert detected(*(KNOWN[index][0] for index in order)) == [KNOWN[index][1] for index in order]


@given(st.lists(st.text() | st.none(), max_size=5))
def test_any_text_gets_a_code_or_null(texts: list[str | None]) -> None:
    found = detected(*texts)
    assert len(found) == len(texts)
    assert all(code is None or language.code(code) == code for code in found)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("English", "en"),
        ("Chinese", "zh"),
        ("spanish", "es"),
        (" French ", "fr"),
        ("Bokmal", "no"),
        ("Norwegian Bokmål", "no"),
        ("Chinese (Simplified)", "zh"),
        ("Portuguese (Brazil)", "pt"),
        ("en", "en"),
        ("EN", "en"),
        ("en-US", "en"),
        ("en_GB", "en"),
        ("zh-CN", "zh"),
        ("zh-Hant", "zh"),
        ("zh-Hant-TW", "zh"),
        ("cmn-Hans", "zh"),
        ("pt-BR", "pt"),
        ("iw", "he"),
        ("eng", "en"),
        ("nb-NO", "no"),
        ("unknown", None),
        ("Nolang", None),
        ("und", None),
        ("xx", None),
        ("", None),
        ("-", None),
        (None, None),
    ],
)
def test_names_to_codes(name: str | None, code: str | None) -> None:
    assert language.code(name) == code
    assert language.codes(pl.Series("name", [name], dtype=pl.String)).to_list() == [code]


def test_codes_of_a_column() -> None:
    names = pl.Series("language", ["English", None, "zh-CN", "Klingon", "English"])
    assert_series_equal(language.codes(names), pl.Series("language", ["en", None, "zh", None, "en"]))
    assert_series_equal(language.codes(pl.Series("nulls", [None])), pl.Series("nulls", [None], dtype=pl.String))
