"""Killing runs at drawn moments, and counting what was computed more than once."""

from __future__ import annotations

import os
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import rig
from tests.faults.rig import Ended, Run

PHASES = ("keys", "rows", "rows", "shards", "publication")
_BUILT = ("data", "rejected", "manifest.json", "run.json", "README.md")


def seeded() -> random.Random:
    """A seed of its own for every test, printed; ``SLUICE_FAULTS_SEED`` repeats one."""
    seed = int(os.environ.get("SLUICE_FAULTS_SEED") or secrets.randbelow(1_000_000))
    print(f"SLUICE_FAULTS_SEED={seed}")
    return random.Random(seed)


@dataclass
class Story:
    """What became of a run that was killed again and again.

    ``phases`` are those the kills hit, ``recomputed`` how many splits each kill cost, ``alive`` how many old
    workers still lived when the next run was started.
    """

    last: Ended
    phases: list[str] = field(default_factory=list)
    recomputed: list[int] = field(default_factory=list)
    alive: list[int] = field(default_factory=list)

    def __str__(self) -> str:
        hit = ", ".join(f"{n} in {phase}" for phase, n in Counter(self.phases).items())
        return (
            f"{len(self.phases)} kills ({hit}): {sum(self.recomputed)} splits recomputed, at most "
            f"{max(self.recomputed)} a kill; old workers alive at the next start: {self.alive}"
        )


def moment(run: Run, phase: str, splits: int, rng: random.Random) -> Callable[[], bool]:
    """A drawn moment of a phase, as a condition on what is on disk; ``any`` is a moment of time."""
    if phase == "any":
        until = time.monotonic() + rng.uniform(0.05, 4.0)
        return lambda: time.monotonic() >= until
    if phase == "publication":
        part = rng.choice(_BUILT)
        return lambda: any((run.output / "snapshots").glob(f".attempt-*/{part}"))
    folder, pattern, share = {
        "keys": ("keytables", "[!.]*", 0.5),
        "rows": ("receipts", "[!.]*", 0.3),
        "shards": ("shards", "*/shard.json", 0.2),
    }[phase]
    wanted = len(run.names(folder, pattern)) + rng.randint(1, max(1, int(share * splits)))
    return lambda: len(run.names(folder, pattern)) >= wanted


def kill_and_rerun(run: Run, phases: Sequence[str], splits: int, rng: random.Random) -> Story:
    """Kill the run once in each phase, start it again at once every time, and at last let it end.

    What is committed must never be written again: receipts and key tables keep inode and time. Every run has
    an audit file of its own, in which the audited stage notes the splits it is given.
    """
    committed: dict[str, dict[str, tuple[int, int]]] = {"receipts": {}, "keytables": {}}
    story = Story(Ended(-1, "", "", 0.0))
    audits: list[Path] = []

    def start() -> rig.Started:
        audits.append(Path(f"{run.env[rig.AUDIT]}-{len(audits)}"))
        return run.start(**{rig.AUDIT: str(audits[-1])})

    for phase in phases:
        started = start()
        reached = started.until(moment(run, phase, splits, rng))
        time.sleep(rng.uniform(0, 0.03))
        assert reached, f"ended before {phase}: {started.end()}"
        story.phases.append(run.phase())
        started.kill()
        story.alive.append(len(started.workers()))
        for folder, before in committed.items():
            now = rig.stamps(run.work / folder) if run.work else {}
            assert before.items() <= now.items(), "a committed file was written again"
            committed[folder] = now
    story.last = start().end().expect(0)
    for folder, before in committed.items():
        assert run.work and before.items() <= rig.stamps(run.work / folder).items(), (
            "a committed file was written again"
        )
    story.recomputed = _recomputed(audits)[: len(story.phases)]
    return story


def _recomputed(audits: Sequence[Path]) -> list[int]:
    """For each run, how many of the splits that it began were begun again by a later one."""
    begun = [_splits_of(path) for path in audits]
    for splits in begun:
        assert len(set(splits)) == len(splits), "a run computed a split twice"
    return [len(set(splits) & set().union(*begun[at + 1 :])) for at, splits in enumerate(begun)]


def _splits_of(audit: Path) -> list[tuple[str, str]]:
    lines = audit.read_text().splitlines() if audit.exists() else []
    return [(uri, row) for _, uri, row in (line.split(" ") for line in lines)]
