"""Exit codes: 1 found at or above --fail-on, or refused; 2 usage; 3 could not look; 0 otherwise. 1 beats 3."""

import copy

import pytest

from bot.sandbox.kubernetes.incident import DEAD_NODE, NAMESPACE, STUCK_POD
from bot.sandbox.kubernetes.resources import PODS
from tests.bot.cli.world import STUCK, Json, World

QUIET = ("--check", "storage/pods_stuck_creating", "-n", "shop")


def test_check_exits_with_1_when_something_is_found(world: World) -> None:
    assert world.run("check").code == 1


def test_what_was_found_stands_first_worst_first_and_what_is_well_last(world: World) -> None:
    lines = world.run("check").out.splitlines()
    marks = [line.split()[0] for line in lines if line.startswith(("FOUND", "unknown", "ok"))]
    assert marks == sorted(marks, key=["FOUND", "unknown", "ok"].index)
    assert marks.count("ok") == 1
    severities = [line.split()[0] for line in lines if line.startswith(("    critical", "    warning", "    info"))]
    assert severities == sorted(severities, key=["critical", "warning", "info"].index)
    assert len(set(severities)) == 3


def test_check_exits_with_0_when_all_that_was_asked_for_is_well(world: World) -> None:
    ran = world.run("check", *QUIET)
    assert ran.code == 0
    assert ran.out.startswith("ok  storage/pods_stuck_creating")


def test_fail_on_moves_the_line_between_1_and_0(world: World) -> None:
    stuck = ("check", "--check", "storage/pods_stuck_creating")
    assert world.run(*stuck, "--fail-on", "info").code == 1
    assert world.run(*stuck, "--fail-on", "warning").code == 1
    ran = world.run(*stuck, "--fail-on", "critical")
    assert ran.code == 0
    assert "FOUND" in ran.out  # below the line is not the same as not found


def test_what_could_not_be_looked_at_is_3_and_what_is_found_beats_it(world: World) -> None:
    world.sandbox.ceph.silent_mons = set(world.sandbox.ceph.mons)
    assert world.run("check", "--area", "ceph").code == 3
    assert world.run("check", "--check", "ceph/locks_stale", "-n", "shop").code == 3
    assert world.run("check").code == 1


def test_a_finding_below_the_line_does_not_hide_what_was_not_seen(world: World) -> None:
    world.sandbox.ceph.silent_mons = set(world.sandbox.ceph.mons)
    areas = ("--area", "storage", "--area", "ceph")  # that the node is dead is critical by itself
    assert world.run("check", *areas, "--fail-on", "critical").code == 3


def test_skipped_never_counts(world: World) -> None:
    del world.cluster["ceph"]
    world.configure()
    ran = world.run("check", "--area", "ceph")
    assert ran.code == 0
    [skipped] = [line for line in ran.out.splitlines() if line.startswith("skipped")]
    assert "ceph/locks_stale" in skipped
    assert world.run("check", *QUIET, "--check", "ceph/locks_stale").code == 0


def test_where_everything_is_skipped_a_person_is_told_that_nothing_was_looked_at(world: World) -> None:
    world.cluster.pop("ceph")
    world.cluster["kubernetes"] = None
    world.configure()
    ran = world.run("check", "-o", "json")
    assert ran.code == 0
    assert {outcome["status"] for outcome in ran.json["outcomes"]} == {"skipped"}
    assert "Nothing was looked at" in ran.said


def test_why_exits_with_1_for_found_and_0_for_healthy(world: World) -> None:
    assert world.run("why", *STUCK).code == 1
    assert world.run("why", "pod/reports-0", "-n", "media").code == 0


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ({"phase": "Succeeded"}, None),
        ({"phase": "Failed", "reason": "Evicted"}, "it is Failed (Evicted)"),
        ({"phase": "Unknown"}, "is Ready with `kubectl get node`"),
        ({"phase": "Pending"}, "bound to no node"),
    ],
    ids=lambda each: each["phase"] if isinstance(each, dict) else "",
)
def test_why_is_ok_only_for_a_pod_that_runs_or_has_done_its_work(world: World, status: Json, says: str | None) -> None:
    store = world.sandbox.api.registry.store
    pod = copy.deepcopy(world.sandbox.api.registry.get(PODS, "media", "reports-0"))
    pod["status"] = status
    if status["phase"] == "Pending":
        pod["spec"].pop("nodeName", None)
    store.put(PODS, pod)
    ran = world.run("why", "pod/reports-0", "-n", "media", "-o", "json")
    assert (ran.code, ran.json["status"]) == ((0, "ok") if says is None else (3, "unknown"))
    assert says is None or says in ran.json["summary"]


def test_why_answers_for_the_pod_that_was_asked_for_and_for_nothing_beside_it(world: World) -> None:
    store = world.sandbox.api.registry.store
    pod = copy.deepcopy(world.sandbox.api.registry.get(PODS, NAMESPACE, STUCK_POD))
    pod["status"] = {"phase": "Failed", "reason": "Evicted"}
    world.run("why", *STUCK)
    world.pass_time(40)
    store.put(PODS, pod)
    ran = world.run("why", *STUCK, "-o", "json")
    assert (ran.code, ran.json["subject"]["kind"], ran.json["runbooks"]) == (3, "Pod", [])


def test_locks_counts_every_verdict_but_live(world: World) -> None:
    assert world.run("locks").code == 1
    rows = world.run("locks", "-o", "json").json["locks"]
    [live] = [row for row in rows if row["verdict"] == "live"]
    for held in world.sandbox.ceph.objects.values():
        if held.locks and not any(
            locker.client == live["locker"] for lock in held.locks.values() for locker in lock.lockers
        ):
            held.locks.clear()
    left = world.run("locks", "-o", "json")
    assert [row["image"] for row in left.json["locks"]] == [live["image"]]
    assert left.code == 0


def test_a_managed_lock_counts_only_while_a_fence_of_its_holder_ends_soon(world: World) -> None:
    ceph = world.sandbox.ceph
    for held in ceph.objects.values():
        held.locks.clear()
    client = ceph.client("10.47.136.60")
    client.open("mioss/ledger-image")
    client.lock_managed("mioss/ledger-image")
    client.kill()
    for _ in range(2):  # the clock alone: no kubelet takes a lock meanwhile
        world.sandbox.clock.forward(40)
        world.run("locks")
    [row] = world.run("locks", "-o", "json").json["locks"]
    assert row["verdict"] == "stale_managed"
    assert world.run("locks").code == 0
    ceph.connect("client.admin").mon(
        {"prefix": "osd blocklist", "blocklistop": "add", "addr": row["address"], "expire": 3600.0}
    )
    assert world.run("locks").code == 1


def test_a_refused_plan_and_a_refused_run_exit_with_1(world: World) -> None:
    words = (
        "ceph/stale_rbd_lock",
        "-p",
        "image=mioss/reports-image",
        "-p",
        "locker=client.24142/kubelet_lock_magic_node3",
    )
    plan, run = world.run("runbook", "plan", *words), world.run("runbook", "run", *words)
    assert (plan.code, run.code) == (1, 1)
    assert "Refused:" in plan.out
    assert run.out == ""
    assert run.said.startswith("unstick: ceph/stale_rbd_lock@1.0.0 is refused:")


@pytest.mark.parametrize("before", [True, False])
def test_config_and_cluster_may_stand_before_or_after_the_command(world: World, before: bool) -> None:
    world.settings["clusters"]["other"] = {"kubernetes": None}
    world.configure()
    options = ("--config", str(world.config), "--cluster", "other")
    words = (*options, "check") if before else ("check", *options)
    ran = world.run(*words, "-o", "json", config=False)
    assert (ran.code, ran.json["cluster"]) == (0, "other")


def test_what_stands_after_the_command_wins(world: World) -> None:
    world.settings["clusters"]["other"] = {"kubernetes": None}
    world.configure()
    ran = world.run("--cluster", "sandbox", "check", "--cluster", "other", "-o", "json")
    assert ran.json["cluster"] == "other"


def test_several_clusters_and_no_default_is_a_question_back(world: World) -> None:
    world.settings["clusters"]["other"] = {"kubernetes": None}
    world.configure()
    ran = world.run("check")
    assert (ran.code, ran.out) == (2, "")
    assert ran.said == "unstick: The configuration has several clusters (other, sandbox): choose one with --cluster."
    world.settings["default_cluster"] = "other"
    world.configure()
    assert world.run("check").code == 0


def test_an_unknown_cluster_names_those_that_there_are(world: World) -> None:
    ran = world.run("check", "--cluster", "prod")
    assert (ran.code, ran.out) == (2, "")
    assert "'prod'" in ran.said
    assert "sandbox" in ran.said


def test_the_dead_node_is_named_in_words_too(world: World) -> None:
    ran = world.run("why", *STUCK)
    assert f"ROOT CAUSE  Node {DEAD_NODE} is down" in ran.out
