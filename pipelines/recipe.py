"""What the runner needs to know of a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from schemas.provenance import Chunk, Split
from transforms.chunks import AnyStage, Reject, Stage
from transforms.io.keys import KeyTable


@dataclass(frozen=True)
class Recipe:
    """A pipeline: how splits are read, the stages their rows go through, and what comes out.

    ``stages`` takes the folder of the key pass's lists. ``tallies`` names the columns whose values are
    counted for the report. ``prompts`` (file to SHA-256) and ``models`` are part of the plan. ``stand_ins`` are what an
    estimate runs in place of stages, by their name, that need a model or the key pass.
    """

    name: str
    schema_version: int
    kept: pa.Schema
    rejected: pa.Schema
    read: Callable[[Split], Iterator[Chunk]]
    read_keys: Callable[[Split], Iterator[KeyTable]]
    stages: Callable[[Path], tuple[AnyStage, ...]]
    reject: Reject
    tallies: dict[str, tuple[str, ...]]
    prompts: dict[str, str]
    models: list[dict[str, Any]]
    stand_ins: dict[str, Stage] = field(default_factory=dict)
