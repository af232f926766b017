"""Which cluster a job is about, so that one that is away delays no other's."""

import asyncio
import logging

from bot.slack.desk import Desk
from bot.slack.jobs import AnyJob, MakeReport
from runbooks.database import StoreError

_log = logging.getLogger("unstick.work")


async def cluster_of(desk: Desk, job: AnyJob) -> str:
    """The name of the cluster; "" where that is not known: such jobs are done as those of one cluster."""
    try:
        return desk.cluster(await asyncio.to_thread(_named, desk, job)) or ""
    except (KeyError, StoreError):
        return ""
    except Exception:  # noqa: BLE001 - the job itself is to be done whatever becomes of this
        _log.exception("it could not be told which cluster a job of kind %s is about", type(job).__name__)
        return ""


def _named(desk: Desk, job: AnyJob) -> str | None:
    """What the job says itself, or what it is about in the store."""
    state = desk.state
    if isinstance(job, MakeReport):
        return desk.settings.schedules[job.schedule].cluster
    if (named := getattr(job, "cluster", None)) is not None:
        return str(named)
    if execution := getattr(job, "execution", ""):
        return state.runbooks.get(execution).plan.cluster
    if incident := getattr(job, "incident", ""):
        return state.incidents.get(incident).cluster
    if plan := getattr(job, "plan", ""):
        return state.requests.shown(plan).plan.cluster
    if group := getattr(job, "group", ""):
        return state.alerts.get(group).cluster
    return None
