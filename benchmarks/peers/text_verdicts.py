"""datatrove's verdict on each document by each single rule and each filter as a whole, with whitespace words and with its own (spaCy).

Reads a JSON list of texts from standard input, writes ``{tokenizer: {"verdicts": {rule: [kept, ...]}, "words": n, "symbols": n}}``.
"""

from __future__ import annotations

import functools
import json
import math
import sys
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.utils.text import PUNCTUATION_SET
from datatrove.utils.typeshelper import Languages
from datatrove.utils.word_tokenizers import WordTokenizer, load_word_tokenizer
from text_datatrove import Whitespace

GOPHER_OFF: dict[str, Any] = {
    "min_doc_words": None,
    "max_doc_words": None,
    "min_avg_word_length": None,
    "max_avg_word_length": None,
    "max_symbol_word_ratio": None,
    "max_bullet_lines_ratio": None,
    "max_ellipsis_lines_ratio": None,
    "max_non_alpha_words_ratio": None,
    "min_stop_words": None,
}
GOPHER: dict[str, dict[str, Any]] = {
    "gopher_word_count": {"min_doc_words": 50, "max_doc_words": 100_000},
    "gopher_mean_word_length": {"min_avg_word_length": 3, "max_avg_word_length": 10},
    "gopher_hash_ratio gopher_ellipsis_ratio": {"max_symbol_word_ratio": 0.1},
    "gopher_bullet_lines": {"max_bullet_lines_ratio": 0.9},
    "gopher_ellipsis_lines": {"max_ellipsis_lines_ratio": 0.3},
    "gopher_alphabetic_words": {"max_non_alpha_words_ratio": 0.8},
    "gopher_stop_words": {"min_stop_words": 2},
}
C4_OFF: dict[str, Any] = {
    "remove_citations": False,
    "filter_no_terminal_punct": False,
    "min_num_sentences": -1,
    "min_words_per_line": -1,
    "max_word_length": -1,
    "filter_lorem_ipsum": False,
    "filter_javascript": False,
    "filter_curly_bracket": False,
    "filter_policy": False,
}
C4: dict[str, dict[str, Any]] = {
    "c4_sentences": {"filter_lorem_ipsum": False, "filter_curly_bracket": False},
    "c4_lorem_ipsum": {**C4_OFF, "filter_lorem_ipsum": True},
    "c4_curly_brackets": {**C4_OFF, "filter_curly_bracket": True},
}
FINEWEB_OFF: dict[str, Any] = {
    "line_punct_thr": -1,
    "short_line_thr": math.inf,
    "char_duplicates_ratio": math.inf,
    "new_line_ratio": math.inf,
}
FINEWEB: dict[str, dict[str, Any]] = {
    "fineweb_punctuated_lines": {"line_punct_thr": 0.12},
    "fineweb_duplicate_line_characters": {"char_duplicates_ratio": 0.01},
    "fineweb_short_lines": {"short_line_thr": 0.67},
    "fineweb_newline_ratio": {"new_line_ratio": 0.3},
}
REPETITION_OFF: dict[str, Any] = {
    "dup_line_frac": None,
    "dup_para_frac": None,
    "dup_line_char_frac": None,
    "dup_para_char_frac": None,
    "top_n_grams": (),
    "dup_n_grams": (),
}
TOP = {2: 0.2, 3: 0.18, 4: 0.16}
DUPLICATE = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
REPETITION: dict[str, dict[str, Any]] = {
    "duplicate_line_fraction": {"dup_line_frac": 0.3},
    "duplicate_paragraph_fraction": {"dup_para_frac": 0.3},
    "duplicate_line_character_fraction": {"dup_line_char_frac": 0.2},
    "duplicate_paragraph_character_fraction": {"dup_para_char_frac": 0.2},
    **{f"top_{n}_gram_character_fraction": {"top_n_grams": ((n, bound),)} for n, bound in TOP.items()},
    **{f"duplicate_{n}_gram_character_fraction": {"dup_n_grams": ((n, bound),)} for n, bound in DUPLICATE.items()},
}


class Remembering(WordTokenizer):
    """A tokenizer that reads no text twice."""

    def __init__(self, tokenizer: WordTokenizer) -> None:
        super().__init__()
        self.words = functools.cache(tokenizer.word_tokenize)
        self.sentences = functools.cache(tokenizer.sent_tokenize)
        self.spans = functools.cache(tokenizer.span_tokenize)

    def word_tokenize(self, text: str) -> list[str]:
        return self.words(text)

    def sent_tokenize(self, text: str) -> list[str]:
        return self.sentences(text)

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        return self.spans(text)


def verdicts(texts: list[str], tokenizer: WordTokenizer) -> dict[str, list[bool]]:
    """Whether each rule, and each filter as it comes, keeps each text."""
    steps = {
        "gopher": GopherQualityFilter(language=tokenizer),
        "c4": C4QualityFilter(language=tokenizer),
        "fineweb": FineWebQualityFilter(language=tokenizer),
        "repetition": GopherRepetitionFilter(language=tokenizer),
        **{name: GopherQualityFilter(**GOPHER_OFF | given, language=tokenizer) for name, given in GOPHER.items()},
        **{name: C4QualityFilter(**given, language=tokenizer) for name, given in C4.items()},
        **{name: FineWebQualityFilter(**FINEWEB_OFF | given, language=tokenizer) for name, given in FINEWEB.items()},
        **{
            name: GopherRepetitionFilter(**REPETITION_OFF | given, language=tokenizer)
            for name, given in REPETITION.items()
        },
    }
    return {
        name: [step.filter(Document(text=text, id=str(row))) is True for row, text in enumerate(texts)]
        for name, step in steps.items()
    }


def main() -> None:
    """Answer."""
    texts = json.load(sys.stdin)
    answers = {}
    for name, tokenizer in {"whitespace": Whitespace(), "shipped": load_word_tokenizer(Languages.english)}.items():
        remembering = Remembering(tokenizer)
        tokens = [word for text in texts for word in remembering.word_tokenize(text)]
        answers[name] = {
            "verdicts": verdicts(texts, remembering),
            "words": len(tokens),
            "symbols": sum(all(character in PUNCTUATION_SET for character in word) for word in tokens),
        }
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
