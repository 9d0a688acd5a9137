"""The cascade: a fastText classifier settles messages that are surely neutral, so that the model sees the rest.

It is trained on the levels a model gave (``sluice cascade``), knows the feedback message alone, and may say one thing only:
level 3, with at least ``confidence``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from transforms.text import fasttext_models, personal_data
from transforms.text.fasttext_models import Model, ModelError

if TYPE_CHECKING:
    import fasttext

VERSION: Final = 2
"""Raised whenever a classifier would settle other messages."""

NEUTRAL: Final = "3"

PARAMETERS: Final[dict[str, Any]] = {
    "dim": 32,
    "epoch": 25,
    "lr": 0.5,
    "wordNgrams": 2,
    "minn": 2,
    "maxn": 4,
    "bucket": 200_000,
    "loss": "softmax",
}
"""Of fastText's ``train_supervised``."""

MAX_CHARACTERS: Final = 600


class CascadeError(Exception):
    """The classifier cannot be loaded or trained; the message says why."""


@dataclass(frozen=True)
class Cascade:
    """A trained classifier by path, and from which probability on its "neutral" counts. ``sha256`` is the file's."""

    path: str
    sha256: str
    confidence: float

    @property
    def model(self) -> Model:
        """The classifier itself."""
        return Model(self.path, self.sha256)

    @property
    def name(self) -> str:
        """What is written beside the rows it decided."""
        return f"fasttext-{VERSION}-{self.confidence:g}"

    @classmethod
    def load(cls, path: Path, confidence: float) -> Cascade:
        """Find a classifier and check that it is sound.

        Raises:
            CascadeError: there is none.
        """
        try:
            model = Model.find(path)
        except ModelError as error:
            raise CascadeError(f"{error}; make one with: sluice cascade") from error
        if NEUTRAL not in model.labels:
            raise CascadeError(
                f"{path}: expected a classifier that knows level {NEUTRAL}; make one with: sluice cascade"
            )
        return cls(model.name, model.sha256, confidence)

    def neutral(self, texts: pl.Series) -> pl.Series:
        """The probability (Float64) of "neutral" where it is at least ``confidence``, else null; one for each text."""
        probability = pl.Series("confidence", probabilities(self.model.load(), texts))
        return probability.set(probability < self.confidence, None)


def probabilities(model: fasttext.FastText._FastText, texts: pl.Series) -> npt.NDArray[np.float64]:
    """The probability of "neutral" for each text, Float64; blank texts have 0."""
    blank = texts.fill_null("").str.strip_chars() == ""
    return np.where(blank, 0.0, fasttext_models.probabilities(model, lines(texts), NEUTRAL))


def lines(texts: pl.Series) -> pl.Series:
    """Messages as lines of tokens, each with its length in words (1, 2-3, 4-7, ... 64 and more) as a token before them."""
    tokens = fasttext_models.tokens(texts.fill_null("").alias("tokens"), MAX_CHARACTERS)
    length = (
        pl.when(pl.col("tokens") == "").then(0).otherwise(pl.col("tokens").str.count_matches(" ", literal=True) + 1)
    )
    magnitude = pl.sum_horizontal((length >= 2**bit).cast(pl.Int32) for bit in range(7))
    return tokens.to_frame().select(pl.format("length{} {}", magnitude, "tokens").str.strip_chars(" ")).to_series()


def train(texts: Sequence[str], levels: Sequence[int], scratch: Path) -> fasttext.FastText._FastText:
    """Train on texts and their levels (1-5); personal data is replaced first.

    Raises:
        CascadeError: there are too few levels.
    """
    if len(set(levels)) < 2 or 3 not in levels:
        raise CascadeError(f"expected neutral and other levels to train on, found levels {sorted(set(levels))}")
    plain = personal_data.redact(pl.Series(texts, dtype=pl.String))
    return fasttext_models.train(pl.Series(levels).cast(pl.String), lines(plain), PARAMETERS, scratch)
