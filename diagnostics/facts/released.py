"""PersistentVolumes whose claim is gone: since when, whether their deleter has had its time, and those that are kept. Pure."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from diagnostics.facts import Snapshot
from diagnostics.facts.resources import Volume
from diagnostics.facts.told import told_of
from diagnostics.model import Evidence, Link, lasting, quoted

# Deleting an image takes seconds to minutes. A deleter that fails tries again after 5 minutes at most; its first try often
# fails, because the volume is still attached.
GRACE = timedelta(minutes=10)
MOST_NAMED = 5


def released_since(volume: Volume) -> datetime | None:
    """When its claim went, where the API tells: the phase's own time (Kubernetes 1.29), or when it was deleted itself."""
    return volume.status.last_phase_transition_time or volume.metadata.deletion_timestamp


def is_overdue(volume: Volume, snapshot: Snapshot) -> bool | None:
    """Whether a volume that is to be deleted should be gone by now; None where nothing tells since when.

    Without a time of its own, the first failure of its deletion tells about when that began.
    """
    since = released_since(volume)
    if since is None:
        told = told_of(volume.metadata.uid, snapshot, within=None)
        if told is None:
            return None
        since = told.event.first_seen
    return since is None or snapshot.taken_at - since > GRACE


def longest_first(retained: Iterable[Volume], snapshot: Snapshot) -> list[Volume]:
    """Volumes by how long they are Released, those without a time last. A new one never changes which comes first."""
    return sorted(retained, key=lambda one: (released_since(one) or snapshot.taken_at, one.metadata.name))


def told_together(retained: list[Volume], snapshot: Snapshot) -> tuple[str, Link]:
    """Many that wait for a person, in one sentence, and as the link of the first of them."""
    names, since = [one.metadata.name for one in retained], released_since(retained[0])
    text = "status.phase Released, persistentVolumeReclaimPolicy Retain"
    proofs = tuple(Evidence(f"GET persistentvolumes {name}", text) for name in names[:MOST_NAMED])
    longest = f", {names[0]} for {lasting(snapshot.taken_at - since)}" if since else ""
    says = (
        f"{len(names)} volumes ({quoted(names[:MOST_NAMED])} and others) are Released{longest}, with the reclaim policy "
        "Retain: they wait for a person to delete or free them"
    )
    return says, Link(retained[0].subject, f"is Released, as are {len(names) - 1} others that are retained", proofs)
