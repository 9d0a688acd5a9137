"""Progress, told by a thread that counts finished files; the same whatever computes them."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

_POLL_SECONDS = 0.25


class Progress:
    """Shows the phases of a run on standard error, unless it is quiet."""

    def __init__(self, console: Console, quiet: bool) -> None:
        self.console, self.quiet = console, quiet

    @contextmanager
    def phase(self, name: str, total: int, folder: Path) -> Iterator[None]:
        """Show a phase that leaves one file in ``folder`` for each of ``total`` pieces of work."""
        if self.quiet:
            yield
            return
        columns = [TextColumn("{task.description:>7}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
        with Bars(*columns, TextColumn("{task.fields[speed]}"), console=self.console) as bars:
            task = bars.add_task(name, total=total, speed="")
            finished = threading.Event()
            seen: set[str] = set()
            rows, began = 0, time.monotonic()
            first = _names(folder)

            def poll() -> None:
                nonlocal rows
                now = _names(folder)
                for new in now - seen - first if name == "rows" else ():
                    rows += _rows(folder / new)
                seen.update(now)
                speed = f"{rows / (time.monotonic() - began):,.0f} rows/s" if rows else ""
                bars.update(task, completed=min(len(now), total), speed=speed)

            def watch() -> None:
                while not finished.wait(_POLL_SECONDS):
                    poll()

            thread = threading.Thread(target=watch, daemon=True)
            thread.start()
            try:
                yield
                poll()
            finally:
                finished.set()
                thread.join()


def _names(folder: Path) -> set[str]:
    if not folder.exists():
        return set()
    return {entry.name for entry in os.scandir(folder) if not entry.name.startswith(".")}


def _rows(receipt: Path) -> int:
    try:
        return int(json.loads(receipt.read_bytes())["stages"][0]["rows_in"])
    except (OSError, ValueError, LookupError):
        return 0
