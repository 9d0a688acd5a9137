"""What a run may spend on a model, shared by its workers without a server.

The budget is cut into leases; a worker takes one by creating its file, which only one can. What a worker has left of its
last lease at the end is lost to the others: under half a percent each.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final
from uuid import uuid4

from schemas.answers import Answer, Request
from transforms.io import files
from transforms.models.asking import AskingError
from transforms.models.settings import Price

LEASES: Final = 256
CHARACTERS_PER_TOKEN: Final = 3.5
"""For estimates; English has about 4, Chinese 1.5."""

OUTPUT_TOKENS: Final = 120
"""Tokens expected of an answer before any came."""


class BudgetError(AskingError):
    """The budget is spent; what is answered is kept."""


class Budget:
    """Requests and cost that may still be spent in this run, over all workers.

    A cost is charged when a request is sent, from the length of its prompt and of answers so far, and set right when it is
    answered: the budget can be overdrawn by what is in flight.
    """

    def __init__(self, folder: Path, max_requests: int | None, max_cost: float | None, price: Price) -> None:
        self._requests = None if max_requests is None else _Leases(folder, "requests", max_requests)
        self._cost = None if max_cost is None else _Leases(folder, "cost", max_cost)
        self._price = price
        self._lock = threading.Lock()
        self._answers, self._output_tokens = 1, OUTPUT_TOKENS

    def take(self, request: Request) -> float:
        """Charge one request; the cost that it is expected to come to.

        Raises:
            BudgetError: nothing is left.
        """
        with self._lock:
            charged = 0.0
            if self._requests:
                self._requests.take(1)
            if self._cost:
                charged = cost(self._price, tokens(request), self._output_tokens // self._answers)
                self._cost.take(charged)
            return charged

    def settle(self, charged: float, answer: Answer) -> None:
        """Correct what a request was charged by what it took."""
        with self._lock:
            if self._cost:
                self._cost.left += charged - cost(self._price, answer.input_tokens, answer.output_tokens)
            self._answers += 1
            self._output_tokens += answer.output_tokens


class _Leases:
    """A limit in equal leases, some of them taken by this process; ``left`` is what is unspent of those."""

    def __init__(self, folder: Path, name: str, limit: float) -> None:
        self.folder, self.name, self.limit = folder, name, limit
        self.left = 0.0
        self._leases = self._free()

    def take(self, amount: float) -> None:
        while self.left < amount:
            lease = next(self._leases, None)
            if lease is None:
                raise BudgetError(f"max_{self.name}={self.limit:g} is spent; what is answered is kept")
            self.left += lease
        self.left -= amount

    def _free(self) -> Iterator[float]:
        size = max(self.limit / LEASES, 1.0) if self.name == "requests" else self.limit / LEASES
        for number in count():
            amount = min(size, self.limit - number * size)
            if amount <= 0:
                return
            if files.create(self.folder / f"{self.name}-{number:03d}", uuid4().bytes):
                yield amount


def tokens(request: Request) -> int:
    """About how many tokens a request's prompt has."""
    return int(sum(len(content) for _, content in request.messages) / CHARACTERS_PER_TOKEN) + 8


def cost(price: Price, input_tokens: int, output_tokens: int) -> float:
    """Currency units for so many tokens."""
    return (input_tokens * price.input + output_tokens * price.output) / 1e6
