"""Facts for whoever runs a failed Job anew: all Jobs of its namespace, and the CronJob that made it."""

from collections.abc import Iterable

from diagnostics.facts import Snapshot
from diagnostics.facts.kubernetes import Get, List, Resource
from diagnostics.facts.resources.runs import CronJob, JobRun


def _runs(snapshot: Snapshot) -> Iterable[Get | List]:
    """Of the whole namespace: only their owner tells which Jobs are runs of one CronJob."""
    subject = snapshot.scope.subject
    return (List(subject.namespace),) if subject is not None and subject.kind == "Job" else ()


def _cron_jobs(snapshot: Snapshot) -> Iterable[Get | List]:
    subject, runs = snapshot.scope.subject, snapshot.seen(JOB_RUNS)
    owners = [
        run.metadata.controller for run in (runs.full if runs else ())
        if subject is not None and run.metadata.name == subject.name
    ]  # fmt: skip
    return [Get(o.name, subject.namespace) for o in owners if o is not None and o.kind == "CronJob" and subject]


JOB_RUNS: Resource[JobRun] = Resource(
    "jobs of the namespace", group="batch", plural="jobs", struct=JobRun, requests=_runs
)
# v1 is there since 1.21, v1beta1 is gone since 1.25.
CRON_JOBS: Resource[CronJob] = Resource(
    "cronjobs", (JOB_RUNS,), group="batch", plural="cronjobs", struct=CronJob, requests=_cron_jobs, verbs="get",
    older=("v1beta1",),
)  # fmt: skip
