"""The names that the runbooks of these tests may use; the real vocabulary has its own tests."""

import pytest

from runbooks.model import ActionWords, Risk, Vocabulary


@pytest.fixture
def words() -> Vocabulary:
    image, pod, node = frozenset({"image"}), frozenset({"pod"}), frozenset({"node"})
    return Vocabulary(
        checks=frozenset({"ceph/locks_stale", "ceph/locks_blocking_pods"}),
        causes=frozenset({"rbd-image-locked"}),
        guards={
            "lock_unchanged": frozenset(),
            "image_is_watched": frozenset(),
            "younger_than": frozenset({"limit"}),
        },
        actions={
            "ceph.break_lock": ActionWords(Risk.HIGH, image, required=image),
            "kubernetes.delete_pod": ActionWords(Risk.LOW, pod, required=pod),
            "ceph.unfence": ActionWords(Risk.HIGH, node),
            "ceph.readmit": ActionWords(Risk.HIGH, node, lifts_fence=True),
        },
    )
