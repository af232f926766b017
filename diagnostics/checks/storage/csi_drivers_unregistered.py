"""CSI drivers that volumes need and that are not registered: on the node of a pod that waits, or nowhere at all.

Meaning: the driver's node plugin has not told the kubelet of itself, so the node's CSINode lacks the driver.
Impact: the pod cannot start there; a plugin's older error, such as a denied blocklist, may hide behind this.
Mitigation: bring the node plugin to run on that node; if the driver was removed, its volumes need it back.
"""

from collections.abc import Iterator

from diagnostics.checks import Check
from diagnostics.facts import NotSeen, Read, Snapshot
from diagnostics.facts.csi import CSI_DRIVERS, CSI_NODES, DAEMON_SETS, PLUGIN_PODS, is_node_plugin
from diagnostics.facts.kubernetes import CLAIMS, PODS, VOLUMES
from diagnostics.facts.plugins import plugin_links, unregistered
from diagnostics.facts.resources import Pod, Volume
from diagnostics.facts.users import unread
from diagnostics.model import Evidence, Finding, Link, Severity, Subject, Unseen, quoted

CAUSE = "csi-driver-not-registered"


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each node that lacks drivers, and for each driver that no node and no CSIDriver has."""
    yield from unread(snapshot, CLAIMS, VOLUMES)
    nodes = snapshot.seen(CSI_NODES)
    for name, by_driver in unregistered(snapshot).items():
        yield _of_node(name, by_driver, snapshot)
    if nodes and snapshot.scope.subject is None:  # around one subject only its own node was read
        yield from _nowhere({driver for node in nodes.full for driver in node.drivers}, snapshot)


def _of_node(name: str, by_driver: dict[str, list[Pod]], snapshot: Snapshot) -> Finding:
    nodes, pods = snapshot.seen(CSI_NODES), list({p.metadata.uid: p for ps in by_driver.values() for p in ps}.values())
    node = next((one for one in (nodes.full if nodes else ()) if one.metadata.name == name), None)
    has = f"drivers: {quoted(sorted(node.drivers)) or 'none'}" if node else "not found"
    names = [f"{p.metadata.namespace}/{p.metadata.name}" for p in pods]
    says = f"{'lacks' if node else 'does not exist, so that it lacks'} {quoted(sorted(by_driver))}"
    link = Link(
        node.subject if node else Subject("CSINode", None, name, ""), says, (Evidence(f"GET csinodes {name}", has),)
    )
    behind, blind = zip(*(plugin_links(driver, name, snapshot) for driver in sorted(by_driver)), strict=True)
    waits = [Link(p.subject, f"waits in ContainerCreating on {name}") for p in pods[:3]]
    return Finding(
        subject=link.subject,
        summary=f"on {name} no {quoted(sorted(by_driver))} is registered: {quoted(names[:3])}"
        f"{' and others' if len(names) > 3 else ''} cannot mount",
        cause=CAUSE,
        since=min((p.waiting_since for p in pods if p.waiting_since), default=None),
        chain=(*waits, link, *(link for links in behind for link in links)),
        unseen=tuple(reason for reason in blind if reason),
    )


def _nowhere(registered: set[str], snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    volumes, drivers = snapshot.seen(VOLUMES), snapshot[CSI_DRIVERS]
    used: dict[str, list[Volume]] = {}
    for volume in volumes.full if volumes else ():
        if volume.spec.csi and volume.spec.csi.driver not in registered:
            used.setdefault(volume.spec.csi.driver, []).append(volume)
    if used and isinstance(drivers, NotSeen):
        yield Unseen(f"CSIDriver {quoted(sorted(used))}", drivers.reason)
        return
    known = {driver.metadata.name for driver in ([] if isinstance(drivers, NotSeen) else drivers.full)}
    for name in sorted(used.keys() - known):
        proof = (Evidence("GET csidrivers", f"no {name}"), Evidence("GET csinodes", f"none has {name}"))
        link = Link(Subject("CSIDriver", None, name, ""), "does not exist, and no node has it registered", proof)
        some = [volume.metadata.name for volume in used[name]]
        says = f"{len(some)} volumes ({quoted(some[:3])}{', ...' if len(some) > 3 else ''}) need the driver {name}"
        yield Finding(link.subject, f"{says}, which is nowhere in this cluster", CAUSE, None, (link,))


CHECK = Check(
    find,
    (
        Read(PODS, where=lambda pod: pod.is_creating or is_node_plugin(pod)), Read(CSI_NODES),
        *(Read(kind, optional=True) for kind in (CLAIMS, VOLUMES, CSI_DRIVERS, DAEMON_SETS, PLUGIN_PODS)),
    ),
    Severity.WARNING,
)  # fmt: skip
