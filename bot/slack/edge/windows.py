"""What is filled in in windows: judged at once, beside the input where it is wrong, and then accepted."""

import asyncio
from collections.abc import Mapping
from typing import Any

from slack_bolt.async_app import AsyncAck

from bot.slack import commands as wanted
from bot.slack import jobs
from bot.slack.blocks import plan as plan_blocks
from bot.slack.blocks.modals import SNOOZES, About, run_modal, window_about
from bot.slack.commands import parse
from bot.slack.edge.commands import Asker, begin_run, book_of, take
from bot.slack.edge.core import Body, Edge, NotTaken
from bot.slack.edge.shortcuts import thread_of
from bot.slack.place import Place, insist_on_request, refuse
from bot.slack.windows import Window
from bot.slack.words import (
    PARAMETER_INPUT,
    PICK_BLOCK,
    PICK_INPUT,
    SNOOZE_BLOCK,
    SNOOZE_INPUT,
    SUBJECT_BLOCK,
    SUBJECT_INPUT,
    parameter_block,
)
from runbooks.model import Runbook
from runbooks.parameters import reason_against


class _Mistyped(Exception):
    """What was filled in cannot be meant: a sentence for each block."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(errors.values()))
        self.errors = dict(errors)


async def of_execution(window: Window, edge: Edge, ack: AsyncAck, body: Body) -> None:
    """Take what was typed in a window on an execution."""
    try:
        await edge.accepted(_typed(edge, window, body))
    except NotTaken as error:
        await _complain(ack, {window.block: str(error)})
    except _Mistyped as error:
        await _complain(ack, error.errors)
    else:
        await ack()


async def _typed(edge: Edge, window: Window, body: Body) -> None:
    user, desk = body["user"]["id"], edge.desk
    try:
        click, channel = plan_blocks.modal_click(body["view"])
    except ValueError as error:
        await refuse(desk, desk.person(user), "", [f"this is no window of Unstick: {error}"])
    await edge.insist_on_place(user, channel, diagnosis=False)
    execution = await insist_on_request(desk, click, desk.person(user), channel, None)
    typed = _value(body, window.block, window.input)
    meant = window.wanted(execution)
    if meant is not None and typed != meant:
        raise _Mistyped({window.block: f"Type {meant} exactly, or cancel."})
    await edge.worker.accept(window.job(user, channel, click, typed))


async def snoozes(edge: Edge, ack: AsyncAck, body: Body) -> None:
    """Keep an incident quiet for as long as was chosen."""

    async def chosen() -> None:
        user, desk = body["user"]["id"], edge.desk
        try:
            click, channel = plan_blocks.modal_click(body["view"])
            seconds = int(_value(body, SNOOZE_BLOCK, SNOOZE_INPUT))
        except ValueError as error:
            await refuse(desk, desk.person(user), "", [f"this is no window of Unstick: {error}"])
        await edge.insist_on_place(user, channel, diagnosis=False)
        if seconds not in [each for _, each in SNOOZES]:
            raise _Mistyped({SNOOZE_BLOCK: "Choose one of the times, or cancel."})
        incident = await asyncio.to_thread(desk.state.incidents.get, click.incident)
        await edge.worker.accept(jobs.Snooze(user, channel, incident.id, seconds))

    try:
        await edge.accepted(chosen())
    except NotTaken as error:
        await _complain(ack, {SNOOZE_BLOCK: str(error)})
    except _Mistyped as error:
        await _complain(ack, error.errors)
    else:
        await ack()


async def picks(edge: Edge, ack: AsyncAck, body: Body) -> None:
    """Go on from the choice of a runbook to what it must be told; one that takes nothing is asked for at once."""

    async def chosen() -> dict[str, Any] | None:
        about = await _about(edge, body)
        book = await book_of(edge, _value(body, PICK_BLOCK, PICK_INPUT))
        if book.parameters:
            return run_modal(book, {}, about)
        await begin_run(edge, _place(about), body["user"]["id"], book.name, (), about.cluster)
        return None

    try:
        view = await edge.accepted(chosen())
    except NotTaken as error:
        await _complain(ack, {PICK_BLOCK: str(error)})
        return
    if view is None:
        await ack()
    else:
        await ack(response_action="update", view=view)


async def runs(edge: Edge, ack: AsyncAck, body: Body) -> None:
    """Take a runbook's parameters; what cannot be one is said beside its input."""
    first = next((each["block_id"] for each in body["view"].get("blocks", ()) if each.get("type") == "input"), "")

    async def filled_in() -> None:
        about = await _about(edge, body)
        book = await book_of(edge, about.runbook)
        given = _parameters(book, body)
        params = tuple(f"{name}={value}" for name, value in given.items())
        await begin_run(edge, _place(about), body["user"]["id"], book.name, params, about.cluster)

    try:
        await edge.accepted(filled_in())
    except NotTaken as error:
        await _complain(ack, {first: str(error)})
    except _Mistyped as error:
        await _complain(ack, error.errors)
    else:
        await ack()


def _parameters(book: Runbook, body: Body) -> dict[str, str]:
    """What was filled in, as the runbook takes it.

    Raises:
        _Mistyped: some of it cannot be meant, or is missing.
    """
    given, errors = {}, {}
    for name, parameter in book.parameters.items():
        value = _value(body, parameter_block(name), PARAMETER_INPUT)
        if not value:
            if parameter.must_be_given:
                errors[parameter_block(name)] = f"Say which: {parameter.kind.replace('_', ' ')}."
        elif reason := reason_against(parameter, value):
            errors[parameter_block(name)] = f"{reason[:1].upper()}{reason[1:]}."[:2000]
        else:
            given[name] = value
    if errors:
        raise _Mistyped(errors)
    return given


async def diagnoses(edge: Edge, ack: AsyncAck, body: Body) -> None:
    """Look at what a message was said to be about, in its thread."""

    async def typed() -> None:
        about = await _about(edge, body, diagnosis=True)
        meant = parse(f"why {_value(body, SUBJECT_BLOCK, SUBJECT_INPUT)}")
        if not isinstance(meant, wanted.Why):
            raise _Mistyped({SUBJECT_BLOCK: "Write namespace/pod."})
        place = await asyncio.to_thread(thread_of, edge, about.channel, {"ts": about.thread})
        named = wanted.Why(meant.subject, meant.cluster or about.cluster)
        await take(edge, named, Asker(body["user"]["id"], place))

    try:
        await edge.accepted(typed())
    except NotTaken as error:
        await _complain(ack, {SUBJECT_BLOCK: str(error)})
    except _Mistyped as error:
        await _complain(ack, error.errors)
    else:
        await ack()


async def _about(edge: Edge, body: Body, *, diagnosis: bool = False) -> About:
    """What a window that asks for something new is about.

    Raises:
        Refusal: it carries nothing of ours, or is of a place where this is not done. It is on record.
    """
    user = body["user"]["id"]
    try:
        about = window_about(body["view"])
    except ValueError as error:
        await refuse(edge.desk, edge.desk.person(user), "", [f"this is no window of Unstick: {error}"])
    await edge.insist_on_place(user, about.channel, diagnosis=diagnosis)
    return about


def _place(about: About) -> Place:
    return Place(about.channel, thread=about.thread)


def _value(body: Body, block: str, action: str) -> str:
    """What was typed or chosen in an input; "" where nothing was."""
    held = ((body["view"].get("state") or {}).get("values") or {}).get(block, {}).get(action) or {}
    chosen = held.get("selected_option")
    value = chosen.get("value") if isinstance(chosen, dict) else held.get("value")
    return value.strip() if isinstance(value, str) else ""


async def _complain(ack: AsyncAck, errors: Mapping[str, str]) -> None:
    """Say in a window why what was filled in is not taken."""
    await ack(response_action="errors", errors=dict(errors))
