"""From conversations to feedback instances: which message answers which response.

An instance is a user message that directly follows an assistant message; the message is the feedback,
the assistant's is the response, the user message directly above it the query, all before it the history
(WildFB, section 0 of the specification). A conversation of n full turns yields n-1 instances, and one
more where a user message stands unanswered at its end.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from schemas.provenance import Split
from transforms.io.records import key64, other_key64, record_ids

VERSION: Final = 2

FLAGS: Final = ("toxic", "redacted", "moderation_flagged")

KEYS: Final = pa.schema(
    [
        ("source_row", pa.int64()),
        ("ordinal", pa.int32()),
        ("key", pa.uint64()),
        ("check", pa.uint64()),
        ("conversation", pa.uint64()),
        ("owner", pa.uint64()),
    ]
)
"""One instance's place, the 128-bit key of its exchange, and whose it is."""

Integers = npt.NDArray[Any]

DuplicateKey = Literal["content", "conversation_id"]


def extract(threads: pl.DataFrame, split: Split, max_history: int | None) -> pl.DataFrame:
    """Instances, and one line for each source row that has none.

    Rows with a ``reason`` are rejected: ``no_feedback`` (a whole source row, ``unit`` row), ``no_query`` and
    ``empty_message`` (instances). ``history`` holds the messages above the query; it is left null beyond
    ``max_history`` turns (None: never), where no filter would keep it. ``instance_id`` is the conversation's id and
    ``_turn`` with the turn's index, or ``_message`` with the response's place where there is no query. ``turn_index`` counts user messages from 0 up to the
    query, ``n_turns`` all of the thread. Flags are those of the messages up to the feedback where the source
    flags messages, else the conversation's.
    """
    threads = threads.with_row_index("thread")
    messages = _messages(threads)
    query_role, response_role = pl.col("role").shift(2), pl.col("role").shift(1)
    has_query = (pl.col("position") >= 2) & (query_role == "user") & (response_role == "assistant")
    found = messages.select(
        "thread",
        "position",
        "user_turns",
        "language",
        *FLAGS,
        is_feedback=_is_feedback(),
        has_query=has_query,
        query=pl.when(has_query).then(pl.col("content").shift(2)),
        query_language=pl.when(has_query).then(pl.col("language").shift(2)),
        response=pl.col("content").shift(1),
        feedback="content",
        response_time=pl.col("timestamp").shift(1),
    ).filter("is_feedback")
    context = threads.select(
        "thread",
        "source_row",
        "conversation_id",
        "user",
        "model",
        conversation_language="language",
        conversation_time="timestamp",
        **{f"conversation_{flag}": pl.col(flag) for flag in FLAGS},
        n_turns=messages.group_by("thread", maintain_order=True).agg(pl.col("user_turns").max())["user_turns"],
    )
    blank = pl.any_horizontal(
        pl.col(c).fill_null("").str.strip_chars() == "" for c in ("query", "response", "feedback")
    )
    instances = (
        found.join(context, on="thread", how="left", maintain_order="left")
        .with_columns(
            ordinal=pl.int_range(pl.len(), dtype=pl.Int32).over("source_row"),
            history_turns=(pl.col("user_turns") - 2).clip(0).cast(pl.Int32),
            history_messages=(pl.col("position") - 2).clip(0).cast(pl.Int32),
            turn_index=pl.when("has_query").then(pl.col("user_turns") - 2).cast(pl.Int32),
            timestamp=pl.coalesce("response_time", "conversation_time"),
            flags=pl.struct(pl.coalesce(flag, f"conversation_{flag}").alias(flag) for flag in FLAGS),
            reason=pl.when(~pl.col("has_query")).then(pl.lit("no_query")).when(blank).then(pl.lit("empty_message")),
            unit=pl.lit("instance"),
            source_uri=pl.lit(split.file.relative_uri),
        )
        .with_columns(
            record_id=record_ids(pl.lit(split.file.relative_uri), pl.col("source_row"), pl.col("ordinal")),
            instance_id=pl.when("has_query")
            .then(pl.format("{}_turn{}", "conversation_id", "turn_index"))
            .otherwise(pl.format("{}_message{}", "conversation_id", pl.col("position") - 1)),
        )
        .drop(
            "is_feedback",
            "has_query",
            "response_time",
            "user_turns",
            *FLAGS,
            *(f"conversation_{f}" for f in (*FLAGS, "time")),
        )
    )
    instances = instances.with_columns(_history(messages, threads, instances, max_history))
    silent = threads.join(instances, on="source_row", how="anti").unique("source_row", maintain_order=True)
    rows = silent.select(
        "source_row",
        "conversation_id",
        record_id=record_ids(pl.lit(split.file.relative_uri), pl.col("source_row"), pl.lit(None, pl.Int32)),
        source_uri=pl.lit(split.file.relative_uri),
        reason=pl.lit("no_feedback"),
        unit=pl.lit("row"),
    )
    return pl.concat([instances, rows], how="diagonal")


def owner(by: Literal["user", "conversation"]) -> pl.Expr:
    """Whose an exchange is: the user's, where the source names one, else the conversation's."""
    conversation = pl.format("conversation\0{}", "conversation_id")
    return pl.coalesce(pl.format("user\0{}", "user"), conversation) if by == "user" else conversation


def keys(conversations: pa.Table, by: DuplicateKey, owner_is: Literal["user", "conversation"]) -> pa.Table:
    """Identify every instance's exchange, from its first message to the feedback (``KEYS``).

    The key of an exchange is a sum of hashes of (position, role, content), so that the keys of all prefixes
    of a thread come from one running sum. By ``conversation_id``, instances are one when the id and the
    ordinal are.
    """
    threads = pl.DataFrame(conversations).with_row_index("thread")
    messages = _messages(threads)
    placed = pl.format(
        "{}\0{}\0{}\0{}",
        "position",
        "role",
        key64(pl.col("content")).fill_null(0),
        other_key64(pl.col("content")).fill_null(0),
    )
    hashes = messages.select(key64(placed).alias("key"), other_key64(placed).alias("check"))
    starts = np.repeat(_starts(threads), threads["messages"].list.len().to_numpy())
    sums = [_running_sum(hashes[name].to_numpy(), starts) for name in ("key", "check")]
    owners = threads.select(
        "thread",
        "source_row",
        conversation=key64(pl.col("conversation_id")),
        owner=key64(owner(owner_is)),
    )
    found = (
        messages.select("thread", key=pl.Series(sums[0]), check=pl.Series(sums[1]), is_feedback=_is_feedback())
        .filter("is_feedback")
        .join(owners, on="thread", how="left", maintain_order="left")
        .with_columns(ordinal=pl.int_range(pl.len(), dtype=pl.Int32).over("source_row"))
    )
    if by == "conversation_id":
        found = found.with_columns(key="conversation", check=pl.col("ordinal").cast(pl.UInt64))
    return found.select(KEYS.names).to_arrow().cast(KEYS)


def _messages(threads: pl.DataFrame) -> pl.DataFrame:
    """Every message of every thread, with its position and the running facts of its thread."""
    long = threads.select("thread", "seen", "messages").explode("messages").unnest("messages")
    lengths = threads["messages"].list.len().to_numpy()
    starts = np.repeat(_starts(threads), lengths)
    is_user = (long["role"] == "user").fill_null(False).to_numpy()
    running = {
        "position": pl.Series(np.arange(len(long)) - starts, dtype=pl.Int32),
        "user_turns": pl.Series(_running_sum(is_user.astype(np.int64), starts), dtype=pl.Int32),
    }
    for flag in FLAGS:
        raised = _running_sum(long[flag].fill_null(False).to_numpy().astype(np.int64), starts) > 0
        stated = _running_sum(long[flag].is_not_null().to_numpy().astype(np.int64), starts) > 0
        running[flag] = pl.select(pl.when(pl.Series(stated)).then(pl.Series(raised))).to_series()
    return long.with_columns(**running)


def _is_feedback() -> pl.Expr:
    follows = (pl.col("position") >= 1) & (pl.col("role").shift(1) == "assistant")
    return (pl.col("role") == "user") & follows & (pl.col("position") >= pl.col("seen"))


def _starts(threads: pl.DataFrame) -> Integers:
    """Index of each thread's first message among all messages."""
    lengths = threads["messages"].list.len().to_numpy().astype(np.int64)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])[:-1]


def _running_sum(values: Integers, starts: Integers) -> Integers:
    """Cumulative sums that begin anew where a thread does; unsigned ones wrap around."""
    total: Integers = np.cumsum(values, dtype=values.dtype)
    before: Integers = np.concatenate([np.zeros(1, values.dtype), total])
    return np.subtract(total, before[starts])


def _history(
    messages: pl.DataFrame, threads: pl.DataFrame, instances: pl.DataFrame, max_history: int | None
) -> pl.Series:
    """The messages above each query, as views of the conversations' own text."""
    within = (instances["history_turns"] <= (2**31 - 1 if max_history is None else max_history)).to_numpy()
    sizes = np.where(within, instances["history_messages"].to_numpy(), 0).astype(np.int64)
    starts = _starts(threads)[instances["thread"].to_numpy()]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    indices = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], sizes)
    above = messages.select("role", "content")[indices].to_struct().to_arrow(compat_level=pl.CompatLevel.newest())
    history = pl.Series("history", pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), above))
    return pl.select(pl.when(pl.Series(within)).then(history).alias("history")).to_series()
