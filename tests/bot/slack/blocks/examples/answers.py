"""Answers that are no incident: looks, checks, locks, refusals and failures, help."""

from datetime import UTC, datetime

import msgspec

from bot.diagnose import Diagnosis, library
from bot.incidents import Answer, IncidentState
from bot.slack.blocks import answers as blocks
from bot.slack.commands import usages
from bot.store.messages import Content
from diagnostics.facts import Snapshot
from diagnostics.facts.ceph import LOCKS, PoolProblem, Watcher
from diagnostics.facts.holders import CLAIM_USERS, NODES
from diagnostics.facts.kubernetes import VOLUMES
from diagnostics.model import Finding, Outcome, Scope, Severity, Status, Subject
from diagnostics.scan import Report
from tests.bot.slack.blocks.examples.incidents import found
from tests.bot.slack.blocks.story import POD, Story
from tests.runbooks.hand_made import Incident as Facts

NOW = datetime(2026, 3, 3, 3, 20, tzinfo=UTC)
BOOKS = ("ceph/stale_rbd_lock@1.0.0",)


def _checks(*outcomes: Outcome) -> Diagnosis:
    scanned = {"pods": 214, "nodes": 12, "persistentvolumes": 90}
    return Diagnosis(Report(NOW, outcomes, scanned, (), Snapshot("here", NOW, Scope("here"))), {})


def _pods(number: int) -> tuple[Finding, ...]:
    return tuple(
        Finding(
            Subject("Pod", "search", f"index-{n}", f"u{n}"), f"search/index-{n} has been in ContainerCreating for 7 min",
            root=Subject("Node", None, "node1", ""), severity=Severity.CRITICAL if n < 3 else Severity.WARNING,
        )
        for n in range(number)
    )  # fmt: skip


def _hundreds_of_locks() -> Snapshot:
    one, facts = Facts().image(), Facts()
    live = msgspec.structs.replace(one, watchers=(Watcher("client.9", one.lockers[0].address),))
    snapshot = facts.snapshot()
    seen = snapshot.seen(LOCKS)
    assert seen is not None
    return snapshot.with_fact(LOCKS, msgspec.structs.replace(seen, images=(*(live,) * 300, one)))


def examples(story: Story) -> dict[str, Content]:
    """Each as it is answered to whoever asks."""
    reason = "the API server did not answer within 5 s"
    unseen = {NODES: "forbidden", CLAIM_USERS: "forbidden", VOLUMES: "forbidden"}
    fast, slow = Facts().snapshot(), Facts(problems=(PoolProblem("secret", "EPERM"),)).snapshot()
    fine, blind = Outcome("ceph/a", Status.OK, None, ()), Outcome("ceph/b", Status.UNKNOWN, "no monitor answers", ())
    absent = Outcome("csi/c", Status.SKIPPED, "no CSI driver is configured", ())
    books = [book for book in library().all() if book.name in BOOKS]
    over = found(story, state=IncidentState.RESOLVED, note="looked at again: it is Running", resolved=NOW)
    link = "https://team.slack.com/archives/C1/p1"
    return {
        "begun": blocks.begun(f"Looking at {POD}"),
        "answer_ok": blocks.answer(story.well),
        "answer_unknown": blocks.answer(Answer(Status.UNKNOWN, Finding(POD, reason, unseen=(reason, "Ceph: no")), (), ())),
        "answer_found": blocks.answer(
            Answer(Status.FOUND, Finding(POD, "it waits", severity=Severity.WARNING), (), ())
        ),
        "check": blocks.check(
            _checks(Outcome("storage/pods_stuck_creating", Status.FOUND, "pool b: no", _pods(2)), fine, blind, absent),
            "sandbox",
        ),
        "check_of_many": blocks.check(
            _checks(Outcome("storage/pods_stuck_creating", Status.FOUND, None, _pods(226)), fine), "sandbox"
        ),
        "check_ok": blocks.check(_checks(fine, absent), "sandbox"),
        "locks": blocks.locks(story.locks.report.snapshot),
        "locks_hundreds": blocks.locks(_hundreds_of_locks()),
        "locks_of_several_cephs": blocks.locks(fast, {"fast": fast, "slow": slow}),
        "locks_without_kubernetes": blocks.locks(Facts(unseen=unseen).snapshot()),
        "locks_not_read": blocks.locks(Facts(unseen={LOCKS: "the monitors did not answer"}).snapshot()),
        "runbooks": blocks.runbooks(books),
        "help": blocks.help_text(usages()),
        "failure": blocks.failure("No cluster is called `b`: `unstick.yaml` names a and sandbox."),
        "refusal": blocks.refusal(
            "the plan", ["alice is no approver (says people.U0ALICE)", "alice asked for it herself"]
        ),
        "pointer": blocks.pointer(found(story), link),
        "pointer_resolved": blocks.pointer(over, None),
    }  # fmt: skip
