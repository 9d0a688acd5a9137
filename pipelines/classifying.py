"""Training a quality classifier from labelled files: read, hold out, train, measure, write (``sluice train-classifier``)."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import polars as pl
import pyarrow as pa
from pydantic import Field, ValidationError

from pipelines.config import ConfigError, Model
from schemas.provenance import SourceFile
from transforms.io import files, reading, sources, splits
from transforms.io.sources import SourceError
from transforms.text import classification, fasttext_models
from transforms.text.classification import Examples, Preparation

_SCHEMA: Final = pa.schema([("text", pa.large_string()), ("label", pa.large_string())])


class TrainingSettings(Model):
    """What may be set of fastText's training; names are fastText's."""

    dim: int = Field(ge=1, le=1_024)
    epoch: int = Field(ge=1, le=1_000)
    lr: float = Field(gt=0, le=10)
    wordNgrams: int = Field(ge=1, le=5)  # noqa: N815
    minCount: int = Field(ge=1)  # noqa: N815
    minn: int = Field(ge=0, le=10)
    maxn: int = Field(ge=0, le=10)
    bucket: int = Field(ge=1, le=10_000_000)
    loss: Literal["softmax", "ova", "hs"]


class Labelled(NamedTuple):
    """Texts and labels of some files, the files with their checksums, and why rows could not be read."""

    table: pl.DataFrame
    sources: list[dict[str, Any]]
    broken: Counter[str]


def settings(overrides: Iterable[str]) -> dict[str, Any]:
    """fastText's settings with ``name=value`` overrides.

    Raises:
        ConfigError: a name is unknown, or a value out of bounds.
    """
    given = {}
    for override in overrides:
        name, equals, value = override.partition("=")
        if not equals:
            raise ConfigError(f"--set {override}: expected name=value")
        given[name] = value
    try:
        return TrainingSettings.model_validate({**classification.SETTINGS, **given}).model_dump()
    except ValidationError as error:
        first = error.errors()[0]
        known = ", ".join(TrainingSettings.model_fields)
        raise ConfigError(f"--set {first['loc'][0]}: {first['msg']}; there are {known}") from error


def read(uris: Sequence[str], text: str, label: str) -> Labelled:
    """The columns ``text`` and ``label`` of JSONL and Parquet files; labels may be strings, whole numbers or truth values.

    Raises:
        SourceError: a file cannot be read, or has no such columns.
    """
    tables, told, broken = [], [], Counter[str]()
    for index, found in enumerate(sources.find(uris, None, {})):
        probe = sources.probe(found)
        file = SourceFile(
            found.uri,
            found.relative_uri,
            index,
            probe.container,
            "labelled",
            probe.size,
            probe.fingerprint,
            found.stamp,
            "",
        )
        frame = _read(file, probe, {"text": text, "label": label}, broken)
        digest = reading.sha256(file, {})
        told.append({"name": file.relative_uri, "bytes": file.size, "sha256": digest, "rows": len(frame)})
        tables.append(frame)
    return Labelled(pl.concat(tables), told, broken)


def _read(file: SourceFile, probe: sources.Probe, columns: dict[str, str], broken: Counter[str]) -> pl.DataFrame:
    def prepare(row: dict[str, Any]) -> list[dict[str, Any]]:
        return [{name: _text(row.get(column)) for name, column in columns.items()}]

    tables = [_SCHEMA.empty_table()]
    for split in splits.cut(file, probe):
        for piece in reading.read(split, _SCHEMA, prepare, {}, rowwise=True):
            tables.append(piece.rows.select(_SCHEMA.names))
            broken.update(piece.broken["reason"].to_pylist())
    frame = pl.DataFrame(pa.concat_tables(tables))
    for name, column in columns.items():
        if frame[name].is_null().all():
            fields = ", ".join(sorted(probe.fields)[:8]) or "none"
            raise SourceError(
                f"{file.uri}: expected texts and labels, found nothing in {column}; the columns are {fields}"
            )
    return frame


def _text(value: Any) -> Any:
    """A label as text: numbers and truth values as JSON writes them. What else is no text fails with its row."""
    return json.dumps(value) if isinstance(value, bool | int) else value


def train(
    labelled: Labelled,
    columns: tuple[str, str],
    output: Path,
    chosen: dict[str, Any],
    positive: str | None,
    preparation: Preparation,
    max_characters: int,
    held_out: float,
) -> dict[str, Any]:
    """Train, measure on what was held out, and write the model and what is told beside it.

    Args:
        labelled: From ``read``.
        columns: What the text's and the label's columns are called.
        output: The model's file; ``<output>.json`` is written too.
        chosen: fastText's settings.
        positive: The label whose probability is the score; None: of two labels, the last in alphabetical order (1 of 0 and 1).
        preparation: How a text becomes a line.
        max_characters: How much of each text is read.
        held_out: Share of the texts that metrics are taken on.

    Returns:
        What was written beside the model.

    Raises:
        ConfigError: ``positive`` is no label, or is needed.
        ModelError: there is not enough to learn from.
    """
    table = labelled.table
    found = classification.examples(table["text"], table["label"], preparation, max_characters, held_out)
    names = sorted(set(found.table["label"]))
    if positive is None and len(names) != 2:
        raise ConfigError(f"--positive: expected one of the labels, since there are not two: {', '.join(names)}")
    if positive is not None and positive not in names:
        raise ConfigError(f"--positive {positive}: expected one of the labels: {', '.join(names)}")
    with tempfile.TemporaryDirectory(prefix="sluice-") as folder:
        model = classification.train(found, chosen, Path(folder, "lines.txt"))
    measured = classification.evaluate(model, found)
    with files.committed(output) as attempt:
        model.save_model(str(attempt))
        facts = fasttext_models.inspect(attempt)
        size, digest = attempt.stat().st_size, fasttext_models.file_sha256(attempt)
    told = {
        "version": classification.VERSION,
        "labels": names,
        "positive": positive if positive is not None else names[-1],
        "preparation": preparation,
        "max_characters": max_characters,
        "model": {"bytes": size, "sha256": digest, "words": facts.words, "fasttext": version("fasttext-wheel")},
        "settings": {**chosen, "held_out": held_out},
        "columns": {"text": columns[0], "label": columns[1]},
        "sources": labelled.sources,
        "examples": _counts(labelled, found),
        "metrics": {name: label._asdict() for name, label in measured.items()},
    }
    files.write_bytes(
        output.with_name(output.name + ".json"), json.dumps(told, indent=1, ensure_ascii=False).encode() + b"\n"
    )
    return told


def _counts(labelled: Labelled, found: Examples) -> dict[str, Any]:
    """Where every row went: read = trained on + held out + left aside for each reason."""
    held = int(found.table["held_out"].sum())
    aside = {"blank": found.blank, "repeated": found.repeated, "contradictory": found.contradictory, **labelled.broken}
    return {
        "read": len(labelled.table) + labelled.broken.total(),
        "trained_on": len(found.table) - held,
        "held_out": held,
        **{reason: n for reason, n in aside.items() if n},
    }
