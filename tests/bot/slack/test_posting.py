"""One message by several calls: what was lost on the way is found and not repeated, and a file is shared once."""

import asyncio
import base64
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from slack_sdk.errors import SlackApiError

from bot.slack.delivery import Delivery
from bot.slack.errors import BOT_TOKEN, RateLimited, answer_of
from bot.store import open_state
from bot.store.messages import Content
from tests.bot.slack.test_delivery import Desk, cancelled, desk, running

__all__ = ["desk"]

# --- Posts whose answer was lost


async def test_a_post_whose_answer_was_lost_is_found_and_not_repeated(desk: Desk) -> None:
    desk.put("before")
    await desk.settled()
    number = desk.put("one")
    desk.put("two")
    desk.workspace.faults.lose("chat.postMessage")
    await desk.settled()
    assert desk.shown() == ["before", "one", "two"]
    assert desk.messages.get(number).ts == desk.workspace.messages(desk.incidents)[1].ts
    assert desk.called("conversations.history") == ["ok"]
    assert desk.called("chat.update") == [], "it is as it was wanted"


async def test_a_reply_whose_answer_was_lost_is_found_in_its_thread(desk: Desk) -> None:
    parent = desk.put("parent")
    await desk.settled()
    desk.put("reply", parent=parent)
    desk.workspace.faults.lose("chat.postMessage", times=1)
    await desk.settled()
    assert desk.shown() == ["parent", "reply"]
    assert desk.called("conversations.replies") == ["ok"]


async def test_what_was_edited_since_the_lost_answer_is_edited_and_not_posted_again(desk: Desk) -> None:
    number = desk.put("one")
    desk.workspace.faults.lose("chat.postMessage")
    desk.clock.after(1, lambda: desk.messages.edit(number, Content("two")))
    await desk.settled()
    (message,) = desk.workspace.messages(desk.incidents)
    assert [text for text, _ in message.versions] == ["one", "two"]


async def test_a_post_that_never_came_to_slack_is_posted_once_it_was_looked_for(desk: Desk) -> None:
    number = desk.put("one")
    desk.messages.trying(desk.messages.get(number))  # and then the replica died
    await desk.settled()
    assert desk.shown() == ["one"]
    assert [call.method for call in desk.workspace.calls] == ["conversations.history", "chat.postMessage"]


async def test_what_slack_refused_for_certain_is_not_looked_for(desk: Desk) -> None:
    desk.put("one")
    desk.workspace.faults.rate_limit(times=2, retry_after=7, method="chat.postMessage")
    await desk.settled()
    desk.put("two")
    desk.workspace.faults.refuse_bot_token = True
    desk.clock.after(len(desk.clock.pauses) + 2, lambda: setattr(desk.workspace.faults, "refuse_bot_token", False))
    await desk.settled()
    assert desk.shown() == ["one", "two"]
    assert desk.called("conversations.history") == []


@pytest.mark.parametrize("code", ["missing_scope", "not_in_channel"])
async def test_where_nobody_may_look_it_is_posted_again_and_that_is_said(
    desk: Desk, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    for text in ("one", "two"):
        desk.put(text)
        desk.workspace.faults.lose("chat.postMessage")
        desk.workspace.faults.fail("conversations.history", code)
        await desk.settled()
    assert desk.shown() == ["one", "one", "two", "two"]
    said = [record.message for record in caplog.records if "cannot be looked up" in record.message]
    assert len(said) == 1, "once is enough"
    assert code in said[0]
    assert "SLACK_BOT_TOKEN" not in caplog.text, "the token is good for everything else"


async def test_what_only_one_person_sees_is_posted_again_as_nobody_can_look_for_it(desk: Desk) -> None:
    desk.put("for you", only_to=desk.workspace.person("alice").id)
    desk.workspace.faults.lose("chat.postEphemeral")
    await desk.settled()
    assert desk.shown() == ["for you", "for you"]
    assert desk.called("conversations.history") == []


async def test_a_message_of_an_older_database_with_the_same_number_is_not_taken_for_it(
    desk: Desk, tmp_path: Path
) -> None:
    older = open_state(f"sqlite:///{tmp_path}/older.db")
    older.messages.add(desk.incidents, Content("of the older one"))
    assert await Delivery(desk.client, older.messages, pause=desk.clock.pause).settle(10)
    older.runbooks.engine.dispose()
    number = desk.put("of ours")
    desk.messages.trying(desk.messages.get(number))
    await desk.settled()
    assert desk.shown() == ["of the older one", "of ours"]


async def test_a_lost_repost_of_what_could_not_be_edited_is_not_mistaken_for_the_first_post(desk: Desk) -> None:
    number = desk.put("waits")
    await desk.settled()
    desk.workspace.faults.fail("chat.update", "edit_window_closed")
    desk.workspace.faults.lose("chat.postMessage")
    desk.messages.edit(number, Content("works"))
    await desk.settled()
    assert desk.shown() == ["waits", "works"]
    desk.messages.edit(number, Content("done"))
    await desk.settled()
    assert desk.shown() == ["waits", "done"]


async def test_a_minute_of_silence_and_then_refusals_lose_nothing_double_nothing_and_keep_the_order(desk: Desk) -> None:
    desk.put("0")
    await desk.settled()
    wanted = [str(number) for number in range(1, 12)]
    for text in wanted:
        desk.put(text)
        desk.put(text, desk.storage)
    desk.workspace.faults.lose("chat.postMessage", times=2)
    desk.workspace.faults.down = True
    seen = len(desk.clock.pauses)

    def comes_back(count: int) -> None:
        if count == seen + 14:
            desk.workspace.faults.down = False
            desk.workspace.faults.rate_limit(times=4, retry_after=9)
            desk.workspace.faults.lose("chat.postMessage", times=3)

    desk.clock.on_pause = comes_back
    await desk.settled(30)
    assert desk.shown() == ["0", *wanted]
    assert desk.shown(desk.storage) == wanted


async def test_an_edit_that_slack_wants_no_more_of_waits_in_all_channels_and_a_post_in_its_own(desk: Desk) -> None:
    """Edits are limited for the workspace: to go on in the next channel would only be told the same."""
    here, there = desk.put("here"), desk.put("there", desk.storage)
    await desk.settled()
    told, go_on = asyncio.Event(), asyncio.Event()

    async def pause(seconds: float) -> None:
        desk.clock.pauses.append(seconds)
        if seconds >= 19:
            told.set()
            await go_on.wait()
            desk.clock.at += seconds

    desk.delivery._pause = pause
    desk.workspace.faults.rate_limit(retry_after=20, method="chat.update")
    desk.messages.edit(here, Content("here, later"))
    task = await running(desk.delivery.run)
    await asyncio.wait_for(told.wait(), 5)
    desk.messages.edit(there, Content("there, later"))
    desk.put("elsewhere", desk.workspace.channel("elsewhere"))
    desk.delivery.wake()
    elsewhere = desk.workspace.channel("elsewhere")
    assert await desk.workspace.changes.until(lambda: desk.shown(elsewhere) or None, 5) == ["elsewhere"]
    assert len(desk.called("chat.update")) == 1
    go_on.set()
    assert await desk.workspace.changes.until(lambda: desk.shown(desk.storage) == ["there, later"] or None, 5)
    assert await desk.workspace.changes.until(lambda: desk.shown() == ["here, later"] or None, 5)
    await cancelled(task)


# --- Threads of others, and files


async def test_a_message_may_be_in_the_thread_of_somebody_elses(desk: Desk) -> None:
    alert = desk.workspace.state.post(desk.incidents, desk.workspace.person("alice").id, "an alert")
    number = desk.put("what it is", thread=alert.ts)
    desk.put("more of it", parent=number)
    await desk.settled()
    _, first, second = desk.workspace.messages(desk.incidents)
    assert [(m.text, m.thread_ts) for m in (first, second)] == [("what it is", alert.ts), ("more of it", alert.ts)]


PICTURE = {"name": "trend.png", "title": "7 days", "base64": base64.b64encode(b"a picture").decode()}


async def test_a_file_is_uploaded_into_the_thread_of_its_message(desk: Desk) -> None:
    parent = desk.put("the report")
    number = desk.put("its trend", parent=parent, file=PICTURE)
    desk.put("next")
    await desk.settled()
    report, shared, following = desk.workspace.messages(desk.incidents)
    assert (shared.text, shared.thread_ts, following.text) == ("its trend", report.ts, "next")
    assert [(file.name, file.title, file.content) for file in shared.files] == [("trend.png", "7 days", b"a picture")]
    kept = desk.messages.get(number)
    assert kept.file is not None
    assert "base64" not in kept.file, "Slack has it now"
    desk.messages.edit(number, Content("other words"))
    await desk.settled()
    assert len(desk.workspace.messages(desk.incidents)) == 3, "a file is not shared twice"


@pytest.mark.parametrize("lost", ["files.getUploadURLExternal", "files.completeUploadExternal"])
async def test_a_file_whose_answer_was_lost_is_shared_once(desk: Desk, lost: str) -> None:
    parent = desk.put("the report")
    desk.put("its trend", parent=parent, file=PICTURE)
    desk.put("next")
    desk.workspace.faults.lose(lost)
    await desk.settled()
    assert desk.shown() == ["the report", "its trend", "next"]


async def test_an_app_that_may_upload_nothing_says_so_of_the_file_and_brings_all_else(desk: Desk) -> None:
    number = desk.put("its trend", file=PICTURE)
    desk.put("next")
    desk.workspace.faults.fail("files.getUploadURLExternal", "missing_scope")
    await desk.settled()
    assert desk.shown() == ["next"]
    assert "unstick slack manifest" in (desk.messages.get(number).failed or "")


@pytest.mark.parametrize(
    ("header", "seconds"), [("inf", 30), ("nan", 30), ("-5", 0), ("86400", 300), ("1e300", 300), ("17", 17)]
)
async def test_no_answer_silences_a_channel_for_longer_than_anybody_can_mean(header: str, seconds: float) -> None:
    async def limited() -> Any:
        raise SlackApiError("refused", SimpleNamespace(status_code=429, data={}, headers={"Retry-After": header}))

    with pytest.raises(RateLimited) as error:
        await answer_of(limited(), BOT_TOKEN)
    assert error.value.seconds == seconds
