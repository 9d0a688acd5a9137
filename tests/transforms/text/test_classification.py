"""The quality classifier: which texts are held out, how good it is said to be, and what it says of a text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_score, recall_score, roc_auc_score

from transforms.text import classification, fasttext_models
from transforms.text.classification import Classifier
from transforms.text.fasttext_models import ModelError

GOOD = [
    f"the theorem of {name} holds for every {thing}" for name in "abcdefghij" for thing in ("group", "ring", "field")
]
BAD = [f"buy {thing} now, only {price} dollars!!!" for price in range(10) for thing in ("shoes", "watches", "pills")]
TEXTS = pl.Series("text", GOOD + BAD)
LABELS = pl.Series("label", ["good"] * len(GOOD) + ["bad"] * len(BAD))


def found(texts: pl.Series = TEXTS, labels: pl.Series = LABELS, held_out: float = 0.3) -> classification.Examples:
    return classification.examples(texts, labels, "tokens", 1_000, held_out)


def saved(folder: Path, **told: Any) -> Path:
    model = classification.train(found(), {"dim": 8, "bucket": 1_000}, folder / "lines.txt")
    path = folder / "quality.bin"
    model.save_model(str(path))
    if told:
        facts = {"model": {"sha256": fasttext_models.file_sha256(path)}, "positive": "good", "max_characters": 1_000}
        path.with_name("quality.bin.json").write_text(json.dumps({**facts, "preparation": "tokens", **told}))
    return path


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return Classifier.find(saved(tmp_path_factory.mktemp("quality"), labels=["bad", "good"]))


# --- examples ---------------------------------------------------------------------------------------------------------

WORDS = st.lists(st.sampled_from(["a", "B", "c!", " ", "\n", ""]), max_size=3).map(" ".join)


@given(st.lists(st.tuples(WORDS, st.sampled_from(["good", "bad", "", None])), max_size=30))
def test_every_row_is_accounted_for(rows: list[tuple[str, str | None]]) -> None:
    more = [(text, "good") for text in GOOD] + [(text, "bad") for text in BAD] + rows
    texts, labels = (pl.Series(column, dtype=pl.String) for column in zip(*more, strict=True))
    examples = found(texts, labels)
    table = examples.table
    assert len(more) == len(table) + examples.blank + examples.repeated + examples.contradictory
    assert table["line"].n_unique() == len(table)
    assert (table["line"] != "").all()
    lines = fasttext_models.tokens(texts, 1_000)
    by_line: dict[str, set[str]] = {}
    for line, label in zip(lines, labels, strict=True):
        if line and label:
            by_line.setdefault(line, set()).add(label)
    assert dict(table.select("line", "label").iter_rows()) == {
        k: next(iter(v)) for k, v in by_line.items() if len(v) == 1
    }


def test_equal_texts_are_on_one_side_however_they_are_written() -> None:
    noisy = pl.Series([f"  {text.upper()}\n" for text in TEXTS])
    one, other = found(), found(noisy)
    assert one.table.equals(other.table)
    both = found(pl.concat([TEXTS, noisy]), pl.concat([LABELS, LABELS]))
    assert both.table.equals(one.table)
    assert both.repeated == len(TEXTS)


def test_a_text_more_moves_no_other() -> None:
    before = dict(found().table.select("line", "held_out").iter_rows())
    more = found(pl.concat([TEXTS, pl.Series(["something new altogether"])]), pl.concat([LABELS, pl.Series(["good"])]))
    after = dict(more.table.select("line", "held_out").iter_rows())
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1


def test_order_of_rows_is_of_no_consequence() -> None:
    order = np.random.default_rng(0).permutation(len(TEXTS))
    assert found(TEXTS.gather(order), LABELS.gather(order)).table.equals(found().table)


def test_about_the_share_that_was_asked_for_is_held_out() -> None:
    texts = pl.Series([f"text number {n}" for n in range(4_000)])
    labels = pl.Series(["a", "b"] * 2_000)
    assert abs(found(texts, labels, 0.1).table["held_out"].mean() - 0.1) < 0.02


@pytest.mark.parametrize(
    ("texts", "labels", "told"),
    [
        (["a", "b"], ["x", "x"], "at least two labels, found x"),
        ([], [], "at least two labels, found none"),
        ([None, " "], ["x", "y"], "at least two labels, found none"),
        ([f"t{n}" for n in range(500)], [str(n) for n in range(500)], "at most 100 labels, found 500"),
        (["only one", *GOOD], ["x", *["y"] * len(GOOD)], "x has"),
    ],
)
def test_what_cannot_be_learned_is_named(texts: list[str], labels: list[str], told: str) -> None:
    with pytest.raises(ModelError, match=told):
        found(pl.Series(texts, dtype=pl.String), pl.Series(labels, dtype=pl.String))


# --- metrics ----------------------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.booleans(), st.booleans(), st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0])), min_size=1, max_size=40
    )
)
def test_metrics_are_those_of_scikit_learn(rows: list[tuple[bool, bool, float]]) -> None:
    truth, said, scores = (pl.Series(column) for column in zip(*rows, strict=True))
    ours = classification.metrics(truth, said, scores)
    assert ours.examples == sum(truth)
    assert ours.precision == (round(precision_score(truth, said), 4) if said.any() else None)
    assert ours.recall == (round(recall_score(truth, said), 4) if truth.any() else None)
    both = truth.any() and not truth.all()
    assert ours.auc == (pytest.approx(roc_auc_score(truth, scores), abs=6e-5) if both else None)


def test_what_is_easily_told_is_told(tmp_path: Path) -> None:
    examples = found()
    model = classification.train(examples, {"dim": 8, "bucket": 1_000}, tmp_path / "lines.txt")
    measured = classification.evaluate(model, examples)
    assert list(measured) == ["bad", "good"]
    assert sum(label.examples for label in measured.values()) == examples.table["held_out"].sum()
    assert all(label.auc == label.precision == label.recall == 1.0 for label in measured.values())


# --- scores -----------------------------------------------------------------------------------------------------------


def test_scores(classifier: Classifier) -> None:
    texts = pl.Series("body", [GOOD[0], BAD[0], None, " \n", "", "entirely unseen words", "!" * 10_000])
    scores = classification.score(texts, classifier)
    assert (scores.name, scores.dtype) == ("classifier_score", pl.Float32)
    assert scores[0] > 0.9
    assert scores[1] < 0.1
    assert scores.is_null().to_list() == [False, False, True, True, True, False, False]
    assert scores.drop_nulls().is_between(0, 1).all()
    other = Classifier(classifier.model, "bad", classifier.preparation, classifier.max_characters)
    np.testing.assert_allclose((scores + classification.score(texts, other)).drop_nulls(), 1, atol=1e-4)
    assert classification.score(pl.Series([], dtype=pl.String), classifier).to_list() == []


def test_select(classifier: Classifier) -> None:
    frame = pl.DataFrame({"id": [1, 2, 3], "text": [GOOD[0], BAD[0], None]})
    kept = classification.select(frame, classifier)
    assert kept.columns == ["id", "text", "classifier_score", "failed", "reason"]
    assert kept["reason"].to_list() == [None, "classifier_score", "classifier_score"]
    assert kept["failed"].to_list() == [[], ["classifier_score"], ["classifier_score"]]
    assert classification.select(frame, classifier, 0.0)["reason"].to_list() == [None, None, "classifier_score"]


def test_a_text_is_read_up_to_the_limit(classifier: Classifier) -> None:
    short = Classifier(classifier.model, "good", "tokens", len(GOOD[0]))
    one, two = classification.score(pl.Series([GOOD[0], GOOD[0] + " " + BAD[0] * 100]), short)
    assert one == two
    assert short.identity != classifier.identity


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_model_from_elsewhere_gets_plain_text_and_needs_its_label_named(tmp_path: Path) -> None:
    path = saved(tmp_path)
    with pytest.raises(ModelError, match=r"expected a positive label.* it knows (good, bad|bad, good)"):
        Classifier.find(path)
    elsewhere = Classifier.find(path, "bad")
    assert (elsewhere.preparation, elsewhere.positive) == ("plain", "bad")
    with pytest.raises(ModelError, match="expected one of its labels, found best"):
        Classifier.find(path, "best")


def test_a_file_beside_another_model_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, model={"sha256": "0" * 64})
    with pytest.raises(ModelError, match="expected the model with SHA-256 0000"):
        Classifier.find(path)


@pytest.mark.parametrize(
    "beside",
    ["", "[]", "{", "null", '{"model": 3}', '{"model": {"sha256": "x"}}', "[" * 100_000, "\udcff", '"' * 2_000_000],
)
def test_a_damaged_file_beside_the_model_is_named(tmp_path: Path, beside: str) -> None:
    path = saved(tmp_path)
    path.with_name("quality.bin.json").write_bytes(beside.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelError, match=r"quality\.bin\.json: expected what"):
        Classifier.find(path)


@pytest.mark.parametrize("told", [{"preparation": "eval"}, {"max_characters": "all"}, {"max_characters": 0}])
def test_values_that_mean_nothing_are_named(tmp_path: Path, told: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="expected a preparation and max_characters"):
        Classifier.find(saved(tmp_path, **told))


def test_identity_is_of_bytes_and_settings_not_of_paths(tmp_path: Path, classifier: Classifier) -> None:
    copy = tmp_path / "copy.bin"
    copy.write_bytes(classifier.model.path.read_bytes())
    copy.with_name("copy.bin.json").write_bytes(classifier.model.path.with_name("quality.bin.json").read_bytes())
    assert Classifier.find(copy).identity == classifier.identity
    assert Classifier.find(copy, "bad").identity != classifier.identity
