"""The names that the runbooks of these tests may use; the real vocabulary has its own tests."""

import pytest

from runbooks.model import ActionWords, ParameterKind, Risk, Vocabulary


def action(risk: Risk, kinds: dict[str, ParameterKind], undone_by: str | None = None, **more: bool) -> ActionWords:
    """An action that needs all that it takes."""
    taken = frozenset(kinds)
    return ActionWords(risk, taken, required=taken, undone_by=undone_by, kinds=kinds, **more)


@pytest.fixture
def words() -> Vocabulary:
    return Vocabulary(
        checks=frozenset({"ceph/locks_stale", "ceph/locks_blocking_pods"}),
        causes=frozenset({"rbd-image-locked"}),
        guards={
            "lock_unchanged": frozenset(),
            "image_is_watched": frozenset(),
            "younger_than": frozenset({"limit"}),
            "pod_is_gone": frozenset({"pod"}),
        },
        guard_kinds={"pod_is_gone": {"pod": "pod"}},
        actions={
            "ceph.break_lock": action(Risk.HIGH, {"image": "rbd_image"}),
            "kubernetes.delete_pod": action(Risk.LOW, {"pod": "pod"}),
            "kubernetes.cordon": action(Risk.LOW, {"node": "node"}, undone_by="kubernetes.uncordon"),
            "kubernetes.uncordon": action(Risk.LOW, {"node": "node"}, undone_by="kubernetes.cordon"),
            "rollouts.undo": action(Risk.HIGH, {"workload": "workload", "revision": "int", "reason": "string"}),
            "nodes.drain": action(Risk.HIGH, {"node": "node", "for": "duration", "mode": "enum"}),
            "ceph.unfence": action(Risk.HIGH, {"node": "node"}),
            "ceph.readmit": action(Risk.HIGH, {"node": "node"}, lifts_fence=True),
        },
    )
