"""Facts of a node that is given up: which one, which of its pods and attachments go, and what of it is fenced or attested."""

from collections.abc import Iterable, Iterator

from diagnostics.attachments.facts import is_exclusive
from diagnostics.facts import NotSeen, Read
from diagnostics.facts import kubernetes as k8s
from diagnostics.facts.ceph import OSDMAP, SESSIONS, Address
from diagnostics.facts.holders import BESIDE_POD, CLAIM_USERS, NODE_PODS, NODES, volume_of
from diagnostics.facts.images import is_ceph
from diagnostics.facts.kubernetes import List
from diagnostics.facts.resources import Attachment, Node, Pod, PodVolume, Volume
from diagnostics.model import Subject
from diagnostics.verdicts import FAR_OFF
from runbooks.case import speaks_against
from runbooks.guards.locks import fenced_by_plan
from runbooks.situation import CannotPlan, Planned, Situation

POD_READS = (
    Read(k8s.PODS),
    Read(k8s.CLAIMS),
    Read(k8s.VOLUMES),
    Read(CLAIM_USERS),
    Read(BESIDE_POD),
    Read(k8s.ATTACHMENTS),
)
"""What `doomed_pods` looks at."""
STOP_READS = (Read(NODES), Read(OSDMAP), Read(SESSIONS), Read(k8s.PODS), Read(k8s.ATTACHMENTS))
"""What `dead_node`, `bare_addresses`, `attested_off` and `signs_of_life` look at."""
ATTACHMENT_READS = (Read(NODE_PODS), *POD_READS)
"""What `doomed_attachments` and `users_there` look at."""


def dead_node(situation: Situation) -> tuple[str, Node | None]:
    """The node that is given up, by name: the parameter, which an attachment must agree with, else the attachment's or
    the pod's. None: it is not there any more.

    Raises:
        CannotPlan: nothing names one, or two name different ones, or nobody looked whether it is there.
    """
    named = _named(situation)
    if not named and "pod" in situation.params and "image" not in situation.params:
        pod = situation.pod()
        if pod is None or not pod.spec.node_name:
            raise CannotPlan(f"pod {situation.params['pod']} is not there any more, or is bound to no node")
        named = pod.spec.node_name
    if not named:
        raise CannotPlan("no node is named")
    return named, node_named(named, situation)


def _named(situation: Situation) -> str | None:
    """The node that the parameters name: by itself, or by the attachment to it. Never the pod's: a pod may wait anywhere.

    Raises:
        CannotPlan: the attachment is not there, or is to another node than the one that is named.
    """
    named, attached = situation.params.get("node"), situation.params.get("volume_attachment")
    if not attached:
        return named
    attachment = situation.one(k8s.ATTACHMENTS, attached)
    if attachment is None:
        raise CannotPlan(f"there is no VolumeAttachment {attached}")
    if named and named != attachment.spec.node_name:
        raise CannotPlan(f"VolumeAttachment {attached} is to node {attachment.spec.node_name}, not to {named}")
    return attachment.spec.node_name


def node_named(name: str, situation: Situation) -> Node | None:
    """A node by its name; None where there is none.

    Raises:
        CannotPlan: nodes could not be read, or nobody asked for that one: then it only seems to be gone.
    """
    found = next((node for node in situation.listed(NODES) if node.metadata.name == name), None)
    asked = (isinstance(one, List) or one.name == name for one in NODES.requests(situation.snapshot))
    if found is None and not any(asked):
        raise CannotPlan(
            f"whether node {name} is there was not looked at: nothing leads to it from what the runbook was told",
            unknown=True,
        )
    return found


def there(situation: Situation) -> Node:
    """The same node, which must be there.

    Raises:
        CannotPlan: it is not, or nobody knows which one it is.
    """
    name, node = dead_node(situation)
    if node is None:
        raise CannotPlan(f"there is no node {name}, or nothing that was read leads to it", unknown=True)
    return node


def doomed_pods(situation: Situation) -> tuple[Pod, ...]:
    """The Terminating pods that a forced deletion is about; those of its act, once there is one.

    With an image the users of its volume on the node; with a pod that very pod, or, where it waits on another node than
    the one that is given up, the pods there that hold a volume that it waits for.
    """
    found = _terminating(situation)
    act = situation.act
    if act is None or act.action != "kubernetes.force_delete_pod":
        return found
    uids = {target.uid for target in act.targets}
    return tuple(pod for pod in found if pod.metadata.uid in uids)


def stray_pods(situation: Situation) -> tuple[Subject, ...]:
    """The pods that a forced deletion names and that are none of the doomed ones by now: nobody knows what they mount."""
    act = situation.act
    if act is None or act.action != "kubernetes.force_delete_pod":
        return ()
    known = {pod.metadata.uid for pod in doomed_pods(situation)}
    return tuple(target for target in act.targets if target.kind == "Pod" and target.uid not in known)


def _terminating(situation: Situation) -> tuple[Pod, ...]:
    named = _named(situation)
    if "image" in situation.params:
        pods: Iterable[Pod] = (pod for pod in situation.users() if named and pod.spec.node_name == named)
    else:
        pod = situation.pod()
        if pod is None:
            return ()
        pods = _holding(pod, named, situation) if named and pod.spec.node_name != named else (pod,)
    return tuple(pod for pod in pods if pod.metadata.deletion_timestamp is not None)


def _holding(waiting: Pod, node: str, situation: Situation) -> Iterator[Pod]:
    """The pods on a node that use a volume which the waiting pod can only have once they are gone."""
    claims = {claim for claim, _ in exclusive_volumes(waiting, situation)}
    for pod in situation.listed(BESIDE_POD):
        if pod.spec.node_name == node and pod.may_be_running and claims & set(pod.claims):
            yield pod


def exclusive_volumes(pod: Pod, situation: Situation) -> tuple[tuple[str, Volume], ...]:
    """A pod's claims with their volumes, as far as these may be attached to one node at a time.

    Raises:
        CannotPlan: claims or volumes could not be read.
    """
    situation.listed(k8s.CLAIMS), situation.listed(k8s.VOLUMES)
    found = ((claim, volume_of(pod, claim, situation.snapshot)) for claim in pod.claims)
    return tuple((claim, volume) for claim, volume in found if volume is not None and is_exclusive(volume))


def doomed_attachments(situation: Situation) -> tuple[Attachment, ...]:
    """The VolumeAttachments that a deletion is about: the one that is named, or those that keep a pod from its volumes."""
    node, name = situation.params.get("node"), situation.params.get("volume_attachment")
    if name:
        found = situation.one(k8s.ATTACHMENTS, name)
        return (found,) if found else ()
    pod = situation.pod() if node and "pod" in situation.params and "image" not in situation.params else None
    if pod is None:
        return ()
    volumes = {volume.metadata.name for _, volume in exclusive_volumes(pod, situation)}
    return tuple(
        attachment for attachment in situation.listed(k8s.ATTACHMENTS)
        if attachment.spec.node_name == node and attachment.spec.source.persistent_volume_name in volumes
    )  # fmt: skip


def bare_addresses(situation: Situation, node: Node) -> tuple[str, ...]:
    """The addresses of a node that no lasting fence covers as a whole.

    The addresses that the plan fenced count too: Ceph may see the node at one that Kubernetes does not know.

    Raises:
        CannotPlan: the blocklist could not be read, or the node has no address.
    """
    osdmap = situation.snapshot[OSDMAP]
    if isinstance(osdmap, NotSeen):
        raise CannotPlan(f"the blocklist could not be read: {osdmap.reason}", unknown=True)
    if not node.ips:
        raise CannotPlan(f"node {node.metadata.name} is not fenced as a whole: it has no address")
    expected = {
        Address.parse(entry).ip for act in situation.expected if act.action == "ceph.fence"
        for entry in act.effect["entries"] if Address.parse(entry).nonce == 0
    }  # fmt: skip
    lasting = [fence for fence in osdmap.fences if fence.until - situation.snapshot.taken_at >= FAR_OFF]
    return tuple(
        ip for ip in fenced_ips(situation, node)
        if ip not in expected and not any(fence.covers_host(ip) for fence in lasting)
    )  # fmt: skip


def fenced_ips(situation: Situation, node: Node) -> tuple[str, ...]:
    """The addresses that must be fenced for a node to be fenced."""
    by_plan = [Address.parse(entry).ip for entry in fenced_by_plan(situation)]
    # An external address may be a gateway's: the plan's fence names it only where Ceph has seen the holder there.
    own = node.internal_ips if by_plan else node.ips
    return tuple(dict.fromkeys((*own, *by_plan)))


def not_behind_fence(situation: Situation, node: Node) -> tuple[str, ...]:
    """What keeps a fence from covering all that is taken from a node, a clause each; empty where lasting fences do.

    A fence on this Ceph says nothing of other storage: neither of the doomed pods', nor of doomed attachments'.

    Raises:
        CannotPlan: the blocklist or the volumes could not be read, or the node has no address.
    """
    name, bare = node.metadata.name, bare_addresses(situation, node)
    missing = [f"node {name} is not fenced as a whole: {', '.join(bare)}"] if bare else []
    mounted = (volume for pod in doomed_pods(situation) for volume in _elsewhere(pod, situation))
    attached = (one.spec.source.persistent_volume_name or "of a pod itself" for one in doomed_attachments(situation))
    volumes = {volume.metadata.name: volume for volume in situation.listed(k8s.VOLUMES)}
    other = (*mounted, *(volume for volume in attached if not _is_here(volumes.get(volume), situation)))
    missing += [f"volume {volume} is not known to be on this Ceph: attest that {name} is off" for volume in other]
    return tuple(dict.fromkeys(missing))


def mounted(pod: Pod, situation: Situation) -> Iterator[tuple[str, PodVolume, tuple[Volume, ...]]]:
    """A pod's volumes: by which name people know each, its entry, and the PVs that say that they are its claim's."""
    by_claim: dict[tuple[str | None, str | None], list[Volume]] = {}
    for volume in situation.listed(k8s.VOLUMES):
        if ref := volume.spec.claim_ref:
            by_claim.setdefault((ref.namespace, ref.name), []).append(volume)
    for entry in pod.spec.volumes or ():
        claim = entry.claim_name(pod.metadata.name)
        yield claim or entry.name, entry, tuple(by_claim.get((pod.metadata.namespace, claim), ()) if claim else ())


def _elsewhere(pod: Pod, situation: Situation) -> Iterator[str]:
    """Volumes of a pod that a fence on this Ceph does not cover, or may not: what is not known counts as not."""
    for name, entry, volumes in mounted(pod, situation):
        here = volumes and all(_is_here(volume, situation) for volume in volumes)
        if not (entry.is_local or here):
            yield name


def _is_here(volume: Volume | None, situation: Situation) -> bool:
    osdmap = situation.snapshot.seen(OSDMAP)
    if volume is None or osdmap is None or not is_ceph(volume):
        return False
    return speaks_against((volume,), osdmap.fsid, osdmap) is None


def attested_off(situation: Situation, node: Node) -> bool:
    """Whether a person attests in this execution, or by this plan will have attested, that this very node is off."""
    return any(_attests(act, node) for act in (*situation.expected, *situation.done))


def _attests(act: Planned, node: Node) -> bool:
    named = any(target.kind == "Node" and target.uid == node.metadata.uid for target in act.targets)
    return act.action == "attest" and act.effect.get("attests") == "node_is_off" and named


def users_there(attachment: Attachment, situation: Situation) -> tuple[str, ...]:
    """The pod objects on an attachment's node that use its volume, as `namespace/name`; Terminating ones too.

    While planning, those do not count that the same plan removes first.

    Raises:
        CannotPlan: the pods could not be read, or were not looked for, or no claim leads from the volume to them.
    """
    node, name = attachment.spec.node_name, attachment.spec.source.persistent_volume_name
    volume = next((v for v in situation.listed(k8s.VOLUMES) if v.metadata.name == name), None)
    ref = volume.spec.claim_ref if volume else None
    if ref is None or not _were_looked_for(ref.namespace, node, situation):
        why = "no claim leads to it" if ref is None else f"the pods of namespace {ref.namespace} were not looked for"
        raise CannotPlan(
            f"whether a pod on node {node} uses the volume of VolumeAttachment {attachment.metadata.name} is not known: "
            f"{why}; look at the pods there, and delete it by hand",
            unknown=True,
        )
    pods = {
        pod.metadata.uid: pod
        for kind in (CLAIM_USERS, BESIDE_POD, NODE_PODS) for pod in situation.listed(kind)
        if pod.spec.node_name == node
    }  # fmt: skip
    going = {
        target.uid
        for act in situation.expected
        if act.action == "kubernetes.force_delete_pod"
        for target in act.targets
    }
    return tuple(
        f"{pod.metadata.namespace}/{pod.metadata.name}" for pod in pods.values()
        if pod.metadata.uid not in going and pod.metadata.namespace == ref.namespace and ref.name in pod.claims
    )  # fmt: skip


def _were_looked_for(namespace: str | None, node: str, situation: Situation) -> bool:
    """Whether all pods of a namespace, or all on a node, were asked for: who was not asked for only seems to be gone."""
    enough = (List(namespace), List(None, f"spec.nodeName={node}"))
    asked = (one for kind in (CLAIM_USERS, BESIDE_POD, NODE_PODS) for one in kind.requests(situation.snapshot))
    return any(one in enough for one in asked)
