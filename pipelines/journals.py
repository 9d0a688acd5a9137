"""What a dataset's journal holds, for ``sluice journal``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from transforms.io import snapshots
from transforms.io.snapshots import SnapshotError
from transforms.models import journal
from transforms.models.budgets import cost
from transforms.models.settings import Price


def facts(output: Path, price: Price) -> dict[str, Any]:
    """The journal's summary, its cost at a price, and what the newest snapshot's stages asked and found there.

    Raises:
        JournalError: a segment is damaged.
        SnapshotError: the directory is no dataset, nor becoming one.
    """
    folder = output / "work" / "journal"
    if not folder.is_dir():
        raise SnapshotError(f"{output}: expected a dataset whose models were asked something; found no {folder}")
    held = asdict(journal.summary(folder))
    return {
        **held,
        "cost": round(cost(price, held["input_tokens"], held["output_tokens"]), 6),
        "last_run": _last(output),
    }


def _last(output: Path) -> dict[str, Any]:
    """Usage of each model stage by the run that published the newest snapshot."""
    try:
        run = json.loads((snapshots.latest(output) / "run.json").read_bytes())
    except (SnapshotError, OSError):
        return {}
    found: dict[str, Any] = run.get("usage", {})
    return found


def show(facts: dict[str, Any]) -> None:
    """Print them for people."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{facts['keys']:,} different requests: {facts['answers']:,} answered, {facts['keys'] - facts['answers']:,} failed; "
        f"sent {facts['requests']:,} times\n{facts['input_tokens']:,} tokens in, {facts['output_tokens']:,} out"
        + (f", cost {facts['cost']:,.4f}" if facts["cost"] else "")
        + f"\n{facts['segments']:,} segments, {facts['bytes']:,} bytes\n"
    )
    table = Table(box=None, pad_edge=False)
    for heading in ("model", "template"):
        table.add_column(heading)
    for heading in ("requests", "answered", "tokens in", "tokens out"):
        table.add_column(heading, justify="right")
    for used in facts["usage"]:
        identity = json.loads(used["identity"])
        numbers = (used["requests"], used["answers"], used["input_tokens"], used["output_tokens"])
        table.add_row(
            f"{identity['engine']} {identity['model']}",
            used["template"],
            *(f"{number:,}" for number in numbers),
        )
    console.print(table)
    for used in facts["usage"]:
        if used["failures"]:
            kinds = ", ".join(f"{kind} {count:,}" for kind, count in used["failures"].items())
            console.print(f"\n{used['template']} failed: {kinds}")
    for stage, used in facts["last_run"].items():
        console.print(
            f"\nlatest snapshot, {stage}: {used['replies']:,} replies: {used['hits']:,} from the journal, "
            f"{used['requests']:,} requests sent, {used['failed']:,} without a valid answer"
        )
