"""Requests that the tests of all engines send."""

from __future__ import annotations

import json
import threading
from typing import Any

from schemas.answers import Request, canonical

SCHEMA = (
    '{"type":"object","properties":{"label":{"type":"integer","minimum":0,"maximum":5},"reason":{"enum":["good","bad"]}},'
    '"required":["label","reason"],"additionalProperties":false}'
)


def question(text: str, *, schema: str | None = None, system: str | None = None, **sampling: Any) -> Request:
    """A request of one user message."""
    messages = ((("system", system),) if system else ()) + (("user", text),)
    given = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 24, "seed": 0} | sampling
    return Request(messages, "test@1", canonical(given), schema)


def fits_schema(text: str) -> bool:
    """Whether a text is what SCHEMA asks for."""
    value = json.loads(text)
    return set(value) == {"label", "reason"} and 0 <= value["label"] <= 5 and value["reason"] in ("good", "bad")


def threads() -> set[threading.Thread]:
    """The threads of engines that run."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("sluice-")}
