"""Personal data: what is found, what is not, checksums, placeholders, web addresses."""

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from polars.testing import assert_series_equal

from transforms.text import personal_data
from transforms.text.personal_data import DETECTORS, cn_id_check, iban_check, luhn

# Text, the same redacted. Every placeholder's kind must be found, and no other.
FOUND = (
    # e-mail
    ("Write to jane.doe+news@mail.gmail.com, please.", "Write to <EMAIL>, please."),
    ("邮箱zhangsan_88@qq.com谢谢", "邮箱<EMAIL>谢谢"),
    ("a@b.co;c@d.org", "<EMAIL>;<EMAIL>"),
    ("<mailto:x.y@uni.edu>", "<mailto:<EMAIL>>"),
    ("thanks...bob@web.de.", "thanks...<EMAIL>."),
    # Chinese mobiles
    ("我的手机号是13800138000，请联系我", "我的手机号是<PHONE>，请联系我"),
    ("13800138000", "<PHONE>"),
    ("138-0013-8000 or 138 0013 8000", "<PHONE> or <PHONE>"),
    ("+86 13800138000、+8613800138000、(+86)138-0013-8000", "<PHONE>、<PHONE>、<PHONE>"),
    ("0086 13912345678", "<PHONE>"),
    ("13800138000,13912345678", "<PHONE>,<PHONE>"),
    ("姓名：张三 电话：13800138000。", "姓名：张三 电话：<PHONE>。"),
    # Chinese landlines
    ("办公室010-62345678", "办公室<PHONE>"),
    ("(0755) 26345678转2", "<PHONE>转2"),
    ("座机 5123 4567", "座机 <PHONE>"),
    # North America
    ("call (555) 010-1234 now", "call <PHONE> now"),
    ("555-010-1234", "<PHONE>"),
    ("555.010.1234.", "<PHONE>."),
    ("1-800-555-0199", "<PHONE>"),
    ("+1 (415) 555-2671", "<PHONE>"),
    # other countries
    ("+44 20 7946 0958", "<PHONE>"),
    ("+44 (0)20 7946 0958", "<PHONE>"),
    ("+4915112345678", "<PHONE>"),
    ("+33 1 42 68 53 00, merci", "<PHONE>, merci"),
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
    # identity numbers
    ("身份证号11010519491231002X。", "身份证号<CN_ID_CARD>。"),
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
    # several
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


def kinds_of(redacted: str) -> list[str]:
    return sorted({detector.kind for detector in DETECTORS if f"<{detector.kind.upper()}>" in redacted})


def series(*texts: str | None) -> pl.Series:
    return pl.Series("text", texts, dtype=pl.String)


@pytest.mark.parametrize(("text", "redacted"), FOUND)
def test_found(text: str, redacted: str) -> None:
    assert personal_data.redact(series(text)).to_list() == [redacted]
    assert personal_data.kinds(series(text)).to_list() == [kinds_of(redacted)]


@pytest.mark.parametrize("text", CLEAN)
def test_not_found(text: str) -> None:
    assert personal_data.kinds(series(text)).to_list() == [[]]
    assert personal_data.redact(series(text)).to_list() == [text]


def test_every_kind_is_covered() -> None:
    assert {kind for _, redacted in FOUND for kind in kinds_of(redacted)} == {detector.kind for detector in DETECTORS}


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


def test_a_whole_column_equals_its_rows() -> None:
    texts = [text for text, _ in FOUND] + list(CLEAN)
    assert personal_data.redact(series(*texts)).to_list() == [redacted for _, redacted in FOUND] + list(CLEAN)


PIECES = st.sampled_from(
    [text for text, _ in FOUND] + list(CLEAN) + list("0123456789+-. ()@:/a电话") + ["phone ", "\n"]
)


@given(st.lists(PIECES, max_size=8).map("".join))
@example("phone 13800138000 5550101234")
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once = personal_data.redact(series(text))
    assert_series_equal(personal_data.redact(once), once)
    assert personal_data.kinds(once).to_list() == [[]]


@given(st.lists(PIECES, max_size=8).map("".join))
def test_the_fast_patterns_miss_nothing_that_the_strict_ones_find(text: str) -> None:
    for detector in DETECTORS:
        if detector.strict.search(text):
            assert series(text).str.contains(detector.loose).to_list() == [True], detector.loose


@pytest.mark.parametrize("digits", ["79927398713", "4242424242424242", "378282246310005", "0"])
def test_luhn(digits: str) -> None:
    assert luhn(digits)
    assert not any(luhn(digits[:-1] + other) for other in "0123456789" if other != digits[-1])


def test_cn_id_check_character() -> None:
    assert cn_id_check("11010519491231002X")
    assert cn_id_check("11010519491231002x")
    assert not any(cn_id_check("11010519491231002" + other) for other in "0123456789")


@pytest.mark.parametrize("number", ["DE89370400440532013000", "GB82WEST12345698765432", "NO9386011117947"])
def test_iban_check(number: str) -> None:
    assert iban_check(number)
    assert not iban_check(number[:-1])
    assert not any(iban_check(number[:-1] + other) for other in "0123456789" if other != number[-1])


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
