"""The card and the Croissant metadata: what loaders read of them, and what people do."""

from __future__ import annotations

import copy
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.presentations.feedback import PRESENTATION as FEEDBACK
from schemas.feedback import KEPT, REJECTED
from transforms.io import cards

HOSTILE = '| `x` |\n---\n# <script>alert(1)</script> [a](javascript:x) {{ 7*7 }} \u202egnp.exe "q": \\'

KEPT_ROW: dict[str, Any] = {
    "record_id": "0" * 32,
    "instance_id": None,
    "turn_index": 3,
    "timestamp": 1_700_000_000_000_000,
    "history": [{"role": "user", "content": "你好"}, {"role": "assistant", "content": None}],
    "query": "q",
    "response": "r",
    "feedback": "f",
    "label": 4,
    "level": 5,
    "judge": {"engine": "rules", "level": 5, "rule": "thanks"},
    "mining": {"applied": True, "similarity": 0.75},
    "refusal": None,
    "flags": {"toxic": False, "redacted": None, "moderation_flagged": True},
    "source_uri": "a.parquet",
    "source_row": 7,
    "journal_keys": ["k1", "k2"],
}

REJECTED_ROW: dict[str, Any] = {
    "record_id": "1" * 32,
    "unit": "row",
    "stage": "read",
    "reason": "invalid_json",
    "failed": ["invalid_json"],
    "source_uri": "b.jsonl",
    "source_row": 0,
}


def snapshot(folder: Path, sizes: dict[str, int] | None = None) -> dict[str, Any]:
    """A snapshot's files, and the manifest that lists them."""
    shards = []
    for subset, rows in (sizes or {"train": 5, "test": 2}).items():
        for number in range(2 if subset == "train" else 1):
            total = 2 if subset == "train" else 1
            path = f"data/{subset}-{number:05d}-of-{total:05d}.parquet"
            count = rows // total + (rows % total if number == 0 else 0)
            table = [KEPT_ROW | {"record_id": f"{subset}{number}{i}", "subset": subset} for i in range(count)]
            shards.append(shard(folder, path, "data", subset, pa.Table.from_pylist(table, schema=KEPT)))
    table = pa.Table.from_pylist([REJECTED_ROW] * 3, schema=REJECTED)
    shards.append(shard(folder, "rejected/rejected-00000-of-00001.parquet", "rejected", None, table))
    return {
        "manifest_version": 1,
        "schema_version": 1,
        "pipeline": "feedback",
        "dataset": {"name": "demo", "title": "Demo: feedback", "description": "A demo.", "license": "odc-by"},
        "plan": {
            "hash": "ab" * 32,
            "settings": {"turns": {"languages": ["en", "zh", "de"]}, "split": {"subset_by": "user"}},
            "stages": [{"name": "judge", "version": 1}],
            "prompts": {"configs/feedback/judge.yaml": "cd" * 32},
            "models": [{"role": "judge", "engine": "rules", "name": "rules-en-zh"}],
        },
        "sources": [
            {
                "uri": "a.parquet",
                "container": "parquet",
                "format": "wildchat",
                "size": 1234567,
                "sha256": "ef" * 32,
            }
            | {"rows": 1000, "error": None},
            {"uri": "b.jsonl", "container": "jsonl", "format": "openai", "size": 1, "sha256": None, "rows": None}
            | {"error": "truncated"},
        ],
        "counts": {
            "rows_read": 12_000,
            "rows_used": 11_997,
            "rows_rejected": {"invalid_json": 3},
            "instances": 7,
            "kept": 7,
            "instances_rejected": {},
            "levels": {"1": 0, "2": 1, "3": 3, "4": 0, "5": 0},
            "labels": {"train": {"4": 5}, "test": {"4": 2}},
            "stages": [{"stage": "read", "unit": "row", "in": 12_000, "out": 11_997, "rejected": {"invalid_json": 3}}],
        },
        "shards": shards,
    }


def shard(folder: Path, path: str, kind: str, subset: str | None, table: pa.Table) -> dict[str, Any]:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file)
    data = file.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return {
        "path": path,
        "kind": kind,
        "subset": subset,
        "rows": table.num_rows,
        "bytes": len(data),
        "sha256": digest,
    }


def front_matter(card: str) -> dict[str, Any]:
    opening, text, _ = card.split("---\n", 2)
    assert opening == ""
    head = yaml.safe_load(text)
    assert isinstance(head, dict)
    return head


def croissant_on_disk(folder: Path, manifest: dict[str, Any]) -> Path:
    path = folder / "croissant.json"
    path.write_text(json.dumps(cards.croissant(manifest, FEEDBACK, "2026-02-11T09:07:43+00:00")), encoding="utf-8")
    return path


# -- the card


def test_datasets_loads_the_folder_with_the_schemas_types(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    manifest = snapshot(tmp_path / "snap")
    (tmp_path / "snap" / "README.md").write_text(cards.render_card(manifest, {}, FEEDBACK), encoding="utf-8")
    cache = str(tmp_path / "cache")
    loaded = datasets.load_dataset(str(tmp_path / "snap"), cache_dir=cache)
    assert {name: rows.num_rows for name, rows in loaded.items()} == {"train": 5, "test": 2}
    assert loaded["train"].features == datasets.Features.from_arrow_schema(KEPT)
    first = loaded["test"][0]
    assert first["history"] == KEPT_ROW["history"]
    assert (first["label"], first["mining"]["similarity"], first["journal_keys"]) == (4, 0.75, ["k1", "k2"])
    rejected = datasets.load_dataset(str(tmp_path / "snap"), "rejected", cache_dir=cache)["rejected"]
    assert rejected.num_rows == 3
    assert rejected.features == datasets.Features.from_arrow_schema(REJECTED)


@pytest.mark.parametrize(("config", "schema"), [(0, KEPT), (1, REJECTED)])
def test_features_are_written_as_the_loader_writes_them(tmp_path: Path, config: int, schema: pa.Schema) -> None:
    datasets = pytest.importorskip("datasets")
    info = front_matter(cards.render_card(snapshot(tmp_path), {}, FEEDBACK))["dataset_info"][config]
    assert info["features"] == datasets.Features.from_arrow_schema(schema)._to_yaml_list()


def test_the_front_matter_says_what_is_in_the_folder(tmp_path: Path) -> None:
    manifest = snapshot(tmp_path)
    head = front_matter(cards.render_card(manifest, {}, FEEDBACK))
    assert head["license"] == "odc-by"
    assert head["pretty_name"] == "Demo: feedback"
    assert head["language"] == ["en", "zh", "de"]
    assert head["size_categories"] == ["n<1K"]
    default, rejected = head["configs"]
    assert default["data_files"] == [
        {"split": "train", "path": "data/train-*.parquet"},
        {"split": "test", "path": "data/test-*.parquet"},
    ]
    assert rejected["data_files"] == [{"split": "rejected", "path": "rejected/rejected-*.parquet"}]
    sizes = {s["path"]: s["bytes"] for s in manifest["shards"]}
    train = sum(size for path, size in sizes.items() if "train" in path)
    assert head["dataset_info"][0]["splits"][0] == {"name": "train", "num_bytes": train, "num_examples": 5}


def test_a_subset_without_shards_is_not_promised(tmp_path: Path) -> None:
    head = front_matter(cards.render_card(snapshot(tmp_path, {"train": 4}), {}, FEEDBACK))
    assert [f["split"] for f in head["configs"][0]["data_files"]] == ["train"]


def test_shards_without_rows_do_not_stop_the_loader(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    manifest = snapshot(tmp_path / "snap", {"train": 1, "test": 0})
    card = cards.render_card(manifest, {}, FEEDBACK)
    assert front_matter(card)["configs"][0]["data_files"] == [
        {"split": "train", "path": ["data/train-00000-of-00002.parquet"]}
    ]
    (tmp_path / "snap" / "README.md").write_text(card, encoding="utf-8")
    loaded = datasets.load_dataset(str(tmp_path / "snap"), cache_dir=str(tmp_path / "cache"))
    assert {name: rows.num_rows for name, rows in loaded.items()} == {"train": 1}


def test_the_upstream_dataset_is_named_where_the_settings_name_it(tmp_path: Path) -> None:
    manifest = snapshot(tmp_path)
    assert "source_datasets" not in front_matter(cards.render_card(manifest, {}, FEEDBACK))
    manifest["plan"]["settings"]["sources"] = ["hf://datasets/allenai/WildChat-1M/data/*.parquet"]
    head = front_matter(cards.render_card(manifest, {}, FEEDBACK))
    assert head["source_datasets"] == ["extended|allenai/WildChat-1M"]


def test_the_body_tells_counts_levels_sources_and_duties(tmp_path: Path) -> None:
    card = cards.render_card(snapshot(tmp_path), {"sluice_version": "0.1.0", "code_revision": "abc"}, FEEDBACK)
    for expected in (
        "| train | 5 |",
        "| **kept** | **7** |",
        "| source rows read | 12,000 |",
        "| 4 | explicit satisfaction | 5 | 2 | 100% |",
        "| 3 | neutral or ambiguous | – | 3 | 75.0% | 76% |",
        "| read | row | 12,000 | 11,997 | `invalid_json` 3 |",
        "- `invalid_json`: the line is not a JSON object",
        "| `judge` | {engine, model, prompt_sha256,",
        f"| `a.parquet` | wildchat | 1,000 | 1,234,567 | `{'ef' * 32}` |",
        "**1 of 2 source files could not be read.",
        "**unreadable:** truncated",
        "Train and test share no user",
        "ODC-By",
        "sluice verify DIR",
        "eprint        = {2602.08829}",
        "Sluice 0.1.0, code `abc`",
    ):
        assert expected in card.replace("0\\.1.0", "0.1.0"), expected


@pytest.mark.parametrize(
    ("by", "claim"),
    [
        ("user", "share no user"),
        ("conversation", "They may share users"),
        ("row", "Scores on test are flattered"),
        (None, None),
    ],
)
def test_the_card_claims_of_the_subsets_only_what_holds(tmp_path: Path, by: str | None, claim: str | None) -> None:
    manifest = snapshot(tmp_path)
    manifest["plan"]["settings"] = {"split": {"subset_by": by}}
    card = cards.render_card(manifest, {}, FEEDBACK)
    assert "Train and test" in card if claim else "Train and test" not in card
    assert claim is None or claim in " ".join(card.split())


def test_wildchats_duties_are_only_named_for_wildchat(tmp_path: Path) -> None:
    manifest = snapshot(tmp_path)
    manifest["sources"] = manifest["sources"][1:]
    card = cards.render_card(manifest, {}, FEEDBACK)
    assert "come from WildChat" not in card
    assert "The licences of the sources above" in card


def test_every_column_is_described() -> None:
    assert FEEDBACK.columns.keys() == {*KEPT.names, *REJECTED.names}


def test_an_empty_manifest_renders() -> None:
    card = cards.render_card({}, {}, FEEDBACK)
    head = front_matter(card)
    assert head["license"] == "other"
    assert "configs" not in head
    assert "| **kept** | **0** |" in card


def test_hostile_values_stay_text(tmp_path: Path) -> None:
    manifest = snapshot(tmp_path)
    manifest["dataset"] = {"name": HOSTILE, "title": HOSTILE, "description": HOSTILE, "license": HOSTILE}
    manifest["sources"][0] |= {"uri": HOSTILE, "format": HOSTILE}
    manifest["sources"][1] |= {"uri": HOSTILE, "error": HOSTILE}
    manifest["counts"]["stages"][0] |= {"stage": HOSTILE, "rejected": {HOSTILE: 3}}
    manifest["plan"] |= {"models": [{"role": HOSTILE, HOSTILE: HOSTILE}], "prompts": {HOSTILE: HOSTILE}}
    card = cards.render_card(manifest, {"sluice_version": HOSTILE, "code_revision": HOSTILE}, FEEDBACK)
    head = front_matter(card)
    assert head["pretty_name"] == " ".join(HOSTILE.replace("\u202e", "[U+202E]").split())
    body = card.split("---\n", 2)[2]
    assert "<script" not in body
    assert not re.search(r"(?<!\\)\]\(javascript", body)
    assert r"\{\{ 7\*7 \}\}" in body
    assert "\u202e" not in card
    assert not re.search(r"^(---|# <)", body, re.MULTILINE)
    for table in re.findall(r"(?:^\|.*\n)+", body, re.MULTILINE):
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(cells) == 1, table


@pytest.mark.parametrize(
    ("rows", "category"),
    [
        (0, "n<1K"),
        (999, "n<1K"),
        (1_000, "1K<n<10K"),
        (186_000, "100K<n<1M"),
        (1_000_000, "1M<n<10M"),
        (10**12, "n>1T"),
    ],
)
def test_size_categories_are_the_hubs(rows: int, category: str) -> None:
    shards = [{"kind": "data", "subset": "train", "path": "data/train-0.parquet", "rows": rows, "bytes": 1}]
    assert front_matter(cards.render_card({"shards": shards}, {}, FEEDBACK))["size_categories"] == [category]


def test_the_same_input_gives_the_same_card(tmp_path: Path) -> None:
    manifest = snapshot(tmp_path)
    assert cards.render_card(manifest, {}, FEEDBACK) == cards.render_card(copy.deepcopy(manifest), {}, FEEDBACK)


# -- Croissant


def test_croissant_validates_without_a_warning(tmp_path: Path) -> None:
    mlc = pytest.importorskip("mlcroissant")
    issues = mlc.Dataset(croissant_on_disk(tmp_path, snapshot(tmp_path))).metadata.ctx.issues
    assert not issues.errors
    assert not issues.warnings


def test_croissant_names_every_file_with_its_checksum(tmp_path: Path) -> None:
    manifest = snapshot(tmp_path)
    document = cards.croissant(manifest, FEEDBACK)
    assert document["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    files = {f["contentUrl"]: f["sha256"] for f in document["distribution"] if f["@type"] == "cr:FileObject"}
    assert files == {s["path"]: s["sha256"] for s in manifest["shards"]}


def test_croissant_records_load_from_the_folder(tmp_path: Path) -> None:
    mlc = pytest.importorskip("mlcroissant")
    dataset = mlc.Dataset(croissant_on_disk(tmp_path, snapshot(tmp_path)))
    kept = list(dataset.records("kept"))
    assert len(kept) == 7
    row = kept[0]
    assert row["kept/label"] == 4
    assert row["kept/history"][0] == {"kept/history/role": b"user", "kept/history/content": "你好".encode()}
    assert row["kept/mining"]["kept/mining/similarity"] == 0.75
    assert row["kept/refusal"]["kept/refusal/candidate"] is None
    assert row["kept/flags"]["kept/flags/moderation_flagged"] is True
    assert row["kept/journal_keys"] == [b"k1", b"k2"]
    assert {r["kept/subset"] for r in kept} == {b"train", b"test"}
    rejected = list(dataset.records("rejected"))
    assert [r["rejected/reason"] for r in rejected] == [b"invalid_json"] * 3


def test_croissant_knows_every_column(tmp_path: Path) -> None:
    document = cards.croissant(snapshot(tmp_path), FEEDBACK)
    fields = {r["@id"]: [f["@id"].split("/")[1] for f in r["field"]] for r in document["recordSet"]}
    assert fields == {"kept": KEPT.names, "rejected": REJECTED.names}


def test_croissant_of_nothing_is_valid(tmp_path: Path) -> None:
    mlc = pytest.importorskip("mlcroissant")
    assert not mlc.Dataset(croissant_on_disk(tmp_path, {})).metadata.ctx.issues.errors


def test_importing_cards_does_not_import_mlcroissant() -> None:
    code = "import sys, transforms.io.cards; sys.exit('mlcroissant' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
