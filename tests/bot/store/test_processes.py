"""Several processes at once on one state database, as replicas and people on the command line are."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from bot.store import open_state
from tests.lab.postgres import Postgres

_TOGETHER = """
import sys
from bot.store import open_state
print("ready", flush=True)
sys.stdin.readline()
state = open_state(sys.argv[1])
"""
_WRITE = """
for number in range(int(sys.argv[3])):
    state.runbooks.record("refused", sys.argv[2], "", {"number": number, "says": "ä ☂"})
state.runbooks.engine.dispose()
"""


_NEW_FILES = """
import sqlite3, sys
from bot.store import _durable
print("ready", flush=True)
sys.stdin.readline()
for number in range(100):
    connection = sqlite3.connect(f"{sys.argv[1]}/{number}.db")
    _durable(connection, None)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("CREATE TABLE IF NOT EXISTS t (a)")
    connection.execute("COMMIT")
    connection.close()
"""


def begin_together(program: str, arguments: Sequence[Sequence[str]]) -> list[subprocess.Popen[str]]:
    """Processes that all wait until the last of them is there."""
    began = [
        subprocess.Popen(
            [sys.executable, "-c", program, *each], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        ) for each in arguments
    ]  # fmt: skip
    for process in began:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in began:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return began


def all_ended_well(began: list[subprocess.Popen[str]]) -> None:
    for process in began:
        _, said = process.communicate(timeout=60)
        assert (process.returncode, said) == (0, "")


@pytest.fixture
def empty(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database without any tables."""
    if kind == "sqlite":
        return f"sqlite:///{tmp_path}/empty.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.create_database()


def test_processes_that_make_the_database_at_once_all_get_it(empty: str) -> None:
    all_ended_well(begin_together(_TOGETHER + _WRITE, [(empty, f"cli:{name}", "1") for name in "abcd"]))
    state = open_state(empty)
    assert sorted(row.person for row in state.runbooks.audit_rows()) == ["cli:a", "cli:b", "cli:c", "cli:d"]
    assert state.runbooks.audit_fault() is None
    state.runbooks.engine.dispose()


def test_the_audit_chain_stays_whole_however_many_write_and_looks_whole_meanwhile(database: str) -> None:
    """From its first row on, of which there is no earlier one to wait for."""
    state = open_state(database)
    began = begin_together(_TOGETHER + _WRITE, [(database, f"cli:{name}", "100") for name in "abcd"])
    looks, seen = 0, -1
    while any(process.poll() is None for process in began):
        assert state.runbooks.audit_fault() is None
        rows = len(state.runbooks.audit_rows())
        assert rows >= seen
        looks, seen = looks + 1, rows
    all_ended_well(began)
    rows = state.runbooks.audit_rows()
    assert [row.seq for row in rows] == list(range(1, 401))
    assert {name: sum(row.person == name for row in rows) for name in {row.person for row in rows}} == dict.fromkeys(
        ("cli:a", "cli:b", "cli:c", "cli:d"), 100
    )
    assert looks > 1
    state.runbooks.engine.dispose()


def test_whoever_opens_a_new_file_with_others_waits_for_them(tmp_path: Path) -> None:
    """SQLite refuses the change to a write-ahead log at once while another process opens the file."""
    all_ended_well(begin_together(_NEW_FILES, [(str(tmp_path),)] * 5))
