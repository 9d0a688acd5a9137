"""What a config's judge says of messages whose levels are known."""

from __future__ import annotations

import time
from pathlib import Path

import polars as pl

from pipelines.desk import Desk
from pipelines.feedback import FeedbackConfig, Parts, judge_stage
from schemas.provenance import SourceFile, Split
from transforms.chunks import ModelStage

_NOWHERE = Split(SourceFile("gold", "gold", 0, "jsonl", "gold", 0, "", "", "gold"), 0, 0, None, 0)


def judged(config: FeedbackConfig, gold: pl.DataFrame, work: Path, retry_failed: bool = False) -> list[int | None]:
    """The judge's level for each row of ``gold`` (query, response, feedback), None where it failed.

    A model's answers are kept in the journal of ``work``: to evaluate once more sends nothing.

    Raises:
        AskingError: the model could not be asked, or the budget is spent.
    """
    stage = judge_stage(config.judge, Parts.load(config))
    frame = gold.with_columns(pl.lit(None, pl.String).alias(n) for n in ("query", "response") if n not in gold.columns)
    frame = frame.with_columns(history=pl.lit(None, pl.Null))
    if not isinstance(stage, ModelStage):
        return stage.run(frame, _NOWHERE)["level"].to_list()
    desk = Desk(
        work / "journal", work / "leases" / str(time.time_ns()), **config.budget.model_dump(), retry_failed=retry_failed
    )
    replies = desk.client(stage).ask(stage.ask(frame, _NOWHERE)).result()
    return stage.settle(frame, _NOWHERE, replies)["level"].to_list()
