"""All that the edge listens to, in one list: the manifest of the Slack app is made of it too."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from slack_bolt.async_app import AsyncAck

from bot.slack import jobs
from bot.slack.blocks import answers
from bot.slack.blocks import plan as plan_blocks
from bot.slack.edge import clicks, commands, home, mentions, shortcuts, windows
from bot.slack.edge.clicks import Take, doing, opening
from bot.slack.edge.core import Body, Edge
from bot.slack.place import refuse
from bot.slack.windows import WINDOWS, said
from bot.slack.words import (
    COMMAND,
    DIAGNOSE,
    DIAGNOSE_MODAL,
    PICK_MODAL,
    RUN_MODAL,
    SNOOZE_MODAL,
    Button,
)
from runbooks.database import StoreError
from runbooks.engine import Refusal
from runbooks.execution import Said

_log = logging.getLogger("unstick.slack")


@dataclass(frozen=True)
class Listener:
    """Something that Slack sends, and what takes it."""

    kind: Literal["command", "action", "view", "event", "shortcut"]
    name: str
    take: Callable[[Edge, AsyncAck, Body], Awaitable[None]]


def _button(button: Button, take: Take, *, diagnosis: bool = False) -> Listener:
    return Listener("action", button, partial(clicks.click, take, diagnosis))


LISTENERS = (
    Listener("command", COMMAND, commands.command),
    Listener("event", "app_mention", mentions.mention),
    Listener("event", "app_home_opened", home.opened),
    Listener("shortcut", DIAGNOSE, shortcuts.diagnose),
    Listener("action", Button.REFRESH, home.refresh),
    _button(Button.WHY, clicks.why, diagnosis=True),
    _button(Button.SHOW_EVIDENCE, clicks.show_evidence, diagnosis=True),
    _button(Button.PLAN_FIX, clicks.plan_fix),
    _button(Button.REQUEST_APPROVAL, clicks.request_approval),
    _button(Button.APPROVE, clicks.approve),
    _button(Button.DENY, opening(lambda execution, channel, _: plan_blocks.denial_modal(execution, channel))),
    _button(Button.WITHDRAW, doing(lambda user, channel, click: jobs.Withdraw(user, channel, click.execution))),
    _button(Button.DONE, doing(partial(said, Said.DONE))),
    _button(Button.ATTEST, opening(plan_blocks.attestation_modal)),
    _button(Button.TRY_AGAIN, doing(partial(said, Said.RETRY))),
    _button(Button.SKIP, opening(plan_blocks.skip_modal)),
    _button(Button.CANCEL, opening(lambda execution, channel, _: plan_blocks.cancel_modal(execution, channel))),
    _button(Button.ACK, clicks.ack_incident),
    _button(Button.SNOOZE, clicks.snooze_incident),
    *(Listener("view", window.name, partial(windows.of_execution, window)) for window in WINDOWS),
    Listener("view", SNOOZE_MODAL, windows.snoozes),
    Listener("view", PICK_MODAL, windows.picks),
    Listener("view", RUN_MODAL, windows.runs),
    Listener("view", DIAGNOSE_MODAL, windows.diagnoses),
)


async def unknown(edge: Edge, ack: AsyncAck, body: Body) -> None:
    """A button, window or shortcut that is none of ours: nothing of what it carries is read."""
    if "view" in body and "actions" not in body:
        await ack(response_action="clear")
    else:
        await ack()
    asked = str((body.get("actions") or [{}])[0].get("action_id") or (body.get("view") or body).get("callback_id"))
    reasons = [f"Unstick has no button or window {asked[:80]!r}"]
    try:
        await refuse(edge.desk, edge.desk.person(body["user"]["id"]), "", reasons)
    except StoreError as error:
        _log.error("a click could not be put on record: %s", error)
    except Refusal as refusal:
        if "view" not in body:
            await edge.whisper(body, answers.refusal(refusal.what, refusal.reasons))
