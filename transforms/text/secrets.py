"""What detects secrets: private keys, signed tokens, passwords, and the keys that services give out.

===============  ============================================================================================================
kind             found
===============  ============================================================================================================
``private_key``  PEM and OpenPGP blocks (RFC 7468, RFC 9580), whole or cut off; public keys and certificates are none
``jwt``          three base64url parts whose first is a JSON object with ``alg`` (RFC 7519)
``password``     the password of ``scheme://user:password@host``; what follows "password:", "pwd=", 密码：, 口令是 and is made of
                 letters and digits, or of letters of both cases and symbols
``api_key``      tokens with the prefix of a service (``TOKENS``); what follows "api_key=", "token:", 密钥： or "Bearer" and
                 mixes letters and digits as random tokens do
===============  ============================================================================================================

Only the value is taken, not its name. Values that stand for one are left alone: ``your-key``, ``xxxx``, ``EXAMPLE``, ``${TOKEN}``,
``getpass()``, "required". So are names of models, versions and words joined by hyphens.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections import Counter
from typing import Final, Literal

from transforms.text.detection import (
    ASSIGNMENT,
    BLOCK,
    CREDENTIALS,
    LITERAL,
    LONG_LITERAL,
    MASK,
    NUMBER,
    Detector,
)

SecretKind = Literal["api_key", "jwt", "password", "private_key"]

# Prefixes and what follows them, from what the services say of their tokens.
TOKENS: Final[tuple[tuple[str, str], ...]] = (
    # AWS, "IAM identifiers": unique prefixes of access keys
    ("AKIA ASIA ABIA ACCA", r"[A-Z0-9]{16}"),
    # GitHub, "Authentication token format updates"; fine-grained tokens have 82 more
    ("ghp_ gho_ ghu_ ghs_ ghr_", r"[A-Za-z0-9]{36,251}"),
    ("github_pat_", r"[A-Za-z0-9_]{50,240}"),
    # GitLab, "Token overview": token prefixes
    ("glpat- gldt- glrt- glptt- glft- glsoat- glcbt- glagent-", r"[A-Za-z0-9_\-.]{20,120}"),
    # Slack, "Tokens"
    ("xoxa- xoxb- xoxc- xoxd- xoxe- xoxe. xoxo- xoxp- xoxr- xoxs- xapp-", r"[A-Za-z0-9\-%./+]{20,400}"),
    ("hooks.slack.com/services/", r"T[A-Z0-9]{6,14}/B[A-Z0-9]{6,14}/[A-Za-z0-9]{20,30}"),
    # Stripe, "API keys" and "Webhooks"; publishable keys (pk_) are public
    ("sk_live_ sk_test_ rk_live_ rk_test_ whsec_", r"[A-Za-z0-9]{16,128}"),
    # Hugging Face, "User access tokens"
    ("hf_ api_org_", r"[A-Za-z0-9]{30,40}"),
    # Google Cloud, "API keys"; OAuth client secrets and access tokens
    ("AIza", r"[A-Za-z0-9_\-]{35}"),
    ("GOCSPX-", r"[A-Za-z0-9_\-]{24,40}"),
    ("ya29.", r"[A-Za-z0-9_\-]{30,1000}"),
    # npm, PyPI ("Token specification": a macaroon for pypi.org), crates.io, Docker
    ("npm_", r"[A-Za-z0-9]{36}"),
    ("pypi-AgEI", r"[A-Za-z0-9_\-]{50,400}"),
    ("dckr_pat_", r"[A-Za-z0-9_\-]{20,60}"),
    # SendGrid, Twilio ("SK" and 32 hexadecimal digits)
    ("SG.", r"[A-Za-z0-9_\-]{16,32}\.[A-Za-z0-9_\-]{30,64}"),
    ("SK", r"[0-9a-f]{32}"),
    # DigitalOcean, Shopify, Databricks, HashiCorp Vault, Grafana, Supabase, Linear, Figma, Postman, Cloudflare
    ("dop_v1_ doo_v1_ dor_v1_", r"[a-f0-9]{64}"),
    ("shpat_ shpca_ shppa_ shpss_", r"[a-fA-F0-9]{32}"),
    ("dapi", r"[a-f0-9]{32}(?:-[0-9])?"),
    ("hvs. hvb.", r"[A-Za-z0-9_\-]{24,200}"),
    ("glsa_ glc_", r"[A-Za-z0-9_+/=]{32,400}"),
    ("sbp_", r"[a-f0-9]{40}"),
    ("lin_api_ figd_ cfut_ cfat_ cfk_", r"[A-Za-z0-9_\-]{36,80}"),
    ("PMAK-", r"[a-f0-9]{24}-[a-f0-9]{34}"),
    # Models: Groq, Replicate, Perplexity, xAI, NVIDIA
    ("gsk_ r8_ pplx- xai- nvapi-", r"[A-Za-z0-9_\-]{32,200}"),
    # Alibaba Cloud and Tencent Cloud, identifiers of access keys
    ("LTAI", r"[A-Za-z0-9]{12,26}"),
    ("AKID", r"[A-Za-z0-9]{32}"),
)
_OPENAI: Final = "sk-"
"""OpenAI (``sk-``, ``sk-proj-``), Anthropic (``sk-ant-``), OpenRouter, DeepSeek and others: what follows has to look random."""

_VALUE: Final = r"[!#-&(-+\--:=?-_a-~]"
"""What a value is made of: visible ASCII without quotes, commas, semicolons and angle brackets."""
_SIGN: Final = r"[\"'`)\]* \t]{0,6}(?:[:=]{1,2}>?|是|为|is[ \t])[\"'`* \t]{0,6}"

_STAND_INS: Final = re.compile(
    r"x{4}|\*{3}|\.{3}|#{3}|_{4}|your|example|placeholder|change_?me|password|passwd|dummy|redacted|insert|replace"
    r"|required|optional|secret|undefined|hidden|none$|null$|1234567890",
    re.IGNORECASE,
)
_CODE: Final = re.compile(r"[(\[{|]|://|^[$%\-/.&\\]|^[A-Za-z_]+(?:\.[A-Za-z_]+)+$")
_COUNTED: Final = re.compile(r"[0-9]+[\-_+]?[A-Za-z]+|[A-Za-z]+[\-_][0-9]+")


def entropy(text: str) -> float:
    """Shannon entropy of a text's characters, in bits a character."""
    size = len(text)
    return -sum(count / size * math.log2(count / size) for count in Counter(text).values())


def looks_random(value: str) -> bool:
    """Whether a token is more like random characters than like words, numbers and versions joined by signs.

    One of its parts between signs is of eight or more characters, letters among digits, and the whole has at least 3 bits a character.
    """
    parts = re.split(r"[_\-.=%~:]", value)
    mixed = any(
        len(part) >= 8 and re.search("[0-9]", part) and re.search("[A-Za-z]", part) and not _COUNTED.fullmatch(part)
        for part in parts
    )
    return mixed and entropy(value) >= 3 and not _STAND_INS.search(value)


def is_password(value: str) -> bool:
    """Whether a value after a name such as "password" is one, and not a word, a piece of code, or what stands for one."""
    letters = re.search("[a-z]", value), re.search("[A-Z]", value)
    signs = re.search("[^A-Za-z0-9._/:@-]", value)
    mixed = (any(letters) and re.search("[0-9]", value)) or (all(letters) and signs)
    likely = mixed and len(value) * entropy(value) >= 20 and not _COUNTED.fullmatch(value)
    return bool(likely) and not _STAND_INS.search(value) and not _CODE.search(value)


def _trimmed(match: re.Match[str]) -> str:
    """A value without the sentence's end."""
    return match["found"].removesuffix("**").rstrip(".)]}:\\")


def _password(match: re.Match[str]) -> int:
    value = _trimmed(match)
    return len(value) if len(value) >= 8 and is_password(value) else 0


def _url_password(match: re.Match[str]) -> int:
    """The password of an address, unless it stands for one."""
    value = match["found"]
    other = _STAND_INS.search(value) or value.lower() in ("pass", "pwd", "pw", "user") or value[0] in "$%{<[*"
    return 0 if other else len(value)


def _key(match: re.Match[str]) -> int:
    value = _trimmed(match)
    return len(value) if len(value) >= 16 and looks_random(value) else 0


def _token(match: re.Match[str]) -> int:
    """A token with a service's prefix, unless it stands for one."""
    value = match["found"]
    return len(value) if entropy(value) >= 3 and not _STAND_INS.search(value) else 0


def _jwt(match: re.Match[str]) -> int:
    """Tokens whose header can be read."""
    header = match["found"].partition(".")[0]
    try:
        read = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    except (ValueError, RecursionError):
        return 0
    return len(match["found"]) if isinstance(read, dict) and "alg" in read else 0


_PEM_END: Final = re.compile(r"-----END [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----")
_BASE64_RUN: Final = re.compile(r"[A-Za-z0-9+/=\s\\]*")


def _block(match: re.Match[str]) -> int:
    """A key up to its end or, where that is missing, its base64; none where there is no base64, as in a text about keys."""
    found, head = match["found"], match.end("head") - match.start("found")
    if not re.search("[A-Za-z0-9+/]{24}", found[head:]):
        return 0
    if _PEM_END.search(found, head):
        return len(found)
    run = _BASE64_RUN.match(found, head)
    return len(found[: run.end()].rstrip()) if run else 0


def _after(names: str, value: str) -> re.Pattern[str]:
    """Values that a name announces."""
    return re.compile(rf"{names}{_SIGN}(?P<found>{value})(?!{_VALUE}|{MASK})", re.ASCII)


def _tokens() -> Detector:
    prefixes = [prefix for known, _ in TOKENS for prefix in known.split()]
    bodies = "|".join(f"(?:{'|'.join(map(re.escape, known.split()))}){body}" for known, body in TOKENS)
    pattern = re.compile(rf"(?<![A-Za-z0-9_{MASK}])(?P<found>{bodies})(?![A-Za-z0-9_{MASK}])", re.ASCII)
    return Detector("api_key", LITERAL, pattern, _token, tuple(prefixes))


_NAMES_OF_PASSWORDS: Final = r"(?:(?i:password|passwd|passphrase|passcode)|(?<![A-Za-z])(?i:pass|pwd)|密码|密碼|口令)"
_NAMES_OF_KEYS: Final = (
    r"(?:(?i:(?:api|access|secret|account|auth|encryption|signing|app|master|shared|storage|subscription)[ _\-]?key"
    r"|token|secret|credentials?)|密钥|秘钥|令牌)"
)
_SPOKEN: Final = tuple(f"{first}{rest} is " for first in "pP" for rest in ("assword", "asscode", "wd"))

DETECTORS: Final = (
    Detector(
        "private_key",
        BLOCK,
        re.compile(
            r"(?P<found>(?P<head>-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----)(?:[\t-\r -,.-~]|-(?!----)){0,12288}"
            r"(?:-----END [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----)?)",
            re.ASCII,
        ),
        _block,
        ("-----BEGIN ",),
    ),
    Detector(
        "jwt",
        LONG_LITERAL,
        re.compile(
            rf"(?<![A-Za-z0-9_{MASK}])(?P<found>eyJ[A-Za-z0-9_\-]{{10,2000}}\.eyJ[A-Za-z0-9_\-]{{5,5000}}\.[A-Za-z0-9_\-]{{0,1000}})"
            rf"(?![A-Za-z0-9_{MASK}])",
            re.ASCII,
        ),
        _jwt,
        ("eyJ",),
    ),
    Detector(
        "password",
        CREDENTIALS,
        re.compile(
            rf"(?<![A-Za-z0-9{MASK}])(?i:[a-z][a-z0-9+.\-]{{1,24}})://[^\s:/@\"'<>{MASK}]{{0,96}}:"
            rf"(?P<found>[^\s/\"'<>{MASK}]{{1,128}})@(?=[A-Za-z0-9\[])",
            re.ASCII,
        ),
        _url_password,
    ),
    _tokens(),
    Detector(
        "api_key",
        LITERAL,
        re.compile(
            rf"(?<![A-Za-z0-9_\-{MASK}])(?P<found>{_OPENAI}[A-Za-z0-9_\-]{{20,220}})(?![A-Za-z0-9_{MASK}])", re.ASCII
        ),
        _key,
        (_OPENAI,),
    ),
    Detector(
        "api_key",
        NUMBER,
        # Telegram, "Bot API": the bot's number, a colon, and 35 characters
        re.compile(
            rf"(?<![A-Za-z0-9_{MASK}])(?P<found>[0-9]{{8,10}}:AA[A-Za-z0-9_\-]{{33}})(?![A-Za-z0-9_\-{MASK}])", re.ASCII
        ),
        _token,
    ),
    Detector(
        "api_key",
        LITERAL,
        re.compile(
            rf"(?:Bearer|bearer) (?P<found>[A-Za-z0-9_\-.+/~]{{16,1000}}={{0,2}})(?![A-Za-z0-9_\-.+/~={MASK}])",
            re.ASCII,
        ),
        _key,
        ("Bearer ", "bearer "),
    ),
    Detector("password", ASSIGNMENT | LITERAL, _after(_NAMES_OF_PASSWORDS, f"{_VALUE}{{8,128}}"), _password, _SPOKEN),
    Detector("api_key", ASSIGNMENT, _after(_NAMES_OF_KEYS, f"{_VALUE}{{16,256}}"), _key),
)
"""In order: what an earlier one finds, a later one does not see."""
