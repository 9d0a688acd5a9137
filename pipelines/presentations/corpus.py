"""How datasets of the corpus pipeline are told of."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from schemas import document
from schemas.presentation import Presentation, Samples, Tally, chosen
from transforms.text import classification, quality, repetition
from transforms.text.filtering import Rule

_RULES: Final[dict[str, Rule]] = {
    **quality.RULES,
    **repetition.RULES,
    classification.RULE.name: classification.RULE,
}

_OUTCOMES: Final = {
    "language_unknown": "the text has too little in it to tell its language",
    "language_unwanted": "the text is in a language that language.keep does not name",
    "language_uncertain": "the text is in its language with less than language.minimum_probability",
    "no_clean_lines": "every line is one that C4 drops",
    **{name: f"out of bounds: {rule.description}" for name, rule in _RULES.items()},
    "duplicate": "an equal document stays in its place",
    "near_duplicate": "a document with at least duplicates.threshold of the same shingles stays in its place",
    "contaminated": "the text holds more of a benchmark than contamination.maximum",
    "personal_data": "the text holds personal data or secrets",
    "stage_failed": "the user's own stage rejected the document without a reason of its own",
}
"""Why a document was not kept."""

_COLUMNS: Final = {
    "record_id": "hash of `source_uri`, `source_row` and the document's ordinal in that row; names the row for ever",
    "document_id": "the document's id in the source",
    "url": "the document's address, where the source tells it",
    "date": "the document's date, UTC",
    "title": "the document's title, where the source tells it",
    "origin": "the part of a mixed corpus that the source names, such as C4 or Wikipedia",
    "text": "the document; personal data replaced by placeholders such as `<EMAIL>` where the settings ask for it",
    "metadata": "the source's other columns of single values, as a JSON object",
    "subset": "train or test",
    "language": "language of the text, as the model's labels name it",
    "language_probability": "how sure the model is, 0 to 1; 1 where the script alone decides",
    "personal_data": "kinds of personal data and secrets found in the text, and how often",
    "contamination": "largest share of one benchmark text that the document holds, 0 to 1",
    "contaminated_words": "words that it shares with that benchmark text",
    "contaminated_by": "benchmark and row of that text",
    "contaminated_span": "where the longest shared piece stands in the document",
    "duplicate_of": "`record_id` of the document that survives in its place",
    "similarity": "exact Jaccard similarity of shingles to that document; 1 for equal texts",
    "source_uri": "source file, relative to the source root",
    "source_row": "row in that file (Parquet: index; `.warc.gz`: byte offset; all others: byte offset in the decompressed stream)",
    "journal_keys": "keys of the stored model answers that decided the row",
    "unit": "what was rejected: a source `row` or a document, an `instance`",
    "stage": "the stage that rejected it",
    "reason": "the rule that decided",
    "failed": "every rule of that stage that failed",
    "detail": "more on the reason, such as the reader's message",
    "excerpt": "start of the text, personal data replaced; absent where personal data was the reason",
    **{name: f"{rule.description} ({rule.source})" for name, rule in _RULES.items()},
}

_SHARES: Final = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

_SCORES: Final = ("gopher_*", "top_*_gram_*", "duplicate_*_fraction", "c4_*", "fineweb_*")


_KEPT: Final = (
    *(
        "record_id",
        "document_id",
        "url",
        "title",
        "date",
        "origin",
        "text",
        "language",
        "language_probability",
        "classifier_score",
    ),
    *_SCORES,
    *("personal_data", "contamination", "subset", "source_uri", "source_row"),
)

_REJECTED: Final = (
    *("record_id", "unit", "stage", "reason", "failed", "detail", "document_id", "url"),
    *("duplicate_of", "similarity", "contaminated_by", "contaminated_span", "contamination"),
    *("language", "language_probability", "classifier_score"),
    *_SCORES,
    *("personal_data", "excerpt", "source_uri", "source_row"),
)


def _own(schema: pa.Schema, names: tuple[str, ...]) -> tuple[str, ...]:
    """The names that a schema has, patterns where any of its columns fits."""
    return tuple(name for name in names if any(found in schema.names for found in chosen(schema.names, [name])))


PRESENTATION: Final = Presentation(
    pipeline="corpus",
    kept=document.KEPT,
    rejected=document.REJECTED,
    columns={n: _COLUMNS[n] for s in (document.KEPT, document.REJECTED) for n in s.names if n in _COLUMNS},
    families={
        "Gopher": ("gopher_*",),
        "Repetition": ("top_*_gram_*", "duplicate_*_fraction"),
        "C4": ("c4_*",),
        "FineWeb": ("fineweb_*",),
    },
    row_outcomes=document.ROW_OUTCOMES,
    instance_outcomes=_OUTCOMES,
    instance="document",
    used="hold a document",
    summary="""\
Each row is one document. Documents in other languages, of low quality, repetitive, repeated elsewhere, or holding
pieces of benchmarks are left out by the rules that the settings name; every score that a rule looked at is a column.""",
    record="Documents with the scores that they were kept for.",
    samples=Samples(
        kept=_own(document.KEPT, _KEPT),
        rejected=_own(document.REJECTED, _REJECTED),
        texts=("text", "excerpt"),
    ),
    tallies={
        "languages": Tally(("language",), "Languages"),
        "language_probability": Tally(("language_probability",), "How sure the language is", bins=_SHARES),
        "personal_data": Tally(("personal_data",), "Personal data and secrets"),
        "classifier_score": Tally(("classifier_score",), "Quality classifier", bins=_SHARES),
        "gopher_word_count": Tally(
            ("gopher_word_count",), "Words", bins=(0, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 100_000)
        ),
        "gopher_mean_word_length": Tally(
            ("gopher_mean_word_length",), "Mean word length", bins=(0, 3, 4, 5, 6, 7, 8, 9, 10)
        ),
        "gopher_alphabetic_words": Tally(("gopher_alphabetic_words",), "Alphabetic words", bins=_SHARES),
        "top_2_gram_character_fraction": Tally(
            ("top_2_gram_character_fraction",),
            "Characters in the top 2-gram",
            bins=(0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.5),
        ),
        "duplicate_5_gram_character_fraction": Tally(
            ("duplicate_5_gram_character_fraction",),
            "Characters in repeated 5-grams",
            bins=(0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.5),
        ),
        "contamination": Tally(("contamination",), "Share of a benchmark text", bins=_SHARES),
    },
    texts=("text",),
    identifiers=("record_id", "document_id"),
    evidence={
        "identify language": ("language", "language_probability"),
        "quality": ("gopher_*", "c4_*", "fineweb_*"),
        "repetition": ("top_*_gram_*", "duplicate_*_fraction"),
        "classify": ("classifier_score",),
        "drop duplicates": ("duplicate_of", "similarity"),
        "contamination": ("contamination", "contaminated_by", "contaminated_span"),
        "personal data": ("personal_data",),
        "choose subset": ("subset",),
    },
    tasks=("text-generation",),
    tags=("pretraining",),
    keywords=("pretraining corpus", "documents"),
    personal_data=(
        "Personal data in the text is replaced or the document rejected, as the settings say. Detection is not complete: "
        "treat the text as personal data.",
    ),
    limits=(
        "The text is as it was found: it can be wrong, biased or offensive.",
        "Quality rules were made for English web pages; other languages and kinds of text fail them more often.",
        "Contamination is searched for in the benchmark files that the settings name, and in no others.",
    ),
)
