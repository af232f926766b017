"""A nursery of processes that run executions and kill themselves: doomed.py CONFIG RUNBOOKS.

Everything is imported once; each line on its standard input then makes a process of its own, by fork, that opens the
database and the clusters for itself, runs one execution and dies by SIGKILL at the moment that the line names. What it
came to is a line on the standard output. A process of which nothing is asked but to run ends by itself.
"""

import asyncio
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bot import settings as configuration
from bot.access import person
from bot.remedy import LiveWorld
from bot.store import open_state
from bot.wiring import target
from diagnostics.sources.ceph.librados import LibRados
from runbooks import audit
from runbooks.actions.kubernetes_api import WritingApi
from runbooks.engine import Engine
from runbooks.loader import load
from runbooks.model import Runbook
from runbooks.store import Store
from runbooks.vocabulary import vocabulary

BEFORE_INTENT = "before its intent is committed"
AFTER_INTENT = "after its intent"
IN_ACT = "in the act, after its first write"
BEFORE_OUTCOME = "after the act, before its outcome is committed"
AFTER_OUTCOME = "after its outcome"
MOMENTS = (BEFORE_INTENT, AFTER_INTENT, IN_ACT, BEFORE_OUTCOME, AFTER_OUTCOME)


def die() -> None:
    """As by kill -9: nothing is flushed, closed or said."""
    os.kill(os.getpid(), signal.SIGKILL)


def books(folder: Path) -> Mapping[str, Runbook]:
    """The runbooks of a folder by name."""
    found = (load(path, vocabulary()) for path in sorted(folder.glob("*.yaml")))
    return {book.name: book for book in found}


def doom(moment: str, step: str) -> None:
    """Let this process die at a moment of a step's act."""
    {
        BEFORE_INTENT: _before_commit, BEFORE_OUTCOME: _before_commit, IN_ACT: _in_act,
        AFTER_INTENT: _after, AFTER_OUTCOME: _after,
    }[moment](moment, step)  # fmt: skip


def _before_commit(moment: str, step: str) -> None:
    """Die when the row and its audit row are written, and the transaction is still open."""
    wanted, append = "intent" if moment == BEFORE_INTENT else "outcome", audit.append

    def last_words(connection: Any, at: str, event: str, who: str, execution: str, detail: Mapping[str, Any]) -> None:
        append(connection, at, event, who, execution, detail)
        if event == wanted and detail["step"] == step:
            die()

    setattr(audit, "append", last_words)  # noqa: B010 - as everybody calls it


def _after(moment: str, step: str) -> None:
    intend, conclude = Store.intend, Store.conclude

    def intended(self: Store, lease: Any, at: str, *rest: Any) -> Any:
        entry = intend(self, lease, at, *rest)
        if moment == AFTER_INTENT and at == step:
            die()
        return entry

    def concluded(self: Store, lease: Any, entry: Any, *rest: Any) -> None:
        conclude(self, lease, entry, *rest)
        if moment == AFTER_OUTCOME and entry.step == step:
            die()

    Store.intend, Store.conclude = intended, concluded  # type: ignore[assignment, method-assign]


def _in_act(_: str, step: str) -> None:
    """Die when the first request that changes something was answered."""
    intend = Store.intend
    acting = []

    def intended(self: Store, lease: Any, at: str, *rest: Any) -> Any:
        acting.extend([at] if at == step else [])
        return intend(self, lease, at, *rest)

    def fatal(send: Callable[..., Any]) -> Callable[..., Any]:
        async def sent(self: WritingApi, *what: Any, dry_run: bool, **how: Any) -> None:
            await send(self, *what, dry_run=dry_run, **how)
            if acting and not dry_run:
                die()

        return sent

    def fatal_to_ceph(send: Callable[..., bytes]) -> Callable[..., bytes]:
        def sent(self: LibRados, *what: Any, **how: Any) -> bytes:
            answer = send(self, *what, **how)
            if acting:
                die()
            return answer

        return sent

    Store.intend = intended  # type: ignore[assignment, method-assign]
    for name in ("patch", "patch_json", "delete", "evict", "create"):
        setattr(WritingApi, name, fatal(getattr(WritingApi, name)))
    for name in ("mon", "execute"):
        setattr(LibRados, name, fatal_to_ceph(getattr(LibRados, name)))


async def run(settings: configuration.Settings, found: Mapping[str, Runbook], order: Mapping[str, str]) -> None:
    """Run an execution to its end."""
    cluster, state = target(settings), open_state(order["url"])
    async with cluster.sources() as sources:
        world = LiveWorld(cluster, state, sources)
        engine = Engine(cluster.name, world, state.runbooks, found.__getitem__, lambda name: person(settings, name))
        async for _ in engine.run(order["execution"], person(settings, order["person"])):
            pass


def child(settings: configuration.Settings, found: Mapping[str, Runbook], order: Mapping[str, str]) -> int:
    """What a process does until it dies."""
    try:
        if order["moment"]:
            doom(order["moment"], order["step"])
        asyncio.run(run(settings, found, order))
    except BaseException:  # noqa: BLE001 - whatever it is, it is this process's end
        traceback.print_exc()
        return 1
    return 0


def main() -> None:
    """Take orders until there are none."""
    settings, found = configuration.load(sys.argv[1]), books(Path(sys.argv[2]))
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os._exit(child(settings, found, json.loads(line)))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
