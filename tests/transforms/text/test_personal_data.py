"""Personal data: what is found, what is not, checksums, placeholders, documents, web addresses. Secrets have a file of their own."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import phonenumbers
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal, assert_series_equal
from stdnum import iban, luhn
from stdnum.cn import ric
from stdnum.us import ssn

from tests.transforms.text.test_secrets import CLEAN as NO_SECRETS
from tests.transforms.text.test_secrets import FOUND as SECRETS
from transforms.text import personal_data
from transforms.text.detection import FOLD, MASK
from transforms.text.personal_data import KINDS, REGIONS
from transforms.text.words import buffer

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
PERSONAL = ["cn_id_card", "credit_card", "email", "iban", "ip_address", "phone", "us_ssn"]

# Text, the same redacted. Every placeholder's kind must be found, and no other.
FOUND = (
    # e-mail
    ("Write to jane.doe+news@mail.gmail.com, please.", "Write to <EMAIL>, please."),
    ("邮箱zhangsan_88@qq.com谢谢", "邮箱<EMAIL>谢谢"),
    ("a@b.co;c@d.org", "<EMAIL>;<EMAIL>"),
    ("<mailto:x.y@uni.edu>", "<mailto:<EMAIL>>"),
    ("thanks...bob@web.de.", "thanks...<EMAIL>."),
    ("邮箱：ｚｈａｎｇ＠ｑｑ．ｃｏｍ。", "邮箱：<EMAIL>。"),
    ("yours@web.de, youridol@qq.com, your.friend@web.de", "<EMAIL>, <EMAIL>, <EMAIL>"),
    ("a.b@x.co, c@2d.org; e@f.g.h.museum", "<EMAIL>, <EMAIL>; <EMAIL>"),
    # Chinese mobiles
    ("我的手机号是13800138000，请联系我", "我的手机号是<PHONE>，请联系我"),
    ("13800138000", "<PHONE>"),
    ("138-0013-8000 or 138 0013 8000", "<PHONE> or <PHONE>"),
    ("+86 13800138000、+8613800138000、(+86)138-0013-8000", "<PHONE>、<PHONE>、<PHONE>"),
    ("0086 13912345678", "<PHONE>"),
    ("13800138000,13912345678", "<PHONE>,<PHONE>"),
    ("姓名：张三 电话：13800138000。", "姓名：张三 电话：<PHONE>。"),
    ("手机：１３８００１３８０００", "手机：<PHONE>"),
    ("（１３８）不是，１３８－００１３－８０００才是", "（１３８）不是，<PHONE>才是"),
    ("微信同号13800138000\u3000谢谢", "微信同号<PHONE>\u3000谢谢"),
    # Chinese landlines
    ("办公室010-62345678", "办公室<PHONE>"),
    ("(0755) 26345678转2", "<PHONE>转2"),
    ("座机 5123 4567", "座机 <PHONE>"),
    ("电话（０１０）６２３４５６７８", "电话<PHONE>"),
    # North America
    ("call (555) 010-1234 now", "call <PHONE> now"),
    ("555-010-1234", "<PHONE>"),
    ("555.010.1234.", "<PHONE>."),
    ("1-800-555-0199", "<PHONE>"),
    ("+1 (415) 555-2671", "<PHONE>"),
    ("(713/853-5984) or ( 713 ) 853-5984", "(<PHONE>) or <PHONE>"),
    ("415\u2011555\u20112671 or 415\u2013555\u20132671", "<PHONE> or <PHONE>"),
    # other countries
    ("+44 20 7946 0958", "<PHONE>"),
    ("+44 (0)20 7946 0958", "<PHONE>"),
    ("+4915112345678", "<PHONE>"),
    ("+33 1 42 68 53 00, merci", "<PHONE>, merci"),
    ("+33\xa01\xa042\xa068\xa053\xa000", "<PHONE>"),
    ("+44 20 7946 0958 2023 1234", "<PHONE> 2023 1234"),
    ("+32 (0)2 790 75 75", "<PHONE>"),
    # any number after a word that announces it
    ("My phone number is 5550101234", "My phone number is <PHONE>"),
    ("Tel.: 98765 43210", "Tel.: <PHONE>"),
    ('{"phone": "5550101234"}', '{"phone": "<PHONE>"}'),
    ("WhatsApp 07911 123456", "WhatsApp <PHONE>"),
    ("联系方式：8765 4321", "联系方式：<PHONE>"),
    # cards
    ("4111 1111 1111 1111 123 12/27", "<CREDIT_CARD> 123 12/27"),
    ("卡号4111111111111111到期", "卡号<CREDIT_CARD>到期"),
    ("5500-0000-0000-0004", "<CREDIT_CARD>"),
    ("3782 822463 10005 / 378282246310005", "<CREDIT_CARD> / <CREDIT_CARD>"),
    ("6212 3456 7890 1234 569", "<CREDIT_CARD>"),
    ("6212345678901234569", "<CREDIT_CARD>"),
    ("银行卡号：9558 8012 3456 7890 003", "银行卡号：<CREDIT_CARD>"),
    ("卡号４１１１１１１１１１１１１１１１", "卡号<CREDIT_CARD>"),
    ("Card number is 4111 1111 1111 1111.", "Card number is <CREDIT_CARD>."),
    # identity numbers
    ("身份证号11010519491231002X。", "身份证号<CN_ID_CARD>。"),
    ("身份证：１１０１０５１９４９１２３１００２Ｘ", "身份证：<CN_ID_CARD>"),
    ("身份证号码为440305198501011231，手机13800138000", "身份证号码为<CN_ID_CARD>，手机<PHONE>"),
    ("SSN 123-45-6789", "SSN <US_SSN>"),
    # accounts
    ("IBAN DE89 3704 0044 0532 0130 00 BIC COBADEFF", "IBAN <IBAN> BIC COBADEFF"),
    ("GB82WEST12345698765432.", "<IBAN>."),
    ("FR14 2004 1010 0505 0001 3M02 606", "<IBAN>"),
    # addresses
    ("login from 81.2.69.142:8080", "login from <IP_ADDRESS>:8080"),
    ("http://81.2.69.142/x", "http://<IP_ADDRESS>/x"),
    ("来自81.2.69.142的访问", "来自<IP_ADDRESS>的访问"),
    ("2a00:1450:4009:80b::200e", "<IP_ADDRESS>"),
    ("see 2a00:1450:4009:80b::200e/64 or [2a00:1450:4009:80b::200e]:80", "see <IP_ADDRESS>/64 or [<IP_ADDRESS>]:80"),
    # several
    ("<b>13800138000</b>13912345678", "<b><PHONE></b><PHONE>"),
    ("<PHONE> 和 13800138000", "<PHONE> 和 <PHONE>"),
    ("bob@web.de / 13800138000 / 81.2.69.142", "<EMAIL> / <PHONE> / <IP_ADDRESS>"),
)

CLEAN = (
    "",
    " ",
    "no personal data here",
    "没有个人信息",
    # e-mail look-alikes
    "user@example.com and admin@mail.example.org, me@localhost, x@service.test",
    "git@github.com:owner/repository.git",
    "icon@2x.png",
    "your@email.com, your-name@gmail.com, your_email@company.com",
    "@someone @another.one, see a@b",
    "react@18.2.0",
    "@app.route('/')",
    "a @ b.com",
    # dates, times, years
    "2023-10-05 12:30:45",
    "05.10.2023",
    "+2023-01-01",
    "1999-2000, 2010-2011",
    "phone 2023-01-01",
    "电话会议2023-01-01 10:30",
    # plain numbers
    "1700000000",
    "1700000000000",
    "5550101234",
    "12345678901234567890",
    "3.14159265358979",
    "0.13800138000",
    "+1.23456789",
    "1,380,013,8000",
    "＋１２３",
    "２０２３年１０月０５日１２时３０分",
    "人口１，３８０，０１３，８０００",
    "第12345678号",
    "123-456-7890",
    "pp. 1200\u20131300, 415-155-2671",
    "+1 2 3 4 5 6 7 8 9",
    "15000000000",
    "13800138000元",
    "13800138000.50",
    "ISBN 978-0-306-40615-7",
    "ISBN 9780306406157",
    "1 2 3 4 5 6 7 8 9 10 11 12",
    # code and addresses of pages
    "0x13800138000",
    "id=13800138000",
    "https://shop.org/item/13800138000",
    "sku_13800138000",
    "550e8400-e29b-41d4-a716-446655440000",
    "d41d8cd98f00b204e9800998ecf8427e",
    "4111-1111-1111-1111-1111",
    "C++11 12345678",
    "x+12345678901",
    # failed checksums, impossible numbers
    "4111111111111112",
    "1234567812345670",
    "110105194912310021",
    "11010519491331002X",
    "000-12-3456",
    "666-12-3456",
    "900-12-3456",
    "078-05-1120",
    "卡号4111111111111112",
    "银行卡 0000 0000 0000 0000",
    "DE89 3704 0044 0532 0130 01",
    "XX89370400440532013000",
    # addresses of no person
    "127.0.0.1 10.0.0.3 172.16.5.4 192.168.1.1 169.254.1.1 0.0.0.0 255.255.255.0",
    "203.0.113.9",
    "224.0.0.251",
    "1.2.3.4",
    "8.8.8.8",
    "v81.2.69.142",
    "version 81.2.69.142",
    "版本：81.2.69.142",
    "Chrome/81.2.69.142",
    "81.2.69.142.5",
    "256.2.69.142",
    "::1 and 2001:db8::1",
    "std::vector 2023:10:11",
    # words that announce a number, and none follows
    "phone: none",
    "tel aviv 2024",
    "hotel 1234567",
    "call me at 5",
)


def kinds_of(redacted: str, text: str = "") -> list[str]:
    """The kinds whose placeholders a redacted text has more of than the text."""
    return sorted(kind for kind in KINDS if redacted.count(f"<{kind.upper()}>") > text.count(f"<{kind.upper()}>"))


def series(*texts: str | None) -> pl.Series:
    return pl.Series("text", texts, dtype=pl.String)


@pytest.mark.parametrize(("text", "redacted"), FOUND)
def test_found(text: str, redacted: str) -> None:
    assert personal_data.redact(series(text)).to_list() == [redacted]
    assert personal_data.kinds(series(text)).to_list() == [kinds_of(redacted, text)]


@pytest.mark.parametrize("text", CLEAN)
def test_not_found(text: str) -> None:
    assert personal_data.redact(series(text)).to_list() == [text]
    assert personal_data.kinds(series(text)).to_list() == [[]]


def test_every_kind_is_covered() -> None:
    assert {kind for text, redacted in FOUND for kind in kinds_of(redacted, text)} == set(PERSONAL)


def test_nulls_names_and_empty_columns() -> None:
    body = pl.Series("body", [None, "13800138000", "", None])
    assert_series_equal(personal_data.kinds(body), pl.Series("body", [None, ["phone"], [], None]))
    assert_series_equal(personal_data.redact(body), pl.Series("body", [None, "<PHONE>", "", None]))
    assert_series_equal(personal_data.contains_url(body), pl.Series("body", [None, False, False, None]))
    for nothing in (pl.Series("x", [], dtype=pl.String), pl.Series("x", [None, None])):
        size = len(nothing)
        assert_series_equal(personal_data.kinds(nothing), pl.Series("x", [None] * size, dtype=pl.List(pl.String)))
        assert_series_equal(personal_data.redact(nothing), pl.Series("x", [None] * size, dtype=pl.String))
        assert_series_equal(personal_data.contains_url(nothing), pl.Series("x", [None] * size, dtype=pl.Boolean))
        assert personal_data.scan(nothing).schema == {"redacted": pl.String, "counts": personal_data.COUNTS}


def test_a_whole_column_equals_its_rows_also_as_a_slice_in_chunks() -> None:
    rows = [text for text, _ in FOUND] + list(CLEAN)
    expected = [redacted for _, redacted in FOUND] + list(CLEAN)
    assert personal_data.redact(series(*rows)).to_list() == expected
    assert personal_data.redact(series("13800138000", *rows)[1:]).to_list() == expected
    chunked = pl.concat([series(*rows[:7]), series(*rows[7:])], rechunk=False)
    assert personal_data.redact(chunked).to_list() == expected


def test_scan_counts_each_kind_of_each_text() -> None:
    scanned = personal_data.scan(series("bob@web.de, 13800138000 or ann@web.de", None, "nothing", "81.2.69.142"))
    assert scanned["redacted"].to_list() == ["<EMAIL>, <PHONE> or <EMAIL>", None, "nothing", "<IP_ADDRESS>"]
    email, phone, address = ({"kind": kind, "count": n} for kind, n in (("email", 2), ("phone", 1), ("ip_address", 1)))
    assert scanned["counts"].to_list() == [[email, phone], None, [], [address]]


def test_only_the_kinds_that_are_asked_for_are_found() -> None:
    text = series("bob@web.de, 13800138000, 81.2.69.142")
    assert personal_data.scan(text, ["email"])["redacted"].item() == "<EMAIL>, 13800138000, 81.2.69.142"
    assert personal_data.scan(text, ["phone", "ip_address"])["redacted"].item() == "bob@web.de, <PHONE>, <IP_ADDRESS>"
    assert personal_data.scan(text, [])["redacted"].item() == text.item()
    with pytest.raises(ValueError, match=r"expected kinds out of .* got fax"):
        personal_data.scan(text, ["fax"])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("regions", "redacted"),
    [
        (("US",), "13800138000, 010-62345678, <PHONE>, 030 901820, 020 7946 0958, <PHONE>"),
        (("CA",), "13800138000, 010-62345678, <PHONE>, 030 901820, 020 7946 0958, <PHONE>"),
        (("CN",), "<PHONE>, <PHONE>, (415) 555-2671, 030 901820, 020 7946 0958, <PHONE>"),
        (("DE",), "13800138000, 010-62345678, (415) 555-2671, <PHONE>, 020 7946 0958, <PHONE>"),
        (("GB",), "13800138000, 010-62345678, (415) 555-2671, 030 901820, <PHONE>, <PHONE>"),
        ((), "13800138000, 010-62345678, (415) 555-2671, 030 901820, 020 7946 0958, <PHONE>"),
    ],
)
def test_national_forms_are_those_of_the_regions(regions: tuple[str, ...], redacted: str) -> None:
    text = "13800138000, 010-62345678, (415) 555-2671, 030 901820, 020 7946 0958, +33 1 42 68 53 00"
    assert personal_data.scan(series(text), ["phone"], regions)["redacted"].item() == redacted


def test_a_region_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="expected regions as ISO 3166 codes such as US, got Europe"):
        personal_data.scan(series("x"), regions=["US", "Europe"])


# --- documents --------------------------------------------------------------------------------------------------------

PLANTED = (
    "zhang.wei@qq.com 13912345678 81.2.69.142 4111111111111111 11010519491231002X 123-45-6789 DE89370400440532013000"
).split()


def documents() -> pl.DataFrame:
    texts = [*(f"before {value} after" for value in PLANTED), *(secret for secret, _ in SECRETS), "clean", "", None]
    return pl.DataFrame({"id": range(len(texts)), "text": texts}, schema_overrides={"text": pl.String})


def test_redacted_documents_are_all_kept() -> None:
    frame = documents()
    selected = personal_data.select(frame, "redact")
    scanned = personal_data.scan(frame["text"])
    assert_series_equal(selected["text"], scanned["redacted"].rename("text"))
    assert_series_equal(selected["personal_data"], scanned["counts"].rename("personal_data"))
    assert selected["reason"].null_count() == len(frame)
    assert selected["failed"].to_list() == [[]] * len(frame)
    assert selected["id"].to_list() == frame["id"].to_list()


def test_documents_with_personal_data_are_rejected() -> None:
    selected = personal_data.select(documents(), "reject")
    dirty = len(PLANTED) + len(SECRETS)
    assert selected["reason"].to_list() == ["personal_data"] * dirty + [None] * 3
    assert selected["failed"].to_list() == [["personal_data"]] * dirty + [[]] * 3
    only_phones = personal_data.select(documents(), "reject", ["phone"])
    assert only_phones.filter(pl.col("reason").is_not_null())["text"].to_list() == ["before <PHONE> after"]


@pytest.mark.parametrize("action", ["redact", "reject"])
def test_nothing_that_was_found_is_in_what_comes_back(
    action: personal_data.Action, capfd: pytest.CaptureFixture[str]
) -> None:
    frame = documents()
    shown = json.dumps(
        [
            personal_data.select(frame, action).to_dicts(),
            personal_data.scan(frame["text"]).to_dicts(),
            personal_data.kinds(frame["text"]).to_list(),
            personal_data.redact(frame["text"]).to_list(),
            *capfd.readouterr(),
        ],
        ensure_ascii=False,
    )
    taken = [_taken(text, redacted) for text, redacted in SECRETS]
    for value in [*PLANTED, *(value for values in taken for value in values)]:
        assert value not in shown


def _taken(text: str, redacted: str) -> list[str]:
    """What stood where a redacted text has placeholders."""
    kept = [re.escape(part) for part in re.split("<[A-Z_]+>", redacted)]
    found = re.fullmatch("(.+?)".join(kept), text, re.DOTALL)
    assert found
    return [value for value in found.groups() if len(value) > 7]


def test_an_empty_frame_of_documents_keeps_its_columns() -> None:
    empty = pl.DataFrame({"text": []}, schema={"text": pl.String})
    types = {"personal_data": personal_data.COUNTS, "failed": pl.List(pl.String), "reason": pl.String}
    for action in ("redact", "reject"):
        assert personal_data.select(empty, action).schema == {"text": pl.String} | types


# --- properties -------------------------------------------------------------------------------------------------------

ALL = [text for text, _ in (*FOUND, *SECRETS)] + list(CLEAN) + list(NO_SECRETS)
PIECES = st.sampled_from(
    ALL
    + list("0123456789+-. ()@:/=a<>电话＠１，")
    + ["phone ", "卡号", "\n", "sk-", "password: ", "<PHONE>", "::", MASK]
)
TEXTS = st.lists(PIECES, max_size=8).map("".join)
ANY = st.text(st.characters(codec="utf-8"), max_size=60)


@given(TEXTS | ANY)
@example("phone 13800138000 5550101234")
@example("phone 5550101234,13800138000")
@example("13800138000(555) 010-1234")
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once = personal_data.redact(series(text))
    assert_series_equal(personal_data.redact(once), once)
    assert personal_data.kinds(once).to_list() == [[]]


@given(TEXTS | ANY, st.sets(st.sampled_from(KINDS)))
def test_counts_are_the_placeholders_that_were_added(text: str, kinds: set[personal_data.Kind]) -> None:
    ((redacted, counts),) = personal_data.scan(series(text), sorted(kinds)).rows()
    added = {kind: redacted.count(f"<{kind.upper()}>") - text.count(f"<{kind.upper()}>") for kind in KINDS}
    found = {count["kind"]: count["count"] for count in counts}
    assert {kind: n for kind, n in added.items() if n} == found
    assert list(found) == sorted(found) and set(found) <= kinds


@given(st.lists(TEXTS, max_size=4), st.integers(0, 1500))
def test_windows_find_what_a_search_of_whole_texts_does(texts: list[str], apart: int) -> None:
    text = ("x " * apart).join(texts)
    assert personal_data.redact(series(text)).item() == searched_whole(text)


def searched_whole(text: str) -> str:
    """The text redacted by every pattern over all of it, without windows."""
    read = text.translate(FOLD)
    for kind in KINDS:
        read = read.replace(f"<{kind.upper()}>", MASK * (len(kind) + 2))
    spans = []
    for detector in personal_data._detectors(KINDS, REGIONS):
        at = 0
        while match := detector.pattern.search(read, at):
            size = detector.accept(match)
            start = match.start("found")
            at = start + size if size else match.start() + 1
            if size:
                spans.append((start, start + size, f"<{detector.kind.upper()}>"))
        for start, stop, _ in spans:
            read = read[:start] + MASK * (stop - start) + read[stop:]
    for start, stop, placeholder in sorted(spans, reverse=True):
        text = text[:start] + placeholder + text[stop:]
    return text


REPEATED = (
    "7", "@", "a@", "a@b.ca", "1 2 3 ", "+1 ", "1.2.3.", "2001:", "１", "密码是", "://a:b@", "-----BEGIN PRIVATE KEY-----\n",
    "/eyJ", "sk-", "password: ", "<EMAIL>", "DE89 3704 ", "phone ", "QUJD",
)  # fmt: skip


@pytest.mark.parametrize("piece", REPEATED)
def test_a_long_text_of_one_thing_takes_linear_time(piece: str) -> None:
    """Quadratic work on a quarter of a megabyte would take minutes."""
    text = piece * (250_000 // len(piece))
    scanned = personal_data.scan(series(text, text + " bob@web.de"))
    assert scanned["redacted"][1].endswith(" <EMAIL>")


def test_what_is_far_into_a_long_text_is_found_in_its_place() -> None:
    filler = "汉字 and words, 2023-10-05; " * 30_000
    text = f"{filler}bob@web.de{filler}13800138000{filler}"
    assert personal_data.redact(series(text)).item() == f"{filler}<EMAIL>{filler}<PHONE>{filler}"


@pytest.mark.parametrize(
    "text", ["\x00\x01\x7f", "\ufffd" * 9, "\u202e13800138000", "e\u0301@b.co", "مرحبا 13800138000", MASK]
)
def test_odd_characters_do_no_harm(text: str) -> None:
    redacted = personal_data.redact(series(text)).item()
    assert redacted == text.replace("13800138000", "<PHONE>")


# --- checksums, against the libraries ---------------------------------------------------------------------------------


@given(st.integers(10**15, 10**16 - 1).map(lambda n: f"4{str(n)[1:]}"))
def test_bare_cards_are_found_if_luhn_holds(number: str) -> None:
    found = personal_data.scan(series(f"pay {number} now"), ["credit_card"])["counts"].item()
    assert bool(len(found)) == luhn.is_valid(number)
    with_check = number[:-1] + luhn.calc_check_digit(number[:-1])
    assert personal_data.scan(series(with_check), ["credit_card"])["redacted"].item() == "<CREDIT_CARD>"


@given(st.dates(date(1900, 1, 1), date(2029, 12, 31)), st.integers(0, 999), st.sampled_from("0123456789X"))
def test_chinese_identity_numbers_are_found_if_their_check_holds(day: date, order: int, check: str) -> None:
    number = f"110105{str(day).replace('-', '')}{order:03}{check}"
    found = personal_data.scan(series(f"身份证{number}。"), ["cn_id_card"])["counts"].item()
    assert bool(len(found)) == (ric.calc_check_digit(number) == check)


@pytest.mark.parametrize("day", ["19491301", "19490230", "19490100", "20231131"])
def test_chinese_identity_numbers_without_a_birth_date_are_none(day: str) -> None:
    numbers = [f"110105{day}002{check}" for check in "0123456789X"]
    assert not personal_data.scan(series(*numbers), ["cn_id_card"])["counts"].list.len().sum()


@given(st.from_regex("[0-9]{3}-[0-9]{2}-[0-9]{4}", fullmatch=True))
@example("078-05-1120")
@example("665-01-0001")
def test_social_security_numbers_are_found_as_the_library_says(number: str) -> None:
    found = personal_data.scan(series(f"SSN {number}"), ["us_ssn"])["counts"].item()
    assert bool(len(found)) == ssn.is_valid(number)


IBANS = (
    "DE89370400440532013000 GB82WEST12345698765432 NO9386011117947 FR1420041010050500013M02606 MT84MALT011000012345MTLCAST001S"
    " NL91ABNA0417164300 SC18SSCB11010000000000001497USD BR1800360305000010009795493C1 LC55HEMM000100010012001200023015"
).split()


@pytest.mark.parametrize("number", IBANS)
@pytest.mark.parametrize("apart", [False, True])
def test_ibans_are_found_if_their_check_holds(number: str, apart: bool) -> None:
    wrong = number[:2] + f"{(int(number[2:4]) + 1) % 100:02}" + number[4:]
    assert iban.is_valid(number) and not iban.is_valid(wrong)
    shown = [" ".join(re.findall(".{1,4}", value)) if apart else value for value in (number, wrong)]
    for after in ("", ".", " BIC ABCDEFGH", "，谢谢"):
        scanned = personal_data.scan(series(*(f"账户 {value}{after}" for value in shown)), ["iban"])
        assert scanned["redacted"].to_list() == [f"账户 <IBAN>{after}", f"账户 {shown[1]}{after}"]


@pytest.mark.parametrize("region", ["DE", "FR", "GB", "IN", "JP", "BR", "AU", "ZA", "US", "CN", "RU", "AE"])
def test_example_numbers_of_the_library_are_found_in_their_international_form(region: str) -> None:
    for kind in (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE):
        number = phonenumbers.example_number_for_type(region, kind)
        for form in (phonenumbers.PhoneNumberFormat.INTERNATIONAL, phonenumbers.PhoneNumberFormat.E164):
            shown = phonenumbers.format_number(number, form)
            assert personal_data.scan(series(f"ring {shown}!"), ["phone"])["redacted"].item() == "ring <PHONE>!", shown


@pytest.mark.parametrize("region", ["DE", "FR", "GB", "JP", "AU", "ZA", "IN"])
def test_example_numbers_of_the_library_are_found_in_the_national_form_of_a_region_with_a_trunk_prefix(
    region: str,
) -> None:
    number = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    shown = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
    assert personal_data.scan(series(f"ring {shown}!"), ["phone"], [region])["redacted"].item() == "ring <PHONE>!", (
        shown
    )
    assert personal_data.scan(series(f"ring {shown}!"), ["phone"], [])["redacted"].item() == f"ring {shown}!"


# --- real texts -------------------------------------------------------------------------------------------------------


def real_texts() -> Iterator[str]:
    if not SHARED.is_dir():
        pytest.skip(f"no real texts at {SHARED}")
    for line in (SHARED / "text" / "web_wiki_471.jsonl").read_text().splitlines():
        yield json.loads(line)["text"]
    for line in gzip.decompress((SHARED / "text" / "dolma_documents_000.json.gz").read_bytes()).splitlines():
        yield json.loads(line)["text"]
    yield (SHARED / "text" / "tinyshakespeare.txt").read_text()
    for line in (SHARED / "chats" / "sharegpt_500.jsonl").read_text().splitlines():
        yield from (message["value"] for message in json.loads(line)["conversations"])


def test_real_texts_have_as_much_as_was_read_in_them_and_nothing_after_redaction() -> None:
    scanned = personal_data.scan(series(*real_texts()))
    found = Counter[str]()
    for counts in scanned["counts"]:
        found.update({count["kind"]: count["count"] for count in counts})
    assert found == {"email": 26, "phone": 42, "ip_address": 7}
    again = personal_data.scan(scanned["redacted"])
    assert_frame_equal(again.select("redacted"), scanned.select("redacted"))
    assert not again["counts"].list.len().sum()


def test_windows_of_real_texts_hold_all_that_is_in_them() -> None:
    texts = [text for text in real_texts() if len(text) < 20_000][::4]
    assert buffer(series(*texts)).data.size > 1_000_000
    assert personal_data.redact(series(*texts)).to_list() == [searched_whole(text) for text in texts]


# --- web addresses ----------------------------------------------------------------------------------------------------

URLS = (
    "see https://a.b/c?d=e#f",
    "HTTP://EXAMPLE.COM",
    "www.python.org",
    "(www.python.org)",
    "openai.com",
    "Go to openai.com.",
    "请看baidu.com这个网站",
    "百度（www.baidu.com）",
    "bbc.co.uk/news",
    "numpy.org/doc",
    "localhost? no: my-site.io:8080/x",
    "t.me/channel",
    "youtu.be/dQw4w9WgXcQ",
    "foo.edu, bar",
)
NO_URLS = (
    "",
    "main.py",
    "node.js",
    "index.html and style.css",
    "README.md",
    "e.g. this, i.e. that, etc.",
    "version 1.2.3, v2.0.1",
    "3.14",
    "java.io.File",
    "import java.io;",
    "using System.IO;",
    "ASP.NET Core and VB.NET",
    ".NET",
    "logger.info('x')",
    "np.array",
    "self.net(x)",
    "socket.io",
    "someone@gmail.com",
    "first.last@mail.company.co.uk",
    "The end.Next sentence",
    "http",
    "www",
    "a.b.c",
    "你好。世界",
)


@pytest.mark.parametrize("text", URLS)
def test_web_addresses(text: str) -> None:
    assert personal_data.contains_url(series(text)).to_list() == [True]


@pytest.mark.parametrize("text", NO_URLS)
def test_no_web_addresses(text: str) -> None:
    assert personal_data.contains_url(series(text)).to_list() == [False]
