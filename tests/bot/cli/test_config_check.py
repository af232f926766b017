"""`unstick config check` says what would be used and whether it answers, without changing anything."""

from tests.bot.cli.test_bad_input import refused
from tests.bot.cli.world import Run, World


def test_a_configuration_that_works_is_0_and_names_every_part(world: World) -> None:
    ran = world.run("config", "check", "-o", "json")
    assert ran.code == 0, ran
    assert ran.json["file"] == str(world.config)
    parts = {part["part"]: part for part in ran.json["parts"]}
    assert {part["status"] for part in parts.values()} == {"ok"}
    assert set(parts) == {"kubernetes", "kubernetes (remediate)", "ceph", "ceph (remediate)"}
    assert world.sandbox.api.url in parts["kubernetes"]["uses"]
    assert world.sandbox.ceph.fsid in parts["ceph"]["uses"]
    assert ran.json["you"] == {"id": "cli:alice", "roles": ["responder"], "namespaces": []}


def test_its_words_name_people_and_places(world: World) -> None:
    ran = world.run("config", "check", login="bob")
    assert ran.code == 0
    for said in (
        str(world.config),
        "sandbox: kubernetes: ok",
        "cli:bob: approver",
        "anybody else: viewer",
        "you are cli:bob",
    ):
        assert said in ran.out


def test_what_does_not_answer_is_unknown_with_its_reason_and_3(world: World) -> None:
    world.sandbox.ceph.silent_mons = set(world.sandbox.ceph.mons)
    ran = world.run("config", "check", "-o", "json")
    assert ran.code == 3
    statuses = {part["part"]: part["status"] for part in ran.json["parts"]}
    assert statuses == {
        "kubernetes": "ok", "kubernetes (remediate)": "ok", "ceph": "unknown", "ceph (remediate)": "unknown",
    }  # fmt: skip


def test_what_is_wrong_is_2_and_leaves_the_other_clusters_tried(world: World) -> None:
    world.settings["clusters"]["typo"] = {"kubernetes": {"kubeconfig": "/no/such"}, "ceph": {"conf": "/no/conf"}}
    world.settings["default_cluster"] = "sandbox"
    world.configure()
    ran = world.run("config", "check", "-o", "json")
    assert ran.code == 2
    assert {(part["cluster"], part["status"]) for part in ran.json["parts"]} == {("sandbox", "ok"), ("typo", "wrong")}
    assert world.run("config", "check", "--cluster", "sandbox").code == 0
    refused(world.run("config", "check", "--cluster", "gone"), 2, "'gone'")


def test_a_password_in_the_address_of_the_state_is_not_shown(world: World) -> None:
    world.settings["state"] = "postgresql://unstick:hunter2@db/unstick"
    world.configure()
    for output in ("text", "json"):
        ran = world.run("config", "check", "-o", output)
        assert "unstick:***@db" in ran.out
        assert "hunter2" not in ran.out + ran.err


def test_nothing_configured_is_skipped_and_0(unstick: Run) -> None:
    ran = unstick("config", "check", "-o", "json")
    assert ran.code == 0
    assert ran.json["file"] is None
    assert {part["status"] for part in ran.json["parts"]} == {"skipped"}
