"""Personal data and secrets in texts: what is there, a copy with placeholders in its place, and a filter of documents.

===============  ============================================================================================================
kind             found
===============  ============================================================================================================
``email``        addresses; not the reserved domains (``example.com``, ``.test``, ``localhost``), not ``git@`` or
                 ``your-name@``, not file names such as ``icon@2x.png``
``iban``         with the structure of its country and the check digits of ISO 7064 mod 97 (python-stdnum)
``credit_card``  13 to 19 digits of an issuer's range, bare or in groups, Luhn; after 卡号, 银行卡, "card number" of any range.
                 Public test numbers count too
``cn_id_card``   18 places with a possible birth date and the GB 11643 check character
``us_ssn``       ``NNN-NN-NNNN`` outside the ranges never issued and the numbers of advertisements
``ip_address``   public IPv4 and IPv6. Private, loopback, link-local and documentation addresses name no person. Four one-digit
                 numbers (``1.2.3.4``, ``8.8.8.8``), and anything after "version", "v" or "section", read as version numbers
``phone``        ``+`` and a country's code, of a length its country has; Chinese mobiles and landlines; North American
                 ``(415) 555-2671``, ``415-555-2671``, ``415/555-2671``, ``415.555.2671``; other ``regions``' numbers from their trunk
                 prefix 0 on, grouped as there; 7 to 15 digits straight after a word such as "phone", "tel", 电话
others           see ``transforms.text.secrets``
===============  ============================================================================================================

Dates, years, times, ISBNs, decimals, amounts, hashes, UUIDs, and digits inside words, paths or longer numbers are none of these.
Whether a number is in use is phonenumbers' to say; the fictional 555 numbers, which it refuses, count too. ``transforms.text.detection``
tells how texts are searched in linear time, and why redacting twice changes nothing more.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Final, Literal, get_args

import numpy as np
import phonenumbers
import polars as pl
from stdnum import iban, luhn, numdb
from stdnum.cn import ric
from stdnum.exceptions import ValidationError
from stdnum.us import ssn

from transforms.text import detection, secrets
from transforms.text.detection import ADDRESS, HEXADECIMAL, MASK, NUMBER, Detector, Finds, whole
from transforms.text.secrets import SecretKind
from transforms.text.words import Integers, Texts, buffer

Kind = Literal["email", "iban", "credit_card", "cn_id_card", "us_ssn", "ip_address", "phone", SecretKind]
Action = Literal["redact", "reject"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
REGIONS: Final = ("US", "CN")
"""Whose national forms of telephone numbers are known, as ISO 3166 codes."""

VERSION: Final = 2
"""Raised whenever ``scan``, ``kinds``, ``redact``, ``select`` or ``contains_url`` give other answers."""

COUNTS: Final = pl.List(pl.Struct({"kind": pl.String, "count": pl.Int32}))


def scan(texts: pl.Series, kinds: Sequence[Kind] | None = None, regions: Sequence[str] = REGIONS) -> pl.DataFrame:
    """What of some kinds each text has, and the text without it, in one pass.

    Args:
        texts: String, n texts; null allowed.
        kinds: What to look for; None for all.
        regions: Whose national forms of telephone numbers are looked for.

    Returns:
        n rows. ``redacted`` (String): the text with ``<EMAIL>``, ``<PHONE>``, ``<API_KEY>`` and so on in place of what was found.
        Scanning it again finds nothing. ``counts`` (List(Struct(kind String, count Int32))): how often each kind was found, in
        alphabetical order, only those found. Both null for null.

    Raises:
        ValueError: A kind or a region is not known.
    """
    given = texts.cast(pl.String).rename("redacted")
    data = buffer(given)
    found = detection.find(data, _detectors(tuple(KINDS if kinds is None else kinds), tuple(regions)))
    rows, clean = _replaced(data, found)
    text_of = np.arange(len(given))
    text_of[rows] = len(given) + np.arange(len(rows))
    counts_of = len(rows) + given.is_null().to_numpy()  # after the counts: none for a text, null for no text
    counts_of[rows] = np.arange(len(rows))
    counts = pl.concat([_counted(found), pl.Series("counts", [[], None], COUNTS)])
    return pl.DataFrame([pl.concat([given, clean]).gather(text_of), counts.gather(counts_of)])


def select(
    frame: pl.DataFrame, action: Action, kinds: Sequence[Kind] | None = None, regions: Sequence[str] = REGIONS
) -> pl.DataFrame:
    """Take personal data out of documents, or the documents that have some.

    Args:
        frame: Column ``text``, String.
        action: ``redact`` keeps every document; ``reject`` fails those in which something was found.
        kinds: What to look for; None for all.
        regions: Whose national forms of telephone numbers are looked for.

    Returns:
        The frame with ``text`` redacted, of failed documents too, so that rejected rows hold nothing of it; ``personal_data``, the
        ``counts`` of ``scan``; ``failed`` (List(String)) and ``reason`` (String, null = keep): ``personal_data`` or nothing.

    Raises:
        ValueError: A kind or a region is not known.
    """
    scanned = scan(frame["text"], kinds, regions)
    fails = (scanned["counts"].list.len() > 0) & (action == "reject")
    reason = pl.select(pl.when(fails).then(pl.lit("personal_data")).alias("reason")).to_series()
    return frame.with_columns(
        scanned["redacted"].alias("text"),
        scanned["counts"].alias("personal_data"),
        pl.select(pl.concat_list(reason).list.drop_nulls().alias("failed")).to_series(),
        reason,
    )


def kinds(texts: pl.Series) -> pl.Series:
    """The kinds of personal data in each text.

    Args:
        texts: String, n texts; null allowed.

    Returns:
        List(String), n, named like ``texts``: the ``Kind`` names in alphabetical order, each once; empty for a clean text, null
        for null.
    """
    return scan(texts)["counts"].list.eval(pl.element().struct.field("kind")).rename(texts.name)


def redact(texts: pl.Series) -> pl.Series:
    """The texts with ``<EMAIL>``, ``<PHONE>``, ``<CREDIT_CARD>`` and so on in place of what ``kinds`` finds.

    Args:
        texts: String, n texts; null allowed.

    Returns:
        String, n, named like ``texts``. A text with nothing found is unchanged; redacting twice changes nothing more.
    """
    return scan(texts)["redacted"].rename(texts.name)


def contains_url(texts: pl.Series) -> pl.Series:
    """Whether each text has a web address: ``http(s)://``, ``www.``, or a bare domain such as ``openai.com`` or ``t.me/name``.

    Bare domains need one of the commonest endings. File names (``main.py``, ``node.js``), code (``java.io``, ``ASP.NET``,
    ``logger.info``), abbreviations, versions and the domain of an e-mail address are none.

    Args:
        texts: String, n texts; null allowed.

    Returns:
        Boolean, n, named like ``texts``; null for null.
    """
    rows = pl.DataFrame({"text": texts.rename("text").cast(pl.String)}).with_row_index("row")
    text = pl.col("text")
    maybe = rows.filter(text.str.contains(_LOOSE_DOMAIN))
    bare = maybe.filter(text.str.replace_all(_NO_DOMAIN, " ").str.contains(_BARE_DOMAIN))["row"]
    found = text.str.contains(_EXPLICIT_URL) | pl.col("row").is_in(bare.implode())
    return rows.select(pl.when(text.is_not_null()).then(found).alias(texts.name)).to_series()


def _replaced(texts: Texts, found: Finds) -> tuple[Integers, pl.Series]:
    """The rows in which something was found, and their texts with placeholders."""
    rows, firsts = np.unique(found.rows, return_index=True)
    starts, stops = found.starts.tolist(), found.stops.tolist()
    lasts = np.append(firsts, len(starts))[1:].tolist()
    data = memoryview(texts.data)  # type: ignore[arg-type]
    clean: list[str] = []
    for row, first, last in zip(rows.tolist(), firsts.tolist(), lasts, strict=True):
        parts: list[bytes | memoryview] = []
        at = int(texts.offsets[row])
        for index in range(first, last):
            parts += [data[at : starts[index]], f"<{found.kinds[index].upper()}>".encode()]
            at = stops[index]
        parts.append(data[at : int(texts.offsets[row + 1])])
        clean.append(b"".join(parts).decode())
    return rows, pl.Series(clean, dtype=pl.String)


def _counted(found: Finds) -> pl.Series:
    """How often each kind was found in each row in which something was: ``counts``, List(Struct)."""
    finds = pl.DataFrame({"row": found.rows, "kind": pl.Series(found.kinds, dtype=pl.String)})
    by_kind = finds.group_by("row", "kind").agg(count=pl.len().cast(pl.Int32)).sort("row", "kind")
    return by_kind.group_by("row", maintain_order=True).agg(counts=pl.struct("kind", "count"))["counts"]


# Domains that RFC 2606 and 6761 keep for examples, and endings that are files rather than top-level domains.
_RESERVED: Final = re.compile(
    r"(?:^|\.)(?:example\.(?:com|org|net)|example|test|invalid|localhost|local)$", re.IGNORECASE
)
_TEMPLATE: Final = re.compile(
    r"your(?:e?mail|name|username|user|address|company|domain|account)?"
    r"|your[-_.](?:e?-?mail|name|user|address|service|company|domain|account).*",
    re.IGNORECASE,
)
_FILES = (
    "png jpg jpeg gif svg webp ico pdf js ts jsx tsx css html htm json xml yaml yml md txt csv py rb java cpp exe zip"
)
_FILE_ENDINGS: Final = frozenset(_FILES.split())


def _email(match: re.Match[str]) -> int:
    """Addresses of persons: no reserved domain, no file name, no ``git@``, no ``your-name@``."""
    local, _, domain = match["found"].rpartition("@")
    file = domain.rpartition(".")[2].lower() in _FILE_ENDINGS
    nobody = local.lower() == "git" or _TEMPLATE.fullmatch(local) or _RESERVED.search(domain)
    return 0 if file or nobody else len(match["found"])


def _digits(text: str) -> str:
    """Only the digits of a text."""
    return re.sub("[^0-9]", "", text)


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
    return len(match["found"]) if _CARD_RANGES.fullmatch(digits) and luhn.is_valid(digits) else 0


def _announced_card(match: re.Match[str]) -> int:
    """Numbers that pass Luhn and are not one digit over and over."""
    digits = _digits(match["found"])
    return len(match["found"]) if len(set(digits)) > 2 and luhn.is_valid(digits) else 0


def _cn_id_card(match: re.Match[str]) -> int:
    """Numbers with a birth date that exists and a right check character.

    Not all of ``ric.validate``: it wants the county to have existed at birth, but numbers are given out later.
    """
    number = match["found"].upper()
    try:
        ric.get_birth_date(number)
    except ValidationError:
        return 0
    return len(number) if ric.calc_check_digit(number) == number[-1] else 0


def _ssn(match: re.Match[str]) -> int:
    return len(match["found"]) if ssn.is_valid(match["found"]) else 0


def _iban(match: re.Match[str]) -> int:
    """The IBAN at the head of a candidate, which may run on into the next words."""
    raw = match["found"]
    ends = [index + 1 for index, place in enumerate(raw) if place != " "]
    length = _iban_length(raw[:2])
    if not length or len(ends) < length:
        return 0
    size = ends[length - 1]
    ended = size == len(raw) or raw[size] == " "
    return size if ended and iban.is_valid(raw[:size]) else 0


@functools.cache
def _iban_length(country: str) -> int:
    """How many places the IBANs of a country have, in SWIFT's registry; 0 for a country without."""
    ((_, known),) = numdb.get("iban").info(country)
    return 4 + sum(map(int, re.findall("[0-9]+", known["bban"]))) if "bban" in known else 0


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
    date = _DATE.match(found, found.startswith("("))
    return len(found) if 7 <= len(_digits(found)) <= 15 and not date else 0


def _international(match: re.Match[str]) -> int:
    """The longest head of a number after a plus that is of a length its country has, or is in use where nothing parts its digits."""
    found = match["found"]
    if _DATE.match(found, 1) or _DECIMAL.fullmatch(found):
        return 0
    ends = [len(found), *(parted.start() for parted in reversed(list(re.finditer(r"(?<=[0-9)])[ .\-]", found))))]
    return next((end for end in ends if _is_international(found[:end])), 0)


def _is_international(number: str) -> bool:
    parsed = _parsed(number, None)
    if parsed is None:
        return False
    possible = phonenumbers.is_possible_number_with_reason(parsed) == phonenumbers.ValidationResult.IS_POSSIBLE
    parted = not number[1:].isdigit()
    return possible and (parted or phonenumbers.is_valid_number(parsed) or _is_fictional(parsed))


def _parsed(number: str, region: str | None) -> phonenumbers.PhoneNumber | None:
    try:
        return phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return None


def _is_fictional(number: phonenumbers.PhoneNumber) -> bool:
    """Whether a North American number is of area or exchange 555, of which none is given out."""
    national = str(number.national_number)
    return number.country_code == 1 and len(national) == 10 and "555" in (national[:3], national[3:6])


def _in_use(region: str) -> Callable[[re.Match[str]], int]:
    """Accept numbers that are in use in the numbering plan of a region, and fictional ones."""

    def accept(match: re.Match[str]) -> int:
        number = _parsed(match["found"], region)
        known = number is not None and (phonenumbers.is_valid_number(number) or _is_fictional(number))
        return len(match["found"]) if known else 0

    return accept


def _mobile(match: re.Match[str]) -> int:
    """Chinese mobiles in use; not round numbers such as 15000000000."""
    found = match["found"]
    number = _parsed(_digits(found)[-11:], "CN")
    known = number is not None and phonenumbers.is_valid_number(number) and not found.endswith("000000")
    return len(found) if known else 0


def _grouped_as_in(region: str) -> Callable[[re.Match[str]], int]:
    """Accept numbers in use in a region whose digits are in its groups."""

    def accept(match: re.Match[str]) -> int:
        found = match["found"]
        if _DATE.match(found):
            return 0
        strict = phonenumbers.Leniency.STRICT_GROUPING
        heads = phonenumbers.PhoneNumberMatcher(found, region, leniency=strict, max_tries=3)
        return next((head.end for head in heads if head.start == 0), 0)

    return accept


_WORD = f"A-Za-z0-9_{MASK}"
_DIGIT = f"0-9{MASK}"


def _detector(
    kind: Kind,
    trigger: int,
    body: str,
    before: str,
    after: str,
    accept: Callable[[re.Match[str]], int] = whole,
    cue: str = "",
) -> Detector:
    return Detector(kind, trigger, re.compile(f"{before}{cue}(?P<found>{body}){after}", re.ASCII), accept)


_SAID: Final = r"[ \"'`*:：=#.]{0,4}(?i:is|为|是)?[ \"'`*:：=]{0,4}"
_CUE: Final = (
    r"(?i:phone|telephone|tel|mobile|cell|whatsapp|fax|call me (?:at|on)|电话|手机|座机|联系方式|热线)"
    rf"(?i:[ _]?(?:number|no|num|号码|号))?{_SAID}"
)
_CARD_CUE: Final = rf"(?i:card (?:number|no)|银行卡|信用卡|储蓄卡|借记卡|卡号|银行账号|银行账户)(?:卡?号码?)?{_SAID}"

_DETECTORS: Final = (
    _detector(
        "email",
        ADDRESS,
        r"[A-Za-z0-9_](?:\.?[A-Za-z0-9_%+\-]){0,63}@(?:[A-Za-z0-9\-]{1,63}\.){1,5}[A-Za-z]{2,24}",
        rf"(?<![{_WORD}%+\-@])",
        rf"(?![{_WORD}@\-])",
        _email,
    ),
    _detector(
        "iban",
        NUMBER,
        r"[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?",
        rf"(?<![{_WORD}])",
        f"(?![{MASK}])",
        _iban,
    ),
    _detector(
        "cn_id_card",
        NUMBER,
        r"[1-8][0-9]{5}(?:18|19|20)[0-9]{2}[01][0-9][0-3][0-9]{4}[0-9Xx]",
        rf"(?<![{_WORD}.])",
        rf"(?![{_WORD}]|\.[{_DIGIT}])",
        _cn_id_card,
    ),
    _detector(
        "credit_card",
        NUMBER,
        r"[2-6][0-9]{12,18}|62[0-9]{2}(?:[ \-][0-9]{4}){3}[ \-][0-9]{3}|[2-6][0-9]{3}(?:[ \-][0-9]{4}){3}"
        r"|3[0-9]{3}[ \-][0-9]{6}[ \-][0-9]{4,5}",
        rf"(?<![{_WORD}.+\-/])",
        rf"(?![{_WORD}\-]|\.[{_DIGIT}])",
        _credit_card,
    ),
    _detector(
        "credit_card",
        NUMBER,
        r"[0-9]{15,19}|[0-9]{4}(?:[ \-][0-9]{4}){3}(?:[ \-][0-9]{1,3})?",
        rf"(?<![A-Za-z{MASK}])",
        rf"(?![{_WORD}\-]|\.[{_DIGIT}])",
        _announced_card,
        _CARD_CUE,
    ),
    _detector(
        "us_ssn",
        NUMBER,
        r"[0-8][0-9]{2}-[0-9]{2}-[0-9]{4}",
        rf"(?<![{_WORD}.\-/])",
        rf"(?![{_WORD}\-]|\.[{_DIGIT}])",
        _ssn,
    ),
    _detector(
        "ip_address",
        NUMBER,
        r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])",
        rf"(?<![{_WORD}.\-])(?<![A-Za-z]/)",
        rf"(?![{_WORD}\-]|\.[A-Za-z{_DIGIT}])",
        _ip,
    ),
    _detector(
        "ip_address",
        HEXADECIMAL,
        r"[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2,33}[0-9A-Fa-f]",
        rf"(?<![{_WORD}:.])",
        rf"(?![{_WORD}:])",
        _ip,
    ),
)
_CHINESE_MOBILE: Final = _detector(
    "phone",
    NUMBER,
    r"(?:\(?(?:\+|00)?86\)?[ \-]?)?1[3-9][0-9](?:[0-9]{8}|-[0-9]{4}-[0-9]{4}| [0-9]{4} [0-9]{4})",
    rf"(?<![{_WORD}.+\-/=&%#])",
    rf"(?![{_WORD}%]|[\-./][{_DIGIT}]| ?(?:元|块|美元|人|字))",
    _mobile,
)
_CHINESE_LANDLINE: Final = _detector(
    "phone",
    NUMBER,
    r"(?:\(0[1-9][0-9]{1,2}\) ?|0[1-9][0-9]{1,2}-)[2-9][0-9]{6,7}",
    rf"(?<![{_WORD}.+\-/])",
    rf"(?![{_WORD}%]|[\-./,][{_DIGIT}])",
    _in_use("CN"),
)
_INTERNATIONAL: Final = _detector(
    "phone",
    NUMBER,
    r"\+[1-9](?:[ .\-]?(?: ?\()?[0-9]\)?){7,14}",
    rf"(?<![{_WORD}+.\-=)])",
    rf"(?![{_WORD}%]|[\-./,:][{_DIGIT}])",
    _international,
)
_NORTH_AMERICAN: Final = _detector(
    "phone",
    NUMBER,
    r"(?:1[ .\-])?(?:\( ?[2-9][0-9]{2} ?\)[ \-]?[0-9]{3}[\-. ]|[2-9][0-9]{2}[\-/][0-9]{3}-|[2-9][0-9]{2}\.[0-9]{3}\.)[0-9]{4}",
    rf"(?<![{_WORD}.+\-/])",
    rf"(?![{_WORD}%]|[\-./,][{_DIGIT}])",
    _in_use("US"),
)
_ANNOUNCED: Final = _detector(
    "phone",
    NUMBER,
    r"\(?[0-9][0-9 ().\-]{5,18}[0-9]",
    rf"(?<![A-Za-z{MASK}])",
    rf"(?![{_WORD}%]|[\-.,:][{_DIGIT}])",
    _telephone,
    _CUE,
)


def _regional(region: str) -> Detector:
    """Numbers with the trunk prefix 0, as they are written in a region."""
    return _detector(
        "phone",
        NUMBER,
        r"\(?0[1-9](?:[ \-/]{0,2}[()]?[ \-]?[0-9]){5,12}",
        rf"(?<![{_WORD}.+\-/])",
        rf"(?![{_WORD}%]|[\-./,:][{_DIGIT}])",
        _grouped_as_in(region),
    )


@functools.cache
def _detectors(kinds: tuple[Kind, ...], regions: tuple[str, ...]) -> tuple[Detector, ...]:
    """In order: what an earlier one finds, a later one does not see."""
    if unknown := sorted(set[str](kinds).difference(KINDS)):
        raise ValueError(f"expected kinds out of {', '.join(KINDS)}, got {', '.join(unknown)}")
    if unknown := sorted(set(regions).difference(phonenumbers.SUPPORTED_REGIONS)):
        raise ValueError(f"expected regions as ISO 3166 codes such as US, got {', '.join(unknown)}")
    north_american = any(phonenumbers.country_code_for_region(region) == 1 for region in regions)
    chinese = "CN" in regions
    phones = [
        *([_CHINESE_MOBILE] if chinese else []),
        _INTERNATIONAL,
        *([_NORTH_AMERICAN] if north_american else []),
        *([_CHINESE_LANDLINE] if chinese else []),
        *(
            _regional(region)
            for region in regions
            if region != "CN" and phonenumbers.country_code_for_region(region) != 1
        ),
        _ANNOUNCED,
    ]
    return tuple(found for found in (*secrets.DETECTORS, *_DETECTORS, *phones) if found.kind in kinds)


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
