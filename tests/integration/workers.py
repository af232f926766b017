"""Workers on one database, each a process of its own: workers.py CONFIG RUNBOOKS URL.

Each line on its standard input makes one more by fork, whose pid is a line on the standard output. A worker takes any
execution that may be run or gone on with, whoever had it before, runs it to its end, and looks for the next one. It
ends when it is killed, or once its own input is closed and nothing is left. Whoever ended is reaped at once: a zombie
would count as alive.
"""

import asyncio
import os
import random
import select
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from sqlalchemy import select as chosen

from bot import settings as configuration
from bot.access import person
from bot.remedy import LiveWorld
from bot.store import open_state
from bot.wiring import target
from runbooks.engine import Engine, Refusal
from runbooks.execution import State
from runbooks.model import Risk, Runbook
from runbooks.owner import has_died
from runbooks.store import Store
from runbooks.tables import executions
from tests.integration.doomed import books

IDLE = 0.1
MAY_RUN = (State.APPROVED, State.IN_DOUBT)


def left(store: Store) -> list[str]:
    """What may be run, after those were given up whose runner has died."""
    store.interrupted(has_died)
    with store.read() as connection:
        return list(connection.scalars(chosen(executions.c.id).where(executions.c.state.in_(MAY_RUN))))


async def work(settings: configuration.Settings, found: Mapping[str, Runbook], url: str) -> None:
    """Run whatever there is, for ever."""
    cluster, state = target(settings), open_state(url)
    async with cluster.sources() as sources:
        world = LiveWorld(cluster, state, sources)
        engine = Engine(cluster.name, world, state.runbooks, found.__getitem__, lambda name: person(settings, name))
        while True:
            waiting = await asyncio.to_thread(left, state.runbooks)
            if not waiting:
                await asyncio.sleep(IDLE)
                continue
            plan = state.runbooks.get(one := random.choice(waiting)).plan  # noqa: S311 - not a secret
            who = person(settings, plan.requester if plan.risk is Risk.LOW else "cli:bob")
            with suppress(Refusal):  # another worker was faster, or works on the same thing
                async for _ in engine.run(one, who):
                    pass


def main() -> None:
    """Make workers until there is no input any more."""
    settings, found = configuration.load(sys.argv[1]), books(Path(sys.argv[2]))
    print("ready", flush=True)
    while True:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not select.select([sys.stdin], [], [], 0.02)[0]:
            continue
        if not sys.stdin.readline():
            return
        pid = os.fork()
        if pid == 0:
            try:
                asyncio.run(work(settings, found, sys.argv[3]))
            except BaseException:  # noqa: BLE001 - whatever it is, it is this process's end
                traceback.print_exc()
            os._exit(1)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
