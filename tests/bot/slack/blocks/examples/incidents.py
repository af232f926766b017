"""Incidents: as they are found, answered, gone and back."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from bot.incidents import Incident, IncidentState
from bot.slack.blocks import incident as blocks
from bot.store.messages import Content
from diagnostics.model import Change, Finding, Status, Subject
from runbooks.offers import Offer
from tests.bot.slack.blocks.story import POD, Story

NOW = datetime(2026, 3, 3, 3, 20, tzinfo=UTC)
NODE = Subject("Node", None, "node1", "")
OTHERS = tuple(Subject("Pod", space, name, "") for space, name in (("billing", "ledger-0"), ("media", "reports-0")))
OFFERS = (
    Offer("ceph/stale_rbd_lock", "1.0.0", {"image": "mioss/index-api-image", "node": "node1"}),
    Offer("node/out_of_service", "1.2.0", {"node": "node1"}),
    Offer("kubernetes/stuck_attachment", "2.0.1", {"node": "node1", "volume_attachment": "csi-4f1d"}),
)
CHANGES = (
    Change(NOW - timedelta(hours=5), Subject("Deployment", "search", "index-api", ""), "image 1.4.1 became 1.4.2"),
    Change(NOW - timedelta(minutes=40), NODE, "cordoned by kubectl"),
    Change(NOW - timedelta(minutes=13), NODE, "Ready became Unknown: Kubelet stopped posting node status."),
    Change(NOW - timedelta(minutes=7), Subject("ReplicaSet", "search", "index-api-5c9d8f7b6d", ""), "created"),
    Change(NOW - timedelta(minutes=1), POD, "created"),
)


def found(story: Story, answer: Mapping[str, Any] | None = None, **changed: Any) -> Incident:
    """The sandbox's incident, as it is while nobody has answered it."""
    told = msgspec.structs.replace(story.second, **(answer or {}))
    opened = NOW - timedelta(minutes=1)
    made = Incident("in-1a2b3c4d", "sandbox", POD, told, IncidentState.OPEN, "C1", 7, opened, NOW)
    return msgspec.structs.replace(made, **changed)


def examples(story: Story) -> dict[str, Content]:
    """Each with the look of the message in its channel."""
    own = story.second.finding.subject
    acked = {"acked_by": "U0ALICE", "acked": NOW + timedelta(minutes=3)}
    times = tuple(NOW + timedelta(minutes=10 * n) for n in (1, 2, 3))
    over = {
        "state": IncidentState.RESOLVED, "note": "looked at again: it is Running",
        "resolved": NOW + timedelta(minutes=12),
    }  # fmt: skip
    changed = {"changes": CHANGES, "changes_unseen": ("ConfigMap: forbidden",)}
    blind = {"unseen": ("nodes: forbidden",)}
    reason = "the API server did not answer within 5 s"
    nothing = {"status": Status.UNKNOWN, "offers": (), "changes": (), "beside": (), "finding": Finding(POD, reason)}
    several = msgspec.structs.replace(story.second.finding, **blind)
    made = {
        "open": (found(story), None),
        "suspect": (found(story, msgspec.structs.asdict(story.first)), None),
        "not_all_seen": (found(story, {"finding": several}), None),
        "nothing_seen": (found(story, nothing), None),
        "stale_with_several_offers": (found(story, {"offers": OFFERS, **changed}), None),
        "others_waiting": (found(story, subjects=(own, *OTHERS)), None),
        "of_a_pod_that_left": (found(story, subject=OTHERS[0], subjects=OTHERS[:1]), None),
        "with_something_beside": (
            found(story, {"beside": ("Deployment search/index-api starts the new pod before the old one is gone",)}),
            None,
        ),
        "acked": (found(story, **acked), None),
        "snoozed": (
            found(story, **acked, snoozed_by="U0BOB", snoozed_until=NOW + timedelta(hours=2)), None,
        ),
        "well_for_now": (found(story, well_since=NOW + timedelta(seconds=40)), None),
        "back": (found(story, returns=1, returned=times[:1]), None),
        "flapping": (found(story, returns=3, returned=times), None),
        "waits_for_approval": (found(story, **acked), story.waiting),
        "running": (found(story, **acked), story.runs[len(story.runs) // 2]),
        "resolved": (found(story, **over), story.runs[-1]),
        "resolved_by_itself": (found(story, **over), None),
    }  # fmt: skip
    told = {f"incident_{name}": blocks.incident(what, run) for name, (what, run) in made.items()}
    flapping = found(story, returns=3, returned=times)
    return told | {
        "evidence": blocks.evidence(found(story)),
        "evidence_with_changes": blocks.evidence(found(story, changed)),
        "note_back": blocks.back(found(story, returns=1, returned=times[:1])),
        "note_flapping": blocks.back(flapping),
        "note_snooze_over": blocks.awake(found(story, snoozed_by="cli:bob"), ["cli:bob", "U0BOB"]),
    }
