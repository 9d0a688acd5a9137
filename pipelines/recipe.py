"""What the runner needs to know of a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from schemas.provenance import Chunk, Split
from transforms.chunks import Reject, Stage
from transforms.io.keys import KeyTable


@dataclass(frozen=True)
class Recipe:
    """A pipeline: how splits are read, the stages their rows go through, and what comes out.

    ``stages`` takes the folder of the key pass's lists. ``tallies`` names the columns whose values are
    counted for the report. ``prompts`` (file to SHA-256) and ``models`` are part of the plan.
    """

    name: str
    schema_version: int
    kept: pa.Schema
    rejected: pa.Schema
    read: Callable[[Split], Iterator[Chunk]]
    read_keys: Callable[[Split], Iterator[KeyTable]]
    stages: Callable[[Path], tuple[Stage, ...]]
    reject: Reject
    tallies: dict[str, tuple[str, ...]]
    prompts: dict[str, str]
    models: list[dict[str, Any]]
