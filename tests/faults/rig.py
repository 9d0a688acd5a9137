"""Real runs to be broken: small chat logs, the ``sluice`` command as a subprocess, and what it leaves on disk."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from pipelines import presentations
from schemas.provenance import Container
from tests import builders
from transforms.io import files, snapshots, verification

COMMAND = Path(sys.executable).with_name("sluice")
AUDIT = "SLUICE_FAULTS_AUDIT"
"""Where the audited stage notes each split it is given."""
PAUSE = "SLUICE_FAULTS_PAUSE"
"""Seconds the audited stage rests on each split."""
POLL_SECONDS = 0.002
GIVE_UP_SECONDS = 120.0

Row = dict[str, Any]

_SAID = (
    "That's wrong, it does not compile.",
    "Thank you so much, that works perfectly!",
    "You are useless, I hate this.",
    "Thanks! Now please explain the third step in more detail.",
    "Tell me more about the second one.",
    "And how would one do the same in another country?",
)
_THINGS = "river mountain library garden engine compiler recipe letter museum harbour bridge orchestra".split()

_AUDITED_STAGE = f'''\
"""A stage that changes nothing: it notes in a file which split it is given, and rests."""
import os
import time


def attempt(frame):
    if frame.height:
        first = frame.row(0, named=True)
        line = f"{{os.getpid()}} {{first['source_uri']}} {{first['source_row']}}\\n"
        with open(os.environ[{AUDIT!r}], "a") as audit:
            audit.write(line)
        time.sleep(float(os.environ.get({PAUSE!r}, "0")))
    return frame
'''


def chat(number: int, rng: random.Random, turns: int = 3) -> Row:
    """A chat as WildChat-1M has it. Some are said by the same users, some twice."""
    thing, other = rng.choice(_THINGS), rng.choice(_THINGS)
    user = f"{rng.randrange(200):064x}"
    messages: list[Row] = []
    for turn in range(turns):
        asked = f"Please describe the {thing} number {number} beside the {other}, part {turn}, in a few plain words."
        told = f"The {thing} number {number} stands beside the {other}. " * rng.randrange(3, 9)
        for role, text in (("user", rng.choice(_SAID) if turn else asked), ("assistant", told)):
            messages.append({"role": role, "content": text, "language": "English", "toxic": False, "redacted": False})
    return {
        "conversation_hash": f"{number:032x}",
        "model": "gpt-4",
        "conversation": messages,
        "language": "English",
        "toxic": False,
        "redacted": False,
        "hashed_ip": user,
    }


def chats(seed: int, count: int, first: int = 0) -> list[Row]:
    """So many chats, every fiftieth of them a copy."""
    rng = random.Random(seed)
    made = [chat(first + number, rng) for number in range(count)]
    return [made[at // 2] if at % 50 == 49 else row for at, row in enumerate(made)]


def write_chats(path: Path, rows: Sequence[Row], frames: int = 3) -> Path:
    """Chats as a file of the container that its name promises; Parquet in row groups of twenty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path, row_group_size=20)
        return path
    container: Container = "jsonl.zst" if path.suffix == ".zst" else "jsonl.gz" if path.suffix == ".gz" else "jsonl"
    return builders.write(path, builders.packed(builders.jsonl(rows), container, frames))


def write_config(folder: Path, *uris: Path | str, audited: bool = False, **settings: Any) -> Path:
    """A config over some sources, without mining; with the audited stage if wanted."""
    folder.mkdir(parents=True, exist_ok=True)
    values: Row = {
        "pipeline": "feedback",
        "dataset": {"name": "faults", "license": "cc0-1.0"},
        "sources": [{"uri": [str(uri) for uri in uris]}],
        "mining": {"window": 0},
        "subset": {"test_fraction": 0.1},
        **settings,
    }
    if audited:
        (folder / "audit.py").write_text(_AUDITED_STAGE)
        values["stages"] = [{"use": "audit.py:attempt", "after": "extract turns"}]
    path = folder / "faults.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@dataclass
class Ended:
    """How a run ended."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def facts(self) -> Row:
        """What ``--json`` printed."""
        facts: Row = json.loads(self.out)
        return facts

    @property
    def told(self) -> list[str]:
        """Standard error's lines that are ours."""
        return [line for line in self.err.splitlines() if line.startswith("sluice: ")]

    def expect(self, code: int) -> Ended:
        """Ended with this code, and said no more than it should."""
        assert self.code == code, f"exit {self.code}, expected {code}\n{self.out}\n{self.err}"
        assert "Traceback" not in self.err, self.err
        return self

    def expect_failure(self, *words: str, code: int = 1) -> Ended:
        """Ended with one line that has these words, and the command that resumes."""
        self.expect(code)
        assert len(self.told) == 1, self.err
        for word in words:
            assert word in self.told[0], f"{word!r} not in {self.told[0]!r}"
        if code == 1:
            assert "resume with: sluice run" in self.err, self.err
        assert len(self.err.strip().splitlines()) <= 2, self.err
        return self


@dataclass
class Started:
    """A run under way."""

    process: subprocess.Popen[str]
    began: float
    output: Path

    def workers(self) -> list[psutil.Process]:
        return workers_of(self.output)

    def end(self, timeout: float = GIVE_UP_SECONDS) -> Ended:
        """Wait for its end."""
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            raise AssertionError(f"still running after {timeout} s\n{out}\n{err}") from None
        return Ended(self.process.returncode, out, err, time.monotonic() - self.began)

    def until(self, reached: Callable[[], bool]) -> bool:
        """Wait until something holds; false if the run ended before."""
        until = time.monotonic() + GIVE_UP_SECONDS
        while not reached():
            if self.process.poll() is not None:
                return False
            assert time.monotonic() < until, "the run is stuck"
            time.sleep(POLL_SECONDS)
        return True

    def kill(self) -> None:
        """Kill -9 of the main process alone, as a user's kill would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()


@dataclass(frozen=True)
class Run:
    """A command to run, as often as it takes."""

    config: Path
    output: Path
    workers: int = 2
    settings: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    options: tuple[str, ...] = ("--json", "--trust-code")

    @property
    def arguments(self) -> list[str]:
        chosen = [part for setting in self.settings for part in ("--set", setting)]
        place = ["--output", str(self.output), "--workers", str(self.workers)]
        return [str(COMMAND), "run", str(self.config), *place, *chosen, *self.options]

    def with_(self, *settings: str, **changes: Any) -> Run:
        """The same command, changed."""
        return replace(self, settings=(*self.settings, *settings), **changes)

    def start(self, **env: str) -> Started:
        began = time.monotonic()
        process = subprocess.Popen(
            self.arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.cwd,
            env={**os.environ, **self.env, **env},
            start_new_session=True,
        )
        return Started(process, began, self.output)

    def end(self) -> Ended:
        """Run it to its end."""
        return self.start().end()

    @property
    def work(self) -> Path | None:
        """The plan's work area."""
        found = [path for path in (self.output / "work").glob("*") if len(path.name) == 16 and path.is_dir()]
        assert len(found) <= 1, found
        return found[0] if found else None

    def names(self, folder: str, pattern: str = "[!.]*") -> list[str]:
        """Finished files in a folder of the work area."""
        return [path.name for path in self.work.glob(f"{folder}/{pattern}")] if self.work else []

    def phase(self) -> str:
        """How far a run has come, by what is on disk."""
        attempts = list((self.output / "snapshots").glob(".attempt-*"))
        if attempts:
            return "publication"
        if not self.names("lists", "*/DONE"):
            return "keys" if self.names("keytables") else "start"
        if not self.names("shards"):
            return "rows"
        return "shards"


def workers_of(output: Path) -> list[psutil.Process]:
    """Living worker processes that write to an output, whoever started them."""
    found = []
    for process in psutil.process_iter():
        try:
            lock = process.environ().get("SLUICE_WORKER_LOCK", "")
            if lock.startswith(f"{output}/") and "pipelines.worker" in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return [process for process in found if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def seconds_until(holds: Callable[[], bool], within: float) -> float:
    """How long it takes until something holds."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < within, f"not within {within} s"
        time.sleep(0.02)
    return time.monotonic() - began


def checksums(output: Path) -> dict[str, str]:
    """SHA-256 of all that must be the same bytes in the newest snapshot."""
    snapshot = snapshots.latest(output)
    held = [f"{kind}/{name}" for kind in ("data", "rejected") for name in files.names(snapshot / kind)]
    return {name: files.sha256(snapshot / name) for name in (*sorted(held), "manifest.json")}


def expect_sound(output: Path) -> Row:
    """Whatever is published is sound: LATEST names a complete snapshot, and so is every other. Gives the manifest."""
    newest = snapshots.latest(output)
    for snapshot in [path for path in (output / "snapshots").iterdir() if not path.name.startswith(".")]:
        assert list(verification.problems(snapshot, presentations.of(snapshots.manifest(snapshot)))) == []
        assert {p.name for p in snapshot.iterdir()} >= {"manifest.json", "run.json", "README.md", "report.html"}
    return snapshots.manifest(newest)


def expect_unpublished(output: Path) -> None:
    """Nothing was published."""
    assert not (output / "LATEST").exists()
    assert list((output / "snapshots").glob("[!.]*")) == []


def expect_tidy(output: Path) -> None:
    """No half-written file or directory is left."""
    left = [path for path in output.rglob(".*") if not path.name.startswith(".probe")]
    assert left == []


def stamps(folder: Path, pattern: str = "[!.]*") -> dict[str, tuple[int, int]]:
    """What tells that a committed file was never written again: inode and time, by name."""
    found = {}
    for path in folder.glob(pattern):
        state = path.stat()
        found[path.name] = (state.st_ino, state.st_mtime_ns)
    return found
