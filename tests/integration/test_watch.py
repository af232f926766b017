"""The watch on a real API server, and a real (hollow) kubelet that says what fails."""

import asyncio
import os
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.rbac import read_rules
from bot.watch import Watch
from bot.watch.shapes import EVENTS, PODS
from diagnostics.model import Subject
from diagnostics.sources.kubernetes.api import Access, Api
from diagnostics.sources.kubernetes.watching import Change, Stream, Watched
from tests.lab.kubernetes import Kubernetes
from tests.lab.objects import Object

NODE = "hollow-0"


class Cluster:
    """A control plane of its own, whose hollow node gets no other tests' pods; each test has its own namespace."""

    def __init__(self, kubernetes: Kubernetes) -> None:
        self.kubernetes = kubernetes
        self.namespace = f"watch-{secrets.token_hex(4)}"
        kubernetes.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}})
        account = {"name": "default", "namespace": self.namespace}
        kubernetes.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})

    @property
    def access(self) -> Access:
        """As the identity that reads."""
        return Access(str(self.kubernetes.kubeconfig("diagnose")))

    def pod(self, name: str, node: str | None = NODE, volume: Object | None = None) -> Object:
        """Make a pod, on the hollow node past the scheduler or on none."""
        spec: Object = {
            "containers": [{"name": "app", "image": "app:1"}], "schedulerName": "nobody",
            "tolerations": [{"operator": "Exists"}], "automountServiceAccountToken": False,
        }  # fmt: skip
        if volume:
            spec["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
            spec["volumes"] = [{"name": "data", **volume}]
        meta = {"name": name, "namespace": self.namespace}
        bound = {"nodeName": node} if node else {}
        return self.kubernetes.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {**spec, **bound}})

    def event(self, name: str, about: Object, message: str) -> None:
        """Say that a pod's volume is not mounted, as a kubelet does."""
        meta, now = about["metadata"], datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        named = {"kind": "Pod", "namespace": self.namespace, "name": meta["name"], "uid": meta["uid"]}
        event = {"involvedObject": named, "reason": "FailedMount", "message": message, "type": "Warning", "count": 1}
        times = {"firstTimestamp": now, "lastTimestamp": now}
        head = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": self.namespace}}
        self.kubernetes.create({**head, **event, **times})


@pytest.fixture(scope="module")
def control_plane() -> Iterator[Kubernetes]:
    """One with a hollow kubelet."""
    if os.environ.get("KUBECONFIG") or os.environ.get("KUBEBUILDER_ASSETS"):
        pytest.skip("hollow kubelets join the lab's own Kubernetes only: KUBECONFIG and KUBEBUILDER_ASSETS name others")
    with (
        tempfile.TemporaryDirectory(prefix="unstick-") as folder,
        Kubernetes(Path(folder), hollow_nodes=1) as cluster,
    ):
        cluster.grant("diagnose", read_rules())
        yield cluster


@pytest.fixture
def cluster(control_plane: Kubernetes) -> Iterator[Cluster]:
    made = Cluster(control_plane)
    yield made
    made.kubernetes.delete("Namespace", made.namespace)


class Heard:
    def __init__(self) -> None:
        self.changes: list[tuple[str, str]] = []
        self.lists = 0

    def changed(self, change: Change, thing: Any) -> None:
        self.changes.append((change.value, thing.metadata.name))

    def listed(self, namespace: str | None, uids: frozenset[str]) -> None:
        self.lists += 1


def stream(watched: Watched[Any], namespace: str, heard: Heard, **how: Any) -> Stream[Any]:
    return Stream(watched, namespace, heard, now=lambda: datetime.now(UTC), **how)


@asynccontextmanager
async def following(stream: Stream[Any], access: Access) -> AsyncIterator[None]:
    async with Api(access) as api:
        task = asyncio.create_task(stream.follow(api))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(what: Callable[[], object], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not what():  # noqa: ASYNC110 - it happens in a server
            await asyncio.sleep(0.01)


async def test_a_bookmark_moves_the_revision_on_though_nothing_that_is_watched_has_changed(cluster: Cluster) -> None:
    heard = Heard()
    watch = stream(PODS, cluster.namespace, heard, lasts=(5, 5))
    async with following(watch, cluster.access):
        await until(lambda: watch.connected)
        began = watch.revision
        made = await asyncio.to_thread(cluster.pod, "unbound", None)
        await until(lambda: int(watch.revision) >= int(made["metadata"]["resourceVersion"]))
    assert int(watch.revision) > int(began)
    assert (heard.changes, heard.lists) == ([], 1)


@pytest.mark.parametrize("watched", [PODS, EVENTS], ids=["pods", "events"])
async def test_a_revision_from_the_future_is_found_out(cluster: Cluster, watched: Watched[Any]) -> None:
    heard = Heard()
    watch = stream(watched, cluster.namespace, heard, silence=1.0)
    watch.revision = "999999999"
    async with following(watch, cluster.access):
        await until(lambda: watch.revision not in ("", "999999999") and watch.connected)
        pod = await asyncio.to_thread(cluster.pod, "p")
        await asyncio.to_thread(cluster.event, "e", pod, "said now")
        await until(lambda: ("ADDED", "p" if watched is PODS else "e") in heard.changes)


class Told:
    """What a watch told, and when by the wall clock."""

    def __init__(self, cluster: Cluster, grace: float) -> None:
        self.notices: dict[str, float] = {}
        self.calls: list[tuple[str, str]] = []
        self.watch = Watch(
            "lab", lambda: Api(cluster.access), self._notice, self._settled,
            grace=timedelta(seconds=grace), namespaces=(cluster.namespace,),
        )  # fmt: skip

    async def _notice(self, subject: Subject) -> None:
        self.notices.setdefault(subject.name, time.monotonic())
        self.calls.append(("notice", subject.name))

    async def _settled(self, subject: Subject) -> None:
        self.calls.append(("settled", subject.name))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.watch.run())
        try:
            await until(lambda: self.watch.connected)
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_failed_mount_is_noticed_within_a_second_of_its_event(cluster: Cluster) -> None:
    told = Told(cluster, grace=1)
    async with told.running():
        # A node that is not there: nobody else says anything about the pod.
        pod = await asyncio.to_thread(cluster.pod, "locked", "absent-node")
        await asyncio.sleep(1.2)  # its grace, by the wall clock
        assert told.calls == []
        happened = time.monotonic()
        said = 'MountVolume.SetUp failed for volume "pv" : rbd: image index-api-image is locked by other nodes'
        await asyncio.to_thread(cluster.event, "locked", pod, said)
        await until(lambda: told.calls)
        assert told.notices["locked"] - happened < 1
        cluster.kubernetes.delete("Pod", "locked", cluster.namespace, grace=0)
        await until(lambda: len(told.calls) > 1)
    assert told.calls == [("notice", "locked"), ("settled", "locked")]


async def test_a_kubelets_own_event_is_noticed_and_settles_when_the_volume_is_there(cluster: Cluster) -> None:
    told = Told(cluster, grace=0)

    def has_event() -> bool:
        named = "involvedObject.name=needy,reason=FailedMount"
        return bool(cluster.kubernetes.items("Event", cluster.namespace, fields=named))

    async with told.running():
        await asyncio.to_thread(cluster.pod, "easy")
        await asyncio.to_thread(cluster.pod, "needy", NODE, {"configMap": {"name": "late"}})
        while not told.calls:
            if await asyncio.to_thread(has_event):
                seen = time.monotonic()
                await until(lambda: told.calls)
                assert told.notices["needy"] - seen < 1
            await asyncio.sleep(0.05)
        meta = {"name": "late", "namespace": cluster.namespace}
        cluster.kubernetes.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"a": "1"}})
        await until(lambda: ("settled", "needy") in told.calls, 120)
    assert told.calls == [("notice", "needy"), ("settled", "needy")]
