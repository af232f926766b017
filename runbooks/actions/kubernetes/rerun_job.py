"""Make a new Job from a failed one's spec. The old Job stays, with its pods and their logs.

The spec may hold secrets (`env`), so that the plan keeps its digest alone; the act reads it again and makes nothing of
another one. The new name follows from the old Job's UID: a second attempt finds the name taken and makes no second Job.
The new Job is the one trace that the work was done again, so that it is made without `ttlSecondsAfterFinished`: it goes
only when somebody deletes it. It is written in one request, so that there is no part of the act that could be done alone.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from diagnostics.facts import NotSeen, Read
from diagnostics.facts.resources.runs import ORIGIN, JobRun, digest_of
from diagnostics.facts.runs import JOB_RUNS
from runbooks.actions import ActFailed, Action, Clients, Write
from runbooks.actions.outcomes import SETTLES, telling_outcome
from runbooks.guards.jobs import failed_job
from runbooks.model import Risk
from runbooks.situation import Planned, Situation

_LONGEST = 63  # a Job's name becomes a label of its pods
_RERUN = re.compile(r"-rerun-[0-9a-f]{8}$")
_NOT_TAKEN_ON = ("selector", "manualSelector", "ttlSecondsAfterFinished")
# What the Job controller itself puts on a Job's pods, to tell them from another one's.
_CONTROLLERS_LABELS = frozenset({
    "controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name",
})  # fmt: skip
MADE_FROM = "unstick/rerun-of"
"""The annotation of the new Job with the UID of the old one."""


def plan(situation: Situation, arguments: Mapping[str, Any]) -> Planned:  # noqa: ARG001 - the Job is the situation's
    """Plan to make the new Job.

    Raises:
        CannotPlan: there is no such Job, or it could not be read.
    """
    job = failed_job(situation)
    name = new_name(job.metadata.name, job.metadata.uid)
    return Planned(
        action="kubernetes.rerun_job",
        says=f"make Job {job.metadata.namespace}/{name} from {job.metadata.name}, which stays as it is",
        targets=(job.subject,),
        effect={"name": name, "sha256": job.sha256},
        risk=Risk.HIGH,
    )


def new_name(old: str, uid: str) -> str:
    """The name of the Job that is made from another one: of one Job there is only one."""
    ending = f"-rerun-{uid.replace('-', '')[:8]}"
    return f"{_RERUN.sub('', old)[: _LONGEST - len(ending)].rstrip('-.')}{ending}"


async def dry_run(planned: Planned, clients: Clients) -> None:
    """Ask the server whether it would take the new Job."""
    await _make(planned, clients, dry=True)


async def apply(planned: Planned, clients: Clients) -> None:
    """Make the new Job."""
    await _make(planned, clients, dry=False)


async def _make(planned: Planned, clients: Clients, *, dry: bool) -> None:
    source = planned.targets[0]
    with telling_outcome("read the Job", dry=True):  # a reading changes nothing
        old = await clients.api().read(source)
    if digest_of(old.get("spec")) != planned.effect["sha256"]:
        raise ActFailed(f"the spec of {source} is not the one that the plan was made from: plan it anew")
    with telling_outcome("make the Job", dry=dry):
        manifest = manifest_of(old, planned.effect["name"])
        await clients.api().create("Job", str(source.namespace), manifest, dry_run=dry)


def manifest_of(old: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The new Job: the old one's spec without what told its pods from others' or would let it vanish, and none of its
    own labels. Its annotations say from which Job it was made, and whose run that was.

    By labels a deployment tool may take a Job for its own, and delete it because nothing asks for it.
    """
    spec = {key: value for key, value in old["spec"].items() if key not in _NOT_TAKEN_ON}
    origin = msgspec.convert({"metadata": old["metadata"]}, JobRun, strict=False).origin
    template = spec["template"]
    meta = {key: value for key, value in (template.get("metadata") or {}).items() if key != "creationTimestamp"}
    labels = {key: value for key, value in (meta.get("labels") or {}).items() if key not in _CONTROLLERS_LABELS}
    return {
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {
            "name": name, "namespace": old["metadata"]["namespace"],
            "annotations": {
                MADE_FROM: old["metadata"]["uid"], ORIGIN: f"{origin.kind}/{origin.name}/{origin.uid}",
            },
        },
        "spec": {**spec, "template": {**template, "metadata": {**meta, "labels": labels}}},
    }  # fmt: skip


def done(planned: Planned, situation: Situation) -> bool | None:
    """Whether the new Job is there; None where Jobs were not seen. It does not vanish by itself once it was made."""
    seen = situation.snapshot[JOB_RUNS]
    if isinstance(seen, NotSeen):
        return None
    return any(run.metadata.name == planned.effect["name"] for run in seen.full)


ACTION = Action(
    risk=Risk.HIGH,
    parameters={"job": "job"},
    undo="a Job's work cannot be taken back",
    required=frozenset({"job"}),
    reads=(Read(JOB_RUNS),),
    writes=(Write("batch", "jobs", "get", "Job"), Write("batch", "jobs", "create", "Job")),
    guards=("object_unchanged", "job_has_failed", "no_other_run", "job_was_not_rerun"),
    plan=plan,
    apply=apply,
    done=done,
    settles=SETTLES,
    dry_run=dry_run,
)
