"""Applying stages to chunks, and how chunks travel between processes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from apache_beam import coders
from hypothesis import given
from hypothesis import strategies as st

from schemas.conversation import CONVERSATION
from schemas.provenance import Chunk, Split, StageCount
from tests.builders import some_split, talk, thread
from transforms import chunks
from transforms.chunks import Stage, StageError
from transforms.coders import ChunkCoder, TableCoder
from transforms.feedback import rejects, turns

# --- How tables travel

struct = pa.struct([("role", pa.large_string()), ("n", pa.int32())])
TYPES: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.string(): st.text(max_size=8),
    pa.large_string(): st.text(max_size=8),
    pa.binary(): st.binary(max_size=8),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float64(): st.floats(allow_nan=False),
    pa.bool_(): st.booleans(),
    pa.null(): st.none(),
    pa.timestamp("us", tz="UTC"): st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    pa.list_(pa.string()): st.lists(st.none() | st.text(max_size=4), max_size=3),
    struct: st.fixed_dictionaries({"role": st.none() | st.text(max_size=4), "n": st.integers(0, 9)}),
    pa.large_list(struct): st.lists(st.fixed_dictionaries({"role": st.text(max_size=4), "n": st.none()}), max_size=3),
    pa.dictionary(pa.int32(), pa.string()): st.sampled_from(["a", "b", "c"]),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """A table of any types, whole or sliced, of one or several chunks, with or without metadata."""
    kinds = draw(st.lists(st.sampled_from(list(TYPES)), min_size=1, max_size=4))
    rows = draw(st.integers(0, 8))
    columns = [pa.array(draw(st.lists(st.none() | TYPES[k], min_size=rows, max_size=rows)), k) for k in kinds]
    schema = pa.schema([(f"c{at}", kind) for at, kind in enumerate(kinds)], draw(st.sampled_from([None, {"k": "v"}])))
    table = pa.Table.from_arrays(columns, schema=schema)
    start, stop = sorted((draw(st.integers(0, rows)), draw(st.integers(0, rows))))
    sliced = table.slice(start, stop - start)
    return draw(st.sampled_from([table, sliced, pa.concat_tables([sliced, table, sliced])]))


@given(tables())
def test_a_table_arrives_as_it_left(table: pa.Table) -> None:
    coder = TableCoder()
    found = coder.decode(coder.encode(table))
    assert found.schema.equals(table.schema, check_metadata=True)
    assert found.to_pylist() == table.to_pylist()
    found.validate(full=True)
    assert coder.encode(table) == coder.encode(table)


counts = st.builds(
    StageCount,
    st.text(max_size=5),
    st.sampled_from(["row", "instance"]),
    st.integers(0, 9),
    st.integers(0, 9),
    st.dictionaries(st.text(max_size=5), st.integers(0, 9), max_size=3),
    st.floats(0, 1e6),
)


@given(tables(), tables(), st.lists(counts, max_size=3), st.none() | st.text(max_size=5), st.none() | st.integers(0, 9))
def test_a_chunk_arrives_as_it_left(
    kept: pa.Table, rejected: pa.Table, stages: list[StageCount], digest: str | None, stop: int | None
) -> None:
    split = Split(some_split("ä/漢.jsonl").file, 3, 1, stop, 7)
    chunk = Chunk(split, kept, rejected, tuple(stages), digest)
    found = ChunkCoder().decode(ChunkCoder().encode(chunk))
    assert (found.split, found.stages, found.source_sha256) == (split, tuple(stages), digest)
    assert found.kept.to_pylist() == kept.to_pylist() and found.rejected.to_pylist() == rejected.to_pylist()


@given(tables(), tables())
def test_the_size_of_a_chunk_is_told_without_encoding_it(kept: pa.Table, rejected: pa.Table) -> None:
    assert TableCoder().estimate_size(kept) == kept.nbytes
    assert ChunkCoder().estimate_size(Chunk(some_split(), kept, rejected)) == kept.nbytes + rejected.nbytes


def test_a_slice_travels_without_the_table_it_was_cut_from() -> None:
    threads = [thread(row, talk("q" * 500, "r" * 500, "f" * 500)) for row in range(2000)]
    table = pa.Table.from_pylist(threads, schema=CONVERSATION)
    assert len(TableCoder().encode(table)) > 3_000_000
    assert len(TableCoder().encode(table.slice(1000, 2))) < 10_000


def test_beam_uses_these_coders() -> None:
    assert isinstance(coders.registry.get_coder(pa.Table), TableCoder)
    assert isinstance(coders.registry.get_coder(Chunk), ChunkCoder)


# --- Applying a stage


def instances(rows: int) -> Chunk:
    """A chunk after its turns were extracted."""
    threads = [thread(row, talk("q", "r", f"feedback {row}")) for row in range(rows)]
    read = StageCount("read", "row", rows, rows, {}, 0.0)
    table = pa.Table.from_pylist(threads, schema=CONVERSATION)
    whole = Chunk(some_split(), table, rejects.rejected(pl.DataFrame({"reason": []}), "read")[:0], (read,), "digest")
    return chunks.apply(EXTRACT, whole, rejects.rejected)


EXTRACT = Stage("extract", 1, lambda frame, split: turns.extract(frame, split, 20), turns_rows_into_instances=True)


def stage(run: Callable[[pl.DataFrame], pl.DataFrame]) -> Stage:
    return Stage("mine", 1, lambda frame, split: run(frame))


@given(st.lists(st.sampled_from([None, None, "duplicate", "neutral"]), max_size=12))
def test_rows_with_a_reason_are_rejected_and_the_ledger_closes(reasons: list[str | None]) -> None:
    before = instances(len(reasons))
    mark = stage(lambda frame: frame.with_columns(reason=pl.Series(reasons, dtype=pl.String), detail=pl.lit("why")))
    after = chunks.apply(mark, before, rejects.rejected)
    kept, rejected = after.kept.to_pylist(), after.rejected.to_pylist()
    assert [row["source_row"] for row in kept] == [at for at, reason in enumerate(reasons) if reason is None]
    assert [(row["source_row"], row["reason"]) for row in rejected] == [(at, r) for at, r in enumerate(reasons) if r]
    assert all((row["stage"], row["unit"], row["detail"]) == ("mine", "instance", "why") for row in rejected)
    assert not {"reason", "detail", "unit"} & set(after.kept.column_names)
    count = after.stages[-1]
    assert (count.stage, count.unit, count.rows_in, count.rows_out) == ("mine", "instance", len(reasons), len(kept))
    assert count.rejected == {reason: reasons.count(reason) for reason in sorted({r for r in reasons if r})}
    assert after.stages[:-1] == before.stages and after.source_sha256 == "digest"


def test_a_stage_that_gives_no_reasons_keeps_every_row_and_what_it_adds() -> None:
    after = chunks.apply(stage(lambda frame: frame.with_columns(score=pl.lit(0.5))), instances(3), rejects.rejected)
    assert after.kept["score"].to_pylist() == [0.5] * 3
    assert after.rejected.num_rows == 0


@pytest.mark.parametrize(
    "run",
    [
        lambda frame: frame.head(2),
        lambda frame: pl.concat([frame, frame]),
        lambda frame: frame.clear(),
    ],
)
def test_a_stage_that_loses_or_invents_rows_is_an_error_that_names_it(
    run: Callable[[pl.DataFrame], pl.DataFrame],
) -> None:
    with pytest.raises(StageError, match="stage mine: 3 instances in"):
        chunks.apply(stage(run), instances(3), rejects.rejected)


def test_turning_rows_into_instances_is_entered_in_both_ledgers() -> None:
    threads = [thread(0, talk("a", "b", "c", "d", "e")), thread(1, talk("a", "b")), thread(2, talk("a", " ", "c"))]
    table = pa.Table.from_pylist(threads, schema=CONVERSATION)
    empty = rejects.rejected(pl.DataFrame({"reason": []}), "read")[:0]
    after = chunks.apply(EXTRACT, Chunk(some_split(), table, empty), rejects.rejected)
    rows, found = after.stages
    assert (rows.unit, rows.rows_in, rows.rows_out, rows.rejected) == ("row", 3, 2, {"no_feedback": 1})
    assert (found.unit, found.rows_in, found.rows_out, found.rejected) == ("instance", 3, 2, {"empty_message": 1})
    assert [(row["unit"], row["reason"]) for row in after.rejected.to_pylist()] == [
        ("instance", "empty_message"),
        ("row", "no_feedback"),
    ]


def test_an_empty_chunk_passes_every_stage() -> None:
    after = chunks.apply(stage(lambda frame: frame), instances(0), rejects.rejected)
    assert after.kept.num_rows == after.rejected.num_rows == 0
