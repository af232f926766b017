"""Watches a cluster's pods and Warning events, and tells which pod to look at within a second of the event that matters.

It only ever says that a pod seems stuck, or is not any more: what is wrong is for a diagnosis to find. It must not end
by itself, whatever the cluster does, nor judge a pod by what it heard before it lost sight of it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

from bot.watch.shapes import EVENTS, PODS, WatchedEvent, WatchedPod
from bot.watch.waiting import MOST_PODS, Call, Creating
from diagnostics.model import Subject
from diagnostics.sources import CouldNotLook
from diagnostics.sources.kubernetes.api import Api, NoSuchConfiguration
from diagnostics.sources.kubernetes.watching import FIRST_WAIT, LONGEST_WAIT, SILENCE, Change, Stream, Watched

__all__ = ["WATCHED", "Watch"]

WATCHED: tuple[Watched[Any], ...] = (PODS, EVENTS)
"""What is watched, and so has to be granted: get, list and watch."""
_log = logging.getLogger("unstick.watch")


class Watch:
    """The watch of one cluster, to be run by one replica: `run` goes on until it is cancelled, and may be run again.

    Args:
        cluster: its name in the configuration, for the log.
        api: opens a connection as the reading identity. Two requests are open for each namespace, for as long as it runs.
        notice: is told of a pod that seems stuck. It must not take long; if it raises, it is told again.
        settled: is told of a pod that was noticed and has got past its creation, or is gone.
        grace: how long an ordinary start may take, though events tell of trouble.
        namespaces: those to watch; none means all.
        now: the time in UTC.
        pause: waits for some seconds.
        known: pods that were noticed before a restart and not settled since, and when; other subjects are left out.
        silence: seconds after which a watch that brings nothing is begun anew.
    """

    def __init__(
        self, cluster: str, api: Callable[[], AbstractAsyncContextManager[Api]],
        notice: Callable[[Subject], Awaitable[None]], settled: Callable[[Subject], Awaitable[None]], *,
        grace: timedelta, namespaces: tuple[str, ...] = (), now: Callable[[], datetime] = lambda: datetime.now(UTC),
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep, known: Mapping[Subject, datetime] | None = None,
        silence: float = SILENCE,
    ) -> None:  # fmt: skip
        self.cluster = cluster
        self._api, self._notice, self._settled = api, notice, settled
        self._now, self._pause = now, pause
        pods = {s: at for s, at in (known or {}).items() if s.kind == "Pod"}
        self._creating = Creating(
            grace, {s: at for s, at in pods.items() if not namespaces or s.namespace in namespaces}
        )
        self._woken = asyncio.Event()
        self._sleeps_until: datetime | None = None
        self._problem: str | None = None
        how: dict[str, Any] = {"now": now, "pause": pause, "silence": silence}
        self._pods = {ns: Stream(PODS, ns, _Pods(self), **how) for ns in namespaces or (None,)}
        self._events = {ns: Stream(EVENTS, ns, _Events(self), **how) for ns in namespaces or (None,)}

    @property
    def _streams(self) -> tuple[Stream[Any], ...]:
        return (*self._pods.values(), *self._events.values())

    @property
    def connected(self) -> bool:
        """Whether all watches are open now. Every few minutes one is begun anew and is not, for a moment."""
        return all(stream.connected for stream in self._streams)

    @property
    def lag(self) -> timedelta | None:
        """How long ago the quietest watch last heard anything: up to 90 s where nothing happens. None: not all began yet."""
        heard = [stream.heard_at for stream in self._streams]
        known = [at for at in heard if at is not None]
        return self._now() - min(known) if len(known) == len(heard) else None

    @property
    def noticed(self) -> tuple[tuple[Subject, datetime], ...]:
        """The pods that were noticed and have not settled yet, and when."""
        return self._creating.noticed

    @property
    def problem(self) -> str | None:
        """Why it does not see everything: one sentence with the next move. None where it does, or has just begun."""
        if self._creating.is_full:
            return f"More than {MOST_PODS:,} pods are being created in {self.cluster}: the others are not watched."
        return self._problem or next((s.problem for s in self._streams if s.problem and not s.connected), None)

    @property
    def revisions(self) -> dict[str, str]:
        """How far each watch has come: the resourceVersion by `pods` or `events`, with `/namespace` where one is named."""
        return {s.watched.plural + (f"/{s.namespace}" if s.namespace else ""): s.revision for s in self._streams}

    async def run(self) -> None:
        """Watch and tell, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._tell())

    async def _follow(self) -> None:
        wait = FIRST_WAIT
        while True:
            began = self._now()
            try:
                async with self._api() as api, asyncio.TaskGroup() as tasks:
                    self._problem = None
                    for stream in self._streams:
                        tasks.create_task(stream.follow(api))
            except* (CouldNotLook, NoSuchConfiguration) as errors:
                self._problem = str(errors.exceptions[0])
                _log.warning("The watch of %s is interrupted: %s", self.cluster, self._problem)
            except* Exception as errors:  # noqa: BLE001 - a mistake in Unstick must not end the watch for good
                self._problem = f"The watch of {self.cluster} ended with an error that nobody foresaw: see the log."
                _log.error("%s", self._problem, exc_info=errors)
            wait = FIRST_WAIT if self._now() - began > timedelta(seconds=LONGEST_WAIT) else min(wait * 2, LONGEST_WAIT)
            await self._pause(wait)

    async def _tell(self) -> None:
        while True:
            self._woken.clear()
            for call in self._creating.due(self._now(), self._sees):
                await self._do(call)
            due = self._creating.next
            self._sleeps_until = due
            if due is None or (left := (due - self._now()).total_seconds()) > 0:
                await self._sleep(None if due is None else left)

    async def _sleep(self, seconds: float | None) -> None:
        """Wait for that long (None: for as long as it takes), or until something is due earlier."""
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._woken.wait())]
        if seconds is not None:
            waits.append(asyncio.ensure_future(self._pause(seconds)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _do(self, call: Call) -> None:
        try:
            await (self._settled if call.settled else self._notice)(call.subject)
        except asyncio.CancelledError:
            self._creating.undone(call, self._now())  # whether it was told is not known; it may run again later
            raise
        except Exception:  # noqa: BLE001 - whatever it was, the pod is still stuck and must not be forgotten
            _log.exception("The watch of %s could not tell of %s; it tries again.", self.cluster, call.subject)
            self._creating.undone(call, self._now())

    def _sees(self, subject: Subject) -> bool:
        stream = self._pods.get(subject.namespace) or self._pods.get(None)
        return stream is not None and stream.is_current(self._now())

    def heard(self) -> None:
        """Something has changed: wake who waits, if more is due than it waits for."""
        due = self._creating.next
        if due is not None and (self._sleeps_until is None or due < self._sleeps_until):
            self._woken.set()

    def take_pod(self, change: Change, pod: WatchedPod) -> None:
        """A pod was listed or has changed."""
        if change is Change.DELETED:
            self._creating.gone(pod.metadata.uid, self._now())
        else:
            self._creating.pod(pod, self._now())
        self.heard()

    def take_pods(self, namespace: str | None, uids: frozenset[str]) -> None:
        """All pods were listed."""
        self._creating.listed(namespace, uids, self._now())
        self.heard()

    def take_event(self, event: WatchedEvent) -> None:
        """An event was listed, or came again."""
        self._creating.event(event)
        self.heard()


class _Pods:
    """Listens to pods."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def changed(self, change: Change, thing: WatchedPod) -> None:
        self._watch.take_pod(change, thing)

    def listed(self, namespace: str | None, uids: frozenset[str]) -> None:
        self._watch.take_pods(namespace, uids)


class _Events:
    """Listens to events. That one is deleted, an hour after it came, says nothing."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def changed(self, change: Change, thing: WatchedEvent) -> None:
        if change is not Change.DELETED:
            self._watch.take_event(thing)

    def listed(self, namespace: str | None, uids: frozenset[str]) -> None:
        """Events are not kept."""
