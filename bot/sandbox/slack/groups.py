"""User groups: who is in them now. Pure; what is asked later is answered as it is later."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """A user group and the ids of its members."""

    id: str
    name: str
    members: tuple[str, ...]
    disabled: bool = False


class Groups:
    """The user groups of a workspace."""

    def __init__(self) -> None:
        self._known: dict[str, Group] = {}

    def set(self, name: str, members: Sequence[str], *, disabled: bool = False) -> Group:
        """Make a group, or change who is in the one of that name."""
        made = "S0" + "".join(c for c in name.upper() if c.isalnum() and c.isascii())
        group = Group(made, name, tuple(dict.fromkeys(members)), disabled)
        self._known[group.id] = group
        return group

    def remove(self, group: str) -> None:
        """Take a group away, by its id."""
        self._known.pop(group, None)

    def find(self, group: object) -> Group | None:
        """The group of that id."""
        return self._known.get(str(group))

    @property
    def all(self) -> tuple[Group, ...]:
        """All groups, disabled ones too."""
        return tuple(self._known.values())
