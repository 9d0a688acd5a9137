"""Parts and the receipts that commit them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from schemas.provenance import Chunk, Receipt, StageCount
from tests.builders import some_split
from transforms.io import parts, receipts
from transforms.io.parts import PartError

KEPT = pa.table({"label": pa.array([1, 4, 1], pa.int8()), "subset": ["train", "test", "train"]})
REJECTED = pa.table({"reason": ["neutral", "neutral"]})
STAGES = (
    StageCount("read", "row", 9, 8, {"invalid_json": 1}, 0.5),
    StageCount("filter", "instance", 5, 3, {"neutral": 2}, 0.1),
)


def commit(work: Path, part: str = "part", kept: pa.Table = KEPT, rejected: pa.Table = REJECTED) -> Receipt:
    chunk = Chunk(some_split(), kept, rejected, STAGES, "digest of the source")
    return parts.commit(work, part, "plan", chunk, kept, {"labels": {"train/1": 2, "test/4": 1}}, 1.23456)


def committed(work: Path) -> set[str]:
    return set(receipts.listing(work)["part"])


def test_a_committed_part_and_its_receipt_read_back_as_they_were_written(tmp_path: Path) -> None:
    receipt = commit(tmp_path)
    assert parts.read_receipt(parts.receipt_path(tmp_path, "part")) == receipt
    assert (receipt.kept, receipt.rejected, receipt.stages) == (3, 2, STAGES)
    assert receipt.source_sha256 == "digest of the source"
    assert parts.load(tmp_path, receipt, "kept").equals(KEPT)
    assert parts.load(tmp_path, receipt, "rejected").equals(REJECTED)
    assert committed(tmp_path) == {"part"}


def test_tables_without_rows_are_committed_too(tmp_path: Path) -> None:
    receipt = commit(tmp_path, kept=KEPT[:0], rejected=REJECTED[:0])
    assert parts.load(tmp_path, receipt, "kept").equals(KEPT[:0])


def test_the_receipt_is_written_last(tmp_path: Path) -> None:
    commit(tmp_path)
    receipt = parts.receipt_path(tmp_path, "part").stat().st_mtime_ns
    written = [path.stat().st_mtime_ns for path in (tmp_path / "parts").rglob("*.arrow")]
    assert len(written) == 2 and all(receipt >= at for at in written)


@pytest.mark.parametrize("blocked", ["kept", "rejected"])
def test_a_part_that_could_not_be_written_has_no_receipt(tmp_path: Path, blocked: str) -> None:
    (tmp_path / "parts" / "part" / f"{blocked}.arrow" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match=blocked):
        commit(tmp_path)
    assert committed(tmp_path) == set()


def test_a_receipt_that_could_not_be_written_is_none(tmp_path: Path) -> None:
    (tmp_path / "receipts" / "part.json" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match=r"part\.json"):
        commit(tmp_path)
    assert [path.name for path in (tmp_path / "receipts").iterdir()] == ["part.json"], "nothing unfinished is left"


def test_a_receipt_in_the_making_is_no_receipt(tmp_path: Path) -> None:
    commit(tmp_path)
    (tmp_path / "receipts" / ".other.json.123-abc").write_text("{")
    assert committed(tmp_path) == {"part"}
    assert committed(tmp_path / "nothing yet") == set()


def test_committing_a_part_again_gives_the_same_bytes(tmp_path: Path) -> None:
    assert commit(tmp_path / "one").files == commit(tmp_path / "other").files
    first = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    commit(tmp_path / "one")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == first


@pytest.mark.parametrize("name", ["kept", "rejected"])
@pytest.mark.parametrize("damage", ["a flipped bit", "cut short", "gone", "another part's", "empty"])
def test_a_damaged_part_is_noticed_and_computed_again_by_the_next_run(tmp_path: Path, name: str, damage: str) -> None:
    receipt = commit(tmp_path)
    commit(tmp_path, "other", kept=KEPT[:1], rejected=REJECTED[:1])
    path = tmp_path / "parts" / "part" / f"{name}.arrow"
    data = bytearray(path.read_bytes())
    if damage == "a flipped bit":
        data[len(data) // 2] ^= 1
    elif damage == "cut short":
        del data[-1:]
    elif damage == "another part's":
        data = bytearray((tmp_path / "parts" / "other" / f"{name}.arrow").read_bytes())
    elif damage == "empty":
        data.clear()
    path.unlink()
    if damage != "gone":
        path.write_bytes(data)
    with pytest.raises(PartError, match=rf"{name}\.arrow: differs from its receipt; run the same command again"):
        parts.load(tmp_path, receipt, name)
    assert committed(tmp_path) == {"other"}
