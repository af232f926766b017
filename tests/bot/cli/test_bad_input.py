"""Whatever is wrong around Unstick: one clear sentence with the next move, the right exit code, and nothing lost."""

import re
from pathlib import Path

import pytest
import yaml

from bot import wiring
from bot.sandbox.kubernetes.incident import STUCK_POD
from diagnostics.sources.ceph.librados import BindingMissing, CephConfError
from tests.bot.cli.world import STUCK, Ran, Run, World

CEPH = ("ceph/locks_blocking_pods", "ceph/locks_stale")
STORAGE = ("storage/mounts_failing", "storage/pods_stuck_creating")


def refused(ran: Ran, code: int, *words: str) -> None:
    """One line on stderr that says it, nothing on stdout, that exit code."""
    assert (ran.code, ran.out) == (code, ""), ran
    assert ran.said.startswith("unstick: ")
    assert "\n" not in ran.said
    for word in words:
        assert word in ran.said


def statuses(ran: Ran) -> dict[str, str]:
    return {outcome["check"]: outcome["status"] for outcome in ran.json["outcomes"]}


def reason_of(ran: Ran, check: str) -> str:
    [reason] = [outcome["reason"] for outcome in ran.json["outcomes"] if outcome["check"] == check]
    assert isinstance(reason, str)
    return reason


# Kubernetes


@pytest.fixture
def unreachable(world: World) -> World:
    """The incident's world, with its API server's address closed."""
    kubeconfig = yaml.safe_load((world.sandbox.folder / "diagnose.kubeconfig").read_text())
    kubeconfig["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:1"
    path = world.folder / "closed.kubeconfig"
    path.write_text(yaml.safe_dump(kubeconfig))
    world.cluster["kubernetes"] = {"kubeconfig": str(path)}
    world.configure()
    return world


def test_an_unreachable_api_server_is_unknown_everywhere_that_it_matters(unreachable: World) -> None:
    ran = unreachable.run("check", "-o", "json")
    assert ran.code == 3
    assert all(statuses(ran)[check] == "unknown" for check in (*STORAGE, "ceph/locks_blocking_pods"))
    assert "127.0.0.1:1 cannot be reached" in reason_of(ran, "storage/pods_stuck_creating")
    assert "check it and the network" in reason_of(ran, "storage/pods_stuck_creating")
    assert ran.json["scanned"]["rbd images"] == 3  # Ceph was still looked at


def test_why_on_an_unreachable_api_server_is_unknown(unreachable: World) -> None:
    ran = unreachable.run("why", *STUCK)
    assert ran.code == 3
    assert ran.out.startswith("unknown  ")
    assert "cannot be reached" in ran.out


def test_an_unreachable_api_server_costs_locks_its_kubernetes_fields_only(unreachable: World) -> None:
    ran = unreachable.run("locks", "-o", "json")
    assert ran.code == 1
    assert ran.json["cluster"] is None
    assert {row["verdict"] for row in ran.json["locks"]} == {"live", "suspect"}
    assert {row["node"] for row in ran.json["locks"]} == {None}


@pytest.mark.parametrize("command", [("check",), ("why", *STUCK), ("locks",)])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ("does not exist",)),
        (b"{]", ("kubeconfig",)),
        (b"- a\n", ("kubeconfig",)),
        (b"", ("kubeconfig",)),
        (b"\xff\xfe\x00", ("kubeconfig",)),
    ],
    ids=["missing", "malformed", "list", "empty", "binary"],
)
def test_a_kubeconfig_that_cannot_be_used_is_the_users_mistake(
    world: World, command: tuple[str, ...], content: bytes | None, words: tuple[str, ...]
) -> None:
    path = world.folder / "broken.kubeconfig"
    if content is not None:
        path.write_bytes(content)
    world.cluster["kubernetes"] = {"kubeconfig": str(path)}
    world.configure()
    refused(world.run(*command), 2, "broken.kubeconfig", *words)


def test_a_kubeconfig_named_by_the_environment_is_a_named_file_too(
    unstick: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "gone"))
    refused(unstick("check"), 2, "gone", "KUBECONFIG")


def test_a_context_that_the_kubeconfig_does_not_have_is_named(world: World) -> None:
    refused(world.run("check", "--context", "production"), 2, "production")


def test_a_context_without_any_kubeconfig_says_where_to_get_one(unstick: Run) -> None:
    refused(unstick("check", "--context", "production"), 2, "production", "KUBECONFIG")


def test_a_forbidden_list_is_unknown_says_what_to_grant_and_leaves_the_others_answered(world: World) -> None:
    world.forbid("events")
    ran = world.run("check", "-o", "json")
    assert statuses(ran)["storage/mounts_failing"] == "unknown"
    assert statuses(ran)["storage/pods_stuck_creating"] == "found"
    reason = reason_of(ran, "storage/mounts_failing")
    assert "Not allowed to list events" in reason
    assert "RBAC" in reason
    assert world.run("check", "--check", "storage/mounts_failing").code == 3


def test_a_revoked_token_is_unknown_and_says_to_renew_it(world: World) -> None:
    world.sandbox.api.access._users.clear()
    ran = world.run("why", *STUCK)
    assert ran.code == 3
    assert "renew the token" in ran.out


def test_no_kubernetes_at_all_is_unknown_for_why_and_says_how_to_name_one(unstick: Run) -> None:
    ran = unstick("why", "pod/x")
    assert ran.code == 3
    assert "set KUBECONFIG" in ran.out


def test_a_pod_that_is_not_there_is_a_usage_error(world: World) -> None:
    refused(world.run("why", "pod/nope", "-n", "search"), 2, "no Pod nope in namespace search", "-n")


@pytest.mark.parametrize(
    "words", [("deployment/x",), ("pod/",), ("/x",), ("pod/a/b",), ("pod/x y",), ("pod/..",), ("",)]
)
def test_a_subject_that_does_not_parse_says_how_to_write_one(world: World, words: tuple[str, ...]) -> None:
    refused(world.run("why", *words), 2)


@pytest.mark.parametrize("command", [("check",), ("why", "pod/x")])
@pytest.mark.parametrize("namespace", ["no/such", "..", "", "A B", "a.b", "x" * 300])
def test_a_namespace_that_cannot_be_one_never_becomes_a_request(
    world: World, command: tuple[str, ...], namespace: str
) -> None:
    refused(world.run(*command, "-n", namespace), 2, "namespace")


# Ceph


def test_no_ceph_skips_its_checks_and_locks_says_how_to_name_one(world: World) -> None:
    del world.cluster["ceph"]
    world.configure()
    ran = world.run("check", "-o", "json")
    assert {statuses(ran)[check] for check in CEPH} == {"skipped"}
    assert statuses(ran)["storage/pods_stuck_creating"] == "found"
    refused(world.run("locks"), 3, "No Ceph is configured", "--ceph-conf", "CEPH_CONF")


@pytest.mark.parametrize("command", [("check",), ("locks",), ("why", *STUCK)])
def test_a_ceph_conf_that_is_not_there_is_the_users_mistake(world: World, command: tuple[str, ...]) -> None:
    refused(world.run(*command, "--ceph-conf", "/no/such/ceph.conf"), 2, "/no/such/ceph.conf", "--ceph-conf")


def _raising(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    class Broken:
        def __init__(self, conffile: str, user: str) -> None:
            pass

        def connect(self) -> None:
            raise error

    monkeypatch.setattr(wiring, "LibRados", Broken)


@pytest.mark.parametrize("command", [("check",), ("locks",), ("why", *STUCK)])
def test_a_ceph_conf_that_does_not_parse_is_the_users_mistake(
    world: World, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    _raising(monkeypatch, CephConfError("ceph.conf is not a Ceph configuration that librados can read: correct it"))
    refused(world.run(*command), 2, "is not a Ceph configuration", "correct it")


def test_a_ceph_conf_that_nobody_named_and_that_does_not_parse_is_unknown(
    unstick: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = tmp_path / "default-ceph.conf"
    conf.write_text("")
    monkeypatch.setattr("bot.settings.CEPH_CONF", conf)
    _raising(monkeypatch, CephConfError("it cannot be read (Permission denied): name one with --ceph-conf"))
    refused(unstick("locks"), 3, "Permission denied")
    ran = unstick("check", "--area", "ceph", "-o", "json")
    assert statuses(ran)["ceph/locks_stale"] == "unknown"


def test_a_missing_binding_names_the_package_and_leaves_kubernetes_answered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _raising(monkeypatch, BindingMissing("no module rados; install the Debian package python3-rados"))
    refused(world.run("locks"), 3, "python3-rados")
    ran = world.run("check", "-o", "json")
    assert ran.code == 1
    assert {statuses(ran)[check] for check in CEPH} == {"unknown"}
    assert {statuses(ran)[check] for check in STORAGE} == {"found"}
    why = world.run("why", *STUCK, "-o", "json")
    assert why.json["chain"][-1]["subject"]["kind"] == "PersistentVolume"
    assert any("python3-rados" in unseen for unseen in why.json["unseen"])


def test_monitors_that_do_not_answer_are_unknown_and_take_no_finding_away(world: World) -> None:
    world.sandbox.ceph.silent_mons = set(world.sandbox.ceph.mons)
    refused(world.run("locks"), 3, "monitors are up")
    ran = world.run("check", "-o", "json")
    assert {statuses(ran)[check] for check in CEPH} == {"unknown"}
    assert {statuses(ran)[check] for check in STORAGE} == {"found"}


def test_locks_that_could_not_be_read_at_all_still_make_one_document(world: World) -> None:
    world.sandbox.ceph.silent_mons = set(world.sandbox.ceph.mons)
    ran = world.run("locks", "--pool", "mioss", "-o", "json")
    assert ran.code == 3
    [problem] = ran.json["problems"]
    assert problem["pool"] == "mioss"
    assert "monitors" in problem["reason"]
    assert ran.json["locks"] == ran.json["pools"] == []


def test_one_silent_monitor_is_enough_that_no_lock_is_called_stale(world: World) -> None:
    world.stale()
    assert "stale" in {row["verdict"] for row in world.run("locks", "-o", "json").json["locks"]}
    world.sandbox.ceph.silent_mons = {"a"}
    ran = world.run("locks", "-o", "json")
    assert {row["verdict"] for row in ran.json["locks"]} == {"suspect", "live"}
    assert any("mon a" in row["why"] for row in ran.json["locks"])


def test_what_was_sighted_survives_a_look_that_was_blind(world: World) -> None:
    world.run("locks")
    world.pass_time(35)
    world.sandbox.ceph.silent_mons = set(world.sandbox.ceph.mons)
    assert world.run("locks").code == 3
    world.sandbox.ceph.silent_mons = set()
    assert "stale" in {row["verdict"] for row in world.run("locks", "-o", "json").json["locks"]}


def test_a_pool_that_does_not_exist_names_those_that_do(world: World) -> None:
    world.sandbox.ceph.create_pool("archive")
    refused(world.run("locks", "--pool", "mios"), 2, "no pool mios", "archive and mioss")
    refused(world.run("locks", "--pool", "mioss", "--pool", "gone", "-o", "json"), 2, "no pool gone")


def test_a_pool_of_the_configuration_that_does_not_exist_is_a_problem_beside_the_others(world: World) -> None:
    world.cluster["ceph"]["pools"] = ["mioss", "gone"]
    world.configure()
    ran = world.run("locks", "-o", "json")
    assert [problem["pool"] for problem in ran.json["problems"]] == ["gone"]
    assert len(ran.json["locks"]) == 3


def test_cut_lock_replies_are_problems_and_never_free_images(world: World) -> None:
    world.sandbox.ceph.cut_replies = 20
    ran = world.run("locks", "-o", "json")
    assert ran.code == 3
    assert len(ran.json["problems"]) == 3
    assert all("look again" in problem["reason"] for problem in ran.json["problems"])
    assert "mioss/index-api-image" in str(ran.json["problems"])


def test_one_pool_that_cannot_be_read_leaves_the_others_reported(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from bot.sandbox.ceph.connection import SimulatedRados

    ceph, real = world.sandbox.ceph, SimulatedRados.execute
    ceph.create_pool("archive")
    ceph.create_image("archive/old-image")
    ceph.client("10.46.181.147").lock_advisory("archive/old-image", "somebody")

    def cut(self: SimulatedRados, pool: str, *words: object) -> bytes:
        reply = real(self, pool, *words)  # type: ignore[arg-type]
        return reply[:20] if pool == "archive" else reply

    monkeypatch.setattr(SimulatedRados, "execute", cut)
    ran = world.run("locks", "-o", "json")
    assert ran.code == 1
    assert [problem["pool"] for problem in ran.json["problems"]] == ["archive"]
    assert {row["image"] for row in ran.json["locks"]} == {"index-api-image", "ledger-image", "reports-image"}


# The configuration, and the words on the command line


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{]", ("unstick.yaml:1:2", "YAML")),
        (b"- a", ("must be a mapping",)),
        (b"clsters: {}", ("clsters", "no such setting")),
        (b"clusters: {}", ("clusters", "at least one")),
        (b"clusters: {a: {ceph: {user: x}}}", ("clusters.a.ceph.conf", "missing")),
        (b"people: {'cli:a': {roles: [boss]}}", ("people.cli:a.roles.0",)),
        (b"critical_quorum: 0", ("critical_quorum",)),
        (b"clusters: {a: {}}\ndefault_cluster: b", ("default_cluster", "'b'")),
        (b"\xff\xfe\x00", ("it is not text",)),
    ],
)
def test_a_malformed_configuration_says_where_and_what(world: World, content: bytes, words: tuple[str, ...]) -> None:
    world.config.write_bytes(content)
    refused(world.run("check"), 2, "unstick.yaml", *words)


def test_a_mistake_in_the_configuration_does_not_repeat_what_may_be_a_secret(world: World) -> None:
    world.config.write_text("state: [hunter2]\nslack_token: xoxb-hunter2\n")
    ran = world.run("check")
    refused(ran, 2, "state", "slack_token")
    assert "hunter2" not in ran.said


def test_a_configuration_that_is_not_there_names_the_option(world: World) -> None:
    refused(world.run("check", "--config", "/no/such.yaml"), 2, "/no/such.yaml", "--config")


@pytest.mark.parametrize(
    "words",
    [
        ("chekc",), ("check", "--foo"), ("check", "--fail-on", "bad"), ("check", "-o", "xml"), ("why",),
        ("check", "-n", "a", "-A"), ("check", "--check", "ceph/lokcs_stale"), ("check", "--area", "cehp"),
        ("runbook", "shw"), ("demo", "--port", "many"),
    ],
)  # fmt: skip
def test_a_slip_of_the_hand_is_2_and_one_sentence(world: World, words: tuple[str, ...]) -> None:
    refused(world.run(*words), 2)


def test_a_check_that_does_not_exist_gets_the_nearest_one_proposed(world: World) -> None:
    refused(world.run("check", "--check", "ceph/lokcs_stale"), 2, "did you mean 'ceph/locks_stale'?")
    refused(world.run("check", "--area", "stroage"), 2, "did you mean 'storage'?")


@pytest.mark.parametrize("state", ["/proc/no/state.db", "/proc", "foo://x"])
def test_a_state_database_that_cannot_be_opened_is_one_sentence(world: World, state: str) -> None:
    world.settings["state"] = state
    world.configure()
    refused(world.run("check"), 1, state, "state:")


def test_a_state_database_that_is_no_database_is_left_alone(world: World) -> None:
    path = world.folder / "state.db"
    path.write_bytes(b"not a database, but somebody's file. " * 300)
    before = path.read_bytes()
    refused(world.run("locks"), 1, "state.db")
    assert path.read_bytes() == before


def test_what_others_wrote_cannot_steer_the_terminal(world: World) -> None:
    image = "mioss/evil-image"
    world.sandbox.ceph.create_image(image)
    world.sandbox.ceph.client("10.47.136.60").lock_advisory(image, "\x1b[2J\x1b[31mall is well\r\nok")
    for words in (("locks",), ("check",)):
        ran = world.run(*words)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", ran.out), words
    assert "\\x1b[2J" in world.run("locks").out


def test_a_mistake_in_unstick_itself_is_a_sentence_that_asks_for_a_report(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("bot.cli.look.run_checks", broken)
    refused(world.run("check"), 1, "mistake in Unstick itself", "ZeroDivisionError", "UNSTICK_DEBUG=1")
    monkeypatch.setenv("UNSTICK_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        world.run("check")


def test_a_name_is_understood_with_or_without_its_kind(world: World) -> None:
    for words in ((STUCK_POD,), ("pod", STUCK_POD), ("po/" + STUCK_POD,), ("Pods/" + STUCK_POD,)):
        assert world.run("why", *words, "-n", "search", "-o", "json").json["subject"]["name"] == STUCK_POD
