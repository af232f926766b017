"""The shortcut "Diagnose this" on somebody's message: what it names is looked at, in its thread."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from bot.sandbox.kubernetes.incident import NAMESPACE, STUCK_POD
from bot.sandbox.slack import Workspace
from bot.slack import manifest, subjects
from bot.slack.words import DIAGNOSE
from diagnostics.model import Subject
from tests.bot.scenarios.office import PATIENCE, Office
from tests.bot.scenarios.proofs import can_be_shown, on_record, quiet, refused, shown_to_all, told, untouched

DETAILS = f"""*Alert:* Pod is not ready - `warning`
*Details:*
  • *alertname:* `KubePodNotReady`
  • *container:* `api`
  • *namespace:* `{NAMESPACE}`
  • *pod:* `{STUCK_POD}`
  • *severity:* `warning`"""


@pytest.fixture(params=["socket", "http"])
def transport(request: pytest.FixtureRequest) -> str:
    """How Slack reaches the bot."""
    return str(request.param)


@pytest.fixture(autouse=True)
def _with_no_more_than_the_manifest_asks_for(workspace: Workspace) -> Iterator[None]:
    workspace.scopes = manifest.app_manifest()["oauth_config"]["scopes"]["bot"]
    yield
    can_be_shown(workspace)


def pod(namespace: str, name: str) -> Subject:
    return Subject("Pod", namespace, name, "")


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ({"text": DETAILS}, [pod(NAMESPACE, STUCK_POD)]),
        ({"text": f"Pod {NAMESPACE}/{STUCK_POD} has been in a non-ready state for longer than 15 minutes."},
         [pod(NAMESPACE, STUCK_POD)]),
        ({"text": f"kube_pod_status{{namespace=\"{NAMESPACE}\", pod=\"{STUCK_POD}\"}} 1"}, [pod(NAMESPACE, STUCK_POD)]),
        ({"text": "Labels:\n - namespace = a\n - pod = x-0\nLabels:\n - namespace = b\n - pod = y-0"},
         [pod("a", "x-0"), pod("b", "y-0")]),
        ({"text": "pod/x hangs, -n shop"}, [pod("shop", "x")]),
        ({"text": "why does pod/shop/x hang"}, [pod("shop", "x")]),
        ({"text": "", "attachments": [{"fields": [{"title": "namespace", "value": "a"}, {"title": "pod", "value": "x-0"}]}]},
         [pod("a", "x-0")]),
        ({"text": "", "attachments": [{"text": DETAILS}]}, [pod(NAMESPACE, STUCK_POD)]),
        ({"text": "", "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": DETAILS}}]}, [pod(NAMESPACE, STUCK_POD)]),
        ({"text": "look: <https://grafana.example/d/abc?ns=x|the board>, image mioss/index-api-image, run ceph/stale_rbd_lock"}, []),
        ({"text": "the namespace is odd and and/or broken 3/4"}, []),
        ({"text": STUCK_POD}, []),
        ({"text": "x" * 200_000 + " pod=" + "a" * 5000}, []),
    ],
)  # fmt: skip
def test_what_a_message_names_is_found(message: dict[str, Any], found: list[Subject]) -> None:
    assert list(subjects.find(message).subjects) == found


def test_a_message_that_names_thousands_costs_little() -> None:
    began = time.process_time()
    found = subjects.find({"text": "ns/a pod/b " * 3600})
    assert [str(each) for each in found.subjects] == ["Pod a/b"]
    assert time.process_time() - began < 0.4, "it is compared with all others, while the edge waits for the interpreter"


@pytest.mark.parametrize(
    ("text", "candidate"),
    [(f"{STUCK_POD} is stuck", STUCK_POD), ("in namespace search all is bad", "search/"), ("help me", ""),
     ("pod=x-0 and no more", "x-0")],
)  # fmt: skip
def test_what_is_not_certain_is_a_candidate(text: str, candidate: str) -> None:
    found = subjects.find({"text": text})
    assert (found.subjects, found.candidate) == ((), candidate)


async def test_an_alerts_pod_is_diagnosed_in_the_alerts_thread(office: Office) -> None:
    await office.workspace.posts_as_app(
        office.channel, "An alert", attachments=[{"title": "[FIRING:1] KubePodNotReady", "text": DETAILS}]
    )
    alert = shown_to_all(office)[-1]
    await office.carol.uses_shortcut(alert, DIAGNOSE)
    await quiet(office)
    incident = await office.carol.sees(office.channel, "ROOT CAUSE", PATIENCE)
    assert incident.thread_ts == alert.ts
    assert f"{NAMESPACE}/{STUCK_POD}" in incident.visible


async def test_of_many_three_are_looked_at_and_the_rest_is_counted(office: Office) -> None:
    names = "\n".join(f"- namespace = media\n- pod = reports-{n}" for n in range(5))
    await office.bob.says(office.channel, names)
    begun = shown_to_all(office)[-1]
    await office.bob.uses_shortcut(begun, DIAGNOSE)
    await quiet(office)
    answers = [m for m in shown_to_all(office) if m.thread_ts == begun.ts]
    assert len(answers) == 3
    assert "names 2 more" in told(office, office.bob)[-1]


async def test_where_nothing_is_named_a_window_asks_with_the_likeliest_word_in_it(office: Office) -> None:
    await office.bob.says(office.channel, f"{STUCK_POD} does not start, help")
    begun = shown_to_all(office)[-1]
    await office.bob.uses_shortcut(begun, DIAGNOSE)
    modal = await office.bob.sees_modal("names no pod")
    asked = next(each for each in modal.blocks if each["type"] == "input")
    assert asked["element"]["initial_value"] == STUCK_POD
    wrong = await office.bob.submits(modal, {"What is stuck?": "node/n1"})
    assert "pod/NAME" in next(iter(wrong.errors.values()))
    right = await office.bob.submits(modal, {"What is stuck?": f"{NAMESPACE}/{STUCK_POD}"})
    assert not right.errors
    await quiet(office)
    incident = shown_to_all(office)[-1]
    assert incident.thread_ts == begun.ts
    assert STUCK_POD in incident.visible
    untouched(office)


async def test_of_whom_slack_does_not_tell_the_workspace_is_of_the_one_it_was_sent_for(office: Office) -> None:
    await office.bob.says(office.channel, "hello")
    reply = await office.bob.uses_shortcut(shown_to_all(office)[-1], "somebody_elses")
    user = {name: value for name, value in reply.payload["user"].items() if name != "team_id"}
    before = len(on_record(office))
    await office.bob.replay({**reply.payload, "user": user})
    await quiet(office)
    assert len(on_record(office)) == before + 1


async def test_a_shortcut_that_is_none_of_ours_is_refused_and_on_record(office: Office) -> None:
    await office.bob.says(office.channel, "hello")
    await office.bob.uses_shortcut(shown_to_all(office)[-1], "somebody_elses")
    await quiet(office)
    assert "Unstick has no button or window 'somebody_elses'" in refused(office, office.bob)
    untouched(office)
