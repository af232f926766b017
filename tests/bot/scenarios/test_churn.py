"""An hour of a busy cluster, its time compressed: whoever is on call reads of the one pod that is stuck, once."""

import asyncio
from datetime import timedelta
from itertools import groupby
from pathlib import Path

from bot.sandbox.kubernetes.incident import STUCK_POD
from bot.sandbox.slack import Workspace
from bot.sandbox.world import Sandbox
from bot.settings import ClusterSettings, WatchSettings
from tests.bot import churn
from tests.bot.scenarios.hands import until
from tests.bot.scenarios.office import serving

BEAT = 5  # seconds of the sandbox's time that go by at once
ORDINARY = 1_000


async def a_moment(_: float) -> None:
    await asyncio.sleep(0.005)


async def let_pass(sandbox: Sandbox, seconds: float, *, work: bool) -> None:
    """Let a beat go by. In every other one kubelets and controllers do what is due: a lease is, each ten seconds."""
    sandbox.clock.forward(seconds - 1 if work else seconds)
    if work:
        await sandbox.sleep(1)


def is_watched(step: churn.Step) -> bool:
    """Whether the watch hears of a change as it is: it asks for pods that are being created, and for warnings."""
    if step.word == "DELETED":
        return False
    if step.plural == "events":
        return bool(step.object["type"] == "Warning")
    return step.object["status"]["phase"] == "Pending" and "nodeName" in step.object["spec"]


async def test_a_thousand_ordinary_starts_and_one_stuck_pod_are_one_message(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    settings = {"clusters": {"sandbox": ClusterSettings()}, "watch": WatchSettings(grace=timedelta(seconds=60))}
    async with serving(sandbox, workspace, tmp_path, rest=a_moment, **settings) as office:
        await until(lambda: "sandbox" in office.server.duties.watches)
        watch = office.server.duties.watches["sandbox"]
        await until(lambda: watch.connected)
        began, at = sandbox.clock.now(), 0.0
        steps = churn.hour(began, ordinary=ORDINARY, stuck=False)
        registry = sandbox.api.registry
        for beat, changes in groupby(steps, key=lambda step: int(step.at // BEAT)):
            heard: dict[str, int] = {}
            for step in changes:
                churn.apply(step, registry)
                if is_watched(step):
                    heard[step.plural] = registry.store.revision
            await let_pass(sandbox, (beat + 1) * BEAT - at, work=beat % 2 == 0)
            at = (beat + 1) * BEAT
            # The watch has heard of all of it before more time goes by, as it would have in five real seconds.
            await until(lambda heard=heard: all(int(watch.revisions[each]) >= heard[each] for each in heard))
        assert at >= 3_500
        await until(lambda: office.state.counts.look().jobs == 0)
        told = workspace.messages(office.channel)
        assert [message.thread_ts for message in told] == [None]
        assert STUCK_POD in told[0].visible
        assert [each.subject.name for each in office.state.incidents.open()] == [STUCK_POD]
