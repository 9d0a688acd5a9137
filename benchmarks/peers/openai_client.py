"""The ``openai`` package behind a semaphore, as most scripts have it; ``--aiohttp`` for its faster transport. Answers stay in memory."""

from __future__ import annotations

import asyncio
import json
import sys

import contest
from openai import AsyncOpenAI, DefaultAioHttpClient


async def ask(task: contest.Task, aiohttp: bool) -> None:
    """All prompts at once, as far as the semaphore lets them."""
    http = DefaultAioHttpClient() if aiohttp else None
    async with AsyncOpenAI(base_url=task.url, api_key="none", http_client=http) as client:
        semaphore = asyncio.Semaphore(task.in_flight)

        async def answer(prompt: str) -> int:
            async with semaphore:
                response = await client.chat.completions.create(
                    model=contest.MODEL, messages=[{"role": "user", "content": prompt}], **contest.SAMPLING
                )
            level: int = json.loads(response.choices[0].message.content or "")["level"]
            return level

        await asyncio.gather(*map(answer, task.warming()))
        watch = contest.Watch()
        levels = await asyncio.gather(*map(answer, task.prompts()))
        watch.tell(len(levels))


if __name__ == "__main__":
    with_aiohttp = "--aiohttp" in sys.argv
    if with_aiohttp:
        sys.argv.remove("--aiohttp")
    asyncio.run(ask(contest.task(), with_aiohttp))
