"""Engines: what answers requests. One engine per worker process; asynchronous inside.

A request that fails is an answer with a ``failure``; it never touches its neighbours, and ``submit`` never raises for it.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, Protocol

from schemas.answers import Answer, Request
from transforms.models.settings import OpenAISettings, TransformersSettings, VLLMSettings

AnyModelSettings = OpenAISettings | VLLMSettings | TransformersSettings


class Engine(Protocol):
    """A model that can be asked.

    ``in_flight`` is how many requests it takes at once; submitting more queues them.
    """

    in_flight: int

    def submit(self, request: Request) -> Future[Answer]:
        """Send one request, from any thread. The future is set from a thread of the engine's."""

    def close(self) -> None:
        """Stop; requests under way come back as failures."""


def identity(settings: AnyModelSettings) -> dict[str, Any]:
    """What decides an engine's answers, without loading it: engine, package version, model, revision, dtype.

    Raises:
        EngineUnavailableError: the engine's package is not installed.
    """
    if isinstance(settings, OpenAISettings):
        from transforms.models import openai_engine

        return openai_engine.identity(settings)
    if isinstance(settings, VLLMSettings):
        from transforms.models import vllm_engine

        return vllm_engine.identity(settings)
    from transforms.models import transformers_engine

    return transformers_engine.identity(settings)


class EngineUnavailableError(ImportError):
    """The package behind an engine is not installed; the message names the pip extra that brings it."""


_running: Final[dict[str, Engine]] = {}
_lock: Final = threading.Lock()


def running(settings: AnyModelSettings, batches: Path | None = None) -> Engine:
    """This process's engine for the settings, started by the first caller.

    ``batches`` is the folder where mode ``batch`` notes what it has sent; the runs of one output share it.

    Raises:
        EngineUnavailableError: the engine's package is not installed.
        ValueError: the key cannot be sent, or mode ``batch`` was given no folder.
    """
    name = settings.model_dump_json()
    with _lock:
        if name not in _running:
            _running[name] = _start(settings, batches)
        return _running[name]


def _start(settings: AnyModelSettings, batches: Path | None) -> Engine:
    if isinstance(settings, OpenAISettings) and settings.mode == "batch":
        from transforms.models import openai_batch

        if batches is None:
            raise ValueError("expected a folder for notes about batches, got none; pass one to running()")
        return openai_batch.OpenAIBatchEngine(settings, batches)
    if isinstance(settings, OpenAISettings):
        from transforms.models import openai_engine

        return openai_engine.OpenAIEngine(settings)
    if isinstance(settings, VLLMSettings):
        from transforms.models import vllm_engine

        return vllm_engine.VLLMEngine(settings)
    from transforms.models import transformers_engine

    return transformers_engine.TransformersEngine(settings)
