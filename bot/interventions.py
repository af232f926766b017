"""What people may do to an execution besides approving and running it, as the command line and Slack both do it.

Nothing here looks at a cluster: to stop everything must work when nothing else does.
"""

from collections.abc import Callable
from functools import partial

from bot.access import without_slack
from bot.diagnose import library
from bot.remedy import LiveWorld
from bot.rules import rules
from bot.settings import Settings
from bot.store import State
from bot.wiring import Target
from runbooks.approval import Person
from runbooks.engine import Engine
from runbooks.execution import Execution, Said
from runbooks.execution import State as ExecutionState
from runbooks.interventions import Interventions
from runbooks.model import Runbook
from runbooks.plan import PlannedStep

_WANTED = {"manual": Said.DONE, "attest": Said.ATTESTED}


def interventions(
    settings: Settings, cluster: str, state: State, who: Callable[[str], Person] | None = None
) -> Interventions:
    """The interventions of people in one cluster's executions. No connection is made. `who` as for `bot.remedy.engine`."""

    def find(name: str) -> Runbook:
        return library(settings).find(name)  # not before it is asked for: a broken runbook keeps nobody from a freeze

    nowhere = Target(cluster, None, None, None, None, settings=settings, now=state.runbooks.now)
    world = LiveWorld(nowhere, state, ())
    known = who or partial(without_slack, settings, cluster=cluster)
    return Interventions(Engine(cluster, world, state.runbooks, find, known, partial(rules, settings)))


def asking_step(execution: Execution) -> PlannedStep | None:
    """The step that waits for a person's word; None where none does."""
    if execution.state is not ExecutionState.ASKING:
        return None
    return next((step for step in execution.plan.steps if step.id == execution.asking), None)


def awaited(execution: Execution) -> Said | None:
    """The word that the step waits for: done by hand, an attestation, or (after a failure) to try it again."""
    step = asking_step(execution)
    return _WANTED.get(step.kind, Said.RETRY) if step is not None else None


def to_type(execution: Execution) -> str | None:
    """The name that an attestation is confirmed by; None where none is waited for."""
    step = asking_step(execution)
    return step.attest.targets[0].name if step is not None and step.attest is not None else None
