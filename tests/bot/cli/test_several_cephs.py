"""Two Ceph clusters with pools and images of the same names behind one Kubernetes: each volume is looked for in its own."""

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest

from bot import wiring
from bot.sandbox.ceph.client import SimulatedClient
from bot.sandbox.ceph.cluster import SimulatedCluster
from bot.sandbox.ceph.connection import Caps
from bot.sandbox.kubernetes.incident import DEAD_NODE, IMAGES, NODES, POOL, STUCK_POD
from bot.sandbox.kubernetes.resources import BY_NAME, Object
from bot.sandbox.world import BOT_IP
from bot.settings import load
from diagnostics.facts import NotSeen, Read, Snapshot
from diagnostics.facts.ceph import LOCKS, OSDMAP, Locks
from diagnostics.facts.kubernetes import VOLUMES as VOLUMES_SEEN
from diagnostics.model import Scope, Subject
from diagnostics.several import gather
from diagnostics.sources.ceph.rados import Rados, RadosError
from tests.bot.cli.test_bad_input import refused
from tests.bot.cli.test_runbook_commands import BOOK, requested, words_of
from tests.bot.cli.world import STUCK, Ran, World

IMAGE = f"{POOL}/{IMAGES[0]}"
SLOW_FSID = "5104b5a3-0000-4000-8000-00000000510f"
SLOW_MONS = {"a": "10.50.0.11", "b": "10.50.0.12"}
VOLUMES, PLUGINS, CONFIG = (
    BY_NAME["v1", "persistentvolumes"],
    BY_NAME["apps/v1", "daemonsets"],
    BY_NAME["v1", "configmaps"],
)
STRANGER = "10.46.181.147"  # node3's


class Two:
    """The world with the incident's Ceph as `fast` and another one as `slow`. `gate` may hold connections to one up."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.fast = world.sandbox.ceph
        self.slow = SimulatedCluster(
            world.sandbox.clock.now, fsid=SLOW_FSID, mons=SLOW_MONS, osds={0: "10.50.0.21"}, mgr=("s", "10.50.0.11")
        )
        self.slow.create_pool(POOL)
        for number, image in enumerate(IMAGES):
            self.slow.create_image(f"{POOL}/{image}", format=1 if number == 0 else 2)
        self.gates: dict[str, Callable[[], None]] = {}
        two = self

        class Simulated:
            def __init__(self, conffile: str, user: str) -> None:
                self._name, self._user = conffile.rpartition("/")[2].removesuffix(".conf"), user

            def connect(self) -> Rados:
                two.gates.get(self._name, lambda: None)()
                caps = Caps.REMEDIATE if self._user.endswith("remediate") else Caps.DIAGNOSE
                cluster = two.slow if self._name == "slow" else two.fast
                return cluster.connect(self._user, BOT_IP, caps)

        monkeypatch.setattr(wiring, "LibRados", Simulated)
        self.cephs = {name: {**world.cluster["ceph"], "conf": self._conf(name)} for name in ("slow", "fast")}
        self.configure(self.cephs)

    def _conf(self, name: str) -> str:
        file = self.world.folder / f"{name}.conf"
        file.touch()
        return str(file)

    def configure(self, cephs: dict[str, Any]) -> None:
        self.world.cluster.pop("ceph", None)
        self.world.cluster["cephs"] = cephs
        self.world.configure()

    def change(self, volume: str, edit: Callable[[Object], object]) -> None:
        """Change a PersistentVolume's spec behind everybody's back."""
        store = self.world.sandbox.api.registry.store
        [found] = [copy.deepcopy(one) for one in store.all(VOLUMES) if one["metadata"]["name"] == volume]
        edit(found["spec"])
        store.put(VOLUMES, found)

    def move(self, volume: str, monitors: list[str]) -> None:
        """Let a volume name other monitors."""
        self.change(volume, lambda spec: spec["rbd"].update(monitors=monitors))

    def lock(self, cluster: SimulatedCluster, ip: str = STRANGER) -> SimulatedClient:
        """Let somebody at work hold the incident's image in one of them."""
        client = cluster.client(ip, "client.admin")
        client.lock_advisory(IMAGE, "by hand")
        client.open(IMAGE)
        return client

    def away(self, name: str) -> None:
        """Nobody reaches that Ceph from now on."""

        def fail() -> None:
            raise RadosError(110, "no monitor answered in 5 s")

        self.gates[name] = fail


@pytest.fixture
def two(world: World, monkeypatch: pytest.MonkeyPatch) -> Two:
    """Both Ceph clusters configured."""
    return Two(world, monkeypatch)


def why(two: Two) -> Any:
    return two.world.run("why", *STUCK, "-o", "json").json


def kinds(told: Any) -> list[str]:
    return [link["subject"]["kind"] for link in told["chain"]]


def rows(ran: Ran) -> set[tuple[str, str, str]]:
    return {(row["ceph"], row["image"], row["verdict"]) for row in ran.json["locks"]}


def evidence(told: Any, source: str) -> set[str]:
    return {e["text"] for link in told["chain"] for e in link["evidence"] if e["source"] == source}


def test_the_monitors_of_a_volume_lead_to_its_ceph_and_no_lock_of_the_other_is_seen(two: Two) -> None:
    two.lock(two.slow)
    told = why(two)
    locks = [link for link in told["chain"] if link["subject"]["kind"] == "RBDLock"]
    assert [lock["subject"]["uid"].partition("/")[0] for lock in locks] == [two.fast.fsid]
    [proof] = evidence(told, "ceph cluster")
    assert proof.startswith(f"it lies in Ceph fast ({two.fast.fsid}): its monitors are 10.46.180.11:6789")

    two.move("index-api", ["10.50.0.12:6789"])
    moved = why(two)
    locks = [link for link in moved["chain"] if link["subject"]["kind"] == "RBDLock"]
    assert [lock["subject"]["uid"].partition("/")[0] for lock in locks] == [SLOW_FSID]
    assert "node3" in moved["summary"]
    assert DEAD_NODE not in str(moved["chain"]), (
        "who holds an image of that name in the other Ceph is nobody's business"
    )


def test_an_unlocked_image_is_unlocked_though_its_namesake_is_not(two: Two) -> None:
    two.move("index-api", [f"{ip}:6789" for ip in SLOW_MONS.values()])
    told = why(two)
    assert told["status"] == "found"
    assert "RBDLock" not in kinds(told)
    [image] = [link for link in told["chain"] if link["subject"]["kind"] == "RBDImage"]
    assert image["subject"]["uid"] == f"{SLOW_FSID}/{POOL}//{IMAGES[0]}"
    assert image["says"].startswith("is not locked")


NEITHER = "which Ceph it lies in is not known: its monitors are 10.77.0.1:6789, which is none of those configured: "


@pytest.mark.parametrize(
    ("monitors", "says"),
    [
        (["10.77.0.1:6789"], NEITHER),
        (["mon.example:6789"], "its monitors are mon.example:6789, which is none of those configured"),
        ([], "its monitors are none"),
        (["10.46.180.11:6789", "10.50.0.11:6789"], "which fits fast and slow alike"),
    ],
)
def test_a_volume_of_neither_is_unknown_even_where_only_one_has_an_image_of_that_name(
    two: Two, monitors: list[str], says: str
) -> None:
    two.move("index-api", monitors)
    told = why(two)
    assert {"RBDImage", "RBDLock", "CephClient"}.isdisjoint(kinds(told))
    [unseen] = [one for one in told["unseen"] if says in one]
    assert all(name in unseen for name in ("fast", "slow")), "it names those that are configured"
    assert not [offer for offer in told["runbooks"] if offer["id"] == BOOK]

    outcomes = {o["check"]: o for o in two.world.run("check", "-o", "json").json["outcomes"]}
    blocking = outcomes["ceph/locks_blocking_pods"]
    assert blocking["status"] == "unknown"
    assert says in blocking["reason"]
    assert blocking["reason"].count(says) == 1, "both looks say the same, which is told once"
    watched = outcomes["ceph/images_watched_by_dead_nodes"]
    assert (watched["status"], says in watched["reason"]) == ("unknown", True), "who has it open was looked at nowhere"


def test_a_scan_of_both_comes_to_what_each_has(two: Two) -> None:
    alone = {o["check"]: o for o in two.world.run("check", "-o", "json").json["outcomes"]}
    held = two.lock(two.slow)
    held.kill()
    two.slow.used[POOL] = 0.97
    for _ in range(2):  # its watch ends after 30 s, and then it takes two looks
        two.world.pass_time(40)
        two.world.run("locks")
    two.world.pass_time(40)
    ran = two.world.run("check", "-o", "json")
    found = {o["check"]: o for o in ran.json["outcomes"]}
    [full] = found["ceph/pools_near_full"]["findings"]
    assert full["subject"]["uid"] == f"{SLOW_FSID}/{POOL}"
    stale = [f["subject"]["uid"] for f in found["ceph/locks_stale"]["findings"]]
    assert f"{SLOW_FSID}/{POOL}//{IMAGES[0]}" in stale
    assert f"{two.fast.fsid}/{POOL}//{IMAGES[0]}" in stale
    of_pods = [c for c in alone if c.startswith(("pods/", "nodes/", "jobs/", "rollouts/"))]
    assert {c: len(found[c]["findings"]) for c in of_pods} == {c: len(alone[c]["findings"]) for c in of_pods}
    assert len(found["storage/pods_stuck_creating"]["findings"]) == 1, "both looks met it, and it is one"
    assert ran.json["scanned"]["pods"] == 13, "Kubernetes is counted once"
    assert ran.json["scanned"]["rbd images"] == 2 * len(IMAGES)


def test_locks_of_both_are_listed_with_the_name_of_their_ceph(two: Two) -> None:
    two.lock(two.slow)
    ran = two.world.run("locks", "-o", "json")
    assert ran.code == 1
    assert ("slow", IMAGES[0], "live") in rows(ran)
    assert ("fast", IMAGES[0], "suspect") in rows(ran)
    assert {pool["ceph"]: pool["locked"] for pool in ran.json["pools"]} == {"slow": 1, "fast": 3}
    of = {row["ceph"]: row for row in ran.json["locks"] if row["image"] == IMAGES[0]}
    assert (of["fast"]["pv"], of["slow"]["pv"]) == ("index-api", None), "no volume is made of the slow one's image"
    assert of["slow"]["pods"] == []
    words = two.world.run("locks").out
    assert f"slow: {IMAGE}" in words
    assert f"fast: {IMAGE}" in words


def test_one_that_is_away_hides_and_changes_nothing_of_the_other(two: Two) -> None:
    before = two.world.run("check", "-o", "json").json["outcomes"]
    whole = why(two)
    two.away("slow")
    assert why(two)["chain"] == whole["chain"]
    ran = two.world.run("check", "-o", "json")
    for had, has in zip(before, ran.json["outcomes"], strict=True):
        assert [f["id"] for f in has["findings"]] == [f["id"] for f in had["findings"]], had["check"]
    osds = next(o for o in ran.json["outcomes"] if o["check"] == "ceph/osds_down")
    assert (osds["status"], osds["reason"].count("Ceph slow: ")) == ("unknown", 1)
    assert "no monitor answered" in osds["reason"]

    listed = two.world.run("locks", "-o", "json")
    assert {row["ceph"] for row in listed.json["locks"]} == {"fast"}
    [problem] = listed.json["problems"]
    assert (problem["ceph"], problem["pool"]) == ("slow", "*")
    assert "no monitor answered" in problem["reason"]
    assert "could not be read: Ceph slow: " in two.world.run("locks").out

    two.away("fast")
    refused(two.world.run("locks"), 3, "Ceph slow: ", "Ceph fast: ")


def test_a_volume_of_the_one_that_is_away_is_unknown_and_the_reason_names_it(two: Two) -> None:
    two.move("index-api", ["10.50.0.11:6789"])
    two.away("slow")
    told = why(two)
    assert {"RBDImage", "RBDLock"}.isdisjoint(kinds(told))
    [unseen] = [one for one in told["unseen"] if "which Ceph it lies in is not known" in one]
    assert "slow: Ceph could not be asked: no monitor answered" in unseen


def test_one_that_hangs_holds_nothing_of_the_other_up(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection comes back only once the other one's locks were read: had they waited for it, it would time out."""
    read, waited = threading.Event(), list[bool]()
    connect = two.fast.connect

    def connected(*args: Any) -> Any:
        rados = connect(*args)
        execute_each, execute = rados.execute_each, rados.execute

        def each(*words: Any) -> Any:
            answers = execute_each(*words)
            read.set()
            return answers

        def one(*words: Any) -> Any:
            answer = execute(*words)
            read.set()
            return answer

        monkeypatch.setattr(rados, "execute_each", each, raising=False)
        monkeypatch.setattr(rados, "execute", one, raising=False)
        return rados

    def hang() -> None:
        waited.append(read.wait(20))
        raise RadosError(110, "no monitor answered in 5 s")

    monkeypatch.setattr(two.fast, "connect", connected)
    two.gates["slow"] = hang
    assert two.world.run("locks", "-o", "json").json["locks"]
    assert waited == [True]


def test_why_waits_for_no_ceph_but_the_volumes_own(two: Two) -> None:
    """The other one's connection hangs until `why` has answered: had it been waited for, it would have ended first."""
    answered, ended = threading.Event(), threading.Event()

    def hang() -> None:
        answered.wait(15)
        ended.set()
        raise RadosError(110, "no monitor answered in 5 s")

    two.gates["slow"] = hang
    told = why(two)
    assert not ended.is_set()
    answered.set()
    assert told["cause"] == "rbd-image-locked"
    assert "RBDLock" in kinds(told)
    assert told["unseen"] == []


def test_sightings_of_one_outlive_its_absence(two: Two) -> None:
    two.world.run("locks")
    two.world.pass_time(20)
    two.away("fast")
    two.world.run("locks")
    two.world.pass_time(20)
    del two.gates["fast"]
    assert ("fast", IMAGES[0], "stale") in rows(two.world.run("locks", "-o", "json"))


def test_a_pod_that_waits_for_a_volume_in_each_is_told_with_both_locks(two: Two) -> None:
    store = two.world.sandbox.api.registry.store
    claims, pods = BY_NAME["v1", "persistentvolumeclaims"], BY_NAME["v1", "pods"]
    [volume] = [copy.deepcopy(one) for one in store.all(VOLUMES) if one["metadata"]["name"] == "index-api"]
    [claim] = [copy.deepcopy(one) for one in store.all(claims) if one["metadata"]["name"] == "index-api"]
    [pod] = [copy.deepcopy(one) for one in store.all(pods) if one["metadata"]["name"] == STUCK_POD]
    volume["metadata"] |= {"name": "extra", "uid": "uid-extra"}
    volume["spec"]["rbd"] |= {"monitors": ["10.50.0.11:6789"]}
    volume["spec"]["claimRef"] |= {"name": "extra", "uid": "uid-extra-claim"}
    claim["metadata"] |= {"name": "extra", "uid": "uid-extra-claim"}
    claim["spec"]["volumeName"] = "extra"
    pod["spec"]["volumes"].append({"name": "extra", "persistentVolumeClaim": {"claimName": "extra"}})
    for resource, made in ((VOLUMES, volume), (claims, claim), (pods, pod)):
        store.put(resource, made)
    two.lock(two.slow)
    told = why(two)
    locks = [link["subject"]["uid"].partition("/")[0] for link in told["chain"] if link["subject"]["kind"] == "RBDLock"]
    assert sorted(locks) == sorted([two.fast.fsid, SLOW_FSID])
    assert told["chain"][-1]["subject"]["kind"] == "Node"
    blocking = next(o for o in two.world.run("check", "-o", "json").json["outcomes"] if o["check"] == "ceph/locks_blocking_pods")  # fmt: skip
    [finding] = blocking["findings"]
    assert "node3" in finding["summary"]
    assert DEAD_NODE in finding["summary"]


# Pools that were named


def test_a_pool_that_only_one_has_is_no_problem_and_one_that_none_has_is_a_slip(two: Two) -> None:
    two.slow.create_pool("archive")
    ran = two.world.run("locks", "--pool", "archive", "-o", "json")
    assert (ran.code, ran.json["problems"]) == (0, [])
    assert [(pool["ceph"], pool["pool"]) for pool in ran.json["pools"]] == [("slow", "archive")]
    refused(two.world.run("locks", "--pool", "archiv"), 2, "no pool archiv in the Ceph clusters fast and slow", "mioss")


# ceph-csi


def csi(two: Two, cluster: str, entries: str) -> None:
    """Let the incident's volume be one of ceph-csi, and let its plugin have this configuration."""
    template = {"spec": {"containers": [], "volumes": [
        {"name": "socket", "hostPath": {"path": "/var/lib/kubelet/plugins/rook-ceph.rbd.csi.ceph.com"}},
        {"name": "ceph-csi-configs", "projected": {"sources": [{"configMap": {"name": "rook-ceph-csi-config"}}]}},
    ]}}  # fmt: skip
    plugin = {
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "csi-rbdplugin", "namespace": "rook-ceph", "uid": "uid-plugin", "resourceVersion": "1"},
        "spec": {"selector": {"matchLabels": {"app": "csi-rbdplugin"}}, "template": template},
        "status": {"desiredNumberScheduled": 0},
    }  # fmt: skip
    config = {
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "rook-ceph-csi-config", "namespace": "rook-ceph", "uid": "uid-config", "resourceVersion": "1"},
        "data": {"csi-cluster-config-json": entries},
    }  # fmt: skip
    store = two.world.sandbox.api.registry.store
    store.put(PLUGINS, plugin)
    store.put(CONFIG, config)
    attributes = {"clusterID": cluster, "pool": POOL, "imageName": IMAGES[0]}
    handle = f"0001-{len(cluster):04x}-{cluster}-0000000000000002-8d2f3a1c"
    driver = {"driver": "rook-ceph.rbd.csi.ceph.com", "volumeHandle": handle, "volumeAttributes": attributes}

    def edit(spec: Object) -> None:
        del spec["rbd"]
        spec["csi"] = driver

    two.change("index-api", edit)


ROOK = '[{"clusterID": "rook-ceph", "monitors": ["10.50.0.11:6789", "10.50.0.12:6789"]}]'


def test_a_cluster_id_leads_to_its_ceph_by_the_monitors_in_ceph_csis_configuration(two: Two) -> None:
    two.lock(two.slow)
    csi(two, "rook-ceph", ROOK)
    told = why(two)
    [lock] = [link for link in told["chain"] if link["subject"]["kind"] == "RBDLock"]
    assert lock["subject"]["uid"].startswith(f"{SLOW_FSID}/")
    says = f"it lies in Ceph slow ({SLOW_FSID}): its clusterID rook-ceph has 10.50.0.11:6789, 10.50.0.12:6789 in ceph-csi's configuration"
    assert says in evidence(told, "ceph cluster")
    listed = two.world.run("locks", "-o", "json").json["locks"]
    volumes = {row["ceph"]: row["pv"] for row in listed if row["image"] == IMAGES[0]}
    assert volumes == {"slow": "index-api", "fast": None}, (
        "`locks` looks at no pod, and finds the configuration all the same"
    )


@pytest.mark.parametrize(
    ("cluster", "entries", "says"),
    [
        ("rook-ceph", "[]", "does not have that, or cannot be used"),
        ("rook-ceph", '[{"clusterID": "rook-ceph", "monitors": ["10.77.0.1:6789"]}]', "is none of those configured"),
        (SLOW_FSID, f'[{{"clusterID": "{SLOW_FSID}", "monitors": ["10.46.180.11:6789"]}}]', "do not fit together"),
    ],
)
def test_a_cluster_id_that_leads_nowhere_or_to_two_is_unknown(two: Two, cluster: str, entries: str, says: str) -> None:
    csi(two, cluster, entries)
    told = why(two)
    assert {"RBDImage", "RBDLock"}.isdisjoint(kinds(told))
    assert any("which Ceph it lies in is not known" in one and says in one for one in told["unseen"])


@pytest.mark.parametrize("resource", ["daemonsets", "configmaps"])
def test_a_configuration_that_may_not_be_read_is_said_and_nothing_is_guessed(two: Two, resource: str) -> None:
    csi(two, "rook-ceph", ROOK)
    two.world.forbid(resource)
    told = why(two)
    assert {"RBDImage", "RBDLock"}.isdisjoint(kinds(told))
    [unseen] = [one for one in told["unseen"] if "which Ceph it lies in is not known" in one]
    assert "ceph-csi's configuration could not be read: Not allowed" in unseen
    assert resource in unseen


def test_a_cluster_id_that_is_an_fsid_is_enough_without_any_configuration(two: Two) -> None:
    two.lock(two.slow)
    csi(two, SLOW_FSID, "no json")
    assert SLOW_FSID in str([link["subject"]["uid"] for link in why(two)["chain"]])


# Acts


def test_acts_go_to_the_ceph_of_the_image_and_leave_its_namesake_alone(two: Two) -> None:
    two.lock(two.slow, NODES[DEAD_NODE]).kill()
    execution = requested(two.world)
    done = two.world.run("runbook", "approve", execution, "--confirm", DEAD_NODE, "-o", "json", login="bob")
    assert (done.code, done.json["state"]) == (0, "done"), done
    assert two.world.pods() == {STUCK_POD: "Running"}
    assert two.slow.fences == {}
    assert two.fast.fences
    held = {(row["ceph"], row["address"].partition(":")[0]) for row in two.world.run("locks", "-o", "json").json["locks"]
            if row["image"] == IMAGES[0]}  # fmt: skip
    assert held == {("slow", NODES[DEAD_NODE]), ("fast", NODES["node2"])}


def test_acts_are_done_though_the_other_ceph_is_away(two: Two) -> None:
    execution = requested(two.world)
    two.away("slow")
    done = two.world.run("runbook", "approve", execution, "--confirm", DEAD_NODE, "-o", "json", login="bob")
    assert (done.code, done.json["state"]) == (0, "done"), done


def test_an_image_that_is_a_volumes_in_both_is_not_acted_on(two: Two) -> None:
    two.world.stale()
    words = words_of(two.world)
    store = two.world.sandbox.api.registry.store
    [volume] = [copy.deepcopy(one) for one in store.all(VOLUMES) if one["metadata"]["name"] == "index-api"]
    volume["metadata"] |= {"name": "namesake", "uid": "uid-namesake"}
    volume["spec"]["rbd"]["monitors"] = ["10.50.0.11:6789"]
    del volume["spec"]["claimRef"]
    store.put(VOLUMES, volume)
    ran = two.world.run("runbook", "plan", *words)
    assert ran.code == 1
    assert (
        f"RBDImage {IMAGE} is of volumes in the Ceph clusters fast and slow: which one is meant is not certain"
        in ran.out
    )


def test_a_node_that_is_fenced_in_one_is_unfenced_there_and_in_two_nobody_guesses(two: Two) -> None:
    unfence = ("runbook", "plan", "ceph/unfence_recovered_node", "-p", f"node={DEAD_NODE}")
    nobody = two.world.run(*unfence)
    assert "none of fast and slow fences it; or name the one that is meant with --ceph-conf" in nobody.out
    until = two.world.sandbox.clock.now().replace(year=2031)
    two.slow.fences[f"{NODES[DEAD_NODE]}:0/0"] = until
    one = two.world.run(*unfence)
    assert "which Ceph is meant" not in one.out
    assert f"take {NODES[DEAD_NODE]}:0/0 off the blocklist" in one.out
    two.fast.fences[f"{NODES[DEAD_NODE]}:0/0"] = until
    assert "fast and slow fence it" in two.world.run(*unfence).out


# The configuration


def test_config_check_has_a_row_for_each(two: Two) -> None:
    ran = two.world.run("config", "check", "-o", "json")
    assert ran.code == 0
    parts = {part["part"]: part for part in ran.json["parts"]}
    assert set(parts) == {
        "kubernetes", "kubernetes (remediate)", "ceph slow", "ceph fast", "ceph slow (remediate)", "ceph fast (remediate)",
    }  # fmt: skip
    assert SLOW_FSID in parts["ceph slow"]["uses"]
    assert two.fast.fsid in parts["ceph fast (remediate)"]["uses"]
    two.away("slow")
    ran = two.world.run("config", "check", "-o", "json")
    statuses = {part["part"]: part["status"] for part in ran.json["parts"]}
    assert (ran.code, statuses["ceph slow"], statuses["ceph fast"]) == (3, "unknown", "ok")


def test_config_check_finds_one_ceph_under_two_names_and_one_that_acts_on_another(two: Two) -> None:
    twin = two.world.folder / "twin.conf"
    twin.touch()
    two.configure(two.cephs | {"twin": {"conf": str(twin)}})
    ran = two.world.run("config", "check", "-o", "json")
    parts = {part["part"]: part for part in ran.json["parts"]}
    assert (ran.code, parts["ceph twin"]["status"], parts["ceph fast"]["status"]) == (2, "wrong", "ok")
    assert "it is the same cluster as ceph fast" in parts["ceph twin"]["reason"]

    two.configure(two.cephs | {"fast": {**two.cephs["fast"], "remediate_conf": two.cephs["slow"]["conf"]}})
    ran = two.world.run("config", "check", "-o", "json")
    parts = {part["part"]: part for part in ran.json["parts"]}
    assert (ran.code, parts["ceph fast (remediate)"]["status"], parts["ceph fast"]["status"]) == (2, "wrong", "ok")


def test_a_ceph_conf_of_one_that_is_missing_leaves_the_other_tried(two: Two) -> None:
    two.configure(two.cephs | {"slow": {"conf": "/no/such/ceph.conf"}})
    ran = two.world.run("config", "check", "-o", "json")
    statuses = {part["part"]: part["status"] for part in ran.json["parts"]}
    assert (ran.code, statuses["ceph slow"], statuses["ceph fast"]) == (2, "wrong", "ok")
    refused(two.world.run("locks"), 2, "of Ceph slow does not exist", "cephs.slow")


def test_a_ceph_conf_on_the_command_line_is_the_only_ceph(two: Two) -> None:
    two.lock(two.slow)
    ran = two.world.run("locks", "--ceph-conf", two.cephs["slow"]["conf"], "-o", "json")
    assert [row["image"] for row in ran.json["locks"]] == [IMAGES[0]]
    assert "ceph" not in ran.json["locks"][0]


# Which Ceph a look of the engine is at


def around(two: Two, subject: Subject) -> Snapshot:
    """What a runbook about something would be judged by."""

    async def look() -> Snapshot:
        target = wiring.target(load(str(two.world.config)))
        async with target.sources() as sources:
            reads = [Read(kind) for kind in (LOCKS, OSDMAP, VOLUMES_SEEN)]
            return await gather(sources, reads, Scope("sandbox", subject=subject), (), target.now())

    return two.world._served.do(look())


def seen_at(snapshot: Snapshot) -> str | None:
    osdmap = snapshot.seen(OSDMAP)
    return osdmap.fsid if osdmap else None


def test_an_attachment_is_looked_at_in_the_ceph_of_its_own_volume(two: Two) -> None:
    two.move("ledger", ["10.50.0.11:6789"])
    attachment = {
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment",
        "metadata": {"name": "csi-1", "uid": "uid-csi-1", "resourceVersion": "1"},
        "spec": {"attacher": "a", "nodeName": "node1", "source": {"persistentVolumeName": "ledger"}},
    }  # fmt: skip
    two.world.sandbox.api.registry.store.put(BY_NAME["storage.k8s.io/v1", "volumeattachments"], attachment)
    assert seen_at(around(two, Subject("VolumeAttachment", None, "csi-1", ""))) == SLOW_FSID


def test_a_pod_is_looked_at_in_the_ceph_of_its_volume(two: Two) -> None:
    pod = Subject("Pod", "search", STUCK_POD, "")
    assert seen_at(around(two, pod)) == two.fast.fsid
    two.move("index-api", ["10.50.0.11:6789"])
    assert seen_at(around(two, pod)) == SLOW_FSID
    two.move("index-api", ["10.77.0.1:6789"])
    unseen = around(two, pod)[OSDMAP]
    assert isinstance(unseen, NotSeen)
    assert "which Ceph it lies in is not known" in unseen.reason


def test_no_ceph_is_asked_where_no_volume_lies_in_one(two: Two) -> None:
    def fail() -> None:
        raise AssertionError("it was asked")

    two.gates |= {"fast": fail, "slow": fail}
    found = around(two, Subject("Pod", "shop", "web-7d5b8c6f9-bq4ws", ""))
    assert found.seen(LOCKS) == Locks("", ())


def test_an_image_of_no_volume_is_looked_at_nowhere(two: Two) -> None:
    unseen = around(two, Subject("RBDImage", None, f"{POOL}/stray", ""))[LOCKS]
    assert isinstance(unseen, NotSeen)
    assert f"no PersistentVolume is made of {POOL}/stray" in unseen.reason
