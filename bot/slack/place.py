"""Judges whether a click can be what it says it is: of a message of ours, where that is, about the plan that it showed.

Slack vouches for who clicks and where, not for what a button's value says: that came back from somebody's computer.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from bot.slack.desk import Desk
from bot.slack.words import Click
from bot.store.requests import Request
from runbooks.approval import Person
from runbooks.engine import Refusal
from runbooks.store import Execution

Body = Mapping[str, Any]
_LONGEST = 80  # characters of a forged id that are kept


@dataclass(frozen=True)
class Place:
    """Where an answer goes: a channel, or a thread there, of our own message `parent` or of somebody else's (`thread`)."""

    channel: str
    parent: int | None = None
    thread: str | None = None


def place_of(desk: Desk, body: Body) -> Place:
    """The place of what was clicked: where in a thread, that thread. It blocks."""
    channel, container = channel_of(body), {**(body.get("message") or {}), **(body.get("container") or {})}
    ts, thread = container.get("message_ts") or container.get("ts") or "", container.get("thread_ts")
    parent = desk.state.messages.thread_of(channel, ts)
    if parent is None and thread and thread != ts:
        parent = desk.state.places.message_at(channel, thread)
        if parent is None:
            return Place(channel, thread=thread)
    return Place(channel, parent=parent)


def channel_of(body: Body) -> str:
    """The channel that a click was made in; "" where Slack names none."""
    container = body.get("container") or {}
    channel: str = (body.get("channel") or {}).get("id") or container.get("channel_id") or ""
    return channel


async def insist_on_request(desk: Desk, click: Click, person: Person, channel: str, ts: str | None) -> Execution:
    """The execution that a click is about.

    Raises:
        Refusal: there is none, or the click is not of its message, its channel or its plan. It is on record.
    """
    try:
        execution = await asyncio.to_thread(desk.state.runbooks.get, click.execution)
    except KeyError:
        await refuse(desk, person, click.execution, [f"there is no execution {click.execution[:_LONGEST]!r}"])
    request = await asyncio.to_thread(desk.state.requests.get, execution.id)
    reasons = await asyncio.to_thread(_misplaced, desk, request, execution, channel, ts)
    if click.plan_hash != execution.plan.hash:
        reasons.append(f"the button is of another plan than {execution.id} has: use the one in its message")
    if reasons:
        await refuse(desk, person, execution.id, reasons)
    return execution


def _misplaced(desk: Desk, request: Request | None, execution: Execution, channel: str, ts: str | None) -> list[str]:
    if request is None:
        return [f"{execution.id} was not asked for in Slack: no message of it has a button"]
    if request.channel != channel:
        return [f"{execution.id} was asked for in another channel: decide there, where all who follow it can see it"]
    posted = desk.state.messages.get(request.message).ts
    if ts is not None and posted is not None and ts != posted:
        return [f"this is not the message of {execution.id}: use the button in that one"]
    return []


async def insist_on_plan(desk: Desk, click: Click, person: Person, channel: str) -> None:
    """Insist that a click on a plan is made where the plan is shown.

    Raises:
        KeyError: there is no such plan.
        Refusal: it is shown in another channel. It is on record.
    """
    shown = await asyncio.to_thread(desk.state.requests.shown, click.plan)
    if shown.channel != channel:
        await refuse(
            desk, person, shown.execution or "", [f"the plan {shown.id} is shown in another channel: ask there"]
        )


async def refuse(desk: Desk, person: Person, execution: str, reasons: list[str]) -> NoReturn:
    """Put a click that is not taken on record.

    Raises:
        Refusal: always.
    """
    record = desk.state.runbooks.record
    await asyncio.to_thread(record, "click refused", person.id, execution[:_LONGEST], {"reasons": reasons})
    raise Refusal("the click is not taken", reasons)
