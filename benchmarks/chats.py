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
from collections.abc import Iterator, Sequence
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
        ("b c d f g h l m n p r s t v w st tr pl gr ch sh th br cl", "a e i o u ea ou ai", "n r s t l d m ng ck st nt ll"),
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

_FLAGS: Final = "harassment hate self-harm sexual violence"
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
        return Phrases(add([text.removesuffix("…") for text in found]), np.array([text.endswith("…") for text in found]))

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
    lines = [_CODE.split("|")[i % 9].format(one, other) for i, (one, other) in enumerate(zip(names, names[1:], strict=False))]
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
    """Different made-up words, short ones first: syllables, or one to three Chinese characters."""
    if not sounds[0]:
        singles = [chr(0x4E00 + i) for i in rng.permutation(6_000)[:2_500]]
        pairs = ["".join(singles[i] for i in rng.integers(0, 900, length)) for length in rng.choice([2, 2, 2, 3], 2 * size)]
        return list(dict.fromkeys([*singles[:1_500], *pairs]))[:size]
    heads, vowels, tails = (np.array(part.split(" ")) for part in sounds)
    syllables = [
        [heads[a] + vowels[b] + (tails[c] if c < len(tails) else "") for a, b, c in zip(*drawn, strict=True)]
        for drawn in ((rng.integers(0, len(heads), 3 * size), rng.integers(0, len(vowels), 3 * size), rng.integers(0, 2 * len(tails), 3 * size)) for _ in range(4))
    ]
    lengths = np.sort(rng.choice([1, 2, 2, 2, 3, 3, 4], 3 * size))
    lengths = lengths[np.argsort(np.arange(3 * size) + rng.normal(0, size / 2, 3 * size))]
    made = ("".join(syllables[k][i] for k in range(length)) for i, length in enumerate(lengths))
    return list(dict.fromkeys(made))[: 2 * size : 2] + list(dict.fromkeys(())) if size < 0 else _spread(made, size)


def _spread(words: Iterator[str], size: int) -> list[str]:
    found: dict[str, None] = {}
    for word in words:
        found[word] = None
        if len(found) == size:
            break
    return list(found)
