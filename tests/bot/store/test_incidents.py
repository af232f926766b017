"""Incidents in the store: one trouble stays one incident over every look and every restart."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from bot.incidents import Answer, Incident, IncidentState
from bot.store import State, open_state
from bot.store.messages import Content
from diagnostics.model import Finding, Link, Severity, Status, Subject
from runbooks.offers import Offer

T0 = datetime(2026, 3, 3, 3, 20, tzinfo=UTC)
NODE = Subject("Node", None, "node1", "uid-node1")
OTHER_NODE = Subject("Node", None, "node2", "uid-node2")


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


def answer(
    subject: Subject | None = None, root: Subject | None = NODE, cause: str | None = "node_down", says: str = "it waits"
) -> Answer:
    about = subject or pod()
    finding = Finding(about, says, cause, T0, (Link(about, says),), root, ("ceph: silent",), Severity.CRITICAL, "f")
    return Answer(Status.FOUND, finding, (Offer("ceph/x", "1.0.0", {"node": "node1"}),), ())


def whole(subject: Subject, root: Subject = NODE) -> Answer:
    """What a look that saw everything found."""
    seen = answer(subject, root)
    return msgspec.structs.replace(seen, finding=msgspec.structs.replace(seen.finding, unseen=()))


def found(state: State, what: Answer | None = None, message: int = 1, cluster: str = "here") -> Incident:
    return state.incidents.found(cluster, what or answer(), "C1", message)


def test_a_trouble_is_kept_with_all_that_was_found(state: State) -> None:
    made = found(state)
    assert state.incidents.get(made.id) == made
    assert made.answer == answer()
    assert (made.subject, made.state, made.channel, made.message) == (pod(), IncidentState.OPEN, "C1", 1)
    assert (made.opened, made.updated, made.note, made.evidence) == (T0, T0, "", None)


def test_the_same_trouble_asked_for_again_is_the_same_incident_in_its_first_message(state: State, clock: Clock) -> None:
    made = found(state)
    clock.at += timedelta(seconds=35)
    again = found(state, answer(says="it waits still"), message=2)
    assert (again.id, again.message, again.opened) == (made.id, 1, T0)
    assert again.updated == clock.at
    assert again.answer.finding.summary == "it waits still"


def test_another_pod_of_the_same_dead_node_is_the_same_incident(state: State) -> None:
    made = found(state)
    assert found(state, answer(pod("b")), message=2).id == made.id


def test_an_incident_keeps_everything_that_waits_for_its_root(state: State) -> None:
    made = found(state)
    for name in ("c", "b", "c"):
        both = found(state, answer(pod(name)), message=2)
    assert both.id == made.id
    assert both.subjects == (pod("a"), pod("b"), pod("c"))
    assert (both.subject, both.others) == (pod("c"), (pod("a"), pod("b")))
    assert state.incidents.about("here", pod("b")) == state.incidents.about("here", pod("a")) == both


def test_an_incident_is_over_only_when_nothing_that_waits_is_left_in_it(state: State) -> None:
    made = found(state)
    found(state, answer(pod("b")))
    left = state.incidents.leave(made.id, pod("b"), "b runs")
    assert (left.state, left.subject, left.subjects, left.note) == (IncidentState.OPEN, pod("a"), (pod("a"),), "")
    assert state.incidents.about("here", pod("b")) is None
    assert state.incidents.leave(made.id, pod("never-in-it"), "it runs").state is IncidentState.OPEN
    over = state.incidents.leave(made.id, pod("a"), "a runs")
    assert (over.state, over.note, over.subjects) == (IncidentState.RESOLVED, "a runs", ())
    assert state.incidents.leave(made.id, pod("a"), "again").note == "a runs", "an end is told once"


def test_a_thing_that_is_found_under_another_root_moves(state: State) -> None:
    first = found(state, whole(pod("a")))
    found(state, whole(pod("b")))
    moved = found(state, whole(pod("a"), OTHER_NODE), message=2)
    assert moved.id != first.id
    assert (moved.message, moved.subjects) == (2, (pod("a"),))
    rest = state.incidents.get(first.id)
    assert (rest.state, rest.subject, rest.subjects) == (IncidentState.OPEN, pod("b"), (pod("b"),))
    assert found(state, whole(pod("b"), OTHER_NODE)).id == moved.id
    empty = state.incidents.get(first.id)
    assert (empty.state, empty.subjects) == (IncidentState.RESOLVED, ())
    assert moved.id in empty.note, "it says where its last one went"


def test_a_look_that_saw_less_takes_nothing_out_of_an_incident_of_several(state: State) -> None:
    first = found(state, whole(pod("a")))
    found(state, whole(pod("b")))
    blind = found(state, answer(pod("a"), root=pod("a"), cause=None))
    assert (blind.id, blind.subjects) == (first.id, (pod("a"), pod("b")))
    assert found(state, whole(pod("c"))).id == first.id, "its root is what the others prove"


def test_a_pod_that_replaces_another_of_the_same_name_takes_its_place(state: State) -> None:
    made = found(state)
    again = Subject("Pod", "search", "a", "uid-of-its-successor")
    assert found(state, answer(again)).subjects == (again,)
    assert state.incidents.about("here", Subject("Pod", "search", "a", "")) is not None
    assert state.incidents.leave(made.id, again, "it runs").state is IncidentState.RESOLVED


def test_an_incident_of_a_direct_conversation_moves_to_where_all_can_read_and_never_back(state: State) -> None:
    made = state.incidents.found("here", answer(), "D1", 1)
    state.incidents.shows_evidence(made.id, 9)
    assert state.incidents.found("here", answer(), "D2", 2).channel == "D1", "nobody else can read there either"
    moved = state.incidents.found("here", answer(), "C1", 3)
    assert (moved.id, moved.channel, moved.message, moved.evidence) == (made.id, "C1", 3, None)
    assert state.incidents.found("here", answer(), "D1", 4).message == 3
    assert state.incidents.found("here", answer(), "C2", 5).message == 3


def test_an_incident_whose_message_never_came_is_told_of_where_it_is_asked_for_next(state: State) -> None:
    first = state.messages.add("C1", Content("looking"))
    made = state.incidents.found("here", answer(), "C1", first)
    second = state.messages.add("C2", Content("looking"))
    assert state.incidents.found("here", answer(), "C2", second).message == first, "it may come yet"
    state.messages.undeliverable(state.messages.get(first), "Slack does not take it (not_in_channel).")
    assert state.incidents.found("here", answer(), "C1", first).message == first
    moved = state.incidents.found("here", answer(), "C2", second)
    assert (moved.id, moved.channel, moved.message) == (made.id, "C2", second)


@pytest.mark.parametrize(
    "other",
    [
        answer(pod("b"), root=OTHER_NODE),
        answer(pod("b"), cause="disk_full"),
        answer(pod("b"), root=None),
    ],
    ids=["another root", "another cause", "no root"],
)
def test_another_root_or_cause_of_another_pod_is_another_incident(state: State, other: Answer) -> None:
    assert found(state).id != found(state, other, message=2).id


def test_the_same_names_in_another_cluster_are_another_incident(state: State) -> None:
    assert found(state).id != found(state, cluster="there").id


def test_a_second_look_that_sees_the_root_stays_in_the_incident_of_the_first(state: State) -> None:
    first = found(state, answer(root=None, cause=None))
    second = found(state, answer(), message=2)
    assert second.id == first.id
    assert found(state, answer(pod("b")), message=3).id == first.id, "the root is known by now"


def test_the_root_tells_before_the_subject(state: State) -> None:
    blind = found(state, answer(root=None, cause=None))
    node = found(state, answer(pod("b")), message=2)
    assert found(state, answer(pod("a")), message=3).id == node.id != blind.id


def test_a_node_of_the_same_name_that_was_made_anew_is_another_trouble(state: State) -> None:
    again = Subject("Node", None, "node1", "uid-of-its-successor")
    assert found(state).id != found(state, answer(pod("b"), root=again), message=2).id


def test_what_was_resolved_stays_readable_and_the_same_trouble_a_day_later_is_a_new_incident(
    state: State, clock: Clock
) -> None:
    made = found(state)
    clock.at += timedelta(minutes=5)
    over = state.incidents.leave(made.id, pod(), "it is Running")
    assert (over.state, over.note, over.resolved) == (IncidentState.RESOLVED, "it is Running", clock.at)
    assert over.answer == made.answer
    assert state.incidents.about("here", pod()) is None
    clock.at += timedelta(hours=24, seconds=1)
    new = found(state, message=7)
    assert new.id != made.id
    assert (new.message, new.opened) == (7, clock.at)
    assert state.incidents.get(made.id) == over, "the old one is left as it was"


def test_the_open_incident_of_a_thing_is_found_by_that_thing(state: State) -> None:
    made = found(state)
    assert state.incidents.about("here", pod()) == made
    assert state.incidents.about("there", pod()) is None
    assert state.incidents.about("here", pod("b")) is None


def test_which_message_shows_the_evidence_survives_further_looks(state: State) -> None:
    made = found(state)
    state.incidents.shows_evidence(made.id, 9)
    assert found(state, answer(says="still"), message=2).evidence == 9


def test_all_of_it_survives_a_restart(state: State, database: str, clock: Clock) -> None:
    made = found(state)
    again = open_state(database, clock.now)
    assert again.incidents.get(made.id) == made
    assert again.incidents.found("here", answer(), "C2", 5).id == made.id
    again.runbooks.engine.dispose()


def test_an_unknown_id_is_a_key_error_that_names_it(state: State) -> None:
    with pytest.raises(KeyError, match="in-00000000"):
        state.incidents.get("in-00000000")


def test_an_incident_adopts_no_message_that_tells_of_another(state: State) -> None:
    hidden = state.incidents.found("here", whole(pod("b"), OTHER_NODE), "D1", 1)
    public = state.incidents.found("here", whole(pod("a")), "C1", 2)
    moved = state.incidents.found("here", whole(pod("a"), OTHER_NODE), "C1", public.message)
    assert (moved.id, moved.channel, moved.message) == (hidden.id, "D1", 1)
    assert state.incidents.get(public.id).message == 2
