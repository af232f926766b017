"""Runs the command line in a process that kills itself, as by kill -9, around the journal of one step.

`killed_child.py before|after STEP unstick-words...`: `before` dies when the intent is on disk and the act not begun,
`after` when the act is done and its outcome not on disk.
"""

import os
import signal
import sys
from typing import Any

from bot.cli import main
from runbooks.store import Store

when, step = sys.argv[1:3]
sys.argv = ["unstick", *sys.argv[3:]]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


intend, conclude = Store.intend, Store.conclude


def dying_intend(self: Store, lease: Any, at: str, *rest: Any) -> Any:
    entry = intend(self, lease, at, *rest)
    if when == "before" and at == step:
        die()
    return entry


def dying_conclude(self: Store, lease: Any, entry: Any, *rest: Any) -> None:
    if when == "after" and entry.step == step:
        die()
    conclude(self, lease, entry, *rest)


Store.intend = dying_intend  # type: ignore[method-assign]
Store.conclude = dying_conclude  # type: ignore[method-assign]
main()
