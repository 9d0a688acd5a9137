"""A quality classifier: fastText trained on labelled texts (``sluice train-classifier``), and a score for each text.

A classifier is two files: fastText's model, and beside it ``<model>.json`` with what must be known to apply it and how good it is:

===================  =====================================================================================================
``labels``           the labels it tells apart; ``positive`` is the one whose probability is the score
``preparation``      how a text becomes a line: ``tokens`` (lower case, punctuation and Chinese characters apart) or ``plain``
``max_characters``   how much of each text is read
``model``            the model's bytes and SHA-256; a file with another is refused
``settings``         fastText's, and the share that was held out
``sources``          name, bytes and SHA-256 of each labelled file
``examples``         how many texts were read, trained on, held out, and left aside
``metrics``          of the held-out texts
===================  =====================================================================================================

A model that was trained elsewhere has no such file: it gets plain text and needs its positive label named.

Which texts are held out follows from their lines, by hash: equal texts are always on one side, however they are written, and a text added
later moves no other. Training takes the lines in the order of that hash, so that neither the order of files and rows nor a file sorted by
label changes the model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args

import numpy as np
import polars as pl
from polars_hash import NonCryptographicHashingNameSpace as NonCryptographic

from transforms.text import fasttext_models, filtering
from transforms.text.fasttext_models import Model, ModelError
from transforms.text.filtering import Rule

if TYPE_CHECKING:
    import fasttext

VERSION: Final = 1
"""Raised whenever ``score`` gives other scores, or ``train`` another model for the same examples."""

Preparation = Literal["tokens", "plain"]

MAX_CHARACTERS: Final = 5_000
"""Characters of a text that are looked at, unless told otherwise."""

HELD_OUT: Final = 0.1
"""Share of the texts that metrics are taken on, unless told otherwise."""

SETTINGS: Final[Mapping[str, Any]] = {
    "dim": 32,
    "epoch": 25,
    "lr": 0.5,
    "wordNgrams": 2,
    "minCount": 2,
    "minn": 0,
    "maxn": 0,
    "bucket": 200_000,
    "loss": "softmax",
}
"""Of fastText's ``train_supervised``, unless told otherwise."""

MOST_LABELS: Final = 100
RULE: Final = Rule(
    "classifier_score",
    "Li et al., DataComp-LM, 2024, section 4.4: a fastText classifier as quality filter; the bound is a middle, not theirs",
    "probability of the classifier's positive label",
    minimum=0.5,
)

_SIDECAR: Final = ".json"
_MOST_SIDECAR: Final = 1 << 20
_PARTS: Final = 10_000


# --- applying ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Classifier:
    """A classifier to score texts with: the model, whose probability counts, and how texts become lines."""

    model: Model
    positive: str
    preparation: Preparation
    max_characters: int

    @classmethod
    def find(cls, path: Path, positive: str | None = None, max_characters: int | None = None) -> Classifier:
        """The classifier in a file, checked.

        Args:
            path: fastText's model; ``<path>.json`` is read where it is there.
            positive: The label whose probability is the score; None for the one that was chosen in training.
            max_characters: How much of each text is read; None for as much as in training.

        Raises:
            ModelError: there is no such file, it is no sound fastText classifier, it is not the one that its .json tells of, or it does
                not know the label.
        """
        model = Model.find(path)
        told = _sidecar(path, model)
        chosen = positive if positive is not None else told.get("positive")
        if chosen is None:
            raise ModelError(
                f"{path}: expected a positive label, since there is no {path.name}{_SIDECAR}; it knows {_list(model)}"
            )
        if chosen not in model.labels:
            raise ModelError(f"{path}: expected one of its labels, found {chosen}; it knows {_list(model)}")
        preparation = told.get("preparation", "plain")
        return cls(model, chosen, preparation, max_characters or told.get("max_characters", MAX_CHARACTERS))

    @property
    def identity(self) -> dict[str, Any]:
        """What decides scores, for a plan: no path, since a model is its bytes."""
        return {
            "version": VERSION,
            "lines": fasttext_models.VERSION,
            "fasttext": version("fasttext-wheel"),
            "model": self.model.sha256,
            "positive": self.positive,
            "preparation": self.preparation,
            "max_characters": self.max_characters,
        }


def score(texts: pl.Series, classifier: Classifier) -> pl.Series:
    """The probability of the positive label for each text.

    Args:
        texts: String, n texts; null allowed.
        classifier: From ``Classifier.find``.

    Returns:
        Float32, n, named ``classifier_score``: 0 to 1; null where the text is null or blank.

    Raises:
        ModelError: the model's file is gone, or another than it was.
    """
    written = prepare(texts, classifier.preparation, classifier.max_characters).fill_null("")
    known = written.str.strip_chars() != ""
    rows = known.arg_true()
    found = fasttext_models.probabilities(classifier.model.load(), written.gather(rows), classifier.positive)
    empty = pl.Series(RULE.name, [None], dtype=pl.Float32).new_from_index(0, len(texts))
    return empty.scatter(rows, pl.Series(found, dtype=pl.Float32))


def select(frame: pl.DataFrame, classifier: Classifier, minimum: float = 0.5) -> pl.DataFrame:
    """Add ``classifier_score`` and the verdict: ``classifier_score`` where it is below the minimum or null.

    Args:
        frame: ``text`` (String, null allowed) and any other columns, n rows.
        classifier: From ``Classifier.find``.
        minimum: The least score of a kept text.

    Returns:
        The frame with ``classifier_score`` (Float32), ``failed`` (List(String)) and ``reason`` (String; null where the text is kept).
    """
    rules = filtering.choose(filtering.table([RULE]), {RULE.name: {"minimum": minimum}})
    return filtering.select(frame, score(frame["text"], classifier).to_frame(), rules)


def prepare(texts: pl.Series, preparation: Preparation, max_characters: int) -> pl.Series:
    """Each text's head as the line that fastText reads: String, n; null stays null."""
    line = fasttext_models.tokens if preparation == "tokens" else fasttext_models.one_line
    return line(texts, max_characters)


def _sidecar(path: Path, model: Model) -> dict[str, Any]:
    """What is told beside a model; empty where nothing is.

    Raises:
        ModelError: it is no such file, or tells of another model.
    """
    beside = path.with_name(path.name + _SIDECAR)
    if not beside.exists():
        return {}
    try:
        with beside.open("rb") as stream:
            told = json.loads(stream.read(_MOST_SIDECAR))
        named, preparation, characters = told["model"]["sha256"], told["preparation"], told["max_characters"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{beside}: expected what sluice train-classifier wrote: {error!r}") from error
    if named != model.sha256:
        raise ModelError(
            f"{path}: expected the model with SHA-256 {named}, as {beside.name} says, found {model.sha256}"
        )
    if preparation not in get_args(Preparation) or not isinstance(characters, int) or characters < 1:
        raise ModelError(
            f"{beside}: expected a preparation and max_characters, found {preparation!r} and {characters!r}"
        )
    return dict(told)


def _list(model: Model) -> str:
    return ", ".join(model.labels[:8]) + (", ..." if len(model.labels) > 8 else "")


# --- training ---------------------------------------------------------------------------------------------------------


class Examples(NamedTuple):
    """Labelled lines, each once: ``label`` and ``line`` (String), ``held_out`` (Boolean), in the order of their hashes.

    Left aside: ``blank`` texts or labels, ``repeated`` lines with the same label, and ``contradictory`` ones, whose lines have several labels.
    """

    table: pl.DataFrame
    blank: int
    repeated: int
    contradictory: int


class Metrics(NamedTuple):
    """How well a label is told on held-out texts.

    ``precision`` and ``recall`` are those of the likeliest label, ``auc`` is the probability that a text of this label has a higher
    score for it than one of another; None where there are no texts to take them on.
    """

    examples: int
    precision: float | None
    recall: float | None
    auc: float | None


def examples(
    texts: pl.Series, labels: pl.Series, preparation: Preparation, max_characters: int, held_out: float = HELD_OUT
) -> Examples:
    """Turn labelled texts into lines, each once, and say which are held out.

    Args:
        texts: String, n texts; null allowed.
        labels: String, n labels; null allowed.
        preparation: How a text becomes a line.
        max_characters: How much of each text is read.
        held_out: Share of the lines that are held out.

    Raises:
        ModelError: there are too few labels to tell apart or too many to be labels, or one has no line in training or none held out.
    """
    lines = prepare(texts.alias("line"), preparation, max_characters).str.strip_chars()
    given = pl.DataFrame([labels.cast(pl.String).alias("label"), lines])
    whole = given.filter((pl.col("line") != "") & (pl.col("label").str.strip_chars() != ""))
    once = whole.unique(maintain_order=True)
    agreed = once.filter(pl.len().over("line") == 1)
    place = NonCryptographic(pl.col("line")).xxh3_64()
    table = agreed.with_columns(place=place, held_out=place % _PARTS < round(held_out * _PARTS))
    _expect_learnable(table)
    return Examples(
        table.sort("place", "line").select("label", "line", "held_out"),
        len(given) - len(whole),
        len(whole) - len(once),
        len(once) - len(agreed),
    )


def _expect_learnable(table: pl.DataFrame) -> None:
    sides = table.group_by("label").agg(pl.len(), pl.col("held_out").sum()).sort("label")
    if len(sides) < 2:
        raise ModelError(f"expected at least two labels, found {', '.join(sides['label']) or 'none'}")
    if len(sides) > MOST_LABELS:
        raise ModelError(f"expected at most {MOST_LABELS} labels, found {len(sides):,}: is the column one of scores?")
    lacking = sides.filter((pl.col("held_out") == 0) | (pl.col("held_out") == pl.col("len")))
    if len(lacking):
        label, rows, out = lacking.row(0)
        raise ModelError(f"expected texts of every label in training and held out; {label} has {rows - out} and {out}")


def train(found: Examples, settings: Mapping[str, Any], scratch: Path) -> fasttext.FastText._FastText:
    """Train on the lines that are not held out; equal examples and settings give an equal model.

    Args:
        found: From ``examples``.
        settings: Those of ``SETTINGS`` that are to differ.
        scratch: A file for the time of training.

    Raises:
        ModelError: a label has white space in it, or fastText finds nothing to learn.
    """
    known = found.table.filter(~pl.col("held_out"))
    return fasttext_models.train(known["label"], known["line"], {**SETTINGS, **settings}, scratch)


def evaluate(model: fasttext.FastText._FastText, found: Examples) -> dict[str, Metrics]:
    """How well a model tells each label on the lines that are held out, by label in alphabetical order."""
    held = found.table.filter("held_out")
    likeliest = fasttext_models.best(model, held["line"])["label"]
    names = sorted(set(held["label"]))
    return {
        name: metrics(
            held["label"] == name,
            (likeliest == name).fill_null(False),
            pl.Series(fasttext_models.probabilities(model, held["line"], name)),
        )
        for name in names
    }


def metrics(truth: pl.Series, said: pl.Series, scores: pl.Series) -> Metrics:
    """Precision, recall and the area under the ROC curve of one label.

    Args:
        truth: Boolean, n: whether a text has the label.
        said: Boolean, n: whether it was given the label.
        scores: Float, n: how probable the label was thought; equal scores count half.
    """
    right, positive, named = int((truth & said).sum()), int(truth.sum()), int(said.sum())
    negative = len(truth) - positive
    ranks = float(np.sum(scores.rank("average").filter(truth).to_numpy()))
    pairs = positive * negative
    return Metrics(
        positive,
        round(right / named, 4) if named else None,
        round(right / positive, 4) if positive else None,
        round((ranks - positive * (positive + 1) / 2) / pairs, 4) if pairs else None,
    )
