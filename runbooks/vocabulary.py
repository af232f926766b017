"""The names that runbooks may use: the checks, guards, actions and causes that exist."""

from functools import cache

from diagnostics.catalog import all_checks
from diagnostics.causes import MEANINGS
from runbooks.actions import Undo, all_actions
from runbooks.guards import all_guards
from runbooks.model import ActionWords, Vocabulary


@cache
def vocabulary() -> Vocabulary:
    """All names, for the loader to judge runbooks by."""
    return Vocabulary(
        checks=frozenset(listed.id for listed in all_checks()),
        guards={name: guard.arguments for name, guard in all_guards().items()},
        actions={
            name: ActionWords(
                action.risk,
                frozenset(action.parameters),
                action.required,
                action.lifts_fence,
                action.undo.action if isinstance(action.undo, Undo) else None,
                action.parameters,
            )
            for name, action in all_actions().items()
        },
        causes=frozenset(MEANINGS),
    )
