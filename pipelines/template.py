"""The Flex Template: a Dataflow job of one step on one worker, which drives a run whose passes are jobs of their own.

A template launches exactly one job and does not wait for it, while a run is several with decisions between them. So the
command itself runs inside a worker. If that worker is lost, Dataflow starts the step again and the run resumes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import apache_beam as beam
import fsspec
from apache_beam.options.pipeline_options import PipelineOptions

_COMMAND = "from pipelines.cli import main; main()"


class DriveError(Exception):
    """The run failed or was refused; the message is the command's own."""


class Drive(beam.DoFn):
    """Arguments of ``sluice run`` to what it printed; those that name files elsewhere are fetched first."""

    def process(self, arguments: Sequence[str]) -> Iterator[str]:
        with tempfile.TemporaryDirectory() as folder:
            given = [_fetched(argument, Path(folder)) for argument in arguments]
            command = [sys.executable, "-P", "-c", _COMMAND, "run", *given, "--json"]
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            told = [line for line in ended.stderr.splitlines() if line.startswith("sluice: ")]
            raise DriveError(told[-1] if told else f"sluice: exit {ended.returncode}: {ended.stderr[-500:]}")
        yield ended.stdout


def _fetched(argument: str, folder: Path) -> str:
    """A YAML file on Cloud Storage as a local one; anything else as it is."""
    if not (argument.startswith("gs://") and argument.endswith(".yaml")):
        return argument
    path = folder / f"{len(list(folder.iterdir()))}.yaml"
    with fsspec.open(argument, "rb") as stream:
        path.write_bytes(stream.read())
    return str(path)


def arguments(config: str, output: str, profile: str, overrides: Sequence[str]) -> list[str]:
    """The template's parameters as arguments of ``sluice run``."""
    sets = [part for override in overrides for part in ("--set", override)]
    return [config, "--output", output, "--runner", profile, *sets]


def main(argv: Sequence[str] | None = None) -> None:
    """Build the driving job and hand it to the launcher, which must not be kept waiting."""
    parser = argparse.ArgumentParser(prog="launch.py", allow_abbrev=False)
    for name in ("config", "output", "profile"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--set", type=json.loads, default=[])
    known, rest = parser.parse_known_args(argv)
    pipeline = beam.Pipeline(options=PipelineOptions(rest, save_main_session=False))
    given = arguments(known.config, known.output, known.profile, known.set)
    pipeline | "arguments" >> beam.Create([given], reshuffle=False) | "drive" >> beam.ParDo(Drive())
    pipeline.run()
