"""Documents: texts of a corpus with where they come from, as they are read, kept and rejected."""

from typing import Final

import pyarrow as pa

SCHEMA_VERSION: Final = 1

DOCUMENT: Final = pa.schema(
    [
        pa.field("source_row", pa.int64(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("document_id", pa.large_string()),
        pa.field("url", pa.large_string()),
        pa.field("title", pa.large_string()),
        pa.field("date", pa.timestamp("us", tz="UTC")),
        pa.field("origin", pa.large_string()),
        pa.field("metadata", pa.large_string()),
    ]
)
"""One document a row, as the readers give it.

``source_row`` is the row index in a Parquet file; in lines, text and WARC streams the byte offset, once decompressed, at which the
line, paragraph or record starts; in WARC files with one gzip member a record the offset of the member in the stored file.
``document_id`` is the source's own id, ``origin`` the part of a mixed corpus that it names (C4, Wikipedia), ``metadata`` a JSON
object of the source's other scalar columns.
"""

ROW_OUTCOMES: Final = {
    "invalid_json": "the line is not a JSON object, or holds half a surrogate pair",
    "invalid_utf8": "the bytes are not UTF-8",
    "line_too_long": "the line is longer than max_line_bytes",
    "schema_mismatch": "a field has another type than its column",
    "text_missing": "the row has no text, or null",
    "text_not_string": "the text is a number, a list or another thing that is no text",
    "empty_document": "the text is empty or white space",
    "document_too_long": "the document is longer than max_document_bytes, or the page than can be parsed",
    "broken_record": "the WARC record's header, length or compression is damaged, or bytes stand between records",
    "digest_mismatch": "the WARC record is not the one that its block digest was taken of",
    "no_payload": "the WARC record refers to another one for its payload",
    "http_error": "the response's status is not 200",
    "payload_broken": "the response's HTTP headers, chunks or compression are damaged or of an unknown kind",
    "not_text": "the payload is neither HTML nor plain text",
    "extraction_failed": "the page cannot be parsed, or its markup is made to cost a parser too much",
}
"""Why a source row became no document."""

IDENTITY_FIELDS: Final = [
    pa.field("record_id", pa.string(), nullable=False),
    pa.field("document_id", pa.string()),
    pa.field("url", pa.string()),
]

ORIGIN_FIELDS: Final = [
    pa.field("source_uri", pa.string(), nullable=False),
    pa.field("source_row", pa.int64(), nullable=False),
    pa.field("journal_keys", pa.list_(pa.string())),
]

SCORES: Final[dict[str, pa.DataType]] = {
    "language_probability": pa.float32(),
    "gopher_word_count": pa.int64(),
    "gopher_mean_word_length": pa.float32(),
    "gopher_hash_ratio": pa.float32(),
    "gopher_ellipsis_ratio": pa.float32(),
    "gopher_bullet_lines": pa.float32(),
    "gopher_ellipsis_lines": pa.float32(),
    "gopher_alphabetic_words": pa.float32(),
    "gopher_stop_words": pa.int64(),
    "c4_sentences": pa.int64(),
    "c4_lorem_ipsum": pa.int64(),
    "c4_curly_brackets": pa.int64(),
    "c4_bad_words": pa.int64(),
    "c4_open_lines": pa.int64(),
    "c4_short_lines": pa.int64(),
    "c4_long_word_lines": pa.int64(),
    "c4_javascript_lines": pa.int64(),
    "c4_policy_lines": pa.int64(),
    "fineweb_punctuated_lines": pa.float32(),
    "fineweb_duplicate_line_characters": pa.float32(),
    "fineweb_short_lines": pa.float32(),
    "fineweb_newline_ratio": pa.float32(),
    "duplicate_line_fraction": pa.float32(),
    "duplicate_paragraph_fraction": pa.float32(),
    "duplicate_line_character_fraction": pa.float32(),
    "duplicate_paragraph_character_fraction": pa.float32(),
    **{f"top_{n}_gram_character_fraction": pa.float32() for n in range(2, 5)},
    **{f"duplicate_{n}_gram_character_fraction": pa.float32() for n in range(5, 11)},
    "classifier_score": pa.float32(),
    "contamination": pa.float32(),
    "contaminated_words": pa.int64(),
}
"""Numbers that stages compute, named as the rules of ``transforms.text`` are; null where a stage did not measure them."""

SCORE_FIELDS: Final[list[pa.Field]] = [
    pa.field("language", pa.string()),
    *(pa.field(name, kind) for name, kind in SCORES.items()),
    pa.field("contaminated_by", pa.string()),
    pa.field("contaminated_span", pa.struct([("start", pa.int64()), ("stop", pa.int64())])),
    pa.field("personal_data", pa.list_(pa.struct([("kind", pa.string()), ("count", pa.int32())]))),
]
"""What the stages measured, in kept and rejected documents alike."""

KEPT: Final = pa.schema(
    [
        *IDENTITY_FIELDS,
        pa.field("text", pa.string(), nullable=False),
        pa.field("title", pa.string()),
        pa.field("date", pa.timestamp("us", tz="UTC")),
        pa.field("origin", pa.string()),
        pa.field("metadata", pa.string()),
        *SCORE_FIELDS,
        pa.field("subset", pa.string(), nullable=False),
        *ORIGIN_FIELDS,
    ],
    metadata={"sluice.schema": "document", "sluice.schema_version": str(SCHEMA_VERSION)},
)
"""A kept document. ``record_id`` is a hash of ``source_uri``, ``source_row`` and 0, its ordinal in its row."""

REJECTED: Final = pa.schema(
    [
        *IDENTITY_FIELDS,
        pa.field("unit", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("failed", pa.list_(pa.string())),
        pa.field("detail", pa.string()),
        pa.field("duplicate_of", pa.string()),
        pa.field("similarity", pa.float32()),
        *SCORE_FIELDS,
        pa.field("excerpt", pa.string()),
        *ORIGIN_FIELDS,
    ],
    metadata={"sluice.schema": "document_rejected", "sluice.schema_version": str(SCHEMA_VERSION)},
)
"""A source row (``unit`` = row) or a document (``unit`` = instance) that was not kept.

``reason`` is the rule that decided, ``failed`` every rule of that stage that failed, ``detail`` says more. ``excerpt`` is the start of
the text with personal data replaced, absent where personal data was a reason; ids and URLs are redacted too.
"""
