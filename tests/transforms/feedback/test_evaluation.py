"""Figures of a judge: right by scikit-learn and by hand, honest intervals, failures that count."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console
from sklearn import metrics

from schemas.feedback import LEVELS, PAPER_LEVEL_SHARES
from transforms.feedback.evaluation import (
    GOLD,
    Evaluation,
    EvaluationUnavailableError,
    GoldError,
    Measure,
    as_dict,
    evaluate,
    judged_by_rules,
    picture,
    read_gold,
    show,
)
from transforms.models.rules import Rule, RuleSet

OVERALL = ("accuracy", "macro_f1", "kappa", "weighted_kappa")

levels = st.integers(1, 5)


def every_measure(found: Evaluation) -> list[Measure]:
    by_level = [m for level in found.levels for m in (level.precision, level.recall, level.f1)]
    return [*by_level, *(getattr(found, name) for name in OVERALL)]


def shown(found: Evaluation) -> str:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(show(found))
    return capture.get()


def noisy(rng: np.random.Generator, rows: int, accuracy: float) -> tuple[list[int], list[int]]:
    """Gold levels, and levels that are right with a chance of ``accuracy``."""
    gold = rng.integers(1, 6, rows)
    wrong = (gold - 1 + rng.integers(1, 5, rows)) % 5 + 1
    return gold.tolist(), np.where(rng.random(rows) < accuracy, gold, wrong).tolist()


# by hand


def test_a_tiny_case_by_hand() -> None:
    found = evaluate([1, 1, 3, 5], [1, 3, 3, 5])
    one, _, three, _, five = found.levels
    assert (one.precision.value, one.recall.value, one.f1.value) == pytest.approx((1, 1 / 2, 2 / 3))
    assert (three.precision.value, three.recall.value, three.f1.value) == pytest.approx((1 / 2, 1, 2 / 3))
    assert (five.precision.value, five.recall.value, five.f1.value) == (1, 1, 1)
    assert found.accuracy.value == 0.75
    assert found.macro_f1.value == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert found.kappa.value == pytest.approx((3 / 4 - 5 / 16) / (1 - 5 / 16))
    assert found.weighted_kappa.value == pytest.approx(1 - 4 / ((2 * (2 * 4 + 16) + (4 + 4) + (16 + 2 * 4)) / 4))


def test_rows_of_the_confusion_matrix_are_gold() -> None:
    found = evaluate([1, 1, 2], [2, None, 2])
    assert found.confusion[0] == (0, 1, 0, 0, 0, 1)
    assert found.confusion[1] == (0, 1, 0, 0, 0, 0)
    assert found.rows == 3


def test_a_perfect_judge() -> None:
    found = evaluate([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
    assert all(measure.value == 1 for measure in every_measure(found))
    assert found.accuracy == Measure(1, 1, 1)


def test_weighted_kappa_forgives_the_neighbour() -> None:
    gold = [1, 2, 3, 4, 5] * 10
    near = evaluate(gold, [2, 1, 3, 5, 4] * 10)
    far = evaluate(gold, [5, 4, 3, 2, 1] * 10)
    assert near.kappa.value == far.kappa.value
    assert near.weighted_kappa.value > 0.7
    assert far.weighted_kappa.value == pytest.approx(-1)


# by scikit-learn


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(levels, levels), min_size=1, max_size=60))
@pytest.mark.filterwarnings("ignore")
def test_figures_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    gold, predicted = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    found = evaluate(gold, predicted, draws=10)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        gold, predicted, labels=list(LEVELS), zero_division=np.nan
    )
    np.testing.assert_allclose([level.precision.value for level in found.levels], precision)
    np.testing.assert_allclose([level.recall.value for level in found.levels], recall)
    np.testing.assert_allclose([level.f1.value for level in found.levels], f1)
    assert [level.support for level in found.levels] == support.tolist()
    assert found.accuracy.value == pytest.approx(metrics.accuracy_score(gold, predicted))
    assert found.macro_f1.value == pytest.approx(metrics.f1_score(gold, predicted, average="macro"))
    everything = {"labels": list(LEVELS)}
    np.testing.assert_allclose(found.kappa.value, metrics.cohen_kappa_score(gold, predicted, **everything), atol=1e-12)
    np.testing.assert_allclose(
        found.weighted_kappa.value,
        metrics.cohen_kappa_score(gold, predicted, weights="quadratic", **everything),
        atol=1e-12,
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(levels, st.none() | levels), min_size=1, max_size=60))
def test_every_resample_of_one_kind_of_message_is_the_whole(pairs: list[tuple[int, int | None]]) -> None:
    """A draw from a matrix with one filled cell is that matrix: intervals and figures come from separate code."""
    gold, predicted = [pairs[0][0]] * len(pairs), [pairs[0][1]] * len(pairs)
    for measure in every_measure(evaluate(gold, predicted, draws=5)):
        np.testing.assert_allclose([measure.low, measure.high], measure.value)


# failures


def test_a_failure_is_wrong_and_no_level() -> None:
    found = evaluate([3, 3, 3, 5], [3, 3, None, 5])
    assert found.failed == 1
    assert found.accuracy.value == 0.75
    assert found.levels[2].precision.value == 1
    assert found.levels[2].recall.value == pytest.approx(2 / 3)
    assert found.macro_f1.value == pytest.approx((0.8 + 1) / 2)


def test_a_failure_costs_more_than_a_wrong_level() -> None:
    gold = [3, 1, 2, 4, 5] * 4
    failed = evaluate(gold, [None, *gold[1:]])
    for wrong in (1, 2, 4, 5):
        assert failed.weighted_kappa.value < evaluate(gold, [wrong, *gold[1:]]).weighted_kappa.value


def test_each_failure_lowers_the_overall_figures() -> None:
    gold = [1, 2, 3, 4, 5] * 4
    found = [evaluate(gold, [None] * failures + gold[failures:], draws=10) for failures in range(20)]
    for name in OVERALL:
        values = [getattr(one, name).value for one in found]
        assert all(after < before for before, after in zip(values, values[1:], strict=False)), name


def test_a_judge_that_always_fails() -> None:
    found = evaluate([1, 2, 3], [None, None, None])
    assert found.accuracy == Measure(0, 0, 0)
    assert found.macro_f1.value == 0
    assert found.kappa.value == 0
    assert all(math.isnan(level.precision.value) for level in found.levels)
    assert found.judged_shares == dict.fromkeys(LEVELS, 0)


# edges


def test_a_level_never_judged_has_no_precision() -> None:
    two = evaluate([2, 3], [3, 3]).levels[1]
    assert math.isnan(two.precision.value) and math.isnan(two.precision.low)
    assert (two.recall.value, two.f1.value) == (0, 0)


def test_a_level_never_in_gold_has_no_recall() -> None:
    found = evaluate([3, 3], [3, 2])
    assert math.isnan(found.levels[1].recall.value)
    assert (found.levels[1].precision.value, found.levels[1].f1.value, found.levels[1].support) == (0, 0, 0)
    assert found.macro_f1.value == pytest.approx((0 + 2 / 3) / 2)


def test_one_level_alone_has_no_kappa() -> None:
    found = evaluate([3] * 9, [3] * 9)
    assert found.accuracy.value == found.macro_f1.value == 1
    assert math.isnan(found.kappa.value) and math.isnan(found.weighted_kappa.value)


def test_undefined_figures_raise_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    evaluate([3] * 9, [3] * 9)
    evaluate([1], [None])
    assert not recwarn.list


def test_no_messages() -> None:
    with pytest.raises(ValueError, match="at least one message"):
        evaluate([], [])


def test_lengths_that_differ() -> None:
    with pytest.raises(ValueError, match=r"gold ones \(2\), found 1"):
        evaluate([1, 2], [1])


@pytest.mark.parametrize(("gold", "predicted"), [([0], [1]), ([6], [1]), ([1], [0]), ([1], [9])])
def test_levels_that_do_not_exist(gold: list[int], predicted: list[int]) -> None:
    with pytest.raises(ValueError, match=r"from 1 to 5, found [069]"):
        evaluate(gold, predicted)


def test_order_of_messages_does_not_matter() -> None:
    gold, predicted = noisy(np.random.default_rng(1), 80, 0.6)
    order = np.random.default_rng(2).permutation(80)
    assert evaluate(gold, predicted) == evaluate([gold[i] for i in order], [predicted[i] for i in order])


# intervals


def test_the_interval_covers_the_true_accuracy() -> None:
    rng = np.random.default_rng(7)
    covered = 0
    for seed in range(200):
        accuracy = evaluate(*noisy(rng, 300, 0.8), draws=1000, seed=seed).accuracy
        covered += accuracy.low <= 0.8 <= accuracy.high
    assert 180 <= covered < 200


def test_the_interval_is_that_of_drawing_messages() -> None:
    gold, predicted = noisy(np.random.default_rng(3), 120, 0.7)
    rng = np.random.default_rng(4)
    drawn = []
    for _ in range(1500):
        rows = rng.integers(0, 120, 120)
        some = [gold[i] for i in rows], [predicted[i] for i in rows]
        drawn.append(
            [
                metrics.f1_score(*some, average="macro"),
                metrics.cohen_kappa_score(*some),
                metrics.cohen_kappa_score(*some, weights="quadratic"),
            ]
        )
    found = evaluate(gold, predicted)
    by_message = np.quantile(drawn, [0.025, 0.975], axis=0).T
    by_matrix = [(m.low, m.high) for m in (found.macro_f1, found.kappa, found.weighted_kappa)]
    np.testing.assert_allclose(by_matrix, by_message, atol=0.025)


def test_more_messages_narrow_the_interval() -> None:
    gold, predicted = noisy(np.random.default_rng(5), 100, 0.7)
    few, many = evaluate(gold, predicted), evaluate(gold * 16, predicted * 16)
    for one, other in zip(every_measure(few), every_measure(many), strict=True):
        assert one.low <= one.value <= one.high
        assert (other.high - other.low) < 0.5 * (one.high - one.low)


def test_equal_seeds_give_equal_intervals() -> None:
    gold, predicted = noisy(np.random.default_rng(6), 100, 0.7)
    assert evaluate(gold, predicted, seed=3) == evaluate(gold, predicted, seed=3)
    assert evaluate(gold, predicted, seed=3).accuracy.low != evaluate(gold, predicted, draws=37, seed=4).accuracy.low


# what is shown


def test_the_tables_show_every_figure() -> None:
    found = evaluate([1, 2, 3, 3, 4, 5], [1, 2, 3, 4, 4, None])
    text = shown(found)
    for level, name in LEVELS.items():
        assert f"{level} {name}" in text
        assert f"{PAPER_LEVEL_SHARES[level]:.1%}" in text
    for name in ("accuracy", "macro-F1", "Cohen's kappa", "quadratic-weighted kappa"):
        assert name in text
    assert f"{found.accuracy.value:.3f} ({found.accuracy.low:.3f}–{found.accuracy.high:.3f})" in text
    assert "failed" in text
    assert "nan" not in text


def test_the_dictionary_is_plain_json() -> None:
    found = evaluate([1, 2, 3, 3], [1, None, 3, 1])
    read: dict[str, Any] = json.loads(json.dumps(as_dict(found), allow_nan=False))
    assert read["rows"] == 4 and read["failed"] == 1
    assert read["levels"]["1"] == {
        "name": "explicit rejection",
        "support": 1,
        "precision": {"value": 0.5, "low": read["levels"]["1"]["precision"]["low"], "high": 1},
        "recall": {"value": 1, "low": 1, "high": 1},
        "f1": {"value": pytest.approx(2 / 3), "low": 0, "high": 1},
    }
    assert read["levels"]["5"]["recall"]["value"] is None
    assert read["confusion"]["2"] == {"1": 0, "2": 0, "3": 0, "4": 0, "5": 0, "failed": 1}
    assert read["shares"]["gold"]["3"] == 0.5
    assert read["shares"]["judged"] == {"1": 0.5, "2": 0, "3": 0.25, "4": 0, "5": 0}
    assert read["shares"]["paper"]["3"] == 0.76


@pytest.mark.parametrize("predicted", [[1, 2, 3], [1, None, 3], [None, None, None]])
def test_the_picture_is_drawn(tmp_path: Path, predicted: list[int | None]) -> None:
    found = evaluate([1, 2, 3], predicted)
    picture(found, tmp_path / "matrix.png")
    with Image.open(tmp_path / "matrix.png") as image:
        assert image.width > 800 and image.height > 800
        assert len(image.convert("L").getcolors(256) or []) > 20


def test_equal_evaluations_give_equal_pictures(tmp_path: Path) -> None:
    found = evaluate([1, 2, 3], [1, 3, 3])
    for suffix in (".svg", ".png"):
        picture(found, tmp_path / f"one{suffix}")
        picture(found, tmp_path / f"two{suffix}")
        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()


def test_other_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends in \.svg or \.png"):
        picture(evaluate([1], [1]), tmp_path / "matrix.bmp")


def test_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = evaluate([1], [1])
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(EvaluationUnavailableError, match=r"pip install 'sluice-curation\[evaluate\]'"):
        evaluate([1], [1])
    with pytest.raises(EvaluationUnavailableError, match=r"pip install 'sluice-curation\[evaluate\]'"):
        picture(found, tmp_path / "matrix.png")


# gold files


def test_a_gold_file_is_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "gold.jsonl"
    path.write_text(
        '{"feedback": "谢谢\\u2028", "level": 5, "language": "zh", "extra": 1}\n\n{"feedback": "no", "level": 1}\n'
    )
    gold = read_gold(path)
    assert gold.schema == GOLD
    assert gold["feedback"].to_list() == ["谢谢\u2028", "no"]
    assert gold["level"].to_list() == [5, 1]
    assert gold["language"].to_list() == ["zh", None]
    assert gold["query"].to_list() == [None, None]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "expected a JSON object"),
        (b"[1]", "expected a JSON object, found list"),
        (b'{"feedback": "\xff", "level": 1}', "expected a JSON object"),
        (b'{"level": 1}', "feedback must be the text"),
        (b'{"feedback": " ", "level": 1}', "feedback must be the text"),
        (b'{"feedback": 3, "level": 1}', "feedback must be a string, found int"),
        (b'{"feedback": "no", "level": 1, "query": ["a"]}', "query must be a string, found list"),
        (b'{"feedback": "no"}', "level must be a whole number from 1 to 5, found None"),
        (b'{"feedback": "no", "level": "1"}', "level must be a whole number from 1 to 5, found '1'"),
        (b'{"feedback": "no", "level": true}', "level must be a whole number from 1 to 5, found True"),
        (b'{"feedback": "no", "level": 1.0}', "level must be a whole number from 1 to 5, found 1.0"),
        (b'{"feedback": "no", "level": 6}', "level must be a whole number from 1 to 5, found 6"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: bytes, said: str) -> None:
    path = tmp_path / "gold.jsonl"
    path.write_bytes(b'{"feedback": "ok", "level": 3}\n\n' + line + b"\n")
    with pytest.raises(GoldError) as caught:
        read_gold(path)
    assert str(caught.value).startswith(f"{path}, line 3: {said}")
    assert "\n" not in str(caught.value)


def test_an_empty_gold_file(tmp_path: Path) -> None:
    path = tmp_path / "gold.jsonl"
    path.write_text("\n")
    with pytest.raises(GoldError, match=r"gold\.jsonl: expected at least one message"):
        read_gold(path)


# rules


def test_the_packaged_rules_judge_the_feedback_alone() -> None:
    gold = pl.DataFrame(
        {"query": ["thanks!"] * 3, "response": ["no"] * 3, "feedback": ["Thanks!", "next one", "this is garbage"]}
    )
    assert judged_by_rules(gold) == [5, 3, 1]


def test_rules_of_ones_own() -> None:
    ruleset = RuleSet("own", 1, "0" * 64, 2, (Rule("shout", 4, "hurray"),))
    assert judged_by_rules(pl.DataFrame({"feedback": ["hurray", "boo"]}), ruleset) == [4, 2]
