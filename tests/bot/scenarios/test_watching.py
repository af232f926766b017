"""What is watched opens an incident by itself, once, and what is well again closes it, though nobody asks."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from bot.sandbox.kubernetes.incident import STUCK_POD
from bot.sandbox.slack import Workspace
from bot.sandbox.world import Sandbox
from bot.settings import ClusterSettings, WatchSettings
from tests.bot.scenarios.hands import until
from tests.bot.scenarios.office import Office, serving

WATCHES = {
    "clusters": {"sandbox": ClusterSettings()},
    "watch": WatchSettings(grace=timedelta(seconds=60)),
}


@pytest.fixture
async def office(sandbox: Sandbox, workspace: Workspace, tmp_path: Path) -> AsyncIterator[Office]:
    async with serving(sandbox, workspace, tmp_path, **WATCHES) as made:
        yield made


async def watched(office: Office) -> None:
    """The cluster is watched, and a second has gone by: the sandbox's clock stands still else."""
    await until(lambda: "sandbox" in office.server.duties.watches and office.server.duties.watches["sandbox"].connected)
    await office.sandbox.sleep(1)


async def test_a_stuck_pod_is_told_of_once_though_nobody_asked(office: Office) -> None:
    await watched(office)
    told = await office.alice.sees(office.channel, STUCK_POD, 20)
    assert told.thread_ts is None
    await until(lambda: office.state.counts.look().jobs == 0)
    assert [each.subject.name for each in office.state.incidents.open()] == [STUCK_POD]
    assert len(office.workspace.messages(office.channel)) == 1


async def test_a_restart_says_nothing_again(sandbox: Sandbox, workspace: Workspace, tmp_path: Path) -> None:
    for _ in range(2):
        async with serving(sandbox, workspace, tmp_path, **WATCHES) as office:
            await watched(office)
            await office.alice.sees(office.channel, STUCK_POD, 20)
            await until(lambda office=office: office.state.counts.look().jobs == 0)
    assert len(workspace.messages(workspace.channel("incidents"))) == 1


async def test_the_suspicion_becomes_certain_without_a_click(office: Office) -> None:
    await watched(office)
    await office.alice.sees(office.channel, "suspect", 20)
    await office.sandbox.sleep(35)
    await office.alice.sees(office.channel, "stale; no watcher", 20)
    assert len(office.workspace.messages(office.channel)) == 1
