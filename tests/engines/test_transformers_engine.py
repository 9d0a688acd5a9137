"""The transformers engine on the CPU, against real checkpoints that are made here."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from schemas.answers import Answer, Request
from tests.engines import tiny_checkpoint
from tests.engines.asking import SCHEMA, fits_schema, question, threads
from transforms.models.checkpoints import CheckpointError
from transforms.models.settings import TransformersSettings
from transforms.models.transformers_engine import TransformersEngine, identity

pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(find_spec("torch") is None, reason="no torch here: make engines"),
]


def settings(model: Path, **more: Any) -> TransformersSettings:
    given = {"dtype": "float32", "device": "cpu", "in_flight": 8} | more
    return TransformersSettings(engine="transformers", model=str(model), **given)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint.random_checkpoint(tmp_path_factory.mktemp("babble"), ends=False)


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> Iterator[TransformersEngine]:
    engine = TransformersEngine(settings(checkpoint))
    yield engine
    engine.close()


def answers(engine: TransformersEngine, requests: list[Request]) -> list[Answer]:
    return [future.result(120) for future in [engine.submit(request) for request in requests]]


def test_more_requests_than_fit_are_all_answered(engine: TransformersEngine) -> None:
    found = answers(engine, [question(f"Number {number} " * number, max_tokens=1 + number % 5) for number in range(30)])
    assert [answer.failure for answer in found] == [None] * 30
    assert [answer.output_tokens for answer in found] == [1 + number % 5 for number in range(30)]


def test_answers_at_temperature_0_are_those_of_generate(engine: TransformersEngine, checkpoint: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    texts = [f"What about {'many ' * number} foxes?" for number in range(12)]
    ours = answers(engine, [question(text, system="Be brief") for text in texts])
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    for text, answer in zip(texts, ours, strict=True):
        chat = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": text}]
        inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        written = model.generate(**inputs, max_new_tokens=24, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        assert answer.text == tokenizer.decode(written, skip_special_tokens=True).rstrip("\ufffd")
        assert answer.input_tokens == inputs["input_ids"].shape[1]


def test_an_answer_ends_at_the_end_token(tmp_path: Path) -> None:
    model = tiny_checkpoint.scripted_checkpoint(tmp_path, ["The", "own", "f"])
    engine = TransformersEngine(settings(model))
    try:
        whole, cut = answers(engine, [question("x"), question("x", max_tokens=2)])
    finally:
        engine.close()
    assert (whole.text, whole.finish_reason, whole.output_tokens) == ("Theownf", "stop", 4)
    assert (cut.text, cut.finish_reason, cut.output_tokens) == ("Theown", "length", 2)


@pytest.mark.skipif(find_spec("xgrammar") is None, reason="no xgrammar here")
def test_a_schema_holds_the_answers_of_a_batch(engine: TransformersEngine) -> None:
    other = '{"type":"object","properties":{"ok":{"type":"boolean"}},"required":["ok"],"additionalProperties":false}'
    found = answers(
        engine,
        [question(f"{number}?", schema=SCHEMA, temperature=1, max_tokens=200, seed=number) for number in range(6)]
        + [question("?", schema=other, temperature=1, max_tokens=200), question("free", temperature=1, max_tokens=200)],
    )
    assert all(fits_schema(answer.text) and answer.finish_reason == "stop" for answer in found[:6])
    assert found[6].text in ('{"ok":true}', '{"ok":false}')
    assert found[7].finish_reason == "length"
    assert len({answer.text for answer in found[:6]}) > 1


def test_draws_depend_on_seed_and_attempt_and_not_on_the_batch(engine: TransformersEngine) -> None:
    request = question("Draw", temperature=1.0, top_p=0.9, seed=7)
    (alone,) = answers(engine, [request])
    crowd = [question(f"Other {number}", temperature=1.0, top_p=0.9, seed=number) for number in range(7)]
    among = answers(engine, [*crowd, request, request.again()])
    assert among[7].text == alone.text
    assert among[8].text != alone.text


def test_draws_follow_the_distribution(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    folder = tiny_checkpoint.scripted_checkpoint(tmp_path, ["The", "own"])
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokens = tiny_checkpoint.tokenizer()
    the, own = tokens.convert_tokens_to_ids(["The", "own"])
    with torch.no_grad():
        certain = model.lm_head.weight[the].clone() / (4 * model.config.hidden_size**0.5)  # a logit of 1
        model.lm_head.weight[the] = 16 * certain
        model.lm_head.weight[own] = 15 * certain
    model.save_pretrained(folder)
    engine = TransformersEngine(settings(folder, in_flight=64))
    try:
        found = answers(engine, [question("x", temperature=1.0, max_tokens=1, seed=seed) for seed in range(1500)])
    finally:
        engine.close()
    share = sum(answer.text == "own" for answer in found) / len(found)
    assert share == pytest.approx(1 / (1 + math.e), abs=0.05)


def test_bad_requests_fail_alone(engine: TransformersEngine) -> None:
    bad = [
        question("word " * 2000),
        question("half a character: \ud800"),
        question("a token of no model: " + tiny_checkpoint.OUTSIDE),
        question("bad sampling", top_p=7),
        Request((("user", "text"),), "test@1", kind="embedding"),
    ]
    good = [question(f"Neighbour {number}") for number in range(5)]
    expected = [answer.text for answer in answers(engine, good)]
    futures = [engine.submit(request) for pair in zip(bad, good, strict=True) for request in pair]
    found = [future.result(120) for future in futures]
    assert [answer.failure for answer in found[::2]] == ["context_too_long", *["bad_request"] * 4]
    assert [answer.text for answer in found[1::2]] == expected


def test_a_batch_that_breaks_is_written_one_by_one(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import Qwen3ForCausalLM

    mark = tiny_checkpoint.tokenizer().convert_tokens_to_ids("<think>")
    whole = Qwen3ForCausalLM.forward

    def breaks(self: Any, input_ids: Any = None, **more: Any) -> Any:
        if (input_ids == mark).any():
            raise MemoryError("too much")
        return whole(self, input_ids=input_ids, **more)

    engine = TransformersEngine(settings(checkpoint))
    try:
        good = [question(f"Neighbour {number}") for number in range(6)]
        expected = [answer.text for answer in answers(engine, good)]
        monkeypatch.setattr(Qwen3ForCausalLM, "forward", breaks)
        first = engine.submit(good[0])
        found = answers(engine, [*good[:3], question("poison <think>"), *good[3:]])
        first.result(120)
        assert (found[3].failure, found[3].detail) == ("engine_error", "generate failed: MemoryError: too much")
        assert [answer.text for answer in found[:3] + found[4:]] == expected
    finally:
        engine.close()


def test_an_answer_ends_where_the_context_ends_whatever_its_neighbours(engine: TransformersEngine) -> None:
    short, long = answers(engine, [question("x", max_tokens=490), question("word " * 100, max_tokens=490)])
    assert short.output_tokens == 490
    assert long.input_tokens + long.output_tokens == 512


def test_closing_ends_requests_under_way(checkpoint: Path) -> None:
    engine = TransformersEngine(settings(checkpoint, in_flight=2))
    futures = [engine.submit(question(f"Long {number}", max_tokens=450)) for number in range(20)]
    time.sleep(0.2)
    begun = time.monotonic()
    engine.close()
    assert time.monotonic() - begun < 1
    assert futures[-1].result(0).failure == "engine_error"
    assert all(future.done() for future in futures)
    assert engine.submit(question("Too late")).result(1).failure == "engine_error"


@pytest.mark.parametrize(
    "template", [tiny_checkpoint.TEMPLATE, tiny_checkpoint.THINKS], ids=["said", "opened by template"]
)
def test_thinking_is_kept_apart(tmp_path: Path, template: str) -> None:
    said = ["The", "own", "</think>", '{"', "}"]
    if template == tiny_checkpoint.TEMPLATE:
        said = ["<think>", *said]
    engine = TransformersEngine(settings(tiny_checkpoint.scripted_checkpoint(tmp_path, said, template=template)))
    try:
        whole, cut = answers(engine, [question("x"), question("x", max_tokens=2)])
    finally:
        engine.close()
    assert (whole.reasoning, whole.text, whole.finish_reason) == ("Theown", '{"}', "stop")
    assert (cut.text, cut.finish_reason) == ("", "length")
    assert str(cut.reasoning).startswith("The")


def test_a_checkpoint_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    before = threads()
    with pytest.raises(CheckpointError, match="/no/such/model"):
        TransformersEngine(settings(Path("/no/such/model")))
    tiny_checkpoint.tokenizer().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    with pytest.raises(CheckpointError, match="transformers cannot load it on cpu"):
        TransformersEngine(settings(tmp_path))
    assert threads() == before


def test_the_identity_loads_nothing(checkpoint: Path) -> None:
    code = (
        "import sys\n"
        "from transforms.models import engines\n"
        "from transforms.models.settings import TransformersSettings\n"
        f"print(engines.identity(TransformersSettings(engine='transformers', model={str(checkpoint)!r}))['model'])\n"
        "print([name for name in ('torch', 'transformers', 'xgrammar') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split("\n")[:2] == [identity(settings(checkpoint))["model"], "[]"]
