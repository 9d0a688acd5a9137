"""The published label, the train/test subset and the published user key."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import polars as pl

from schemas.feedback import LABELS
from schemas.provenance import Split
from transforms.feedback.turns import owner
from transforms.io import keys
from transforms.io.records import key64, keyed_hash

VERSION: Final = 1

SubsetBy = Literal["user", "conversation", "row"]


def label(
    frame: pl.DataFrame, split: Split, by: SubsetBy, test_fraction: float, seed: int, user_key: str, lists: Path
) -> pl.DataFrame:
    """Add ``label`` (1-4), ``subset`` (train or test) and ``user_id``.

    A subset is drawn by hash for whole groups: a user with all conversations, and all users who share a
    conversation with them (``transforms.io.keys``). ``test_fraction`` is a share of groups. By ``row`` is
    the published code's way, which puts turns of one conversation on both sides.
    """
    frame = frame.with_columns(group=key64(pl.col("record_id") if by == "row" else owner(by)))
    if by != "row":
        groups = keys.groups(lists, split)
        frame = frame.with_columns(pl.col("group").replace(groups["owner"], groups["group"]))
    draw = key64(pl.format("{}:{}", pl.lit(seed), "group")).cast(pl.Float64) / 2.0**64
    return frame.with_columns(
        label=pl.col("level").replace_strict(LABELS, return_dtype=pl.Int8),
        subset=pl.when(draw < test_fraction).then(pl.lit("test")).otherwise(pl.lit("train")),
        user_id=keyed_hash(pl.col("user"), user_key),
    ).drop("group")
