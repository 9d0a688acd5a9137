"""From a config to files, splits and a plan hash. Touches nothing but the heads and tails of the sources."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from pipelines.config import ConfigError, RunConfig
from pipelines.recipe import Recipe
from pipelines.usercode import OwnStage, UserFunction
from schemas.provenance import SourceFile, Split
from transforms.chunks import AnyStage, Stage
from transforms.io import files, reading, sources, splits
from transforms.io.sources import Found, Probe, Recognised, Source, SourceError
from transforms.io.splits import Splits

READING = ("read", "read keys")
"""Where a failure is the source's, not a stage's."""


_PROBED_AT_ONCE: Final = 1_000
"""Files whose heads and footers are in memory together; a footer of many row groups takes megabytes."""


@dataclass(frozen=True)
class Sources:
    """Every source file in order of its relative URI, and the splits of those that can be read."""

    files: list[SourceFile]
    splits: Splits


def discover(config: RunConfig, source: Source, output: Path | None = None) -> Sources:
    """Find and probe every source file, and cut it into splits.

    A file that cannot be read stands in the list with its error, and has no splits. Files under ``output``
    are not sources, though the dataset may lie in a source's directory.

    Raises:
        SourceError: a URI matches nothing.
        ConfigError: two files have one relative URI.
    """
    found: list[tuple[int, Found]] = []
    for index, entry in enumerate(config.sources):
        found += [
            (index, file) for file in sources.find(entry.uri, entry.root, entry.storage_options, source.containers)
        ]
    if output is not None:
        own = f"{output}/" if files.on_store(output) else f"file://{output.resolve()}/"
        found = [item for item in found if not item[1].uri.startswith(own)]
    found.sort(key=lambda item: item[1].relative_uri)
    for (_, one), (_, other) in zip(found, found[1:], strict=False):
        if one.relative_uri == other.relative_uri:
            raise ConfigError(
                f"sources: {one.uri} and {other.uri} are both {one.relative_uri}; set a common root for their sources"
            )
    small = 0 if config.limit else config.split_bytes // 16
    planned = cut(found, _probes([file for _, file in found], small, source), source, config.split_bytes)
    if config.limit is None:
        return planned
    return Sources(planned.files, Splits.of(limited(planned.splits, config.limit, source)))


def _probes(found: list[Found], small: int, source: Source) -> Iterator[Probe | SourceError]:
    for at in range(0, len(found), _PROBED_AT_ONCE):
        yield from sources.probe_all(found[at : at + _PROBED_AT_ONCE], small, source.containers)


def cut(
    found: Iterable[tuple[int, Found]], probes: Iterable[Probe | SourceError], source: Source, target: int
) -> Sources:
    """Describe files as their probes come, and cut those that can be read; no probe is kept, as footers are large."""
    described: list[SourceFile] = []

    def pieces() -> Iterator[Split]:
        for (index, file), probe in zip(found, probes, strict=True):
            known = _recognised(source, index, file, probe)
            described.append(_source_file(index, file, probe, known))
            if isinstance(probe, Probe) and isinstance(known, Recognised):
                yield from splits.cut(described[-1], probe, target, known.whole)

    planned = Splits.of(pieces())
    return Sources(described, planned)


def _recognised(source: Source, index: int, found: Found, probe: Probe | SourceError) -> Recognised | SourceError:
    """How a file is read, or why it cannot be."""
    if isinstance(probe, SourceError):
        return probe
    try:
        return source.recognised(index, probe)
    except SourceError as error:
        return SourceError(f"{found.uri}: {error}")


def _source_file(index: int, found: Found, probe: Probe | SourceError, known: Recognised | SourceError) -> SourceFile:
    if isinstance(probe, Probe):
        container, size, mark = probe.container, probe.size, probe.fingerprint
    else:
        container, size, mark = sources.container_of(found.path) or "jsonl", found.size or 0, ""
    file = SourceFile(found.uri, found.relative_uri, index, container, "unknown", size, mark, found.stamp, "")
    if isinstance(known, SourceError):
        return replace(file, error=str(known))
    return replace(file, format=known.format, key=file_key(file, known))


def file_key(file: SourceFile, known: Recognised) -> str:
    """Hash of all that decides what a file's splits hold, save the plan: content, name and reader."""
    parts = [file.fingerprint, file.relative_uri, file.container, *known.reader]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


def limited(cut: Sequence[Split], limit: int, source: Source) -> list[Split]:
    """The first splits, the last one shortened, that hold ``limit`` source rows."""
    kept, left = [], limit
    for split in cut:
        if left <= 0:
            break
        if split.file.container == "parquet":
            assert split.stop is not None
            split = replace(split, stop=min(split.stop, split.start + left))
            kept.append(split)
            left -= (split.stop or 0) - split.start
        else:
            rows, stop = source.first_rows(split, left)
            kept.append(replace(split, stop=stop))
            left -= rows
    return kept


def plan_settings(config: RunConfig, recipe: Recipe, own: Sequence[UserFunction], user_key: str) -> dict[str, Any]:
    """Everything that decides a part's bytes, given its split.

    Raises:
        ConfigError: a stage of the user's own has no place (``with_own``).
    """
    stages = with_own(recipe.stages(Path()), config, own)
    fingerprint = hashlib.sha256(b"sluice user key fingerprint\0" + user_key.encode()).hexdigest()[:16]
    return {
        "pipeline": recipe.presentation.pipeline,
        "schema_version": recipe.schema_version,
        "settings": config.deciding(),
        "stages": [
            {"name": "read", "version": recipe.read_version},
            *({"name": stage.name, "version": stage.version} for stage in stages),
        ],
        "own_code": {use.name: use.sha256 for use in own},
        "prompts": recipe.prompts,
        "models": recipe.models,
        **({"user_key": fingerprint} if recipe.publishes_users else {}),
    }


def with_own(stages: tuple[AnyStage, ...], config: RunConfig, own: Sequence[UserFunction]) -> tuple[AnyStage, ...]:
    """Insert the user's own stages after those they name.

    Raises:
        ConfigError: a stage follows one that does not exist, or has the name of another.
    """
    result = list(stages)
    for entry, function in zip(config.stages, own, strict=True):
        names = [stage.name for stage in result]
        if entry.after not in names:
            raise ConfigError(f"stages: {entry.use} follows {entry.after!r}; expected one of {names}")
        if function.name in (*names, *READING, "commit"):
            raise ConfigError(
                f"stages: {entry.use}: a stage is called {function.name} already; give yours another name"
            )
        result.insert(names.index(entry.after) + 1, Stage(function.name, 1, OwnStage(function)))
    return tuple(result)


def plan_hash(settings: dict[str, Any]) -> str:
    """SHA-256 of the plan's settings, in hexadecimal."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def shard_groups(sizes: Sequence[int], target: int) -> list[tuple[int, int]]:
    """Consecutive splits, as (start, stop), that together hold about ``target`` source bytes: one shard each."""
    groups, start, held = [], 0, 0
    for index, size in enumerate(sizes):
        if held and held + size > target:
            groups.append((start, index))
            start, held = index, 0
        held += size
    return [*groups, (start, len(sizes))] if sizes else []


@dataclass
class Ledger:
    """What earlier runs saw of each source: fingerprint, stamp and SHA-256 by relative URI.

    A file that was touched is told from one that changed only in its middle by its SHA-256.
    """

    path: Path

    def settle(self, found: Sources, source: Source) -> Sources:
        """Give files that changed behind an equal fingerprint another key, and note all stamps."""
        seen: dict[str, dict[str, str | None]] = json.loads(self.path.read_bytes()) if self.path.exists() else {}
        changed: dict[str, SourceFile] = {}
        for file in found.files:
            before = seen.get(file.uri)
            if file.error or not before or before["fingerprint"] != file.fingerprint:
                seen[file.uri] = {"fingerprint": file.fingerprint, "stamp": file.stamp, "sha256": None, "salt": ""}
                continue
            if before["stamp"] != file.stamp:
                digest = reading.sha256(file, source.options[file.source])
                if digest != before["sha256"]:
                    before["salt"] = digest
                seen[file.uri] = {**before, "stamp": file.stamp, "sha256": digest}
            if salt := before["salt"]:
                changed[file.uri] = replace(file, key=hashlib.sha256(f"{file.key}{salt}".encode()).hexdigest()[:20])
        self._write(seen)
        settled = [changed.get(file.uri, file) for file in found.files]
        files_of_splits = [changed.get(file.uri, file) for file in found.splits.files]
        return Sources(settled, found.splits.of_files(files_of_splits))

    def record(self, digests: dict[str, str]) -> None:
        """Note the SHA-256 of files that were read whole."""
        seen = json.loads(self.path.read_bytes())
        for uri, digest in digests.items():
            seen[uri]["sha256"] = digest
        self._write(seen)

    def _write(self, seen: dict[str, dict[str, str | None]]) -> None:
        files.write_bytes(self.path, json.dumps(seen, indent=1, sort_keys=True).encode())


def describe(found: Sources) -> list[dict[str, Any]]:
    """Source files for the manifest, without what depends on place or time."""
    keep = ("relative_uri", "container", "format", "size", "error")
    placeless = [replace(f, error=f.error and f.error.replace(f.uri, f.relative_uri)) for f in found.files]
    return [{("uri" if k == "relative_uri" else k): v for k, v in asdict(f).items() if k in keep} for f in placeless]
