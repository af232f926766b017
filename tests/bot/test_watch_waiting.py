"""Which pods are looked at, and when: once for a stuck one, never for an ordinary start, whatever else happens."""

import itertools
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from bot.watch import waiting
from bot.watch.shapes import EVENTS, PODS, WatchedEvent, WatchedPod
from bot.watch.waiting import AGAIN, MOST_LATELY, MOST_ORPHANS, MOST_SEEN, RETRY, WITHOUT_EVENT, Call, Creating
from diagnostics.causes import classify
from diagnostics.facts.resources import Pod
from diagnostics.model import Subject
from diagnostics.sources.kubernetes.watching import Change, change_of, line_decoder
from tests.bot import churn

BEGAN = datetime(2026, 3, 14, 9, 0, 0, tzinfo=UTC)
GRACE = timedelta(seconds=60)
LOCKED = 'MountVolume.SetUp failed for volume "pv" : rbd: image index-api-image is locked by other nodes'
OTHER = 'MountVolume.SetUp failed for volume "pv" : rbd: map failed exit status 110, rbd output: rbd: map failed: (110) Connection timed out'
UMBRELLA = "Unable to attach or mount volumes: unmounted volumes=[data]: timed out waiting for the condition"
CACHE = 'MountVolume.SetUp failed for volume "c" : failed to sync configmap cache: timed out waiting for the condition'
NEVER_YET = datetime(2026, 3, 14, 8, 0, 0, tzinfo=UTC)


class World:
    """The state under test and a clock; `told` is what was called, with the second of it."""

    def __init__(self, **known: Any) -> None:
        self.creating = Creating(GRACE, **known)
        self.told: list[tuple[float, str, str]] = []
        self.at = 0.0
        self.blind = False

    @property
    def now(self) -> datetime:
        return BEGAN + timedelta(seconds=self.at)

    def pod(self, at: float, name: str = "p", phase: str = "Pending", since: float = 0, **more: Any) -> None:
        self.until(at)
        made = churn.pod(name, BEGAN, since, phase, "node2", **more)
        self.creating.pod(msgspec.convert(made, WatchedPod), self.now)
        self.until(at)

    def event(
        self, at: float, message: str = LOCKED, name: str = "p", reason: str = "FailedMount", **more: Any
    ) -> None:
        self.until(at)
        made = churn.event(churn.pod(name, BEGAN, 0), BEGAN, more.pop("first", at), reason, message, **more)
        self.creating.event(msgspec.convert(made, WatchedEvent))
        self.until(at)

    def gone(self, at: float, name: str = "p") -> None:
        self.until(at)
        self.creating.gone(f"uid-{name}", self.now)
        self.until(at)

    def until(self, at: float) -> None:
        """Let time pass, and hear what is due at its time."""
        while (due := self.creating.next) is not None and due <= BEGAN + timedelta(seconds=at):
            self.at = max(self.at, (due - BEGAN).total_seconds())
            for call in self.creating.due(self.now, lambda _: not self.blind):
                self.told.append((self.at, "settled" if call.settled else "notice", call.subject.name))
        self.at = at


def test_a_pod_with_an_event_that_matters_is_noticed_when_its_grace_ends() -> None:
    world = World()
    world.pod(0)
    world.event(3)
    world.until(59)
    assert world.told == []
    world.until(3600)
    assert world.told == [(60, "notice", "p")]


def test_one_that_is_past_its_grace_is_noticed_with_the_event() -> None:
    world = World()
    world.pod(0)
    world.event(100)
    assert world.told == [(100, "notice", "p")]


def test_one_without_any_event_is_noticed_much_later() -> None:
    world = World()
    world.pod(0)
    world.until(3600)
    assert world.told == [(WITHOUT_EVENT.total_seconds(), "notice", "p")]


def test_what_passes_by_itself_is_as_no_event() -> None:
    world = World()
    world.pod(0)
    world.event(3, CACHE)
    world.until(299)
    assert world.told == []
    world.event(299, LOCKED)
    assert world.told == [(299, "notice", "p")]


def test_an_event_may_come_before_its_pod() -> None:
    world = World()
    world.event(100)
    world.pod(100.2)
    assert world.told == [(100.2, "notice", "p")]


@pytest.mark.parametrize("phase", ["Running", "Succeeded", "Failed"])
def test_a_pod_that_gets_on_in_time_is_never_spoken_of(phase: str) -> None:
    world = World()
    world.pod(0)
    world.event(3)
    world.pod(59, phase=phase)
    world.event(61)
    world.until(7200)
    assert world.told == []


def test_one_that_was_noticed_settles_once_when_it_runs_or_is_gone() -> None:
    world = World()
    for name in ("runs", "goes"):
        world.pod(0, name)
        world.event(1, name=name)
    world.pod(90, "runs", phase="Running")
    world.gone(91, "goes")
    world.pod(92, "runs", phase="Running")
    world.gone(93, "runs")
    world.until(7200)
    assert world.told[2:] == [(90, "settled", "runs"), (91, "settled", "goes")]


def test_the_same_again_says_nothing_and_what_tells_less_neither() -> None:
    world = World()
    world.pod(0)
    for at in range(1, 3500, 7):
        world.event(at, LOCKED)
        world.event(at + 1, UMBRELLA)
        world.event(at + 2, "the node says something that nobody knows")
        world.event(at + 3, CACHE)
    assert world.told == [(60, "notice", "p")]


def test_what_tells_more_is_told_but_not_before_a_while() -> None:
    world = World()
    world.pod(0)
    world.event(70, UMBRELLA)
    world.event(75, LOCKED)
    world.event(76, LOCKED)
    world.until(7200)
    assert world.told == [(70, "notice", "p"), (70 + AGAIN.total_seconds(), "notice", "p")]


def test_another_certain_cause_is_told_once_though_both_alternate() -> None:
    world = World()
    world.pod(0)
    for at in range(70, 3600, 10):
        world.event(at, LOCKED)
        world.event(at + 5, OTHER)
    assert [what for _, what, _ in world.told] == ["notice", "notice"]


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("FailedScheduling", "Warning"), ("Unhealthy", "Warning"), ("BackOff", "Warning"), ("FailedMount", "Normal")],
)
def test_other_events_do_not_matter(reason: str, kind: str) -> None:
    world = World()
    world.pod(0)
    world.event(1, reason=reason, kind=kind)
    world.until(299)
    assert world.told == []


def test_a_pod_that_no_node_has_taken_is_not_ours() -> None:
    world = World()
    world.creating.pod(msgspec.convert(churn.pod("p", BEGAN, 0), WatchedPod), world.now)
    world.event(1)
    world.until(7200)
    assert world.told == []


def test_the_time_counts_from_when_it_was_scheduled() -> None:
    world = World()
    world.pod(0, since=-3000)
    world.event(0)
    world.pod(0, "late", since=500)
    assert world.told == [(0, "notice", "p")]


def test_until_its_time_is_known_it_counts_from_when_it_was_first_seen() -> None:
    world = World()
    bare = churn.pod("p", BEGAN, 0, node="node2")
    bare["status"]["conditions"] = []
    world.at = 40
    world.creating.pod(msgspec.convert(bare, WatchedPod), world.now)
    world.event(41)
    world.until(61)
    assert world.told == []
    world.pod(62)
    assert world.told == [(62, "notice", "p")]


def test_what_is_listed_anew_is_not_noticed_again_and_what_vanished_settles() -> None:
    world = World()
    for name in ("stays", "vanishes", "young"):
        world.pod(0, name)
    for name in ("stays", "vanishes"):
        world.event(61, name=name)
    for at in range(100, 290, 10):
        world.pod(at, "stays")
        world.event(at, name="stays")
        world.creating.listed("other", frozenset(), world.now)
        world.creating.listed(churn.NAMESPACE, frozenset({"uid-stays"}), world.now)
        world.until(at)
    assert world.told == [(61, "notice", "stays"), (61, "notice", "vanishes"), (100, "settled", "vanishes")]


def test_after_a_restart_only_news_is_told_and_what_is_over() -> None:
    subjects = [Subject("Pod", churn.NAMESPACE, name, f"uid-{name}") for name in ("same", "news", "over")]
    world = World(known=dict.fromkeys(subjects, BEGAN + timedelta(seconds=90)))
    world.pod(100, "same")
    world.pod(100, "news")
    world.creating.listed(None, frozenset({"uid-same", "uid-news"}), world.now)
    world.until(100)
    world.event(101, name="same", first=30)
    world.event(101, name="news", first=95)
    world.until(7200)
    assert world.told == [(100, "settled", "over"), (90 + AGAIN.total_seconds(), "notice", "news")]


def test_a_pod_that_falls_back_is_noticed_anew_but_not_within_the_interval() -> None:
    world = World()
    world.pod(0)
    world.event(61)
    world.pod(65, phase="Running")
    world.pod(66)
    world.event(67)
    world.until(7200)
    assert world.told == [(61, "notice", "p"), (65, "settled", "p"), (61 + AGAIN.total_seconds(), "notice", "p")]


def test_what_could_not_be_told_is_told_later_unless_it_is_over() -> None:
    creating, now = Creating(GRACE), BEGAN + timedelta(minutes=10)
    for name in ("a", "b"):
        creating.pod(msgspec.convert(churn.pod(name, BEGAN, 0, node="n"), WatchedPod), now)
    for call in list(creating.due(now)):
        creating.undone(call, now)
    creating.pod(msgspec.convert(churn.pod("a", BEGAN, 0, node="n"), WatchedPod), now)
    creating.gone("uid-b", now)
    assert list(creating.due(now)) == []
    assert [call.subject.name for call in creating.due(now + RETRY)] == ["a"]
    creating.gone("uid-a", now + RETRY)
    (over,) = creating.due(now + RETRY)
    assert over.settled
    creating.undone(over, now + RETRY)
    assert list(creating.due(now + RETRY)) == []
    assert list(creating.due(now + 2 * RETRY)) == [over]
    assert creating.next is None


def test_a_second_notice_that_could_not_be_told_is_told_later_too() -> None:
    world = World()
    world.pod(0)
    world.event(70, UMBRELLA)
    world.event(75, LOCKED)
    at = BEGAN + timedelta(seconds=70) + AGAIN
    (call,) = world.creating.due(at)
    world.creating.undone(call, at)
    assert [c.subject.name for c in world.creating.due(at + RETRY)] == ["p"]


def test_while_nothing_is_seen_nobody_is_judged_by_how_it_was() -> None:
    world = World()
    world.pod(0)
    world.pod(0, "ran")
    world.event(1)
    world.event(1, name="ran")
    world.blind = True
    world.until(600)
    assert world.told == []
    world.pod(600, "ran", phase="Running")
    world.blind = False
    world.until(7200)
    assert world.told == [(600.5, "notice", "p")]


def lines(steps: list[churn.Step]) -> Iterator[tuple[float, Change, Any]]:
    decoders = {"pods": line_decoder(PODS.struct), "events": line_decoder(EVENTS.struct)}
    for step in steps:
        decoded = decoders[step.plural].decode(churn.as_line(step))
        yield step.at, change_of(decoded), decoded.object


def played(world: World, steps: list[churn.Step], length: float = 3_600) -> int:
    """Play an hour in a moment; returns the most that was held at once."""
    most = 0
    for number, (at, change, thing) in enumerate(lines(steps)):
        world.until(at)
        if isinstance(thing, WatchedEvent):
            world.creating.event(thing)
        elif change is Change.DELETED:
            world.creating.gone(thing.metadata.uid, world.now)
        else:
            world.creating.pod(thing, world.now)
        most = max(most, len(world.creating)) if number % 20 == 0 else most
    world.until(length)
    return most


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_hour_of_ordinary_starts_and_one_stuck_pod_give_one_notice(seed: int) -> None:
    world = World()
    steps = churn.hour(BEGAN, seed=seed)
    assert len({step.object["metadata"]["uid"] for step in steps if step.plural == "pods"}) == 1_001
    assert sum(step.object.get("reason") == "FailedMount" for step in steps) > 800, "there is much to be deceived by"
    played(world, steps)
    assert world.told == [(960, "notice", churn.STUCK.name)], "when its grace of a minute ended"


def test_an_hour_without_a_stuck_pod_is_silent() -> None:
    world = World()
    played(world, churn.hour(BEGAN, seed=4, stuck=False))
    assert world.told == []


def test_what_is_held_does_not_grow_with_the_churn() -> None:
    few, many = World(), World()
    held_by_few = played(few, churn.hour(BEGAN, ordinary=1_000, length=3_600))
    held_by_many = played(many, churn.hour(BEGAN, ordinary=3_000, length=10_800), 10_800)
    assert held_by_many < 1.5 * held_by_few < 1_500
    assert len(many.creating) < MOST_ORPHANS


def test_a_storm_of_events_is_bounded_too() -> None:
    world = World()
    world.pod(0)
    about = churn.pod("p", BEGAN, 0)
    for number in range(300):
        word = "".join(random.Random(number).choices("ghijklmnop", k=12))  # noqa: S311 - any words do
        event = churn.event(about, BEGAN, 0, "FailedCreatePodSandBox", f"failed to set up the {word}")
        world.creating.event(msgspec.convert(event, WatchedEvent))
    for number in range(2_000):
        stranger = churn.event(churn.pod(f"s{number}", BEGAN, 0), BEGAN, 0, "FailedMount", "x" * 5_000)
        for _ in range(9):
            world.creating.event(msgspec.convert(stranger, WatchedEvent))
    assert len(world.creating._pods["uid-p"].said.seen) == MOST_SEEN
    assert len(world.creating._orphans) == MOST_ORPHANS
    assert len(world.creating) < 5 * MOST_ORPHANS
    kept = next(iter(world.creating._orphans.values()))
    assert all(len(event.message or "") < 5_000 for event in kept)


def test_what_passes_by_itself_is_no_news() -> None:
    world = World()
    world.pod(0)
    world.event(400, CACHE)
    world.until(3_600)
    assert world.told == [(300, "notice", "p")]


def test_ordinary_starts_leave_no_times_behind() -> None:
    world, most = World(), 0
    for number in range(3_000):
        world.event(0, name=f"p{number}")
        world.pod(0, f"p{number}")
        world.pod(0, f"p{number}", phase="Running")
        most = max(most, len(world.creating))
    assert most < 200


def test_what_was_said_of_a_pod_that_runs_is_not_kept() -> None:
    world = World()
    world.event(0)
    assert len(world.creating) == 1
    world.pod(0, phase="Running")
    assert len(world.creating) == 0


def test_only_so_many_pods_are_taken_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MOST_PODS", 3)
    world = World()
    for number in range(5):
        world.pod(0, f"p{number}")
        world.event(1, name=f"p{number}")
    assert world.creating.is_full
    world.until(61)
    assert [name for _, _, name in world.told] == ["p0", "p1", "p2"]
    world.gone(62, "p0")
    assert not world.creating.is_full
    world.pod(63, "p4")
    assert world.told[-1] == (63, "notice", "p4"), "what was said of it was kept"


def test_texts_that_differ_by_numbers_and_ids_alone_are_classified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(waiting, "classify", lambda text, reason: asked.append(text) or classify(text, reason))
    world = World()
    world.pod(0)
    for number in range(50):
        sandbox = f"{number:064x}"
        world.event(
            number,
            f'Failed to create pod sandbox "{sandbox}": eth{number}: no network',
            reason="FailedCreatePodSandBox",
        )
    assert len(asked) == 1


def test_pods_that_start_and_end_again_and_again_leave_nothing() -> None:
    world = World()
    for number in range(5_000):
        world.pod(number, f"p{number}", since=number - 100)
        world.event(number, name=f"p{number}")
        world.gone(number, f"p{number}")
    assert len(world.told) == 10_000
    assert len(world.creating) < MOST_LATELY


def shapes() -> Iterator[dict[str, Any]]:
    """Pods in all the shapes that decide whether one is being created."""
    states: list[Any] = [
        None, {}, {"waiting": {"reason": "ContainerCreating"}}, {"waiting": {"reason": "PodInitializing"}}, {"waiting": {}},
        {"waiting": {"reason": "ErrImagePull"}}, {"running": {}}, {"terminated": {"exitCode": 0}},
    ]  # fmt: skip
    conditions: list[Any] = [
        None, [], [{"type": "Ready", "status": "False"}],
        [{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-03-14T09:00:00Z"}],
        [{"type": "PodScheduled", "status": "False", "lastTransitionTime": "2026-03-14T09:00:00Z"}],
        [{"type": "PodScheduled", "status": "True", "lastTransitionTime": None}],
    ]  # fmt: skip
    times = [None, "2026-03-14T09:00:07Z"]
    shaped = itertools.product(("Pending", "Running"), (None, "n"), states, states, conditions, times)
    for phase, node, init, main, told, started in shaped:
        yield {
            "metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {"nodeName": node},
            "status": {
                "phase": phase, "startTime": started, "conditions": told,
                "initContainerStatuses": [{"name": "i", "state": init}],
                "containerStatuses": [{"name": "c", "state": main}, {"name": "d", "state": states[2]}],
            },
        }  # fmt: skip


def test_a_pod_is_creating_here_just_when_it_is_for_the_checks() -> None:
    seen = set()
    for shape in shapes():
        data = json.dumps(shape)
        slim, full = msgspec.json.decode(data, type=WatchedPod), msgspec.json.decode(data, type=Pod)
        assert (slim.is_creating, slim.waiting_since) == (full.is_creating, full.waiting_since), data
        assert slim.subject == full.subject
        seen.add((slim.is_creating, slim.waiting_since is None))
    assert len(seen) == 4


def test_a_call_names_its_pod() -> None:
    assert str(Call(churn.STUCK).subject) == "Pod search/index-api-stuck"


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_in_whatever_order_the_promises_hold(seed: int) -> None:
    """Nothing is noticed before its grace, twice within the interval, or after it is gone; what was noticed settles once."""
    chance = random.Random(seed)  # noqa: S311 - it decides what a test plays
    world, names = World(), [f"p{n}" for n in range(6)]
    creating: dict[str, bool] = dict.fromkeys(names, False)
    open_notice: dict[str, float | None] = dict.fromkeys(names)
    last: dict[str, float] = {}
    messages = (LOCKED, OTHER, UMBRELLA, CACHE, "who knows")
    failed = 0
    for _ in range(400):
        world.at += chance.choice((0, 0.3, 2, 20, 70))
        name = chance.choice(names)
        match chance.choice(("pod", "pod", "runs", "gone", "event", "event", "event", "listed")):
            case "pod":
                made = churn.pod(name, BEGAN, 0, "Pending", "node2")
                world.creating.pod(msgspec.convert(made, WatchedPod), world.now)
                creating[name] = True
            case "runs":
                made = churn.pod(name, BEGAN, 0, "Running", "node2")
                world.creating.pod(msgspec.convert(made, WatchedPod), world.now)
                creating[name] = False
            case "gone":
                world.creating.gone(f"uid-{name}", world.now)
                creating[name] = False
            case "event":
                made = churn.event(churn.pod(name, BEGAN, 0), BEGAN, world.at, "FailedMount", chance.choice(messages))
                world.creating.event(msgspec.convert(made, WatchedEvent))
            case "listed":
                there = frozenset(f"uid-{n}" for n in names if creating[n] and chance.random() < 0.8)
                world.creating.listed(None, there, world.now)
                creating |= {n: f"uid-{n}" in there for n in names}
        for call in world.creating.due(world.now):
            told = call.subject.name
            if chance.random() < 0.1:
                world.creating.undone(call, world.now)
                failed += 1
            elif call.settled:
                assert not creating[told]
                assert open_notice[told] is not None, "it was noticed, and nobody has said yet that it is over"
                open_notice[told] = None
            else:
                assert creating[told]
                assert world.at >= GRACE.total_seconds()
                assert world.at - last.get(told, -1e9) >= AGAIN.total_seconds()
                open_notice[told] = last[told] = world.at
    for _ in range(9):
        world.at += 7_200
        for call in world.creating.due(world.now):
            open_notice[call.subject.name] = None if call.settled else world.at
    assert {n for n in names if open_notice[n] is not None} == {n for n in names if creating[n]}
    assert len(world.creating) < 100
