"""The cascade: a fastText classifier settles messages that are surely neutral, so that the model sees the rest.

It is trained on the levels a model gave (``sluice cascade``), knows the feedback message alone, and may say one thing only:
level 3, with at least ``confidence``. fastText is deterministic at one thread.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from transforms.text import personal_data

if TYPE_CHECKING:
    import fasttext

VERSION: Final = 1

NEUTRAL: Final = "__label__3"

PARAMETERS: Final[dict[str, Any]] = {
    "dim": 32,
    "epoch": 25,
    "lr": 0.5,
    "wordNgrams": 2,
    "minn": 2,
    "maxn": 4,
    "bucket": 200_000,
    "loss": "softmax",
    "thread": 1,
    "seed": 1,
    "verbose": 0,
}
"""Of fastText's ``train_supervised``: one thread, so that equal labels give an equal model."""

_TOKEN: Final = re.compile(r"\w+|[^\w\s]")
_HAN: Final = re.compile(r"([\u3400-\u9fff])")
"""Chinese has no spaces: each character is a word."""

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
    def name(self) -> str:
        """What is written beside the rows it decided."""
        return f"fasttext-{VERSION}-{self.confidence:g}"

    @classmethod
    def load(cls, path: Path, confidence: float) -> Cascade:
        """Find a classifier and check that it loads.

        Raises:
            CascadeError: there is none, or fastText is not installed.
        """
        try:
            found = cls(str(path.resolve()), hashlib.sha256(path.read_bytes()).hexdigest(), confidence)
        except OSError as error:
            raise CascadeError(
                f"{path}: expected a classifier: {error.strerror}; make one with: sluice cascade"
            ) from error
        if NEUTRAL not in _model(found.path, found.sha256).labels:
            raise CascadeError(f"{path}: expected a classifier that knows {NEUTRAL}; make one with: sluice cascade")
        return found

    def neutral(self, texts: pl.Series) -> pl.Series:
        """The probability (Float64) of "neutral" where it is at least ``confidence``, else null; one for each text."""
        probability = probabilities(_model(self.path, self.sha256), texts)
        return pl.select(
            pl.when(pl.lit(pl.Series(probability)) >= self.confidence).then(
                pl.lit(pl.Series("confidence", probability))
            )
        ).to_series()


def probabilities(model: fasttext.FastText._FastText, texts: pl.Series) -> npt.NDArray[np.float64]:
    """The probability of "neutral" for each text, float64 rounded to 6 decimals; blank texts have 0."""
    if texts.is_empty():
        return np.zeros(0)
    labels, scores = model.predict([words(text or "") for text in texts], k=-1)
    found = [
        dict(zip(names, values, strict=True)).get(NEUTRAL, 0.0) for names, values in zip(labels, scores, strict=True)
    ]
    blank = texts.fill_null("").str.strip_chars() == ""
    return np.where(blank.to_numpy(), 0.0, np.round(np.clip(np.array(found, dtype=np.float64), 0.0, 1.0), 6))


def words(text: str) -> str:
    """A message as one line of tokens: lower case, punctuation apart, its length in words as a token."""
    head = _HAN.sub(r" \1 ", text[:MAX_CHARACTERS].lower())
    tokens = _TOKEN.findall(head)
    return " ".join([f"length{min(len(tokens), 100).bit_length()}", *tokens])


def train(texts: Sequence[str], levels: Sequence[int], scratch: Path) -> fasttext.FastText._FastText:
    """Train on texts and their levels (1-5); personal data is replaced first.

    Raises:
        CascadeError: fastText is not installed, or there are too few levels.
    """
    if len(set(levels)) < 2 or 3 not in levels:
        raise CascadeError(f"expected neutral and other levels to train on, found levels {sorted(set(levels))}")
    plain = personal_data.redact(pl.Series(texts, dtype=pl.String))
    lines = [f"__label__{level} {words(text)}" for text, level in zip(plain, levels, strict=True)]
    scratch.write_text("\n".join(lines) + "\n", "utf-8", "surrogatepass")
    try:
        return _fasttext().train_supervised(str(scratch), **PARAMETERS)
    finally:
        scratch.unlink()


@functools.lru_cache(maxsize=4)
def _model(path: str, sha256: str) -> fasttext.FastText._FastText:
    try:
        return _fasttext().load_model(path)
    except ValueError as error:
        raise CascadeError(f"{path}: {error}") from error


def _fasttext() -> Any:
    try:
        import fasttext
    except ImportError as error:
        raise CascadeError("the cascade needs fastText: pip install 'sluice-curation[cascade]'") from error
    fasttext.FastText.eprint = lambda *_: None
    return fasttext
