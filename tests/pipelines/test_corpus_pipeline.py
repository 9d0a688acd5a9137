"""The corpus pipeline as a user runs it: documents of every kind in, curated text and every rejected row out."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from schemas.document import KEPT, REJECTED, SCORES
from tests.builders import jsonl, packed, write
from tests.pipelines.rig import here, sluice
from tests.prose import changed, prose
from transforms.io import files, snapshots
from transforms.text import quality, repetition

Row = dict[str, Any]

CHINESE = (
    "这条河流经过许多古老的村庄，每年春天都会有很多人来到这里看花。我们在河边走了一整天，晚上住在一家小旅馆里。" * 3
)
PROMPT = (
    "Write a long story about a lighthouse keeper who finds a message in a bottle and never mentions the sea at all."
)
ADDRESS = "margaret.holloway@northwick-college.ac.uk"


def config(folder: Path, *uris: Path, **settings: Any) -> Path:
    entries = settings.pop("sources", None) or [{"uri": [str(uri) for uri in uris], "text_by": "paragraph"}]
    values = {"pipeline": "corpus", "dataset": {"name": "texts", "license": "cc0-1.0"}, "sources": entries, **settings}
    return write(folder / "corpus.yaml", yaml.safe_dump(values, allow_unicode=True).encode())


class Dataset:
    """A published snapshot."""

    def __init__(self, output: Path) -> None:
        self.output, self.snapshot = output, snapshots.latest(output)

    @property
    def manifest(self) -> Row:
        return snapshots.manifest(self.snapshot)

    @property
    def kept(self) -> list[Row]:
        return snapshots.scan(self.snapshot, "data", KEPT).collect().to_dicts()

    @property
    def rejected(self) -> list[Row]:
        return snapshots.scan(self.snapshot, "rejected", REJECTED).collect().to_dicts()

    def of(self, name: str) -> Row:
        (row,) = [row for row in (*self.kept, *self.rejected) if row["document_id"] == name]
        return row

    def bytes(self) -> dict[str, str]:
        held = [f"{kind}/{name}" for kind in ("data", "rejected") for name in files.names(self.snapshot / kind)]
        return {name: files.sha256(self.snapshot / name) for name in (*held, "manifest.json")}


def run(path: Path, output: Path, *options: str, expect: int = 0) -> Row:
    told = sluice("run", path, "--output", output, "--json", *options, expect=expect)
    facts: Row = told.json if expect == 0 else {"complaint": told.complaint}
    return facts


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents in every container but archives, with something for every stage to do."""
    folder = tmp_path_factory.mktemp("documents")
    first = [{"id": f"kept {at}", "text": prose(at), "url": f"https://example.org/{at}"} for at in range(30)]
    first += [
        {"id": "short", "text": "Too short to say anything."},
        {"id": "chinese", "text": CHINESE},
        {"id": "repeated", "text": " ".join([prose(1, 1)] * 20)},
        {"id": "address", "text": f"{prose(100)} Write to {ADDRESS} for the programme."},
        {"id": "prompt", "text": f"{prose(101)} {PROMPT} {prose(102)}"},
        {"id": "empty", "text": " \n"},
        {"id": "none", "text": None},
        {"id": "number", "text": 7},
    ]
    write(folder / "a.jsonl.zst", packed(jsonl(first) + b'{"id": "broken", "text": \n', "jsonl.zst", frames=3))
    second = [
        {"id": "equal", "text": prose(3).replace(",", " ;").replace(" ", "  ")},
        {"id": "near", "text": changed(prose(4), 4)},
    ]
    second += [{"id": f"more {at}", "text": prose(200 + at)} for at in range(20)]
    pq.write_table(pa.Table.from_pylist(second), folder / "b.parquet", row_group_size=5)
    write(folder / "c.txt.gz", gzip.compress("\n\n".join(prose(300 + at) for at in range(10)).encode()))
    return folder


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("benchmark") / "prompts.jsonl", jsonl([{"prompt": PROMPT}]))


@pytest.fixture(scope="module")
def path(sources: Path, benchmark: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    searched = {"benchmarks": [{"name": "tales", "path": str(benchmark)}]}
    kept = {"keep": ["en"]}
    folder = tmp_path_factory.mktemp("config")
    return config(folder, sources, language=kept, contamination=searched, split_bytes=6_000, shard_bytes=30_000)


@pytest.fixture(scope="module")
def dataset(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    output = tmp_path_factory.mktemp("corpus") / "out"
    facts = run(path, output, "--workers", "1")
    assert facts["rows_read"] == 39 + 22 + 10
    return Dataset(output)


def test_every_row_has_one_outcome_and_the_ledgers_close(dataset: Dataset) -> None:
    counts = dataset.manifest["counts"]
    assert counts["rows_rejected"] == {"empty_document": 1, "invalid_json": 1, "text_missing": 1, "text_not_string": 1}
    assert counts["rows_read"] == counts["rows_used"] + 4 == 71
    lost = counts["instances_rejected"]
    assert counts["instances"] == counts["kept"] + sum(lost.values()) == 67
    assert Counter(row["reason"] for row in dataset.rejected) == Counter({**counts["rows_rejected"], **lost})
    assert len(dataset.kept) == counts["kept"] == 61
    for stage in counts["stages"]:
        assert stage["in"] == stage["out"] + sum(stage["rejected"].values()), stage


@pytest.mark.parametrize(
    ("name", "stage", "reason"),
    [
        ("short", "quality", "gopher_word_count"),
        ("chinese", "identify language", "language_unwanted"),
        ("repeated", "repetition", "top_4_gram_character_fraction"),
        ("equal", "drop duplicates", "duplicate"),
        ("near", "drop duplicates", "near_duplicate"),
        ("prompt", "contamination", "contaminated"),
    ],
)
def test_each_stage_rejects_what_it_is_for(dataset: Dataset, name: str, stage: str, reason: str) -> None:
    row = dataset.of(name)
    assert (row["stage"], row["reason"]) == (stage, reason)


def test_duplicates_name_the_document_that_stays(dataset: Dataset) -> None:
    equal, near = dataset.of("equal"), dataset.of("near")
    assert equal["duplicate_of"] == dataset.of("kept 3")["record_id"]
    assert near["duplicate_of"] == dataset.of("kept 4")["record_id"]
    assert (equal["similarity"], 0.8 <= near["similarity"] < 1) == (1.0, True)


def test_contamination_says_where_and_does_not_quote(dataset: Dataset) -> None:
    row = dataset.of("prompt")
    assert row["contaminated_by"] == "tales:0"
    span = row["contaminated_span"]
    text = f"{prose(101)} {PROMPT} {prose(102)}"
    assert text[span["start"] : span["stop"]].strip(" .") == PROMPT.strip(" .")
    assert "lighthouse" not in json.dumps(row, default=str)


def test_personal_data_is_redacted_counted_and_nowhere_in_the_output(dataset: Dataset) -> None:
    row = dataset.of("address")
    assert "<EMAIL>" in row["text"]
    assert row["personal_data"] == [{"kind": "email", "count": 1}]
    for found in (found for found in dataset.output.rglob("*") if found.is_file()):
        data = (
            pl.read_parquet(found).write_json() if found.suffix == ".parquet" else found.read_bytes().decode("latin1")
        )
        if "parts" not in found.parts:
            assert ADDRESS not in data, found


def test_scores_travel_with_kept_and_rejected_rows(dataset: Dataset) -> None:
    texts = pl.Series([row["text"] for row in dataset.kept])
    measured = pl.concat([quality.measure(texts), repetition.measure(texts)], how="horizontal")
    clean = [at for at, row in enumerate(dataset.kept) if not row["personal_data"]]
    for name in measured.columns:
        assert [dataset.kept[at][name] for at in clean] == [measured[name][at] for at in clean], name
    short = dataset.of("short")
    assert short["gopher_word_count"] == 5
    assert short["failed"][0] == short["reason"] == "gopher_word_count"
    assert short["duplicate_line_fraction"] is None  # it never came that far


def test_every_rule_has_a_score_column() -> None:
    assert set(quality.RULES) | set(repetition.RULES) <= set(SCORES)
    texts = pl.Series(["some text"])
    dtypes = {**quality.measure(texts).schema, **repetition.measure(texts).schema}
    stored = pl.DataFrame(KEPT.empty_table()).schema
    assert {name: stored[name] for name in dtypes} == dtypes


def test_the_dataset_is_sound_and_loads(dataset: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets

    assert "sound" in here("verify", dataset.output, "--sources").out
    loaded = datasets.load_dataset(str(dataset.snapshot), cache_dir=str(tmp_path))
    assert loaded["train"].num_rows == 61
    assert (dataset.snapshot / "report.html").read_text().count("near_duplicate") > 0


def test_a_row_is_traced_to_its_bytes(dataset: Dataset) -> None:
    told = here("trace", dataset.output, dataset.of("near")["record_id"], "--json").json
    assert json.dumps(told).count(changed(prose(4), 4)[:100]) >= 1
    kept = dataset.of("more 3")
    assert "b.parquet" in here("trace", dataset.output, kept["record_id"]).out


def test_workers_and_reruns_change_nothing(path: Path, dataset: Dataset, tmp_path: Path) -> None:
    facts = run(path, tmp_path / "out", "--workers", "2")
    assert facts["splits"]["total"] > 10
    assert Dataset(tmp_path / "out").bytes() == dataset.bytes()
    again = run(path, tmp_path / "out")
    assert not again["changed"]
    assert again["splits"]["computed"] == 0


def test_the_secret_for_user_ids_decides_nothing(dataset: Dataset, path: Path) -> None:
    """Machines with secrets of their own publish the same bytes: no user is published."""
    plans = [sluice("plan", path, "--json", SLUICE_USER_KEY=key).json["plan"] for key in ("one", "another")]
    assert plans == [dataset.manifest["plan"]["hash"]] * 2


def test_new_files_are_compared_with_old_ones_that_are_not_read_again(tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    write(folder / "a.jsonl", jsonl([{"id": f"old {at}", "text": prose(at)} for at in range(20)]))
    path = config(tmp_path, folder)
    run(path, tmp_path / "out", "--workers", "1")
    signed = {found: found.stat().st_mtime_ns for found in (tmp_path / "out").rglob("signatures/*/*")}
    assert signed
    new = [{"id": "copy", "text": prose(7)}, {"id": "new", "text": prose(700)}]
    write(folder / "b.jsonl", jsonl(new))
    facts = run(path, tmp_path / "out", "--workers", "1")
    assert facts["splits"] == {"total": 2, "computed": 1, "reused": 1, "failed": 0}
    assert {found: found.stat().st_mtime_ns for found in signed} == signed
    found = Dataset(tmp_path / "out")
    assert found.of("copy")["duplicate_of"] == found.of("old 7")["record_id"]
    assert found.of("new")["text"] == prose(700)


def test_what_another_dataset_published_goes_first(tmp_path: Path) -> None:
    write(tmp_path / "old.jsonl", jsonl([{"id": f"old {at}", "text": prose(at)} for at in range(10)]))
    run(config(tmp_path / "first", tmp_path / "old.jsonl"), tmp_path / "old")
    write(tmp_path / "new.jsonl", jsonl([{"id": "copy", "text": prose(5)}, {"id": "new", "text": prose(50)}]))
    path = config(tmp_path / "second", tmp_path / "new.jsonl", duplicates={"against": [str(tmp_path / "old")]})
    run(path, tmp_path / "new")
    old, new = Dataset(tmp_path / "old"), Dataset(tmp_path / "new")
    assert new.of("copy")["duplicate_of"] == old.of("old 5")["record_id"]
    assert [row["document_id"] for row in new.kept] == ["new"]
    assert str(tmp_path) not in json.dumps(new.manifest["plan"])


@pytest.mark.parametrize(
    ("settings", "stays"),
    [
        ({}, "a"),
        ({"survivor": "longest"}, "b"),
        ({"survivor": "best", "score": "gopher_word_count"}, "b"),
        ({"remove": "none"}, "a b"),
    ],
)
def test_the_config_says_which_duplicate_stays(tmp_path: Path, settings: Row, stays: str) -> None:
    rows = [{"id": "a", "text": prose(1, 40)}, {"id": "b", "text": f"{prose(1, 40)} And one more sentence."}]
    write(tmp_path / "documents.jsonl", jsonl(rows))
    run(config(tmp_path, tmp_path / "documents.jsonl", duplicates=settings), tmp_path / "out")
    assert " ".join(row["document_id"] for row in Dataset(tmp_path / "out").kept) == stays


def test_a_group_that_is_much_of_its_source_is_a_warning(tmp_path: Path) -> None:
    rows = [{"text": changed(prose(1, 40), at % 5)} for at in range(30)] + [{"text": prose(9)}]
    write(tmp_path / "documents.jsonl", jsonl(rows))
    run(config(tmp_path, tmp_path / "documents.jsonl", duplicates={"group_share": 0.5}), tmp_path / "out")
    report = (Dataset(tmp_path / "out").snapshot / "report.html").read_text()
    assert "a group of 30 documents" in report


def test_rules_are_the_configs_own(tmp_path: Path) -> None:
    write(tmp_path / "documents.jsonl", jsonl([{"id": "short", "text": "Six words are enough for me."}]))
    rules = {"gopher_word_count": {"minimum": 5}, "gopher_stop_words": {"minimum": None}}
    path = config(
        tmp_path,
        tmp_path / "documents.jsonl",
        quality={"rules": rules},
        repetition={"rules": {}},
        language={"minimum_probability": 0},
    )
    run(path, tmp_path / "out")
    (row,) = Dataset(tmp_path / "out").kept
    assert (row["gopher_word_count"], row["gopher_stop_words"], row["gopher_hash_ratio"]) == (6, 0, None)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"quality": {"rules": {"gopher_words": {}}}}, "gopher_words"),
        ({"quality": {"rules": {"gopher_word_count": {"minimum": 9, "maximum": 3}}}}, "gopher_word_count"),
        ({"quality": {"bad_words": ["one"]}}, "c4_bad_words"),
        ({"language": {"keep": ["english"]}}, "english"),
        ({"language": {"model": "missing.bin"}}, "missing.bin"),
        ({"classifier": {"model": "missing.bin"}}, "missing.bin"),
        ({"contamination": {"benchmarks": [{"name": "x", "path": "missing.jsonl"}]}}, "missing.jsonl"),
        ({"duplicates": {"survivor": "best"}}, "score"),
        ({"duplicates": {"survivor": "best", "score": "beauty"}}, "beauty"),
        ({"duplicates": {"against": ["nowhere"]}}, "nowhere"),
        ({"personal_data": {"kinds": ["shoe_size"]}}, "shoe_size"),
        ({"personal_data": {"regions": ["XX"]}}, "XX"),
    ],
)
def test_a_wrong_config_is_told_in_one_line(tmp_path: Path, settings: Row, told: str) -> None:
    write(tmp_path / "documents.jsonl", jsonl([{"text": prose(1)}]))
    said = here("plan", config(tmp_path, tmp_path / "documents.jsonl", **settings), expect=2)
    assert told in said.complaint


def test_a_file_without_text_is_told_by_its_fields(tmp_path: Path) -> None:
    write(tmp_path / "table.jsonl", jsonl([{"height": 1, "width": 2}]))
    told = run(config(tmp_path, tmp_path / "table.jsonl"), tmp_path / "out", expect=1)["complaint"]
    assert "height, width" in told
