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


class JobRun(Struct, frozen=True):
    """A Job with the digest of its whole spec, which itself is let go when it is decoded: `env` may hold secrets."""

    metadata: Meta
    spec: Any = None
    status: JobStatus = JobStatus()
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
    def is_under_way(self) -> bool:
        """Whether it may still start or keep pods."""
        return self.failure is None and not self.is_complete

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
