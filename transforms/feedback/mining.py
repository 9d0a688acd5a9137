"""Implicit feedback: a neutral message shortly before a positive one on the same topic.

A user who praises the answer to a follow-up on the same topic did not mind the answer before it
(WildFB, S5). The neutral instance takes a positive level; who gave it, and how similar the two were,
is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from schemas.answers import Request
from schemas.provenance import Split
from transforms.models import encoders
from transforms.models.asking import Reply

VERSION: Final = 1

_NEUTRAL, _ENGAGED, _SATISFIED = 3, 4, 5

Label = Literal["positive_engagement", "copy"]
Compared = Literal["feedback", "query"]
WindowBy = Literal["turn", "position"]


def mine(
    frame: pl.DataFrame,
    split: Split,
    encoder: str,
    threshold: float,
    window: int,
    label: Label,
    compare: Compared,
    window_by: WindowBy,
) -> pl.DataFrame:
    """Raise neutral instances that have a similar positive one at most ``window`` turns later.

    The nearest positive instance decides, whatever the order of matches; ``label`` copy gives its own
    level, positive_engagement level 4 (the paper's figure). Windows count turns of the conversation, or
    by ``position`` the instances left in it (the published code). Adds ``mining`` (struct ``MINING``), whose
    ``similarity`` is that of the nearest positive candidate also where it stays below the threshold.
    """
    placed = _placed(frame, window_by)
    pairs = _candidates(placed, window, compare)
    similarity = encoders.similarity(encoder, pairs["left"].to_list(), pairs["right"].to_list())
    return _raised(placed, pairs, similarity, threshold, label, encoders.identity(encoder))


def ask(
    frame: pl.DataFrame, split: Split, template: str, window: int, compare: Compared, window_by: WindowBy
) -> Iterator[Request]:
    """One embedding request for each text that is to be compared."""
    for text in _texts(_candidates(_placed(frame, window_by), window, compare)):
        yield Request((("user", text),), template, kind="embedding")


def settle(
    frame: pl.DataFrame,
    split: Split,
    replies: Sequence[Reply],
    encoder: str,
    threshold: float,
    window: int,
    label: Label,
    compare: Compared,
    window_by: WindowBy,
) -> pl.DataFrame:
    """What ``mine`` adds, from an endpoint's embeddings.

    A neutral instance that stays neutral for want of an embedding is rejected as ``mining_failed``.
    """
    placed = _placed(frame, window_by)
    pairs = _candidates(placed, window, compare)
    vectors = {
        text: np.frombuffer(reply.value, "<f4") if reply.usable else None
        for text, reply in zip(_texts(pairs), replies, strict=True)
    }
    texts = pairs.select(_head("left"), _head("right"))
    similarity = [_cosine(vectors.get(left), vectors.get(right)) for left, right in texts.iter_rows()]
    mined = _raised(placed, pairs, np.array(similarity, dtype=np.float32), threshold, label, encoder)
    unknown = pairs.filter(pl.Series(np.isnan(similarity), dtype=pl.Boolean))["row"].unique()
    failed = placed["row"].is_in(unknown.implode()) & (mined["level"] == _NEUTRAL)
    return mined.with_columns(reason=pl.select(pl.when(failed).then(pl.lit("mining_failed"))).to_series())


def _texts(pairs: pl.DataFrame) -> list[str]:
    """Every text that needs an embedding, once, in order of appearance; blank ones are similar to nothing."""
    both = pl.concat([pairs["left"], pairs["right"].alias("left")]).to_frame()
    heads = both.select(_head("left")).to_series()
    return heads.filter(heads != "").unique(maintain_order=True).to_list()


def _head(column: str) -> pl.Expr:
    return pl.col(column).str.slice(0, encoders.MAX_CHARACTERS).str.strip_chars()


def _cosine(left: npt.NDArray[np.float32] | None, right: npt.NDArray[np.float32] | None) -> float:
    """Rounded to 4 decimals; NaN where a vector is missing or has another length."""
    if left is None or right is None or left.shape != right.shape:
        return float("nan")
    one, other = left.astype(np.float64), right.astype(np.float64)
    norm = float(np.linalg.norm(one) * np.linalg.norm(other))
    return round(float(one @ other) / norm, 4) if norm else float("nan")


def _placed(frame: pl.DataFrame, window_by: WindowBy) -> pl.DataFrame:
    """The frame with ``row``, and ``place``: what windows count."""
    return frame.with_row_index("row").with_columns(
        place=pl.col("turn_index") if window_by == "turn" else pl.int_range(pl.len(), dtype=pl.Int32).over("thread")
    )


def _raised(
    placed: pl.DataFrame,
    pairs: pl.DataFrame,
    similarity: npt.NDArray[np.float32],
    threshold: float,
    label: Label,
    encoder: str,
) -> pl.DataFrame:
    """The frame with levels raised where a pair is similar, and ``mining``."""
    pairs = pairs.with_columns(similarity=pl.Series(similarity, dtype=pl.Float32).fill_nan(None))
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
            encoder=pl.when(pl.col("similarity").is_not_null()).then(pl.lit(encoder)),
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
