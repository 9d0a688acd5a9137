"""How good a judge's levels are: figures against a gold set, with bootstrap intervals.

A judge may fail on a message. A failure is no level: it counts as wrong everywhere, and stands in a column of its own.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl
from rich.console import Group, RenderableType
from rich.table import Table

from schemas.feedback import LEVELS, PAPER_LEVEL_SHARES
from transforms.models import rules
from transforms.models.rules import RuleSet

GOLD: Final = pl.Schema(
    {
        "query": pl.String(),
        "response": pl.String(),
        "feedback": pl.String(),
        "language": pl.String(),
        "kind": pl.String(),
        "level": pl.Int8(),
    }
)
"""Columns of a gold set; all but ``feedback`` and ``level`` may be null."""

COVERAGE: Final = 0.95
"""Nominal coverage of the intervals."""

_FAILED: Final = len(LEVELS)
_MISSING: Final = "needs scikit-learn and matplotlib: pip install 'sluice-curation[evaluate]'"

Matrices = npt.NDArray[np.int64]
"""Confusion matrices, shape (..., 5, 6): a row for each gold level, a column for each judged level and one for failures."""

Values = npt.NDArray[np.float64]


class GoldError(ValueError):
    """A gold set is not valid; the message names the file and the line."""


class EvaluationUnavailableError(ImportError):
    """A package that evaluation needs is not installed; the message names the extra that brings it."""


@dataclass(frozen=True)
class Measure:
    """A figure and its 95 % percentile bootstrap interval; NaN where it is not defined (nothing to divide by)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LevelMeasures:
    """One level against the rest; ``support`` is how many gold messages have it."""

    level: int
    support: int
    precision: Measure
    recall: Measure
    f1: Measure


@dataclass(frozen=True)
class Evaluation:
    """Levels of a judge against gold levels.

    ``confusion`` has a row for each gold level and six columns: the levels as judged, and failures. ``macro_f1`` is the
    mean over the levels that occur, in gold or as judged. ``weighted_kappa`` weighs a disagreement by the square of its
    distance; a failure is as far off as level 1 is from level 5.
    """

    confusion: tuple[tuple[int, ...], ...]
    levels: tuple[LevelMeasures, ...]
    accuracy: Measure
    macro_f1: Measure
    kappa: Measure
    weighted_kappa: Measure

    @property
    def rows(self) -> int:
        """Messages in the gold set."""
        return sum(map(sum, self.confusion))

    @property
    def failed(self) -> int:
        """Messages that the judge gave no level."""
        return sum(row[_FAILED] for row in self.confusion)

    @property
    def gold_shares(self) -> dict[int, float]:
        """Share of each level in the gold set."""
        return {level: sum(row) / self.rows for level, row in zip(LEVELS, self.confusion, strict=True)}

    @property
    def judged_shares(self) -> dict[int, float]:
        """Share of each level as judged, of all messages: with failures they do not add up to 1."""
        columns = zip(*self.confusion, strict=True)
        return {level: sum(column) / self.rows for level, column in zip(LEVELS, columns, strict=False)}


def read_gold(path: Path) -> pl.DataFrame:
    """Read a gold set: JSON Lines, one message a line, with ``feedback``, ``level`` and what else `GOLD` has.

    Other fields are left out, blank lines passed over.

    Raises:
        GoldError: a line is not a JSON object, ``feedback`` is blank, ``level`` is not 1 to 5, a field has another type,
            or there is no message at all.
        OSError: the file cannot be read.
    """
    lines = enumerate(path.read_bytes().splitlines(), start=1)
    rows = [_message(line, f"{path}, line {number}") for number, line in lines if line.strip()]
    if not rows:
        raise GoldError(f"{path}: expected at least one message, found none; write one JSON object a line")
    return pl.DataFrame(rows, schema=GOLD)


def _message(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise GoldError(f"{where}: expected a JSON object; {error}") from error
    if not isinstance(row, dict):
        raise GoldError(f"{where}: expected a JSON object, found {type(row).__name__}")
    for name in GOLD.names()[:-1]:
        if not isinstance(row.get(name), str | None):
            raise GoldError(f"{where}: {name} must be a string, found {type(row[name]).__name__}")
    if not (row.get("feedback") or "").strip():
        raise GoldError(f"{where}: feedback must be the text of the message, found nothing")
    if type(row.get("level")) is not int or row["level"] not in LEVELS:
        raise GoldError(f"{where}: level must be a whole number from 1 to 5, found {row.get('level')!r}")
    return {name: row.get(name) for name in GOLD}


def judged_by_rules(gold: pl.DataFrame, ruleset: RuleSet | None = None) -> list[int]:
    """The levels that rules, by default the packaged ones, give to ``feedback``; one a row, in order."""
    if ruleset is None:
        ruleset = rules.load(files("configs").joinpath("feedback", "judge.yaml"))
    return rules.classify(gold["feedback"], ruleset)["label"].to_list()


def evaluate(gold: Sequence[int], predicted: Sequence[int | None], draws: int = 2000, seed: int = 0) -> Evaluation:
    """Compare levels, message by message.

    Intervals are percentiles over ``draws`` confusion matrices drawn from the observed one, which is the same as drawing
    messages with replacement. A draw where a figure is not defined is left out of its interval. A figure of exactly 0 or
    1 does not vary in the draws: its interval is a point, and says nothing.

    Args:
        gold: levels 1-5.
        predicted: as many levels, None where the judge failed.
        draws: how many matrices.
        seed: of the draws; equal arguments give equal intervals.

    Raises:
        ValueError: there is no message, the lengths differ, or a level is not 1 to 5.
        EvaluationUnavailableError: scikit-learn is not installed.
    """
    confusion = _confusion(gold, predicted)
    points = _points(gold, predicted) | {"weighted_kappa": _weighted_kappa(confusion)}
    chances = confusion.ravel() / confusion.sum()
    drawn = _measures(
        np.random.default_rng(seed).multinomial(len(gold), chances, size=draws).reshape(draws, *confusion.shape)
    )

    def overall(name: str) -> Measure:
        return _measure(points[name], drawn[name])

    def of_level(name: str, at: int) -> Measure:
        return _measure(points[name][at], drawn[name][:, at])

    return Evaluation(
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        levels=tuple(
            LevelMeasures(
                level,
                int(confusion[at].sum()),
                of_level("precision", at),
                of_level("recall", at),
                of_level("f1", at),
            )
            for at, level in enumerate(LEVELS)
        ),
        accuracy=overall("accuracy"),
        macro_f1=overall("macro_f1"),
        kappa=overall("kappa"),
        weighted_kappa=overall("weighted_kappa"),
    )


def _confusion(gold: Sequence[int], predicted: Sequence[int | None]) -> Matrices:
    if len(gold) != len(predicted):
        raise ValueError(f"expected as many predicted levels as gold ones ({len(gold)}), found {len(predicted)}")
    if not gold:
        raise ValueError("expected at least one message, found none")
    strange = [level for level in gold if level not in LEVELS] or [
        level for level in predicted if level is not None and level not in LEVELS
    ]
    if strange:
        raise ValueError(f"expected levels from 1 to 5, found {strange[0]!r}")
    columns = [_FAILED if level is None else level - 1 for level in predicted]
    shape = len(LEVELS), len(LEVELS) + 1
    cells = np.ravel_multi_index((np.asarray(gold) - 1, np.asarray(columns)), shape)
    return np.bincount(cells, minlength=math.prod(shape)).reshape(shape)


def _points(gold: Sequence[int], predicted: Sequence[int | None]) -> dict[str, Any]:
    """The figures of the messages as they are; NaN where there is nothing to divide by."""
    try:
        from sklearn import metrics
    except ImportError as error:
        raise EvaluationUnavailableError(f"evaluation {_MISSING}") from error
    levels, failure = list(LEVELS), 0
    said = [failure if level is None else level for level in predicted]
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(gold, said, labels=levels, zero_division=np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a kappa that is not defined
        kappa = metrics.cohen_kappa_score(gold, said, labels=[*levels, failure])
    return {
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "accuracy": metrics.accuracy_score(gold, said),
        "macro_f1": np.nanmean(f1),
        "kappa": kappa,
    }


def _measures(matrices: Matrices) -> dict[str, Values]:
    """The figures of many confusion matrices: shape (draws, 5) by level, (draws,) overall."""
    right = np.diagonal(matrices, axis1=-2, axis2=-1)
    support, judged = matrices.sum(axis=-1), matrices.sum(axis=-2)
    rows = support.sum(axis=-1)
    f1 = _ratio(2 * right, support + judged[..., :_FAILED])
    by_chance = (support * judged[..., :_FAILED]).sum(axis=-1)
    hits = right.sum(axis=-1)
    return {
        "precision": _ratio(right, judged[..., :_FAILED]),
        "recall": _ratio(right, support),
        "f1": f1,
        "accuracy": hits / rows,
        "macro_f1": np.nanmean(f1, axis=-1),
        "kappa": _ratio(hits * rows - by_chance, rows * rows - by_chance),
        "weighted_kappa": _weighted_kappa(matrices),
    }


def _weighted_kappa(matrices: Matrices) -> Values:
    """Cohen's kappa with quadratic weights; shape (...)."""
    at = np.arange(len(LEVELS))
    weights = np.full((len(LEVELS), len(LEVELS) + 1), (len(LEVELS) - 1) ** 2)
    weights[:, :_FAILED] = (at[:, None] - at) ** 2
    support, judged = matrices.sum(axis=-1), matrices.sum(axis=-2)
    found = (weights * matrices).sum(axis=(-2, -1)) * support.sum(axis=-1)
    by_chance = (weights * support[..., :, None] * judged[..., None, :]).sum(axis=(-2, -1))
    return 1 - _ratio(found, by_chance)


def _ratio(above: Matrices, below: Matrices) -> Values:
    ratio: Values = np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below != 0)
    return ratio


def _measure(value: float, drawn: Values) -> Measure:
    defined = drawn[~np.isnan(drawn)]
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(defined, [tail, 1 - tail]) if defined.size else (np.nan, np.nan)
    return Measure(float(value), float(low), float(high))


def as_dict(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation for JSON: what is not defined is None; shares as fractions, by level."""
    levels = {
        str(measures.level): {"name": LEVELS[measures.level], "support": measures.support}
        | {name: _plain(getattr(measures, name)) for name in ("precision", "recall", "f1")}
        for measures in evaluation.levels
    }
    return {
        "rows": evaluation.rows,
        "failed": evaluation.failed,
        "coverage": COVERAGE,
        "levels": levels,
        **{name: _plain(getattr(evaluation, name)) for name in _OVERALL},
        "confusion": {
            str(level): dict(zip([*map(str, LEVELS), "failed"], row, strict=True))
            for level, row in zip(LEVELS, evaluation.confusion, strict=True)
        },
        "shares": {
            name: {str(level): share for level, share in shares.items()}
            for name, shares in (
                ("gold", evaluation.gold_shares),
                ("judged", evaluation.judged_shares),
                ("paper", PAPER_LEVEL_SHARES),
            )
        },
    }


_OVERALL: Final = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "kappa": "Cohen's kappa",
    "weighted_kappa": "quadratic-weighted kappa",
}


def _plain(measure: Measure) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in asdict(measure).items()}


def show(evaluation: Evaluation) -> RenderableType:
    """The evaluation for a terminal: figures by level, figures overall, shares of the levels beside the paper's."""
    levels = _table(("level", "left"), "messages", "precision", "recall", "F1")
    for found in evaluation.levels:
        levels.add_row(
            f"{found.level} {LEVELS[found.level]}",
            f"{found.support:,}",
            *(_shown(measure) for measure in (found.precision, found.recall, found.f1)),
        )
    overall = _table((f"{evaluation.rows:,} messages", "left"), "95 % interval")
    for name, shown in _OVERALL.items():
        overall.add_row(shown, _shown(getattr(evaluation, name)))
    overall.add_row("failed", f"{evaluation.failed:,}")
    shares = _table(("share of the level", "left"), "gold", "judged", "paper")
    for level, name in LEVELS.items():
        of_level = (evaluation.gold_shares[level], evaluation.judged_shares[level], PAPER_LEVEL_SHARES[level])
        shares.add_row(f"{level} {name}", *(f"{share:.1%}" for share in of_level))
    return Group(levels, "", overall, "", shares)


def _table(first: tuple[str, Literal["left", "right"]], *rest: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(first[0], justify=first[1], no_wrap=True)
    for name in rest:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _shown(measure: Measure) -> str:
    if math.isnan(measure.value):
        return "–"
    return f"{measure.value:.3f} ({measure.low:.3f}–{measure.high:.3f})"


def expect_picture(path: Path) -> None:
    """Check that a picture can be drawn to a path of that name.

    Raises:
        ValueError: it ends neither in .svg nor in .png.
    """
    if path.suffix not in {".svg", ".png"}:
        raise ValueError(f"{path}: expected a file name that ends in .svg or .png")


def picture(evaluation: Evaluation, path: Path) -> None:
    """Draw the confusion matrix: counts, shares of the gold level, and a column for failures where there are any.

    Equal evaluations give equal files.

    Raises:
        ValueError: the path ends neither in .svg nor in .png.
        EvaluationUnavailableError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    expect_picture(path)
    try:
        import matplotlib
        from matplotlib.figure import Figure
        from matplotlib.patches import Rectangle
    except ImportError as error:
        raise EvaluationUnavailableError(f"the picture {_MISSING}") from error
    columns = [f"{level}\n{name.replace(' ', chr(10))}" for level, name in LEVELS.items()]
    if evaluation.failed:
        columns.append("judge\nfailed")
    counts = np.array(evaluation.confusion)[:, : len(columns)]
    support = np.array([measures.support for measures in evaluation.levels])
    shares = np.nan_to_num(_ratio(counts, np.broadcast_to(support[:, None], counts.shape)))
    with matplotlib.rc_context({"svg.hashsalt": "sluice", "font.family": "DejaVu Sans", "font.size": 10}):
        figure = Figure(figsize=(2.6 + 0.95 * len(columns), 6.2), layout="constrained")
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts):
            ink = "white" if shares[row, column] > 0.55 else "black" if count else "0.6"
            axes.text(column, row - 0.08, f"{count}", ha="center", va="center", color=ink, fontsize=13)
            if count:
                share = f"{shares[row, column]:.0%}"
                axes.text(column, row + 0.2, share, ha="center", va="center", color=ink, fontsize=8.5)
        axes.set_xticks(range(len(columns)), columns)
        rows = [f"{level} {name}\n{n:,} messages" for (level, name), n in zip(LEVELS.items(), support, strict=True)]
        axes.set_yticks(range(len(rows)), rows)
        axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=2)
        for right in range(len(rows)):
            axes.add_patch(
                Rectangle((right - 0.47, right - 0.47), 0.94, 0.94, fill=False, edgecolor="black", linewidth=1)
            )
        axes.tick_params(which="both", length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("level as judged", labelpad=8)
        axes.set_ylabel("level in the gold set", labelpad=8)
        axes.set_title(
            f"accuracy {evaluation.accuracy.value:.2f}   macro-F1 {evaluation.macro_f1.value:.2f}   "
            f"quadratic-weighted kappa {evaluation.weighted_kappa.value:.2f}",
            fontsize=10,
            pad=10,
        )
        varying = "Date" if path.suffix == ".svg" else "Software"
        figure.savefig(path, dpi=150, metadata={varying: None})
