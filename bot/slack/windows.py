"""The windows in which people type: in which input, what it becomes, and what must be typed, where that is known."""

from collections.abc import Callable
from dataclasses import dataclass

from bot.interventions import to_type
from bot.slack.jobs import AnyJob, Approve, Cancel, Deny, SayOfStep
from bot.slack.words import (
    APPROVAL_MODAL,
    ATTESTATION_MODAL,
    CANCEL_MODAL,
    CONFIRM_BLOCK,
    CONFIRM_INPUT,
    DENIAL_MODAL,
    SKIP_MODAL,
    WHY_BLOCK,
    WHY_INPUT,
    Click,
)
from runbooks.execution import Execution, Said


@dataclass(frozen=True)
class Window:
    """One window. `job` is made of who typed, the channel that it was opened from, the click, and what was typed."""

    name: str
    block: str
    input: str
    job: Callable[[str, str, Click, str], AnyJob]
    wanted: Callable[[Execution], str | None] = lambda _: None


def said(kind: Said, user: str, channel: str, click: Click, said: str = "", typed: str | None = None) -> SayOfStep:
    """The job of a word on the step that a click is about."""
    return SayOfStep(user, channel, click.execution, click.step, kind, said, typed, click.after)


def _approves(user: str, channel: str, click: Click, typed: str) -> Approve:
    return Approve(user, channel, click.execution, typed)


def _denies(user: str, channel: str, click: Click, typed: str) -> Deny:
    return Deny(user, channel, click.execution, typed)


def _attests(user: str, channel: str, click: Click, typed: str) -> SayOfStep:
    return said(Said.ATTESTED, user, channel, click, typed=typed)


def _skips(user: str, channel: str, click: Click, typed: str) -> SayOfStep:
    return said(Said.SKIP, user, channel, click, typed)


def _cancels(user: str, channel: str, click: Click, typed: str) -> Cancel:
    return Cancel(user, channel, click.execution, typed)


WINDOWS = (
    Window(APPROVAL_MODAL, CONFIRM_BLOCK, CONFIRM_INPUT, _approves, lambda execution: execution.plan.confirmation),
    Window(ATTESTATION_MODAL, CONFIRM_BLOCK, CONFIRM_INPUT, _attests, to_type),
    Window(DENIAL_MODAL, WHY_BLOCK, WHY_INPUT, _denies),
    Window(SKIP_MODAL, WHY_BLOCK, WHY_INPUT, _skips),
    Window(CANCEL_MODAL, WHY_BLOCK, WHY_INPUT, _cancels),
)
