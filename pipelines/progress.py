"""Progress, told by a thread that counts finished files; the same whatever computes them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from transforms.io import files

_POLL_SECONDS = 0.25

_STORE_POLL_SECONDS = 5.0
"""Listing objects is slow, and paid for."""


class Progress:
    """Shows the phases of a run on standard error, unless it is quiet."""

    def __init__(self, console: Console, quiet: bool) -> None:
        self.console, self.quiet = console, quiet

    @contextmanager
    def phase(self, name: str, total: int, folder: Path, journal: Path | None = None) -> Iterator[None]:
        """Show a phase that leaves files in ``folder`` for each of ``total`` pieces of work, named alike up to a dot.

        Answers are counted from the segments that ``journal`` gains.
        """
        if self.quiet:
            yield
            return
        columns = [TextColumn("{task.description:>7}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
        with Bars(*columns, TextColumn("{task.fields[speed]}"), console=self.console) as bars:
            task = bars.add_task(name, total=total, speed="")
            finished = threading.Event()
            seen: set[str] = set()
            rows, began = 0, time.monotonic()
            first = files.names(folder)
            answers, tokens = 0, 0
            segments = files.names(journal) if journal else set()

            def poll() -> None:
                nonlocal rows, answers, tokens
                now = files.names(folder)
                for new in now - seen - first if name == "rows" else ():
                    rows += _rows(folder / new)
                seen.update(now)
                for new in files.names(journal) - segments if journal else ():
                    segments.add(new)
                    added = _answers(journal / new) if journal else (0, 0)
                    answers, tokens = answers + added[0], tokens + added[1]
                seconds = time.monotonic() - began
                speed = [f"{rows / seconds:,.0f} rows/s"] if rows else []
                if answers:
                    speed.append(f"{answers:,} requests ({answers / seconds:,.0f}/s), {tokens:,} tokens")
                bars.update(
                    task, completed=min(len({each.partition(".")[0] for each in now}), total), speed=", ".join(speed)
                )

            def watch() -> None:
                while not finished.wait(_STORE_POLL_SECONDS if files.on_store(folder) else _POLL_SECONDS):
                    poll()

            thread = threading.Thread(target=watch, daemon=True)
            thread.start()
            try:
                yield
                poll()
            finally:
                finished.set()
                thread.join()


def _answers(segment: Path) -> tuple[int, int]:
    """Answers in a segment of the journal, and the tokens they took."""
    try:
        with files.fetched(segment) as here:
            held = pl.read_parquet(here, columns=["input_tokens", "output_tokens"])
    except (OSError, pl.exceptions.PolarsError):
        return 0, 0
    return len(held), int(held["input_tokens"].sum()) + int(held["output_tokens"].sum())


def _rows(receipt: Path) -> int:
    try:
        return int(json.loads(receipt.read_bytes())["stages"][0]["rows_in"])
    except (OSError, ValueError, LookupError):
        return 0
