"""Parts and receipts: a finished split's files, and the record that commits them.

Layout under a plan's work area: ``parts/<part>/{kept,rejected}.arrow`` and ``receipts/<part>.json``. A part is
named after its split and the digest of its list from the key pass, so that it never changes once written. On a
store, where two workers may be at one split after a machine was given up for lost, files are named after their
bytes as well: whichever receipt is created first finds the files that it speaks of.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final

import orjson
import pyarrow as pa

from schemas.provenance import Chunk, Receipt, StageCount
from transforms.io import files

MALFORMED: Final = (ValueError, LookupError, TypeError)
"""What is raised while a receipt is made of something else."""


class PartError(Exception):
    """A part does not hold what its receipt says."""


def commit(
    work: Path, part: str, plan: str, chunk: Chunk, kept: pa.Table, tallies: dict[str, dict[str, int]], seconds: float
) -> Receipt:
    """Write a split's part, then its receipt; on a store the receipt of another worker stands if there is one."""
    sizes: dict[str, dict[str, str | int]] = {}
    folder = work / "parts" / part
    with files.staged(folder) as here:
        for name, table in (("kept", kept), ("rejected", chunk.rejected)):
            path = here / f"{name}.arrow"
            files.write_arrow(path, table)
            sizes[name] = {"bytes": path.stat().st_size, "sha256": files.sha256(path)}
            path.rename(here / _file(folder, name, sizes[name]).name)
    receipt = Receipt(
        part=part,
        split=chunk.split.key,
        plan=plan,
        kept=kept.num_rows,
        rejected=chunk.rejected.num_rows,
        stages=chunk.stages,
        tallies=tallies,
        files=sizes,
        seconds=round(seconds, 3),
        source_sha256=chunk.source_sha256,
    )
    path, data = receipt_path(work, part), json.dumps(asdict(receipt)).encode()
    if not files.on_store(work):
        files.write_bytes(path, data)
    elif not files.create(path, data):
        return read_receipt(path)
    return receipt


def _file(folder: Path, name: str, facts: dict[str, str | int]) -> Path:
    """Where the kept or rejected rows of a part are."""
    return folder / (f"{name}-{facts['sha256']}.arrow" if files.on_store(folder) else f"{name}.arrow")


def receipt_path(work: Path, part: str) -> Path:
    """Where a part's receipt is."""
    return work / "receipts" / f"{part}.json"


def read_receipt(path: Path) -> Receipt:
    """Load a receipt.

    Raises:
        PartError: it cannot be read; it is removed, so that the split is computed again by the next run.
    """
    try:
        return parsed(path.read_bytes())
    except MALFORMED as error:
        path.unlink(missing_ok=True)
        raise PartError(f"{path}: is no receipt; run the same command again to compute its split anew") from error


def parsed(data: bytes) -> Receipt:
    """A receipt of its JSON; one of ``MALFORMED`` is raised if it is none."""
    fields = orjson.loads(data)
    return Receipt(**{**fields, "stages": tuple(StageCount(**s) for s in fields["stages"])})


def load(work: Path, receipt: Receipt, name: str) -> pa.Table:
    """Read the kept or rejected rows of a part.

    Raises:
        PartError: the file is gone or differs from its receipt, which is removed so that the split is
            computed again by the next run.
    """
    path = _file(work / "parts" / receipt.part, name, receipt.files[name])
    with suppress(FileNotFoundError), files.fetched(path) as here:
        if files.sha256(here) == receipt.files[name]["sha256"]:
            return files.read_arrow(here)
    receipt_path(work, receipt.part).unlink(missing_ok=True)
    raise PartError(f"{path}: differs from its receipt; run the same command again to compute it anew")
