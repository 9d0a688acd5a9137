"""Training the cascade on the levels that a model gave, as the journal holds them, and what it would save."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from pipelines.planning import Sources
from pipelines.recipe import Recipe
from schemas.answers import USABLE, canonical, request_key
from schemas.provenance import Split
from transforms.chunks import ModelStage, apply
from transforms.feedback import cascade
from transforms.feedback.cascade import CascadeError
from transforms.models import engines, structured
from transforms.models.journal import Journal

CONFIDENCES: Final = (0.8, 0.9, 0.95, 0.98, 0.99)
FOLDS: Final = 5
MIN_MESSAGES: Final = 200
"""Fewer labelled messages than that teach nothing."""


@dataclass(frozen=True)
class Saving:
    """At a confidence: shares of requests that are saved, and of all labels that change; what is lost of levels 1-2 and 4-5."""

    confidence: float
    saved: float
    changed: float
    lost_negatives: float
    lost_positives: float


def labelled(recipe: Recipe, found: Sources, journal: Journal) -> pl.DataFrame:
    """Every different feedback message that the journal has the judge's valid answer on: ``feedback``, ``level``.

    Sources are read anew, since the journal keeps answers by the hash of their request.

    Raises:
        CascadeError: no model judges in this config.
    """
    stages = recipe.stages(Path())
    at = next((at for at, s in enumerate(stages) if isinstance(s, ModelStage) and s.name == "judge"), None)
    if at is None:
        raise CascadeError("expected a config whose judge is a model; set model.engine and model.model")
    judge = stages[at]
    assert isinstance(judge, ModelStage)
    before = [recipe.stand_ins.get(stage.name, stage) for stage in stages[:at]]
    frames = [pl.DataFrame(schema={"feedback": pl.String, "level": pl.Int8})]
    for split in found.splits:
        for chunk in recipe.read(split):
            for stage in before:
                assert not isinstance(stage, ModelStage)
                chunk = apply(stage, chunk, recipe.reject)
            frame = pl.DataFrame(chunk.kept)
            levels = list(_levels(judge, frame, chunk.split, journal))
            frames.append(frame.select("feedback", level=pl.Series(levels, dtype=pl.Int8)).drop_nulls())
    return pl.concat(frames).unique("feedback", keep="first", maintain_order=True)


def _levels(judge: ModelStage, frame: pl.DataFrame, split: Split, journal: Journal) -> Iterator[int | None]:
    """The judge's level of each row, from whichever attempt was valid; None where the journal has none."""
    identity = canonical(engines.identity(judge.model))
    open_ = dict(enumerate(judge.ask(frame, split)))
    levels: dict[int, int] = {}
    for _ in range(judge.attempts):
        keys = {place: request_key(identity, request) for place, request in open_.items()}
        answers = journal.find(list(keys.values()), failures=False)
        for place, request in list(open_.items()):
            answer = answers.get(keys[place])
            status, value = structured.check(answer, request.schema) if answer else ("failed", None)
            if status in USABLE and value is not None:
                levels[place] = value["level"]
                del open_[place]
            else:
                open_[place] = request.again()
    return (levels.get(place) for place in range(len(frame)))


def savings(messages: pl.DataFrame, seed: int = 0) -> list[Saving]:
    """What the cascade would save and change, by cross-validation in ``FOLDS`` stratified folds.

    Raises:
        CascadeError: there are too few messages, or scikit-learn is not installed.
    """
    if len(messages) < MIN_MESSAGES:
        raise CascadeError(
            f"expected at least {MIN_MESSAGES} labelled messages, found {len(messages)}; run the pipeline first"
        )
    try:
        from sklearn.model_selection import StratifiedKFold
    except ImportError as error:
        raise CascadeError("cross-validation needs scikit-learn: pip install 'sluice-curation[cascade]'") from error
    levels = messages["level"].to_numpy()
    neutral = np.zeros(len(messages))
    sides = np.where(levels < 3, 0, np.where(levels > 3, 2, 1))
    for known, held_out in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(sides, sides):
        model = _train(messages[known.tolist()])
        neutral[held_out] = cascade.probabilities(model, messages["feedback"][held_out.tolist()])
    return [_saving(confidence, neutral >= confidence, levels) for confidence in CONFIDENCES]


def _saving(confidence: float, settled: npt.NDArray[np.bool_], levels: npt.NDArray[np.int8]) -> Saving:
    def lost(side: npt.NDArray[np.bool_]) -> float:
        return float(settled[side].mean()) if side.any() else 0.0

    changed = float((settled & (levels != 3)).mean())
    return Saving(confidence, float(settled.mean()), changed, lost(levels < 3), lost(levels > 3))


def train(messages: pl.DataFrame, target: Path) -> None:
    """Train on all messages and write the classifier.

    Raises:
        CascadeError: there are too few messages.
    """
    model = _train(messages)
    target.parent.mkdir(parents=True, exist_ok=True)
    model.save_model(str(target))


def _train(messages: pl.DataFrame) -> Any:
    levels: Sequence[int] = messages["level"].to_list()
    with tempfile.TemporaryDirectory() as folder:
        return cascade.train(messages["feedback"].to_list(), levels, Path(folder, "messages.txt"))
