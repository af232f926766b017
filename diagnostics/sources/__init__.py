"""The only readers of the outside world. Each turns a kind of fact into requests and the answers into facts."""

from collections.abc import Callable
from typing import Any, Protocol

from diagnostics.facts import Kind, Snapshot


class CouldNotLook(Exception):
    """A source cannot answer: one sentence that says what happened and what to do next.

    `configured` is False where the cluster simply has no such source (no Ceph): that is skipped, not unknown.
    `unreachable` says that nothing at all can be read there now.
    """

    def __init__(self, reason: str, *, configured: bool = True, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.configured = configured
        self.unreachable = unreachable


class Source(Protocol):
    """Something that can be read."""

    def provides(self, kind: Kind[Any]) -> bool:
        """Whether this source reads that kind of fact."""
        ...

    async def fetch(self, kind: Kind[Any], earlier: Snapshot, keep: Callable[[Any], bool] | None = None) -> Any:
        """Read a kind of fact, as far as the snapshot's scope asks for it; `keep` says which items matter in full.

        Raises:
            CouldNotLook: nothing of it could be read.
        """
        ...
