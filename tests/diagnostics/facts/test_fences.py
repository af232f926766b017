"""Which blocklist entries lie over a node, and which seem older than the machine."""

from datetime import UTC, datetime, timedelta

import pytest

from diagnostics.facts.ceph import Fence
from diagnostics.facts.fences import NodeFence, fences_over, is_host_wide, is_older_than_node, standing
from diagnostics.facts.resources import Meta, Node, NodeAddress, NodeStatus

NOW = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)


def node(*ips: str, made: datetime | None = None) -> Node:
    addresses = tuple(NodeAddress("InternalIP", ip) for ip in ips)
    return Node(Meta("node1", creation_timestamp=made), status=NodeStatus(addresses=addresses))


@pytest.mark.parametrize(
    ("entry", "over", "exact"),
    [
        ("10.0.0.1:0/0", True, False),
        ("cidr:10.0.0.0:0/24", True, False),
        ("cidr:10.0.0.1:0/32", True, False),
        ("10.0.0.1:0/77", True, True),
        ("10.0.0.1:6800/77", True, True),
        ("10.0.0.1:6789/0", True, True),  # with a port it is one address, whatever its nonce
        ("v1:10.0.0.1:0/77", True, True),
        ("10.0.0.2:0/0", False, False),
        ("cidr:10.0.1.0:0/24", False, False),
        ("[2001:db8::1]:0/0", True, False),
        ("[2001:db8::1]:0/5", True, True),
        ("cidr:[2001:db8::]:0/64", True, False),
        ("cidr:[2001:db8:1::]:0/64", False, False),
    ],
)
def test_an_entry_is_over_a_node_as_a_whole_for_one_client_or_not_at_all(entry: str, over: bool, exact: bool) -> None:
    fence = Fence(entry, NOW)
    found = fences_over(node("10.0.0.1", "2001:db8:0::1"), [fence])
    assert [one.exact for one in found] == ([exact] if over else [])
    if over:
        assert is_host_wide(fence) is not exact


def test_an_entry_stands_until_its_end() -> None:
    fences = [Fence("10.0.0.1:0/0", NOW + timedelta(seconds=s)) for s in (-1, 0, 1)]
    assert standing(fences, NOW) == (fences[2],)


@pytest.mark.parametrize(
    ("left", "age", "older"),
    [
        (
            timedelta(days=1800),
            timedelta(days=1),
            True,
        ),  # made 26 days ago, as such fences usually are; the node yesterday
        (timedelta(days=1800), timedelta(days=100), False),
        (timedelta(hours=23), timedelta(days=1), False),  # such an entry was never made for 5 years
        (timedelta(days=1800), None, False),
    ],
)
def test_a_fence_that_seems_older_than_its_node_may_be_a_dead_machines(
    left: timedelta, age: timedelta | None, older: bool
) -> None:
    over = NodeFence(Fence("10.0.0.1:0/0", NOW + left), node("10.0.0.1", made=NOW - age if age else None), exact=False)
    assert is_older_than_node(over, NOW) is older
