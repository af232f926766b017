"""The writers themselves: a frozen one finds itself shut out when it is let go, a live one never notices anything."""

from pathlib import Path

import pytest

from bot.sandbox.ceph.client import SimulatedClient
from bot.sandbox.world import RbdVolumes
from diagnostics.sources.ceph.rados import RadosError
from runbooks.engine import Refusal
from runbooks.store import State
from tests.runbooks.staged import BOB, IMAGE, PODS, Stage, incident, staged


@pytest.fixture
def cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dead node is only cut off from the API server: its writer of the incident's image lives."""

    def others_die(volumes: RbdVolumes, node: str) -> None:
        for (_, image), (where, _, writer) in volumes._held.items():
            if where == node and image != IMAGE:
                writer.kill()

    monkeypatch.setattr(RbdVolumes, "node_dies", others_die)


def writer_of(stage: Stage) -> SimulatedClient:
    """The old node's writer."""
    return next(
        writer for (_, image), (node, _, writer) in stage.sandbox.volumes._held.items()
        if (image, node) == (IMAGE, incident.DEAD_NODE)
    )  # fmt: skip


async def test_a_frozen_writer_is_fenced_with_its_node_and_gets_errno_108_when_it_is_let_go(
    tmp_path: Path, cut_off: None
) -> None:
    async with staged(tmp_path) as stage:
        writer = writer_of(stage)
        writer.write(IMAGE)
        writer.freeze()
        await stage.sandbox.sleep(40)
        plan = await stage.plan()
        assert not plan.refusals
        assert plan.risk == "critical"
        fence = next(step for step in plan.steps if step.id == "fence")
        assert "frozen or cut off" in fence.rulings[0].reasons[0]

        # Let go before the fence, it writes on: the lock alone stops nobody. So its lock is not broken unfenced.
        execution = await stage.approved()
        events = []
        async for event in stage.engine.run(execution.id, BOB):
            events.append(event)
            if event.step == "fence" and event.say == "done":
                writer.thaw()
                with pytest.raises(RadosError) as caught:
                    writer.write(IMAGE)
                assert caught.value.errno == 108
        assert stage.now(execution).state is State.DONE, events[-1].text
        assert stage.phases() == ["Running"]


async def test_a_writer_that_is_let_go_before_the_fence_stops_the_run_and_writes_on(
    tmp_path: Path, cut_off: None
) -> None:
    async with staged(tmp_path) as stage:
        writer = writer_of(stage)
        writer.freeze()
        await stage.sandbox.sleep(40)
        execution = await stage.approved()
        writer.thaw()
        writer.write(IMAGE)
        with pytest.raises(Refusal, match="has a watcher that is not fenced"):
            await stage.run(execution)
        writer.write(IMAGE)
        assert stage.now(execution).state is State.VOID
        assert stage.process.wrote == []


async def test_a_live_writer_is_refused_and_never_disturbed(tmp_path: Path, cut_off: None) -> None:
    async with staged(tmp_path) as stage:
        writer = writer_of(stage)
        writer.write(IMAGE)
        with pytest.raises(Refusal) as caught:
            await stage.requested()
        assert "has a watcher that is not fenced" in str(caught.value)
        assert "live: " in str(caught.value)
        writer.write(IMAGE)
        assert not writer.fenced
        assert stage.process.wrote == []
        assert stage.locker in stage.lockers()
        assert stage.sandbox.ceph.fences == {}


async def test_an_old_pod_with_a_volume_that_is_not_cephs_is_not_forced_away(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        disk = {"name": "scratch", "persistentVolumeClaim": {"claimName": "scratch"}}
        stage.change(
            PODS, incident.NAMESPACE, incident.OLD_POD, lambda pod: pod["spec"]["volumes"].append(disk)
        )  # fmt: skip
        plan = await stage.plan()
        assert any("volume scratch is not" in reason for reason in plan.refusals), plan.refusals
        with pytest.raises(Refusal, match="attest that node1 is off"):
            await stage.requested()
