"""Each action, cut short by a real kill -9 at every moment around its journal, on both databases, and gone on with.

Every process is a real one, and so are the cluster, the Ceph and the databases. What was done is counted by those who
did it (`crash_stage`), not by the engine.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bot import settings as configuration
from bot.access import person
from bot.remedy import LiveWorld
from bot.store import State as Database
from bot.store import open_state
from bot.wiring import target
from runbooks import judging
from runbooks.actions import all_actions
from runbooks.engine import Engine
from runbooks.execution import Execution, State
from runbooks.model import Risk, Runbook
from runbooks.parameters import subject_of
from tests.integration.crash_stage import STAGES, CrashStage, name_of
from tests.integration.doomed import AFTER_INTENT, BEFORE_INTENT, IN_ACT, MOMENTS, books
from tests.lab.ceph import Ceph
from tests.lab.databases import postgres
from tests.lab.kubernetes import Kubernetes
from tests.lab.waiting import until

__all__ = ["postgres"]

NURSERY = Path(__file__).parent / "doomed.py"
KILLED = -9
SECOND_LOOK = timedelta(seconds=40)
_SHORT = 0.05


class Nursery:
    """The program whose children die."""

    def __init__(self, stage: CrashStage) -> None:
        self._program = subprocess.Popen(
            [sys.executable, NURSERY, stage.unstick.config, stage.runbooks],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            env=stage.unstick.environment(PYTHONPATH=str(Path(__file__).parents[2])),
        )  # fmt: skip
        if self._line() != "ready":
            self.stop()
            raise AssertionError(f"{NURSERY.name} did not start: what it said is above")

    def _line(self) -> str:
        assert self._program.stdout is not None
        return self._program.stdout.readline().strip()

    def run(self, url: str, execution: Execution, moment: str, step: str) -> int:
        """Run an execution in a process of its own; gives its exit code, negative for a signal."""
        assert self._program.stdin is not None
        order = {"url": url, "execution": execution.id, "person": runner(execution), "moment": moment, "step": step}
        self._program.stdin.write(json.dumps(order) + "\n")
        return int(self._line())

    def stop(self) -> None:
        """End it: nothing more is ordered."""
        self._program.communicate(timeout=10)


def runner(execution: Execution) -> str:
    """Who may run it: what is of low risk only whoever asked for it."""
    return execution.plan.requester if execution.plan.risk is Risk.LOW else "cli:bob"


@dataclass
class Matrix:
    """The stage, with an engine of the test's own on each database."""

    stage: CrashStage
    nursery: Nursery
    loop: asyncio.Runner
    found: dict[str, Runbook]
    databases: dict[str, tuple[str, Database]] = field(default_factory=dict)
    behind: timedelta = timedelta()

    def database(self, kind: str, request: pytest.FixtureRequest) -> tuple[str, Database]:
        """The database of a kind: one for all cuts, so that the audit log of all of them is one."""
        if kind not in self.databases:
            url = f"sqlite:///{self.stage.folder}/crash.db"
            if kind == "postgres":
                url = request.getfixturevalue("postgres").create_database()
            self.databases[kind] = (url, open_state(url))
        return self.databases[kind]

    async def open(self) -> None:
        """Open the clusters, for looks and for whoever goes on."""
        self.settings = configuration.load(str(self.stage.unstick.config))

        async def briefly(seconds: float) -> None:
            # Who was killed sends nothing more, so that nothing is to be waited for.
            await asyncio.sleep(min(seconds, _SHORT))

        def now() -> datetime:
            return datetime.now(UTC) - self.behind

        self.target = replace(target(self.settings), sleep=briefly, now=now)
        self._opened = self.target.sources()
        self._sources = await self._opened.__aenter__()

    async def close(self) -> None:
        """Close them."""
        await self._opened.__aexit__(None, None, None)

    def engine(self, state: Database) -> Engine:
        """An engine on a database."""
        world = LiveWorld(self.target, state, self._sources)
        return Engine(
            self.target.name, world, state.runbooks, self.found.__getitem__, lambda name: person(self.settings, name)
        )

    async def approved(self, action: str, params: dict[str, str], state: Database) -> Execution:
        """Ask for an action's runbook as alice, and approve it as bob."""
        engine, book = self.engine(state), self.found[f"{name_of(action)}@1.0.0"]
        if STAGES[action].twice:
            self.behind = SECOND_LOOK
            await engine.world.look(judging.reads_of(book), subject_of(params))
            self.behind = timedelta()
        plan = await engine.plan(book, params, person(self.settings, "cli:alice"))
        assert plan.refusals == (), plan.refusals
        asked = await engine.request(plan, person(self.settings, "cli:alice"))
        decision = await engine.approve(asked, person(self.settings, "cli:bob"), plan.confirmation)
        assert decision.allowed, decision.reasons
        return asked

    async def go_on(self, execution: Execution, state: Database) -> list[str]:
        """Go on with it, in another process than the one that died."""
        running = self.engine(state).run(execution.id, person(self.settings, runner(execution)))
        return [f"{event.step} {event.say}: {event.text}" async for event in running]

    def effects(self) -> Counter[str]:
        """All that was done so far."""
        done = Counter(self.stage.effects())
        done["lock changed"] = self.stage.lock_changes()
        return done


@pytest.fixture(scope="module")
def matrix(kubernetes: Kubernetes, ceph: Ceph, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    """The stage for all cuts."""
    if not (kubernetes.own and kubernetes.has_controllers):
        pytest.skip("only the lab's own API server tells what was done: KUBECONFIG and KUBEBUILDER_ASSETS name others")
    os.environ.pop("KUBECONFIG", None)
    stage = CrashStage(kubernetes, ceph, tmp_path_factory.mktemp("crash"))
    try:
        stage.start()
        nursery = Nursery(stage)
        with asyncio.Runner() as loop:
            made = Matrix(stage, nursery, loop, dict(books(stage.runbooks)))
            loop.run(made.open())
            yield made
            loop.run(made.close())
        nursery.stop()
        for _, state in made.databases.values():
            state.runbooks.engine.dispose()
    finally:
        stage.stop()


def test_every_action_has_a_stage_to_be_cut_short_on() -> None:
    assert set(STAGES) == set(all_actions()), "crash_stage.py lacks a world for an action, or has one too many"


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
@pytest.mark.parametrize("action", sorted(all_actions()))
def test_an_act_that_is_cut_short_is_done_once_and_its_outcome_is_known(
    matrix: Matrix, action: str, kind: str, moment: str, request: pytest.FixtureRequest
) -> None:
    url, state = matrix.database(kind, request)
    staged, store = STAGES[action], state.runbooks
    params, wanted = staged.fresh(matrix.stage, store)
    execution = matrix.loop.run(matrix.approved(action, params, state))
    before = matrix.effects()

    assert matrix.nursery.run(url, execution, moment, staged.step) == KILLED
    left = [(entry.attempt, entry.outcome) for entry in store.entries(execution.id) if entry.step == staged.step]
    assert left == _left(moment)
    assert store.get(execution.id).state is State.RUNNING, "nobody was left to say that it runs no more"

    said = matrix.loop.run(matrix.go_on(execution, state))
    ended = store.get(execution.id)
    assert (ended.state, ended.reason) == (State.DONE, ""), said
    entries = store.entries(execution.id)
    cut = [(entry.attempt, entry.outcome) for entry in entries if entry.step == staged.step]
    # The first write of several leaves the rest undone, and so it is begun again.
    assert cut == (
        _whole(moment) if moment != IN_ACT or len(wanted) < 2 or cut == [(1, "done")] else _whole(AFTER_INTENT)
    )
    assert all(entry.said for entry in entries)
    until(
        "the log to tell it", lambda: sum((matrix.effects() - before).values()) >= len(wanted), timeout=15, every=0.05
    )
    assert matrix.effects() - before == Counter(wanted)
    assert store.audit_fault() is None
    _audited(store, execution)


def _left(moment: str) -> list[tuple[int, str | None]]:
    """What the one that died has left in the journal."""
    if moment == BEFORE_INTENT:
        return []
    return [(1, "done")] if moment == MOMENTS[-1] else [(1, None)]


def _whole(moment: str) -> list[tuple[int, str | None]]:
    """What the journal says in the end: what was certainly not done was done at the second attempt."""
    return [(1, "not done"), (2, "done")] if moment == AFTER_INTENT else [(1, "done")]


def _audited(store: Any, execution: Execution) -> None:
    """Each attempt has its intent and its outcome in the audit log, and the log says who was interrupted."""
    rows = [row for row in store.audit_rows() if row.execution == execution.id]
    told = Counter(row.event for row in rows)
    entries = store.entries(execution.id)
    assert told["intent"] == told["outcome"] == len(entries)
    assert told["interrupted"] == 1
    assert rows[-1].event == "done"
