"""datatrove's ``InferenceRunner`` on an endpoint that is there already, with its checkpoints on.

The clock starts when the runner draws the first document, and stops when it has closed its writer and its cache of answers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

import contest
from datatrove.data import Document
from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
from datatrove.pipeline.writers import JsonlWriter
from loguru import logger


async def rollout(document: Document, generate: Any) -> Any:
    """One request a document."""
    return await generate({"messages": [{"role": "user", "content": document.text}], **contest.SAMPLING})


def runner(task: contest.Task, name: str) -> InferenceRunner:
    """A runner with a folder of its own."""
    return InferenceRunner(
        rollout_fn=rollout,
        config=InferenceConfig(
            server_type="endpoint",
            endpoint_url=task.url.removesuffix("/v1"),
            model_name_or_path=contest.MODEL,
            max_concurrent_generations=task.in_flight,
        ),
        output_writer=JsonlWriter(
            str(task.folder / name / "answers"), output_filename="${rank}_chunk_${chunk_index}.jsonl"
        ),
        checkpoints_local_dir=str(task.folder / name / "checkpoints"),
    )


def main() -> None:
    """Ask, and tell."""
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    task = contest.task()
    runner(task, "warming").run(documents(task.warming()))
    watches = []

    def watched() -> Iterator[Document]:
        watches.append(contest.Watch())
        yield from documents(task.prompts())

    asking = runner(task, "asking")
    asking.run(watched())
    watches[0].tell(int(asking.stats.stats["successful_requests"].total))


def documents(prompts: Iterable[str]) -> Iterator[Document]:
    """A document for each prompt."""
    return (Document(text=prompt, id=str(number)) for number, prompt in enumerate(prompts))


if __name__ == "__main__":
    main()
