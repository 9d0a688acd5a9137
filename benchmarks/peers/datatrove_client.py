"""datatrove's ``InferenceRunner`` on an endpoint that is there already, with its checkpoints on.

The clock starts when the runner draws the first document, and stops when it has closed its writer and its cache of answers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import contest
from datatrove.data import Document
from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
from datatrove.pipeline.writers import JsonlWriter
from loguru import logger

LEVELS = "INFO"


async def rollout(document: Document, generate: Any) -> Any:
    """One request a document."""
    return await generate({"messages": [{"role": "user", "content": document.text}], **contest.SAMPLING})


def main() -> None:
    """Ask, and tell."""
    logger.remove()
    logger.add(sys.stderr, level=LEVELS)
    task = contest.task()
    runner = InferenceRunner(
        rollout_fn=rollout,
        config=InferenceConfig(
            server_type="endpoint",
            endpoint_url=task.url.removesuffix("/v1"),
            model_name_or_path=contest.MODEL,
            max_concurrent_generations=task.in_flight,
        ),
        output_writer=JsonlWriter(str(task.folder / "answers"), output_filename="${rank}_chunk_${chunk_index}.jsonl"),
        checkpoints_local_dir=str(task.folder / "checkpoints"),
    )
    watches = []

    def documents() -> Iterator[Document]:
        watches.append(contest.Watch())
        for number, prompt in enumerate(task.prompts()):
            yield Document(text=prompt, id=str(number))

    runner.run(documents())
    watches[0].tell(int(runner.stats.stats["successful_requests"].total))


if __name__ == "__main__":
    main()
