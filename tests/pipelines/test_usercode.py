"""Readers and stages of the user's own: only where allowed, in every container, and accounted for like ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config import ConfigError
from pipelines.run import RunError
from pipelines.usercode import UserFunction
from schemas.provenance import Container
from tests.builders import jsonl, write, write_rows
from tests.pipelines import rig
from tests.pipelines.rig import ANSWER, ASK, Dataset, carry, here, publish, scored, sluice
from transforms.chunks import StageError

CODE = """
import polars as pl

def tickets(row):
    if row["key"] == "bad":
        raise ValueError("no such ticket")
    said = [{"role": "user", "content": row["q"]}, {"role": "assistant", "content": row["a"]}]
    told = [{"role": "user", "content": text} for text in row["then"]]
    return [{"id": row["key"], "user": row["who"], "language": "English", "messages": [*said, *told]}]

def no_poems(frame):
    poem = pl.col("query").str.contains("poem")
    return frame.with_columns(reason=pl.when(poem).then(pl.lit("poem")), detail=pl.when(poem).then(pl.lit("a verse")))

def shout(frame):
    return frame.with_columns(query=pl.col("query").str.to_uppercase())

def fails(frame):
    raise ValueError("bad luck\\nand more of it")

def readable(frame):
    raise ValueError("bad luck")

def loses(frame):
    return frame.head(1)

def lists(frame):
    return frame.to_dicts()

def shrugs(frame):
    return frame.with_columns(reason=pl.when(pl.col("feedback") == "awful").then(pl.lit("")))

def label(frame):
    return frame

commit = read = label

number = 7
"""

POEM = "Please write me a poem about the long list of names."


def tickets(count: int) -> list[dict[str, Any]]:
    return [
        {"key": f"t{at}", "who": f"w{at}", "q": f"{ASK} Number {at}.", "a": ANSWER, "then": ["thanks"]}
        for at in range(count)
    ]


def configured(folder: Path, source: Path, reader: str | None = None, **settings: Any) -> Path:
    """A config beside a file of code."""
    write(folder / "own.py", CODE.encode())
    form = {"sources": [{"uri": [str(source)], "format": f"own.py:{reader}"}]} if reader else {}
    return rig.config(folder, source, **form, **settings)


@pytest.mark.parametrize("container", ["jsonl", "jsonl.zst", "parquet"])
def test_a_reader_of_ones_own_reads_rows_that_nobody_foresaw(tmp_path: Path, container: Container) -> None:
    rows = tickets(6)
    rows[2]["key"] = "bad"
    source = write_rows(tmp_path, rows, container)
    found = rig.through(configured(tmp_path, source, "tickets"))
    assert sorted(row["conversation_id"] for row in found.kept) == ["t0", "t1", "t3", "t4", "t5"]
    assert {row["label"] for row in found.kept} == {4}
    (lost,) = found.rejected
    assert (lost["stage"], lost["reason"], lost["detail"]) == ("read", "schema_mismatch", "ValueError: no such ticket")
    assert lost["source_row"] == (2 if container == "parquet" else len(jsonl(rows[:2])))


@pytest.fixture(scope="module")
def poems(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A dataset whose own stage rejects poems after the language is known."""
    folder = tmp_path_factory.mktemp("poems")
    chats = [scored(at, "thanks") for at in range(3)]
    for at, chat in enumerate(chats[:2]):
        chat["conversation"][0]["content"] = f"{POEM} {at}"
    source = write(folder / "chats.jsonl", jsonl(chats))
    own = [{"use": "own.py:no_poems", "after": "require language"}, {"use": "own.py:shout", "after": "no_poems"}]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_USER_KEY", rig.KEY)
        return publish(configured(folder, source, stages=own), folder / "out")


def test_a_stage_of_ones_own_rejects_for_reasons_of_its_own_and_they_are_counted(poems: Dataset) -> None:
    assert [(row["stage"], row["reason"], row["detail"]) for row in poems.rejected] == [
        ("no_poems", "poem", "a verse")
    ] * 2
    counts = poems.manifest["counts"]
    assert counts["instances_rejected"] == {"poem": 2}
    assert (counts["instances"], counts["kept"]) == (3, 1)
    stages = [stage["stage"] for stage in counts["stages"] if stage["unit"] == "instance"]
    assert stages[2:5] == ["require language", "no_poems", "shout"]


def test_a_stage_of_ones_own_may_change_rows(poems: Dataset) -> None:
    (row,) = poems.kept
    assert row["query"] == row["query"].upper()


def test_a_row_that_ones_own_stage_rejected_can_be_traced(poems: Dataset) -> None:
    story = here("trace", poems.output, poems.rejected[0]["record_id"], "--json").json
    assert story["outcome"] == "rejected by no_poems: poem"
    assert [line["stage"] for line in story["stages"]][-2:] == ["require language", "no_poems"]
    assert story["stages"][-1]["decision"] == "rejected: poem (a verse)"
    kept = here("trace", poems.output, poems.kept[0]["record_id"], "--json").json
    assert [line["stage"] for line in kept["stages"]][4:6] == ["no_poems", "shout"]
    assert kept["source"]["found"] == {"query": False, "response": True, "feedback": True}


def test_the_code_is_part_of_the_plan(tmp_path: Path) -> None:
    source = write(tmp_path / "chats.jsonl", jsonl([scored(1, "thanks")]))
    path = configured(tmp_path, source, stages=[{"use": "own.py:shout", "after": "judge"}])
    before = rig.load(path).settings()["own_code"]
    (tmp_path / "own.py").write_text(CODE + "\n# edited")
    assert rig.load(path).settings()["own_code"] != before


def test_an_edited_reader_computes_anew(tmp_path: Path) -> None:
    source = write_rows(tmp_path, tickets(3), "jsonl")
    path = configured(tmp_path, source, "tickets")
    first = publish(path, tmp_path / "out")
    (tmp_path / "own.py").write_text(CODE.replace('row["who"]', '"everyone"'))
    second = publish(path, tmp_path / "out")
    assert len({row["user_id"] for row in first.kept}) == 3
    assert len({row["user_id"] for row in second.kept}) == 1


@pytest.mark.parametrize(("reader", "own"), [("tickets", []), (None, [{"use": "own.py:shout", "after": "judge"}])])
@pytest.mark.parametrize("command", ["run", "plan"])
def test_code_runs_only_where_the_command_line_allows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, reader: str | None, own: list[dict[str, str]]
) -> None:
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # the command sets it
    path = configured(tmp_path, tmp_path / "chats.jsonl", reader, stages=own)
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n{CODE}")
    output = ["--output", str(tmp_path / "out")] if command == "run" else []
    use = own[0]["use"] if own else "own.py:tickets"
    said = here(command, path, *output, expect=2)
    assert said.complaint == f"{path}: would run the code in {use}; read it, then add --trust-code"
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "ran").exists()


def test_a_stage_that_raises_ends_the_run_and_is_named_and_nothing_is_published(tmp_path: Path) -> None:
    source = write(tmp_path / "chats.jsonl", jsonl([scored(1, "thanks")]))
    path = configured(tmp_path, source, stages=[{"use": "own.py:fails", "after": "judge"}])
    said = sluice("run", path, "--output", tmp_path / "out", "--trust-code", "--json", "--workers", "1", expect=1)
    assert said.complaint == (
        "ValueError: bad luck (stage: fails); nothing was published, finished splits are kept; mend the stage"
    )
    assert not (tmp_path / "out" / "LATEST").exists()
    assert not (tmp_path / "out" / "snapshots").exists()


def test_a_stage_that_loses_rows_is_an_error_that_names_it(tmp_path: Path) -> None:
    source = write(tmp_path / "chats.jsonl", jsonl(scored(at, "thanks") for at in range(3)))
    path = configured(tmp_path, source, stages=[{"use": "own.py:loses", "after": "judge"}])
    with pytest.raises(StageError, match="stage loses: 3 instances in, but 1 out"):
        rig.through(path)


def test_a_stage_that_gives_no_frame_is_an_error_that_names_it(tmp_path: Path) -> None:
    source = write(tmp_path / "chats.jsonl", jsonl([scored(1, "thanks")]))
    path = configured(tmp_path, source, stages=[{"use": "own.py:lists", "after": "judge"}])
    with pytest.raises(StageError, match=r"lists: expected a polars\.DataFrame, found list"):
        rig.through(path)


def test_a_row_rejected_without_a_reason_has_the_outcome_stage_failed(tmp_path: Path) -> None:
    source = write(tmp_path / "chats.jsonl", jsonl([scored(1, "thanks", "awful")]))
    told = rig.through(configured(tmp_path, source, stages=[{"use": "own.py:shrugs", "after": "judge"}]))
    assert sorted(told.outcomes.values()) == ["label 4", "stage_failed"]


def test_a_failing_stage_is_never_skipped_as_a_source_whatever_its_name(tmp_path: Path) -> None:
    source = write(tmp_path / "chats.jsonl", jsonl([scored(1, "thanks")]))
    own = [{"use": "own.py:readable", "after": "judge"}]
    path = configured(tmp_path, source, stages=own, on_source_error="skip")
    with pytest.raises(RunError, match=r"\(stage: readable\)"):
        publish(path, tmp_path / "out")


@pytest.mark.parametrize(
    "name",
    ["label", "read", "commit"],
)
def test_a_stage_may_not_be_called_as_one_of_ours(tmp_path: Path, name: str) -> None:
    source = write(tmp_path / "chats.jsonl", jsonl([scored(1, "thanks")]))
    path = configured(tmp_path, source, stages=[{"use": f"own.py:{name}", "after": "judge"}])
    with pytest.raises(ConfigError, match=f"a stage is called {name} already"):
        publish(path, tmp_path / "out")


def test_a_stage_must_follow_one_that_exists(tmp_path: Path) -> None:
    own = [{"use": "own.py:shout", "after": "nowhere"}]
    write(tmp_path / "own.py", CODE.encode())
    with pytest.raises(ConfigError, match=r"own\.py:shout follows 'nowhere'; expected one of .*'judge'"):
        carry(tmp_path, [scored(1, "thanks")], stages=own)
    said = here("plan", tmp_path / "config.yaml", "--trust-code", expect=2)
    assert "own.py:shout follows 'nowhere'" in said.complaint


@pytest.mark.parametrize(
    ("spec", "code", "told"),
    [
        ("none.py:read", None, r"expected a Python file at .*none\.py: No such file"),
        ("own.py:absent", CODE, r"own\.py: expected a function named absent"),
        ("own.py:number", CODE, r"own\.py: expected a function named number"),
        ("own.py:read", "def read(:", r"own\.py: cannot be loaded: SyntaxError: .*line 1"),
        ("own.py:read", "import nosuchmodule", r"own\.py: cannot be loaded: ModuleNotFoundError: .*nosuchmodule"),
        ("own.py:read", "1 / 0", r"own\.py: cannot be loaded: ZeroDivisionError"),
    ],
)
def test_code_that_cannot_be_loaded_is_an_error_of_the_config(
    tmp_path: Path, spec: str, code: str | None, told: str
) -> None:
    if code is not None:
        write(tmp_path / "own.py", code.encode())
    with pytest.raises(ConfigError, match=told):
        UserFunction.load(spec, tmp_path)


def test_code_edited_while_the_run_is_under_way_is_noticed(tmp_path: Path) -> None:
    """Another process that loads it later must not run other code than was planned."""
    write(tmp_path / "own.py", CODE.encode())
    function = UserFunction(str(tmp_path / "own.py"), "shout", "0" * 64)
    with pytest.raises(ConfigError, match=r"own\.py: changed while the run was under way"):
        function(None)


def test_a_reader_may_give_times_users_and_flags(tmp_path: Path) -> None:
    code = """
from datetime import datetime
def read(row):
    said = [{"role": r, "content": t, "time": datetime(2024, 5, 1, 12)} for r, t in row["said"]]
    return [{"messages": said, "user": "u", "language": "en", "model": "m", "toxic": True, "time": "2024-05-01T11:00:00"}]
"""
    write(tmp_path / "own.py", code.encode())
    said = [["user", ASK], ["assistant", ANSWER], ["user", "thanks"]]
    pq.write_table(pa.Table.from_pylist([{"said": said}]), tmp_path / "a.parquet")
    form = [{"uri": [str(tmp_path / "a.parquet")], "format": "own.py:read"}]
    (row,) = rig.through(rig.config(tmp_path, sources=form)).kept
    assert (row["model"], row["language"], row["flags"]["toxic"]) == ("m", "en", True)
    assert row["timestamp"].isoformat() == "2024-05-01T12:00:00+00:00"
    assert row["conversation_id"] == "a.parquet#0"
