"""What only the leader of all replicas does: it fires the schedules, watches the clusters, and looks after open incidents.

It only ever writes jobs, each in a transaction that insists on the leadership: any replica does them.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from bot.incidents import Incident
from bot.metrics import Metrics
from bot.schedule import Schedules
from bot.settings import Settings, SettingsError
from bot.slack import attention
from bot.slack.jobs import AnyJob, FollowUp, Notice
from bot.store import State
from bot.store.leaders import Deposed, Leadership
from bot.watch import Watch
from bot.wiring import Target
from diagnostics.model import Subject
from diagnostics.sources.kubernetes.api import Api
from runbooks.database import StoreError

_log = logging.getLogger("unstick.leader")
ROUND = 5.0  # seconds between two looks for incidents that are to be looked at again
STILL = timedelta(minutes=2)
"""After that a pod that was noticed, and of which no incident tells, is looked at again."""
_AGAIN = 5.0  # seconds before a duty that ended with an error begins anew


class Duties:
    """Everything that is done while this replica leads. `told` is called when there is a job more."""

    def __init__(
        self, settings: Settings, state: State, target: Callable[[str | None], Target], told: Callable[[], None], *,
        now: Callable[[], datetime] | None = None, pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        metrics: Metrics | None = None,
    ) -> None:  # fmt: skip
        """Nothing is connected yet. `pause` is how the watches and the rounds wait.

        Raises:
            SettingsError: a schedule means nothing.
        """
        self._settings = settings
        self._state = state
        self._target = target
        self._told = told
        timed: dict[str, Any] = {"now": now} if now else {}
        self._timed = timed
        self._pause = pause
        self._metrics = metrics or Metrics()
        self.schedules = Schedules(settings, state, wake=told, **timed)
        self._asked_again: dict[str, dict[Subject, datetime]] = {}
        self.watches: dict[str, Watch] = {}
        """The watches by cluster, while this replica leads."""

    @property
    def unwatched(self) -> dict[str, str]:
        """The clusters that are not watched, and why."""
        if not self._settings.watch.enabled:
            return dict.fromkeys(self._settings.clusters, "`watch.enabled` is false")
        without = "it has no channel: set its `channel`, or `slack.channel`"
        return {
            name: "it has no Kubernetes" if words.kubernetes is None else without
            for name, words in self._settings.clusters.items()
            if words.kubernetes is None or self._settings.channel_of(name) is None
        }

    async def lead(self, leadership: Leadership) -> None:
        """Do all of it until cancelled. What one duty dies of does not end the others.

        Raises:
            BaseExceptionGroup: of Deposed: this replica does not lead any more.
        """
        duties: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "firing the schedules": partial(self.schedules.run, leadership),
            "looking after incidents": partial(self._look_after, leadership),
        }
        for name in self._settings.clusters.keys() - self.unwatched.keys():
            duties[f"watching {name}"] = partial(self._watch, name, leadership)
        self._metrics.leads(
            {name: partial(self._lag, name) for name in self._settings.clusters.keys() - self.unwatched.keys()}
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                for what, duty in duties.items():
                    tasks.create_task(_kept_up(what, duty))
        finally:
            self.watches = {}
            self._metrics.follows()

    def _lag(self, cluster: str) -> float:
        """How many seconds old the newest word of a watch is; not a number while it has none."""
        watch = self.watches.get(cluster)
        return watch.lag.total_seconds() if watch is not None and watch.lag is not None else math.nan

    async def _look_after(self, leadership: Leadership) -> None:
        """Have every incident that is due looked at again."""
        while True:
            try:
                due = await asyncio.to_thread(lambda: attention.due(self._state, self._state.incidents.now()))
                for incident in due:
                    await self._follow(leadership, incident)
                for cluster, watch in list(self.watches.items()):  # one more may begin meanwhile
                    await self._notice_again(leadership, cluster, watch)
            except StoreError as error:
                _log.error("%s", error)
            await self._pause(ROUND)

    async def _follow(self, leadership: Leadership, incident: Incident) -> None:
        await self._ask(leadership, FollowUp("", incident.channel, incident.id), f"follow/{incident.id}")

    async def _notice_again(self, leadership: Leadership, cluster: str, watch: Watch) -> None:
        """Have what was noticed, and is told of in no incident, looked at again: the first look may have seen too little."""
        now = self._state.incidents.now()
        asked = self._asked_again.setdefault(cluster, {})
        waiting = {subject: max(at, asked.get(subject, at)) for subject, at in watch.noticed}
        for subject in [each for each in asked if each not in waiting]:
            del asked[subject]
        for subject in [each for each, at in waiting.items() if now - at > STILL]:
            asked[subject] = now
            if await asyncio.to_thread(self._state.incidents.about, cluster, subject) is None:
                await self._notice(leadership, cluster, subject)

    async def _notice(self, leadership: Leadership, cluster: str, subject: Subject) -> None:
        channel = self._settings.channel_of(cluster)
        assert channel is not None, "only a cluster with a channel is watched"
        job = Notice("", channel, subject, cluster, "it takes longer to start than it should")
        await self._ask(leadership, job, f"notice/{subject.uid or subject}"[:128])

    async def _watch(self, cluster: str, leadership: Leadership) -> None:
        words = self._settings.clusters[cluster]

        async def settled(subject: Subject) -> None:
            incident = await asyncio.to_thread(self._state.incidents.about, cluster, subject)
            if incident is not None:
                await self._follow(leadership, incident)

        watch = Watch(
            cluster, partial(_api, self._target, cluster), partial(self._notice, leadership, cluster), settled, grace=self._settings.watch.grace,
            namespaces=words.namespaces, known=await asyncio.to_thread(self._known, cluster), pause=self._pause, **self._timed,
        )  # fmt: skip
        self.watches[cluster] = watch
        await watch.run()

    def _known(self, cluster: str) -> Mapping[Subject, datetime]:
        """What waits in open incidents was noticed already."""
        open_now = [each for each in self._state.incidents.open() if each.cluster == cluster]
        return {subject: incident.updated for incident in open_now for subject in incident.subjects if subject.uid}

    async def _ask(self, leadership: Leadership, job: AnyJob, key: str) -> None:
        """Add a job for whichever replica, unless there is one of that key."""

        def add() -> None:
            with self._state.jobs.write() as connection:
                self._state.leaders.insist(connection, leadership)
                self._state.jobs.add_within(connection, job, key=key)

        await asyncio.to_thread(add)
        self._told()


def _api(target: Callable[[str | None], Target], cluster: str) -> AbstractAsyncContextManager[Api]:
    access = target(cluster).kubernetes
    if access is None:
        raise SettingsError(f"The cluster {cluster} has no Kubernetes to watch.")
    return Api(access)


async def _kept_up(what: str, duty: Callable[[], Awaitable[None]]) -> None:
    """Do something that should never end, again and again where it does."""
    while True:
        try:
            await duty()
        except* Deposed:
            raise
        except* Exception as errors:  # noqa: BLE001 - whatever one duty dies of, it is taken up again
            _log.error("%s ended with an error, and begins anew in %d s.", what, _AGAIN, exc_info=errors)
        await asyncio.sleep(_AGAIN)
