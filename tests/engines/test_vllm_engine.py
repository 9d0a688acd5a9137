"""The vllm engine, in this process and on the CPU, against real checkpoints that are made here."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from schemas.answers import Answer, Request, canonical
from tests.engines import tiny_checkpoint
from tests.engines.asking import SCHEMA, fits_schema, question, threads
from transforms.models import engines
from transforms.models.checkpoints import CheckpointError
from transforms.models.settings import VLLMSettings
from transforms.models.vllm_engine import VLLMEngine, identity

pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(find_spec("vllm") is None, reason="no vllm here: make engines"),
]

SMALL = {"enforce_eager": True, "kv_cache_memory_bytes": 2**26}


def settings(model: Path, **more: Any) -> VLLMSettings:
    options = SMALL | more.pop("options", {})
    return VLLMSettings(
        engine="vllm", model=str(model), **({"dtype": "float32", "in_flight": 8} | more), options=options
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint.random_checkpoint(tmp_path_factory.mktemp("babble"), ends=False)


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> Iterator[VLLMEngine]:
    engine = VLLMEngine(settings(checkpoint))
    yield engine
    engine.close()


def answers(engine: VLLMEngine, requests: list[Request]) -> list[Answer]:
    return [future.result(120) for future in [engine.submit(request) for request in requests]]


def test_more_requests_than_fit_are_all_answered(engine: VLLMEngine) -> None:
    assert engine.in_flight == 8
    found = answers(engine, [question(f"Number {number}", max_tokens=1 + number % 7) for number in range(40)])
    assert [answer.failure for answer in found] == [None] * 40
    assert [answer.output_tokens for answer in found] == [1 + number % 7 for number in range(40)]
    assert len({answer.text for answer in found}) > 20
    assert all(answer.input_tokens > 5 and answer.latency > 0 for answer in found)


def test_answers_at_temperature_0_are_those_of_vllm_itself(engine: VLLMEngine, checkpoint: Path) -> None:
    texts = [f"What about {number} foxes?" for number in range(12)]
    ours = answers(engine, [question(text) for text in texts])
    code = (
        "import sys, json\n"
        "from vllm import LLM, SamplingParams\n"
        "if __name__ == '__main__':\n"
        f"    model = LLM({str(checkpoint)!r}, dtype='float32', enforce_eager=True, kv_cache_memory_bytes=2**26, max_num_seqs=8)\n"
        f"    chats = [[{{'role': 'user', 'content': text}}] for text in {texts!r}]\n"
        "    found = model.chat(chats, SamplingParams(temperature=0, max_tokens=24), use_tqdm=False)\n"
        "    print('FOUND', json.dumps([one.outputs[0].text for one in found]))\n"
    )
    assert [answer.text for answer in ours] == [text.rstrip("\ufffd") for text in run(code)["FOUND"]]


def test_a_schema_holds_the_answer(engine: VLLMEngine) -> None:
    found = answers(
        engine,
        [question(f"{number}?", schema=SCHEMA, temperature=1, max_tokens=200, seed=number) for number in range(8)],
    )
    assert all(fits_schema(answer.text) and answer.finish_reason == "stop" for answer in found)


def test_the_seed_and_the_attempt_decide_the_draw(engine: VLLMEngine) -> None:
    request = question("Draw", temperature=1.0, seed=7)
    first, same, again = answers(engine, [request, request, request.again()])
    assert first.text == same.text != again.text


def test_an_answer_that_is_cut_off_says_so(engine: VLLMEngine) -> None:
    (answer,) = answers(engine, [question("Go on", max_tokens=5)])
    assert (answer.finish_reason, answer.output_tokens) == ("length", 5)


def test_an_answer_ends_where_the_context_ends(engine: VLLMEngine) -> None:
    (answer,) = answers(engine, [question("Go on", max_tokens=100_000)])
    assert answer.finish_reason == "length"
    assert answer.input_tokens + answer.output_tokens == 512


def test_bad_requests_fail_alone(engine: VLLMEngine) -> None:
    bad = {
        "context_too_long": [question("word " * 2000)],
        "bad_request": [
            question("half a character: \ud800"),
            question("a token of no model: " + tiny_checkpoint.OUTSIDE),
            question("bad schema", schema='{"type":"nonsense"}'),
            question("bad sampling", temperature=-1),
            Request((("user", "no JSON"),), "test@1", "{"),
            Request((("user", "text"),), "test@1", kind="embedding"),
        ],
    }
    good = [question(f"Neighbour {number}") for number in range(6)]
    expected = [answer.text for answer in answers(engine, good)]
    wrong = [(failure, request) for failure, requests in bad.items() for request in requests]
    futures = [
        engine.submit(request)
        for pair in zip([one for _, one in wrong], good + good[:1], strict=True)
        for request in pair
    ]
    found = [future.result(120) for future in futures]
    assert [answer.failure for answer in found[::2]] == [failure for failure, _ in wrong]
    assert all(answer.detail and "\n" not in answer.detail for answer in found[::2])
    assert [answer.text for answer in found[1::2]] == [*expected, expected[0]]


def test_a_request_joins_those_under_way(engine: VLLMEngine) -> None:
    long = [engine.submit(question(f"Tell me all of {number}", max_tokens=400)) for number in range(4)]
    started = engine.submit(question("Begun?", max_tokens=1)).result(120)
    later = engine.submit(question("And me?", max_tokens=3)).result(120)
    assert not any(future.done() for future in long)
    assert started.failure is later.failure is None
    assert [future.result(120).output_tokens for future in long] == [400] * 4


def test_whoever_takes_an_answer_slowly_does_not_hold_up_the_model(engine: VLLMEngine) -> None:
    taken = threading.Event()
    slow = engine.submit(question("Slow taker", max_tokens=1))
    slow.add_done_callback(lambda _: taken.wait(60))
    later = engine.submit(question("Later", max_tokens=20))
    time.sleep(4)
    assert slow.done() and not later.done()
    taken.set()
    assert later.result(120).failure is None
    assert later.result().latency < 3


def test_the_context_can_be_shortened(checkpoint: Path) -> None:
    with_short = settings(checkpoint, max_model_len=64)
    assert identity(with_short) != identity(settings(checkpoint))
    engine = VLLMEngine(with_short)
    try:
        long, short = answers(engine, [question("word " * 60), question("x", max_tokens=3)])
    finally:
        engine.close()
    assert (long.failure, short.failure) == ("context_too_long", None)


def test_closing_ends_requests_under_way(checkpoint: Path) -> None:
    engine = VLLMEngine(settings(checkpoint, in_flight=2))
    futures = [engine.submit(question(f"Long {number}", max_tokens=450)) for number in range(8)]
    engine.submit(question("Begun?", max_tokens=1))
    engine.close()
    assert all(future.done() for future in futures)
    assert {future.result().failure for future in futures} <= {None, "engine_error"}
    assert futures[-1].result().failure == "engine_error"
    assert "closed" in str(futures[-1].result().detail)
    assert engine.submit(question("Too late")).result(1).failure == "engine_error"
    engine.close()


def test_a_step_that_breaks_fails_those_inside_and_the_next_are_answered(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.engines.exploding import TEMPERATURE

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    engine = VLLMEngine(settings(checkpoint, options={"logits_processors": ["tests.engines.exploding:Exploding"]}))
    try:
        before = engine.submit(question("Before")).result(120)
        broken = engine.submit(question("Break", temperature=TEMPERATURE)).result(120)
        after = engine.submit(question("Before")).result(120)
        assert broken.failure == "engine_error" and "a step that breaks" in str(broken.detail)
        (log,) = [path for path in tmp_path.glob("sluice-vllm-*.log") if str(path) in str(broken.detail)]
        assert log.stat().st_size > 0
        assert after.text == before.text != ""
        for _ in range(6):
            last = engine.submit(question("Break", temperature=TEMPERATURE)).result(120)
        assert "given up" in str(last.detail)
        assert engine.submit(question("Before")).result(120).failure == "engine_error"
    finally:
        engine.close()


@pytest.mark.parametrize(
    "template", [tiny_checkpoint.TEMPLATE, tiny_checkpoint.THINKS], ids=["said", "opened by template"]
)
def test_thinking_is_kept_apart(tmp_path: Path, template: str) -> None:
    said = ["The", "own", "</think>", '{"', "}"]
    if template == tiny_checkpoint.TEMPLATE:
        said = ["<think>", *said]
    model = tiny_checkpoint.scripted_checkpoint(tmp_path, said, template=template)
    engine = VLLMEngine(settings(model))
    try:
        whole, cut, held = answers(
            engine, [question("x"), question("x", max_tokens=2), question("x", schema=SCHEMA, max_tokens=200)]
        )
    finally:
        engine.close()
    assert (whole.reasoning, whole.text, whole.finish_reason) == ("Theown", '{"}', "stop")
    assert (cut.text, cut.finish_reason) == ("", "length")
    assert str(cut.reasoning).startswith("The")
    assert fits_schema(held.text)
    assert held.reasoning == ("Theown" if template == tiny_checkpoint.THINKS else None)


def test_a_checkpoint_that_cannot_be_loaded_is_named(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = threads()
    with pytest.raises(CheckpointError, match="/no/such/model"):
        VLLMEngine(settings(Path("/no/such/model")))
    with pytest.raises(CheckpointError, match=r"vLLM cannot load it: .*fp7.*; its log is") as raised:
        VLLMEngine(settings(checkpoint, options={"quantization": "fp7"}))
    assert "\n" not in str(raised.value)
    assert threads() == before


def test_the_identity_loads_nothing(checkpoint: Path) -> None:
    code = (
        "import sys, json\n"
        "from transforms.models import engines\n"
        "from transforms.models.settings import VLLMSettings\n"
        f"found = engines.identity(VLLMSettings(engine='vllm', model={str(checkpoint)!r}))\n"
        "print('LOADED', json.dumps([name for name in ('torch', 'vllm', 'transformers') if name in sys.modules]))\n"
        "print('FOUND', json.dumps(found))\n"
    )
    found = run(code)
    assert found["LOADED"] == []
    assert found["FOUND"] == engines.identity(VLLMSettings(engine="vllm", model=str(checkpoint)))


def test_the_identity_is_of_what_decides_answers(checkpoint: Path) -> None:
    plain = identity(settings(checkpoint))
    assert plain == identity(
        settings(checkpoint, in_flight=64, options={"gpu_memory_utilization": 0.5, "hf_token": "secret"})
    )
    assert plain != identity(settings(checkpoint, dtype="bfloat16"))
    assert plain != identity(settings(checkpoint, options={"quantization": "fp8"}))
    assert canonical(plain)


def test_nothing_is_printed(checkpoint: Path) -> None:
    code = (
        "from transforms.models import engines\n"
        "from transforms.models.settings import VLLMSettings\n"
        "from schemas.answers import Request\n"
        f"settings = VLLMSettings(engine='vllm', model={str(checkpoint)!r}, dtype='float32', options={SMALL!r})\n"
        "engine = engines.running(settings)\n"
        "assert engine.submit(Request((('user', 'hi'),), 't@1', '{\"max_tokens\":3}')).result(100).failure is None\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def run(code: str) -> dict[str, Any]:
    """What a program in a process of its own printed, by the first word of the line."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.partition(" ") for line in done.stdout.splitlines()]
    return {name: json.loads(value) for name, _, value in lines if name.isupper()}
