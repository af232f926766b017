"""Builds the parts from the configuration: sources to read with, clients to act with, the store, the library.

The only place that decides which identity and which address a part gets; the sandbox replaces just these decisions.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from bot import settings as configuration
from bot.settings import CephSettings, ClusterSettings, Settings, SettingsError
from diagnostics.sources import CouldNotLook, Source
from diagnostics.sources.ceph.librados import CephConfError, LibRados
from diagnostics.sources.ceph.rados import Rados
from diagnostics.sources.ceph.several import CephGroup
from diagnostics.sources.ceph.source import CephSource
from diagnostics.sources.kubernetes.api import Access, Api
from diagnostics.sources.kubernetes.source import KubernetesSource
from runbooks.actions import Clients
from runbooks.actions.kubernetes_api import WritingApi


@dataclass(frozen=True)
class CephTarget:
    """One of several Ceph clusters: its name in the configuration, and how to reach it for reading and for writing."""

    name: str
    conf: str
    connect: Callable[[], Rados]
    remediate: Callable[[], Rados]
    pools: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    """One cluster to work on: how to reach its Kubernetes and its Ceph, for reading and for writing.

    With several Ceph clusters `cephs` has them, and what is said of the one here (`connect_ceph` ...) is empty.
    """

    name: str
    kubernetes: Access | None
    remediate: Access | None
    connect_ceph: Callable[[], Rados] | None
    remediate_ceph: Callable[[], Rados] | None
    pools: tuple[str, ...] = ()
    ceph_conf: str | None = None
    settings: Settings = field(default_factory=Settings)
    """What was configured: which runbooks are offered for what is found here."""
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    kubernetes_user: Callable[[str], str | None] = lambda _: None
    cephs: tuple[CephTarget, ...] = ()

    @property
    def has_ceph(self) -> bool:
        """Whether any Ceph is configured."""
        return self.connect_ceph is not None or bool(self.cephs)

    @property
    def ceph_connections(self) -> dict[str, Callable[[], Rados]]:
        """How to connect to each Ceph for reading, by name ("": the only one)."""
        several = {ceph.name: ceph.connect for ceph in self.cephs}
        return several or ({"": self.connect_ceph} if self.connect_ceph is not None else {})

    @asynccontextmanager
    async def sources(self) -> AsyncIterator[list[Source]]:
        """Open what can be read. A part that is not configured is left out; one that is broken says so when asked."""
        async with AsyncExitStack() as stack:
            sources: list[Source] = []
            if self.kubernetes is not None:
                try:
                    sources.append(KubernetesSource(await stack.enter_async_context(Api(self.kubernetes))))
                except CouldNotLook as error:
                    if error.configured:
                        raise
            if self.cephs:
                group = CephGroup({each.name: CephSource(each.connect, pools=each.pools) for each in self.cephs})
                stack.push_async_callback(group.aclose)
                sources.append(group)
            elif self.connect_ceph is not None:
                ceph = CephSource(self.connect_ceph, pools=self.pools)
                stack.push_async_callback(ceph.aclose)
                sources.append(ceph)
            yield sources

    @asynccontextmanager
    async def clients(self, requester: str) -> AsyncIterator[Clients]:
        """Open what can be written with: the remediating identities, acting as the person who asked where that is set."""
        async with AsyncExitStack() as stack:
            kubernetes = None
            if self.remediate is not None:
                api = WritingApi(self.remediate, impersonate=self.kubernetes_user(requester))
                kubernetes = await stack.enter_async_context(api)
            yield Clients(kubernetes, self.remediate_ceph, {ceph.name: ceph.remediate for ceph in self.cephs})


def target(
    settings: Settings, cluster: str | None = None, context: str | None = None, ceph_conf: str | None = None,
    pools: tuple[str, ...] = (),
) -> Target:  # fmt: skip
    """The cluster that a command works on; options override the configuration.

    Raises:
        SettingsError: there is no such cluster, or a named file does not exist.
    """
    name, chosen = settings.cluster(cluster)
    if chosen.cephs and not ceph_conf:
        return _of_several(settings, name, chosen, context, pools)
    known = next((each for each in chosen.cephs.values() if each.conf == ceph_conf), None)
    ceph = configuration.ceph_conf(chosen.ceph or known, ceph_conf, guess="clusters" not in settings.model_fields_set)
    if ceph is not None and not os.path.isfile(ceph.conf):
        raise SettingsError(f"The Ceph configuration {ceph.conf} does not exist: correct --ceph-conf or CEPH_CONF.")
    named = chosen.ceph is not None or ceph_conf is not None or "CEPH_CONF" in os.environ
    reading, writing = _kubernetes(chosen, context)
    return Target(
        name=name,
        kubernetes=reading,
        remediate=writing,
        connect_ceph=_connecting(LibRados(ceph.conf, ceph.user), named) if ceph else None,
        remediate_ceph=_connecting(_remediating(ceph), named) if ceph else None,
        pools=pools or (ceph.pools if ceph else ()),
        ceph_conf=ceph.conf if ceph else None,
        settings=settings,
        kubernetes_user=partial(_impersonated, settings, chosen),
    )


def _of_several(
    settings: Settings, name: str, chosen: ClusterSettings, context: str | None, pools: tuple[str, ...]
) -> Target:
    """A cluster with several Ceph clusters.

    Raises:
        SettingsError: the ceph.conf of one of them does not exist.
    """
    for each, ceph in chosen.cephs.items():
        if not os.path.isfile(ceph.conf):
            raise SettingsError(
                f"The Ceph configuration {ceph.conf} of Ceph {each} does not exist: correct `clusters.{name}.cephs.{each}`."
            )
    reading, writing = _kubernetes(chosen, context)
    return Target(
        name=name,
        kubernetes=reading,
        remediate=writing,
        connect_ceph=None,
        remediate_ceph=None,
        settings=settings,
        kubernetes_user=partial(_impersonated, settings, chosen),
        cephs=tuple(
            CephTarget(
                each, ceph.conf, _connecting(LibRados(ceph.conf, ceph.user), named=True),
                _connecting(_remediating(ceph), named=True), pools or ceph.pools,
            )
            for each, ceph in chosen.cephs.items()
        ),
    )  # fmt: skip


def _impersonated(settings: Settings, chosen: ClusterSettings, requester: str) -> str | None:
    """The Kubernetes user that acts are done as for a person; None where the writing identity acts as itself."""
    template = chosen.kubernetes.impersonate if chosen.kubernetes else None
    if template is None:
        return None
    words = settings.people.get(requester)
    if words is not None and words.kubernetes_user:
        return words.kubernetes_user
    return template.replace("{id}", requester).replace("{login}", requester.rpartition(":")[2])


def _kubernetes(chosen: ClusterSettings, context: str | None) -> tuple[Access | None, Access | None]:
    if chosen.kubernetes is None:
        return None, None
    words = chosen.kubernetes
    reading = Access(words.kubeconfig, context or words.context)
    if context or not (words.remediate_kubeconfig or words.remediate_context):
        # A context that was typed is another cluster, perhaps: what is read there must not be acted on elsewhere.
        return reading, reading
    return reading, Access(words.remediate_kubeconfig or words.kubeconfig, words.remediate_context)


def _remediating(ceph: CephSettings) -> LibRados:
    return LibRados(ceph.remediate_conf or ceph.conf, ceph.remediate_user or ceph.user)


def _connecting(rados: LibRados, named: bool) -> Callable[[], Rados]:
    """How to connect. A ceph.conf that somebody named and that does not parse is that person's mistake, said at once."""

    def connect() -> Rados:
        try:
            return rados.connect()
        except CephConfError as error:
            if named:
                raise SettingsError(error.reason) from None
            raise

    return connect
