"""Rejected rows as they are published: reason and scores, never the payload."""

from __future__ import annotations

from typing import Final

import polars as pl
import pyarrow as pa

from schemas.feedback import REJECTED
from transforms.io.tables import shaped
from transforms.text import personal_data

EXCERPT_CHARACTERS: Final = 160
_SENSITIVE: Final = ("personal_data", "toxic", "redacted")


def rejected(frame: pl.DataFrame, stage: str) -> pa.Table:
    """Rows with a ``reason`` in the schema ``REJECTED``.

    The excerpt is the start of the feedback with personal data replaced, and is left out altogether where
    personal data or toxicity was among the reasons.
    """
    if "feedback" in frame.columns:
        start = frame["feedback"].str.slice(0, EXCERPT_CHARACTERS)
        frame = frame.with_columns(
            excerpt=pl.when(~pl.col("reason").is_in(_SENSITIVE)).then(personal_data.redact(start).alias("excerpt"))
        )
    return shaped(frame.with_columns(stage=pl.lit(stage)), REJECTED)
