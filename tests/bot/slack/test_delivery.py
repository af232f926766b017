"""What the store holds comes to Slack whole, in order and once, whatever Slack does meanwhile."""

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.sandbox.slack import Workspace
from bot.slack import delivery as delivery_module
from bot.slack import posting
from bot.slack.connection import web_client
from bot.slack.delivery import STALE, Delivery
from bot.store import State, open_state
from bot.store.messages import Content
from runbooks.database import StoreError

BLOCK = {"type": "section", "text": {"type": "mrkdwn", "text": "in a block"}}


class Desk:
    """Writes into the store, delivers, and reads what a channel shows."""

    def __init__(self, workspace: Workspace, state: State, clock: Any) -> None:
        self.workspace, self.messages, self.clock = workspace, state.messages, clock
        self.incidents = workspace.channel("incidents")
        self.storage = workspace.channel("storage")
        self.delivery = self.another()

    def another(self) -> Delivery:
        self.client = web_client(self.workspace.bot_token, self.workspace.api_url)
        return Delivery(self.client, self.messages, pause=self.clock.pause, now=self.clock.now)

    def put(self, text: str, channel: str | None = None, **more: Any) -> int:
        return self.messages.add(channel or self.incidents, Content(text), **more)

    def shown(self, channel: str | None = None) -> list[str]:
        return [message.text for message in self.workspace.messages(channel or self.incidents)]

    def called(self, method: str) -> list[str]:
        return [call.answer for call in self.workspace.calls if call.method == method]

    async def settled(self, timeout: float = 10) -> None:
        assert await self.delivery.settle(timeout)
        assert self.messages.channels_behind() == ()


@pytest.fixture
def desk(workspace: Workspace, state: State, clock: Any) -> Desk:
    return Desk(workspace, state, clock)


async def running(work: Callable[[], Any]) -> asyncio.Task[None]:
    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    return task


async def cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


# --- What is shown


async def test_messages_are_posted_in_the_order_they_were_written(desk: Desk) -> None:
    for text in ("one", "two", "three"):
        desk.put(text)
    await desk.settled()
    assert desk.shown() == ["one", "two", "three"]


async def test_a_post_carries_its_number_so_that_a_double_can_be_told(desk: Desk) -> None:
    number = desk.put("one")
    await desk.settled()
    (message,) = desk.workspace.messages(desk.incidents)
    assert message.metadata is not None
    assert message.metadata["event_type"] == "unstick"
    assert message.metadata["event_payload"]["message"] == number


async def test_of_edits_before_the_post_only_the_newest_is_ever_seen(desk: Desk) -> None:
    number = desk.put("one")
    desk.messages.edit(number, Content("two"))
    desk.messages.edit(number, Content("three", (BLOCK,)))
    await desk.settled()
    (message,) = desk.workspace.messages(desk.incidents)
    assert [text for text, _ in message.versions] == ["three"]


async def test_an_edit_changes_the_message_that_is_there(desk: Desk) -> None:
    number = desk.put("one")
    await desk.settled()
    desk.messages.edit(number, Content("two"))
    desk.messages.edit(number, Content("three"))
    await desk.settled()
    (message,) = desk.workspace.messages(desk.incidents)
    assert [text for text, _ in message.versions] == ["one", "three"]


async def test_an_edit_without_blocks_takes_the_old_ones_away(desk: Desk) -> None:
    number = desk.messages.add(desk.incidents, Content("one", (BLOCK,)))
    await desk.settled()
    desk.messages.edit(number, Content("two"))
    await desk.settled()
    (message,) = desk.workspace.messages(desk.incidents)
    assert message.visible == "two"


async def test_an_edit_longer_than_slack_takes_is_cut_rather_than_lost(desk: Desk) -> None:
    number = desk.put("one")
    await desk.settled()
    desk.messages.edit(number, Content("x" * 5_000))
    await desk.settled()
    assert desk.shown() == ["x" * 3_999 + "…"]


async def test_a_reply_goes_into_its_parents_thread(desk: Desk) -> None:
    parent = desk.put("parent")
    desk.put("reply", parent=parent)
    await desk.settled()
    first, reply = desk.workspace.messages(desk.incidents)
    assert (reply.text, reply.thread_ts) == ("reply", first.ts)


async def test_what_is_for_one_person_is_shown_to_them_alone_and_never_edited(desk: Desk) -> None:
    alice = desk.workspace.person("alice")
    number = desk.put("not you", only_to=alice.id)
    await desk.settled()
    desk.messages.edit(number, Content("still not you"))
    await desk.settled()
    (message,) = desk.workspace.messages(desk.incidents)
    assert (message.text, message.ephemeral_to) == ("not you", alice.id)
    assert desk.called("chat.update") == []


async def test_what_is_for_one_person_is_dropped_once_it_is_stale(desk: Desk) -> None:
    written = desk.messages.now()
    number = desk.put("not you", only_to=desk.workspace.person("alice").id)
    desk.put("for all")
    desk.messages.now = lambda: written + STALE + timedelta(minutes=1)
    await desk.settled()
    assert desk.shown() == ["for all"]
    assert "out of date" in (desk.messages.get(number).failed or "")


async def test_a_message_that_is_edited_all_the_time_holds_up_no_other(desk: Desk) -> None:
    restless = desk.put("0")
    await desk.settled()
    edits = iter(range(1, 20))
    update = desk.messages.delivered

    def edited_again(message: Any, *told: Any) -> None:
        update(message, *told)
        if message.id == restless and (count := next(edits, None)):
            desk.messages.edit(restless, Content(str(count)))

    desk.messages.delivered = edited_again  # type: ignore[method-assign]
    desk.messages.edit(restless, Content("go"))
    desk.put("other")
    await desk.settled()
    answered = [call.method for call in desk.workspace.calls if call.method.startswith("chat.")]
    assert answered[:4] == ["chat.postMessage", "chat.update", "chat.postMessage", "chat.update"]


# --- Pace


async def test_a_channel_gets_one_post_a_second_and_no_pause_more_than_that_takes(desk: Desk) -> None:
    for text in ("one", "two", "three"):
        desk.put(text)
    await desk.settled()
    assert desk.clock.pauses == [1.0, 1.0]
    desk.clock.at += 0.75
    desk.put("four")
    await desk.settled()
    assert desk.clock.pauses == [1.0, 1.0, 0.25]


async def test_an_edit_waits_for_no_post_and_other_channels_for_neither(desk: Desk) -> None:
    number = desk.put("one")
    await desk.settled()
    desk.messages.edit(number, Content("two"))
    desk.put("elsewhere", desk.storage)
    await desk.settled()
    assert desk.clock.pauses == []


# --- Trouble that passes


async def test_a_rate_limit_is_waited_out_exactly_and_the_same_message_tried_again(desk: Desk) -> None:
    desk.put("one")
    desk.put("two")
    desk.workspace.faults.rate_limit(times=2, retry_after=7, method="chat.postMessage")
    await desk.settled()
    assert desk.clock.pauses == [7, 7, 1.0]
    assert desk.shown() == ["one", "two"]


TROUBLES: dict[str, Callable[[Workspace], object]] = {
    "HTTP 503": lambda ws: ws.faults.server_error(times=3, method="chat.postMessage"),
    "internal_error": lambda ws: ws.faults.fail("chat.postMessage", "internal_error", times=3),
    "fatal_error": lambda ws: ws.faults.fail("chat.postMessage", "fatal_error", times=3),
    "service_unavailable": lambda ws: ws.faults.fail("chat.postMessage", "service_unavailable", times=3),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_trouble_in_slack_is_waited_out_with_growing_pauses(desk: Desk, trouble: str) -> None:
    desk.put("one")
    desk.put("two")
    TROUBLES[trouble](desk.workspace)
    await desk.settled()
    assert desk.clock.pauses[:3] == [1.0, 2.0, 4.0]
    assert desk.shown() == ["one", "two"]


async def test_while_slack_is_away_pauses_grow_to_a_minute_and_it_is_said_once(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.workspace.faults.down = True
    desk.put("one")
    desk.put("two")
    desk.clock.after(9, lambda: setattr(desk.workspace.faults, "down", False))
    await desk.settled()
    assert desk.clock.pauses[:9] == [1, 2, 4, 8, 15, 15, 15, 15, 15]
    assert desk.shown() == ["one", "two"]
    said = [record.message for record in caplog.records if record.name == "unstick.slack"]
    assert len(said) == 2, said
    assert "cannot be reached" in said[0]
    assert "again" in said[1]


async def test_a_refused_connection_is_waited_out(desk: Desk) -> None:
    await desk.workspace.stop_listening()
    desk.put("one")
    back: list[asyncio.Task[None]] = []
    desk.clock.after(2, lambda: back.append(asyncio.create_task(desk.workspace.listen_again())))
    await desk.settled()
    await back[0]
    assert desk.clock.pauses[:2] == [1, 2]
    assert desk.shown() == ["one"]


async def test_a_call_that_is_never_answered_is_ended_and_tried_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This one comes to Slack only after it was looked for: it is doubled, in order, and has the same number."""
    monkeypatch.setattr(posting, "CALL_TIMEOUT", 0.05)
    desk.workspace.faults.hang("chat.postMessage", 0.3)
    first, second = desk.put("one"), desk.put("two")
    await desk.settled()
    numbers = [m.metadata["event_payload"]["message"] for m in desk.workspace.messages(desk.incidents) if m.metadata]
    assert list(dict.fromkeys(numbers)) == [first, second]
    assert numbers[-1] == second
    assert desk.clock.pauses[0] == 1.0, "the call was waited for"


async def test_one_channels_trouble_delays_no_other(desk: Desk) -> None:
    released = asyncio.Event()

    async def pause(seconds: float) -> None:
        if seconds == 30:
            await released.wait()

    desk.delivery._pause = pause
    desk.workspace.faults.rate_limit(retry_after=30, method="chat.postMessage")
    desk.put("limited")
    task = await running(desk.delivery.run)
    assert await desk.workspace.changes.until(lambda: desk.called("chat.postMessage") or None, 5) == ["ratelimited"]
    desk.put("free", desk.storage)
    desk.delivery.wake()
    assert await desk.workspace.changes.until(lambda: desk.shown(desk.storage) or None, 4) == ["free"]
    assert desk.shown() == []
    released.set()
    assert await desk.workspace.changes.until(lambda: desk.shown() or None, 4) == ["limited"]
    await cancelled(task)


# --- Tokens


@pytest.mark.parametrize("code", ["invalid_auth", "token_revoked", "account_inactive", "not_authed", "missing_scope"])
async def test_a_refused_token_is_no_messages_fault(desk: Desk, code: str, caplog: pytest.LogCaptureFixture) -> None:
    desk.workspace.faults.refuse_bot_token = code
    first = desk.put("one")
    desk.put("two")
    desk.clock.after(3, lambda: setattr(desk.workspace.faults, "refuse_bot_token", False))
    await desk.settled()
    assert desk.clock.pauses[:3] == [1, 2, 4]
    assert desk.shown() == ["one", "two"]
    assert desk.messages.get(first).failed is None
    said = [record.message for record in caplog.records if record.name == "unstick.slack"]
    assert len(said) == 2, said
    assert "SLACK_BOT_TOKEN" in said[0]
    assert "again" in said[1]
    assert code in said[0]
    assert desk.workspace.bot_token not in caplog.text


async def test_a_refused_token_makes_all_channels_wait_together(desk: Desk) -> None:
    """Time passes here only once both channels wait: each asks again, and the wait grows once, not once for each."""
    waiting: list[tuple[float, asyncio.Event]] = []
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        waiting.append((seconds, released := asyncio.Event()))
        pauses.append(seconds)
        if len(waiting) == 2:
            desk.clock.at += max(seconds for seconds, _ in waiting)
            desk.workspace.faults.refuse_bot_token = len(pauses) < 6
            for _, each in waiting:
                each.set()
            waiting.clear()
        await released.wait()

    desk.delivery._pause = pause
    desk.workspace.faults.refuse_bot_token = True
    desk.put("here")
    desk.put("there", desk.storage)
    await desk.settled()
    assert pauses == [1, 1, 2, 2, 4, 4]
    assert desk.shown() + desk.shown(desk.storage) == ["here", "there"]


# --- What Slack will never take


@pytest.mark.parametrize(
    ("code", "move"),
    [
        ("channel_not_found", "/invite @unstick"), ("not_in_channel", "/invite @unstick"), ("is_archived", "unarchive"),
        ("restricted_action", "admin"), ("msg_too_long", "command line"), ("never_heard_of", "look it up"),
    ],
)  # fmt: skip
async def test_what_slack_will_never_take_is_given_up_with_the_next_move(desk: Desk, code: str, move: str) -> None:
    refused = desk.put("refused")
    desk.put("next")
    desk.workspace.faults.fail("chat.postMessage", code)
    await desk.settled()
    failed = desk.messages.get(refused).failed or ""
    assert code in failed
    assert move in failed
    assert desk.shown() == ["next"]


async def test_a_person_who_is_not_in_the_channel_is_named_as_the_reason(desk: Desk) -> None:
    closed = desk.workspace.channel("closed", members=[])
    number = desk.put("you", closed, only_to=desk.workspace.person("alice").id)
    await desk.settled()
    assert "user_not_in_channel" in (desk.messages.get(number).failed or "")


async def test_once_the_bot_is_invited_the_next_edit_brings_a_message_that_had_failed(desk: Desk) -> None:
    desk.workspace.channel("incidents", bot=False)
    number = desk.put("stuck")
    await desk.settled()
    assert desk.messages.get(number).failed
    desk.workspace.channel("incidents")
    desk.messages.edit(number, Content("free"))
    await desk.settled()
    assert desk.shown() == ["free"]
    assert desk.messages.get(number).failed is None


async def test_an_edit_that_came_during_the_refusal_is_not_refused_with_it(desk: Desk) -> None:
    number = desk.put("old")
    old = desk.messages.get(number)
    desk.messages.edit(number, Content("new"))
    desk.messages.undeliverable(old, "of the old one")
    await desk.settled()
    assert desk.shown() == ["new"]


async def test_of_a_message_with_blocks_that_slack_does_not_take_the_text_is_shown(desk: Desk) -> None:
    wrong = {"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3_001}}
    number = desk.messages.add(desk.incidents, Content("what is the matter", (wrong,)))
    await desk.settled()
    assert desk.shown() == ["what is the matter"]
    desk.messages.edit(number, Content("what is the matter now", (wrong,)))
    await desk.settled()
    assert desk.shown() == ["what is the matter now"]
    assert desk.messages.get(number).failed is None


@pytest.mark.parametrize("code", ["message_not_found", "cant_update_message", "edit_window_closed"])
async def test_news_of_a_message_that_can_no_longer_be_edited_is_posted_anew(desk: Desk, code: str) -> None:
    number = desk.put("waits")
    await desk.settled()
    desk.workspace.faults.fail("chat.update", code)
    desk.messages.edit(number, Content("works"))
    await desk.settled()
    desk.messages.edit(number, Content("done"))
    await desk.settled()
    assert desk.shown() == ["waits", "done"]


async def test_a_reply_to_a_message_that_slack_would_not_take_is_posted_to_the_channel(desk: Desk) -> None:
    parent = desk.put("parent")
    desk.put("reply", parent=parent)
    desk.workspace.faults.fail("chat.postMessage", "msg_too_long")
    await desk.settled()
    (reply,) = desk.workspace.messages(desk.incidents)
    assert (reply.text, reply.thread_ts) == ("reply", None)


async def test_a_reply_in_a_thread_that_somebody_deleted_is_posted_to_the_channel(desk: Desk) -> None:
    parent = desk.put("parent")
    await desk.settled()
    (message,) = desk.workspace.messages(desk.incidents)
    desk.workspace.state.remove(message)
    desk.put("reply", parent=parent)
    await desk.settled()
    assert desk.shown() == ["reply"]


async def test_a_message_that_trips_the_code_holds_up_none_behind_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trips(message: Any) -> dict[str, Any]:
        if message.id == tripping:
            raise KeyError("event_type")
        return {"event_type": "unstick", "event_payload": {}}

    tripping = desk.put("trips")
    desk.put("next")
    monkeypatch.setattr(posting, "_metadata", trips)
    await desk.settled()
    assert desk.shown() == ["next"]
    assert "KeyError" in (desk.messages.get(tripping).failed or "")


# --- The store, restarts, and being woken


async def test_what_slack_has_taken_is_not_posted_again_because_the_store_was_away(desk: Desk) -> None:
    note, away = desk.messages.delivered, iter((True, True))

    def sometimes(*what: Any) -> None:
        if next(away, False):
            raise StoreError("The state database cannot be written: disk full; check its disk and rights.")
        note(*what)

    desk.messages.delivered = sometimes  # type: ignore[method-assign]
    desk.put("one")
    desk.put("two")
    await desk.settled()
    assert desk.shown() == ["one", "two"]


async def test_a_new_delivery_goes_on_where_the_last_one_was(desk: Desk) -> None:
    desk.put("one")
    await desk.settled()
    desk.workspace.faults.down = True
    desk.put("two")
    desk.put("three")
    stopped = asyncio.Event()
    desk.clock.after(3, stopped.set)
    task = await running(desk.delivery.run)
    await asyncio.wait_for(stopped.wait(), 5)
    await cancelled(task)
    desk.workspace.faults.down = False
    desk.delivery = desk.another()
    await desk.settled()
    assert desk.shown() == ["one", "two", "three"]


async def test_a_post_that_is_under_way_at_the_stop_is_noted_and_not_doubled(desk: Desk) -> None:
    desk.workspace.faults.hang("chat.postMessage", 0.2)
    number, asked = desk.put("one"), asyncio.Event()
    call = desk.client.api_call

    async def seen(*args: Any, **kwargs: Any) -> Any:
        asked.set()
        return await call(*args, **kwargs)

    desk.client.api_call = seen  # type: ignore[method-assign]
    task = await running(desk.delivery.run)
    await asyncio.wait_for(asked.wait(), 5)
    await cancelled(task)
    assert desk.messages.get(number).ts is not None
    desk.delivery = desk.another()
    await desk.settled()
    assert desk.shown() == ["one"]


async def test_waking_from_another_thread_delivers_at_once_and_idling_asks_the_store_for_nothing(desk: Desk) -> None:
    looks: list[int] = []
    look = desk.messages.channels_behind
    desk.messages.channels_behind = lambda *_: looks.append(1) or look()  # type: ignore[func-returns-value,method-assign]
    desk.delivery.wake()  # before it runs: nothing to wake yet, and no error
    task = await running(desk.delivery.run)
    desk.put("one")
    threading.Thread(target=desk.delivery.wake).start()
    assert await desk.workspace.changes.until(lambda: desk.shown() or None, 4) == ["one"]
    await asyncio.sleep(0.2)
    assert len(looks) <= 4, "looks again and again"
    await cancelled(task)
    desk.delivery.wake()


async def test_what_another_process_wrote_is_found_without_being_woken(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_module, "POLL", 0.02)
    task = await running(desk.delivery.run)
    await asyncio.sleep(0.05)
    desk.put("one")
    assert await desk.workspace.changes.until(lambda: desk.shown() or None, 5) == ["one"]
    await cancelled(task)


async def test_settling_says_when_something_is_left(desk: Desk) -> None:
    desk.workspace.faults.down = True
    desk.put("one")

    async def pause(_seconds: float) -> None:
        await asyncio.sleep(0.01)

    desk.delivery._pause = pause
    assert not await desk.delivery.settle(0.1)
    desk.workspace.faults.down = False
    assert await desk.delivery.settle(5)
    assert desk.shown() == ["one"]


async def test_a_row_that_cannot_be_read_ends_the_run_instead_of_being_read_for_ever(desk: Desk) -> None:
    def broken(*_: Any) -> None:
        raise ValueError("not a message")

    desk.messages.next_behind = broken  # type: ignore[method-assign]
    desk.put("one")
    with pytest.raises(ValueError, match="not a message"):
        await asyncio.wait_for(desk.delivery.run(), 5)


def test_payloads_and_tokens_stay_out_of_the_log_even_when_all_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def told() -> str:
        state = open_state(f"sqlite:///{tmp_path}/log.db")
        async with Workspace() as workspace:
            channel = workspace.channel("incidents")
            state.messages.add(channel, Content("a secret plan"))
            client = web_client(workspace.bot_token, workspace.api_url)
            assert await Delivery(client, state.messages).settle(5)
        state.runbooks.engine.dispose()
        return workspace.bot_token

    with caplog.at_level(logging.DEBUG):
        token = asyncio.run(told())
    mine = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith(("unstick", "slack_")))
    assert "a secret plan" not in mine
    assert token not in caplog.text


# --- All of it at once

FAULTS: list[Callable[[Workspace], object]] = [
    lambda ws: ws.faults.rate_limit(times=2, retry_after=3),
    lambda ws: ws.faults.server_error(times=2),
    lambda ws: ws.faults.fail("chat.postMessage", "internal_error", times=2),
    lambda ws: ws.faults.fail("chat.update", "fatal_error"),
    lambda ws: ws.faults.lose("chat.postMessage"),
    lambda ws: ws.faults.lose("chat.update"),
    lambda ws: setattr(ws.faults, "down", True),
    lambda ws: setattr(ws.faults, "refuse_bot_token", True),
]
STEP = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 1)),
    st.tuples(st.just("reply"), st.integers(0, 3)),
    st.tuples(st.just("edit"), st.integers(0, 9)),
    st.tuples(st.just("fault"), st.integers(0, len(FAULTS) - 1)),
    st.tuples(st.just("restart"), st.just(0)),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, min_size=3, max_size=14))
def test_whatever_happens_each_message_is_there_once_in_order_as_it_was_last_wanted(
    tmp_path_factory: pytest.TempPathFactory, make_clock: Callable[[], Any], steps: list[tuple[str, int]]
) -> None:
    asyncio.run(_lived_through(tmp_path_factory.mktemp("state"), make_clock(), steps))


@pytest.fixture
def make_clock(clock: Any) -> Callable[[], Any]:
    return type(clock)


async def _lived_through(folder: Path, clock: Any, steps: list[tuple[str, int]]) -> None:
    state = open_state(f"sqlite:///{folder}/state.db")
    async with Workspace() as workspace:
        desk = Desk(workspace, state, clock)
        written: list[int] = []
        for step, number in steps:
            if step == "put":
                written.append(desk.put(f"{len(written)}", [desk.incidents, desk.storage][number]))
            elif step == "reply" and written:
                parent = desk.messages.get(written[number % len(written)])
                if parent.parent is None:
                    written.append(desk.put(f"{len(written)}", parent.channel, parent=parent.id))
            elif step == "edit" and written:
                at = number % len(written)
                desk.messages.edit(written[at], Content(f"{at} edited {len(clock.pauses)}"))
            elif step == "fault":
                FAULTS[number](workspace)
                # For a while it delivers into the trouble; then the trouble is over.
                seen = len(clock.pauses)
                clock.on_pause = lambda count, seen=seen: workspace.faults.clear() if count >= seen + 4 else None
                await desk.delivery.settle(0.05)
            elif step == "restart":
                desk.delivery = desk.another()
        workspace.faults.clear()
        await desk.settled()
        for channel in (desk.incidents, desk.storage):
            wanted = [m for n in written if (m := desk.messages.get(n)).channel == channel]
            shown = workspace.messages(channel)
            assert [m.content.text for m in wanted] == [m.text for m in shown]
            assert [m.ts for m in wanted] == [m.ts for m in shown]
            assert [m.parent_ts for m in wanted] == [m.thread_ts for m in shown]
    state.runbooks.engine.dispose()
