"""The acts on rollouts: planned purely, bound to what was looked at, without a secret, and honest about the outcome."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from diagnostics.facts import rollouts as facts
from diagnostics.facts.rollouts import sha256
from diagnostics.facts.workloads import WORKLOAD_PODS
from diagnostics.model import Subject
from diagnostics.sources import CouldNotLook
from diagnostics.sources.kubernetes.api import KubernetesError
from runbooks.actions import ActFailed, Action, ActStopped, Clients, OutcomeUnknown, Undo, all_actions
from runbooks.situation import CannotPlan, Planned, Situation
from tests.runbooks.actions.examples.rollouts import EXAMPLES
from tests.runbooks.rollout_made import SECRET, Rollout, of_number, template

UNDO = all_actions()["rollouts.undo"]
DELETE = all_actions()["rollouts.delete_broken_pods"]
RESTART = all_actions()["rollouts.restart"]
PAUSE = all_actions()["rollouts.pause"]
RESUME = all_actions()["rollouts.resume"]
STRATEGY = all_actions()["rollouts.set_strategy"]
NAMED = {"workload": "deployment/shop/app"}


class FakeApi:
    """Has objects to read, takes down what is sent, and fails as it is told to."""

    def __init__(self, objects: Mapping[str, Any] | None = None, errors: Mapping[str, Exception] | None = None) -> None:
        self.objects = objects or {}
        self.errors = errors or {}
        self.sent: list[tuple[str, str, Any, bool]] = []

    async def read(self, target: Subject) -> Any:
        if error := self.errors.get("read"):
            raise error
        return json.loads(json.dumps(self.objects[target.uid]))

    async def patch_json(self, target: Subject, operations: Sequence[Any], *, dry_run: bool) -> None:
        self._take("patch_json", target, list(operations), dry_run)

    async def patch(self, target: Subject, patch: Mapping[str, Any], *, dry_run: bool) -> None:
        self._take("patch", target, patch, dry_run)

    async def delete(self, target: Subject, *, grace_seconds: int | None, dry_run: bool) -> None:
        self._take("delete", target, grace_seconds, dry_run)

    def _take(self, verb: str, target: Subject, what: Any, dry_run: bool) -> None:
        self.sent.append((verb, target.uid, what, dry_run))
        if error := self.errors.get(f"{verb} {target.uid}", self.errors.get(verb)):
            raise error


def server(rollout: Rollout, **errors: Exception) -> FakeApi:
    """A server that has the rollout's objects."""
    kept = [*rollout.situation().snapshot[facts.REVISION_SETS].full]  # type: ignore[union-attr]
    kept += rollout.situation().snapshot[facts.CONTROLLER_REVISIONS].full  # type: ignore[union-attr]
    objects = {one.metadata.uid: msgspec.to_builtins(one) for one in (rollout.workload(), *kept)}
    return FakeApi(objects, {name.replace("__", " "): error for name, error in errors.items()})


def clients(api: FakeApi) -> Clients:
    return Clients(api, None)  # type: ignore[arg-type]


def undo_of(rollout: Rollout, **arguments: Any) -> Planned:
    return UNDO.plan(rollout.situation(), arguments)


def taken_back(action: Action, planned: Planned) -> Planned:
    assert isinstance(action.undo, Undo)
    return action.undo.plan(planned)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_act_is_planned_the_same_each_time_without_any_value_of_the_environment(name: str) -> None:
    situation, arguments = EXAMPLES[name]
    declared = replace(situation, snapshot=situation.snapshot.only(all_actions()[name].reads))
    first, second = (all_actions()[name].plan(each, arguments) for each in (situation, declared))
    assert first == second
    assert SECRET.encode() not in msgspec.json.encode(first)
    assert first.action == name
    assert all(target.uid for target in first.targets)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_act_that_was_only_planned_is_not_done_and_unseen_is_not_known(name: str) -> None:
    situation, arguments = EXAMPLES[name]
    action = all_actions()[name]
    act = action.plan(situation, arguments)
    assert action.done(act, situation) is False
    blind = Rollout(kind=act.targets[0].kind if act.targets[0].kind != "Pod" else "StatefulSet")
    blind.unseen = (*facts.WORKLOADS.values(),)
    assert action.done(act, blind.situation()) is None


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_an_undo_goes_to_the_newest_revision_that_differs_or_to_the_chosen_one(kind: str) -> None:
    kept = [of_number(kind, n, template(image)) for n, image in ((1, "app:0"), (3, "app:1"), (4, "app:2"))]
    rollout = Rollout(kind=kind, kept=kept)
    act = undo_of(rollout)
    assert (act.effect["to"]["revision"], act.effect["from"]["revision"]) == (3, 4)
    assert [target.name for target in act.targets] == ["app", "app-3"]
    assert act.shows == (
        "container app: env DB_PASSWORD: changed (value not shown)", "container app: image: app:2, then app:1",
    )  # fmt: skip
    assert undo_of(rollout, revision="1").effect["to"]["revision"] == 1
    with pytest.raises(CannotPlan, match="keeps no revision 9; it keeps 1, 3, 4"):
        undo_of(rollout, revision="9")


def test_an_undo_takes_no_revision_of_another_owner_nor_one_without_a_number() -> None:
    strange = of_number("Deployment", 1, template("app:0"), owner="uid-other")
    unnumbered = msgspec.convert({"metadata": {"name": "x"}, "spec": {"template": template("app:0")}}, type(strange))
    with pytest.raises(CannotPlan, match="no revision that differs; it keeps 2"):
        undo_of(Rollout(kept=[strange, unnumbered, of_number("Deployment", 2, template("app:2"))]))


def test_what_is_not_there_or_not_seen_cannot_be_planned() -> None:
    for rollout, unknown in (
        (Rollout(there=False), False),
        (Rollout(meta={"deletionTimestamp": "2026-03-03T03:00:00Z"}), False),
        (Rollout(unseen=(facts.DEPLOYMENT,)), True),
        (Rollout(unseen=(facts.REVISION_SETS,)), True),
    ):
        with pytest.raises(CannotPlan) as caught:
            undo_of(rollout)
        assert caught.value.unknown is unknown
    with pytest.raises(CannotPlan, match="no workload is named"):
        UNDO.plan(Rollout().situation(workload=""), {})


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
async def test_an_undo_replaces_the_tested_template_and_writes_the_cause(kind: str) -> None:
    rollout = Rollout(kind=kind, meta={"annotations": {"kubernetes.io/change-cause": "second"}})
    api, act = server(rollout), undo_of(rollout)
    assert UNDO.dry_run is not None
    await UNDO.dry_run(act, clients(api))
    await UNDO.apply(act, clients(api))
    dry, real, *rest = api.sent
    assert dry[:3] == real[:3]
    assert (dry[3], real[3]) == (True, False)
    assert real[2] == [
        {"op": "test", "path": "/spec/template", "value": template("app:2")},
        {"op": "replace", "path": "/spec/template", "value": template("app:1")},
        {
            "op": "add", "path": "/metadata/annotations/kubernetes.io~1change-cause",
            "value": "Undone by Unstick to revision 1",
        },
    ]  # fmt: skip
    cause = {"metadata": {"annotations": {"kubernetes.io/change-cause": "Undone by Unstick to revision 1"}}}
    assert rest == ([] if kind == "Deployment" else [("patch", "uid-app-1", cause, False)])


async def test_an_undo_of_what_has_no_annotations_yet_makes_them_without_losing_any() -> None:
    api = server(Rollout())
    api.objects["uid-app"]["metadata"]["annotations"] = None
    await UNDO.apply(undo_of(Rollout()), clients(api))
    assert api.sent[0][2][2:] == [
        {"op": "test", "path": "/metadata/annotations", "value": None},
        {
            "op": "add", "path": "/metadata/annotations",
            "value": {"kubernetes.io/change-cause": "Undone by Unstick to revision 1"},
        },
    ]  # fmt: skip


async def test_an_undo_sends_nothing_where_a_newer_template_or_another_revision_is_found() -> None:
    act = undo_of(Rollout())
    for api, why in (
        (server(Rollout(now=template("app:3"))), "a newer rollout has changed the template"),
        (server(Rollout(kept=[of_number("Deployment", 1, template("app:0"))])), "keeps another template by now"),
        (server(Rollout(), read=KubernetesError(404, "not found")), "could not read"),
        (server(Rollout(), read=CouldNotLook("No answer.")), "Nothing was changed"),
    ):
        with pytest.raises(ActFailed, match=why):
            await UNDO.apply(act, clients(api))
        assert api.sent == []


async def test_a_dry_run_that_cannot_read_has_not_been_refused() -> None:
    for action in (UNDO, RESTART):
        assert action.dry_run is not None
        act = action.plan(Rollout().situation(), NAMED)
        with pytest.raises(CouldNotLook):
            await action.dry_run(act, clients(server(Rollout(), read=CouldNotLook("No answer."))))


async def test_an_undo_that_was_done_already_writes_only_the_cause() -> None:
    act = undo_of(Rollout(kind="StatefulSet"))
    api = server(Rollout(kind="StatefulSet", now=template("app:1")))
    await UNDO.apply(act, clients(api))
    assert [(verb, uid) for verb, uid, _, _ in api.sent] == [("patch", "uid-app-1")]


@pytest.mark.parametrize(
    "error", [KubernetesError(403, "no"), KubernetesError(504, "Timeout"), CouldNotLook("No answer.")]
)
async def test_an_undo_whose_cause_could_not_be_written_is_stopped_and_not_failed(error: Exception) -> None:
    rollout = Rollout(kind="DaemonSet")
    with pytest.raises(ActStopped, match="It was taken back") as stopped:
        await UNDO.apply(undo_of(rollout), clients(server(rollout, patch=error)))
    assert ("may have been done" in str(stopped.value)) == (getattr(error, "status", None) == 504)


async def test_an_undo_knows_a_refusal_from_silence() -> None:
    rollout = Rollout()
    with pytest.raises(ActFailed, match="the server said no"):
        await UNDO.apply(
            undo_of(rollout), clients(server(rollout, patch_json=KubernetesError(422, "the server said no")))
        )
    with pytest.raises(OutcomeUnknown):
        await UNDO.apply(undo_of(rollout), clients(server(rollout, patch_json=CouldNotLook("No answer."))))
    with pytest.raises(OutcomeUnknown, match=r"Timeout .* It may have been done"):
        await UNDO.apply(undo_of(rollout), clients(server(rollout, patch_json=KubernetesError(504, "Timeout"))))


def test_an_undo_is_seen_to_be_done_by_the_template_or_by_the_cause_behind_a_newer_one() -> None:
    act = undo_of(Rollout())
    cause = {"annotations": {"kubernetes.io/change-cause": act.effect["cause"]}}
    for rollout, done in (
        (Rollout(), False),
        (Rollout(now=template("app:1")), True),
        (Rollout(now=template("app:3")), False),
        (Rollout(now=template("app:3"), meta=cause), True),
        (Rollout(meta=cause), False),
        (Rollout(now=template("app:1"), meta={"uid": "uid-other"}), False),
        (Rollout(there=False), False),
        (Rollout(unseen=(facts.DEPLOYMENT,)), None),
    ):
        assert UNDO.done(act, rollout.situation()) is done


async def test_an_undo_is_taken_back_to_what_was_left_where_that_is_kept() -> None:
    act = undo_of(Rollout())
    back = taken_back(UNDO, act)
    assert (back.effect["to"], back.effect["from"]) == (act.effect["from"], act.effect["to"])
    assert [target.name for target in back.targets] == ["app", "app-2"]
    api = server(Rollout(now=template("app:1")))
    await UNDO.apply(back, clients(api))
    assert api.sent[0][2][1]["value"] == template("app:2")
    assert taken_back(UNDO, back).effect["to"] == act.effect["to"]


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_a_revision_that_an_older_server_kept_is_told_from_what_runs_by_its_content_alone(kind: str) -> None:
    def old(image: str) -> dict[str, Any]:
        made = template(image)
        return {**made, "metadata": {"creationTimestamp": None, **made["metadata"]}}

    kept = [of_number(kind, number, old(f"app:{number}")) for number in (1, 2)]
    act = undo_of(Rollout(kind=kind, kept=kept))
    assert (act.effect["to"]["revision"], act.effect["from"]["revision"]) == (1, 2)
    assert UNDO.done(act, Rollout(kind=kind, kept=kept).situation(act)) is False
    assert UNDO.done(act, Rollout(kind=kind, kept=kept, now=template("app:1")).situation(act)) is True


async def test_what_no_revision_keeps_cannot_be_gone_back_to() -> None:
    lost = undo_of(Rollout(now=template("app:3")))
    assert lost.effect["from"]["keeper"] is None
    api = server(Rollout())
    with pytest.raises(ActFailed, match="no revision keeps the template"):
        await UNDO.apply(taken_back(UNDO, lost), clients(api))
    assert api.sent == []


def held_up() -> tuple[Situation, Planned]:
    situation, arguments = EXAMPLES["rollouts.delete_broken_pods"]
    return situation, DELETE.plan(situation, arguments)


def test_only_pods_that_are_not_ready_and_not_of_the_revision_gone_back_to_are_deleted() -> None:
    _, act = held_up()
    assert [target.name for target in act.targets] == ["app-1"]
    assert act.effect == {"revision": "app-1", "template": sha256(template("app:1"))}


def test_without_an_undo_or_a_broken_pod_nothing_is_deleted() -> None:
    stuck = Rollout(kind="StatefulSet")
    undo = undo_of(stuck)
    for situation in (stuck.situation(), Rollout(kind="StatefulSet", pods=[]).situation(expected=(undo,))):
        with pytest.raises(CannotPlan, match="no broken pod of another revision"):
            DELETE.plan(situation, {})


async def test_pods_are_deleted_from_the_last_on_and_what_was_deleted_before_a_refusal_is_said() -> None:
    _, act = held_up()
    pods = tuple(Subject("Pod", "shop", name, f"uid-{name}") for name in ("app-9", "app-10", "other"))
    many = msgspec.structs.replace(act, targets=pods)
    api = FakeApi()
    assert DELETE.dry_run is not None
    await DELETE.dry_run(many, clients(api))
    assert all(dry for *_, dry in api.sent)
    api = FakeApi(
        errors={"delete uid-app-9": KubernetesError(403, "no"), "delete uid-app-10": KubernetesError(404, "gone")}
    )
    with pytest.raises(ActStopped, match="app-10 deleted; then"):
        await DELETE.apply(many, clients(api))
    assert [uid for _, uid, *_ in api.sent] == ["uid-app-10", "uid-app-9"]
    with pytest.raises(ActFailed):
        await DELETE.apply(act, clients(FakeApi(errors={"delete": KubernetesError(403, "no")})))
    await DELETE.apply(act, clients(FakeApi()))


def test_deleted_pods_are_seen_to_be_gone_or_going() -> None:
    from tests.runbooks.rollout_made import pod

    _, act = held_up()
    for pods, done in (([], True), ([pod("app-1", 2)], False), ([pod("app-1", 2, terminating=True)], True)):
        assert DELETE.done(act, Rollout(kind="StatefulSet", pods=pods).situation()) is done
    assert DELETE.done(act, Rollout(kind="StatefulSet", unseen=(WORKLOAD_PODS,)).situation()) is None


async def test_a_restart_annotates_the_tested_template_and_each_restart_is_another_one() -> None:
    act = RESTART.plan(Rollout().situation(), NAMED)
    api = server(Rollout())
    await RESTART.apply(act, clients(api))
    [(verb, uid, operations, dry)] = api.sent
    assert (verb, uid, dry) == ("patch_json", "uid-app", False)
    assert operations[0] == {"op": "test", "path": "/spec/template", "value": template("app:2")}
    after = template("app:2")
    after["metadata"]["annotations"] = operations[-1]["value"]
    assert act.effect["to"]["template"] == facts.sha256(after)
    restarted = Rollout(now=after)
    assert RESTART.done(act, restarted.situation()) is True
    again = RESTART.plan(restarted.situation(), NAMED)
    assert again.effect["annotation"] != act.effect["annotation"]
    api = server(restarted)
    await RESTART.apply(act, clients(api))
    assert api.sent == []
    await RESTART.apply(again, clients(api))
    assert api.sent[0][2][-1]["path"] == "/spec/template/metadata/annotations/unstick.dev~1restarted-after"


def test_a_restart_of_what_git_manages_says_why_it_lasts() -> None:
    argo = Rollout(meta={"labels": {"argocd.argoproj.io/instance": "shop"}})
    assert "Argo CD leaves the annotation alone" in RESTART.plan(argo.situation(), NAMED).shows[0]
    assert RESTART.done(RESTART.plan(argo.situation(), NAMED), Rollout(there=False).situation()) is False


async def test_pause_and_resume_take_each_other_back() -> None:
    held, free = Rollout(spec={"paused": True}).situation(), Rollout().situation()
    pause, resume = PAUSE.plan(free, NAMED), RESUME.plan(held, NAMED)
    assert taken_back(PAUSE, pause) == resume
    assert taken_back(RESUME, resume) == pause
    for action, act, spec in ((PAUSE, pause, {"paused": True}), (RESUME, resume, {"paused": None})):
        api = FakeApi()
        assert action.dry_run is not None
        await action.dry_run(act, clients(api))
        await action.apply(act, clients(api))
        assert api.sent == [("patch", "uid-app", {"spec": spec}, dry) for dry in (True, False)]
    assert (PAUSE.done(pause, held), RESUME.done(resume, free)) == (True, True)
    for action, act in ((PAUSE, pause), (RESUME, resume)):
        assert action.done(act, Rollout(there=False).situation()) is False
        with pytest.raises(CannotPlan, match="only a Deployment"):
            action.plan(Rollout(kind="DaemonSet").situation(), {})


async def test_a_strategy_is_set_over_the_tested_old_one_and_put_back_with_its_numbers() -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}}
    arguments = {**NAMED, "strategy": "Recreate"}
    act = STRATEGY.plan(Rollout(spec={"strategy": rolling}).situation(), arguments)
    assert act.shows == ("strategy RollingUpdate (maxSurge 25%, maxUnavailable 0), then Recreate",)
    back = taken_back(STRATEGY, act)
    api = FakeApi()
    assert STRATEGY.dry_run is not None
    await STRATEGY.dry_run(act, clients(api))
    await STRATEGY.apply(back, clients(api))
    path = "/spec/strategy"
    assert [operations for _, _, operations, _ in api.sent] == [
        [{"op": "test", "path": path, "value": was}, {"op": "replace", "path": path, "value": will}]
        for was, will in ((rolling, {"type": "Recreate"}), ({"type": "Recreate"}, rolling))
    ]
    assert taken_back(STRATEGY, back).effect == act.effect
    assert STRATEGY.done(act, Rollout(spec={"strategy": {"type": "Recreate"}}).situation()) is True
    assert STRATEGY.done(act, Rollout(there=False).situation()) is False
    assert STRATEGY.plan(Rollout().situation(), arguments).effect["was"] == {"type": "RollingUpdate"}


@pytest.mark.parametrize(("kind", "strategy"), [("StatefulSet", "Recreate"), ("Deployment", "OnDelete")])
def test_no_other_strategy_is_set_and_on_nothing_but_a_deployment(kind: str, strategy: str) -> None:
    with pytest.raises(CannotPlan, match="strategy Recreate is all that can be set"):
        STRATEGY.plan(Rollout(kind=kind).situation(), {"strategy": strategy})
