"""The bundled sample, run once by the command."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.rig import Dataset, sluice


@dataclass(frozen=True)
class Quickstart(Dataset):
    """What ``sluice run quickstart --json`` published and said."""

    facts: dict[str, Any]


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Quickstart:
    """Not to be written to; take a copy. One run serves all processes that tests are dealt out to."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    output, told = folder / "quickstart", folder / "quickstart.json"
    with (folder / "quickstart.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            told.write_text(sluice("run", "quickstart", "--output", output, "--json", "--workers", "1").out)
    facts = json.loads(told.read_bytes())
    return Quickstart(output, Path(facts["snapshot"]), facts)
