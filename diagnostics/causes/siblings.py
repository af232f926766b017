"""Which of several events of one pod, or one volume, tells most: the newest is not always the telling one.

Pure. Three things are weighed: how far an event names a fault, whether it only echoes or sums up what another event tells,
and whether a later event shows that its trouble is over.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import msgspec

from diagnostics.causes.classifier import classify
from diagnostics.causes.model import Cause, Confidence
from diagnostics.causes.wrappers import FAILURE_REASONS, parse

UMBRELLA = "mount-timeout-umbrella"

NOTHING, OVER, SUMMED_UP, NOT_KNOWN, LIKELY, CERTAIN = 0, 1, 2, 3, 10, 11
WEAK: Mapping[str, int] = MappingProxyType(
    {
        UMBRELLA: SUMMED_UP,
        "pvc-unbound": 4,  # what failed to provision or bind the claim tells more
        "kubelet-cache-sync": 5,  # usually passes by itself
        "csi-operation-in-flight": 6,  # the first call, which hangs, tells more
        "csi-rpc-timeout": 7,  # an error tells more than a call without an answer
        "container-runtime-stuck": 8,  # its time-outs stand around the errors of others
        "csi-driver-not-registered": 9,  # hides the older error of a plugin that is away, or restarts, now
    }
)
"""Causes that hide others, weakest first: any other cause, even a likely one, tells more than these."""

_ATTACHING = frozenset({"multi-attach", "attach-stuck", "attach-limit-exceeded"})
_ON_NODE = frozenset(
    {
        *("Scheduled", "SuccessfulAttachVolume", "FailedAttachVolume", "FailedMount", "FailedMapVolume"),
        *("FailedCreatePodSandBox", "Pulling", "Pulled", "Failed", "FailedSync"),
    }
)
_MOUNTING = ("mountvolume.mountdevice", "mountvolume.setup", "mapvolume.")


class Told(msgspec.Struct, frozen=True):
    """One event: its cause, its reason ("" where it has none), and the operation of the kubelet that it is about."""

    cause: Cause
    reason: str
    operation: str

    @property
    def volume(self) -> str:
        """The volume that it names, or ""."""
        return self.cause.entities.get("volume", "")

    def shows_as_over(self, earlier: "Told") -> bool:
        """Whether this later event could not be there if the earlier one's trouble lasted.

        A pod is on a node only once it was scheduled; a volume is mounted, or fails to, only once it was attached.
        """
        if earlier.reason == "FailedScheduling":
            return self.reason in _ON_NODE
        attached = self.reason == "SuccessfulAttachVolume" or self.operation.startswith(_MOUNTING)
        return attached and earlier.cause.cause in _ATTACHING and bool(self.volume) and self.volume == earlier.volume


def telling(messages: Sequence[tuple[str, str | None]]) -> int | None:
    """The index of the event that tells most among sibling events, given as (message, reason), oldest first.

    What names a fault for certain beats what likely names one; that beats what may hide another cause, an unknown failure,
    the umbrella, and last what is over or tells of no failure. Among equals the newest is taken. None only for no messages.
    """
    told = [_told(message, reason) for message, reason in messages]
    ranked = [(_rank(one, told[index + 1 :]), index) for index, one in enumerate(told)]
    return max(ranked)[1] if ranked else None


def _told(message: str, reason: str | None) -> Told:
    return Told(classify(message, reason), reason or "", parse(message, reason).operation)


def _rank(one: Told, later: Sequence[Told]) -> int:
    if one.cause.confidence is Confidence.UNKNOWN:
        return NOT_KNOWN if one.reason in FAILURE_REASONS else NOTHING
    if any(other.shows_as_over(one) for other in later):
        return OVER
    return WEAK.get(one.cause.cause) or {Confidence.LIKELY: LIKELY, Confidence.CERTAIN: CERTAIN}[one.cause.confidence]
