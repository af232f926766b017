"""The only readers of the outside world. Each turns a kind of fact into requests and the answers into facts."""

from typing import Any, Protocol

from diagnostics.facts import Kind, Snapshot


class CouldNotLook(Exception):
    """A source cannot answer: one sentence that says what happened and what to do next.

    `configured` is False where the cluster simply has no such source (no Ceph): that is skipped, not unknown.
    """

    def __init__(self, reason: str, *, configured: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.configured = configured


class Source(Protocol):
    """Something that can be read."""

    def provides(self, kind: Kind[Any]) -> bool:
        """Whether this source reads that kind of fact."""
        ...

    async def fetch(self, kind: Kind[Any], earlier: Snapshot) -> Any:
        """Read a kind of fact, as far as the snapshot's scope asks for it.

        Raises:
            CouldNotLook: nothing of it could be read.
        """
        ...
