"""The key pass as Beam runs it; what is computed is in ``transforms.io.keys``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import apache_beam as beam
import polars as pl
import pyarrow as pa

import transforms.coders  # noqa: F401  # tables travel in Arrow IPC
from transforms.io import keys
from transforms.io.keys import KeyTable

EXCHANGES: Final = "exchanges"
CONVERSATIONS: Final = "conversations"
EDGES: Final = "edges"


class FindKeys(beam.DoFn):
    """Split index to tables of keys: by exchange prefix, by conversation prefix, and per split its owners."""

    def __init__(self, read: Callable[[int], Iterator[KeyTable]], bits: int) -> None:
        self.read, self.bits = read, bits

    def process(self, index: int) -> Iterator[Any]:
        for found in self.read(index):
            frame = keys.identified(found)
            for prefix, part in keys.by_prefix(frame.drop("conversation"), "key", self.bits):
                yield beam.pvalue.TaggedOutput(EXCHANGES, (prefix, part.to_arrow()))
            links = frame.select("conversation", "owner").unique(maintain_order=True)
            for prefix, part in keys.by_prefix(links, "conversation", self.bits):
                yield beam.pvalue.TaggedOutput(CONVERSATIONS, (prefix, part.to_arrow()))
            yield found.split.key, keys.owners(found).to_arrow()


class FindDuplicates(beam.DoFn):
    """All exchanges of a prefix to per-split duplicates, and edges as a second output."""

    def process(self, element: tuple[int, Iterable[pa.Table]]) -> Iterator[Any]:
        repeated, edges = keys.duplicates(_together(element[1]))
        if not edges.is_empty():
            yield beam.pvalue.TaggedOutput(EDGES, (0, edges.to_arrow()))
        for (split,), part in repeated.partition_by("split", as_dict=True, include_key=False).items():
            yield split, part.to_arrow()


def find_shared(element: tuple[int, Iterable[pa.Table]]) -> tuple[int, pa.Table]:
    """All conversation ids of a prefix to edges."""
    return 0, keys.shared(_together(element[1]).unique()).to_arrow()


def join_groups(element: tuple[int, Iterable[pa.Table]]) -> pa.Table:
    """All edges to the groups they make."""
    return keys.components(_together(element[1]).unique()).to_arrow()


class WriteList(beam.DoFn):
    """All that was found of a split to its list."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def process(self, element: tuple[str, Iterable[pa.Table]], groups: list[pa.Table]) -> None:
        keys.write_list(self.folder, element[0], element[1], groups)


def _together(tables: Iterable[pa.Table]) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(table) for table in tables])


class KeyPass(beam.PTransform):
    """Split indices to one list a split, written to ``folder``."""

    def __init__(self, read: Callable[[int], Iterator[KeyTable]], folder: Path, bits: int) -> None:
        super().__init__()
        self.read, self.folder, self.bits = read, folder, bits

    def expand(self, indices: beam.PCollection) -> beam.PCollection:
        by_prefix = tuple[int, pa.Table]
        find = beam.ParDo(FindKeys(self.read, self.bits)).with_output_types(
            tuple[str, pa.Table], **{EXCHANGES: by_prefix, CONVERSATIONS: by_prefix}
        )
        found = indices | "read keys" >> find.with_outputs(EXCHANGES, CONVERSATIONS, main="owners")
        repeated = (
            found[EXCHANGES]
            | "group by exchange" >> beam.GroupByKey()
            | "find duplicates"
            >> beam.ParDo(FindDuplicates())
            .with_output_types(tuple[str, pa.Table], **{EDGES: by_prefix})
            .with_outputs(EDGES, main="duplicates")
        )
        linked = (
            found[CONVERSATIONS]
            | "group by conversation" >> beam.GroupByKey()
            | "find shared" >> beam.Map(find_shared).with_output_types(by_prefix)
        )
        groups = (
            (repeated[EDGES], linked)
            | "all edges" >> beam.Flatten()
            | "group edges" >> beam.GroupByKey()
            | "join groups" >> beam.Map(join_groups)
        )
        return (
            (found["owners"], repeated["duplicates"])
            | "all of a split" >> beam.Flatten()
            | "group by split" >> beam.GroupByKey()
            | "write lists" >> beam.ParDo(WriteList(self.folder), beam.pvalue.AsList(groups))
        )
