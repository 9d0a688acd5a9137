"""Personal data in text: which kinds are there, a copy with placeholders in their place, and whether a text has a web address.

Two steps. Polars looks for texts that may hold something, with patterns in Rust that have no look-around and so accept too much.
Only on those few texts does Python run: the same patterns with their surroundings checked, and the checksums.

===============  ============================================================================================================
kind             found
===============  ============================================================================================================
``email``        addresses; not the reserved domains (``example.com``, ``.test``, ``localhost``), not ``git@``, not file names
                 such as ``icon@2x.png``
``iban``         with a valid length for its country and ISO 7064 mod 97
``credit_card``  13 to 19 digits of an issuer's range, bare or in groups, Luhn. Public test numbers count too
``cn_id_card``   18 places with a possible birth date and the GB 11643 check character
``us_ssn``       ``NNN-NN-NNNN`` outside the ranges never issued
``ip_address``   public IPv4 and IPv6. Private, loopback, link-local and documentation addresses name no person. Four one-digit
                 numbers (``1.2.3.4``, ``8.8.8.8``), and anything after "version", "v" or "section", read as version numbers
``phone``        Chinese mobiles and landlines; ``+`` and country code; North American ``(555) 010-1234``, ``555-010-1234``,
                 ``555.010.1234``; other numbers of 7 to 15 digits only straight after a word such as "phone", "tel", 电话
===============  ============================================================================================================

Dates, years, times, ISBNs, decimals, amounts, hashes, UUIDs, and digits inside words, paths or longer numbers are none of these.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from ipaddress import ip_address
from itertools import compress
from typing import Final, Literal, NamedTuple

import polars as pl

Kind = Literal["email", "iban", "credit_card", "cn_id_card", "us_ssn", "ip_address", "phone"]

VERSION: Final = 1
"""Raised whenever ``kinds``, ``redact`` or ``contains_url`` give other answers."""


class Detector(NamedTuple):
    """One pattern of a kind of personal data."""

    kind: Kind
    loose: str
    """For Rust: matches wherever ``strict`` does, and more."""
    strict: re.Pattern[str]
    """For Python: the candidate is group ``found``."""
    accept: Callable[[re.Match[str]], int]
    """How many characters of the candidate are personal data; 0 for none."""


def kinds(texts: pl.Series) -> pl.Series:
    """The kinds of personal data in each text.

    Args:
        texts: String, n texts; null allowed.

    Returns:
        List(String), n, named like ``texts``: the ``Kind`` names in alphabetical order, each once; empty for a clean text, null
        for null.
    """
    rows, scanned = _scanned(texts)
    found = pl.DataFrame(
        {"row": rows, "found": [sorted(some) for _, some in scanned]},
        schema={"row": pl.UInt32, "found": pl.List(pl.String)},
    )
    nothing = pl.lit([], dtype=pl.List(pl.String))
    answer = pl.when(pl.col("text").is_null()).then(None).otherwise(pl.coalesce("found", nothing))
    return (
        _numbered(texts)
        .join(found, on="row", how="left", maintain_order="left")
        .select(answer.alias(texts.name))
        .to_series()
    )


def redact(texts: pl.Series) -> pl.Series:
    """The texts with ``<EMAIL>``, ``<PHONE>``, ``<CREDIT_CARD>`` and so on in place of what ``kinds`` finds.

    Args:
        texts: String, n texts; null allowed.

    Returns:
        String, n, named like ``texts``. A text with nothing found is unchanged; redacting twice changes nothing more.
    """
    rows, scanned = _scanned(texts)
    clean = pl.DataFrame(
        {"row": rows, "clean": [text for text, _ in scanned]}, schema={"row": pl.UInt32, "clean": pl.String}
    )
    answer = pl.coalesce("clean", "text")
    return (
        _numbered(texts)
        .join(clean, on="row", how="left", maintain_order="left")
        .select(answer.alias(texts.name))
        .to_series()
    )


def contains_url(texts: pl.Series) -> pl.Series:
    """Whether each text has a web address: ``http(s)://``, ``www.``, or a bare domain such as ``openai.com`` or ``t.me/name``.

    Bare domains need one of the commonest endings. File names (``main.py``, ``node.js``), code (``java.io``, ``ASP.NET``,
    ``logger.info``), abbreviations, versions and the domain of an e-mail address are none.

    Args:
        texts: String, n texts; null allowed.

    Returns:
        Boolean, n, named like ``texts``; null for null.
    """
    rows = _numbered(texts)
    text = pl.col("text")
    maybe = rows.filter(text.str.contains(_LOOSE_DOMAIN))
    bare = maybe.filter(text.str.replace_all(_NO_DOMAIN, " ").str.contains(_BARE_DOMAIN))["row"]
    found = text.str.contains(_EXPLICIT_URL) | pl.col("row").is_in(bare.implode())
    return rows.select(pl.when(text.is_not_null()).then(found).alias(texts.name)).to_series()


def _numbered(texts: pl.Series) -> pl.DataFrame:
    """Columns row (UInt32), text (String)."""
    return pl.DataFrame({"text": texts.rename("text").cast(pl.String)}).with_row_index("row")


def _scanned(texts: pl.Series) -> tuple[pl.Series, list[tuple[str, set[Kind]]]]:
    """The rows whose text may hold personal data, and what ``_scan`` makes of them."""
    rows = _numbered(texts).filter(pl.col("text").str.contains("[0-9@]"))
    hits = [pl.col("text").str.contains(detector.loose).alias(str(index)) for index, detector in enumerate(DETECTORS)]
    rows = rows.with_columns(hits=pl.concat_list(hits)).filter(pl.col("hits").list.any())
    pairs = zip(rows["text"], rows["hits"].to_list(), strict=True)
    return rows["row"], [_scan(text, list(compress(DETECTORS, wanted))) for text, wanted in pairs]


def _scan(text: str, detectors: Sequence[Detector]) -> tuple[str, set[Kind]]:
    """One text with placeholders, and what was replaced.

    A later detector sees the earlier ones' placeholders. Again until nothing is found: a number may have been hidden only by
    its neighbour.
    """
    found: set[Kind] = set()
    count = 1
    while count:
        count = 0
        for detector in detectors:
            text, more = _replace(detector, text)
            found |= {detector.kind} if more else set()
            count += more
    return text, found


def _replace(detector: Detector, text: str) -> tuple[str, int]:
    """One text with one detector's finds replaced, and their number."""
    parts: list[str] = []
    position = count = 0
    for match in detector.strict.finditer(text):
        size = detector.accept(match)
        if size:
            start = match.start("found")
            parts += [text[position:start], f"<{detector.kind.upper()}>"]
            position, count = start + size, count + 1
    return "".join([*parts, text[position:]]), count


def _digits(text: str) -> str:
    """Only the digits of a text."""
    return re.sub("[^0-9]", "", text)


def _whole(match: re.Match[str]) -> int:
    """Accept a candidate as it is."""
    return len(match["found"])


# Domains that RFC 2606 and 6761 keep for examples, and endings that are files rather than top-level domains.
_RESERVED: Final = re.compile(
    r"(?:^|\.)(?:example\.(?:com|org|net)|example|test|invalid|localhost|local)$", re.IGNORECASE
)
_FILES = (
    "png jpg jpeg gif svg webp ico pdf js ts jsx tsx css html htm json xml yaml yml md txt csv py rb java cpp exe zip"
)
_FILE_ENDINGS: Final = frozenset(_FILES.split())


def _email(match: re.Match[str]) -> int:
    """Addresses of persons: no reserved domain, no file name, no ``git@``."""
    local, _, domain = match["found"].rpartition("@")
    file = domain.rpartition(".")[2].lower() in _FILE_ENDINGS
    return 0 if file or local.lower() == "git" or _RESERVED.search(domain) else len(match["found"])


def luhn(digits: str) -> bool:
    """The checksum of payment cards (ISO/IEC 7812), over a string of digits."""
    values = [int(digit) for digit in reversed(digits)]
    doubled = [value * 2 - 9 if value > 4 else value * 2 for value in values[1::2]]
    return (sum(values[::2]) + sum(doubled)) % 10 == 0


_CARD_RANGES: Final = re.compile(
    r"(?:4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})"  # Visa
    r"|(?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}"  # Mastercard
    r"|3[47][0-9]{13}"  # American Express
    r"|3(?:0[0-5]|[68][0-9])[0-9]{11}"  # Diners Club
    r"|35(?:2[89]|[3-8][0-9])[0-9]{12}"  # JCB
    r"|6(?:011|4[4-9][0-9]|5[0-9]{2})[0-9]{12}"  # Discover
    r"|62[0-9]{14,17})"  # UnionPay
)


def _credit_card(match: re.Match[str]) -> int:
    """Numbers in an issuer's range that pass Luhn."""
    digits = _digits(match["found"])
    return len(match["found"]) if _CARD_RANGES.fullmatch(digits) and luhn(digits) else 0


def cn_id_check(number: str) -> bool:
    """The check character of a Chinese resident identity number (GB 11643, ISO 7064 mod 11-2): 17 digits and 0-9 or X."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(weight * int(digit) for weight, digit in zip(weights, number[:17], strict=True))
    return "10X98765432"[total % 11] == number[17].upper()


def _cn_id_card(match: re.Match[str]) -> int:
    """Numbers with a birth date that exists and a right check character."""
    number = match["found"]
    try:
        date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return 0
    return len(number) if cn_id_check(number) else 0


# Length of an IBAN per country (SWIFT's registry).
_IBAN_LENGTHS: Final[Mapping[str, int]] = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28, "CH": 21,
    "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FO": 18, "FR": 27,
    "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26,
    "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27,
    "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25,
    "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23,
    "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip


def iban_check(number: str) -> bool:
    """Whether an IBAN without spaces has its country's length and leaves 1 modulo 97 (ISO 13616)."""
    if len(number) != _IBAN_LENGTHS.get(number[:2]):
        return False
    return int("".join(str(int(place, 36)) for place in number[4:] + number[:4])) % 97 == 1


def _iban(match: re.Match[str]) -> int:
    """The IBAN at the head of a candidate, which may run on into the next words."""
    raw = match["found"]
    ends = [index + 1 for index, place in enumerate(raw) if place != " "]
    length = _IBAN_LENGTHS.get(raw[:2], 0)
    if not length or len(ends) < length:
        return 0
    size = ends[length - 1]
    ended = size == len(raw) or raw[size] == " "
    return size if ended and iban_check(raw[:size].replace(" ", "")) else 0


_VERSION_WORD: Final = re.compile(
    r"(?:version|ver|v|release|firmware|build|section|chapter|clause|版本号?|版|第|章节?)[\s.:=：]*$", re.IGNORECASE
)


def _ip(match: re.Match[str]) -> int:
    """Public addresses that are not more likely a version number."""
    found = match["found"]
    try:
        address = ip_address(found)
    except ValueError:
        return 0
    version = "." in found and (
        len(found) == 7 or _VERSION_WORD.search(match.string, max(0, match.start() - 20), match.start())
    )
    return 0 if version or not address.is_global or address.is_multicast else len(found)


_DATE: Final = re.compile(r"(?:19|20)[0-9]{2}[-./ ]?[01]?[0-9][-./ ]?[0-3]?[0-9](?![0-9])")
_DECIMAL: Final = re.compile(r"\+[0-9]+\.[0-9]+")


def _telephone(match: re.Match[str]) -> int:
    """Numbers of 7 to 15 digits that are no date."""
    found = match["found"]
    return len(found) if 7 <= len(_digits(found)) <= 15 and not _DATE.match(found) else 0


def _international(match: re.Match[str]) -> int:
    """Numbers after a plus, no date and no decimal: 8 to 15 digits, 10 at least where nothing parts them."""
    found = match["found"]
    digits = _digits(found)
    least = 10 if len(digits) == len(found) - 1 else 8
    other = _DATE.match(found, 1) or _DECIMAL.fullmatch(found)
    return len(found) if least <= len(digits) <= 15 and not other else 0


def _mobile(match: re.Match[str]) -> int:
    """Chinese mobiles; not round numbers such as 15000000000."""
    return 0 if match["found"].endswith("000000") else len(match["found"])


def _detector(
    kind: Kind, body: str, before: str, after: str, accept: Callable[[re.Match[str]], int] = _whole, cue: str = ""
) -> Detector:
    """A detector from the pattern both engines share and the surroundings that only Python can check."""
    return Detector(kind, cue + body, re.compile(f"{before}{cue}(?P<found>{body}){after}", re.ASCII), accept)


_CUE: Final = (
    r"(?i:phone|telephone|tel|mobile|cell|whatsapp|fax|call me (?:at|on)|电话|手机|座机|联系方式|热线)"
    r"(?i:[ _]?(?:number|no|num|号码|号))?[ \"'`*:：=#.]{0,4}(?i:is|为|是)?[ \"'`*:：=]{0,4}"
)

# In order: what an earlier one finds, a later one does not see.
DETECTORS: Final = (
    _detector(
        "email",
        r"[A-Za-z0-9_](?:\.?[A-Za-z0-9_%+\-]){0,63}@(?:[A-Za-z0-9\-]+\.)+[A-Za-z]{2,24}",
        r"(?<![A-Za-z0-9_%+\-@])",
        r"(?![A-Za-z0-9@_\-])",
        _email,
    ),
    _detector("iban", r"[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?", r"(?<![A-Za-z0-9_])", "", _iban),
    _detector(
        "cn_id_card",
        r"[1-8][0-9]{5}(?:18|19|20)[0-9]{2}[01][0-9][0-3][0-9]{4}[0-9Xx]",
        r"(?<![A-Za-z0-9_.])",
        r"(?![A-Za-z0-9_]|\.[0-9])",
        _cn_id_card,
    ),
    _detector(
        "credit_card",
        r"[2-6][0-9]{12,18}|62[0-9]{2}(?:[ \-][0-9]{4}){3}[ \-][0-9]{3}|[2-6][0-9]{3}(?:[ \-][0-9]{4}){3}"
        r"|3[0-9]{3}[ \-][0-9]{6}[ \-][0-9]{4,5}",
        r"(?<![A-Za-z0-9_.+\-/])",
        r"(?![A-Za-z0-9_\-]|\.[0-9])",
        _credit_card,
    ),
    _detector(
        "us_ssn",
        r"(?:00[1-9]|0[1-9][0-9]|[1-578][0-9]{2}|6(?:[0-57-9][0-9]|6[0-57-9]))-(?:0[1-9]|[1-9][0-9])-"
        r"(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})",
        r"(?<![A-Za-z0-9_.\-/])",
        r"(?![A-Za-z0-9_\-]|\.[0-9])",
    ),
    _detector(
        "ip_address",
        r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])",
        r"(?<![A-Za-z0-9_.\-])(?<![A-Za-z]/)",
        r"(?![A-Za-z0-9_\-]|\.[A-Za-z0-9])",
        _ip,
    ),
    _detector(
        "ip_address",
        r"[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2,33}[0-9A-Fa-f]",
        r"(?<![A-Za-z0-9_:.])",
        r"(?![A-Za-z0-9_:])",
        _ip,
    ),
    _detector(
        "phone",
        r"(?:\(?(?:\+|00)?86\)?[ \-]?)?1[3-9][0-9](?:[0-9]{8}|-[0-9]{4}-[0-9]{4}| [0-9]{4} [0-9]{4})",
        r"(?<![A-Za-z0-9_.+\-/=&%#])",
        r"(?![A-Za-z0-9_%]|[\-./][0-9]| ?(?:元|块|美元|人|字))",
        _mobile,
    ),
    _detector(
        "phone",
        r"\+[1-9](?:[ .\-]?\(?[0-9]\)?){7,14}",
        r"(?<![A-Za-z0-9_+.\-=)])",
        r"(?![A-Za-z0-9_%]|[\-./,:][0-9])",
        _international,
    ),
    _detector(
        "phone",
        r"(?:1[ .\-])?(?:\([2-9][0-9]{2}\)[ \-]?[0-9]{3}[\-. ]|[2-9][0-9]{2}-[0-9]{3}-|[2-9][0-9]{2}\.[0-9]{3}\.)[0-9]{4}",
        r"(?<![A-Za-z0-9_.+\-/])",
        r"(?![A-Za-z0-9_%]|[\-./,][0-9])",
    ),
    _detector(
        "phone",
        r"(?:\(0[1-9][0-9]{1,2}\) ?|0[1-9][0-9]{1,2}-)[2-9][0-9]{6,7}",
        r"(?<![A-Za-z0-9_.+\-/])",
        r"(?![A-Za-z0-9_%]|[\-./,][0-9])",
    ),
    _detector(
        "phone",
        r"\(?[0-9][0-9 ().\-]{5,18}[0-9]",
        r"(?<![A-Za-z])",
        r"(?![A-Za-z0-9_%]|[\-.,:][0-9])",
        _telephone,
        _CUE,
    ),
)

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?"
_ENDINGS = r"com|org|net|edu|gov|io|ai|cn|uk|de|fr|jp|ru|eu|au|br|nl|kr|tw|hk|xyz|wiki"
_EXPLICIT_URL: Final = r"(?i)https?://[^\s]|(?:^|[^A-Za-z0-9_.@\-])www\.[A-Za-z0-9\-]+\.[A-Za-z]"
_LOOSE_DOMAIN: Final = rf"(?i)[A-Za-z0-9]\.(?:{_ENDINGS}|me|be|ly|gl|gg|co|to)"
_NO_DOMAIN: Final = (
    r"(?i)\b(?:(?:asp|ado|vb|ml)\.net|(?:system|javax?|std|tokio|socket|skimage|scipy|fs)\.io|(?:self|this|cls)\.\w+)\b"
)
_BARE_DOMAIN: Final = (
    rf"(?i)(?:^|[^A-Za-z0-9_.@/\\\-$])(?:(?:{_LABEL}\.)+(?:{_ENDINGS})(?:[/?#:][^\s]|[^A-Za-z0-9_.\-(=\[@]|\.[^A-Za-z0-9_]|\.?$)"
    rf"|(?:t\.me|youtu\.be|bit\.ly|goo\.gl|discord\.gg|t\.co)/[A-Za-z0-9])"
)
