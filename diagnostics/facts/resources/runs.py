"""Jobs and CronJobs, as far as running a failed Job anew needs them. Of a Job's spec only what is named here is kept."""

import hashlib
from typing import Any

import msgspec

from diagnostics.facts.resources.meta import Condition, Meta, Struct
from diagnostics.facts.resources.workloads import JobSpec, JobStatus
from diagnostics.model import Subject


def digest_of(content: Any) -> str:
    """The sha256 of some JSON, whatever the order of its keys: it tells a change without keeping what may be secret."""
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()


class RunSpec(JobSpec, frozen=True):
    """What a Job was told. With `manualSelector` its pods are told apart by labels that somebody chose."""

    manual_selector: bool | None = None


ORIGIN = "unstick/origin"
"""The annotation of a Job that was made anew: whose run it is, as `KIND/NAME/UID` of a CronJob or of the first Job."""


class RunAnnotations(Struct, frozen=True):
    """The one annotation that tells whose run a Job is. Others are not kept."""

    origin: str | None = msgspec.field(name=ORIGIN, default=None)


class RunMeta(Meta, frozen=True):
    """Metadata of a Job that may have been made anew from another one."""

    annotations: RunAnnotations | None = None


class RunStatus(JobStatus, frozen=True):
    """How far a Job has come. `terminating` pods have been told to end, and may still be at work."""

    terminating: int | None = None


class JobRun(Struct, frozen=True):
    """A Job with the digest of its whole spec, which itself is let go when it is decoded: `env` may hold secrets."""

    metadata: RunMeta
    spec: Any = None
    status: RunStatus = RunStatus()
    told: RunSpec = RunSpec()
    sha256: str = ""

    def __post_init__(self) -> None:
        if self.spec is not None:
            msgspec.structs.force_setattr(self, "told", msgspec.convert(self.spec, RunSpec, strict=False))
            msgspec.structs.force_setattr(self, "sha256", digest_of(self.spec))
            msgspec.structs.force_setattr(self, "spec", None)

    @property
    def subject(self) -> Subject:
        """This Job as a subject."""
        return Subject("Job", self.metadata.namespace, self.metadata.name, self.metadata.uid)

    @property
    def named(self) -> str:
        """`namespace/name`."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def failure(self) -> Condition | None:
        """Its condition Failed while that is True: it is over."""
        return self._true("Failed")

    @property
    def is_complete(self) -> bool:
        """Whether it ended well."""
        return self._true("Complete") is not None

    @property
    def pods_left(self) -> int:
        """How many of its pods have not ended: a Job may be marked Failed before they have."""
        return (self.status.active or 0) + (self.status.terminating or 0)

    @property
    def is_under_way(self) -> bool:
        """Whether it may still start pods, or has some that have not ended."""
        return (self.failure is None and not self.is_complete) or self.pods_left > 0

    @property
    def origin(self) -> Subject:
        """Whose run it is: the CronJob that made it, or what the Job that it was made from was a run of; else itself."""
        owner, meta = self.metadata.controller, self.metadata
        if owner is not None and owner.kind == "CronJob":
            return Subject("CronJob", meta.namespace, owner.name, owner.uid)
        kind, name, uid = (*((meta.annotations and meta.annotations.origin) or "").split("/"), "", "", "")[:3]
        return Subject(kind, meta.namespace, name, uid) if kind in ("CronJob", "Job") and name and uid else self.subject

    def _true(self, word: str) -> Condition | None:
        return next((c for c in self.status.conditions or () if c.type == word and c.status == "True"), None)


class CronJobSpec(Struct, frozen=True):
    """Whether runs may overlap (`Allow`, `Forbid`, `Replace`), and whether it makes any now."""

    concurrency_policy: str = "Allow"
    suspend: bool | None = None


class CronJob(Struct, frozen=True):
    """A CronJob."""

    metadata: Meta
    spec: CronJobSpec = CronJobSpec()

    @property
    def subject(self) -> Subject:
        """This CronJob as a subject."""
        return Subject("CronJob", self.metadata.namespace, self.metadata.name, self.metadata.uid)
