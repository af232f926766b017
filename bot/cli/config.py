"""`unstick config check`: what Unstick would use, and whether each part of it can be reached. Changes nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec
import typer
from sqlalchemy.engine import make_url

from bot import settings as configuration
from bot.cli.lines import word, write
from bot.cli.shared import Cluster, Config, Output, global_options, print_json, settings_of, text_console, with_progress
from bot.diagnose import library
from bot.settings import Settings
from bot.wiring import Target, person, target
from diagnostics.sources import CouldNotLook
from diagnostics.sources.ceph.rados import Rados, RadosError
from diagnostics.sources.kubernetes.api import Access, Api, KubernetesError, NoSuchConfiguration, refusal

app = typer.Typer(no_args_is_help=True, help="The configuration: what it says, and whether it works.")
_PATIENCE = 30.0  # seconds for one Ceph to answer
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
    if settings.schedules:
        from bot.schedule import check as check_schedules  # only here: no other command pays for the scheduler

        check_schedules(settings)
    chosen = cluster or global_options.get("cluster")
    names = [settings.cluster(chosen)[0]] if chosen else sorted(settings.clusters)
    parts = with_progress("Trying each part …", lambda: _tried(settings, names))
    document = {
        "version": 1, "file": str(file) if file else None, "state": _shown(settings.state_url), "runbooks": len(books),
        "you": _person(settings, person(settings).id), "unknown_people": settings.unknown_people,
        "people": [_person(settings, name) for name in sorted(settings.people)],
        "critical_quorum": settings.critical_quorum, "default_cluster": settings.default_cluster,
        "parts": [msgspec.to_builtins(part) for part in parts],
    }  # fmt: skip
    if output == "json":
        print_json(document)
    else:
        _print(document, parts)
    found = {part.status for part in parts}
    raise typer.Exit(2 if "wrong" in found else 3 if "unknown" in found else 0)


def _shown(url: str) -> str:
    return make_url(url).render_as_string(hide_password=True)


def _person(settings: Settings, name: str) -> dict[str, Any]:
    known = person(settings, name)
    return {"id": known.id, "roles": sorted(known.roles), "namespaces": sorted(known.namespaces)}


async def _tried(settings: Settings, names: list[str]) -> list[Part]:
    found = []
    for name in names:
        try:
            one = target(settings, name)
        except configuration.SettingsError as error:
            found.append(Part(name, "ceph", "", "wrong", str(error)))
            continue
        found += await asyncio.gather(*(_part(*words) for words in _parts(one)))
    return found


def _parts(one: Target) -> list[tuple[str, str, str, Callable[[], Awaitable[str]] | None]]:
    """What to try of a cluster; the remediating identity only where it is another one."""
    ceph = one.ceph_conf or ""
    words: list[tuple[str, str, str, Callable[[], Awaitable[str]] | None]] = [
        (one.name, "kubernetes", _where(one.kubernetes), _kubernetes(one.kubernetes)),
        (one.name, "ceph", ceph, _ceph(one.connect_ceph)),
    ]
    if one.remediate != one.kubernetes:
        words.append((one.name, "kubernetes (remediate)", _where(one.remediate), _kubernetes(one.remediate)))
    if one.remediate_ceph is not None:
        words.append((one.name, "ceph (remediate)", ceph, _ceph(one.remediate_ceph)))
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


def _ceph(connect: Callable[[], Rados] | None) -> Callable[[], Awaitable[str]] | None:
    if connect is None:
        return None

    async def attempt() -> str:
        try:
            fsid, client = await asyncio.wait_for(asyncio.to_thread(_connected, connect), _PATIENCE)
        except TimeoutError:
            raise CouldNotLook(f"Ceph did not answer within {_PATIENCE:g} s: check `ceph -s`.") from None
        except RadosError as error:
            raise CouldNotLook(f"Ceph could not be asked: {error}; check `ceph -s`.") from None
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
    write(console, f"state          {document['state']}")
    write(console, f"runbooks       {document['runbooks']}")
    for part in parts:
        uses = f"  {part.uses}" if part.uses else ""
        reason = f"  {part.reason}" if part.reason else ""
        write(console, f"{part.cluster}: {part.part}: ", word(part.status, _COLOURS), f"{uses}{reason}")
    for known in document["people"]:
        where = f" in {', '.join(known['namespaces'])}" if known["namespaces"] else ""
        write(console, f"{known['id']}: {', '.join(known['roles']) or 'nothing'}{where}")
    write(console, f"anybody else: {document['unknown_people']}")
    write(console, f"you are {document['you']['id']}: {', '.join(document['you']['roles']) or 'nothing'}")
