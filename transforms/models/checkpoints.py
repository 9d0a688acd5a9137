"""Checkpoints: what tells one from another, without loading it."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Final

WHOLE: Final = frozenset({".json", ".jinja", ".txt", ".model", ".tiktoken", ".py"})
"""Configuration, tokenizer and code: read whole."""

SAMPLED: Final = frozenset({".safetensors", ".bin", ".pt", ".pth", ".gguf"})
"""Weights: size, head, tail, and pieces in between."""

_NOT_THE_MODEL: Final = re.compile(
    r"(?:trainer_state|all_results|train_results|eval_results)\.json|(?:requirements|LICENSE.*)\.txt"
    r"|(?:training_args|optimizer|scheduler|scaler|rng_state.*)\.(?:bin|pt|pth)"
)
_OTHER_FOLDER: Final = re.compile(r"\..*|checkpoint-\d+|runs|__pycache__")
_HUB_ID: Final = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)?", re.ASCII)
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_PIECE: Final = 64 * 1024
_PIECES: Final = 32


class CheckpointError(ValueError):
    """There is no such checkpoint, or it cannot be loaded; the message names it."""


def fingerprint(path_or_id: str, revision: str | None = None) -> str:
    """What tells a checkpoint from others, in well under a second.

    A local one gets ``sha256:`` and the digest of its configuration, tokenizer, chat template and code, and of its weights'
    names, sizes and 32 pieces of 64 KiB spread from head to tail; neither its place nor its times count. A Hugging Face
    id gets ``id@commit``, if the local cache knows the commit of the revision (``main`` unless given), else ``id@revision``.

    Raises:
        CheckpointError: neither a folder or file that is there, nor an id.
    """
    path = Path(path_or_id).expanduser()
    if path.is_dir():
        return _digest(path, _files(path), path_or_id)
    if path.is_file():
        return _digest(path.parent, [path], path_or_id)
    if not _HUB_ID.fullmatch(path_or_id):
        raise CheckpointError(
            f"model {path_or_id!r}: no such folder, and no Hugging Face id; give the folder with config.json, or owner/name"
        )
    return f"{path_or_id}@{_commit(path_or_id, revision or 'main')}"


def _files(folder: Path) -> list[Path]:
    """The files that make the model, in the order of their paths within the folder."""
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not _OTHER_FOLDER.fullmatch(name)]
        found += [
            Path(root, name)
            for name in names
            if Path(name).suffix in WHOLE | SAMPLED and not name.startswith(".") and not _NOT_THE_MODEL.fullmatch(name)
        ]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _digest(folder: Path, files: list[Path], name: str) -> str:
    """SHA-256 over names, sizes and contents."""
    if not files:
        raise CheckpointError(f"model {name!r}: the folder holds no checkpoint; give the one with config.json")
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()}\0{size}\0".encode("utf-8", "surrogateescape"))
        with path.open("rb") as file:
            if path.suffix in WHOLE or size <= _PIECE * _PIECES:
                while block := file.read(1 << 20):
                    digest.update(block)
            else:
                for piece in range(_PIECES):
                    file.seek((size - _PIECE) * piece // (_PIECES - 1))
                    digest.update(file.read(_PIECE))
    return f"sha256:{digest.hexdigest()}"


def _commit(repository: str, revision: str) -> str:
    """The commit that the local cache has for a revision; the revision itself if there is none."""
    if _COMMIT.fullmatch(revision):
        return revision
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return revision
    file = try_to_load_from_cache(repository, "config.json", revision=revision)
    return Path(file).parent.name if isinstance(file, str) else revision
