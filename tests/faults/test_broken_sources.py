"""Sources that cannot be read, wholly or in places: each has its documented outcome, and neighbours are unharmed."""

from __future__ import annotations

import html
import random
from collections import Counter
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


_UNREADABLE: dict[str, Make] = {
    "cut.jsonl.zst": _cut_off,
    "late.jsonl.zst": _cut_off_late,
    "late.jsonl.gz": _cut_off_late,
    "footer.parquet": _footer,
    "nofooter.parquet": _no_footer,
    "page.parquet": _damaged_page,
    "columns.parquet": _other_columns,
    "types.parquet": _other_types,
    "empty.parquet": _empty,
}


@pytest.mark.parametrize("name", _UNREADABLE)
def test_a_source_that_cannot_be_read_fails_the_run(tmp_path: Path, name: str) -> None:
    rig.write_chats(tmp_path / "sources" / "good.jsonl", _GOOD)
    _UNREADABLE[name](tmp_path / "sources" / name)
    run = Run(rig.write_config(tmp_path, tmp_path / "sources", split_bytes=40_000), tmp_path / "out", workers=1)
    run.end().expect_failure(name, "nothing was published", "on_source_error=skip")
    rig.expect_unpublished(run.output)
    assert len(run.names("receipts")) >= 3, "the neighbour's splits are committed"


@pytest.mark.parametrize("workers", [1, 2])
def test_sources_that_cannot_be_read_are_left_out_and_later_mended(tmp_path: Path, workers: int) -> None:
    """``skip`` publishes without them and names each; once they are mended, their neighbours are not computed again."""
    sources = tmp_path / "sources"
    rig.write_chats(sources / "good.jsonl", _GOOD)
    for name, make in _UNREADABLE.items():
        make(sources / name)
    run = Run(rig.write_config(tmp_path, sources, split_bytes=40_000), tmp_path / "out", workers)
    run.end().expect_failure("more, see failures/")
    rig.expect_unpublished(run.output)
    assert run.work is not None
    kept = rig.stamps(run.work / "receipts")

    skipped = run.with_("on_source_error=skip").end().expect(0).facts
    assert skipped["splits"]["computed"] == 0
    assert skipped["splits"]["reused"] == len(kept)
    entries = _entries(run)
    report = (snapshots.latest(run.output) / "report.html").read_text()
    for name in _UNREADABLE:
        assert name in entries[name]["error"] and str(tmp_path) not in entries[name]["error"]
        assert html.escape(entries[name]["error"][:40], quote=False) in report
    assert entries["good.jsonl"]["error"] is None and entries["good.jsonl"]["rows"] == len(_GOOD)

    for at, name in enumerate(_UNREADABLE):
        rig.write_chats(sources / name, rig.chats(10 + at, 40, first=1000 * (10 + at)))
    mended = run.end().expect(0).facts
    assert mended["splits"]["reused"] >= 3
    assert kept.items() <= rig.stamps(run.work / "receipts").items()
    entries = _entries(run)
    assert all(entries[name]["error"] is None and entries[name]["rows"] == 40 for name in _UNREADABLE)
    rig.expect_tidy(run.output)

    fresh = run.with_(output=tmp_path / "fresh")
    fresh.end().expect(0)
    assert rig.checksums(run.output) == rig.checksums(fresh.output)


def _entries(run: Run) -> dict[str, rig.Row]:
    """The manifest's sources, by name."""
    return {entry["uri"]: entry for entry in rig.expect_sound(run.output)["sources"]}


def _deep() -> bytes:
    return b'{"conversation_hash": "deep", "conversation": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"


def _long() -> bytes:
    row = rig.chat(9_999, random.Random(0))
    row["conversation"][1]["content"] = "far too long " * 4_000_000
    return builders.jsonl([row])


def test_lines_that_cannot_be_read(tmp_path: Path) -> None:
    """Each is one rejected row at its place; the lines around it are not touched."""
    lines = (
        (b'{"conversation_hash": "\xff\xfe", "conversation": []}\n', "invalid_utf8"),
        (_long(), "line_too_long"),
        (_deep(), "invalid_json"),
        (b'{"conversation_hash": "x", "conversation": "no list"}\n', "schema_mismatch"),
        (b'{"conversation_hash": "x", "conversati\n', "invalid_json"),
    )
    data, expected = b"", []
    for at, (line, reason) in enumerate(lines):
        assert reason in ROW_OUTCOMES
        data += builders.jsonl(_GOOD[10 * at : 10 * at + 10])
        expected.append((len(data), reason, "lines.jsonl"))
        data += line
    builders.write(tmp_path / "sources" / "lines.jsonl", data + builders.jsonl(_GOOD[50:]))
    run = Run(rig.write_config(tmp_path, tmp_path / "sources", split_bytes=40_000), tmp_path / "out", workers=1)
    facts = run.end().expect(0).facts
    assert facts["rows_rejected"] == dict(sorted(Counter(reason for _, reason in lines).items()))
    assert facts["rows_read"] == len(_GOOD) + len(lines)
    rig.expect_sound(run.output)
    paths = snapshots.shard_paths(snapshots.latest(run.output), "rejected")
    rows = pl.read_parquet(paths).filter(pl.col("unit") == "row")
    assert rows.select("source_row", "reason", "source_uri").rows() == expected


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
