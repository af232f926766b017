"""CSI node plugins that do not run on nodes that are Ready.

Meaning: the DaemonSet's pod on the node crashes, hangs or is not there; on a node that is not Ready that is the node's trouble.
Impact: no volume of the driver is mounted or unmounted there; what is mounted with the kernel's own client stays so.
Mitigation: read the log of the container that fails; a plugin that mounts in user space (rbd-nbd, ceph-fuse) takes its mounts along.
"""

from collections.abc import Iterator

from diagnostics.checks import Check
from diagnostics.facts import Read, Snapshot
from diagnostics.facts.csi import DAEMON_SETS, drivers_of, is_node_plugin
from diagnostics.facts.holders import NODES
from diagnostics.facts.kubernetes import PODS
from diagnostics.facts.plugins import Outage, daemon_set_link, outage_of, pod_link, trouble_of
from diagnostics.facts.resources import DaemonSet
from diagnostics.model import Finding, Severity, Unseen, quoted

MOST_NAMED = 5


def find(snapshot: Snapshot) -> Iterator[Finding | Unseen]:
    """Yield one finding for each DaemonSet of node plugins; critical where it runs on no node at all."""
    sets = snapshot.seen(DAEMON_SETS)
    for daemon_set in sets.full if sets else ():
        if drivers_of(daemon_set.spec.template.spec):
            found = outage_of(daemon_set, snapshot)
            if isinstance(found, Unseen):
                yield found
            elif found is not None:
                yield _finding(daemon_set, found)


def _finding(daemon_set: DaemonSet, outage: Outage) -> Finding:
    meta = daemon_set.metadata
    drivers = quoted(sorted(drivers_of(daemon_set.spec.template.spec)))
    told = [f"{pod.spec.node_name} ({trouble_of(pod)})" for pod in outage.pods[:MOST_NAMED]]
    more = f" and {len(outage.pods) - MOST_NAMED} more" if len(outage.pods) > MOST_NAMED else ""
    where = quoted([str(pod.spec.node_name) for pod in outage.pods])
    parts, short = ([f"does not run on {quoted(told)}{more}"], f"does not run on {where}") if told else ([], "")
    lack = f"{outage.unplaced} node{'s' if outage.unplaced > 1 else ''}"
    if outage.bare:
        some = f"{quoted(outage.bare[:MOST_NAMED])}{' or others' if len(outage.bare) > MOST_NAMED else ''}"
        parts.append(f"lacks its pod on {lack}, of {some}")
    elif outage.unplaced:
        parts.append(f"is not available on at least {lack} that Kubernetes calls Ready")
    says = "; it ".join(parts)
    return Finding(
        subject=daemon_set.subject,
        summary=f"{meta.namespace}/{meta.name}, the node plugin of {drivers}, {says}",
        cause="csi-driver-not-registered",
        since=outage.since,
        chain=(
            daemon_set_link(daemon_set, "; ".join([short, *parts[1:]]) if short else says),
            *(pod_link(pod) for pod in outage.pods[:MOST_NAMED]),
        ),
        unseen=() if outage.pods or outage.bare else ("which nodes: its pods were not read",),
        severity=Severity.WARNING if outage.serving else Severity.CRITICAL,
    )


CHECK = Check(
    find, reads=(Read(DAEMON_SETS), Read(PODS, where=is_node_plugin), Read(NODES)), severity=Severity.WARNING,
    of_the_whole=True,
)  # fmt: skip
