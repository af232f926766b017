"""The story that the demo plays: people in Slack, one stuck pod, and everything that Unstick says to them on the way.

The bot is the real one, with its real edge, engine and store: only the addresses of Slack, Kubernetes and Ceph differ.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from bot.cli.lines import write
from bot.sandbox.conversation import Conversation
from bot.sandbox.kubernetes.incident import DEAD_NODE, IMAGES, NAMESPACE, POOL, STUCK_POD
from bot.sandbox.slack import Message, NotPossible, NotSeen, Person, View, Workspace
from bot.sandbox.world import Sandbox
from bot.serve import Server, Tokens
from bot.settings import PersonSettings, Settings, SlackSettings
from bot.slack.words import CONFIRM_BLOCK, Button
from bot.store import State, open_state
from diagnostics.facts import Read
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.ceph import LOCKS
from diagnostics.model import Scope
from diagnostics.scan import gather
from runbooks.store import State as ExecutionState

SECOND_LOOK = 35.0
PATIENCE = 20.0
CHANNEL = "incidents"


class WentWrong(Exception):
    """The story cannot go on: what happened is not what must happen."""


class Story:
    """Plays the incident in a fresh sandbox and says, at the end, whether all of it came out well."""

    def __init__(self, folder: Path, console: Console, port: int = 0, pause: bool = False) -> None:
        self._folder = folder
        self._console = console
        self._port = port
        self._pause = pause

    async def play(self) -> str | None:
        """Play it. The answer is None when the pod runs, the lock is gone and the audit log is whole; else what is not."""
        try:
            async with Sandbox(self._folder, self._port) as sandbox, Workspace(now=sandbox.clock.now) as workspace:
                self._people(workspace)
                self._talk = Conversation(self._console, workspace, self._channel)
                async with self._serving(sandbox, workspace) as state:
                    await self._find(sandbox)
                    await self._fix()
                    return await self._judge(sandbox, state)
        except (WentWrong, NotSeen, NotPossible) as wrong:
            return str(wrong)

    def _people(self, workspace: Workspace) -> None:
        self._alice, self._bob, self._carol = (workspace.person(name) for name in ("alice", "bob", "carol"))
        self._channel = workspace.channel(CHANNEL)

    @asynccontextmanager
    async def _serving(self, sandbox: Sandbox, workspace: Workspace) -> AsyncIterator[State]:
        """`unstick serve`, with the sandbox's addresses and clock."""
        settings = Settings(
            people={
                self._alice.id: PersonSettings(roles=("responder",)),
                self._bob.id: PersonSettings(roles=("approver",)),
                self._carol.id: PersonSettings(roles=("viewer",)),
            },
            slack=SlackSettings(api_url=workspace.api_url, channel=self._channel),
            state=str(self._folder / "state.db"),
        )
        state = open_state(settings.state_url, sandbox.clock.now)
        tokens = Tokens(workspace.bot_token, workspace.app_token)
        server = Server(settings, state, lambda _: sandbox.target, tokens, now=sandbox.clock.now, pause=_at_once)
        serving = asyncio.create_task(server.run())
        try:
            await workspace.connected()
            yield state
        finally:
            server.stop()
            await asyncio.wait_for(serving, PATIENCE)

    async def _find(self, sandbox: Sandbox) -> None:
        await self._tell(
            f"03:19. The pager rings: {NAMESPACE}/index-api does not come up. {DEAD_NODE} died at 03:07; its pod "
            f"was rescheduled to node2 and hangs in ContainerCreating. (Sandbox API server: {sandbox.api.url})"
        )
        await self._types(self._alice, f"/unstick why pod/{STUCK_POD} -n {NAMESPACE}")
        incident = await self._sees(self._alice, "suspect")
        await self._tell("One look proves nothing: a killed client's watch stays for 30 s. So Unstick says `suspect`.")
        await sandbox.sleep(SECOND_LOOK)
        await self._tell(f"{SECOND_LOOK:g} s later, the second look.")
        await self._clicks(self._alice, incident, Button.WHY)
        self._incident = await self._sees(self._alice, "stale; no watcher")
        await self._clicks(self._alice, self._incident, Button.SHOW_EVIDENCE)
        await self._sees(self._alice, "mon sessions of")

    async def _fix(self) -> None:
        await self._clicks(self._alice, self._incident, Button.PLAN_FIX)
        await self._offered(Button.REQUEST_APPROVAL)
        await self._clicks(self._alice, await self._offered(Button.REQUEST_APPROVAL), Button.REQUEST_APPROVAL)
        request = await self._offered(Button.APPROVE)
        await self._tell("carol only looks on, and alice is tired: both try to approve.")
        for person in (self._carol, self._alice):
            await self._clicks(person, request, Button.APPROVE)
            refused = self._sees(person, "is refused")
            if await _first(refused, person.sees_modal(timeout=PATIENCE)) == 1:
                raise WentWrong(f"{person.name} could approve alice's request")
        await self._tell("bob is awake too. The plan is critical, so he types the name of what he is about to fence.")
        await self._clicks(self._bob, request, Button.APPROVE)
        modal = await self._bob.sees_modal()
        self._talk.modal(self._bob, modal)
        await self._types_into(modal, "node2")
        await self._types_into(modal, DEAD_NODE)
        over = [self._sees(self._bob, ending) for ending in ("🟢 Resolved", "❌ Failed", "⛔ Void", "❔ In doubt")]
        if await _first(*over) != 0:
            raise WentWrong("the execution did not come to its end")

    async def _tell(self, what: str) -> None:
        self._talk.catch_up()
        self._console.print()
        write(self._console, f"# {what}", style="bold cyan", hang=2)
        if self._pause:
            try:
                await asyncio.to_thread(self._console.input, "  (Enter) ")
            except EOFError:  # nobody is there to press it
                self._pause = False

    async def _types(self, person: Person, line: str) -> None:
        self._talk.typed(person, line)
        reply = await person.types(self._channel, line)
        if reply.error:
            raise WentWrong(f"{line} was not taken: {reply.error}")

    async def _clicks(self, person: Person, message: Message, button: Button) -> None:
        self._talk.clicked(person, button.label)
        reply = await person.clicks(message, button.label)
        if reply.error:
            raise WentWrong(f"the click on {button.label} was not taken: {reply.error}")

    async def _types_into(self, modal: View, name: str) -> None:
        self._talk.clicked(self._bob, f"{name} ⏎")
        reply = await self._bob.submits(modal, {CONFIRM_BLOCK: name})
        for complaint in reply.errors.values():
            self._talk.complaint(complaint)
        if bool(reply.errors) is (name == DEAD_NODE):
            raise WentWrong(f"{name} was {'not ' if reply.errors else ''}taken for the name of what is fenced")

    async def _sees(self, person: Person, text: str) -> Message:
        seen = await person.sees(self._channel, text, PATIENCE)
        self._talk.catch_up()
        return seen

    async def _offered(self, button: Button) -> Message:
        """The message that has a button now."""
        seen = await self._alice.sees(self._channel, f"[{button.label}]", PATIENCE)
        self._talk.catch_up()
        return seen

    async def _judge(self, sandbox: Sandbox, state: State) -> str | None:
        """What did not come out well."""
        async with sandbox.target.sources() as sources:
            reads = (Read(k8s.PODS), Read(LOCKS))
            snapshot = await gather(sources, reads, Scope("sandbox", (NAMESPACE,)), (), sandbox.clock.now())
        pods, locks = snapshot.seen(k8s.PODS), snapshot.seen(LOCKS)
        phases = {pod.metadata.name: pod.status.phase for pod in (pods.full if pods else ())}
        image = f"{POOL}/{IMAGES[0]}"
        held = [k.name for i in (locks.images if locks else ()) if i.image.spec == image for k in i.lockers]
        execution = state.runbooks.history()[0]
        rows = state.runbooks.audit_rows()
        faults = (
            state.runbooks.audit_fault(),
            f"the lock of {DEAD_NODE} is still there"
            if locks is None or any(DEAD_NODE in name for name in held)
            else None,
            f"the pods of {NAMESPACE} are {phases}" if list(phases.values()) != ["Running"] else None,
            f"{execution.id} is {execution.state}" if execution.state is not ExecutionState.DONE else None,
        )
        if fault := next((fault for fault in faults if fault), None):
            return fault
        self._console.print()
        write(self._console, f"The audit log is whole: {len(rows)} rows, last hash {rows[-1].hash}.")
        write(self._console, "The pod runs, the lock is gone, and the audit log is whole.", style="bold green")
        return None


async def _first(*waits: Coroutine[Any, Any, object]) -> int:
    """Which of these comes first; the others are given up.

    Raises:
        NotSeen: the first to end is one that waited in vain.
    """
    tasks = [asyncio.create_task(each) for each in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        came = next(number for number, task in enumerate(tasks) if task.done())
        tasks[came].result()
        return came
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _at_once(_seconds: float) -> None:
    """Nobody waits in a story for a Slack that is always there."""
    await asyncio.sleep(0)
