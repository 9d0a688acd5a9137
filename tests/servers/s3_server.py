"""An S3-compatible server (moto's) in a process of its own, and what tells S3 clients to talk to it.

Started as a program it serves until its standard input ends.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

BUCKET = "bucket"
SECRET = "a-secret-of-the-tests"


@dataclass(frozen=True)
class Store:
    """A running server. ``environment`` is what S3 clients want; they read it when they are first used."""

    endpoint: str
    process: subprocess.Popen[str]

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }


@contextmanager
def serving() -> Iterator[Store]:
    """Start a server, and end it."""
    command = [sys.executable, "-P", __file__]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        yield Store(process.stdout.readline().strip(), process)
        process.kill()


def folder(store: Store, monkeypatch: pytest.MonkeyPatch, name: str) -> Path:
    """An empty folder on a store, for this process and those that it starts."""
    from transforms.io import files

    for variable, value in store.environment.items():
        monkeypatch.setenv(variable, value)
    forget_clients()
    path = files.located(f"s3://{BUCKET}/{re.sub('[^a-z0-9]+', '-', name)}")
    fs: Any = path.fs  # type: ignore[attr-defined]
    if not fs.exists(BUCKET):
        fs.mkdir(BUCKET)
    files.remove(path)
    return path


def forget_clients() -> None:
    """Have clients made anew, of what the environment says now."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


def main() -> None:
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
