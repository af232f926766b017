"""The incident of the sandbox, played once from the first look to the end, with all that Slack is told on the way."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bot.diagnose import Diagnosis, library, look_at_locks, look_at_subject, run_checks
from bot.incidents import Answer
from bot.remedy import engine
from bot.sandbox.kubernetes.incident import NAMESPACE, STUCK_POD
from bot.sandbox.world import Sandbox
from bot.settings import PersonSettings, Settings
from bot.slack.blocks.progress import Run
from bot.store import open_state
from bot.store.requests import ToldStep
from diagnostics.catalog import chosen
from diagnostics.model import Subject
from runbooks.approval import Person, decide
from runbooks.plan import Plan

ALICE = Person("U0ALICE", frozenset({"responder"}))
BOB = Person("U0BOB", frozenset({"approver"}))
PEOPLE = Settings(people={ALICE.id: PersonSettings(roles=("responder",)), BOB.id: PersonSettings(roles=("approver",))})
POD = Subject("Pod", NAMESPACE, STUCK_POD, "")


@dataclass
class Story:
    """What there was to be told. `runs` has the execution after each step."""

    first: Answer
    second: Answer
    well: Answer
    locks: Diagnosis
    checks: Diagnosis
    plan: Plan
    refused: Plan
    waiting: Run
    runs: list[Run] = field(default_factory=list)


async def play() -> Story:
    """Play it."""
    with tempfile.TemporaryDirectory() as folder:
        async with Sandbox(Path(folder) / "sandbox") as box:
            state = open_state(f"sqlite:///{folder}/state.db", box.clock.now)
            target, books = box.target, library()
            first = await look_at_subject(target, state, POD)
            locks = await look_at_locks(target, state)
            await box.sleep(35)
            second = await look_at_subject(target, state, POD)
            # Other runbooks answer it, too; the story is of one.
            offers = tuple(each for each in second.offers if each.runbook == "ceph/stale_rbd_lock")
            second = msgspec.structs.replace(second, offers=offers)
            checks = await run_checks(target, state, chosen(), ())
            offer = second.offers[0]
            book = books.find(f"{offer.runbook}@{offer.version}")
            async with engine(PEOPLE, target, state, books) as running:
                plan = await running.plan(book, offer.params, ALICE)
                refused = await running.plan(book, {**offer.params, "node": "node2"}, ALICE)
                made = await running.request(plan, ALICE)

                def run(*told: ToldStep) -> Run:
                    execution, given = state.runbooks.get(made.id), state.runbooks.approvals(made.id)
                    now = box.clock.now()
                    return Run(execution, told, given, decide(execution.plan, given, now), now)

                waiting = run()
                await running.approve(made, BOB, "node1")
                told: list[ToldStep] = []
                runs = [run()]
                async for event in running.run(made.id, ALICE):
                    told.append(ToldStep(box.clock.now(), event.step, event.say, event.text))
                    runs.append(run(*told))
            well = await look_at_subject(target, state, POD)
            return Story(first, second, well, locks, checks, plan, refused, waiting, runs)
