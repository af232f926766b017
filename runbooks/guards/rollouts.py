"""Guards about a rollout before it is changed: is it the one that was looked at, and would the change last."""

from collections.abc import Mapping

from diagnostics.facts import NotSeen, Read
from diagnostics.facts import rollouts as facts
from diagnostics.facts.resources import Pod
from diagnostics.facts.resources.rollouts import RolledOut
from diagnostics.facts.workloads import WORKLOAD_PODS
from runbooks import rollouts
from runbooks.guards import Ruling, allowed, guard, refused, unknown
from runbooks.situation import Planned, Situation

WORKLOAD_READS = tuple(Read(kind) for kind in facts.WORKLOADS.values())
REVISION_READS = (*WORKLOAD_READS, Read(facts.REVISION_SETS), Read(facts.CONTROLLER_REVISIONS))
_SHARED = ("ReadWriteMany", "ReadOnlyMany")


@guard(*WORKLOAD_READS)
def no_newer_rollout(situation: Situation) -> Ruling:
    """The workload's template is the one that was looked at, or already the one that the act sets."""
    act, found = rollouts.act_of(situation), rollouts.workload(situation)
    was, now = act.effect["from"], facts.sha256(found.spec.template)
    if now not in (was["template"], act.effect["to"]["template"]):
        return refused(f"{found.subject} has been changed by a newer rollout since it was looked at: plan anew")
    number = was.get("revision")
    what = f"revision {number}" if number is not None else "a revision without a number"
    return allowed(f"{found.subject} is what was looked at, {what}", revision=str(number), template=was["template"])


@guard(*REVISION_READS)
def revision_exists_and_differs(situation: Situation) -> Ruling:
    """The revision to go back to is still kept, unchanged, and is another template than the one that runs."""
    act, found = rollouts.act_of(situation), rollouts.workload(situation)
    will, was = act.effect["to"], act.effect["from"]
    if will["keeper"] is None:
        return refused(f"no revision of {found.subject} keeps the template to go back to")
    kept = next((one for one in rollouts.revisions(found, situation) if one.keeper.uid == will["keeper"]["uid"]), None)
    if kept is None or kept.sha256 != will["template"]:
        return refused(f"revision {will['revision']} of {found.subject} is not kept any more: plan anew")
    if will["template"] == was["template"]:
        return refused(f"revision {will['revision']} of {found.subject} is what runs already")
    return allowed(f"revision {will['revision']} is kept as {kept.keeper}", keeper=kept.keeper.uid)


@guard(*WORKLOAD_READS)
def rollout_is_not_paused(situation: Situation) -> Ruling:
    """No Deployment's rollout is taken back, restarted or paused while somebody holds it."""
    found = rollouts.workload(situation)
    if found.spec.paused:
        name = found.metadata.name
        return refused(
            f"{found.subject} is paused: somebody holds it; find out who, then "
            f"kubectl -n {found.metadata.namespace} rollout resume deployment/{name}"
        )
    return allowed(f"{found.subject} is not paused")


@guard(*WORKLOAD_READS)
def rollout_is_paused(situation: Situation) -> Ruling:
    """The Deployment's rollout is paused, or the same plan pauses it first."""
    found = rollouts.workload(situation)
    if found.spec.paused:
        return allowed(f"{found.subject} is paused")
    if any(act.action == "rollouts.pause" and found.subject in act.targets for act in situation.expected):
        return allowed(f"{found.subject} is paused by then")
    return refused(f"{found.subject} is not paused")


@guard(*WORKLOAD_READS)
def replaces_its_pods(situation: Situation) -> Ruling:
    """The workload replaces its pods by itself when its template changes."""
    found = rollouts.workload(situation)
    if found.way.type == "OnDelete":
        return refused(
            f"{found.subject} has update strategy OnDelete: a changed template replaces no pod; "
            "delete its pods by hand, one after the other, each once the one before is Ready"
        )
    return allowed(f"{found.subject} replaces its pods by {found.way.type}")


@guard(*WORKLOAD_READS)
def no_operator_owns_it(situation: Situation) -> Ruling:
    """The workload belongs to no other object, whose controller would undo the change or act against it.

    Any owner counts: operators (OLM among them) manage what they own without being named its controller.
    """
    found = rollouts.workload(situation)
    if (owner := found.metadata.made_by) is not None:
        return refused(f"{found.subject} belongs to {owner}, whose controller would put it back: change it there")
    return allowed(f"no other object owns {found.subject}")


@guard(*WORKLOAD_READS)
def nothing_would_put_it_back(situation: Situation) -> Ruling:
    """No GitOps tool manages the workload: it would put back what Git says."""
    found = rollouts.workload(situation)
    if (tool := rollouts.tool_behind(found)) is not None:
        return refused(f"{tool} manages {found.subject} and would put it back: undo it in Git, and let {tool} bring it")
    if (release := rollouts.helm_release(found)) is not None:
        return allowed(
            f"Helm release {release} made it: this lasts until the next `helm upgrade`, so mend the chart's values too",
            helm=release,
        )
    return allowed("no mark of Argo CD, Flux or Helm is on it")


@guard(*WORKLOAD_READS)
def is_no_csi_node_plugin(situation: Situation) -> Ruling:
    """The workload's pods serve no CSI driver on their nodes: replacing those may stop the I/O of mounted volumes."""
    found = rollouts.workload(situation)
    if rollouts.is_node_plugin(found):
        return refused(
            f"{found.subject} is a CSI node plugin: replacing its pods ends the volumes that rbd-nbd or ceph-fuse serve "
            "from them; drain each node first, and replace its plugin pod by hand"
        )
    return allowed(f"{found.subject} is no CSI node plugin")


@guard(*WORKLOAD_READS, Read(WORKLOAD_PODS))
def broken_pods_hold_up_the_rollout(situation: Situation) -> Ruling:
    """Pods of another revision than the one gone back to are not Ready, and an OrderedReady StatefulSet waits for them
    for ever."""
    # https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback
    found, act = rollouts.workload(situation), situation.act
    if not waits_for_broken_pods(found):
        return refused(f"{found.subject} replaces broken pods by itself")
    back = act.effect if act is not None else gone_back_to(situation)
    if back is None:
        return refused(f"nothing in this plan takes {found.subject} back to a revision that is kept")
    if not _is_undone_first(situation):
        if not found.is_observed:
            return unknown(f"the controller has not looked at the newest spec of {found.subject} yet")
        if facts.sha256(found.spec.template) != back["template"]:
            return refused(
                f"{found.subject} does not have the template of {back['revision']}: its pods would come back as they are"
            )
    wanted = None if act is None else {target.uid for target in act.targets}
    names = [
        pod.metadata.name for pod in broken_pods(situation, back)
        if wanted is None or pod.metadata.uid in wanted
    ]  # fmt: skip
    if not names:
        return refused(f"no broken pod of another revision than {back['revision']} holds up {found.subject}")
    return allowed(f"not Ready, and not of revision {back['revision']}: {', '.join(names)}", revision=back["revision"])


@guard(*WORKLOAD_READS, Read(WORKLOAD_PODS))
def workload_will_recreate_pods(situation: Situation) -> Ruling:
    """Every pod that the act deletes belongs to the workload, which wants pods, so that it makes them again."""
    act, found = rollouts.act_of(situation), rollouts.workload(situation)
    if not found.replicas:
        return refused(f"{found.subject} wants no pods: nobody would make them again")
    own = {pod.metadata.uid for pod in rollouts.pods(found, situation)}
    if strange := [target.name for target in act.targets if target.uid not in own]:
        return refused(f"not pods of {found.subject}, or others by now: {', '.join(strange)}")
    return allowed(f"{found.subject} makes them again", owner=found.metadata.uid)


def waits_for_broken_pods(found: RolledOut) -> bool:
    """Whether it is a StatefulSet that replaces no pod before all others are Ready, be they of whichever revision."""
    return found.kind == "StatefulSet" and found.spec.pod_management_policy == "OrderedReady"


def gone_back_to(situation: Situation) -> dict[str, str] | None:
    """The revision that the undo of this plan or execution goes back to, and its template's sha256; None without one."""
    undo = rollouts.undoing(situation, rollouts.workload(situation))
    return back_to(undo) if undo is not None else None


def back_to(undo: Planned) -> dict[str, str] | None:
    """The revision that an undo goes back to, by name, and its template's sha256; None where no revision keeps it."""
    to = undo.effect["to"]
    return {"revision": str(to["keeper"]["name"]), "template": str(to["template"])} if to["keeper"] else None


def broken_pods(situation: Situation, back: Mapping[str, str]) -> tuple[Pod, ...]:
    """The workload's pods that are not Ready, not yet ending, and not of the revision that it goes back to.

    Once the controller has looked at the template of that, the revision that it wants is the same one, whatever its
    name. Pods below the partition stay at the revision that they have, and come back as they are.

    Raises:
        CannotPlan: the workload or its pods could not be read.
    """
    found = rollouts.workload(situation)
    is_back = found.is_observed and facts.sha256(found.spec.template) == back["template"]
    fine = {None, back["revision"], *((found.status.update_revision,) if is_back else ())}
    return tuple(
        pod for pod in rollouts.pods(found, situation)
        if not pod.is_ready and pod.metadata.deletion_timestamp is None and rollouts.revision_of(pod) not in fine
        and rollouts.ordinal(pod.metadata.name) >= found.partition
    )  # fmt: skip


def _is_undone_first(situation: Situation) -> bool:
    return any(act.action == rollouts.UNDO for act in situation.expected)


@guard(*WORKLOAD_READS, Read(facts.TEMPLATE_CLAIMS))
def shares_a_volume_for_one_node(situation: Situation) -> Ruling:
    """A Deployment replaces its pods by RollingUpdate, and these share a volume that one node may have at a time."""
    found, claims = rollouts.workload(situation), situation.snapshot[facts.TEMPLATE_CLAIMS]
    if found.kind != "Deployment":
        return refused(f"only a Deployment has strategy Recreate, and {found.subject} is none")
    if found.way.type != "RollingUpdate":
        return refused(f"{found.subject} has strategy {found.way.type} already")
    if isinstance(claims, NotSeen):
        return unknown(f"the claims of {found.subject} could not be read: {claims.reason}")
    modes = {claim.metadata.name: claim.spec.access_modes or () for claim in claims.full}
    named = facts.claim_names(found.spec.template)
    if missing := [name for name in named if name not in modes]:
        return unknown(f"claim {', '.join(missing)} is not there: whether its volume is for one node is not known")
    alone = [name for name in named if not any(mode in _SHARED for mode in modes[name])]
    if not alone:
        return refused(f"the pods of {found.subject} share no volume that is for one node only")
    return allowed(f"for one node only: {', '.join(alone)}", claims=", ".join(alone))
