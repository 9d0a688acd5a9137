"""The openai engine in mode batch: answers by key, failures by name, and nothing paid for twice after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.answers import Answer, Request
from tests.servers import openai_server
from tests.servers.openai_server import Server, started
from transforms.models import engines, openai_batch
from transforms.models.openai_batch import OpenAIBatchEngine
from transforms.models.settings import OpenAISettings

KEY = "sk-test-batch-0123456789abcdef"


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    monkeypatch.setattr(openai_batch, "QUIET", 0.1)


@pytest.fixture
def server() -> Iterator[Server]:
    with started("--record", "--key", KEY) as running:
        yield running


def settings(*urls: str, **given: Any) -> OpenAISettings:
    fast = {"timeout": 2.0, "max_tries": 3, "max_wait": 0.1, "mode": "batch"}
    return OpenAISettings(
        **{"engine": "openai", "model": "judge", "base_url": urls, "api_key_env": "TEST_KEY", **fast, **given}
    )


@contextmanager
def engine(folder: Path, *urls: str, **given: Any) -> Iterator[OpenAIBatchEngine]:
    with closing(OpenAIBatchEngine(settings(*urls, **given), folder)) as running:
        yield running


def chat(prompt: str) -> Request:
    return Request((("user", prompt),), "judge@1", '{"max_tokens":64,"seed":7}')


def expected(prompt: str) -> str:
    return openai_server.label(orjson.dumps([{"role": "user", "content": prompt}]))


def ask(running: OpenAIBatchEngine, prompts: list[str]) -> list[Answer]:
    futures = [running.submit(chat(prompt)) for prompt in prompts]
    return [future.result(timeout=30) for future in futures]


def eventually(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_answers_in_another_order_reach_their_requests(server: Server, tmp_path: Path) -> None:
    prompts = [f"prompt {number}" for number in range(500)]
    with engine(tmp_path, server.url) as running:
        answers = ask(running, prompts)
    assert [(answer.failure, answer.text) for answer in answers] == [(None, expected(prompt)) for prompt in prompts]
    assert all(answer.output_tokens > 0 for answer in answers)
    assert (server.stats()["batches"], server.stats()["total"]) == (1, 500)


def test_what_fails_in_a_batch_fails_alone_and_by_name(server: Server, tmp_path: Path) -> None:
    failures = {
        "[[429]]": "rate_limited",
        "[[500]]": "server_error",
        "[[expired-key]]": "authentication",
        "[[too-long]]": "context_too_long",
        "[[400]]": "bad_request",
        "[[wrong-shape]]": "malformed_response",
        "[[truncated]]": "malformed_response",
        "[[huge]]": "answer_too_long",
        "good": None,
        "[[think]]": None,
        "[[nan]]": None,
        "\ud800": "engine_error",
    }
    with engine(tmp_path, server.url) as running:
        answers = ask(running, list(failures))
    assert dict(zip(failures, (answer.failure for answer in answers), strict=True)) == failures
    assert answers[list(failures).index("[[think]]")].reasoning == 'The user says {"level": 9}.\nHm.'
    told = repr(answers) + "".join(path.read_text() for path in tmp_path.iterdir())
    assert KEY not in told
    assert "[key]" in told


def test_chats_and_embeddings_go_into_batches_of_their_own(server: Server, tmp_path: Path) -> None:
    with engine(tmp_path, server.url) as running:
        vector = running.submit(Request((("user", "x"),), "embed@1", kind="embedding"))
        [answer] = ask(running, ["x"])
        assert (answer.failure, vector.result(timeout=20).failure) == (None, None)
    assert server.stats()["batches"] == 2


def test_equal_requests_are_sent_once(server: Server, tmp_path: Path) -> None:
    with engine(tmp_path, server.url) as running:
        assert [answer.text for answer in ask(running, ["same"] * 3)] == [expected("same")] * 3
    assert server.stats()["total"] == 1


@pytest.mark.parametrize(("bound", "value"), [("MOST_REQUESTS", 3), ("MOST_BYTES", 700)])
def test_a_batch_holds_no_more_than_it_may(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    monkeypatch.setattr(openai_batch, bound, value)
    prompts = [f"prompt {number}" for number in range(10)]
    with engine(tmp_path, server.url) as running:
        assert [answer.text for answer in ask(running, prompts)] == [expected(prompt) for prompt in prompts]
    assert server.stats()["batches"] == 4


@pytest.mark.parametrize(
    ("end", "failure"), [("expired", "timeout"), ("cancelled", "server_error"), ("failed", "bad_request")]
)
def test_a_batch_that_ends_otherwise_fails_what_it_did_not_answer(
    server: Server, tmp_path: Path, end: str, failure: str
) -> None:
    server.control(batch_end=end)
    prompts = [f"prompt {number}" for number in range(10)]
    with engine(tmp_path, server.url) as running:
        answers = ask(running, prompts)
        answered = 0 if end == "failed" else 5
        assert [answer.text for answer in answers] == [expected(p) for p in prompts[:answered]] + [""] * (10 - answered)
        assert {answer.failure for answer in answers[answered:]} == {failure}
        assert all(end.replace("expired", "in time") in (answer.detail or "") for answer in answers[answered:])
        server.control(batch_end="completed")
        again = ask(running, prompts)
    assert [answer.text for answer in again] == [expected(prompt) for prompt in prompts]
    assert server.stats()["batches"] == 2


def test_a_killed_process_collects_the_batch_it_has_paid_for(server: Server, tmp_path: Path) -> None:
    server.control(batch_polls=10_000)
    program = (
        "import sys; from pathlib import Path\n"
        "from transforms.models import openai_batch\n"
        "from transforms.models.settings import OpenAISettings as S\n"
        "from schemas.answers import Request as R\n"
        "openai_batch.QUIET = 0.1\n"
        "e = openai_batch.OpenAIBatchEngine(S.model_validate_json(sys.argv[1]), Path(sys.argv[2]))\n"
        "for n in range(20): f = e.submit(R((('user', f'prompt {n}'),), 'judge@1', '{\"max_tokens\":64,\"seed\":7}'))\n"
        "f.result()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, settings(server.url).model_dump_json(), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        eventually(lambda: any(json.loads(path.read_text())["batch"] for path in tmp_path.glob("*.json")))
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    server.control(batch_polls=2)
    prompts = [f"prompt {number}" for number in range(10, 30)]
    with engine(tmp_path, server.url) as running:
        assert [answer.text for answer in ask(running, prompts)] == [expected(prompt) for prompt in prompts]
    seen = server.stats()
    assert seen["batches"] == 2
    assert set(seen["prompts"]) == {f"prompt {number}" for number in range(30)}
    assert set(seen["prompts"].values()) == {1}


def test_a_batch_whose_name_was_never_heard_is_found_by_its_note(server: Server, tmp_path: Path) -> None:
    with engine(tmp_path, server.url) as running:
        ask(running, ["x"])
    [path] = tmp_path.glob("*.json")
    note = json.loads(path.read_text())
    path.write_text(json.dumps({**note, "batch": None}))
    with engine(tmp_path, server.url) as running:
        assert [answer.text for answer in ask(running, ["x"])] == [expected("x")]
    assert server.stats()["batches"] == 1
    assert json.loads(path.read_text()) == note


def test_a_batch_the_provider_knows_no_more_is_sent_anew(server: Server, tmp_path: Path) -> None:
    with engine(tmp_path, server.url) as running:
        ask(running, ["x"])
    with started("--key", KEY) as other, engine(tmp_path, other.url) as running:
        assert [answer.text for answer in ask(running, ["x"])] == [expected("x")]
        assert other.stats()["batches"] == 1


def test_a_note_that_was_begun_and_never_sent_is_sent_anew(server: Server, tmp_path: Path) -> None:
    key = openai_batch.request_key(
        openai_batch.canonical(engines.identity(settings(server.url))),
        chat("x"),
    )
    openai_batch.Note("name", server.url, "chat", [key]).write(tmp_path)
    with engine(tmp_path, server.url) as running:
        assert [answer.text for answer in ask(running, ["x"])] == [expected("x")]
    assert server.stats()["batches"] == 1


def test_an_address_without_batches_loses_no_batch(server: Server, tmp_path: Path) -> None:
    with engine(tmp_path, server.url) as running:
        ask(running, ["x"])
    elsewhere = ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler)  # 404 to GET, 501 to POST
    threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
    try:
        with engine(tmp_path, f"http://127.0.0.1:{elsewhere.server_port}/v9") as running:
            assert [answer.failure for answer in ask(running, ["x"])] == ["server_error"]
    finally:
        elsewhere.shutdown()
        elsewhere.server_close()
    with engine(tmp_path, server.url) as running:
        assert [answer.text for answer in ask(running, ["x"])] == [expected("x")]
    assert server.stats()["batches"] == 1


def test_a_note_never_holds_a_password(tmp_path: Path) -> None:
    with started() as server, engine(tmp_path, server.url.replace("//", "//me:pass-word@")) as running:
        ask(running, ["x"])
        [note] = openai_batch.notes(tmp_path)
        assert note.base == server.url


def test_keys_are_struck_off_a_note_and_with_the_last_the_note(tmp_path: Path) -> None:
    openai_batch.Note("name", "http://127.0.0.1:9/v1", "chat", ["a", "b", "c"], "batch_1").write(tmp_path)
    openai_batch.strike(tmp_path, "name", ["b"])
    openai_batch.strike(tmp_path, "none", ["b"])
    assert [note.keys for note in openai_batch.notes(tmp_path)] == [["a", "c"]]
    openai_batch.strike(tmp_path, "name", ["a", "c"])
    assert list(tmp_path.iterdir()) == []


def test_what_failed_is_a_new_request_when_it_is_asked_again(server: Server, tmp_path: Path) -> None:
    with engine(tmp_path, server.url) as running:
        assert [answer.failure for answer in ask(running, ["[[500=0:1]]", "good"])] == ["server_error", None]
    with engine(tmp_path, server.url) as running:
        assert [answer.failure for answer in ask(running, ["[[500=0:1]]", "good"])] == [None, None]
    assert server.stats()["prompts"] == {"[[500=0:1]]": 2, "good": 1}


def test_a_wrong_key_fails_everything_and_leaves_no_note(tmp_path: Path) -> None:
    with started("--key", "another") as server, engine(tmp_path, server.url) as running:
        answers = ask(running, ["x", "y"])
    assert {(answer.failure, answer.detail) for answer in answers} == {
        ("authentication", "401: Incorrect API key provided: Bearer [key].")
    }
    assert list(tmp_path.iterdir()) == []


def test_a_dead_address_is_passed_over(server: Server, tmp_path: Path) -> None:
    with engine(tmp_path, "http://127.0.0.1:9/v1", server.url) as running:
        assert [answer.failure for answer in ask(running, ["x"])] == [None]
    with engine(tmp_path, "http://127.0.0.1:9/v1") as running:
        assert [answer.failure for answer in ask(running, ["never sent"])] == ["connection"]


def test_a_provider_that_is_gone_fails_in_time_and_the_note_stays(server: Server, tmp_path: Path) -> None:
    server.control(batch_polls=10_000)
    with engine(tmp_path, server.url, timeout=0.2) as running:
        future = running.submit(chat("x"))
        eventually(lambda: any(json.loads(path.read_text())["batch"] for path in tmp_path.glob("*.json")))
        server.kill()
        assert future.result(timeout=20).failure == "connection"
    assert len(list(tmp_path.glob("*.json"))) == 1


def test_a_closed_engine_fails_what_waits_and_a_later_one_collects_it(server: Server, tmp_path: Path) -> None:
    server.control(batch_polls=10_000)
    running = OpenAIBatchEngine(settings(server.url), tmp_path)
    future = running.submit(chat("x"))
    eventually(lambda: any(json.loads(path.read_text())["batch"] for path in tmp_path.glob("*.json")))
    running.close()
    assert [one.result(timeout=1).failure for one in (future, running.submit(chat("y")))] == ["engine_error"] * 2
    server.control(batch_polls=0)
    with engine(tmp_path, server.url) as later:
        assert [answer.text for answer in ask(later, ["x"])] == [expected("x")]
    assert server.stats()["batches"] == 1


def test_a_note_that_cannot_be_read_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "torn.json").write_text('{"name": ')
    with engine(tmp_path, server.url) as running:
        [answer] = ask(running, ["x"])
    assert answer.failure == "engine_error"
    assert "torn.json" in (answer.detail or "")


def test_results_that_no_provider_keeps_any_more_are_forgotten(tmp_path: Path) -> None:
    note = openai_batch.Note("old", "http://127.0.0.1:9/v1", "chat", ["0" * 32], "batch_1")
    note.write(tmp_path)
    assert list(openai_batch.notes(tmp_path)) == [note]
    os.utime(tmp_path / "old.json", (0, 0))
    assert list(openai_batch.notes(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_the_mode_decides_which_engine_runs(server: Server, tmp_path: Path) -> None:
    running = engines.running(settings(server.url), tmp_path)
    try:
        assert isinstance(running, OpenAIBatchEngine)
        assert engines.running(settings(server.url), tmp_path) is running
    finally:
        running.close()
    with pytest.raises(ValueError, match="folder"):
        engines.running(settings(server.url, model="other"))
