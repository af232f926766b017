"""Actions: the only code that changes anything. One module each, found by its path: `ceph/fence.py` is `ceph.fence`.

An action plans purely from facts, so that what is approved is exactly what is done. Everything it writes is declared.
"""

import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from queue import Empty, Queue
from time import monotonic
from typing import Any

from diagnostics.facts import Read
from diagnostics.sources.ceph.rados import Rados
from runbooks.actions.kubernetes_api import WritingApi
from runbooks.model import ParameterKind, Risk
from runbooks.situation import Planned, Situation

# How long, in seconds, an act on Ceph may take in all: three calls at their own time-outs and some more.
PATIENCE = 90.0
# Of these, how long the connections to several Ceph clusters may take; each gives up by itself after some seconds.
CONNECTING = 30.0


class ActFailed(Exception):
    """An act was refused, or failed for certain: one sentence. Nothing was changed by it."""


class ActStopped(Exception):
    """A part of an act was done, and then something held it up for certain: one sentence. It may be gone on with."""


class OutcomeUnknown(Exception):
    """An act was sent and no answer came: it may have been done, or may be done later."""


@dataclass(frozen=True)
class Clients:
    """The connections that write, with the remediating identity. `ceph` connects when it is called.

    Where several Ceph clusters are configured, `cephs` has how to connect to each, by name.
    """

    kubernetes: WritingApi | None
    ceph: Callable[[], Rados] | None
    cephs: Mapping[str, Callable[[], Rados]] = field(default_factory=dict)

    def api(self) -> WritingApi:
        """The Kubernetes API to write to.

        Raises:
            ActFailed: there is none.
        """
        if self.kubernetes is None:
            raise ActFailed("No Kubernetes is configured to act on.")
        return self.kubernetes

    def connect(self, fsid: str) -> Rados:
        """A connection to write with, to the Ceph with this fsid and to no other.

        Of several, all are tried at the same time: one that is away does not hold up another's act.

        Raises:
            ActFailed: there is none, or none with this fsid.
            CouldNotLook, RadosError: the only one cannot be reached.
        """
        if self.cephs:
            return _of_several(self.cephs, fsid)
        if self.ceph is None:
            raise ActFailed("No Ceph is configured to act on.")
        rados = self.ceph()
        if (found := _fsid_of(rados)) != fsid:
            rados.close()
            raise ActFailed(f"This is Ceph {found}, but the plan is for {fsid}; nothing was changed.")
        return rados


def _fsid_of(rados: Rados) -> str:
    """The fsid of the cluster that a connection is to; where it does not tell, the connection is closed."""
    try:
        return rados.fsid
    except BaseException:
        rados.close()
        raise


def _of_several(cephs: Mapping[str, Callable[[], Rados]], fsid: str) -> Rados:
    """The connection whose cluster has this fsid; the others are closed, also those that come too late."""
    answers: Queue[tuple[str, Rados | Exception]] = Queue()
    given_up = threading.Event()
    settling = threading.Lock()

    def connect(name: str, connecting: Callable[[], Rados]) -> None:
        try:
            rados = connecting()
            if (found := _fsid_of(rados)) != fsid:
                rados.close()
                raise ActFailed(f"it is Ceph {found}")
        except Exception as error:  # noqa: BLE001 - it is told where all have answered
            answers.put((name, error))
            return
        with settling:
            if not given_up.is_set():
                given_up.set()
                answers.put((name, rados))
                return
        rados.close()

    for name, connecting in cephs.items():
        threading.Thread(target=connect, args=(name, connecting), name="ceph-act", daemon=True).start()
    told: dict[str, str] = {}
    ends = monotonic() + CONNECTING
    while len(told) < len(cephs):
        try:
            name, answer = answers.get(timeout=max(0.0, ends - monotonic()))
        except Empty:
            told |= {name: "it did not answer" for name in cephs if name not in told}
            break
        if not isinstance(answer, Exception):
            return answer
        told[name] = str(answer)
    with settling:
        given_up.set()
    late: list[Rados] = [answer for _, answer in answers.queue if not isinstance(answer, Exception)]
    if late:  # it answered at the very end
        return late[0]
    reasons = "; ".join(f"{name}: {why}" for name, why in told.items())
    raise ActFailed(f"No Ceph that is configured is {fsid}, for which the plan is ({reasons}); nothing was changed.")


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
