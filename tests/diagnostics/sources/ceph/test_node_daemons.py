"""The OSD map around a node is read even where no volume lies on Ceph: the node may carry Ceph's own daemons."""

from datetime import UTC, datetime

import pytest

from bot.sandbox.ceph import Caps, SimulatedCluster
from diagnostics.facts import Snapshot
from diagnostics.facts.ceph import LOCKS, OSDMAP, Locks, OsdMap
from diagnostics.facts.disruption import NODE_OSDMAP
from diagnostics.model import Scope, Subject
from diagnostics.sources import CouldNotLook
from diagnostics.sources.ceph.source import CephSource

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


async def test_the_daemons_are_seen_without_any_image() -> None:
    cluster = SimulatedCluster(lambda: NOW)
    source = CephSource(lambda: cluster.connect("client.unstick", caps=Caps.DIAGNOSE))
    seen = Snapshot("c", NOW, Scope("c", subject=Subject("Node", None, "node1", ""))).with_fact(LOCKS, Locks("", ()))
    with pytest.raises(CouldNotLook, match="no RBD image is involved"):
        await source.fetch(OSDMAP, seen)
    assert source.provides(NODE_OSDMAP)
    found = await source.fetch(NODE_OSDMAP, seen)
    assert isinstance(found, OsdMap)
    assert any(daemon.name.startswith("mon.") for daemon in found.daemons)
