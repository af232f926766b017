"""What people do to executions besides approving them, end to end on the sandbox: each word, and what to type next."""

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from bot.cli import plans, shared
from bot.sandbox.kubernetes.resources import NODES
from bot.store import open_state
from diagnostics.model import Subject
from runbooks.approval import Approval, Person
from runbooks.journal import Journal
from runbooks.model import Risk
from runbooks.plan import Plan, PlannedStep
from runbooks.situation import Planned
from tests.bot.cli.world import Ran, Run, World

ID, NODE = "nodes/look_after", "node2"
OWN = """\
id: nodes/look_after
version: 1.0.0
status: stable
title: Look after a node
meaning: Only a test needs it.
impact: None.
owner: cluster on-call
changelog: First release.
parameters: {node: node}
steps:
  - {id: cordon, act: kubernetes.cordon, with: {node: "{{node}}"}, verify: node_is_cordoned, undo: kubernetes.uncordon}
"""
OFF = '  - {id: is_off, attest: node_is_off, with: {node: "{{node}}"}}\n'
BY_HAND = '  - {id: plug, manual: "pull the plug of {{node}}"}\n'
UNCORDON = """\
  - id: uncordon
    act: kubernetes.uncordon
    with: {node: "{{node}}"}
    verify: %s
    timeout: 5s
    undo: kubernetes.cordon
    on_failure: %s
"""
GIVES_BACK = UNCORDON % ("node_is_schedulable", "stop")
FAILS = UNCORDON % ("node_is_cordoned", "ask")
UNDOES = UNCORDON % ("node_is_cordoned", "undo")


def team(world: World, *steps: str) -> World:
    """A world with a runbook of these steps after a cordon, and with somebody for each role."""
    folder = world.folder / "own"
    folder.mkdir(exist_ok=True)
    (folder / "own.yaml").write_text(OWN + "".join(steps))
    world.settings["runbooks"] = [str(folder)]
    world.settings["people"]["cli:dora"] = {"roles": ["admin"]}
    world.settings["people"]["cli:mia"] = {"roles": ["responder", "approver"], "namespaces": ["media"]}
    world.configure()
    return world


def refused(ran: Ran, code: int, *words: str) -> None:
    """One sentence on stderr, and a line for each reason; nothing on stdout, that exit code."""
    assert (ran.code, ran.out) == (code, ""), ran
    first, *reasons = ran.said.splitlines()
    assert first.startswith("unstick: ")
    assert all(reason.startswith("  - ") for reason in reasons)
    for word in words:
        assert word in ran.said


def started(world: World) -> Ran:
    return world.run("runbook", "run", ID, "-p", f"node={NODE}", "--yes")


def execution(world: World) -> str:
    return str(world.run("runbook", "history", "-o", "json").json[0]["id"])


def story(world: World) -> dict[str, object]:
    found: dict[str, object] = world.run("runbook", "history", execution(world), "-o", "json").json[0]
    return found


def audited(world: World) -> list[tuple[str, str, str]]:
    assert world.run("audit", "verify").code == 0
    rows = [json.loads(line) for line in world.run("audit", "export").out.splitlines()]
    return [(row["event"], row["person"], row["execution"]) for row in rows]


def is_cordoned(world: World) -> bool:
    nodes = world.sandbox.api.registry.store.all(NODES)
    return next(bool(n["spec"].get("unschedulable")) for n in nodes if n["metadata"]["name"] == NODE)


def test_a_manual_step_says_what_to_type_and_goes_on_once_it_is_said(world: World) -> None:
    ran = started(team(world, BY_HAND))
    it = execution(world)
    assert ran.code == 1, "it is not done"
    assert f"unstick runbook done {it}\n" in ran.err
    assert f"pull the plug of {NODE}" in ran.out
    shown = world.run("runbook", "history", it)
    assert "step plug waits for a person's word" in shown.out
    assert f"unstick runbook done {it}\n" in shown.err
    ended = world.run("runbook", "done", it, "--note", "it sparked")
    assert (ended.code, ended.err) == (0, "")
    assert "done by hand, says cli:alice: it sparked" in ended.out
    assert "plug: done, says cli:alice: it sparked" in world.run("runbook", "history", it).out
    assert ("done", "cli:alice", it) in audited(world)


def test_a_word_that_the_step_does_not_wait_for_is_refused_and_on_record(world: World) -> None:
    started(team(world, BY_HAND))
    it = execution(world)
    refused(world.run("runbook", "retry", it), 1, "step plug waits for the word that it was done by hand")
    refused(world.run("runbook", "attest", it, "--confirm", NODE), 1, "not for an attestation")
    refused(world.run("runbook", "done", it, login="carol"), 1, "cli:carol has neither the role responder nor approver")
    refused(world.run("runbook", "skip", it, "--why", "x"), 1, "cli:alice does not have the role admin")
    assert [(event, who) for event, who, of in audited(world) if of == it and event.endswith("refused")] == [
        ("word refused", "cli:alice"), ("word refused", "cli:alice"), ("word refused", "cli:carol"),
        ("word refused", "cli:alice"),
    ]  # fmt: skip
    assert story(world)["state"] == "asking"


def test_an_attestation_takes_the_name_typed_and_stands_in_the_history(world: World) -> None:
    ran = started(team(world, OFF))
    it = execution(world)
    assert f"unstick runbook attest {it} --confirm {NODE}\n" in ran.err
    refused(world.run("runbook", "attest", it), 1, f"confirmed by typing '{NODE}'")
    refused(world.run("runbook", "attest", it, "--confirm", "node1"), 1, "not 'node1'")
    assert world.run("runbook", "attest", it, "--confirm", NODE, login="bob").code == 0
    [word] = story(world)["statements"]  # type: ignore[misc]
    assert (word["step"], word["kind"], word["person"]) == ("is_off", "attested", "cli:bob")


def test_a_plan_says_what_waits_for_a_person_and_what_would_be_taken_back(world: World) -> None:
    team(world, OFF, UNDOES)
    plan = world.run("runbook", "plan", ID, "-p", f"node={NODE}")
    assert f"waits for a person who types {NODE}" in plan.out
    after = plan.out.partition("Taken back, newest first")[2]
    assert f"- uncordon node {NODE}" in after


def test_what_a_failure_takes_back_is_taken_back(world: World) -> None:
    ran = started(team(world, UNDOES))
    assert (ran.code, is_cordoned(world)) == (1, False)
    assert f"taken back: uncordon node {NODE}" in ran.out
    assert f"taken back: cordon node {NODE}" not in ran.out, "before the plan it was schedulable: that is how it ends"
    assert story(world)["state"] == "failed"


def test_a_failed_step_is_tried_again_or_left_out_by_an_admin_for_a_reason(world: World) -> None:
    ran = started(team(world, FAILS))
    it = execution(world)
    for line in (
        f"unstick runbook retry {it}",
        f"unstick runbook skip {it} --why TEXT",
        f"unstick runbook cancel {it} --why TEXT",
    ):
        assert f"{line}\n" in ran.err
    again = world.run("runbook", "retry", it)
    assert again.code == 1
    assert f"unstick runbook retry {it}\n" in again.err, "it fails again, and asks again"
    assert world.run("runbook", "skip", it, login="dora").code == 2, "a reason is no option"
    refused(world.run("runbook", "skip", it, "--why", "  ", login="dora"), 1, "a step is skipped for a reason")
    said = world.run("runbook", "skip", it, "--why", "it stays cordoned", login="dora")
    assert said.code == 0, "an admin alone runs nothing: somebody else goes on"
    assert "somebody with the role responder or approver goes on with it" in said.out
    ended = world.run("runbook", "run", it)
    assert ended.code == 0
    assert "cli:dora said to skip it: it stays cordoned" in ended.out
    assert [one["kind"] for one in story(world)["statements"]] == ["retry", "skip"]  # type: ignore[attr-defined]


def test_later_notes_the_word_alone(world: World) -> None:
    started(team(world, BY_HAND))
    it = execution(world)
    said = world.run("runbook", "done", it, "--later")
    assert said.code == 0
    assert f"unstick runbook run {it}\n" in said.out
    assert story(world)["state"] == "asking"
    document = world.run("runbook", "done", it, "--later", "-o", "json").json
    assert (document["asking"], document["awaited"]) == ("plug", "done")
    assert world.run("runbook", "run", it, "-o", "json").json["state"] == "done"


def test_json_is_one_document_and_what_to_do_is_beside_it(world: World) -> None:
    team(world, BY_HAND)
    ran = world.run("runbook", "run", ID, "-p", f"node={NODE}", "--yes", "-o", "json")
    assert ran.code == 1
    assert (ran.json["state"], ran.json["asking"], ran.json["awaited"]) == ("asking", "plug", "done")
    assert f"unstick runbook done {ran.json['id']}\n" in ran.err


def test_who_asked_or_may_run_it_cancels_and_what_was_done_stands(world: World) -> None:
    started(team(world, BY_HAND))
    it = execution(world)
    refused(world.run("runbook", "cancel", it, login="carol"), 1, "cli:carol has none of the roles")
    ended = world.run("runbook", "cancel", it, "--why", "wrong node", login="bob")
    assert ended.code == 0
    assert f"{it} is cancelled" in ended.out
    assert f"done, and it stands: cordon node {NODE}" in ended.out
    assert story(world)["reason"] == "wrong node"
    refused(world.run("runbook", "cancel", it), 1, "there is nothing to cancel")
    refused(world.run("runbook", "pause", it), 1, "there is nothing to pause")
    refused(world.run("runbook", "done", it), 1, "no step of it waits for anybody's word")
    refused(world.run("runbook", "decide", it, "done", "--why", "I saw it", login="dora"), 1, "is in doubt")


def test_a_decision_is_an_admins_alone_and_takes_a_reason(world: World) -> None:
    started(team(world, BY_HAND))
    it = execution(world)
    refused(world.run("runbook", "decide", it, "done", "--why", "I saw it"), 1, "does not have the role admin")
    refused(world.run("runbook", "decide", it, "maybe", "--why", "x"), 2, "maybe")
    assert ("decision refused", "cli:alice", it) in audited(world)


@pytest.mark.parametrize(("outcome", "cordoned"), [("done", False), ("not-done", True)])
def test_an_act_in_doubt_is_decided_and_the_run_goes_on_from_there(world: World, outcome: str, cordoned: bool) -> None:
    team(world)
    state = open_state(world.settings_url(), world.sandbox.clock.now)
    (world.folder / "own" / "own.yaml").write_text(OWN.replace("undo:", "risk: high, undo:"))
    it = world.run("runbook", "run", ID, "-p", f"node={NODE}", "-o", "json").json["execution"]
    plan = state.runbooks.get(it).plan
    state.runbooks.approve(
        it, Approval(Person("cli:bob", frozenset({"approver"})), plan.hash, None, state.runbooks.now())
    )
    lease = state.runbooks.take(it, "a process that is gone")
    state.runbooks.intend(lease, "cordon", plan.acts[0], [])
    state.runbooks.leave(lease)
    shown = world.run("runbook", "history", it)
    assert f"unstick runbook decide {it} done|not-done --why TEXT\n" in shown.err
    assert "cordon node node2: no outcome" in shown.out
    said = world.run("runbook", "decide", it, outcome, "--why", "I asked the API server", login="dora")
    assert said.code == 0
    assert f"It is noted that the act was {outcome.replace('-', ' ')}" in said.out
    assert ("decided", "cli:dora", it) in audited(world)
    world.run("runbook", "run", it, login="bob")
    acts = story(world)["acts"]
    assert [act["outcome"] for act in acts] == [outcome.replace("-", " "), *["done"] * cordoned]  # type: ignore[attr-defined]
    assert is_cordoned(world) is cordoned


def test_an_approval_is_taken_back_by_whoever_gave_it(world: World) -> None:
    team(world)
    (world.folder / "own" / "own.yaml").write_text(OWN.replace("undo:", "risk: high, undo:"))
    world.settings["people"]["cli:erin"] = {"roles": ["approver"]}
    world.configure()
    ran = world.run("runbook", "run", ID, "-p", f"node={NODE}", "-o", "json")
    it = ran.json["execution"]
    refused(world.run("runbook", "withdraw", it, login="bob"), 1, "cli:bob has not approved it")
    state = open_state(world.settings_url(), world.sandbox.clock.now)
    plan = state.runbooks.get(it).plan
    state.runbooks.approve(
        it, Approval(Person("cli:bob", frozenset({"approver"})), plan.hash, None, state.runbooks.now())
    )
    assert "approved by cli:bob" in world.run("runbook", "history", it).out
    taken = world.run("runbook", "withdraw", it, login="bob")
    assert (taken.code, "Your approval is withdrawn." in taken.out) == (0, True)
    assert ("approval withdrawn", "cli:bob", it) in audited(world)
    assert story(world)["approvals"] == []


def test_a_freeze_stops_plans_with_who_and_why_until_the_thaw(world: World) -> None:
    team(world, BY_HAND)
    refused(world.run("freeze", login="carol"), 1, "cli:carol has none of the roles")
    frozen = world.run("freeze", "--why", "the storage team works")
    assert (frozen.code, "unstick thaw\n" in frozen.out) == (0, True)
    plan = world.run("runbook", "plan", ID, "-p", f"node={NODE}")
    assert plan.code == 1
    assert "outside_change_freeze: everything is stopped since" in plan.out
    assert "by cli:alice: the storage team works" in plan.out
    refused(started(world), 1, "by cli:alice: the storage team works")
    assert not is_cordoned(world)
    refused(world.run("thaw"), 1, "cli:alice has neither the role approver nor admin")
    assert world.run("thaw", login="bob").out.startswith("Acts may go on in cluster sandbox.")
    assert world.run("thaw", login="bob").out.startswith("Cluster sandbox was not frozen.")
    assert started(world).code == 1
    assert is_cordoned(world)
    assert [event for event, *_ in audited(world)][:4] == ["freeze refused", "frozen", "refused", "thaw refused"]


def test_a_freeze_works_where_nothing_else_does(world: World) -> None:
    team(world)
    world.cluster["kubernetes"]["kubeconfig"] = str(world.folder / "gone")
    world.cluster["ceph"]["conf"] = str(world.folder / "gone.conf")
    (world.folder / "own" / "own.yaml").write_text("no: runbook\n")
    world.configure()
    assert world.run("freeze").code == 0
    assert world.run("thaw", login="bob").code == 0


def test_what_was_paused_by_a_freeze_goes_on_after_the_thaw(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    team(world, GIVES_BACK)
    real, state = Journal.verified, open_state(world.settings_url(), world.sandbox.clock.now)

    def verified(self: Journal, *args: object, **kwargs: object) -> None:
        real(self, *args, **kwargs)  # type: ignore[arg-type]
        state.runbooks.freeze("sandbox", "cli:bob", "stop")
        monkeypatch.setattr(Journal, "verified", real)

    monkeypatch.setattr(Journal, "verified", verified)
    ran = started(world)
    it = execution(world)
    assert (ran.code, story(world)["state"], is_cordoned(world)) == (1, "paused", True)
    assert f"unstick runbook run {it}\n" in ran.err
    assert world.run("runbook", "run", it).code == 1, "it is still frozen"
    assert story(world)["state"] == "paused"
    assert f"unstick runbook run {it}\n" in world.run("thaw", login="bob").out
    assert world.run("runbook", "run", it).code == 0
    assert not is_cordoned(world)


def test_what_expired_is_ended_by_the_next_command_and_said_once(world: World) -> None:
    team(world)
    (world.folder / "own" / "own.yaml").write_text(OWN.replace("undo:", "risk: high, undo:"))
    it = world.run("runbook", "run", ID, "-p", f"node={NODE}", "-o", "json").json["execution"]
    world.pass_time(16 * 60)
    listed = world.run("runbook", "history")
    assert f"{it} ({ID}, asked for by cli:alice) is void: it expired at" in listed.err
    assert f"{it}  " in listed.out
    assert world.run("runbook", "history").err == ""
    refused(world.run("runbook", "approve", it, login="bob"), 1, f"{it} is void: there is nothing to approve")
    assert ("void", "engine", it) in audited(world)


def test_a_run_begun_by_one_login_is_not_approved_by_the_same_in_a_shared_state(world: World) -> None:
    team(world)
    (world.folder / "own" / "own.yaml").write_text(OWN.replace("undo:", "risk: high, undo:"))
    world.settings["people"]["cli:alice"] = {"roles": ["responder", "approver"], "also": ["cli:al"]}
    world.configure()
    it = world.run("runbook", "run", ID, "-p", f"node={NODE}", "-o", "json").json["execution"]
    for login in ("alice", "al"):
        refused(
            world.run("runbook", "approve", it, login=login), 1, "cli:alice asked for this plan and cannot approve it"
        )
    refused(world.run("runbook", "approve", it, login="mallory"), 1, "cli:mallory does not have the role approver")
    assert [who for event, who, of in audited(world) if event == "approval refused"] == [
        "cli:alice",
        "cli:alice",
        "cli:mallory",
    ]
    assert not is_cordoned(world)
    assert world.run("runbook", "approve", it, login="bob").code == 0
    assert is_cordoned(world)


@pytest.mark.parametrize("words", [
    ("done", "ex-00000000"), ("attest", "ex-00000000", "--confirm", "x"), ("retry", "../x"), ("pause", "ex-00000000"),
    ("skip", "ex-00000000", "--why", "x"), ("cancel", "\x1b[2J"), ("decide", "ex-00000000", "done", "--why", "x"),
    ("withdraw", ""),
], ids=lambda words: words[0])  # fmt: skip
def test_an_execution_that_is_not_there_is_a_mistake_of_the_caller(unstick: Run, words: tuple[str, ...]) -> None:
    refused(unstick("runbook", *words), 2, "There is no execution")


@pytest.mark.parametrize(
    "words", [("done",), ("decide", "ex-00000000"), ("skip", "ex-00000000"), ("decide", "ex-00000000", "done")]
)
def test_what_is_missing_is_named(unstick: Run, words: tuple[str, ...]) -> None:
    refused(unstick("runbook", *words), 2, "Missing")


def test_a_freeze_of_several_clusters_names_one(unstick: Run, tmp_path: Path) -> None:
    config = tmp_path / "unstick.yaml"
    config.write_text("clusters: {a: {kubernetes: null}, b: {kubernetes: null}}\n")
    refused(unstick("freeze", "--config", str(config)), 2, "choose one with --cluster")
    refused(unstick("freeze", "--config", str(config), "--cluster", "c"), 2, "There is no cluster 'c'")
    assert shared.global_options.get("cluster") is None


def test_what_an_act_shows_stands_in_the_plan_in_colours_and_steers_no_terminal() -> None:
    shows = ("--- now", "+++ then", "-  image: app:1", "+  image: app:2\x1b[2J")
    act = Planned("rollouts.undo", "undo it", (Subject("Deployment", "a", "b", "uid"),), {}, Risk.HIGH, (), shows)
    back = Planned("rollouts.undo", "redo it", (), {}, Risk.HIGH)
    made = Plan("c", "rollouts/undo", "1.0.0", "s", {}, (PlannedStep("undo", "act", "undo it", act, undoing=back),), {}, "cli:a",
                datetime(2026, 3, 3, tzinfo=UTC))  # fmt: skip
    shown = io.StringIO()
    plans.plan(Console(file=shown, force_terminal=True, color_system="standard", highlight=False, markup=False), made)
    said = shown.getvalue()
    assert "\x1b[31m      -  image: app:1\x1b[0m" in said
    assert "\x1b[32m      +  image: app:2\\x1b[2J\x1b[0m" in said
    assert "- redo it" in said
