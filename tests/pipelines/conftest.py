"""The bundled sample, run once by the command."""

from __future__ import annotations

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
    """Not to be written to; take a copy."""
    output = tmp_path_factory.mktemp("quickstart") / "out"
    facts = sluice("run", "quickstart", "--output", output, "--json", "--workers", "2").json
    return Quickstart(output, Path(facts["snapshot"]), facts)
