"""Which runbooks answer a finding, with their parameters filled in from its chain.

Offers are not filtered by guards: a plan that is refused explains itself, and that explanation is worth reading.
"""

from typing import TYPE_CHECKING

import msgspec

from diagnostics.model import Finding, Subject
from runbooks.model import ParameterKind
from runbooks.parameters import WORKLOADS

if TYPE_CHECKING:
    from runbooks.catalog import Library


class Offer(msgspec.Struct, frozen=True):
    """A runbook that answers a finding, and what it would be run with."""

    runbook: str
    version: str
    params: dict[str, str]


# Which link of a chain fills a parameter of which kind.
_FILLED_BY: dict[str, tuple[str, ...]] = {
    "rbd_image": ("RBDImage",), "rbd_locker": ("RBDLock",), "node": ("Node",), "pod": ("Pod",), "job": ("Job",),
    "volume_attachment": ("VolumeAttachment",), "workload": tuple(WORKLOADS.values()),
}  # fmt: skip


def offers(check: str, finding: Finding, library: "Library") -> tuple[Offer, ...]:
    """The runbooks that answer a check, or the cause that it found, and whose required parameters the chain fills.

    A chain with several lockers fills the first: a plan on it refuses, and says that there are several.
    """
    subjects = (*(link.subject for link in finding.chain), finding.subject)
    made = []
    for runbook in library.answering(check, finding.cause):
        params: dict[str, str] = {}
        for name, parameter in runbook.parameters.items():
            subject = next((s for s in subjects if s.kind in _FILLED_BY.get(parameter.kind, ())), None)
            if subject is not None:
                params[name] = _value(subject, parameter.kind)
        if all(name in params for name, p in runbook.parameters.items() if p.must_be_given):
            made.append(Offer(runbook.id, runbook.version, params))
    return tuple(made)


def _value(subject: Subject, kind: ParameterKind) -> str:
    named = f"{subject.namespace}/{subject.name}" if subject.namespace else subject.name
    return f"{subject.kind.lower()}/{named}" if kind == "workload" else named
