"""The key pass: facts that need the whole dataset, found without moving any payload.

A first pass reads only what identifies an exchange and its owner. Tables of hashes travel, partitioned by
hash prefix; each split gets back one small list: which of its instances are duplicates, and which of its
owners (users, or conversations without one) belong to a group that must not be torn between train and
test. Owners are tied together when they share a conversation id or a whole exchange.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from schemas.provenance import Split
from transforms.io import files
from transforms.io.records import record_ids
from transforms.io.tables import shaped

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


def identified(found: KeyTable) -> pl.DataFrame:
    """A split's keys with the names that travel with them, stored once a table: ``split`` and ``file``."""
    return pl.DataFrame(found.keys).with_columns(
        split=pl.lit(found.split.key, pl.Categorical), file=pl.lit(found.split.file.relative_uri, pl.Categorical)
    )


def owners(found: KeyTable) -> pl.DataFrame:
    """The owners in a split, and on every row how many source rows it has; at least one row, of no owner."""
    distinct = pl.DataFrame(found.keys).select("owner").unique(maintain_order=True)
    none = pl.DataFrame({"owner": [None]}, schema={"owner": pl.UInt64})
    return (none if distinct.is_empty() else distinct).with_columns(rows=pl.lit(found.rows))


def by_prefix(frame: pl.DataFrame, column: str, bits: int) -> Iterator[tuple[int, pl.DataFrame]]:
    """Part a frame by the first bits of a UInt64 column."""
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
    among = exchanges.filter(pl.struct("key", "check").is_duplicated()).with_columns(
        pl.col("split", "file").cast(pl.String)
    )
    ordered = among.sort("key", "check", "file", "source_row", "ordinal")
    ordered = ordered.with_columns(
        record_id=record_ids(pl.col("file"), pl.col("source_row"), pl.col("ordinal")),
    )
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


def write_list(folder: Path, split: str, tables: Iterable[pa.Table], groups: Iterable[pa.Table]) -> None:
    """Write one split's list out of its owners, its duplicates and all groups.

    The file's name carries the rows read and the digest of the list.
    """
    frames = [pl.DataFrame(table) for table in tables]
    owned = next(frame for frame in frames if "owner" in frame.columns)
    found = [frame for frame in frames if "duplicate_of" in frame.columns]
    regrouped = pl.concat([_NO_GROUPS, *(pl.DataFrame(table) for table in groups)]).join(owned, on="owner", how="semi")
    table = shaped(pl.concat([*found, regrouped], how="diagonal"), LIST).sort_by(
        [(name, "ascending") for name in LIST.names]
    )
    digest = hashlib.sha256("\n".join(map(str, table.to_pylist())).encode()).hexdigest()[:12]
    files.write_arrow(folder / f"{split}.{owned['rows'][0]}.{digest}.arrow", table)


def prefix_bits(instances: int) -> int:
    """Bits of hash prefix that keep a partition near a million instances."""
    return min(10, max(0, (instances // 1_000_000).bit_length()))


FIRSTS: Final = "0123456789abcdef"
"""What split keys, and so lists and receipts, begin with."""


def written(folder: Path) -> pl.DataFrame:
    """The lists of a key pass: ``split``, source ``rows`` read, and the list's ``digest``. One listing tells them."""
    names = pl.DataFrame({"name": [name for name, _ in files.stamps(folder, FIRSTS)]}, {"name": pl.String})
    parted = pl.col("name").str.split_exact(".", 3).struct.rename_fields(["split", "rows", "digest", "ending"])
    lists = names.select(parted).unnest("name").filter(ending="arrow").drop("ending")
    return lists.cast({"rows": pl.Int64}).sort("split")


@functools.lru_cache(maxsize=2)
def _listed(folder: Path, split: str, listed: str | None) -> pl.DataFrame:
    if listed is None:
        (name,) = (name for name in files.names(folder) if name.startswith(f"{split}.") and name.endswith(".arrow"))
    else:
        name = f"{split}.{listed}.arrow"
    return pl.DataFrame(files.read_arrow(folder / name))


def groups(folder: Path, split: Split) -> pl.DataFrame:
    """Owners of a split that belong to another's group: (owner, group)."""
    return _listed(folder, split.key, split.listed).filter(pl.col("owner").is_not_null()).select("owner", "group")


def drop_duplicates(frame: pl.DataFrame, split: Split, lists: Path) -> pl.DataFrame:
    """Reject instances that the key pass found earlier in the sources; names the survivor in ``duplicate_of``."""
    repeated = _listed(lists, split.key, split.listed).filter(pl.col("duplicate_of").is_not_null())
    found = frame.join(
        repeated.select("source_row", "ordinal", "duplicate_of"),
        on=["source_row", "ordinal"],
        how="left",
        maintain_order="left",
    )
    return found.with_columns(reason=pl.when(pl.col("duplicate_of").is_not_null()).then(pl.lit("duplicate")))
