"""The feedback pipeline with a real checkpoint: in the worker process, and served by vLLM's own server."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

pytestmark = pytest.mark.engines
pytest.importorskip("torch")

HERE = Path(__file__).resolve().parent
SAMPLE = HERE.parent.parent / "configs" / "quickstart"
CONTEXT = 16_384
LIMIT = "12"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.engines.tiny_checkpoint import random_checkpoint

    return random_checkpoint(tmp_path_factory.mktemp("checkpoint"), context=CONTEXT)


@contextlib.contextmanager
def served(checkpoint: Path) -> Iterator[str]:
    """vLLM's OpenAI-compatible server over a checkpoint, in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--served-model-name",
        "tiny",
        "--enforce-eager",
        "--gpu-memory-utilization",
        "0.2",
    ]
    options += ["--structured-outputs-config", json.dumps({"backend": "xgrammar", "disable_any_whitespace": True})]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(checkpoint), *options]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 240
        while True:
            assert process.poll() is None and time.monotonic() < until, "the server did not start"
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health"):
                break
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(60)


def run(folder: Path, model: dict[str, Any]) -> tuple[dict[str, Any], pl.DataFrame]:
    """Run the pipeline on some of the bundled chats. Returns the command's facts, and all judged rows."""
    judge = {"context": "feedback", "sampling": {"max_tokens": 400}, "attempts": 2}
    values = {
        "pipeline": "feedback",
        "dataset": {"name": "test"},
        "sources": [{"uri": str(SAMPLE / "*.parquet")}],
        "model": model,
        "judge": judge,
        "refusals": {"sampling": {"max_tokens": 400}},
        "mining": {"encoder": "lexical"},
        "max_failed": 1,
    }
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(values))
    command = [str(Path(sys.executable).parent / "sluice"), "run", str(config), "--output", str(folder / "out")]
    environment = {**os.environ, "SLUICE_USER_KEY": "a key for tests", "VLLM_CPU_KVCACHE_SPACE": "1"}
    done = subprocess.run(
        [*command, "--json", "--limit", LIMIT, "--workers", "1"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    frames = [
        pl.read_parquet(path, columns=["judge", "journal_keys"]) for path in Path(facts["snapshot"]).rglob("*.parquet")
    ]
    return facts, pl.concat(frames).filter(pl.col("judge").is_not_null())


def expect_judged_by(engine: str, facts: dict[str, Any], rows: pl.DataFrame, journal: Path) -> None:
    """Every row is judged by the model, and its level stands in the journal under its key, or it failed and says why."""
    entries = {row["key"]: row for row in pl.read_parquet(journal / "*.parquet").to_dicts()}
    assert facts["usage"]["judge"]["replies"] == len(rows) > 5
    good = 0
    for judge, (key, *_) in rows.iter_rows():
        assert judge["engine"] == engine
        if judge["level"] is None:
            assert judge["parse_status"] not in ("ok", "extracted")
        else:
            good += 1
            assert json.loads(entries[key]["text"])["level"] == judge["level"]
    assert good >= len(rows) // 2


def test_a_checkpoint_in_the_worker_process_judges(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    options = {
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
        "gpu_memory_utilization": 0.2,
    }
    facts, rows = run(tmp_path, {"engine": "vllm", "model": str(checkpoint), "dtype": "float32", "options": options})
    expect_judged_by("vllm", facts, rows, tmp_path / "out" / "work" / "journal")


def test_transformers_judges(checkpoint: Path, tmp_path: Path) -> None:
    facts, rows = run(tmp_path, {"engine": "transformers", "model": str(checkpoint), "dtype": "float32"})
    expect_judged_by("transformers", facts, rows, tmp_path / "out" / "work" / "journal")


def test_a_checkpoint_behind_vllms_server_judges(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    with served(checkpoint) as url:
        facts, rows = run(tmp_path, {"engine": "openai", "model": "tiny", "base_url": url})
        expect_judged_by("openai", facts, rows, tmp_path / "out" / "work" / "journal")
        again, _ = run(tmp_path, {"engine": "openai", "model": "tiny", "base_url": url})
    assert again["changed"] is False
