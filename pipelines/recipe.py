"""What the runner needs to know of a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from schemas.provenance import Chunk, Split
from transforms.chunks import AnyStage, Reject, Stage

if TYPE_CHECKING:
    import apache_beam as beam


@dataclass(frozen=True, slots=True)
class KeyWork:
    """Where a key pass finds its splits and leaves its lists: the plan file, the work area, the lists' folder.

    ``bytes`` is the estimated Arrow size of all splits.
    """

    plan: Path
    work: Path
    lists: Path
    bytes: int


@dataclass(frozen=True)
class Recipe:
    """A pipeline: how splits are read, the stages their rows go through, and what comes out.

    ``key_pass`` goes from indices of the plan's splits to one list a split, named as ``transforms.io.keys.written`` reads
    them; ``key_version`` goes up whenever its lists change. ``stages`` takes the folder of the key pass's lists. ``tallies`` names the columns whose values are
    counted for the report. ``prompts`` (file to SHA-256) and ``models`` are part of the plan. ``stand_ins`` are what an
    estimate runs in place of stages, by their name, that need a model or the key pass.
    """

    name: str
    schema_version: int
    kept: pa.Schema
    rejected: pa.Schema
    read: Callable[[Split], Iterator[Chunk]]
    key_pass: Callable[[KeyWork], beam.PTransform]
    key_version: int
    stages: Callable[[Path], tuple[AnyStage, ...]]
    reject: Reject
    tallies: dict[str, tuple[str, ...]]
    prompts: dict[str, str]
    models: list[dict[str, Any]]
    stand_ins: dict[str, Stage] = field(default_factory=dict)
