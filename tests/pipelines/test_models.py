"""The feedback pipeline with a model behind it: a real server in another process, well-behaved and not."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.builders import jsonl, write
from tests.pipelines import rig
from tests.pipelines.rig import ANSWER, ASK, Said, chat, scored, sluice
from tests.servers.openai_server import Server, started

KEY = "sk-test-4711-secret"
REFUSED = "I'm sorry, but I can't help with that request."


@pytest.fixture
def server() -> Iterator[Server]:
    with started("--record") as running:
        yield running


def chats(count: int, mark: str = "") -> bytes:
    return jsonl(scored(at, f"message {at} {mark}", f"{at}: and what then? {mark}") for at in range(count))


def configured(folder: Path, server: Server, source: bytes, **settings: Any) -> Path:
    model = {
        "engine": "openai",
        "model": "judge-1",
        "base_url": f"{server.url}",
        "api_key_env": "TEST_KEY",
        "in_flight": 16,
        "timeout": 2.0,
        "max_tries": 3,
        "max_wait": 0.2,
        "price": {"input": 1.0, "output": 2.0},
        **settings.pop("model", {}),
    }
    write(folder / "chats.jsonl", source)
    return rig.config(folder, folder / "chats.jsonl", model=model, **settings)


def run(path: Path, output: Path, *options: str, expect: int = 0) -> Said:
    return sluice("run", path, "--output", output, "--json", *options, expect=expect, TEST_KEY=KEY)


def journal(output: Path) -> pl.DataFrame:
    return pl.read_parquet(output / "work" / "journal" / "*.parquet")


def published(output: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    found = rig.Dataset(output, output / "snapshots" / (output / "LATEST").read_text().strip())
    return found.kept, found.rejected


def manifest(output: Path) -> bytes:
    return (output / "snapshots" / (output / "LATEST").read_text().strip() / "manifest.json").read_bytes()


def test_every_label_is_the_models_and_names_its_journal_entry(tmp_path: Path, server: Server) -> None:
    path = configured(tmp_path, server, chats(30))
    facts = run(path, tmp_path / "out").json
    kept, rejected = published(tmp_path / "out")
    entries = {row["key"]: json.loads(row["text"]) for row in journal(tmp_path / "out").to_dicts()}
    judged = [row for row in [*kept, *rejected] if row["judge"]]
    assert len(judged) == 60 == len(entries) == facts["usage"]["judge"]["requests"]
    for row in judged:
        (key,) = row["journal_keys"]
        assert row["judge"]["level"] == entries[key]["level"]
        assert json.loads(row["judge"]["raw"]) == entries[key]
        assert row["judge"] | {"engine": "openai", "model": "judge-1", "parse_status": "ok"} == row["judge"]
    assert facts["usage"]["judge"]["cost"] > 0
    story = sluice("trace", tmp_path / "out", judged[0]["record_id"], "--json").json
    assert [answer["text"] for answer in story["answers"]] == [judged[0]["judge"]["raw"]]
    assert (
        f"answer   {judged[0]['journal_keys'][0]} (stop, "
        in sluice("trace", tmp_path / "out", judged[0]["record_id"]).out
    )
    assert sluice("verify", tmp_path / "out", "--sources").out.count("sound") == 1


def test_a_rerun_and_another_plan_send_nothing_and_another_prompt_everything(tmp_path: Path, server: Server) -> None:
    path = configured(tmp_path, server, chats(20))
    output = tmp_path / "out"
    run(path, output)
    sent = server.stats()["total"]
    first = manifest(output)
    assert run(path, output).json["changed"] is False
    for changed in ("filters.min_query_length=1", "split_bytes=2048", "subset.seed=5"):
        used = run(path, output, "--set", changed).json["usage"]["judge"]
        assert (used["requests"], used["hits"]) == (0, 40)
    assert server.stats()["total"] == sent
    for changed in ("judge.context=feedback", "judge.sampling.temperature=0.5", "model.model=judge-2"):
        before = server.stats()["total"]
        run(path, output, "--set", changed)
        assert server.stats()["total"] - before == 40
    run(path, output)
    assert manifest(output) == first


def test_what_a_model_cannot_answer_is_an_outcome_of_that_row_alone(tmp_path: Path, server: Server) -> None:
    marks = [
        "500",
        "too-long",
        "expired-key",
        "unknown-model",
        "hang",
        "truncated",
        "wrong-schema",
        "two-objects",
        "empty",
    ]
    marks += ["in-reasoning", "not-json", "length", "nan-answer", "content-filter", "reset"]
    mended = ["429:1", "500:1", "reset:1", "prose", "fenced", "think"]
    rows = [scored(at, "and then?", f"[[{mark}]] what now") for at, mark in enumerate(marks)]
    rows += [scored(100 + at, "and then?", f"[[{mark}]] what now") for at, mark in enumerate(mended)]
    path = configured(tmp_path, server, jsonl(rows), judge={"context": "feedback", "attempts": 2})
    run(path, tmp_path / "out")
    kept, rejected = published(tmp_path / "out")
    failed = {
        row["instance_id"]: row["detail"].partition(":")[0] for row in rejected if row["reason"] == "judge_failed"
    }
    assert list(failed.values()) == [
        *("server_error", "context_too_long", "authentication", "unknown_model", "timeout", "malformed_response"),
        *("wrong_schema", "several_objects", "empty", "in_reasoning", "malformed_response", "length", "invalid_json"),
        *("bad_request", "connection"),
    ]
    assert len(kept) + len(rejected) == 2 * len(rows)
    assert all(row["judge"]["level"] is None for row in rejected if row["reason"] == "judge_failed")


def test_only_failures_are_sent_again_on_demand(tmp_path: Path, server: Server) -> None:
    path = configured(tmp_path, server, chats(20), judge={"context": "feedback"})
    output = tmp_path / "out"
    with started("--record", "--misbehave", "500=1.0") as broken:
        said = run(path, output, "--set", f"model.base_url={broken.url}", expect=1)
    assert "judge: 40 of 40 requests have no valid answer, more than max_failed=0.5 allows" in said.complaint
    assert not (output / "LATEST").exists()
    run(path, output, "--set", "max_failed=1")
    assert server.stats()["total"] == 0
    facts = run(path, output, "--retry-failed").json
    assert server.stats()["total"] == 40 == facts["usage"]["judge"]["requests"]
    assert "judge_failed" not in facts["instances_rejected"]
    assert run(path, output, "--retry-failed").json["changed"] is False
    assert server.stats()["total"] == 40


def test_refusals_are_validated_by_the_model(tmp_path: Path, server: Server) -> None:
    rows = [chat(at, f"{ASK} {at}", REFUSED, f"message {at}", ANSWER, None) for at in range(40)]
    path = configured(tmp_path, server, jsonl(rows))
    facts = run(path, tmp_path / "out").json
    kept, rejected = published(tmp_path / "out")
    judged = [row for row in [*kept, *rejected] if row["refusal"] and row["refusal"]["candidate"]]
    negatives = [row for row in [*kept, *rejected] if row["judge"] and row["judge"]["level"] in (1, 2)]
    assert 0 < len(judged) == len(negatives) == facts["usage"]["validate refusals"]["replies"]
    for row in judged:
        expected = {"correct_refusal": 5, "false_refusal": row["judge"]["level"], "answered": row["judge"]["level"]}
        assert row["level"] == expected[row["refusal"]["verdict"]]
        assert len(row["journal_keys"]) == 2
    assert {row["refusal"]["verdict"] for row in judged} == {"answered", "correct_refusal", "false_refusal"}


def test_embeddings_of_an_endpoint_mine_and_are_kept(tmp_path: Path, server: Server) -> None:
    endpoint = {"engine": "openai", "model": "embed-1", "base_url": f"{server.url}"}
    mining = {"encoder": "endpoint", "threshold": 0.0, "window": 2, "endpoint": endpoint}
    rows = [scored(at, f"and then {at}?", f"thanks {at}") for at in range(10)]
    write(tmp_path / "chats.jsonl", jsonl(rows))
    path = rig.config(tmp_path, tmp_path / "chats.jsonl", mining=mining)
    facts = run(path, tmp_path / "out").json
    kept, _ = published(tmp_path / "out")
    assert facts["usage"]["mine implicit feedback"]["requests"] == 20
    assert sum(row["mining"]["applied"] for row in kept) == 10
    assert (
        run(path, tmp_path / "out", "--set", "mining.threshold=0.999").json["usage"]["mine implicit feedback"][
            "requests"
        ]
        == 0
    )


def test_two_workers_and_one_send_the_same_and_publish_the_same(tmp_path: Path, server: Server) -> None:
    path = configured(tmp_path, server, chats(200))
    run(path, tmp_path / "one", "--workers", "1", "--set", "split_bytes=8192")
    sent = server.stats()["total"]
    run(path, tmp_path / "two", "--workers", "2", "--set", "split_bytes=8192")
    assert server.stats()["total"] == 2 * sent == 800
    assert manifest(tmp_path / "one") == manifest(tmp_path / "two")


def test_many_small_splits_keep_the_model_busy_together(tmp_path: Path) -> None:
    with started("--latency", "1.5") as server:
        path = configured(tmp_path, server, chats(40), split_bytes=1024, model={"in_flight": 16, "timeout": 10.0})
        facts = run(path, tmp_path / "out", "--workers", "1").json
        assert facts["usage"]["judge"]["requests"] == 80 <= 3 * facts["splits"]["total"]
        assert server.stats()["max_concurrent"] == 16  # three splits have nine at most


def test_the_key_stands_nowhere(tmp_path: Path, server: Server) -> None:
    marks = "[[expired-key]]", "[[echo-key]]"
    rows = [scored(at, f"and then {at}? {marks[at % 2]}") for at in range(30)]
    path = configured(tmp_path, server, jsonl(rows))
    said = run(path, tmp_path / "out", "--set", "max_failed=1", "--debug")
    told = sluice("journal", tmp_path / "out", "--json").out
    assert server.stats()["keys"] == {f"Bearer {KEY}": server.stats()["total"]}
    assert KEY not in said.out + said.err + told
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(written) > 10
    for file in written:
        assert KEY.encode() not in file.read_bytes(), file
    columns = journal(tmp_path / "out").select(pl.col(pl.String))
    assert not any(KEY in str(value) for value in columns.rows())


def test_a_budget_ends_the_run_and_a_rerun_goes_on(tmp_path: Path, server: Server) -> None:
    path = configured(tmp_path, server, chats(50), split_bytes=4096)
    output = tmp_path / "out"
    said = run(path, output, "--set", "budget.max_requests=30", expect=1)
    assert "max_requests=30 is spent; what is answered is kept" in said.complaint
    assert said.complaint.endswith("finished splits are kept; run the same command to go on")
    assert server.stats()["total"] == 30
    assert run(path, output).json["usage"]["judge"]["replies"] == 100
    assert server.stats()["total"] == 100


def test_plan_estimates_what_a_run_will_ask_and_sends_nothing(tmp_path: Path, server: Server) -> None:
    path = configured(tmp_path, server, chats(500))
    facts = sluice("plan", path, "--json", TEST_KEY=KEY).json
    assert server.stats()["total"] == 0
    (judge, *_) = facts["calls"]
    assert judge["stage"] == "judge"
    assert judge["requests"] == pytest.approx(1000, rel=0.15)
    used = run(path, tmp_path / "out").json["usage"]["judge"]
    assert judge["input_tokens"] == pytest.approx(used["input_tokens"], rel=0.35)
    assert (
        f"calls:   judge: about {judge['requests']:,} requests of judge-1, " in sluice("plan", path, TEST_KEY=KEY).out
    )


def test_a_killed_run_sends_no_more_than_what_was_in_flight(tmp_path: Path) -> None:
    with started("--record", "--latency", "0.05") as slow:
        path = configured(tmp_path, slow, chats(300), split_bytes=8192, model={"in_flight": 8})
        run(path, tmp_path / "undisturbed")
        needed = slow.stats()["total"]
        output, kills = tmp_path / "out", 3
        command = [rig.COMMAND, "run", str(path), "--output", str(output), "--json"]
        for kill in range(kills):
            process = subprocess.Popen(command, env=rig.environment(TEST_KEY=KEY), stderr=subprocess.DEVNULL)
            time.sleep(3.0 + kill)
            process.kill()
            process.wait()
        run(path, output)
        sent = slow.stats()["total"] - needed
        unclosed = 2 * 8 * (1.2 / 0.05)
        assert needed <= sent <= needed + kills * (8 + unclosed)
    assert manifest(output) == manifest(tmp_path / "undisturbed")


def test_the_journal_command_tells_size_failures_and_cost(tmp_path: Path, server: Server) -> None:
    rows = [scored(at, f"and then {at}? {'[[500]]' if at % 5 == 0 else ''}") for at in range(20)]
    path = configured(tmp_path, server, jsonl(rows))
    run(path, tmp_path / "out")
    facts = sluice("journal", tmp_path / "out", "--json", "--price-input", "1").json
    assert (facts["keys"], facts["failures"]) == (20, {"server_error": 4})
    assert facts["cost"] == pytest.approx(facts["input_tokens"] / 1e6)
    said = sluice("journal", tmp_path / "out").out
    assert "server_error" in said and "judge@1" in said
