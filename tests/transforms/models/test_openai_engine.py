"""The openai engine against a server in another process that misbehaves in every way a real one has."""

from __future__ import annotations

import base64
import json
import logging
import os
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import closing, contextmanager
from typing import Any

import orjson
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.answers import FAILURES, Answer, Request
from tests.servers import openai_server
from tests.servers.openai_server import Server, started
from transforms.models import openai_api
from transforms.models.openai_client import Secrets, public, retry_after
from transforms.models.openai_engine import OpenAIEngine, identity
from transforms.models.settings import OpenAISettings

KEY = "sk-test-4bcd/EFGH+ijkl_0123456789"
SAMPLING = '{"max_tokens":64,"seed":7,"temperature":0.0,"top_p":1.0}'
SCHEMA = '{"properties":{"level":{"type":"integer"}},"required":["level"],"type":"object"}'


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with started("--record") as running:
        yield running


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)


def settings(*urls: str, **given: Any) -> OpenAISettings:
    fast = {"timeout": 1.0, "max_tries": 3, "max_wait": 0.2, "in_flight": 32}
    return OpenAISettings(
        **{"engine": "openai", "model": "judge", "base_url": urls, "api_key_env": "TEST_KEY", **fast, **given}
    )


@contextmanager
def engine(*urls: str, **given: Any) -> Iterator[OpenAIEngine]:
    with closing(OpenAIEngine(settings(*urls, **given))) as running:
        yield running


def chat(prompt: str, attempt: int = 0) -> Request:
    return Request((("system", "Judge."), ("user", prompt)), "judge@1", SAMPLING, SCHEMA, attempt=attempt)


def ask(running: OpenAIEngine, prompts: list[str]) -> list[Answer]:
    futures = [running.submit(chat(prompt)) for prompt in prompts]
    return [future.result(timeout=60) for future in futures]


def expected(prompt: str) -> str:
    """What the server answers when it behaves."""
    return openai_server.label(
        orjson.dumps([{"role": "system", "content": "Judge."}, {"role": "user", "content": prompt}])
    )


def eventually(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


NEIGHBOURS = [f"neighbour {number}" for number in range(12)]


def among_neighbours(running: OpenAIEngine, prompt: str) -> Answer:
    """The answer to a prompt that is asked amid others, which are answered as if it were not there."""
    *first, answer = ask(running, [*NEIGHBOURS, prompt])
    assert [one.text for one in first] == [expected(one) for one in NEIGHBOURS]
    return answer


@pytest.mark.parametrize(
    "trouble",
    "409 429 429-after=0.2 429-date=1 500 503 reset reset-amid hang trickle truncated not-json wrong-shape error-200".split(),
)
def test_what_may_pass_is_tried_again_and_answered(server: Server, trouble: str) -> None:
    marker = f"[[{trouble}:1]]" if "=" in trouble else f"[[{trouble}=0:1]]"
    prompt = f"{marker} {time.time()}"
    with engine(server.url, max_tries=4) as running:
        answer = among_neighbours(running, prompt)
    assert (answer.failure, answer.text, answer.tries) == (None, expected(prompt), 2)


@pytest.mark.parametrize(
    ("trouble", "failure", "tries"),
    [
        ("429", "rate_limited", 3),
        ("500", "server_error", 3),
        ("503", "server_error", 3),
        ("409", "server_error", 3),
        ("error-200", "server_error", 3),
        ("reset", "connection", 3),
        ("reset-amid", "connection", 3),
        ("hang", "timeout", 3),
        ("trickle", "timeout", 3),
        ("truncated", "malformed_response", 3),
        ("not-json", "malformed_response", 3),
        ("wrong-shape", "malformed_response", 3),
        ("huge", "answer_too_long", 1),
        ("huge=1", "answer_too_long", 1),
        ("expired-key", "authentication", 1),
        ("403", "authentication", 1),
        ("unknown-model", "unknown_model", 1),
        ("unknown-model-400", "unknown_model", 1),
        ("too-long", "context_too_long", 1),
        ("too-long-vllm", "context_too_long", 1),
        ("413", "context_too_long", 1),
        ("400", "bad_request", 1),
        ("content-filter", "bad_request", 1),
    ],
)
def test_what_does_not_pass_is_a_named_failure_of_that_request_alone(
    server: Server, trouble: str, failure: str, tries: int
) -> None:
    with engine(server.url, timeout=0.4 if trouble in ("hang", "trickle") else 5.0) as running:
        answer = among_neighbours(running, f"[[{trouble}]]")
    assert (answer.failure, answer.tries, answer.text) == (failure, tries, "")
    assert answer.failure in FAILURES
    assert answer.detail
    assert answer.detail.startswith("127.0.0.1: ")


@pytest.mark.parametrize(
    ("marker", "text", "reasoning", "finish_reason"),
    [
        ("think", "GOOD", 'The user says {"level": 9}.\nHm.', "stop"),
        ("think-open", "", "The user says", "length"),
        ("in-reasoning", "", "So the answer is GOOD", "stop"),
        ("parts", "GOOD", "Hm.", "stop"),
        ("empty", "", None, "stop"),
        ("null", "", None, "stop"),
        ("nan", "GOOD", None, "stop"),
        ("nan-answer", '{"level": NaN, "reason": "x"}', None, "stop"),
        ("surrogate", "?GOOD", None, "stop"),
        ("refusal", "I cannot help with that.", None, "refusal"),
        ("prose", "Here is my judgement: GOOD I hope this helps!", None, "stop"),
        ("fenced", "```json\nGOOD\n```", None, "stop"),
        ("wrong-schema", '{"level": "high", "why": 7}', None, "stop"),
    ],
)
def test_answers_come_as_the_model_gave_them_and_thinking_apart(
    server: Server, marker: str, text: str, reasoning: str | None, finish_reason: str
) -> None:
    prompt = f"[[{marker}]]"
    with engine(server.url) as running:
        answer = among_neighbours(running, prompt)
    assert (answer.failure, answer.tries, answer.finish_reason) == (None, 1, finish_reason)
    assert answer.text == text.replace("GOOD", expected(prompt))
    assert answer.reasoning == (reasoning and reasoning.replace("GOOD", expected(prompt)))


def test_a_cut_answer_says_so_and_tokens_and_time_are_counted(server: Server) -> None:
    with engine(server.url) as running:
        [answer] = ask(running, ["[[length]] count"])
    assert answer.finish_reason == "length"
    assert answer.input_tokens > 10
    assert answer.output_tokens > 5
    assert 0 < answer.latency < 1


def test_the_key_is_sent_and_told_nowhere(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    prompts = [f"[[{name}]]" for name in openai_server.MISBEHAVIOURS]
    given = settings(server.url, timeout=0.5, max_tries=2)
    server.control(forget=True)
    with closing(OpenAIEngine(given)) as running:
        answers = ask(running, prompts)
        shown = repr(running) + repr(vars(running)) + repr(given) + given.model_dump_json() + str(identity(given))
    assert set(server.stats()["keys"]) == {f"Bearer {KEY}"}
    expired = answers[prompts.index("[[expired-key]]")]
    assert expired.detail == "127.0.0.1: 401: Incorrect API key provided: Bearer [key]. It has expired."
    assert "your header was Bearer [key]" in answers[prompts.index("[[echo-key]]")].text
    assert KEY not in shown + repr(answers) + caplog.text
    assert json.dumps(KEY)[1:-1] not in repr(answers)


@pytest.mark.parametrize("told", [KEY, KEY.replace("/", "\\/"), "pass-word"])
def test_secrets_are_taken_out_of_whatever_an_endpoint_says(told: str) -> None:
    hidden = Secrets(settings("http://me:pass-word@127.0.0.1:1/v1"))
    answer = hidden.cleared(Answer(detail="x" * 480 + told, failure="bad_request"))
    assert answer.detail == "x" * 480 + "[key]"
    spoken = hidden.cleared(
        openai_api.answer("chat", 200, b'{"choices":[{"message":{"content":"%s"}}]}' % told.encode())
    )
    assert spoken.text == ("pass-word" if told == "pass-word" else "[key]")


def test_a_short_key_is_a_word_like_others_in_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", "EMPTY")
    said = Secrets(settings("http://a/v1")).cleared(Answer(text="EMPTY", detail="EMPTY"))
    assert (said.text, said.detail) == ("EMPTY", "[key]")


def test_without_a_key_no_header_is_sent(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_KEY")
    server.control(forget=True)
    with engine(server.url) as running:
        ask(running, ["no key"])
    assert set(server.stats()["keys"]) == {""}


def test_a_key_that_no_header_can_hold_is_refused_and_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", "sk-two\nlines")
    with pytest.raises(ValueError, match=r"\$TEST_KEY") as caught:
        OpenAIEngine(settings("http://127.0.0.1:9/v1"))
    assert "sk-two" not in "".join(traceback.format_exception(caught.value)) + str(caught.value.__context__)


def bodies(server: Server, request: Request, **given: Any) -> dict[str, Any]:
    """The body the server gets of a request."""
    server.control(forget=True)
    with engine(server.url, **given) as running:
        assert running.submit(request).result(timeout=20).failure is None
    [body] = server.stats()["bodies"]
    assert isinstance(body, dict)
    return body


def test_the_whole_request_is_sent(server: Server) -> None:
    assert bodies(server, chat("hello", attempt=2), extra_body={"top_k": 5, "top_p": 0.5}) == {
        "model": "judge",
        "messages": [{"role": "system", "content": "Judge."}, {"role": "user", "content": "hello"}],
        "max_tokens": 64,
        "seed": 9,
        "temperature": 0.0,
        "top_p": 0.5,
        "top_k": 5,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": json.loads(SCHEMA)},
        },
    }


def test_fields_can_be_left_out_and_json_be_asked_for_otherwise(server: Server) -> None:
    given = bodies(server, chat("hello"), structured="json_object", extra_body={"max_tokens": None, "seed": None})
    assert given["response_format"] == {"type": "json_object"}
    assert not {"max_tokens", "seed"} & set(given)
    assert "response_format" not in bodies(server, chat("hello"), structured="none")
    assert "seed" not in bodies(server, Request((("user", "x"),), "t@1", '{"seed":null}', attempt=1))


def test_a_field_the_endpoint_does_not_know_is_left_out_or_renamed_from_then_on() -> None:
    with started("--record", "--reject", "max_tokens,seed,temperature") as server, engine(server.url) as running:
        first = ask(running, ["first"])
        server.control(forget=True)
        later = ask(running, [f"later {number}" for number in range(20)])
        seen = server.stats()
    assert [answer.failure for answer in first + later] == [None] * 21
    assert seen["total"] == 20
    for body in seen["bodies"]:
        assert body["max_completion_tokens"] == 64
        assert not {"max_tokens", "seed", "temperature"} & set(body)


def test_an_endpoint_that_takes_no_schema_is_asked_without_and_the_answer_is_validated_as_ever() -> None:
    with started("--record", "--reject", "response_format") as server, engine(server.url) as running:
        request = Request((("user", "x"),), "t@1", schema='{"type":"object"}')
        answer = running.submit(request).result(timeout=20)
        (body,) = server.stats()["bodies"][-1:]
    assert answer.failure is None
    assert "response_format" not in body


def test_a_field_the_config_insists_on_is_not_left_out() -> None:
    with started("--reject", "seed") as server, engine(server.url, extra_body={"seed": 3}) as running:
        [answer] = ask(running, ["x"])
    assert answer.failure == "bad_request"


@pytest.mark.parametrize("options", [(), ("--reject", "encoding_format")])
def test_embeddings_come_in_base64_or_as_numbers(options: tuple[str, ...]) -> None:
    with started(*options) as server, engine(server.url) as running:
        [answer] = [
            running.submit(Request((("user", "你好"),), "embed@1", kind="embedding")).result(timeout=20) for _ in [1]
        ]
    vector = struct.unpack("<8f", base64.b64decode(answer.text))
    body = json.loads(openai_server.embedding({"input": "你好"}))
    assert vector == pytest.approx(body["data"][0]["embedding"], abs=1e-6)
    assert answer.failure is None


@pytest.mark.parametrize("vector", ["!!", "AAA=", [], [1.0, None], [[1.0]], ["x"], "AADAfw==", {"a": 1}, None, 7])
def test_a_vector_that_is_none_is_a_malformed_response(vector: Any) -> None:
    content = orjson.dumps({"data": [{"embedding": vector}]})
    assert openai_api.answer("embedding", 200, content).failure == "malformed_response"


def test_submissions_from_many_threads_get_their_own_answers(server: Server) -> None:
    answers: dict[str, Future[Answer]] = {}
    with engine(server.url, timeout=20) as running:

        def submit(thread: int) -> None:
            for number in range(200):
                prompt = f"{thread}-{number}"
                answers[prompt] = running.submit(chat(prompt))

        threads = [threading.Thread(target=submit, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait(answers.values(), timeout=60)
    assert {prompt: future.result().text for prompt, future in answers.items()} == {
        prompt: expected(prompt) for prompt in answers
    }


def test_requests_at_once_are_bounded() -> None:
    with started("--latency", "0.05") as server, engine(server.url, in_flight=7) as running:
        ask(running, [str(number) for number in range(50)])
        assert server.stats()["max_concurrent"] == 7


def test_a_request_that_cannot_be_sent_fails_alone(server: Server) -> None:
    with engine(server.url) as running:
        assert among_neighbours(running, "\ud800").failure == "engine_error"
        broken = running.submit(Request((("user", "x"),), "t@1", "not json"))
        assert broken.result(timeout=20).failure == "engine_error"


def test_one_of_two_servers_dies_and_every_request_is_answered() -> None:
    slow = ("--latency", "0.02")
    with started(*slow) as first, started(*slow) as second, engine(first.url, second.url) as running:
        futures = [running.submit(chat(str(number))) for number in range(1500)]
        eventually(lambda: first.stats()["answered"] > 100)
        assert second.stats()["answered"] > 50
        first.kill()
        answers = [future.result(timeout=60) for future in futures]
    assert [answer.text for answer in answers] == [expected(str(number)) for number in range(1500)]


def test_an_address_that_is_dead_or_rejects_the_key_leaves_the_rest_to_the_other() -> None:
    dead = "http://127.0.0.1:9/v1"
    with started() as good, started("--key", "other") as other, engine(dead, other.url, good.url) as running:
        answers = ask(running, [str(number) for number in range(300)])
        spared = other.stats()["total"]
    assert [answer.failure for answer in answers] == [None] * 300
    assert spared < 150


def test_where_every_address_rejects_the_key_requests_fail_at_once() -> None:
    with started("--key", "a") as first, started("--key", "b") as second, engine(first.url, second.url) as running:
        begin = time.monotonic()
        answers = ask(running, [str(number) for number in range(300)])
    assert {answer.failure for answer in answers} == {"authentication"}
    assert time.monotonic() - begin < 5


def test_requests_outlast_a_server_that_is_away_for_a_while() -> None:
    with started("--latency", "0.02") as server, engine(server.url, max_wait=1.0, max_tries=6) as running:
        futures = [running.submit(chat(str(number))) for number in range(600)]
        eventually(lambda: server.stats()["answered"] > 100)
        server.kill()
        time.sleep(1.5)
        with started(port=int(server.url.split(":")[2].split("/")[0])):
            answers = [future.result(timeout=60) for future in futures]
    assert [answer.failure for answer in answers] == [None] * 600


def test_a_server_that_never_comes_fails_everything_in_time() -> None:
    begin = time.monotonic()
    with engine("http://127.0.0.1:9/v1") as running:
        answers = (
            ask(running, [str(number) for number in range(2000)])
            + ask(running, ["one more"])
            + ask(running, ["and another"])
        )
    assert {answer.failure for answer in answers} == {"connection"}
    assert "refused" in (answers[0].detail or "")
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize("trouble", ["429-after=1", "429-date=2"])
def test_an_endpoint_that_asks_for_time_gets_it_from_every_request(server: Server, trouble: str) -> None:
    server.control(forget=True)
    prompt = f"[[{trouble}:1]] {time.time()}"
    with engine(server.url, max_wait=10.0) as running:
        first = running.submit(chat(prompt))
        eventually(lambda: server.stats()["total"] == 1)
        time.sleep(0.1)
        others = ask(running, ["after the refusal", "after it too"])
        assert first.result(timeout=20).tries == 2
    assert [answer.tries for answer in others] == [1, 1]
    times = server.stats()["arrivals"]
    refused, again = times[prompt]
    for arrival in (again, *times["after the refusal"], *times["after it too"]):
        assert 0.95 <= arrival - refused < 4.0


def test_the_time_an_endpoint_asks_for_is_cut_to_the_longest_wait(server: Server) -> None:
    begin = time.monotonic()
    with engine(server.url, max_wait=0.3) as running:
        [answer] = ask(running, [f"[[429-after=3600:1]] {begin}"])
    assert answer.failure is None
    assert 0.28 < time.monotonic() - begin < 3


@pytest.mark.parametrize("options", [("--retry-after", "0.3"), ()])
def test_a_storm_of_refusals_passes(options: tuple[str, ...]) -> None:
    with started("--storm", "429:60", *options) as server, engine(server.url, max_tries=6) as running:
        answers = ask(running, [str(number) for number in range(400)])
        seen = server.stats()
    assert [answer.text for answer in answers] == [expected(str(number)) for number in range(400)]
    assert seen["total"] == 460


def test_an_endpoint_gets_no_more_than_it_takes_and_all_again_when_it_recovers() -> None:
    with (
        started("--latency", "0.02", "--capacity", "8") as server,
        engine(server.url, in_flight=64, max_tries=12, timeout=10) as running,
    ):
        ask(running, [f"warm {number}" for number in range(300)])
        server.control(forget=True)
        narrow = ask(running, [f"narrow {number}" for number in range(400)])
        crowded = server.stats()
        server.control(capacity=0)
        ask(running, [f"recovering {number}" for number in range(1200)])
        server.control(forget=True)
        ask(running, [f"wide {number}" for number in range(200)])
        recovered = server.stats()
    assert [answer.failure for answer in narrow] == [None] * 400
    assert crowded["max_concurrent"] <= 32
    assert crowded["total"] < 700
    assert recovered["max_concurrent"] == 64


def test_scattered_troubles_cost_no_answer(server: Server) -> None:
    server.control(misbehave={"429": 0.05, "500": 0.05, "reset": 0.05, "truncated": 0.05, "reset-amid": 0.05}, seed=3)
    try:
        with engine(server.url, max_tries=10, timeout=10) as running:
            answers = ask(running, [str(number) for number in range(600)])
    finally:
        server.control(misbehave={})
    assert [answer.text for answer in answers] == [expected(str(number)) for number in range(600)]
    assert max(answer.tries for answer in answers) > 1


def test_huge_answers_stay_out_of_memory(server: Server) -> None:
    process = psutil.Process()
    with engine(server.url, in_flight=16, max_answer_bytes=1 << 16, timeout=60) as running:
        ask(running, ["[[huge]] warm", "[[huge=1]] warm"])
        before = peak = process.memory_info().rss
        futures = [running.submit(chat(f"[[huge{kind}]] {number}")) for number in range(30) for kind in ("", "=1")]
        while not all(future.done() for future in futures):
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.002)
    assert {future.result().failure for future in futures} == {"answer_too_long"}
    assert peak - before < 48 * 1024 * 1024


def test_a_closed_engine_fails_what_is_under_way_and_what_comes_after() -> None:
    with started("--latency", "30") as server:
        running = OpenAIEngine(settings(server.url, in_flight=2, timeout=60))
        futures = [running.submit(chat(str(number))) for number in range(10)]
        eventually(lambda: server.stats()["concurrent"] == 2)
        running.close()
        running.close()
        answers = [future.result(timeout=1) for future in (*futures, running.submit(chat("late")))]
    assert {(answer.failure, answer.detail) for answer in answers} == {("engine_error", "the engine was closed")}


def test_a_process_ends_with_an_engine_open(server: Server) -> None:
    program = (
        "import sys; from transforms.models.openai_engine import OpenAIEngine as E\n"
        "from transforms.models.settings import OpenAISettings as S\n"
        "from schemas.answers import Request as R\n"
        "e = E(S(engine='openai', model='m', base_url=sys.argv[1]))\n"
        "print(e.submit(R((('user', 'x'),), 't@1')).result().failure)\n"
        "e.submit(R((('user', '[[hang]]'),), 't@1'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, server.url],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "None\n", "")


def test_what_decides_no_answer_is_not_in_the_identity() -> None:
    plain = identity(settings("http://127.0.0.1:1/v1"))
    moved = settings(
        "http://a/v1", "http://b/v1", api_key_env="OTHER", in_flight=3, mode="batch", price={"input": 2.0}, timeout=9
    )
    assert identity(moved) == plain
    assert identity(settings("http://a/v1", extra_body={"user": "me", "service_tier": "flex"})) == plain
    others = [{"model": "other"}, {"revision": "2"}, {"structured": "none"}, {"extra_body": {"top_k": 5}}]
    assert all(identity(settings("http://a/v1", **other)) != plain for other in others)


def test_an_address_is_told_without_what_may_be_secret_in_it() -> None:
    assert public("https://me:word@host:8000/v1?key=secret") == "https://host:8000/v1"


def test_a_base_address_keeps_its_query() -> None:
    assert openai_api.address("http://a/v1/", "files") == "http://a/v1/files"
    assert openai_api.address("http://a/v1?api-version=2", "files") == "http://a/v1/files?api-version=2"


@pytest.mark.parametrize(
    ("text", "apart"),
    [
        ("<think>a</think>b", ("b", "a")),
        ("\n<think>\na\n</think>\n\nb ", ("b ", "a")),
        ("<think>a", ("", "a")),
        ("a</think>b", ("b", "a")),
        ('{"x": "</think>"}', ('{"x": "</think>"}', "")),
        ('{"x": "<think>a</think>"}', ('{"x": "<think>a</think>"}', "")),
        ("b", ("b", "")),
    ],
)
def test_thinking_is_told_from_the_answer(text: str, apart: tuple[str, str]) -> None:
    assert openai_api.thinking(text) == apart


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(
            "choices message content usage error code text thinking data embedding finish_reason prompt_tokens".split()
        )
        | st.text(),
        inner,
    ),
    max_leaves=20,
)  # fmt: skip


@given(
    st.sampled_from(["chat", "embedding"]),
    st.sampled_from([200, 301, 400, 404, 429, 500]),
    JSON.map(json.dumps) | st.binary(),
)
def test_any_response_is_an_answer_or_a_named_failure(kind: str, status: int, content: str | bytes) -> None:
    answer = openai_api.answer(kind, status, content.encode() if isinstance(content, str) else content)
    assert answer.failure is None or answer.failure in FAILURES
    assert answer.failure is None or status == 200 or not answer.text
    for text in (answer.text, answer.reasoning, answer.finish_reason, answer.detail):
        (text or "").encode()


@given(st.text() | st.floats().map(str) | st.integers().map(str))
def test_any_retry_after_is_seconds_or_nothing(value: str) -> None:
    class Told:
        def get_header(self, name: str) -> str | None:
            return value if name == "retry-after" else None

    seconds = retry_after(Told())
    assert seconds is None or 0 <= seconds < float("inf")


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="threads cannot be held to a core here")
@pytest.mark.skipif(os.cpu_count() == 1, reason="wants two cores")
def test_the_engines_threads_share_a_core_and_their_starter_has_all(server: Server) -> None:
    allowed = os.sched_getaffinity(0)
    script = """if True:
        import os, sys
        from schemas.answers import Request
        from transforms.models.openai_engine import OpenAIEngine
        from transforms.models.settings import OpenAISettings
        import psutil
        engine = OpenAIEngine(OpenAISettings(engine="openai", model="judge", base_url=(sys.argv[1],)))
        assert engine.submit(Request((("user", "?"),), "t@1")).result().failure is None
        print([sorted(os.sched_getaffinity(one.id)) for one in psutil.Process().threads()])
        """
    done = subprocess.run([sys.executable, "-c", script, server.url], capture_output=True, text=True, check=True)
    held = json.loads(done.stdout)
    alone = [cores for cores in held if len(cores) == 1]
    assert len(alone) >= 2 and all(cores == alone[0] for cores in alone)
    assert sorted(allowed) in held
