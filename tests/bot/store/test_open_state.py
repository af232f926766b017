"""Opening the state database: made, migrated and private; or refused in one sentence that holds no password."""

import os
import sqlite3
import stat
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, inspect, text

import bot.store as package
from bot.store import HEAD, State, open_state, postgres
from bot.store.tables import metadata as bot
from runbooks.database import StoreError
from runbooks.tables import metadata as runbooks


def refusal(url: str) -> str:
    """The sentence that refuses it."""
    with pytest.raises(StoreError) as caught:
        open_state(url)
    said = str(caught.value)
    assert "\n" not in said
    assert caught.value.__cause__ is None
    return said


def test_the_newest_migration_makes_exactly_the_tables_that_the_code_uses(database: str) -> None:
    engine = open_state(database).runbooks.engine
    together = MetaData()
    for metadata in (runbooks, bot):
        for table in metadata.tables.values():
            table.to_metadata(together)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, together) == []
        assert context.get_current_revision() == HEAD
        assert set(inspect(connection).get_table_names()) == {*together.tables, "alembic_version"}
    engine.dispose()


def test_the_head_that_is_skipped_is_the_head_of_the_migrations() -> None:
    scripts = ScriptDirectory(str(Path(package.__file__).parent / "migrations"))
    assert scripts.get_heads() == [HEAD]


def test_opening_it_twice_keeps_what_is_in_it(database: str) -> None:
    first = open_state(database)
    first.runbooks.record("refused", "cli:alice", "", {})
    second = open_state(database)
    second.runbooks.record("refused", "cli:bob", "", {})
    assert [row.person for row in first.runbooks.audit_rows()] == ["cli:alice", "cli:bob"]
    for state in (first, second):
        state.runbooks.engine.dispose()


def test_an_open_read_keeps_nobody_from_writing_and_two_writes_come_one_after_the_other(
    database: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = open_state(database).runbooks, open_state(database).runbooks
    if kind == "sqlite":
        with writer.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout=0")  # the pool's one connection does not wait from now on
    monkeypatch.setattr(postgres, "LOCK", 1)
    with reader.read() as connection:
        before = connection.scalar(text("SELECT count(*) FROM audit"))
        writer.record("refused", "cli:alice", "", {})
        assert connection.scalar(text("SELECT count(*) FROM audit")) == before, "one look is of one moment"
    assert [row.person for row in reader.audit_rows()] == ["cli:alice"]
    with reader.write(), pytest.raises(StoreError, match=r"locked|lock timeout"):
        writer.record("refused", "cli:bob", "", {})
    for store in (reader, writer):
        store.engine.dispose()


def test_two_who_make_it_at_once_both_get_it(tmp_path: Path) -> None:
    for number in range(5):
        url, opened = f"sqlite:///{tmp_path}/{number}.db", []
        barrier = threading.Barrier(2)

        def open_it(url: str = url, opened: list[State] = opened, barrier: threading.Barrier = barrier) -> None:
            barrier.wait(10)
            opened.append(open_state(url))

        threads = [threading.Thread(target=open_it) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(opened) == 2
        for state in opened:
            state.runbooks.record("refused", "cli:alice", "", {})
            state.runbooks.engine.dispose()


def test_folder_and_file_are_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state.db"
    before = os.umask(0)
    try:
        open_state(f"sqlite:///{path}").runbooks.engine.dispose()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_in_a_groups_folder_the_file_is_the_groups_and_nobody_elses(tmp_path: Path) -> None:
    tmp_path.chmod(0o2770)
    open_state(f"sqlite:///{tmp_path}/state.db").runbooks.engine.dispose()
    assert stat.S_IMODE((tmp_path / "state.db").stat().st_mode) == 0o660


@pytest.mark.parametrize("place", ["/proc/unstick/state.db", "/dev/null/state.db"])
def test_a_folder_that_cannot_be_made_is_refused(place: str) -> None:
    said = refusal(f"sqlite:///{place}")
    assert place in said
    assert "cannot be opened" in said
    assert "`state:`" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "cannot be opened" in refusal(f"sqlite:///{tmp_path}/state.db")


def test_a_folder_in_the_files_place_is_refused(tmp_path: Path) -> None:
    assert "cannot be opened" in refusal(f"sqlite:///{tmp_path}")


@pytest.mark.parametrize("junk", [b"this is no database" * 100, b"SQLite format 3\x00" + b"\xff" * 4096])
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(junk)
    refusal(f"sqlite:///{path}")
    assert path.read_bytes() == junk


def test_a_database_of_a_newer_unstick_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    open_state(f"sqlite:///{path}").runbooks.engine.dispose()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    assert "9999" in refusal(f"sqlite:///{path}")


@pytest.mark.parametrize("url", ["", "not a url", "nosuchdb://x/y", "sqlite+nosuch:///x"])
def test_an_address_of_no_database_is_refused(url: str) -> None:
    assert "cannot be opened" in refusal(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://unstick:s3cret@db.example.com/unstick",
        "postgresql+nosuch://unstick:s3cret@db.example.com/unstick",
        "postgresql://unstick:s3cr@s3cret@db.example.com:port/unstick",
        "postgres://unstick:s3cret@/unstick?host=/nowhere",
        "postgresql+psycopg://unstick:%733cret@/unstick?host=/nowhere&password=s3cret",
        "//unstick:s3cret@db.example.com",
    ],
)
def test_a_refusal_never_tells_the_password(url: str) -> None:
    said = refusal(url)
    assert "s3cret" not in said
    assert "unstick:***@" in said
