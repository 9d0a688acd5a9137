"""datatrove's filters of the same names, in its published order: ``shipped`` with its own tokenizer (spaCy), or ``whitespace`` words.

``whitespace`` also takes a regular expression for sentences, so that nothing of spaCy runs. A document that one filter drops does not come to
the next.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import pyarrow.parquet as pq
import text_contest as contest
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.utils.typeshelper import Languages
from datatrove.utils.word_tokenizers import WordTokenizer


class Whitespace(WordTokenizer):
    """Words between white space; sentences up to their marks."""

    sentence = re.compile(r"[^.!?]+(?:[.!?]+\s*|$)")

    def word_tokenize(self, text: str) -> list[str]:
        return text.split()

    def sent_tokenize(self, text: str) -> list[str]:
        return self.sentence.findall(text)

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in self.sentence.finditer(text)] or [(0, len(text))]


def documents(paths: list[str]) -> Iterator[Document]:
    """The documents of Parquet files."""
    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches(columns=["id", "text"]):
            for name, text in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield Document(text=text, id=name)


def filters(tokenizer: str | WordTokenizer) -> dict[str, BaseFilter]:
    """The four filters, as they come but for their words."""
    return {
        "repetition": GopherRepetitionFilter(language=tokenizer),
        "gopher": GopherQualityFilter(language=tokenizer),
        "c4": C4QualityFilter(language=tokenizer),
        "fineweb": FineWebQualityFilter(language=tokenizer),
    }


def main() -> None:
    """Compete."""
    tokenizer = {"shipped": Languages.english, "whitespace": Whitespace()}[sys.argv.pop(1)]
    steps = filters(tokenizer)

    def keep(paths: list[str]) -> contest.Kept:
        passing = documents(paths)
        for step in steps.values():
            passing = step.run(passing)
        return {"all": [document.id for document in passing]}

    contest.compete(keep)


if __name__ == "__main__":
    main()
