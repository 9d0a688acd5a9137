"""Cutting files into splits, dealing them out, and the file that holds the plan."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.provenance import Container, SourceFile, Split
from tests.builders import jsonl, packed, plan, sharegpt, some_split, write
from transforms.io import splits
from transforms.io.sources import Probe
from transforms.io.splits import Splits


def file_of(container: Container, size: int) -> SourceFile:
    return SourceFile("file:///a", "a", 0, container, "sharegpt", size, "f", "s", "k")


@given(size=st.integers(0, 10**12), target=st.integers(10**3, 10**9))
def test_a_text_file_is_cut_into_ranges_that_cover_it_once(size: int, target: int) -> None:
    target = max(target, size // 1000)
    found = splits.cut(file_of("jsonl", size), Probe("jsonl", size, "f", frozenset()), target)
    assert (found[0].start, found[-1].stop) == (0, size)
    assert all(one.stop == other.start for one, other in pairwise(found))
    assert [split.ordinal for split in found] == list(range(len(found)))
    assert all(split.bytes == (split.stop or 0) - split.start <= target for split in found)
    assert len(found) == max(1, -(-size // target))


@pytest.mark.parametrize("container", ["jsonl.gz", "jsonl.zst"])
@given(size=st.integers(0, 10**10), ratio=st.floats(1, 60), target=st.integers(10**3, 10**9))
def test_a_stream_is_cut_by_what_it_should_decompress_to_and_its_last_split_is_open(
    container: Container, size: int, ratio: float, target: int
) -> None:
    target = max(target, int(size * ratio) // 1000 + 1)
    found = splits.cut(file_of(container, size), Probe(container, size, "f", frozenset(), ratio=ratio), target)
    assert found[0].start == 0 and found[-1].stop is None
    assert all(one.stop == other.start == one.start + target for one, other in pairwise(found))
    assert abs(len(found) * target - size * ratio) <= target


@given(groups=st.lists(st.integers(0, 300), max_size=12), width=st.integers(1, 200), target=st.integers(50, 20_000))
def test_a_parquet_file_is_cut_into_row_ranges_that_cover_it_once(groups: list[int], width: int, target: int) -> None:
    schema = pa.schema([("text", pa.string())])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.parquet"
        with pq.ParquetWriter(path, schema, use_dictionary=False, compression="none") as writer:
            for number, rows in enumerate(groups):
                text = pa.array([f"{number} {at}".ljust(width) for at in range(rows)], pa.string())
                writer.write_table(pa.table({"text": text}, schema=schema))
        footer = pq.read_metadata(path)
    found = splits.cut(file_of("parquet", 1), Probe("parquet", 1, "f", frozenset(), footer=footer), target)
    assert (found[0].start, found[-1].stop) == (0, sum(groups))
    assert all(one.stop == other.start for one, other in pairwise(found))
    assert [split.ordinal for split in found] == list(range(len(found)))
    counts = [(split.stop or 0) - split.start for split in found]
    assert all(count > 0 for count in counts) or len(found) == 1
    assert all(split.bytes <= target or count <= 1 for split, count in zip(found, counts, strict=True))
    sizes = [footer.row_group(at).total_byte_size for at in range(footer.num_row_groups)]
    assert len(found) <= 1 + 2 * sum(sizes) / target + 2 * sum(size > target for size in sizes)


def test_splits_keep_their_keys_while_the_file_keeps_its_content(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", jsonl([sharegpt("x", ("human", "a" * 1000))] * 10))
    one, other = plan(path, target=3000), plan(path, target=3000)
    assert [split.key for split in one.splits] == [split.key for split in other.splits]
    assert len({split.key for split in one.splits}) == len(one.splits) == 4


sizes = st.lists(st.integers(0, 1000) | st.just(64), max_size=60)


@given(sizes, st.integers(1, 16))
def test_every_split_is_dealt_once_and_hands_hold_about_the_same(values: list[int], hands: int) -> None:
    order = splits.deal(values, hands)
    assert sorted(order) == list(range(len(values)))
    held = [sum(values[at] for at in order[hand::hands]) for hand in range(hands)]
    assert max(held) - min(held) <= max(values, default=0)


@pytest.mark.parametrize("hands", [1, 2, 3, 6])
def test_hands_hold_the_same_where_sizes_fall_evenly(hands: int) -> None:
    order = splits.deal(list(range(1, 13)), hands)
    assert {sum(at + 1 for at in order[hand::hands]) for hand in range(hands)} == {78 // hands}


@given(st.integers(1, 60), st.integers(1, 8))
def test_a_hand_holds_the_splits_of_a_stream_in_their_order(count: int, hands: int) -> None:
    order = splits.deal([64] * count, hands)
    assert all(order[hand::hands] == sorted(order[hand::hands]) for hand in range(hands))


texts = st.text(max_size=20)
files = st.builds(
    SourceFile,
    uri=texts,
    relative_uri=texts,
    source=st.integers(0, 5),
    container=st.sampled_from(["parquet", "jsonl", "jsonl.gz", "jsonl.zst"]),
    format=texts,
    size=st.integers(0, 2**62),
    fingerprint=texts,
    stamp=texts,
    key=texts,
    error=st.none() | texts,
)
places = st.integers(0, 2**62)
descriptors = st.builds(
    Split, file=files, ordinal=places, start=places, stop=st.none() | places, bytes=places, listed=st.none() | texts
)


@given(st.lists(descriptors, max_size=8))
def test_a_plan_reads_back_as_it_was_written(planned: list[Split]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.parquet"
        splits.write_plan(path, Splits.of(planned))
        assert [splits.read_plan(path, at) for at in range(len(planned))] == planned


def test_a_plan_of_many_splits_is_small_and_quick_to_look_up(tmp_path: Path) -> None:
    file = some_split("folder/" + "x" * 200).file
    planned = [Split(file, at, at, at + 1, 1) for at in range(20_000)]
    splits.write_plan(tmp_path / "plan.parquet", Splits.of(planned))
    assert (tmp_path / "plan.parquet").stat().st_size < 500_000
    assert splits.read_plan(tmp_path / "plan.parquet", 19_999) == planned[-1]


def test_a_split_says_where_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl.zst", packed(jsonl([sharegpt("x", ("human", "a"))]), "jsonl.zst"))
    (split,) = plan(path).splits
    assert str(split) == "a.jsonl.zst split 0 (bytes 0-end)"
