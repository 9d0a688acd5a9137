"""Runs whose whole output is on an object store: the bytes of a local run, its commands, and one run at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from pipelines import locks
from pipelines.locks import Holder, OutputBusyError
from tests.builders import jsonl, write
from tests.pipelines import rig
from tests.pipelines.conftest import Quickstart
from tests.pipelines.rig import here, scored, sluice
from tests.servers import openai_server, s3_server
from transforms.io import files, snapshots


def objects(folder: Path) -> dict[str, bytes]:
    """All there is below a folder on a store."""
    fs, root = folder.fs, folder.path  # type: ignore[attr-defined]
    return {path.removeprefix(f"{root}/"): data for path, data in fs.cat(fs.find(root)).items()}


def published(output: Path) -> dict[str, str]:
    """SHA-256 of what makes a snapshot what it is."""
    snapshot = snapshots.latest(output)
    names = [*(shard["path"] for shard in snapshots.manifest(snapshot)["shards"]), "manifest.json"]
    return {name: files.sha256(snapshot / name) for name in names}


# --- whole runs -------------------------------------------------------------------------------------------------


def test_the_quickstart_on_a_store_is_the_local_one_byte_for_byte(out: Path, quickstart: Quickstart) -> None:
    facts = sluice("run", "quickstart", "--output", out, "--json", "--workers", "2").json
    assert facts["snapshot"] == f"{out}/snapshots/{quickstart.snapshot.name}"
    assert published(out) == published(quickstart.output)
    again = sluice("run", "quickstart", "--output", f"{out}/", "--json").json
    assert (again["changed"], again["snapshot"]) == (False, facts["snapshot"])
    assert again["splits"] | {"computed": 0, "reused": 2} == again["splits"]
    held = objects(out)
    assert not any(s3_server.SECRET.encode() in data for data in held.values())
    assert not [name for name in held if "/." in name], "temporary names are of no use on a store"

    sound = here("verify", out).out
    assert sound.startswith(f"{facts['snapshot']}: sound: 3 shards, 121 rows kept")
    rejected = quickstart.rejected[0]["record_id"]
    for identifier in (quickstart.kept[0]["record_id"], rejected):
        assert here("trace", out, identifier).out == here("trace", quickstart.output, identifier).out
    assert here("report", out).out.strip() == f"{facts['snapshot']}/report.html"
    assert b"<html" in files.located(f"{facts['snapshot']}/report.html").read_bytes()


def test_what_is_written_of_a_snapshot_can_go_to_a_store_too(out: Path, quickstart: Quickstart, tmp_path: Path) -> None:
    here("export", quickstart.output, "--output", out / "jsonl")
    here("export", quickstart.output, "--output", tmp_path)
    assert (out / "jsonl" / "train.jsonl").read_bytes() == (tmp_path / "train.jsonl").read_bytes()
    here("report", quickstart.output, "--output", out / "report.html")
    assert b"<html" in (out / "report.html").read_bytes()


def chats(folder: Path, count: int) -> Path:
    return write(folder / "chats.jsonl", jsonl(scored(at, "wrong again", "nice work") for at in range(count)))


def test_a_refresh_copies_what_did_not_change_and_a_stray_build_is_swept_up(out: Path, tmp_path: Path) -> None:
    chats(tmp_path / "in" / "a", 20)
    path = rig.config(tmp_path, tmp_path / "in" / "*" / "*.jsonl")
    first = rig.publish(path, out).snapshot
    files.write_bytes(out / "snapshots" / "0002-0123456789ab" / "data" / "train-00000-of-00001.parquet", b"half")
    assert snapshots.latest(out) == first
    chats(tmp_path / "in" / "b", 30)
    second = rig.publish(path, out).snapshot
    assert second.name.startswith("0002-")
    assert (out / "LATEST").read_text() == f"{second.name}\n"
    assert files.names(out / "snapshots") == {first.name, second.name}
    reused = json.loads((second / "run.json").read_bytes())["splits"]
    assert (reused["reused"], reused["computed"]) == (1, 1)
    for snapshot in (first, second):
        assert "sound" in here("verify", str(snapshot)).out


def test_damage_on_the_store_is_found(out: Path, tmp_path: Path) -> None:
    snapshot = rig.publish(rig.config(tmp_path, chats(tmp_path, 20)), out).snapshot
    shard = snapshot / "data" / "train-00000-of-00001.parquet"
    data = shard.read_bytes()
    files.write_bytes(shard, data[:999] + bytes([data[999] ^ 1]) + data[1000:])
    assert "expected SHA-256" in here("verify", out, expect=1).err
    shard.unlink()
    assert "train-00000-of-00001.parquet: missing" in here("verify", out, expect=1).err


def test_a_models_answers_are_kept_on_the_store(out: Path, tmp_path: Path) -> None:
    with openai_server.started("--record") as server:
        model = {"engine": "openai", "model": "judge-1", "base_url": server.url, "in_flight": 16}
        path = rig.config(
            tmp_path, chats(tmp_path, 20), model=model, output=str(out), split_bytes=4096, budget={"max_requests": 500}
        )
        facts = sluice("run", path, "--json", "--workers", "2").json
        local = sluice("run", path, "--json", "--output", tmp_path / "here").json
        assert facts["usage"]["judge"]["requests"] == 40 == local["usage"]["judge"]["requests"]
        assert published(out) == published(tmp_path / "here")
        files.remove(out / "work" / Path(next(n for n in files.names(out / "work") if len(n) == 16)))
        again = sluice("run", path, "--json").json
        assert (again["changed"], again["usage"]["judge"]["requests"]) == (False, 0)
    told = here("journal", out, "--json").json
    assert (told["answers"], told["requests"]) == (40, 40)
    row = snapshots.scan(snapshots.latest(out), "data", rig.KEPT).head(1).collect().to_dicts()[0]
    (answer,) = here("trace", out, row["record_id"], "--json").json["answers"]
    assert answer["text"] == row["judge"]["raw"]


def test_an_evaluation_keeps_its_answers_on_the_store(out: Path, tmp_path: Path) -> None:
    gold = write(tmp_path / "gold.jsonl", jsonl({"feedback": f"message {at}", "level": at % 5 + 1} for at in range(10)))
    with openai_server.started() as server:
        model = {"engine": "openai", "model": "judge-1", "base_url": server.url}
        path = rig.config(tmp_path, chats(tmp_path, 1), model=model)
        first = sluice("evaluate", path, "--gold", gold, "--output", out, "--json").json
    assert sluice("evaluate", path, "--gold", gold, "--output", out, "--json").json == first, "the server is gone"


@pytest.mark.parametrize(
    ("output", "code", "told"),
    [
        ("s3://no-such-bucket/out", 1, "s3://no-such-bucket/out: expected a store that can be written to"),
        ("nowhere://bucket/out", 2, "nowhere"),
        ("s3://key:secret@bucket/out", 2, "expected a URI without credentials"),
    ],
)
def test_an_output_that_cannot_be_is_told_before_anything_is_read(
    out: Path, tmp_path: Path, output: str, code: int, told: str
) -> None:
    path = rig.config(tmp_path, chats(tmp_path, 1))
    for arguments in ([path, "--output", output], [path, "--set", f"output={output}"]):
        said = here("run", *arguments, expect=code)
        assert told in " ".join(said.err.replace("│", " ").split())
        assert "secret@" not in said.err


def test_a_source_on_the_store_may_hold_the_output(out: Path, tmp_path: Path) -> None:
    files.write_bytes(out / "a.jsonl", chats(tmp_path, 20).read_bytes())
    path = rig.config(tmp_path, f"{out}/**/*.jsonl")
    first = rig.publish(path, out / "dataset")
    files.write_bytes(out / "dataset" / "export" / "train.jsonl", b'{"no": "source"}\n')
    assert rig.publish(path, out / "dataset") == first
    assert [source["uri"] for source in first.manifest["sources"]] == ["a.jsonl"]


# --- the lock ---------------------------------------------------------------------------------------------------


def held(work: Path) -> dict[str, Any]:
    """The newest lock object."""
    newest = max(files.names(work / "lock"))
    found: dict[str, Any] = json.loads((work / "lock" / newest).read_bytes())
    return found


def put(work: Path, number: int, **facts: Any) -> None:
    """A lock as a run on another machine leaves it."""
    holder = Holder("run", "far-away", "another machine", 4711, 0.0, time.time())
    data = json.dumps({**asdict(holder), **facts}).encode()
    files.write_bytes(work / "lock" / f"{number:08}.json", data)


def test_a_second_run_at_once_is_refused(out: Path, tmp_path: Path) -> None:
    path = rig.config(tmp_path, chats(tmp_path, 5), output=str(out))
    with locks.locked(out / "work"):
        said = sluice("run", path, expect=1)
        assert f"process {os.getpid()} on " in said.complaint
        assert said.complaint.startswith(f"{out}: expected to be alone")
        assert files.names(out) == {"work"}
        assert files.names(out / "work") == {"lock"}
    assert held(out / "work")["released"]
    assert rig.publish(path, out).manifest["counts"]["rows_read"] == 5


def test_of_runs_that_start_at_once_one_gets_the_lock(out: Path) -> None:
    """In processes of their own, which find a lock that was given back."""
    with locks.locked(out / "work"):
        pass
    command = [sys.executable, "-c", RACE, str(out / "work"), str(time.time() + 4)]
    racing = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    told = sorted(process.communicate(timeout=60)[0].strip() for process in racing)
    assert told == ["busy", "busy", "busy", "held"]


RACE = """
import sys, time
from pipelines import locks
from transforms.io import files
work = files.located(sys.argv[1])
files.names(work)
time.sleep(max(0, float(sys.argv[2]) - time.time()))
try:
    with locks.locked(work):
        time.sleep(3)
        print("held")
except locks.OutputBusyError:
    print("busy")
"""


def test_the_lock_of_a_dead_process_of_this_machine_is_taken_over_at_once(out: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(out / "work")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holding:
        assert holding.stdout is not None and holding.stdout.readline() == "held\n"
        with pytest.raises(OutputBusyError, match=f"process {holding.pid} on"), locks.locked(out / "work"):
            pass
        holding.kill()
    began = time.monotonic()
    with locks.locked(out / "work"):
        assert time.monotonic() - began < 5
        assert held(out / "work")["process"] == os.getpid()
        assert len(files.names(out / "work" / "lock")) == 1


HOLD = """
import sys, time
from pipelines import locks
from transforms.io import files
with locks.locked(files.located(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_another_machines_lock_holds_while_it_is_renewed_and_is_taken_over_when_it_expired(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "RENEWED_SECONDS", 0.5)
    work = out / "work"
    put(work, 7)
    with pytest.raises(OutputBusyError, match="process 4711 on far-away"), locks.locked(work):
        pass
    put(work, 7, renewed=time.time() - 61)
    with locks.locked(work):
        assert files.names(work / "lock") == {"00000008.json"}


def test_a_lock_that_looks_expired_by_a_wrong_clock_but_is_renewed_holds(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "RENEWED_SECONDS", 1.0)
    work = out / "work"
    put(work, 7, renewed=time.time() - 3600)
    command = [sys.executable, "-c", RENEW, str(work / "lock" / "00000007.json")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as renewing:
        assert renewing.stdout is not None and renewing.stdout.readline()
        with pytest.raises(OutputBusyError, match="far-away"), locks.locked(work):
            pass
        renewing.kill()


RENEW = """
import json, sys, time
from transforms.io import files
path = files.located(sys.argv[1])
while True:
    holder = json.loads(path.read_bytes())
    files.write_bytes(path, json.dumps({**holder, "renewed": holder["renewed"] + 0.3}).encode())
    print("renewed", flush=True)
    time.sleep(0.3)
"""


def test_a_run_whose_lock_was_taken_over_ends_itself(out: Path) -> None:
    command = [sys.executable, "-c", SHORT, str(out / "work")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as holding:
        assert holding.stdout is not None and holding.stdout.readline() == "held\n"
        put(out / "work", held_number(out / "work") + 1)
        _, errors = holding.communicate(timeout=20)
    assert holding.returncode == 1
    assert "is another run's now" in errors


def held_number(work: Path) -> int:
    return int(max(files.names(work / "lock")).removesuffix(".json"))


SHORT = HOLD.replace("from transforms", "locks.RENEWED_SECONDS = 0.5\nfrom transforms")


def test_who_lost_the_lock_may_not_publish(out: Path) -> None:
    with locks.locked(out / "work") as expect_held:
        expect_held()
        put(out / "work", held_number(out / "work") + 1)
        with pytest.raises(OutputBusyError, match="is another run's now"):
            expect_held()
