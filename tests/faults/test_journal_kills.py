"""The journal under kill -9 and on a full disk. Real processes and mounts; the mounts need root."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from schemas.answers import Answer, Request
from tests.faults import kills
from tests.faults.test_disks import ballast, mount, small_disk
from transforms.models.journal import Journal, merge, summary

__all__ = ["mount", "small_disk"]

pytestmark = pytest.mark.faults

REQUEST = Request((("user", "a question"),), "judge@1")
KILLS = 20

WRITER = """
import itertools, os, secrets, sys
from collections import deque
from pathlib import Path
from schemas.answers import Answer, Request
from transforms.models.journal import Journal

request, waiting = Request((("user", "hello"),), "judge@1"), deque()
with Journal(Path(sys.argv[1]), seconds=0.005, rows=40) as journal:
    for at in itertools.count():
        key = f"{at % 300:016x}{secrets.token_hex(8)}" if at % 2 else f"{at:032x}"
        answer = Answer(f"{os.getpid()} {at} " + secrets.token_hex(200))
        waiting.append((key, journal.add(key, "engine", request, answer)))
        if len(waiting) > 200:
            key, future = waiting.popleft()
            os.write(1, f"{key}\\t{future.result().text}\\n".encode())
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.timeout(300)
def test_no_answer_that_anybody_was_given_is_lost_or_changed_by_kills(tmp_path: Path) -> None:
    """Writers of the same and of different keys, two at a time, killed at any moment."""
    rng = kills.seeded()
    folder = tmp_path / "journal"
    given: dict[str, str] = {}
    running: list[tuple[subprocess.Popen[bytes], Path]] = []
    for number in range(KILLS + 1):
        if len(running) == 2 or number == KILLS:
            writer, out = running.pop(0)
            until = time.monotonic() + 30
            while out.stat().st_size == 0 and time.monotonic() < until:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.3))
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            told = [line.split("\t") for line in out.read_text().split("\n")[:-1]]
            assert told
            for key, text in told:
                assert given.setdefault(key, text) == text, "two were given different answers"
        out = tmp_path / f"writer-{number}"
        with out.open("wb") as stream:
            running.append((subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=stream), out))
    for writer, _ in running:
        writer.kill()
        writer.wait()

    def check() -> None:
        with Journal(folder) as journal:
            assert {key: answer.text for key, answer in journal.find(list(given)).items()} == given
        whole = summary(folder)
        assert whole.requests == len(pl.read_parquet(folder / "*.parquet"))
        print(f"{len(given)} answers given, {whole.requests} kept in {whole.segments} segments")

    check()
    merge(folder)
    check()
    assert [name for name in names(folder) if name.startswith(".")] == []


@pytest.mark.timeout(300)
def test_a_merge_killed_at_any_moment_changes_nothing(tmp_path: Path) -> None:
    rng = kills.seeded()
    folder = tmp_path / "journal"
    entries = {f"{at:032x}": Answer(f"{at} " + "x" * 500) for at in range(12_000)}
    with Journal(folder, seconds=0, rows=10) as journal:
        futures = [journal.add(key, "engine", REQUEST, answer) for key, answer in entries.items()]
        for future in futures:
            future.result(60)
    merging = "import sys; from pathlib import Path; from transforms.models.journal import merge; print(flush=True); "
    states = set()
    for at in range(KILLS):
        for number in range(3):
            key = f"{2**64 + 10 * at + number:032x}"
            with Journal(folder) as journal:
                journal.add(key, "engine", REQUEST, Answer(key))
            entries[key] = Answer(key)
        command = [sys.executable, "-c", merging + "merge(Path(sys.argv[1]), 2)", str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as merger:
            assert merger.stdout is not None
            merger.stdout.readline()
            time.sleep(rng.uniform(0, 0.1))
            merger.kill()
        states.add(len(names(folder)))
        with Journal(folder) as journal:
            assert journal.find(list(entries)) == entries
        assert summary(folder).requests == len(entries)
    assert len(states) > 2
    merge(folder, 2)
    assert [name for name in names(folder) if name.startswith(".")] == []
    assert len(pl.read_parquet(folder / "*.parquet")) == len(entries), "nothing that was merged is left beside it"
    with Journal(folder) as journal:
        assert journal.find(list(entries)) == entries


def test_a_full_disk_is_told_to_all_that_wait_and_what_was_durable_stays(small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("4m")
    folder = disk / "journal"
    with Journal(folder, seconds=60, rows=10) as journal:
        kept = [journal.add(f"{at:032x}", "engine", REQUEST, Answer(str(at))) for at in range(10)]
        assert [future.result(10).text for future in kept] == [str(at) for at in range(10)]
        with ballast(disk):
            lost = [
                journal.add(f"{at:032x}", "engine", REQUEST, Answer(os.urandom(5000).hex())) for at in range(10, 20)
            ]
            for future in lost:
                with pytest.raises(OSError, match=f"No space left on device: '{folder}'"):
                    future.result(10)
        with pytest.raises(OSError, match="No space left on device"):
            journal.add(f"{30:032x}", "engine", REQUEST, Answer("later")).result(10)
        assert len(journal.find([f"{at:032x}" for at in range(40)])) == 10
    assert names(folder) == ["00000000.parquet"]
    with Journal(folder) as journal:
        assert journal.add(f"{10:032x}", "engine", REQUEST, Answer("room again")).result(10) == Answer("room again")
        assert len(journal.find([f"{at:032x}" for at in range(40)])) == 11


def test_a_merge_without_room_leaves_the_journal_as_it_was(small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("4m")
    folder = disk / "journal"
    answers = {f"{at:032x}": Answer(os.urandom(20_000).hex()) for at in range(30)}
    for key, answer in answers.items():
        with Journal(folder) as journal:
            journal.add(key, "engine", REQUEST, answer)
    before = names(folder)
    with ballast(disk), pytest.raises(OSError, match=f"No space left on device: '{folder}'"):
        merge(folder, 2)
    assert names(folder) == before
    with Journal(folder) as journal:
        assert journal.find(list(answers)) == answers
    merge(folder, 2)
    assert names(folder) == ["00000000-00000029.parquet"]
