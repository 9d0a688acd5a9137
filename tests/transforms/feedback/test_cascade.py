"""The cascade's classifier: which lines it reads, what it settles, and which files it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from transforms.feedback import cascade
from transforms.feedback.cascade import Cascade, CascadeError

NEUTRAL = [f"and what about number {n}?" for n in range(60)]
ANGRY = [f"wrong, that is not {n}" for n in range(30)]
GLAD = [f"thanks, {n} works great" for n in range(30)]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cascade")
    levels = [3] * len(NEUTRAL) + [2] * len(ANGRY) + [5] * len(GLAD)
    cascade.train(NEUTRAL + ANGRY + GLAD, levels, folder / "lines.txt").save_model(str(folder / "neutral.bin"))
    return folder / "neutral.bin"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (None, "length0"),
        ("", "length0"),
        ("Thanks!", "length2 thanks !"),
        ("a b c", "length2 a b c"),
        ("a b c d", "length3 a b c d"),
        ("不对", "length2 不 对"),
        ("w " * 63, "length6" + " w" * 63),
        ("w " * 64, "length7" + " w" * 64),
        ("__label__3 wrong", "length2 3 wrong"),
    ],
)
def test_lines(text: str | None, line: str) -> None:
    assert cascade.lines(pl.Series([text], dtype=pl.String)).to_list() == [line]


def test_only_what_is_surely_neutral_is_settled(classifier: Path) -> None:
    found = Cascade.load(classifier, 0.8)
    texts = pl.Series([NEUTRAL[7], ANGRY[7], GLAD[7], "", None])
    settled = found.neutral(texts)
    assert settled.dtype == pl.Float64
    assert settled.is_null().to_list() == [False, True, True, True, True]
    assert Cascade.load(classifier, 1.0).neutral(texts[1:]).is_null().all()


def test_a_message_that_is_surely_not_neutral_has_no_high_probability(classifier: Path) -> None:
    """fastText's call for many lines gives every label the probability of the likeliest."""
    found = cascade.probabilities(Cascade.load(classifier, 0.8).model.load(), pl.Series(ANGRY + GLAD))
    assert found.max() < 0.5
    assert np.all(found >= 0)


def test_files_that_are_no_classifier_of_levels(classifier: Path, tmp_path: Path) -> None:
    with pytest.raises(CascadeError, match=r"absent\.bin.*sluice cascade"):
        Cascade.load(tmp_path / "absent.bin", 0.9)
    (tmp_path / "short.bin").write_bytes(classifier.read_bytes()[:-1])
    with pytest.raises(CascadeError, match=r"short\.bin: not a sound fastText classifier.*sluice cascade"):
        Cascade.load(tmp_path / "short.bin", 0.9)
    without = cascade.fasttext_models.train(
        pl.Series(["1", "2"] * 9), pl.Series(["a", "b"] * 9), cascade.PARAMETERS, tmp_path / "lines.txt"
    )
    without.save_model(str(tmp_path / "without.bin"))
    with pytest.raises(CascadeError, match="expected a classifier that knows level 3"):
        Cascade.load(tmp_path / "without.bin", 0.9)


def test_levels_that_teach_nothing(tmp_path: Path) -> None:
    with pytest.raises(CascadeError, match=r"found levels \[3\]"):
        cascade.train(["a", "b"], [3, 3], tmp_path / "lines.txt")
