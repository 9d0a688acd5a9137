"""What a run will ask of its models, from a look at a few rows of a few files; nothing is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pipelines.planning import Sources, limited
from pipelines.recipe import Recipe
from schemas.provenance import Split
from transforms.chunks import AnyStage, ModelStage, apply
from transforms.io.sources import Source
from transforms.models.budgets import OUTPUT_TOKENS, cost, tokens

FILES = 5
ROWS = 200
"""Rows looked at in each of so many files."""


@dataclass(frozen=True)
class Estimate:
    """What a model stage will need, at most: the journal may know answers already."""

    stage: str
    model: str
    requests: int
    input_tokens: int
    output_tokens: int
    cost: float


def estimates(recipe: Recipe, found: Sources, source: Source) -> list[Estimate]:
    """One for each model stage; none where rules decide. Splits are weighed by their bytes.

    Stages before and between model stages run on the rows; where one needs a model's answer or the key pass, its stand-in
    of the recipe does.
    """
    stages = recipe.stages(Path())
    asking = [stage for stage in stages if isinstance(stage, ModelStage)]
    if not asking or not found.splits:
        return []
    firsts = [split for split in found.splits if split.ordinal == 0]
    picked = firsts[:: -(-len(firsts) // FILES)]
    needed = {stage.name: (0, 0) for stage in asking}
    seen = 0.0
    for split in picked:
        (sample,) = limited([split], ROWS, source)
        seen += split.bytes * _share(split, sample)
        for name, (requests, length) in _asked(recipe, stages, sample).items():
            needed[name] = (needed[name][0] + requests, needed[name][1] + length)
    scale = max(sum(split.bytes for split in found.splits) / max(seen, 1.0), 1.0)
    return [_estimate(stage, *needed[stage.name], scale) for stage in asking]


def _estimate(stage: ModelStage, requests: int, input_tokens: int, scale: float) -> Estimate:
    asked, sent = round(requests * scale), round(input_tokens * scale)
    answered = asked * OUTPUT_TOKENS
    price = cost(stage.model.price, sent, answered)
    return Estimate(stage.name, stage.model.model, asked, sent, answered, round(price, 4))


def _share(split: Split, sample: Split) -> float:
    """Part of a split that its sample is."""
    stop = split.start + split.bytes if split.stop is None else split.stop
    return min(((sample.stop or stop) - sample.start) / max(stop - split.start, 1), 1.0)


def _asked(recipe: Recipe, stages: Sequence[AnyStage], sample: Split) -> dict[str, tuple[int, int]]:
    """Requests and prompt tokens of each model stage on a sample."""
    found: dict[str, tuple[int, int]] = {}
    last = max(at for at, stage in enumerate(stages) if isinstance(stage, ModelStage))
    for chunk in recipe.read(sample):
        for stage in stages[: last + 1]:
            if isinstance(stage, ModelStage):
                lengths = [tokens(request) for request in stage.ask(pl.DataFrame(chunk.kept), sample)]
                before = found.get(stage.name, (0, 0))
                found[stage.name] = (before[0] + len(lengths), before[1] + sum(lengths))
            runs = recipe.stand_ins.get(stage.name, stage)
            if not isinstance(runs, ModelStage):
                chunk = apply(runs, chunk, recipe.reject)
    return found
