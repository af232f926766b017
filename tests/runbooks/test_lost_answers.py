"""A write to Kubernetes whose answer is lost on the server's side: it is in doubt until it can be seen, and not repeated."""

from collections.abc import Callable
from typing import Any

import pytest

from diagnostics.sources.kubernetes.api import KubernetesError
from runbooks.actions.outcomes import SETTLES, telling_outcome
from runbooks.store import State
from tests.runbooks.hand_made import node
from tests.runbooks.test_interventions import UNCORDONED, Stage, stage

__all__ = ["stage"]
TIMED_OUT = KubernetesError(504, "Timeout: request did not complete within requested timeout")


def fails(_: Any) -> None:
    with telling_outcome("cordon the node"):
        raise TIMED_OUT


async def test_what_was_done_though_the_server_timed_out_is_verified_and_not_repeated(
    stage: Callable[..., Stage],
) -> None:
    it = stage(UNCORDONED)
    execution = await it.asked()
    it.world.does.after = fails  # etcd has committed it
    await it.run(execution)
    assert it.now(execution).state is State.IN_DOUBT
    assert it.journal(execution) == [("cordon", None)]
    await it.run(execution)
    assert it.now(execution).state is State.DONE
    assert it.journal(execution) == [("cordon", "done")]
    assert it.world.does.applied == ["kubernetes.cordon"]


async def test_what_lands_late_is_waited_for_before_anybody_judges(
    stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    it, slept = stage(UNCORDONED), []
    execution = await it.asked()
    it.world.does.before = fails  # nothing of it has reached etcd yet
    await it.run(execution)
    assert it.now(execution).state is State.IN_DOUBT
    it.world.does.before = lambda _: None
    sleep = it.world.sleep

    async def landing(seconds: float) -> None:
        slept.append(seconds)
        await sleep(seconds)
        it.world.incident.nodes[0] = node("node1", "10.0.0.1", cordoned=True)

    monkeypatch.setattr(it.world, "sleep", landing)
    await it.run(execution)
    assert slept[0] == SETTLES
    assert it.journal(execution) == [("cordon", "done")]
    assert it.world.does.applied == [], "what landed by itself must not be sent again"
