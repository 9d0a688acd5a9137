"""``sluice train-classifier``: from labelled files to a model that scores, and what it says when something is wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from pipelines.cli import app
from tests.builders import jsonl, write
from transforms.text import classification
from transforms.text.classification import Classifier

FAST = ("--set", "dim=8", "--set", "bucket=1000")


def rows(labels: tuple[Any, Any] = (1, 0)) -> list[dict[str, Any]]:
    good = [
        f"the theorem of {name} holds for every {thing}"
        for name in "abcdefghij"
        for thing in ("group", "ring", "field")
    ]
    bad = [
        f"buy {thing} now, only {price} dollars!!!" for price in range(10) for thing in ("shoes", "watches", "pills")
    ]
    return [{"body": text, "keep": labels[0]} for text in good] + [{"body": text, "keep": labels[1]} for text in bad]


def train(*arguments: str | Path, held_out: float = 0.3) -> Result:
    fixed = ("--text", "body", "--label", "keep", "--held-out", str(held_out), *FAST)
    return CliRunner().invoke(app, ["train-classifier", *map(str, arguments), *fixed])


def told(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.with_name(path.name + ".json").read_bytes())
    return found


def test_from_files_to_scores(tmp_path: Path) -> None:
    source, output = write(tmp_path / "labelled.jsonl", jsonl(rows())), tmp_path / "new" / "quality.bin"
    ended = train(source, "--output", output)
    assert ended.exit_code == 0, ended.output
    assert "1 (scored)" in ended.output
    facts = told(output)
    assert facts["labels"] == ["0", "1"]
    assert facts["positive"] == "1"
    assert facts["examples"]["read"] == 60 == facts["examples"]["trained_on"] + facts["examples"]["held_out"]
    assert facts["sources"][0]["name"] == "labelled.jsonl"
    assert facts["metrics"]["1"] == {
        "examples": facts["metrics"]["1"]["examples"],
        "precision": 1.0,
        "recall": 1.0,
        "auc": 1.0,
    }
    assert str(tmp_path) not in json.dumps(facts)
    scores = classification.score(pl.Series([row["body"] for row in rows()]), Classifier.find(output))
    assert scores[:30].min() > 0.5 > scores[30:].max()


def test_equal_data_gives_equal_bytes_in_any_order_and_container(tmp_path: Path) -> None:
    lines = write(tmp_path / "a" / "labelled.jsonl", jsonl(rows()))
    pl.DataFrame(rows()[::-1]).write_parquet(tmp_path / "labelled.parquet")
    for number, source in enumerate((lines, lines, tmp_path / "labelled.parquet")):
        assert train(source, "--output", tmp_path / f"{number}.bin").exit_code == 0
    assert (tmp_path / "0.bin").read_bytes() == (tmp_path / "1.bin").read_bytes() == (tmp_path / "2.bin").read_bytes()
    assert (tmp_path / "0.bin.json").read_bytes() == (tmp_path / "1.bin.json").read_bytes()
    assert told(tmp_path / "0.bin")["metrics"] == told(tmp_path / "2.bin")["metrics"]


@pytest.mark.parametrize("labels", [("hq", "cc"), (True, False), ("1", 0)])
def test_labels_may_be_texts_numbers_and_truth_values(tmp_path: Path, labels: tuple[Any, Any]) -> None:
    source = write(tmp_path / "labelled.jsonl.gz", gzip.compress(jsonl(rows(labels))))
    assert train(source, "--output", tmp_path / "quality.bin").exit_code == 0
    assert told(tmp_path / "quality.bin")["positive"] in {"hq", "true", "1"}


def test_rows_left_aside_are_counted(tmp_path: Path) -> None:
    more = [
        {"body": "both", "keep": 1},
        {"body": "Both", "keep": 0},
        {"body": " ", "keep": 1},
        {"body": "no label"},
        rows()[0],
    ]
    broken = b'{"body": "cut\n[1, 2]\n{"body": ["a list"], "keep": 1}\n'
    source = write(tmp_path / "labelled.jsonl", jsonl(rows() + more) + broken)
    ended = train(source, "--output", tmp_path / "quality.bin", "--json")
    counts = json.loads(ended.output)["examples"]
    assert counts["blank"] == 2
    assert counts["contradictory"] == 2
    assert counts["repeated"] == 1
    assert sum(n for reason, n in counts.items() if reason in {"invalid_json", "schema_mismatch"}) == 3
    assert counts["read"] == 68 == sum(n for name, n in counts.items() if name != "read")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["labelled.jsonl", "--label", "quality"], 1, "found nothing in quality; the columns are body, keep"),
        (["absent.jsonl"], 1, "absent.jsonl: cannot be listed"),
        (["labelled.jsonl", "--set", "epochs=3"], 2, "--set epochs"),
        (["labelled.jsonl", "--set", "dim"], 2, "expected name=value"),
        (["labelled.jsonl", "--set", "dim=0"], 2, "--set dim"),
        (["labelled.jsonl", "--positive", "best"], 2, "--positive best: expected one of the labels: 0, 1"),
        (["three.jsonl"], 2, "--positive: expected one of the labels"),
        (["same.jsonl"], 1, "at least two labels"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "labelled.jsonl", jsonl(rows()))
    third = [{"body": f"{row['body']} third", "keep": 2} for row in rows()]
    write(tmp_path / "three.jsonl", jsonl(rows() + third))
    write(tmp_path / "same.jsonl", jsonl(rows((1, 1))))
    command = [
        "train-classifier",
        "--text",
        "body",
        "--label",
        "keep",
        "--held-out",
        "0.3",
        "--output",
        "quality.bin",
        *FAST,
    ]
    ended = CliRunner().invoke(app, [*command, *arguments])
    assert ended.exit_code == code
    assert said in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "quality.bin").exists()


def test_a_model_that_was_exchanged_is_not_used(tmp_path: Path) -> None:
    source = write(tmp_path / "labelled.jsonl", jsonl(rows()))
    assert train(source, "--output", tmp_path / "one.bin").exit_code == 0
    assert train(source, "--output", tmp_path / "two.bin", "--set", "epoch=3").exit_code == 0
    (tmp_path / "one.bin").write_bytes((tmp_path / "two.bin").read_bytes())
    with pytest.raises(classification.ModelError, match="expected the model with SHA-256"):
        Classifier.find(tmp_path / "one.bin")
