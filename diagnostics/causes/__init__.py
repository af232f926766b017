"""Event or log message -> cause: what a failure to mount, or to start a sandbox, means.

Pure: nothing is read, nothing is kept, no clock. Wrappers are parsed first, then the rules are asked in order, and what
none of them knows is `unknown`, never a guess. A classification must never raise and never take more than linear time.
"""

from collections.abc import Sequence

from diagnostics.causes.entities import names
from diagnostics.causes.meanings import MEANINGS
from diagnostics.causes.model import Cause, Confidence
from diagnostics.causes.rules import RULES
from diagnostics.causes.wrappers import parse

__all__ = ["MEANINGS", "Cause", "Confidence", "classify", "is_umbrella", "telling"]

_UMBRELLA = "mount-timeout-umbrella"


def classify(message: str, reason: str | None = None) -> Cause:
    """Name the cause of an event's or a log line's message; `reason` is the event's reason, where it is known.

    Never raises. What nothing known matches has the cause "unknown", and `why` says so; the message stays with the caller.
    """
    parsed = parse(message, reason)
    found = names(parsed.text, message)
    for rule in RULES:
        if rule.holds(parsed):
            return Cause(cause=rule.cause, confidence=rule.confidence, why=rule.why, entities=found)
    why = "No known error is in this message." if parsed.text else "The message is empty."
    return Cause(cause="unknown", confidence=Confidence.UNKNOWN, why=why, entities=found)


def is_umbrella(cause: Cause) -> bool:
    """Whether the cause only sums up a wait, so that a sibling event, or the lock, must tell the real one."""
    return cause.cause == _UMBRELLA


def telling(messages: Sequence[tuple[str, str | None]]) -> int | None:
    """The index of the event that tells most among sibling events, given as (message, reason), oldest first.

    A certain cause beats a likely one, that beats the umbrella, that beats unknown; among equals the newest is taken.
    None only for no messages at all.
    """
    ranked = [(_rank(classify(message, reason)), index) for index, (message, reason) in enumerate(messages)]
    return max(ranked)[1] if ranked else None


def _rank(cause: Cause) -> int:
    if is_umbrella(cause):
        return 1
    return {Confidence.UNKNOWN: 0, Confidence.LIKELY: 2, Confidence.CERTAIN: 3}[cause.confidence]
