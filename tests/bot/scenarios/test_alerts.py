"""Alertmanager's alerts in Slack: a message a group, the diagnosis in its thread, and an end when they end."""

import copy
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bot.sandbox.kubernetes.incident import NAMESPACE, STUCK_POD
from bot.sandbox.slack import Workspace
from bot.sandbox.world import Sandbox
from bot.slack.alerts import subjects
from bot.store.alerts import Alert
from tests.bot.scenarios.hands import until
from tests.bot.scenarios.office import Office, listening, serving

TOKEN = "a-token-of-alertmanager"
FIRING: dict[str, Any] = {
    "version": "4",
    "groupKey": '{}:{alertname="KubePodNotReady"}',
    "truncatedAlerts": 0,
    "status": "firing",
    "receiver": "unstick",
    "groupLabels": {"alertname": "KubePodNotReady"},
    "commonLabels": {"alertname": "KubePodNotReady"},
    "commonAnnotations": {},
    "externalURL": "http://alertmanager.example",
    "alerts": [
        {
            "status": "firing",
            "labels": {
                "alertname": "KubePodNotReady",
                "namespace": NAMESPACE,
                "pod": STUCK_POD,
                "severity": "critical",
            },
            "annotations": {"summary": "Pod has been in a non-ready state for more than 15 minutes."},
            "startsAt": "2026-03-03T03:10:00Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "fingerprint": "f1",
        }
    ],
}
RESOLVED = copy.deepcopy(FIRING)
RESOLVED["status"] = RESOLVED["alerts"][0]["status"] = "resolved"


@pytest.fixture
async def office(sandbox: Sandbox, workspace: Workspace, tmp_path: Path) -> AsyncIterator[Office]:
    async with serving(sandbox, workspace, tmp_path, alert_token=TOKEN) as made:
        yield made


async def tell(office: Office, group: dict[str, Any], token: str = TOKEN) -> int:
    url = f"{await listening(office.server)}/alertmanager"
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as session, session.post(url, json=group, headers=headers) as answer:
        status = answer.status
    await until(lambda: office.state.counts.look().jobs == 0)
    return status


async def test_a_group_is_one_message_and_what_was_found_is_in_its_thread(office: Office) -> None:
    assert await tell(office, FIRING) == 200
    alert = await office.alice.sees(office.channel, "Firing: KubePodNotReady")
    told = await office.alice.sees(office.channel, "suspect")
    assert alert.thread_ts is None
    assert told.thread_ts == alert.ts
    assert len(office.state.incidents.open()) == 1
    assert office.state.incidents.open()[0].subject.name == STUCK_POD


async def test_the_same_told_again_says_nothing_new(office: Office) -> None:
    for _ in range(3):
        await tell(office, FIRING)
    await office.alice.sees(office.channel, "suspect")
    assert len(office.workspace.messages(office.channel)) == 2


async def test_without_the_token_nobody_tells_anything(office: Office) -> None:
    assert await tell(office, FIRING, "another") == 401
    assert office.workspace.messages(office.channel) == ()


async def test_resolved_alerts_resolve_their_message_and_have_the_incident_looked_at(office: Office) -> None:
    await tell(office, FIRING)
    await office.alice.sees(office.channel, "suspect")
    await tell(office, RESOLVED)
    await office.alice.sees(office.channel, "Resolved: KubePodNotReady")
    # The pod is still stuck: Alertmanager's word does not end what is seen to go on.
    assert len(office.state.incidents.open()) == 1


async def test_a_group_that_fires_again_after_its_end_is_told_of_anew(office: Office) -> None:
    for group in (FIRING, RESOLVED, FIRING):
        await tell(office, group)
    await office.alice.sees(office.channel, "Firing: KubePodNotReady")
    tops = [each for each in office.workspace.messages(office.channel) if each.thread_ts is None]
    assert len(tops) == 2


async def test_a_pod_that_is_not_there_is_said_not_to_be(office: Office) -> None:
    group = copy.deepcopy(FIRING)
    group["alerts"][0]["labels"]["pod"] = "nobody-0"
    await tell(office, group)
    told = await office.alice.sees(office.channel, "There is no Pod nobody-0")
    assert told.thread_ts is not None
    assert office.state.incidents.open() == ()


def alert(**labels: str) -> Alert:
    from datetime import UTC, datetime

    return Alert("firing", labels, {}, datetime(2026, 3, 3, tzinfo=UTC))


def test_the_subjects_are_the_pods_that_the_labels_name_each_once() -> None:
    found = subjects(
        (
            alert(pod="a-0", namespace="x"), alert(exported_pod="b-0", exported_namespace="y"),
            alert(pod="a-0", namespace="x", alertname="other"), alert(pod="../../secrets", namespace="x"),
            alert(pod="c-0"), alert(namespace="x", node="n"), alert(pod="", namespace="x"),
        )
    )  # fmt: skip
    assert [str(each) for each in found] == ["Pod x/a-0", "Pod y/b-0"]
