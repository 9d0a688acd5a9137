"""The key pass: facts that need the whole dataset, found without moving any payload.

A first pass reads only what identifies an exchange and its owner. Tables of hashes travel, partitioned by
hash prefix; each split gets back one small list: which of its instances are duplicates, and which of its
owners (users, or conversations without one) belong to a group that must not be torn between train and
test. Owners are tied together when they share a conversation id or a whole exchange.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apache_beam as beam
import numpy as np
import polars as pl
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from schemas.provenance import Split
from transforms.io import files
from transforms.io.records import record_ids

VERSION: Final = 1

LIST: Final = pa.schema(
    [
        ("source_row", pa.int64()),
        ("ordinal", pa.int32()),
        ("duplicate_of", pa.string()),
        ("owner", pa.uint64()),
        ("group", pa.uint64()),
    ]
)
"""A split's list: duplicates (row, ordinal, record id of the survivor) and regrouped owners (owner, group)."""


@dataclass(frozen=True, slots=True)
class KeyTable:
    """The keys of one split: a table (source_row, ordinal, key, check, conversation, owner), rows read, end of file."""

    split: Split
    keys: pa.Table
    rows: int
    end: bool


ReadKeys = Callable[[Split], Iterator[KeyTable]]


def cached(read: ReadKeys, folder: Path, split: Split, following: Callable[[Split], Split]) -> Iterator[KeyTable]:
    """Key tables of a split, and after an open one of all that follow; each is stored once read."""
    piece = split
    while (path := folder / f"{piece.key}.arrow").exists():
        table = files.read_arrow(path)
        facts = table.schema.metadata
        found = KeyTable(piece, table, int(facts[b"rows"]), facts[b"end"] == b"1")
        yield found
        if found.end or split.stop is not None:
            return
        piece = following(piece)
    for found in read(piece):
        facts = {"rows": str(found.rows), "end": "1" if found.end else "0"}
        files.write_arrow(folder / f"{found.split.key}.arrow", found.keys.replace_schema_metadata(facts))
        yield found


class FindKeys(beam.DoFn):
    """Split index to tables of keys: by exchange prefix, by conversation prefix, and per split its owners."""

    EXCHANGES: Final = "exchanges"
    CONVERSATIONS: Final = "conversations"

    def __init__(self, read: Callable[[int], Iterator[KeyTable]], bits: int) -> None:
        self.read, self.bits = read, bits

    def process(self, index: int) -> Iterator[object]:
        for found in self.read(index):
            frame = pl.DataFrame(found.keys).with_columns(
                split=pl.lit(found.split.key),
                file=pl.lit(found.split.file.relative_uri),
                record_id=record_ids(found.split.file.relative_uri, pl.col("source_row"), pl.col("ordinal")),
            )
            for prefix, part in _by_prefix(frame, "key", self.bits):
                yield beam.pvalue.TaggedOutput(self.EXCHANGES, (prefix, part.drop("conversation").to_arrow()))
            links = frame.select("conversation", "owner").unique(maintain_order=True)
            for prefix, part in _by_prefix(links, "conversation", self.bits):
                yield beam.pvalue.TaggedOutput(self.CONVERSATIONS, (prefix, part.to_arrow()))
            owners = frame.select("owner").unique(maintain_order=True).with_columns(rows=pl.lit(found.rows))
            facts = pl.DataFrame({"owner": [None], "rows": [found.rows]}, schema={"owner": pl.UInt64, "rows": pl.Int32})
            yield found.split.key, (pl.concat([facts, owners]) if owners.is_empty() else owners).to_arrow()


def _by_prefix(frame: pl.DataFrame, column: str, bits: int) -> Iterator[tuple[int, pl.DataFrame]]:
    if bits == 0:
        yield 0, frame
        return
    prefixed = frame.with_columns(prefix=pl.col(column).floordiv(2 ** (64 - bits)).cast(pl.Int64))
    for (prefix,), part in prefixed.partition_by("prefix", as_dict=True, include_key=False).items():
        yield prefix, part


def duplicates(exchanges: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Find equal exchanges among all instances of one prefix.

    Returns (split, source_row, ordinal, duplicate_of) for every instance but the first of its key, in order
    of file, row and ordinal, and the edges (owner, other) between owners who share an exchange.
    """
    ordered = exchanges.sort("key", "check", "file", "source_row", "ordinal")
    first = [pl.col(name).first().over("key", "check").alias(f"first_{name}") for name in ("record_id", "owner")]
    repeated = ordered.with_columns(first).filter(pl.col("record_id") != pl.col("first_record_id"))
    edges = (
        repeated.filter(pl.col("owner") != pl.col("first_owner")).select(owner="first_owner", other="owner").unique()
    )
    return repeated.select("split", "source_row", "ordinal", duplicate_of="first_record_id"), edges


def shared(conversations: pl.DataFrame) -> pl.DataFrame:
    """Edges (owner, other) between owners who appear under one conversation id."""
    first = conversations.with_columns(first=pl.col("owner").min().over("conversation"))
    return first.filter(pl.col("owner") != pl.col("first")).select(owner="first", other="owner").unique()


_NO_GROUPS: Final = pl.DataFrame(schema={"owner": pl.UInt64, "group": pl.UInt64})


def components(edges: pl.DataFrame) -> pl.DataFrame:
    """Group owners that are connected: (owner, group), where the group is its smallest owner."""
    owners = pl.concat([edges["owner"], edges["other"].rename("owner")]).unique().sort()
    if owners.is_empty():
        return _NO_GROUPS
    left, right = (np.searchsorted(owners.to_numpy(), edges[name].to_numpy()) for name in ("owner", "other"))
    graph = coo_array((np.ones(len(edges), bool), (left, right)), shape=(len(owners), len(owners)))
    _, labels = connected_components(graph, directed=False)
    return pl.DataFrame({"owner": owners, "label": labels}).select("owner", group=pl.col("owner").min().over("label"))


class FindDuplicates(beam.DoFn):
    """All exchanges of a prefix to per-split duplicates, and edges as a second output."""

    EDGES: Final = "edges"

    def process(self, element: tuple[int, Iterable[pa.Table]]) -> Iterator[object]:
        repeated, edges = duplicates(pl.concat([pl.DataFrame(table) for table in element[1]]))
        if not edges.is_empty():
            yield beam.pvalue.TaggedOutput(self.EDGES, edges.to_arrow())
        for (split,), part in repeated.partition_by("split", as_dict=True, include_key=False).items():
            yield split, part.to_arrow()


class FindShared(beam.DoFn):
    """All conversation ids of a prefix to edges."""

    def process(self, element: tuple[int, Iterable[pa.Table]]) -> Iterator[pa.Table]:
        edges = shared(pl.concat([pl.DataFrame(table) for table in element[1]]).unique())
        if not edges.is_empty():
            yield edges.to_arrow()


class WriteList(beam.DoFn):
    """Write one split's list; its name carries the rows read and the list's digest."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def process(self, element: tuple[str, Iterable[pa.Table]], groups: list[pa.Table]) -> None:
        split, tables = element
        frames = [pl.DataFrame(table) for table in tables]
        owners = next(frame for frame in frames if "owner" in frame.columns)
        found = [frame for frame in frames if "duplicate_of" in frame.columns]
        regrouped = pl.concat([_NO_GROUPS, *(pl.DataFrame(table) for table in groups)])
        regrouped = regrouped.join(owners, on="owner", how="semi")
        listed = pl.concat([*found, regrouped], how="diagonal") if found else regrouped
        columns = [pl.lit(None).alias(name) for name in LIST.names if name not in listed.columns]
        table = listed.with_columns(columns).select(LIST.names).sort(LIST.names).to_arrow().cast(LIST)
        digest = hashlib.sha256("\n".join(map(str, table.to_pylist())).encode()).hexdigest()[:12]
        files.write_arrow(Path(self.folder) / f"{split}.{owners['rows'][0]}.{digest}.arrow", table)


def join_groups(element: tuple[None, Iterable[pa.Table]]) -> pa.Table:
    """All edges to the groups they make."""
    return components(pl.concat([pl.DataFrame(table) for table in element[1]]).unique()).to_arrow()


class KeyPass(beam.PTransform):
    """Split indices to one list a split, written to ``folder``."""

    def __init__(self, read: Callable[[int], Iterator[KeyTable]], folder: Path, bits: int) -> None:
        super().__init__()
        self.read, self.folder, self.bits = read, folder, bits

    def expand(self, indices: beam.PCollection) -> beam.PCollection:
        tags = (FindKeys.EXCHANGES, FindKeys.CONVERSATIONS)
        keys = indices | "read keys" >> beam.ParDo(FindKeys(self.read, self.bits)).with_outputs(*tags, main="owners")
        repeated = (
            keys[FindKeys.EXCHANGES]
            | "group by exchange" >> beam.GroupByKey()
            | "find duplicates" >> beam.ParDo(FindDuplicates()).with_outputs(FindDuplicates.EDGES, main="duplicates")
        )
        linked = keys[FindKeys.CONVERSATIONS] | "group by conversation" >> beam.GroupByKey() | beam.ParDo(FindShared())
        groups = (
            (repeated[FindDuplicates.EDGES], linked)
            | "all edges" >> beam.Flatten()
            | "in one place" >> beam.WithKeys(None)
            | "group edges" >> beam.GroupByKey()
            | "join groups" >> beam.Map(join_groups)
        )
        return (
            (keys["owners"], repeated["duplicates"])
            | "all of a split" >> beam.Flatten()
            | "group by split" >> beam.GroupByKey()
            | "write lists" >> beam.ParDo(WriteList(str(self.folder)), beam.pvalue.AsList(groups))
        )


def prefix_bits(instances: int) -> int:
    """Bits of hash prefix that keep a partition near a million instances."""
    return min(10, max(0, (instances // 1_000_000).bit_length()))


@dataclass(frozen=True, slots=True)
class SplitList:
    """What the key pass found of one split: source rows read, and the digest of its list."""

    rows: int
    digest: str


def written(folder: Path) -> dict[str, SplitList]:
    """The lists of a finished key pass, by split key."""
    names = (entry.name.split(".") for entry in os.scandir(folder) if entry.name.endswith(".arrow"))
    return {name[0]: SplitList(int(name[1]), name[2]) for name in names if name[0]}


@functools.lru_cache(maxsize=2)
def _listed(folder: Path, split: str) -> pl.DataFrame:
    (path,) = folder.glob(f"{split}.*.arrow")
    return pl.DataFrame(files.read_arrow(path))


def groups(folder: Path, split: Split) -> pl.DataFrame:
    """Owners of a split that belong to another's group: (owner, group)."""
    return _listed(folder, split.key).filter(pl.col("owner").is_not_null()).select("owner", "group")


def drop_duplicates(frame: pl.DataFrame, split: Split, lists: Path) -> pl.DataFrame:
    """Reject instances that the key pass found earlier in the sources; names the survivor in ``duplicate_of``."""
    repeated = _listed(lists, split.key).filter(pl.col("duplicate_of").is_not_null())
    found = frame.join(
        repeated.select("source_row", "ordinal", "duplicate_of"),
        on=["source_row", "ordinal"],
        how="left",
        maintain_order="left",
    )
    return found.with_columns(reason=pl.when(pl.col("duplicate_of").is_not_null()).then(pl.lit("duplicate")))
