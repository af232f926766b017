"""Slack in trouble: away, shut, slow to take things, or unwilling. What is to be said waits, and is said once."""

import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import yaml

from bot import rereading, settings
from bot.rereading import Rereading
from bot.sandbox.slack import Workspace
from bot.sandbox.world import Sandbox
from bot.serve import Server
from bot.settings import Settings
from bot.slack.jobs import AnyJob
from bot.slack.words import CONFIRM_BLOCK
from bot.store.messages import Content
from tests.bot.scenarios import office as office_module
from tests.bot.scenarios.hands import ACTS, Gate, Hand, until
from tests.bot.scenarios.office import PATIENCE, WHY, Office, serving

Trouble = Callable[[Workspace], Awaitable[None]]
SAID = [f"number {n}" for n in range(6)]
# What a request says once it is through, before how each step went.
DONE = "✅ Done: ceph/stale_rbd_lock@1.0.0"
STEPS = ["look", "cordon", "fence", "unlock", "clear", "retry", "settle"]


def said(workspace: Workspace, channel: str) -> list[str]:
    """What all can read, the oldest first."""
    return [message.visible for message in workspace.messages(channel) if message.ephemeral_to is None]


async def told_in_full(office: Office) -> None:
    """The messages of the incident tell its whole story, each once."""
    await office.carol.sees(office.channel, "Resolved:", PATIENCE)
    request = await office.carol.sees(office.channel, DONE, PATIENCE)
    await until(lambda: not office.state.jobs.left(AnyJob))
    assert await office.server.delivery.settle(PATIENCE)
    request = await office.carol.sees(office.channel, DONE, PATIENCE)
    assert [step for step in STEPS if f"✅ {step} " not in request.visible] == []
    incident, plan, *rest = said(office.workspace, office.channel)
    assert incident.startswith("🟢 Resolved:")
    assert plan.startswith("Plan")
    assert len([text for text in rest if DONE in text]) == 1
    posts = [call for call in office.workspace.calls if (call.method, call.answer) == ("chat.postMessage", "ok")]
    numbers = [call.arguments["metadata"]["event_payload"]["message"] for call in posts]
    assert len(numbers) == len(set(numbers)), "a message was posted twice"
    assert office.workspace.protocol_errors == []


@asynccontextmanager
async def mid_run(
    sandbox: Sandbox, workspace: Workspace, folder: Path, *acts: str
) -> AsyncIterator[tuple[Office, Hand, list[Gate]]]:
    """A run that stands before its first act, and then before each of these."""
    hand = Hand()
    gates = [Gate() for _ in acts]
    hand.acts.update(zip(acts, gates, strict=True))
    async with serving(sandbox, workspace, folder, target=hand.on(sandbox.target)) as office:
        try:
            await office.approved(await office.requested())
            await gates[0].arrived()
            yield office, hand, gates
        finally:
            for gate in gates:
                gate.open()


# Away at the start.


async def _listens_again(workspace: Workspace) -> None:
    await workspace.listen_again()


async def _is_up_again(workspace: Workspace) -> None:
    workspace.faults.down = False


@pytest.mark.parametrize(
    ("how", "comes_back"),
    [({"listening": False}, _listens_again), ({"down": True}, _is_up_again)],
    ids=["connections refused", "connections dropped"],
)
async def test_what_is_said_while_slack_is_away_at_the_start_arrives_later_in_its_order(
    how: dict[str, bool], comes_back: Trouble, sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with (
        Workspace(now=sandbox.clock.now, **how) as workspace,
        serving(sandbox, workspace, tmp_path, connected=False) as office,
    ):
        for text in SAID:
            office.state.messages.add(office.channel, Content(text))
        office.server.delivery.wake()
        tries = len(office.pauses)
        await until(lambda: len(office.pauses) >= tries + 12)
        assert workspace.messages(office.channel) == ()
        await comes_back(workspace)
        await workspace.connected()
        await office.alice.sees(office.channel, SAID[-1], PATIENCE)
        assert said(workspace, office.channel) == SAID
        reply = await office.alice.types(office.channel, WHY)
        assert reply.error is None
        await office.alice.sees(office.channel, "suspect", PATIENCE)
    # One sentence for who we are and one for what waits, however often it was tried.
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len([text for text in warnings if "cannot be reached" in text]) <= 3, warnings
    assert not any(token in caplog.text for token in (workspace.bot_token, workspace.app_token))


async def test_tries_for_an_absent_slack_come_less_and_less_often(sandbox: Sandbox, tmp_path: Path) -> None:
    async with (
        Workspace(now=sandbox.clock.now, listening=False) as workspace,
        serving(sandbox, workspace, tmp_path, connected=False) as office,
    ):
        await until(lambda: len(office.pauses) >= 9)
        assert office.pauses[:9] == [1, 2, 4, 8, 15, 15, 15, 15, 15]


# Shut in the middle of a run.


async def test_a_run_goes_on_while_sockets_close_in_every_way_that_slack_has(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    acts = ("patch Node", "osd blocklist", "break_lock", "delete Pod")
    async with mid_run(sandbox, workspace, tmp_path, *acts) as (office, hand, gates):

        async def reconnects(close: Awaitable[None]) -> None:
            opened = workspace.sockets.opened
            await close
            await until(lambda: workspace.sockets.opened > opened and workspace.connections > 0)
            reply = await office.carol.types(office.channel, "/unstick help")
            assert reply.error is None

        await reconnects(workspace.close_sockets(abruptly=True))
        await reconnects(workspace.close_sockets(abruptly=False))
        gates[0].open()
        await gates[1].arrived()
        await reconnects(workspace.disconnect("refresh_requested"))
        await reconnects(workspace.disconnect("warning"))
        gates[1].open()
        await gates[2].arrived()
        await reconnects(workspace.disconnect("link_disabled"))
        gates[2].open()
        await gates[3].arrived()
        await reconnects(workspace.disconnect("too_many_websockets"))
        gates[3].open()
        resolved = await office.alice.sees(office.channel, "Resolved:", PATIENCE)
        await office.carol.clicks(resolved, "Show evidence")
        await until(lambda: len(said(workspace, office.channel)) == 4)
        await told_in_full(office)
        assert len(hand.did) == len(ACTS)


# Unwilling for a while.


async def test_each_rate_limit_is_waited_for_as_long_as_slack_says_and_nothing_is_lost_or_doubled(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    async with mid_run(sandbox, workspace, tmp_path, "patch Node") as (office, _, gates):
        assert await office.server.delivery.settle(PATIENCE)
        workspace.faults.rate_limit(times=2, retry_after=17, method="chat.update")
        gates[0].open()
        resolved = await office.alice.sees(office.channel, "Resolved:", PATIENCE)
        assert office.pauses.count(17) == 2
        assert 23 not in office.pauses
        workspace.faults.rate_limit(times=1, retry_after=23, method="chat.postMessage")
        await office.carol.clicks(resolved, "Show evidence")
        await until(lambda: len(said(workspace, office.channel)) == 4)
        assert office.pauses.count(23) == 1
        await told_in_full(office)


async def test_a_slack_that_answers_503_for_a_while_is_told_all_of_a_run(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    async with mid_run(sandbox, workspace, tmp_path, "patch Node") as (office, _, gates):
        workspace.faults.server_error(times=5)
        gates[0].open()
        await told_in_full(office)


# Away for the whole of a run.


async def _stops_listening(workspace: Workspace) -> None:
    await workspace.stop_listening()


async def _goes_down(workspace: Workspace) -> None:
    workspace.faults.down = True


@pytest.mark.parametrize(
    ("goes", "comes_back"), [(_stops_listening, _listens_again), (_goes_down, _is_up_again)],
    ids=["connections refused", "connections dropped"],
)  # fmt: skip
async def test_a_run_that_slack_was_away_for_is_told_in_full_afterwards(
    goes: Trouble, comes_back: Trouble, sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    async with mid_run(sandbox, workspace, tmp_path, "patch Node") as (office, hand, gates):
        await goes(workspace)
        gates[0].open()
        await until(lambda: office.execution().state == "done")
        await until(lambda: not office.state.jobs.left(AnyJob))
        assert not any("Resolved" in text for text in said(workspace, office.channel))
        assert len(hand.did) == len(ACTS)
        await comes_back(workspace)
        await told_in_full(office)


# Unwilling to say who the bot is, once that is known.


def _limits(workspace: Workspace) -> None:
    workspace.faults.rate_limit(times=1000, method="auth.test")


def _fails(workspace: Workspace) -> None:
    workspace.faults.server_error(times=1000, method="auth.test")


def _stalls(workspace: Workspace) -> None:
    workspace.faults.hang("auth.test", 20, times=1000)


def _disowns(workspace: Workspace) -> None:
    workspace.faults.fail("auth.test", "token_revoked", times=1000)


@pytest.mark.parametrize("trouble", [_limits, _fails, _stalls, _disowns])
async def test_what_people_do_first_is_taken_whatever_slack_says_of_the_bot_by_then(
    trouble: Callable[[Workspace], None], sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    """A command, a click and a modal, each the first thing that comes after a start."""
    async with serving(sandbox, workspace, tmp_path) as office:
        trouble(workspace)
        reply = await office.alice.types(office.channel, "/unstick help")
        assert "/unstick why" in reply.text
        workspace.faults.clear()
        request = await office.requested()
    async with serving(sandbox, workspace, tmp_path) as office:
        trouble(workspace)
        await office.bob.clicks(request, "Approve")
        modal = await office.bob.sees_modal("node1")
        workspace.faults.clear()
    async with serving(sandbox, workspace, tmp_path) as office:
        trouble(workspace)
        submitted = await office.bob.submits(modal, {CONFIRM_BLOCK: "node1"})
        assert (submitted.error, submitted.errors) == (None, {})
        await until(lambda: "approved" in [event for event, _ in office.events()])
    asked = [call for call in workspace.calls if call.method == "auth.test"]
    assert len(asked) == 3, "Slack is asked once a start who the bot is"
    assert workspace.protocol_errors == []


# Who may do what, as the configuration says now.


async def test_a_role_counts_from_the_next_click_on_and_no_file_is_read_where_slack_waits_for_an_answer(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "unstick.yaml"

    def write(**roles: str) -> None:
        people = {workspace.person(name).id: {"roles": [role]} for name, role in roles.items()}
        (tmp_path / "next").write_text(yaml.safe_dump({"people": people}))
        (tmp_path / "next").replace(file)

    readers, real = list[threading.Thread](), settings.load

    def load(path: str | None) -> Settings:
        readers.append(threading.current_thread())
        return real(path)

    monkeypatch.setattr(rereading, "load", load)
    monkeypatch.setattr(office_module, "Server", partial(Server, people=Rereading(file, Settings())))
    write(alice="responder", bob="approver", carol="viewer")
    async with serving(sandbox, workspace, tmp_path) as office:
        request = await office.requested()
        write(alice="responder", bob="viewer", carol="approver")
        await office.bob.clicks(request, "Approve")
        told = await office.bob.sees(office.channel, "the approval of", PATIENCE)
        assert "is refused" in told.visible
        await office.carol.clicks(request, "Approve")
        await office.carol.sees_modal("node1")
        (tmp_path / "next").write_text("people: {")  # what cannot be read changes nothing
        (tmp_path / "next").replace(file)
        await office.carol.clicks(request, "Approve")
        reply = await office.carol.submits(await office.carol.sees_modal("node1"), {CONFIRM_BLOCK: "node1"})
        assert not reply.errors
        await office.alice.sees(office.channel, "🟢 Resolved", PATIENCE)
        assert office.execution().state == "done"
    assert len(readers) >= 3
    assert threading.main_thread() not in readers


# Unwilling to open a dialog.


def _expired(workspace: Workspace) -> None:
    workspace.faults.fail("views.open", "expired_trigger_id")


def _in_trouble(workspace: Workspace) -> None:
    workspace.faults.server_error(method="views.open")


def _hangs(workspace: Workspace) -> None:
    workspace.faults.hang("views.open", 2.2)


@pytest.mark.parametrize("trouble", [_expired, _in_trouble, _hangs])
async def test_who_clicked_for_a_dialog_that_does_not_open_is_told_and_the_next_click_opens_it(
    trouble: Callable[[Workspace], None], office: Office
) -> None:
    request = await office.requested()
    trouble(office.workspace)
    await office.bob.clicks(request, "Approve")
    told = await office.bob.sees(office.channel, "Slack did not open the dialog", PATIENCE)
    assert "click again" in told.visible
    assert told.ephemeral_to == office.bob.id
    assert office.execution().state == "waiting"
    await office.bob.clicks(request, "Approve")
    await office.bob.sees_modal("node1")


# A channel that takes nothing.


@pytest.mark.parametrize(
    ("shut", "reason", "move"),
    [({"bot": False}, "not_in_channel", "invite the bot"), ({"archived": True}, "is_archived", "unarchive")],
    ids=["not_in_channel", "is_archived"],
)
async def test_a_channel_that_cannot_be_posted_to_holds_up_no_other_and_is_named_with_a_next_move(
    shut: dict[str, bool], reason: str, move: str, office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = office.workspace.channel("elsewhere", **shut)
    reply = await office.alice.types(elsewhere, WHY)
    assert reply.error is None
    await until(lambda: reason in caplog.text)
    await until(lambda: not office.state.jobs.left(AnyJob))
    assert await office.server.delivery.settle(PATIENCE)
    failed = office.state.messages.get(1).failed
    assert failed is not None
    assert reason in failed
    assert move in failed
    assert said(office.workspace, elsewhere) == []
    await office.alice.types(office.channel, "/unstick locks")
    await office.alice.sees(office.channel, "mioss", PATIENCE)
    # Once the channel takes messages, the next look is told there.
    office.workspace.channel("elsewhere")
    await office.sandbox.sleep(35)
    await office.alice.types(elsewhere, WHY)
    await office.alice.sees(elsewhere, "stale; no watcher", PATIENCE)
