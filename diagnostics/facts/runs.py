"""Facts for whoever runs a failed Job anew: all Jobs of its namespace, and the CronJob whose run it is."""

from collections.abc import Iterable

from diagnostics.facts import Snapshot
from diagnostics.facts.kubernetes import Get, List, Resource
from diagnostics.facts.resources.runs import CronJob, JobRun


def _runs(snapshot: Snapshot) -> Iterable[Get | List]:
    """Of the whole namespace: only its owner, or a mark, tells of which CronJob a Job is a run."""
    subject = snapshot.scope.subject
    return (List(subject.namespace),) if subject is not None and subject.kind == "Job" else ()


def _cron_jobs(snapshot: Snapshot) -> Iterable[Get | List]:
    subject, runs = snapshot.scope.subject, snapshot.seen(JOB_RUNS)
    origins = [
        run.origin for run in (runs.full if runs else ()) if subject is not None and run.metadata.name == subject.name
    ]
    return [Get(origin.name, origin.namespace) for origin in origins if origin.kind == "CronJob"]


JOB_RUNS: Resource[JobRun] = Resource(
    "jobs of the namespace", group="batch", plural="jobs", struct=JobRun, requests=_runs
)
# v1 is there since 1.21, v1beta1 is gone since 1.25.
CRON_JOBS: Resource[CronJob] = Resource(
    "cronjobs", (JOB_RUNS,), group="batch", plural="cronjobs", struct=CronJob, requests=_cron_jobs, verbs="get",
    older=("v1beta1",),
)  # fmt: skip
