"""Guards of running a failed Job anew: nobody else does its work, and nobody has done it since."""

from diagnostics.facts import Read
from diagnostics.facts.resources.runs import JobRun
from diagnostics.facts.runs import CRON_JOBS, JOB_RUNS
from runbooks.guards import Ruling, allowed, guard, refused
from runbooks.situation import CannotPlan, Situation


def failed_job(situation: Situation) -> JobRun:
    """The Job of the runbook.

    Raises:
        CannotPlan: there is none, or Jobs could not be read.
    """
    job = situation.one(JOB_RUNS, situation.params.get("job", ""))
    if job is None:
        raise CannotPlan(f"there is no Job {situation.params.get('job')}")
    return job


@guard(Read(JOB_RUNS))
def job_has_failed(situation: Situation) -> Ruling:
    """The Job has failed for good, and a new one can be made from it: nobody but a CronJob manages it."""
    job = failed_job(situation)
    owner, failure = job.metadata.controller, job.failure
    against = []
    if job.metadata.deletion_timestamp is not None:
        against.append("it is being deleted")
    if job.told.suspend:
        against.append("it is suspended: resume it instead")
    if job.told.manual_selector:
        against.append("its selector was chosen by hand (manualSelector): a second Job would take its pods")
    if owner is not None and owner.kind != "CronJob":
        against.append(f"it belongs to {owner.kind} {owner.name}, which decides about new runs")
    if failure is None:
        against.append("it has not failed: " + ("it is complete" if job.is_complete else "it may still end well"))
    if failure is not None and job.pods_left:
        against.append(f"{job.pods_left} of its pods have not ended, and may still do its work: wait until they have")
    if failure is None or against:
        return refused(*(f"Job {job.named}: {why}" for why in against))
    why = failure.reason or "Failed"
    return allowed(f"Job {job.named} has failed ({why})", job=f"{job.named}={job.metadata.uid}")


@guard(Read(JOB_RUNS), Read(CRON_JOBS))
def no_other_run(situation: Situation) -> Ruling:
    """No other run of the same CronJob, or of the same Job, is under way where these must not overlap, and none has
    succeeded since. Jobs that were made anew count as runs of what the first one was a run of."""
    job = failed_job(situation)
    owner, origin = job.metadata.controller, job.origin
    if owner is not None and owner.kind != "CronJob":
        return refused(f"Job {job.named} belongs to {owner.kind} {owner.name}: which runs it has is not known")
    policy, heedless = "Forbid", ""  # a Job of nobody's is done by one at a time
    if origin.kind == "CronJob":
        cron = next((one for one in situation.listed(CRON_JOBS) if one.metadata.uid == origin.uid), None)
        if cron is None:
            return refused(
                f"CronJob {origin.name}, of which Job {job.named} is a run, is gone: what it did is not wanted any more"
            )
        policy = cron.spec.concurrency_policy
        if policy != "Allow" and not cron.spec.suspend:
            heedless = "; its next scheduled run will not wait for this one"
    others = [
        run for run in situation.listed(JOB_RUNS)
        if run.origin.uid == origin.uid and run.metadata.uid != job.metadata.uid
    ]  # fmt: skip
    named = f"{origin.kind} {origin.name}"
    newer = [run.named for run in others if run.is_complete and _is_newer(run, job)]
    if newer:
        return refused(f"a newer run of {named} has succeeded: {', '.join(newer)}")
    busy = [run.named for run in others if run.is_under_way]
    if busy and policy != "Allow":
        return refused(f"{', '.join(busy)} is under way, and {named} lets no runs overlap ({policy}): wait")
    return allowed(f"no other run of {named} is in the way{heedless}", policy=policy)


@guard(Read(JOB_RUNS))
def job_was_not_rerun(situation: Situation) -> Ruling:
    """No Job that was made anew from this one is there yet: a second one would do its work twice."""
    name = _new_name(situation)
    made = next((run for run in situation.listed(JOB_RUNS) if run.metadata.name == name), None)
    if made is not None:
        return refused(f"{made.named} was made from it already: look at that one")
    return allowed(f"there is no Job {name} yet")


@guard(Read(JOB_RUNS))
def rerun_is_under_way(situation: Situation) -> Ruling:
    """The new Job has pods, or is complete already."""
    name = _new_name(situation)
    made = next((run for run in situation.listed(JOB_RUNS) if run.metadata.name == name), None)
    if made is None:
        return refused(f"there is no Job {name}")
    if made.failure is not None:
        return refused(f"{made.named} has failed too ({made.failure.reason or 'Failed'}): look at the log of its pods")
    if made.is_complete:
        return allowed(f"{made.named} is complete")
    if not made.status.active:
        return refused(f"{made.named} has no pod yet")
    return allowed(f"{made.named} is under way")


def _new_name(situation: Situation) -> str:
    """The name of the Job that the act makes.

    Raises:
        CannotPlan: there is no act that makes one.
    """
    name = situation.act.effect.get("name") if situation.act is not None else None
    if name is None:
        raise CannotPlan("there is no act that makes a Job", unknown=True)
    return str(name)


def _is_newer(run: JobRun, job: JobRun) -> bool:
    """Whether it was made later, or nobody can tell."""
    made, other = run.metadata.creation_timestamp, job.metadata.creation_timestamp
    return made is None or other is None or made >= other
