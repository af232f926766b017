"""The story that the demo plays: two people, one stuck pod, and everything that Unstick says to them on the way."""

import asyncio
import shlex
from pathlib import Path

from rich.console import Console
from rich.text import Text

from bot.cli import plans, text
from bot.cli.lines import write
from bot.diagnose import Answer, Diagnosis, library, look_at_locks, look_at_subject, run_checks
from bot.remedy import engine
from bot.sandbox.kubernetes.incident import NAMESPACE, POOL
from bot.sandbox.world import Sandbox
from bot.settings import PersonSettings, Settings
from bot.store import State, open_state
from bot.wiring import person
from diagnostics.catalog import chosen
from diagnostics.facts import Read
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.ceph import LOCKS
from diagnostics.model import Scope, Subject
from diagnostics.scan import gather
from runbooks.engine import Engine, Refusal
from runbooks.offers import Offer
from runbooks.plan import Plan
from runbooks.store import Execution

SECOND_LOOK = 35.0
ASKS, APPROVES = "cli:alice", "cli:bob"


class WentWrong(Exception):
    """The story cannot go on: what happened is not what must happen."""


class Story:
    """Plays the incident in a fresh sandbox and says, at the end, whether all of it came out well."""

    def __init__(self, folder: Path, console: Console, port: int = 0, pause: bool = False) -> None:
        self._folder = folder
        self._console = console
        self._port = port
        self._pause = pause
        self._settings = Settings(
            people={ASKS: PersonSettings(roles=("responder",)), APPROVES: PersonSettings(roles=("approver",))},
            state=str(folder / "state.db"),
        )

    async def play(self) -> str | None:
        """Play it. The answer is None when the pod runs, the lock is gone and the audit log is whole; else what is not."""
        try:
            return await self._play()
        except WentWrong as wrong:
            return str(wrong)
        except Refusal as refusal:
            return str(refusal)

    async def _play(self) -> str | None:
        async with Sandbox(self._folder, self._port) as sandbox:
            state = open_state(self._settings.state_url, sandbox.clock.now)
            await self._tell(
                "03:07. The pager rings: search/index-api does not come up. node1 died twelve minutes ago; its pod was "
                f"rescheduled to node2 and hangs in ContainerCreating. (Sandbox API server: {sandbox.api.url})"
            )
            stuck = await self._find_stuck(sandbox, state)
            first = await self._look(sandbox, state, stuck)
            if not first.offers:
                raise WentWrong("no runbook answers what was found")
            await self._tell(
                "One look proves nothing: a killed client's watch stays for 30 s. So Unstick says `suspect`."
            )
            await self._locks(sandbox, state)
            await sandbox.sleep(SECOND_LOOK)
            await self._tell(f"{SECOND_LOOK:g} s later, the second look.")
            await self._locks(sandbox, state)
            async with engine(self._settings, sandbox.target, state, library()) as running:
                execution = await self._fix(running, state, first.offers[0])
            await self._tell("Afterwards.")
            await self._look(sandbox, state, stuck)
            after = await self._locks(sandbox, state)
            return self._judge(state, after, execution, await self._pods(sandbox))

    async def _tell(self, what: str) -> None:
        self._console.print()
        write(self._console, f"# {what}", style="bold cyan", hang=2)
        if self._pause:
            try:
                await asyncio.to_thread(self._console.input, "  (Enter) ")
            except EOFError:  # nobody is there to press it
                self._pause = False

    def _typed(self, typed: str, who: str = ASKS) -> None:
        name = who.partition(":")[2]
        self._console.print(Text(f"\n{name}$ unstick {typed}", style="bold green"))

    async def _find_stuck(self, sandbox: Sandbox, state: State) -> Subject:
        self._typed(f"check -n {NAMESPACE} --check storage/pods_stuck_creating")
        found = await run_checks(sandbox.target, state, chosen(ids=("storage/pods_stuck_creating",)), (NAMESPACE,))
        text.check(self._console, found)
        if not found.report.findings:
            raise WentWrong("no stuck pod was found")
        return found.report.findings[0].subject

    async def _look(self, sandbox: Sandbox, state: State, stuck: Subject) -> Answer:
        pods = await self._pods(sandbox)
        name = (
            stuck.name
            if stuck.name in pods
            else next((n for n, phase in pods.items() if phase == "Running"), stuck.name)
        )
        self._typed(f"why pod/{name} -n {stuck.namespace}")
        answer = await look_at_subject(sandbox.target, state, Subject("Pod", stuck.namespace, name, ""))
        text.why(self._console, answer)
        return answer

    async def _locks(self, sandbox: Sandbox, state: State) -> Diagnosis:
        self._typed(f"locks --pool {POOL}")
        found = await look_at_locks(sandbox.target, state)
        text.locks(self._console, found.report.snapshot)
        return found

    async def _fix(self, running: Engine, state: State, offer: Offer) -> Execution:
        words = " ".join(f"-p {shlex.quote(f'{name}={value}')}" for name, value in offer.params.items())
        self._typed(f"runbook run {offer.runbook}@{offer.version} {words}")
        runbook = library().find(f"{offer.runbook}@{offer.version}")
        plan = await running.plan(runbook, offer.params, person(self._settings, ASKS))
        plans.plan(self._console, plan)
        execution = await running.request(plan, person(self._settings, ASKS))
        await self._refused_to_herself(running, execution, plan)
        await self._tell("bob is awake too. The plan is critical, so he types the name of what he is about to fence.")
        self._typed(f"runbook approve {execution.id} --confirm {plan.confirmation}", APPROVES)
        await running.approve(execution, person(self._settings, APPROVES), plan.confirmation)
        async for event in running.run(execution.id, person(self._settings, APPROVES)):
            plans.event(self._console, event)
        return state.runbooks.get(execution.id)

    async def _refused_to_herself(self, running: Engine, execution: Execution, plan: Plan) -> None:
        await self._tell("alice is tired and tries to approve her own request.")
        self._typed(f"runbook approve {execution.id} --confirm {plan.confirmation}")
        try:
            await running.approve(execution, person(self._settings, ASKS), plan.confirmation)
        except Refusal as refusal:
            for reason in refusal.reasons:
                write(self._console, f"refused: {reason}", indent=2, style="red")
        else:
            raise WentWrong("alice could approve her own request")

    async def _pods(self, sandbox: Sandbox) -> dict[str, str]:
        """The phases of the incident's pods, read as everything else is read."""
        async with sandbox.target.sources() as sources:
            scope = Scope("sandbox", (NAMESPACE,))
            snapshot = await gather(sources, (Read(k8s.PODS),), scope, (), sandbox.clock.now())
        pods = snapshot.seen(k8s.PODS)
        return {pod.metadata.name: pod.status.phase for pod in (pods.full if pods else ())}

    def _judge(self, state: State, after: Diagnosis, execution: Execution, phases: dict[str, str]) -> str | None:
        """What did not come out well."""
        self._typed("audit verify")
        fault = state.runbooks.audit_fault()
        rows = state.runbooks.audit_rows()
        self._console.print(fault or f"The audit log is whole: {len(rows)} rows, last hash {rows[-1].hash}.")
        locks = after.report.snapshot.seen(LOCKS)
        wanted = (execution.plan.params["image"], execution.plan.params["locker"])
        held = [lk for i in (locks.images if locks else ()) for lk in i.lockers if (i.image.spec, lk.name) == wanted]
        if fault:
            return fault
        if locks is None or held:
            return f"the lock {wanted[1]} is still there"
        if list(phases.values()) != ["Running"]:
            return f"the pods of {NAMESPACE} are {phases}"
        if execution.state != "done":
            return f"{execution.id} is {execution.state}: {execution.reason}"
        self._console.print(Text("\nThe pod runs, the lock is gone, and the audit log is whole.", style="bold green"))
        return None
