"""The sandbox's cluster behaves like one: pods are replaced, bound, mounted and evicted as the clock goes on."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from bot.sandbox.kubernetes import incident
from bot.sandbox.kubernetes.controllers import Controllers
from bot.sandbox.kubernetes.registry import Registry
from bot.sandbox.kubernetes.resources import (
    BY_NAME,
    EVENTS,
    LEASES,
    NODES,
    PODS,
    REPLICA_SETS,
    Object,
    parse_time,
)

LOCKED = "rbd: image index-api-image is locked by other nodes"
START = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)


class Storage:
    """Volumes that mount, except those that `errors` names; it notes who asked for what."""

    def __init__(self) -> None:
        self.errors: dict[str, str] = {}
        self.calls: list[tuple[str, str, str]] = []

    def mount(self, pod: Object, volume: Object, node: str) -> str | None:
        self.calls.append(("mount", volume["metadata"]["name"], node))
        return self.errors.get(volume["metadata"]["name"])

    def unmount(self, pod: Object, volume: Object, node: str) -> None:
        self.calls.append(("unmount", volume["metadata"]["name"], node))


class Cluster:
    """The incident's cluster with a clock to turn."""

    def __init__(self) -> None:
        self.now = START
        self.storage = Storage()
        self.storage.errors["index-api"] = LOCKED
        self.registry = Registry(lambda: self.now)
        self.registry.load(incident.objects(self.now))
        self.controllers = Controllers(self.registry, self.storage)

    def run(self, seconds: float = 0, every: float = 5) -> None:
        """Step now, and then every few seconds of the cluster's own time."""
        self.controllers.step()
        for _ in range(int(seconds / every)):
            self.now += timedelta(seconds=every)
            self.controllers.step()

    def pods(self, namespace: str) -> dict[str, Object]:
        return {pod["metadata"]["name"]: pod for pod in self.registry.store.all(PODS, namespace)}

    def told(self, namespace: str, reason: str) -> list[Object]:
        return [event for event in self.registry.store.all(EVENTS, namespace) if event.get("reason") == reason]

    def node(self, name: str) -> Object:
        return self.registry.get(NODES, None, name)

    def ready(self, name: str) -> str:
        return str(next(c["status"] for c in self.node(name)["status"]["conditions"] if c["type"] == "Ready"))


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def test_a_quiet_cluster_settles(cluster: Cluster) -> None:
    cluster.run()
    before = cluster.registry.store.revision
    cluster.run()
    assert cluster.registry.store.revision == before
    assert cluster.storage.calls == [("mount", "index-api", "node2")]


def test_the_stuck_pod_stays_stuck_and_kubelet_says_so_again_and_again(cluster: Cluster) -> None:
    before = {event["message"]: event["count"] for event in cluster.told("search", "FailedMount")}
    cluster.run(seconds=600)
    after = {event["message"]: event["count"] for event in cluster.told("search", "FailedMount")}
    assert set(after) == set(before)
    umbrella = next(message for message in after if message.startswith("Unable to mount"))
    specific = next(message for message in after if message.endswith(LOCKED))
    assert after[umbrella] - before[umbrella] == 4  # every 123 s
    assert 9 <= after[specific] - before[specific] <= 13  # soon, then every 122 s at the latest
    pod = cluster.pods("search")[incident.STUCK_POD]
    assert pod["status"]["phase"] == "Pending"
    assert pod["status"]["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}


def test_kubelet_waits_longer_after_each_failed_mount_but_never_over_two_minutes(cluster: Cluster) -> None:
    tries: list[datetime] = []
    cluster.storage.mount = lambda *_: tries.append(cluster.now) or LOCKED  # type: ignore[method-assign,func-returns-value]
    cluster.run(seconds=700, every=0.5)
    waits = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(tries)]
    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 64, 122, 122, 122, 122]


def test_once_the_lock_is_gone_kubelet_starts_the_pod_by_itself_within_three_minutes(cluster: Cluster) -> None:
    cluster.run(seconds=600)
    cluster.storage.errors.clear()
    cluster.run(seconds=175)
    pod = cluster.pods("search")[incident.STUCK_POD]
    assert (pod["status"]["phase"], pod["status"]["hostIP"]) == ("Running", "10.46.181.146")
    assert pod["status"]["podIP"].startswith("10.244.2.")
    assert {c["type"]: c["status"] for c in pod["status"]["conditions"]}["Ready"] == "True"
    (replica_set,) = cluster.registry.store.all(REPLICA_SETS, "search")
    assert replica_set["status"]["readyReplicas"] == 1
    assert [event["message"] for event in cluster.told("search", "Started")] == ["Started container index-api"]
    mounts = len(cluster.storage.calls)
    cluster.run(seconds=60)
    assert len(cluster.storage.calls) == mounts


def test_a_deleted_stuck_pod_is_replaced_and_the_replacement_runs(cluster: Cluster) -> None:
    cluster.run()
    cluster.storage.errors.clear()
    cluster.registry.delete(PODS, "search", incident.STUCK_POD)
    assert "deletionTimestamp" in cluster.pods("search")[incident.STUCK_POD]["metadata"]
    cluster.run()
    pods = cluster.pods("search")
    (replacement,) = set(pods) - {incident.OLD_POD}
    assert replacement != incident.STUCK_POD
    assert replacement.startswith("index-api-5c9d8f7b6d-")
    assert pods[replacement]["status"]["phase"] == "Running"
    assert [event["message"] for event in cluster.told("search", "SuccessfulCreate")] == [f"Created pod: {replacement}"]


def test_a_terminating_pod_on_the_dead_node_stays_until_it_is_forced(cluster: Cluster) -> None:
    cluster.run(seconds=600)
    assert incident.OLD_POD in cluster.pods("search")
    cluster.registry.delete(PODS, "search", incident.OLD_POD, {"gracePeriodSeconds": 0})
    cluster.run(seconds=10)
    assert list(cluster.pods("search")) == [incident.STUCK_POD]
    assert not [call for call in cluster.storage.calls if call[2] == "node1"]


def test_a_stateful_pod_is_made_again_only_when_its_name_is_free(cluster: Cluster) -> None:
    cluster.run(seconds=60)
    old = cluster.pods("billing")["ledger-0"]
    assert old["spec"]["nodeName"] == "node1"
    cluster.registry.delete(PODS, "billing", "ledger-0", {"gracePeriodSeconds": 0})
    cluster.run()
    new = cluster.pods("billing")["ledger-0"]
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    assert (new["spec"]["nodeName"] in ("node2", "node3"), new["status"]["phase"]) == (True, "Running")


def test_a_node_that_falls_silent_is_tainted_and_its_pods_are_evicted_after_five_minutes(cluster: Cluster) -> None:
    cluster.run(seconds=10)
    cluster.controllers.stop_kubelet("node3")
    cluster.run(seconds=30)
    assert cluster.ready("node3") == "True"
    cluster.run(seconds=20)
    assert cluster.ready("node3") == "Unknown"
    assert {(t["key"], t["effect"]) for t in cluster.node("node3")["spec"]["taints"]} == {
        ("node.kubernetes.io/unreachable", "NoSchedule"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
    }
    reports = cluster.pods("media")["reports-0"]
    assert ("deletionTimestamp" in reports["metadata"], reports["status"]["phase"]) == (False, "Running")
    assert {c["type"]: c["status"] for c in reports["status"]["conditions"]}["Ready"] == "False"
    cluster.run(seconds=280)
    assert "deletionTimestamp" not in cluster.pods("media")["reports-0"]["metadata"]
    cluster.run(seconds=20)
    assert "deletionTimestamp" in cluster.pods("media")["reports-0"]["metadata"]
    web = cluster.pods("shop").values()
    running = [pod["spec"]["nodeName"] for pod in web if "deletionTimestamp" not in pod["metadata"]]
    assert running == ["node2"] * 3
    agents = cluster.pods("monitoring").values()
    assert not [pod for pod in agents if "deletionTimestamp" in pod["metadata"]]


def test_a_node_that_boots_again_is_another_boot_and_finishes_what_was_to_end(cluster: Cluster) -> None:
    cluster.run()
    before = cluster.node("node1")["status"]["nodeInfo"]
    cluster.controllers.boot("node1")
    cluster.run(seconds=10)
    after = cluster.node("node1")["status"]["nodeInfo"]
    assert after["bootID"] != before["bootID"]
    assert after["systemUUID"] == before["systemUUID"]
    assert cluster.ready("node1") == "True"
    assert "taints" not in cluster.node("node1")["spec"]
    assert incident.OLD_POD not in cluster.pods("search")
    lease = cluster.registry.get(LEASES, "kube-node-lease", "node1")
    assert cluster.now - parse_time(lease["spec"]["renewTime"]) < timedelta(seconds=40)


def test_a_cordoned_node_gets_no_new_pods(cluster: Cluster) -> None:
    cluster.registry.patch(NODES, None, "node2", {"spec": {"unschedulable": True}})
    cluster.storage.errors.clear()
    cluster.run()
    assert [t["key"] for t in cluster.node("node2")["spec"]["taints"]] == ["node.kubernetes.io/unschedulable"]
    cluster.registry.delete(PODS, "search", incident.STUCK_POD)
    cluster.run()
    assert {pod["spec"]["nodeName"] for pod in cluster.pods("search").values()} == {"node1", "node3"}
    cluster.registry.patch(NODES, None, "node2", {"spec": {"unschedulable": None}})
    cluster.run()
    assert "taints" not in cluster.node("node2")["spec"]


def test_a_pod_that_fits_nowhere_waits_and_says_so(cluster: Cluster) -> None:
    for name in ("node2", "node3"):
        cluster.registry.patch(NODES, None, name, {"spec": {"unschedulable": True}})
    cluster.registry.delete(PODS, "search", incident.STUCK_POD, {"gracePeriodSeconds": 0})
    cluster.run(seconds=20)
    (waiting,) = [pod for pod in cluster.pods("search").values() if not pod["spec"].get("nodeName")]
    assert waiting["status"]["phase"] == "Pending"
    (event,) = cluster.told("search", "FailedScheduling")
    assert event["message"].startswith("0/3 nodes are available")


def test_pods_say_which_claim_or_config_map_they_lack(cluster: Cluster) -> None:
    volumes = [
        {"name": "a", "persistentVolumeClaim": {"claimName": "nope"}},
        {"name": "b", "configMap": {"name": "nope"}},
        {"name": "c", "configMap": {"name": "nope", "optional": True}},
        {"name": "d", "secret": {"secretName": "ceph-admin-key"}},
    ]
    spec = {"containers": [{"name": "c", "image": "x"}], "volumes": volumes}
    cluster.registry.create(PODS, "search", {"metadata": {"name": "p"}, "spec": spec})
    cluster.run(seconds=180)
    failed = {e["message"] for e in cluster.told("search", "FailedMount") if e["involvedObject"]["name"] == "p"}
    uid = cluster.pods("search")["p"]["metadata"]["uid"]
    assert failed == {
        'MountVolume.SetUp failed for volume "a" : persistentvolumeclaim "nope" not found',
        'MountVolume.SetUp failed for volume "b" : configmap "nope" not found',
        f'Unable to mount volumes for pod "p_search({uid})": timeout expired waiting for volumes to attach or mount '
        'for pod "search"/"p". list of unmounted volumes=[a b]. list of unattached volumes=[a b]',
    }
    cluster.registry.create(BY_NAME["v1", "configmaps"], "search", {"metadata": {"name": "nope"}})
    cluster.run(seconds=130)
    assert ("mount", "b", cluster.pods("search")["p"]["spec"]["nodeName"]) in cluster.storage.calls


def test_a_pod_that_is_forced_away_under_a_live_kubelet_is_unmounted_there(cluster: Cluster) -> None:
    cluster.run()
    cluster.registry.delete(PODS, "media", "reports-0", {"gracePeriodSeconds": 0})
    cluster.run()
    assert ("unmount", "reports", "node3") in cluster.storage.calls


def test_the_surplus_pods_of_a_scaled_down_workload_end(cluster: Cluster) -> None:
    cluster.run()
    cluster.registry.patch(REPLICA_SETS, "shop", "web-7d5b8c6f9", {"spec": {"replicas": 1}})
    cluster.run(seconds=10)
    assert len(cluster.pods("shop")) == 1
