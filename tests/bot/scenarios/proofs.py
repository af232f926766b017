"""What scenarios end with: nothing is under way any more, nothing was done, who was told what, and what is on record."""

import asyncio
import json
from dataclasses import replace

from bot.sandbox.kubernetes.incident import IMAGES, POOL
from bot.sandbox.kubernetes.resources import NODES, PODS
from bot.sandbox.slack import Message, Person, Workspace, mistakes
from bot.slack.jobs import AnyJob
from tests.bot.scenarios.office import PATIENCE, Office

IMAGE = f"{POOL}/{IMAGES[0]}"


async def quiet(office: Office) -> None:
    """Wait until nothing that was typed or clicked is taken, done or told any more."""
    async with asyncio.timeout(PATIENCE):
        # Neither bolt nor the database tells anybody when it is done.
        while _taken() or office.state.jobs.left(AnyJob) or office.state.messages.channels_behind():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def _taken() -> bool:
    """Whether bolt still runs a listener."""
    return any("run_ack_function" in str(task.get_coro()) for task in asyncio.all_tasks())


def shown_to_all(office: Office, channel: str = "") -> list[Message]:
    """What everybody sees, the oldest first."""
    return [m for m in office.workspace.messages(channel or office.channel) if m.ephemeral_to is None]


def told(office: Office, person: Person) -> list[str]:
    """What only this person was shown, the oldest first."""
    return [m.visible for m in office.workspace.messages(office.channel) if m.ephemeral_to == person.id]


def refused(office: Office, person: Person) -> str:
    """The refusal that only this person was shown last: it gives all the reasons that are on record."""
    said = told(office, person)[-1]
    assert "Refused:" in said, said
    event, who, reasons = on_record(office)[-1]
    assert "refused" in event
    assert who == office_id(office, person)
    assert reasons
    for reason in reasons:  # a very long one is cut, and ends in an ellipsis
        assert plain(reason)[:400] in plain(said), (reason, said)
    return said


def office_id(office: Office, person: Person) -> str:
    """By which id the configuration knows somebody."""
    known = (main for main, words in office.settings.people.items() if person.id in words.also)
    return next(known, person.id)


def on_record(office: Office) -> list[tuple[str, str, list[str]]]:
    """The refusals of the audit log: event, person, reasons."""
    rows = office.state.runbooks.audit_rows()
    assert office.state.runbooks.audit_fault() is None
    return [(row.event, row.person, json.loads(row.detail)["reasons"]) for row in rows if "refused" in row.event]


def plain(text: str) -> str:
    """The text without the signs that Slack's markup makes of it."""
    return " ".join(text.translate(str.maketrans("ˋ∗∼ˍ›", "`*~_>")).split())


def untouched(office: Office) -> None:
    """The cluster is as it was: no act was begun, no fence is there, the lock and every pod still are."""
    rows = office.state.runbooks.audit_rows()
    assert not [row.event for row in rows if row.event in ("running", "intent")]
    box = office.sandbox
    assert not box.ceph.fences
    assert lockers(office), "the lock is gone"
    store = box.api.registry.store
    assert not [node["metadata"]["name"] for node in store.all(NODES) if node["spec"].get("unschedulable")]
    assert {"index-api-5c9d8f7b6d-x7x2k", "index-api-5c9d8f7b6d-q4z8m"} <= {
        pod["metadata"]["name"] for pod in store.all(PODS, "search")
    }


def lockers(office: Office) -> list[str]:
    """Who holds the lock of the incident's image, as `client.N/cookie`."""
    with office.sandbox.ceph.lock:
        held = office.sandbox.ceph.object(POOL, "", f"{IMAGES[0]}.rbd").locks.values()
        return [each.name for info in held for each in info.lockers]


def forbid(office: Office, *resources: str) -> None:
    """Take the right to read these resources away from the identity that diagnoses."""
    access = office.sandbox.api.access
    kept = [
        replace(rule, resources=tuple(each for each in rule.resources if each not in resources))
        for rule in access._rules["diagnose"]
    ]
    access.grant("diagnose", kept)


def can_be_shown(workspace: Workspace) -> None:
    """Every message, in every state that it was ever in, is one that Slack shows; and every payload was answered."""
    assert workspace.protocol_errors == []
    for channel in workspace.state.channels:
        for message in workspace.messages(channel):
            for text, blocks in message.versions:
                assert text.strip(), f"notifications and screen readers get nothing of: {message.visible}"
                assert mistakes(blocks) == []
    for delivery in workspace.deliveries:
        assert delivery.error is None, delivery
        assert delivery.seconds is not None
        assert delivery.seconds < 3
