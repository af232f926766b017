"""The table of fence scopes, row by row: which clause refuses, and that the first row that matches decides."""

import ipaddress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diagnostics.facts.ceph import Address
from runbooks.fencing import FENCE_LASTS, Case, Extent, Holder, Scope, scope
from runbooks.model import Risk

DOWN = Holder(
    "node1", None, ready=False, down=True, cordoned=True, ips=("10.0.0.1", "192.168.0.1"), dies=("search/old",)
)
UP = Holder("node1", None, ready=True, down=False, ips=("10.0.0.1",))
ADVISORY = Case(
    image="mioss/index", managed=False, address="10.0.0.1:0/77", ip="10.0.0.1", exact="10.0.0.1:0/77", seen_twice=True,
    watches_elsewhere=False, daemons={"10.0.1.1": "mon.a"}, own_ips=("10.0.0.99",), access_modes=("ReadWriteOnce",),
    holder=DOWN,
)  # fmt: skip
QUIET_MANAGED = msgspec.structs.replace(ADVISORY, managed=True, holder=UP)
PROVEN = msgspec.structs.replace(ADVISORY, holder=UP, unmapped_on_node=True)


def but(case: Case, **changed: Any) -> Case:
    """The case with something else in it; `holder` may be a dictionary of what differs there."""
    if isinstance(holder := changed.get("holder"), dict):
        changed["holder"] = msgspec.structs.replace(case.holder, **holder)
    return msgspec.structs.replace(case, **changed)


def refused(decision: Scope, *words: str) -> None:
    """It refuses, fences nothing, and its reasons have these words."""
    assert (decision.extent, decision.entries) == (Extent.REFUSE, ())
    told = " | ".join(decision.reasons)
    for word in words:
        assert word in told, told


ROW_1 = {
    "a mon is silent": ({"unknown": ("mon b did not tell its sessions: no answer",)}, "mon b"),
    "the placement group has no primary": (
        {"unknown": ("the placement group of index.rbd is not known",)},
        "placement",
    ),
    "the primary changed between the looks": ({"changed": "the primary OSD of 1.5 changed since"}, "primary OSD"),
    "the node rebooted or changed its IP": (
        {"changed": "node node1 has rebooted or changed its addresses"},
        "rebooted",
    ),
    "reading and writing are paused": ({"flags": frozenset({"pauserd", "pausewr"})}, "pauserd, pausewr flag"),
    "writing is paused": ({"flags": frozenset({"pausewr"})}, "pausewr"),
    "Ceph is full": ({"flags": frozenset({"full"})}, "full flag"),
    "Ceph is unhealthy": ({"unhealthy": "Ceph is in HEALTH_ERR"}, "HEALTH_ERR"),
    "the volume names another Ceph": ({"against": "the volume's clusterID is another one"}, "clusterID"),
    "the node is ambiguous": ({"holder": {"unclear": "10.0.0.1 is an address of several nodes"}}, "several nodes"),
    "the node is not known": ({"holder": Holder(None, None)}, "node is not known"),
}
ROW_2 = {
    "a watcher is not fenced": ({"watchers": ("client.9 at 10.0.0.2:0/5",)}, "has a watcher that is not fenced"),
    "there are several lockers": ({"lockers": 2}, "2 lockers"),
    "the lock is shared": ({"exclusive": False}, "shared one"),
    "several nodes may write": ({"access_modes": ("ReadWriteMany",)}, "ReadWriteMany"),
    "several nodes may read": ({"access_modes": ("ReadOnlyMany",)}, "ReadOnlyMany"),
    "the image is mirrored": ({"traits": ("mirrored",)}, "mirrored"),
    "the image is in the trash": ({"traits": ("trashed",)}, "trashed"),
    "the image migrates": ({"traits": ("migrating",)}, "migrating"),
    "the holder is rbd-mirror": ({"reserved": ("client.rbd-mirror.a",)}, "rbd-mirror"),
    "the holder is a mgr": ({"reserved": ("mgr.x",)}, "mgr.x"),
    "the holder is a CSI controller": ({"reserved": ("the CSI controller rook/csi-rbdplugin-provisioner-1",)}, "CSI"),
    "a Ceph daemon is up at the IP": ({"ip": "10.0.1.1"}, "mon.a is up at 10.0.1.1"),
    "we ourselves are at the IP": ({"ip": "10.0.0.99"}, "Unstick's own address"),
}
ALLOWED = {"node": ADVISORY, "managed and quiet": QUIET_MANAGED, "proven unmapped": PROVEN}


def test_the_cases_that_the_refusals_below_start_from_are_allowed() -> None:
    assert [scope(case).extent for case in ALLOWED.values()] == [Extent.NODE, Extent.EXACT, Extent.EXACT]


@pytest.mark.parametrize("case", ALLOWED.values(), ids=ALLOWED)
@pytest.mark.parametrize(("changed", "says"), ROW_1.values(), ids=ROW_1)
def test_row_1_refuses_whatever_is_not_known_or_does_not_hold_still(
    case: Case, changed: dict[str, Any], says: str
) -> None:
    refused(scope(but(case, **changed)), says)


@pytest.mark.parametrize("case", ALLOWED.values(), ids=ALLOWED)
@pytest.mark.parametrize(("changed", "says"), ROW_2.values(), ids=ROW_2)
def test_row_2_refuses_what_nobody_may_fence(case: Case, changed: dict[str, Any], says: str) -> None:
    refused(scope(but(case, **changed)), says)


def test_only_what_could_not_be_seen_is_called_unknown() -> None:
    assert scope(but(ADVISORY, unknown=("nodes could not be read",))).unknown
    assert not scope(but(ADVISORY, flags=frozenset({"full"}))).unknown
    assert not scope(but(ADVISORY, lockers=2)).unknown


@pytest.mark.parametrize("flag", ["sortbitwise", "noout", "nodeep-scrub"])
def test_flags_that_stop_no_input_or_output_do_not_refuse(flag: str) -> None:
    assert scope(but(ADVISORY, flags=frozenset({flag}))).extent is Extent.NODE


def test_row_1_comes_before_row_2_and_each_gives_all_its_reasons() -> None:
    both = but(ADVISORY, unknown=("mon b is silent", "leases could not be read"), lockers=2, exclusive=False)
    assert scope(both).reasons == ("mon b is silent", "leases could not be read")
    assert len(scope(but(both, unknown=())).reasons) == 2


def test_row_2_comes_before_the_rows_of_the_holder() -> None:
    refused(scope(but(QUIET_MANAGED, sessions=("client.k (client.1)",), watchers=("client.9 at x",))), "never fenced")


# The table itself, a row each, in its order and words. Below it every clause of a row is asked for by itself.

TABLE: dict[str, tuple[dict[str, Any], Case, tuple[Extent, tuple[str, ...]]]] = {
    "anything unknown": ({"unknown": ("mon b is silent",)}, ADVISORY, (Extent.REFUSE, ())),
    "an unfenced watcher and the like": ({"watchers": ("client.9 at x",)}, ADVISORY, (Extent.REFUSE, ())),
    "managed lock whose client has no session and watches no other image": (
        {}, QUIET_MANAGED, (Extent.EXACT, ("10.0.0.1:0/77",)),
    ),
    "managed lock, or N is DOWN": (
        {"holder": DOWN, "sessions": ("client.k",)}, QUIET_MANAGED, (Extent.EXACT, ("10.0.0.1:0/77",)),
    ),
    "the same, N Ready, the client has a session": ({"sessions": ("client.k",)}, QUIET_MANAGED, (Extent.REFUSE, ())),
    "advisory, N Ready, seen on N that it is not mapped": ({}, PROVEN, (Extent.EXACT, ("10.0.0.1:0/77",))),
    "the same without that proof from N": ({"unmapped_on_node": False}, PROVEN, (Extent.REFUSE, ())),
    "advisory, N DOWN and cordoned, nobody else at its IPs": (
        {}, ADVISORY, (Extent.NODE, ("10.0.0.1:0/0", "192.168.0.1:0/0")),
    ),
    "the same, but the IP is shared": ({"holder": {"foreign": ("node node9",)}}, ADVISORY, (Extent.REFUSE, ())),
    "the same, but the IP is a pod's": ({"holder": {"address_is_pod": "a/vm"}}, ADVISORY, (Extent.REFUSE, ())),
}  # fmt: skip


@pytest.mark.parametrize(("changed", "of", "decided"), TABLE.values(), ids=TABLE)
def test_the_table_decides_row_by_row(
    changed: dict[str, Any], of: Case, decided: tuple[Extent, tuple[str, ...]]
) -> None:
    decision = scope(but(of, **changed))
    assert (decision.extent, decision.entries) == decided


def test_of_an_image_that_no_volume_names_the_plan_says_that_it_was_not_looked_at() -> None:
    assert "unlocked and that no volume names is not looked at" in " ".join(scope(ADVISORY).reasons)


# Rows 3 and 4: a managed lock names its writer.


def test_row_3_fences_the_exact_address_of_a_managed_locks_quiet_client() -> None:
    decision = scope(QUIET_MANAGED)
    assert (decision.extent, decision.entries, decision.risk) == (Extent.EXACT, ("10.0.0.1:0/77",), Risk.HIGH)
    assert decision.dies == ("the client at 10.0.0.1:0/77, with all its images",)


@pytest.mark.parametrize("changed", [{"sessions": ("client.k (client.1)",)}, {"watches_elsewhere": True}, {}])
def test_row_3_fences_the_exact_address_where_the_node_is_down_whatever_else_is_known(changed: dict[str, Any]) -> None:
    decision = scope(but(QUIET_MANAGED, holder=DOWN, seen_twice=False, **changed))
    assert (decision.extent, decision.entries) == (Extent.EXACT, ("10.0.0.1:0/77",))


def test_row_4_refuses_a_managed_lock_whose_client_has_a_session_and_whose_node_is_not_down() -> None:
    refused(scope(but(QUIET_MANAGED, sessions=("client.k (client.1)",))), "client.k (client.1)", "in session")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"watches_elsewhere": True}, "watches another image"),
        ({"watches_elsewhere": None}, "whether the client watches another image is not known"),
        ({"seen_twice": False}, "two looks"),
        ({"young": True}, "older than 2 minutes"),
    ],
)
def test_row_3_does_not_take_a_managed_locks_client_for_dead_too_soon(changed: dict[str, Any], says: str) -> None:
    refused(scope(but(QUIET_MANAGED, **changed)), says)


def test_images_that_were_not_looked_at_make_it_unknown() -> None:
    assert scope(but(QUIET_MANAGED, watches_elsewhere=None)).unknown
    assert Case("i", True, "a", "10.0.0.1", "10.0.0.1:0/1").watches_elsewhere is None


@pytest.mark.parametrize(
    "case", [QUIET_MANAGED, but(QUIET_MANAGED, holder=DOWN), PROVEN], ids=["quiet", "down", "row 5"]
)
def test_an_address_without_a_nonce_is_no_exact_address(case: Case) -> None:
    refused(scope(but(case, exact="10.0.0.1:0/0")), "all of 10.0.0.1")


# Rows 5 and 6: an advisory lock of a node that answers for itself.


def test_row_5_fences_the_exact_address_with_the_proof_from_the_node() -> None:
    decision = scope(PROVEN)
    assert (decision.extent, decision.entries) == (Extent.EXACT, ("10.0.0.1:0/77",))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"seen_twice": False}, "two looks"),
        ({"young": True}, "older than 2 minutes"),
        ({"holder": {"uses": ("pod search/old there uses the claim",)}}, "pod search/old there uses the claim"),
        ({"holder": {"uses": ("attachment csi-1 is to it",)}}, "attachment csi-1"),
        ({"holder": {"uses": ("its volumesInUse has rbd/index",)}}, "volumesInUse"),
        ({"holder": {"ready": False}}, "neither Ready nor down"),
        ({"holder": {"ready": None}}, "neither Ready nor down"),
    ],
)
def test_row_5_needs_each_of_its_clauses(changed: dict[str, Any], says: str) -> None:
    refused(scope(but(PROVEN, **changed)), says)


def test_row_6_refuses_without_the_proof_and_prints_the_command() -> None:
    refused(
        scope(but(PROVEN, unmapped_on_node=False)), "missing is the proof", "`rbd device list` on node1", "mioss/index"
    )


def test_row_6_gives_every_reason_and_names_the_session() -> None:
    case = but(PROVEN, unmapped_on_node=False, seen_twice=False, young=True, sessions=("client.k (client.1)",))
    decision = scope(case)
    refused(decision, "client.k (client.1) has a session from 10.0.0.1", "2 minutes", "rbd device list")
    assert len(decision.reasons) == 3


# Rows 7 and 8: an advisory lock of a node that is down.


def test_row_7_fences_every_address_of_a_node_that_is_down_and_cordoned() -> None:
    decision = scope(ADVISORY)
    assert (decision.extent, decision.risk) == (Extent.NODE, Risk.CRITICAL)
    assert decision.entries == ("10.0.0.1:0/0", "192.168.0.1:0/0")
    assert decision.dies == ("search/old",)


def test_row_7_writes_an_ipv6_address_in_brackets() -> None:
    case = but(ADVISORY, ip="2001:db8::1", exact="[2001:db8::1]:0/77", holder={"ips": ("2001:db8::1",)})
    assert scope(case).entries == ("[2001:db8::1]:0/0",)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"holder": {"cordoned": False}}, "not cordoned"),
        ({"holder": {"ips": ("10.0.0.1", "10.0.1.1")}}, "10.0.1.1, where a Ceph daemon"),
        ({"holder": {"ips": ("10.0.0.1", "10.0.0.99")}}, "10.0.0.99, where a Ceph daemon or Unstick"),
        ({"holder": {"foreign": ("client.rgw (client.5)", "node node9")}}, "would hit node node9"),
        ({"holder": {"ips": ()}}, "not among the addresses"),
        ({"holder": {"ips": ("192.168.0.1",)}}, "not among the addresses"),
    ],
)
def test_row_7_needs_each_of_its_clauses(changed: dict[str, Any], says: str) -> None:
    refused(scope(but(ADVISORY, **changed)), says)


def test_a_node_of_which_it_is_not_known_whether_it_is_down_is_unknown() -> None:
    decision = scope(but(ADVISORY, holder={"down": None}))
    refused(decision, "whether node node1 is down is not known")
    assert decision.unknown


def test_row_8_refuses_a_shared_address_and_a_pods() -> None:
    refused(scope(but(ADVISORY, holder={"foreign": ("node node9, which has 10.0.0.1 too",)})), "node9")
    refused(scope(but(ADVISORY, holder={"address_is_pod": "search/vm"})), "pod search/vm", "power node1 off and attest")


@pytest.mark.parametrize("holder", [UP, {"down": None}, {"cordoned": False}, {"foreign": ("node node9",)}])
def test_what_is_fenced_already_may_be_fenced_again_whatever_became_of_the_node(holder: Any) -> None:
    decision = scope(but(ADVISORY, already_fenced=True, holder=holder))
    assert decision.extent is Extent.NODE
    assert "10.0.0.1:0/0" in decision.entries
    assert decision.dies == ()


@pytest.mark.parametrize("ip", ["10.0.1.1", "10.0.0.99"])
def test_a_daemon_or_ourselves_at_a_fenced_address_still_refuse(ip: str) -> None:
    refused(scope(but(ADVISORY, already_fenced=True, holder={"ips": ("10.0.0.1", ip)})), ip)


def test_a_fence_lasts_for_years() -> None:
    assert FENCE_LASTS.total_seconds() == 157_784_760


# Properties over whatever facts there may be.

IPS = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.1.1", "10.0.0.99", "2001:db8::1"])
SENTENCES = st.lists(st.sampled_from(["this", "that"]), max_size=2).map(tuple)
MAYBE = st.sampled_from([True, False, None])
HOLDERS = st.builds(
    Holder,
    node=st.sampled_from(["node1", None]),
    unclear=st.sampled_from([None, None, None, "it is not certain"]),
    ready=MAYBE,
    down=st.sampled_from([True, True, False, None]),
    cordoned=st.sampled_from([True, True, False]),
    ips=st.lists(IPS, max_size=3, unique=True).map(tuple),
    foreign=st.one_of(st.just(()), SENTENCES),
    uses=st.one_of(st.just(()), SENTENCES),
    address_is_pod=st.sampled_from([None, None, None, "a/b"]),
    dies=SENTENCES,
)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any case, more often one that something may be fenced in."""
    ip = draw(IPS)
    nonce = draw(st.sampled_from([0, 77, 78]))
    exact = str(Address(ip, 0, nonce))
    rarely = st.one_of(st.just(()), st.just(()), st.just(()), SENTENCES)
    return Case(
        image="p/i", managed=draw(st.booleans()), address=exact, ip=ip, exact=exact, unknown=draw(rarely),
        flags=draw(st.frozensets(st.sampled_from(["noout", "full", "pausewr", "pauserd"]), max_size=1)),
        against=draw(st.sampled_from([None, None, None, "another Ceph"])),
        changed=draw(st.sampled_from([None, None, None, "it changed"])), watchers=draw(rarely),
        lockers=draw(st.sampled_from([1, 1, 1, 2])), exclusive=draw(st.sampled_from([True, True, True, False])),
        access_modes=draw(st.sampled_from([("ReadWriteOnce",), (), ("ReadWriteOnce", "ReadOnlyMany")])),
        traits=draw(rarely), sessions=draw(rarely), reserved=draw(rarely), watches_elsewhere=draw(MAYBE),
        seen_twice=draw(st.booleans()), young=draw(st.booleans()), unmapped_on_node=draw(st.booleans()),
        daemons=draw(st.sampled_from([{}, {"10.0.1.1": "mon.a"}, {"10.0.0.2": "osd.1"}])),
        own_ips=draw(st.sampled_from([(), ("10.0.0.99",), ("2001:db8::1",)])), holder=draw(HOLDERS),
        already_fenced=draw(st.sampled_from([False, False, True])),
        unhealthy=draw(st.sampled_from([None, None, None, "HEALTH_ERR"])),
    )  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(cases())
def test_whatever_is_unknown_or_forbidden_is_never_fenced(case: Case) -> None:
    decision = scope(case)
    never = [
        case.unknown, case.flags & {"full", "pausewr", "pauserd"}, case.against, case.changed, case.holder.unclear,
        case.unhealthy,
        case.holder.node is None, case.watchers, case.lockers > 1, not case.exclusive, case.traits, case.reserved,
        "ReadOnlyMany" in case.access_modes, case.ip in case.daemons, case.ip in case.own_ips,
    ]  # fmt: skip
    if any(never):
        assert decision.extent is Extent.REFUSE
    if decision.extent is Extent.REFUSE:
        assert not decision.entries
        assert decision.reasons


@settings(max_examples=400, deadline=None)
@given(cases())
def test_no_entry_ever_covers_a_daemon_or_ourselves_or_more_than_its_scope_says(case: Case) -> None:
    decision = scope(case)
    addresses = [Address.parse(entry) for entry in decision.entries]
    for address in addresses:
        assert address.ip not in case.daemons
        assert address.ip not in case.own_ips
        assert str(ipaddress.ip_address(address.ip)) == address.ip
    if decision.extent is Extent.NODE:
        holder = case.holder
        assert not case.managed
        if not case.already_fenced:
            assert holder.down is True
            assert holder.cordoned
            assert not any((holder.foreign, holder.address_is_pod))
            assert (decision.risk, decision.dies) == (Risk.CRITICAL, holder.dies)
        assert {address.ip for address in addresses} == set(holder.ips)
        assert case.ip in holder.ips
        assert all((address.port, address.nonce) == (0, 0) for address in addresses)
    if decision.extent is Extent.EXACT:
        assert decision.entries == (case.exact,)
        assert addresses[0].nonce != 0
        if not case.managed:
            assert case.unmapped_on_node
            assert case.seen_twice
            assert case.holder.ready is True
            assert not any((case.holder.uses, case.young))
        elif not case.holder.down:
            assert case.seen_twice
            assert case.watches_elsewhere is False
            assert not any((case.sessions, case.young))
