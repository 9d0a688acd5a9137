"""Entry of a local worker process: Beam's SDK harness, which dies with its parent and says what it works on.

Started as ``python -P -m pipelines.worker``, so that no module of the user's working directory is imported
in place of ours.
"""

from __future__ import annotations

import fcntl
import io
import os
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

PARENT = "SLUICE_PARENT"
LOCK = "SLUICE_WORKER_LOCK"
CLAIMS = "SLUICE_CLAIMS"
IDLE = "no split"

T = TypeVar("T")

_claimed: dict[str, None] = {}
_arrived: set[Path] = set()


def claim(what: str) -> None:
    """Note that this process works on something, for the watchdog that names it should the process be killed."""
    _claimed[what] = None
    _note()


def release(what: str) -> None:
    """Note that it is done with it."""
    _claimed.pop(what, None)
    _note()


def arrive(piece: T, work: Path) -> T:
    """Pass on a piece of work. The first in a process leaves a sign of life in the work area: a cluster that cannot start
    Python says nothing."""
    if work not in _arrived:
        _arrived.add(work)
        from transforms.io import files

        files.write_bytes(work / "arrived" / f"{socket.gethostname()}-{os.getpid()}", b"")
    return piece


def arrived(work: Path) -> bool:
    """Whether a worker has given a sign of life."""
    from transforms.io import files

    return bool(files.names(work / "arrived"))


def forget_arrivals(work: Path) -> None:
    """Remove the signs of earlier workers."""
    from transforms.io import files

    files.remove(work / "arrived")


def _note() -> None:
    if folder := os.environ.get(CLAIMS):
        Path(folder, str(os.getpid())).write_text(", ".join(_claimed) or IDLE)


class _Log(io.FileIO):
    """A log that may lose lines, as on a full disk: Beam prints what failed before it reports it."""

    def write(self, data: Any) -> int:
        with suppress(OSError):
            super().write(data)
        return len(data)


def die_with(parent: int) -> None:
    """End this process when its parent does."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)


def main() -> None:
    """Run the harness until the runner hangs up."""
    parent = int(os.environ[PARENT])
    if os.getppid() != parent:
        return
    threading.Thread(target=die_with, args=(parent,), daemon=True).start()
    sys.stdout = sys.stderr = io.TextIOWrapper(io.BufferedWriter(_Log(2, "w")), line_buffering=True)
    lock = open(os.environ[LOCK], "a")
    fcntl.flock(lock, fcntl.LOCK_SH)
    _note()
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main([])
    Path(os.environ[CLAIMS], str(os.getpid())).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
