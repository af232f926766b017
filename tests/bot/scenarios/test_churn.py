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
                # Pods that run, and ordinary events, are not watched.
                told = step.object.get("type") == "Warning" or step.object.get("status", {}).get("phase") == "Pending"
                if told and step.word != "DELETED":
                    heard[step.plural] = registry.store.revision
            await sandbox.sleep(max(0.0, (beat + 1) * BEAT - at))
            at = (beat + 1) * BEAT
            # The watch has heard of all of it before more time goes by, as it would have in five real seconds.
            await until(lambda heard=heard: all(int(watch.revisions[each]) >= heard[each] for each in heard))
        assert at >= 3_500
        await until(lambda: office.state.counts.look().jobs == 0)
        told = workspace.messages(office.channel)
        assert [message.thread_ts for message in told] == [None]
        assert STUCK_POD in told[0].visible
        assert [each.subject.name for each in office.state.incidents.open()] == [STUCK_POD]
