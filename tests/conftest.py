"""What all tests share: a fixed user key, Hypothesis without deadlines, and the real chats where they are at hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.servers import s3_server
from tests.servers.s3_server import Store

settings.register_profile(
    "sluice",
    deadline=None,
    max_examples=60,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("sluice")

SHARED_CHATS = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "chats"


@pytest.fixture(autouse=True)
def _user_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep runs from making a key file in the home of whoever runs the tests."""
    monkeypatch.setenv("SLUICE_USER_KEY", "a key for tests")


@pytest.fixture(scope="session")
def store() -> Iterator[Store]:
    """An S3-compatible server in a process of its own."""
    with s3_server.serving() as running:
        yield running


@pytest.fixture
def out(store: Store, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """An empty folder on the store."""
    return s3_server.folder(store, monkeypatch, request.node.name)


@pytest.fixture(scope="session")
def shared_chats() -> Path:
    """The folder of real chats, which only some checkouts have beside them."""
    if not SHARED_CHATS.is_dir():
        pytest.skip(f"no real chats at {SHARED_CHATS}")
    return SHARED_CHATS
