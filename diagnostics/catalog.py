"""Finds the checks by their place in the tree: adding one edits no existing file."""

import pkgutil
from dataclasses import dataclass
from functools import cache
from importlib import import_module

from diagnostics import checks
from diagnostics.checks import Check


@dataclass(frozen=True)
class Listed:
    """A check with its id (`area/bad_state_plural`) and its documentation."""

    id: str
    doc: str
    check: Check

    @property
    def area(self) -> str:
        """The folder that it lies in."""
        return self.id.partition("/")[0]


@cache
def all_checks() -> tuple[Listed, ...]:
    """Every check, by id.

    Raises:
        RuntimeError: a check module declares no CHECK, or explains nothing.
    """
    found = []
    for area in pkgutil.iter_modules(checks.__path__):
        package = import_module(f"{checks.__name__}.{area.name}")
        for entry in pkgutil.iter_modules(package.__path__):
            module = import_module(f"{package.__name__}.{entry.name}")
            check, doc = getattr(module, "CHECK", None), (module.__doc__ or "").strip()
            if not isinstance(check, Check) or not doc:
                raise RuntimeError(f"{module.__name__} must declare CHECK and a docstring that explains it")
            found.append(Listed(f"{area.name}/{entry.name}", doc, check))
    return tuple(sorted(found, key=lambda listed: listed.id))


def chosen(areas: tuple[str, ...] = (), ids: tuple[str, ...] = ()) -> tuple[Listed, ...]:
    """The checks of some areas and some ids; all where neither is given.

    Raises:
        KeyError: an area or an id does not exist; its argument is the name.
    """
    known = all_checks()
    for area in areas:
        if area not in {listed.area for listed in known}:
            raise KeyError(area)
    for wanted in ids:
        if wanted not in {listed.id for listed in known}:
            raise KeyError(wanted)
    return tuple(c for c in known if not (areas or ids) or c.area in areas or c.id in ids)
