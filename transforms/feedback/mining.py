"""Implicit feedback: a neutral message shortly before a positive one on the same topic.

A user who praises the answer to a follow-up on the same topic did not mind the answer before it
(WildFB, S5). The neutral instance takes a positive level; who gave it, and how similar the two were,
is kept.
"""

from __future__ import annotations

from typing import Final, Literal

import polars as pl

from schemas.provenance import Split
from transforms.models import encoders
from transforms.models.encoders import EncoderName

VERSION: Final = 1

_NEUTRAL, _ENGAGED, _SATISFIED = 3, 4, 5


def mine(
    frame: pl.DataFrame,
    split: Split,
    encoder: EncoderName,
    threshold: float,
    window: int,
    label: Literal["positive_engagement", "copy"],
    compare: Literal["feedback", "query"],
    window_by: Literal["turn", "position"],
) -> pl.DataFrame:
    """Raise neutral instances that have a similar positive one at most ``window`` turns later.

    The nearest positive instance decides, whatever the order of matches; ``label`` copy gives its own
    level, positive_engagement level 4 (the paper's figure). Windows count turns of the conversation, or
    by ``position`` the instances left in it (the published code). Adds ``mining`` (struct ``MINING``), whose
    ``similarity`` is that of the nearest positive candidate also where it stays below the threshold.
    """
    placed = frame.with_row_index("row").with_columns(
        place=pl.col("turn_index") if window_by == "turn" else pl.int_range(pl.len(), dtype=pl.Int32).over("thread")
    )
    pairs = _candidates(placed, window, compare)
    similarity = encoders.similarity(encoder, pairs["left"].to_list(), pairs["right"].to_list())
    pairs = pairs.with_columns(similarity=pl.Series(similarity, dtype=pl.Float32))
    nearest = pairs.sort("row", "distance").group_by("row", maintain_order=True)
    best = nearest.agg(
        hit=(pl.col("similarity") >= threshold).any(),
        similarity=pl.coalesce(_first_hit("similarity", threshold), pl.col("similarity").first()),
        source_turn=_first_hit("turn", threshold),
        positive=_first_hit("level", threshold),
    )
    joined = placed.join(best, on="row", how="left", maintain_order="left")
    applied = pl.col("hit").fill_null(False)
    mined = pl.lit(_ENGAGED, pl.Int8) if label == "positive_engagement" else pl.col("positive").cast(pl.Int8)
    return joined.with_columns(
        level=pl.when(applied).then(mined).otherwise("level"),
        mining=pl.struct(
            applied=applied,
            source_turn=pl.col("source_turn").cast(pl.Int32),
            similarity=pl.col("similarity"),
            encoder=pl.when(pl.col("similarity").is_not_null()).then(pl.lit(encoders.identity(encoder))),
        ),
    ).drop("row", "place", "hit", "similarity", "source_turn", "positive")


def _first_hit(column: str, threshold: float) -> pl.Expr:
    return pl.col(column).filter(pl.col("similarity") >= threshold).first()


def _candidates(placed: pl.DataFrame, window: int, compare: str) -> pl.DataFrame:
    """Pairs of a neutral and a later positive instance of one thread, with the texts to compare."""
    neutral = placed.filter(pl.col("level") == _NEUTRAL).select("row", "thread", "place", left=compare)
    positive = placed.filter(pl.col("level").is_in([_ENGAGED, _SATISFIED])).select(
        "thread", "level", place="place", turn="turn_index", right=compare
    )
    distances = pl.DataFrame({"distance": range(1, window + 1)}, schema={"distance": pl.Int32})
    reach = neutral.join(distances, how="cross", maintain_order="left_right").with_columns(
        place=pl.col("place") + pl.col("distance")
    )
    return reach.join(positive, on=["thread", "place"], how="inner", maintain_order="left")
