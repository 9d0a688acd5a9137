"""What all contestants of ``model_requests.py`` share: the task they are given, and how they tell what it took.

Runs in every contestant's own environment: standard library only.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MODEL = "judge"
SAMPLING = {"temperature": 0.0, "max_tokens": 1024}
WARMING = 8
"""Requests before the clock starts: modules are loaded, the server is known."""


@dataclass(frozen=True)
class Task:
    """``requests`` prompts, all different, to be answered by the endpoint at ``url``, so many in flight.

    ``pool`` holds exchanges: what was asked, the response, the message after it, and the ``prompt`` rendered from them.
    ``folder`` is empty, for whatever is kept on disk.
    """

    url: str
    pool: list[dict[str, str]]
    requests: int
    in_flight: int
    folder: Path

    def exchange(self, number: int) -> dict[str, str]:
        """An exchange of its own for every number, negative ones for warming up."""
        drawn = self.pool[number % len(self.pool)]
        return {name: f"{text}\n| ({number})" for name, text in drawn.items()}

    def prompts(self) -> Iterator[str]:
        """What is asked while the clock runs."""
        return (self.exchange(number)["prompt"] for number in range(self.requests))

    def warming(self) -> Iterator[str]:
        """What is asked before."""
        return (self.exchange(-number)["prompt"] for number in range(1, WARMING + 1))


def task() -> Task:
    """The task on the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--requests", type=int, required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    pool = [json.loads(line) for line in given.pool.read_text().splitlines()]
    return Task(given.url, pool, given.requests, given.in_flight, given.folder)


def spent() -> float:
    """CPU seconds of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


@dataclass
class Watch:
    """Wall and CPU seconds of this process from now on."""

    began: float = field(default_factory=time.perf_counter)
    cpu: float = field(default_factory=spent)

    def tell(self, answered: int, **more: Any) -> None:
        """The last line of a contestant: its figures as JSON."""
        seconds, cpu = time.perf_counter() - self.began, spent() - self.cpu
        print("\n" + json.dumps({"seconds": seconds, "cpu": cpu, "answered": answered, **more}), flush=True)
