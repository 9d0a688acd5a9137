"""Secrets in English and Chinese texts. Tokens are made here, so that no scanner takes this file for a leak."""

from __future__ import annotations

import base64
import json
import random
import string

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.text import personal_data, secrets
from transforms.text.secrets import TOKENS, entropy, is_password, looks_random

ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"


def made(size: int, alphabet: str = ALNUM) -> str:
    """Random characters, the same for a size and an alphabet."""
    return "".join(random.Random(f"{size} {alphabet}").choices(alphabet, k=size))


def jwt(header: object) -> str:
    parts = [json.dumps(part).encode() for part in (header, {"sub": "1234567890", "name": "Jane"})]
    return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), made(43)])


def pem(label: str) -> str:
    lines = [made(64, ALNUM + "+/")] * 12
    return "\n".join([f"-----BEGIN {label}-----", *lines, made(22) + "==", f"-----END {label}-----"])


PASSWORD = "hG7#kLp2qZ"
KEY = made(40)
UPPER = string.ascii_uppercase + string.digits
AWS = "AKIA" + made(16, UPPER)
GITHUB = "ghp_" + made(36)
SLACK = f"xoxb-{made(12, string.digits)}-{made(13, string.digits)}-{made(24)}"

FOUND = (
    # keys in blocks
    (pem("RSA PRIVATE KEY"), "<PRIVATE_KEY>"),
    (f"key:\n{pem('OPENSSH PRIVATE KEY')}\nend", "key:\n<PRIVATE_KEY>\nend"),
    (f"私钥如下：{pem('PRIVATE KEY')}。", "私钥如下：<PRIVATE_KEY>。"),
    (pem("PGP PRIVATE KEY BLOCK").replace("BLOCK-----\n", "BLOCK-----\nVersion: GnuPG v2\n\n", 1), "<PRIVATE_KEY>"),
    ('{"private_key": "' + pem("PRIVATE KEY").replace("\n", "\\n") + '\\n"}', '{"private_key": "<PRIVATE_KEY>\\n"}'),
    (pem("EC PRIVATE KEY")[:400], "<PRIVATE_KEY>"),
    (pem("EC PRIVATE KEY") + pem("PRIVATE KEY"), "<PRIVATE_KEY><PRIVATE_KEY>"),
    # signed tokens
    (f"Authorization: Bearer {jwt({'alg': 'HS256', 'typ': 'JWT'})}", "Authorization: Bearer <JWT>"),
    (f"令牌{jwt({'alg': 'RS256'})}，请保密", "令牌<JWT>，请保密"),
    # passwords
    ("postgres://admin:s3cr3tw0rd@db.host.io:5432/x", "postgres://admin:<PASSWORD>@db.host.io:5432/x"),
    ("redis://:p@ss!w0rd@10.0.0.3/0", "redis://:<PASSWORD>@10.0.0.3/0"),
    ("mongodb+srv://u:abc@cluster0.mongodb.net", "mongodb+srv://u:<PASSWORD>@cluster0.mongodb.net"),
    (f"password: {PASSWORD}", "password: <PASSWORD>"),
    (f"My password is {PASSWORD}.", "My password is <PASSWORD>."),
    (f"**Password:** `{PASSWORD}`", "**Password:** `<PASSWORD>`"),
    (f"**Password: {PASSWORD}!**", "**Password: <PASSWORD>**"),
    (f'DB_PASSWORD="{PASSWORD}"', 'DB_PASSWORD="<PASSWORD>"'),
    (f"'passwd' => '{PASSWORD}',", "'passwd' => '<PASSWORD>',"),
    (f'{{"user": "bob", "pwd": "{PASSWORD}"}}', '{"user": "bob", "pwd": "<PASSWORD>"}'),
    (f"密码：{PASSWORD}，请修改", "密码：<PASSWORD>，请修改"),
    (f"我的密码是{PASSWORD}请保密", "我的密码是<PASSWORD>请保密"),
    (f"登录口令为 {PASSWORD}", "登录口令为 <PASSWORD>"),
    (f"密码＝{PASSWORD}", "密码＝<PASSWORD>"),
    (f"密碼：ｈＧ７ and pass={PASSWORD}", "密碼：ｈＧ７ and pass=<PASSWORD>"),
    # tokens by their prefix
    (AWS, "<API_KEY>"),
    (f"用{AWS}登录", "用<API_KEY>登录"),
    (f"git clone https://{GITHUB}@github.com/a/b", "git clone https://<API_KEY>@github.com/a/b"),
    (f"https://hooks.slack.com/services/T{made(8, UPPER)}/B{made(8, UPPER)}/{made(24)}", "https://<API_KEY>"),
    (f"{SLACK}\n", "<API_KEY>\n"),
    (f"openai.api_key = 'sk-{made(48)}'", "openai.api_key = '<API_KEY>'"),
    (f"sk-proj-{made(60)}-{made(50)}_{made(20)}", "<API_KEY>"),
    (f"sk-ant-api03-{made(93)}AA", "<API_KEY>"),
    (f"?key=AIza{made(35)}&x=1", "?key=<API_KEY>&x=1"),
    (f"机器人 {made(9, '123456789')}:AA{made(33)}", "机器人 <API_KEY>"),
    # keys by their name
    (f"api_key = {KEY}", "api_key = <API_KEY>"),
    (f"X-API-Key: {made(32, HEX)}", "X-API-Key: <API_KEY>"),
    (f"aws_secret_access_key={made(40, ALNUM + '+/')}", "aws_secret_access_key=<API_KEY>"),
    (f"export OPENWEATHER_TOKEN='{KEY}'", "export OPENWEATHER_TOKEN='<API_KEY>'"),
    ("client_secret: 550e8400-e29b-41d4-a716-446655440000", "client_secret: <API_KEY>"),
    (f"密钥：{KEY}。", "密钥：<API_KEY>。"),
    (f"访问令牌为{KEY}", "访问令牌为<API_KEY>"),
    (f"curl -H 'Authorization: Bearer {KEY}'", "curl -H 'Authorization: Bearer <API_KEY>'"),
    # several
    (f"{AWS}:{GITHUB} bob@web.de", "<API_KEY>:<API_KEY> <EMAIL>"),
)

CLEAN = (
    pem("PUBLIC KEY"),
    pem("CERTIFICATE"),
    "put -----BEGIN RSA PRIVATE KEY----- before and -----END RSA PRIVATE KEY----- after it",
    "eyJub3QiOiJhIHRva2VuIn0.eyJhIjoxfQ.abc",
    "eyJhbGciOiJIUzI1NiJ9",
    # addresses without passwords, and what stands for one
    "https://user@localhost/path, http://host.io:8080/a@b, http://[::1]:80/@c",
    "postgres://user:password@localhost/db, mysql://root:$PASS@host, ftp://u:****@host, amqp://u:{pw}@host",
    # passwords
    "password: required, at least 8 characters",
    "password: ********",
    "Password: your_password1",
    "password: <password>",
    "password = getpass.getpass()",
    "password = os.environ['PASSWORD1']",
    "password: ${DB_PASSWORD1}",
    "Randomly generated 10-character password: 10-characters",
    "the password is important for everyone",
    "password: 12345678",
    "密码：请输入八位以上的密码",
    "密码是必填项",
    "忘记密码？13800",
    "compass: N45E1234abcdX",
    "The keyword: Abcdefg1234567890",
    # tokens
    "AKIAIOSFODNN7EXAMPLE",
    f"X{AWS}",
    f"{GITHUB[:-1]}",
    "ghp_" + "x" * 36,
    "sk-learn-contrib-imbalanced-learn-project",
    "task-based-and-risk-free-decision-making1",
    "hf_transfer and hf_hub_download and npm_config_registry",
    "AIzaNotAKey",
    # keys
    "token: the-next-word-in-the-sentence",
    "api_key: YOUR_API_KEY_GOES_HERE1",
    "api_key = os.getenv('OPENAI_API_KEY_1')",
    "max_tokens: 1234567890123456",
    "secret_name=text-embedding-ada-002-version-2",
    "access_token=gpt-3.5-turbo-16k-0613-longer",
    "key: value, keys: 16",
    "token = tokenizer.decode(output_ids1234)",
    "密钥长度：256位",
    "sha256: " + made(64, HEX),
    "Bearer of bad news, bearer accounts",
)


def redacted(text: str) -> str:
    return str(personal_data.redact(pl.Series([text])).item())


@pytest.mark.parametrize(("text", "expected"), FOUND)
def test_found(text: str, expected: str) -> None:
    assert redacted(text) == expected


@pytest.mark.parametrize("text", CLEAN)
def test_not_found(text: str) -> None:
    assert redacted(text) == text


def test_every_kind_is_covered() -> None:
    kinds = {detector.kind for detector in secrets.DETECTORS}
    assert {kind for _, text in FOUND for kind in kinds if f"<{kind.upper()}>" in text} == kinds


BODIES = {
    "AKIA ASIA ABIA ACCA": made(16, UPPER),
    "ghp_ gho_ ghu_ ghs_ ghr_": made(36),
    "github_pat_": f"{made(22)}_{made(59)}",
    "glpat- gldt- glrt- glptt- glft- glsoat- glcbt- glagent-": made(20),
    "xoxa- xoxb- xoxc- xoxd- xoxe- xoxe. xoxo- xoxp- xoxr- xoxs- xapp-": f"{made(12, string.digits)}-{made(24)}",
    "hooks.slack.com/services/": f"T{made(8, UPPER)}/B{made(10, UPPER)}/{made(24)}",
    "sk_live_ sk_test_ rk_live_ rk_test_ whsec_": made(24),
    "hf_ api_org_": made(34, string.ascii_letters),
    "AIza": made(35),
    "GOCSPX-": made(28),
    "ya29.": made(120),
    "npm_": made(36),
    "pypi-AgEI": made(150),
    "dckr_pat_": made(27),
    "SG.": f"{made(22)}.{made(43)}",
    "SK": made(32, HEX),
    "dop_v1_ doo_v1_ dor_v1_": made(64, HEX),
    "shpat_ shpca_ shppa_ shpss_": made(32, HEX),
    "dapi": made(32, HEX),
    "hvs. hvb.": made(90),
    "glsa_ glc_": made(32) + "_" + made(8, HEX),
    "sbp_": made(40, HEX),
    "lin_api_ figd_ cfut_ cfat_ cfk_": made(40),
    "PMAK-": f"{made(24, HEX)}-{made(34, HEX)}",
    "gsk_ r8_ pplx- xai- nvapi-": made(52),
    "LTAI": made(20),
    "AKID": made(32),
}


@pytest.mark.parametrize("prefix", [prefix for known, _ in TOKENS for prefix in known.split()])
def test_a_token_of_every_service_is_found_whole_and_only_on_its_own(prefix: str) -> None:
    (body,) = (body for known, body in BODIES.items() if prefix in known.split())
    assert redacted(f"use {prefix}{body}, not 令牌{prefix}{body}。") == "use <API_KEY>, not 令牌<API_KEY>。"
    assert redacted(f"use x{prefix}{body}") != "use x<API_KEY>"
    assert redacted(f"use {prefix} for it") == f"use {prefix} for it"


@given(st.integers(8, 40), st.randoms(use_true_random=False))
def test_random_passwords_are_passwords(size: int, source: random.Random) -> None:
    drawn = "".join(source.choices(ALNUM, k=size - 4)) + "aZ3x"
    assert is_password(drawn) == (len(drawn) * entropy(drawn) >= 20)


@given(st.lists(st.sampled_from("the model version token name is a great one gpt 3 16k v2 2023".split()), max_size=9))
def test_words_joined_by_hyphens_do_not_look_random(words: list[str]) -> None:
    assert not looks_random("-".join(words))


def test_entropy_is_bits_a_character() -> None:
    assert entropy("") == 0
    assert entropy("aaaa") == 0
    assert entropy("abcd") == 2
    assert entropy("aab") == pytest.approx(0.9183, abs=1e-4)


@pytest.mark.parametrize("header", [["alg"], "alg", 1, None, {"typ": "JWT"}])
def test_a_signed_token_needs_a_header_that_names_an_algorithm(header: object) -> None:
    assert redacted(jwt(header)) == jwt(header)


def test_a_header_nested_beyond_reason_is_no_crash() -> None:
    deep = base64.urlsafe_b64encode(b'{"alg":' + b"[" * 1400).decode().rstrip("=")
    assert redacted(f"{deep}.eyJhIjoxfQ.{made(43)}").startswith("eyJ")


def test_a_block_without_an_end_is_taken_with_its_base64_only() -> None:
    text = pem("RSA PRIVATE KEY").partition("-----END")[0] + "\n\n这是私钥。 And so on."
    assert redacted(text) == "<PRIVATE_KEY>\n\n\n这是私钥。 And so on."


def test_only_the_kinds_that_are_asked_for_are_found() -> None:
    text = pl.Series([f"{AWS} password: {PASSWORD}"])
    assert personal_data.scan(text, ["password"])["redacted"].item() == f"{AWS} password: <PASSWORD>"
    assert personal_data.scan(text, ["email", "phone"])["redacted"].item() == text.item()
