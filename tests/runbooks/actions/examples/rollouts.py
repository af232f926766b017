"""A situation and the arguments for each action on rollouts."""

from typing import Any

from runbooks.actions import all_actions
from runbooks.situation import Situation
from tests.runbooks.rollout_made import Rollout, template

_WORKLOAD = {"workload": "deployment/shop/app"}
_STATEFUL = {"workload": "statefulset/shop/app"}
_CLAIM = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}


def _held_up() -> Situation:
    """A StatefulSet whose undo comes first in the same plan."""
    stuck = Rollout(kind="StatefulSet", status={"updateRevision": "app-2", "currentRevision": "app-1"})
    undo = all_actions()["rollouts.undo"].plan(stuck.situation(), _STATEFUL)
    return stuck.situation(expected=(undo,))


def _sharing() -> Situation:
    claim = {"metadata": {"name": "data", "namespace": "shop"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    return Rollout(now=template("app:2", volumes=[_CLAIM]), claims=[claim]).situation()


EXAMPLES: dict[str, tuple[Situation, dict[str, Any]]] = {
    "rollouts.undo": (Rollout().situation(), _WORKLOAD),
    "rollouts.delete_broken_pods": (_held_up(), _STATEFUL),
    "rollouts.restart": (Rollout().situation(), _WORKLOAD),
    "rollouts.pause": (Rollout().situation(), _WORKLOAD),
    "rollouts.resume": (Rollout(spec={"paused": True}).situation(), _WORKLOAD),
    "rollouts.set_strategy": (_sharing(), {**_WORKLOAD, "strategy": "Recreate"}),
}
