"""What becomes of an incident in the store: who answered it, when it is over, when it is back; each with its event."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from sqlalchemy import Connection

from bot.incidents import CLEAN, FLAPPING_CLEAN, Answer, Incident, IncidentState, What
from bot.store import State, open_state
from bot.store.messages import Content
from diagnostics.model import Finding, Link, Severity, Status, Subject

T0 = datetime(2026, 3, 3, 3, 20, tzinfo=UTC)
NODE = Subject("Node", None, "node1", "uid-node1")
ALICE = "U0ALICE"


class Clock:
    def __init__(self) -> None:
        self.at = T0

    def now(self) -> datetime:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(database: str, clock: Clock) -> Iterator[State]:
    state = open_state(database, clock.now)
    yield state
    state.runbooks.engine.dispose()


def pod(name: str = "a") -> Subject:
    return Subject("Pod", "search", name, f"uid-{name}")


def answer(subject: Subject | None = None, root: Subject = NODE, says: str = "it waits") -> Answer:
    about = subject or pod()
    finding = Finding(about, says, "node_down", T0, (Link(about, says),), root, (), Severity.CRITICAL, "f")
    return Answer(Status.FOUND, finding, (), (), T0)


class Voice:
    """What is said of incidents within their transactions."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.said: list[str] = []

    def opens(self, connection: Connection, incident: Incident) -> int:
        self.said.append(f"opened {incident.subject.name} in {incident.channel}")
        content, key = Content(str(incident.subject)), f"incident/{incident.id}"
        return self.state.messages.add_within(connection, incident.channel, content, key=key)

    def back(self, connection: Connection, incident: Incident) -> int:
        self.said.append(f"back {incident.returns}{' and flaps' if incident.flapping else ''}")
        content = Content("back")
        return self.state.messages.add_within(connection, incident.channel, content, parent=incident.message)

    def found(self, what: Answer | None = None) -> Incident:
        incidents = self.state.incidents
        return incidents.found("here", what or answer(), "C1", self.opens, back=self.back, anew=self.opens, aside=True)


@pytest.fixture
def voice(state: State) -> Voice:
    return Voice(state)


def whats(state: State, incident: str) -> list[str]:
    return [str(each.what) for each in state.incidents.events(incident)]


def test_an_incident_and_its_message_are_made_together_or_not_at_all(state: State, voice: Voice) -> None:
    def fails(connection: Connection, incident: Incident) -> int:
        voice.opens(connection, incident)
        raise RuntimeError("the process dies here")

    with pytest.raises(RuntimeError):
        state.incidents.found("here", answer(), "C1", fails)
    assert state.incidents.open() == ()
    assert state.messages.channels_behind() == ()
    made = voice.found()
    assert state.messages.get(made.message).key == f"incident/{made.id}"
    assert whats(state, made.id) == ["opened"]


def test_of_many_that_notice_the_same_root_at_once_one_makes_the_message(database: str, clock: Clock) -> None:
    states = [open_state(database, clock.now) for _ in range(4)]
    voices, begin = [Voice(each) for each in states], threading.Barrier(8)
    made: list[Incident] = []

    def notices(number: int) -> None:
        begin.wait(20)
        made.append(voices[number % 4].found(answer(pod(f"p{number}"))))

    threads = [threading.Thread(target=notices, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(made) == 8
    assert len({each.id for each in made}) == 1
    assert sum(len(voice.said) for voice in voices) == 1
    assert len(states[0].incidents.open()[0].subjects) == 8
    for each in states:
        each.runbooks.engine.dispose()


def test_what_joins_by_itself_does_not_change_what_the_incident_is_told_by(state: State, voice: Voice) -> None:
    made = voice.found()
    both = voice.found(answer(pod("b"), says="another one"))
    assert (both.subject, both.answer.finding.summary, len(both.subjects)) == (pod("a"), "it waits", 2)
    assert whats(state, made.id) == ["opened", "joined"]
    asked = state.incidents.found("here", answer(pod("b")), "C1", 9, who=ALICE)
    assert asked.subject == pod("b"), "somebody asked about it"
    state.incidents.leave(made.id, pod("b"), "it runs", ALICE)
    assert voice.found(answer(pod("a"), says="still")).answer.finding.summary == "still"


def test_a_thing_leaves_by_itself_when_it_was_well_in_two_looks_with_time_between(
    state: State, voice: Voice, clock: Clock
) -> None:
    made = voice.found()
    clock.at += timedelta(seconds=30)
    once = state.incidents.seen_well(made.id, pod(), "it runs", clock.at, CLEAN)
    assert (once.state, once.well_since) == (IncidentState.OPEN, clock.at)
    began = clock.at + CLEAN - timedelta(seconds=1)
    clock.at += timedelta(minutes=5)
    slow = state.incidents.seen_well(made.id, pod(), "it runs", began, CLEAN)
    assert slow.state is IncidentState.OPEN, "the look began too soon, however long it took"
    over = state.incidents.seen_well(made.id, pod(), "it runs", clock.at, CLEAN)
    assert (over.state, over.note, over.resolved) == (IncidentState.RESOLVED, "it runs", clock.at)
    assert state.incidents.events(made.id)[-1].who == "unstick"
    again = state.incidents.seen_well(made.id, pod(), "it runs", clock.at, CLEAN)
    assert whats(state, again.id) == ["opened", "resolved"]


@pytest.mark.parametrize("seen", ["found", "unknown"])
def test_whatever_is_not_well_in_between_begins_anew(state: State, voice: Voice, clock: Clock, seen: str) -> None:
    made = voice.found()
    state.incidents.seen_well(made.id, pod(), "it runs", clock.at, CLEAN)
    clock.at += CLEAN
    if seen == "found":
        voice.found()
    else:
        state.incidents.not_seen_well(made.id, pod())
    assert state.incidents.get(made.id).well_since is None
    clock.at += CLEAN
    assert state.incidents.seen_well(made.id, pod(), "it runs", clock.at, CLEAN).state is IncidentState.OPEN


def test_of_several_the_incident_is_well_only_when_all_are(state: State, voice: Voice, clock: Clock) -> None:
    made = voice.found()
    voice.found(answer(pod("b")))
    assert state.incidents.seen_well(made.id, pod("a"), "it runs", clock.at, CLEAN).well_since is None
    assert state.incidents.seen_well(made.id, pod("b"), "it runs", clock.at, CLEAN).well_since == clock.at
    clock.at += CLEAN
    left = state.incidents.seen_well(made.id, pod("a"), "it runs", clock.at, CLEAN)
    assert (left.state, left.subjects, left.subject) == (IncidentState.OPEN, (pod("b"),), pod("b"))


def returns(state: State, voice: Voice, clock: Clock, minutes: float = 5) -> Incident:
    """It is over, and back after a while."""
    (held,) = state.incidents.open()
    state.incidents.leave(held.id, pod(), "it runs")
    clock.at += timedelta(minutes=minutes)
    return voice.found()


def test_what_comes_back_within_a_day_is_the_same_incident_in_the_same_message(
    state: State, voice: Voice, clock: Clock
) -> None:
    made = voice.found()
    state.incidents.ack(made.id, ALICE)
    again = returns(state, voice, clock, 24 * 60)
    assert (again.id, again.message, again.opened, again.began) == (made.id, made.message, T0, clock.at)
    assert (again.returns, again.returned, again.acked_by, again.resolved) == (1, (clock.at,), None, None)
    assert voice.said == ["opened a in C1", "back 1"]
    assert state.incidents.events(made.id)[-1].says == "2nd time: it waits"


def test_another_cause_or_root_is_another_incident_after_the_end_as_well(
    state: State, voice: Voice, clock: Clock
) -> None:
    made = voice.found()
    state.incidents.leave(made.id, pod(), "it runs")
    other = voice.found(answer(root=Subject("Node", None, "node2", "u2")))
    assert other.id != made.id
    assert voice.found(answer(pod("b"))).id == made.id


def test_the_root_that_a_later_look_found_is_what_it_comes_back_by(state: State, voice: Voice, clock: Clock) -> None:
    made = voice.found(answer(root=Subject("RBDImage", None, "p/i", "fsid/p/i")))
    assert voice.found().id == made.id
    assert returns(state, voice, clock).id == made.id
    assert whats(state, made.id) == ["opened", "root", "resolved", "back again"]


def test_what_comes_back_three_times_within_an_hour_flaps_and_only_the_third_says_so(
    state: State, voice: Voice, clock: Clock
) -> None:
    voice.found()
    assert [returns(state, voice, clock).flapping for _ in range(5)] == [False, False, True, True, True]
    assert voice.said == ["opened a in C1", "back 1", "back 2", "back 3 and flaps"]
    assert not returns(state, voice, clock, 180).flapping
    assert voice.said[-1] == "back 6", "that is news again"


def test_what_comes_back_seldom_does_not_flap(state: State, voice: Voice, clock: Clock) -> None:
    voice.found()
    assert not any(returns(state, voice, clock, 31).flapping for _ in range(6))
    assert len(voice.said) == 7


def test_what_flaps_stays_open_until_it_was_well_for_half_an_hour(state: State, voice: Voice, clock: Clock) -> None:
    voice.found()
    for _ in range(3):
        held = returns(state, voice, clock)
    for minutes in (0, 29):
        clock.at += timedelta(minutes=minutes)
        still = state.incidents.seen_well(held.id, pod(), "it runs", clock.at, FLAPPING_CLEAN)
        assert still.state is IncidentState.OPEN
    clock.at += timedelta(minutes=1)
    over = state.incidents.seen_well(held.id, pod(), "it runs", clock.at, FLAPPING_CLEAN)
    assert over.state is IncidentState.RESOLVED
    assert not over.flapping


def test_an_ack_is_kept_once_with_its_event_and_on_record(state: State, voice: Voice, clock: Clock) -> None:
    made = voice.found()
    clock.at += timedelta(minutes=2)
    assert state.incidents.ack(made.id, ALICE)
    clock.at += timedelta(minutes=2)
    assert state.incidents.ack(made.id, ALICE)
    now = state.incidents.get(made.id)
    assert (now.acked_by, now.acked) == (ALICE, T0 + timedelta(minutes=2))
    assert now.updated == T0, "it was not looked at for that"
    assert state.incidents.ack(made.id, "U0BOB")
    assert state.incidents.get(made.id).acked_by == "U0BOB"
    assert [(each.what, each.who) for each in state.incidents.events(made.id)[1:]] == [
        (What.ACKED, ALICE), (What.ACKED, "U0BOB"),
    ]  # fmt: skip
    assert [(row.event, row.person) for row in state.runbooks.audit_rows()] == [
        ("incident acked", ALICE), ("incident acked", "U0BOB"),
    ]  # fmt: skip
    assert state.runbooks.audit_fault() is None


def test_nothing_new_is_said_of_what_is_snoozed_until_its_time_is_over(
    state: State, voice: Voice, clock: Clock
) -> None:
    made = voice.found()
    until = clock.at + timedelta(hours=1)
    assert state.incidents.snooze(made.id, ALICE, until)
    assert returns(state, voice, clock).snoozed_until == until
    assert voice.said == ["opened a in C1"]
    assert not state.incidents.wake(made.id, voice.back), "it is not over yet"
    clock.at = until
    assert state.incidents.wake(made.id, voice.back)
    assert not state.incidents.wake(made.id, voice.back), "once"
    assert len(voice.said) == 2
    assert whats(state, made.id)[-1] == "snooze ended"
    assert state.incidents.get(made.id).snoozed_by is None
    returns(state, voice, clock)
    assert voice.said[-1] == "back 2"


def test_a_snooze_that_ended_while_it_was_over_is_no_second_news_of_its_return(
    state: State, voice: Voice, clock: Clock
) -> None:
    made = voice.found()
    state.incidents.snooze(made.id, ALICE, clock.at + timedelta(hours=1))
    state.incidents.leave(made.id, pod(), "it runs")
    clock.at += timedelta(hours=2)
    back = voice.found()
    assert (back.id, back.snoozed_by, back.snoozed_until) == (made.id, None, None)
    assert voice.said == ["opened a in C1", "back 1"]
    assert not state.incidents.wake(made.id, voice.back), "that it is back was said already"


def test_what_slack_never_showed_is_told_anew_and_what_it_showed_is_not(state: State, voice: Voice) -> None:
    made = voice.found()
    again = lambda connection, incident: state.messages.add_within(  # noqa: E731
        connection, incident.channel, Content("anew"), key=f"anew/{incident.channel}"
    )
    assert not state.incidents.unheard(made.id, "C2", again), "it is on its way"
    state.messages.undeliverable(state.messages.get(made.message), "channel_not_found")
    assert state.incidents.unheard(made.id, "C2", again)
    moved = state.incidents.get(made.id)
    assert (moved.channel, state.messages.get(moved.message).content.text) == ("C2", "anew")
    state.messages.undeliverable(state.messages.get(moved.message), "not_in_channel")
    assert not state.incidents.unheard(made.id, "C2", again), "of one key there is one message"
    state.messages.delivered(state.messages.get(moved.message), "17.1")
    assert not state.incidents.unheard(made.id, "C3", again), "people have seen it"
    assert not state.incidents.unheard("in-none", "C3", again)


def test_a_snooze_can_be_ended_and_ends_silently_with_the_incident(state: State, voice: Voice, clock: Clock) -> None:
    made = voice.found()
    assert state.incidents.snooze(made.id, ALICE, None)
    assert whats(state, made.id) == ["opened"], "there was none"
    state.incidents.snooze(made.id, ALICE, clock.at + timedelta(hours=1))
    state.incidents.snooze(made.id, "U0BOB", None)
    assert state.incidents.get(made.id).snoozed_until is None
    state.incidents.snooze(made.id, ALICE, clock.at + timedelta(hours=1))
    state.incidents.leave(made.id, pod(), "it runs")
    clock.at += timedelta(hours=2)
    assert not state.incidents.wake(made.id, voice.back)
    assert voice.said == ["opened a in C1"]


def test_what_is_over_takes_no_answer(state: State, voice: Voice, clock: Clock) -> None:
    made = voice.found()
    state.incidents.leave(made.id, pod(), "it runs", ALICE)
    assert not state.incidents.ack(made.id, ALICE)
    assert not state.incidents.snooze(made.id, ALICE, clock.at + timedelta(hours=1))
    assert whats(state, made.id) == ["opened", "resolved"]
    assert state.incidents.events(made.id)[-1].who == ALICE


def test_what_goes_where_hardly_anybody_reads_gets_a_message_of_its_own_once(state: State, voice: Voice) -> None:
    asked = state.messages.add("D1", Content("looking"))
    private = state.incidents.found("here", answer(), "D1", asked, who=ALICE)
    public = voice.found()
    assert (public.id, public.channel) == (private.id, "C1")
    assert voice.found().message == public.message != asked
    assert voice.said == ["opened a in C1"]


def test_a_message_that_tells_of_another_incident_is_not_taken(state: State, voice: Voice) -> None:
    first = voice.found()
    voice.found(answer(pod("b")))
    moved = answer(pod("b"), root=Subject("Node", None, "node2", "u2"))
    second = state.incidents.found("here", moved, "C1", first.message, anew=voice.opens)
    assert second.id != first.id
    assert second.message != first.message


def test_open_and_recent_ones_are_listed(state: State, voice: Voice, clock: Clock) -> None:
    first = voice.found()
    clock.at += timedelta(minutes=1)
    elsewhere = state.incidents.found("there", answer(pod("b")), "C2", 77)
    assert [each.id for each in state.incidents.open()] == [first.id, elsewhere.id]
    assert [each.id for each in state.incidents.open("there")] == [elsewhere.id]
    clock.at += timedelta(minutes=1)
    state.incidents.leave(first.id, pod(), "it runs")
    assert [each.id for each in state.incidents.open()] == [elsewhere.id]
    assert [each.id for each in state.incidents.recent(5)] == [first.id, elsewhere.id]
    assert [each.id for each in state.incidents.recent(1)] == [first.id]


def test_all_of_it_survives_a_restart(state: State, voice: Voice, clock: Clock, database: str) -> None:
    made = voice.found()
    state.incidents.ack(made.id, ALICE)
    returns(state, voice, clock)
    state.incidents.snooze(made.id, ALICE, clock.at + timedelta(hours=1))
    state.incidents.seen_well(made.id, pod(), "it runs", clock.at, CLEAN)
    again = open_state(database, clock.now)
    assert again.incidents.get(made.id) == state.incidents.get(made.id)
    assert again.incidents.events(made.id) == state.incidents.events(made.id)
    assert msgspec.json.encode(again.incidents.get(made.id))
    again.runbooks.engine.dispose()
