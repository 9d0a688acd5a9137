"""Gopher's quality rules as Daft expressions."""

from __future__ import annotations

import daft
import text_contest as contest
from daft.functions import length, regexp, regexp_count, when


def keep(paths: list[str]) -> contest.Kept:
    """The ids that pass all eight rules."""
    text = daft.col("text")
    counted = daft.read_parquet(paths).select(
        "id",
        regexp_count(text, contest.WORD).alias("words"),
        (length(text) - regexp_count(text, contest.SPACE)).alias("letters"),
        regexp_count(text, contest.HASH).alias("hashes"),
        regexp_count(text, contest.ELLIPSIS).alias("ellipses"),
        regexp_count(text, contest.LINE).alias("lines"),
        regexp_count(text, contest.BULLET_LINE).alias("bullets"),
        regexp_count(text, contest.ELLIPSIS_LINE).alias("trailing"),
        regexp_count(text, contest.ALPHABETIC_WORD).alias("alphabetic"),
        sum(
            (regexp(text, word).cast(daft.DataType.int64()) for word in contest.STOP_WORDS[1:]),
            regexp(text, contest.STOP_WORDS[0]).cast(daft.DataType.int64()),
        ).alias("stop_words"),
    )
    words, lines = (when(daft.col(name) > 0, daft.col(name)).otherwise(1) for name in ("words", "lines"))
    kept = counted.where(
        daft.col("words").between(50, 100_000)
        & (daft.col("letters") / words).between(3, 10)
        & (daft.col("hashes") / words <= 0.1)
        & (daft.col("ellipses") / words <= 0.1)
        & (daft.col("bullets") / lines <= 0.9)
        & (daft.col("trailing") / lines <= 0.3)
        & (daft.col("alphabetic") / words >= 0.8)
        & (daft.col("stop_words") >= 2)
    )
    return {"gopher": kept.select("id").to_pydict()["id"]}


if __name__ == "__main__":
    contest.compete(keep)
