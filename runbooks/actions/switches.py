"""Acts that set one field of an object's spec to true, or take it away again: each is the other one's undo."""

from dataclasses import dataclass

from diagnostics.model import Subject
from runbooks.actions import Clients, Undo
from runbooks.actions.outcomes import telling_outcome
from runbooks.model import Risk
from runbooks.situation import Planned


@dataclass(frozen=True)
class Switch:
    """One direction: the action's name, the field, whether it is set, and the verb and the thing for sentences."""

    action: str
    field: str
    on: bool
    verb: str
    thing: str

    def plan(self, target: Subject) -> Planned:
        """The act on an object."""
        named = f"{self.thing} {target.name}" if self.thing == "node" else str(target)
        says = f"{self.verb} {named}"
        return Planned(self.action, says, (target,), {self.field: True if self.on else None}, Risk.LOW)

    async def dry_run(self, planned: Planned, clients: Clients) -> None:
        """Ask the server whether it would accept the patch."""
        with telling_outcome(self._doing, dry=True):
            await clients.api().patch(planned.targets[0], {"spec": planned.effect}, dry_run=True)

    async def apply(self, planned: Planned, clients: Clients) -> None:
        """Patch the object."""
        with telling_outcome(self._doing):
            await clients.api().patch(planned.targets[0], {"spec": planned.effect}, dry_run=False)

    @property
    def _doing(self) -> str:
        return f"{self.verb} the {self.thing}"

    def as_undo(self) -> Undo:
        """This direction, as what takes the other one back."""
        return Undo(self.action, lambda planned: self.plan(planned.targets[0]))


CORDON = Switch("kubernetes.cordon", "unschedulable", True, "cordon", "node")
UNCORDON = Switch("kubernetes.uncordon", "unschedulable", False, "uncordon", "node")
PAUSE = Switch("rollouts.pause", "paused", True, "pause", "rollout")
RESUME = Switch("rollouts.resume", "paused", False, "resume", "rollout")
