"""`unstick config check` says what would be used and whether it answers, without changing anything."""

from datetime import UTC, datetime, timedelta

import pytest

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
    assert ran.json["you"] == {"id": "cli:alice", "also": [], "roles": ["responder"], "namespaces": []}


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


def test_a_ceph_conf_that_is_missing_leaves_kubernetes_tried(world: World) -> None:
    world.cluster["ceph"]["conf"] = "/no/such/ceph.conf"
    world.configure()
    ran = world.run("config", "check", "-o", "json")
    assert ran.code == 2
    parts = {part["part"]: part for part in ran.json["parts"]}
    assert {name: part["status"] for name, part in parts.items()} == {
        "kubernetes": "ok", "kubernetes (remediate)": "ok", "ceph": "wrong",
    }  # fmt: skip
    assert "/no/such/ceph.conf does not exist" in parts["ceph"]["reason"]


@pytest.mark.parametrize("below", ["unstick.yaml/state.db", "unstick.yaml/deep/er/state.db", "."])
def test_a_state_that_cannot_be_made_is_wrong_and_2(world: World, below: str) -> None:
    world.settings["state"] = str(world.folder / below)
    world.configure()
    before = sorted(world.folder.rglob("*"))
    ran = world.run("config", "check", "-o", "json")
    assert ran.code == 2
    assert "name another with `state`" in ran.json["state_fault"]
    assert "state: wrong" in world.run("config", "check").out
    assert sorted(world.folder.rglob("*")) == before


@pytest.mark.parametrize("state", ["psql://unstick:hunter2@db/unstick", "://unstick:hunter2@db"])
def test_an_address_of_no_database_is_wrong_and_2(world: World, state: str) -> None:
    world.settings["state"] = state
    world.configure()
    ran = world.run("config", "check")
    assert ran.code == 2
    assert "neither a path nor the address of a database" in ran.out
    assert "hunter2" not in ran.out + ran.err


def test_a_state_that_could_be_made_is_not_made(world: World) -> None:
    world.settings["state"] = str(world.folder / "deep" / "er" / "state.db")
    world.configure()
    ran = world.run("config", "check", "-o", "json")
    assert (ran.code, ran.json["state_fault"]) == (0, None)
    assert not (world.folder / "deep").exists()


def test_slack_is_told_by_its_channel_and_by_which_tokens_are_set(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-hush")
    monkeypatch.delenv("SLACK_APP_TOKEN", raising=False)
    world.settings["slack"] = {"channel": "C024BE7LR"}
    world.configure()
    ran, text = world.run("config", "check", "-o", "json"), world.run("config", "check")
    assert ran.json["slack"] == {
        "channel": "C024BE7LR", "tokens": {"SLACK_BOT_TOKEN": True, "SLACK_APP_TOKEN": False, "ALERTMANAGER_TOKEN": False},
    }  # fmt: skip
    assert "slack: channel C024BE7LR, SLACK_BOT_TOKEN set, SLACK_APP_TOKEN not set" in text.out
    assert "hush" not in ran.out + ran.err + text.out + text.err


def test_each_schedule_is_told_with_its_next_firing_in_its_own_time_zone(world: World) -> None:
    world.settings["schedules"] = {"morning": {"cron": "0 8 * * *", "timezone": "Asia/Tokyo", "channel": "C024BE7LR"}}
    world.configure()
    [told] = world.run("config", "check", "-o", "json").json["schedules"]
    fires = datetime.fromisoformat(told.pop("next"))
    assert told == {"name": "morning", "channel": "C024BE7LR", "cluster": "sandbox"}
    assert (fires.hour, fires.minute, fires.utcoffset()) == (8, 0, timedelta(hours=9))
    assert timedelta(0) < fires - datetime.now(UTC) + timedelta(minutes=1) < timedelta(days=1, minutes=2)
    assert (
        f"schedule morning: next at {fires.isoformat()}, of sandbox, in C024BE7LR" in world.run("config", "check").out
    )


def test_the_other_ids_of_a_person_are_told(world: World) -> None:
    world.settings["people"]["cli:bob"]["also"] = ["U0G9QF9C6"]
    world.configure()
    assert world.run("config", "check", "-o", "json").json["people"][1]["also"] == ["U0G9QF9C6"]
    assert "cli:bob (also U0G9QF9C6): approver" in world.run("config", "check").out


def test_nobody_who_may_approve_is_worth_a_warning(world: World) -> None:
    assert world.run("config", "check", "-o", "json").json["warnings"] == []
    del world.settings["people"]["cli:bob"]
    world.configure()
    ran = world.run("config", "check")
    assert ran.code == 0
    assert "warning: nobody has the role approver" in ran.out


def test_a_group_that_may_approve_is_told_and_needs_no_warning(world: World) -> None:
    del world.settings["people"]["cli:bob"]
    world.settings["groups"] = {"S0614TZR7": {"roles": ["approver"], "clusters": ["sandbox"], "namespaces": ["search"]}}
    world.configure()
    told = world.run("config", "check", "-o", "json").json
    assert told["warnings"] == []
    assert told["groups"] == [
        {"id": "S0614TZR7", "roles": ["approver"], "namespaces": ["search"], "clusters": ["sandbox"]}
    ]
    assert "group S0614TZR7: approver in search of cluster sandbox" in world.run("config", "check").out


def test_what_is_hardly_meant_is_worth_a_warning(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-hush")
    monkeypatch.setenv("ALERTMANAGER_TOKEN", "hush")
    world.settings |= {"critical_quorum": 2, "http": None}
    world.configure()
    quorum, watch, alerts = world.run("config", "check", "-o", "json").json["warnings"]
    assert "needs 2 approvers" in quorum
    assert "cluster sandbox is not watched, as it has no channel" in watch
    assert "nothing would listen for alerts" in alerts
    world.settings["slack"] = {"channel": "C024BE7LR"}
    world.settings["watch"] = {"enabled": False}
    world.configure()
    assert [each for each in world.run("config", "check", "-o", "json").json["warnings"] if "watched" in each] == []


def test_a_schedule_of_a_cluster_that_does_not_exist_is_refused(world: World) -> None:
    world.settings["schedules"] = {"morning": {"cron": "0 8 * * *", "channel": "C024BE7LR", "cluster": "sandbx"}}
    world.configure()
    refused(world.run("config", "check"), 2, "schedules.morning.cluster: there is no cluster 'sandbx'", "'sandbox'")


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
