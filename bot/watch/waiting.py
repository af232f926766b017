"""Which pods to look at, and when: the pods that are being created, what was said of them, and one heap of times.

Pure: no I/O, and the time is given. It must make no noise about an ordinary start, tell of a stuck pod once, and stay
small whatever happens in the cluster.
"""

import heapq
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count

import msgspec

from bot.watch.shapes import WatchedEvent, WatchedPod
from diagnostics.causes import Cause, Confidence, classify
from diagnostics.causes.siblings import CERTAIN, LIKELY, NOT_KNOWN, WEAK
from diagnostics.causes.wrappers import FAILURE_REASONS
from diagnostics.model import Subject

WITHOUT_EVENT = timedelta(minutes=5)
"""How long a pod may be created before it is looked at without any event that tells why (a large image takes minutes)."""
AGAIN = timedelta(minutes=1)
"""At least that long lies between two looks at a pod, however much is learnt meanwhile."""
RETRY = timedelta(seconds=10)
"""After that a look that could not be asked for is asked for again."""
HELD = timedelta(seconds=0.5)
"""How often it is asked whether a pod that is due can be seen again: between two watches of some minutes, for a moment
it cannot, and it is to be told of within a second even then."""
PASSING = frozenset({"kubelet-cache-sync"})
"""Causes of events that usually pass by themselves: a pod with no other event is as one without any."""
MOST_PODS, MOST_ORPHANS, MOST_LATELY, MOST_SEEN = 20_000, 1_000, 2_000, 64
_EVENTS_OF_ORPHAN = 4
_EXAMINED = 4_096  # characters of a message: enough for a cause, and a bound to what one event costs
_VARYING = re.compile(r"\b[0-9a-f-]{8,64}\b|\d+")  # ids and numbers: texts that differ in no more say the same


@dataclass(frozen=True)
class Call:
    """What somebody is to be told: look at this pod, it seems stuck; or (`settled`) it was, and is not any more."""

    subject: Subject
    settled: bool = False
    noticed_before: datetime | None = None


@dataclass(slots=True)
class _Said:
    """What events have said of a pod: the causes, the strongest's weight, and which texts were classified already."""

    causes: set[str] = field(default_factory=set)
    weight: int = 0
    seen: set[int] = field(default_factory=set)

    def take(self, event: WatchedEvent) -> bool:
        """Note an event; whether it tells something new, and no less than what was known."""
        message = (event.message or "")[:_EXAMINED]
        text = hash((event.reason, _VARYING.sub("#", message)))
        if text in self.seen:
            return False
        if len(self.seen) < MOST_SEEN:
            self.seen.add(text)
        cause = classify(message, event.reason)
        new = cause.cause not in self.causes and (weight := _weight(cause)) >= self.weight
        self.causes.add(cause.cause)
        if new:
            self.weight = weight
        return new and cause.cause not in PASSING

    @property
    def matters(self) -> bool:
        """Whether it is more than what passes by itself."""
        return not self.causes <= PASSING


@dataclass(slots=True)
class _Pod:
    subject: Subject
    since: datetime
    said: _Said = field(default_factory=_Said)
    noticed: datetime | None = None
    known_before: bool = False
    news: bool = False
    not_before: datetime | None = None
    due: datetime | None = None


class Creating:
    """The pods of one cluster that are being created.

    Args:
        grace: how long an ordinary start may take though an event tells of trouble.
        known: pods that were noticed before a restart, and when.
    """

    def __init__(self, grace: timedelta, known: Mapping[Subject, datetime] | None = None) -> None:
        self._grace = grace
        self._pods = {
            subject.uid: _Pod(subject, since=at, noticed=at, known_before=True, not_before=at + AGAIN)
            for subject, at in (known or {}).items()
        }
        self._orphans: OrderedDict[str, list[WatchedEvent]] = OrderedDict()
        self._lately: OrderedDict[str, datetime] = OrderedDict()
        self._settled: dict[str, tuple[datetime, Subject]] = {}
        self._heap: list[tuple[datetime, int, str]] = []
        self._number = count()

    def __len__(self) -> int:
        """How many pods, events and times are held."""
        held = len(self._pods) + len(self._lately) + len(self._settled) + len(self._heap)
        return held + sum(map(len, self._orphans.values()))

    @property
    def is_full(self) -> bool:
        """Whether so many pods wait that no others are taken in."""
        return len(self._pods) >= MOST_PODS

    @property
    def noticed(self) -> tuple[tuple[Subject, datetime], ...]:
        """The pods that somebody was told of and that are still being created, and when they were told of last."""
        return tuple((pod.subject, pod.noticed) for pod in self._pods.values() if pod.noticed is not None)

    @property
    def next(self) -> datetime | None:
        """When something may be due. None: not before something changes."""
        while self._heap and not self._is_live(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pod(self, pod: WatchedPod, now: datetime) -> None:
        """A pod is there, or has changed."""
        uid = pod.metadata.uid
        if not pod.is_creating:
            self.gone(uid, now)
            return
        known = self._pods.get(uid)
        if known is None:
            if self.is_full:
                return  # of so many that wait, those that are known tell what is wrong
            known = self._pods[uid] = _Pod(pod.subject, pod.waiting_since or now)
            if (noticed := self._lately.pop(uid, None)) is not None:
                known.not_before = noticed + AGAIN
            if self._settled.pop(uid, None) is not None:
                known.noticed = noticed  # nobody has been told that it was over
        elif pod.waiting_since is not None:
            known.since = pod.waiting_since
        for event in self._orphans.pop(uid, ()):
            self._hear(known, event)
        self._plan(known)

    def gone(self, uid: str, now: datetime) -> None:
        """A pod runs, has ended, is deleted, or was not there when all were listed."""
        self._orphans.pop(uid, None)
        pod = self._pods.pop(uid, None)
        if pod is None or pod.noticed is None:
            return
        self._lately[uid] = pod.noticed
        while len(self._lately) > MOST_LATELY or now - next(iter(self._lately.values()), now) > AGAIN:
            self._lately.popitem(last=False)
        self._settle(pod.subject, now)

    def listed(self, namespace: str | None, uids: frozenset[str], now: datetime) -> None:
        """All pods of a namespace, or of all, were listed: what is not among them is gone."""
        for uid, pod in list(self._pods.items()):
            if uid not in uids and namespace in (None, pod.subject.namespace):
                self.gone(uid, now)

    def event(self, event: WatchedEvent) -> None:
        """Somebody has said something about an object."""
        about = event.involved_object
        if about is None or about.kind != "Pod" or not about.uid or event.type != "Warning":
            return
        if event.reason not in FAILURE_REASONS:
            return
        if (pod := self._pods.get(about.uid)) is not None:
            self._hear(pod, event)
            self._plan(pod)
            return
        # Pods and events come in two streams: this one may be ahead. Most are about pods that run by now.
        kept = self._orphans.setdefault(about.uid, [])
        if len(kept) < _EVENTS_OF_ORPHAN:
            kept.append(msgspec.structs.replace(event, message=(event.message or "")[:_EXAMINED]))
        self._orphans.move_to_end(about.uid)
        while len(self._orphans) > MOST_ORPHANS:
            self._orphans.popitem(last=False)

    def due(self, now: datetime, sees: Callable[[Subject], bool] = lambda _: True) -> Iterator[Call]:
        """What is to be told by now, one after the other: each is asked for when those before it have been told.

        A pod that cannot be seen now (`sees`) is not judged by how it was.
        """
        while self._heap and self._heap[0][0] <= now:
            entry = heapq.heappop(self._heap)
            if not self._is_live(entry):
                continue
            uid = entry[2]
            if (over := self._settled.get(uid)) and over[0] == entry[0]:
                del self._settled[uid]
                yield Call(over[1], settled=True)
                continue
            pod = self._pods[uid]
            if not sees(pod.subject):
                pod.due = now + HELD
                self._push(pod.due, uid)
                continue
            call = Call(pod.subject, noticed_before=pod.noticed)
            pod.noticed, pod.news, pod.due, pod.not_before = now, False, None, now + AGAIN
            yield call

    def undone(self, call: Call, now: datetime) -> None:
        """Telling failed: it is told again later, unless it is no longer so by then."""
        if call.settled:
            if call.subject.uid not in self._pods:
                self._settle(call.subject, now + RETRY)
        elif (pod := self._pods.get(call.subject.uid)) is not None:
            pod.noticed, pod.news, pod.not_before = call.noticed_before, True, now + RETRY
            self._plan(pod)

    def _hear(self, pod: _Pod, event: WatchedEvent) -> None:
        new = pod.said.take(event)
        if pod.known_before and pod.noticed is not None and event.first_seen is not None:
            new = new and event.first_seen > pod.noticed  # what was there at that notice was seen then
        pod.news |= new

    def _plan(self, pod: _Pod) -> None:
        """Set when the pod is looked at: now, if that time is past."""
        if pod.noticed is not None and not pod.news:
            return
        grace = self._grace if pod.said.matters else max(self._grace, WITHOUT_EVENT)
        at = pod.since + grace
        at = at if pod.not_before is None else max(at, pod.not_before)
        if pod.due != at:
            pod.due = at
            self._push(at, pod.subject.uid)

    def _settle(self, subject: Subject, at: datetime) -> None:
        self._settled[subject.uid] = (at, subject)
        self._push(at, subject.uid)

    def _push(self, at: datetime, uid: str) -> None:
        heapq.heappush(self._heap, (at, next(self._number), uid))
        if len(self._heap) > 2 * (len(self._pods) + len(self._settled)) + 64:
            self._heap = [entry for entry in self._heap if self._is_live(entry)]
            heapq.heapify(self._heap)

    def _is_live(self, entry: tuple[datetime, int, str]) -> bool:
        at, _, uid = entry
        pod, over = self._pods.get(uid), self._settled.get(uid)
        return (pod is not None and pod.due == at) or (over is not None and over[0] == at)


def _weight(cause: Cause) -> int:
    """How much a cause tells: as `diagnostics.causes.telling` ranks sibling events."""
    if cause.confidence is Confidence.UNKNOWN:
        return NOT_KNOWN
    return WEAK.get(cause.cause) or (CERTAIN if cause.confidence is Confidence.CERTAIN else LIKELY)
