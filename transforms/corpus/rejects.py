"""Rejected documents as they are published: reason and scores, never the whole text."""

from __future__ import annotations

from typing import Final

import polars as pl
import pyarrow as pa

from schemas.document import REJECTED
from transforms.io.tables import shaped
from transforms.text import personal_data

EXCERPT_CHARACTERS: Final = 160
_SEEN_CHARACTERS: Final = 2 * EXCERPT_CHARACTERS
"""What redaction sees, so that an address across the excerpt's end is not cut in two and missed."""

_SENSITIVE: Final = ("personal_data", "toxic")
_QUOTED: Final = ("detail", "document_id", "url")
"""Columns beside the text that may hold personal data of the row, or the text itself."""

_QUOTED_CHARACTERS: Final = 2_000


def rejected(frame: pl.DataFrame, stage: str) -> pa.Table:
    """Rows with a ``reason`` in the schema ``REJECTED``.

    The excerpt is the start of the text with personal data replaced, and is left out altogether where personal data or
    toxicity was among the reasons. Detail, id and URL are redacted too.
    """
    if "text" in frame.columns:
        start = personal_data.redact(frame["text"].str.slice(0, _SEEN_CHARACTERS)).str.slice(0, EXCERPT_CHARACTERS)
        failed = pl.col("failed").fill_null([]) if "failed" in frame.columns else pl.lit([], pl.List(pl.String))
        reasons = failed.list.concat(pl.col("reason"))
        sensitive = reasons.list.set_intersection(list(_SENSITIVE)).list.len() > 0
        frame = frame.with_columns(excerpt=pl.when(~sensitive).then(start.alias("excerpt")))
    quoted = [
        personal_data.redact(frame[name].cast(pl.String).str.slice(0, _QUOTED_CHARACTERS))
        for name in _QUOTED
        if name in frame.columns
    ]
    return shaped(frame.with_columns(*quoted, stage=pl.lit(stage)), REJECTED)
