"""A fresh state database for a test, on SQLite or on a real PostgreSQL: the same tests hold on both."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.store import open_state
from tests.lab.postgres import Postgres

BOTH = ["sqlite", pytest.param("postgres", marks=pytest.mark.real)]
"""The parameters of a fixture `kind` for tests that hold on both."""


def _prepare(url: str) -> None:
    open_state(url).runbooks.engine.dispose()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """The real server of all these tests."""
    server = Postgres.start(tmp_path_factory.mktemp("postgres"))
    yield server
    server.stop()


@pytest.fixture
def kind() -> str:
    """Which database: SQLite, unless a module or a folder says both."""
    return "sqlite"


@pytest.fixture
def database(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a fresh database, for this test alone."""
    if kind == "sqlite":
        return f"sqlite:///{tmp_path}/state.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.prepared("state_of_tests", _prepare)
