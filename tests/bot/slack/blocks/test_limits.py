"""Whatever others write and however much it is: Slack takes the message, and nothing in it calls, links or formats."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.diagnose import Diagnosis
from bot.incidents import Answer, Incident, IncidentState
from bot.slack.blocks import answers
from bot.slack.blocks import incident as incidents
from bot.slack.blocks import plan as plans
from bot.slack.blocks.progress import Run
from bot.slack.words import Click
from bot.store.messages import Content
from bot.store.requests import ShownPlan, ToldStep
from diagnostics.facts import Snapshot
from diagnostics.facts.ceph import LOCKS, PoolProblem
from diagnostics.model import Change, Evidence, Finding, Link, Outcome, Scope, Severity, Status, Subject
from diagnostics.scan import Report
from runbooks import guards
from runbooks.approval import Approval, Decision, Person
from runbooks.events import Say
from runbooks.model import Risk
from runbooks.offers import Offer
from runbooks.plan import Judged, Plan, PlannedStep
from runbooks.situation import Planned
from runbooks.store import Execution, State
from tests.bot.slack.blocks.rendered import Json, markup, sound, sound_view
from tests.runbooks.hand_made import Incident as Facts

NOW = datetime(2026, 3, 3, 3, 20, tzinfo=UTC)
TOKEN = re.compile(r"<[^>]*>?")
MENTION = re.compile(r"<@[UW][A-Z0-9]{2,}>")
ENTITY = re.compile(r"&(?!amp;|lt;|gt;)")
INJECTIONS = (
    "<!channel>", "<@U1>", "<@U0VICTIM>", "<!here|x>", "<https://evil.example|ok>", "a & b", "&lt;!channel&gt;",
    "`", "```", "*bold*", "_x_", "~x~", "> quoted", ":skull_and_crossbones:", "\u202egnp.exe", "a\nb\n\n*c*", "\x00\x1b[2J",
    "", " ", "\ud800", "🔴" * 200, "x" * 5000, "&" * 3000, "<" * 3000, "\u202e" * 3000, '"\\' * 2000, "`" * 999,
)  # fmt: skip
TEXT = st.sampled_from(INJECTIONS) | st.text(max_size=40)
SUBJECT = st.builds(Subject, st.sampled_from(["Pod", "Node", "RBDImage"]) | TEXT, st.none() | TEXT, TEXT, TEXT)


def many(what: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """Few different ones, repeated: sizes matter, not that all differ."""
    return st.builds(
        lambda few, times: tuple(few * times)[:400],
        st.lists(what, max_size=3),
        st.sampled_from([1, 1, 2, 20, 200]),
    )


LINK = st.builds(Link, SUBJECT, TEXT, many(st.builds(Evidence, TEXT, TEXT)))
FINDING = st.builds(
    Finding, SUBJECT, TEXT, cause=st.none(), since=st.none(), chain=many(LINK), root=st.none() | SUBJECT,
    unseen=many(TEXT), severity=st.none() | st.sampled_from(Severity), id=TEXT,
)  # fmt: skip
# The store keeps no half of a surrogate pair, so no offer has one.
_KEPT = TEXT.filter(lambda text: "\ud800" not in text)
OFFER = st.builds(Offer, _KEPT, _KEPT, st.dictionaries(_KEPT, _KEPT, max_size=4))
ANSWER = st.builds(
    Answer, st.sampled_from(Status), FINDING, many(OFFER), many(st.builds(Change, st.just(NOW), SUBJECT, TEXT))
)
INCIDENT = st.builds(
    Incident, TEXT, TEXT, SUBJECT, ANSWER, st.sampled_from(IncidentState), st.just("C1"), st.just(1), st.just(NOW),
    st.just(NOW), TEXT,
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
EXECUTION = st.builds(
    Execution, st.just("ex-00c0ffee"), PLAN, st.sampled_from(State), TEXT, st.just(NOW), st.none(), st.none(), st.none(),
    st.just(0), st.sampled_from([None, "cancel"]), st.none() | TEXT,
)  # fmt: skip
PERSON = st.builds(Person, TEXT | st.just("U024BE7LH"))
APPROVAL = st.builds(Approval, PERSON, TEXT, TEXT, st.just(NOW))
TOLD = st.builds(ToldStep, st.just(NOW), TEXT | st.sampled_from(["", "a", "a.otherwise"]), st.sampled_from(Say), TEXT)
RUN = st.builds(
    Run, EXECUTION, many(TOLD), many(APPROVAL),
    st.builds(Decision, st.booleans(), many(TEXT), st.booleans()), st.sampled_from([NOW, NOW + timedelta(hours=1)]),
)  # fmt: skip
HARD = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def harmless(what: Content | Json) -> None:
    """Nothing in it is a mention (but of people by their id), a link or a run of code that goes on for ever."""
    told = markup(what)
    assert [token for token in TOKEN.findall(told) if not MENTION.fullmatch(token)] == []
    assert not ENTITY.search(told)
    for line in told.splitlines():
        assert line.count("`") % 2 == 0, line
    assert "\u202e" not in told
    assert "VICTIM" not in "".join(MENTION.findall(told)), "nobody's text mentions anybody"


@HARD
@given(INCIDENT, st.none() | RUN)
def test_incidents(what: Incident, run: Run | None) -> None:
    for content in (incidents.incident(what, run), incidents.evidence(what), answers.pointer(what, None)):
        harmless(sound(content))


@HARD
@given(PLAN, many(TEXT))
def test_plans(made: Plan, changed: tuple[str, ...]) -> None:
    harmless(sound(plans.plan(ShownPlan("pl-1", None, made, 1, "C1"), changed)))


@HARD
@given(RUN, many(TEXT | st.just("U024BE7LH")))
def test_requests_and_their_windows(run: Run, approvers: tuple[str, ...]) -> None:
    harmless(sound(plans.request(run, approvers)))
    harmless(sound(plans.asked_plan(ShownPlan("pl-1", None, run.execution.plan, 1, "C1"), run.execution)))
    click, execution = Click(execution=run.execution.id, step="a" * 100), run.execution
    for view in (
        plans.approval_modal(execution, "C1"), plans.denial_modal(execution, "C1"), plans.cancel_modal(execution, "C1"),
        plans.attestation_modal(execution, "C1", click), plans.skip_modal(execution, "C1", click),
    ):  # fmt: skip
        harmless(sound_view(view))
    for content in (
        answers.expired(execution, approvers),
        answers.thawed("x", "y", (execution,) * 60, were_frozen=True),
    ):
        harmless(sound(content))


@HARD
@given(ANSWER, many(st.builds(Outcome, TEXT, st.sampled_from(Status), st.none() | TEXT, many(FINDING))), TEXT)
def test_answers(answer: Answer, outcomes: tuple[Outcome, ...], text: str) -> None:
    scanned = {f"{text[:50]}{n}": n for n in range(60)}
    report = Report(NOW, outcomes, scanned, (), Snapshot("here", NOW, Scope("here")))
    for content in (
        answers.answer(answer), answers.check(Diagnosis(report, {}), text), answers.begun(text), answers.failure(text),
        answers.refusal(text, answer.finding.unseen), answers.help_text([(text, text)] * 40),
    ):  # fmt: skip
        harmless(sound(content))


@pytest.mark.parametrize("name", INJECTIONS)
def test_locks_of_any_name(name: str) -> None:
    facts = Facts(problems=(PoolProblem(name, name),) * 300)
    image = facts.image()
    image = msgspec.structs.replace(image, image=msgspec.structs.replace(image.image, pool=name, name=name))
    snapshot = facts.snapshot()
    seen = snapshot.seen(LOCKS)
    assert seen is not None
    found = snapshot.with_fact(LOCKS, msgspec.structs.replace(seen, images=(image,) * 300))
    harmless(sound(answers.locks(found)))


def test_the_check_for_harm_sees_harm() -> None:
    for text in ("<!channel>", "<@U0VICTIM>", "a & b", "`x", "\u202e"):
        with pytest.raises(AssertionError):
            harmless(Content(text))
