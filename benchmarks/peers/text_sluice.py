"""Sluice's own filters: ``gopher`` is Gopher's quality rules, ``all`` those of Gopher, C4 and FineWeb with Gopher's against repetition."""

from __future__ import annotations

import sys

import polars as pl
import text_contest as contest

from transforms.text import filtering, gopher, quality, repetition

GOPHER = tuple(gopher.RULES.values())
ALL = (*quality.DEFAULT, *repetition.DEFAULT)


def keep_gopher(paths: list[str]) -> contest.Kept:
    """The ids that pass Gopher's eight quality rules."""
    frame = pl.read_parquet(paths, columns=["id", "text"])
    return {"gopher": _ids(quality.select(frame, GOPHER))}


def keep_all(paths: list[str]) -> contest.Kept:
    """The ids that pass all rules."""
    frame = pl.read_parquet(paths, columns=["id", "text"])
    scores = (quality.measure(frame["text"]), repetition.measure(frame["text"]))
    return {"all": _ids(filtering.select(frame, pl.concat(scores, how="horizontal"), ALL))}


def _ids(judged: pl.DataFrame) -> list[str]:
    return judged.filter(pl.col("reason").is_null())["id"].to_list()


if __name__ == "__main__":
    contest.compete({"gopher": keep_gopher, "all": keep_all}[sys.argv.pop(1)])
