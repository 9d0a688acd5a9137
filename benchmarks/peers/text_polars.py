"""Gopher's quality rules as Polars expressions."""

from __future__ import annotations

import polars as pl
import text_contest as contest


def keep(paths: list[str]) -> contest.Kept:
    """The ids that pass all eight rules."""
    text = pl.col("text")
    counted = pl.scan_parquet(paths).select(
        "id",
        words=text.str.count_matches(contest.WORD),
        letters=text.str.len_chars() - text.str.count_matches(contest.SPACE),
        hashes=text.str.count_matches(contest.HASH, literal=True),
        ellipses=text.str.count_matches(contest.ELLIPSIS),
        lines=text.str.count_matches(contest.LINE),
        bullets=text.str.count_matches(contest.BULLET_LINE),
        trailing=text.str.count_matches(contest.ELLIPSIS_LINE),
        alphabetic=text.str.count_matches(contest.ALPHABETIC_WORD),
        stop_words=pl.sum_horizontal(text.str.contains(word) for word in contest.STOP_WORDS),
    )
    words, lines = pl.col("words").clip(1), pl.col("lines").clip(1)
    kept = counted.filter(
        pl.col("words").is_between(50, 100_000),
        (pl.col("letters") / words).is_between(3, 10),
        pl.col("hashes") / words <= 0.1,
        pl.col("ellipses") / words <= 0.1,
        pl.col("bullets") / lines <= 0.9,
        pl.col("trailing") / lines <= 0.3,
        pl.col("alphabetic") / words >= 0.8,
        pl.col("stop_words") >= 2,
    )
    return {"gopher": kept.select("id").collect().to_series().to_list()}


if __name__ == "__main__":
    contest.compete(keep)
