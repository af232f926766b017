"""The connection stands again after everything that ends one, says so once, and loses nothing that came in."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest
from slack_bolt.app.async_app import AsyncApp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot.sandbox.slack import Workspace
from bot.slack import connection as connection_module
from bot.slack import errors
from bot.slack.connection import Connection, Identity, identify, sdk_log, web_client
from bot.slack.errors import RateLimited, Rejected, SlackUnreachable, TokenRefused, answer_of

Ack = Callable[..., Awaitable[None]]


class Bot:
    """An app that remembers what was typed, its connection, and what that said."""

    def __init__(self, workspace: Workspace, clock: Any) -> None:
        self.workspace, self.clock = workspace, clock
        self.client = web_client(workspace.bot_token, workspace.api_url)
        self.app = AsyncApp(client=self.client, signing_secret="", logger=sdk_log)
        self.typed: list[str] = []
        self.began, self.slow = asyncio.Event(), asyncio.Event()
        self.said: list[str] = []
        self.incidents = workspace.channel("incidents")
        self.alice = workspace.person("alice")
        self.app.command("/unstick")(self.command)
        self.connection = Connection(
            self.app, workspace.app_token, self.client, pause=clock.pause, say=self.said.append, ping_interval=5
        )

    async def command(self, ack: Ack, command: dict[str, Any]) -> None:
        if command["text"] == "slow":
            self.began.set()
            await self.slow.wait()
        if command["text"] == "fails":
            raise RuntimeError("a fault of the app")
        await ack(f"heard {command['text']}")
        self.typed.append(command["text"])

    async def types(self, text: str) -> str:
        return (await self.alice.types(self.incidents, f"/unstick {text}")).text

    async def opened(self, sockets: int) -> None:
        """Until so many sockets were opened since the start, and the newest one stands."""
        found = await self.workspace.changes.until(lambda: self.workspace.sockets.opened >= sockets or None, 5)
        assert found, f"{self.workspace.sockets.opened} of {sockets} sockets were opened; said: {self.said}"
        assert await self.connection.until_connected(5)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.connection.run())
        await asyncio.sleep(0)
        try:
            yield task
        finally:
            await self.connection.close()
            with suppress(TokenRefused):
                await task


@pytest.fixture
def bot(workspace: Workspace, clock: Any) -> Bot:
    return Bot(workspace, clock)


@pytest.fixture(autouse=True)
def no_protocol_errors(workspace: Workspace) -> Any:
    yield
    assert workspace.protocol_errors == []


# --- Who the bot is


async def test_the_bot_learns_who_it_is(bot: Bot) -> None:
    assert await identify(bot.client) == Identity(
        bot.workspace.bot_user, bot.workspace.team, "Sandbox", bot.workspace.url
    )


@pytest.mark.parametrize("code", ["invalid_auth", "token_revoked", "account_inactive", "not_authed", "missing_scope"])
async def test_a_refused_bot_token_is_one_sentence_with_its_variable_the_code_and_the_next_move(
    bot: Bot, code: str
) -> None:
    bot.workspace.faults.refuse_bot_token = code
    with pytest.raises(TokenRefused) as refused:
        await identify(bot.client)
    assert f"SLACK_BOT_TOKEN ({code}): " in str(refused.value)
    assert bot.workspace.bot_token not in str(refused.value)
    assert str(refused.value).count(". ") == 0


async def test_slack_that_cannot_be_asked_is_one_sentence(bot: Bot) -> None:
    bot.workspace.faults.server_error(method="auth.test")
    with pytest.raises(SlackUnreachable, match="503"):
        await identify(bot.client)
    bot.workspace.faults.rate_limit(retry_after=9)
    with pytest.raises(RateLimited) as limited:
        await identify(bot.client)
    assert limited.value.seconds == 9
    bot.workspace.faults.fail("auth.test", "strange")
    with pytest.raises(SlackUnreachable, match="strange"):
        await identify(bot.client)
    bot.workspace.faults.down = True
    with pytest.raises(SlackUnreachable, match="cannot be reached"):
        await identify(bot.client)
    await bot.workspace.stop_listening()
    with pytest.raises(SlackUnreachable, match="cannot be reached"):
        await identify(bot.client)


async def test_an_answer_that_is_not_slacks_is_told_as_such(workspace: Workspace) -> None:
    """The page of a proxy, as a 404 and as a success."""
    with pytest.raises(SlackUnreachable, match="404"):
        await identify(web_client("xoxb-1", f"{workspace.url}elsewhere/"))

    async def page() -> Any:
        raise AttributeError("'str' object has no attribute 'get'")

    with pytest.raises(SlackUnreachable, match="not Slack"):
        await answer_of(page(), errors.BOT_TOKEN)


async def test_a_call_without_an_answer_ends(bot: Bot) -> None:
    bot.workspace.faults.hang("auth.test", 0.2)
    with pytest.raises(SlackUnreachable, match=r"within 0\.05 s"):
        await answer_of(bot.client.auth_test(), errors.BOT_TOKEN, timeout=0.05)


@pytest.mark.parametrize(("header", "seconds"), [("12", 12), ("soon", 30), (None, 30)])
async def test_a_429_of_whoever_stands_before_slack_is_a_rate_limit_too(header: str | None, seconds: float) -> None:
    """A proxy's own 429 has no code of Slack's, and may not say for how long."""

    async def limited() -> Any:
        headers = {} if header is None else {"Retry-After": header}
        raise SlackApiError("refused", SimpleNamespace(status_code=429, data={}, headers=headers))

    with pytest.raises(RateLimited) as error:
        await answer_of(limited(), errors.BOT_TOKEN)
    assert error.value.seconds == seconds


async def test_what_slack_will_never_take_keeps_its_code(bot: Bot) -> None:
    with pytest.raises(Rejected) as rejected:
        await answer_of(bot.client.chat_postMessage(channel="C404", text="x"), errors.BOT_TOKEN)
    assert rejected.value.code == "channel_not_found"


# --- Connecting


async def test_what_is_typed_reaches_the_app_and_its_answer_the_person(bot: Bot) -> None:
    async with bot.running():
        await bot.opened(1)
        assert await bot.types("check") == "heard check"
    assert bot.said == []
    assert not bot.connection.connected


async def test_slack_down_at_the_start_is_waited_for_and_said_once(bot: Bot) -> None:
    await bot.workspace.stop_listening()
    back: list[asyncio.Task[None]] = []
    bot.clock.after(8, lambda: back.append(asyncio.create_task(bot.workspace.listen_again())))
    async with bot.running():
        await bot.opened(1)
        assert await bot.types("check") == "heard check"
    assert bot.clock.pauses[:8] == [1, 2, 4, 8, 15, 15, 15, 15]
    assert len(bot.said) == 2, bot.said
    assert "cannot be reached" in bot.said[0]
    assert "back" in bot.said[1]


@pytest.mark.parametrize(
    ("code", "move"),
    [
        ("invalid_auth", "issue a new one"),
        ("not_allowed_token_type", "xapp-"),
        ("token_revoked", "install the app"),
        ("missing_scope", "scope"),
    ],
)
async def test_a_refused_app_token_ends_it_with_one_sentence(bot: Bot, code: str, move: str) -> None:
    bot.workspace.faults.refuse_app_token = code
    with pytest.raises(TokenRefused) as refused:
        await asyncio.wait_for(bot.connection.run(), 5)
    assert f"SLACK_APP_TOKEN ({code})" in str(refused.value)
    assert move in str(refused.value)
    assert bot.workspace.app_token not in str(refused.value)
    assert bot.clock.pauses == []


async def test_a_token_that_is_refused_later_ends_it_too_and_nobody_waits_in_vain(bot: Bot) -> None:
    async with bot.running() as task:
        await bot.opened(1)
        bot.workspace.faults.refuse_app_token = True
        await bot.workspace.close_sockets()
        with pytest.raises(TokenRefused):
            await asyncio.wait_for(task, 5)
        assert await bot.connection.until_connected(5) is False


async def test_a_rate_limit_is_waited_out_exactly(bot: Bot) -> None:
    bot.workspace.faults.rate_limit(times=2, retry_after=17, method="apps.connections.open")
    async with bot.running():
        await bot.opened(1)
    assert bot.clock.pauses == [17, 17]
    assert len(bot.said) == 2, bot.said


async def test_a_server_error_is_waited_out(bot: Bot) -> None:
    bot.workspace.faults.server_error(times=3, method="apps.connections.open")
    bot.workspace.faults.fail("apps.connections.open", "internal_error")
    bot.workspace.faults.fail("apps.connections.open", "socket_mode_off")
    async with bot.running():
        await bot.opened(1)
    assert bot.clock.pauses == [1, 2, 4, 8, 15]
    assert [
        word for word in ("503", "internal_error", "Socket Mode is on", "back") if word not in " ".join(bot.said)
    ] == []
    assert len(bot.said) == 4, bot.said


async def test_an_opening_that_is_never_answered_is_ended_and_tried_again(
    bot: Bot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "CALL_TIMEOUT", 0.05)
    bot.workspace.faults.hang("apps.connections.open", 0.3)
    async with bot.running():
        await bot.opened(1)
    assert bot.clock.pauses == [1]
    assert "did not answer" in bot.said[0]


async def test_a_socket_address_that_is_refused_is_not_tried_again_and_its_ticket_not_told(
    bot: Bot, monkeypatch: pytest.MonkeyPatch
) -> None:
    tickets = iter(["used-before"])
    issue = bot.workspace.sockets.ticket
    monkeypatch.setattr(bot.workspace.sockets, "ticket", lambda: next(tickets, None) or issue())
    async with bot.running():
        await bot.opened(1)
    assert bot.clock.pauses == [1]
    assert "HTTP status 403" in bot.said[0]
    assert "used-before" not in bot.said[0]


# --- Staying connected


@pytest.mark.parametrize("abruptly", [True, False])
async def test_a_connection_that_breaks_is_made_again(bot: Bot, abruptly: bool) -> None:
    async with bot.running():
        await bot.opened(1)
        await bot.workspace.close_sockets(abruptly=abruptly)
        await bot.opened(2)
        assert await bot.types("again") == "heard again"
    assert bot.clock.pauses == [1]
    assert len(bot.said) == 2, bot.said


async def test_a_connection_that_breaks_at_once_each_time_is_made_again_less_and_less_often(bot: Bot) -> None:
    async with bot.running():
        for sockets in range(1, 5):
            await bot.opened(sockets)
            await bot.workspace.close_sockets()
        await bot.opened(5)
    assert bot.clock.pauses == [1, 2, 4, 8]


async def test_a_connection_that_held_begins_with_a_short_wait_again(bot: Bot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "HELD", 0.0)
    async with bot.running():
        for sockets in range(1, 4):
            await bot.opened(sockets)
            await bot.workspace.close_sockets()
        await bot.opened(4)
    assert bot.clock.pauses == [1, 1, 1]


@pytest.mark.parametrize("reason", ["refresh_requested", "warning"])
async def test_what_slack_wants_refreshed_is_at_once_and_without_a_word(bot: Bot, reason: Any) -> None:
    async with bot.running():
        await bot.opened(1)
        await bot.workspace.disconnect(reason, grace=0.02)
        await bot.opened(2)
        assert await bot.types("again") == "heard again"
    assert bot.clock.pauses == []
    assert bot.said == []


async def test_refreshes_without_an_end_wait_as_well(bot: Bot) -> None:
    async with bot.running():
        for sockets in range(1, 6):
            await bot.opened(sockets)
            await bot.workspace.disconnect(grace=0.02)
        await bot.opened(6)
    assert bot.clock.pauses == [1, 2]


@pytest.mark.parametrize(
    ("reason", "move"), [("link_disabled", "switch it on"), ("too_many_websockets", "stop what else")]
)
async def test_other_goodbyes_are_told_with_the_next_move_and_waited_out(bot: Bot, reason: Any, move: str) -> None:
    async with bot.running():
        await bot.opened(1)
        await bot.workspace.disconnect(reason, grace=0.02)
        await bot.opened(2)
        assert await bot.types("again") == "heard again"
    assert bot.clock.pauses == [1]
    assert move in bot.said[0]
    assert "back" in bot.said[1]


async def test_too_many_connections_are_told_as_such(bot: Bot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.sandbox.slack.socket_mode.MOST_CONNECTIONS", 0)
    bot.clock.after(2, lambda: monkeypatch.undo())
    async with bot.running():
        await bot.opened(1)
    assert bot.clock.pauses == [1, 2]
    assert "as many connections" in bot.said[0]


async def test_a_connection_on_which_nothing_answers_any_more_is_replaced(
    bot: Bot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer that is gone without a word, as behind a firewall that forgot: pings go out, and no pong comes."""
    monkeypatch.setattr("aiohttp.web.WebSocketResponse.pong", _no_pong)
    bot.connection.ping_interval = 0.05
    async with bot.running():
        await bot.opened(1)
        found = await bot.workspace.changes.until(lambda: bot.workspace.sockets.opened >= 2 or None, 5)
        assert found, "nobody noticed"
        bot.connection.ping_interval = 5
    assert bot.clock.pauses[0] == 1


async def _no_pong(_self: Any, _message: bytes = b"") -> None:
    return None


# --- Nothing is lost


async def test_a_slow_listener_holds_up_no_other(bot: Bot) -> None:
    async with bot.running():
        await bot.opened(1)
        slow = asyncio.create_task(bot.types("slow"))
        assert await bot.types("quick") == "heard quick"
        bot.slow.set()
        assert await slow == "heard slow"


async def test_a_listener_that_fails_ends_nothing(bot: Bot) -> None:
    async with bot.running():
        await bot.opened(1)

        async def broken(request: Any) -> Any:
            raise RuntimeError("bolt itself")

        dispatch, bot.app.async_dispatch = bot.app.async_dispatch, broken  # type: ignore[method-assign]
        assert bot.workspace.sockets._bound == 3.0
        bot.workspace.sockets._bound = 0.1
        await bot.alice.types(bot.incidents, "/unstick lost")
        bot.app.async_dispatch = dispatch  # type: ignore[method-assign]
        bot.workspace.sockets._bound = 3.0
        assert await bot.types("next") == "heard next"
    assert bot.clock.pauses == []


async def test_what_came_in_before_the_connection_broke_is_dealt_with(bot: Bot) -> None:
    async with bot.running():
        await bot.opened(1)
        bot.workspace.sockets._bound = 0.2
        slow = asyncio.create_task(bot.alice.types(bot.incidents, "/unstick slow"))
        await asyncio.wait_for(bot.began.wait(), 5)
        await bot.workspace.close_sockets()
        await bot.opened(2)
        bot.slow.set()
        await slow
        assert await bot.types("next") == "heard next"
    assert bot.typed == ["slow", "next"]


async def test_what_comes_by_the_old_connection_after_a_refresh_is_dealt_with_and_acknowledged_there(bot: Bot) -> None:
    """Slack goes on to deliver by a connection for a while that it wants refreshed."""
    sockets = bot.workspace.sockets
    async with bot.running():
        await bot.opened(1)
        (old,) = sockets._connections
        await old.socket.send_str('{"type": "disconnect", "reason": "warning"}')
        await bot.opened(2)
        heard = [await bot.types(f"{n}") for n in range(4)]
    assert heard == [f"heard {n}" for n in range(4)]
    assert {delivery.connection for delivery in sockets.deliveries} == {1, 2}


async def test_an_old_connection_is_left_once_its_time_is_over(bot: Bot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "GRACE", 0.05)
    async with bot.running():
        await bot.opened(1)
        (old,) = bot.workspace.sockets._connections
        await old.socket.send_str('{"type": "disconnect", "reason": "warning"}')
        await bot.opened(2)
        assert await bot.workspace.changes.until(lambda: bot.workspace.connections == 1 or None, 5)
        assert await bot.types("still") == "heard still"


async def test_what_is_under_way_at_the_end_is_still_acknowledged(bot: Bot) -> None:
    async with bot.running():
        await bot.opened(1)
        slow = asyncio.create_task(bot.types("slow"))
        await asyncio.wait_for(bot.began.wait(), 5)
        closing = asyncio.create_task(bot.connection.close())
        await asyncio.sleep(0)
        bot.slow.set()
        assert await slow == "heard slow"
        await closing


@pytest.mark.parametrize("frame", ["not json", "[]", '{"type": "slash_commands", "envelope_id": "1", "payload": null}'])
async def test_a_frame_that_nobody_understands_ends_nothing(bot: Bot, frame: str) -> None:
    async with bot.running():
        await bot.opened(1)
        (socket,) = bot.workspace.sockets._connections
        await socket.socket.send_str(frame)
        assert await bot.types("next") == "heard next"
    assert bot.workspace.sockets.opened == 1


async def test_many_troubles_in_a_row_lose_nothing_that_was_typed_between_them(bot: Bot) -> None:
    troubles: list[Callable[[], Awaitable[object]]] = [
        lambda: bot.workspace.close_sockets(),
        lambda: bot.workspace.disconnect("refresh_requested", grace=0.02),
        lambda: bot.workspace.disconnect("link_disabled", grace=0.02),
        lambda: bot.workspace.close_sockets(abruptly=False),
        lambda: bot.workspace.disconnect("warning", grace=0.02),
    ]
    async with bot.running():
        for number, trouble in enumerate(troubles * 2):
            await bot.opened(number + 1)
            assert await bot.types(f"{number}") == f"heard {number}"
            bot.workspace.faults.server_error(times=number % 3, method="apps.connections.open") if number % 3 else None
            await trouble()
        await bot.opened(len(troubles) * 2 + 1)
    assert bot.typed == [f"{number}" for number in range(len(troubles) * 2)]


async def test_a_client_of_ours_tries_once_a_call(workspace: Workspace) -> None:
    client: AsyncWebClient = web_client(workspace.bot_token, workspace.api_url)
    workspace.faults.down = True
    with pytest.raises(SlackUnreachable):
        await identify(client)
    assert [call.answer for call in workspace.calls] == ["dropped"]
