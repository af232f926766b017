"""What Kubernetes' Warning events tell of one object: the one that tells most, and what it means. Pure."""

from datetime import timedelta

import msgspec

from diagnostics.causes import Cause, Confidence, classify, telling
from diagnostics.facts import Snapshot
from diagnostics.facts.kubernetes import EVENTS
from diagnostics.facts.resources import Event
from diagnostics.model import Evidence, Link

# A CSI sidecar and the volume controller try again after 5 minutes at most: what has not come for longer is past.
FRESH = timedelta(minutes=15)


class Told(msgspec.Struct, frozen=True):
    """An event and its cause. `says` is what it means, or its own words where nothing known is in them."""

    event: Event
    cause: Cause

    @property
    def slug(self) -> str | None:
        """The cause, None for an unknown one."""
        return None if self.cause.confidence is Confidence.UNKNOWN else self.cause.cause

    @property
    def says(self) -> str:
        """The event in a sentence."""
        return f"{self.event.reason}: {self.cause.why if self.slug else self.event.message}"

    @property
    def link(self) -> Link:
        """The link that tells of it, with the whole message."""
        meta = self.event.metadata
        return Link(
            self.event.subject, self.says, (Evidence(f"event {meta.namespace}/{meta.name}", self.event.message or ""),)
        )


def told_of(uid: str, snapshot: Snapshot, within: timedelta | None = FRESH) -> Told | None:
    """The Warning event of an object that tells most, of those that came lately (None: of all) or bear no time."""
    events = snapshot.seen(EVENTS)
    about = events.index("about", lambda event: event.about.uid).get(uid, ()) if events and uid else ()
    mine = [
        event for event in about
        if event.type == "Warning"
        and (within is None or event.last_seen is None or snapshot.taken_at - event.last_seen <= within)
    ]  # fmt: skip
    mine.sort(key=lambda event: event.last_seen or snapshot.taken_at)
    index = telling([(event.message or "", event.reason) for event in mine])
    if index is None:
        return None
    return Told(mine[index], classify(mine[index].message or "", mine[index].reason))
