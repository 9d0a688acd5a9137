"""Bespoke Curator: its ``LLM`` class, online, with its cache on disk as it ships."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import contest

task = contest.task()
os.environ.update(
    CURATOR_CACHE_DIR=str(task.folder / "cache"),
    CURATOR_VIEWER="0",
    TELEMETRY_ENABLED="0",
    HF_HOME=str(task.folder / "hf"),
    HF_HUB_OFFLINE="1",
    OPENAI_API_KEY="none",
    TIKTOKEN_CACHE_DIR=str(Path(find_spec("litellm").origin).parent / "litellm_core_utils/tokenizers"),  # no download
)

from bespokelabs import curator  # noqa: E402  (reads the environment)

UNBOUNDED = 1_000_000_000


class Judge(curator.LLM):
    """Prompt in, text out."""

    def prompt(self, row: dict[str, str]) -> str:
        return row["prompt"]

    def parse(self, row: dict[str, str], response: str) -> dict[str, str]:
        return {"answer": response}


def main() -> None:
    """Ask, and tell."""
    judge = Judge(
        model_name=contest.MODEL,
        backend="openai",
        generation_params=contest.SAMPLING,
        backend_params={
            "base_url": task.url,
            "max_requests_per_minute": UNBOUNDED,
            "max_tokens_per_minute": UNBOUNDED,
            "max_concurrent_requests": task.in_flight,
        },
    )
    judge([{"prompt": prompt} for prompt in task.warming()])
    rows = [{"prompt": prompt} for prompt in task.prompts()]
    watch = contest.Watch()
    watch.tell(len(judge(rows).dataset))


if __name__ == "__main__":
    main()
