"""Whatever describes a snapshot works for a pipeline that nobody has written: here one of cooking recipes."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import presentations, tracing
from schemas.presentation import Presentation, Samples, Tally, chosen
from tests.transforms.io.test_cards import HOSTILE, front_matter
from tests.transforms.io.test_reports import Page
from transforms.io import cards, files, reports, snapshots, tallies, verification
from transforms.io.reports import Samples as Shown
from transforms.io.snapshots import SnapshotError
from transforms.io.tables import shaped
from transforms.io.tracing import find

Row = dict[str, Any]

KEPT = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("dish", pa.string()),
        pa.field("steps", pa.string()),
        pa.field("cuisine", pa.string()),
        pa.field("minutes", pa.float32()),
        pa.field("allergens", pa.struct([pa.field("nuts", pa.int32()), pa.field("milk", pa.int32())])),
        pa.field("taste_salt", pa.float32()),
        pa.field("taste_heat", pa.float32()),
        pa.field("source_uri", pa.string(), nullable=False),
        pa.field("source_row", pa.int64(), nullable=False),
    ],
    metadata={"sluice.schema": "recipe", "sluice.schema_version": "1"},
)

REJECTED = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("unit", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("failed", pa.list_(pa.string())),
        pa.field("detail", pa.string()),
        pa.field("cuisine", pa.string()),
        pa.field("taste_heat", pa.float32()),
        pa.field("source_uri", pa.string(), nullable=False),
        pa.field("source_row", pa.int64(), nullable=False),
    ],
    metadata={"sluice.schema": "recipe_rejected", "sluice.schema_version": "1"},
)

RECIPES = Presentation(
    pipeline="recipes",
    kept=KEPT,
    rejected=REJECTED,
    columns={name: f"the {name} of a dish" for name in {*KEPT.names, *REJECTED.names}},
    families={"How it tastes": ("taste_*",)},
    row_outcomes={"torn": "the page is torn"},
    instance_outcomes={"too_hot": "nobody can eat it"},
    instance="recipe",
    used="can be cooked",
    summary="Each row is one recipe.",
    record="Recipes that were cooked.",
    samples=Samples(
        kept=("record_id", "dish", "steps", "cuisine", "minutes", "allergens", "taste_*", "source_uri", "source_row"),
        rejected=("record_id", "unit", "stage", "reason", "failed", "detail", "taste_*", "source_uri", "source_row"),
        texts=("steps",),
    ),
    tallies={
        "cuisine": Tally(("cuisine",), "Cuisines"),
        "allergens": Tally(("allergens",), "Allergens"),
        "minutes": Tally(("minutes",), "Minutes to cook", bins=(0, 10, 60)),
    },
    texts=("steps",),
    identifiers=("record_id", "dish"),
    evidence={"taste": ("taste_*",), "cook": ("minutes",)},
    tags=("cooking",),
    limits=("Nothing was cooked twice.",),
)


def dish(number: int, **facts: Any) -> Row:
    return {
        "record_id": f"{number:032x}",
        "dish": f"soup {number}",
        "steps": f"boil {number} litres",
        "cuisine": "thai" if number % 3 else "dutch",
        "minutes": number * 9.5,
        "allergens": {"nuts": number % 2, "milk": 2},
        "taste_salt": 0.25,
        "taste_heat": 0.123456,
        "source_uri": "book.jsonl",
        "source_row": 10 * number,
        **facts,
    }


def lost(number: int, reason: str = "too_hot", **facts: Any) -> Row:
    return {
        "record_id": f"{number:032x}",
        "unit": "row" if reason == "torn" else "instance",
        "stage": "read" if reason == "torn" else "taste",
        "reason": reason,
        "failed": [reason, "taste_heat"],
        "detail": "a spoon melted",
        "cuisine": None if reason == "torn" else "thai",
        "taste_heat": None if reason == "torn" else 0.98771,
        "source_uri": "book.jsonl",
        "source_row": 10 * number,
        **facts,
    }


def publish(folder: Path, kept: list[Row], rejected: list[Row]) -> Path:
    """A snapshot as a run leaves it, of one source row a recipe."""
    shards = []
    for kind, name, rows, schema in (("data", "train", kept, KEPT), ("rejected", "rejected", rejected, REJECTED)):
        path = folder / kind / f"{name}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
        entry = {"path": path.relative_to(folder).as_posix(), "kind": kind, "subset": name if kind == "data" else None}
        shards.append({**entry, "rows": len(rows), "bytes": path.stat().st_size, "sha256": files.sha256(path)})
    torn, hot = (sum(row["reason"] == reason for row in rejected) for reason in ("torn", "too_hot"))
    read = len(kept) + len(rejected)
    stages = [
        {"stage": "read", "unit": "row", "in": read, "out": read - torn, "rejected": {"torn": torn}},
        {"stage": "taste", "unit": "instance", "in": read - torn, "out": len(kept), "rejected": {"too_hot": hot}},
    ]
    frames = [pl.DataFrame(pq.read_table(folder / shard["path"])).lazy() for shard in shards]
    manifest = {
        "manifest_version": 1,
        "schema_version": 1,
        "pipeline": "recipes",
        "dataset": {"name": "soups", "title": "Soups", "license": "mit"},
        "plan": {
            "hash": "ab" * 32,
            "settings": {},
            "stages": [{"name": "read", "version": 1}, {"name": "taste", "version": 1}, {"name": "cook", "version": 1}],
        },
        "sources": [
            {"uri": "book.jsonl", "container": "jsonl", "format": "recipes", "size": 9, "sha256": "ef" * 32}
            | {"rows": read, "error": None}
        ],
        "counts": {
            "rows_read": read,
            "rows_used": read - torn,
            "rows_rejected": {"torn": torn},
            "instances": read - torn,
            "kept": len(kept),
            "instances_rejected": {"too_hot": hot},
            "stages": stages,
            **{name: tallies.counted(frames, tally) for name, tally in RECIPES.tallies.items()},
        },
        "shards": shards,
        "warnings": ["One pot holds more than half of a source."],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


RUN: Row = {
    "seconds": 4.0,
    "stage_seconds": {"read": 1.0, "taste": 2.0},
    "stage_bytes": {"taste": 25_000_000},
}


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    return publish(tmp_path / "soups", [dish(n) for n in range(1, 9)], [lost(20), lost(21), lost(22, "torn")])


def manifest(snapshot: Path) -> Row:
    return snapshots.manifest(snapshot)


def page(snapshot: Path) -> Page:
    told = manifest(snapshot)
    shards = (snapshots.shard_paths(snapshot, kind) for kind in ("data", "rejected"))
    return Page(reports.render(told, RUN, reports.samples(*shards, RECIPES), RECIPES))


FOREIGN = re.compile(
    r"feedback|instance|label|level|judge|reward|conversation|chat|refus|WildChat|positive|arxiv|duplicate|user", re.I
)


def test_nothing_of_another_pipeline_stands_in_the_card(snapshot: Path) -> None:
    card = cards.render_card(manifest(snapshot), RUN, RECIPES)
    assert not FOREIGN.findall(card)
    assert "Citation" not in card


def test_nothing_of_another_pipeline_stands_in_the_report(snapshot: Path) -> None:
    assert not FOREIGN.findall(page(snapshot).text)


def test_nothing_of_another_pipeline_stands_in_croissant(snapshot: Path) -> None:
    assert not FOREIGN.findall(json.dumps(cards.croissant(manifest(snapshot), RECIPES)))


def test_the_card_says_what_the_presentation_says(snapshot: Path) -> None:
    card = cards.render_card(manifest(snapshot), RUN, RECIPES)
    head = front_matter(card)
    assert (head["tags"], head["pretty_name"]) == (["cooking", "croissant", "sluice"], "Soups")
    assert "task_categories" not in head
    assert "language" not in head
    for expected in (
        "Each row is one recipe.",
        "| recipes found | 10 |",
        "rows read = used + rejected,\nrecipes = kept + rejected.",
        "### Warnings\n\n- One pot holds more than half of a source.",
        "### Cuisines",
        "| `thai` | 8 | 80.0% |",
        "| taste | recipe | 10 | 8 | `too_hot` 2 |",
        "- `too_hot`: nobody can eat it",
        "| `dish` | string | the dish of a dish |",
        "<details><summary>How it tastes: 2 columns</summary>",
        "- Nothing was cooked twice.",
        "Published under `mit`.",
    ):
        assert expected in card, expected
    columns = card.split("## Columns")[1].split("<details>")[0]
    assert "taste_salt" not in columns


def test_the_card_loads(snapshot: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    (snapshot / "README.md").write_text(cards.render_card(manifest(snapshot), RUN, RECIPES), encoding="utf-8")
    loaded = datasets.load_dataset(str(snapshot), cache_dir=str(tmp_path / "cache"))
    assert {name: rows.num_rows for name, rows in loaded.items()} == {"train": 8}
    assert loaded["train"].features == datasets.Features.from_arrow_schema(KEPT)


def test_croissant_validates_and_loads(snapshot: Path) -> None:
    mlc = pytest.importorskip("mlcroissant")
    (snapshot / "croissant.json").write_text(json.dumps(cards.croissant(manifest(snapshot), RECIPES)))
    dataset = mlc.Dataset(snapshot / "croissant.json")
    assert not dataset.metadata.ctx.issues.errors
    assert [row["kept/dish"].decode() for row in dataset.records("kept")] == [f"soup {n}" for n in range(1, 9)]


def test_the_report_shows_recipes(snapshot: Path) -> None:
    text = page(snapshot).text
    for expected in (
        "Warning. One pot holds more than half of a source.",
        "Source rows 11 90.9% can be cooked",
        "Recipes 10 1.0 per row used",
        "Kept 8 80.0% of recipes",
        "too_hot nobody can eat it −2 20.0%",
        "kept + rejected 10 ✓ Closes",
        "Cuisines thai 8 80.0% dutch 2 20.0%",
        "Allergens milk 16 80.0% nuts 4 20.0%",
        "Minutes to cook 0 to 10 1 12.5% 10 to 60 5 62.5% 60 and more 2 25.0%",
        "train 8 1",
        "boil 1 litres",
        "Cuisine thai",
        "Minutes 9.5",
        "Allergens nuts 1, milk 2",
        "How it tastes taste_salt 0.25 · taste_heat 0.1235",
        "Failed too_hot, taste_heat 0.9877",
        "Detail a spoon melted",
        "book.jsonl :10",
        "taste 2.0 s 12.5 MB/s",
    ):
        assert expected in text, expected


def test_samples_without_a_group_are_one_group_of_the_first_rows_by_id(snapshot: Path) -> None:
    shards = snapshots.shard_paths(snapshot, "data")
    found = reports.samples(shards, [], RECIPES, 3).kept
    assert {key: [row["dish"] for row in rows] for key, rows in found.items()} == {None: ["soup 1", "soup 2", "soup 3"]}


def test_samples_are_grouped_by_what_the_presentation_names(snapshot: Path) -> None:
    grouped = dataclasses.replace(RECIPES, samples=dataclasses.replace(RECIPES.samples, group="cuisine"))
    shards = snapshots.shard_paths(snapshot, "data")
    found = reports.samples(shards, [], grouped, 2)
    assert {key: [row["dish"] for row in rows] for key, rows in found.kept.items()} == {
        "dutch": ["soup 3", "soup 6"],
        "thai": ["soup 1", "soup 2"],
    }
    text = Page(reports.render(manifest(snapshot), RUN, found, grouped)).text
    assert "Cuisine dutch 2" in text
    assert "The first rows of each cuisine by record_id" in text


def hostile(snapshot: Path) -> Path:
    """The snapshot with every free text of its rows and its manifest hostile."""
    rows = [dish(n, dish=HOSTILE, steps=HOSTILE + "x" * 5000, cuisine=HOSTILE) for n in range(3)]
    folder = publish(snapshot.parent / "hostile", rows, [lost(9, detail=HOSTILE, failed=[HOSTILE], cuisine=HOSTILE)])
    told = manifest(folder)
    told["counts"]["cuisine"] = {HOSTILE: 3}
    told["warnings"] = [HOSTILE] * 30
    (folder / "manifest.json").write_text(json.dumps(told))
    return folder


def test_hostile_rows_and_tallies_stay_text(snapshot: Path) -> None:
    folder = hostile(snapshot)
    shown = page(folder)
    names = [name for name, _ in shown.elements]
    assert names.count("script") == names.count("style") == 1
    assert not [
        name for _, attrs in shown.elements for name in attrs if name.startswith("on") or name in ("style", "src")
    ]
    assert "10 more warnings" in shown.text
    card = cards.render_card(manifest(folder), RUN, RECIPES)
    assert "<script" not in card
    for table in re.findall(r"(?:^\|.*\n)+", card, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table


def test_a_distribution_of_many_values_is_cut_and_summed_up() -> None:
    counts = {"cuisine": {f"c{n:03d}": 1000 - n for n in range(500)}}
    (found,) = reports.distributions(counts, RECIPES)
    assert (len(found["rows"]), found["rest"]) == (20, 480)
    assert found["rest_count"] == sum(1000 - n for n in range(20, 500))
    assert sum(row["share"] for row in found["rows"]) + found["rest_share"] == pytest.approx(1)


def test_a_histogram_shows_its_bins_in_order_those_between_too_and_what_fits_none() -> None:
    (found,) = reports.distributions({"minutes": {"10": 4}}, RECIPES)
    assert [(row["name"], row["count"]) for row in found["rows"]] == [("10 to 60", 4)]
    counts = {"minutes": {"60": 1, "-inf": 2, "soon": 3}, "cuisine": {}}
    (found,) = reports.distributions(counts, RECIPES)
    assert [(row["name"], row["count"]) for row in found["rows"]] == [
        ("below 0", 2),
        ("0 to 10", 0),
        ("10 to 60", 0),
        ("60 and more", 1),
        ("soon", 3),
    ]


# -- verify and trace


def edit(snapshot: Path, change: Callable[[Row], Any]) -> None:
    told = manifest(snapshot)
    change(told)
    (snapshot / "manifest.json").write_text(json.dumps(told))


def test_a_sound_snapshot_of_any_pipeline_has_no_problems(snapshot: Path) -> None:
    assert list(verification.problems(snapshot, RECIPES)) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda m: m["counts"]["cuisine"].update(thai=7), "expected cuisine {'dutch': 2, 'thai': 7}"),
        (lambda m: m["counts"]["allergens"].update(nuts=5), "expected allergens"),
        (lambda m: m["counts"]["minutes"].update({"60": 1}), "expected minutes"),
        (lambda m: m["counts"].update(kept=7, instances=9), "7 kept, but the data shards hold 8"),
        (lambda m: m["counts"]["instances_rejected"].update(too_hot=3), "10 instances, but 11 kept or rejected"),
    ],
)
def test_counts_that_are_not_the_rows_are_named(snapshot: Path, change: Callable[[Row], Any], told: str) -> None:
    edit(snapshot, change)
    found = list(verification.problems(snapshot, RECIPES))
    assert any(told in problem for problem in found), found


@pytest.mark.parametrize(
    ("identifier", "kind"), [(f"{3:032x}", "data"), ("soup 3", "data"), (f"{20:032x}", "rejected")]
)
def test_a_row_is_found_by_what_identifies_it(snapshot: Path, identifier: str, kind: str) -> None:
    assert find(snapshot, identifier, RECIPES)[0] == kind


def test_an_unknown_row_is_told_by_what_would_identify_one(snapshot: Path) -> None:
    with pytest.raises(SnapshotError, match="nobody: expected a record_id or dish of"):
        find(snapshot, "nobody", RECIPES)


def test_the_story_of_a_row_tells_each_stages_evidence(
    snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(presentations, "of", lambda manifest: RECIPES)
    lines = [json.dumps({"n": n, "steps": f"boil {n} litres"}).encode() + b"\n" for n in range(9)]
    source = tmp_path / "book.jsonl"
    source.write_bytes(b"".join(lines))
    kind, row = find(snapshot, "soup 3", RECIPES)
    row["source_row"] = sum(map(len, lines[:3]))
    where = {"book.jsonl": source.as_uri()}
    story = tracing.story(kind, row, manifest(snapshot), where, tmp_path / "journal")
    assert story["outcome"] == "kept"
    assert (story["source"]["line"], story["source"]["found"]) == (4, {"steps": True})
    assert {line["stage"]: line["decision"] for line in story["stages"]} == {
        "read": "passed",
        "taste": "taste_salt 0.25, taste_heat 0.1235",
        "cook": "minutes 28.5",
    }
    tracing.show(story)
    shown = capsys.readouterr().out
    assert "steps\n  boil 3 litres" in shown
    assert "the source row holds these texts" in shown
    kind, row = find(snapshot, f"{20:032x}", RECIPES)
    story = tracing.story(kind, row, manifest(snapshot), where, tmp_path / "journal")
    assert story["outcome"] == "rejected by taste: too_hot (nobody can eat it)"
    assert [line["stage"] for line in story["stages"]] == ["read", "taste"]


# -- the corpus pipeline's own


def corpus() -> Presentation:
    return presentations.of({"pipeline": "corpus"})


@pytest.fixture
def documents(tmp_path: Path) -> tuple[Row, Shown]:
    """The manifest and the samples of three kept documents and two rejected ones."""
    own = corpus()
    kept = [
        {"record_id": f"{n:032x}", "document_id": f"d{n}", "text": f"A page about {HOSTILE} {n}.", "language": "en"}
        | {"language_probability": 0.95, "gopher_word_count": 51.0 + n, "source_uri": "pages.jsonl", "source_row": n}
        | {"subset": "train", "personal_data": [{"kind": "email", "count": n}, {"kind": "phone", "count": 1}]}
        for n in range(3)
    ]
    rejected = [
        {"record_id": f"{n:032x}", "unit": "instance", "stage": "quality", "reason": reason, "failed": [reason]}
        | {"gopher_word_count": 7.0, "excerpt": "short", "source_uri": "pages.jsonl", "source_row": n, **more}
        for n, reason, more in (
            (8, "gopher_word_count", {}),
            (9, "duplicate", {"stage": "drop duplicates", "duplicate_of": f"{0:032x}", "similarity": 0.875}),
        )
    ]
    paths, frames = [], []
    for name, rows, schema in (("kept", kept, own.kept), ("rejected", rejected, own.rejected)):
        table = shaped(pl.DataFrame(rows), schema)
        pq.write_table(table, tmp_path / f"{name}.parquet")
        paths.append(tmp_path / f"{name}.parquet")
        frames.append(pl.DataFrame(table).lazy())
    reasons = {"gopher_word_count": 1, "duplicate": 1}
    counts = {"rows_read": 5, "rows_used": 5, "instances": 5, "kept": 3, "instances_rejected": reasons}
    stages = [{"stage": "quality", "unit": "instance", "in": 5, "out": 3, "rejected": reasons}]
    tallied = {name: tallies.counted(frames, tally) for name, tally in own.tallies.items()}
    told = {"pipeline": "corpus", "counts": {**counts, "stages": stages, **tallied}}
    return told, reports.samples(paths[:1], paths[1:], own)


def test_a_report_of_documents_shows_text_scores_and_why(documents: tuple[Row, Shown]) -> None:
    told, chosen_rows = documents
    text = Page(reports.render(told, RUN, chosen_rows, corpus())).text
    for expected in (
        "Documents 5 1.0 per row used",
        "Languages en 3 100%",
        "How sure the language is 0.9 and more 3 100%",
        "Words 0 to 50 2 40.0% 50 to 100 3 60.0%",
        "Personal data and secrets email 3 50.0% phone 3 50.0%",
        "Personal data email 2, phone 1",
        "A page about",
        "Gopher gopher_word_count 51",
        "gopher_word_count out of bounds: words",
        "Failed gopher_word_count 7",
        "Similarity 0.875",
        f"Duplicate of {0:032x}",
        "pages.jsonl :8",
    ):
        assert expected in text, expected
    assert not re.search("feedback|judge|reward|conversation|chat|refus|2602", text, re.I)


@pytest.mark.parametrize("redacted", [False, True])
def test_the_story_of_a_document_shows_the_line_and_what_was_done_to_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], redacted: bool
) -> None:
    source = tmp_path / "pages.jsonl"
    source.write_text('{"text": "first"}\n{"text": "write to me@site.org", "id": 7}\n')
    row = dict.fromkeys(corpus().kept.names)
    row |= {"record_id": "r", "text": "write to <EMAIL>" if redacted else "write to me@site.org", "subset": "train"}
    row |= {"language": "en", "language_probability": 0.9375, "gopher_word_count": 51.0}
    row |= {"personal_data": [{"kind": "email", "count": 1}] if redacted else []}
    row |= {"source_uri": "pages.jsonl", "source_row": 18}
    names = ("identify language", "quality", "personal data", "choose subset")
    told = {
        "pipeline": "corpus",
        "plan": {"stages": [{"name": name} for name in names]},
        "sources": [{"uri": "pages.jsonl", "container": "jsonl", "sha256": "ef" * 32}],
    }
    story = tracing.story("data", row, told, {"pages.jsonl": source.as_uri()}, tmp_path / "journal")
    assert [line["decision"] for line in story["stages"]] == [
        "language en, language_probability 0.9375",
        "gopher_word_count 51",
        "personal_data email:1" if redacted else "passed",
        "subset train",
    ]
    assert story["outcome"] == "kept in train"
    assert (story["source"]["line"], story["source"]["content"]["id"]) == (2, 7)
    assert story["source"]["found"] == ({} if redacted else {"text": True})
    tracing.show(story)
    said = capsys.readouterr().out
    assert ("personal data was replaced" in said) == redacted
    assert ("the source row holds these texts" in said) != redacted


def test_a_card_of_documents_gathers_score_columns(documents: tuple[Row, Shown]) -> None:
    card = cards.render_card(documents[0], RUN, corpus())
    assert not re.search("feedback|judge|reward|conversation|chat|refus|2602", card, re.I)
    main, *gathered = card.split("## Columns")[1].split("<details><summary>")
    assert "gopher_" not in main
    assert "| `text` | string |" in main
    assert [text.partition(":")[0] for text in gathered[:4]] == list(corpus().families)
    assert "| `gopher_word_count` |" in gathered[0]


# -- the lookup


@pytest.mark.parametrize("name", [None, "", "recipes", "../feedback", "os"])
def test_an_unknown_pipeline_is_refused_in_one_line(name: str | None) -> None:
    with pytest.raises(SnapshotError, match="upgrade Sluice"):
        presentations.of({"pipeline": name})


@pytest.mark.parametrize("pipeline", presentations.PIPELINES)
def test_every_presentation_speaks_of_the_columns_that_there_are(pipeline: str) -> None:
    found = presentations.of({"pipeline": pipeline})
    kept, rejected = found.kept.names, found.rejected.names
    assert found.pipeline == pipeline
    assert found.columns.keys() == {*kept, *rejected}
    assert all(found.columns.values())
    for names, shown in ((kept, found.samples.kept), (rejected, found.samples.rejected)):
        assert {"record_id", "source_uri", "source_row"} <= set(shown)
        for pattern in shown:
            matched = list(chosen(names, [pattern]))
            assert matched, pattern
            assert {name.split(".")[0] for name in matched} <= set(names), pattern
    assert {"unit", "stage", "reason"} <= set(found.samples.rejected)
    assert found.samples.group in (None, *kept)
    assert {*found.texts, *found.identifiers} <= {*kept, *rejected}
    for tally in found.tallies.values():
        assert {column.split(".")[0] for column in tally.columns} <= set(kept)
        assert list(tally.bins) == sorted(set(tally.bins))
    assert found.instance_outcomes.keys().isdisjoint(found.row_outcomes)
