"""An incident for the post-mortem: everything that happened, in order, with how long it took, and nobody's markup."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from bot.incidents import Answer, Event, Incident, IncidentState, What
from bot.timeline import Done, document, timeline
from diagnostics.model import Change, Evidence, Finding, Link, Severity, Status, Subject
from runbooks.approval import Approval, Person
from runbooks.execution import Entry, Execution, Said, State, Statement
from runbooks.model import Risk
from runbooks.plan import Plan
from runbooks.situation import Planned

T0 = datetime(2026, 3, 3, 3, 20, tzinfo=UTC)
POD, NODE = Subject("Pod", "search", "a", "u"), Subject("Node", None, "node1", "n")


def at(minutes: float) -> datetime:
    return T0 + timedelta(minutes=minutes)


def an_incident(**changed: Any) -> Incident:
    links = (
        Link(POD, "waits for its volume", (Evidence("event", "MountVolume.SetUp failed"),)),
        Link(NODE, "is down", (Evidence("lease node1", "renewed 03:07"),)),
    )
    finding = Finding(
        POD, "it waits", "rbd-image-locked", at(-8), links, NODE, ("sessions: forbidden",), Severity.CRITICAL, "f"
    )  # fmt: skip
    changes = (Change(at(-12), NODE, "Ready became Unknown"), Change(at(2), NODE, "cordoned"))
    answer = Answer(Status.FOUND, finding, (), changes, T0, changes_unseen=("ConfigMap: forbidden",))
    made = Incident("in-1a2b3c4d", "prod", POD, answer, IncidentState.OPEN, "C1", 7, T0, at(1), subjects=(POD,))
    return msgspec.structs.replace(made, **changed)


OPENED = Event(T0, "unstick", What.OPENED, "it waits")
ACKED = Event(at(3), "U0ALICE", What.ACKED)
RESOLVED = Event(at(20.5), "unstick", What.RESOLVED, "it runs")


def a_fix() -> Done:
    act = Planned("ceph.blocklist_add", "fence 10.0.0.1:0/1", (), {}, Risk.CRITICAL)
    plan = Plan("prod", "ceph/stale_rbd_lock", "1.0.0", "s", {"image": "p/i"}, (), {}, "U0ALICE", at(30))
    execution = Execution("ex-00c0ffee", plan, State.DONE, "", at(5), at(12), None, None, 1)
    return Done(
        execution,
        (Approval(Person("U0BOB"), "h", "node1", at(7)),),
        (Entry("fence", 1, act, at(8), "done", "the entry is there"), Entry("unlock", 1, act, at(9), None, None)),
        (Statement("power", Said.ATTESTED, "U0BOB", "it is off", at(8.5)),),
    )


def told(incident: Incident, *events: Event, executions: tuple[Done, ...] = ()) -> str:
    return timeline(incident, events, executions, incident.answer.changes)


def section(text: str, heading: str) -> list[str]:
    """The lines below a heading."""
    return [line for line in text.partition(f"## {heading}\n")[2].partition("\n## ")[0].splitlines() if line]


def over(**changed: Any) -> Incident:
    return an_incident(state=IncidentState.RESOLVED, note="it runs", resolved=at(20.5), **changed)


def test_every_duration_is_told_from_where_it_is_measured() -> None:
    assert section(told(over(), OPENED, ACKED, RESOLVED, executions=(a_fix(),)), "How long it took") == [
        "- Began: 2026-03-03T03:12:00Z",
        "- To notice: 8 min (noticed 2026-03-03T03:20:00Z)",
        "- From then to ack: 3 min (2026-03-03T03:23:00Z)",
        "- From then to ask for a fix: 5 min (2026-03-03T03:25:00Z)",
        "- From then to approval: 7 min (2026-03-03T03:27:00Z)",
        "- From then to the first act: 8 min (2026-03-03T03:28:00Z)",
        "- From then to the end: 20 min 30 s (2026-03-03T03:40:30Z)",
    ]


def test_what_did_not_happen_is_not_made_up() -> None:
    lines = section(told(an_incident(), OPENED), "How long it took")
    assert [line for line in lines if line.endswith(": it did not come to that")] == [
        f"- From then to {what}: it did not come to that"
        for what in ("ack", "ask for a fix", "approval", "the first act", "the end")
    ]
    unknown = an_incident()
    finding = msgspec.structs.replace(unknown.answer.finding, since=None)
    answer = msgspec.structs.replace(unknown.answer, finding=finding)
    text = told(msgspec.structs.replace(unknown, answer=answer), OPENED)
    assert "- Began: not known" in text
    assert "- To notice: not known" in text


def test_who_asked_approved_and_did_what_is_told_in_order() -> None:
    lines = section(told(over(), RESOLVED, OPENED, ACKED, executions=(a_fix(),)), "What happened")
    assert lines == [
        "- 2026-03-03T03:12:00Z it began, as far as is known",
        "- 2026-03-03T03:20:00Z unstick: opened: it waits",
        "- 2026-03-03T03:23:00Z U0ALICE: acked",
        "- 2026-03-03T03:25:00Z U0ALICE: asked for ex-00c0ffee (ceph/stale\\_rbd\\_lock@1.0.0), of risk read: image=p/i",
        "- 2026-03-03T03:27:00Z U0BOB: approved ex-00c0ffee",
        "- 2026-03-03T03:28:00Z unstick: fence 10.0.0.1:0/1 (step fence of ex-00c0ffee): done, the entry is there",
        "- 2026-03-03T03:28:30Z U0BOB: said of step power of ex-00c0ffee: attested: it is off",
        "- 2026-03-03T03:29:00Z unstick: fence 10.0.0.1:0/1 (step unlock of ex-00c0ffee): no outcome is known",
        "- 2026-03-03T03:32:00Z unstick: ex-00c0ffee (ceph/stale\\_rbd\\_lock@1.0.0) ended: done",
        "- 2026-03-03T03:40:30Z unstick: resolved: it runs",
    ]


def test_the_chain_the_changes_before_and_what_was_not_seen_are_there() -> None:
    text = told(an_incident(), OPENED)
    assert section(text, "What was seen") == [
        "1. **Pod search/a** waits for its volume", "   - event: MountVolume.SetUp failed", "2. **Node node1** is down",
        "   - lease node1: renewed 03:07",
    ]  # fmt: skip
    assert section(text, "What changed before it broke") == ["- 2026-03-03T03:08:00Z Node node1: Ready became Unknown"]
    assert section(text, "What was not seen") == ["- sessions: forbidden", "- ConfigMap: forbidden"]
    assert "- State: open" in text
    assert "- Root: Node node1" in text
    assert "- State: resolved 2026-03-03T03:40:30Z: it runs" in told(over(), OPENED)


def test_what_came_back_tells_how_long_it_was_open_in_all() -> None:
    events = (OPENED, RESOLVED, Event(at(60), "unstick", What.BACK, "2nd time: it waits"))
    text = told(an_incident(returns=1, updated=at(65)), *events)
    assert "- It came back once; it was open for 25 min 30 s in all" in text
    assert "From then to the end: 20 min 30 s" in text


def test_other_peoples_words_are_no_markup() -> None:
    evil = "<script>*x*\n# heading\n| [link](http://evil) `a` \x1b[2J"
    incident = an_incident(note=evil, state=IncidentState.RESOLVED)
    finding = msgspec.structs.replace(incident.answer.finding, summary=evil, unseen=("# x", "1. y", "- z"))
    answer = msgspec.structs.replace(incident.answer, finding=finding)
    text = told(msgspec.structs.replace(incident, answer=answer), Event(T0, evil, What.OPENED, evil))
    assert "<script>" not in text
    assert "\x1b" not in text
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# Incident in-1a2b3c4d: Pod search/a", "## How long it took", "## What was seen",
        "## What changed before it broke", "## What happened", "## What was not seen",
    ]  # fmt: skip
    assert "[link](" not in text.replace("\\[", "").replace("\\]", "")


def test_the_document_has_the_same_lines() -> None:
    made = document(over(), (OPENED, RESOLVED), (a_fix(),))
    assert made["executions"] == ["ex-00c0ffee"]
    assert made["timeline"][1] == {"at": "2026-03-03T03:20:00Z", "who": "unstick", "says": "opened: it waits"}
    assert len(made["timeline"]) == 9
    assert made["finding"]["status"] == "found"
    assert (made["state"], made["resolved"]) == ("resolved", "2026-03-03T03:40:30Z")
