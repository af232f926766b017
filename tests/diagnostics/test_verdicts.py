"""The verdict table, row by row, and what ends or keeps the first of two looks."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diagnostics.facts import NotSeen, Snapshot
from diagnostics.facts.ceph import (
    LOCKS,
    OSDMAP,
    SESSIONS,
    SIGHTINGS,
    Address,
    Fence,
    Image,
    ImageSpec,
    LockedImage,
    Locker,
    Locks,
    OsdMap,
    PoolProblem,
    PoolScan,
    Session,
    Sessions,
    Sighting,
    Watcher,
)
from diagnostics.facts.fences import NodeFence
from diagnostics.facts.holders import NODES, PODS_AT
from diagnostics.facts.kubernetes import Listing
from diagnostics.facts.resources import Condition, Meta, Node, NodeAddress, NodeInfo, NodeStatus
from diagnostics.model import Scope, Severity
from diagnostics.verdicts import (
    Verdict,
    fences_of,
    has_rebooted,
    judge,
    look,
    sessions_of,
    severity_of,
    verdict_of,
    wanted_since,
)

NOW = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)
FSID = "6e42f353-fa1b-5024-b021-e52863cf03bd"
IP, ELSEWHERE = "10.47.136.60", "10.46.181.146"
KUBELET = Locker("client.24128", "kubelet_lock_magic_node1", Address(IP, 0, 1864102866))
LIBRBD = Locker("client.4117", "auto 140", Address(IP, 0, 77))
IMAGE = Image(FSID, "mioss", "", "index-api-image", 1, "index-api-image.rbd")
NO_FENCE = OsdMap(FSID, frozenset(), (), (), ())
NO_SESSION = Sessions(())
NO_PODS: Listing[Any] = Listing(())


def image(*watchers: Watcher, lockers: tuple[Locker, ...] = (KUBELET,), **more: Any) -> LockedImage:
    tag = "internal" if any(locker.managed for locker in lockers) else ""
    return msgspec.structs.replace(LockedImage(IMAGE, True, tag, lockers, watchers, pg="1.2a", primary=3), **more)


def watcher(client: str, address: str) -> Watcher:
    return Watcher(client, Address.parse(address))


def fence(entry: str, hours: float = 43_829) -> OsdMap:
    return msgspec.structs.replace(NO_FENCE, fences=(Fence(entry, NOW + timedelta(hours=hours)),))


def session(entity: str, client: str, ip: str = IP) -> Sessions:
    return Sessions((Session(entity, client, ip, "a"),))


def first_seen(seconds_ago: float, **more: Any) -> Sighting:
    seen = Sighting(FSID, IMAGE.spec, KUBELET.name, NOW - timedelta(seconds=seconds_ago), primary=3)
    return msgspec.structs.replace(seen, **more)


def judged(
    locker: Locker = KUBELET,
    of: LockedImage | None = None,
    osdmap: OsdMap | NotSeen = NO_FENCE,
    sessions: Sessions | NotSeen = NO_SESSION,
    seen_before: float | None = 31,
) -> Verdict:
    sighting = None if seen_before is None else first_seen(seen_before, locker=locker.name)
    return judge(of or image(lockers=(locker,)), locker, osdmap, sessions, sighting, NOW).verdict


@pytest.mark.parametrize("locker", [KUBELET, LIBRBD])
def test_a_locker_that_watches_is_alive_by_its_client_id_and_by_its_address(locker: Locker) -> None:
    by_id = watcher(locker.client, f"{ELSEWHERE}:0/9")
    by_address = watcher("client.999", str(locker.address))
    assert judged(locker, image(by_id)) == Verdict.LIVE
    assert judged(locker, image(by_address)) == Verdict.LIVE
    assert judged(locker, image(watcher("client.5", f"{ELSEWHERE}:0/1"), by_id)) == Verdict.LIVE


def test_another_client_of_the_same_host_keeps_an_advisory_lock_alive_but_not_a_managed_one() -> None:
    krbd = watcher("client.24131", f"{IP}:0/555")
    assert judged(KUBELET, image(krbd)) == Verdict.LIVE
    assert judged(LIBRBD, image(krbd)) == Verdict.IN_USE_ELSEWHERE
    assert judged(KUBELET, image(watcher("client.5", f"{ELSEWHERE}:0/1"), krbd)) == Verdict.LIVE


@pytest.mark.parametrize("locker", [KUBELET, LIBRBD])
def test_a_watcher_on_other_hosts_only_leaves_the_decision_to_a_person(locker: Locker) -> None:
    other = image(watcher("client.5", f"{ELSEWHERE}:0/1"))
    assert judged(locker, other) == Verdict.IN_USE_ELSEWHERE
    assert judged(locker, other, fence(f"{IP}:0/0")) == Verdict.IN_USE_ELSEWHERE


@pytest.mark.parametrize("sessions", [NO_SESSION, NotSeen("no caps"), session("client.admin", LIBRBD.client)])
def test_a_lasting_fence_makes_fenced_whatever_the_sessions_say(sessions: Sessions | NotSeen) -> None:
    assert judged(KUBELET, osdmap=fence(f"{IP}:0/0"), sessions=sessions, seen_before=None) == Verdict.FENCED
    assert judged(LIBRBD, osdmap=fence(str(LIBRBD.address)), sessions=sessions, seen_before=None) == Verdict.FENCED


@pytest.mark.parametrize(
    ("entry", "advisory", "managed"),
    [
        (f"{IP}:0/0", True, True),
        (f"{IP}:0/77", False, True),
        (f"{IP}:0/1864102866", False, False),
        (f"{IP}:0/78", False, False),
        (f"{ELSEWHERE}:0/0", False, False),
        (f"v1:{IP}:0/0", True, True),
        ("cidr:10.47.136.0:0/24", True, True),
        (f"cidr:{IP}:0/32", True, True),
        ("cidr:10.47.136.0:0/27", False, False),
        ("cidr:[2001:db8::]:0/64", False, False),
        # Ceph takes an entry for a whole host only with port 0 too.
        (f"{IP}:6789/0", False, False),
        (f"{IP}:6800/77", False, False),
    ],
)
def test_an_advisory_lock_is_fenced_by_its_whole_host_only_a_managed_one_by_its_address(
    entry: str, advisory: bool, managed: bool
) -> None:
    verdicts = [judged(locker, osdmap=fence(entry)) for locker in (KUBELET, LIBRBD)]
    expected = [Verdict.FENCED if advisory else Verdict.STALE, Verdict.FENCED if managed else Verdict.STALE_MANAGED]
    assert verdicts == expected


def test_an_ipv6_host_is_fenced_by_its_range() -> None:
    locker = Locker("client.1", "a person's", Address.parse("[2001:db8::7]:0/5"))
    assert judged(locker, osdmap=fence("cidr:[2001:db8::]:0/64")) == Verdict.FENCED
    assert judged(locker, osdmap=fence("[2001:db8::7]:0/0")) == Verdict.FENCED
    assert judged(locker, osdmap=fence("cidr:[2001:db8:1::]:0/64")) == Verdict.STALE


@pytest.mark.parametrize(
    ("hours", "verdict"),
    [(24, Verdict.FENCED), (23.99, Verdict.STALE), (1, Verdict.STALE), (0, Verdict.STALE), (-1, Verdict.STALE)],
)
def test_a_fence_that_ends_within_a_day_is_none(hours: float, verdict: Verdict) -> None:
    assert judged(osdmap=fence(f"{IP}:0/0", hours)) == verdict


def test_the_fence_that_lasts_counts_beside_one_that_ends_soon() -> None:
    soon, late = fence(f"{IP}:0/0", 1).fences, fence("cidr:10.47.136.0:0/24").fences
    assert judged(osdmap=msgspec.structs.replace(NO_FENCE, fences=soon + late)) == Verdict.FENCED


def test_fences_that_have_run_out_cover_nothing() -> None:
    assert fences_of(KUBELET.address, fence(f"{IP}:0/0", -1).fences, NOW, host=True) == ()
    assert fences_of(KUBELET.address, fence(f"{IP}:0/0", 0).fences, NOW, host=True) == ()


def test_a_session_of_the_managed_locker_itself_shows_it_alive_or_cut_off() -> None:
    moved = session("client.admin", LIBRBD.client, ELSEWHERE)
    assert judged(LIBRBD, sessions=moved) == Verdict.ALIVE_OR_CUT_OFF
    assert judged(LIBRBD, sessions=session("client.admin", "client.5", IP)) == Verdict.STALE_MANAGED


def test_any_client_session_from_the_host_shows_an_advisory_holder_alive_or_cut_off() -> None:
    assert judged(KUBELET, sessions=session("client.admin", "client.24131")) == Verdict.ALIVE_OR_CUT_OFF
    # The command that took the lock never has a session: its id proves nothing, wherever it turns up.
    assert judged(KUBELET, sessions=session("client.admin", KUBELET.client, ELSEWHERE)) == Verdict.STALE


@pytest.mark.parametrize("daemon", ["mon.a", "osd.3", "mgr.x", "mds.fs.a"])
def test_a_daemon_of_the_same_host_is_no_writer(daemon: str) -> None:
    assert judged(KUBELET, sessions=session(daemon, "client.24131")) == Verdict.STALE


@pytest.mark.parametrize("entity", ["", "unknown.0", "client.rgw.a", "client.csi-rbd-node"])
def test_a_session_that_is_no_daemons_may_be_the_writers(entity: str) -> None:
    assert judged(KUBELET, sessions=session(entity, "client.24131")) == Verdict.ALIVE_OR_CUT_OFF
    assert len(sessions_of(KUBELET, session(entity, "client.24131"))) == 1


@pytest.mark.parametrize(
    ("blind", "says"),
    [
        ({"of": image(watchers=None, watchers_unseen="osd 3 is silent")}, "osd 3 is silent"),
        ({"of": image(watchers=None)}, "nobody said why"),
        ({"osdmap": NotSeen("no caps for osd dump")}, "no caps for osd dump"),
        ({"sessions": NotSeen("no caps for sessions")}, "no caps for sessions"),
        ({"sessions": Sessions((), {"b": "timed out"})}, "mon b: timed out"),
        ({"of": image(primary=None)}, "primary"),
    ],
)
def test_whatever_could_not_be_looked_at_leaves_a_suspect_even_at_the_second_look(
    blind: dict[str, Any], says: str
) -> None:
    given = {"of": image(), "osdmap": NO_FENCE, "sessions": NO_SESSION, **blind}
    judgement = judge(given["of"], KUBELET, given["osdmap"], given["sessions"], first_seen(9_000), NOW)
    assert judgement.verdict == Verdict.SUSPECT
    assert says in judgement.why
    assert not judgement.quiet, "a blind look is no look"


def test_watchers_that_could_not_be_read_leave_a_suspect_even_behind_a_fence() -> None:
    assert judged(of=image(watchers=None), osdmap=fence(f"{IP}:0/0")) == Verdict.SUSPECT


def test_one_silent_mon_does_not_hide_a_session_that_another_told() -> None:
    told = msgspec.structs.replace(session("client.admin", "client.24131"), silent={"b": "timed out"})
    assert judged(KUBELET, sessions=told) == Verdict.ALIVE_OR_CUT_OFF


@pytest.mark.parametrize("locker", [KUBELET, LIBRBD])
@pytest.mark.parametrize("seconds", [None, 0, 29.9, 30, -3600])
def test_one_look_or_two_within_thirty_seconds_leave_a_suspect(locker: Locker, seconds: float | None) -> None:
    judgement = judge(
        image(lockers=(locker,)), locker, NO_FENCE, NO_SESSION, None if seconds is None else first_seen(seconds), NOW
    )  # fmt: skip
    assert judgement.verdict == Verdict.SUSPECT
    assert judgement.quiet
    assert "look again after 30 s" in judgement.why


def test_a_cookie_that_only_looks_like_a_managed_locks_is_never_called_dead() -> None:
    borrowed = image(lockers=(LIBRBD,), tag="")
    for osdmap in (NO_FENCE, fence(f"{IP}:0/77")):
        judgement = judge(borrowed, LIBRBD, osdmap, NO_SESSION, first_seen(3600), NOW)
        assert (judgement.verdict, judgement.quiet) == (Verdict.SUSPECT, False)
        assert "who writes is not known" in judgement.why


def test_two_quiet_looks_more_than_thirty_seconds_apart_make_it_stale() -> None:
    assert judged(KUBELET, seen_before=30.1) == Verdict.STALE
    assert judged(LIBRBD, seen_before=30.1) == Verdict.STALE_MANAGED


# --- Severity


def snapshot(
    *images: LockedImage, at: datetime = NOW, locks: Locks | NotSeen | None = None, osdmap: OsdMap | NotSeen = NO_FENCE,
    sessions: Sessions | NotSeen = NO_SESSION, nodes: tuple[Node, ...] | NotSeen = (), pods_at: Any = NO_PODS,
    sightings: tuple[Sighting, ...] = (),
) -> Snapshot:  # fmt: skip
    return (
        Snapshot("c", at, Scope("c"))
        .with_fact(LOCKS, locks or Locks(FSID, images))
        .with_fact(OSDMAP, osdmap)
        .with_fact(SESSIONS, sessions)
        .with_fact(NODES, nodes if isinstance(nodes, NotSeen) else Listing(nodes))
        .with_fact(PODS_AT, pods_at)
        .with_fact(SIGHTINGS, sightings)
    )


def severity(locker: Locker, of: LockedImage, **facts: Any) -> tuple[Verdict, Severity | None]:
    seen = snapshot(of, sightings=(first_seen(60, locker=locker.name),), **facts)
    return verdict_of(of, locker, seen).verdict, severity_of(of, locker, seen)


def test_only_a_live_lock_and_a_managed_stale_one_are_in_order() -> None:
    elsewhere = image(watcher("client.5", f"{ELSEWHERE}:0/1"))
    assert severity(KUBELET, image(watcher(KUBELET.client, f"{IP}:0/1"))) == (Verdict.LIVE, None)
    assert severity(KUBELET, elsewhere) == (Verdict.IN_USE_ELSEWHERE, Severity.WARNING)
    assert severity(KUBELET, image(), osdmap=fence(f"{IP}:0/0")) == (Verdict.FENCED, Severity.WARNING)
    assert severity(KUBELET, image(), sessions=NotSeen("?")) == (Verdict.SUSPECT, Severity.WARNING)
    assert severity(KUBELET, image()) == (Verdict.STALE, Severity.WARNING)
    alive = severity(KUBELET, image(), sessions=session("client.admin", "client.1"))
    assert alive == (Verdict.ALIVE_OR_CUT_OFF, Severity.CRITICAL)
    assert severity(LIBRBD, image(lockers=(LIBRBD,))) == (Verdict.STALE_MANAGED, None)


@pytest.mark.parametrize(
    ("osdmap", "counts"),
    [
        (fence(str(LIBRBD.address), 1), True),
        (fence(str(LIBRBD.address), 23.9), True),
        (fence(str(LIBRBD.address), -0.1), False),
        (fence(f"{IP}:0/999", 1), False),
        (NO_FENCE, False),
    ],
)
def test_a_managed_stale_lock_counts_only_while_its_fence_ends_within_a_day(osdmap: OsdMap, counts: bool) -> None:
    found = severity(LIBRBD, image(lockers=(LIBRBD,)), osdmap=osdmap)
    assert found == (Verdict.STALE_MANAGED, Severity.WARNING if counts else None)


# --- Sightings


def node(boot: str = "boot-1", ip: str = IP, name: str = "node1") -> Node:
    return Node(
        Meta(name, uid=f"uid-{name}"),
        status=NodeStatus(addresses=(NodeAddress("InternalIP", ip),), node_info=NodeInfo(boot)),
    )


def quiet(snapshot: Snapshot, earlier: tuple[Sighting, ...]) -> tuple[Sighting, ...]:
    """The sightings of quiet locks after a look, without when it was and who watched before."""
    left = (s for s in look(snapshot, earlier) if s.first_seen is not None)
    return tuple(msgspec.structs.replace(s, last_look=None, watched_from=()) for s in left)


def began(**more: Any) -> Sighting:
    """A first look, 20 s ago, at a node that has not changed since."""
    return first_seen(20, node="node1", boot="boot-1", ips=(IP,), **more)


def test_a_quiet_lock_begins_a_sighting_with_what_must_not_change() -> None:
    (made,) = quiet(snapshot(image(), nodes=(node(),)), ())
    assert made == Sighting(FSID, IMAGE.spec, KUBELET.name, NOW, 3, "node1", "boot-1", (IP,))


def test_a_sighting_continues_while_nothing_changes() -> None:
    before = began()
    assert quiet(snapshot(image(), nodes=(node(),)), (before,)) == (before,)


def test_each_locker_has_a_sighting_of_its_own() -> None:
    made = quiet(snapshot(image(lockers=(KUBELET, LIBRBD))), (first_seen(20),))
    assert [(s.locker, s.first_seen) for s in made] == [
        (KUBELET.name, NOW - timedelta(seconds=20)), (LIBRBD.name, NOW),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "nodes",
    [
        (node(boot="boot-2"),),
        (node(ip="10.47.136.61"),),  # it came back with another address: nobody has the old one now
        (node(name="node9"),),  # another machine got the address
        (node(), node(name="node9")),
        (),
    ],
)
def test_a_node_that_changed_begins_the_sighting_anew(nodes: tuple[Node, ...]) -> None:
    (made,) = quiet(snapshot(image(), nodes=nodes), (began(),))
    assert made.first_seen == NOW


def test_a_further_address_of_the_node_begins_the_sighting_anew() -> None:
    more = NodeStatus(
        addresses=(NodeAddress("InternalIP", IP), NodeAddress("ExternalIP", "192.0.2.7")), node_info=NodeInfo("boot-1")
    )
    (made,) = quiet(snapshot(image(), nodes=(msgspec.structs.replace(node(), status=more),)), (began(),))
    assert (made.first_seen, made.ips) == (NOW, (IP, "192.0.2.7"))


def test_a_first_look_that_did_not_know_the_node_cannot_vouch_for_it() -> None:
    (made,) = quiet(snapshot(image(), nodes=(node(),)), (first_seen(20),))
    assert made == Sighting(FSID, IMAGE.spec, KUBELET.name, NOW, 3, "node1", "boot-1", (IP,))


@pytest.mark.parametrize(
    "blind",
    [{"nodes": NotSeen("forbidden")}, {"nodes": NotSeen("forbidden"), "pods_at": NotSeen("x")},
     {"nodes": (), "pods_at": NotSeen("x")}],
)  # fmt: skip
def test_a_look_that_does_not_see_nodes_keeps_what_was_known_of_them(blind: dict[str, Any]) -> None:
    assert quiet(snapshot(image(), **blind), (began(),)) == (began(),)


def test_another_primary_begins_the_sighting_anew() -> None:
    (made,) = quiet(snapshot(image(primary=4)), (first_seen(3_600),))
    assert (made.first_seen, made.primary) == (NOW, 4)


@pytest.mark.parametrize(
    "facts",
    [
        {"images": (image(watcher(KUBELET.client, f"{IP}:0/1")),)},
        {"images": (image(watcher("client.24131", f"{IP}:0/1")),)},
        {"sessions": session("client.admin", "client.24131")},
    ],
)
def test_a_sign_of_life_ends_the_sighting(facts: dict[str, Any]) -> None:
    facts = {"images": (image(),), **facts}
    assert quiet(snapshot(*facts.pop("images"), **facts), (first_seen(3_600),)) == ()


@pytest.mark.parametrize(
    "facts",
    [
        {"images": (image(watchers=None),)},
        {"images": (image(primary=None),)},
        {"images": (image(watcher("client.5", f"{ELSEWHERE}:0/1")),)},
        {"osdmap": NotSeen("?")},
        {"sessions": NotSeen("?")},
        {"sessions": Sessions((), {"b": "timed out"})},
        {"osdmap": fence(f"{IP}:0/0")},
        {"locks": NotSeen("?")},
        {"locks": Locks(FSID, (), problems=(PoolProblem("mioss", "timed out"),))},
        {"locks": Locks(FSID, (), (PoolScan("mioss", "", 3, 0),), (PoolProblem("mioss", "one image: timed out"),))},
        {"locks": Locks(FSID, (), (PoolScan("mioss", "team", 3, 0), PoolScan("kube", "", 3, 0)))},
        {
            "locks": Locks(
                "another-fsid", (), (PoolScan("mioss", "", 3, 0),), free=(ImageSpec("mioss", "", IMAGE.name),)
            )
        },
        {"locks": Locks("", ())},
    ],
)
def test_a_blind_look_and_one_at_something_else_keep_the_sighting(facts: dict[str, Any]) -> None:
    facts = {"images": (image(),), **facts}
    before = first_seen(20)
    assert quiet(snapshot(*facts.pop("images"), **facts), (before,)) == (before,)


@pytest.mark.parametrize(
    "locks",
    [
        Locks(FSID, (), free=(ImageSpec("mioss", "", IMAGE.name),)),
        Locks(FSID, (), absent=(ImageSpec("mioss", "", IMAGE.name),)),
        Locks(FSID, (), (PoolScan("mioss", "", 3, 0),)),
        Locks(FSID, (image(lockers=(Locker("client.9", KUBELET.cookie, KUBELET.address),)),)),
    ],
)
def test_a_lock_that_is_no_longer_held_ends_its_sighting(locks: Locks) -> None:
    left = quiet(snapshot(locks=locks), (first_seen(20),))
    assert KUBELET.name not in {s.locker for s in left}


def test_a_lock_in_a_namespace_is_forgotten_when_that_namespace_was_walked() -> None:
    inside = first_seen(20, image="mioss/team/x")
    walked = Locks(FSID, (), (PoolScan("mioss", "team", 3, 0),))
    assert quiet(snapshot(locks=walked), (inside, first_seen(20))) == (first_seen(20),)


# --- A node with several addresses

OTHER_IP = "fd00::60"


def dual_homed() -> Node:
    addresses = tuple(NodeAddress("InternalIP", ip) for ip in (IP, OTHER_IP))
    return Node(Meta("node1", uid="uid-node1"), status=NodeStatus(addresses=addresses, node_info=NodeInfo("boot-1")))


AT_HOME = first_seen(3_600, node="node1", boot="boot-1", ips=(IP, OTHER_IP))


@pytest.mark.parametrize("nodes", [(dual_homed(),), NotSeen("timed out")])
def test_a_session_from_another_address_of_the_node_shows_an_advisory_holder_alive(nodes: Any) -> None:
    told = session("client.admin", "client.24131", OTHER_IP)
    seen = snapshot(image(), nodes=nodes, sessions=told, sightings=(AT_HOME,))
    assert verdict_of(image(), KUBELET, seen).verdict is Verdict.ALIVE_OR_CUT_OFF
    assert f"from {OTHER_IP}" in verdict_of(image(), KUBELET, seen).why
    assert quiet(seen, (AT_HOME,)) == (), "the look ends with that sign of life"


def test_sessions_at_the_addresses_of_other_nodes_show_nothing() -> None:
    told = session("client.admin", "client.24131", "fd00::61")
    seen = snapshot(image(), nodes=(dual_homed(),), sessions=told, sightings=(AT_HOME,))
    assert verdict_of(image(), KUBELET, seen).verdict is Verdict.STALE
    daemon = session("osd.3", "client.24131", OTHER_IP)
    assert sessions_of(KUBELET, daemon, (IP, OTHER_IP)) == ()
    assert sessions_of(LIBRBD, told, ("fd00::61",)) == (), "a managed lock's writer is its very client"


def test_a_watcher_at_another_address_of_the_node_keeps_an_advisory_lock_alive_but_not_a_managed_one() -> None:
    krbd = watcher("client.24131", f"[{OTHER_IP}]:0/555")
    for locker, verdict in ((KUBELET, Verdict.LIVE), (LIBRBD, Verdict.IN_USE_ELSEWHERE)):
        of = image(krbd, lockers=(locker,))
        assert verdict_of(of, locker, snapshot(of, nodes=(dual_homed(),))).verdict is verdict
        assert verdict_of(of, locker, snapshot(of, nodes=(node(),))).verdict is Verdict.IN_USE_ELSEWHERE


# --- Many locks


class Counted(str):
    """An image's spec that counts how often it is compared."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)


@pytest.mark.parametrize("unread", [False, True])
def test_a_look_at_many_locks_does_not_compare_each_with_all_sightings(unread: bool) -> None:
    many = 1_000
    watchers = None if unread else (watcher(LIBRBD.client, str(LIBRBD.address)),)
    images = tuple(
        image(lockers=(LIBRBD,), image=msgspec.structs.replace(IMAGE, name=f"i{n}"), watchers=watchers)
        for n in range(many)
    )  # fmt: skip
    seen = Locks(FSID, images, (PoolScan("mioss", "", many, many),))
    earlier = tuple(
        Sighting(FSID, Counted(f"mioss/i{n}"), LIBRBD.name, None, watched_from=("10.0.0.9:0/1",)) for n in range(many)
    )  # fmt: skip
    Counted.compared = 0
    made = look(snapshot(locks=seen), earlier)
    assert len(made) == many
    assert all("10.0.0.9:0/1" in s.watched_from for s in made)
    for of in images:
        verdict_of(of, LIBRBD, snapshot(locks=seen, sightings=made))
    assert Counted.compared < 100 * many


# --- Properties

WATCHERS = st.sampled_from([
    watcher(KUBELET.client, f"{ELSEWHERE}:0/9"), watcher("client.24131", f"{IP}:0/555"),
    watcher("client.5", f"{ELSEWHERE}:0/1"), watcher(LIBRBD.client, f"{IP}:0/77"),
])  # fmt: skip
FENCES = st.builds(
    lambda entry, hours: Fence(entry, NOW + timedelta(hours=hours)),
    st.sampled_from([f"{IP}:0/0", f"{IP}:0/77", f"{IP}:6789/0", f"{ELSEWHERE}:0/0", "cidr:10.47.0.0:0/16"]),
    st.sampled_from([-1, 0, 1, 23, 24, 43_829]),
)
OSDMAPS = st.one_of(
    st.just(NotSeen("?")),
    st.lists(FENCES, max_size=3).map(lambda f: msgspec.structs.replace(NO_FENCE, fences=tuple(f))),
)
SESSION = st.builds(
    Session, st.sampled_from(["client.admin", "osd.3", ""]),
    st.sampled_from([KUBELET.client, LIBRBD.client, "client.5"]), st.sampled_from([IP, ELSEWHERE]), st.just("a"),
)  # fmt: skip
SESSIONS_SEEN = st.one_of(
    st.just(NotSeen("?")),
    st.builds(
        lambda opened, silent: Sessions(tuple(opened), silent),
        st.lists(SESSION, max_size=2), st.sampled_from([{}, {"b": "timed out"}]),
    ),
)  # fmt: skip
IMAGES = st.builds(
    lambda watchers, primary: image(watchers=watchers, primary=primary),
    st.one_of(st.none(), st.lists(WATCHERS, max_size=2).map(tuple)), st.sampled_from([None, 3, 3, 3]),
)  # fmt: skip
LOOKS = st.one_of(st.none(), st.sampled_from([-60, 0, 30, 31, 86_400]).map(first_seen))
DEAD = (Verdict.STALE, Verdict.STALE_MANAGED, Verdict.FENCED)


@settings(max_examples=400, deadline=None)
@given(IMAGES, st.sampled_from([KUBELET, LIBRBD]), OSDMAPS, SESSIONS_SEEN, LOOKS)
def test_no_verdict_calls_a_lock_dead_unless_everything_that_could_show_life_was_seen_and_showed_none(
    of: LockedImage, locker: Locker, osdmap: OsdMap | NotSeen, sessions: Sessions | NotSeen, sighting: Sighting | None
) -> None:
    judgement = judge(of, locker, osdmap, sessions, sighting, NOW)
    assert judgement.why
    if judgement.verdict in DEAD:
        assert of.watchers == ()
        assert isinstance(osdmap, OsdMap)
    if judgement.verdict is Verdict.FENCED:
        assert isinstance(osdmap, OsdMap)
        whole = {f"{IP}:0/0", "cidr:10.47.0.0:0/16"} | ({f"{IP}:0/77"} if locker is LIBRBD else set())
        assert any(f.entry in whole and f.until >= NOW + timedelta(hours=24) for f in osdmap.fences)
    if judgement.verdict in (Verdict.STALE, Verdict.STALE_MANAGED):
        assert isinstance(sessions, Sessions)
        assert not sessions.silent
        assert not sessions_of(locker, sessions)
        assert of.primary is not None
        assert sighting is not None
        assert NOW - sighting.first_seen > timedelta(seconds=30)
        assert (judgement.verdict is Verdict.STALE_MANAGED) == (locker is LIBRBD)
    if judgement.quiet:
        assert judgement.verdict in (Verdict.SUSPECT, Verdict.STALE, Verdict.STALE_MANAGED)


@settings(max_examples=200, deadline=None)
@given(IMAGES, st.sampled_from([KUBELET, LIBRBD]), OSDMAPS, SESSIONS_SEEN, LOOKS, st.integers(0, 3))
def test_hiding_a_fact_never_makes_a_lock_look_deader(
    of: LockedImage,
    locker: Locker,
    osdmap: OsdMap | NotSeen,
    sessions: Sessions | NotSeen,
    sighting: Sighting | None,
    hidden: int,
) -> None:
    before = judge(of, locker, osdmap, sessions, sighting, NOW).verdict
    if hidden == 0:
        of = msgspec.structs.replace(of, watchers=None)
    elif hidden == 1:
        osdmap = NotSeen("hidden")
    elif hidden == 2:
        sessions = NotSeen("hidden")
    else:
        of = msgspec.structs.replace(of, primary=None)
    after = judge(of, locker, osdmap, sessions, sighting, NOW).verdict
    assert after not in DEAD or after is before


def test_every_watcher_that_was_seen_is_remembered_with_the_lock() -> None:
    """The writer of a kubelet's lock may use another address of its machine than the lock says."""
    storage_nic = "10.99.0.60:0/7"
    (live,) = look(snapshot(image(watcher("client.7", storage_nic))), ())
    assert (live.first_seen, live.watched_from) == (None, (storage_nic,))
    (silent,) = look(snapshot(image()), (live,))
    assert (silent.first_seen, silent.watched_from) == (NOW, (storage_nic,))


def test_a_first_look_is_forgotten_when_nobody_looked_for_a_quarter_of_an_hour() -> None:
    fresh = first_seen(3_600, last_look=NOW - timedelta(minutes=15))
    assert look(snapshot(image()), (fresh,))[0].first_seen == NOW - timedelta(hours=1)
    old = first_seen(3_600, last_look=NOW - timedelta(minutes=15, seconds=1))
    assert look(snapshot(image()), (old,))[0].first_seen == NOW


def test_a_look_that_takes_long_counts_from_its_end() -> None:
    ended = NOW + timedelta(seconds=40)
    (made,) = look(snapshot(image()), (), ended)
    assert made.first_seen == ended


# --- Sightings of clients that wait for a managed lock

MANAGED = image(lockers=(LIBRBD,))
WAITER = watcher("client.5", f"{ELSEWHERE}:0/1")


def waiting(of: LockedImage, earlier: tuple[Sighting, ...] = (), at: datetime = NOW) -> datetime | None:
    made = look(snapshot(of, at=at), earlier)
    return wanted_since(of, LIBRBD, "client.5", made)


def test_a_client_that_has_the_image_open_beside_a_dead_managed_holder_waits_since_the_first_look() -> None:
    contested = image(WAITER, lockers=(LIBRBD,))
    first = look(snapshot(contested), ())
    assert wanted_since(contested, LIBRBD, "client.5", first) == NOW
    assert wanted_since(contested, LIBRBD, "client.6", first) is None
    assert waiting(contested, first, NOW + timedelta(minutes=3)) == NOW
    later = NOW + timedelta(minutes=16)
    assert waiting(contested, first, later) == later, "nobody looked for a quarter of an hour"


@pytest.mark.parametrize(
    "of",
    [
        image(WAITER, watcher(LIBRBD.client, f"{IP}:0/77"), lockers=(LIBRBD,)),  # the holder is alive
        MANAGED,  # nobody waits any more
        image(WAITER, lockers=(KUBELET,)),  # nobody takes over an advisory lock
        image(WAITER, lockers=(msgspec.structs.replace(LIBRBD, client="client.5"),)),  # it has got the lock
    ],
)
def test_the_wait_ends_with_the_holder_the_waiter_or_the_takeover(of: LockedImage) -> None:
    first = look(snapshot(image(WAITER, lockers=(LIBRBD,))), ())
    assert waiting(of, first, NOW + timedelta(minutes=1)) is None


def test_a_look_that_does_not_see_watchers_keeps_the_wait() -> None:
    first = look(snapshot(image(WAITER, lockers=(LIBRBD,))), ())
    assert waiting(image(watchers=None, lockers=(LIBRBD,)), first, NOW + timedelta(minutes=1)) == NOW


# --- Sightings of fences

EXACT, HOST = f"{IP}:0/77", f"{IP}:0/0"


def fences_after(*looks: Snapshot, earlier: tuple[Sighting, ...] = ()) -> tuple[Sighting, ...]:
    for seen in looks:
        earlier = look(seen, earlier)
    return tuple(s for s in earlier if s.is_of_fence)


def fenced(entry: str = EXACT, hours: float = 1, minutes: float = 0, **facts: Any) -> Snapshot:
    """A look, so many minutes after the first one, at a cluster with one fence that ends `hours` after that first one."""
    return snapshot(at=NOW + timedelta(minutes=minutes), osdmap=fence(entry, hours), **{"nodes": (node(),), **facts})


def test_the_first_look_at_a_fence_that_ends_soon_keeps_the_nodes_boot() -> None:
    (made,) = fences_after(fenced())
    assert made == Sighting(
        FSID, "", f"{EXACT} node1", NOW, node="node1", boot="boot-1", machine="", ips=(IP,), last_look=NOW,
        until=NOW + timedelta(hours=1),
    )  # fmt: skip
    (kept,) = fences_after(fenced(), fenced(minutes=5, nodes=(node(boot="boot-2"),)))
    assert (kept.first_seen, kept.boot, kept.last_look) == (NOW, "boot-1", NOW + timedelta(minutes=5))


@pytest.mark.parametrize(
    "seen",
    [
        fenced(hours=24),  # far off
        fenced(hours=0),  # ended
        fenced("10.99.0.60:0/77"),  # no node's address
        fenced(nodes=NotSeen("forbidden")),
        fenced(nodes=()),
    ],
)
def test_of_other_fences_nothing_is_kept(seen: Snapshot) -> None:
    assert fences_after(seen) == ()


def test_a_fence_under_a_range_is_kept_for_each_node_in_it() -> None:
    both = (node(), node(name="node2", ip="10.47.136.61"), node(name="node3", ip=ELSEWHERE))
    made = fences_after(fenced("cidr:10.47.136.0:0/24", nodes=both))
    assert [s.locker for s in made] == ["cidr:10.47.136.0:0/24 node1", "cidr:10.47.136.0:0/24 node2"]


def test_a_fence_that_is_gone_or_has_ended_is_forgotten() -> None:
    assert fences_after(fenced(), snapshot(at=NOW + timedelta(minutes=5), nodes=(node(),))) == ()
    assert fences_after(fenced(), fenced(minutes=60)) == ()


@pytest.mark.parametrize("blind", [{"osdmap": NotSeen("?")}, {"nodes": NotSeen("?"), "osdmap": fence(EXACT, 1)}])
def test_a_look_that_does_not_see_fences_or_nodes_keeps_the_first_one(blind: dict[str, Any]) -> None:
    first = fences_after(fenced())
    assert fences_after(snapshot(at=NOW + timedelta(minutes=5), **blind), earlier=first) == first


def test_locks_that_could_not_be_read_hide_no_fence_and_fences_no_lock() -> None:
    assert len(fences_after(fenced(locks=NotSeen("?")))) == 1
    before = (*fences_after(fenced()), began())
    assert began() in look(fenced(locks=NotSeen("?")), before)
    assert first_seen(20, node="node1", boot="boot-1", ips=(IP,)) in look(
        snapshot(locks=Locks("", ()), osdmap=NotSeen("?")), before
    )


def test_an_exact_fence_that_is_extended_keeps_its_first_boot_one_for_a_whole_host_begins_anew() -> None:
    rebooted = (node(boot="boot-2"),)
    (exact,) = fences_after(fenced(), fenced(hours=3, minutes=5, nodes=rebooted))
    assert (exact.boot, exact.until) == ("boot-1", NOW + timedelta(hours=3))
    (host,) = fences_after(fenced(HOST), fenced(HOST, hours=3, minutes=5, nodes=rebooted))
    assert (host.boot, host.first_seen) == ("boot-2", NOW + timedelta(minutes=5))
    (same,) = fences_after(fenced(HOST), fenced(HOST, minutes=5, nodes=rebooted))
    assert same.boot == "boot-1"


@pytest.mark.parametrize(
    ("first", "earlier", "known"),
    [
        ({"images": (image(lockers=(LIBRBD,)),)}, (), True),  # it holds the lock still
        ({"images": (image(watcher("client.5", EXACT)),)}, (), True),
        ({"locks": Locks(FSID, (), users={"mioss/x": (watcher("client.5", EXACT),)})}, (), True),
        ({}, (first_seen(60, locker=LIBRBD.name, watched_from=(EXACT,)),), True),  # its lock has been taken over
        ({}, (first_seen(60, locker=LIBRBD.name, watched_from=(f"{IP}:0/78",)),), False),
        ({"images": (image(),)}, (), False),
    ],
)
def test_with_an_exact_fence_goes_whether_it_is_known_as_an_rbd_clients(
    first: dict[str, Any], earlier: tuple[Sighting, ...], known: bool
) -> None:
    at_first = snapshot(*first.pop("images", ()), osdmap=fence(EXACT, 1), nodes=(node(),), **first)
    for kept in (fences_after(at_first, earlier=earlier), fences_after(at_first, fenced(minutes=5), earlier=earlier)):
        assert [s.watched_from for s in kept] == [(EXACT,) if known else ()]


def test_a_fence_of_another_ceph_is_none_of_this_looks_business() -> None:
    other = Sighting("another-fsid", "", f"{EXACT} node1", NOW, boot="b")
    assert other in look(fenced(), (other,))
    assert other in look(snapshot(), (other,))


def ready(boot: str, machine: str = "", is_ready: bool = True, since: float | None = None) -> Node:
    """A node, Ready for so many minutes or not at all."""
    changed = None if since is None else NOW - timedelta(minutes=since)
    status = NodeStatus(
        addresses=(NodeAddress("InternalIP", IP),), node_info=NodeInfo(boot, machine),
        conditions=(Condition("Ready", "True" if is_ready else "Unknown", last_transition_time=changed),),
    )  # fmt: skip
    return msgspec.structs.replace(node(), status=status)


SEEN = Sighting(FSID, "", f"{EXACT} node1", NOW - timedelta(minutes=9), boot="boot-1", machine="m", last_look=NOW)
FIRST_LOOK = msgspec.structs.replace(SEEN, first_seen=NOW)


@pytest.mark.parametrize(
    ("of", "sighting", "rebooted"),
    [
        (ready("boot-1", "m", since=8), SEEN, False),  # it came back after the first look, nine minutes ago
        (ready("boot-1", "m", since=9), SEEN, None),  # it was Ready then, and may have rebooted before
        (ready("boot-1", "m", since=60), SEEN, None),
        (ready("boot-1", "m"), SEEN, None),
        (ready("boot-2", "m"), SEEN, True),
        (ready("boot-2", "m", is_ready=False), SEEN, True),
        (ready("boot-2", "other"), SEEN, False),  # another machine has the name: the old one may still run
        (ready("boot-1", "m", is_ready=False), SEEN, False),
        (ready("boot-1", "m", is_ready=False), None, False),
        (ready("boot-1", "m"), FIRST_LOOK, None),
        (ready("boot-1", "m"), None, None),
        (ready("", "m", since=8), SEEN, None),  # a node that tells no boot proves nothing
        (ready("boot-2", ""), msgspec.structs.replace(SEEN, machine=""), None),  # which machine is not known
        (ready("boot-2", ""), SEEN, None),
        (ready("boot-2", "m"), msgspec.structs.replace(SEEN, machine=None), None),
        (ready("boot-2", "m"), msgspec.structs.replace(SEEN, boot=""), None),
        (ready("boot-2", "m"), msgspec.structs.replace(SEEN, locker=f"{HOST} node1"), None),
    ],
)
def test_only_another_boot_of_the_same_machine_is_a_reboot(
    of: Node, sighting: Sighting | None, rebooted: bool | None
) -> None:
    over = NodeFence(Fence(EXACT, NOW + timedelta(hours=1)), of, exact=True)
    assert has_rebooted(over, snapshot(sightings=(sighting,) if sighting else ())) is rebooted


@pytest.mark.parametrize(
    ("of", "counts"),
    [(ready("boot-1", "m"), True), (ready("boot-2", "m"), False), (ready("boot-2", "other"), True)],
)
def test_a_managed_stale_lock_no_longer_counts_once_its_node_has_rebooted(of: Node, counts: bool) -> None:
    sightings = (first_seen(60, locker=LIBRBD.name), SEEN)
    seen = snapshot(MANAGED, nodes=(of,), osdmap=fence(EXACT, 1), sightings=sightings)
    assert verdict_of(MANAGED, LIBRBD, seen).verdict is Verdict.STALE_MANAGED
    assert severity_of(MANAGED, LIBRBD, seen) == (Severity.WARNING if counts else None)
