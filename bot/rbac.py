"""The permissions that Unstick needs, derived from what its checks, guards and actions declare. Nothing is listed twice."""

from collections.abc import Iterable

from bot.watch import WATCHED
from diagnostics import chain, changes
from diagnostics.catalog import all_checks
from diagnostics.facts import in_order
from diagnostics.facts.kubernetes import Resource
from runbooks.actions import all_actions
from runbooks.guards import all_guards

Rule = dict[str, list[str]]


def read_rules() -> list[Rule]:
    """RBAC rules of the reading identity: get and list on all that is declared to be read, but what is a choice to grant.

    What is watched may also be watched.
    """
    reads = [read for listed in all_checks() for read in listed.check.reads]
    reads += [read for guard in all_guards().values() for read in guard.reads]
    reads += [read for action in all_actions().values() for read in action.reads]
    kinds = in_order(read.kind for read in (*reads, *chain.READS, *changes.READS))
    wanted = [
        (kind.group, kind.plural, kind.verbs) for kind in kinds
        if isinstance(kind, Resource) and not kind.granted_by_choice
    ]  # fmt: skip
    return _rules([*wanted, *((watched.group, watched.plural, "get list watch") for watched in WATCHED)])


def write_rules() -> list[Rule]:
    """RBAC rules of the remediating identity: just the verbs that actions declare to use."""
    return _rules((w.group, w.resource, w.verb) for action in all_actions().values() for w in action.writes)


def _rules(wanted: Iterable[tuple[str, str, str]]) -> list[Rule]:
    verbs: dict[tuple[str, str], set[str]] = {}
    for group, resource, words in wanted:
        verbs.setdefault((group, resource), set()).update(words.split())
    grouped: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (group, resource), used in sorted(verbs.items()):
        grouped.setdefault((group, tuple(sorted(used))), []).append(resource)
    return [
        {"apiGroups": [group], "resources": resources, "verbs": list(used)}
        for (group, used), resources in grouped.items()
    ]
