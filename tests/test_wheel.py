"""The wheel: built, installed with what it declares and nothing else, and used where folders have our names."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import pipelines
from tests.builders import write

pytestmark = pytest.mark.faults

ROOT = Path(pipelines.__file__).parents[1]
UV = Path(sys.executable).with_name("uv")
ROOMS = ("pipelines", "transforms", "schemas", "configs")


@dataclass(frozen=True)
class Installed:
    """A wheel, and the environment that holds it and its dependencies."""

    wheel: Path
    bin: Path

    def python(self, *arguments: str, cwd: Path) -> str:
        return said(self.bin / "python", "-P", *arguments, cwd=cwd)


def said(*command: str | Path, cwd: Path) -> str:
    ended = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False, timeout=280)
    assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    said(UV, "build", "--quiet", "--wheel", "--out-dir", folder / "dist", ROOT, cwd=folder)
    (wheel,) = (folder / "dist").glob("*.whl")
    environment = folder / "environment"
    said(UV, "venv", "--quiet", "--python", sys.executable, environment, cwd=folder)
    locked = ("--constraint", ROOT / "requirements.lock")
    said(UV, "pip", "install", "--quiet", "--python", environment / "bin" / "python", *locked, wheel, cwd=folder)
    return Installed(wheel, environment / "bin")


IMPORT_ALL = """
import importlib, pkgutil, sys
found = []
for room in ("pipelines", "transforms", "schemas"):
    package = importlib.import_module(room)
    found += [room, *(module.name for module in pkgutil.walk_packages(package.__path__, f"{room}."))]
for name in found:
    module = importlib.import_module(name)
    assert "site-packages" in module.__file__, module.__file__
print(*found, sep="\\n")
"""


def test_every_module_imports_with_the_declared_dependencies_alone(installed: Installed, tmp_path: Path) -> None:
    imported = set(installed.python("-c", IMPORT_ALL, cwd=tmp_path).split())
    sources = [path for room in ROOMS[:3] for path in (ROOT / room).rglob("*.py")]
    expected = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in sources}
    assert imported == expected
    assert len(imported) > 60


def test_the_wheel_holds_all_rooms_and_nothing_else(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    tracked = said("git", "ls-files", "--cached", "--others", "--exclude-standard", *ROOMS, cwd=ROOT).splitlines()
    assert set(names) == {name for name in tracked if (ROOT / name).exists()}
    for name in (
        "configs/feedback/prompts/judge.yaml",
        "configs/runners/dataflow.yaml",
        "configs/templates/card.md.j2",
    ):
        assert name in names


def test_the_command_works_where_folders_have_our_names(installed: Installed, tmp_path: Path) -> None:
    for room in ROOMS:
        write(tmp_path / room / "__init__.py", b"raise ImportError('not ours')")
    shown = said(installed.bin / "sluice", "config", "show", "feedback", cwd=tmp_path)
    assert shown.startswith("pipeline: feedback")


def test_the_quickstart_runs_from_the_wheel(installed: Installed, tmp_path: Path) -> None:
    said(installed.bin / "sluice", "run", "quickstart", "--output", tmp_path / "out", "--quiet", cwd=tmp_path)
    assert "sound" in said(installed.bin / "sluice", "verify", tmp_path / "out", cwd=tmp_path)
