"""The command, from a stranger's first run to what it says when something is wrong."""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import time
from collections import Counter, defaultdict
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import datasets
import duckdb
import mlcroissant
import polars as pl
import pyarrow.parquet as pq
import pytest
import zstandard

from pipelines import planning
from schemas.feedback import KEPT, WILDFB
from schemas.provenance import Container
from tests.builders import jsonl, write, write_rows
from tests.pipelines import rig
from tests.pipelines.conftest import Quickstart
from tests.pipelines.rig import ANSWER, ASK, Dataset, chat, here, publish, scored, sluice

Row = dict[str, Any]

SAMPLE = Path(planning.__file__).parents[1] / "configs" / "quickstart"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


# --- the first run ----------------------------------------------------------------------------------------------------


def test_the_quickstart_says_what_it_published(quickstart: Quickstart) -> None:
    facts = quickstart.facts
    assert facts["changed"] is True
    assert facts["rows_read"] == 386
    assert facts["failures"] == []
    assert facts["kept"] == len(quickstart.kept) > 50
    assert facts["instances"] == facts["kept"] + sum(facts["instances_rejected"].values())
    assert (quickstart.output / "LATEST").read_text().strip() == quickstart.snapshot.name
    for name in ("manifest.json", "run.json", "README.md", "croissant.json", "report.html"):
        assert (quickstart.snapshot / name).stat().st_size > 100, name


def test_the_quickstart_has_every_label_and_both_subsets(quickstart: Quickstart) -> None:
    assert {row["label"] for row in quickstart.kept} == {1, 2, 3, 4}
    assert {row["subset"] for row in quickstart.kept} == {"train", "test"}
    assert {row["language"] for row in quickstart.kept} == {"en", "zh"}


def test_counts_and_rows_agree(quickstart: Quickstart) -> None:
    counts = quickstart.manifest["counts"]
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for row in quickstart.rejected:
        reasons[row["unit"]][row["reason"]] += 1
    assert reasons["row"] == counts["rows_rejected"]
    assert reasons["instance"] == counts["instances_rejected"]
    ids = [row["record_id"] for row in (*quickstart.kept, *quickstart.rejected)]
    assert len(set(ids)) == len(ids)


def test_no_user_and_no_conversation_is_in_train_and_test(quickstart: Quickstart) -> None:
    for column in ("user_id", "conversation_id"):
        sides = defaultdict(set)
        for row in quickstart.kept:
            sides[row[column]].add(row["subset"])
        assert {len(side) for side in sides.values()} == {1}, column


def test_the_sources_users_are_not_published(quickstart: Quickstart) -> None:
    users = set(pl.read_parquet(SAMPLE / "chats_1m.parquet")["hashed_ip"].drop_nulls())
    assert users
    published = json.dumps([quickstart.kept, quickstart.rejected, quickstart.manifest], default=str)
    assert not [user for user in users if user in published]


def test_verify_is_content_and_says_so(quickstart: Quickstart) -> None:
    said = sluice("verify", quickstart.output, "--sources").out
    assert said.startswith(f"{quickstart.snapshot}: sound: ")
    assert sluice("verify", quickstart.snapshot, "--json").json == {
        "snapshot": str(quickstart.snapshot),
        "problems": [],
    }


def test_verify_names_every_problem_on_a_line_and_exits_1(quickstart: Quickstart, tmp_path: Path) -> None:
    copy = shutil.copytree(quickstart.output / "snapshots", tmp_path / "snapshots") / quickstart.snapshot.name
    (copy / "data" / "more.parquet").write_bytes(b"")
    train = next((copy / "data").glob("train-*"))
    train.unlink()
    said = here("verify", copy, expect=1)
    assert said.out == ""
    assert said.err.splitlines() == [
        f"sluice: {copy.name}: data/more.parquet: in the snapshot, but not in its manifest",
        f"sluice: {copy.name}: data/{train.name}: missing",
    ]
    assert len(here("verify", copy, "--json", expect=1).json["problems"]) == 2


def test_verify_notices_a_changed_source(tmp_path: Path) -> None:
    source = write(tmp_path / "chats.jsonl", jsonl([scored(1, "thanks")]))
    published = publish(rig.config(tmp_path, source), tmp_path / "out")
    source.write_bytes(source.read_bytes().replace(b"thanks", b"THANKS"))
    here("verify", published.output)
    said = here("verify", published.output, "--sources", expect=1)
    assert re.fullmatch(r"\S+: source chats\.jsonl: expected SHA-256 \w{64}, found \w{64}", said.complaint)


# --- trace ------------------------------------------------------------------------------------------------------------


@cache
def _lines() -> dict[int, tuple[int, bytes]]:
    """Lines of the sample's zstd file by their offset, with their numbers; read without any of ours."""
    with (SAMPLE / "chats_4_8m.jsonl.zst").open("rb") as stream:
        data = zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True).read()
    found, at = {}, 0
    for number, line in enumerate(data.splitlines(keepends=True), start=1):
        found[at] = (number, line)
        at += len(line)
    return found


def _story(quickstart: Dataset, row: Row) -> Row:
    """What ``trace --json`` prints, made in this process."""
    from pipelines import tracing

    where = json.loads((quickstart.snapshot / "run.json").read_bytes())["source_files"]
    kind = "data" if "label" in row else "rejected"
    return tracing.story(kind, row, quickstart.manifest, where, quickstart.output / "work" / "journal")


@pytest.mark.parametrize(
    ("source", "outcome"),
    [
        *product(["chats_1m.parquet", "chats_4_8m.jsonl.zst"], ["kept", "no_feedback", "personal_data", "no_messages"]),
        ("chats_4_8m.jsonl.zst", "duplicate"),
    ],
)
def test_trace_shows_the_very_row_that_a_published_row_came_from(
    quickstart: Quickstart, source: str, outcome: str
) -> None:
    rows = [r for r in (*quickstart.kept, *quickstart.rejected) if r.get("reason", "kept") == outcome]
    rows = [row for row in rows if row["source_uri"] == source]
    assert rows, "the sample has such a row"
    for row in rows[:3]:
        story = _story(quickstart, row)
        found = story["source"]
        if source.endswith(".parquet"):
            expected = pq.read_table(SAMPLE / source).slice(row["source_row"], 1).to_pylist()[0]
            assert found["line"] is None
        else:
            number, line = _lines()[row["source_row"]]
            expected = json.loads(line)
            assert found["line"] == number
        assert found["content"] == expected
        assert all(found["found"].values())
        assert set(found["found"]) == ({"query", "response", "feedback"} if outcome == "kept" else set())
        told = {line["stage"]: line["decision"] for line in story["stages"]}
        if outcome == "kept":
            assert story["outcome"] == f"kept in {row['subset']} with label {row['label']}"
            assert list(told) == [stage["name"] for stage in quickstart.manifest["plan"]["stages"]]
            assert told["judge"].startswith(f"rules judge-2: level {row['judge']['level']} (")
        else:
            assert story["outcome"].startswith(f"rejected by {row['stage']}: {outcome} (")
            assert list(told)[-1] == row["stage"]
            assert f"rejected: {outcome}" in told[row["stage"]]
        if outcome == "duplicate":
            assert told["drop duplicates"].startswith(f"duplicate of {row['duplicate_of']}")


def test_trace_shows_a_broken_line_as_it_stands(quickstart: Quickstart) -> None:
    rows = [row for row in quickstart.rejected if row["reason"] in {"invalid_json", "invalid_utf8"}]
    assert {row["reason"] for row in rows} == {"invalid_json", "invalid_utf8"}
    for row in rows:
        number, line = _lines()[row["source_row"]]
        found = _story(quickstart, row)["source"]
        assert found["line"] == number
        if isinstance(found["content"], str):
            assert found["content"] == line.decode("utf-8", "replace").rstrip("\n")[: len(found["content"])]
            assert len(found["content"]) > 100
        else:
            assert found["content"] == json.loads(line)


def test_trace_prints_a_story_for_people(quickstart: Quickstart) -> None:
    row = next(row for row in quickstart.kept if row["source_uri"].endswith(".zst") and row["judge"]["rule"])
    said = sluice("trace", quickstart.output, row["record_id"]).out
    assert said.startswith(f"record   {row['record_id']}\noutcome  kept in {row['subset']} with label {row['label']}\n")
    assert f"chats_4_8m.jsonl.zst, line {_lines()[row['source_row']][0]}, byte {row['source_row']}" in said
    assert f"rule {row['judge']['rule']} on {row['judge']['reason']!r}" in said
    assert "the source row holds these texts" in said
    assert sluice("trace", quickstart.output, row["instance_id"]).out == said, "by its instance id as well"


def test_trace_of_an_unknown_id_is_one_line_and_exit_1(quickstart: Quickstart) -> None:
    said = here("trace", quickstart.output, "nobody", expect=1)
    assert said.complaint == f"nobody: expected a record_id or instance_id of {quickstart.snapshot}; found no such row"


def test_trace_tells_what_it_can_of_a_row_whose_source_is_gone_or_changed(tmp_path: Path) -> None:
    source = write(tmp_path / "chats.jsonl", jsonl([scored(1, "thanks")]))
    published = publish(rig.config(tmp_path, source), tmp_path / "out")
    source.write_bytes(source.read_bytes().replace(b"thanks", b"THANKS"))
    assert _story(published, published.kept[0])["source"]["found"] == {
        "query": True,
        "response": True,
        "feedback": False,
    }
    source.unlink()
    story = _story(published, published.kept[0])
    assert "cannot be read" in story["source"]["error"]
    assert story["outcome"].startswith("kept")


# --- report and export ------------------------------------------------------------------------------------------------


def test_report_says_where_it_is_or_writes_it_anew(quickstart: Quickstart, tmp_path: Path) -> None:
    assert here("report", quickstart.output).out.strip() == str(quickstart.snapshot / "report.html")
    here("report", quickstart.output, "--output", tmp_path / "again.html")
    pages = [path.read_text("utf-8") for path in (tmp_path / "again.html", quickstart.snapshot / "report.html")]
    assert pages[0] == pages[1]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_the_report_opens_in_a_browser_without_a_complaint_and_without_the_network(
    quickstart: Quickstart, tmp_path: Path
) -> None:
    page = (quickstart.snapshot / "report.html").as_uri()
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", "--enable-logging=stderr"]
    options += ["--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1200,1600", "--virtual-time-budget=3000"]
    ended = subprocess.run(
        [str(CHROMIUM), *options, f"--screenshot={tmp_path / 'page.png'}", "--dump-dom", page],
        capture_output=True, text=True, check=True, timeout=100,
    )  # fmt: skip
    assert not [line for line in ended.stderr.splitlines() if ":CONSOLE" in line], ended.stderr
    facts = quickstart.facts
    shown = re.sub(r"<[^>]+>", " ", ended.stdout)
    for number in (facts["rows_read"], facts["instances"], facts["kept"], facts["instances_rejected"]["neutral"]):
        assert re.search(rf"\b{number}\b", shown), number
    assert (tmp_path / "page.png").stat().st_size > 20_000


@pytest.fixture(scope="module")
def exported(quickstart: Quickstart, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wildfb")
    said = here("export", quickstart.output, "--output", folder).out
    assert said.split() == [str(folder / "train.jsonl"), str(folder / "test.jsonl")]
    return folder


def test_export_writes_wildfbs_columns(quickstart: Quickstart, exported: Path) -> None:
    kept = {row["instance_id"]: row for row in quickstart.kept}
    for subset in ("train", "test"):
        rows = [json.loads(line) for line in (exported / f"{subset}.jsonl").read_text().splitlines()]
        assert {row["id"] for row in rows} == {name for name, row in kept.items() if row["subset"] == subset}
        for row in rows:
            own = kept[row["id"]]
            assert list(row) == WILDFB.names
            assert row["label"] == own["label"] in {1, 2, 3, 4}
            assert row["messages"] == [
                {"role": "user", "content": own["query"]},
                {"role": "assistant", "content": own["response"]},
            ]
            assert row["user_feedback"] == {"role": "user", "content": own["feedback"]}
            assert row["history"] == own["history"]


def test_what_was_exported_loads_with_the_right_types(exported: Path, tmp_path: Path) -> None:
    loaded = datasets.load_dataset("json", data_dir=str(exported), cache_dir=str(tmp_path))
    assert set(loaded) == {"train", "test"}
    features = loaded["train"].features
    assert features["label"] == datasets.Value("int64")
    assert features["text"] == features["id"] == datasets.Value("string")
    message = {"role": datasets.Value("string"), "content": datasets.Value("string")}
    assert features["user_feedback"] == message
    assert features["messages"] == features["history"] == datasets.List(message)


# --- who else reads it ------------------------------------------------------------------------------------------------


def test_hugging_face_loads_the_snapshot(quickstart: Quickstart, tmp_path: Path) -> None:
    loaded = datasets.load_dataset(str(quickstart.snapshot), cache_dir=str(tmp_path))
    assert {name: part.num_rows for name, part in loaded.items()} == Counter(row["subset"] for row in quickstart.kept)
    train = loaded["train"]
    assert train.features.arrow_schema.names == KEPT.names
    for field in KEPT:
        assert train.features.arrow_schema.field(field.name).type == field.type, field.name
    assert set(train["label"]) == {1, 2, 3, 4}


def test_duckdb_and_polars_read_the_shards(quickstart: Quickstart) -> None:
    shards = f"{quickstart.snapshot}/data/*.parquet"
    expected = sorted(Counter((row["subset"], row["label"]) for row in quickstart.kept).items())
    sql = f"select subset, label, count(*) from '{shards}' where judge.engine = 'rules' group by all order by all"
    assert [((subset, label), n) for subset, label, n in duckdb.connect().execute(sql).fetchall()] == expected
    found = pl.scan_parquet(shards).group_by("subset", "label").len().sort("subset", "label").collect()
    assert [((subset, label), n) for subset, label, n in found.rows()] == expected


def test_croissant_validates_and_loads(quickstart: Quickstart) -> None:
    dataset = mlcroissant.Dataset(str(quickstart.snapshot / "croissant.json"))
    assert not dataset.metadata.ctx.issues.errors
    rows = list(dataset.records("kept"))
    assert {row["kept/record_id"].decode() for row in rows} == {row["record_id"] for row in quickstart.kept}


# --- plan -------------------------------------------------------------------------------------------------------------


def _tree(folder: Path) -> dict[str, tuple[int, int]]:
    return {p.relative_to(folder).as_posix(): (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob("*")}


def test_plan_touches_nothing(tmp_path: Path) -> None:
    write(tmp_path / "chats" / "a.jsonl", jsonl([scored(1, "thanks")]))
    path = rig.config(tmp_path, "chats", output="out")
    home = str(tmp_path / "home")
    before = _tree(tmp_path)
    facts = sluice("plan", path, "--json", cwd=tmp_path, HOME=home, XDG_CONFIG_HOME=home, SLUICE_USER_KEY="").json
    assert _tree(tmp_path) == before
    assert facts["sources"] == {
        "files": 1,
        "bytes": (tmp_path / "chats" / "a.jsonl").stat().st_size,
        "formats": {"wildchat (jsonl)": 1},
        "errors": [],
    }
    assert (facts["splits"], facts["requests"], facts["tokens"]) == (1, 0, 0)
    assert facts["config"]["filters"]["max_history"] == 20


def test_plan_shows_what_cannot_be_read_and_exits_1(tmp_path: Path) -> None:
    source = tmp_path / "chats"
    write(source / "a.jsonl", jsonl([scored(1, "thanks")]))
    write(source / "b.parquet", b"PAR1 but no Parquet")
    write(source / "c.jsonl", b'{"some": 1, "thing": 2}\n')
    said = here("plan", rig.config(tmp_path, source), expect=1)
    told = [line for line in said.out.splitlines() if "cannot be read" in line]
    assert len(told) == 2
    assert "b.parquet: expected a Parquet footer" in told[0]
    assert "c.jsonl: expected one of wildchat, " in told[1]
    assert "1 x wildchat (jsonl)" in said.out


def test_two_thousand_small_files_are_planned_quickly(tmp_path: Path) -> None:
    data = jsonl([scored(1, "thanks")])
    for at in range(2_000):
        write(tmp_path / "chats" / f"{at % 20}" / f"{at}.jsonl", data)
    given = rig.load(rig.config(tmp_path, tmp_path / "chats"))
    began = time.perf_counter()
    found = planning.discover(given.config, given.source)
    seconds = time.perf_counter() - began
    assert len(found.files) == len(found.splits) == 2_000
    assert seconds < 4, "10,000 within 5 s is the promise; this is a loaded machine's share of it"


# --- trials -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", ["parquet", "jsonl", "jsonl.zst", "jsonl.gz"])
@pytest.mark.parametrize("limit", [1, 4, 9, 10, 11, 17, 30, 100])
def test_a_limit_reads_exactly_so_many_rows_across_files(tmp_path: Path, container: Container, limit: int) -> None:
    chats = [scored(at, "thanks") for at in range(30)]
    for at in range(3):
        write_rows(tmp_path / "chats", chats[10 * at : 10 * at + 10], container, name=f"{at}")
    given = rig.load(rig.config(tmp_path, tmp_path / "chats", split_bytes=1024), f"limit={limit}")
    found = [
        (split.file.relative_uri, row["conversation_id"])
        for split in planning.discover(given.config, given.source).splits
        for chunk in given.recipe.read(split)
        for row in chunk.kept.to_pylist()
    ]
    assert [name for _, name in found] == [f"c{at}" for at in range(min(limit, 30))]


def test_a_limited_run_reads_so_many_rows_and_a_broken_one_counts(tmp_path: Path) -> None:
    chats = jsonl(scored(at, "thanks") for at in range(3))
    source = write(tmp_path / "chats.jsonl", b"{broken\n\n" + chats)
    path = rig.config(tmp_path, source)
    facts = sluice("run", path, "--limit", "3", "--output", tmp_path / "out", "--json", "--workers", "1").json
    assert (facts["rows_read"], facts["rows_rejected"], facts["kept"]) == (3, {"invalid_json": 1}, 2)


# --- what is wrong ----------------------------------------------------------------------------------------------------


def test_a_run_needs_an_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # the command sets it
    said = here("run", rig.config(tmp_path, "chats.jsonl"), expect=2)
    assert said.complaint == "output: expected a directory; give --output DIR or set output in the config"


def test_the_output_may_hold_a_colon(tmp_path: Path) -> None:
    source = write(tmp_path / "chats.jsonl", jsonl([scored(1, "thanks")]))
    sluice("run", rig.config(tmp_path, source), "--output", "out:1", "--json", cwd=tmp_path)
    assert "sound" in here("verify", tmp_path / "out:1").out


def test_a_source_that_is_not_there_is_told_and_nothing_is_published(tmp_path: Path) -> None:
    path = rig.config(tmp_path, tmp_path / "none" / "*.jsonl")
    said = sluice("run", path, "--output", tmp_path / "out", "--json", expect=1)
    assert said.complaint.startswith(f"{tmp_path}/none/*.jsonl: expected at least one file, found none")
    assert f"resume with: sluice run {path} --output {tmp_path}/out --json" in said.err
    assert not (tmp_path / "out" / "LATEST").exists()


def test_a_format_that_does_not_exist_is_an_error_of_the_config(tmp_path: Path) -> None:
    source = write(tmp_path / "chats.jsonl", jsonl([scored(1, "thanks")]))
    path = rig.config(tmp_path, source)
    said = here("plan", path, "--set", "sources.0.format=wildcat", expect=2)
    assert "sources.0.format: expected auto, mapping, FILE.py:FUNCTION or one of ['wildchat'" in said.complaint
    assert said.complaint.endswith("found wildcat")


def test_a_file_in_no_known_format_is_told_with_what_it_holds(tmp_path: Path) -> None:
    source = write(tmp_path / "tickets.jsonl", b'{"ticket": 1, "dialogue": []}\n')
    (told,) = here("plan", rig.config(tmp_path, source), "--json", expect=1).json["sources"]["errors"]
    assert "tickets.jsonl: expected one of wildchat, lmsys, sharegpt, openassistant, openai" in told
    assert told.endswith("found the fields dialogue, ticket; force a format or give a mapping")


def test_rows_that_do_not_fit_a_forced_format_are_rejected_rows(tmp_path: Path) -> None:
    source = write(tmp_path / "chats.jsonl", jsonl([scored(1, "thanks")]))
    found = rig.through(rig.config(tmp_path, source), "sources.0.format=sharegpt")
    assert [row["reason"] for row in found.rejected] == ["no_messages"]


@pytest.mark.parametrize("command", ["verify", "trace", "report", "export"])
def test_a_folder_that_is_no_dataset_is_told(tmp_path: Path, command: str) -> None:
    more = {"trace": ["x"], "export": ["--output", str(tmp_path / "out")]}.get(command, [])
    said = here(command, tmp_path, *more, expect=1)
    assert (
        said.complaint == f"{tmp_path}: expected a dataset directory with a LATEST file, or a snapshot; found neither"
    )


@pytest.mark.parametrize("command", ["verify", "trace", "export", "report"])
def test_a_newer_snapshot_is_refused(quickstart: Quickstart, tmp_path: Path, command: str) -> None:
    copy = shutil.copytree(quickstart.snapshot, tmp_path / "newer")
    manifest = json.loads((copy / "manifest.json").read_bytes())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 2}))
    more = ["x"] if command == "trace" else [] if command == "verify" else ["--output", str(tmp_path / "out")]
    said = here(command, copy, *more, expect=1)
    assert said.complaint == f"{copy}: expected schema version 1 or older, found 2; upgrade Sluice"


def test_a_dataset_of_which_nothing_or_all_is_kept_is_sound(tmp_path: Path) -> None:
    for name, said in (("none", "and then?"), ("all", "thanks")):
        folder = tmp_path / name
        source = write(folder / "chats.jsonl", jsonl([chat(1, ASK, ANSWER, said)]))
        published = publish(rig.config(folder, source), folder / "out")
        assert "sound" in here("verify", published.output).out
        (record,) = pq.read_table(published.snapshot / published.manifest["shards"][0]["path"])["record_id"].to_pylist()
        here("trace", published.output, record)


@pytest.mark.parametrize(
    "name",
    [
        "out",
        "the output",
    ],
)
def test_a_dataset_inside_the_folder_of_its_sources_is_not_read_as_one(tmp_path: Path, name: str) -> None:
    write(tmp_path / "chats" / "a.jsonl", jsonl([scored(1, "thanks")]))
    path = rig.config(tmp_path, tmp_path / "chats")
    first, second = (publish(path, tmp_path / "chats" / name) for _ in range(2))
    assert first.snapshot == second.snapshot
    assert [source["uri"] for source in second.manifest["sources"]] == ["a.jsonl"]


def test_a_long_history_that_no_rule_rejects_is_published_whole(tmp_path: Path) -> None:
    said = [f"nice, and part {at} of this, if you please" for at in range(4)]
    settings = {"rules": ["query_too_short"], "max_history": 2}
    found = rig.carry(tmp_path, [scored(1, *said)], filters=settings)
    assert [len(row["history"]) for row in found.kept] == [0, 2, 4, 6]


# --- help -------------------------------------------------------------------------------------------------------------


def test_help_answers_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        said = sluice("--help").out
        seconds.append(time.perf_counter() - began)
    with capsys.disabled():
        print(f"\nsluice --help: median {statistics.median(seconds):.2f} s of {[round(s, 2) for s in seconds]}")
    assert statistics.median(seconds) < 1.0, "0.5 s is the promise, on a machine with nothing else to do"
    for command in ("run", "plan", "verify", "trace", "report", "export", "config"):
        assert re.search(rf"^\W*{command}\b", said, re.MULTILINE), command
