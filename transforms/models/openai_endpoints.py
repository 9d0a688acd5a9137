"""An endpoint's condition: how many requests it takes at once, and when it had better be left alone. Times in seconds."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from schemas.answers import Answer

FIRST_PAUSE: Final = 0.5
"""Seconds of the first pause after a failure; each further one is twice as long."""

RECOVERY: Final = 16
"""Round trips in which an endpoint's share climbs from nothing to all."""

PASSING: Final = frozenset({"rate_limited", "server_error", "connection", "timeout", "malformed_response"})
"""Failures after which a request is tried again."""

REFUSING: Final = frozenset({"authentication", "unknown_model"})
"""Failures that are the endpoint's, and that waiting does not mend."""


def pause(failures: int, longest: float) -> float:
    """Seconds to wait after so many failures (1 or more) in a row: exponential, with jitter."""
    wait = min(longest, FIRST_PAUSE * 2.0 ** min(failures - 1, 30))
    return wait * random.uniform(0.5, 1.0)  # noqa: S311 - nothing depends on it


@dataclass(slots=True)
class Endpoint:
    """One address. Its share of requests is halved when it is overloaded, and grows again with each success.

    Troubles that come from the same round trip (requests sent before the last trouble was known) count once. After the
    second in a row it rests, each time longer, and then gets one request at a time until one succeeds.

    ``most`` requests go there at once, ``longest`` is the longest rest, ``patience`` the time after which nothing waits for it.
    """

    base: str
    most: int
    longest: float
    patience: float
    limit: float = 0.0
    active: int = 0
    rests_until: float = 0.0
    troubles: int = 0
    doubtful: bool = False
    probing: bool = False
    last: Answer | None = None
    _troubled_since: float = 0.0
    _troubled_at: float = float("-inf")
    _halved_at: float = float("-inf")

    def __post_init__(self) -> None:
        self.limit = float(self.most)

    def takes(self, now: float) -> bool:
        """Whether another request may go there."""
        if now < self.rests_until:
            return False
        return not self.probing if self.doubtful else self.active < int(self.limit)

    def sent(self) -> bool:
        """A request goes there; tells whether it is the one by which the endpoint is tried."""
        self.active += 1
        if self.doubtful:
            self.probing = True
        return self.doubtful

    def returned(self, probe: bool) -> None:
        """A request came back, whatever became of it."""
        self.active -= 1
        if probe:
            self.probing = False

    def alive(self) -> None:
        """It answered, if only to refuse the request."""
        self.troubles, self.doubtful = 0, False

    def succeeded(self) -> None:
        """It answered well."""
        self.alive()
        if self.limit < self.most:
            self.limit = min(self.most, self.limit + max(1.0, self.most / RECOVERY) / self.limit)

    def overloaded(self, sent_at: float, now: float) -> None:
        """It is sent too much: half as much from now on."""
        if sent_at >= self._halved_at:
            self.limit = max(1.0, self.limit / 2)
            self._halved_at = now

    def troubled(self, answer: Answer, sent_at: float, now: float, hard: bool, retry_after: float | None) -> None:
        """It failed. ``hard``: the next request would not fare better. ``retry_after``: what it asks for."""
        self.last = answer
        if retry_after is not None:
            self.rests_until = max(self.rests_until, now + min(retry_after, self.longest))
        if sent_at < self._troubled_at:
            return
        if not self.troubles:
            self._troubled_since = now
        self._troubled_at = now
        self.troubles += 1
        if hard or self.troubles > 1:
            self.doubtful = answer.failure != "rate_limited"  # that is what halving is for
            if retry_after is None:
                self.rests_until = max(self.rests_until, now + pause(self.troubles, self.longest))

    def given_up(self, now: float) -> bool:
        """Whether nothing is to wait for it: it refuses, or has not answered for longer than ``patience``."""
        refuses = self.last is not None and self.last.failure in REFUSING
        return self.troubles > 1 and (refuses or now - self._troubled_since > self.patience)
