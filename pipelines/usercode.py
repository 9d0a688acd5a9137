"""A user's own reader or stage: a function in a file that the config names.

Running it is running the config's author's code, so the command line has to allow it (``--trust-code``).
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.config import ConfigError
from schemas.provenance import Split
from transforms.chunks import StageError


@dataclass(frozen=True, slots=True)
class UserFunction:
    """A function by file and name, loaded where it is called; the file must still be the planned one."""

    path: str
    name: str
    sha256: str

    @classmethod
    def load(cls, spec: str, base: Path) -> UserFunction:
        """Find ``FILE.py:FUNCTION``, the file relative to ``base``.

        Raises:
            ConfigError: there is no such file or function, or the file cannot be loaded.
        """
        file, _, name = spec.rpartition(":")
        path = base / file
        try:
            found = cls(str(path.resolve()), name, hashlib.sha256(path.read_bytes()).hexdigest())
        except OSError as error:
            raise ConfigError(f"{spec}: expected a Python file at {path}: {error.strerror}") from error
        _function(found)
        return found

    def __call__(self, *arguments: Any) -> Any:
        return _function(self)(*arguments)


@dataclass(frozen=True, slots=True)
class OwnStage:
    """A user's function as a stage: it is given the frame alone. An empty reason becomes ``stage_failed``."""

    function: UserFunction

    def __call__(self, frame: pl.DataFrame, split: Split) -> pl.DataFrame:
        result = self.function(frame)
        if not isinstance(result, pl.DataFrame):
            raise StageError(f"{self.function.name}: expected a polars.DataFrame, found {type(result).__name__}")
        if "reason" not in result.columns:
            return result
        reason = pl.col("reason").cast(pl.String)
        return result.with_columns(reason=pl.when(reason == "").then(pl.lit("stage_failed")).otherwise(reason))


@functools.lru_cache
def _function(wanted: UserFunction) -> Callable[..., Any]:
    path = Path(wanted.path)
    if hashlib.sha256(path.read_bytes()).hexdigest() != wanted.sha256:
        raise ConfigError(f"{path}: changed while the run was under way; run the same command again")
    spec = importlib.util.spec_from_file_location(f"sluice_user_{wanted.sha256[:12]}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's code raises
        raise ConfigError(f"{path}: cannot be loaded: {type(error).__name__}: {error}") from error
    function = getattr(module, wanted.name, None)
    if not callable(function):
        raise ConfigError(f"{path}: expected a function named {wanted.name}")
    return function  # type: ignore[no-any-return]
