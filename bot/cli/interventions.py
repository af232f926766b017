"""The commands by which people intervene: a word that a step waits for, a decision, pause, cancel, withdraw, freeze."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from bot import interventions
from bot.access import person
from bot.cli.executions import found, refuse, run_to_its_end, show_json, what_next
from bot.cli.lines import command, write
from bot.cli.shared import (
    CephConf,
    Cluster,
    Config,
    Context,
    Output,
    Usage,
    global_options,
    run_async,
    settings_of,
    state_of,
    target_of,
    text_console,
)  # fmt: skip
from bot.settings import Settings
from bot.store import State
from runbooks import approval as approvals
from runbooks.approval import Person
from runbooks.engine import Refusal, has_died
from runbooks.execution import Execution, Said
from runbooks.execution import State as ExecutionState
from runbooks.interventions import Interventions

Act = Callable[[Interventions, Execution, Person], Awaitable[object]]
Later = Annotated[bool, typer.Option("--later", help="Do not go on with the run now.")]
_WORDS = {
    Said.DONE: "It is noted as done by hand.", Said.ATTESTED: "Your word is noted, with your name and the time.",
    Said.RETRY: "The step will be tried again.", Said.SKIP: "The step will be skipped.",
}  # fmt: skip


def register(app: typer.Typer, runbook: typer.Typer) -> None:
    """Add the commands: those on an execution below `runbook`, those on everything beside it."""
    for each in (done, attest, retry, skip, decide, pause, cancel, withdraw):
        runbook.command()(each)
    app.command()(freeze)
    app.command()(thaw)


def done(
    execution: str,
    note: Annotated[str, typer.Option("--note", help="What you did, for the record.")] = "",
    later: Later = False, context: Context = None, ceph_conf: CephConf = None, config: Config = None,
    cluster: Cluster = None, output: Output = "text",
) -> None:  # fmt: skip
    """Say that a manual step was done by hand, and go on: what you did is verified where that can be."""
    _say(execution, Said.DONE, note, None, _Where(context, ceph_conf, config, cluster, output, later))


def attest(
    execution: str,
    confirm: Annotated[str | None, typer.Option("--confirm", help="The name of what you give your word for, typed.")] = None,
    later: Later = False, context: Context = None, ceph_conf: CephConf = None, config: Config = None,
    cluster: Cluster = None, output: Output = "text",
) -> None:  # fmt: skip
    """Give your word for what no fact shows (a node is powered off), and go on. It counts for 15 minutes."""
    _say(execution, Said.ATTESTED, "", confirm, _Where(context, ceph_conf, config, cluster, output, later))


def retry(
    execution: str, later: Later = False, context: Context = None, ceph_conf: CephConf = None, config: Config = None,
    cluster: Cluster = None, output: Output = "text",
) -> None:  # fmt: skip
    """Try the step again that failed, behind the same guards, and go on."""
    _say(execution, Said.RETRY, "", None, _Where(context, ceph_conf, config, cluster, output, later))


def skip(
    execution: str, why: Annotated[str, typer.Option("--why", help="Why it can be left out, for the record.")],
    later: Later = False, context: Context = None, ceph_conf: CephConf = None, config: Config = None,
    cluster: Cluster = None, output: Output = "text",
) -> None:  # fmt: skip
    """Leave out the step that waits, as an admin, and go on."""
    _say(execution, Said.SKIP, why, None, _Where(context, ceph_conf, config, cluster, output, later))


def decide(
    execution: str,
    outcome: Annotated[str, typer.Argument(help="What became of the act.", metavar="done|not-done")],
    why: Annotated[str, typer.Option("--why", help="How you know, for the record.")],
    later: Later = False, context: Context = None, ceph_conf: CephConf = None, config: Config = None,
    cluster: Cluster = None, output: Output = "text",
) -> None:  # fmt: skip
    """Say, as an admin, what became of an act that is in doubt and cannot be seen, and go on."""
    if outcome not in ("done", "not-done"):
        raise Usage(f"What became of the act is `done` or `not-done`, not {outcome!r}.")

    async def decided(words: Interventions, asked: Execution, who: Person) -> object:
        return await words.decide(asked, who, done=outcome == "done", why=why)

    where = _Where(context, ceph_conf, config, cluster, output, later)
    _go_on_after(execution, decided, f"It is noted that the act was {outcome.replace('-', ' ')}.", where)


def pause(execution: str, config: Config = None) -> None:
    """Stop a run after the act that is under way; `unstick runbook run EXECUTION` goes on with it."""
    settings, state, asked = _held(execution, config)
    _intervene(settings, state, asked, lambda words, it, who: words.pause(it, who))
    _told(state, asked, "will pause after the act that is under way")


def cancel(
    execution: str, why: Annotated[str, typer.Option("--why", help="What others should know.")] = "",
    config: Config = None,
) -> None:  # fmt: skip
    """End an execution: at once, or after the act that is under way. What was done stands."""
    settings, state, asked = _held(execution, config)
    _intervene(settings, state, asked, lambda words, it, who: words.cancel(it, who, why))
    _told(state, asked, "will end after the act that is under way")
    for entry in state.runbooks.entries(asked.id):
        outcome = entry.outcome or "begun, with no outcome"
        write(text_console(), f"{outcome}, and it stands: {entry.act.says}", indent=2)


def withdraw(execution: str, config: Config = None) -> None:
    """Take your own approval back, as long as nothing was begun."""
    settings, state, asked = _held(execution, config)
    _intervene(settings, state, asked, lambda words, it, who: words.withdraw(it, who))
    _told(state, asked, "")
    write(text_console(), "Your approval is withdrawn.")


def freeze(
    why: Annotated[str, typer.Option("--why", help="What others should know.")] = "", config: Config = None,
    cluster: Cluster = None,
) -> None:  # fmt: skip
    """Stop every act in the cluster, from the next one on: nothing is changed until `unstick thaw`."""
    settings, state, name = _stopping(config, cluster)

    async def work() -> None:
        await interventions.interventions(settings, name, state).freeze(person(settings, cluster=name), why)

    _or_refuse(work)
    write(text_console(), f"Everything is stopped in cluster {name}. An approver or admin lets it go on:")
    command(text_console(), "unstick thaw" + (f" --cluster {name}" if len(settings.clusters) > 1 else ""), 2)


def thaw(config: Config = None, cluster: Cluster = None) -> None:
    """Let acts go on after `unstick freeze`. What was paused by it is gone on with by `unstick runbook run`."""
    settings, state, name = _stopping(config, cluster)
    were: list[bool] = []

    async def work() -> None:
        were.append(await interventions.interventions(settings, name, state).thaw(person(settings, cluster=name)))

    _or_refuse(work)
    write(text_console(), f"Acts may go on in cluster {name}." if were[0] else f"Cluster {name} was not frozen.")
    paused = [e for e in state.runbooks.history() if e.state is ExecutionState.PAUSED and e.plan.cluster == name]
    for each in paused:
        command(text_console(), f"unstick runbook run {each.id}", 2)


class _Where:
    """The options that all commands share which go on with a run."""

    def __init__(
        self, context: str | None, ceph_conf: str | None, config: str | None, cluster: str | None, output: str,
        later: bool,
    ) -> None:  # fmt: skip
        self.context = context
        self.ceph_conf = ceph_conf
        self.config = config
        self.cluster = cluster
        self.output = output
        self.later = later


def _say(execution: str, kind: Said, said: str, confirmed: str | None, where: _Where) -> None:
    async def work(words: Interventions, asked: Execution, who: Person) -> object:
        return await words.say(asked, who, kind, said, confirmed)

    _go_on_after(execution, work, _WORDS[kind], where)


def _go_on_after(execution: str, act: Act, noted: str, where: _Where) -> None:
    """Have something said of an execution, and go on with it, where the person may and wants to."""
    settings, state, asked = _held(execution, where.config)
    # Known before anything is said: a mistake in it must not leave the word said and the run not gone on with.
    cluster = where.cluster or global_options.get("cluster") or asked.plan.cluster
    target = target_of(settings, cluster, where.context, where.ceph_conf)
    _intervene(settings, state, asked, act)
    now = found(state, execution)
    others = approvals.may_run(now.plan, person(settings, cluster=now.plan.cluster), begun=True)
    if not (where.later or others):
        run_to_its_end(settings, target, state, now, where.output)
        return
    if where.output == "json":
        show_json(state, now)
        return
    who = "somebody with the role responder or approver goes on with it" if others else "go on with it"
    write(text_console(), f"{noted} Later {who}:")
    command(text_console(), f"unstick runbook run {execution}", 2)


def _held(execution: str, config: str | None) -> tuple[Settings, State, Execution]:
    settings = settings_of(config)
    state = state_of(settings)
    state.runbooks.interrupted(has_died)  # what a dead process ran is nobody's: there is nobody to be asked to stop
    return settings, state, found(state, execution)


def _stopping(config: str | None, cluster: str | None) -> tuple[Settings, State, str]:
    settings = settings_of(config)
    name, _ = settings.cluster(cluster or global_options.get("cluster"))
    return settings, state_of(settings), name


def _intervene(settings: Settings, state: State, execution: Execution, act: Act) -> None:
    async def work() -> None:
        words = interventions.interventions(settings, execution.plan.cluster, state)
        await act(words, execution, person(settings, cluster=execution.plan.cluster))

    _or_refuse(work)


def _or_refuse(work: Callable[[], Awaitable[None]]) -> None:
    async def done_or_refused() -> None:
        await work()

    try:
        run_async(done_or_refused)
    except Refusal as refusal:
        refuse(refusal)


def _told(state: State, execution: Execution, coming: str) -> None:
    """Say how an execution stands now."""
    now = found(state, execution.id)
    if now.state is ExecutionState.RUNNING and coming:
        write(text_console(), f"{now.id} {coming}.")
    else:
        write(text_console(), f"{now.id} is {now.state}.")
    what_next(now)
