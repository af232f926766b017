"""The words that buttons and modals carry, there and back: what is rendered here is what a click is read by."""

import hashlib
from enum import StrEnum

import msgspec

from runbooks.offers import Offer

COMMAND = "/unstick"
APPROVAL_MODAL = "approval"
# The input of the approval modal, by which a critical plan's target is typed.
CONFIRM_BLOCK, CONFIRM_INPUT = "confirm", "typed"
DENIAL_MODAL = "denial"
WHY_BLOCK, WHY_INPUT = "why", "typed"
ATTESTATION_MODAL, SKIP_MODAL, CANCEL_MODAL = "attestation", "skip", "cancel"
# Which runbook, and what it is told: an input a parameter.
PICK_MODAL, PICK_BLOCK, PICK_INPUT = "pick", "runbook", "chosen"
RUN_MODAL, PARAMETER_INPUT = "run", "value"
SNOOZE_MODAL, SNOOZE_BLOCK, SNOOZE_INPUT = "snoozing", "for", "chosen"
DIAGNOSE_MODAL, SUBJECT_BLOCK, SUBJECT_INPUT = "diagnosing", "subject", "typed"
# The shortcut in the menu of a message.
DIAGNOSE, DIAGNOSE_LABEL = "diagnose", "Diagnose this"


class Button(StrEnum):
    """The buttons, by their action id."""

    WHY = "why"
    SHOW_EVIDENCE = "show_evidence"
    PLAN_FIX = "plan_fix"
    REQUEST_APPROVAL = "request_approval"
    APPROVE = "approve"
    DENY = "deny"
    WITHDRAW = "withdraw"
    DONE = "done"
    ATTEST = "attest"
    TRY_AGAIN = "try_again"
    SKIP = "skip"
    CANCEL = "cancel"
    ACK = "ack"
    SNOOZE = "snooze"
    REFRESH = "refresh"

    @property
    def label(self) -> str:
        """What people read on it."""
        return _LABELS[self]


_LABELS = {
    Button.WHY: "Why?", Button.SHOW_EVIDENCE: "Show evidence", Button.PLAN_FIX: "Plan fix",
    Button.REQUEST_APPROVAL: "Request approval", Button.APPROVE: "Approve", Button.DENY: "Deny",
    Button.WITHDRAW: "Withdraw", Button.DONE: "Done", Button.ATTEST: "Attest", Button.TRY_AGAIN: "Try again",
    Button.SKIP: "Skip", Button.CANCEL: "Cancel",
    Button.ACK: "Ack", Button.SNOOZE: "Snooze", Button.REFRESH: "Refresh",
}  # fmt: skip


class Click(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a button is about: ids of what the store keeps, never the thing itself. A message may be old.

    `offer` tells the runbooks of one incident apart; `pod` is `namespace/name`, of a finding that is no incident yet.
    `plan_hash` is of the plan that the message showed when it was drawn: a click means that one and no other. So do
    `step`, the step that waited for a word then, and `after`, how many words had been said by then. Who clicks is never
    in it: that is Slack's to say.
    """

    incident: str = ""
    offer: str = ""
    plan: str = ""
    plan_hash: str = ""
    execution: str = ""
    cluster: str = ""
    pod: str = ""
    step: str = ""
    after: int = 0


def value_of(click: Click) -> str:
    """What a button carries."""
    return msgspec.json.encode(click).decode()


def click_of(value: str) -> Click:
    """What a button carried.

    Raises:
        ValueError: it is no value of ours.
    """
    try:
        return msgspec.json.decode(value, type=Click)
    except msgspec.DecodeError:
        raise ValueError("the button carries nothing that Unstick wrote") from None


def parameter_block(name: str) -> str:
    """The block of a window in which a parameter is filled in."""
    return f"param-{name}"


def offer_name(offer: Offer) -> str:
    """A short name of an offer, the same in every look that makes the same offer."""
    words = [f"{offer.runbook}@{offer.version}", *(f"{k}={v}" for k, v in sorted(offer.params.items()))]
    return hashlib.sha256("\x00".join(words).encode()).hexdigest()[:12]
