"""The pipelines there are, by the name that a config's ``pipeline`` has. Each is imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol

from pipelines.config import ConfigError, RunConfig
from pipelines.presentations import PIPELINES

if TYPE_CHECKING:
    from pathlib import Path

    from pipelines.recipe import Recipe
    from transforms.io.sources import Source


class Pipeline(Protocol):
    """A module of ``pipelines``: its config's model, how its sources are read, and its recipe."""

    CONFIG: type[RunConfig]

    def source(self, config: Any, base: Path) -> Source:
        """How the config's sources are read; files it names are relative to ``base``."""

    def recipe(self, config: Any, source: Any, user_key: str) -> Recipe:
        """All that the runner needs to know."""


def named(name: object, where: Path | str) -> Pipeline:
    """The pipeline of that name.

    Raises:
        ConfigError: there is none; ``where`` says in which config.
    """
    if name not in PIPELINES:
        raise ConfigError(f"{where}: pipeline: expected {' or '.join(PIPELINES)}, found {name!r}")
    module: Any = importlib.import_module(f"pipelines.{name}")
    return module  # type: ignore[no-any-return]
