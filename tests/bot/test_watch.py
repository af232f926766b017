"""The watch of a cluster: the right pod at the right moment, and only it, through cuts, refusals and restarts."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.rbac import read_rules
from bot.sandbox.kubernetes import store
from bot.sandbox.kubernetes.access import EVERYTHING, Rule
from bot.sandbox.kubernetes.resources import BY_NAME, PODS
from bot.watch import WATCHED, Watch
from bot.watch.waiting import AGAIN, RETRY
from diagnostics.model import Subject
from diagnostics.sources import CouldNotLook
from diagnostics.sources.kubernetes.api import NoSuchConfiguration
from diagnostics.sources.kubernetes.watching import CATCH_UP
from tests.bot import churn
from tests.bot.watched import GRACE, HandClock, World, step, until

BEGAN = datetime(2026, 3, 14, 9, 0, 0, tzinfo=UTC)
LOCKED = 'MountVolume.SetUp failed for volume "pv" : rbd: image index-api-image is locked by other nodes'
MAPS = BY_NAME["v1", "configmaps"]


@asynccontextmanager
async def running(folder: Path, **watch: Any) -> AsyncIterator[World]:
    """A world whose watch runs and has seen what there is."""
    world = World(folder, HandClock(BEGAN), **watch)
    async with world.server, world.running():
        await until(lambda: world.watch.connected)
        yield world


def pod(name: str = "p", phase: str = "Pending", at: float = 0) -> churn.Step:
    return step("MODIFIED", churn.pod(name, BEGAN, at, phase, "node2"))


def event(name: str = "p", at: float = 0, message: str = LOCKED) -> churn.Step:
    return step("ADDED", churn.event(churn.pod(name, BEGAN, 0), BEGAN, at, "FailedMount", message))


def gone(world: World, name: str = "p") -> churn.Step:
    return step("DELETED", world.server.registry.get(PODS, churn.NAMESPACE, name))


async def test_an_hour_of_churn_and_cut_connections_gives_one_notice(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        await world.play(churn.hour(BEGAN), cut_each=60)
        await world.at(3_700)
        assert world.told == [(960.0, "notice", churn.STUCK.name)]
        world.do(step("DELETED", world.server.registry.get(PODS, churn.NAMESPACE, churn.STUCK.name)))
        await world.at(3_701)
    assert world.told[1:] == [(3_700, "settled", churn.STUCK.name)]


async def test_the_event_that_matters_is_noticed_within_a_second_by_the_wall_clock(tmp_path: Path) -> None:
    noticed, came = asyncio.Event(), list[Subject]()

    async def notice(subject: Subject) -> None:
        came.append(subject)
        noticed.set()

    world = World(tmp_path, HandClock(datetime.now(UTC)))
    watch = Watch("prod", world.connect, notice, notice, grace=GRACE)
    began = datetime.now(UTC) - timedelta(minutes=2)
    async with world.server:
        task = asyncio.create_task(watch.run())
        await until(lambda: watch.connected)
        world.do(step("ADDED", churn.pod("p", began, 0, node="node2")))
        for _ in range(300):  # others start at that moment
            world.do(step("ADDED", churn.pod(f"o{_}", datetime.now(UTC), 0, node="node2")))
        happened = time.monotonic()
        world.do(event())
        async with asyncio.timeout(5):
            await noticed.wait()
        took = time.monotonic() - happened
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert [subject.name for subject in came] == ["p"]
    assert took < 1


async def test_what_there_was_before_it_began_is_noticed_too(tmp_path: Path) -> None:
    world = World(tmp_path, HandClock(BEGAN + timedelta(minutes=9)))
    for made in (pod("stuck"), event("stuck"), pod("runs", "Running"), event("runs")):
        world.do(made)
    async with world.server, world.running():
        await until(lambda: world.watch.connected)
        await world.tries_until(lambda: world.told)
    ((at, what, name),) = world.told
    assert (what, name) == ("notice", "stuck")
    assert at <= 1


async def test_pods_that_went_while_nobody_watched_settle_after_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "CHANGES_KEPT", 20)
    async with running(tmp_path) as world:
        for name in ("goes", "stays"):
            world.do(pod(name))
            world.do(event(name))
        await world.at(61)
        lists = world.server.registry.store.revision
        world.allow()
        world.cut()
        await until(lambda: world.watch.problem)
        world.do(gone(world, "goes"))
        for number in range(30):  # so that the server has forgotten what the watch would go on from
            churn.apply(step("MODIFIED", churn.pod("other", BEGAN, number, "Running", "n")), world.server.registry)
        world.allow(EVERYTHING)
        await world.tries_until(lambda: len(world.told) > 2 and world.watch.connected)
        assert int(world.watch.revisions["pods"]) > lists
        await world.clock.forward_to(BEGAN + timedelta(seconds=280))
    assert [(what, name) for _, what, name in world.told] == [
        ("notice", "goes"), ("notice", "stays"), ("settled", "goes")
    ]  # fmt: skip


async def test_while_it_sees_nothing_it_judges_nobody(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        for name in ("starts", "stuck"):
            world.do(pod(name))
            world.do(event(name))
        await world.at(30)
        world.allow()
        world.cut()
        await until(lambda: world.watch.problem)
        world.do(pod("starts", "Running"))
        await world.clock.forward_to(BEGAN + timedelta(seconds=200))
        assert not world.watch.connected
        assert world.told == [], "both may run by now"
        world.allow(EVERYTHING)
        await world.tries_until(lambda: world.watch.connected)
        await world.heard()
        await world.clock.forward_to(world.clock.now() + CATCH_UP + timedelta(seconds=1))
    assert [(what, name) for _, what, name in world.told] == [("notice", "stuck")]


async def test_it_can_be_stopped_and_run_again_without_saying_anything_twice(tmp_path: Path) -> None:
    world = World(tmp_path, HandClock(BEGAN))
    async with world.server:
        async with world.running():
            await until(lambda: world.watch.connected)
            for name in ("goes", "stays"):
                world.do(pod(name))
                world.do(event(name))
            await world.at(61)
        assert not world.watch.connected
        world.do(gone(world, "goes"))
        async with world.running():
            await until(lambda: world.watch.connected)
            await world.at(290)
    assert [(what, name) for _, what, name in world.told] == [
        ("notice", "goes"), ("notice", "stays"), ("settled", "goes")
    ]  # fmt: skip


async def test_a_notice_that_a_stop_interrupts_is_told_by_the_next_run(tmp_path: Path) -> None:
    world = World(tmp_path, HandClock(BEGAN))
    begun, told = asyncio.Event(), list[str]()

    async def notice(subject: Subject) -> None:
        if not begun.is_set():
            begun.set()
            await asyncio.Event().wait()
        told.append(subject.name)

    world.watch._notice = notice
    async with world.server:
        async with world.running():
            await until(lambda: world.watch.connected)
            for name in ("one", "two"):
                world.do(pod(name))
                world.do(event(name))
            await world.at(61)
            await begun.wait()
        async with world.running():
            await until(lambda: world.watch.connected)
            await world.tries_until(lambda: len(told) > 1)
            await world.at(290)
    assert sorted(told) == ["one", "two"]


async def test_a_new_process_is_told_what_was_noticed_and_tells_what_is_over(tmp_path: Path) -> None:
    def noticed(name: str, namespace: str = churn.NAMESPACE) -> Subject:
        return Subject("Pod", namespace, name, f"uid-{name}")

    at = BEGAN - timedelta(minutes=3)
    world = World(
        tmp_path, HandClock(BEGAN), namespaces=(churn.NAMESPACE,),
        known={
            noticed("stays"): at, noticed("over"): at, noticed("foreign", "other"): at,
            Subject("PersistentVolumeClaim", churn.NAMESPACE, "data", "uid-data"): at,
        },
    )  # fmt: skip
    world.do(pod("stays", at=-400))
    world.do(event("stays", at=-300))
    async with world.server, world.running():
        await until(lambda: world.told)
        await world.at(3_600)
    assert world.told == [(0, "settled", "over")]


async def test_only_the_named_namespaces_are_asked_for_and_one_that_is_forbidden_holds_up_no_other(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, HandClock(BEGAN), namespaces=(churn.NAMESPACE, "closed"))
    rule = {"apiGroups": [""], "resources": ["pods", "events"], "verbs": ["list", "watch"]}
    allows = world.server.access.allows
    world.server.access.allows = lambda user, wanted: wanted.namespace == churn.NAMESPACE and allows(user, wanted)  # type: ignore[method-assign]
    world.allow(Rule.of(rule))
    async with world.server, world.running():
        await until(lambda: world.watch.problem and int(world.watch.revisions["events/search"] or 0) > 0)
        await until(lambda: world.watch._pods[churn.NAMESPACE].connected)
        assert world.watch.problem is not None
        assert 'in the namespace "closed"; grant list and watch on ' in world.watch.problem
        assert not world.watch.connected
        assert world.watch.lag is None
        world.do(pod())
        world.do(event())
        await until(lambda: int(world.watch.revisions["events/search"]) == world.server.registry.store.revision)
        await world.clock.forward_to(BEGAN + timedelta(seconds=61))
    assert world.told == [(60, "notice", "p")]


async def test_what_could_not_be_told_is_logged_and_told_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path) as world:
        world.failing = True
        world.do(pod())
        world.do(event())
        with caplog.at_level(logging.ERROR, "unstick.watch"):
            await world.at(65)
        world.failing = False
        await world.at(60 + RETRY.total_seconds() + 1)
    assert world.told == [(60 + RETRY.total_seconds(), "notice", "p")]
    assert "The watch of prod could not tell of Pod search/p; it tries again." in caplog.text


async def test_news_about_a_pod_is_told_after_a_while(tmp_path: Path) -> None:
    waits = "Unable to attach or mount volumes: unmounted volumes=[data]: timed out waiting for the condition"
    async with running(tmp_path) as world:
        world.do(pod())
        world.do(event(message=waits))
        await world.at(61)
        world.do(event())
        await world.at(3_600)
    assert world.told == [(60, "notice", "p"), (60 + AGAIN.total_seconds(), "notice", "p")]


async def test_credentials_that_are_refused_are_read_anew(tmp_path: Path) -> None:
    world = World(tmp_path, HandClock(BEGAN))
    world.token = "stale"
    async with world.server, world.running():
        await until(lambda: world.watch.problem)
        assert world.watch.problem is not None
        assert "renew the token" in world.watch.problem
        world.token = "good"
        await world.tries_until(lambda: world.watch.connected)
        assert world.watch.problem is None
    assert world.opened == 2


@pytest.mark.parametrize(
    "error",
    [
        CouldNotLook("No Kubernetes is configured."),
        NoSuchConfiguration("There is no such file."),
        KeyError("a mistake"),
    ],
)
async def test_a_connection_that_cannot_be_opened_is_tried_again_for_ever(tmp_path: Path, error: Exception) -> None:
    world = World(tmp_path, HandClock(BEGAN))
    opens, asked = world.connect, list[int]()

    def connect() -> Any:
        asked.append(1)
        if len(asked) < 4:
            raise error
        return opens()

    world.watch._api = connect
    async with world.server, world.running():
        await until(lambda: asked)
        assert world.watch.problem
        await world.clock.forward_to(BEGAN + timedelta(seconds=30))
        await until(lambda: world.watch.connected)
        assert world.watch.problem is None
    assert len(asked) == 4


async def test_it_tells_how_long_nothing_was_heard(tmp_path: Path) -> None:
    world = World(tmp_path, HandClock(BEGAN))
    assert (world.watch.lag, world.watch.connected) == (None, False)
    async with world.server, world.running():
        await until(lambda: world.watch.connected)
        assert world.watch.lag == timedelta(0)
        await world.at(50)
        assert world.watch.lag == timedelta(seconds=50)
        world.do(pod())
        world.do(event())
        await world.heard()
        assert world.watch.lag == timedelta(0)
    assert not world.watch.connected


def test_just_what_is_watched_may_be_watched() -> None:
    watched = {(group, name) for rule in read_rules() if "watch" in rule["verbs"] for group in rule["apiGroups"] for name in rule["resources"]}  # fmt: skip
    assert watched == {(each.group, each.plural) for each in WATCHED} == {("", "pods"), ("", "events")}
    for rule in read_rules():
        assert "watch" not in rule["verbs"] or {"get", "list"} < set(rule["verbs"])
