"""One run at a time writes to an output.

On a disk its lock is the system's, gone with the process that holds it. On a store it is the newest of numbered objects,
``work/lock/00000001.json`` and so on: each says who holds it and when that was last renewed. Whoever finds it given back or
expired creates the next number, which only one can.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import platform
import re
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO

import psutil

from transforms.io import files

RENEWED_SECONDS = 10.0
"""How often the holder renews its lock on a store."""

EXPIRED_SECONDS = 60.0
"""Age at which a lock that was not renewed is taken over, and its holder, should it live, ends itself."""

_OLD_WORKERS_SECONDS = 30.0
_NUMBERED = re.compile(r"(\d{8})\.json")


class OutputBusyError(Exception):
    """Another run writes to this output."""


@contextmanager
def locked(work: Path) -> Iterator[Callable[[], None]]:
    """Hold the output's lock; wait for workers of a killed run to be gone.

    Gives a check that the lock is still held, which raises OutputBusyError where another run took it over.

    Raises:
        OutputBusyError: another run holds the lock.
    """
    with (_locked_object if files.on_store(work) else _locked_file)(work) as expect_held:
        with (scratch(work) / "workers.lock").open("a") as workers:
            _wait_for_lock(workers, work)
        yield expect_held


def scratch(work: Path) -> Path:
    """Where a run's processes on this machine keep what nobody else needs, logs and locks: the work area, if it is here."""
    if not files.on_store(work):
        return work
    name = hashlib.sha256(str(work).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir(), f"sluice-{os.getuid()}-{name}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise OutputBusyError(f"{folder}: expected a folder of this user; remove it")
    return folder


@contextmanager
def _locked_file(work: Path) -> Iterator[Callable[[], None]]:
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise _busy(work, f"process {lock.read().strip() or '?'}") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield lambda: None


def _busy(work: Path, who: str) -> OutputBusyError:
    return OutputBusyError(
        f"{work.parent}: expected to be alone, but {who} is writing there; wait for it or give another --output"
    )


def _wait_for_lock(workers: IO[str], work: Path) -> None:
    """Take and release the lock that every worker shares while it lives."""
    until = time.monotonic() + _OLD_WORKERS_SECONDS
    while True:
        try:
            fcntl.flock(workers, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise OutputBusyError(f"{work.parent}: workers of an earlier run are still alive") from None
            time.sleep(0.1)


# --- on a store -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Holder:
    """Who holds a lock. ``machine`` tells apart those whose process numbers mean nothing to each other.

    ``started`` and ``renewed`` are seconds since 1970; ``run`` is unique to the holder.
    """

    run: str
    host: str
    machine: str
    process: int
    started: float
    renewed: float
    released: bool = False


class _Lock:
    """The lock of a store's output, as one run sees it."""

    def __init__(self, work: Path) -> None:
        self.work, self.folder = work, work / "lock"
        here = psutil.Process()
        self.holder = Holder(uuid.uuid4().hex, platform.node(), _machine(), here.pid, here.create_time(), 0.0)
        self.number = 0
        self.renewed = 0.0

    def take(self) -> None:
        """Raises OutputBusyError while somebody else holds it."""
        while True:
            newest = self._newest()
            if newest and (held := self._read(newest)) and not _over(held, partial(self._read, newest)):
                raise _busy(self.work, f"process {held.process} on {held.host}")
            self.number = newest + 1
            if self._write(files.create) and self._newest() == self.number:
                break
        for name in files.names(self.folder):
            if (found := _NUMBERED.fullmatch(name)) and int(found[1]) < self.number:
                (self.folder / name).unlink(missing_ok=True)

    def renew(self) -> None:
        """Raises OutputBusyError if another run has taken the lock over."""
        self.expect_held()
        self._write(files.write_bytes)

    def expect_held(self) -> None:
        """Raises OutputBusyError if another run has, or may have, taken the lock over."""
        if time.monotonic() - self.renewed > EXPIRED_SECONDS or self._newest() != self.number:
            raise OutputBusyError(
                f"{self.work.parent}: the output's lock was not renewed in time, and is another run's now"
            )

    def release(self) -> None:
        """Give it back."""
        self.holder = replace(self.holder, released=True)
        self.renew()

    def _write(self, how: Callable[[Path, bytes], object]) -> object:
        began = time.monotonic()
        self.holder = replace(self.holder, renewed=time.time())
        written = how(self._path(self.number), json.dumps(asdict(self.holder)).encode())
        self.renewed = began
        return written

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08}.json"

    def _newest(self) -> int:
        found = (_NUMBERED.fullmatch(name) for name in files.names(self.folder))
        return max((int(name[1]) for name in found if name), default=0)

    def _read(self, number: int) -> Holder | None:
        """Who holds a number; None once it is gone."""
        try:
            return Holder(**json.loads(self._path(number).read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            raise OutputBusyError(f"{self._path(number)}: is no lock; remove it if no run writes there") from None


def _over(held: Holder, again: Callable[[], Holder | None]) -> bool:
    """Whether a lock was given back, its process is dead, or it expired.

    A process of this machine is looked for. Of others only time tells; since their clocks may differ from this one's, a
    lock that looks expired is watched for a while.
    """
    if held.released:
        return True
    if held.machine == _machine():
        try:
            return psutil.Process(held.process).create_time() != held.started
        except psutil.NoSuchProcess:
            return True
    if time.time() - held.renewed < EXPIRED_SECONDS:
        return False
    time.sleep(2 * RENEWED_SECONDS)
    return again() == held


def _machine() -> str:
    """Names this boot of this machine, and on Linux the container, without telling what they are called."""
    facts = [platform.node(), str(psutil.boot_time())]
    with suppress(OSError):
        processes = Path("/proc/self/ns/pid").readlink()
        facts = [platform.node(), Path("/proc/sys/kernel/random/boot_id").read_text(), str(processes)]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


@contextmanager
def _locked_object(work: Path) -> Iterator[Callable[[], None]]:
    lock = _Lock(work)
    lock.take()
    finished = threading.Event()
    renewing = threading.Thread(target=_renew, args=(lock, finished), name="lock", daemon=True)
    renewing.start()
    try:
        yield lock.expect_held
    finally:
        finished.set()
        renewing.join()
        with suppress(Exception):  # it expires
            lock.release()


def _renew(lock: _Lock, finished: threading.Event) -> None:
    """Renew a lock until the run is finished; end the run when that is no longer possible."""
    while not finished.wait(RENEWED_SECONDS):
        try:
            lock.renew()
        except OutputBusyError as error:
            from pipelines.local import end_workers

            end_workers()
            sys.stderr.write(f"\nsluice: {error}; what is committed is kept\n")
            sys.stderr.flush()
            os._exit(1)
        except Exception as error:  # of the store; there is time left
            logging.warning("the output's lock was not renewed: %r", error)
