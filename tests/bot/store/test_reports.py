"""Reports and slots in the store: one replica has each firing, the last report is found, and old ones go."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import create_engine, func, insert, select
from sqlalchemy.dialects import mysql, postgresql

from bot.reports import AreaCount, Blind, HealthReport, Trouble
from bot.reports.trend import Counts
from bot.store import open_state
from bot.store import reports as module
from bot.store.reports import SLOTS_KEPT, Reports
from bot.store.tables import reports as table
from bot.store.tables import slots
from diagnostics.model import Severity, Subject
from runbooks.database import StoreError, stored

T0 = datetime(2026, 3, 3, 8, 0, tzinfo=UTC)


@pytest.fixture
def reports(database: str) -> Iterator[Reports]:
    state = open_state(database)
    yield state.reports
    state.runbooks.engine.dispose()


def made(hours: float = 0, cluster: str = "here") -> HealthReport:
    trouble = Trouble("ab", "c/d", Subject("Pod", "n", "p", "u"), "hangs", Severity.CRITICAL, "x", T0, ("n",), "worse")
    return HealthReport(
        cluster, T0 + timedelta(hours=hours), T0, (trouble,), (), (), (), (trouble,),
        (Blind("c/e", "forbidden", partly=True),), (), 3, {"pods": 4},
    )  # fmt: skip


def claim(reports: Reports, schedule: str, fires: datetime) -> bool:
    with reports.write() as connection:
        return reports.claim(connection, schedule, fires)


def count(reports: Reports, what: Any) -> int:
    with reports.read() as connection:
        return connection.execute(select(func.count()).select_from(what)).scalar_one()


def test_a_slot_is_claimed_once_and_others_are_free(reports: Reports) -> None:
    assert claim(reports, "morning", T0)
    assert not claim(reports, "morning", T0)
    assert claim(reports, "evening", T0)
    assert claim(reports, "morning", T0 + timedelta(minutes=1))


def test_one_instant_is_one_slot_in_whatever_zone_it_is_given(reports: Reports) -> None:
    assert claim(reports, "morning", T0)
    assert not claim(reports, "morning", T0.astimezone(timezone(timedelta(hours=2))))


def test_replicas_that_claim_at_the_same_time_have_each_slot_once(database: str) -> None:
    replicas = [open_state(database) for _ in range(3)]
    fires = [T0 + timedelta(minutes=number) for number in range(20)]
    start = threading.Barrier(len(replicas))
    won: list[list[datetime]] = [[] for _ in replicas]

    def take(number: int) -> None:
        start.wait(20)
        won[number].extend(at for at in fires if claim(replicas[number].reports, "morning", at))

    threads = [threading.Thread(target=take, args=(number,)) for number in range(len(replicas))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(at for each in won for at in each) == fires
    for replica in replicas:
        replica.runbooks.engine.dispose()


def test_old_slots_go_and_other_schedules_keep_theirs(reports: Reports) -> None:
    claim(reports, "morning", T0)
    claim(reports, "evening", T0)
    claim(reports, "morning", T0 + SLOTS_KEPT)
    assert count(reports, slots) == 3
    claim(reports, "morning", T0 + SLOTS_KEPT + timedelta(minutes=1))
    assert count(reports, slots) == 3
    assert not claim(reports, "evening", T0)


def test_postgresql_is_asked_who_was_first_in_its_own_words() -> None:
    statement = module._claiming(postgresql.dialect().name, {"schedule": "s", "fires": "f", "claimed": "c"})
    said = " ".join(str(statement.compile(dialect=postgresql.dialect())).split())
    assert said.startswith("INSERT INTO slots (schedule, fires, claimed) VALUES")
    assert said.endswith("ON CONFLICT DO NOTHING RETURNING slots.schedule")


def test_a_database_that_cannot_settle_who_was_first_is_refused() -> None:
    with pytest.raises(StoreError, match="A mysql database cannot keep schedules: name SQLite or PostgreSQL"):
        module._claiming(mysql.dialect().name, {})


def test_the_last_report_is_what_was_kept_last_of_its_schedule_and_cluster(reports: Reports) -> None:
    assert reports.last("morning", "here") is None
    for report in (made(2), made(1), made(3, "there")):
        reports.keep("morning", report)
    reports.keep("evening", made(4))
    assert reports.last("morning", "here") == made(2)
    assert reports.last("morning", "there") == made(3, "there")
    assert reports.last("morning", "nowhere") is None


def test_a_report_of_the_same_instant_takes_the_place_of_the_first(reports: Reports) -> None:
    reports.keep("morning", made())
    again = msgspec.structs.replace(made(), checks=9)
    reports.keep("morning", again)
    assert reports.last("morning", "here") == again
    assert count(reports, table) == 1


def test_old_reports_go_and_other_schedules_keep_theirs(reports: Reports, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_REPORTS", 3)
    reports.keep("evening", made())
    for hours in range(5):
        reports.keep("morning", made(hours))
    with reports.read() as connection:
        kept = connection.execute(select(table.c.taken_at).where(table.c.schedule == "morning")).scalars().all()
    assert sorted(kept) == [stored(T0 + timedelta(hours=hours)) for hours in (2, 3, 4)]
    assert reports.last("evening", "here") == made()


def test_one_cluster_that_is_often_looked_at_takes_no_report_from_another(
    reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_REPORTS", 3)
    reports.keep("asked for", made(0, "there"))
    for hours in range(1, 9):
        reports.keep("asked for", made(hours))
    assert reports.last("asked for", "there") == made(0, "there")
    assert count(reports, table) == 4


def test_a_trend_is_made_of_the_counts_alone(reports: Reports) -> None:
    area = AreaCount("ceph", critical=2, blind=1, partly=True)
    for hours in (1, 2, 3):
        reports.keep("morning", msgspec.structs.replace(made(hours), areas=(area,), namespaces=("n",)))
    reports.keep("evening", made(4, "there"))
    with reports.write() as connection:
        old = {"cluster": "here", "shape": 2}
        connection.execute(insert(table).values(schedule="old", taken_at=stored(T0 + timedelta(hours=2)), report=old))
    found = reports.since("here", T0 + timedelta(hours=2))
    assert found == tuple(Counts(T0 + timedelta(hours=hours), (area,), ("n",)) for hours in (2, 3))


def test_a_report_that_another_version_wrote_counts_as_none(reports: Reports) -> None:
    with reports.write() as connection:
        connection.execute(
            insert(table).values(schedule="morning", taken_at=stored(T0), report={"cluster": "here", "shape": 2})
        )
    assert reports.last("morning", "here") is None
    reports.keep("morning", made(1))
    assert reports.last("morning", "here") == made(1)


def test_a_database_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/empty.db")
    broken = Reports(engine)
    for use in (lambda: claim(broken, "s", T0), lambda: broken.keep("s", made())):
        with pytest.raises(StoreError, match="cannot be written"):
            use()
    with pytest.raises(StoreError, match="cannot be read"):
        broken.last("s", "here")
    engine.dispose()
