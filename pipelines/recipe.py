"""What the runner needs to know of a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.presentation import Presentation
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


def _no_warnings(lists: Path) -> list[str]:
    return []


@dataclass(frozen=True)
class Recipe:
    """A pipeline: how splits are read, the stages their rows go through, and what comes out.

    ``key_pass`` goes from indices of the plan's splits to one list a split, named as ``transforms.io.keys.written`` reads
    them; ``key_version`` goes up whenever its lists change, and ``key_folder`` is where, in a work area, it leaves files named
    after the splits that it has read; ``warnings`` reads from the lists' folder what a user must know of them. ``stages`` takes the
    folder of the key pass's lists. ``presentation`` is how datasets are told of, and which of their columns' values are
    counted for the report. ``prompts`` (file to SHA-256) and ``models`` are part of the plan. ``stand_ins`` are what an
    estimate runs in place of stages, by their name, that need a model or the key pass. Where it ``publishes_users``, the key that
    their ids are hashed under is part of the plan.
    """

    presentation: Presentation
    schema_version: int
    read: Callable[[Split], Iterator[Chunk]]
    read_version: int
    key_pass: Callable[[KeyWork], beam.PTransform]
    key_version: str
    key_folder: Callable[[Path], Path]
    stages: Callable[[Path], tuple[AnyStage, ...]]
    reject: Reject
    prompts: dict[str, str]
    models: list[dict[str, Any]]
    stand_ins: dict[str, Stage] = field(default_factory=dict)
    warnings: Callable[[Path], list[str]] = _no_warnings
    publishes_users: bool = False
