"""What the watch relies on, on the sandbox's API server and on a real one: the same tests, through our own stream."""

import asyncio
import json
import secrets
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml

from bot.sandbox.kubernetes import store
from bot.sandbox.kubernetes.access import EVERYTHING, Rule
from bot.sandbox.kubernetes.resources import BY_NAME
from bot.sandbox.kubernetes.server import ApiServer
from bot.watch.shapes import EVENTS, PODS
from diagnostics.sources.kubernetes.api import Access, Api
from diagnostics.sources.kubernetes.watching import Change, Stream, Watched
from tests.lab.kubernetes import Kubernetes
from tests.lab.processes import free_ports

Object = dict[str, Any]
LIST = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}
WATCH = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}


class Cluster(Protocol):
    """An API server under test, and a namespace of its own for one test."""

    namespace: str

    def make(self, plural: str, given: Object) -> Object: ...

    def set_phase(self, name: str, phase: str) -> None: ...

    def bind(self, name: str) -> None: ...

    def delete(self, name: str) -> None: ...

    def grant(self, user: str, *rules: Object) -> None: ...

    def access(self, user: str = "admin") -> Access: ...

    def forget(self) -> None:
        """Let so much happen that nothing is remembered of the beginning."""
        ...


class Simulated:
    def __init__(self, server: ApiServer, folder: Path) -> None:
        self.server, self._folder = server, folder
        self.namespace = "contract"
        server.registry.create(BY_NAME["v1", "namespaces"], None, {"metadata": {"name": self.namespace}})

    def make(self, plural: str, given: Object) -> Object:
        return self.server.registry.create(BY_NAME["v1", plural], self.namespace, given)

    def set_phase(self, name: str, phase: str) -> None:
        self._patch(name, {"status": {"phase": phase}}, "status")

    def bind(self, name: str) -> None:
        self.server.registry.bind(self.namespace, name, "n1")

    def delete(self, name: str) -> None:
        self.server.registry.delete(BY_NAME["v1", "pods"], self.namespace, name, {"gracePeriodSeconds": 0})

    def grant(self, user: str, *rules: Object) -> None:
        self.server.access.grant(user, [Rule.of(rule) for rule in rules])

    def access(self, user: str = "admin") -> Access:
        path = self._folder / f"{user}.yaml"
        path.write_text(yaml.safe_dump(self.server.kubeconfig(user)))
        return Access(str(path))

    def forget(self) -> None:
        self.make("configmaps", {"metadata": {"name": "busy"}})
        for number in range(store.CHANGES_KEPT):
            self.server.registry.patch(
                BY_NAME["v1", "configmaps"], self.namespace, "busy", {"data": {"n": str(number)}}
            )

    def _patch(self, name: str, patch: Object, subresource: str) -> None:
        pods = BY_NAME["v1", "pods"]
        self.server.registry.patch(pods, self.namespace, name, patch, subresource=subresource)


class Real:
    def __init__(self, kubernetes: Kubernetes, etcd: int) -> None:
        self.kubernetes, self._etcd = kubernetes, etcd
        self.namespace = f"contract-{secrets.token_hex(4)}"
        kubernetes.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}})
        account = {"name": "default", "namespace": self.namespace}  # pods are refused until there is one
        kubernetes.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})

    def make(self, plural: str, given: Object) -> Object:
        kind = {"pods": "Pod", "events": "Event", "configmaps": "ConfigMap"}[plural]
        meta = {**given["metadata"], "namespace": self.namespace}
        return self.kubernetes.create({"apiVersion": "v1", "kind": kind, **given, "metadata": meta})

    def set_phase(self, name: str, phase: str) -> None:
        path = f"/api/v1/namespaces/{self.namespace}/pods/{name}/status"
        body = {"status": {"phase": phase}}
        self.kubernetes.request("PATCH", path, body, content_type="application/merge-patch+json")

    def bind(self, name: str) -> None:
        target = {"apiVersion": "v1", "kind": "Node", "name": "n1"}
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
        self.kubernetes.request("POST", f"/api/v1/namespaces/{self.namespace}/pods/{name}/binding", body)

    def delete(self, name: str) -> None:
        self.kubernetes.delete("Pod", name, self.namespace, grace=0)

    def grant(self, user: str, *rules: Object) -> None:
        self.kubernetes.grant(user, rules)

    def access(self, user: str = "admin") -> Access:
        return Access(str(self.kubernetes.kubeconfig(user)))

    def forget(self) -> None:
        """Have etcd forget what was before, as the API server has it do every five minutes."""
        listed = json.loads(self.kubernetes.request("GET", f"/api/v1/namespaces/{self.namespace}/events"))
        body = json.dumps({"revision": listed["metadata"]["resourceVersion"], "physical": True}).encode()
        asked = urllib.request.Request(f"http://127.0.0.1:{self._etcd}/v3/kv/compaction", body, method="POST")
        with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310 - the address is written above
            assert answer.status == 200


@pytest.fixture(scope="session")
def watched_kubernetes() -> Iterator[tuple[Kubernetes, int]]:
    """A real cluster of which the port of etcd is known."""
    ports = free_ports(5)
    with tempfile.TemporaryDirectory(prefix="unstick-") as folder, Kubernetes(Path(folder), ports=ports) as cluster:
        yield cluster, ports[0]


@pytest.fixture(params=["simulated", pytest.param("real", marks=pytest.mark.real)])
async def cluster(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Cluster]:
    if request.param == "real":
        yield Real(*request.getfixturevalue("watched_kubernetes"))
        return
    monkeypatch.setattr(store, "CHANGES_KEPT", 100)
    users = {user: secrets.token_hex(8) for user in ("admin", "diagnose")}
    async with ApiServer(lambda: datetime.now(UTC), users, {"admin": [EVERYTHING]}) as server:
        yield Simulated(server, tmp_path)


class Heard:
    def __init__(self) -> None:
        self.changes: list[tuple[str, str]] = []
        self.lists = 0

    def changed(self, change: Change, thing: Any) -> None:
        self.changes.append((change.value, thing.metadata.name))

    def listed(self, namespace: str | None, uids: frozenset[str]) -> None:
        self.lists += 1


class Following:
    """A stream that follows one namespace of the cluster under test."""

    def __init__(self, cluster: Cluster, watched: Watched[Any] = PODS, **how: Any) -> None:
        self.heard = Heard()
        self.pauses = 0
        how = {"lasts": (60, 60), **how}
        self.stream = Stream(
            watched, cluster.namespace, self.heard, now=lambda: datetime.now(UTC), pause=self._pause, **how
        )

    async def _pause(self, seconds: float) -> None:
        self.pauses += 1
        await asyncio.sleep(min(seconds, 0.05))

    @asynccontextmanager
    async def of(self, access: Access) -> AsyncIterator["Following"]:
        async with Api(access) as api:
            task = asyncio.create_task(self.stream.follow(api))
            try:
                yield self
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


async def until(what: Callable[[], object], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not what():  # noqa: ASYNC110 - it happens in a server
            await asyncio.sleep(0.01)


def pod(name: str) -> Object:
    # A scheduler that is not there: the real one must not bind it meanwhile.
    spec = {"containers": [{"name": "c", "image": "x"}], "schedulerName": "nobody"}
    return {"metadata": {"name": name}, "spec": {**spec, "automountServiceAccountToken": False}}


def made(cluster: Cluster, name: str) -> None:
    """A pod that waits on a node."""
    cluster.make("pods", pod(name))
    cluster.bind(name)


def event(cluster: Cluster, name: str, kind: str = "Warning") -> None:
    about = {"kind": "Pod", "namespace": cluster.namespace, "name": "p", "uid": "u"}
    cluster.make("events", {"metadata": {"name": name}, "involvedObject": about, "reason": "FailedMount", "type": kind})


async def test_a_pod_is_heard_of_while_it_waits_on_a_node_and_no_longer(cluster: Cluster) -> None:
    made(cluster, "before")
    async with Following(cluster).of(cluster.access()) as following:
        await until(lambda: following.stream.connected)
        cluster.make("pods", pod("unbound"))
        made(cluster, "runs")
        made(cluster, "goes")
        cluster.set_phase("runs", "Running")
        cluster.delete("goes")
        await until(lambda: ("DELETED", "goes") in following.heard.changes)
    # The real server may tell first that a deletion has begun.
    assert [change for change in following.heard.changes if change[0] != "MODIFIED"] == [
        ("LISTED", "before"), ("ADDED", "runs"), ("ADDED", "goes"), ("DELETED", "runs"), ("DELETED", "goes")
    ]  # fmt: skip
    assert following.pauses == 0


async def test_of_events_just_the_warnings_are_heard(cluster: Cluster) -> None:
    async with Following(cluster, EVENTS).of(cluster.access()) as following:
        await until(lambda: following.stream.connected)
        event(cluster, "normal", "Normal")
        event(cluster, "warning")
        await until(lambda: following.heard.changes)
    assert following.heard.changes == [("ADDED", "warning")]


async def test_watches_that_end_in_time_lose_and_double_nothing(cluster: Cluster) -> None:
    names = [f"p{number}" for number in range(30)]
    async with Following(cluster, lasts=(1, 1)).of(cluster.access()) as following:
        await until(lambda: following.stream.connected)
        for name in names:
            made(cluster, name)
            await asyncio.sleep(0.1)  # so that several watches end meanwhile
        await until(lambda: len(following.heard.changes) >= len(names))
    assert following.heard.changes == [("ADDED", name) for name in names]
    assert following.heard.lists == 1, "it went on from where it was"


async def test_what_is_no_longer_remembered_is_listed_anew(cluster: Cluster) -> None:
    # Of events the real server has no cache: how far back they are remembered is etcd's.
    event(cluster, "before")
    following = Following(cluster, EVENTS)
    cluster.forget()
    following.stream.revision = "2"
    async with following.of(cluster.access()):
        await until(lambda: following.stream.connected and following.heard.changes)
        event(cluster, "after")
        await until(lambda: len(following.heard.changes) > 1)
    assert following.heard.changes == [("LISTED", "before"), ("ADDED", "after")]
    assert int(following.stream.revision) > 2


async def test_a_revision_from_the_future_is_found_out(cluster: Cluster) -> None:
    made(cluster, "p")
    following = Following(cluster, silence=1.0)
    following.stream.revision = "999999999"
    async with following.of(cluster.access()):
        await until(lambda: following.heard.lists)
        await until(lambda: following.stream.connected)
        made(cluster, "q")
        await until(lambda: ("ADDED", "q") in following.heard.changes)
    assert following.heard.changes == [("LISTED", "p"), ("ADDED", "q")]


async def test_who_may_not_watch_is_told_what_to_grant(cluster: Cluster) -> None:
    access = cluster.access("diagnose")
    cluster.grant("diagnose", LIST)
    following = Following(cluster)
    async with following.of(access):
        await until(lambda: following.stream.problem)
        said = following.stream.problem or ""
        cluster.grant("diagnose", WATCH)
        await until(lambda: following.stream.connected)
        assert following.stream.problem is None
    assert 'cannot watch resource "pods"' in said
    assert said.endswith("; grant list and watch on pods in a Role there.")
