"""Tokens in the store: each is higher than all before it, one counts at a time, and only in a transaction that stands."""

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import delete, insert, update

from bot.store import open_state
from bot.store.leaders import HIGHEST, Deposed, Leaders, Leadership
from bot.store.tables import leaders as table
from bot.store.tables import slots
from runbooks.database import StoreError


@pytest.fixture
def leaders(database: str) -> Iterator[Leaders]:
    state = open_state(database)
    yield state.leaders
    state.runbooks.engine.dispose()


def write(leaders: Leaders, leadership: Leadership, name: str = "x") -> None:
    with leaders.write() as connection:
        connection.execute(insert(slots).values(schedule=name, fires="", claimed=""))
        leaders.insist(connection, leadership)


def test_tokens_grow_and_begin_above_what_is_asked_for(leaders: Leaders) -> None:
    assert [leaders.issue("a").token for _ in range(3)] == [1, 2, 3]
    assert leaders.issue("a", above=2).token == 4
    assert leaders.issue("a", above=40).token == 41
    assert leaders.issue("b").token == 42
    assert leaders.active() is None


def test_the_highest_token_that_a_lease_may_name_can_be_followed(leaders: Leaders) -> None:
    leadership = leaders.issue("a", above=999_999_999)
    leaders.activate(leadership)
    assert leadership.token == 1_000_000_000 < HIGHEST


def test_one_that_was_given_out_counts_once_it_is_active(leaders: Leaders) -> None:
    leadership = leaders.issue("a")
    with pytest.raises(
        Deposed, match=r"a is not the leader any more \(its token was 1; by the database nobody leads\)\."
    ):
        write(leaders, leadership)
    leaders.activate(leadership)
    write(leaders, leadership)
    assert leaders.active() == leadership


def test_a_write_by_the_leader_of_before_is_not_written(leaders: Leaders) -> None:
    first, second = leaders.issue("a"), leaders.issue("b")
    leaders.activate(first)
    leaders.activate(second)
    with pytest.raises(Deposed, match="by the database b leads, with token 2"):
        write(leaders, first)
    write(leaders, second)  # the same row: nothing of the refused transaction is left


def test_a_token_that_comes_late_is_never_activated(leaders: Leaders) -> None:
    first, second = leaders.issue("a"), leaders.issue("b")
    leaders.activate(second)
    for late in (first, second):
        with pytest.raises(Deposed):
            leaders.activate(late)
    leaders.retire(second)
    for late in (first, second):
        with pytest.raises(Deposed):
            leaders.activate(late)
    assert leaders.active() is None


def test_an_end_ends_its_own_leadership_alone(leaders: Leaders) -> None:
    first, second = leaders.issue("a"), leaders.issue("b")
    leaders.activate(first)
    leaders.retire(second)
    write(leaders, first)
    leaders.retire(first)
    with pytest.raises(Deposed):
        write(leaders, first, "y")
    leaders.activate(second)
    leaders.retire(first)
    write(leaders, second, "y")


def test_another_token_is_refused_in_both_directions_since_a_backup_sets_it_back(leaders: Leaders) -> None:
    old = leaders.issue("a")
    leaders.activate(old)
    new = leaders.issue("b")
    leaders.activate(new)
    with leaders.write() as connection:
        connection.execute(update(table).values(issued=1, token=1, holder="c"))
    for leadership in (old, new):  # the number of the old one is in the database, and it is not its own
        with pytest.raises(Deposed):
            write(leaders, leadership)
    with leaders.write() as connection:
        connection.execute(delete(table))
    for leadership in (old, new):
        with pytest.raises(Deposed):
            write(leaders, leadership)
        with pytest.raises(Deposed):
            leaders.activate(leadership)
    with leaders.write() as connection, pytest.raises(Deposed):
        leaders.insist(connection, new)
    assert leaders.issue("b", above=new.token).token == new.token + 1


def test_replicas_that_ask_at_the_same_time_get_tokens_of_their_own(database: str) -> None:
    replicas = [open_state(database) for _ in range(3)]
    start = threading.Barrier(len(replicas))
    given: list[list[int]] = [[] for _ in replicas]

    def ask(number: int) -> None:
        start.wait(20)
        given[number].extend(replicas[number].leaders.issue(str(number)).token for _ in range(20))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(replicas))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(token for each in given for token in each) == list(range(1, 61))
    assert all(each == sorted(each) for each in given)
    for replica in replicas:
        replica.runbooks.engine.dispose()


def test_of_two_that_activate_at_the_same_time_the_higher_one_stays(database: str) -> None:
    replicas = [open_state(database) for _ in range(2)]
    for round_ in range(15):
        given = [replica.leaders.issue(str(number)) for number, replica in enumerate(replicas)]
        start = threading.Barrier(2)

        def activate(number: int) -> None:
            start.wait(20)  # noqa: B023 - joined below
            try:
                replicas[number].leaders.activate(given[number])  # noqa: B023
            except Deposed:
                assert number == 0

        threads = [threading.Thread(target=activate, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert replicas[0].leaders.active() == given[1], round_
    for replica in replicas:
        replica.runbooks.engine.dispose()


def test_a_database_without_the_table_is_one_sentence(leaders: Leaders) -> None:
    with leaders.write() as connection:
        connection.exec_driver_sql("DROP TABLE leaders")
    with pytest.raises(StoreError, match="cannot be written"):
        leaders.issue("a")
    with pytest.raises(StoreError, match="cannot be read"):
        leaders.active()
