"""How soon 500 people who type at once are told that it was taken, while a scan keeps the work loop's processor busy.

Slack and the API server are processes of their own, as they are in life: what they cost is not the bot's. The scan is the
whole one, all checks over a cluster of thousands of pods; and, harder than that, one that only decodes and computes.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

import bot.slack.looks
from bot.diagnose import run_checks
from bot.sandbox.world import Sandbox
from bot.serve import Server, Tokens
from bot.settings import PersonSettings, Settings, SlackSettings
from bot.slack.jobs import AnyJob, LookAtSubject
from bot.store import State, open_state
from bot.wiring import Target
from diagnostics.catalog import all_checks
from diagnostics.sources.kubernetes.api import Access
from tests.benchmarks.bench_decoding import Page, pages
from tests.benchmarks.conftest import Measured

MANY = 500
PODS = 10_000
SCANNED = 5_000
WORST = 1.5
PATIENCE = 120.0
_SLACK = """
import asyncio, json, sys
from bot.sandbox.slack import Workspace

async def main():
    async with Workspace(ack_bound=30.0) as slack:
        channel = slack.channel("incidents")
        people = [slack.person(f"person-{n}") for n in range(10)]
        told = {"api": slack.api_url, "bot": slack.bot_token, "app": slack.app_token, "channel": channel}
        print(json.dumps(told | {"people": [each.id for each in people]}), flush=True)
        await slack.connected(timeout=60)
        print("connected", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        line = "/unstick why pod/index-api-5c9d8f7b6d-q4z8m -n search"
        replies = await asyncio.gather(*(people[n % 10].types(channel, line) for n in range(int(sys.argv[1]))))
        said = [{"error": r.error, "text": r.text, "seconds": r.seconds} for r in replies]
        print(json.dumps(said), flush=True)
        await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main())
"""


_CLUSTER = """
import asyncio, sys
from pathlib import Path
from bot.sandbox.kubernetes import incident
from bot.sandbox.world import Sandbox

async def main():
    sandbox = Sandbox(Path(sys.argv[1]))
    alike = [o for o in incident.objects(sandbox.clock.now()) if o["kind"] == "Pod" and o["status"]["phase"] == "Running"]
    sandbox.api.registry.load(
        {**each, "metadata": {**each["metadata"], "name": f"pod-{n}", "uid": f"uid-{n}"}}
        for n, each in ((n, alike[n % len(alike)]) for n in range(int(sys.argv[2])))
    )
    async with sandbox:
        print(sandbox.folder / "diagnose.kubeconfig", flush=True)
        await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main())
"""


class Quiet:
    """Nothing else to do. `rounds` counts what was done meanwhile; it goes on until `ended`."""

    least = 0

    def __init__(self, target: Target, state: State) -> None:
        self.target, self.state = target, state
        self.ended = False
        self.rounds = 0

    async def run(self) -> None:
        while not self.ended:
            await self.once()
            self.rounds += 1

    async def once(self) -> None:
        await asyncio.sleep(0.1)


class Computing(Quiet):
    """What costs most in a scan of a large cluster, without a pause: pages are decoded, and looked through in Python."""

    least = 10

    def __init__(self, target: Target, state: State) -> None:
        super().__init__(target, state)
        self._listed = pages(PODS)
        self._decoder = msgspec.json.Decoder(Page, strict=False)

    async def once(self) -> None:
        pods = self._decoder.decode(self._listed[self.rounds % len(self._listed)]).items
        sum(len(repr(pod)) for pod in pods)
        await asyncio.sleep(0)


class Scanning(Quiet):
    """The real thing, over and over: all checks, over an API server of thousands of pods."""

    least = 1

    async def once(self) -> None:
        diagnosis = await run_checks(self.target, self.state, all_checks(), ())
        assert diagnosis.report.scanned["pods"] >= SCANNED, diagnosis.report.scanned


def bench_acks(report: Callable[[str, Measured], None], tmp_path: Path) -> None:
    with _cluster(tmp_path / "cluster") as kubeconfig:
        took = {
            what: asyncio.run(_typed(tmp_path / what.__name__, what, kubeconfig))
            for what in (Quiet, Computing, Scanning)
        }
    said = {Quiet: "nothing else to do", Computing: "while all is decoded", Scanning: f"in scans of {SCANNED:,} pods"}
    report(
        f"{MANY} commands at once: until Slack is told (elapsed)",
        {
            f"{name}, {words}": of(took[what])
            for what, words in said.items()
            for name, of in (("median", statistics.median), ("worst", max))
        },
    )
    assert all(len(each) == MANY for each in took.values())
    assert max(took[Computing]) < WORST
    assert max(took[Scanning]) < WORST


@contextmanager
def _cluster(folder: Path) -> Iterator[str]:
    """The kubeconfig of a large cluster."""
    served = subprocess.Popen(
        [sys.executable, "-c", _CLUSTER, str(folder), str(SCANNED)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert served.stdout is not None
        yield served.stdout.readline().strip()
    finally:
        served.kill()
        served.communicate()


async def _typed(folder: Path, what: type[Quiet], kubeconfig: str) -> list[float]:
    """The seconds that each of them waited; all of them are taken."""
    folder.mkdir()
    slack = subprocess.Popen(  # noqa: ASYNC220 - a moment before anything is measured
        [sys.executable, "-c", _SLACK, str(MANY)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert slack.stdin is not None
    assert slack.stdout is not None
    try:
        told = json.loads(await asyncio.to_thread(slack.stdout.readline))
        async with Sandbox(folder / "sandbox") as sandbox:
            server, state = _server(folder, sandbox, told)
            running = asyncio.create_task(server.run())
            connected = asyncio.create_task(asyncio.to_thread(slack.stdout.readline))
            await asyncio.wait({running, connected}, return_when=asyncio.FIRST_COMPLETED)
            assert connected.done(), running.result()
            scan = what(replace(sandbox.target, kubernetes=Access(kubeconfig)), state)
            held = threading.Event()
            hold = bot.slack.looks.look_at_subject

            async def waits(*given: Any) -> Any:
                # What is asked for is looked at afterwards: the scan is what keeps the processor busy.
                await asyncio.to_thread(held.wait, PATIENCE)
                return await hold(*given)

            bot.slack.looks.look_at_subject = waits  # type: ignore[assignment]
            scanning = server.work.call(scan.run())
            await asyncio.sleep(1.0)
            assert not scanning.done(), scanning.result()
            try:
                slack.stdin.write("\n")
                slack.stdin.flush()
                said = json.loads(await asyncio.to_thread(slack.stdout.readline))
                kept = Counter(type(left.job) for left in state.jobs.left(AnyJob))
            finally:
                scan.ended = True
                await asyncio.wrap_future(scanning)
                held.set()
                bot.slack.looks.look_at_subject = hold
                server.stop()
                await running
                state.runbooks.engine.dispose()
    finally:
        slack.kill()
        slack.communicate()
    assert {each["error"] for each in said} == {None}
    assert {each["text"].partition(";")[0] for each in said} == {"The answer comes in this channel"}
    assert kept[LookAtSubject] == MANY, kept
    assert scan.rounds >= scan.least
    return [each["seconds"] for each in said]


def _server(folder: Path, sandbox: Sandbox, told: dict[str, Any]) -> tuple[Server, Any]:
    people = {each: PersonSettings(roles=("responder",)) for each in told["people"]}
    settings = Settings(
        people=people, slack=SlackSettings(api_url=told["api"], channel=told["channel"]),
        state=str(folder / "state.db"),
    )  # fmt: skip
    state = open_state(settings.state_url)
    return Server(settings, state, lambda _: sandbox.target, Tokens(told["bot"], told["app"])), state
