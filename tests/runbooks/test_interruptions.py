"""Runs that are cut short at every moment, and others that go on with them: nothing is lost, nothing is done twice."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from diagnostics.sources.ceph.rados import RadosError
from runbooks import engine as engines
from runbooks.database import StoreError
from runbooks.engine import Refusal
from runbooks.events import Say
from runbooks.model import Step
from runbooks.store import Execution, State
from tests.runbooks.staged import BOB, POD, Killed, Process, Stage, incident, staged

EFFECTS = [
    "patch Node node1",
    "osd blocklist add 10.47.136.60:0/0",
    "break_lock index-api-image.rbd",
    f"delete Pod {incident.OLD_POD}",
]
# taking the lease; intent, effect, outcome and verification of four acts; the end.
MOMENTS = 18
FENCE = "10.47.136.60:0/0"


class Owners:
    """Which process runs, and which have died."""

    current = "first"
    dead: frozenset[str] = frozenset()

    def dies(self) -> None:
        """The process that ran is dead; from now on another one runs."""
        self.dead = self.dead | {self.current}
        self.current += "+"


@pytest.fixture
def owners(monkeypatch: pytest.MonkeyPatch) -> Iterator[Owners]:
    made = Owners()
    monkeypatch.setattr(engines, "this_process", lambda: made.current)
    monkeypatch.setattr(engines, "has_died", lambda owner: owner in made.dead)
    return made


async def killed(stage: Stage, execution: Execution, owners: Owners, process: Process) -> None:
    """Run it in a process that dies on the way."""
    with pytest.raises(Killed):
        await stage.run(execution, stage.engine_of(process))
    owners.dies()


def ended_well(stage: Stage, execution: Execution, *processes: Process, effects: list[str] = EFFECTS) -> None:
    """The pod runs, the execution is done, each effect came once, and the journal and the audit log are whole."""
    assert stage.now(execution).state is State.DONE, stage.now(execution).reason
    assert Counter(what for process in processes for what in process.wrote) == Counter(effects)
    assert stage.phases() == ["Running"]
    assert stage.locker not in stage.lockers()
    entries = stage.state.runbooks.entries(execution.id)
    assert all(entry.outcome in ("done", "not done") for entry in entries)
    assert all(entry.said for entry in entries)
    assert Counter(entry.step for entry in entries if entry.outcome == "done").most_common(1)[0][1] == 1
    assert stage.audited()[-1] == "done"


async def test_an_uninterrupted_run_has_as_many_moments_as_are_cut_short_below(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()
        process = Process()
        await stage.run(execution, stage.engine_of(process))
        assert len(process.moments) == MOMENTS
        ended_well(stage, execution, process)


@pytest.mark.parametrize("moment", range(MOMENTS - 1))
async def test_a_run_killed_at_any_moment_is_finished_by_another_without_doing_anything_twice(
    moment: int, tmp_path: Path, owners: Owners
) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()
        doomed, heir = Process(dies_at=moment), Process()
        await killed(stage, execution, owners, doomed)
        await stage.run(execution, stage.engine_of(heir))
        ended_well(stage, execution, doomed, heir)


async def test_a_run_killed_after_its_end_is_not_run_again(tmp_path: Path, owners: Owners) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()
        await killed(stage, execution, owners, Process(dies_at=MOMENTS - 1))
        with pytest.raises(Refusal, match="is done"):
            await stage.run(execution)


async def test_a_run_whose_every_process_dies_soon_still_comes_to_its_end(tmp_path: Path, owners: Owners) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()
        processes: list[Process] = []
        while stage.now(execution).state is not State.DONE:
            processes.append(Process(dies_at=4))
            try:
                await stage.run(execution, stage.engine_of(processes[-1]))
            except Killed:
                owners.dies()
            assert len(processes) < 20
        ended_well(stage, execution, *processes)


def only_fails_for_the_waiting_pod(stage: Stage) -> None:
    """Let every mount of the waiting pod fail; its replacement's works."""
    mount = stage.sandbox.volumes.mount

    def failing(pod: Any, volume: Any, node: str) -> str | None:
        return "it will not" if pod["metadata"]["name"] == incident.STUCK_POD else mount(pod, volume, node)

    stage.sandbox.volumes.mount = failing  # type: ignore[method-assign]


@pytest.mark.parametrize("moment", [None, 17, 18, 19])
async def test_a_waiting_pod_that_never_starts_is_deleted_once_and_replaced(
    moment: int | None, tmp_path: Path, owners: Owners
) -> None:
    """The moments are those after intent, deletion and outcome of what follows the wait in vain."""
    async with staged(tmp_path) as stage:
        only_fails_for_the_waiting_pod(stage)
        execution = await stage.approved()
        doomed, heir = Process(dies_at=moment), Process()
        if moment is not None:
            await killed(stage, execution, owners, doomed)
        began = stage.sandbox.clock.now()
        await stage.run(execution, stage.engine_of(heir))
        ended_well(stage, execution, doomed, heir, effects=[*EFFECTS, f"delete Pod {incident.STUCK_POD}"])
        assert ("retry.otherwise", 1, "not done" if moment == 17 else "done") in stage.journal(execution)
        if moment is None:
            assert stage.sandbox.clock.now() - began >= timedelta(minutes=3)


# Answers that do not come.


def lands(stage: Stage) -> Callable[[str], None]:
    """The fence is set, but its answer is lost."""

    def hook(what: str) -> None:
        if what.startswith("osd blocklist"):
            stage.sandbox.ceph.fences[FENCE] = stage.sandbox.clock.now() + timedelta(days=1800)
            raise RadosError(110, "no answer")

    return hook


async def test_a_write_without_an_answer_is_in_doubt_and_resolved_later_by_looking(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()
        first = Process(on_write=lands(stage))
        events = await stage.run(execution, stage.engine_of(first))
        assert [event.say for event in events[-2:]] == [Say.IN_DOUBT, Say.ENDED]
        assert stage.now(execution).state is State.IN_DOUBT
        assert stage.journal(execution)[-1] == ("fence", 1, None)

        # Nobody can see now what became of it: it stays in doubt, and nothing is done.
        stage.sandbox.ceph.silent_mons = set(stage.sandbox.ceph.mons)
        blind = Process()
        events = await stage.run(execution, stage.engine_of(blind))
        assert events[-1].text.startswith("in_doubt: whether step fence was done cannot be seen now")
        assert stage.now(execution).state is State.IN_DOUBT
        assert blind.wrote == []

        stage.sandbox.ceph.silent_mons = set()
        heir = Process()
        events = await stage.run(execution, stage.engine_of(heir))
        assert any("verified: done" in event.text for event in events if event.step == "fence")
        ended_well(stage, execution, first, heir, effects=[what for what in EFFECTS if "blocklist" not in what])
        assert [entry for entry in stage.journal(execution) if entry[0] == "fence"] == [("fence", 1, "done")]


async def test_a_write_that_lands_after_its_time_out_is_waited_for_and_not_repeated(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()

        def lost(what: str) -> None:
            if what.startswith("osd blocklist"):
                raise RadosError(110, "no answer")

        await stage.run(execution, stage.engine_of(Process(on_write=lost)))
        assert FENCE not in stage.sandbox.ceph.fences
        heir = Process()
        engine, slept = stage.engine_of(heir), []
        sleep = engine.world.sleep

        async def landing(seconds: float) -> None:
            slept.append(seconds)
            await sleep(seconds)
            stage.sandbox.ceph.fences.setdefault(FENCE, stage.sandbox.clock.now() + timedelta(days=1800))

        engine.world.sleep = landing  # type: ignore[method-assign]
        await stage.run(execution, engine)
        assert slept[0] >= 15, "the operation's own time-out must be over before anybody looks"
        assert not any("blocklist" in what for what in heir.wrote)
        assert stage.now(execution).state is State.DONE


@pytest.mark.parametrize("doubt", [RadosError(107, "not connected"), RadosError(5, "I/O error")])
async def test_an_error_that_does_not_say_no_for_certain_is_in_doubt(doubt: RadosError, tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()

        def fails(what: str) -> None:
            if what.startswith("break_lock"):
                raise doubt

        await stage.run(execution, stage.engine_of(Process(on_write=fails)))
        assert stage.now(execution).state is State.IN_DOUBT
        await stage.run(execution)
        assert stage.journal(execution)[2:4] == [("unlock", 1, "not done"), ("unlock", 2, "done")]


async def test_a_refused_write_fails_and_says_that_nothing_was_changed(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()

        def denied(what: str) -> None:
            if what.startswith("osd blocklist"):
                raise RadosError(13, "access denied")

        events = await stage.run(execution, stage.engine_of(Process(on_write=denied)))
        assert stage.now(execution).state is State.FAILED
        assert "Nothing was changed" in events[-1].text
        assert stage.journal(execution)[-1] == ("fence", 1, "failed")


def with_step(stage: Stage, name: str, **changed: Any) -> None:
    """Let one step of the runbook differ from the released one."""
    book = stage.find("ceph/stale_rbd_lock@1.0.0")
    steps = tuple(s.model_copy(update=changed) if s.id == name else s for s in book.steps)
    stage.books[book.name] = book.model_copy(update={"steps": steps})


async def test_an_act_that_takes_longer_than_its_time_out_is_in_doubt_and_not_failed(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        with_step(stage, "cordon", timeout=timedelta(milliseconds=20))
        execution = await stage.approved()
        events = await stage.run(execution, stage.engine_of(Process(hangs="patch Node")))
        assert stage.now(execution).state is State.IN_DOUBT
        assert "no answer within 0.02 s" in events[-1].text
        assert stage.journal(execution) == [("cordon", 1, None)]
        heir = Process()
        await stage.run(execution, stage.engine_of(heir))
        ended_well(stage, execution, heir)


# Verification, apart from the act.


async def test_an_act_whose_verification_fails_is_done_and_its_execution_failed(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()

        def undone(what: str) -> None:
            if what.startswith("patch Node"):
                stage.change_node("node1", lambda node: node["spec"].pop("unschedulable"))

        events = await stage.run(execution, stage.engine_of(Process(then=undone)))
        assert stage.now(execution).state is State.FAILED
        assert "node_is_cordoned does not hold" in events[-1].text
        [entry] = stage.state.runbooks.entries(execution.id)
        assert (entry.outcome, entry.said) == ("unverified", stage.now(execution).reason)
        assert stage.audited()[-3:] == ["outcome", "not verified", "failed"]


async def test_what_cannot_be_verified_now_is_in_doubt_and_verified_before_anything_else_later(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()

        def falls_silent(what: str) -> None:
            if what.startswith("osd blocklist"):
                stage.sandbox.ceph.denied.add("osd dump")

        first, heir = Process(then=falls_silent), Process()
        await stage.run(execution, stage.engine_of(first))
        assert stage.now(execution).state is State.IN_DOUBT
        assert stage.journal(execution)[-1] == ("fence", 1, "done")
        assert "break_lock index-api-image.rbd" not in first.wrote
        stage.sandbox.ceph.denied.clear()
        await stage.run(execution, stage.engine_of(heir))
        ended_well(stage, execution, first, heir)


async def test_a_done_act_that_was_never_verified_is_verified_and_found_undone(tmp_path: Path, owners: Owners) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()
        await killed(stage, execution, owners, Process(dies_at=7))  # the fence's outcome is on disk, and no more
        assert stage.journal(execution)[-1] == ("fence", 1, "done")
        stage.sandbox.ceph.fences.clear()
        heir = Process()
        await stage.run(execution, stage.engine_of(heir))
        assert stage.now(execution).state is State.FAILED
        assert "fence_covers_every_address does not hold" in stage.now(execution).reason
        assert heir.wrote == []


# Who runs it.


async def test_a_second_engine_cannot_run_what_another_one_runs(tmp_path: Path, owners: Owners) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()
        running = stage.engine.run(execution.id, BOB)
        await anext(running)
        other = stage.engine_of(Process())
        with pytest.raises(Refusal, match="is running"):
            await stage.run(execution, other)
        assert [event async for event in running][-1].text == "done"
        ended_well(stage, execution, stage.process)


async def test_of_two_engines_that_begin_at_once_the_slower_one_is_refused(tmp_path: Path, owners: Owners) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()
        slower = stage.engine_of(Process())
        take = slower.store.take

        def late(*what: Any, **how: Any) -> Any:
            stage.state.runbooks.take(execution.id, "faster")
            return take(*what, **how)

        slower.store.take = late  # type: ignore[method-assign]
        with pytest.raises(Refusal, match="runs already"):
            await stage.run(execution, slower)
        assert stage.now(execution).lease_owner == "faster"


async def test_a_runner_that_slept_through_its_lease_stops_before_its_next_act(tmp_path: Path, owners: Owners) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()
        sleeper, heir = Process(), Process()
        running = stage.engine_of(sleeper).run(execution.id, BOB)
        async for event in running:
            if (event.step, event.say) == ("cordon", Say.DONE):
                break
        stage.sandbox.clock.forward(61)
        owners.current = "second"
        await stage.run(execution, stage.engine_of(heir))
        rest = [event async for event in running]
        assert rest[-1].text.startswith("stopped: ")
        ended_well(stage, execution, sleeper, heir)
        assert sleeper.wrote == EFFECTS[:1]


async def test_a_runner_whose_lease_cannot_be_renewed_stops_before_it_looks_or_acts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the runner still, as far as the database says: but soon it will not be."""
    async with staged(tmp_path) as stage:
        monkeypatch.setattr(engines, "RENEW", 0)
        execution = await stage.approved()

        def full(lease: Any) -> None:
            raise StoreError("the disk is full")

        stage.engine.store.renew = full  # type: ignore[method-assign]
        running = stage.engine.run(execution.id, BOB)
        await anext(running)
        for keeper in [task for task in asyncio.all_tasks() if "_keep" in str(task.get_coro())]:  # or it has ended
            assert await asyncio.wait_for(keeper, 10) == "the disk is full"
        assert [(event.say, event.text) async for event in running] == [(Say.ENDED, "stopped: the disk is full")]
        assert stage.process.wrote == []
        assert stage.now(execution).state is State.APPROVED


async def test_a_lease_is_renewed_for_as_long_as_it_is_the_runners(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged(tmp_path) as stage:
        monkeypatch.setattr(engines, "RENEW", 0)
        lease = stage.state.runbooks.take((await stage.approved()).id, "me")
        renewed = 0
        renew = stage.engine.store.renew

        def counted(held: Any) -> None:
            nonlocal renewed
            renew(held)
            renewed += 1
            if renewed == 3:
                stage.state.runbooks.leave(lease)

        stage.engine.store.renew = counted  # type: ignore[method-assign]
        reason = await asyncio.wait_for(stage.engine._keep(lease), 10)
        assert (renewed, "not run under this lease" in reason) == (3, True)


async def test_whoever_stops_listening_stops_the_run_and_another_one_goes_on(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()
        running = stage.engine.run(execution.id, BOB)
        async for event in running:
            if (event.step, event.say) == ("fence", Say.DONE):
                break
        await running.aclose()
        left = stage.now(execution)
        assert (left.state, left.reason, left.lease_owner) == (State.APPROVED, "interrupted between acts", None)
        assert not [task for task in asyncio.all_tasks() if "_keep" in str(task.get_coro()) and not task.cancelling()]
        heir = Process()
        await stage.run(execution, stage.engine_of(heir))
        ended_well(stage, execution, stage.process, heir)


async def test_a_cancelled_run_whose_act_is_on_its_way_is_in_doubt(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()
        sent = asyncio.Event()
        task = asyncio.create_task(stage.run(execution, stage.engine_of(Process(hangs="patch Node", hanging=sent))))
        await sent.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert stage.now(execution).state is State.IN_DOUBT
        heir = Process()
        await stage.run(execution, stage.engine_of(heir))
        ended_well(stage, execution, heir)


# How long an approval holds.


@pytest.mark.parametrize("moment", [3, 5])  # between cordon and fence; after the fence's intent
async def test_a_run_resumed_after_its_approval_expired_settles_what_was_begun_and_begins_nothing(
    moment: int, tmp_path: Path, owners: Owners
) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()
        doomed, heir = Process(dies_at=moment), Process()
        await killed(stage, execution, owners, doomed)
        await stage.sandbox.sleep(16 * 60)
        events = await stage.run(execution, stage.engine_of(heir))
        assert stage.now(execution).state is State.VOID
        assert "the approval expired" in events[-1].text
        assert heir.wrote == []
        assert all(outcome is not None for _, _, outcome in stage.journal(execution))


async def test_a_run_that_began_in_time_may_end_after_its_approval_expired(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        only_fails_for_the_waiting_pod(stage)
        execution = await stage.approved()
        await stage.sandbox.sleep(14 * 60)
        await stage.run(execution)
        assert stage.sandbox.clock.now() > execution.plan.expires
        ended_well(stage, execution, stage.process, effects=[*EFFECTS, f"delete Pod {incident.STUCK_POD}"])


# Checks between acts.


@pytest.mark.parametrize("moment", [None, 4])
async def test_a_check_that_comes_after_an_act_is_never_skipped(
    moment: int | None, tmp_path: Path, owners: Owners
) -> None:
    async with staged(tmp_path) as stage:
        book = stage.find("ceph/stale_rbd_lock@1.0.0")
        look, cordon, *rest = book.steps
        then = Step(id="still", check="ceph/locks_stale", becomes="ok")
        steps = (look, cordon, then, *rest)
        stage.books[book.name] = book.model_copy(update={"steps": steps})
        execution = await stage.approved()
        doomed, heir = Process(dies_at=moment), Process()
        if moment is not None:
            await killed(stage, execution, owners, doomed)
        events = await stage.run(execution, stage.engine_of(heir))
        assert events[-1].text.startswith("failed: ceph/locks_stale is found, not ok")
        assert [*doomed.wrote, *heir.wrote] == EFFECTS[:1]


async def test_the_checks_before_the_first_act_are_not_asked_for_again_once_it_was_done(
    tmp_path: Path, owners: Owners
) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()
        await killed(stage, execution, owners, Process(dies_at=12))
        events = await stage.run(execution)
        assert next(e.text for e in events if (e.step, e.say) == ("look", Say.DONE)) == "looked at before the first act"
        assert stage.params()["pod"] == POD
