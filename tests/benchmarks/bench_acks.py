"""How soon 500 people who type at once are told that it was taken, while a scan keeps the work loop's processor busy.

Slack is a process of its own, as it is in life: what it costs to type is not the bot's.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

import bot.slack.looks
from bot.sandbox.world import Sandbox
from bot.serve import Server, Tokens
from bot.settings import PersonSettings, Settings, SlackSettings
from bot.slack.jobs import AnyJob, LookAtSubject
from bot.store import open_state
from tests.benchmarks.bench_decoding import Page, pages
from tests.benchmarks.conftest import Measured

MANY = 500
PODS = 10_000
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


class Scan:
    """A scan of a large cluster, over and over: pages are decoded, and looked through in Python."""

    def __init__(self) -> None:
        self._listed = pages(PODS)
        self._decoder = msgspec.json.Decoder(Page, strict=False)
        self.ended = False
        self.pages = 0

    async def run(self) -> None:
        while not self.ended:
            for page in self._listed:
                pods = self._decoder.decode(page).items
                sum(len(repr(pod)) for pod in pods)
                self.pages += 1
                await asyncio.sleep(0)


def bench_acks(report: Callable[[str, Measured], None], tmp_path: Path) -> None:
    quiet, busy = (asyncio.run(_typed(tmp_path / name, scanning)) for name, scanning in (("a", False), ("b", True)))
    report(
        f"{MANY} commands at once: until Slack is told (elapsed)",
        {
            "median, nothing else to do": statistics.median(quiet),
            "worst, nothing else to do": max(quiet),
            "median, during a scan": statistics.median(busy),
            "worst, during a scan": max(busy),
        },
    )
    assert max(busy) < WORST


async def _typed(folder: Path, busy: bool) -> list[float]:
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
            scan = Scan()
            held = threading.Event()
            hold = bot.slack.looks.look_at_subject

            async def waits(*given: Any) -> Any:
                # What is asked for is looked at afterwards: the scan is what keeps the processor busy.
                await asyncio.to_thread(held.wait, PATIENCE)
                return await hold(*given)

            bot.slack.looks.look_at_subject = waits  # type: ignore[assignment]
            if busy:
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
    assert scan.pages > 10 or not busy
    return [each["seconds"] for each in said]


def _server(folder: Path, sandbox: Sandbox, told: dict[str, Any]) -> tuple[Server, Any]:
    people = {each: PersonSettings(roles=("responder",)) for each in told["people"]}
    settings = Settings(
        people=people, slack=SlackSettings(api_url=told["api"], channel=told["channel"]),
        state=str(folder / "state.db"),
    )  # fmt: skip
    state = open_state(settings.state_url)
    return Server(settings, state, lambda _: sandbox.target, Tokens(told["bot"], told["app"])), state
