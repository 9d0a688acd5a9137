"""Committing files: written under a name unique to the attempt, then renamed in one step."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pyarrow as pa

_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_ATTEMPT: Final = re.compile(r"\..+\.\d+-[0-9a-f]{8}")


@contextmanager
def committed(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to, and rename it to ``path`` if the block succeeds.

    Raises:
        OSError: there is no room; the message names the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    attempt = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        yield attempt
        os.replace(attempt, path)
    except OSError as error:
        if error.errno in _FULL:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise
    finally:
        attempt.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes were writing below a folder; nobody else may be writing there."""
    for parent, _, names in os.walk(folder):
        for name in names:
            if _ATTEMPT.fullmatch(name):
                Path(parent, name).unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Commit a small file."""
    with committed(path) as attempt:
        attempt.write_bytes(data)


def write_arrow(path: Path, table: pa.Table) -> None:
    """Commit a table as an Arrow IPC file, LZ4-compressed."""
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with committed(path) as attempt, pa.ipc.new_file(str(attempt), table.schema, options=options) as writer:
        writer.write_table(table)


def read_arrow(path: Path) -> pa.Table:
    """Read an Arrow IPC file whole."""
    with pa.OSFile(str(path), "rb") as source:
        return pa.ipc.open_file(source).read_all()


def sha256(path: Path) -> str:
    """SHA-256 of a local file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
