"""Build the bundled chat logs, in WildChat's two layouts, from the dialogues in ``dialogues/``.

Run ``python -m configs.quickstart.make_sample`` from the repository root (``--check`` only compares). The dialogues are
written by hand; everything around them (users, models, times, moderation scores) is drawn from hashes of their names, so that the
same dialogues give the same bytes.

A dialogue file holds a language and a list of dialogues:

    id         name, unique over all files
    chat       messages in order, each ``{ask: text}`` (the user, not after an answer), ``{bot: text}``, ``{1: text}`` to
               ``{5: text}`` (the user's next message; the number is what it says of the answer above, as its author meant
               it) or ``{another role: text}``
    rows       one conversation for each mapping, its values replacing ``«name»`` in the chat (default: one, as written)
    cases      names of the special cases it was written for; README.md lists them
    user       who asks (default: somebody out of the language's pool)
    file       ``1m`` or ``4.8m`` (default: in turn)
    model      default: drawn
    languages  message index to language, where one differs from the file's
    toxic      indexes of messages that the detectors flag
    redacted   indexes of messages in which personal data was masked
    flagged    message index to the moderation category that flags it
    copies     further rows with the same content from other users: ``same`` or ``other`` file
    hash_of    the dialogue whose conversation_hash this one wrongly carries
    damage     what is done to its JSON line: ``truncated``, ``invalid_utf8``, ``array`` or ``wrong_type``
"""

import argparse
import hashlib
import io
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
import zstandard

HERE: Final = Path(__file__).resolve().parent
DIALOGUES: Final = HERE / "dialogues"
PARQUET: Final = "chats_1m.parquet"
JSONL: Final = "chats_4_8m.jsonl.zst"

Row = dict[str, Any]
T = TypeVar("T")

_FIRST_DAY: Final = datetime(2024, 4, 8, 6, 0, 0)
_DAYS: Final = 45
_ROW_GROUPS: Final = 3
LEVELS: Final = (1, 2, 3, 4, 5)
_SLOT: Final = re.compile(r"«(\w+)»")

_MODELS: Final = {
    "1m": ("gpt-3.5-turbo-0613", "gpt-3.5-turbo-0125", "gpt-4-0314", "gpt-4-1106-preview"),
    "4.8m": ("gpt-4o-2024-05-13", "gpt-4o-mini-2024-07-18", "o1-mini-2024-09-12", "gpt-4-0125-preview"),
}
_PLACES: Final = {
    "English": (
        ("United States", "Ohio"),
        ("United States", "Oregon"),
        ("United Kingdom", "Wales"),
        ("Canada", "Manitoba"),
        ("India", "Kerala"),
        ("Australia", "Tasmania"),
        ("Ireland", None),
    ),
    "Chinese": (
        ("China", "Sichuan"),
        ("China", "Zhejiang"),
        ("China", "Guangdong"),
        ("Singapore", None),
        ("Malaysia", "Penang"),
    ),
    "Spanish": (("Spain", "Aragon"), ("Mexico", "Puebla"), ("Chile", None)),
    "French": (("France", "Brittany"), ("Belgium", "Namur"), ("Canada", "Quebec")),
    "Russian": (("Kazakhstan", "Almaty"), ("Russia", "Tomsk Oblast")),
    "Japanese": (("Japan", "Nagano"), ("Japan", "Osaka")),
    "German": (("Germany", "Saxony"), ("Austria", "Tyrol")),
}
_ACCEPT: Final = {
    "English": "en-US,en;q=0.9",
    "Chinese": "zh-CN,zh;q=0.9",
    "Spanish": "es-ES,es;q=0.9,en;q=0.6",
    "French": "fr-FR,fr;q=0.9,en;q=0.6",
    "Russian": "ru-RU,ru;q=0.9,en;q=0.7",
    "Japanese": "ja,en;q=0.5",
    "German": "de-DE,de;q=0.9,en;q=0.7",
}
_AGENTS: Final = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/123.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:124.0) Gecko/20100101 Firefox/124.0",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/123.0.0.0 Mobile Safari/537.36",
)

_CATEGORIES: Final = (
    *("harassment", "harassment/threatening", "harassment_threatening", "hate", "hate/threatening", "hate_threatening"),
    *(
        "self-harm",
        "self-harm/instructions",
        "self-harm/intent",
        "self_harm",
        "self_harm_instructions",
        "self_harm_intent",
    ),
    *("sexual", "sexual/minors", "sexual_minors", "violence", "violence/graphic", "violence_graphic"),
)
_MORE_CATEGORIES: Final = (*_CATEGORIES, "illicit", "illicit/violent", "illicit_violent")
_DETOXIFY: Final = ("identity_attack", "insult", "obscene", "severe_toxicity", "sexual_explicit", "threat", "toxicity")

_HEADER: Final = pa.struct([("accept-language", pa.string()), ("user-agent", pa.string())])
_TIME: Final = pa.timestamp("us", tz="UTC")
_MESSAGE: Final = pa.struct(
    [
        ("content", pa.string()),
        ("country", pa.string()),
        ("hashed_ip", pa.string()),
        ("header", _HEADER),
        ("language", pa.string()),
        ("redacted", pa.bool_()),
        ("role", pa.string()),
        ("state", pa.string()),
        ("timestamp", _TIME),
        ("toxic", pa.bool_()),
        ("turn_identifier", pa.int64()),
    ]
)
_MODERATION: Final = pa.struct(
    [
        ("categories", pa.struct([(name, pa.bool_()) for name in _CATEGORIES])),
        ("category_scores", pa.struct([(name, pa.float64()) for name in _CATEGORIES])),
        ("flagged", pa.bool_()),
    ]
)
SCHEMA_1M: Final = pa.schema(
    [
        ("conversation_hash", pa.string()),
        ("model", pa.string()),
        ("timestamp", _TIME),
        ("conversation", pa.list_(_MESSAGE)),
        ("turn", pa.int64()),
        ("language", pa.string()),
        ("openai_moderation", pa.list_(_MODERATION)),
        ("detoxify_moderation", pa.list_(pa.struct([(name, pa.float32()) for name in _DETOXIFY]))),
        ("toxic", pa.bool_()),
        ("redacted", pa.bool_()),
        ("state", pa.string()),
        ("country", pa.string()),
        ("hashed_ip", pa.string()),
        ("header", _HEADER),
    ]
)
"""WildChat-1M's columns."""


class SampleError(Exception):
    """A dialogue file is not what it should be; the message names the file and the dialogue."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message. ``level`` is what its author meant it to say of the answer above, 1 to 5; null elsewhere."""

    role: str
    content: str | None
    language: str
    level: int | None = None
    toxic: bool = False
    redacted: bool = False
    category: str | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """One row of the sample before it is written; ``messages`` is null where the row's conversation is."""

    dialogue: str
    key: str
    file: str
    language: str
    user: str
    model: str
    hash: str
    messages: tuple[Message, ...] | None
    cases: tuple[str, ...] = ()
    damage: str | None = None
    copy_of: str | None = None


def load(folder: Path = DIALOGUES) -> list[Conversation]:
    """Read the dialogue files: one conversation a row, in the order in which the rows are written.

    Raises:
        SampleError: a file is not YAML, or a dialogue has an unknown key, an unfilled slot or a repeated id.
    """
    rows: list[Conversation] = []
    wrong_hashes: dict[str, str] = {}
    for path in sorted(folder.glob("*.yaml")):
        try:
            document = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise SampleError(f"{path.name}: {error}") from error
        for entry in document["dialogues"]:
            dialogue = dict(entry)
            try:
                wrong = dialogue.pop("hash_of", None)
                rows += _conversations(dialogue, document["language"], len(rows))
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise SampleError(f"{path.name}: {entry.get('id')}: {error}") from error
            if wrong:
                wrong_hashes[rows[-1].key] = wrong
    by_key = {row.key: row for row in rows}
    if len(by_key) < len(rows):
        raise SampleError(f"{folder}: repeated id")
    rows = [replace(row, hash=by_key[wrong_hashes[row.key]].hash) if row.key in wrong_hashes else row for row in rows]
    return sorted(rows, key=lambda row: _digest("order", row.key))


def _conversations(dialogue: dict[str, Any], language: str, at: int) -> list[Conversation]:
    """A dialogue's rows, copies included; ``at`` rows stand before them."""
    name, chat = dialogue.pop("id"), dialogue.pop("chat")
    variants = dialogue.pop("rows", [{}])
    files = [dialogue.pop("file")] * len(variants) if "file" in dialogue else []
    cases, user, model = tuple(dialogue.pop("cases", ())), dialogue.pop("user", None), dialogue.pop("model", None)
    copies, damage = dialogue.pop("copies", ()), dialogue.pop("damage", None)
    marks = {key: dialogue.pop(key, {}) for key in ("languages", "toxic", "redacted", "flagged")}
    if dialogue:
        raise ValueError(f"unknown key {', '.join(dialogue)}")
    rows = []
    for number, slots in enumerate(variants):
        used = set(_SLOT.findall("".join(str(text) for entry in chat or () for text in entry.values())))
        if used != set(slots) or None in slots.values():
            raise ValueError(f"row {number}: expected values for {sorted(used)}, got {slots}")
        key = f"{name}/{number}" if len(variants) > 1 else name
        file = files[number] if files else ("1m", "4.8m")[(at + number) % 2]
        messages = None if chat is None else _messages(chat, slots, language, marks)
        row = Conversation(
            dialogue=name,
            key=key,
            file=file,
            language=language,
            user=user or _from_pool(language, key),
            model=model or _pick(_MODELS[file], "model", key),
            hash=_digest(key if not messages else "".join(f"{m.role}:{m.content}\n" for m in messages))[:32],
            messages=messages,
            cases=cases,
            damage=damage,
        )
        rows.append(row)
        for copy, where in enumerate(copies, start=1):
            other = file if where == "same" else "4.8m" if file == "1m" else "1m"
            user_of_copy = _from_pool(language, f"{key}+{copy}")
            copied = replace(row, key=f"{key}+{copy}", file=other, user=user_of_copy, copy_of=key)
            rows.append(replace(copied, model=_pick(_MODELS[other], "model", copied.key), cases=("exact_duplicate",)))
    return rows


def _messages(
    chat: Sequence[dict[str | int, str | None]], slots: dict[str, str], language: str, marks: dict[str, Any]
) -> tuple[Message, ...]:
    """A chat's messages with the slots filled."""
    messages = []
    for index, entry in enumerate(chat):
        ((kind, text),) = entry.items()
        level = kind if isinstance(kind, int) else None
        if level is not None and level not in LEVELS:
            raise ValueError(f"message {index}: expected a level from 1 to 5, got {level}")
        if not isinstance(text, str | None):
            raise TypeError(f"message {index}: expected text, got {text!r} (put it in quotes)")
        content = None if text is None else _SLOT.sub(lambda found: str(slots[found[1]]), text.strip())
        messages.append(
            Message(
                role="user" if level or kind == "ask" else "assistant" if kind == "bot" else str(kind),
                content=content,
                language=marks["languages"].get(index, language) if marks["languages"] else language,
                level=level,
                toxic=index in marks["toxic"],
                redacted=index in marks["redacted"],
                category=marks["flagged"].get(index) if marks["flagged"] else None,
            )
        )
    return tuple(messages)


def to_row(conversation: Conversation) -> Row:
    """A conversation as a row of the layout of its file, times as ``datetime``."""
    newer = conversation.file == "4.8m"
    identity = _identity(conversation)
    origin = {name: identity[name] for name in ("country", "hashed_ip", "header", "state")}
    nobody: Row = dict.fromkeys(origin)
    clock = _start(conversation)
    turn_id = 1_000_000 + int(_digest("turn", conversation.key)[:7], 16)
    utterances: list[Row] = []
    for message in conversation.messages or ():
        answer = message.role == "assistant"
        turn_id += message.role == "user" and bool(utterances)
        clock += timedelta(
            seconds=8 + int(_digest("pause", conversation.key, len(utterances))[:2], 16) // (4 if answer else 1)
        )
        utterance: Row = {
            "content": message.content,
            **(nobody if answer else origin),
            "language": message.language,
            "redacted": message.redacted,
            "role": message.role,
            "timestamp": clock if answer else None,
            "toxic": message.toxic,
            "turn_identifier": turn_id,
        }
        if newer:
            utterance |= _call(conversation, message, clock, sum(len(u["content"] or "") for u in utterances))
        utterances.append(utterance)
    names = _MORE_CATEGORIES if newer else _CATEGORIES
    messages = conversation.messages or ()
    row: Row = {
        "conversation_hash": conversation.hash,
        "model": conversation.model,
        "timestamp": clock,
        "conversation": None if conversation.messages is None else utterances,
        "turn": sum(message.role == "user" for message in messages),
        "language": conversation.language,
        "openai_moderation": [_moderation(message, names) for message in messages],
        "detoxify_moderation": [_detoxify(message) for message in messages],
        "toxic": any(message.toxic for message in messages),
        "redacted": any(message.redacted for message in messages),
    }
    return row if newer else row | {name: identity[name] for name in ("state", "country", "hashed_ip", "header")}


def _identity(conversation: Conversation) -> Row:
    """Where a user writes from: the same for every conversation of that user."""
    user, language = conversation.user, conversation.language
    country, state = _pick(_PLACES[language], "place", user)
    return {
        "country": country,
        "state": state,
        "hashed_ip": _digest("sluice sample user", user),
        "header": {"accept-language": _ACCEPT[language], "user-agent": _pick(_AGENTS, "agent", user)},
    }


def _start(conversation: Conversation) -> datetime:
    minutes = int(_digest("start", conversation.key)[:8], 16) % (_DAYS * 24 * 60)
    return _FIRST_DAY + timedelta(minutes=minutes)


def _call(conversation: Conversation, message: Message, clock: datetime, seen: int) -> Row:
    """What WildChat-4.8M adds to a message: the call that gave an answer."""
    names = ("created", "openai_id", "temperature", "top_p", "token_counter", "system_fingerprint", "usage")
    if message.role != "assistant":
        return dict.fromkeys(names)
    said, asked = len(message.content or "") // 4 + 1, seen // 4 + 1
    reasoning = 64 * (1 + said % 5) if conversation.model.startswith("o1") else 0
    name = _digest("call", conversation.key, seen)
    return {
        "created": int(clock.replace(tzinfo=UTC).timestamp()),
        "openai_id": f"chatcmpl-{name[:12]}",
        "temperature": 1.0,
        "top_p": 1.0,
        "token_counter": asked + said,
        "system_fingerprint": f"fp_{_digest('fingerprint', conversation.model)[:10]}",
        "usage": {
            "completion_tokens": said + reasoning,
            "completion_tokens_details": {"reasoning_tokens": reasoning},
            "prompt_tokens": asked,
            "total_tokens": asked + said + reasoning,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }


def _moderation(message: Message, names: Sequence[str]) -> Row:
    hit = message.category and _key(message.category)
    score = _pick((1e-6, 4e-6, 2e-5, 0.0001), "moderation", message.content)
    return {
        "categories": {name: _key(name) == hit for name in names},
        "category_scores": {name: 0.91 if _key(name) == hit else score for name in names},
        "flagged": hit is not None,
    }


def _key(category: str) -> str:
    """WildChat spells a category in two or three ways (``self-harm/intent``, ``self_harm_intent``)."""
    return re.sub(r"[-/]", "_", category)


def _detoxify(message: Message) -> dict[str, float]:
    quiet = _pick((0.0001, 0.0002, 0.0005, 0.001), "detoxify", message.content)
    return {name: 0.94 if message.toxic and name in ("insult", "obscene", "toxicity") else quiet for name in _DETOXIFY}


def parquet_bytes(conversations: Sequence[Conversation]) -> bytes:
    """The WildChat-1M file."""
    rows = [to_row(conversation) for conversation in conversations if conversation.file == "1m"]
    for row in rows:
        row["timestamp"] = row["timestamp"].replace(tzinfo=UTC)
        for utterance in row["conversation"] or ():
            if utterance["timestamp"]:
                utterance["timestamp"] = utterance["timestamp"].replace(tzinfo=UTC)
    sink = io.BytesIO()
    table = pa.Table.from_pylist(rows, schema=SCHEMA_1M)
    group = -(-table.num_rows // _ROW_GROUPS)
    pq.write_table(table, sink, row_group_size=group, compression="zstd", compression_level=19, write_statistics=False)
    return sink.getvalue()


def json_lines(conversations: Sequence[Conversation]) -> list[bytes]:
    """The WildChat-4.8M file's lines, each with its line feed, some of them damaged on purpose."""
    return [_line(conversation) + b"\n" for conversation in conversations if conversation.file == "4.8m"]


def _line(conversation: Conversation) -> bytes:
    row = to_row(conversation)
    line = orjson.dumps(row)
    match conversation.damage:
        case None:
            return line
        case "truncated":
            return line[: len(line) // 3]
        case "invalid_utf8":
            return line.replace("é".encode(), b"\xe9")
        case "array":
            return orjson.dumps(list(row.values()))
        case "wrong_type":
            return orjson.dumps(row | {"conversation": orjson.dumps(row["conversation"]).decode()})
    raise SampleError(f"{conversation.key}: unknown damage {conversation.damage}")


def zstd_bytes(lines: Sequence[bytes]) -> bytes:
    """Lines as two zstd frames, as two appended files are."""
    half = len(lines) // 2
    compressor = zstandard.ZstdCompressor(level=19, write_checksum=True)
    return b"".join(compressor.compress(b"".join(part)) for part in (lines[:half], lines[half:]))


def build(folder: Path = DIALOGUES) -> dict[str, bytes]:
    """Both files' bytes by file name."""
    conversations = load(folder)
    return {PARQUET: parquet_bytes(conversations), JSONL: zstd_bytes(json_lines(conversations))}


def counts(conversations: Sequence[Conversation]) -> Iterator[tuple[str, str, int]]:
    """What is in the sample: (kind, name, count), kinds being ``language``, ``level`` and ``case``."""
    for language in _PLACES:
        yield "language", language, sum(row.language == language for row in conversations)
    levels = [m.level for row in conversations for m in row.messages or () if m.level]
    for level in LEVELS:
        yield "level", str(level), levels.count(level)
    cases = [case for row in conversations for case in row.cases]
    for case in sorted(set(cases)):
        yield "case", case, cases.count(case)


def _from_pool(language: str, key: str) -> str:
    """One of a language's users: few enough for some to come back."""
    size = {"English": 90, "Chinese": 40}.get(language, 9)
    return f"{language} {int(_digest('user', key)[:8], 16) % size}"


def _pick(choices: Sequence[T], *names: object) -> T:
    return choices[int(_digest(*names)[:8], 16) % len(choices)]


def _digest(*names: object) -> str:
    return hashlib.sha256("\0".join(map(str, names)).encode()).hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Write both files, or with ``--check`` say whether they are what the dialogues give."""
    parser = argparse.ArgumentParser(description="Build the bundled chat logs.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is out of date")
    check = parser.parse_args(arguments).check
    stale = 0
    for name, data in build().items():
        path = HERE / name
        if path.is_file() and path.read_bytes() == data:
            continue
        stale += 1
        if not check:
            path.write_bytes(data)
        print(f"{name}: {'out of date' if check else f'{len(data):,} bytes written'}")
    for kind, name, count in counts(load()):
        print(f"{kind:9} {name:28} {count:5}")
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
