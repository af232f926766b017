"""Who counts as whom, and what somebody may do now: approvals of people whose ids and roles are not what they were."""

from pathlib import Path

import msgspec
import pytest

from runbooks.approval import Person
from runbooks.engine import Refusal
from runbooks.events import Say
from runbooks.standing import Rules
from runbooks.store import AlreadyOpen, Execution, State
from tests.runbooks.staged import ALICE, BOB, CAROL, Process, Stage, staged
from tests.runbooks.test_interruptions import Owners, killed, owners

__all__ = ["owners"]

VIEWER = frozenset({"viewer"})


def loses_the_role(stage: Stage, person: Person) -> None:
    """From now on this person may only look."""
    stage.people = [msgspec.structs.replace(p, roles=VIEWER) if p.id == person.id else p for p in stage.people]


async def begun(stage: Stage) -> Execution:
    """Approved by bob, cordoned, and left between two acts."""
    execution = await stage.approved()
    running = stage.engine.run(execution.id, BOB)
    async for event in running:
        if (event.step, event.say) == ("cordon", Say.DONE):
            break
    await running.aclose()
    assert (stage.now(execution).state, len(stage.process.wrote)) == (State.APPROVED, 1)
    return execution


async def test_nobody_approves_their_own_request_by_another_id(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.requested()
        slack = Person("U0ALICE", frozenset({"responder", "approver"}), also=frozenset({ALICE.id}))
        stage.people = [slack, BOB]
        with pytest.raises(Refusal, match="U0ALICE asked for this plan and cannot approve it"):
            await stage.engine.approve(execution, slack, "node1")
        assert stage.now(execution).state is State.WAITING
        await stage.engine.deny(execution, msgspec.structs.replace(slack, roles=VIEWER), "by myself")
        assert stage.now(execution).state is State.DENIED


async def test_a_quorum_is_not_reached_by_one_human_with_two_ids(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.engine.rules = lambda: Rules(quorum=2)
        execution = await stage.requested()
        slack = Person("U0BOB", BOB.roles, also=frozenset({BOB.id}))
        stage.people = [ALICE, slack, CAROL]
        assert not (await stage.engine.approve(execution, BOB, "node1")).allowed
        assert not (await stage.engine.approve(execution, slack, "node1")).allowed
        assert stage.now(execution).state is State.WAITING
        assert (await stage.engine.approve(execution, CAROL, "node1")).allowed


async def test_an_approver_who_lost_the_role_does_not_count_towards_the_quorum(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.engine.rules = lambda: Rules(quorum=2)
        execution = await stage.requested()
        await stage.engine.approve(execution, BOB, "node1")
        loses_the_role(stage, BOB)
        decision = await stage.engine.approve(execution, CAROL, "node1")
        assert (decision.allowed, stage.now(execution).state) == (False, State.WAITING)
        assert "the approval of cli:bob does not count: cli:bob does not have the role approver" in decision.reasons


@pytest.mark.parametrize("runner", [ALICE, CAROL])
async def test_what_was_approved_by_who_lost_the_role_is_not_run_and_waits_for_another_approval(
    runner: Person, tmp_path: Path
) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()
        loses_the_role(stage, BOB)
        with pytest.raises(Refusal, match=r"1 more approval .*the approval of cli:bob does not count"):
            _ = [event async for event in stage.engine.run(execution.id, runner)]
        assert (stage.now(execution).state, stage.process.wrote) == (State.WAITING, [])
        assert (await stage.engine.approve(execution, CAROL, "node1")).allowed
        assert (await stage.run(execution))[-1].text == "done"


async def test_an_interrupted_run_whose_approver_lost_the_role_begins_no_further_act(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        execution = await begun(stage)
        loses_the_role(stage, BOB)
        events = [event async for event in stage.engine.run(execution.id, CAROL)]
        assert "before this act began: 1 more approval of another person is needed" in events[-1].text
        assert (stage.now(execution).state, len(stage.process.wrote)) == (State.VOID, 1)
        assert stage.journal(execution) == [("cordon", 1, "done")]


async def test_what_was_begun_is_still_verified_after_its_approver_lost_the_role(
    tmp_path: Path, owners: Owners
) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.approved()
        await killed(stage, execution, owners, Process(dies_at=2))  # the cordon was sent, and has no outcome
        assert stage.journal(execution) == [("cordon", 1, None)]
        loses_the_role(stage, BOB)
        heir = Process()
        events = [event async for event in stage.engine_of(heir).run(execution.id, CAROL)]
        assert any("in doubt after an interruption; verified: done" in event.text for event in events)
        assert stage.journal(execution) == [("cordon", 1, "done")]
        assert (stage.now(execution).state, heir.wrote) == (State.VOID, [])


async def test_an_approver_of_other_namespaces_denies_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        execution = await stage.requested()
        dave = Person("cli:dave", frozenset({"approver"}), frozenset({"media"}))
        with pytest.raises(Refusal, match="cli:dave has no role in namespace search"):
            await stage.engine.deny(execution, dave, "no")
        assert stage.now(execution).state is State.WAITING


# One open execution of a kind.


async def test_what_another_execution_does_is_refused_until_that_one_has_ended_or_expired(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        first = await stage.requested()
        with pytest.raises(Refusal) as caught:
            await stage.requested()
        assert caught.value.reasons == (f"{first.id} does the same and is waiting: it comes first",)
        assert stage.audited()[-1] == "refused"
        for less in ({"pod": ""}, {"pod": "search/another"}, {"node": "", "pod": ""}):
            plan = msgspec.structs.replace(first.plan, params=stage.params(**less))
            with pytest.raises(AlreadyOpen, match=first.id):
                stage.state.runbooks.create(plan)
        stage.sandbox.clock.forward(15 * 60)
        second = await stage.requested()
        assert stage.now(first).state is State.VOID
        await stage.engine.deny(second, ALICE, "")
        await stage.requested()


async def test_a_dead_runners_execution_does_not_stand_in_the_way_for_ever(tmp_path: Path, owners: Owners) -> None:
    async with staged(tmp_path) as stage:
        first = await stage.approved()
        await killed(stage, first, owners, Process(dies_at=0))
        stage.sandbox.clock.forward(15 * 60)
        second = await stage.requested()
        assert (stage.now(first).state, stage.now(second).state) == (State.VOID, State.WAITING)


async def test_what_goes_wrong_beside_a_request_undoes_it_and_is_told(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        plan = await stage.plan()

        def fails(*_: object) -> None:
            raise LookupError("the message is gone")

        with pytest.raises(LookupError, match="the message is gone"):
            await stage.engine.request(plan, ALICE, also=fails)
        assert (stage.state.runbooks.history(), stage.audited()) == ((), [])
        told: list[Execution] = []
        made = await stage.engine.request(plan, ALICE, also=lambda _, execution: told.append(execution))
        assert told == [made]
