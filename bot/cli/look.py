"""The commands that only look: check, why, locks, cause."""

import sys
from typing import Annotated

import typer

from bot import answers
from bot.cli import text
from bot.cli.shared import (
    CephConf,
    Cluster,
    Config,
    Context,
    Output,
    Usage,
    print_json,
    say,
    settings_of,
    state_of,
    target_of,
    text_console,
    with_progress,
)  # fmt: skip
from bot.diagnose import Diagnosis, check_namespace, look_at_locks, look_at_subject, parse_subject, run_checks
from bot.wiring import Target
from diagnostics.catalog import all_checks, chosen
from diagnostics.causes import classify
from diagnostics.facts import NotSeen
from diagnostics.facts.ceph import LOCKS
from diagnostics.model import Severity, Status
from diagnostics.sources import CouldNotLook
from runbooks.format.wording import instead

Namespace = Annotated[str | None, typer.Option("-n", "--namespace", help="Only this namespace.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(check)
    app.command()(why)
    app.command()(locks)
    app.command()(cause)


def check(
    namespace: Namespace = None,
    all_namespaces: Annotated[bool, typer.Option("-A", "--all-namespaces", help="All namespaces (the default).")] = False,
    area: Annotated[list[str] | None, typer.Option("--area", help="Only the checks of this area.")] = None,
    check_id: Annotated[list[str] | None, typer.Option("--check", help="Only this check.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Print what the checks mean instead of running them.")] = False,
    context: Context = None, ceph_conf: CephConf = None, config: Config = None, cluster: Cluster = None,
    fail_on: Annotated[Severity, typer.Option("--fail-on", help="Exit with 1 from this severity on.")] = Severity.WARNING,
    output: Output = "text",
) -> None:  # fmt: skip
    """Look for everything that is stuck."""
    if namespace and all_namespaces:
        raise Usage("Give either -n NAMESPACE or -A, not both.")
    try:
        checks = chosen(tuple(area or ()), tuple(check_id or ()))
    except KeyError as unknown:
        known = {name for listed in all_checks() for name in (listed.id, listed.area)}
        raise Usage(f"There is no check or area {unknown.args[0]!r}; {instead(unknown.args[0], known)}") from None
    if explain:
        text.explain_checks(text_console(), checks)
        return
    settings = settings_of(config)
    target = target_of(settings, cluster, context, ceph_conf)
    state = state_of(settings)
    named = check_namespace(namespace)
    namespaces = (named,) if named else ()
    found = with_progress("Looking …", lambda: run_checks(target, state, checks, namespaces))
    if output == "json":
        print_json(answers.check(target.name, found.report, found.offers))
    else:
        text.check(text_console(), found)
    if all(outcome.status is Status.SKIPPED for outcome in found.report.outcomes):
        say("Nothing was looked at: set KUBECONFIG and CEPH_CONF, or write an unstick.yaml (`unstick config check`).")
    worst = max((f.severity.rank for f in found.report.findings if f.severity), default=-1)
    unseen = any(o.status is Status.UNKNOWN or (o.status is Status.FOUND and o.reason) for o in found.report.outcomes)
    raise typer.Exit(1 if worst >= fail_on.rank else 3 if unseen else 0)


def why(
    subject: Annotated[list[str], typer.Argument(help="What is stuck: pod/NAME, or pod NAME.")],
    namespace: Namespace = None,
    context: Context = None, ceph_conf: CephConf = None, config: Config = None, cluster: Cluster = None,
    output: Output = "text",
) -> None:  # fmt: skip
    """Explain one thing: a causal chain from the symptom to the root cause, with evidence for each link."""
    wanted = parse_subject(subject, namespace)
    settings = settings_of(config)
    target = target_of(settings, cluster, context, ceph_conf)
    state = state_of(settings)
    found = with_progress(f"Looking at {wanted} …", lambda: look_at_subject(target, state, wanted))
    if output == "json":
        told = (found.changes, found.beside, found.changes_unseen)
        print_json(answers.why(found.status, found.finding, found.offers, *told))
    else:
        text.why(text_console(), found)
    raise typer.Exit({Status.FOUND: 1, Status.OK: 0}.get(found.status, 3))


def locks(
    pool: Annotated[list[str] | None, typer.Option("--pool", help="Only this pool; may be repeated.")] = None,
    context: Context = None, ceph_conf: CephConf = None, config: Config = None, cluster: Cluster = None,
    output: Output = "text",
) -> None:  # fmt: skip
    """List the RBD locks of a Ceph cluster and say of each what it is: live, suspect, stale ..."""
    settings = settings_of(config)
    target = target_of(settings, cluster, context, ceph_conf, tuple(pool or ()))
    state = state_of(settings)
    found: Diagnosis = with_progress("Reading locks …", lambda: look_at_locks(target, state, tuple(pool or ())))
    snapshot, looks = found.report.snapshot, found.report.looks
    every = list(looks.values()) or [snapshot]
    unseen = [seen for each in every if isinstance(seen := each[LOCKS], NotSeen)]
    blind = _no_ceph(target, unseen) if len(unseen) == len(every) else None
    document = answers.locks(target.name if found.kubernetes_seen else None, snapshot, looks)
    if output == "json":
        unread = [{"pool": name, "reason": blind} for name in pool or ("*",)] if blind and not looks else None
        print_json({**document, "problems": unread or document["problems"]})
    elif blind is None:
        text.locks(text_console(), document)
    if blind is not None:
        raise CouldNotLook(blind)
    counts = any(answers.counts(each) for each in every)
    raise typer.Exit(1 if counts else 3 if document["problems"] else 0)


def _no_ceph(target: Target, unseen: list[NotSeen]) -> str:
    if not target.has_ceph:
        return "No Ceph is configured: name one with --ceph-conf, CEPH_CONF or unstick.yaml."
    return "; ".join(seen.reason for seen in unseen)


def cause(output: Output = "text") -> None:
    """Tell the cause of messages on stdin, one a line (or JSON lines with `message` and `reason`)."""
    from bot.cli.messages import Message, read_messages

    def answer(message: Message) -> None:
        told = classify(message.text, message.reason)
        if output == "json":
            print_json({"cause": told.cause, "confidence": told.confidence, "why": told.why, "entities": told.entities})
        else:
            text.cause(text_console(), message.text, told)

    for message in read_messages(sys.stdin.buffer):
        answer(message)
