"""WildFB's own columns from ours, for its training code (train_rm of the published repository).

``text`` follows the layout that code expects: the task, the five criteria, the history as ``role: content``
lines, the query, the response. Its wording speaks of 1-5 while labels are 1-4, as in WildFB.
"""

from __future__ import annotations

from importlib.resources import files

import polars as pl
import pyarrow as pa

from schemas.feedback import WILDFB
from transforms.feedback.filters import length
from transforms.io.tables import shaped

NO_HISTORY = "No previous context."


def export(kept: pl.DataFrame, history_budget: int | None = None) -> pa.Table:
    """Kept rows in the schema ``WILDFB``.

    With ``history_budget``, the history in ``text`` is cut from the left, whole messages at a time, to so many
    words (Chinese: characters). The query and the response are never cut; training code that truncates
    from the right would lose the response that is scored.
    """
    template = files("configs").joinpath("feedback", "wildfb_text.txt").read_text("utf-8")
    before, between, after, end = (part.strip("\n") for part in template.split("\n----\n"))
    text = pl.concat_str(
        pl.lit(before + "\n"), _history(kept, history_budget), pl.lit(f"\n\n{between}\n"), "query",
        pl.lit(f"\n\n{after}\n"), "response", pl.lit(f"\n\n{end}"),
    )  # fmt: skip
    return shaped(
        kept.select(
            id="instance_id",
            history="history",
            text=text,
            messages=pl.concat_list(_message("user", "query"), _message("assistant", "response")),
            user_feedback=_message("user", "feedback"),
            label=pl.col("label").cast(pl.Int64),
        ),
        WILDFB,
    )


def _message(role: str, column: str) -> pl.Expr:
    return pl.struct(pl.lit(role).alias("role"), pl.col(column).alias("content"))


def _history(kept: pl.DataFrame, budget: int | None) -> pl.Series:
    messages = kept.with_row_index("row").select("row", "history").explode("history").unnest("history")
    messages = messages.filter(pl.col("role").is_not_null())
    if budget is not None:
        messages = messages.filter(length(pl.col("content")).cum_sum(reverse=True).over("row") <= budget)
    lines = messages.group_by("row", maintain_order=True).agg(
        text=pl.format("{}: {}", "role", pl.col("content").fill_null("")).str.join("\n")
    )
    joined = kept.with_row_index("row").select("row").join(lines, on="row", how="left", maintain_order="left")
    return joined["text"].fill_null(NO_HISTORY)
