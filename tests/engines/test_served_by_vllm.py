"""vLLM's own server, in a process of its own on the CPU, behind the openai engine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.engines import tiny_checkpoint
from tests.engines.asking import SCHEMA, fits_schema, question
from transforms.models.openai_engine import OpenAIEngine
from transforms.models.settings import OpenAISettings, VLLMSettings
from transforms.models.vllm_engine import VLLMEngine

pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(find_spec("vllm") is None, reason="no vllm here: make engines"),
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint.random_checkpoint(tmp_path_factory.mktemp("served"), ends=False)


@pytest.fixture(scope="module")
def address(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the server listens, once it is ready; it is ended by its process id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("log") / "server.log"
    arguments = (
        f"--model {checkpoint} --served-model-name tiny --host 127.0.0.1 --port {port} --dtype float32 --enforce-eager "
        "--kv-cache-memory-bytes 67108864 --max-num-seqs 8"
    ).split()
    structured = ["--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}']
    quiet = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_HOST_IP": "127.0.0.1"}
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *arguments, *structured],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | quiet,
        )
    try:
        until = time.monotonic() + 200
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                assert server.poll() is None and time.monotonic() < until, log.read_text()[-3000:]
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()


@pytest.fixture(scope="module")
def engine(address: str) -> Iterator[OpenAIEngine]:
    engine = OpenAIEngine(OpenAISettings(engine="openai", model="tiny", base_url=(address,), max_tries=2))
    yield engine
    engine.close()


def test_the_server_answers_as_the_engine_in_this_process(engine: OpenAIEngine, checkpoint: Path) -> None:
    requests = [question(f"What about {number} foxes?", system="Be brief") for number in range(12)]
    served = [future.result(120) for future in [engine.submit(request) for request in requests]]
    options = {"enforce_eager": True, "kv_cache_memory_bytes": 2**26}
    here = VLLMEngine(VLLMSettings(engine="vllm", model=str(checkpoint), dtype="float32", in_flight=8, options=options))
    try:
        inside = [future.result(120) for future in [here.submit(request) for request in requests]]
    finally:
        here.close()
    assert [answer.failure for answer in served] == [None] * 12
    assert [answer.text.rstrip("\ufffd") for answer in served] == [answer.text for answer in inside]
    for one, other in zip(served, inside, strict=True):
        assert (one.finish_reason, one.input_tokens, one.output_tokens) == (
            other.finish_reason,
            other.input_tokens,
            other.output_tokens,
        )


def test_the_server_holds_answers_to_a_schema(engine: OpenAIEngine) -> None:
    answer = engine.submit(question("Label it", schema=SCHEMA, max_tokens=200)).result(120)
    assert (answer.failure, answer.finish_reason) == (None, "stop")
    assert fits_schema(answer.text)


def test_a_prompt_too_long_for_the_server_fails_alone(engine: OpenAIEngine) -> None:
    long, short = [engine.submit(question(text, max_tokens=5)) for text in ("word " * 2000, "short")]
    assert (long.result(120).failure, short.result(120).failure) == ("context_too_long", None)


def test_a_model_the_server_does_not_have_is_named(address: str) -> None:
    engine = OpenAIEngine(OpenAISettings(engine="openai", model="other", base_url=(address,), max_tries=2))
    try:
        assert engine.submit(question("Hello")).result(120).failure == "unknown_model"
    finally:
        engine.close()
