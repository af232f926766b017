"""An incident's message: the chain from the symptom to the root, what can be done now, and how it goes on."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from bot.incidents import Incident, IncidentState
from bot.slack.blocks.incident import evidence, incident
from bot.slack.blocks.progress import Run
from bot.slack.words import Button, Click, offer_name
from diagnostics.model import Change, Evidence, Link, Status, Subject
from runbooks.events import Say
from runbooks.offers import Offer
from runbooks.store import State
from tests.bot.slack.blocks.rendered import buttons, clicks, shown, sound
from tests.bot.slack.blocks.story import POD, Story

NOW = datetime(2026, 3, 3, 3, 20, tzinfo=UTC)


def made(story: Story, **changed: Any) -> Incident:
    """The incident of the story; `finding` are changes of its finding."""
    finding = msgspec.structs.replace(story.second.finding, **changed.pop("finding", {}))
    answer = msgspec.structs.replace(story.second, finding=finding, **changed.pop("answer", {}))
    found = Incident("in-1a2b3c4d", "sandbox", POD, answer, IncidentState.OPEN, "C1", 7, NOW, NOW)
    return msgspec.structs.replace(found, **changed)


def as_state(run: Run, state: State, reason: str = "") -> Run:
    return replace(run, execution=msgspec.structs.replace(run.execution, state=state, reason=reason))


def test_the_chain_is_told_from_the_symptom_to_the_root_cause_a_line_a_link(story: Story) -> None:
    told = sound(incident(made(story), None))
    lines = shown(told).splitlines()
    links = [line for line in lines if line.startswith(("↓", "➡️"))]
    assert len(links) == len(story.second.finding.chain)
    assert "FailedMount" in links[0]
    assert links[-1].startswith("➡️  *ROOT CAUSE*  Node node1 is down")
    assert lines[0] == f"🔴 Critical: Pod {POD.namespace}/{POD.name}"


def test_its_evidence_is_behind_a_button_and_not_in_the_message(story: Story) -> None:
    told = sound(incident(made(story), None))
    proofs = [proof.text for link in story.second.finding.chain for proof in link.evidence]
    assert proofs
    assert not any(proof in shown(told) for proof in proofs)
    assert clicks(told, Button.SHOW_EVIDENCE) == clicks(told, Button.WHY) == [Click(incident="in-1a2b3c4d")]


def test_one_offer_is_one_button_that_names_it(story: Story) -> None:
    told = sound(incident(made(story), None))
    (offer,) = story.second.offers
    assert clicks(told, Button.PLAN_FIX) == [Click(incident="in-1a2b3c4d", offer=offer_name(offer))]
    assert buttons(told) == ["Plan fix", "Show evidence", "Why?", "Ack", "Snooze"]
    assert "`ceph/stale_rbd_lock@1.0.0`" in shown(told)


def test_several_offers_say_beside_each_button_which_runbook_it_is(story: Story) -> None:
    offers = tuple(Offer(f"ceph/way_{n}", "1.0.0", {"node": f"node{n}"}) for n in range(9))
    told = sound(incident(made(story, answer={"offers": offers}), None))
    beside = {b["text"]["text"]: b["accessory"]["value"] for b in told.blocks if "accessory" in b}
    assert list(beside)[1] == "Runbook `ceph/way_1@1.0.0` node=node1"
    assert offer_name(offers[1]) in beside["Runbook `ceph/way_1@1.0.0` node=node1"]
    assert len(beside) == 5
    assert "and 4 more: `unstick why`" in shown(told)


def test_the_last_link_is_no_root_cause_while_something_was_not_seen(story: Story) -> None:
    told = shown(sound(incident(made(story, finding={"unseen": ("nodes: forbidden",)}), None)))
    assert "*AS FAR AS COULD BE SEEN*  Node node1" in told
    assert "ROOT CAUSE" not in told
    assert "*not seen*: nodes: forbidden" in told


def test_what_was_not_seen_is_counted_where_it_is_too_much(story: Story) -> None:
    unseen = tuple(f"check {n}: " + "no answer " * 30 for n in range(300))
    told = shown(sound(incident(made(story, finding={"unseen": unseen}), None)))
    listed = told.count("*not seen*: check")
    assert listed >= 3
    assert f"*not seen*: and {300 - listed} more" in told


def test_the_root_cause_is_told_however_long_the_chain_is(story: Story) -> None:
    links = tuple(Link(Subject("Pod", "a", f"p{n}", ""), "waits " * 40) for n in range(60))
    root = Link(Subject("Node", None, "node9", ""), "is down")
    told = shown(sound(incident(made(story, finding={"chain": (*links, root)}), None)))
    assert "more links: *Show evidence*" in told
    assert "➡️  *ROOT CAUSE*  Node node9 is down" in told


def test_a_look_that_could_see_nothing_does_not_pass_for_an_all_clear(story: Story) -> None:
    told = sound(incident(made(story, answer={"status": Status.UNKNOWN}), None))
    assert told.text.startswith("❔ Unknown")
    assert "🟢" not in shown(told)


@pytest.mark.parametrize("state", [State.WAITING, State.APPROVED, State.RUNNING, State.IN_DOUBT])
def test_no_second_fix_is_planned_beside_an_open_one(story: Story, state: State) -> None:
    told = sound(incident(made(story), as_state(story.waiting, state)))
    assert clicks(told, Button.PLAN_FIX) == []
    assert story.waiting.execution.id in shown(told)


@pytest.mark.parametrize("state", [State.DENIED, State.VOID, State.FAILED])
def test_another_fix_can_be_planned_once_the_last_one_is_over(story: Story, state: State) -> None:
    told = sound(incident(made(story), as_state(story.waiting, state, "the node is back")))
    assert len(clicks(told, Button.PLAN_FIX)) == 1
    assert "the node is back" in shown(told)


def test_a_request_that_nobody_answered_in_time_stands_in_nobodys_way(story: Story) -> None:
    late = replace(story.waiting, now=story.waiting.execution.plan.expires)
    told = sound(incident(made(story), late))
    assert "*Expired*" in shown(told)
    assert len(clicks(told, Button.PLAN_FIX)) == 1


def test_the_execution_is_followed_step_by_step(story: Story) -> None:
    assert "*Waits for approval* until" in shown(incident(made(story), story.waiting))
    fenced = next(r for r in story.runs if any(s.step == "fence" and s.say is Say.DONE for s in r.steps))
    told = shown(sound(incident(made(story), fenced)))
    assert "*Running*, 3 of 8 steps done, approved by <@U0BOB>" in told
    assert "✅ *fence*" in told
    assert "▫️ *unlock*" in told


def test_resolved_says_so_and_offers_no_fix_but_keeps_what_stays(story: Story) -> None:
    over = made(story, state=IncidentState.RESOLVED, note="looked at again: it is Running")
    told = sound(incident(over, story.runs[-1]))
    lines = shown(told).splitlines()
    assert lines[:2] == [
        f"🟢 Resolved: Pod {POD.namespace}/{POD.name}",
        "*looked at again: it is Running*",
    ]
    assert shown(told).count("Resolved") == 1
    assert clicks(told, Button.PLAN_FIX) == []
    assert "*Done*, 8 of 8 steps done" in shown(told)
    assert "📌 *unfence*  The fence stays." in shown(told)
    assert "it is Running" in told.text


def test_what_else_waits_for_the_same_root_is_counted_and_named(story: Story) -> None:
    own = story.second.finding.subject
    others = tuple(Subject("Pod", "billing", f"ledger-{n}", "") for n in range(9))
    told = sound(incident(made(story, subjects=(others[0], own, others[1])), None))
    assert "and 2 more: billing/ledger-0, billing/ledger-1" in shown(told)
    assert "and 2 more" in told.text
    assert "and 9 more: billing/ledger-0" in shown(sound(incident(made(story, subjects=(own, *others)), None)))
    alone = shown(incident(made(story, subjects=(own,)), None))
    assert not re.search(r"and \d+ more: ", alone)


def test_what_else_was_found_on_the_way_is_told_while_the_incident_is_open(story: Story) -> None:
    answer = msgspec.structs.replace(story.second, beside=("Deployment search/x starts the new pod first",))
    open_one = shown(sound(incident(msgspec.structs.replace(made(story), answer=answer), None)))
    assert "found beside it: Deployment search/x starts the new pod first" in open_one
    over = msgspec.structs.replace(made(story), answer=answer, state=IncidentState.RESOLVED)
    assert "found beside it" not in shown(sound(incident(over, None)))


def test_of_a_pod_that_left_only_the_root_is_told_and_nothing_is_planned_for_it(story: Story) -> None:
    other = Subject("Pod", "billing", "ledger-0", "u")
    told = sound(incident(made(story, subject=other, subjects=(other,)), None))
    assert shown(told).splitlines()[0] == "🔴 Critical: Pod billing/ledger-0"
    assert "found to wait for the same as Pod search/" in shown(told)
    assert "➡️  Node node1 is down" in shown(told)
    assert "FailedMount" not in shown(told)
    assert buttons(told) == ["Show evidence", "Why?", "Ack", "Snooze"]
    assert "FailedMount" not in shown(sound(evidence(made(story, subject=other))))


def test_the_evidence_is_as_of_the_look_that_found_it_however_late_it_is_shown(story: Story) -> None:
    over = made(story, state=IncidentState.RESOLVED, note="it runs", updated=NOW + timedelta(days=3))
    told = sound(evidence(over))
    assert story.second.looked is not None
    when = f"{story.second.looked:%Y-%m-%dT%H:%M:%SZ}"
    assert f"as of the last look that found it, {when}" in shown(told)
    assert "2026-03-06" not in shown(told)


def test_the_evidence_has_every_proof_under_its_link(story: Story) -> None:
    told = shown(sound(evidence(made(story))))
    assert "*Node node1 is down: Ready=Unknown" in told
    assert "rbd watchers of mioss/index-api-image: none" in told
    assert "its message: MountVolume.SetUp failed" in told
    assert "*What changed lately*" in told
    assert "2026-03-03T03:07:45Z  Node node1: Ready became Unknown" in told


def test_evidence_that_does_not_fit_is_counted(story: Story) -> None:
    link = Link(POD, "waits", tuple(Evidence("event", f"{n} " + "x" * 900) for n in range(400)))
    changes = tuple(Change(NOW - timedelta(hours=n), POD, "changed " * 50) for n in range(100))
    told = shown(
        sound(evidence(made(story, finding={"chain": (link,), "unseen": ("Ceph: no",)}, answer={"changes": changes})))
    )
    assert "more lines: `unstick why` on the command line shows all" in told
    assert "*not seen*: Ceph: no" in told
    assert "more changes" in told


def test_a_finding_without_a_chain_has_no_evidence_and_says_so(story: Story) -> None:
    told = shown(sound(evidence(made(story, finding={"chain": (), "unseen": ()}, answer={"changes": ()}))))
    assert "No evidence was kept" in told
