"""Actions: the only code that changes anything. One module each, found by its path: `ceph/fence.py` is `ceph.fence`.

An action plans purely from facts, so that what is approved is exactly what is done. Everything it writes is declared.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from diagnostics.facts import Read
from diagnostics.sources.ceph.rados import Rados
from runbooks.actions.kubernetes_api import WritingApi
from runbooks.model import ParameterKind, Risk
from runbooks.situation import Planned, Situation

# How long, in seconds, an act on Ceph may take in all: three calls at their own time-outs and some more.
PATIENCE = 90.0


class ActFailed(Exception):
    """An act was refused, or failed for certain: one sentence. Nothing was changed by it."""


class ActStopped(Exception):
    """A part of an act was done, and then something held it up for certain: one sentence. It may be gone on with."""


class OutcomeUnknown(Exception):
    """An act was sent and no answer came: it may have been done, or may be done later."""


@dataclass(frozen=True)
class Clients:
    """The connections that write, with the remediating identity. `ceph` connects when it is called."""

    kubernetes: WritingApi | None
    ceph: Callable[[], Rados] | None

    def api(self) -> WritingApi:
        """The Kubernetes API to write to.

        Raises:
            ActFailed: there is none.
        """
        if self.kubernetes is None:
            raise ActFailed("No Kubernetes is configured to act on.")
        return self.kubernetes

    def connect(self) -> Rados:
        """A Ceph connection to write with.

        Raises:
            ActFailed: there is none.
        """
        if self.ceph is None:
            raise ActFailed("No Ceph is configured to act on.")
        return self.ceph()


@dataclass(frozen=True)
class Write:
    """A permission that an action needs: RBAC of the remediating identity is derived from it.

    `kind` is that of the targets that it is used on (`Pod`); a subresource is written as RBAC does (`pods/eviction`).
    """

    group: str
    resource: str
    verb: str
    kind: str


@dataclass(frozen=True)
class Undo:
    """What takes an act back: another action, and how its act follows from the one that was done. Pure."""

    action: str
    plan: Callable[[Planned], Planned]


Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Action:
    """What an action module declares.

    `plan` is pure. `apply` does what was planned and nothing else; `done` tells from fresh facts whether it has been
    done (None: that cannot be seen), which is how an interrupted act is judged. `settles` is how long, in seconds, an
    act without an answer may still land. `dry_run` asks the API whether it would accept the act. `guards` are judged
    before every such act, whether or not a runbook names them: safety is the action's, not the YAML's.
    `parameters` are those that `with` may give, each with its kind; `undo` is what takes the act back, or the sentence
    why nothing can.
    """

    risk: Risk
    parameters: Mapping[str, ParameterKind]
    undo: Undo | str
    reads: tuple[Read[Any], ...]
    writes: tuple[Write, ...]
    plan: Callable[[Situation, Arguments], Planned]
    apply: Callable[[Planned, Clients], Awaitable[None]]
    done: Callable[[Planned, Situation], bool | None]
    dry_run: Callable[[Planned, Clients], Awaitable[None]] | None = None
    required: frozenset[str] = frozenset()
    settles: float = 0.0
    lifts_fence: bool = False
    ceph_caps: tuple[str, ...] = field(default=())
    guards: tuple[str, ...] = ()


@cache
def all_actions() -> dict[str, Action]:
    """Every action by its dotted name."""
    found = {}
    for area in iter_modules(__path__):
        if not area.ispkg:
            continue
        package = import_module(f"{__name__}.{area.name}")
        for entry in iter_modules(package.__path__):
            module = import_module(f"{package.__name__}.{entry.name}")
            action, doc = getattr(module, "ACTION", None), (module.__doc__ or "").strip()
            if not isinstance(action, Action) or not doc:
                raise RuntimeError(f"{module.__name__} must declare ACTION and a docstring that explains it")
            found[f"{area.name}.{entry.name}"] = action
    return found
