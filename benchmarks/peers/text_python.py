"""What Sluice's text filters compute, in plain Python: all rules of Gopher, C4 and FineWeb, one document after another."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence

import pyarrow.parquet as pq
import regex
import text_contest as contest

STOP_WORDS = frozenset("the be to of and that have with".split())
BULLETS = tuple("•‣◦⁃▪*-")
PHRASES = ("lorem ipsum", "javascript")
POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")

CLOSING = r"[\p{Pe}\p{Pf}\p{Quotation_Mark}]"
WIDE = r"[\p{Sentence_Terminal}--[\u0000-\u2fff]]"
SENTENCE = regex.compile(
    rf"(?V1)\p{{Sentence_Terminal}}{CLOSING}*(?=\s)|{WIDE}{CLOSING}*(?=[^\s\p{{Sentence_Terminal}}\p{{Pe}}\p{{Pf}}\p{{Quotation_Mark}}])"
)
PUNCTUATION = frozenset(
    character
    for character in map(chr, range(sys.maxunicode + 1))
    if regex.match(r"[\p{Sentence_Terminal}\p{Quotation_Mark}]", character)
)
CITATION_AT_END = regex.compile(r"\[[0-9]*\]$|\[edit\]$|\[citation needed\]$")
LINES = regex.compile(r"[\r\n]+")
PARAGRAPHS = regex.compile(r"[\r\n]*\n\r*\n[\r\n]*")


def passes_gopher(text: str, words: Sequence[str], lines: Sequence[str]) -> bool:
    """The quality rules of Gopher."""
    count, line_count = max(len(words), 1), max(len(lines), 1)
    scores = (
        50 <= len(words) <= 100_000,
        3 <= sum(map(len, words)) / count <= 10,
        text.count("#") / count <= 0.1,
        (text.count("...") + text.count("…")) / count <= 0.1,
        sum(line.startswith(BULLETS) for line in lines) / line_count <= 0.9,
        sum(line.endswith(("...", "…")) for line in lines) / line_count <= 0.3,
        sum(any(map(str.isalpha, word)) for word in words) / count >= 0.8,
        len(STOP_WORDS.intersection(words)) >= 2,
    )
    return all(scores)


def passes_c4(text: str, lines: Sequence[str]) -> bool:
    """The rules of C4 for pages: its rules for lines decide which lines the sentences are counted in."""
    sentences, lorem, curly = 0, 0, 0
    lowered = text.lower()
    suspect = any(phrase in lowered for phrase in (*PHRASES, *POLICIES))
    for line in lines:
        words = line.split()
        long = any(len(word) > 1_000 for word in words)
        while line.endswith("]") and (shorter := CITATION_AT_END.sub("", line).rstrip()) != line:
            line = shorter
        dropped = long or len(words) < 3 or line[-1:] not in PUNCTUATION or line.endswith("...")
        curly += "{" in line
        if suspect:
            low = line.lower()
            lorem += PHRASES[0] in low
            dropped |= PHRASES[1] in low or any(policy in low for policy in POLICIES)
        if not dropped:
            end = 0
            for found in SENTENCE.finditer(line):
                sentences += 1
                end = found.end()
            sentences += bool(line[end:].strip())
    return sentences >= 5 and lorem == 0 and curly == 0


def passes_fineweb(text: str, words: Sequence[str], lines: Sequence[str]) -> bool:
    """FineWeb's own rules. White space after a line's last mark makes it none."""
    count = max(len(lines), 1)
    _, duplicated = duplicates(lines)
    scores = (
        sum(line[-1:] in PUNCTUATION for line in text.splitlines()) / count > 0.12,
        duplicated / max(sum(map(len, lines)), 1) < 0.1,
        sum(len(line) < 30 for line in lines) / count < 0.67,
        text.count("\n") / max(len(words), 1) <= 0.3,
    )
    return all(scores)


def passes_repetition(text: str, words: Sequence[str]) -> bool:
    """Gopher's rules against repetition."""
    size = max(len(text), 1)
    scores = []
    for pattern in (LINES, PARAGRAPHS):
        pieces = [piece for piece in pattern.split(text.strip("\r\n")) if piece]
        count, characters = duplicates(pieces)
        scores += [count / max(len(pieces), 1) <= 0.3, characters / size <= 0.2]
    for n, bound in {2: 0.20, 3: 0.18, 4: 0.16}.items():
        grams = Counter(zip(*(words[start:] for start in range(n)), strict=False)).most_common(1)
        scores += [(sum(map(len, gram)) + n - 1) * times / size <= bound for gram, times in grams]
    for n, bound in {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}.items():
        scores.append(walked(words, n) / size <= bound)
    return all(scores)


def duplicates(pieces: Sequence[str]) -> tuple[int, int]:
    """How many pieces equal one before, and their characters."""
    seen: set[str] = set()
    count = characters = 0
    for piece in pieces:
        if piece in seen:
            count += 1
            characters += len(piece)
        seen.add(piece)
    return count, characters


def walked(words: Sequence[str], n: int) -> int:
    """The characters of the n-grams that equal one before, none counted twice."""
    seen: set[str] = set()
    characters = at = 0
    while at + n <= len(words):
        gram = " ".join(words[at : at + n])
        if gram in seen:
            characters += len(gram) - n + 1
            at += n
        else:
            seen.add(gram)
            at += 1
    return characters


def keep(paths: list[str]) -> contest.Kept:
    """The ids that pass all rules; every rule is computed on every document."""
    kept = []
    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches(columns=["id", "text"]):
            for name, text in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                words, lines = text.split(), [line for line in map(str.strip, text.splitlines()) if line]
                passed = (
                    passes_gopher(text, words, lines),
                    passes_c4(text, lines),
                    passes_fineweb(text, words, lines),
                    passes_repetition(text, words),
                )
                if all(passed):
                    kept.append(name)
    return {"all": kept}


if __name__ == "__main__":
    contest.compete(keep)
