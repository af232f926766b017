"""Events, in their core/v1 form."""

from datetime import datetime

from diagnostics.facts.resources.meta import Meta, Struct
from diagnostics.facts.resources.redaction import redact
from diagnostics.model import Subject


class InvolvedObject(Struct, frozen=True):
    """What an event is about."""

    kind: str = ""
    namespace: str | None = None
    name: str = ""
    uid: str = ""


class EventSource(Struct, frozen=True):
    """Who sent an event."""

    component: str = ""
    host: str = ""


class EventSeries(Struct, frozen=True):
    """How often an event came, in the newer form."""

    count: int = 1
    last_observed_time: datetime | None = None


class Event(Struct, frozen=True):
    """An event, in its core/v1 form."""

    metadata: Meta
    involved_object: InvolvedObject | None = None
    reason: str | None = None
    message: str | None = None
    type: str | None = None
    count: int | None = None
    first_timestamp: datetime | None = None
    last_timestamp: datetime | None = None
    event_time: datetime | None = None
    series: EventSeries | None = None
    source: EventSource | None = None

    def __post_init__(self) -> None:
        redact(self)

    @property
    def about(self) -> InvolvedObject:
        """What the event is about; empty where the API says null."""
        return self.involved_object or InvolvedObject()

    @property
    def first_seen(self) -> datetime | None:
        """When it came first."""
        return self.first_timestamp or self.event_time or self.metadata.creation_timestamp

    @property
    def last_seen(self) -> datetime | None:
        """When it came last."""
        newest = self.series.last_observed_time if self.series else None
        return newest or self.last_timestamp or self.event_time or self.metadata.creation_timestamp

    @property
    def subject(self) -> Subject:
        """The event as a subject."""
        return Subject("Event", self.metadata.namespace, self.metadata.name, self.metadata.uid)
