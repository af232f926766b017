"""What Unstick attends to by itself: one message for one trouble, whoever notices it, however often it comes and goes."""

import asyncio
import copy
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bot import duties, timeline
from bot.incidents import Incident, IncidentState
from bot.sandbox.kubernetes.incident import NAMESPACE, STUCK_POD
from bot.sandbox.kubernetes.resources import PODS
from bot.sandbox.slack import Message, Workspace
from bot.sandbox.world import Sandbox
from bot.settings import ClusterSettings, SettingsError
from bot.slack import attention
from bot.slack.jobs import Ack, AnyJob, FollowUp, Notice, Snooze
from bot.wiring import Target
from diagnostics.model import Subject
from diagnostics.sources import CouldNotLook
from runbooks.database import StoreError
from tests.bot.scenarios.office import WHY, Office, serving
from tests.bot.scenarios.proofs import can_be_shown, forbid, on_record, quiet, refused, shown_to_all, told

POD = Subject("Pod", NAMESPACE, STUCK_POD, "")
HERE = {"sandbox": ClusterSettings()}


@pytest.fixture(autouse=True)
def nobody_else_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look is one that the test has made: the leader's own rounds go by real time."""
    monkeypatch.setattr(duties, "ROUND", 3600.0)


@pytest.fixture
async def office(sandbox: Sandbox, workspace: Workspace, tmp_path: Path) -> AsyncIterator[Office]:
    """The bot, serving a cluster that the configuration names."""
    async with serving(sandbox, workspace, tmp_path, clusters=HERE) as made:
        yield made


async def done(office: Office, *jobs: AnyJob) -> None:
    """Have jobs done, all at once."""
    await asyncio.gather(*(office.server.worker.accept(each) for each in jobs))
    await quiet(office)


def noticed(subject: Subject = POD, cluster: str = "sandbox") -> Notice:
    return Notice("", "", subject, cluster, "FailedMount")


async def attended(office: Office, seconds: float = 31) -> int:
    """Let time pass, and what is due then be looked at. The answer is how many were."""
    await office.sandbox.sleep(seconds)
    due = attention.due(office.state, office.sandbox.clock.now())
    await done(office, *(FollowUp("", "", each.id) for each in due))
    return len(due)


def only(office: Office) -> Incident:
    """The one incident that there is."""
    (found,) = office.state.incidents.recent(10)
    return found


def message(office: Office) -> Message:
    """The one message in the channel that is in no thread."""
    (found,) = [each for each in shown_to_all(office) if each.thread_ts in (None, each.ts)]
    return found


def notes(office: Office) -> list[str]:
    """What is in threads."""
    return [each.visible for each in shown_to_all(office) if each.thread_ts not in (None, each.ts)]


def pod_of(office: Office) -> dict[str, Any]:
    return copy.deepcopy(office.sandbox.api.registry.get(PODS, NAMESPACE, STUCK_POD))


def set_pod(office: Office, pod: dict[str, Any]) -> None:
    office.sandbox.api.registry.store.put(PODS, copy.deepcopy(pod))


def running(pod: dict[str, Any]) -> dict[str, Any]:
    """The same pod, while it runs."""
    made = copy.deepcopy(pod)
    state = {"ready": True, "started": True, "state": {"running": {"startedAt": "2026-03-03T03:19:00Z"}}}
    made["status"] |= {"phase": "Running"}
    made["status"]["containerStatuses"] = [{**each, **state} for each in made["status"]["containerStatuses"]]
    return made


async def test_a_stuck_pod_that_is_noticed_is_one_message_however_often_it_is_noticed(office: Office) -> None:
    await done(office, noticed(), noticed())
    first = message(office)
    assert first.visible.startswith(f"🔴 Critical: Pod {NAMESPACE}/{STUCK_POD}")
    assert "suspect" in first.visible
    await office.sandbox.sleep(31)
    await done(office, noticed())
    assert message(office).ts == first.ts
    assert notes(office) == []
    assert [each.who for each in office.state.incidents.events(only(office).id)] == ["unstick"]
    can_be_shown(office.workspace)


async def test_a_suspect_lock_becomes_stale_without_anybody_clicking(office: Office) -> None:
    await done(office, noticed())
    assert await attended(office, 5) == 0, "a second look within 30 s tells nothing new"
    assert await attended(office, 26) == 1
    assert "stale; no watcher" in message(office).visible
    assert "Plan fix" in message(office).buttons


async def test_whoever_asks_for_what_was_noticed_is_led_to_it(office: Office) -> None:
    await done(office, noticed())
    first = message(office)
    await office.alice.types(office.channel, WHY)
    await quiet(office)
    said = shown_to_all(office)
    assert [each.ts for each in said if "ROOT CAUSE" in each.visible] == [first.ts]
    assert "This is incident in-" in said[-1].visible


async def test_two_pods_of_one_root_that_are_noticed_at_once_are_one_message(office: Office) -> None:
    pods = [each.subject for each in replicas(office, 6)]
    await done(office, *(noticed(each) for each in pods))
    assert "and 5 more: search/" in message(office).visible
    assert {str(each) for each in only(office).subjects} == {str(each) for each in pods}


async def test_forty_pods_of_one_dead_node_are_one_incident_that_is_told_by_one_of_them(office: Office) -> None:
    pods = [each.subject for each in replicas(office, 40)]
    for each in pods:
        await done(office, noticed(each))
    first = message(office)
    assert len(only(office).subjects) == 40
    assert only(office).subject.name == pods[0].name, "its headline does not change with each"
    assert await attended(office) == 0, "forty looks every half minute would be many"
    assert await attended(office, 20) == 1
    assert message(office).ts == first.ts
    assert f"Pod search/{pods[0].name}" in message(office).visible
    assert notes(office) == []


class Replica:
    """A pod beside the stuck one that waits for the same volume."""

    def __init__(self, office: Office, number: int) -> None:
        pod = pod_of(office)
        del pod["metadata"]["ownerReferences"]  # no controller has a word on it
        pod["metadata"] |= {"name": f"index-api-5c9d8f7b6d-r{number:03}", "uid": f"uid-replica-{number}"}
        office.sandbox.api.registry.store.put(PODS, pod)
        self.subject = Subject("Pod", NAMESPACE, pod["metadata"]["name"], pod["metadata"]["uid"])


def replicas(office: Office, count: int) -> list[Replica]:
    return [Replica(office, number) for number in range(count)]


async def test_of_what_is_well_not_there_or_not_seen_nothing_is_said(office: Office) -> None:
    await done(office, noticed(Subject("Pod", "media", "reports-0", "")))
    await done(office, noticed(Subject("Pod", "media", "never-was", "")))
    forbid(office, "pods")
    await done(office, noticed())
    assert office.state.incidents.recent(10) == ()
    assert list(office.workspace.messages(office.channel)) == []


async def test_what_is_noticed_outside_of_the_watched_namespaces_is_dropped(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    watched = {"sandbox": ClusterSettings(namespaces=("media",))}
    async with serving(sandbox, workspace, tmp_path, clusters=watched) as office:
        await done(office, noticed(), noticed(cluster="elsewhere"))
        assert list(office.workspace.messages(office.channel)) == []
        assert office.state.incidents.recent(10) == ()


async def test_a_restart_in_between_posts_nothing_again(sandbox: Sandbox, workspace: Workspace, tmp_path: Path) -> None:
    async with serving(sandbox, workspace, tmp_path, clusters=HERE) as office:
        await done(office, noticed())
        first, incident = message(office), only(office)
    assert await workspace.changes.until(lambda: workspace.connections == 0 or None, 20)
    async with serving(sandbox, workspace, tmp_path, clusters=HERE) as office:
        await done(office, noticed())
        assert await attended(office) == 1
        assert (message(office).ts, only(office).id) == (first.ts, incident.id)
        assert "stale; no watcher" in message(office).visible
        assert notes(office) == []


async def test_it_is_resolved_by_itself_when_it_was_well_twice_with_time_between(office: Office) -> None:
    await done(office, noticed())
    stuck = pod_of(office)
    set_pod(office, running(stuck))
    await attended(office)
    assert only(office).state is IncidentState.OPEN
    assert "not found any more since" in message(office).visible
    await done(office, FollowUp("", "", only(office).id))
    assert only(office).state is IncidentState.OPEN, "a second look at once proves no more than the first"
    await attended(office)
    assert message(office).visible.startswith("🟢 Resolved")
    assert only(office).note == "looked at again: it is Running and waits for nothing"
    assert await attended(office, 300) == 0
    assert notes(office) == [], "it is told where it stands"


@pytest.mark.parametrize("between", ["stuck", "unseen"])
async def test_what_is_not_well_in_between_begins_anew(office: Office, between: str) -> None:
    await done(office, noticed())
    stuck, rules = pod_of(office), office.sandbox.api.access._rules["diagnose"]
    set_pod(office, running(stuck))
    await attended(office)
    if between == "stuck":
        set_pod(office, stuck)
    else:
        forbid(office, "pods")
    await attended(office)
    assert only(office).well_since is None
    office.sandbox.api.access.grant("diagnose", rules)
    set_pod(office, running(stuck))
    await attended(office)
    assert only(office).state is IncidentState.OPEN
    await attended(office)
    assert only(office).state is IncidentState.RESOLVED


async def come_and_gone(office: Office, stuck: dict[str, Any], times: int) -> None:
    """It is well for two looks, and stuck again."""
    for _ in range(times):
        set_pod(office, running(stuck))
        await attended(office)
        await attended(office)
        set_pod(office, stuck)
        await done(office, noticed())


async def test_what_comes_back_is_the_same_incident_and_says_so_in_its_thread(office: Office) -> None:
    await done(office, noticed())
    first, incident = message(office), only(office)
    await come_and_gone(office, pod_of(office), 1)
    again = only(office)
    assert (again.id, again.state, again.returns) == (incident.id, IncidentState.OPEN, 1)
    assert message(office).ts == first.ts
    assert message(office).visible.startswith("🔴 Critical")
    assert "came back once" in message(office).visible
    (note,) = notes(office)
    assert "Back again, 2nd time" in note
    assert [each.what for each in office.state.incidents.events(incident.id)] == ["opened", "resolved", "back again"]


async def test_what_flaps_is_told_three_times_and_stays_open_until_it_has_been_well_for_half_an_hour(
    office: Office,
) -> None:
    await done(office, noticed())
    stuck = pod_of(office)
    await come_and_gone(office, stuck, 5)
    assert only(office).flapping
    assert only(office).returns == 3, "from then on it stays open"
    assert len(notes(office)) == 3
    assert "It flaps" in notes(office)[-1]
    assert "flapping" in message(office).visible
    set_pod(office, running(stuck))
    for _ in range(5):
        await attended(office, 301)
    assert only(office).state is IncidentState.OPEN
    await attended(office, 301)
    await attended(office, 301)
    assert only(office).state is IncidentState.RESOLVED
    set_pod(office, stuck)
    await done(office, noticed())
    assert only(office).returns == 4
    assert len(notes(office)) == 3, "it flaps still: that is no news"


async def test_what_waits_in_the_place_of_a_pod_that_is_gone_takes_its_place_in_the_incident(office: Office) -> None:
    await done(office, noticed())
    first = message(office)
    office.sandbox.api.registry.delete(PODS, NAMESPACE, STUCK_POD, {"gracePeriodSeconds": 0})
    for _ in range(8):  # its controller makes another pod, which has a minute to start
        await attended(office)
    (subject,) = only(office).subjects
    assert subject.name != STUCK_POD
    assert only(office).state is IncidentState.OPEN
    assert message(office).ts == first.ts
    assert message(office).visible.startswith(f"🔴 Critical: Pod {NAMESPACE}/{subject.name}")


async def test_a_pod_that_is_gone_leaves_when_for_a_while_nothing_waits_in_its_place(office: Office) -> None:
    await done(office, noticed())
    registry = office.sandbox.api.registry
    alone = Replica(office, 7).subject
    set_pod(office, running(pod_of(office)))
    await done(office, noticed(alone))
    registry.delete(PODS, NAMESPACE, alone.name, {"gracePeriodSeconds": 0})
    for _ in range(3):
        await attended(office)
    assert [each.name for each in only(office).subjects] == [alone.name], "the other one runs"
    assert only(office).state is IncidentState.OPEN, "what comes in its place may be starting"
    for _ in range(5):
        await attended(office)
    assert only(office).state is IncidentState.RESOLVED
    assert "is gone, and nothing in its namespace waits for the same" in only(office).note


async def test_a_check_that_can_never_look_keeps_no_incident_of_a_pod_that_is_gone(office: Office) -> None:
    alone = Replica(office, 7).subject
    set_pod(office, running(pod_of(office)))
    for pod in office.sandbox.api.registry.store.all(PODS):
        if pod["metadata"]["namespace"] == NAMESPACE and pod["metadata"]["name"] != alone.name:
            set_pod(office, running({**pod, "status": {"containerStatuses": [], **pod["status"]}}))
    await done(office, noticed(alone))
    forbid(office, "daemonsets", "nodes")
    office.sandbox.api.registry.delete(PODS, NAMESPACE, alone.name, {"gracePeriodSeconds": 0})
    for _ in range(9):
        await attended(office)
    assert only(office).state is IncidentState.RESOLVED, "nobody there waits for anything"


async def test_many_pods_that_are_gone_are_one_scan_and_what_waits_there_is_looked_at_once(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    pods = [each.subject for each in replicas(office, 12)]
    await done(office, *(noticed(each) for each in pods))
    for each in pods:
        office.sandbox.api.registry.delete(PODS, NAMESPACE, each.name, {"gracePeriodSeconds": 0})
    real, scans = attention.run_checks, list[object]()

    async def counted(*args: Any) -> Any:
        scans.append(args)
        return await real(*args)

    monkeypatch.setattr(attention, "run_checks", counted)
    await attended(office)
    assert len(scans) == 1
    assert [each.name for each in only(office).subjects] == [STUCK_POD], "it waits for the same, and in their place"


async def test_where_there_is_no_time_for_all_that_wait_each_has_its_turn(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    pods = [each.subject for each in replicas(office, 12)]
    await done(office, *(noticed(each) for each in pods))
    real, looked, clock = attention.look_at_subject, list[str](), SimpleNamespace(seconds=0.0)
    clock.monotonic = lambda: clock.seconds

    async def slow(target: Target, state: Any, subject: Subject) -> Any:
        clock.seconds += 25
        looked.append(subject.name)
        return await real(target, state, subject)

    monkeypatch.setattr(attention, "look_at_subject", slow)
    monkeypatch.setattr(attention, "time", clock)
    for _ in range(12):
        await office.sandbox.sleep(2)
        await done(office, FollowUp("", "", only(office).id))
    assert len(looked) == 12 * 3, "a look at one of them costs 25 s, and it has 60"
    assert set(looked) == {each.name for each in pods}


async def test_what_was_told_into_a_channel_that_is_not_there_is_told_when_there_is_one(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    private = workspace.channel("private", bot=False)
    wrong = {"sandbox": ClusterSettings(channel=private)}
    async with serving(sandbox, workspace, tmp_path, clusters=wrong) as office:
        await done(office, noticed())
        assert shown_to_all(office, private) == []
        for _ in range(3):
            await attended(office)
        assert len(office.state.incidents.open()) == 1
    assert await workspace.changes.until(lambda: workspace.connections == 0 or None, 20)
    async with serving(sandbox, workspace, tmp_path, clusters=HERE) as office:
        for _ in range(3):
            await attended(office)
        assert message(office).visible.startswith(f"🔴 Critical: Pod {NAMESPACE}/{STUCK_POD}")
        assert only(office).channel == office.channel


async def test_an_incident_of_a_cluster_that_was_taken_out_of_the_configuration_ends_after_a_day(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    async with serving(sandbox, workspace, tmp_path, clusters=HERE) as office:
        await done(office, noticed())
    assert await workspace.changes.until(lambda: workspace.connections == 0 or None, 20)

    def none(name: str | None) -> Target:
        raise SettingsError(f"There is no cluster {name!r} in the configuration: it has other.")

    other = {"other": ClusterSettings()}
    async with serving(sandbox, workspace, tmp_path, clusters=other, target=none) as office:
        await attended(office)
        assert only(office).state is IncidentState.OPEN, "it may be a slip"
        sandbox.clock.forward(24 * 3600)
        await attended(office)
        assert only(office).state is IncidentState.RESOLVED
        assert only(office).note == "sandbox is not in the configuration any more, so that it is not looked at"


async def test_only_who_may_respond_takes_it_on_and_all_see_who_did(office: Office) -> None:
    await done(office, noticed())
    incident = only(office)
    await done(office, Ack(office.carol.id, office.channel, incident.id))
    assert "none of the roles responder, approver and admin" in refused(office, office.carol)
    assert only(office).acked_by is None
    assert "Ack" in message(office).buttons
    await done(office, Ack(office.alice.id, office.channel, incident.id))
    assert f"acked by @{office.alice.name}" in message(office).visible or office.alice.id in message(office).visible
    assert "Ack" not in message(office).buttons
    assert ("incident acked", office.alice.id) in office.events()
    await done(office, Ack(office.alice.id, office.channel, incident.id))
    assert [each.what for each in office.state.incidents.events(incident.id)] == ["opened", "acked"]
    await done(office, Ack(office.alice.id, office.channel, "in-00000000"))
    assert "in-00000000 is not acked" in refused(office, office.alice)


async def test_a_snoozed_incident_is_quiet_until_its_time_is_over_and_then_calls_whoever_snoozed_it(
    office: Office,
) -> None:
    await done(office, noticed())
    incident = only(office)
    await done(office, Snooze(office.carol.id, office.channel, incident.id, 3600))
    assert "is not snoozed" in refused(office, office.carol)
    await done(office, Snooze(office.bob.id, office.channel, incident.id, 3600))
    assert "snoozed by" in message(office).visible
    await come_and_gone(office, pod_of(office), 1)
    assert only(office).returns == 1
    assert message(office).visible.startswith("🔴 Critical"), "its message goes on"
    assert notes(office) == []
    await attended(office, 3000)
    assert notes(office) == []
    await attended(office, 600)
    (note,) = notes(office)
    assert "the snooze is over, and this is open still" in note
    assert office.bob.id in str([each.blocks for each in shown_to_all(office)][-1])
    await attended(office, 301)
    await attended(office, 301)
    assert len(notes(office)) == 1
    assert "snoozed by" not in message(office).visible


async def test_a_snooze_is_ended_by_a_snooze_of_nothing_and_is_never_longer_than_a_week(office: Office) -> None:
    await done(office, noticed())
    incident = only(office)
    await done(office, Snooze(office.alice.id, office.channel, incident.id, 8 * 24 * 3600))
    assert "7 days at most" in refused(office, office.alice)
    await done(office, Snooze(office.alice.id, office.channel, incident.id, 600))
    await done(office, Snooze(office.alice.id, office.channel, incident.id, 0))
    assert only(office).snoozed_until is None
    assert "snoozed by" not in message(office).visible
    await attended(office, 700)
    assert notes(office) == []
    said = [each.what for each in office.state.incidents.events(incident.id)]
    assert said == ["opened", "snoozed", "snooze ended"]
    assert [event for event, _ in office.events() if event.startswith("incident")] == [
        "incident snoozed", "incident snooze ended",
    ]  # fmt: skip


async def test_what_is_over_can_be_neither_acked_nor_snoozed(office: Office) -> None:
    await done(office, noticed())
    set_pod(office, running(pod_of(office)))
    await attended(office)
    await attended(office)
    incident = only(office)
    await done(office, Ack(office.alice.id, office.channel, incident.id))
    await done(office, Snooze(office.alice.id, office.channel, incident.id, 60))
    assert [reasons for _, _, reasons in on_record(office)] == [["it is resolved"]] * 2
    assert len(told(office, office.alice)) == 2


async def test_who_acks_it_elsewhere_is_led_to_its_message(office: Office) -> None:
    await done(office, noticed())
    other = office.workspace.channel("elsewhere")
    await done(office, Ack(office.alice.id, other, only(office).id))
    said = [each.visible for each in office.workspace.messages(other) if each.ephemeral_to == office.alice.id]
    assert "This is incident in-" in said[-1]


async def test_the_timeline_of_what_was_noticed_answered_and_fixed_has_all_of_it(office: Office) -> None:
    await done(office, noticed())
    await attended(office)
    incident = only(office)
    await done(
        office, Ack(office.carol.id, office.channel, incident.id), Ack(office.alice.id, office.channel, incident.id)
    )
    await office.alice.clicks(message(office), "Plan fix")
    await office.alice.clicks(await office.offered("Request approval"), "Request approval")
    await office.approved(await office.offered("Approve"))
    await office.carol.sees(office.channel, "Resolved:", 20)
    await quiet(office)
    assert only(office).state is IncidentState.RESOLVED, "the run has proved it: nobody waits for two looks"
    told = timeline.export(office.state, incident.id)
    alice, bob, execution = office.alice.id, office.bob.id, office.execution().id
    for said in (
        f"{alice}: acked", f"{alice}: asked for {execution}", f"{bob}: approved {execution}",
        f"(step fence of {execution}): done", f"(step clear of {execution}): done", "ended: done", "unstick: resolved:",
        "- From then to approval: ", "Node node1: Ready became Unknown",
    ):  # fmt: skip
        assert said.replace("_", "\\_") in told, said
    assert office.carol.id not in told, "a refusal is in the audit log, and nothing came of it"
    assert "it did not come to that" not in told


async def test_a_look_that_fails_is_no_news_in_any_channel_and_is_not_repeated_at_once(
    office: Office, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await done(office, noticed())
    before = message(office).visible
    set_pod(office, running(pod_of(office)))
    await attended(office)
    assert only(office).well_since is not None

    for failure in (CouldNotLook("the API server does not answer"), StoreError("The disk is full."), ValueError("x")):

        async def fails(*_: object, failure: Exception = failure) -> None:
            raise failure

        with monkeypatch.context() as patch:
            patch.setattr(attention, "look_at_subject", fails)
            await attended(office)
            await done(office, noticed(Subject("Pod", "media", "reports-0", "")))
        assert only(office).well_since is None, "nothing is known of what is in between"
        assert attention.due(office.state, office.sandbox.clock.now()) == ()
    assert message(office).visible.splitlines()[:3] == before.splitlines()[:3]
    assert len(list(office.workspace.messages(office.channel))) == 1
    assert "the API server does not answer" in caplog.text
    assert office.state.jobs.left(AnyJob) == ()
