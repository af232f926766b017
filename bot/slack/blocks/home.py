"""Renders the app's home: what is open, what waits for the reader's word, how the last report stood, who they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bot.access import Grant
from bot.answers import moment
from bot.reports import HealthReport
from bot.slack.blocks import kit, lists
from bot.slack.blocks.kit import Json
from bot.slack.blocks.lists import Linked
from bot.slack.blocks.text import SENTENCE, code, mention, words
from bot.slack.words import COMMAND, Button, Click
from runbooks.execution import Freeze
from runbooks.store import Execution

MOST_BLOCKS = 100  # of a view: docs.slack.dev/reference/views
_ROOM = 3 * kit.ROOM


@dataclass(frozen=True)
class Home:
    """What one person's home is made of. `waiting` are executions that this person could approve now, with their addresses.

    `hidden` counts open incidents of namespaces that they may not look into.
    """

    grant: Grant
    asked: str
    open_ones: Sequence[Linked]
    hidden: int
    waiting: Sequence[tuple[Execution, str | None]]
    reports: Sequence[HealthReport]
    frozen: Sequence[Freeze]
    now: datetime


def home(what: Home) -> dict[str, Any]:
    """The view."""
    blocks: list[Json] = [
        *kit.actions(kit.button(Button.REFRESH, Click())),
        *_frozen(what.frozen),
        kit.header(f"Open incidents: {len(what.open_ones)}"),
        *_incidents(what),
        kit.header(f"Waits for your approval: {len(what.waiting)}"),
        *_waiting(what),
        kit.header("Last report"),
        *_reports(what.reports),
        kit.header("You"),
        *lists.who(what.grant, what.asked).blocks,
        kit.context(f"As of {moment(what.now)} · {code(f'{COMMAND} help')} lists what you can ask"),
    ]
    return view(blocks)


def failure(sentence: str) -> dict[str, Any]:
    """The home where nothing can be read."""
    return view([*kit.actions(kit.button(Button.REFRESH, Click())), kit.section(f"⚠️ {words(sentence, 2 * SENTENCE)}")])


def view(blocks: list[Json]) -> dict[str, Any]:
    """A home tab of these blocks."""
    return {"type": "home", "blocks": blocks[:MOST_BLOCKS]}


def _frozen(frozen: Sequence[Freeze]) -> list[Json]:
    lines = [
        f"🧊 *Everything is stopped in cluster {words(each.cluster, 100)}* by {mention(each.person)} since {moment(each.at)}: "
        f"{words(each.why, SENTENCE)}"
        for each in frozen
    ]
    return kit.paragraphs(kit.fitting(lines, lambda n: f"🧊 and {n} more clusters are stopped"))


def _incidents(what: Home) -> list[Json]:
    lines = [lists.incident_line(each) for each in lists.worst_first(what.open_ones)] or ["🟢 No incident is open."]
    if what.hidden:
        lines.append(f"and {what.hidden} that you may not look into")
    return kit.paragraphs(kit.fitting(lines, lambda n: f"and {n} more", _ROOM))


def _waiting(what: Home) -> list[Json]:
    lines = [lists.execution_line(each, address) for each, address in what.waiting] or ["Nothing waits for your word."]
    return kit.paragraphs(kit.fitting(lines, lambda n: f"and {n} more", _ROOM))


def _reports(made: Sequence[HealthReport]) -> list[Json]:
    lines = [_headline(each) for each in made] or [f"No report was made yet: {code(f'{COMMAND} report')} makes one."]
    return kit.paragraphs(kit.fitting(lines, lambda n: f"and {n} more clusters"))


def _headline(report: HealthReport) -> str:
    if report.nothing_stuck:
        stands = "🟢 nothing is stuck"
    else:
        unknown = len(report.unseen) + len(report.unjudged)
        stands = f"{'🟠' if report.found else '❔'} {len(report.found)} found, {len(report.new)} of them new"
        stands += f"; {unknown} could not be judged" if unknown else ""
    return f"*{words(report.cluster, 100)}*  {stands}, {moment(report.taken_at)}"
