"""Configs: what a user may say, checked before anything runs."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from transforms.io import plain_yaml

MAX_CONFIG_BYTES = 1024 * 1024


class ConfigError(Exception):
    """The config or the command line is wrong; the message says where and what was expected."""


class Model(BaseModel):
    """A part of a config: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MappingConfig(Model):
    """Where a chat schema nobody foresaw keeps what a conversation needs: column names, or fields of a turn."""

    turns: str = Field(description="column with the list of turns")
    role: str = Field("role", description="field of a turn that says who speaks")
    content: str = Field("content", description="field of a turn that holds the text")
    roles: dict[str, Literal["system", "user", "assistant", "tool"]] = Field(
        default_factory=dict, description="the source's role names, where they are not the usual ones"
    )
    id: str | None = Field(None, description="column with the conversation's id")
    user: str | None = Field(None, description="column with the user's key")
    model: str | None = Field(None, description="column with the model's name")
    language: str | None = Field(None, description="column with the language")
    time: str | None = Field(None, description="column with the time, a timestamp or ISO 8601 text")
    toxic: str | None = None
    redacted: str | None = None
    message_user: str | None = None
    message_language: str | None = None
    message_time: str | None = None


class SourceConfig(Model):
    """One source: files, and how to open them."""

    uri: Annotated[list[str], Field(min_length=1)] = Field(
        description="files, globs or directories; local or any fsspec scheme (s3://, gs://, hf://, https://)"
    )
    root: str | None = Field(None, description="what source_uri is relative to; default: the directory")
    storage_options: dict[str, Any] = Field(default_factory=dict, description="passed to fsspec; never published")

    @field_validator("uri", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @property
    def code(self) -> str | None:
        """FILE.py:FUNCTION of the user's own that reads it."""
        return None


class ChatSourceConfig(SourceConfig):
    """One source of conversations."""

    format: str = Field(
        "auto", description="auto, wildchat, lmsys, sharegpt, openassistant, openai, mapping, or FILE.py:FUNCTION"
    )
    mapping: MappingConfig | None = Field(None, description="columns and fields, for format: mapping")

    @property
    def code(self) -> str | None:
        """FILE.py:FUNCTION of the user's own that reads it."""
        return self.format if self.format.partition(":")[0].endswith(".py") else None

    @model_validator(mode="after")
    def _mapping_fits(self) -> ChatSourceConfig:
        if (self.format == "mapping") != (self.mapping is not None):
            raise ValueError("format: mapping and a mapping go together")
        return self


class DocumentMappingConfig(Model):
    """Which columns of JSON lines and Parquet hold what a document needs."""

    text: str
    id: str | None = None
    url: str | None = None
    title: str | None = None
    date: str | None = None
    origin: str | None = None


class DocumentSourceConfig(SourceConfig):
    """One source of documents."""

    mapping: DocumentMappingConfig | None = Field(
        None, description="columns of rows; default: those under the names that docs/documents.md lists"
    )
    text_by: Literal["file", "line", "paragraph"] = Field("file", description="what is a document in a text file")


class StageConfig(Model):
    """A stage of the user's own: a function from a Polars frame to a frame, which rejects rows by a ``reason`` column."""

    use: str = Field(pattern=r"^[^:]+\.py:\w+$", description="FILE.py:FUNCTION, the file relative to the config")
    after: str = Field(description="name of the stage it follows")


class DatasetConfig(Model):
    """How the dataset is called and described."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    title: str | None = None
    description: str = ""
    license: str = Field("other", description="licence of the published data, as a Hugging Face identifier")


class BudgetConfig(Model):
    """What one run may spend on models; it ends when nothing is left, and a rerun goes on from there."""

    max_requests: int | None = Field(None, ge=1)
    max_cost: float | None = Field(None, gt=0, description="in the currency of the models' prices")


class RunConfig(Model):
    """What every pipeline's config has."""

    pipeline: str
    dataset: DatasetConfig
    sources: Annotated[Sequence[SourceConfig], Field(min_length=1)]
    output: str | None = Field(
        None, description="directory of the dataset, or a URI such as s3://bucket/folder; --output wins"
    )
    on_source_error: Literal["fail", "skip"] = Field(
        "fail", description="fail: nothing is published while a source cannot be read; skip: publish without it"
    )
    max_line_bytes: int = Field(16 * 1024 * 1024, gt=0, description="longer JSON lines are rejected rows")
    split_bytes: int = Field(64 * 1024 * 1024, ge=1024, description="size of a split, in bytes of Arrow")
    shard_bytes: int = Field(512 * 1024 * 1024, ge=1024, description="source bytes whose rows share a shard")
    limit: int | None = Field(None, gt=0, description="read only so many source rows, for a trial")
    stages: list[StageConfig] = Field(default_factory=list, description="stages of the user's own")
    budget: BudgetConfig = BudgetConfig()
    max_failed: float = Field(
        0.5, ge=0, le=1, description="share of a stage's requests that may fail before nothing is published"
    )

    def deciding(self) -> dict[str, Any]:
        """The settings that decide a part's bytes. Where data lies and where it goes do not."""
        aside = {"dataset", "sources", "output", "on_source_error", "shard_bytes", "budget", "max_failed"}
        return self.model_dump(mode="json", exclude=aside)


def locate(name: str) -> Path:
    """A config by path, or one that ships with Sluice by name (``feedback``, ``quickstart``).

    Raises:
        ConfigError: there is none.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = importlib.resources.files("configs")
    for candidate in (f"{name}.yaml", f"{name}/{name}.yaml"):
        found = Path(str(shipped.joinpath(candidate)))
        if re.fullmatch(r"[\w.-]+", name) and found.is_file():
            return found
    raise ConfigError(f"{name}: expected a config file, or the name of one that ships with Sluice; found neither")


def read(path: Path, overrides: list[str]) -> dict[str, Any]:
    """Load a YAML config and apply ``key.path=value`` overrides, whose values are YAML too.

    ``{here}`` stands for the config's own directory; other relative paths are relative to the working directory.

    Raises:
        ConfigError: it is not a mapping in plain YAML (``transforms.io.plain_yaml``).
    """
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise ConfigError(f"{path}: expected at most {MAX_CONFIG_BYTES} bytes")
    try:
        text = path.read_text("utf-8")
        values = plain_yaml.load(text.replace("{here}", path.resolve().parent.as_posix()))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: expected YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        found = "nothing" if values is None else type(values).__name__
        raise ConfigError(f"{path}: expected a mapping, found {found}")
    for override in overrides:
        _override(values, override)
    return values


def _override(values: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"--set {override}: expected key=value")
    *parents, last = dotted.split(".")
    here: Any = values
    try:
        for name in parents:
            here = here[int(name)] if isinstance(here, list) else here.setdefault(name, {})
        here[int(last) if isinstance(here, list) else last] = plain_yaml.load(text)
    except (TypeError, IndexError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise ConfigError(f"--set {override}: {dotted} is no place in the config: {error}") from error


C = TypeVar("C", bound=Model)


def validate(kind: type[C], values: dict[str, Any], path: Path) -> C:
    """Check a config against its model.

    Raises:
        ConfigError: the first thing that is wrong, and where.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        found = "" if first["type"] == "missing" else f"; found {str(first['input'])[:80]!r}"
        raise ConfigError(f"{path}: {where}: {first['msg']}{found}{more}") from error
