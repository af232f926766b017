"""Verdicts of what the source reads from a simulated Ceph, for what no small real one shows.

These are several monitors, one of them silent; lockers in the encoding of old clients; and hosts with addresses of IPv6
(a loopback has one of them only). What the sandbox's Ceph is, the contract tests prove on the real one.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.sandbox.ceph import Caps, SimulatedClient, SimulatedCluster
from bot.sandbox.ceph.connection import SimulatedRados
from diagnostics.facts import Read
from diagnostics.facts.ceph import (
    ALL_LOCKS,
    LOCKS,
    OSDMAP,
    SESSIONS,
    SIGHTINGS,
    Address,
    Locker,
    Session,
    Sessions,
    Sighting,
)
from diagnostics.model import Scope
from diagnostics.scan import gather
from diagnostics.sources.ceph import cls_lock
from diagnostics.sources.ceph.source import CephSource
from diagnostics.verdicts import Judgement, Verdict, sessions_of, verdict_of

NOW = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)
IMAGE, COOKIE = "mioss/index-api-image", "kubelet_lock_magic_node1"
NODE, OTHER = "10.47.136.60", "10.46.181.146"
NODE_6, OTHER_6 = "2001:db8::7", "2001:db8:1::9"
NOWHERE = ("0.0.0.0", "::")  # noqa: S104 - nothing is bound to it here
YEARS = timedelta(days=1826)


class World:
    """A simulated Ceph, its clock, and what earlier looks left behind."""

    def __init__(self, *, legacy: bool = False) -> None:
        self.now = NOW
        self.cluster = SimulatedCluster(lambda: self.now)
        self.cluster.create_pool("mioss")
        self.cluster.create_image(IMAGE, format=1)
        self._legacy = legacy
        self._kept: tuple[Sighting, ...] = ()

    def at(self, mon: str, ip: str) -> SimulatedClient:
        """A client whose session is with this monitor."""
        while True:
            client = self.cluster.client(ip)
            if client.id in self.on(mon):
                return client
            client.close()

    def on(self, mon: str) -> list[str]:
        """The clients with a session on a monitor."""
        return [instance.client for instance in self.cluster.sessions_on(mon)]

    def lock_by_command(self, ip: str) -> SimulatedClient:
        """Take the lock as an old kubelet does."""
        command = self.cluster.client(ip)
        command.lock_advisory(IMAGE, COOKIE)
        command.close()
        return command

    async def look(self, seconds_later: float = 0) -> Judgement:
        """Look at all locks through the source, keep the sightings, and give the verdict on the only locker."""
        self.now += timedelta(seconds=seconds_later)
        source = CephSource(self._connect)
        reads: list[Read[Any]] = [Read(kind) for kind in (LOCKS, OSDMAP, SESSIONS, SIGHTINGS)]
        seen = await gather([source], reads, Scope("c", subject=ALL_LOCKS), self._kept, self.now)
        await source.aclose()
        self._kept = seen.seen(SIGHTINGS) or ()
        locks = seen.seen(LOCKS)
        assert locks is not None
        assert locks.problems == ()
        [image] = locks.images
        [locker] = image.lockers
        return verdict_of(image, locker, seen)

    def _connect(self) -> SimulatedRados:
        made = self.cluster.connect("client.unstick", caps=Caps.DIAGNOSE)
        return _OfOldClients(self.cluster, made._instance, Caps.DIAGNOSE) if self._legacy else made


class _OfOldClients(SimulatedRados):
    """Answers with addresses as OSDs encode them for clients from before Nautilus."""

    def execute(self, pool: str, namespace: str, oid: str, cls: str, method: str, data: bytes) -> bytes:
        reply = super().execute(pool, namespace, oid, cls, method, data)
        if method != "get_info":
            return reply
        return cls_lock.encode_info(cls_lock.decode_info(reply), legacy_addresses=True)


# --- Several monitors


@pytest.mark.parametrize("mon", ["a", "b", "c"])
async def test_a_session_is_found_on_whichever_monitor_it_is(mon: str) -> None:
    world = World()
    writer = world.at(mon, NODE)
    writer.lock_managed(IMAGE)
    assert (await world.look()).verdict == Verdict.LIVE
    writer.freeze()
    judgement = await world.look(40)
    assert judgement.verdict == Verdict.ALIVE_OR_CUT_OFF
    assert f"({writer.id}) on mon {mon}" in judgement.why


@pytest.mark.parametrize("mon", ["a", "b", "c"])
async def test_a_kubelets_writer_is_found_by_its_host_on_whichever_monitor_it_is(mon: str) -> None:
    world = World()
    world.lock_by_command(NODE)
    writer = world.at(mon, NODE)
    writer.open(IMAGE)
    writer.freeze()
    assert (await world.look(40)).verdict == Verdict.ALIVE_OR_CUT_OFF


@pytest.mark.parametrize("silent", ["a", "b", "c"])
async def test_one_silent_monitor_leaves_a_suspect_however_often_it_is_looked(silent: str) -> None:
    world = World()
    world.lock_by_command(NODE)
    world.cluster.silent_mons = {silent}
    for _ in range(3):
        judgement = await world.look(40)
        assert judgement.verdict == Verdict.SUSPECT
        assert f"mon {silent}: " in judgement.why
    assert not judgement.quiet, "a blind look begins nothing"
    world.cluster.silent_mons = set()
    assert (await world.look(40)).verdict == Verdict.SUSPECT, "the first look that saw everything"
    assert (await world.look(40)).verdict == Verdict.STALE


async def test_a_silent_monitor_between_two_looks_does_not_end_what_the_first_began() -> None:
    world = World()
    world.lock_by_command(NODE)
    assert (await world.look()).verdict == Verdict.SUSPECT
    world.cluster.silent_mons = {"b"}
    assert (await world.look(40)).verdict == Verdict.SUSPECT
    world.cluster.silent_mons = set()
    assert (await world.look(1)).verdict == Verdict.STALE


async def test_a_session_on_one_monitor_is_told_though_another_is_silent() -> None:
    world = World()
    writer = world.at("c", NODE)
    writer.lock_managed(IMAGE)
    writer.freeze()
    world.cluster.silent_mons = {"b"}
    assert (await world.look(40)).verdict == Verdict.ALIVE_OR_CUT_OFF


async def test_a_holder_whose_session_is_on_the_silent_monitor_is_never_stale() -> None:
    world = World()
    writer = world.at("b", NODE)
    writer.lock_managed(IMAGE)
    writer.freeze()
    world.cluster.silent_mons = {"b"}
    assert [(await world.look(40)).verdict for _ in range(3)] == [Verdict.SUSPECT] * 3


# --- The whole table, for old encodings and for IPv6


@pytest.mark.parametrize(
    ("legacy", "node", "other", "fences"),
    [
        (False, NODE, OTHER, (f"{NODE}:0/0", "cidr:10.47.136.0:0/24")),
        (True, NODE, OTHER, (f"{NODE}:0/0", "cidr:10.47.136.0:0/24")),
        (False, NODE_6, OTHER_6, (f"[{NODE_6}]:0/0", "cidr:[2001:db8::]:0/64")),
        (True, NODE_6, OTHER_6, (f"[{NODE_6}]:0/0", "cidr:[2001:db8::]:0/64")),
    ],
    ids=["ipv4", "ipv4 legacy", "ipv6", "ipv6 legacy"],
)
async def test_a_kubelets_lock_goes_through_the_whole_table(
    legacy: bool, node: str, other: str, fences: tuple[str, ...]
) -> None:
    world = World(legacy=legacy)
    world.lock_by_command(node)
    writer = world.cluster.client(node)
    writer.open(IMAGE)
    assert (await world.look()).verdict == Verdict.LIVE
    writer.freeze()
    assert (await world.look(40)).verdict == Verdict.ALIVE_OR_CUT_OFF
    writer.kill()
    guest = world.cluster.client(other)
    guest.open(IMAGE)
    assert (await world.look(40)).verdict == Verdict.IN_USE_ELSEWHERE
    guest.close()
    assert [(await world.look(later)).verdict for later in (1, 20, 20)] == [
        Verdict.SUSPECT,
        Verdict.SUSPECT,
        Verdict.STALE,
    ]
    for entry in fences:
        world.cluster.fences = {entry: world.now + timedelta(hours=1)}
        assert (await world.look(1)).verdict == Verdict.STALE, "a fence that ends soon is none"
        world.cluster.fences = {entry: world.now + YEARS}
        assert (await world.look(1)).verdict == Verdict.FENCED


@pytest.mark.parametrize(
    ("legacy", "node"), [(False, NODE), (True, NODE), (False, NODE_6), (True, NODE_6)],
    ids=["ipv4", "ipv4 legacy", "ipv6", "ipv6 legacy"],
)  # fmt: skip
async def test_a_managed_lock_goes_through_the_whole_table(legacy: bool, node: str) -> None:
    world = World(legacy=legacy)
    writer = world.cluster.client(node)
    writer.lock_managed(IMAGE)
    assert (await world.look()).verdict == Verdict.LIVE
    beside = world.cluster.client(node)
    writer.freeze()
    assert (await world.look(40)).verdict == Verdict.ALIVE_OR_CUT_OFF
    writer.kill()
    assert [(await world.look(later)).verdict for later in (1, 40)] == [Verdict.SUSPECT, Verdict.STALE_MANAGED]
    beside.open(IMAGE)
    assert (await world.look(1)).verdict == Verdict.IN_USE_ELSEWHERE, "another client of the host is another client"
    beside.close()
    world.cluster.fences = {str(writer.address): world.now + YEARS}
    assert (await world.look(1)).verdict == Verdict.FENCED


# --- An address that names no host


@pytest.mark.parametrize("nowhere", NOWHERE)
async def test_an_advisory_lock_from_no_host_is_suspect_as_nobodys_sessions_can_be_looked_for(nowhere: str) -> None:
    world = World()
    world.lock_by_command(nowhere)
    for _ in range(2):
        judgement = await world.look(40)
        assert judgement.verdict == Verdict.SUSPECT
        assert "names no host" in judgement.why
    assert not judgement.quiet


@pytest.mark.parametrize("nowhere", NOWHERE)
def test_a_session_from_no_host_may_be_any_advisory_holders_and_no_managed_ones(nowhere: str) -> None:
    told = Sessions((Session("client.admin", "client.5", nowhere, "a"), Session("osd.3", "osd.3", nowhere, "a")))
    advisory, managed = (Locker("client.4", cookie, Address(NODE, 0, 9)) for cookie in (COOKIE, "auto 7"))
    assert [session.client for session in sessions_of(advisory, told)] == ["client.5"]
    assert sessions_of(managed, told) == ()
