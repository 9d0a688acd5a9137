"""Which language an exchange is in, and the rejection of those that cannot be judged.

The conversation's language is the one its source states, else the query's, else the response's. The
feedback's own is detected, and inherited from the conversation where it is too short to tell ("ok").
"""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

from schemas.provenance import Split
from transforms.text import language

VERSION = 1


def require(frame: pl.DataFrame, split: Split, supported: Collection[str]) -> pl.DataFrame:
    """Add ``language`` and ``feedback_language`` (ISO 639-1) and reject what is in no ``supported`` one."""
    frame = frame.with_columns(_conversation_language(frame).alias("language"))
    feedback = language.detect(frame["feedback"]).alias("feedback_language")
    frame = frame.with_columns(pl.coalesce(feedback, "language").alias("feedback_language"))
    spoken = pl.concat_str(pl.col("language", "feedback_language").fill_null("undetermined"), separator=" / ")
    unsupported = ~pl.all_horizontal(pl.col("language", "feedback_language").is_in(list(supported)).fill_null(False))
    return frame.with_columns(
        reason=pl.when(unsupported).then(pl.lit("unsupported_language")), detail=pl.when(unsupported).then(spoken)
    )


def _conversation_language(frame: pl.DataFrame) -> pl.Series:
    """Detected only where the source states none: detection is the dearer half of this stage."""
    unstated = frame["conversation_language"].is_null()
    if not unstated.any():
        return frame["conversation_language"]
    silent = frame.filter(unstated)
    query, response = (language.detect(silent[name]) for name in ("query", "response"))
    detected = silent.select(pl.coalesce(query, response, "query_language")).to_series()
    rows = unstated.arg_true()
    return frame["conversation_language"].scatter(rows, detected)
