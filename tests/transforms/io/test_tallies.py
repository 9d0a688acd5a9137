"""Tallies: counted as a plain loop counts them, of chunks in memory and of files alike."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.presentation import Tally
from transforms.io.tallies import counted

words = st.none() | st.sampled_from(["en", "zh", "a/b", "", "نص", "\x00"])


@given(st.lists(words), st.lists(words))
def test_values_are_counted_over_all_frames(kept: list[str | None], rejected: list[str | None]) -> None:
    frames = [pl.LazyFrame({"language": values}, schema={"language": pl.String}) for values in (kept, rejected)]
    expected = Counter(value for value in kept + rejected if value is not None)
    assert counted(frames, Tally(("language",))) == dict(sorted(expected.items()))


@given(st.lists(st.tuples(words, st.none() | st.integers(1, 4))))
def test_several_columns_are_counted_together_where_no_value_is_missing(
    rows: list[tuple[str | None, int | None]],
) -> None:
    frame = pl.LazyFrame(rows, schema={"subset": pl.String, "label": pl.Int8}, orient="row")
    expected = Counter(f"{subset}/{label}" for subset, label in rows if None not in (subset, label))
    assert counted([frame], Tally(("subset", "label"))) == expected


@given(st.lists(st.none() | st.lists(words, max_size=3)))
def test_elements_of_lists_are_counted_one_by_one(rows: list[list[str | None] | None]) -> None:
    frame = pl.LazyFrame({"kinds": rows}, schema={"kinds": pl.List(pl.String)})
    assert counted([frame], Tally(("kinds",))) == Counter(v for row in rows if row for v in row if v is not None)


@given(st.lists(st.none() | st.tuples(st.none() | st.integers(0, 5), st.integers(0, 5))))
def test_fields_of_numbers_are_summed(rows: list[tuple[int | None, int] | None]) -> None:
    found = [None if row is None else {"email": row[0], "phone": row[1]} for row in rows]
    frame = pl.LazyFrame({"found": found}, schema={"found": pl.Struct({"email": pl.Int32, "phone": pl.Int32})})
    sums = {name: sum(row[name] or 0 for row in found if row) for name in ("email", "phone")}
    assert counted([frame], Tally(("found",))) == {name: n for name, n in sums.items() if n}


@given(st.lists(st.none() | st.lists(st.tuples(words, st.integers(0, 9)), max_size=3)))
def test_counts_with_their_names_are_summed_by_name(rows: list[list[tuple[str | None, int]] | None]) -> None:
    found = [None if row is None else [{"kind": kind, "count": n} for kind, n in row] for row in rows]
    kinds = pl.List(pl.Struct({"kind": pl.String, "count": pl.Int32}))
    sums: Counter[str] = Counter()
    for kind, n in (pair for row in rows if row for pair in row):
        if kind is not None:
            sums[kind] += n
    frame = pl.LazyFrame({"found": found}, schema={"found": kinds})
    assert counted([frame], Tally(("found",))) == dict(sums)


BOUNDS = (0.0, 0.1, 0.7, 10.0)
numbers = st.none() | st.floats(width=32) | st.sampled_from([0.1, 0.7, -0.0, 10.0, math.nan, math.inf])


@pytest.mark.parametrize("dtype", [pl.Float32, pl.Float64])
@given(values=st.lists(numbers))
def test_a_number_is_in_the_bin_of_the_largest_bound_not_above_it(
    dtype: type[pl.DataType], values: list[float | None]
) -> None:
    series = pl.Series("score", values, dtype)
    bounds = pl.Series(BOUNDS, dtype=dtype).to_list()
    expected: Counter[str] = Counter()
    for value in series.to_list():
        if value is not None and not math.isnan(value):
            reached = [given for given, bound in zip(BOUNDS, bounds, strict=True) if bound <= value]
            expected[f"{reached[-1]:g}" if reached else "-inf"] += 1
    found = counted([series.to_frame().lazy()], Tally(("score",), bins=BOUNDS))
    assert found == expected
    assert list(found) == [name for name in ("-inf", "0", "0.1", "0.7", "10") if name in found]


def test_whole_numbers_have_histograms_too() -> None:
    frame = pl.LazyFrame({"words": [-1, 0, 9, 10, 11, None]}, schema={"words": pl.Int64})
    assert counted([frame], Tally(("words",), bins=(0, 10))) == {"-inf": 1, "0": 2, "10": 2}


def test_a_frame_without_the_columns_is_passed_over() -> None:
    frames = [pl.LazyFrame({"label": [1]}), pl.LazyFrame({"other": [1]}), pl.LazyFrame({"judge": [{"rule": "x"}]})]
    assert counted(frames, Tally(("label",))) == {"1": 1}
    assert counted(frames, Tally(("label", "other"))) == {}
    assert counted(frames, Tally(("judge.level",))) == {}
    assert counted(frames, Tally(("judge.rule",))) == {"x": 1}


def test_files_are_counted_as_what_was_written_to_them(tmp_path: Path) -> None:
    frame = pl.DataFrame({"language": ["en", "de"] * 500, "score": [0.1 * (n % 11) for n in range(1000)]})
    frame.write_parquet(tmp_path / "a.parquet", row_group_size=100)
    for tally in (Tally(("language",)), Tally(("score",), bins=(0, 0.5, 1))):
        assert counted([pl.scan_parquet(tmp_path / "a.parquet")], tally) == counted([frame.lazy()], tally)
