"""Model requests: what share of the ideal rate is reached, what it costs in CPU and memory, side by side in one go.

    python benchmarks/model_requests.py                      everything
    python benchmarks/model_requests.py --section 512        one section; may be given again
    python benchmarks/model_requests.py --small              a tenth of the requests, once, for a look

server   how many requests a second the server itself can answer, from bare sockets
64       64 requests in flight, each answered after 0.2 s
512      512 in flight
memory   200,000 requests answered after 2 ms: resident size after a tenth of them and at the end

The server is ``tests/servers/openai_server.py``; it and every contestant are processes of their own, one contestant at a time.
They take turns; medians are told. Share of ideal is requests / in flight * latency / wall seconds;
requests are a multiple of those in flight, for a last round that is not full takes as long as one that is. Modules are loaded
and a few requests answered before the clock starts. CPU seconds are the contestant's own, per 1,000 requests.

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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import chats

from tests.servers.openai_server import Server
from transforms.models import prompts

HERE: Final = Path(__file__).resolve().parent
BENCH: Final = HERE.parent / ".bench"
PEERS: Final = HERE / "peers"
LATENCY: Final = 0.2
POOL: Final = 2_000
PATIENCE: Final = 600
"""Seconds a contestant may take."""

SHORTEST: Final = 1_000
"""Bytes; shorter prompts are left out of the pool, so that 2.5 kB are left on average."""

Figures = dict[str, Any]


@dataclass(frozen=True)
class Contestant:
    """A script and its environment, none for this one.

    ``slower``: it gets a fifth of the requests where many are in flight. ``wanted``: it is held to the figures wanted.
    """

    name: str
    script: str
    environment: str | None = None
    options: tuple[str, ...] = ()
    slower: bool = True
    wanted: bool = False

    def python(self) -> str:
        """Its interpreter; its environment is made if it is not there."""
        return sys.executable if self.environment is None else _environment(self.environment)


CEILING: Final = Contestant("bare sockets (the ceiling)", "raw_sockets.py", slower=False)
SLUICE: Final = Contestant("sluice, durable", "sluice_client.py", slower=False, wanted=True)
STAGE: Final = Contestant(
    "sluice, durable: whole judge prompts", "sluice_client.py", None, ("--stage",), slower=False, wanted=True
)
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
        with served(LATENCY) as server:
            for _ in range(self.repeats):
                for one in CONTESTANTS:
                    fewer = 5 if one.slower and in_flight > 64 else 1
                    asked = self.requests(requests) // fewer
                    try:
                        if one not in failed:
                            runs[one].append(run(one, server, asked, in_flight))
                    except ContestantError as error:
                        failed[one] = str(error)
        _row(
            f"{in_flight} in flight",
            "share of ideal",
            "lowest, highest",
            "CPU s per 1,000",
            "segments",
            "requests",
            "wanted",
        )
        _row(*["---"] * 7)
        for one in CONTESTANTS:
            if one in failed:
                _row(one.name, f"failed: {failed[one]}", *[""] * 5)
                continue
            shares = [each["answered"] / in_flight * LATENCY / each["seconds"] for each in runs[one]]
            cpu = [each["cpu"] / each["answered"] * 1_000 for each in runs[one]]
            segments = [each["segments"] for each in runs[one] if "segments" in each]
            _row(
                one.name,
                f"{statistics.median(shares):.3f}",
                f"{min(shares):.3f}, {max(shares):.3f}",
                f"{statistics.median(cpu):.2f}",
                f"{statistics.median(segments):.0f}" if segments else "",
                f"{runs[one][0]['answered']:,}",
                f"at least {wanted_share}; at most 0.5" if one.wanted else "",
            )
        print()

    def requests(self, many: int) -> int:
        """So many, or a tenth."""
        return many // 10 if self.small else many


@contextmanager
def served(latency: float) -> Iterator[Server]:
    """The endpoint, in another process."""
    command = [sys.executable, str(PEERS / "endpoint.py"), "--latency", str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Server(process.stdout.readline().strip(), process)
        finally:
            process.kill()


class ContestantError(Exception):
    """A contestant cannot be installed or run here; the message is its own last words."""


def run(one: Contestant, server: Server, requests: int, in_flight: int) -> Figures:
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
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise ContestantError(f"not done after {PATIENCE} s") from None
    finally:
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


def _row(*cells: str) -> None:
    """One line of a table, as the docs have it."""
    print(f"| {' | '.join(cells)} |", flush=True)


def measure_server(bench: Bench) -> None:
    """The server without latency, from bare sockets."""
    rates = []
    with served(0.0) as server:
        for _ in range(bench.repeats):
            figures = run(CEILING, server, bench.requests(20_000), 64)
            rates.append(figures["answered"] / figures["seconds"])
    sizes = [len(json.loads(line)["prompt"].encode()) for line in pool().read_text().splitlines()]
    _row("server", "figure", "wanted")
    _row(*["---"] * 3)
    _row("bytes of a prompt, mean and median", f"{statistics.mean(sizes):,.0f} and {statistics.median(sizes):,.0f}", "")
    needed = f"more than {512 / LATENCY:,.0f}, what 512 in flight can ask for"
    _row("requests/s without latency, from bare sockets", f"{statistics.median(rates):,.0f}", needed)
    print()


def measure_64(bench: Bench) -> None:
    """64 in flight."""
    bench.compare(64, 4_096, 0.95)


def measure_512(bench: Bench) -> None:
    """512 in flight."""
    bench.compare(512, 20_480, 0.9)


def measure_memory(bench: Bench) -> None:
    """Resident size of one client over many requests."""
    with served(0.002) as server:
        figures = run(SLUICE, server, bench.requests(200_000), 64)
    tenth, end, peak = (figures["resident"][name] / 1e6 for name in ("tenth", "end", "peak"))
    requests, rate = figures["answered"], figures["answered"] / figures["seconds"]
    _row("memory, 64 in flight, 2 ms", "figure", "wanted")
    _row(*["---"] * 3)
    _row(f"resident after {requests // 10:,} requests", f"{tenth:,.0f} MB", "")
    _row(f"resident after {requests:,}", f"{end:,.0f} MB; at most {peak:,.0f} MB in between", "")
    _row("growth", f"{end / tenth:.3f}", "at most 1.1")
    _row("requests/s of one client", f"{rate:,.0f}", "")
    _row("CPU s per 1,000 requests", f"{figures['cpu'] / requests * 1_000:.2f}", "at most 0.5")
    print()


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
    print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    for name in given.section or SECTIONS:
        SECTIONS[name](bench)
    print(f"load average after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
