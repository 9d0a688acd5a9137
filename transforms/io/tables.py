"""Giving a frame exactly the columns of an Arrow schema."""

from __future__ import annotations

import polars as pl
import pyarrow as pa


def shaped(frame: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    """Columns of ``schema`` in its order and types; absent ones null, others dropped. Metadata is the schema's.

    Raises:
        ValueError: a column that must not be null is, or is missing.
    """
    target = pl.DataFrame(schema.empty_table()).schema
    columns = [
        pl.col(name).cast(kind) if name in frame.columns else pl.lit(None, kind).alias(name)
        for name, kind in target.items()
    ]
    table = frame.select(columns).to_arrow().cast(schema.remove_metadata())
    for field in schema:
        if not field.nullable and table[field.name].null_count:
            raise ValueError(f"column {field.name}: expected no nulls, found {table[field.name].null_count}")
    return table.replace_schema_metadata(schema.metadata)
