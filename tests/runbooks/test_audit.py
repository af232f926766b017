"""The audit log: whoever changes anything in it is found, and the row is named."""

import json
from typing import Any

import pytest
from sqlalchemy import text

from runbooks import audit
from runbooks.store import Store
from tests.lab.databases import BOTH

COLUMNS = {
    "at": "2020-01-01", "event": "approved", "person": "cli:mallory", "execution": "ex-1", "detail": '{"a": 1}',
    "previous": "0" * 63 + "1", "hash": "0" * 63 + "2",
}  # fmt: skip


@pytest.fixture(params=BOTH)
def kind(request: pytest.FixtureRequest) -> str:
    """The chain holds alike in both databases."""
    return str(request.param)


@pytest.fixture
def log(store: Store) -> Store:
    for number in range(1, 6):
        store.record("refused", f"cli:person{number}", "", {"number": number, "says": "ä ☂"})
    return store


def change(store: Store, statement: str, **values: Any) -> None:
    """Change the table behind the store's back."""
    with store.engine.begin() as connection:
        connection.execute(text(statement), values)


def hash_of(seq: int, previous: str, at: str, person: str = "cli:mallory") -> str:
    return audit.Row(seq, at, "refused", person, "", "{}", previous, "").expected()


def test_an_untouched_log_is_whole_and_so_is_an_empty_one(log: Store, tmp_path: Any) -> None:
    assert log.audit_fault() is None
    rows = log.audit_rows()
    assert [row.seq for row in rows] == [1, 2, 3, 4, 5]
    assert rows[0].previous == audit.FIRST
    assert [row.previous for row in rows[1:]] == [row.hash for row in rows[:-1]]
    assert json.loads(rows[2].detail) == {"number": 3, "says": "ä ☂"}


def test_an_empty_log_is_whole(store: Store) -> None:
    assert store.audit_fault() is None


@pytest.mark.parametrize("row", [1, 3, 5])
@pytest.mark.parametrize(("column", "value"), COLUMNS.items())
def test_a_changed_column_of_any_row_is_found(log: Store, row: int, column: str, value: str) -> None:
    change(log, f"UPDATE audit SET {column} = :value WHERE seq = :row", value=value, row=row)  # noqa: S608
    assert f"row {row} " in (log.audit_fault() or "")


@pytest.mark.parametrize("row", [1, 3, 5])
def test_a_changed_number_is_found(log: Store, row: int) -> None:
    change(log, "UPDATE audit SET seq = 77 WHERE seq = :row", row=row)
    assert f"row {row} is missing" in (log.audit_fault() or "")


@pytest.mark.parametrize("row", [1, 2, 4])
def test_a_row_removed_from_the_middle_is_found(log: Store, row: int) -> None:
    change(log, "DELETE FROM audit WHERE seq = :row", row=row)
    assert f"row {row} is missing: the next one is {row + 1}" in (log.audit_fault() or "")


@pytest.mark.parametrize("left", [0, 1, 4])
def test_rows_removed_at_the_end_are_found(log: Store, left: int) -> None:
    change(log, "DELETE FROM audit WHERE seq > :left", left=left)
    assert f"the log ends at row {left}, but row 5 was written last" in (log.audit_fault() or "")


def test_two_rows_that_changed_places_are_found(log: Store) -> None:
    for statement in (
        "UPDATE audit SET seq = 99 WHERE seq = 2",
        "UPDATE audit SET seq = 2 WHERE seq = 3",
        "UPDATE audit SET seq = 3 WHERE seq = 99",
    ):
        change(log, statement)
    assert "row 2 " in (log.audit_fault() or "")


INSERT = "INSERT INTO audit VALUES (:seq, :at, 'refused', :person, '', '{}', :previous, :hash)"


def test_a_row_put_in_between_is_found(log: Store) -> None:
    second = log.audit_rows()[1]
    for seq in (5, 4, 3):
        change(log, "UPDATE audit SET seq = :to WHERE seq = :seq", to=seq + 1, seq=seq)
    made = hash_of(3, second.hash, second.at)
    change(log, INSERT, seq=3, at=second.at, person="cli:mallory", previous=second.hash, hash=made)
    assert "row 4 does not follow row 3" in (log.audit_fault() or "")


def test_a_row_put_in_at_the_end_with_a_fitting_hash_is_found(log: Store) -> None:
    last = log.audit_rows()[-1]
    change(log, INSERT, seq=6, at=last.at, person="m", previous=last.hash, hash=hash_of(6, last.hash, last.at, "m"))
    assert "row 6 was put in" in (log.audit_fault() or "")


def test_a_last_row_rewritten_with_a_fitting_hash_is_found(log: Store) -> None:
    last = log.audit_rows()[-1]
    made = hash_of(5, last.previous, last.at)
    change(log, "UPDATE audit SET person = 'cli:mallory', detail = '{}', hash = :made WHERE seq = 5", made=made)
    assert "row 5 was changed together with its hash" in (log.audit_fault() or "")


def test_a_row_rewritten_with_a_fitting_hash_breaks_the_chain_at_the_next_one(log: Store) -> None:
    second = log.audit_rows()[1]
    made = hash_of(2, second.previous, second.at)
    change(log, "UPDATE audit SET person = 'cli:mallory', detail = '{}', hash = :made WHERE seq = 2", made=made)
    assert "row 3 does not follow row 2" in (log.audit_fault() or "")


@pytest.mark.parametrize("statement", ["DELETE FROM audit_head", "UPDATE audit_head SET seq = 4", "DELETE FROM audit"])
def test_a_log_whose_head_does_not_fit_is_found(log: Store, statement: str) -> None:
    change(log, statement)
    assert log.audit_fault() is not None


def test_content_cannot_be_moved_from_one_column_to_the_next(log: Store) -> None:
    first = log.audit_rows()[0]
    change(
        log, "UPDATE audit SET event = :event, person = :person WHERE seq = 1", event="refusedcli", person=":person1"
    )
    assert "row 1 was changed" in (log.audit_fault() or "")
    assert (first.event, first.person) == ("refused", "cli:person1")


def test_a_row_is_written_with_what_it_tells_of_or_not_at_all(store: Store) -> None:
    def fails_after_its_record() -> None:
        with store.write() as connection:
            audit.append(connection, "now", "approved", "cli:bob", "ex-1", {})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails_after_its_record()
    assert store.audit_rows() == ()
    store.record("refused", "cli:bob", "", {})
    assert store.audit_fault() is None
