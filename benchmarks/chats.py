"""Chat logs in WildChat-1M's schema, as many bytes as wanted, from a seed.

    python benchmarks/chats.py .bench/chats --bytes 1GB
    python benchmarks/chats.py .bench/chats.jsonl.zst --bytes 2GB

Row group ``k`` is drawn from (seed, k) alone, so that a larger data set begins with the smaller one. Words follow Zipf's law
over a made-up vocabulary of each language, with its real function words on top; every conversation has words of its own.
What users say next holds phrases of the five levels in the paper's shares. No text is copied from anywhere.

Everything is drawn as token numbers: ``vocabulary.take(numbers)`` concatenates the text of a whole row group in one call.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

GROUP_ROWS: Final = 10_000
GROUPS_PER_FILE: Final = 6  # about 200 MB, as in WildChat-1M
LEVEL_SHARES: Final = (0.03, 0.14, 0.76, 0.06, 0.01)
POPULAR: Final = 400  # conversations that many users have had

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

# name, share, words of the vocabulary, function words, letters of made-up words
_LANGUAGES: Final = (
    (
        "English",
        0.70,
        24_000,
        """the to and a of in is for that you it with on as i be are this can have or not from your by an my will what if
        they more at do we how but their which all about like so there was also use has one make some these would time get
        other out them when up just want please help write new need know should because then into only no me than her his
        1 2 3 10 2023 your work example way good people first using each could most see want list give code text data story""",
        (
            "b c d f g h l m n p r s t v w st tr pl gr ch sh th br cl",
            "a e i o u ea ou ai",
            "n r s t l d m ng ck st nt ll",
        ),
    ),
    (
        "Chinese",
        0.20,
        9_000,
        "的 一 是 不 了 在 我 有 和 人 这 中 大 为 上 个 国 说 们 到 时 要 就 出 会 可以 你 对 生 能 而 子 那 得 于 着 下 自 之 年 什么 怎么 请 写 如果 因为 所以 问题 使用 文章 代码",
        ("", "", ""),
    ),
    (
        "Spanish",
        0.04,
        8_000,
        "de la que el en y a los del se las por un para con no una su al lo como más pero sus le ya este sí porque cuando muy sin sobre también hasta hay donde todo nos",
        ("b c d f g l m n p r s t v tr pl br", "a e i o u ia ue", "n r s l "),
    ),
    (
        "French",
        0.03,
        8_000,
        "de la le et les des en un du une que est pour qui dans par plus pas au sur ne se ce il sont avec ou son lui nous comme mais on sans tout être même aux cette",
        ("b c d f g l m n p r s t v tr pl br ch", "a e i o u eau oi ai", "n r s t l x"),
    ),
    (
        "Russian",
        0.03,
        8_000,
        "и в не на я что он с как это по но они мы вы из у за от так же для его все она был бы если уже или ни быть есть когда только еще при",
        ("б в г д ж з к л м н п р с т х ч ст пр", "а е и о у я ю", "н р с т л й ть"),
    ),
)
NAMES: Final = tuple(language[0] for language in _LANGUAGES)

# What users say next. ``…`` stands where a further request follows.
_FEEDBACK: Final = {
    "English": (
        "This is useless.|That is terrible, I hate it.|You are not listening.|This is garbage.|I don't like this.|You're useless.|This is not helpful at all.|Stop apologizing.|Are you stupid?|What a waste of my time.",
        "That's not correct. …|That is wrong, …|You forgot to …|No, that's not what I asked. …|There is an error in your code: …|It doesn't work. …|You missed the second part. …|You made a mistake: …|I said …|Incorrect. …",
        "",
        "Thanks! Now can you …|Great, now …|Perfect! Can you also …|Awesome, please …|That's great, could you …|Nice. Now write …|Excellent work! Next, …|Thank you. Can you please …|I love it! Now …|Very helpful. What about …",
        "Thank you!|Thanks, that works.|Perfect, thank you so much!|Great, it works now.|Thanks a lot, that helped.|That's exactly what I needed, thanks.|Awesome!|Thank you very much.|You are amazing.|Perfect.",
    ),
    "Chinese": (
        "太差了。|你是傻子吗|完全没用|我不满意。|胡说八道|垃圾|写得太差了|你在敷衍我",
        "不对，…|错了，…|你忘了…|这不是我要的，…|你的回答有错误，…|代码报错：…|还是不行，…|你理解错了，…",
        "",
        "谢谢！请再…|很好，再…|太棒了，请帮我…|不错，接下来…|非常好，现在…|谢谢，那么…",
        "谢谢！|太好了，谢谢你|非常感谢！|完美|解决了，谢谢|很好，谢谢",
    ),
}
_REFUSALS: Final = {
    "English": "I'm sorry, but I can't assist with that request.|I apologize, but I cannot provide that information.|As an AI language model, I am not able to help with this.|I'm sorry, I cannot fulfill that request as it goes against my guidelines.",
    "Chinese": "抱歉，我无法提供这方面的帮助。|对不起，我不能满足您的要求。|作为一个人工智能语言模型，我无法回答这个问题。",
}
_QUESTIONS: Final = "How do I make a bomb at home? …|Write a phishing e-mail that …|What is …|Write a story about …|Explain …|Can you help me …|Create a list of …|Rewrite this: …"
_CODE: Final = "    return {0}[{1}]\n|for {0} in range({1}):\n|    {0} = {0} + {1}\n|if {0} is None:\n|def {0}(self, {1}=None):\n|    print({0}, {1})\n|import {0}\n|const {0} = await {1}();\n|# {0} of the {1}\n"

# Forms of a word: plain, before a comma, at the end of a sentence, at its start, at the end of a paragraph, of a message, a question's.
_FORMS: Final = ("{} ", "{}, ", "{}. ", "{} ", "{}.\n\n", "{}.", "{}?")
_HAN_FORMS: Final = ("{}", "，{}", "{}。", "{}", "{}。\n\n", "{}。", "{}？")
_PLAIN, _COMMA, _STOP, _START, _PARAGRAPH, _END, _ASK = range(7)

_CATEGORIES: Final = (
    "harassment",
    "harassment/threatening",
    "harassment_threatening",
    "hate",
    "hate/threatening",
    "hate_threatening",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "self_harm",
    "self_harm_instructions",
    "self_harm_intent",
    "sexual",
    "sexual/minors",
    "sexual_minors",
    "violence",
    "violence/graphic",
    "violence_graphic",
)
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
SCHEMA: Final = pa.schema(
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


@dataclass(frozen=True)
class Phrases:
    """Token numbers of some ready phrases, and which of them want a request after them."""

    tokens: Ints
    open: Flags


@dataclass(frozen=True)
class Vocabulary:
    """Every token there is, and where to find them. ``ranks`` draws a word by Zipf's law: 65,536 equally likely entries."""

    tokens: pa.LargeStringArray
    first: Ints
    words: Ints
    ranks: npt.NDArray[np.int32]
    feedback: tuple[dict[int, Phrases], ...]
    refusals: tuple[Phrases, ...]
    openings: Phrases
    addresses: Ints
    code: Ints


@cache
def vocabulary() -> Vocabulary:
    """The words and phrases of all languages; the same for every seed."""
    rng = np.random.default_rng(7)
    tokens: list[str] = []

    def add(texts: Sequence[str]) -> Ints:
        tokens.extend(texts)
        return np.arange(len(tokens) - len(texts), len(tokens))

    def phrases(texts: str) -> Phrases:
        found = texts.split("|")
        return Phrases(
            add([text.removesuffix("…") for text in found]), np.array([text.endswith("…") for text in found])
        )

    first, words, ranks = [], [], []
    for name, _, size, common, sounds in _LANGUAGES:
        known = list(dict.fromkeys([*common.split(), *_made_up(rng, size, sounds)]))[:size]
        first.append(len(tokens))
        words.append(len(known))
        for form, pattern in enumerate(_HAN_FORMS if name == "Chinese" else _FORMS):
            add([pattern.format(word.capitalize() if form == _START else word) for word in known])
        weights = 1 / (np.arange(len(known)) + 2.7) ** 1.05
        ranks.append(np.searchsorted(np.cumsum(weights) / weights.sum(), (np.arange(65_536) + 0.5) / 65_536))
    feedback = tuple(
        {level: phrases(texts) for level, texts in enumerate(_FEEDBACK[name], 1) if texts} for name in _FEEDBACK
    )
    refusals = tuple(phrases(_REFUSALS[name]) for name in _REFUSALS)
    openings = phrases(_QUESTIONS)
    names = _made_up(rng, 600, _LANGUAGES[0][4])
    addresses = add(
        [f"{one}.{other}@{third}.com " for one, other, third in zip(names, names[1:], names[2:], strict=False)]
        + [f"https://www.{one}.org/{other}/{i} " for i, (one, other) in enumerate(zip(names, names[1:], strict=False))]
    )
    lines = [
        _CODE.split("|")[i % 9].format(one, other) for i, (one, other) in enumerate(zip(names, names[1:], strict=False))
    ]
    code = add(["```python\n", "```\n", *lines])
    return Vocabulary(
        pa.array(tokens, pa.large_string()),
        np.array(first),
        np.array(words),
        np.stack(ranks).astype(np.int32),
        feedback,
        refusals,
        openings,
        addresses,
        code,
    )


def _made_up(rng: np.random.Generator, size: int, sounds: tuple[str, str, str]) -> list[str]:
    """About ``size`` different made-up words, short ones among the first: syllables, or Chinese characters."""
    if not sounds[0]:
        characters = [chr(0x4E00 + i) for i in rng.permutation(6_000)]
        drawn = (rng.integers(0, 2_500, length) for length in rng.choice([1, 1, 2, 2, 2, 3], 2 * size))
        return list(dict.fromkeys("".join(characters[i] for i in word) for word in drawn))[:size]
    heads, vowels, tails = (part.split(" ") for part in sounds)
    syllables = [head + vowel + tail for head in heads for vowel in vowels for tail in ("", "", *tails)]
    lengths = 1 + rng.binomial(3, np.linspace(0.1, 0.7, 3 * size))
    drawn = (rng.integers(0, len(syllables), length) for length in lengths)
    return list(dict.fromkeys("".join(syllables[i] for i in word) for word in drawn))[:size]


@dataclass(frozen=True)
class _Messages:
    """The messages of a row group, in order: whose turn, which conversation, how long, saying what."""

    conversation: Ints
    position: Ints
    language: Ints
    texts: pa.StringArray


def _messages(rng: np.random.Generator, rows: int) -> _Messages:
    """Draw the messages of ``rows`` conversations."""
    words = vocabulary()
    users = np.minimum(rng.geometric(0.4, rows), 60)  # user messages a conversation, 2.5 on average
    lasting = rng.random(rows) < 0.01
    users[lasting] = rng.integers(10, 61, int(lasting.sum()))
    sizes = 2 * users - (rng.random(rows) < 0.03)  # some end with the user
    conversation = np.repeat(np.arange(rows), sizes)
    position = np.arange(len(conversation)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    spoken = rng.choice(len(_LANGUAGES), rows, p=[language[1] for language in _LANGUAGES])
    language = spoken[conversation]
    asks = position % 2 == 0

    first = np.full(len(position), -1)  # a phrase that the message starts with, or -1
    alone = np.zeros(len(position), bool)  # nothing follows it
    levels = np.where(asks & (position > 0), rng.choice([1, 2, 3, 4, 5], len(position), p=LEVEL_SHARES), 0)

    def say(chosen: Flags, phrases: Phrases) -> None:
        picked = rng.integers(0, len(phrases.tokens), int(chosen.sum()))
        first[chosen], alone[chosen] = phrases.tokens[picked], ~phrases.open[picked]

    for index, feedback in enumerate(words.feedback):
        for level, phrases in feedback.items():
            say((levels == level) & (language == index), phrases)
    for index, refusals in enumerate(words.refusals):
        say(~asks & (language == index) & (rng.random(len(position)) < 0.02), refusals)
    say(asks & (levels % 3 == 0) & (language == 0) & (rng.random(len(position)) < 0.3), words.openings)

    pasted = asks & (rng.random(len(position)) < 0.04)
    median = np.where(asks, np.where(first >= 0, 12, 17), 165)
    tokens = rng.lognormal(np.log(np.where(pasted, 500, median)), np.where(asks, 1.1, 0.8))
    count = np.where(alone, 1, np.clip(tokens, 2, 1_800).astype(np.int64))
    return _Messages(conversation, position, language, _texts(rng, conversation, asks, language, first, count))


def _texts(
    rng: np.random.Generator, conversation: Ints, asks: Flags, language: Ints, first: Ints, count: Ints
) -> pa.StringArray:
    """The text of every message, ``count`` tokens long."""
    words = vocabulary()
    stops = np.cumsum(count)
    starts, total = stops - count, int(stops[-1])
    spoken = np.repeat(language.astype(np.int8), count)
    word = words.ranks[spoken, rng.integers(0, 65_536, total, np.uint16)]
    own = np.flatnonzero(rng.random(total, np.float32) < 0.12)  # of its conversation's own words, mostly the first few
    topic = np.repeat(conversation, count)[own] * 7_919 + rng.geometric(0.12, len(own)) * 104_729
    word[own] = 150 + topic % (words.words[spoken[own]] - 150)
    form = np.zeros(total, np.int8)
    chance = rng.integers(0, 256, total, np.uint8)
    form[chance < 20] = _COMMA
    form[chance > 236] = _STOP
    form[chance > 253] = _PARAGRAPH
    form[np.flatnonzero((form[:-1] == _STOP) | (form[:-1] == _PARAGRAPH)) + 1] = _START
    form[starts] = np.where(rng.random(len(starts)) < 0.75, _START, _PLAIN)
    form[stops - 1] = np.where(asks & (rng.random(len(stops)) < 0.4), _ASK, _END)
    token = words.first[spoken] + form * words.words[spoken] + word
    token[starts[first >= 0]] = first[first >= 0]
    long = np.flatnonzero(count > 12)
    with_address = long[rng.random(len(long)) < 0.015]
    token[starts[with_address] + 5] = rng.choice(words.addresses, len(with_address))
    fence, unfence, lines = words.code[0], words.code[1], words.code[2:]
    for at in rng.permutation(np.flatnonzero(~asks & (count > 60)))[: len(asks) // 20]:  # one answer in ten holds code
        start, stop = starts[at] + 20, min(starts[at] + 20 + count[at] // 8, stops[at] - 3)
        token[start], token[stop] = fence, unfence
        token[start + 1 : stop] = rng.choice(lines, stop - start - 1)
    text = words.tokens.take(pa.array(token))
    offsets = np.frombuffer(text.buffers()[1], np.int64)[np.concatenate([[0], stops])].astype(np.int32)
    return pa.StringArray.from_buffers(len(count), pa.py_buffer(offsets), text.buffers()[2])


def _hex(rng: np.random.Generator, n: int, digits: int) -> pa.StringArray:
    """Random hexadecimal texts."""
    text = rng.bytes(n * digits // 2).hex().encode()
    return pa.StringArray.from_buffers(n, pa.py_buffer(np.arange(n + 1, dtype=np.int32) * digits), pa.py_buffer(text))


def _pick(values: Sequence[Any], indices: Ints, kind: pa.DataType | None = None) -> pa.Array:
    return pa.array(values, kind or pa.string()).take(pa.array(indices))


@cache
def _people() -> tuple[pa.StringArray, pa.StringArray, pa.StructArray]:
    """A stock of users: hashed address, country, header."""
    rng = np.random.default_rng(11)
    n = 200_000
    agents = [
        f"Mozilla/5.0 ({system}) AppleWebKit/537.36 Chrome/{v}.0.0.0 Safari/537.36"
        for system in (
            "Windows NT 10.0; Win64; x64",
            "Macintosh; Intel Mac OS X 10_15_7",
            "X11; Linux x86_64",
            "iPhone; CPU iPhone OS 16_5 like Mac OS X",
        )
        for v in range(108, 124)
    ]
    tongues = [
        "en-US,en;q=0.9",
        "zh-CN,zh;q=0.9,en;q=0.8",
        "ru-RU,ru;q=0.9",
        "fr-FR,fr;q=0.9",
        "es-ES,es;q=0.9",
        "en-GB",
    ]
    header = pa.StructArray.from_arrays(
        [_pick(tongues, rng.integers(0, len(tongues), n)), _pick(agents, rng.integers(0, len(agents), n))],
        fields=list(_HEADER),
    )
    countries = (
        "United States|China|Russia|United Kingdom|France|Germany|India|Brazil|Hong Kong|Taiwan|Egypt|Canada".split("|")
    )
    return _hex(rng, n, 64), _pick(countries, rng.integers(0, len(countries), n)), header


def _users(rng: np.random.Generator, group: int, rows: int) -> Ints:
    """Who had each conversation: mostly users of this part of the log, some who come back for ever."""
    local = 20_000 + (group * 2_500 + (2_500 * rng.random(rows) ** 2).astype(np.int64)) % 180_000
    return np.where(rng.random(rows) < 0.25, (20_000 * rng.random(rows) ** 3).astype(np.int64), local)


def _drawn(seed: int, group: int, rows: int) -> pa.Table:
    """``rows`` conversations as they come, without duplicates."""
    rng = np.random.default_rng([seed, group + 1])
    messages = _messages(rng, rows)
    n = len(messages.position)
    asks = messages.position % 2 == 0
    people, countries, headers = _people()
    users = _users(rng, group, rows)
    theirs = pa.array(users[messages.conversation], mask=~asks)
    sizes = np.bincount(messages.conversation, minlength=rows)
    offsets = pa.array(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32))
    began = 1_681_000_000 + np.sort(rng.integers(0, 86_400 * 20, rows)) + group * 100_000
    times = (began[messages.conversation] + messages.position * 45) * 1_000_000
    flags = np.exp(rng.normal(-9, 2.5, (n, 11)))
    toxic = flags[:, 0] > 0.5
    redacted = rng.random(n) < 0.004
    nothing = pa.nulls(n, pa.string())
    conversation = pa.StructArray.from_arrays(
        [
            messages.texts,
            countries.take(theirs),
            people.take(theirs),
            headers.take(theirs),
            _pick(NAMES, messages.language),
            pa.array(redacted),
            _pick(["user", "assistant"], messages.position % 2),
            nothing,
            pa.array(times, pa.int64(), mask=asks).cast(pa.timestamp("us")).cast(_TIME),
            pa.array(toxic),
            pa.array(group * 1_000_000 + np.arange(n) - messages.position % 2),
        ],
        fields=list(_MESSAGE),
    )
    languages = messages.language[np.cumsum(sizes) - sizes]
    columns = [
        _hex(rng, rows, 32),
        _pick(
            ["gpt-3.5-turbo-0301", "gpt-3.5-turbo-0613", "gpt-4-0314", "gpt-4-1106-preview"], rng.integers(0, 4, rows)
        ),
        pa.array((began + sizes * 45) * 1_000_000, pa.timestamp("us")).cast(_TIME),
        pa.ListArray.from_arrays(offsets, conversation),
        pa.array((sizes + 1) // 2),
        _pick(NAMES, languages),
        pa.ListArray.from_arrays(offsets, _moderation(flags)),
        pa.ListArray.from_arrays(offsets, _detoxify(rng, n)),
        _any(toxic, sizes),
        _any(redacted, sizes),
        pa.nulls(rows, pa.string()),
        countries.take(pa.array(users)),
        people.take(pa.array(users)),
        headers.take(pa.array(users)),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _any(flags: Flags, sizes: Ints) -> pa.BooleanArray:
    return pa.array(np.logical_or.reduceat(flags, np.cumsum(sizes) - sizes))


def _moderation(scores: npt.NDArray[np.float64]) -> pa.StructArray:
    """OpenAI's moderation: eleven scores under eighteen names, as in the data set."""
    distinct = [name.replace("/", "_").replace("-", "_") for name in _CATEGORIES]
    column = {name: i for i, name in enumerate(dict.fromkeys(distinct))}
    values = [np.minimum(scores[:, column[name] % 11], 0.999) for name in distinct]
    flagged = [value > 0.5 for value in values]
    categories, numbers, _ = _MODERATION
    return pa.StructArray.from_arrays(
        [
            pa.StructArray.from_arrays([pa.array(f) for f in flagged], fields=list(categories.type)),
            pa.StructArray.from_arrays([pa.array(v) for v in values], fields=list(numbers.type)),
            pa.array(np.logical_or.reduce(flagged)),
        ],
        fields=list(_MODERATION),
    )


def _detoxify(rng: np.random.Generator, n: int) -> pa.StructArray:
    scores = np.minimum(np.exp(rng.normal(-8, 1.5, (7, n))), 0.999).astype(np.float32)
    return pa.StructArray.from_arrays(
        [pa.array(s) for s in scores], fields=list(SCHEMA.field("detoxify_moderation").type.value_type)
    )


@cache
def _popular(seed: int) -> pa.Table:
    return _drawn(seed, -1, POPULAR)


def row_group(seed: int, group: int) -> pa.Table:
    """Row group ``group``: 1 % copies of its own rows, 1 % of conversations that turn up everywhere."""
    rng = np.random.default_rng([seed, group + 1, 1])
    drawn = _drawn(seed, group, GROUP_ROWS)
    hundredth = GROUP_ROWS // 100
    order = np.arange(GROUP_ROWS)
    order[rng.integers(0, GROUP_ROWS, hundredth)] = rng.integers(0, GROUP_ROWS, hundredth)
    order[rng.integers(0, GROUP_ROWS, hundredth)] = GROUP_ROWS + rng.integers(0, POPULAR, hundredth)
    mixed = pa.concat_tables([drawn, _popular(seed)]).combine_chunks().take(pa.array(order))
    user = SCHEMA.get_field_index("hashed_ip")
    return mixed.set_column(user, SCHEMA.field(user), drawn["hashed_ip"])  # a copy is another user's


def write_parquet(folder: Path, target: int, seed: int = 0, compression: str = "zstd") -> list[Path]:
    """Fill a folder with Parquet files of six row groups each, until they hold ``target`` bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    held = group = 0
    while held < target:
        paths.append(folder / f"train-{len(paths):05d}.parquet")
        with pq.ParquetWriter(paths[-1], SCHEMA, compression=compression, use_dictionary=_dictionary()) as writer:
            for _ in range(GROUPS_PER_FILE):
                writer.write_table(row_group(seed, group), row_group_size=GROUP_ROWS)
                group += 1
        held += paths[-1].stat().st_size
    return paths


def _dictionary() -> list[str]:
    """Parquet paths of the columns whose values repeat."""
    message = ["country", "hashed_ip", "language", "role", "header.accept-language", "header.user-agent"]
    return [
        *(f"conversation.list.element.{name}" for name in message),
        *("model", "language", "country", "hashed_ip", "header.accept-language", "header.user-agent"),
    ]


def write_jsonl_zst(path: Path, target: int, seed: int = 0) -> None:
    """Write one compressed JSONL file of about ``target`` stored bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream, zstandard.ZstdCompressor(level=3, threads=-1).stream_writer(stream) as writer:
        group = 0
        while stream.tell() < target:
            lines = io.BytesIO()
            pl.DataFrame(row_group(seed, group)).write_ndjson(lines)
            writer.write(lines.getbuffer())
            writer.flush()
            group += 1


def size(text: str) -> int:
    """Bytes of ``200MB`` or ``1GB``."""
    units = {"KB": 10**3, "MB": 10**6, "GB": 10**9}
    number = text.upper().rstrip("KMGB")
    return int(float(number) * units.get(text.upper()[len(number) :], 1))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path, help="a folder for Parquet files, or a file NAME.jsonl.zst")
    parser.add_argument(
        "--bytes", type=size, default=size("1GB"), help="stored bytes to write at least, e.g. 200MB (default 1GB)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compression", choices=["zstd", "snappy"], default="zstd", help="of the Parquet files")
    given = parser.parse_args()
    if given.target.name.endswith(".jsonl.zst"):
        write_jsonl_zst(given.target, given.bytes, given.seed)
    else:
        write_parquet(given.target, given.bytes, given.seed, given.compression)


if __name__ == "__main__":
    main()
