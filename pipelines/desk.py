"""Where a worker process asks its models: one journal, and one engine and client for each model, whatever stages use it."""

from __future__ import annotations

import gc
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from schemas.answers import canonical
from transforms.chunks import ModelStage
from transforms.models import engines
from transforms.models.asking import Client
from transforms.models.budgets import Budget
from transforms.models.journal import Journal

_YOUNG: Final = 50_000
"""New objects after which Python looks for cycles: with hundreds of requests in flight, its 700 would have it look all the time."""

_journals: Final[dict[Path, Journal]] = {}
_clients: Final[dict[tuple[Desk, str, int], Client]] = {}
_lock: Final = threading.Lock()


@dataclass(frozen=True)
class Desk:
    """What a run allows its workers to ask. ``leases`` is the folder of this run's budget."""

    journal: Path
    leases: Path
    max_requests: int | None = None
    max_cost: float | None = None
    retry_failed: bool = False

    def client(self, stage: ModelStage) -> Client:
        """This process's client for a stage's model."""
        settings = stage.model
        key = (self, settings.model_dump_json(), stage.attempts)
        with _lock:
            if self.journal not in _journals:
                gc.set_threshold(_YOUNG)
                _journals[self.journal] = Journal(self.journal)
            if key not in _clients:
                _clients[key] = Client(
                    partial(engines.running, settings, self.journal.parent / "batches"),
                    canonical(engines.identity(settings)),
                    _journals[self.journal],
                    Budget(self.leases, self.max_requests, self.max_cost, settings.price),
                    stage.attempts,
                    self.retry_failed,
                )
            return _clients[key]
