"""Jobs that failed for good: their pods failed too often, or took too long.

Meaning: Kubernetes makes no pod of it any more (BackoffLimitExceeded, DeadlineExceeded); what ran there did not succeed.
Impact: its work is not done; who waits for it waits in vain.
Mitigation: read the log of its last pod, mend what it says, and run the Job again under a new name.

The failed Jobs of a CronJob are one finding, about the newest; once a later one has succeeded there is none. A Job that
failed more than a week ago is `info`: nobody waited for it.
"""

from collections.abc import Iterator
from datetime import timedelta

from diagnostics.attachments.links import cut
from diagnostics.checks import Check
from diagnostics.facts import NotSeen, Read, Snapshot
from diagnostics.facts.kubernetes import PODS
from diagnostics.facts.plugins import trouble_of
from diagnostics.facts.resources import Job, Owner, Pod
from diagnostics.facts.workloads import JOBS, WORKLOAD_PODS, pods_of
from diagnostics.model import Evidence, Finding, Link, Severity, Unseen, lasting
from diagnostics.rollouts.holdups import pod_link

OLD = timedelta(days=7)


def _cron_job(job: Job) -> Owner | None:
    owner = job.metadata.controller
    return owner if owner is not None and owner.kind == "CronJob" else None


def _tells(job: Job) -> bool:
    return job.failure is not None or (job.is_complete and _cron_job(job) is not None)


def _failed_of_job(pod: Pod) -> bool:
    owner = pod.metadata.controller
    return owner is not None and owner.kind == "Job" and pod.status.phase == "Failed"


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each Job of its own, and for each CronJob whose last ended Jobs failed."""
    listed, groups = snapshot.seen(JOBS), dict[str, list[Job]]()
    for job in filter(_tells, listed.full if listed else ()):
        owner = _cron_job(job)
        groups.setdefault(owner.uid if owner else job.metadata.uid, []).append(job)
    for jobs in groups.values():
        jobs.sort(key=lambda job: job.began or snapshot.taken_at)
        ended_well = max((place for place, job in enumerate(jobs) if job.is_complete), default=-1)
        failed = [job for job in jobs[ended_well + 1 :] if job.metadata.deletion_timestamp is None]
        if failed:
            yield _finding(failed, snapshot)


def _finding(failed: list[Job], snapshot: Snapshot) -> Finding:
    job, owner, pods = failed[-1], _cron_job(failed[-1]), pods_of(failed[-1].metadata.uid, snapshot)
    meta, told = job.metadata, job.failure
    since, reason = (told.last_transition_time, told.reason or "no reason") if told else (None, "no reason")
    age = f" {lasting(snapshot.taken_at - since)} ago" if since else ""
    more = f" and {len(failed) - 1} more of it before" if len(failed) > 1 else ""
    of = f" of CronJob {owner.name}{more}" if owner else ""
    text = f"{cut((told.message if told else None) or '')}; failed {job.status.failed or 0}, backoffLimit {job.spec.backoff_limit}"
    seen = () if isinstance(pods, NotSeen) else filter(_failed_of_job, pods)
    last = max(seen, key=lambda pod: pod.metadata.creation_timestamp or snapshot.taken_at, default=None)
    link = Link(job.subject, f"failed: {reason}", (Evidence(f"GET jobs {meta.namespace}/{meta.name}", text),))
    return Finding(
        subject=job.subject,
        summary=f"{meta.namespace}/{meta.name}{of} failed{age} ({reason})"
        f"{', and none has succeeded since' if owner else ''}{f'; its pod {last.metadata.name}: {trouble_of(last)}' if last else ''}",
        since=since,
        chain=(link, *((pod_link(last, f"failed: {trouble_of(last)}"),) if last else ())),
        unseen=(f"its pods: {pods.reason}",) if isinstance(pods, NotSeen) else (),
        severity=Severity.INFO if since is not None and snapshot.taken_at - since > OLD else None,
    )


CHECK = Check(
    find,
    reads=(
        Read(JOBS, where=_tells), Read(PODS, where=_failed_of_job, optional=True), Read(WORKLOAD_PODS, optional=True),
    ),
    severity=Severity.WARNING,
)  # fmt: skip
