"""Sources that cannot be read, wholly or in places: each has its documented outcome, and neighbours are unharmed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.feedback import ROW_OUTCOMES
from tests import builders
from tests.faults import kills, rig
from tests.faults.rig import Run
from transforms.io import snapshots

pytestmark = pytest.mark.faults

Make = Callable[[Path], None]

_GOOD = rig.chats(1, 60)
_OTHERS = rig.chats(2, 40, first=5000)
"""What the file in question holds, as far as it can be read: other chats of other users."""


def _loud(count: int, first: int) -> list[rig.Row]:
    """Chats that cannot be compressed, so that a file of them is longer than what planning looks at."""
    rng = random.Random(first)
    made = rig.chats(3, count, first)
    for row in made:
        row["conversation"][1]["content"] += "".join(rng.choices("abcdefghijklmnopqrstuvwxyz ", k=6_000))
    return made


def _cut_off(path: Path) -> None:
    data = rig.write_chats(path, _OTHERS, frames=1).read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


def _cut_off_late(path: Path) -> None:
    data = rig.write_chats(path, _loud(80, 5000), frames=4).read_bytes()
    assert len(data) > 250_000
    path.write_bytes(data[: len(data) * 2 // 3])


def _footer(path: Path) -> None:
    data = bytearray(rig.write_chats(path, _OTHERS).read_bytes())
    data[-60:-8] = b"\xff" * 52
    path.write_bytes(data)


def _no_footer(path: Path) -> None:
    data = rig.write_chats(path, _OTHERS).read_bytes()
    path.write_bytes(data[:-100])


def _damaged_page(path: Path) -> None:
    data = bytearray(rig.write_chats(path, _OTHERS).read_bytes())
    data[len(data) // 4 : len(data) // 4 + 300] = b"\xff" * 300
    path.write_bytes(data)


def _other_columns(path: Path) -> None:
    pq.write_table(pa.table({"a": [1, 2], "b": ["x", "y"]}), path)


def _other_types(path: Path) -> None:
    pq.write_table(pa.table({"conversation_hash": ["1", "2"], "conversation": ["x", "y"]}), path)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("cut.jsonl.zst", _cut_off),
        ("late.jsonl.zst", _cut_off_late),
        ("late.jsonl.gz", _cut_off_late),
        ("footer.parquet", _footer),
        ("nofooter.parquet", _no_footer),
        ("page.parquet", _damaged_page),
        ("columns.parquet", _other_columns),
        ("types.parquet", _other_types),
        ("empty.parquet", _empty),
    ],
)
def test_a_source_that_cannot_be_read(tmp_path: Path, name: str, make: Make) -> None:
    """It fails the run and is named; ``skip`` publishes without it; mended, the neighbours are not computed again."""
    sources = tmp_path / "sources"
    rig.write_chats(sources / "good.jsonl", _GOOD)
    make(sources / name)
    run = Run(rig.write_config(tmp_path, sources, split_bytes=40_000), tmp_path / "out", workers=1)

    run.end().expect_failure(name, "nothing was published", "on_source_error=skip")
    rig.expect_unpublished(run.output)
    kept = rig.stamps(run.work / "receipts") if run.work else {}
    assert kept, "the neighbours' splits are committed"

    skipped = run.with_("on_source_error=skip").end().expect(0).facts
    assert skipped["splits"]["computed"] == 0
    assert skipped["splits"]["reused"] == len(kept)
    entry, good = _entries(run, name)
    assert name in entry["error"] and str(tmp_path) not in entry["error"]
    assert good["error"] is None and good["rows"] == len(_GOOD)
    assert name in (snapshots.latest(run.output) / "report.html").read_text()
    assert entry["error"].split(":")[-1].strip()[:20] in (snapshots.latest(run.output) / "report.html").read_text()

    rig.write_chats(sources / name, _OTHERS)
    mended = run.end().expect(0).facts
    assert mended["splits"]["reused"] >= sum(
        1 for part in kept if rig.stamps(run.work / "receipts")[part] == kept[part]
    )
    assert kept.items() <= rig.stamps(run.work / "receipts").items()
    entry, _ = _entries(run, name)
    assert entry["error"] is None and entry["rows"] == len(_OTHERS)
    rig.expect_tidy(run.output)

    fresh = run.with_(output=tmp_path / "fresh")
    fresh.end().expect(0)
    assert rig.checksums(run.output) == rig.checksums(fresh.output)


def _entries(run: Run, name: str) -> tuple[rig.Row, rig.Row]:
    """The manifest's entries of the source in question and of its neighbour."""
    named = {entry["uri"]: entry for entry in rig.expect_sound(run.output)["sources"]}
    return named[name], named["good.jsonl"]


def _deep() -> bytes:
    return b'{"conversation_hash": "deep", "conversation": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"


def _long() -> bytes:
    row = rig.chat(9_999, random.Random(0))
    row["conversation"][1]["content"] = "far too long " * 4_000_000
    return builders.jsonl([row])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (lambda: b'{"conversation_hash": "\xff\xfe", "conversation": []}\n', "invalid_utf8"),
        (_long, "line_too_long"),
        (_deep, "invalid_json"),
        (lambda: b'{"conversation_hash": "x", "conversation": "no list"}\n', "schema_mismatch"),
        (lambda: b'{"conversation_hash": "x", "conversati\n', "invalid_json"),
    ],
)
def test_a_line_that_cannot_be_read(tmp_path: Path, line: Callable[[], bytes], reason: str) -> None:
    """It is one rejected row at its place; the lines around it are not touched."""
    assert reason in ROW_OUTCOMES
    before = builders.jsonl(_GOOD[:30])
    builders.write(tmp_path / "sources" / "lines.jsonl", before + line() + builders.jsonl(_GOOD[30:]))
    run = Run(rig.write_config(tmp_path, tmp_path / "sources", split_bytes=40_000), tmp_path / "out", workers=1)
    facts = run.end().expect(0).facts
    assert facts["rows_rejected"] == {reason: 1}
    assert facts["rows_read"] == len(_GOOD) + 1
    rig.expect_sound(run.output)
    paths = snapshots.shard_paths(snapshots.latest(run.output), "rejected")
    row = pl.read_parquet(paths).filter(pl.col("unit") == "row").row(0, named=True)
    assert (row["source_row"], row["reason"], row["source_uri"]) == (len(before), reason, "lines.jsonl")


def test_empty_files_hold_no_rows(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    rig.write_chats(sources / "good.jsonl", _GOOD)
    for name in ("empty.jsonl", "empty.jsonl.zst", "empty.jsonl.gz"):
        _empty(sources / name)
    builders.write(sources / "blank.jsonl", b"\n\n \n")
    builders.write(sources / "nothing.jsonl.zst", builders.packed(b"", "jsonl.zst"))
    pq.write_table(pa.Table.from_pylist(_GOOD).slice(0, 0), sources / "empty.parquet")
    run = Run(rig.write_config(tmp_path, sources), tmp_path / "out", workers=1)
    facts = run.end().expect(0).facts
    assert facts["rows_read"] == len(_GOOD) and facts["rows_rejected"] == {}
    assert len(rig.expect_sound(run.output)["sources"]) == 7


def test_nothing_but_empty_files(tmp_path: Path) -> None:
    _empty(builders.write(tmp_path / "sources" / "empty.jsonl", b""))
    run = Run(rig.write_config(tmp_path, tmp_path / "sources"), tmp_path / "out", workers=1)
    assert run.end().expect(0).facts["rows_read"] == 0
    assert rig.expect_sound(run.output)["shards"] == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_directory_that_vanishes_while_the_run_reads_it(tmp_path: Path, workers: int) -> None:
    """It is named, what was committed stays, and once it is back the rest is computed."""
    for at, name in enumerate(("stays", "goes")):
        rig.write_chats(tmp_path / name / "chats.jsonl", rig.chats(at, 120, first=1000 * at))
    config = rig.write_config(
        tmp_path,
        tmp_path / "stays",
        tmp_path / "goes",
        audited=True,
        split_bytes=20_000,
        sources=[{"uri": [str(tmp_path / "stays"), str(tmp_path / "goes")], "root": str(tmp_path)}],
    )
    run = Run(config, tmp_path / "out", workers, env={rig.AUDIT: str(tmp_path / "audit"), rig.PAUSE: "0.15"})
    started = run.start()
    assert started.until(kills.moment(run, "rows", 10, kills.seeded()))
    (tmp_path / "goes").rename(tmp_path / "gone")
    started.end().expect_failure("goes/chats.jsonl", "nothing was published")
    rig.expect_unpublished(run.output)
    assert run.work is not None
    kept = rig.stamps(run.work / "receipts")
    assert kept

    run.end().expect_failure(str(tmp_path / "goes"))
    (tmp_path / "gone").rename(tmp_path / "goes")
    facts = run.end().expect(0).facts
    assert facts["splits"]["reused"] == len(kept)
    assert kept.items() <= rig.stamps(run.work / "receipts").items()
    rig.expect_sound(run.output)
    rig.expect_tidy(run.output)
    fresh = run.with_(output=tmp_path / "fresh")
    fresh.end().expect(0)
    assert rig.checksums(run.output) == rig.checksums(fresh.output)
