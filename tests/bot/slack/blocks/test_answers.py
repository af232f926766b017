"""Answers that are no incident: in order, not seen, and refused are told apart at first sight."""

from datetime import UTC, datetime

import msgspec
import pytest

from bot.diagnose import Diagnosis, library
from bot.incidents import Answer, Incident, IncidentState
from bot.slack.blocks import answers
from bot.slack.words import Button, Click
from diagnostics.facts import Snapshot
from diagnostics.facts.ceph import LOCKS, PoolProblem, Watcher
from diagnostics.facts.holders import CLAIM_USERS, NODES
from diagnostics.facts.kubernetes import VOLUMES
from diagnostics.model import Finding, Outcome, Scope, Severity, Status, Subject
from diagnostics.scan import Report
from tests.bot.slack.blocks.rendered import buttons, clicks, shown, sound
from tests.bot.slack.blocks.story import POD, Story
from tests.runbooks.hand_made import Incident as Facts

NOW = datetime(2026, 3, 3, 3, 20, tzinfo=UTC)


def incident(story: Story) -> Incident:
    return Incident("in-1a2b3c4d", "sandbox", POD, story.second, IncidentState.OPEN, "C1", 7, NOW, NOW)


def diagnosis(*outcomes: Outcome) -> Diagnosis:
    return Diagnosis(Report(NOW, outcomes, {"pods": 3}, (), Snapshot("here", NOW, Scope("here"))), {})


def test_a_look_that_begins_says_at_what() -> None:
    assert shown(sound(answers.begun("Looking at Pod search/<!here>"))) == "⏳ Looking at Pod search/&lt;!here&gt; …"


def test_what_is_well_says_ok_and_why(story: Story) -> None:
    told = sound(answers.answer(story.well))
    assert told.text.startswith("ok: Pod search/")
    assert "*ok*" in shown(told)
    assert "waits for nothing" in shown(told)


def test_what_could_not_be_seen_never_looks_well() -> None:
    reason = "the API server did not answer within 5 s"
    told = sound(answers.answer(Answer(Status.UNKNOWN, Finding(POD, reason, unseen=(reason,)), (), ())))
    assert "could not be seen" in told.text
    assert "could not be seen" in shown(told)
    assert shown(told).count(reason) == 1
    assert "🟢" not in shown(told)
    assert "*ok*" not in shown(told)


def test_a_check_tells_its_findings_with_their_roots_and_explains_pods(story: Story) -> None:
    told = sound(answers.check(story.checks, "sandbox"))
    assert shown(told).index("critical") < shown(told).index("warning")
    assert "root cause: Node node1" in shown(told)
    asked = clicks(told, Button.WHY)
    assert asked.count(Click(cluster="sandbox", pod=f"{POD.namespace}/{POD.name}")) == 1
    assert len(asked) == len({click.pod for click in asked}), "once a pod"
    assert "looked at" in shown(told)


def test_a_finding_with_something_unseen_has_no_root_cause() -> None:
    finding = Finding(POD, "it waits", root=Subject("Node", None, "n", ""), unseen=("Ceph",), severity=Severity.WARNING)
    told = shown(sound(answers.check(diagnosis(Outcome("storage/x", Status.FOUND, None, (finding,))), "here")))
    assert "as far as could be seen: Node n" in told
    assert "root cause" not in told


def test_checks_that_saw_nothing_bad_are_green_only_if_all_could_look() -> None:
    fine = Outcome("ceph/a", Status.OK, None, ())
    blind = Outcome("ceph/b", Status.UNKNOWN, "no answer from the monitors", ())
    absent = Outcome("ceph/c", Status.SKIPPED, "no Ceph is configured", ())
    told = sound(answers.check(diagnosis(fine, absent), "here"))
    assert told.text == "here: 0 findings, 0 unknown, 1 ok, 1 skipped"
    assert "🟢" in shown(told)
    assert "skipped 1: no Ceph is configured" in shown(told)
    told = sound(answers.check(diagnosis(fine, blind), "here"))
    assert "🟢" not in shown(told)
    assert "ceph/b: *unknown*: no answer from the monitors" in shown(told)
    assert "🟢" not in shown(answers.check(diagnosis(absent), "here")), "nothing was looked at"


def test_a_finding_that_could_not_see_all_says_so_too() -> None:
    finding = Finding(POD, "it waits", severity=Severity.WARNING)
    told = shown(answers.check(diagnosis(Outcome("storage/x", Status.FOUND, "pool b: timed out", (finding,))), "here"))
    assert "storage/x: *not all of it was seen*: pool b: timed out" in told


def test_the_locks_are_listed_with_verdict_holder_and_users(story: Story) -> None:
    told = shown(sound(answers.locks(story.locks.report.snapshot)))
    assert "❔ suspect\nmioss/index-api-image\n" in told
    assert f"mioss/index-api-image\nsearch/{POD.name}, search/" in told, "on a phone the first three columns are seen"
    assert "\nclient.24156 on node1 from 10.47.136.60:0/299062840\nfirst seen" in told
    assert told.index("❔ suspect") < told.index("🟢 live")
    assert "3 lockers; 3 images in 1 pool" in told


def test_pools_that_could_not_be_read_come_before_the_locks_that_could() -> None:
    facts = Facts(problems=(PoolProblem("secret", "EPERM"),))
    told = sound(answers.locks(facts.snapshot()))
    assert "*could not be read*: pool secret: EPERM" in shown(told)
    assert shown(told).index("EPERM") < shown(told).index("mioss/index")
    assert "1 pool not read" in told.text


def test_locks_that_could_not_be_read_are_not_none() -> None:
    told = sound(answers.locks(Facts(unseen={LOCKS: "the monitors did not answer"}).snapshot()))
    assert "0 lockers" not in shown(told)
    assert "could not be read" in told.text


def test_locks_without_kubernetes_say_that_nobody_looked_for_pods() -> None:
    unseen = {NODES: "forbidden", CLAIM_USERS: "forbidden", VOLUMES: "forbidden"}
    told = shown(sound(answers.locks(Facts(unseen=unseen).snapshot())))
    assert "nodes were not seen: forbidden; pods were not seen: forbidden" in told


def test_thousands_of_locks_are_counted_and_the_bad_ones_shown() -> None:
    one = Facts().image()
    live = msgspec.structs.replace(one, watchers=(Watcher("client.9", one.lockers[0].address),))
    many = Facts()
    snapshot = many.snapshot()
    seen = snapshot.seen(LOCKS)
    assert seen is not None
    told = sound(answers.locks(snapshot.with_fact(LOCKS, msgspec.structs.replace(seen, images=(*(live,) * 3000, one)))))
    assert told.text.startswith("3001 lockers")
    assert "🟠 stale" in shown(told)
    assert " more: `unstick locks` on the command line shows all" in shown(told)


def test_runbooks_and_help_are_lists() -> None:
    assert "`ceph/stale_rbd_lock@1.0.0`  Free an RBD image" in shown(sound(answers.runbooks(library().all())))
    assert "`why KIND/NAME`  why it is stuck" in shown(sound(answers.help_text([("why KIND/NAME", "why it is stuck")])))


def test_a_failure_is_one_sentence_and_a_refusal_has_all_reasons() -> None:
    assert shown(sound(answers.failure("No cluster is called `b`."))) == "⚠️ No cluster is called ˋbˋ."
    told = sound(answers.refusal("the plan", ["alice is no approver", "alice asked for it"]))
    assert "•  alice" not in told.text
    assert [line for line in shown(told).splitlines() if line.startswith("•")] == [
        "• alice is no approver", "• alice asked for it",
    ]  # fmt: skip
    many = sound(answers.refusal("the plan", [f"reason {n}: " + "x" * 5000 for n in range(100)]))
    listed = shown(many).count("• reason ")
    assert listed > 10
    assert f"and {100 - listed} more reasons" in shown(many)


def test_a_pointer_leads_to_the_incidents_message(story: Story) -> None:
    link = "https://team.slack.com/archives/C1/p1"
    told = sound(answers.pointer(incident(story), link))
    assert shown(told).splitlines()[0] == f"This is incident in-1a2b3c4d, <{link}|told of there>."
    assert buttons(told) == []


def test_a_pointer_says_how_the_incident_stands_as_not_everybody_can_follow_it(story: Story) -> None:
    told = sound(answers.pointer(incident(story), None))
    for said in (shown(told), told.text):
        assert "🔴 Critical: Pod search/index-api-5c9d8f7b6d-q4z8m waits for mioss/index-api-image" in said
    over = msgspec.structs.replace(incident(story), state=IncidentState.RESOLVED, note="looked at again: it runs")
    assert "🟢 Resolved: Pod search/index-api-5c9d8f7b6d-q4z8m: looked at again: it runs" in shown(
        answers.pointer(over, None)
    )


def test_a_pointers_link_may_be_plain_http_and_is_escaped(story: Story) -> None:
    told = sound(answers.pointer(incident(story), "http://chat.example/a?b=1&c=2"))
    assert "<http://chat.example/a?b=1&amp;c=2|told of there>" in shown(told)


def test_what_was_found_is_named_once() -> None:
    finding = Finding(POD, f"{POD.namespace}/{POD.name} waits", severity=Severity.WARNING)
    told = sound(answers.answer(Answer(Status.FOUND, finding, (), ())))
    assert told.text == f"Pod {POD.namespace}/{POD.name} waits"


@pytest.mark.parametrize("link", [None, "", "javascript:x", "https://x|<!channel>", "https://x> <!channel"])
def test_a_pointer_without_a_sound_link_has_none(story: Story, link: str | None) -> None:
    assert "<" not in shown(sound(answers.pointer(incident(story), link)))
