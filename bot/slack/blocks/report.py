"""A health report as people read it in Slack: short where nothing changed, exact where something could not be seen.

It must never say that nothing is stuck when something could not be looked at.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from bot.reports import Blind, HealthReport, LockCount, Trouble
from bot.slack.blocks.answers import SEVERITIES
from bot.slack.blocks.answers import told as named_once
from bot.slack.blocks.kit import SENTENCE, content, context, fitting, paragraphs, section
from bot.slack.blocks.text import code, cut, escaped
from bot.slack.words import COMMAND
from bot.store.messages import Content
from diagnostics.model import lasting, quoted

_MOST = 20
_MOST_LOCKS = 5
_LONGEST_NAME = 100
_LONGEST_SMALL_PRINT = 1000
_WORTH_TELLING = timedelta(minutes=1)


def report(what: HealthReport, name: str) -> Content:
    """The message of a report called `name`, such as `Schedule morning`. Within Slack's limits, whatever the report holds."""
    headline = f"Health of {_short(what.cluster, _LONGEST_NAME)}{_within(what)}: {_headline(what)}"
    return content(
        headline,
        section(f"{_mark(what)} *{headline}*"),
        _areas(what),
        _part("New", [_found(trouble) for trouble in what.new], room=2400),
        _part("Changed", [_noted(trouble) for trouble in what.changed], room=1500),
        _part("Resolved", [_plain(trouble) for trouble in what.resolved], room=1500),
        _part("Could not be judged this time", _unjudged(what), room=1500),
        _part("Could not be looked at", _blind(what.unseen), room=1800),
        _part("Still there", [_aged(trouble, what.taken_at) for trouble in what.still], room=800),
        _locks(what.locks),
        context(cut(_small_print(what, name), _LONGEST_SMALL_PRINT)),
    )


def _mark(what: HealthReport) -> str:
    """How it stands at a glance: the worst that was found, else whether all could be seen."""
    worst = max((trouble.severity for trouble in what.found), key=lambda severity: severity.rank, default=None)
    return SEVERITIES[worst] if worst else "🟢" if what.nothing_stuck else "❔"


def _within(what: HealthReport) -> str:
    """Where was looked, if not everywhere."""
    if not what.namespaces:
        return ""
    named = _short(quoted(what.namespaces), _LONGEST_NAME)
    return f", {'namespace' if len(what.namespaces) == 1 else 'namespaces'} {named} only"


def _headline(what: HealthReport) -> str:
    """What the report comes to, in one line."""
    counts = [
        f"{len(told)} {word}"
        for told, word in (
            (what.new, "new"), (what.changed, "changed"), (what.resolved, "resolved"), (what.still, "as before"),
        ) if told
    ]  # fmt: skip
    if unjudged := len(what.unjudged) + what.forgotten:
        counts.append(f"{unjudged} not judged")
    if what.nothing_stuck:
        return ", ".join(("nothing is stuck", *counts))
    partly = sum(blind.partly for blind in what.unseen)
    blind = [f"{_checks(len(what.unseen) - partly)} could not look"] * (len(what.unseen) > partly)
    blind += [f"{_checks(partly)} saw only a part"] * (partly > 0)
    if not what.checks and not what.unseen:
        blind = ["nothing was looked at"]
    return "; ".join(filter(None, (", ".join(counts), ", ".join(blind))))


def _checks(count: int) -> str:
    return f"{count} check" if count == 1 else f"{count} checks"


def _part(title: str, lines: list[str], room: int) -> list[dict[str, Any]]:
    """One part of the message; none where there is nothing to say. What does not fit is counted."""
    if not lines:
        return []
    return paragraphs([f"*{title}*", *fitting(lines, _more, room, _MOST)])


def _more(left: int) -> str:
    return f"… and {left} more: open the report in the thread"


def _areas(what: HealthReport) -> list[dict[str, Any]]:
    """What was found in each area, on one line; areas in which nothing was found are only named."""
    told = [
        f"{escaped(area.area)} *{area.found}*" + (f" ({area.critical} critical)" if area.critical else "")
        for area in what.areas if area.found
    ]  # fmt: skip
    quiet = [escaped(area.area) for area in what.areas if not area.found and not area.blind]
    lines = [" · ".join(told)] * bool(told) + [f"nothing in {', '.join(quiet)}"] * bool(quiet)
    return [context(cut("; ".join(lines), _LONGEST_SMALL_PRINT))] if lines else []


def _locks(locks: LockCount | None) -> list[dict[str, Any]]:
    """The inventory of locks, and those that are worth a look."""
    if locks is None or not (locks.verdicts or locks.unread):
        return []
    verdicts = ", ".join(f"{count} {escaped(verdict)}" for verdict, count in sorted(locks.verdicts.items()))
    title = f"RBD locks: {verdicts or 'none seen'}"
    lines = [f"• {_short(line)}" for line in locks.worth_a_look[:_MOST_LOCKS]]
    if left := len(locks.worth_a_look) - len(lines):
        lines.append(_more(left))
    lines += [f"❔ could not be read: {_short(line)}" for line in locks.unread[:_MOST_LOCKS]]
    return paragraphs([f"*{title}*", *fitting(lines, _more, 1200)])


def _short(text: str, limit: int = SENTENCE) -> str:
    """Other people's words, short and escaped; an escape may make six characters of one."""
    return cut(escaped(cut(text, limit)), 2 * limit)


def _plain(trouble: Trouble) -> str:
    return f"• {_sentence(trouble)}"


def _found(trouble: Trouble) -> str:
    return f"{SEVERITIES[trouble.severity]} {_sentence(trouble)}"


def _sentence(trouble: Trouble) -> str:
    subject, limit = trouble.subject, 2 * SENTENCE
    return _short(
        named_once(msgspec.structs.replace(subject, name=cut(subject.name, SENTENCE)), trouble.summary), limit
    )


def _noted(trouble: Trouble) -> str:
    return f"{_found(trouble)} ({_short(trouble.note)})"


def _aged(trouble: Trouble, now: datetime) -> str:
    """What is still there: shortly, since everybody was told."""
    age = now - trouble.first_seen
    return _found(trouble) + (f" (for {lasting(age)})" if age >= _WORTH_TELLING else "")


def _unjudged(what: HealthReport) -> list[str]:
    """What was found earlier and may be there yet, by what kept the look from it."""
    told = [f"{_plain(trouble)} ({_short(trouble.note)})" for trouble in what.unjudged]
    if what.forgotten:
        told.insert(0, f"• {what.forgotten} found earlier could not be judged for long, and are not followed any more")
    return told


def _blind(unseen: Iterable[Blind]) -> list[str]:
    """Each reason once, with the checks that it blinds."""
    checks: dict[str, list[str]] = {}
    for blind in unseen:
        checks.setdefault(blind.reason, []).append(f"{_short(blind.check)}{' (in part)' if blind.partly else ''}")
    return [f"• {cut(quoted(blinded), 2 * SENTENCE)}: {_short(reason)}" for reason, blinded in checks.items()]


def _small_print(what: HealthReport, name: str) -> str:
    """How much was looked at, what is not configured, what it was compared with, and how to ask further."""
    read = ", ".join(f"{count} {escaped(kind)}" for kind, count in sorted(what.scanned.items()) if count)
    looked = f"{_checks(what.checks)} looked at {read or 'all they look at'}" if what.checks else "no check could look"
    told = [_short(name, _LONGEST_NAME), looked]
    if what.skipped:
        reasons = "; ".join(dict.fromkeys(blind.reason for blind in what.skipped))
        told.append(f"not configured for {_checks(len(what.skipped))}: {_short(reasons)}")
    told.append(f"compared with {what.since:%Y-%m-%d %H:%M} UTC" if what.since else "the first report")
    pod = next((t.subject for t in (*what.new, *what.changed, *what.still) if t.subject.kind == "Pod"), None)
    if pod is not None:
        told.append(f"ask {code(f'{COMMAND} why pod/{pod.name} -n {pod.namespace}')}")
    return " · ".join(told)
