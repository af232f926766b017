"""What can be read of the world, declared as data: what a check reads, and what a scan must therefore fetch.

RBAC is derived from these declarations too. Nothing here performs I/O.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar, cast

from diagnostics.model import Scope

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class NotSeen:
    """A fact that could not be read, and why. `configured` is False where there was nothing to look at."""

    reason: str
    configured: bool = True


@dataclass(frozen=True, eq=False)
class Kind(Generic[T_co]):
    """One kind of fact. `T_co` is what a snapshot holds of it; `after` names the kinds that narrow its reading."""

    name: str
    after: tuple["Kind[Any]", ...] = ()


@dataclass(frozen=True, eq=False)
class Read(Generic[T_co]):
    """What a check wants of a kind. `where` says which items must be kept in full during a scan of everything.

    `optional` facts may be missing: the check then gets the NotSeen itself, and says what it could not see.
    """

    kind: Kind[T_co]
    where: Callable[[Any], bool] | None = None
    optional: bool = False


@dataclass(frozen=True)
class Snapshot:
    """The facts of one moment. Looking a kind up gives its facts, or NotSeen with the reason."""

    cluster: str
    taken_at: datetime
    scope: Scope
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, kind: Kind[T]) -> T | NotSeen:
        return cast("T | NotSeen", self.facts.get(kind.name, NotSeen(f"{kind.name} was not read")))

    def seen(self, kind: Kind[T]) -> T | None:
        """The facts of a kind, or None where it could not be read: for those who say that elsewhere."""
        found = self[kind]
        return None if isinstance(found, NotSeen) else found

    def only(self, reads: Iterable[Read[Any]]) -> "Snapshot":
        """This snapshot with just the declared facts, so that a check cannot judge what it does not declare."""
        wanted = {read.kind.name for read in reads}
        return Snapshot(self.cluster, self.taken_at, self.scope, {k: v for k, v in self.facts.items() if k in wanted})

    def with_fact(self, kind: Kind[T], value: T | NotSeen) -> "Snapshot":
        """A copy of this snapshot that also holds `value`."""
        return Snapshot(self.cluster, self.taken_at, self.scope, {**self.facts, kind.name: value})


def in_order(kinds: Iterable[Kind[Any]]) -> tuple[Kind[Any], ...]:
    """The kinds and all that they come after, each once, dependencies first."""
    ordered: dict[str, Kind[Any]] = {}

    def add(kind: Kind[Any]) -> None:
        for earlier in kind.after:
            add(earlier)
        ordered.setdefault(kind.name, kind)

    for kind in kinds:
        add(kind)
    return tuple(ordered.values())
