"""What carries acts out. The engine decides; hands ask the API server and do. Another pair of hands plays a recorded case."""

from collections.abc import Sequence
from typing import Protocol

from diagnostics.sources import CouldNotLook
from runbooks.actions import ActFailed, Action, Clients, all_actions
from runbooks.situation import Planned
from runbooks.standing import Admission


class Hands(Protocol):
    """Asks about acts, and does them, with one identity."""

    async def admission(self, act: Planned) -> Admission:
        """Whether the API server permits an act and would accept it. Changes nothing, and never raises."""
        ...

    async def apply(self, act: Planned) -> None:
        """Do an act.

        Raises:
            ActFailed: it was refused, or failed for certain: nothing was changed.
            ActStopped: a part of it was done.
            OutcomeUnknown: no answer came.
        """
        ...


class LiveHands:
    """Hands on real connections."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    async def admission(self, act: Planned) -> Admission:
        """Ask for each permission that the act takes, then for a dry run."""
        action = all_actions()[act.action]
        try:
            denied = await self._denied(action, act)
            if denied:
                return Admission(denied=tuple(denied))
            if action.dry_run is not None:
                await action.dry_run(act, self._clients)
        except ActFailed as error:
            return Admission(refused=str(error))
        except CouldNotLook as error:
            return Admission(unseen=f"the API server could not be asked about this act: {error.reason}")
        return Admission()

    async def _denied(self, action: Action, act: Planned) -> Sequence[str]:
        asked: dict[tuple[str, str, str, str | None], bool] = {}
        for write in action.writes:
            for target in act.targets:
                where = (write.group, write.resource, write.verb, target.namespace)
                if target.kind == write.kind and where not in asked:
                    asked[where] = await self._clients.api().permitted(*where, target.name)
        return [
            f"{verb} {resource}" + (f" in namespace {namespace}" if namespace else "")
            for (_, resource, verb, namespace), yes in asked.items() if not yes
        ]  # fmt: skip

    async def apply(self, act: Planned) -> None:
        """Do it."""
        await all_actions()[act.action].apply(act, self._clients)


class NoHands:
    """Stands in where no connection to act with could be made: nothing is permitted, and the reason is told."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def admission(self, act: Planned) -> Admission:  # noqa: ARG002 - the same for every act
        """Nobody could be asked."""
        return Admission(unseen=self._reason)

    async def apply(self, act: Planned) -> None:  # noqa: ARG002
        """Nothing can be done."""
        raise ActFailed(self._reason)
