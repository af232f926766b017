"""PostgreSQL as the state database: what only a server can do, on a real one that ends, stands still and refuses."""

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from bot.reports import HealthReport
from bot.store import State, open_state
from bot.store import postgres as module
from bot.store.messages import Content
from bot.store.replicas import Pulse
from runbooks.database import StoreError
from runbooks.engine import RENEW
from runbooks.store import LEASE
from tests.lab.postgres import Postgres

pytestmark = pytest.mark.real
T0 = datetime(2026, 3, 3, 3, 20, tzinfo=UTC)


@pytest.fixture
def kind() -> str:
    """Only this one."""
    return "postgres"


@pytest.fixture
def state(database: str) -> Iterator[State]:
    state = open_state(database)
    yield state
    state.runbooks.engine.dispose()


def record(state: State, who: str = "cli:alice") -> None:
    state.runbooks.record("refused", who, "", {})


def refusal(url: str) -> str:
    """The sentence that refuses it."""
    with pytest.raises(StoreError) as caught:
        open_state(url)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith("The state database postgresql://unstick:***@")
    assert said.endswith("; name another with `state:`.")
    assert caught.value.__cause__ is None
    return said


# Opening it


def test_every_spelling_of_its_address_is_taken(database: str) -> None:
    for spelling in ("postgres", "postgresql", "postgresql+psycopg"):
        state = open_state(database.replace("postgresql", spelling, 1))
        record(state)
        state.runbooks.engine.dispose()
    assert len(state.runbooks.audit_rows()) == 3
    state.runbooks.engine.dispose()


def test_a_wrong_password_is_said_and_not_told(postgres: Postgres, database: str) -> None:
    said = refusal(database.replace(postgres.password, "wr0ngpass"))
    assert "password authentication failed" in said
    assert "wr0ngpass" not in said
    asked = database.replace(f":{postgres.password}@", ":***@") + "?password=wr0ngpass"
    assert "wr0ngpass" not in refusal(asked)


def test_a_password_may_come_from_the_environment_alone(
    postgres: Postgres, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = database.replace(f":{postgres.password}@", "@")
    with pytest.raises(StoreError, match="no password supplied"):
        open_state(without)
    monkeypatch.setenv("PGPASSWORD", postgres.password)
    open_state(without).runbooks.engine.dispose()


@pytest.mark.parametrize("word", ["p@ss", "s3cr@s3cr"])
def test_a_password_with_signs_that_are_not_escaped_is_refused_and_not_told(database: str, word: str) -> None:
    said = refusal(f"postgresql://unstick:{word}@{database.partition('@')[2]}")
    assert word.rpartition("@")[2] not in said.replace("password", "")
    assert "%40" in said


def test_a_database_that_is_not_there_is_said(postgres: Postgres) -> None:
    assert 'database "nowhere" does not exist' in refusal(postgres.url("nowhere"))


def test_a_database_that_only_reads_is_refused_as_no_intent_could_be_kept(postgres: Postgres, database: str) -> None:
    name = database.rpartition("/")[2]
    postgres.do(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert "session is read-only" in refusal(database)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_keep_every_sign_is_refused(postgres: Postgres, encoding: str) -> None:
    said = refusal(postgres.create_database(encoding=f"'{encoding}'"))
    assert f"its encoding is {encoding}; create the database with ENCODING 'UTF8'" in said


def test_a_role_that_may_make_no_tables_is_refused(postgres: Postgres) -> None:
    url = postgres.create_database()
    name = url.rpartition("/")[2]
    postgres.do(f"ALTER DATABASE {name} OWNER TO postgres")
    assert "permission denied" in refusal(url)


def test_a_server_that_is_away_is_said_and_one_that_came_back_is_opened(postgres: Postgres, database: str) -> None:
    postgres.stop()
    try:
        assert "Connection refused" in refusal(database)
    finally:
        postgres.again()
    open_state(database).runbooks.engine.dispose()


def test_a_server_that_stands_still_is_given_up_when_it_is_opened(postgres: Postgres, database: str) -> None:
    postgres.freeze()
    began = time.monotonic()
    try:
        assert "timeout expired" in refusal(database)
    finally:
        postgres.thaw()
    assert time.monotonic() - began < module.CONNECTS + 3


# While it is open


def test_its_sessions_are_bounded_durable_and_named(postgres: Postgres, database: str) -> None:
    postgres.do(f"ALTER DATABASE {database.rpartition('/')[2]} SET synchronous_commit = off")
    state = open_state(database)
    shown = {
        "synchronous_commit": "on", "application_name": "unstick", "statement_timeout": f"{module.STATEMENT}s",
        "lock_timeout": f"{module.LOCK}s", "idle_in_transaction_session_timeout": f"{module.IDLE}s",
        "transaction_isolation": "read committed", "transaction_read_only": "off",
    }  # fmt: skip
    with state.runbooks.write() as connection:
        assert {name: connection.scalar(text(f"SHOW {name}")) for name in shown} == shown
    with state.runbooks.read() as connection:
        assert connection.scalar(text("SHOW transaction_isolation")) == "repeatable read"
        assert connection.scalar(text("SHOW transaction_read_only")) == "on"
    with state.runbooks.write() as connection:
        assert connection.scalar(text("SHOW transaction_isolation")) == "read committed", "the next one may write"
    state.runbooks.engine.dispose()


def test_what_was_written_survives_a_crash_though_the_server_would_rather_be_fast(
    postgres: Postgres, database: str
) -> None:
    postgres.do(f"ALTER DATABASE {database.rpartition('/')[2]} SET synchronous_commit = off")
    state = open_state(database)
    for number in range(20):
        record(state, f"cli:{number}")
    postgres.restart(signal.SIGKILL)
    assert [row.person for row in state.runbooks.audit_rows()] == [f"cli:{number}" for number in range(20)]
    assert state.runbooks.audit_fault() is None
    state.runbooks.engine.dispose()


def test_a_restart_between_two_calls_is_not_noticed(postgres: Postgres, state: State) -> None:
    record(state)
    postgres.restart()
    record(state)
    assert len(state.runbooks.audit_rows()) == 2


def test_a_restart_in_the_middle_undoes_that_write_and_the_next_call_works(postgres: Postgres, state: State) -> None:
    record(state)

    def is_cut() -> None:
        with state.runbooks.write() as connection:
            connection.execute(text("DELETE FROM audit"))
            postgres.restart()
            connection.execute(text("DELETE FROM audit_head"))

    with pytest.raises(StoreError, match=r"cannot be written: [^\n]*; check its server and rights\.$"):
        is_cut()
    assert len(state.runbooks.audit_rows()) == 1
    record(state)
    assert state.runbooks.audit_fault() is None


def test_a_server_that_goes_away_is_one_sentence_each_time_until_it_is_back(postgres: Postgres, state: State) -> None:
    postgres.stop()
    try:
        for _ in range(2):
            with pytest.raises(StoreError, match=r"cannot be written: connection failed: [^\n]*Connection refused"):
                record(state)
            with pytest.raises(StoreError, match="cannot be read"):
                state.runbooks.audit_rows()
    finally:
        postgres.again()
    record(state)


@pytest.mark.parametrize("within", [False, True], ids=["between two calls", "in the middle of one"])
def test_a_server_that_stands_still_is_given_up_in_time(
    postgres: Postgres, state: State, within: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER", 2)
    record(state)

    def frozen() -> None:
        with state.runbooks.write() as connection:
            postgres.freeze()
            connection.execute(text("DELETE FROM audit"))

    began = time.monotonic()
    if not within:
        postgres.freeze()
    try:
        with pytest.raises(StoreError, match=r"has not answered for 2 seconds|timeout expired"):
            frozen() if within else record(state)
    finally:
        postgres.thaw()
    assert time.monotonic() - began < 2 + module.CONNECTS + 3
    record(state)
    assert len(state.runbooks.audit_rows()) == 2
    assert state.runbooks.audit_fault() is None


def test_a_lease_outlives_the_longest_wait_for_a_server_that_stands_still() -> None:
    assert LEASE.total_seconds() > RENEW + module.ANSWER + module.CONNECTS
    assert module.IDLE < module.LOCK < module.STATEMENT < module.ANSWER


def test_a_writer_that_stands_still_is_cut_before_the_others_give_up(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE", 1)
    done = threading.Event()

    def next_in_line() -> None:
        record(state, "cli:bob")
        done.set()

    other = threading.Thread(target=next_in_line)

    def stands_still() -> None:
        with state.runbooks.write() as connection:
            connection.execute(text("SELECT 1"))
            other.start()
            assert done.wait(module.LOCK)
            connection.execute(text("SELECT 1"))

    with pytest.raises(StoreError, match="cannot be written"):
        stands_still()
    other.join(10)
    assert [row.person for row in state.runbooks.audit_rows()] == ["cli:bob"]


def test_who_waits_too_long_for_another_writer_is_told_so(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK", 1)
    other = open_state(state.runbooks.engine.url.render_as_string(hide_password=False))  # as another process would
    with other.runbooks.write(), pytest.raises(StoreError, match="lock timeout"):
        record(state)
    record(state)
    other.runbooks.engine.dispose()


def test_of_one_process_one_write_at_a_time_asks_the_server(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runbooks.database._PATIENCE", 0.2)
    with state.runbooks.write(), ThreadPoolExecutor() as pool:
        asking = pool.submit(record, state)
        with pytest.raises(StoreError, match="writes before this one take too long"):
            asking.result()
    record(state)


def test_a_statement_that_takes_too_long_is_ended(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STATEMENT", 1)
    with pytest.raises(StoreError, match="statement timeout"), state.runbooks.read() as connection:
        connection.execute(text("SELECT pg_sleep(20)"))


def test_a_look_cannot_write(state: State) -> None:
    with pytest.raises(StoreError, match="read-only transaction"), state.runbooks.read() as connection:
        connection.execute(text("DELETE FROM audit"))


# What it keeps


def test_text_with_a_nul_is_kept_without_it_and_the_chain_fits(state: State) -> None:
    number = state.messages.add("C1", Content("a\0b", ({"type": "section", "text": "c\0d ☂ 😀"},)))
    kept = state.messages.get(number)
    assert (kept.content.text, kept.content.blocks[0]["text"]) == ("a\ufffdb", "c\ufffdd ☂ 😀")
    state.messages.undeliverable(kept, "no\0")
    assert state.messages.get(number).failed == "no\ufffd"
    state.runbooks.record("refused", "cli:alice", "", {"why": "a\0b"})
    assert state.runbooks.audit_fault() is None


@pytest.mark.parametrize("sign", ["\0", "\ud83d"], ids=["NUL", "half of a pair"])
def test_a_report_with_signs_that_are_no_text_does_not_keep_the_next_from_being_compared(
    state: State, sign: str
) -> None:
    report = HealthReport("here", T0, T0, (), (), (), (), (), (), (), 0, {}, namespaces=(f"odd {sign} 😀",))
    state.reports.keep("morning", report)
    last = state.reports.last("morning", "here")
    assert last is not None
    assert last.namespaces[0] in ("odd \ufffd 😀", "odd ? 😀")


def test_what_is_no_text_at_all_is_one_sentence(state: State) -> None:
    with pytest.raises(StoreError, match="no text in UTF-8"):
        record(state, "cli:\ud83d")


# Replicas


def test_a_replica_beats_while_another_one_stands_still_in_the_middle_of_a_write(state: State) -> None:
    """Else whoever stands still would make all others look dead."""
    pulse = Pulse(state.replicas, alone=False, replica="one")
    pulse.begin()
    with state.jobs.write() as connection:
        connection.execute(text("SELECT 1"))
        began = time.monotonic()
        pulse.beat()
        assert time.monotonic() - began < module.IDLE / 2
    assert state.replicas.alive() == ("one",)


def test_how_long_a_replica_lives_is_told_by_the_servers_clock_and_by_no_replicas_own(database: str) -> None:
    """One whose clock is a day ahead takes nobody for dead, and one whose clock is a day behind lives."""
    ahead, behind = (open_state(database, lambda days=days: datetime.now(UTC) + timedelta(days)) for days in (1, -1))
    number = behind.jobs.add({"job": "any"}, "behind")
    assert number is not None
    Pulse(behind.replicas, alone=False, replica="behind").begin()
    Pulse(ahead.replicas, alone=False, replica="ahead").begin()
    assert ahead.jobs.take_over(dict[str, str], "ahead") == ()
    assert set(ahead.replicas.alive()) == {"ahead", "behind"}
    with ahead.jobs.write() as connection:
        connection.execute(text("UPDATE replicas SET alive_until = '2020' WHERE id = 'behind'"))
    assert [left.number for left in ahead.jobs.take_over(dict[str, str], "ahead")] == [number]
    assert not behind.replicas.beat("behind")
    for each in (ahead, behind):
        each.runbooks.engine.dispose()


def test_of_a_beat_and_a_take_over_at_once_one_is_first_and_the_other_knows(state: State, database: str) -> None:
    other = open_state(database)
    for name, kept in (("one", state), ("two", other)):
        Pulse(kept.replicas, alone=False, replica=name).begin()
    for _ in range(20):
        number = state.jobs.add({"job": "any"}, "one")
        assert number is not None
        with other.jobs.write() as connection:
            connection.execute(text("UPDATE replicas SET alive_until = '2020' WHERE id = 'one'"))
        barrier, beaten = threading.Barrier(2), list[bool]()

        def beats(barrier: threading.Barrier = barrier, beaten: list[bool] = beaten) -> None:
            barrier.wait(10)
            beaten.append(state.replicas.beat("one"))

        beating = threading.Thread(target=beats)
        beating.start()
        barrier.wait(10)
        taken = [left.number for left in other.jobs.take_over(dict[str, str], "two")]
        beating.join(30)
        assert beaten == [not taken], "it lives and keeps its job, or it is dead, knows it and has lost the job"
        state.jobs.done(number)
        state.replicas.begin("one", alone=False)
    other.runbooks.engine.dispose()
