"""How fast personal data and secrets are found, how the time grows, and what is found in real and in planted texts.

    python -m benchmarks.personal_data [--megabytes 50] [--show]

Reads ``../shared/data`` and prints the tables of docs/personal-data.md; ``--show`` prints each find with its surroundings, for reading
only. Seconds are CPU seconds of this one thread. Where ``detect_secrets`` can be imported, it is asked about the planted secrets:

    pip install --target /tmp/peers detect-secrets && PYTHONPATH=/tmp/peers python -m benchmarks.personal_data
"""

from __future__ import annotations

import argparse
import base64
import gzip
import importlib.util
import json
import random
import string
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import phonenumbers
import polars as pl
from stdnum import luhn
from stdnum.cn import ric
from stdnum.iso7064 import mod_97_10

from benchmarks import corpus_text
from tests.transforms.text.test_secrets import CLEAN
from transforms.text import detection, personal_data
from transforms.text.personal_data import KINDS, REGIONS
from transforms.text.words import buffer

SHARED: Final = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
PLANTED: Final = 200
"""Values of each kind."""

GROWING: Final = (
    "7", "@", "a@b.ca", "1 2 3 ", "1.2.3.", "2001:", "-----BEGIN PRIVATE KEY-----\n", "/eyJ", "sk-", "password: ", "DE89 3704 ",
    "2023-10-05 12:30:45 ", "bob@web.de ", "13800138000 ",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--show", action="store_true")
    settings = parser.parse_args()
    personal_data.scan(pl.Series(["compile a@b.co"]))
    speed(settings.megabytes)
    growth()
    found(settings.show)
    telephones()
    planted()


# --- speed ------------------------------------------------------------------------------------------------------------


def speed(megabytes: int) -> None:
    texts = pl.concat(pl.read_parquet(path, columns=["text"])["text"] for path in corpus_text.corpus(megabytes).parquet)
    few = texts.head(300)
    print(f"\n{size(texts) / 1e6:.0f} MB of web text; the plain searches on {size(few) / 1e6:.1f} MB of it\n")
    print("| what | MB/s |\n|---|---|")
    personal = [kind for kind in KINDS if kind not in ("api_key", "jwt", "password", "private_key")]
    runs: list[tuple[str, pl.Series, Callable[[pl.Series], object]]] = [
        ("`scan`, all kinds", texts, personal_data.scan),
        ("`scan`, without secrets", texts, lambda given: personal_data.scan(given, personal)),
        ("`scan`, e-mail only", texts, lambda given: personal_data.scan(given, ["email"])),
        ("the compiled pass alone", texts, lambda given: detection._windows(buffer(given), detectors())),
        ("the same detectors on whole texts", few, whole_texts),
        ("phonenumbers' own matcher on whole texts", few, matcher),
    ]
    for name, given, run in runs:
        print(f"| {name} | {size(given) / 1e6 / seconds(lambda run=run, given=given: run(given)):.1f} |")


def detectors() -> tuple[detection.Detector, ...]:
    return personal_data._detectors(KINDS, REGIONS)


def whole_texts(texts: pl.Series) -> None:
    for text in texts:
        detection._search(text, detectors(), 0, len(text))


def matcher(texts: pl.Series) -> list[phonenumbers.PhoneNumberMatch]:
    return [match for text in texts for match in phonenumbers.PhoneNumberMatcher(text, "US")]


def seconds(run: Callable[[], object]) -> float:
    """The least of three."""
    return min(_once(run) for _ in range(3))


def _once(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def size(texts: pl.Series) -> int:
    return int(texts.str.len_bytes().sum())


def growth() -> None:
    print("\nOne text of one thing repeated, seconds:\n\n| repeated | 1 MB | 2 MB | 4 MB |\n|---|---|---|---|")
    for piece in GROWING:
        texts = [pl.Series([piece * (megabytes * 1_000_000 // len(piece))]) for megabytes in (1, 2, 4)]
        times = [_once(lambda text=text: personal_data.scan(text)) for text in texts]
        print(f"| `{piece!r:.24}` | " + " | ".join(f"{taken:.2f}" for taken in times) + " |")


# --- what is found ----------------------------------------------------------------------------------------------------


def real_texts() -> Iterator[tuple[str, pl.Series]]:
    yield "text/web_wiki_471.jsonl", pl.read_ndjson(SHARED / "text/web_wiki_471.jsonl")["text"]
    dolma = gzip.decompress((SHARED / "text/dolma_documents_000.json.gz").read_bytes()).splitlines()
    yield "text/dolma_documents_000.json.gz", pl.Series([json.loads(line)["text"] for line in dolma])
    yield "text/tinyshakespeare.txt", pl.Series([(SHARED / "text/tinyshakespeare.txt").read_text()])
    chats = map(json.loads, (SHARED / "chats/sharegpt_500.jsonl").read_text().splitlines())
    yield "chats/sharegpt_500.jsonl", pl.Series([said["value"] for chat in chats for said in chat["conversations"]])
    trees = map(json.loads, (SHARED / "chats/oasst_trees_en_100.jsonl").read_text().splitlines())
    yield "chats/oasst_trees_en_100.jsonl", pl.Series([text for tree in trees for text in _texts(tree)])
    alpaca = json.loads((SHARED / "instructions/alpaca_en_999.json").read_text())
    yield "instructions/alpaca_en_999.json", pl.Series(["\n".join(row.values()) for row in alpaca])
    prompts = map(json.loads, (SHARED / "instructions/ifeval_prompts.jsonl").read_text().splitlines())
    yield "instructions/ifeval_prompts.jsonl", pl.Series([row["prompt"] for row in prompts])
    for subset in ("train", "dev"):
        rows = map(json.loads, (SHARED / f"events/UDS_IH2_{subset}.jsonl").read_text().splitlines())
        yield f"events/UDS_IH2_{subset}.jsonl", pl.Series([_sentence(row["text"]) for row in rows])


def _texts(tree: Any) -> Iterator[str]:
    """Every string called ``text`` in a tree of messages."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if key == "text" and isinstance(value, str):
            yield value
        elif isinstance(value, dict | list):
            yield from _texts(value)


def _sentence(text: str | list[str]) -> str:
    return text if isinstance(text, str) else " ".join(text)


def found(show: bool) -> None:
    print("\n| file | texts | MB | windows | found |\n|---|---|---|---|---|")
    for name, texts in real_texts():
        data = buffer(texts)
        finds = detection.find(data, detectors())
        counts = ", ".join(f"{kind} {count}" for kind, count in sorted(Counter(finds.kinds).items()))
        windows = len(detection._windows(data, detectors())[0])
        print(f"| {name} | {len(texts):,} | {data.data.size / 1e6:.2f} | {windows:,} | {counts or '-'} |")
        raw = data.data.tobytes()
        for start, stop, kind in zip(finds.starts, finds.stops, finds.kinds, strict=True) if show else ():
            parts = (raw[max(0, start - 40) : start], raw[start:stop], raw[stop : stop + 25])
            before, value, after = (part.decode(errors="ignore") for part in parts)
            print(f"    {kind}: {before!r} [[{value}]] {after!r}")


def telephones() -> None:
    """Which telephone numbers phonenumbers' own matcher finds in the real texts and Sluice does not, and the other way round."""
    texts = [text for _, series in real_texts() for text in series]
    ours = dict.fromkeys(
        (row, "".join(filter(str.isdigit, value))) for row, values in enumerate(_phones(texts)) for value in values
    )
    theirs = dict.fromkeys(
        (row, "".join(filter(str.isdigit, match.raw_string)))
        for row, text in enumerate(texts)
        for match in phonenumbers.PhoneNumberMatcher(text, "US")
    )
    print(
        f"\nDistinct telephone numbers of a text: `scan` {len(ours)}, PhoneNumberMatcher of US {len(theirs)}, both {len(ours.keys() & theirs.keys())}"
    )


def _phones(texts: Sequence[str]) -> list[list[str]]:
    data = buffer(pl.Series(texts))
    finds = detection.find(data, personal_data._detectors(("phone",), REGIONS))
    values: list[list[str]] = [[] for _ in texts]
    for row, start, stop in zip(finds.rows, finds.starts, finds.stops, strict=True):
        values[row].append(data.data[start:stop].tobytes().decode())
    return values


# --- planted values ---------------------------------------------------------------------------------------------------


def planted() -> None:
    """How many generated values are found in sentences, in English and in Chinese, and replaced whole."""
    source = random.Random(0)
    peer = _peer()
    print(f"\n{PLANTED} generated values of each, in sentences\n")
    print("| what | kind | English | Chinese |" + (" detect-secrets |" if peer else ""))
    print("|---|---|---|---|" + ("---|" if peer else ""))
    for name, kind, make, english, chinese in _values(source):
        values = [make() for _ in range(PLANTED)]
        shares = []
        for sentence in (english, chinese):
            texts = pl.Series([sentence.format(value) for value in values])
            wanted = [sentence.format(f"<{kind.upper()}>")] * PLANTED
            shares.append((personal_data.redact(texts) == pl.Series(wanted)).mean())
        cells = [f"{share:.1%}" for share in shares]
        if peer:
            secret = kind in ("api_key", "jwt", "password", "private_key")
            cells.append(f"{sum(peer(english.format(value)) for value in values) / PLANTED:.1%}" if secret else "-")
        print(f"| {name} | {kind} | " + " | ".join(cells) + " |")
    taken = sum(personal_data.redact(pl.Series(CLEAN)) != pl.Series(CLEAN))
    print(f"\nOf {len(CLEAN)} texts without secrets `scan` changes {taken}", end="")
    print(f", and detect-secrets finds something in {sum(map(peer, CLEAN))}." if peer else ".")


def _values(source: random.Random) -> Iterator[tuple[str, str, Callable[[], str], str, str]]:
    letters = string.ascii_letters + string.digits

    def drawn(count: int, alphabet: str = letters) -> str:
        return "".join(source.choices(alphabet, k=count))

    def digits(count: int) -> str:
        return drawn(count, string.digits)

    def email() -> str:
        return f"{drawn(source.randint(3, 12), string.ascii_lowercase)}.{drawn(4).lower()}@{drawn(6).lower()}.{source.choice(('com', 'cn', 'co.uk'))}"

    def national(region: str, form: int) -> Callable[[], str]:
        def make() -> str:
            while True:
                number = phonenumbers.parse(str(source.randint(2 * 10**9, 10**10 - 1)), region)
                if phonenumbers.is_valid_number_for_region(number, region):
                    return str(phonenumbers.format_number(number, form))

        return make

    def mobile() -> str:
        return source.choice(("138", "139", "150", "186", "177", "199")) + digits(7) + source.choice("123456789")

    def card() -> str:
        body = source.choice("45") + "1" + digits(13)
        number = body + luhn.calc_check_digit(body)
        return source.choice((number, " ".join(number[at : at + 4] for at in range(0, 16, 4))))

    def identity() -> str:
        body = f"{source.choice(('110105', '440305', '310101'))}{source.randint(1950, 2010)}{source.randint(1, 12):02}{source.randint(1, 28):02}{digits(3)}"
        return body + str(ric.calc_check_digit(body + "0"))

    def account() -> str:
        body = digits(18)
        return "DE" + mod_97_10.calc_check_digits(body + "DE") + body

    def address() -> str:
        return f"{source.randint(11, 99)}.{source.randint(10, 255)}.{source.randint(10, 255)}.{source.randint(1, 255)}"

    def password() -> str:
        return drawn(11) + drawn(1, string.digits) + drawn(1, string.ascii_lowercase) + drawn(1, "!@#%&*")

    def jwt() -> str:
        parts = (b'{"alg":"HS256"}', f'{{"sub":"{digits(12)}"}}'.encode())
        return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), drawn(43)])

    def block() -> str:
        body = "\n".join(drawn(64) for _ in range(10))
        return f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----"

    formats = phonenumbers.PhoneNumberFormat
    yield "address", "email", email, "Write to {} soon.", "邮箱：{}，谢谢"
    yield "Chinese mobile", "phone", mobile, "Call {} now.", "手机号{}，请联系"
    yield "US, national", "phone", national("US", formats.NATIONAL), "Call {} now.", "电话：{}。"
    yield "US, international", "phone", national("US", formats.INTERNATIONAL), "Call {} now.", "电话：{}。"
    yield "GB, international", "phone", national("GB", formats.INTERNATIONAL), "Call {} now.", "电话：{}。"
    yield "card", "credit_card", card, "Charge {} please.", "卡号{}到期"
    yield "identity number", "cn_id_card", identity, "ID {} here.", "身份证{}，男"
    yield "German IBAN", "iban", account, "Pay to {} today.", "账户：{}。"
    yield "IPv4", "ip_address", address, "Login from {} failed.", "来自{}的访问"
    yield "password", "password", password, "password: {}", "密码：{}，请修改"
    yield "GitHub", "api_key", lambda: "ghp_" + drawn(36), "use {} for it", "令牌{}。"
    yield "AWS", "api_key", lambda: "AKIA" + drawn(16, string.ascii_uppercase + "234567"), "use {} for it", "用{}登录"
    yield "OpenAI", "api_key", lambda: "sk-" + drawn(20) + "T3BlbkFJ" + drawn(20), "use {} for it", "密钥{}。"
    yield "by its name", "api_key", lambda: drawn(40), 'api_key = "{}"', "密钥：{}。"
    yield "signed token", "jwt", jwt, "send {} with it", "令牌{}，请保密"
    yield "private key", "private_key", block, "{}", "私钥：{}。"


def _peer() -> Callable[[str], bool] | None:
    """Whether detect-secrets finds anything in a text file, with the plugins and filters it comes with."""
    if importlib.util.find_spec("detect_secrets") is None:
        return None
    from detect_secrets.core import scan
    from detect_secrets.settings import default_settings

    def finds(text: str) -> bool:
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file, default_settings():
            file.write(text)
            file.flush()
            return any(True for _ in scan.scan_file(file.name))

    return finds


if __name__ == "__main__":
    main()
