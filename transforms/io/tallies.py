"""Counting the values that a report shows as distributions: of a split's rows as it is committed, of a snapshot when it is checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import polars as pl

from schemas.presentation import Presentation, Tally


def told(counts: Mapping[str, Any], presentation: Presentation) -> dict[str, dict[str, int]]:
    """The tallies that a manifest's counts hold, in the presentation's order; nested ones flat, ``{"train": {"4": 1}}`` as ``train/4``."""
    return {name: dict(_flat(counts[name])) for name in presentation.tallies if isinstance(counts.get(name), Mapping)}


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{inner}", n) for inner, n in _flat(value))
        else:
            yield str(name), int(value or 0)


def counted(frames: Iterable[pl.LazyFrame], tally: Tally) -> dict[str, int]:
    """Count a tally's values over all rows of the frames that have its columns; nulls are not counted.

    ============================  ===================================================================================
    column                        counted
    ============================  ===================================================================================
    one                           its values, as text
    several                       their values joined by ``/``
    one list                      its elements, one by one
    one list of structs           of a text and a whole number: the sums of the numbers, under the texts
    one struct of whole numbers   the sum of every field, under the field's name; sums of nought are left out
    one number, with ``bins``     values under the largest bound that is not above them, ``-inf`` below all; NaN is no value
    ============================  ===================================================================================

    Returns:
        Counts by value, in order of the values; of the bounds for a histogram, without bins that hold nothing.
    """
    total: Counter[str] = Counter()
    for frame in frames:
        schema = frame.collect_schema()
        types = [_type(schema, column) for column in tally.columns]
        if all(dtype is not None for dtype in types):
            total.update(_counted(frame, tally, types[0]))
    if tally.bins:
        return {name: total[name] for name in _bins(tally) if total[name]}
    return dict(sorted(total.items()))


def _type(schema: pl.Schema, column: str) -> Any:
    """A column's type, or that of a struct's field; None where there is no such column."""
    top, _, inner = column.partition(".")
    dtype = schema.get(top)
    if not inner:
        return dtype
    return dict(dtype).get(inner) if isinstance(dtype, pl.Struct) else None


def _counted(frame: pl.LazyFrame, tally: Tally, dtype: Any) -> dict[str, int]:
    columns = [_column(name) for name in tally.columns]
    if tally.bins:
        reached = [columns[0] >= pl.lit(bound, dtype) for bound in tally.bins]
        known = columns[0].is_not_null() & (columns[0].is_not_nan() if dtype.is_float() else True)
        found = _sizes(frame.filter(known).select(value=pl.sum_horizontal(pl.lit(0, pl.Int64), *reached)))
        return {_bins(tally)[int(index)]: n for index, n in found.items()}
    if isinstance(dtype, pl.Struct):
        fields = [columns[0].struct.field(field.name).sum() for field in dtype.fields]
        sums = frame.select(fields).collect(engine="streaming").row(0, named=True)
        return {name: int(n) for name, n in sums.items() if n}
    if isinstance(dtype, pl.List) and isinstance(dtype.inner, pl.Struct):
        text, number = (columns[0].explode().struct.field(field.name) for field in dtype.inner.fields)
        pairs = frame.select(value=text, n=number).drop_nulls().group_by("value").agg(pl.col("n").sum())
        return {str(value): int(n) for value, n in pairs.collect(engine="streaming").rows()}
    if isinstance(dtype, pl.List):
        return _sizes(frame.select(value=columns[0].explode()).select(pl.col("value").cast(pl.String)))
    return _sizes(frame.select(value=pl.concat_str(columns, separator="/")))


def _column(name: str) -> pl.Expr:
    top, _, inner = name.partition(".")
    return pl.col(top).struct.field(inner) if inner else pl.col(top)


def _bins(tally: Tally) -> list[str]:
    return [f"{bound:.12g}" for bound in (float("-inf"), *tally.bins)]


def _sizes(values: pl.LazyFrame) -> dict[str, int]:
    counted = values.drop_nulls().group_by("value").len().collect(engine="streaming")
    return {str(value): n for value, n in counted.rows()}
