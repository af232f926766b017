"""Guards about rollouts, before and after they are changed: each allows, refuses, and does not know."""

from typing import Any

import msgspec
import pytest

from diagnostics.facts import rollouts as facts
from diagnostics.facts.workloads import WORKLOAD_PODS
from runbooks.actions import Undo, all_actions
from runbooks.guards import Answer, Ruling, all_guards
from runbooks.situation import Planned
from tests.runbooks.rollout_made import Rollout, of_number, pod, template

ALLOWED, REFUSED, UNKNOWN = Answer.ALLOWED, Answer.REFUSED, Answer.UNKNOWN
ORDERED = {"updateRevision": "app-1", "currentRevision": "app-1"}
OF_WORKLOAD = (
    "rollout_is_not_paused", "rollout_is_paused", "replaces_its_pods", "no_operator_owns_it", "nothing_would_put_it_back",
    "is_no_csi_node_plugin", "shares_a_volume_for_one_node", "rollout_is_complete", "broken_pods_hold_up_the_rollout",
)  # fmt: skip
OF_ACT = (
    "no_newer_rollout", "revision_exists_and_differs", "workload_will_recreate_pods", "strategy_is_set",
    "rollout_is_complete_or_held_up",
)  # fmt: skip


def judge(name: str, rollout: Rollout, *acts: Any, **how: Any) -> Ruling:
    return all_guards()[name].judge(rollout.situation(*acts, **how))


def says(ruling: Ruling, answer: Answer, *words: str) -> None:
    """It comes to this answer, and says why."""
    assert ruling.answer is answer, ruling
    assert ruling.reasons
    for word in words:
        assert word in " | ".join(ruling.reasons), ruling.reasons


def undo_of(rollout: Rollout, **arguments: Any) -> Planned:
    return all_actions()["rollouts.undo"].plan(rollout.situation(), arguments)


def taken_back(act: Planned) -> Planned:
    """The act that goes back to what an undo left."""
    undo = all_actions()["rollouts.undo"].undo
    assert isinstance(undo, Undo)
    return undo.plan(act)


def stuck(**changed: Any) -> Rollout:
    """A StatefulSet that was taken back already, and waits for its broken pod."""
    return Rollout(**{"kind": "StatefulSet", "now": template("app:1"), "status": ORDERED, **changed})


def deletion() -> Planned:
    """The act that deletes the broken pod of `stuck`."""
    before = Rollout(kind="StatefulSet")
    situation = before.situation(expected=(undo_of(before),))
    return all_actions()["rollouts.delete_broken_pods"].plan(situation, {})


@pytest.mark.parametrize("name", OF_WORKLOAD)
def test_a_workload_that_could_not_be_read_is_unknown_and_one_that_is_gone_refuses(name: str) -> None:
    says(judge(name, Rollout(unseen=(facts.DEPLOYMENT,))), UNKNOWN, "denied")
    says(judge(name, Rollout(there=False)), REFUSED, "there is no Deployment shop/app")


@pytest.mark.parametrize("name", OF_ACT)
def test_without_an_act_there_is_nothing_to_judge(name: str) -> None:
    says(judge(name, Rollout()), UNKNOWN, "no act")


@pytest.mark.parametrize("image", ["app:2", "app:1"])
def test_what_was_looked_at_is_no_newer_rollout_and_neither_is_what_the_act_has_set_itself(image: str) -> None:
    act = undo_of(Rollout())
    ruling = judge("no_newer_rollout", Rollout(now=template(image)), act)
    says(ruling, ALLOWED, "revision 2")
    assert ruling.basis == {"revision": "2", "template": act.effect["from"]["template"]}


def test_a_template_that_nobody_looked_at_is_a_newer_rollout() -> None:
    says(judge("no_newer_rollout", Rollout(now=template("app:3")), undo_of(Rollout())), REFUSED, "newer rollout")
    unnumbered = undo_of(Rollout(now=template("app:3")))
    says(judge("no_newer_rollout", Rollout(now=template("app:3")), unnumbered), ALLOWED, "without a number")


def test_a_revision_must_be_kept_unchanged_and_differ_from_what_runs() -> None:
    guard, act = "revision_exists_and_differs", undo_of(Rollout())
    ruling = judge(guard, Rollout(), act)
    says(ruling, ALLOWED, "revision 1 is kept as ReplicaSet shop/app-1")
    assert ruling.basis == {"keeper": "uid-app-1"}
    says(judge(guard, Rollout(kept=[]), act), REFUSED, "is not kept any more")
    says(judge(guard, Rollout(kept=[of_number("Deployment", 1, template("app:0"))]), act), REFUSED, "not kept any more")
    says(judge(guard, Rollout(), undo_of(Rollout(), revision="2")), REFUSED, "is what runs already")
    says(judge(guard, Rollout(unseen=(facts.REVISION_SETS,)), act), UNKNOWN, "could not be read")
    lost = undo_of(Rollout(now=template("app:3")))
    back = msgspec.structs.replace(lost, effect={"to": lost.effect["from"], "from": lost.effect["to"]})
    says(judge(guard, Rollout(), back), REFUSED, "keeps the template to go back to")


def test_a_paused_rollout_is_left_to_whoever_holds_it() -> None:
    paused = Rollout(spec={"paused": True})
    says(judge("rollout_is_not_paused", paused), REFUSED, "kubectl -n shop rollout resume deployment/app")
    says(judge("rollout_is_not_paused", Rollout()), ALLOWED)
    says(judge("rollout_is_paused", paused), ALLOWED, "is paused")
    says(judge("rollout_is_paused", Rollout()), REFUSED, "is not paused")


def test_while_planning_a_resume_may_count_on_the_pause_before_it() -> None:
    pause = all_actions()["rollouts.pause"].plan(Rollout().situation(), {})
    says(judge("rollout_is_paused", Rollout(), expected=(pause,)), ALLOWED, "by then")
    says(judge("rollout_is_paused", Rollout(), done=(pause,)), REFUSED)
    other = msgspec.structs.replace(pause, targets=())
    says(judge("rollout_is_paused", Rollout(), expected=(other,)), REFUSED)


def test_on_delete_replaces_no_pod_by_itself() -> None:
    on_delete = Rollout(kind="DaemonSet", spec={"updateStrategy": {"type": "OnDelete"}})
    says(judge("replaces_its_pods", on_delete), REFUSED, "OnDelete", "delete its pods by hand")
    says(judge("replaces_its_pods", Rollout()), ALLOWED, "RollingUpdate")


def test_what_another_object_owns_is_changed_there() -> None:
    owner = {"kind": "CephCluster", "name": "rook", "uid": "u", "controller": True}
    says(judge("no_operator_owns_it", Rollout(meta={"ownerReferences": [owner]})), REFUSED, "CephCluster rook")
    also = {"ownerReferences": [{**owner, "controller": False}]}
    says(judge("no_operator_owns_it", Rollout(meta=also)), REFUSED, "CephCluster rook")
    olm = {"labels": {"olm.owner": "op.v1"}}
    says(judge("no_operator_owns_it", Rollout(meta=olm)), REFUSED, "OLM's op.v1")
    says(judge("no_operator_owns_it", Rollout(meta={"labels": {"app": "app"}})), ALLOWED)


@pytest.mark.parametrize(
    ("meta", "tool"),
    [
        ({"labels": {"argocd.argoproj.io/instance": "a"}}, "Argo CD"),
        ({"annotations": {"argocd.argoproj.io/tracking-id": "a"}}, "Argo CD"),
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "a"}}, "Flux"),
        ({"labels": {"helm.toolkit.fluxcd.io/name": "a", "app.kubernetes.io/managed-by": "Helm"}}, "Flux"),
        ({"managedFields": [{"manager": "kubectl"}, {"manager": "argocd-application-controller"}]}, "Argo CD"),
        ({"labels": {"app": "app"}, "managedFields": [{"manager": "kustomize-controller"}]}, "Flux"),
    ],
)  # fmt: skip
def test_what_git_manages_would_be_put_back(meta: dict[str, Any], tool: str) -> None:
    says(judge("nothing_would_put_it_back", Rollout(meta=meta)), REFUSED, f"{tool} manages", "undo it in Git")


def test_what_helm_made_lasts_until_its_next_upgrade_and_the_plan_says_so() -> None:
    release = {"annotations": {"meta.helm.sh/release-name": "shop"}}
    says(judge("nothing_would_put_it_back", Rollout(meta=release)), ALLOWED, "Helm release shop", "helm upgrade")
    label = {"labels": {"app.kubernetes.io/managed-by": "Helm"}}
    says(judge("nothing_would_put_it_back", Rollout(meta=label)), ALLOWED, "Helm release app")
    hand = {"labels": {"app.kubernetes.io/managed-by": "hand"}, "annotations": {}}
    says(judge("nothing_would_put_it_back", Rollout(meta=hand)), ALLOWED, "no mark")
    says(judge("nothing_would_put_it_back", Rollout()), ALLOWED, "no mark")


@pytest.mark.parametrize(
    ("volumes", "answer"),
    [
        ([], ALLOWED),
        ([{"name": "a", "hostPath": {"path": "/var/lib/kubelet/pods"}}, {"name": "b", "emptyDir": {}}], ALLOWED),
        ([{"name": "a", "hostPath": {"path": "/var/lib/kubelet/plugins/x"}}], REFUSED),
        ([{"name": "a", "hostPath": {"path": "/var/snap/lib/kubelet/plugins_registry/"}}], REFUSED),
        ([{"nameless": True}], REFUSED),  # what cannot be read may be one
    ],
)
def test_node_plugins_are_known_by_kubelets_folder_of_plugins(volumes: list[Any], answer: Answer) -> None:
    says(judge("is_no_csi_node_plugin", Rollout(now=template("app:1", volumes=volumes))), answer)


def test_broken_pods_of_another_revision_hold_up_what_waits_for_them() -> None:
    guard, act = "broken_pods_hold_up_the_rollout", deletion()
    ruling = judge(guard, stuck(), act)
    says(ruling, ALLOWED, "app-1")
    assert ruling.basis == {"revision": "app-1"}
    for pods in (
        [], [pod("app-1", 2, ready=True)], [pod("app-1", 2, terminating=True)], [pod("app-1", 1)], [pod("app-9", 2)],
        [pod("app-1", 2, owner="uid-other")],
    ):  # fmt: skip
        says(judge(guard, stuck(pods=pods), act), REFUSED, "no broken pod of another revision than app-1")
    says(judge(guard, stuck(unseen=(WORKLOAD_PODS,)), act), UNKNOWN, "could not be read")


def test_after_two_bad_pushes_the_pod_of_the_first_one_holds_up_the_way_back() -> None:
    kept = [of_number("StatefulSet", number, template(f"app:{number}")) for number in (1, 2, 3)]
    before = Rollout(kind="StatefulSet", now=template("app:3"), kept=kept)
    undo = undo_of(before, revision="1")
    act = all_actions()["rollouts.delete_broken_pods"].plan(before.situation(expected=(undo,)), {})
    assert [target.name for target in act.targets] == ["app-1"]
    says(judge("broken_pods_hold_up_the_rollout", before, expected=(undo,)), ALLOWED, "app-1")
    says(judge("rollout_is_complete_or_held_up", stuck(kept=kept), undo), ALLOWED, "waits for app-1")
    says(judge("broken_pods_hold_up_the_rollout", stuck(kept=kept), act), ALLOWED, "app-1")


def test_a_pod_that_would_come_back_as_it_is_holds_nothing_up() -> None:
    guard, act = "broken_pods_hold_up_the_rollout", deletion()
    renamed = stuck(
        status={**ORDERED, "updateRevision": "app-9"}, pods=[pod("app-1", 9)]
    )  # the same template, kept anew
    says(judge(guard, renamed, act), REFUSED, "no broken pod")
    parted = {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}}
    says(judge(guard, stuck(spec=parted), act), REFUSED, "no broken pod")


def test_pods_of_the_template_that_is_still_wanted_would_come_back_as_they_are() -> None:
    guard, act = "broken_pods_hold_up_the_rollout", deletion()
    says(judge(guard, stuck(now=template("app:2")), act), REFUSED, "does not have the template of app-1")
    unobserved = {**ORDERED, "observedGeneration": 1}
    says(judge(guard, stuck(status=unobserved), act), UNKNOWN, "has not looked at the newest spec")


@pytest.mark.parametrize(
    "rollout",
    [Rollout(), Rollout(kind="DaemonSet"), Rollout(kind="StatefulSet", spec={"podManagementPolicy": "Parallel"})],
)
def test_what_does_not_wait_for_broken_pods_needs_no_deletion(rollout: Rollout) -> None:
    says(judge("broken_pods_hold_up_the_rollout", rollout), REFUSED, "replaces broken pods by itself")


def test_while_planning_broken_pods_count_only_behind_an_undo_to_a_revision_that_is_kept() -> None:
    guard = "broken_pods_hold_up_the_rollout"
    before = Rollout(kind="StatefulSet", status={"updateRevision": "app-2"})
    says(judge(guard, before), REFUSED, "nothing in this plan")
    says(judge(guard, before, expected=(undo_of(before),)), ALLOWED, "app-1")
    lost = taken_back(undo_of(Rollout(kind="StatefulSet", now=template("app:3"))))
    says(judge(guard, before, expected=(lost,)), REFUSED, "nothing in this plan")


def test_only_pods_of_a_workload_that_wants_pods_are_made_again() -> None:
    guard, act = "workload_will_recreate_pods", deletion()
    says(judge(guard, stuck(), act), ALLOWED, "makes them again")
    says(judge(guard, stuck(spec={"replicas": 0}), act), REFUSED, "wants no pods")
    says(
        judge(guard, stuck(pods=[pod("app-1", 2, owner="uid-other")]), act), REFUSED, "not pods of StatefulSet", "app-1"
    )
    says(judge(guard, stuck(pods=[]), act), REFUSED, "others by now")


def claim(name: str, *modes: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "shop"}, "spec": {"accessModes": list(modes)}}


def sharing(*claims: dict[str, Any], **changed: Any) -> Rollout:
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    return Rollout(now=template("app:1", volumes=[volume]), claims=list(claims), **changed)


def test_only_a_deployment_that_rolls_over_a_volume_for_one_node_needs_recreate() -> None:
    guard = "shares_a_volume_for_one_node"
    ruling = judge(guard, sharing(claim("data", "ReadWriteOnce")))
    says(ruling, ALLOWED, "for one node only: data")
    assert ruling.basis == {"claims": "data"}
    says(judge(guard, sharing(claim("data", "ReadWriteMany"))), REFUSED, "share no volume")
    says(judge(guard, Rollout()), REFUSED, "share no volume")
    says(judge(guard, sharing()), UNKNOWN, "claim data is not there")
    says(judge(guard, sharing(unseen=(facts.TEMPLATE_CLAIMS,))), UNKNOWN, "could not be read")
    says(judge(guard, sharing(spec={"strategy": {"type": "Recreate"}})), REFUSED, "has strategy Recreate already")
    says(judge(guard, Rollout(kind="StatefulSet")), REFUSED, "only a Deployment")


def test_a_strategy_is_verified_by_what_the_deployment_has() -> None:
    arguments = {"strategy": "Recreate"}
    act = all_actions()["rollouts.set_strategy"].plan(Rollout().situation(), arguments)
    says(judge("strategy_is_set", Rollout(), act), REFUSED, "RollingUpdate")
    says(judge("strategy_is_set", Rollout(spec={"strategy": {"type": "Recreate"}}), act), ALLOWED, "Recreate")


COMPLETE: dict[str, dict[str, Any]] = {
    "Deployment": {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2},
    "StatefulSet": {**ORDERED, "readyReplicas": 2, "updatedReplicas": 2},
    "DaemonSet": {"desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3},
}


@pytest.mark.parametrize("kind", COMPLETE)
def test_a_rollout_is_complete_when_every_pod_is_new_and_available(kind: str) -> None:
    says(judge("rollout_is_complete", Rollout(kind=kind, status=COMPLETE[kind])), ALLOWED, "is complete")


@pytest.mark.parametrize(
    ("kind", "status", "why"),
    [
        ("Deployment", {"updatedReplicas": 1}, "1 of 2 pods are of the newest revision"),
        ("Deployment", {"replicas": 3}, "1 old pods are still there"),
        ("Deployment", {"availableReplicas": None}, "0 of 2 new pods are available"),
        ("Deployment", {"updatedReplicas": None, "replicas": None}, "0 of 2 pods are of the newest"),
        ("StatefulSet", {"readyReplicas": 1}, "1 of 2 pods are Ready"),
        ("StatefulSet", {"readyReplicas": None}, "0 of 2 pods are Ready"),
        ("StatefulSet", {"updateRevision": "app-2"}, "2 of 2 pods are of revision app-2"),
        ("StatefulSet", {"updateRevision": "app-2", "updatedReplicas": 1}, "1 of 2 pods are of revision app-2"),
        ("DaemonSet", {"updatedNumberScheduled": 2}, "2 of 3 nodes have a pod"),
        ("DaemonSet", {"numberAvailable": None}, "0 of 3 pods are available"),
        ("Deployment", {"observedGeneration": 1}, "has not looked at the newest spec"),
        (
            "Deployment",
            {"conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]},
            "makes no progress: ProgressDeadlineExceeded",
        ),
    ],
)
def test_a_rollout_that_is_not_complete_says_what_it_lacks(kind: str, status: dict[str, Any], why: str) -> None:
    says(judge("rollout_is_complete", Rollout(kind=kind, status={**COMPLETE[kind], **status})), REFUSED, why)


def test_the_words_of_a_condition_are_told_and_others_are_no_reason() -> None:
    late = {
        "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "app-2 has timed out",
    }  # fmt: skip
    status = {**COMPLETE["Deployment"], "conditions": [late]}
    says(judge("rollout_is_complete", Rollout(status=status)), REFUSED, "app-2 has timed out")
    well = {**COMPLETE["Deployment"], "conditions": [{"type": "Available", "status": "True", "reason": "Enough"}]}
    says(judge("rollout_is_complete", Rollout(status=well)), ALLOWED)


@pytest.mark.parametrize(("updated", "answer"), [(1, ALLOWED), (0, REFUSED), (None, REFUSED)])
def test_pods_below_a_partition_may_stay_as_they_are(updated: int | None, answer: Answer) -> None:
    partition = {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}}
    status = {**COMPLETE["StatefulSet"], "updateRevision": "app-2", "updatedReplicas": updated}
    says(judge("rollout_is_complete", Rollout(kind="StatefulSet", spec=partition, status=status)), answer)


def test_a_daemonset_that_is_wanted_nowhere_is_complete() -> None:
    says(judge("rollout_is_complete", Rollout(kind="DaemonSet")), ALLOWED)


def test_a_rollout_is_not_complete_while_it_is_paused_or_when_it_is_another_one_by_now() -> None:
    status = COMPLETE["Deployment"]
    says(judge("rollout_is_complete", Rollout(status=status, spec={"paused": True})), REFUSED, "is paused")
    act = undo_of(Rollout())
    pause = all_actions()["rollouts.pause"].plan(Rollout().situation(), {})
    taken_back, newer = Rollout(now=template("app:1"), status=status), Rollout(now=template("app:3"), status=status)
    for how in ({"act": act}, {"done": (act,)}, {"done": (act,), "act": pause}):
        says(judge("rollout_is_complete", taken_back, **how), ALLOWED)
        says(judge("rollout_is_complete", newer, **how), REFUSED, "newer rollout meanwhile")
    says(judge("rollout_is_complete", newer, act=pause), ALLOWED)


def test_an_undo_is_verified_when_it_is_complete_or_only_waits_for_broken_pods() -> None:
    guard, act = "rollout_is_complete_or_held_up", undo_of(Rollout(kind="StatefulSet"))
    says(judge(guard, stuck(), act), ALLOWED, "waits for app-1")
    says(judge(guard, stuck(status=COMPLETE["StatefulSet"]), act), ALLOWED, "is complete")
    says(judge(guard, stuck(pods=[]), act), REFUSED, "pods are Ready")
    says(judge(guard, Rollout(kind="StatefulSet"), act), REFUSED)
    says(judge(guard, stuck(status={**ORDERED, "observedGeneration": 1}), act), REFUSED, "has not looked")
    says(judge(guard, stuck(spec={"podManagementPolicy": "Parallel"}), act), REFUSED)
    lost = taken_back(undo_of(Rollout(kind="StatefulSet", now=template("app:3"))))
    says(judge(guard, stuck(now=template("app:3")), lost), REFUSED)
    says(judge(guard, stuck(unseen=(facts.STATEFUL_SET,)), act), UNKNOWN)
