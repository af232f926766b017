"""Guards about a node that is given up: what keeps it from writing.

Two things count. A fence: Ceph refuses every address of the node, for years. A person's word that the machine is off:
no fact shows that, and a client that Ceph still hears from it gives the lie to it. Where a pod is deleted by force, the
word counts for other storage alone: what the pod has on Ceph takes a fence.
"""

from collections.abc import Iterator

from diagnostics.facts import NotSeen
from diagnostics.facts.ceph import OSDMAP, SESSIONS, Address, OsdMap
from diagnostics.facts.images import is_ceph
from diagnostics.facts.resources import Meta, Node, Pod, Volume, VolumeSpec
from runbooks.case import speaks_against
from runbooks.fencing import FENCE_LASTS
from runbooks.guards import Ruling, allowed, guard, refused, unknown
from runbooks.guards.dead_nodes import (
    ATTACHMENT_READS,
    STOP_READS,
    attested_off,
    bare_addresses,
    dead_node,
    doomed_pods,
    fenced_ips,
    mounted,
    not_behind_fence,
    there,
)
from runbooks.situation import CannotPlan, Situation


def only_a_fence_helps(situation: Situation, node: Node) -> tuple[str, ...]:
    """What is missing of the fence that the doomed pods' volumes on Ceph need, a clause each, whatever a person attests.

    A volume that is not known may be on Ceph. Empty where no doomed pod has any, or lasting fences cover the node.

    Raises:
        CannotPlan: the blocklist or the volumes could not be read, or the node has no address.
    """
    name = node.metadata.name
    found = tuple(dict.fromkeys(volume for pod in doomed_pods(situation) for volume in _on_ceph(pod, situation)))
    if not found:
        return ()
    named = ", ".join(dict.fromkeys(volume for volume, _ in found))
    word = f"a person's word that {name} is off does not stand in for a fence of what is on Ceph: {named}"
    try:
        bare = bare_addresses(situation, node)
    except CannotPlan as error:
        raise CannotPlan(*error.reasons, word, unknown=error.unknown) from None
    missing = [f"node {name} is not fenced as a whole: {', '.join(bare)}"] if bare else []
    missing += [
        f"volume {volume} is not known to be on this Ceph ({why}): fence {name} on its own Ceph, and delete the pod by hand"
        for volume, why in found if why
    ]  # fmt: skip
    return (*missing, word, *_how_to_fence(bare, situation, node)) if missing else ()


def _how_to_fence(bare: tuple[str, ...], situation: Situation, node: Node) -> Iterator[str]:
    """The next move, or why an address must not be fenced: a fence ends whatever works there."""
    name, osdmap = node.metadata.name, situation.snapshot.seen(OSDMAP)
    if node.is_ready and bare:
        yield f"node {name} is Ready: it is in use, and a fence would end that"
        return
    at_work = {daemon.ip: f"{daemon.name} is up there" for daemon in (osdmap.daemons if osdmap else ())}
    at_work |= dict.fromkeys(osdmap.own_ips if osdmap else (), "Unstick itself asks Ceph from there")
    yield from (f"never fence {ip} while {at_work[ip]}" for ip in bare if ip in at_work)
    lasts = int(FENCE_LASTS.total_seconds())
    commands = [f"`ceph osd blocklist add {Address(ip, 0, 0)} {lasts}`" for ip in bare if ip not in at_work]
    if commands:
        yield (
            f"once {name} is known to be down, let a Ceph admin run {' and '.join(commands)}, which ends every Ceph client "
            "there, or run ceph/stale_rbd_lock where the image is locked"
        )


def _on_ceph(pod: Pod, situation: Situation) -> Iterator[tuple[str, str | None]]:
    """Volumes of a pod that are on Ceph, or may be, by name; with what speaks against its being this Ceph."""
    osdmap = situation.snapshot.seen(OSDMAP)
    for name, entry, volumes in mounted(pod, situation):
        found = tuple(volume for volume in volumes if is_ceph(volume))
        if is_ceph(entry):  # the pod names it itself, without a PersistentVolume
            found = (Volume(Meta(name), VolumeSpec(rbd=entry.rbd, cephfs=entry.cephfs)),)
        if found:
            yield name, speaks_against(found, osdmap.fsid, osdmap) if osdmap else None
        elif entry.claim_name(pod.metadata.name) and not volumes:
            yield f"{name} (its PersistentVolume is not known: it may be on Ceph)", None


def signs_of_life(situation: Situation, node: Node) -> tuple[str, ...]:
    """What gives the lie to a word that a node is off: it is Ready, or Ceph has a session or a daemon at its address."""
    name, sessions, osdmap = node.metadata.name, situation.snapshot.seen(SESSIONS), situation.snapshot.seen(OSDMAP)
    found = [f"node {name} is Ready: it is not off"] if node.is_ready else []
    found += [
        f"{session.entity or session.client} ({session.client}) has a session with mon {session.mon} from {session.ip}, "
        f"an address of node {name}: it may not be off (a session outlives its machine by five minutes)"
        for session in (sessions.open if sessions else ()) if session.ip in node.ips
    ]  # fmt: skip
    daemons = osdmap.daemons if isinstance(osdmap, OsdMap) else ()
    found += [
        f"{d.name} is up at {d.ip}, an address of node {name}: it is not off" for d in daemons if d.ip in node.ips
    ]
    return tuple(dict.fromkeys(found))


def _unheard(situation: Situation) -> Iterator[str]:
    """What of Ceph's word on a node could not be heard. Where no Ceph is asked, nothing is missing."""
    sessions, osdmap = situation.snapshot[SESSIONS], situation.snapshot[OSDMAP]
    for seen in (sessions, osdmap):
        if isinstance(seen, NotSeen) and seen.configured:
            yield seen.reason
    if not isinstance(sessions, NotSeen):
        yield from (f"mon {mon} did not tell its sessions: {why}" for mon, why in sorted(sessions.silent.items()))


def stopped(situation: Situation) -> Ruling:
    """Whether the node can write nothing any more: by fences or by a person's word; else what is missing."""
    node = there(situation)
    if node.is_ready:
        return refused(f"node {node.metadata.name} is Ready: it is in use")
    return fenced_or_off(situation, node)


def fenced_or_off(situation: Situation, node: Node) -> Ruling:
    """The same, whatever the node says of itself.

    Raises:
        CannotPlan: nobody attests, and the blocklist or the volumes could not be read, or the node has no address.
    """
    name, known = node.metadata.name, f"{node.metadata.name}={node.metadata.uid}"
    off = attested_off(situation, node)
    word = f"a person who attests that {name} is off (node={name})"
    try:
        missing = not_behind_fence(situation, node)
    except CannotPlan as error:
        if not off:
            wanted = () if only_a_fence_helps(situation, node) else (f"missing is {word}",)
            raise CannotPlan(*error.reasons, *wanted, unknown=error.unknown) from None
        missing = error.reasons
    if not missing:
        return allowed(f"all addresses of {name} are fenced", node=known, fenced=", ".join(fenced_ips(situation, node)))
    if not off and (held := only_a_fence_helps(situation, node)):
        return refused(*held[:1], f"missing is such a fence: no word that {name} is off stands in for it")
    if not off:
        fence = "such a fence, or " if bare_addresses(situation, node) else ""
        return refused(*missing, f"missing is {fence}{word}")
    if lies := signs_of_life(situation, node):
        return refused(*lies)
    if unheard := tuple(_unheard(situation)):
        return unknown(*(f"whether Ceph still hears from {name} is not known: {why}" for why in unheard))
    return allowed(f"a person attests that {name} is off", node=known, off=known)


@guard(*STOP_READS, *ATTACHMENT_READS)
def node_fenced_or_attested_off(situation: Situation) -> Ruling:
    """Nothing writes from the node any more: lasting fences cover all its addresses, or a person attests that it is off.

    A node that is gone passes for its VolumeAttachments alone, and a Ready one never does.
    """
    name, node = dead_node(situation)
    if node is None and _is_about_attachments(situation):
        return allowed(f"node {name} does not exist any more", node=f"{name} is gone")
    return stopped(situation)


def _is_about_attachments(situation: Situation) -> bool:
    by_act = situation.act is not None and situation.act.action == "kubernetes.delete_volume_attachment"
    return by_act or "volume_attachment" in situation.params


@guard(*STOP_READS, *ATTACHMENT_READS)
def fence_does_not_cover_all(situation: Situation) -> Ruling:
    """The node is there, and a person's word that it is off can make up for what no lasting fence covers.

    It cannot where a pod that is to be deleted by force has a volume on Ceph and the node is not fenced: nobody is asked then.
    """
    name, node = dead_node(situation)
    if node is None:
        return refused(f"node {name} does not exist any more")
    if held := only_a_fence_helps(situation, node):
        return refused(f"nobody is asked whether {name} is off: that would not help", *held[:1])
    osdmap = situation.snapshot[OSDMAP]
    if isinstance(osdmap, NotSeen) and not osdmap.configured:
        return allowed(f"nothing is fenced where no Ceph is asked: {osdmap.reason}")
    missing = not_behind_fence(situation, node)
    if not missing:
        return refused(f"lasting fences cover {name} and all storage that is at stake")
    return allowed(*missing[:1])
