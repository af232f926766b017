"""The runbook commands, end to end on the sandbox: who may do what, what is said, and what is left behind."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from bot.cli import shared
from bot.sandbox.kubernetes.incident import DEAD_NODE, NAMESPACE, STUCK_POD
from bot.sandbox.kubernetes.resources import NODES
from bot.store import open_state
from tests.bot.cli.test_bad_input import refused
from tests.bot.cli.world import STUCK, Run, World

BOOK = "ceph/stale_rbd_lock"
GOLDEN = Path(__file__).parents[2] / "runbooks" / "format" / "golden"
READS_ONLY = """\
id: ceph/look_at_locks
version: 1.0.0
status: stable
title: Look at the locks
meaning: Looks, and changes nothing.
impact: None.
owner: storage on-call
changelog: First release.
parameters: {image: rbd_image}
steps:
  - {id: look, check: ceph/locks_stale, becomes: found}
"""


def words_of(world: World) -> list[str]:
    """The words that `why` proposes for a plan."""
    offers = world.run("why", *STUCK, "-o", "json").json["runbooks"]
    [offer] = [each for each in offers if each["id"] == BOOK]
    return [f"{offer['id']}@{offer['version']}", *(w for k, v in offer["params"].items() for w in ("-p", f"{k}={v}"))]


def requested(world: World) -> str:
    """Ask for the fix as alice, and give the execution's id."""
    world.stale()
    ran = world.run("runbook", "run", *words_of(world), "-o", "json")
    assert ran.code == 0, ran
    assert ran.json["confirm"] == DEAD_NODE
    return str(ran.json["execution"])


def test_a_plan_says_every_step_guard_target_and_victim_and_changes_nothing(world: World) -> None:
    world.stale()
    before = world.run("locks", "-o", "json").json["locks"]
    ran = world.run("runbook", "plan", *words_of(world))
    assert ran.code == 0
    assert "risk critical" in ran.out
    for said in ("fence node node1", "what dies: billing/ledger-0", "lock_is_breakable", "Allowed until", "otherwise"):
        assert said in ran.out
    assert world.run("locks", "-o", "json").json["locks"] == before
    assert world.run("runbook", "history", "-o", "json").json == []


def test_a_plan_of_a_suspect_lock_is_refused_with_all_its_reasons(world: World) -> None:
    ran = world.run("runbook", "plan", *words_of(world), "-o", "json")
    assert ran.code == 1
    refusals = ran.json["plan"]["refusals"]
    assert any("look again after 30 s" in reason for reason in refusals)
    assert len(refusals) > 1


def test_the_whole_incident_with_two_people(world: World) -> None:
    execution = requested(world)
    own = world.run("runbook", "approve", execution, "--confirm", DEAD_NODE)
    refused_with(own.said, "cli:alice does not have the role approver", "another approver must")
    unconfirmed = world.run("runbook", "approve", execution, login="bob")
    refused_with(unconfirmed.said, "typing 'node1'")
    viewer = world.run("runbook", "approve", execution, "--confirm", DEAD_NODE, login="carol")
    refused_with(viewer.said, "cli:carol does not have the role approver")
    assert (own.code, unconfirmed.code, viewer.code) == (1, 1, 1)
    assert world.sandbox.ceph.fences == {}

    done = world.run("runbook", "approve", execution, "--confirm", DEAD_NODE, "-o", "json", login="bob")
    assert done.code == 0
    assert done.json["state"] == "done"
    assert [act["step"] for act in done.json["acts"]] == ["cordon", "fence", "unlock", "clear"]
    assert all(act["outcome"] for act in done.json["acts"])
    assert "execution: done" in done.err  # progress goes to stderr beside a document
    assert world.pods() == {STUCK_POD: "Running"}
    assert "index-api-image" in str(world.run("locks", "-o", "json").json["locks"])
    assert world.run("why", *STUCK).code == 0

    again = world.run("runbook", "run", execution, login="bob")
    refused_with(again.said, f"{execution} is done")
    assert again.code == 1
    audit = world.run("audit", "verify")
    assert (audit.code, "whole" in audit.out) == (0, True)


def refused_with(said: str, *reasons: str) -> None:
    lines = said.splitlines()
    assert lines[0].endswith("refused:") or lines[0].endswith("cannot be run:"), said
    assert all(line.startswith("  - ") for line in lines[1:])
    for reason in reasons:
        assert any(reason in line for line in lines[1:]), said


def test_a_viewer_may_plan_and_may_not_ask(world: World) -> None:
    world.stale()
    words = words_of(world)
    assert world.run("runbook", "plan", *words, login="carol").code == 0
    ran = world.run("runbook", "run", *words, login="carol")
    assert (ran.code, ran.out) == (1, "")
    refused_with(ran.said, "cli:carol does not have the role responder")


def test_people_whom_nobody_knows_are_viewers_or_nobody(world: World) -> None:
    world.stale()
    words = words_of(world)
    assert "does not have the role responder" in world.run("runbook", "run", *words, login="mallory").said
    world.settings["unknown_people"] = "nobody"
    world.configure()
    assert "cli:mallory is not known here" in world.run("runbook", "run", *words, login="mallory").said


def test_an_approver_of_other_namespaces_is_refused(world: World) -> None:
    world.settings["people"]["cli:bob"]["namespaces"] = ["shop"]
    world.configure()
    execution = requested(world)
    ran = world.run("runbook", "approve", execution, "--confirm", DEAD_NODE, login="bob")
    refused_with(ran.said, f"cli:bob has no role in namespace {NAMESPACE}")


def test_a_quorum_of_two_waits_for_the_second_approver(world: World) -> None:
    world.settings["critical_quorum"] = 2
    world.settings["people"]["cli:dora"] = {"roles": ["approver"]}
    world.configure()
    execution = requested(world)
    first = world.run("runbook", "approve", execution, "--confirm", DEAD_NODE, "-o", "json", login="bob")
    assert (first.code, first.json["state"]) == (0, "waiting")
    early = world.run("runbook", "run", execution, login="bob")
    refused_with(early.said, "1 more approval")
    second = world.run("runbook", "approve", execution, "--confirm", DEAD_NODE, "-o", "json", login="dora")
    assert second.json["state"] == "done"


def test_a_denied_execution_stays_denied_and_its_history_says_why(world: World) -> None:
    execution = requested(world)
    ran = world.run("runbook", "deny", execution, "--why", "node1 is being repaired", login="bob")
    assert ran.code == 0
    late = world.run("runbook", "approve", execution, "--confirm", DEAD_NODE, login="bob")
    refused_with(late.said, f"{execution} is denied")
    shown = world.run("runbook", "history", execution)
    assert "denied" in shown.out
    assert "node1 is being repaired" in shown.out


def test_a_lock_that_changed_hands_since_the_request_voids_it(world: World) -> None:
    execution = requested(world)
    client = world.sandbox.ceph.client("10.47.136.60")
    client.open("mioss/index-api-image")
    ran = world.run("runbook", "approve", execution, "--confirm", DEAD_NODE, login="bob")
    assert ran.code == 1
    assert world.sandbox.ceph.fences == {}


def test_a_runbook_that_only_reads_runs_at_once_and_prints_one_document(world: World) -> None:
    own = world.folder / "team" / "ceph" / "look_at_locks"
    own.mkdir(parents=True)
    (own / "1.0.0.yaml").write_text(READS_ONLY)
    world.settings["runbooks"] = [str(world.folder / "team")]
    world.configure()
    world.stale()
    ran = world.run("runbook", "run", "ceph/look_at_locks", "-p", "image=mioss/index-api-image", "-o", "json")
    assert ran.code == 0, ran
    assert (ran.json["state"], ran.json["risk"]) == ("done", "read")


CORDONS = """\
id: team/cordon
version: 1.0.0
status: stable
title: Cordon a node
meaning: It is down.
impact: No pod comes to it.
owner: storage on-call
changelog: First release.
parameters: {image: rbd_image, node: node}
steps:
  - {id: cordon, act: kubernetes.cordon, with: {node: "{{node}}"}, verify: node_is_cordoned, undo: none, because: by hand}
"""
CORDON = ("run", "team/cordon", "-p", f"node={DEAD_NODE}", "-p", "image=mioss/index-api-image")


@pytest.fixture
def cordons(world: World) -> World:
    """With a runbook of low risk, which nobody else has to approve."""
    own = world.folder / "team" / "team" / "cordon"
    own.mkdir(parents=True)
    (own / "1.0.0.yaml").write_text(CORDONS)
    world.settings["runbooks"] = [str(world.folder / "team")]
    world.configure()
    world.stale()
    return world


def is_cordoned(world: World) -> bool:
    return bool(world.sandbox.api.registry.get(NODES, None, DEAD_NODE)["spec"].get("unschedulable"))


@pytest.mark.parametrize(("at_a_terminal", "answer"), [(True, b"n\n"), (False, b"")])
@pytest.mark.parametrize("output", ["text", "json"])
def test_a_plan_of_low_risk_that_is_not_confirmed_leaves_nothing(
    cordons: World, monkeypatch: pytest.MonkeyPatch, at_a_terminal: bool, answer: bytes, output: str
) -> None:
    terminal = SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: at_a_terminal))
    monkeypatch.setattr("bot.cli.runbook.sys", terminal)
    ran = cordons.run("runbook", *CORDON, "-o", output, stdin=answer)
    assert (ran.code, is_cordoned(cordons)) == (1, False)
    assert ran.said.endswith("was not confirmed, so nothing was asked for or changed: confirm it, or give --yes.")
    assert "cordon node node1" in (ran.out if output == "text" else ran.err), "people see what they are asked about"
    assert cordons.run("runbook", "history", "-o", "json").json == []
    assert cordons.run("audit", "export").out == ""


@pytest.mark.parametrize(("words", "answer"), [(("--yes",), b""), ((), b"y\n")])
def test_a_plan_of_low_risk_runs_on_its_requesters_word(
    cordons: World, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], answer: bytes
) -> None:
    monkeypatch.setattr("bot.cli.runbook.sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    ran = cordons.run("runbook", *CORDON, *words, "-o", "json", stdin=answer)
    assert (ran.code, ran.json["state"], is_cordoned(cordons)) == (0, "done", True)
    assert ("Run it?" in ran.err) is not words


def test_nobody_is_asked_about_a_plan_that_is_refused(cordons: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.cli.runbook.sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    ran = cordons.run("runbook", *CORDON, login="carol", stdin=b"y\n")
    refused_with(ran.said, "cli:carol does not have the role responder")
    assert (ran.out, is_cordoned(cordons)) == ("", False)


def test_what_is_asked_for_already_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "open_state", lambda url: open_state(url, world.sandbox.clock.now))
    execution = requested(world)
    again = world.run("runbook", "run", *words_of(world))
    assert again.code == 1
    refused_with(again.said, f"{execution} does the same and is waiting: it comes first")


def test_an_approval_by_a_person_whose_role_was_taken_away_is_no_longer_one(world: World) -> None:
    world.settings["critical_quorum"] = 2
    world.settings["people"]["cli:dora"] = {"roles": ["approver"]}
    world.configure()
    execution = requested(world)
    assert world.run("runbook", "approve", execution, "--confirm", DEAD_NODE, login="bob").code == 0
    world.settings["people"]["cli:bob"]["roles"] = ["viewer"]
    world.configure()
    ran = world.run("runbook", "approve", execution, "--confirm", DEAD_NODE, login="dora")
    assert (ran.code, world.sandbox.ceph.fences) == (0, {})
    assert "1 more approval of another person is needed; the approval of cli:bob does not count" in ran.out


def test_nobody_approves_what_they_asked_for_under_another_name(world: World) -> None:
    execution = requested(world)
    world.settings["people"] = {"U0ALICE": {"roles": ["responder", "approver"], "also": ["cli:alice"]}}
    world.configure()
    ran = world.run("runbook", "approve", execution, "--confirm", DEAD_NODE)
    refused_with(ran.said, "U0ALICE asked for this plan and cannot approve it")


@pytest.mark.parametrize("command", ["plan", "run", "show"])
def test_an_unknown_runbook_gets_the_nearest_one_proposed(world: World, command: str) -> None:
    refused(world.run("runbook", command, "ceph/stale_rdb_lock"), 2, f"did you mean '{BOOK}'?")
    refused(world.run("runbook", command, f"{BOOK}@9.9.9"), 2, "no version '9.9.9'", "1.0.0")


def test_unknown_missing_and_malformed_parameters_are_all_named(world: World) -> None:
    ran = world.run("runbook", "plan", BOOK, "-p", "imaeg=mioss/x", "-p", "locker", "-p", "node=Not A Node")
    assert (ran.code, ran.out) == (2, "")
    for said in (
        "'imaeg'",
        "did you mean 'image'?",
        "'locker' is no parameter",
        "'Not A Node' is no node",
        "'image' is missing",
    ):
        assert said in ran.said


@pytest.mark.parametrize("command", ["approve", "deny", "run", "history"])
def test_an_unknown_execution_says_where_the_known_ones_are(world: World, command: str) -> None:
    refused(world.run("runbook", command, "ex-00000000"), 2, "ex-00000000", "unstick runbook history")


def test_lint_names_every_mistake_by_file_line_and_column(unstick: Run, tmp_path: Path) -> None:
    file = GOLDEN / "bad_semver.yaml"
    ran = unstick("runbook", "lint", str(file))
    assert ran.code == 2
    assert ran.err == ""
    lines = ran.out.splitlines()
    assert lines
    assert all(re.match(re.escape(str(file)) + r":\d+:\d+: \S", line) for line in lines)
    folder = unstick("runbook", "lint", str(GOLDEN))
    assert folder.code == 2
    assert all(re.match(re.escape(str(GOLDEN)) + r"\S+\.yaml:\d+:\d+: \S", line) for line in folder.out.splitlines())


def test_lint_of_what_is_sound_is_0(unstick: Run, tmp_path: Path) -> None:
    assert unstick("runbook", "lint").code == 0
    file = tmp_path / "ceph" / "look_at_locks" / "1.0.0.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(READS_ONLY)
    ran = unstick("runbook", "lint", str(file))
    assert (ran.code, ran.out) == (0, "No mistakes.\n")


def test_lint_of_what_is_not_there_is_2(unstick: Run) -> None:
    refused(unstick("runbook", "lint", "/no/such.yaml"), 2, "/no/such.yaml")


def test_a_broken_runbook_of_the_team_stops_every_runbook_command_with_its_place(world: World) -> None:
    world.settings["runbooks"] = [str(GOLDEN)]
    world.configure()
    ran = world.run("runbook", "list")
    assert (ran.code, ran.out) == (2, "")
    assert "bad_semver.yaml:2:10:" in ran.said


def test_audit_verify_finds_an_edit_and_export_gives_every_row(world: World) -> None:
    import sqlite3
    from contextlib import closing

    requested(world)
    rows = world.run("audit", "export").out.splitlines()
    assert len(rows) == 1
    with closing(sqlite3.connect(world.folder / "state.db")) as connection:
        for trigger in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f'DROP TRIGGER "{trigger[0]}"')
        connection.execute("UPDATE audit SET person = 'cli:mallory'")
        connection.commit()
    ran = world.run("audit", "verify")
    refused(ran, 1, "tampered")
