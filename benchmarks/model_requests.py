"""Model requests: what share of the ideal rate is reached, what it costs in CPU and memory, side by side in one go.

    python benchmarks/model_requests.py                      everything
    python benchmarks/model_requests.py --section 512        one section; may be given again
    python benchmarks/model_requests.py --small              a tenth of the requests, once, for a look

server   how many requests a second the server itself can answer, from bare sockets
64       64 requests in flight, each answered after 0.2 s
512      512 in flight
memory   200,000 requests answered after 2 ms: resident size after a tenth of them and at the end

The server is ``tests/servers/openai_server.py``; it and every contestant are processes of their own, one contestant at a time.
They take turns; medians are told. Share of ideal is requests / in flight * latency / wall seconds. Modules are loaded and a few
requests answered before the clock starts. CPU seconds are the contestant's own, per 1,000 requests.

Peers get environments of their own under .bench/peers, made with uv from benchmarks/peers/*.txt.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import chats

from tests.servers import openai_server
from transforms.models import prompts

HERE: Final = Path(__file__).resolve().parent
BENCH: Final = HERE.parent / ".bench"
PEERS: Final = HERE / "peers"
LATENCY: Final = 0.2
POOL: Final = 2_000
SHORTEST: Final = 700
"""Bytes; shorter prompts are left out of the pool, so that 2.5 kB are left on average."""

Figures = dict[str, Any]


@dataclass(frozen=True)
class Contestant:
    """A script and its environment, none for this one. ``slower``: it gets a fifth of the requests where many are in flight."""

    name: str
    script: str
    environment: str | None = None
    options: tuple[str, ...] = ()
    slower: bool = True

    def python(self) -> str:
        """Its interpreter; its environment is made if it is not there."""
        return sys.executable if self.environment is None else _environment(self.environment)


CEILING: Final = Contestant("bare sockets (the ceiling)", "raw_sockets.py", slower=False)
SLUICE: Final = Contestant("sluice, durable", "sluice_client.py", slower=False)
STAGE: Final = Contestant("sluice, durable: whole judge prompts", "sluice_client.py", None, ("--stage",), slower=False)
CONTESTANTS: Final = (
    CEILING,
    SLUICE,
    STAGE,
    Contestant("openai", "openai_client.py", "openai"),
    Contestant("openai[aiohttp]", "openai_client.py", "openai", ("--aiohttp",)),
    Contestant("bespoke curator, cached", "curator_client.py", "curator"),
    Contestant("datatrove, checkpoints", "datatrove_client.py", "datatrove"),
)


@dataclass
class Bench:
    """How often, and how much."""

    repeats: int
    small: bool

    def compare(self, in_flight: int, requests: int, wanted_share: float) -> None:
        """All contestants, in turns, at one concurrency."""
        runs: dict[Contestant, list[Figures]] = {one: [] for one in CONTESTANTS}
        failed: dict[Contestant, str] = {}
        with openai_server.started("--latency", str(LATENCY)) as server:
            for _ in range(self.repeats):
                for one in CONTESTANTS:
                    fewer = 5 if one.slower and in_flight > 64 else 1
                    asked = self.requests(requests) // fewer
                    try:
                        if one not in failed:
                            runs[one].append(run(one, server, asked, in_flight))
                    except ContestantError as error:
                        failed[one] = str(error)
        print(f"\n{in_flight} in flight, {LATENCY} s, {self.requests(requests):,} requests")
        for one, figures in runs.items():
            if one in failed or not figures:
                tell(one.name, "failed", failed[one])
                continue
            shares = [each["answered"] / in_flight * LATENCY / each["seconds"] for each in figures]
            cpu = statistics.median(each["cpu"] / each["answered"] * 1000 for each in figures)
            told = f"{statistics.median(shares):.3f} ({min(shares):.3f}-{max(shares):.3f})"
            more = f"{cpu:.2f} CPU s per 1,000; {figures[0]['answered']:,} requests"
            if "segments" in figures[0]:
                more += f"; {statistics.median(each['segments'] for each in figures):.0f} segments"
            if one in (SLUICE, STAGE):
                more += f"; wanted: at least {wanted_share}, at most 0.5 CPU s"
            tell(one.name, told, more)

    def requests(self, many: int) -> int:
        """So many, or a tenth."""
        return many // 10 if self.small else many


class ContestantError(Exception):
    """A contestant cannot be installed or run here; the message is its own last words."""


def run(one: Contestant, server: openai_server.Server, requests: int, in_flight: int) -> Figures:
    """One run of a contestant.

    Raises:
        ContestantError: it failed, or did not answer all.
    """
    folder = BENCH / "requests"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    task = {"url": server.url, "pool": pool(), "requests": requests, "in-flight": in_flight, "folder": folder}
    options = [text for name, value in task.items() for text in (f"--{name}", str(value))]
    command = [one.python(), str(PEERS / one.script), *options, *one.options]
    environment = {**os.environ, "OPENAI_API_KEY": "none"}
    server.control(forget=True)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900, check=False)
    shutil.rmtree(folder)
    if done.returncode:
        raise ContestantError(_last_line(done.stderr))
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    if figures["answered"] != requests:
        raise ContestantError(f"answered {figures['answered']:,} of {requests:,}")
    if (most := server.stats()["max_concurrent"]) > in_flight:
        raise ContestantError(f"had {most} requests in flight")
    return figures


def pool() -> Path:
    """Exchanges of generated chats and the judge's prompts rendered from them, without its system message."""
    path = BENCH / "exchanges.jsonl"
    if path.exists():
        return path
    judge = prompts.load(HERE.parent / "configs/feedback/prompts/judge.yaml")
    lines: list[str] = []
    for conversation in chats.row_group(0, 0)["conversation"].to_pylist():
        if len(conversation) < 3:
            continue
        exchange = dict(zip(("query", "response", "feedback"), (one["content"] for one in conversation), strict=False))
        prompt = prompts.render(judge, exchange)[-1][1]
        if len(prompt.encode()) >= SHORTEST and len(lines) < POOL:
            lines.append(json.dumps({**exchange, "prompt": prompt}))
    BENCH.mkdir(exist_ok=True)
    path.write_text("\n".join(lines))
    return path


def _environment(name: str) -> str:
    """A peer's interpreter.

    Raises:
        ContestantError: its packages cannot be installed.
    """
    folder, requirements = BENCH / "peers" / name, PEERS / f"{name}.txt"
    python, done = folder / "bin" / "python", folder / ".done"
    if not (done.exists() and done.read_text() == requirements.read_text()):
        uv = str(Path(sys.executable).parent / "uv")
        install = ["pip", "install", "--compile-bytecode", "--python", str(python), "--requirement", str(requirements)]
        for step in (["venv", "--clear", "--python", sys.executable, str(folder)], install):
            made = subprocess.run([uv, "--quiet", *step], capture_output=True, text=True, check=False)
            if made.returncode:
                raise ContestantError(f"cannot be installed: {_last_line(made.stderr)}")
        shutil.copyfile(requirements, done)
    return str(python)


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no message")[:300]


def tell(what: str, value: str, more: str = "") -> None:
    """One line of the table."""
    print(f"{what:<40} {value:>22}   {more}", flush=True)


def measure_server(bench: Bench) -> None:
    """The server without latency, from bare sockets."""
    rates = []
    with openai_server.started() as server:
        for _ in range(bench.repeats):
            figures = run(CEILING, server, bench.requests(20_000), 64)
            rates.append(figures["answered"] / figures["seconds"])
    sizes = [len(json.loads(line)["prompt"].encode()) for line in pool().read_text().splitlines()]
    tell("prompts, mean and median size", f"{statistics.mean(sizes):,.0f} {statistics.median(sizes):,.0f} B")
    needed = 512 / LATENCY
    tell("server, no latency, bare sockets", f"{statistics.median(rates):,.0f} requests/s", f"512 in flight need {needed:,.0f}")


def measure_64(bench: Bench) -> None:
    """64 in flight."""
    bench.compare(64, 4_000, 0.95)


def measure_512(bench: Bench) -> None:
    """512 in flight."""
    bench.compare(512, 20_000, 0.9)


def measure_memory(bench: Bench) -> None:
    """Resident size of one client over many requests."""
    with openai_server.started("--latency", "0.002") as server:
        figures = run(SLUICE, server, bench.requests(200_000), 64)
    tenth, end, peak = (figures["resident"][name] / 1e6 for name in ("tenth", "end", "peak"))
    print(f"\nmemory, {figures['answered']:,} requests, 64 in flight, 2 ms")
    tell("resident after a tenth, at the end", f"{tenth:,.0f} {end:,.0f} MB", f"at most {peak:,.0f} MB")
    tell("end / after a tenth", f"{end / tenth:.3f}", "wanted: at most 1.1")
    tell(
        "requests/s, one client",
        f"{figures['answered'] / figures['seconds']:,.0f}",
        f"{figures['cpu'] / figures['answered'] * 1000:.2f} CPU s per 1,000; {figures['segments']} segments",
    )


SECTIONS: Final[dict[str, Callable[[Bench], None]]] = {
    "server": measure_server,
    "64": measure_64,
    "512": measure_512,
    "memory": measure_memory,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--section", action="append", choices=SECTIONS, help="default: all")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each contestant, in turns")
    parser.add_argument("--small", action="store_true", help="a tenth of the requests, once")
    given = parser.parse_args(arguments)
    bench = Bench(1 if given.small else given.repeats, given.small)
    print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for name in given.section or SECTIONS:
        SECTIONS[name](bench)
    print(f"load average after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
