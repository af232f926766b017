"""Whatever may have to be rendered: names, words and sizes that nobody meant, from everybody who can write them."""

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import msgspec
from hypothesis import strategies as st

from bot.access import Grant
from bot.diagnose import Diagnosis, library
from bot.incidents import Answer, Incident, IncidentState
from bot.reports import AreaCount, Blind, HealthReport, LockCount, Trouble
from bot.slack.blocks.home import Home
from bot.slack.blocks.lists import Linked
from bot.slack.blocks.modals import About
from bot.slack.blocks.progress import Run
from bot.slack.words import Click
from bot.store.alerts import Alert, AlertGroup
from bot.store.requests import ShownPlan, ToldStep
from diagnostics.facts import Snapshot
from diagnostics.facts.ceph import LOCKS, PoolProblem
from diagnostics.model import Change, Evidence, Finding, Link, Outcome, Scope, Severity, Status, Subject
from diagnostics.scan import Report
from runbooks import guards
from runbooks.approval import Approval, Decision, Person
from runbooks.events import Say
from runbooks.execution import Freeze
from runbooks.model import Parameter, Risk, Runbook
from runbooks.offers import Offer
from runbooks.plan import Judged, Plan, PlannedStep
from runbooks.situation import Planned
from runbooks.store import Execution, State
from tests.runbooks.hand_made import Incident as Facts

NOW = datetime(2026, 3, 3, 3, 20, tzinfo=UTC)
MARKUP = ("*bold*", "_x_", "~x~", ":skull_and_crossbones:", "```")
INJECTIONS = (
    "<!channel>", "<@U1>", "<@U0VICTIM>", "<!here|x>", "<https://evil.example|ok>", "a & b", "&lt;!channel&gt;",
    "`", *MARKUP, "> quoted", "\u202egnp.exe", "a\nb\n\n*c*", "\x00\x1b[2J", "`/unstick run <!channel>` *now*",
    "", " ", "\ud800", "🔴" * 200, "x" * 5000, "&" * 3000, "<" * 3000, "\u202e" * 3000, '"\\' * 2000, "`" * 999,
)  # fmt: skip
TEXT = st.sampled_from(INJECTIONS) | st.text(max_size=40)
SHORT = st.sampled_from([text for text in INJECTIONS if 0 < len(text) < 40 and text != "\ud800"])
SUBJECT = st.builds(Subject, st.sampled_from(["Pod", "Node", "RBDImage", "Event"]) | TEXT, st.none() | TEXT, TEXT, TEXT)
WHEN = st.sampled_from([NOW, NOW - timedelta(days=3), NOW + timedelta(hours=1)])
LINK = st.none() | TEXT | st.just("https://team.slack.com/archives/C1/p1")
SLACK_ID = st.just("U024BE7LH")


def many(what: st.SearchStrategy[Any], least: int = 0) -> st.SearchStrategy[tuple[Any, ...]]:
    """Few different ones, repeated: sizes matter, not that all differ."""
    return st.builds(
        lambda few, times: tuple(few * times)[:400],
        st.lists(what, min_size=least, max_size=3),
        st.sampled_from([1, 1, 2, 20, 200]),
    )


CHANGE = st.builds(Change, WHEN, SUBJECT, TEXT)
FINDING = st.builds(
    Finding, SUBJECT, TEXT, cause=st.none(), since=st.none() | WHEN,
    chain=many(st.builds(Link, SUBJECT, TEXT, many(st.builds(Evidence, TEXT, TEXT)))), root=st.none() | SUBJECT,
    unseen=many(TEXT), severity=st.none() | st.sampled_from(Severity), id=TEXT,
)  # fmt: skip
# The store keeps no half of a surrogate pair, so no offer has one.
_KEPT = TEXT.filter(lambda text: "\ud800" not in text)
OFFER = st.builds(Offer, _KEPT, _KEPT, st.dictionaries(_KEPT, _KEPT, max_size=4))
ANSWER = st.builds(
    Answer, st.sampled_from(Status), FINDING, many(OFFER), many(CHANGE), looked=st.none() | WHEN, beside=many(TEXT),
    changes_unseen=many(TEXT),
)  # fmt: skip
_PERSON_ID = st.none() | TEXT | SLACK_ID
INCIDENT = st.builds(
    Incident, TEXT, TEXT, SUBJECT, ANSWER, st.sampled_from(IncidentState), st.just("C1"), st.just(1), WHEN, WHEN, TEXT,
    subjects=many(SUBJECT), acked_by=_PERSON_ID, acked=WHEN, snoozed_by=_PERSON_ID, snoozed_until=st.none() | WHEN,
    resolved=st.none() | WHEN, returns=st.integers(0, 9), returned=st.just((NOW, NOW, NOW)), well_since=st.none() | WHEN,
)  # fmt: skip
ACT = st.builds(
    Planned, TEXT, TEXT, many(SUBJECT), st.just({}), st.sampled_from(Risk),
    many(TEXT | st.builds("{}/{}".format, TEXT, TEXT)), many(TEXT),
)  # fmt: skip
WORD = st.builds(lambda act, what: msgspec.structs.replace(act, targets=(what,)), ACT, SUBJECT)
STEP = st.builds(
    PlannedStep, TEXT, st.sampled_from(["act", "note", "check", "manual", "attest"]), TEXT, st.none() | ACT,
    many(st.builds(Judged, TEXT, st.sampled_from(guards.Answer), many(TEXT))), st.none() | TEXT,
    st.none(), st.none() | WORD, st.none() | ACT,
)  # fmt: skip
PLAN = st.builds(
    Plan, TEXT, TEXT, TEXT, TEXT, st.dictionaries(TEXT, TEXT, max_size=6),
    many(st.builds(lambda step, branch: msgspec.structs.replace(step, otherwise=branch), STEP, st.none() | STEP)),
    st.just({}), TEXT, st.just(NOW + timedelta(minutes=15)),
)  # fmt: skip
SHOWN = st.builds(ShownPlan, st.just("pl-1"), st.none(), PLAN, st.just(1), st.just("C1"))
EXECUTION = st.builds(
    Execution, st.just("ex-00c0ffee"), PLAN, st.sampled_from(State), TEXT, st.just(NOW), st.none(), st.none(), st.none(),
    st.just(0), st.sampled_from([None, "cancel"]), st.none() | TEXT,
)  # fmt: skip
APPROVAL = st.builds(Approval, st.builds(Person, TEXT | SLACK_ID), TEXT, TEXT, st.just(NOW))
TOLD = st.builds(ToldStep, st.just(NOW), TEXT | st.sampled_from(["", "a", "a.otherwise"]), st.sampled_from(Say), TEXT)
RUN = st.builds(
    Run, EXECUTION, many(TOLD), many(APPROVAL), st.builds(Decision, st.booleans(), many(TEXT), st.booleans()),
    st.sampled_from([NOW, NOW + timedelta(hours=1)]),
)  # fmt: skip
APPROVERS = many(TEXT | SLACK_ID)
STEP_CLICK = st.just(Click(execution="ex-00c0ffee", step="a" * 100))


def _diagnosis(outcomes: tuple[Outcome, ...], text: str) -> Diagnosis:
    scanned = {f"{text[:50]}{n}": n for n in range(60)}
    return Diagnosis(Report(NOW, outcomes, scanned, (), Snapshot("here", NOW, Scope("here"))), {})


DIAGNOSIS = st.builds(
    _diagnosis, many(st.builds(Outcome, TEXT, st.sampled_from(Status), st.none() | TEXT, many(FINDING))), TEXT
)


def locked(name: str, images: int, problems: int) -> Snapshot:
    """So many images of one name that are locked, and so many pools that could not be read."""
    facts = Facts(problems=(PoolProblem(name, name),) * problems)
    image = facts.image()
    image = msgspec.structs.replace(image, image=msgspec.structs.replace(image.image, pool=name, name=name))
    snapshot = facts.snapshot()
    seen = snapshot.seen(LOCKS)
    assert seen is not None
    return snapshot.with_fact(LOCKS, msgspec.structs.replace(seen, images=(image,) * images))


LOCKED = st.builds(locked, TEXT, st.sampled_from([0, 1, 300]), st.sampled_from([0, 300])) | st.builds(
    lambda why: Facts(unseen={LOCKS: why}).snapshot(), TEXT
)
TROUBLE = st.builds(
    Trouble, TEXT, TEXT, SUBJECT, TEXT, st.sampled_from(Severity), st.none() | TEXT, WHEN, many(TEXT), TEXT
)
REPORT = st.builds(
    HealthReport, TEXT, WHEN, st.none() | WHEN, many(TROUBLE), many(TROUBLE), many(TROUBLE), many(TROUBLE), many(TROUBLE),
    many(st.builds(Blind, TEXT, TEXT, st.booleans())), many(st.builds(Blind, TEXT, TEXT)), st.integers(0, 99),
    st.dictionaries(TEXT, st.integers(0, 9), max_size=9), st.integers(0, 99), many(TEXT),
    many(st.builds(AreaCount, TEXT, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))),
    st.none() | st.builds(
        LockCount, st.dictionaries(TEXT, st.integers(0, 999), max_size=9), st.just(1), st.just(1), many(TEXT), many(TEXT)
    ),
)  # fmt: skip
_LABELS = st.dictionaries(st.sampled_from(["alertname", "namespace", "pod", "severity"]) | TEXT, TEXT, max_size=6)
ALERTS = many(
    st.builds(
        Alert, st.sampled_from(["firing", "resolved"]), _LABELS,
        st.dictionaries(st.sampled_from(["summary", "description"]), TEXT, max_size=2), WHEN,
    ), least=1,
)  # fmt: skip
GROUP = st.builds(AlertGroup, TEXT, TEXT, st.just("C1"), st.just(7), ALERTS, WHEN, st.integers(0, 999))
_ROLES = st.lists(st.sampled_from(["viewer", "responder", "approver", "admin"]), unique=True).map(tuple)
GRANT = st.builds(Grant, TEXT | SLACK_ID, _ROLES, many(TEXT), many(TEXT), many(TEXT), TEXT)
LINKED = many(st.builds(Linked, INCIDENT, LINK))
DONE = many(st.tuples(EXECUTION, LINK))
HOME = st.builds(
    Home, GRANT, TEXT | SLACK_ID, LINKED, st.integers(0, 9), DONE, many(REPORT), many(st.builds(Freeze, TEXT, TEXT, TEXT, WHEN)),
    WHEN,
)  # fmt: skip
ABOUT = st.builds(About, st.just("C1"), st.none() | SHORT, st.none() | st.just("1.2"))
# What a parameter is called and may be, the format of runbooks restricts; what it means, nobody does.
_PARAMETER = st.builds(
    lambda kind, told, required: Parameter(
        kind=kind, description=told, required=required, values=("gently", "at once") if kind == "enum" else ()
    ),
    st.sampled_from(["pod", "int", "enum", "string", "duration"]), TEXT, st.booleans(),
)  # fmt: skip


def _book(title: str, meaning: str, parameters: dict[str, Parameter]) -> Runbook:
    words = {"title": title, "meaning": meaning, "parameters": parameters}
    return _released().model_copy(update=words)


@cache
def _released() -> Runbook:
    return library().find("ceph/stale_rbd_lock@1.0.0")


BOOK = st.builds(_book, TEXT, TEXT, st.dictionaries(st.sampled_from([f"name_{n}" for n in range(30)]), _PARAMETER))
GIVEN = st.dictionaries(st.sampled_from([f"name_{n}" for n in range(30)]), TEXT, max_size=5)
