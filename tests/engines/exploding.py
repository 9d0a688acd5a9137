"""A logits processor of vLLM's that fails when an answer is wanted with an odd temperature: a step that breaks."""

from __future__ import annotations

from typing import Any

from vllm.v1.sample.logits_processor import LogitsProcessor

TEMPERATURE = 0.625


class Exploding(LogitsProcessor):
    def __init__(self, *_: Any) -> None:
        pass

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, update: Any) -> None:
        if update is not None and any(parameters.temperature == TEMPERATURE for _, parameters, *_ in update.added):
            raise RuntimeError("a step that breaks")

    def apply(self, logits: Any) -> Any:
        return logits
