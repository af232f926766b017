"""`unstick config check`: what Unstick would use, and whether each part of it can be reached. Changes nothing."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec
import typer
from rich.console import Console
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from bot import settings as configuration
from bot.access import grant
from bot.cli.lines import word, write
from bot.cli.serve import may_be_several
from bot.cli.shared import Cluster, Config, Output, global_options, print_json, settings_of, text_console, with_progress
from bot.diagnose import library
from bot.lease import lease_of
from bot.rules import rules
from bot.settings import ClusterSettings, Settings
from bot.store import postgres
from bot.wiring import Target, target
from diagnostics.sources import CouldNotLook
from diagnostics.sources.ceph.rados import Rados, RadosError
from diagnostics.sources.kubernetes.api import Access, Api, KubernetesError, NoSuchConfiguration, refusal
from runbooks.database import cause

app = typer.Typer(no_args_is_help=True, help="The configuration: what it says, and whether it works.")
_PATIENCE = 30.0  # seconds for one Ceph to answer
_LEASE_ANSWERS = 10.0  # seconds
_NO_APPROVER = "nobody has the role approver: no plan of high or critical risk can be approved; see `people`"
_COLOURS = {"ok": "green", "unknown": "magenta", "skipped": "dim", "wrong": "bold red"}


class Part(msgspec.Struct, frozen=True):
    """One thing that Unstick would talk to: `wrong` is a mistake in the configuration, `unknown` does not answer."""

    cluster: str
    part: str
    uses: str
    status: Literal["ok", "unknown", "skipped", "wrong"]
    reason: str | None = None


@app.command("check")
def check(config: Config = None, cluster: Cluster = None, output: Output = "text") -> None:
    """Validate the configuration, say what would be used, and try whether each cluster answers."""
    settings = settings_of(config)
    file = configuration.file_of(config or global_options.get("config"))
    books = library(settings).all()
    schedules = _schedules(settings)
    rules(settings)  # a change freeze that never comes is a mistake
    chosen = cluster or global_options.get("cluster")
    names = [settings.cluster(chosen)[0]] if chosen else sorted(settings.clusters)
    parts = with_progress("Trying each part …", lambda: _tried(settings, names))
    warnings = _warnings(settings)
    document = {
        "version": 1, "file": str(file) if file else None, "state": _shown(settings.state_url),
        "state_fault": _state_fault(settings.state_url), "runbooks": len(books),
        "slack": {"channel": settings.slack.channel, "tokens": {name: bool(os.environ.get(name)) for name in _tokens(settings)}},
        "schedules": schedules, "warnings": warnings,
        "you": _person(settings, grant(settings).id), "unknown_people": settings.unknown_people,
        "people": [_person(settings, name) for name in sorted(settings.people)],
        "groups": [
            {"id": name, "roles": sorted(words.roles), "namespaces": sorted(words.namespaces), "clusters": sorted(words.clusters)}
            for name, words in settings.groups.items()
        ],
        "critical_quorum": settings.critical_quorum, "default_cluster": settings.default_cluster,
        "parts": [msgspec.to_builtins(part) for part in parts],
    }  # fmt: skip
    if output == "json":
        print_json(document)
    else:
        _print(document, parts)
    found = {part.status for part in parts} | ({"wrong"} if document["state_fault"] else set())
    raise typer.Exit(2 if "wrong" in found else 3 if "unknown" in found else 0)


def _warnings(settings: Settings) -> list[str]:
    """What is allowed, and hardly meant."""
    told = []
    approvers = sum("approver" in words.roles for words in settings.people.values())
    by_group = any("approver" in words.roles for words in settings.groups.values())
    if not approvers and not by_group:
        told.append(_NO_APPROVER)
    elif approvers < settings.critical_quorum and not by_group:
        told.append(
            f"a critical plan needs {settings.critical_quorum} approvers (says `critical_quorum`), and {approvers} has the "
            "role: none can be approved"
        )
    in_slack = os.environ.get("SLACK_BOT_TOKEN") or any(settings.channel_of(name) for name in settings.clusters)
    told += [
        f"cluster {name} is not watched, as it has no channel: set `clusters.{name}.channel` or `slack.channel`"
        for name, words in sorted(settings.clusters.items())
        if in_slack and settings.watch.enabled and words.kubernetes is not None and settings.channel_of(name) is None
    ]
    if os.environ.get("ALERTMANAGER_TOKEN") and settings.http is None:
        told.append("ALERTMANAGER_TOKEN is set, and `http` is null: nothing would listen for alerts")
    return told


def _tokens(settings: Settings) -> tuple[str, ...]:
    """The secrets that `unstick serve` takes from the environment."""
    own = "SLACK_SIGNING_SECRET" if settings.slack.mode == "http" else "SLACK_APP_TOKEN"
    return "SLACK_BOT_TOKEN", own, "ALERTMANAGER_TOKEN"


def _shown(url: str) -> str:
    try:
        parsed = make_url(url)
    except ArgumentError:
        return "?"  # whatever it is, a password may be in it
    return parsed.difference_update_query(["password"]).render_as_string(hide_password=True)


def _person(settings: Settings, name: str) -> dict[str, Any]:
    known = grant(settings, name)
    return {
        "id": known.id, "also": list(known.also), "roles": sorted(known.roles),
        "namespaces": sorted(known.namespaces),
    }  # fmt: skip


def _schedules(settings: Settings) -> list[dict[str, Any]]:
    """Each schedule, and when it fires next, in its own time zone."""
    if not settings.schedules:
        return []
    from bot import schedule  # only here: no other command pays for the scheduler

    schedule.check(settings)
    firings = schedule.next_firings(settings, datetime.now(UTC))
    return [
        {
            "name": name, "next": firings[name].astimezone(ZoneInfo(words.timezone)).isoformat(),
            "channel": schedule.channel_of(name, words, settings), "cluster": settings.cluster(words.cluster)[0],
        }
        for name, words in sorted(settings.schedules.items())
    ]  # fmt: skip


def _state_fault(url: str) -> str | None:
    """Why the state database could not be made or opened, as far as that can be told without making anything."""
    try:
        parsed = make_url(url)
        if postgres.is_ours(parsed):
            return _server_fault(parsed)
        parsed.get_dialect()
    except ArgumentError:
        return "it is neither a path nor the address of a database; correct `state`"
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        return None
    file = Path(parsed.database)
    there = next(each for each in (file, *file.parents) if each.exists())
    if there == file:
        usable = file.is_file() and os.access(file, os.R_OK | os.W_OK)
        return None if usable else f"{file} is no file that can be written; name another with `state`"
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return f"it cannot be made, as nothing can be made in {there}; name another with `state`"
    return None


def _server_fault(url: URL) -> str | None:
    """Why a PostgreSQL server cannot be used."""
    try:
        engine = postgres.make_engine(url)
        with engine.connect():
            return None
    except (SQLAlchemyError, ValueError) as error:
        return f"{cause(error)}; correct `state`"


async def _tried(settings: Settings, names: list[str]) -> list[Part]:
    found = []
    for name in names:
        # Of what `target` refuses only a ceph.conf that is missing is a part's mistake; all else is tried all the same.
        missing, rest = _missing_conf(settings, name)
        tried = await _tried_parts(target(rest, name))
        found += [part for part in tried if not (missing and part.part == "ceph")] + missing
    return [*found, *await _lease(settings)]


async def _lease(settings: Settings) -> list[Part]:
    """The Lease that replicas agree by; none where there is only ever one replica."""
    if settings.leader is None or not may_be_several(settings):
        return []
    uses = f"{settings.leader.namespace or '(the namespace of the pod)'}/{settings.leader.lease}"
    try:
        async with lease_of(settings.leader) as lease:
            await lease.read(_LEASE_ANSWERS)
    except (configuration.SettingsError, NoSuchConfiguration) as error:
        return [Part("*", "lease", uses, "wrong", str(error))]
    except CouldNotLook as error:
        return [Part("*", "lease", uses, "unknown", error.reason)]
    return [Part("*", "lease", uses, "ok")]


async def _tried_parts(one: Target) -> list[Part]:
    fsids: dict[str, str] = {}
    parts = await asyncio.gather(*(_part(*words) for words in _parts(one, fsids)))
    return [_told_apart(part, parts, fsids) for part in parts]


def _told_apart(part: Part, parts: list[Part], fsids: dict[str, str]) -> Part:
    """A part as it is, unless it is a Ceph that another name stands for already, or acts on another one than it reads."""
    name, _, _ = part.part.partition(" (remediate)")
    fsid = fsids.get(part.part)
    if part.status != "ok" or fsid is None or not name.startswith("ceph "):
        return part
    if part.part != name:
        wrong = f"it is another cluster than {name}, {fsids[name]}: correct `remediate_conf`"
        return msgspec.structs.replace(part, status="wrong", reason=wrong) if fsids.get(name, fsid) != fsid else part
    before = [one.part for one in parts[: parts.index(part)] if fsids.get(one.part) == fsid and "(" not in one.part]
    wrong = f"it is the same cluster as {', '.join(before)}: name each once in `cephs`"
    return msgspec.structs.replace(part, status="wrong", reason=wrong) if before else part


def _missing_conf(settings: Settings, name: str) -> tuple[list[Part], Settings]:
    """The Ceph clusters of a cluster whose ceph.conf is missing, and the configuration without them."""
    cluster, wrong = settings.clusters[name], list[Part]()
    kept = dict(cluster.cephs)
    for each in cluster.cephs:
        alone = cluster.model_copy(update={"cephs": {each: cluster.cephs[each]}})
        try:
            target(_with(settings, name, alone), name)
        except configuration.SettingsError as error:
            wrong.append(Part(name, f"ceph {each}", "", "wrong", str(error)))
            del kept[each]
    rest = _with(settings, name, cluster.model_copy(update={"cephs": kept}))
    try:
        target(rest, name)
    except configuration.SettingsError as error:
        wrong.append(Part(name, "ceph", "", "wrong", str(error)))
        rest = _with(settings, name, cluster.model_copy(update={"ceph": None}))
    return wrong, rest


def _with(settings: Settings, name: str, cluster: ClusterSettings) -> Settings:
    return settings.model_copy(update={"clusters": {**settings.clusters, name: cluster}})


def _parts(one: Target, fsids: dict[str, str]) -> list[tuple[str, str, str, Callable[[], Awaitable[str]] | None]]:
    """What to try of a cluster; the remediating identity only where it is another one. `fsids` takes what Ceph says."""
    ceph = one.ceph_conf or ""
    words: list[tuple[str, str, str, Callable[[], Awaitable[str]] | None]] = [
        (one.name, "kubernetes", _where(one.kubernetes), _kubernetes(one.kubernetes)),
        *((one.name, f"ceph {each.name}", each.conf, _ceph(each.connect, f"ceph {each.name}", fsids)) for each in one.cephs),
    ]  # fmt: skip
    if not one.cephs:
        words.append((one.name, "ceph", ceph, _ceph(one.connect_ceph, "ceph", fsids)))
    if one.remediate != one.kubernetes:
        words.append((one.name, "kubernetes (remediate)", _where(one.remediate), _kubernetes(one.remediate)))
    if one.remediate_ceph is not None:
        words.append((one.name, "ceph (remediate)", ceph, _ceph(one.remediate_ceph, "ceph (remediate)", fsids)))
    for each in one.cephs:
        part = f"ceph {each.name} (remediate)"
        words.append((one.name, part, each.conf, _ceph(each.remediate, part, fsids)))
    return words


def _where(access: Access | None) -> str:
    if access is None:
        return ""
    context = f", context {access.context}" if access.context else ""
    return f"{access.kubeconfig or 'kubeconfig as kubectl finds it'}{context}"


async def _part(cluster: str, part: str, uses: str, attempt: Callable[[], Awaitable[str]] | None) -> Part:
    if attempt is None:
        return Part(cluster, part, uses, "skipped", "not configured")
    try:
        return Part(cluster, part, f"{uses}: {await attempt()}", "ok")
    except (NoSuchConfiguration, configuration.SettingsError) as error:
        return Part(cluster, part, uses, "wrong", str(error))
    except CouldNotLook as error:
        return Part(cluster, part, uses, "unknown" if error.configured else "skipped", error.reason)


def _kubernetes(access: Access | None) -> Callable[[], Awaitable[str]] | None:
    if access is None:
        return None

    async def attempt() -> str:
        async with Api(access) as api:
            try:
                version = msgspec.json.decode(await api.get("/version"))
            except KubernetesError as error:
                raise CouldNotLook(refusal(error, "tell its version")) from None
            except msgspec.DecodeError:
                raise CouldNotLook(f"{api.server} is no Kubernetes API: correct the kubeconfig.") from None
            told = version.get("gitVersion") if isinstance(version, dict) else None
            return f"{api.server}, {told or 'no version'}"

    return attempt


def _ceph(connect: Callable[[], Rados] | None, part: str, fsids: dict[str, str]) -> Callable[[], Awaitable[str]] | None:
    if connect is None:
        return None

    async def attempt() -> str:
        try:
            fsid, client = await asyncio.wait_for(asyncio.to_thread(_connected, connect), _PATIENCE)
        except TimeoutError:
            raise CouldNotLook(f"Ceph did not answer within {_PATIENCE:g} s: check `ceph -s`.") from None
        except RadosError as error:
            raise CouldNotLook(f"Ceph could not be asked: {error}; check `ceph -s`.") from None
        fsids[part] = fsid
        return f"cluster {fsid} as {client}"

    return attempt


def _connected(connect: Callable[[], Rados]) -> tuple[str, str]:
    rados = connect()
    try:
        return rados.fsid, rados.client
    finally:
        rados.close()


def _print(document: dict[str, Any], parts: list[Part]) -> None:
    console = text_console()
    write(console, f"configuration  {document['file'] or 'none: the defaults'}")
    fault = document["state_fault"]
    write(console, f"state          {document['state']}")
    if fault:
        write(console, "state: ", word("wrong", _COLOURS), f"  {fault}")
    write(console, f"runbooks       {document['runbooks']}")
    for part in parts:
        uses = f"  {part.uses}" if part.uses else ""
        reason = f"  {part.reason}" if part.reason else ""
        write(console, f"{part.cluster}: {part.part}: ", word(part.status, _COLOURS), f"{uses}{reason}")
    _print_slack(console, document)
    for known in document["people"]:
        also = f" (also {', '.join(known['also'])})" if known["also"] else ""
        where = f" in {', '.join(known['namespaces'])}" if known["namespaces"] else ""
        write(console, f"{known['id']}{also}: {', '.join(known['roles']) or 'nothing'}{where}")
    for group in document["groups"]:
        where = f" in {', '.join(group['namespaces'])}" if group["namespaces"] else ""
        at = f" of cluster {', '.join(group['clusters'])}" if group["clusters"] else ""
        write(console, f"group {group['id']}: {', '.join(group['roles']) or 'nothing'}{where}{at}")
    write(console, f"anybody else: {document['unknown_people']}")
    write(console, f"you are {document['you']['id']}: {', '.join(document['you']['roles']) or 'nothing'}")
    for warning in document["warnings"]:
        write(console, f"warning: {warning}", style="yellow")


def _print_slack(console: Console, document: dict[str, Any]) -> None:
    slack = document["slack"]
    tokens = ", ".join(f"{name} {'set' if given else 'not set'}" for name, given in slack["tokens"].items())
    write(console, f"slack: channel {slack['channel'] or 'none'}, {tokens}")
    for one in document["schedules"]:
        write(console, f"schedule {one['name']}: next at {one['next']}, of {one['cluster']}, in {one['channel']}")
