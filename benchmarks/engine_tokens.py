"""Tokens a second of the engines in this process, against the same library called directly on the same prompts.

    make engines; .venv-vllm/bin/python -m benchmarks.engine_tokens [--requests 64] [--tokens 64] [--rounds 25] [--model DIR]

Each side has its own copy of the model, in one process; they take turns, and the share is the median over rounds, with
quartiles. Answers are at temperature 0 and go to the token limit, so both write the same number of tokens. vLLM itself gets all
prompts at once, transformers gets them sorted by length in batches. The tiny checkpoint is made on the spot; ``--model`` names
a real one. On a busy machine the quartiles are wide: run it on a quiet one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from schemas.answers import Request, canonical
from tests.engines import tiny_checkpoint
from transforms.models.in_process import InProcessEngine
from transforms.models.settings import TransformersSettings, VLLMSettings

Timed = Callable[[], int]
"""Writes all answers and returns their tokens."""


def main() -> None:
    """Measure both engines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--model")
    given = parser.parse_args()
    model = given.model or str(
        tiny_checkpoint.random_checkpoint(Path(tempfile.mkdtemp()), ends=False, layers=4, hidden=128)
    )
    texts = [f"Judge message {number}: " + "the quick brown fox " * (number % 12) for number in range(given.requests)]
    for measure in (vllm, transformers):
        print(json.dumps(measure(model, texts, given)))


def compared(name: str, ours: Timed, direct: Timed, rounds: int) -> dict[str, Any]:
    """Tokens a second, and a second of CPU, of both by turns."""
    ours(), direct()
    speeds: dict[str, list[float]] = {"ours": [], "direct": [], "ours_cpu": [], "direct_cpu": []}
    for turn in range(rounds):
        pair = [("ours", ours), ("direct", direct)]
        for who, write in pair if turn % 2 else pair[::-1]:
            begun, used = time.perf_counter(), time.process_time()
            tokens = write()
            speeds[who].append(tokens / (time.perf_counter() - begun))
            speeds[f"{who}_cpu"].append(tokens / (time.process_time() - used))
    median = {who: round(statistics.median(values), 1) for who, values in speeds.items()}
    return {
        "engine": name,
        "tokens_per_second": {who: median[who] for who in ("ours", "direct")},
        "share": _share(speeds["ours"], speeds["direct"]),
        "tokens_per_cpu_second": {who: median[f"{who}_cpu"] for who in ("ours", "direct")},
        "share_per_cpu_second": _share(speeds["ours_cpu"], speeds["direct_cpu"]),
    }


def _share(ours: list[float], direct: list[float]) -> dict[str, float]:
    """Quartiles of the share, round by round: what else the machine does drifts, and meets both of a round alike."""
    low, middle, high = statistics.quantiles([a / b for a, b in zip(ours, direct, strict=True)], n=4)
    return {"median": round(middle, 3), "low": round(low, 3), "high": round(high, 3)}


def through(engine: InProcessEngine, texts: list[str], tokens: int) -> int:
    """Our side: one request a text, answers in whatever order."""
    sampling = canonical({"max_tokens": tokens})
    futures = [engine.submit(Request((("user", text),), "bench@1", sampling)) for text in texts]
    answers = [future.result() for future in futures]
    assert not any(answer.failure for answer in answers)
    return sum(answer.output_tokens for answer in answers)


def vllm(model: str, texts: list[str], given: argparse.Namespace) -> dict[str, Any]:
    """Our engine and ``LLM.chat``, each with its own copy of the model in this process."""
    from transforms.models.vllm_engine import VLLMEngine

    options: dict[str, Any] = (
        {"gpu_memory_utilization": 0.4} if given.model else {"enforce_eager": True, "kv_cache_memory_bytes": 2**27}
    )
    options["enable_prefix_caching"] = False
    settings = VLLMSettings(engine="vllm", model=model, dtype="auto", in_flight=given.in_flight, options=options)
    engine = VLLMEngine(settings)
    from vllm import LLM, SamplingParams

    direct = LLM(model, max_num_seqs=given.in_flight, **options)
    parameters = SamplingParams(temperature=0, max_tokens=given.tokens)
    chats: Any = [[{"role": "user", "content": text}] for text in texts]

    def written() -> int:
        return sum(len(one.outputs[0].token_ids) for one in direct.chat(chats, parameters, use_tqdm=False))

    try:
        return compared("vllm", lambda: through(engine, texts, given.tokens), written, given.rounds)
    finally:
        engine.close()


def transformers(model: str, texts: list[str], given: argparse.Namespace) -> dict[str, Any]:
    """Our engine and ``generate`` on batches of the sorted prompts."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from transforms.models.transformers_engine import TransformersEngine

    engine = TransformersEngine(TransformersSettings(engine="transformers", model=model, in_flight=given.in_flight))
    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
    direct = AutoModelForCausalLM.from_pretrained(model, dtype="auto").eval()

    def written() -> int:
        chats = [[{"role": "user", "content": text}] for text in sorted(texts, key=len)]
        tokens = 0
        for start in range(0, len(chats), given.in_flight):
            inputs = tokenizer.apply_chat_template(
                chats[start : start + given.in_flight],
                add_generation_prompt=True,
                padding=True,
                return_tensors="pt",
                return_dict=True,
            ).to(direct.device)
            written = direct.generate(**inputs, max_new_tokens=given.tokens, do_sample=False)
            rows = tokenizer.batch_decode(written[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
            tokens += len(rows) * (written.shape[1] - inputs["input_ids"].shape[1])
        return tokens

    try:
        return compared("transformers", lambda: through(engine, texts, given.tokens), written, given.rounds)
    finally:
        engine.close()


if __name__ == "__main__":
    main()
