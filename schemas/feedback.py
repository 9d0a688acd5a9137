"""Feedback instances: a response, the user's next message, and what that message says of the response.

Follows WildReward/WildFB (arXiv 2602.08829). An instance is a user message that directly follows an
assistant message; it scores the response above it.
"""

from typing import Final

import pyarrow as pa

SCHEMA_VERSION: Final = 1

LEVELS: Final = {
    1: "explicit rejection",
    2: "error correction",
    3: "neutral or ambiguous",
    4: "positive engagement",
    5: "explicit satisfaction",
}
"""The judge's five levels (paper, section 2)."""

PAPER_LEVEL_SHARES: Final = {1: 0.03, 2: 0.14, 3: 0.76, 4: 0.06, 5: 0.01}
"""Shares of the levels in WildFB before refinement (paper, pipeline figure)."""

LABELS: Final = {1: 1, 2: 2, 4: 3, 5: 4}
"""From the judge's level to the published ordinal label; level 3 has none."""

ROW_OUTCOMES: Final = {
    "invalid_json": "the line is not a JSON object",
    "invalid_utf8": "the bytes are not UTF-8",
    "line_too_long": "the line is longer than max_line_bytes",
    "schema_mismatch": "a field has another type than the format says, or the reader raised an error on the row",
    "no_messages": "the row holds no messages",
    "unknown_role": "a message has a role that the format does not know",
    "no_feedback": "no user message follows an assistant message",
}
"""Why a source row became no instance."""

INSTANCE_OUTCOMES: Final = {
    "duplicate": "the same exchange, from its first message to the feedback, stands earlier in the sources",
    "no_query": "no user message directly precedes the response",
    "empty_message": "the query, the response or the feedback is blank",
    "unsupported_language": "the conversation or the feedback is in a language without judging rules",
    "judge_failed": "the judge gave no valid answer",
    "mining_failed": "the message is neutral, and a message that could have mined it could not be compared",
    "refusal_failed": "the response refuses, and the model gave no valid verdict on it",
    "neutral": "the feedback takes no side and mining found none",
    "too_many_turns": "the history is longer than filters.max_history",
    "query_too_short": "the query has fewer words (Chinese: characters) than filters.min_query_length",
    "response_too_short": "the response has fewer words (Chinese: characters) than filters.min_response_length",
    "external_context": "the query asks for an image, a file, a search or another thing outside the text",
    "contains_url": "the query, the response or the feedback holds a URL",
    "personal_data": "the query, the response or the feedback holds an e-mail address, phone number or the like",
    "toxic": "the source flags the exchange as toxic",
    "redacted": "the source redacted personal data in the exchange",
    "response_rules": "the response fails rules of filters.response_rules; detail names them with their scores",
    "stage_failed": "the user's own stage rejected the row without a reason of its own",
}
"""Why an instance was not kept. The first failing rule wins, in the order of the configured stages."""

MESSAGE: Final = pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())])

JUDGE: Final = pa.struct(
    [
        pa.field("engine", pa.string()),
        pa.field("model", pa.string()),
        pa.field("prompt_sha256", pa.string()),
        pa.field("level", pa.int8()),
        pa.field("rule", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("raw", pa.string()),
        pa.field("parse_status", pa.string()),
    ]
)

MINING: Final = pa.struct(
    [
        pa.field("applied", pa.bool_()),
        pa.field("source_turn", pa.int32()),
        pa.field("similarity", pa.float32()),
        pa.field("encoder", pa.string()),
    ]
)

REFUSAL: Final = pa.struct(
    [
        pa.field("candidate", pa.bool_()),
        pa.field("verdict", pa.string()),
        pa.field("rule", pa.string()),
        pa.field("raw", pa.string()),
    ]
)

_IDENTITY: Final = [
    pa.field("record_id", pa.string(), nullable=False),
    pa.field("instance_id", pa.string()),
    pa.field("conversation_id", pa.string()),
    pa.field("turn_index", pa.int32()),
    pa.field("n_turns", pa.int32()),
]

_ORIGIN: Final = [
    pa.field("source_uri", pa.string(), nullable=False),
    pa.field("source_row", pa.int64(), nullable=False),
    pa.field("journal_keys", pa.list_(pa.string())),
]

_SCORES: Final = [
    pa.field("level", pa.int8()),
    pa.field("judge", JUDGE),
    pa.field("mining", MINING),
    pa.field("refusal", REFUSAL),
    pa.field("history_turns", pa.int32()),
    pa.field("query_length", pa.int32()),
    pa.field("response_length", pa.int32()),
    pa.field("flags", pa.struct([pa.field(n, pa.bool_()) for n in ("toxic", "redacted", "moderation_flagged")])),
]

KEPT: Final = pa.schema(
    [
        *_IDENTITY,
        pa.field("user_id", pa.string()),
        pa.field("model", pa.string()),
        pa.field("language", pa.string()),
        pa.field("feedback_language", pa.string()),
        pa.field("timestamp", pa.timestamp("us", tz="UTC")),
        pa.field("history", pa.list_(MESSAGE)),
        pa.field("query", pa.string()),
        pa.field("response", pa.string()),
        pa.field("feedback", pa.string()),
        pa.field("label", pa.int8(), nullable=False),
        *_SCORES,
        pa.field("subset", pa.string(), nullable=False),
        *_ORIGIN,
    ],
    metadata={"sluice.schema": "feedback", "sluice.schema_version": str(SCHEMA_VERSION)},
)
"""A kept instance.

``level`` is the judge's 1-5 after mining and refusal validation, ``judge.level`` the judge's own;
``label`` is 1-4. ``user_id`` is a keyed hash of the source's user, ``record_id`` a hash of
``source_uri``, ``source_row`` and the instance's ordinal in its row.
"""

REJECTED: Final = pa.schema(
    [
        *_IDENTITY,
        pa.field("unit", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("failed", pa.list_(pa.string())),
        pa.field("detail", pa.string()),
        pa.field("duplicate_of", pa.string()),
        pa.field("language", pa.string()),
        pa.field("feedback_language", pa.string()),
        *_SCORES,
        pa.field("personal_data", pa.list_(pa.string())),
        pa.field("excerpt", pa.string()),
        *_ORIGIN,
    ],
    metadata={"sluice.schema": "feedback_rejected", "sluice.schema_version": str(SCHEMA_VERSION)},
)
"""A source row (``unit`` = row) or an instance (``unit`` = instance) that was not kept.

``reason`` is the rule that decided, ``failed`` every rule of that stage that failed, ``detail`` says more
(the parser's message, the matched word). Scores are those computed until then. ``excerpt`` is the start of
the feedback message, absent where personal data or toxicity was the reason.
"""

COLUMNS: Final = {
    "record_id": "hash of `source_uri`, `source_row` and the instance's ordinal in that row; names the row for ever",
    "instance_id": "conversation and turn, as WildFB writes them",
    "conversation_id": "the conversation's id in the source",
    "turn_index": "turn of the scored response, from 0",
    "n_turns": "turns in the whole conversation",
    "user_id": "keyed hash of the source's user; groups one user's rows, names nobody",
    "model": "the model that wrote the response",
    "language": "language of the conversation, ISO 639-1",
    "feedback_language": "language of the feedback message, ISO 639-1",
    "timestamp": "time of the conversation, UTC",
    "history": "the messages before the query",
    "query": "the user's message that the response answers",
    "response": "the assistant's message that is scored",
    "feedback": "the user's next message: what the label rests on",
    "label": "the published label, 1 (worst) to 4 (best)",
    "level": "the level, 1 to 5, after mining and refusal validation",
    "judge": "what the judge said of the feedback, and by which rule or model",
    "mining": "whether a later turn lent this one its level (implicit feedback)",
    "refusal": "whether the response looks like a refusal, and the verdict on it",
    "history_turns": "turns before the query",
    "query_length": "words of the query (Chinese: characters)",
    "response_length": "words of the response (Chinese: characters)",
    "flags": "what the source itself says of the exchange",
    "subset": "train or test",
    "source_uri": "source file, relative to the source root",
    "source_row": "row in that file (Parquet: index; lines: byte offset in the decompressed stream)",
    "journal_keys": "keys of the stored model answers that decided the row",
    "unit": "what was rejected: a source `row` or an `instance`",
    "stage": "the stage that rejected it",
    "reason": "the rule that decided",
    "failed": "every rule of that stage that failed",
    "detail": "more on the reason: the parser's message, the matched word",
    "duplicate_of": "`record_id` of the first occurrence",
    "personal_data": "kinds of personal data found",
    "excerpt": "start of the feedback message; absent where personal data or toxicity was the reason",
}
"""What each column of a kept or rejected row holds."""

WILDFB: Final = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("history", pa.list_(MESSAGE)),
        pa.field("text", pa.string()),
        pa.field("messages", pa.list_(MESSAGE)),
        pa.field("user_feedback", MESSAGE),
        pa.field("label", pa.int64()),
    ]
)
"""WildFB's own columns (dataset card and train_rm of the published code), for its training scripts."""
