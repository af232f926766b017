"""The classification of one message: unwrap it, ask the rules in order, cut out the names."""

from diagnostics.causes.entities import names
from diagnostics.causes.model import Cause, Confidence, Rule
from diagnostics.causes.rules import RULES
from diagnostics.causes.wrappers import Parsed, parse


def classify(message: str, reason: str | None = None) -> Cause:
    """Name the cause of an event's or a log line's message; `reason` is the event's reason, where it is known.

    Never raises. What nothing known matches has the cause "unknown", and `why` says so; the message stays with the caller.
    """
    parsed = parse(message, reason)
    found = names(parsed.text, message)
    if rule := _first(parsed) or _first_unfolded(message, reason):
        return Cause(cause=rule.cause, confidence=rule.confidence, why=rule.why, entities=found)
    why = "No known error is in this message." if parsed.text else "The message is empty."
    return Cause(cause="unknown", confidence=Confidence.UNKNOWN, why=why, entities=found)


def _first(parsed: Parsed) -> Rule | None:
    return next((rule for rule in RULES if rule.holds(parsed)), None)


def _first_unfolded(message: str, reason: str | None) -> Rule | None:
    """The rule for a text that a terminal broke in the middle of words, as a copied log often is."""
    head, cut, tail = message.partition("\n")
    return _first(parse(head + tail.replace("\n", ""), reason)) if cut else None
