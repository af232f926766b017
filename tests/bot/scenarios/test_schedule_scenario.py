"""A health report by schedule, from its cron's firing to its message: what is new, resolved, and was not seen."""

import asyncio
import gc
from pathlib import Path

import pytest

import bot.serve
from bot.sandbox.slack import Message, Workspace
from bot.sandbox.world import Sandbox
from bot.serve import Server, Tokens
from bot.settings import ScheduleSettings, Settings, SettingsError, SlackSettings
from bot.slack.jobs import AnyJob
from bot.store import open_state
from bot.store.leaders import Deposed
from tests.bot.scenarios.hands import Gate, Hand, until
from tests.bot.scenarios.office import PATIENCE, Office, serving

# The sandbox begins at 03:19: nothing is due then, so that each report is one that a test had made.
EVERY_FIVE_MINUTES = "20-59/5 3 * * *"
HEALTH = {"health": ScheduleSettings(cron=EVERY_FIVE_MINUTES)}


async def fire(office: Office) -> None:
    """What a ring of the schedule does, at the sandbox's time."""
    async with asyncio.timeout(PATIENCE):
        while (leadership := office.server.election.leading) is None:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.002)
    await office.server.duties.schedules.fire("health", leadership)


async def next_report(office: Office, channel: str, after: Message | None = None) -> Message:
    """What the next firing posts."""
    await office.sandbox.sleep(300 if after else 60)
    await fire(office)
    return await office.alice.sees(channel, "Health of sandbox", PATIENCE, after=after)


@pytest.fixture
def ops(workspace: Workspace) -> str:
    """The channel for reports."""
    return workspace.channel("ops")


def by_default(workspace: Workspace, channel: str) -> SlackSettings:
    """Reports go to this channel where a schedule names none."""
    return SlackSettings(api_url=workspace.api_url, channel=channel)


async def test_a_report_says_what_is_new_then_what_is_resolved_and_what_could_not_be_looked_at(
    sandbox: Sandbox, workspace: Workspace, ops: str, tmp_path: Path
) -> None:
    async with serving(sandbox, workspace, tmp_path, schedules=HEALTH, slack=by_default(workspace, ops)) as office:
        first = await next_report(office, ops)
        new = parts(first)["New"]
        assert len(new) == 8
        assert "Deployment search/index-api replaces its pods by RollingUpdate" in new[7]
        left = {"Node node1", "Pod billing/ledger-0 should", "Pod media/uploads-6f7c9b5d48-4vnhq should"}
        assert {name for name in left if any(name in line for line in new)} == left, (
            "the dead node and what hangs there"
        )
        assert "waits for mioss/index-api-image, locked by client.24156 at 10.47.136.60 (node node1)" in new[0]
        assert "the first report" in first.visible
        # No lock can be judged by one look.
        [blind] = parts(first)["Could not be looked at"]
        assert "ceph/locks_stale" in blind

        await office.approved(await office.requested())
        await office.alice.sees(office.channel, "Resolved:", PATIENCE)
        second = await next_report(office, ops, first)
        assert [line.removeprefix("• ") for line in parts(second)["Resolved"]] == [
            line.partition(" ")[2] for line in new if "Pod search/index-api-" in line
        ]
        still = "\n".join(parts(second)["Still there"])
        assert "Deployment search/index-api" in still, "freeing a lock mends no design"
        assert all(name in still for name in left), "nor the node"
        [fenced] = parts(second)["New"]
        assert "mioss/ledger-image is locked by client.24128" in fenced
        assert "Could not be looked at" not in parts(second)

        # What cannot be seen is not resolved, and not well.
        sandbox.ceph.denied.add("osd dump")
        third = await next_report(office, ops, second)
        assert not parts(third).keys() & {"New", "Resolved"}
        still = "\n".join(parts(third)["Still there"])
        assert [name in still for name in (*left, "Deployment search/index-api", "mioss/")] == [True] * 4 + [False]
        assert "mioss/ledger-image" in parts(third)["Could not be judged this time"][0]
        blind = parts(third)["Could not be looked at"]
        assert ["access denied" in reason for reason in blind] == [True] * len(blind)
        assert "nothing is stuck" not in third.visible

        sandbox.ceph.denied.clear()
        fourth = await next_report(office, ops, third)
        [there] = [line for line in parts(fourth)["Still there"] if "mioss/ledger-image" in line]
        assert "(for 10 min)" in there
        assert len(reports(workspace, ops)) == 4


def reports(workspace: Workspace, channel: str) -> list[Message]:
    """The reports in a channel, without what is in their threads."""
    return [message for message in workspace.messages(channel) if message.thread_ts in (None, message.ts)]


def parts(report: Message) -> dict[str, list[str]]:
    """What stands under each headline of a report."""
    found: dict[str, list[str]] = {}
    headline = ""
    for line in report.visible.splitlines()[1:]:
        if line.startswith(("•", "🔴", "🟠", "🔵")):
            found[headline].append(line)
        else:
            headline = line
            found[headline] = []
    return found


async def test_a_schedule_posts_in_its_own_channel_where_it_names_one(
    sandbox: Sandbox, workspace: Workspace, ops: str, tmp_path: Path
) -> None:
    schedules = {"health": ScheduleSettings(cron=EVERY_FIVE_MINUTES, channel=ops)}
    async with serving(sandbox, workspace, tmp_path, schedules=schedules) as office:
        await next_report(office, ops)
        assert workspace.messages(office.channel) == ()


async def test_of_two_servers_on_one_state_the_younger_posts_one_report_of_each_firing(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    async with (
        serving(sandbox, workspace, tmp_path, schedules=HEALTH) as one,
        serving(sandbox, workspace, tmp_path, schedules=HEALTH) as other,
    ):
        await workspace.connected(2)
        assert one.server.election.leading is not None
        await fire(other)
        for firing in (1, 2):
            await sandbox.sleep(300)
            with pytest.raises(Deposed):
                await fire(one)
            await asyncio.gather(fire(other), fire(other))
            await until(lambda: not one.state.jobs.left(AnyJob))
            await until(lambda: not one.state.messages.channels_behind())
            assert len(reports(workspace, one.channel)) == firing


async def test_a_report_that_was_fired_before_a_restart_is_made_after_it(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bot.serve, "LAST_ACT", 0.05)
    hand, gate = Hand(), Gate()
    hand.look = gate.holds
    async with serving(sandbox, workspace, tmp_path, target=hand.on(sandbox.target), schedules=HEALTH) as office:
        await sandbox.sleep(60)
        await fire(office)
        await gate.arrived()
    gate.open()
    async with serving(sandbox, workspace, tmp_path, schedules=HEALTH) as office:
        await office.alice.sees(office.channel, "Health of sandbox: 8 new", PATIENCE)
        await fire(office)
        await until(lambda: not office.state.jobs.left(AnyJob))
        assert await office.server.delivery.settle(PATIENCE)
        assert len(reports(workspace, office.channel)) == 1


def test_a_schedule_without_a_channel_is_refused_before_anything_is_begun(tmp_path: Path) -> None:
    state = open_state(f"sqlite:///{tmp_path}/state.db")
    with pytest.raises(
        SettingsError,
        match=r"^schedules\.health has no channel: name one there, at its cluster, or as slack\.channel\.$",
    ):
        Server(Settings(schedules=HEALTH), state, lambda _: pytest.fail("looked"), Tokens("xoxb-1", "xapp-1"))
    state.runbooks.engine.dispose()
    gc.collect()  # what was begun and not ended would warn of it now
