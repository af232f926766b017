"""Everything that the bot keeps is kept alike in SQLite and in a real PostgreSQL."""

import pytest

from tests.lab.databases import BOTH, database, postgres

__all__ = ["database", "kind", "postgres"]


@pytest.fixture(params=BOTH)
def kind(request: pytest.FixtureRequest) -> str:
    """Each of the two databases."""
    return str(request.param)
