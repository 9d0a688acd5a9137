"""Rejected rows as they are published: reason and scores, never the payload."""

from __future__ import annotations

from typing import Final

import polars as pl
import pyarrow as pa

from schemas.feedback import REJECTED
from transforms.io.tables import shaped
from transforms.text import personal_data

EXCERPT_CHARACTERS: Final = 160
_SEEN_CHARACTERS: Final = 2 * EXCERPT_CHARACTERS
"""What redaction sees, so that an address across the excerpt's end is not cut in two and missed."""
_SENSITIVE: Final = ("personal_data", "toxic", "redacted")


def rejected(frame: pl.DataFrame, stage: str) -> pa.Table:
    """Rows with a ``reason`` in the schema ``REJECTED``.

    The excerpt is the start of the feedback with personal data replaced, and is left out altogether where
    personal data or toxicity was among the reasons. The detail, which may quote the row, is redacted too.
    """
    if "feedback" in frame.columns:
        start = personal_data.redact(frame["feedback"].str.slice(0, _SEEN_CHARACTERS)).str.slice(0, EXCERPT_CHARACTERS)
        failed = pl.col("failed").fill_null([]) if "failed" in frame.columns else pl.lit([], pl.List(pl.String))
        reasons = failed.list.concat(pl.col("reason"))
        sensitive = reasons.list.set_intersection(list(_SENSITIVE)).list.len() > 0
        frame = frame.with_columns(excerpt=pl.when(~sensitive).then(start.alias("excerpt")))
    if "detail" in frame.columns:
        frame = frame.with_columns(personal_data.redact(frame["detail"].cast(pl.String)).alias("detail"))
    return shaped(frame.with_columns(stage=pl.lit(stage)), REJECTED)
