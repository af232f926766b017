"""Two replicas tell of the same thing: whatever comes in between, the newest state is what is said in the end."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bot.settings import Settings
from bot.slack import tell
from bot.slack.desk import Desk
from bot.store import State, open_state
from bot.store.messages import Content


class Thing:
    """What is told of: a number that only grows."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.message = state.messages.add("C1", Content("0"))
        self.value = 0

    def said(self) -> str:
        return self.state.messages.get(self.message).content.text

    def teller(self, between: Callable[[], None] = lambda: None) -> Callable[[], tuple[int, Content]]:
        """Reads the thing; `between` comes after that and before the edit."""

        def read() -> tuple[int, Content]:
            content = Content(str(self.value))
            between()
            return self.message, content

        return read


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    state = open_state(f"sqlite:///{tmp_path}/state.db")
    yield state
    state.runbooks.engine.dispose()


def desk(state: State) -> Desk:
    """A replica's own: what it holds keeps no other one from telling."""
    return Desk(Settings(), state, lambda _: pytest.fail("no cluster"), lambda: None, lambda _: None)


async def test_who_read_before_another_told_something_newer_reads_anew(state: State) -> None:
    thing, loop = Thing(state), asyncio.get_running_loop()
    thing.value = 1
    once = iter([True])

    def another_tells() -> None:
        if next(once, False):
            thing.value = 2
            telling = tell._tell(desk(state), thing.message, thing.teller())
            asyncio.run_coroutine_threadsafe(telling, loop).result(10)

    await tell._tell(desk(state), thing.message, thing.teller(another_tells))
    assert thing.said() == "2"


async def test_who_read_before_another_found_the_message_to_be_right_puts_nothing_older_there(state: State) -> None:
    thing, loop = Thing(state), asyncio.get_running_loop()
    state.messages.edit(thing.message, Content("2"))
    thing.value = 1
    once = iter([True])

    def another_finds_it_right() -> None:
        if next(once, False):
            thing.value = 2
            telling = tell._tell(desk(state), thing.message, thing.teller())
            asyncio.run_coroutine_threadsafe(telling, loop).result(10)

    await tell._tell(desk(state), thing.message, thing.teller(another_finds_it_right))
    assert thing.said() == "2"


async def test_who_is_late_each_time_ends_and_what_the_others_told_is_as_new(state: State) -> None:
    thing, reads = Thing(state), 0

    def another_is_always_first() -> None:
        nonlocal reads
        reads += 1
        state.messages.edit(thing.message, Content(f"{thing.value} told by another, {reads}"))

    thing.value = 7
    await tell._tell(desk(state), thing.message, thing.teller(another_is_always_first))
    assert reads == tell.TRIES
    assert thing.said().startswith("7")


async def test_a_message_that_moves_meanwhile_is_told_where_it_is(state: State) -> None:
    thing = Thing(state)
    new = state.messages.add("C2", Content("0"))
    before = thing.message
    thing.value = 3
    thing.message = new
    await tell._tell(desk(state), before, thing.teller())
    assert state.messages.get(new).content.text == "3"
    assert state.messages.get(before).content.text == "0"


async def test_many_who_tell_at_once_end_with_the_newest(state: State) -> None:
    thing = Thing(state)

    async def changes_and_tells(number: int) -> None:
        await asyncio.sleep(0.001 * (number % 3))
        thing.value += 1
        await tell._tell(desk(state), thing.message, thing.teller())

    await asyncio.gather(*(changes_and_tells(number) for number in range(24)))
    assert thing.said() == "24"
