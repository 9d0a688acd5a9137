"""One conversation thread, whatever chat format it was read from.

A *thread* is a straight list of messages. Most formats hold one thread a source row; a message tree
is read as one thread per leaf, in depth-first order, and ``seen`` says how many leading messages an
earlier thread of the same row has already shown, so that a message is looked at once.
"""

from typing import Final

import pyarrow as pa

ROLES: Final = ("system", "user", "assistant", "tool")
"""Roles a message may have after reading; every reader maps its own names onto these."""

MESSAGE: Final = pa.struct(
    [
        pa.field("role", pa.large_string()),
        pa.field("content", pa.large_string()),
        pa.field("language", pa.large_string()),
        pa.field("timestamp", pa.timestamp("us", tz="UTC")),
        pa.field("toxic", pa.bool_()),
        pa.field("redacted", pa.bool_()),
        pa.field("moderation_flagged", pa.bool_()),
    ]
)
"""One message. ``language`` is an ISO 639-1 code where the source names one; flags are null where it is silent."""

CONVERSATION: Final = pa.schema(
    [
        pa.field("source_row", pa.int64(), nullable=False),
        pa.field("seen", pa.int32(), nullable=False),
        pa.field("conversation_id", pa.large_string()),
        pa.field("user", pa.large_string()),
        pa.field("model", pa.large_string()),
        pa.field("language", pa.large_string()),
        pa.field("timestamp", pa.timestamp("us", tz="UTC")),
        pa.field("toxic", pa.bool_()),
        pa.field("redacted", pa.bool_()),
        pa.field("moderation_flagged", pa.bool_()),
        pa.field("messages", pa.large_list(MESSAGE)),
    ]
)
"""One thread a row.

``source_row`` is the row index in a Parquet file, or the byte offset of the line in the decompressed
stream. ``user`` is the source's own user key (WildChat: ``hashed_ip``) and never leaves the work area
unsalted; it is null where a row has no single user, as in a message tree.
"""
