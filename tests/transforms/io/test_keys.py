"""The key pass: duplicates and groups of owners, against brute force, whatever the cut and the order."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import apache_beam as beam
import polars as pl
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from hypothesis import given
from hypothesis import strategies as st

from schemas.provenance import Split
from tests.builders import Planned, Row, plan, read, some_split, write_rows
from transforms.feedback import turns
from transforms.io import chats, keys
from transforms.io.key_pass import KeyPass
from transforms.io.keys import KeyTable


def union(pairs: list[tuple[Any, Any]]) -> Callable[[Any], Any]:
    """Connected components by hand: gives the smallest member of an item's component."""
    parent: dict[Any, Any] = {}

    def root(item: Any) -> Any:
        while parent.get(item, item) != item:
            item = parent[item]
        return item

    for one, other in pairs:
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    return root


numbers = st.integers(0, 2**64 - 1)
few_numbers = st.sampled_from([0, 1, 7, 2**63 - 1, 2**63, 2**64 - 1])


@st.composite
def exchange_frames(draw: st.DrawFn) -> pl.DataFrame:
    places = draw(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20), st.integers(0, 3)), unique=True))
    rows = [
        {
            "split": f"{file}-{row // 10}",
            "file": file,
            "source_row": row,
            "ordinal": ordinal,
            "key": draw(few_numbers),
            "check": draw(st.sampled_from([3, 4])),
            "owner": draw(few_numbers),
        }
        for file, row, ordinal in places
    ]
    schema = {"split": pl.String, "file": pl.String, "source_row": pl.Int64, "ordinal": pl.Int32}
    schema |= {"key": pl.UInt64, "check": pl.UInt64, "owner": pl.UInt64}
    return pl.DataFrame(rows, schema=schema)


@given(exchange_frames())
def test_every_instance_but_the_first_of_its_exchange_is_a_duplicate_of_the_first(frame: pl.DataFrame) -> None:
    rows = sorted(frame.to_dicts(), key=lambda row: (row["file"], row["source_row"], row["ordinal"]))
    first: dict[tuple[int, int], Row] = {}
    wanted, edges = set(), set()
    for row in rows:
        survivor = first.setdefault((row["key"], row["check"]), row)
        if survivor is not row:
            place = "\0".join(str(survivor[name]) for name in ("file", "source_row", "ordinal"))
            record_id = hashlib.sha256(place.encode()).hexdigest()[:32]
            wanted.add((row["split"], row["source_row"], row["ordinal"], record_id))
        if row["owner"] != survivor["owner"]:
            edges.add((survivor["owner"], row["owner"]))
    found, found_edges = keys.duplicates(frame)
    assert set(found.rows()) == wanted and len(found) == len(wanted)
    assert set(found_edges.rows()) == edges and len(found_edges) == len(edges)


@given(st.lists(st.tuples(few_numbers | numbers, few_numbers | numbers), max_size=30))
def test_components_are_the_owners_that_edges_connect(pairs: list[tuple[int, int]]) -> None:
    frame = pl.DataFrame(pairs, schema={"owner": pl.UInt64, "other": pl.UInt64}, orient="row")
    root = union(pairs)
    assert dict(keys.components(frame).rows()) == {owner: root(owner) for pair in pairs for owner in pair}


@given(st.lists(st.tuples(few_numbers, few_numbers), max_size=30))
def test_owners_under_one_conversation_id_are_tied_together(links: list[tuple[int, int]]) -> None:
    frame = pl.DataFrame(links, schema={"conversation": pl.UInt64, "owner": pl.UInt64}, orient="row").unique()
    pairs = [(a, b) for (one, a), (two, b) in itertools.combinations(links, 2) if one == two]
    root = union(pairs)
    groups = dict(keys.components(keys.shared(frame)).rows())
    assert {owner: groups.get(owner, owner) for _, owner in links} == {owner: root(owner) for _, owner in links}


@given(st.lists(few_numbers | numbers, max_size=50), st.integers(0, 10))
def test_a_prefix_holds_all_rows_of_its_keys(values: list[int], bits: int) -> None:
    frame = pl.DataFrame({"key": values, "n": range(len(values))}, schema={"key": pl.UInt64, "n": pl.Int64})
    parts = list(keys.by_prefix(frame, "key", bits))
    assert sorted(row for _, part in parts for row in part.rows()) == sorted(frame.rows())
    assert len({prefix for prefix, _ in parts}) == len(parts)
    assert all(key >> (64 - bits) == prefix for prefix, part in parts for key in part["key"])


# --- The whole pass


def chats_of(seed: int, rows: int) -> list[Row]:
    """Conversations out of few words, users and ids, so that exchanges, users and ids come again and again."""
    draw = random.Random(seed)
    found: list[Row] = []
    for number in range(rows):
        words = [draw.choice("ab") for _ in range(draw.randint(1, 7))]
        if draw.random() < 0.6:
            words.insert(0, f"only {seed} {number}")
        turns_ = [{"role": ["user", "assistant"][at % 2], "content": word} for at, word in enumerate(words)]
        name = f"shared {draw.randint(0, 30)}" if draw.random() < 0.2 else f"{seed} {number}"
        user = draw.choice([None, None, *(f"u{n}" for n in range(25))])
        found.append({"conversation_hash": name, "hashed_ip": user, "model": "m", "conversation": turns_})
    found[rows // 2]["conversation"] = None
    return found


@dataclass
class Passed:
    """A finished key pass: duplicates by (file, row, ordinal), and a group for every owner."""

    duplicates: dict[tuple[str, int, int], str]
    groups: dict[int, int]
    rows: int


def key_tables(index: int, planned: Planned) -> Iterator[KeyTable]:
    extract = partial(turns.keys, by="content", owner_is="user")
    return chats.read_keys(planned.splits[index], planned.source, extract)


def key_pass(planned: Planned, folder: Path, bits: int, order: list[int]) -> Passed:
    folder.mkdir()
    with beam.Pipeline(FnApiRunner(), PipelineOptions([])) as pipeline:
        _ = pipeline | beam.Create(order, reshuffle=False) | KeyPass(partial(key_tables, planned=planned), folder, bits)
    written = keys.written(folder)
    told = Passed({}, {}, written["rows"].sum())
    tables = [table for index in range(len(planned.splits)) for table in key_tables(index, planned)]
    assert set(written["split"]) == {table.split.key for table in tables}
    for table in tables:
        split = table.split
        frame = pl.DataFrame(table.keys)
        kept = keys.drop_duplicates(frame, split, folder)
        for row in kept.filter(pl.col("reason") == "duplicate").to_dicts():
            told.duplicates[split.file.relative_uri, row["source_row"], row["ordinal"]] = row["duplicate_of"]
        told.groups |= {owner: owner for owner in frame["owner"]} | dict(keys.groups(folder, split).rows())
    return told


def brute_force(planned: Planned) -> tuple[dict[tuple[str, int, int], str], set[frozenset[str]]]:
    """Duplicates and groups of owners, from all conversations in memory."""
    first: dict[tuple[Any, ...], tuple[str, str]] = {}
    duplicates: dict[tuple[str, int, int], str] = {}
    owner_of: dict[str, str] = {}
    pairs: list[tuple[str, str]] = []
    owners: set[str] = set()
    for index in sorted(range(len(planned.splits)), key=lambda i: (planned.splits[i].file.relative_uri, i)):
        file = planned.splits[index].file.relative_uri
        told = read(planned, [index])
        ids = {(i["source_row"], i["ordinal"]): i["record_id"] for i in told.instances}
        for talk in told.conversations:
            name = talk["conversation_id"]
            owner = f"user {talk['user']}" if talk["user"] else f"conversation {name}"
            places = range(2, len(talk["messages"]), 2)
            if not places:
                continue
            owners.add(owner)
            pairs.append((owner, owner_of.setdefault(name, owner)))
            for ordinal, at in enumerate(places):
                exchange = tuple((m["role"], m["content"]) for m in talk["messages"][: at + 1])
                record_id = ids[talk["source_row"], ordinal]
                survivor, other = first.setdefault(exchange, (record_id, owner))
                if survivor != record_id:
                    duplicates[file, talk["source_row"], ordinal] = survivor
                pairs.append((owner, other))
    root = union(pairs)
    by_root: dict[str, set[str]] = {}
    for owner in owners:
        by_root.setdefault(root(owner), set()).add(owner)
    return duplicates, {frozenset(group) for group in by_root.values()}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    write_rows(folder, chats_of(1, 60), "jsonl", name="b")
    write_rows(folder, chats_of(2, 40), "jsonl.zst", name="c")
    write_rows(folder / "a", chats_of(3, 50), "parquet")
    return folder


@pytest.mark.parametrize(("target", "bits", "seed"), [(10**9, 0, 0), (3000, 3, 1), (1500, 10, 2)])
def test_the_key_pass_finds_what_brute_force_finds_whatever_the_cut_and_the_order(
    sources: Path, tmp_path: Path, target: int, bits: int, seed: int
) -> None:
    planned = plan(sources, target=target)
    order = list(range(len(planned.splits)))
    random.Random(seed).shuffle(order)
    found = key_pass(planned, tmp_path / "lists", bits, order)
    duplicates, groups = brute_force(planned)
    assert len(duplicates) > 20 and any(len(group) > 3 for group in groups)
    assert found.duplicates == duplicates
    sizes: dict[int, int] = {}
    for group in found.groups.values():
        sizes[group] = sizes.get(group, 0) + 1
    assert sorted(sizes.values()) == sorted(map(len, groups))
    assert found.rows == 150


def test_users_who_share_a_conversation_or_an_exchange_are_one_group(tmp_path: Path) -> None:
    def row(name: str, user: str | None, *words: str) -> Row:
        talk = [{"role": ["user", "assistant"][at % 2], "content": word} for at, word in enumerate(words)]
        return {"conversation_hash": name, "hashed_ip": user, "conversation": talk}

    rows = [
        row("1", "ann", "a", "b", "c"),
        row("2", "bob", "d", "e", "f"),
        row("2", "cyn", "g", "h", "i"),
        row("3", "cyn", "j", "k", "l"),
        row("4", "dan", "j", "k", "l", "m", "n"),
        row("5", None, "o", "p", "q"),
        row("5", None, "r", "s", "t"),
        row("6", None, "a", "b", "C"),
    ]
    planned = plan(write_rows(tmp_path, rows, "jsonl"), target=300)
    assert len(planned.splits) > 2
    groups = key_pass(planned, tmp_path / "lists", 2, list(range(len(planned.splits)))).groups
    owner = [row["owner"] for index in range(len(planned.splits)) for t in key_tables(index, planned) for row in t.keys.to_pylist()]  # fmt: skip
    group = [groups[one] for one in owner]
    ann, bob, cyn, cyn_again, dan, dan_again, nobody, nobody_again, other = group
    assert bob == cyn == cyn_again == dan == dan_again, "bob and cyn share an id, cyn and dan an exchange"
    assert nobody == nobody_again
    assert len({ann, bob, nobody, other}) == 4


def test_a_split_without_rows_has_an_empty_list(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_bytes(b"")
    write_rows(tmp_path, chats_of(1, 5), "jsonl")
    planned = plan(tmp_path)
    key_pass(planned, tmp_path / "lists", 0, [0, 1])
    read = dict(keys.written(tmp_path / "lists").select("split", "rows").iter_rows())
    rows = {split.file.relative_uri: read[split.key] for split in planned.splits}
    assert rows == {"chats.jsonl": 5, "empty.jsonl": 0}


def test_the_digest_of_a_list_changes_when_what_it_holds_does(tmp_path: Path) -> None:
    def digest(name: str, duplicate_of: str | None) -> str:
        (tmp_path / name).mkdir()
        owned = pa.table({"owner": pa.array([5], pa.uint64()), "rows": pa.array([9], pa.int32())})
        found = pl.DataFrame(
            {"source_row": [1], "ordinal": [0], "duplicate_of": [duplicate_of]},
            schema={"source_row": pl.Int64, "ordinal": pl.Int32, "duplicate_of": pl.String},
        )
        keys.write_list(tmp_path / name, "split", [owned, *([found.to_arrow()] if duplicate_of else [])], [])
        return keys.written(tmp_path / name)["digest"].item()

    digests = [digest("1", "x"), digest("2", "x"), digest("3", "y"), digest("4", None)]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


# --- Key tables that are kept


def told(table: KeyTable) -> tuple[str, list[Row], int, bool]:
    return table.split.key, table.keys.to_pylist(), table.rows, table.end


@pytest.mark.parametrize("container", ["jsonl", "jsonl.zst"])
def test_keys_once_read_are_not_read_again(tmp_path: Path, container: Any) -> None:
    path = write_rows(tmp_path, chats_of(1, 200), container)
    planned = plan(path, target=2000)

    def reader(split: Split) -> Iterator[KeyTable]:
        return chats.read_keys(split, planned.source, partial(turns.keys, by="content", owner_is="user"))

    def following(split: Split) -> Split:
        return Split(split.file, split.ordinal + 1, split.start + split.bytes, None, split.bytes)

    def all_tables() -> list[tuple[str, list[Row], int, bool]]:
        return [told(t) for split in planned.splits for t in keys.cached(reader, tmp_path / "kept", split, following)]

    first = all_tables()
    path.unlink()
    assert all_tables() == first
    assert sum(rows for _, _, rows, _ in first) == 200


def test_a_half_read_open_split_goes_on_where_its_keys_end(tmp_path: Path) -> None:
    open_split = Split(some_split("a.jsonl.zst").file, 0, 0, None, 10)

    def reader(split: Split) -> Iterator[KeyTable]:
        for ordinal in range(split.ordinal, 4):
            piece = Split(split.file, ordinal, 10 * ordinal, 10 * ordinal + 10, 10)
            yield KeyTable(piece, turns.KEYS.empty_table(), ordinal + 1, ordinal == 3)

    def following(split: Split) -> Split:
        return Split(split.file, split.ordinal + 1, split.start + 10, None, 10)

    interrupted = keys.cached(reader, tmp_path, open_split, following)
    next(interrupted), next(interrupted)
    del interrupted
    asked: list[int] = []

    def watched(split: Split) -> Iterator[KeyTable]:
        asked.append(split.ordinal)
        return reader(split)

    again = list(keys.cached(watched, tmp_path, open_split, following))
    assert [table.rows for table in again] == [1, 2, 3, 4]
    assert asked == [2]
    assert [table.rows for table in keys.cached(watched, tmp_path, open_split, following)] == [1, 2, 3, 4]
    assert asked == [2]
