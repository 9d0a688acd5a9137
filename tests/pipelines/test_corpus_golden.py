"""No stage of the corpus pipeline gives other rows under the same version."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import polars as pl
import pytest
import yaml

from pipelines import corpus, planning
from pipelines.corpus import CorpusConfig
from schemas.provenance import Chunk
from tests.builders import jsonl, write
from tests.prose import changed, prose
from transforms.chunks import apply
from transforms.io import duplicate_files, files
from transforms.io.tables import shaped

GOLDEN = Path(__file__).with_name("golden_corpus.json")

PROMPT = "Name every harbour that the old captain visited in the year of the great storm and say why."
TEXTS = [
    *(prose(seed) for seed in range(6)),
    "Too short.",
    changed(prose(0), 3),
    f"{prose(7)} Call +1 415 555 2671 or write to someone@company.org. password: hunter22-Zx9!",
    f"{prose(8)} {PROMPT}",
    "Ein kurzer deutscher Text über einen alten Hafen, in dem viele Schiffe liegen und auf besseres Wetter warten. "
    * 5,
    "这条河流经过许多古老的村庄，每年春天都会有很多人来到这里看花。" * 4,
    "- one\n- two\n- three\n" * 30,
    f"{prose(9)}\nlorem ipsum\n{{ javascript }}\nThis site uses cookies.\nshort",
]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A hash of what every stage, by name and version, makes of the texts: kept rows, rejected rows, the ledger."""
    folder = tmp_path_factory.mktemp("golden")
    rows = [{"id": str(at), "text": text} for at, text in enumerate(TEXTS)]
    documents = write(folder / "documents.jsonl", jsonl(rows) + b"{\n" + jsonl([{"text": None}, {"text": " "}]))
    benchmark = write(folder / "prompts.jsonl", jsonl([{"prompt": PROMPT}]))
    values = {
        "pipeline": "corpus",
        "dataset": {"name": "golden"},
        "sources": [{"uri": [str(documents)]}],
        "language": {"keep": ["en", "de"]},
        "quality": {"clean_lines": True},
        "contamination": {"benchmarks": [{"name": "prompts", "path": str(benchmark)}]},
        "subset": {"test_fraction": 0.5},
    }
    given = CorpusConfig.model_validate(yaml.safe_load(yaml.safe_dump(values)))
    source = corpus.source(given, folder)
    recipe = corpus.recipe(given, source, "")
    (split,) = planning.discover(given, source).splits
    (chunk,) = recipe.read(split)
    copy = pl.DataFrame(chunk.kept).filter(document_id="7").select("source_row", ordinal=pl.lit(0, pl.Int32))
    removed = copy.with_columns(duplicate_of=pl.lit("another"), similarity=pl.lit(0.9, pl.Float32), exact=pl.lit(False))
    files.write_arrow(folder / "lists" / f"{split.key}.17.digest.arrow", shaped(removed, duplicate_files.LIST))
    found = {f"read {recipe.read_version}": _digest(chunk)}
    for stage in recipe.stages(folder / "lists"):
        chunk = apply(stage, chunk, recipe.reject)
        found[f"{stage.name} {stage.version}"] = _digest(chunk)
    assert chunk.kept.num_rows > 3
    return found


def _digest(chunk: Chunk) -> str:
    tables = [table.to_pylist() for table in (chunk.kept, chunk.rejected)]
    for row in (row for table in tables for row in table):
        for name, value in row.items():
            row[name] = None if name == "detail" else float(f"{value:.5g}") if isinstance(value, float) else value
    counts = [(count.stage, count.unit, count.rows_in, count.rows_out, count.rejected) for count in chunk.stages]
    return hashlib.sha256(repr((tables, counts)).encode()).hexdigest()[:16]


def test_no_stage_gives_other_rows_under_the_same_version(outputs: dict[str, str]) -> None:
    golden = json.loads(GOLDEN.read_bytes())
    for name, digest in outputs.items():
        if golden.get(name) != digest:
            advice = "raise its VERSION" if name in golden else "its version is new"
            pytest.fail(f"{name}: {advice}, then write to {GOLDEN.name}:\n{json.dumps(outputs, indent=1)}")
    assert set(golden) == set(outputs), "stages that are no more"
