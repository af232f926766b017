"""`unstick audit verify` on a log that somebody has patched: the first bad row by its number, and exit code 1."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import text

from bot.cli import shared
from bot.store import State, open_state
from runbooks import audit
from runbooks.store import Store
from tests.bot.cli.world import Ran, Run
from tests.lab.databases import BOTH, database, postgres

__all__ = ["database", "postgres"]

ROWS = 6
INSERT = "INSERT INTO audit VALUES (:seq, :at, 'approved', 'cli:mallory', '', '{}', :previous, :hash)"


@pytest.fixture(params=BOTH)
def kind(request: pytest.FixtureRequest) -> str:
    """Each of the two databases."""
    return str(request.param)


@pytest.fixture
def log(database: str) -> Iterator[Store]:
    """A log of six rows."""
    store = open_state(database).runbooks
    for number in range(1, ROWS + 1):
        store.record("refused", f"cli:person{number}", "", {"number": number})
    yield store
    store.engine.dispose()


@pytest.fixture
def verify(
    unstick: Run, database: str, log: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Ran]]:
    """The command line on that log."""
    config, opened = tmp_path / "unstick.yaml", []
    config.write_text(yaml.safe_dump({"state": database}))

    def opening(*words: Any) -> State:  # what ends with the process is ended here
        opened.append(open_state(*words))
        return opened[-1]

    monkeypatch.setattr(shared, "open_state", opening)
    yield lambda: unstick("audit", "verify", "--config", str(config))
    for state in opened:
        state.runbooks.engine.dispose()


def patch(log: Store, *statements: str, **values: Any) -> None:
    """Change the table behind everybody's back."""
    with log.engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement), values)


def forged(log: Store, seq: int, after: int) -> dict[str, Any]:
    """A row with a right hash, that follows another one."""
    previous = log.audit_rows()[after - 1]
    row = audit.Row(seq, previous.at, "approved", "cli:mallory", "", "{}", previous.hash, "")
    return {"seq": seq, "at": row.at, "previous": row.previous, "hash": row.expected()}


def refused(ran: Ran, *words: str) -> None:
    assert (ran.code, ran.out) == (1, ""), ran
    assert ran.err.startswith("unstick: The audit log was tampered with: "), ran.err
    assert "Traceback" not in ran.err
    for word in words:
        assert word in " ".join(ran.err.split()), ran.err


def test_a_whole_log_is_said_to_be_whole_with_its_last_hash(verify: Callable[[], Ran], log: Store) -> None:
    ran = verify()
    assert (ran.code, ran.err) == (0, "")
    assert f"{ROWS} rows" in ran.out
    assert log.audit_rows()[-1].hash in "".join(ran.out.split())


@pytest.mark.parametrize("row", [1, 3, ROWS])
def test_a_changed_detail_names_its_row(verify: Callable[[], Ran], log: Store, row: int) -> None:
    patch(log, "UPDATE audit SET detail = '{\"number\": 77}' WHERE seq = :row", row=row)
    refused(verify(), f"row {row} was changed: refused by cli:person{row} at ")


def test_of_several_bad_rows_the_first_is_named(verify: Callable[[], Ran], log: Store) -> None:
    patch(log, "UPDATE audit SET detail = '{}' WHERE seq >= 4")
    refused(verify(), "row 4 was changed")


@pytest.mark.parametrize("row", [1, 4])
def test_a_removed_row_is_named(verify: Callable[[], Ran], log: Store, row: int) -> None:
    patch(log, "DELETE FROM audit WHERE seq = :row", row=row)
    refused(verify(), f"row {row} is missing: the next one is {row + 1}")


def test_a_removed_row_whose_place_was_closed_up_is_found_at_the_next(verify: Callable[[], Ran], log: Store) -> None:
    patch(log, "DELETE FROM audit WHERE seq = 3")
    for row in range(4, ROWS + 1):
        patch(log, "UPDATE audit SET seq = :row - 1 WHERE seq = :row", row=row)
    refused(verify(), "row 3 does not follow row 2")


def test_swapped_rows_name_the_first_of_them(verify: Callable[[], Ran], log: Store) -> None:
    patch(
        log, "UPDATE audit SET seq = 99 WHERE seq = 2", "UPDATE audit SET seq = 2 WHERE seq = 5",
        "UPDATE audit SET seq = 5 WHERE seq = 99",
    )  # fmt: skip
    refused(verify(), "row 2 does not follow row 1")


def test_the_contents_of_two_rows_that_were_swapped_name_the_first_of_them(
    verify: Callable[[], Ran], log: Store
) -> None:
    third, fourth = (log.audit_rows()[at].detail for at in (2, 3))
    patch(log, "UPDATE audit SET detail = :detail WHERE seq = 3", detail=fourth)
    patch(log, "UPDATE audit SET detail = :detail WHERE seq = 4", detail=third)
    refused(verify(), "row 3 was changed")


def test_a_row_put_in_at_the_end_with_a_right_chain_does_not_fit_the_head(
    verify: Callable[[], Ran], log: Store
) -> None:
    patch(log, INSERT, **forged(log, ROWS + 1, after=ROWS))
    refused(verify(), f"row {ROWS + 1} was put in: row {ROWS} was written last")


def test_a_last_row_replaced_with_a_right_chain_does_not_fit_the_head(verify: Callable[[], Ran], log: Store) -> None:
    made = forged(log, ROWS, after=ROWS - 1)
    patch(log, "DELETE FROM audit WHERE seq = :seq", INSERT, **made)
    refused(verify(), f"row {ROWS} was changed together with its hash")


@pytest.mark.parametrize("left", [0, 1, ROWS - 1])
def test_rows_cut_off_at_the_end_are_missed(verify: Callable[[], Ran], log: Store, left: int) -> None:
    patch(log, "DELETE FROM audit WHERE seq > :left", left=left)
    refused(verify(), f"the log ends at row {left}, but row {ROWS} was written last")


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("DELETE FROM audit_head", "row 1 was put in: row 0 was written last"),
        ("UPDATE audit_head SET seq = 4", "row 5 was put in: row 4 was written last"),
        ("UPDATE audit_head SET seq = 9", f"the log ends at row {ROWS}, but row 9 was written last"),
        ("UPDATE audit_head SET hash = 'other'", f"row {ROWS} was changed together with its hash"),
    ],
)
def test_a_changed_head_is_found(verify: Callable[[], Ran], log: Store, statement: str, says: str) -> None:
    patch(log, statement)
    refused(verify(), says)


def test_what_is_written_after_a_patch_does_not_heal_it(verify: Callable[[], Ran], log: Store) -> None:
    patch(log, "UPDATE audit SET person = 'cli:mallory' WHERE seq = 2")
    log.record("refused", "cli:alice", "", {})
    refused(verify(), "row 2 was changed: refused by cli:mallory")
