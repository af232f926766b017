"""Who somebody is, what they may do, and which addresses and identities a cluster gets."""

import asyncio
import os
import pwd
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from bot import access, wiring
from bot.settings import CephSettings, ClusterSettings, KubernetesSettings, PersonSettings, Settings, load
from diagnostics.model import Subject
from diagnostics.sources.kubernetes.api import Access, Api

NAMES = ("SUDO_USER", "LOGNAME", "USER")


def as_user(monkeypatch: pytest.MonkeyPatch, uid: int, name: str | None, **environment: str) -> None:
    def entry(asked: int) -> SimpleNamespace:
        assert asked == uid
        if name is None:
            raise KeyError(asked)
        return SimpleNamespace(pw_name=name)

    monkeypatch.setattr(os, "getuid", lambda: uid)
    monkeypatch.setattr(pwd, "getpwuid", entry)
    for variable in NAMES:
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)


def test_an_ordinary_users_environment_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(monkeypatch, 1000, "mallory", LOGNAME="bob", USER="bob", SUDO_USER="bob")
    assert access.login() == "mallory"


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"SUDO_USER": "alice", "LOGNAME": "bob", "USER": "carol"}, "alice"),
        ({"LOGNAME": "bob", "USER": "carol"}, "bob"),
        ({"USER": "carol"}, "carol"),
        ({"SUDO_USER": "", "LOGNAME": ""}, "root"),
        ({}, "root"),
    ],
)
def test_root_says_for_whom_it_works(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], name: str) -> None:
    as_user(monkeypatch, 0, "root", **environment)
    assert access.login() == name


def test_a_user_without_a_name_is_known_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(monkeypatch, 54321, None, LOGNAME="bob")
    assert access.login() == "uid-54321"


PEOPLE = Settings(people={"cli:bob": PersonSettings(roles=("approver",), namespaces=("shop",))})


def test_a_known_person_has_the_roles_and_namespaces_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(monkeypatch, 1000, "bob")
    bob = access.person(PEOPLE)
    assert (bob.id, bob.roles, bob.namespaces) == ("cli:bob", {"approver"}, {"shop"})
    assert access.person(PEOPLE, "cli:bob") == bob


def test_a_person_is_one_human_by_whichever_of_their_ids_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    both = Settings(people={"U0ALICE": PersonSettings(roles=("responder",), also=("cli:alice", "U1ALICE"))})
    as_user(monkeypatch, 1000, "alice")
    for asked in (None, "cli:alice", "U0ALICE", "U1ALICE"):
        alice = access.person(both, asked)
        assert (alice.id, alice.ids) == ("U0ALICE", {"U0ALICE", "cli:alice", "U1ALICE"})
    assert access.person(both, "cli:bob").ids == {"cli:bob"}


def test_an_unknown_person_is_a_viewer_or_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(monkeypatch, 1000, "eve")
    assert access.person(PEOPLE).roles == {"viewer"}
    assert access.person(PEOPLE.model_copy(update={"unknown_people": "nobody"})).roles == frozenset()


def test_a_name_without_its_origin_is_another_person(monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(monkeypatch, 1000, "cli:bob")
    assert access.person(PEOPLE).roles == {"viewer"}


def settings(kubernetes: KubernetesSettings | None, ceph: CephSettings | None = None) -> Settings:
    return Settings(clusters={"prod": ClusterSettings(kubernetes=kubernetes, ceph=ceph)})


def test_writing_uses_its_own_identity_where_one_is_named() -> None:
    own = settings(KubernetesSettings(kubeconfig="read", context="a", remediate_kubeconfig="write"))
    made = wiring.target(own)
    assert (made.kubernetes, made.remediate) == (Access("read", "a"), Access("write", None))
    one = wiring.target(settings(KubernetesSettings(kubeconfig="both")))
    assert one.kubernetes == one.remediate == Access("both", None)
    context = wiring.target(settings(KubernetesSettings(kubeconfig="k", context="a", remediate_context="b")))
    assert context.remediate == Access("k", "b")


def test_a_context_on_the_command_line_never_writes_to_another_cluster_than_it_reads() -> None:
    for writes in ({"remediate_context": "a-admin"}, {"remediate_kubeconfig": "admin"}):
        made = wiring.target(settings(KubernetesSettings(kubeconfig="k", context="a", **writes)), context="b")
        assert made.kubernetes == made.remediate == Access("k", "b")
    plain = wiring.target(settings(KubernetesSettings(kubeconfig="k", context="a")), context="b")
    assert plain.kubernetes == plain.remediate == Access("k", "b")


def test_a_ceph_conf_on_the_command_line_never_writes_to_another_cluster_than_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, write, other = (tmp_path / name for name in ("read.conf", "write.conf", "other.conf"))
    for file in (read, write, other):
        file.touch()
    used: list[tuple[str, str]] = []
    monkeypatch.setattr(
        wiring, "LibRados", lambda conf, user: SimpleNamespace(connect=lambda: used.append((conf, user)))
    )
    own = settings(None, CephSettings(conf=str(read), user="r", remediate_conf=str(write), remediate_user="w"))
    for made in (wiring.target(own), wiring.target(own, ceph_conf=str(other))):
        assert made.connect_ceph is not None
        assert made.remediate_ceph is not None
        made.connect_ceph()
        made.remediate_ceph()
    assert used == [(str(read), "r"), (str(write), "w"), (str(other), "r"), (str(other), "w")]


def test_ceph_conf_is_the_options_then_the_configurations_then_the_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    option, configured, environment = (tmp_path / name for name in ("option", "configured", "environment"))
    for file in (option, configured, environment):
        file.touch()
    monkeypatch.setenv("CEPH_CONF", str(environment))
    ceph = CephSettings(conf=str(configured))
    assert wiring.target(settings(None, ceph), ceph_conf=str(option)).ceph_conf == str(option)
    assert wiring.target(settings(None, ceph)).ceph_conf == str(configured)
    assert wiring.target(Settings()).ceph_conf == str(environment)
    assert wiring.target(settings(None)).ceph_conf is None, "a cluster that is configured without Ceph has none"
    monkeypatch.delenv("CEPH_CONF")
    monkeypatch.setattr("bot.settings.CEPH_CONF", tmp_path / "none")
    assert wiring.target(Settings()).connect_ceph is None


def test_a_cluster_that_a_file_configures_without_ceph_never_gets_the_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock of some other Ceph is no business of its pods; a file that names no clusters leaves the default one."""
    environment, file = tmp_path / "ceph.conf", tmp_path / "unstick.yaml"
    environment.touch()
    monkeypatch.setenv("CEPH_CONF", str(environment))
    monkeypatch.setattr("bot.settings.CEPH_CONF", environment)
    for text, found in (("clusters: {prod: {}}", None), ("critical_quorum: 2", str(environment))):
        file.write_text(text)
        made = wiring.target(load(str(file)))
        assert made.ceph_conf == found
        assert (made.connect_ceph is None) is (made.remediate_ceph is None) is (found is None)


def test_pools_on_the_command_line_go_before_those_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "conf").touch()
    own = settings(None, CephSettings(conf=str(tmp_path / "conf"), pools=("a", "b")))
    assert wiring.target(own).pools == ("a", "b")
    assert wiring.target(own, pools=("c",)).pools == ("c",)


# Who acts in Kubernetes.


def who_acts(requester: str, template: str | None, **people: PersonSettings) -> str | None:
    kubernetes = KubernetesSettings(impersonate=template)
    named = {name.replace("_", ":", 1): words for name, words in people.items()}
    made = Settings(clusters={"prod": ClusterSettings(kubernetes=kubernetes)}, people=named)
    return wiring.target(made).kubernetes_user(requester)


def test_the_writing_identity_acts_as_itself_where_nothing_is_said() -> None:
    named = PersonSettings(roles=("responder",), kubernetes_user="alice@corp.example")
    assert who_acts("cli:alice", None, cli_alice=named) is None


def test_acts_are_done_as_the_person_who_asked_by_the_template() -> None:
    assert who_acts("cli:alice", "{login}@example.com") == "alice@example.com"
    assert who_acts("U024BE7LH", "slack:{id}") == "slack:U024BE7LH"
    assert who_acts("cli:alice", "unstick") == "unstick"


def test_a_persons_own_kubernetes_user_goes_before_the_template() -> None:
    named = PersonSettings(roles=("responder",), kubernetes_user="alice@corp.example")
    assert who_acts("cli:alice", "{login}@example.com", cli_alice=named) == "alice@corp.example"
    plain = PersonSettings(roles=("responder",))
    assert who_acts("cli:alice", "{login}@example.com", cli_alice=plain) == "alice@example.com"


def test_a_login_that_looks_like_a_template_is_taken_as_it_is() -> None:
    """What somebody is called must never be filled in once more: it would be somebody else's name."""
    assert who_acts("cli:{id}", "{login}@example.com") == "{id}@example.com"
    assert who_acts("cli:{login}", "{id}") == "cli:{login}"


async def test_every_request_of_the_writing_client_names_the_person_and_none_of_the_reading_one_does(
    tmp_path: Path,
) -> None:
    seen: list[tuple[str, str | None]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *headers = head.splitlines()
        named = dict(header.split(": ", 1) for header in headers if ": " in header)
        named = {name.lower(): value for name, value in named.items()}
        await reader.readexactly(int(named.get("content-length", 0)))
        seen.append((line.split()[0], named.get("impersonate-user")))
        body = b'{"kind": "Status", "status": {"allowed": true}}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n")
        writer.write(f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        config = tmp_path / "config"
        config.write_text(yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        }))  # fmt: skip
        kubernetes = KubernetesSettings(kubeconfig=str(config), impersonate="{login}@example.com")
        made = wiring.target(settings(kubernetes))
        node = Subject("Node", None, "node1", "uid")
        async with made.clients("cli:alice") as clients:
            assert await clients.api().permitted("", "nodes", "patch", None, "node1")
            await clients.api().patch(node, {"spec": {"unschedulable": True}}, dry_run=True)
            await clients.api().delete(node, grace_seconds=None, dry_run=False)
        assert {who for _, who in seen} == {"alice@example.com"}
        assert [verb for verb, _ in seen] == ["POST", "PATCH", "DELETE"]
        seen.clear()
        async with Api(Access(str(config))) as reading:
            await reading.get("/version")
        assert [who for _, who in seen] == [None]
