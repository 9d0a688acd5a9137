"""Small chats, and three ways through the pipeline: the command, a run in this process, and the bare stages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from rich.console import Console
from typer.testing import CliRunner

from pipelines import config as configs
from pipelines import feedback, planning, userkey
from pipelines import run as running
from pipelines.cli import app
from pipelines.feedback import FeedbackConfig
from pipelines.progress import Progress
from pipelines.recipe import Recipe
from pipelines.usercode import UserFunction
from schemas.feedback import KEPT, REJECTED
from schemas.provenance import Counts, Receipt, StageCount
from tests.builders import jsonl, write
from transforms.chunks import apply
from transforms.io import keys, snapshots
from transforms.io.chats import ChatSource
from transforms.io.tables import shaped

Row = dict[str, Any]

COMMAND = Path(sys.executable).with_name("sluice")
KEY = "a key for tests"

JUDGE = r"""
name: told
version: 1
default: 3
rules:
  - {id: one, label: 1, pattern: '^(awful|糟糕)'}
  - {id: two, label: 2, pattern: '^(wrong|不对)'}
  - {id: four, label: 4, pattern: '^(nice|不错)'}
  - {id: five, label: 5, pattern: '^(thanks|谢谢)'}
"""
"""A judge for tests, which stays as it is when the shipped rules are mended: the first word tells the level."""

ASK = "Please tell me how one sorts a long list of names in Python."
ANSWER = "You call the function named sorted on the list, and it gives you back a new list in order."


def chat(number: int | str, *texts: str | None, user: str | None = "", **facts: Any) -> Row:
    """A chat in WildChat's schema, user and assistant in turn; by default each of a user of its own, in English."""
    turns = [{"role": "assistant" if at % 2 else "user", "content": text} for at, text in enumerate(texts)]
    return {
        "conversation_hash": f"c{number}",
        "hashed_ip": f"ip{number}" if user == "" else user,
        "model": "gpt-4",
        "language": "English",
        "conversation": turns,
        **facts,
    }


def scored(number: int | str, *feedback: str, **facts: Any) -> Row:
    """A chat whose every answer is followed by one of the messages, which ask nothing anew."""
    texts = [f"{ASK} Number {number}, if you please.", f"{ANSWER} This is number {number}."]
    for at, said in enumerate(feedback):
        texts += [said, f"{ANSWER} And this is the answer number {at} of {number}."]
    return chat(number, *texts, **facts)


def config(folder: Path, *uris: Path | str, **settings: Any) -> Path:
    """A config over some sources in a file of its own; without mining, and with the judge for tests, unless said."""
    judge = write(folder / "judge.yaml", JUDGE.encode())
    values = {
        "pipeline": "feedback",
        "dataset": {"name": "test", "license": "cc0-1.0"},
        "sources": [{"uri": [str(uri) for uri in uris]}],
        "judge": {"rules": str(judge)},
        "mining": {"window": 0, "encoder": "lexical"},
        **settings,
    }
    return write(folder / "config.yaml", yaml.safe_dump(values, allow_unicode=True, sort_keys=False).encode())


# --- the command ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """What a command printed, and the code it ended with."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """The one line that an error is told in; the command that resumes may follow it."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        told = [line for line in lines if not line.startswith("resume with: ")]
        assert len(told) == 1, f"expected one line, found:\n{self.err}"
        assert told[0].startswith("sluice: "), told[0]
        return told[0].removeprefix("sluice: ")


def environment(**more: str) -> dict[str, str]:
    """What the command is started with."""
    return {**os.environ, "SLUICE_USER_KEY": KEY, "NO_COLOR": "1", "COLUMNS": "200", **more}


def sluice(*arguments: str | Path, cwd: Path | None = None, expect: int = 0, **variables: str) -> Said:
    """Run the command."""
    ended = subprocess.run(
        [COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(**variables),
        check=False,
        timeout=120,
    )
    assert ended.returncode == expect, f"exit {ended.returncode}, expected {expect}\n{ended.stdout}\n{ended.stderr}"
    assert "Traceback" not in ended.stderr, ended.stderr
    return Said(ended.returncode, ended.stdout, ended.stderr)


def here(*arguments: str | Path, expect: int = 0) -> Said:
    """Run the command in this process, which spares starting another; not for runs, which take over its signals."""
    ended = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert ended.exit_code == expect, f"exit {ended.exit_code}, expected {expect}\n{ended.output}"
    assert not ended.exception or isinstance(ended.exception, SystemExit), ended.exception
    return Said(ended.exit_code, ended.stdout, ended.stderr)


# --- a run in this process --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dataset:
    """A published snapshot."""

    output: Path
    snapshot: Path

    @property
    def manifest(self) -> Row:
        return snapshots.manifest(self.snapshot)

    @property
    def kept(self) -> list[Row]:
        return snapshots.scan(self.snapshot, "data", KEPT).collect().to_dicts()

    @property
    def rejected(self) -> list[Row]:
        return snapshots.scan(self.snapshot, "rejected", REJECTED).collect().to_dicts()

    def reasons(self) -> Counter[str]:
        """Rejections per reason."""
        return Counter(row["reason"] for row in self.rejected)

    def one(self, **facts: Any) -> Row:
        """The one kept or rejected row with these values."""
        (row,) = [r for r in (*self.kept, *self.rejected) if all(r.get(k) == v for k, v in facts.items())]
        return row


@dataclass(frozen=True)
class Loaded:
    """A config, checked, and what the runner makes of it."""

    config: FeedbackConfig
    source: ChatSource
    own: tuple[UserFunction, ...]
    key: str
    recipe: Recipe

    def settings(self) -> Row:
        """What decides bytes."""
        return planning.plan_settings(self.config, self.recipe, list(self.own), self.key)


def load(path: Path, *overrides: str) -> Loaded:
    """Read a config as the command does, and allow its code."""
    loaded = configs.validate(FeedbackConfig, configs.read(path, list(overrides)), path)
    source = feedback.source(loaded, path.parent)
    key = userkey.dataset_key(loaded.dataset.name, create=False)
    own = tuple(UserFunction.load(stage.use, path.parent) for stage in loaded.stages)
    return Loaded(loaded, source, own, key, feedback.recipe(loaded, source, key))


def _lost(claim: str) -> None:
    raise AssertionError(f"a worker was lost at {claim}")


def publish(path: Path, output: Path, *overrides: str) -> Dataset:
    """Run a config with one worker, in this process."""
    given = load(path, *overrides)
    progress = Progress(Console(stderr=True), quiet=True)
    job = running.Job(given.config, given.recipe, given.source, given.own, given.key, output, 1, _lost, progress)
    return Dataset(output, running.run(job).snapshot)


# --- the bare stages --------------------------------------------------------------------------------------------


@dataclass
class Carried:
    """What all stages made of some chats, with neither Beam nor files in between."""

    kept: list[Row] = field(default_factory=list)
    rejected: list[Row] = field(default_factory=list)
    counts: list[StageCount] = field(default_factory=list)

    @property
    def outcomes(self) -> dict[str, str]:
        """Every instance's outcome by its id."""
        found = [*self.kept, *(row for row in self.rejected if row["unit"] == "instance")]
        assert len({row["instance_id"] for row in found}) == len(found), "ids are needed that name one instance"
        return {row["instance_id"]: row.get("reason") or f"label {row['label']}" for row in found}

    @property
    def totals(self) -> Counts:
        """Both ledgers."""
        receipt = Receipt("", "", "", len(self.kept), len(self.rejected), tuple(self.counts), {}, {}, 0.0)
        return snapshots.total([receipt])[0]


def carry(folder: Path, rows: Iterable[Row], *overrides: str, **settings: Any) -> Carried:
    """Carry chats through all stages of the pipeline; ``folder`` must be new."""
    return through(config(folder, write(folder / "chats.jsonl", jsonl(rows)), **settings), *overrides)


def through(path: Path, *overrides: str) -> Carried:
    """Carry what a config names through all stages of the pipeline."""
    given = load(path, *overrides)
    splits = planning.discover(given.config, given.source).splits
    lists = find_lists(given.recipe, splits, path.parent / "lists")
    told = Carried()
    for split in splits:
        for chunk in given.recipe.read(split):
            for stage in planning.with_own(given.recipe.stages(lists), given.config, given.own):
                chunk = apply(stage, chunk, given.recipe.reject)
            told.kept += shaped(pl.DataFrame(chunk.kept), given.recipe.presentation.kept).to_pylist()
            told.rejected += chunk.rejected.to_pylist()
            told.counts += chunk.stages
    return told


def find_lists(recipe: Recipe, splits: Sequence[Any], lists: Path) -> Path:
    """The key pass without Beam."""
    tables = [found for split in splits for found in recipe.key_pass.keywords["read_keys"](split)]
    exchanges = pl.concat([keys.identified(found) for found in tables])
    repeated, edges = keys.duplicates(exchanges.drop("conversation"))
    shared = keys.shared(exchanges.select("conversation", "owner").unique())
    groups = keys.components(pl.concat([edges, shared])).to_arrow()
    for found in tables:
        own = repeated.filter(pl.col("split") == found.split.key).drop("split")
        keys.write_list(lists, found.split.key, [keys.owners(found).to_arrow(), own.to_arrow()], [groups])
    return lists
