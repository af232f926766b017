"""What a fence is worth, on the real Ceph: one that ends under a frozen client, one that misses its writer, one denied."""

import asyncio
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot import settings as configuration
from bot.wiring import target
from diagnostics.facts import Read, Snapshot
from diagnostics.facts.ceph import LOCKS, OSDMAP
from diagnostics.facts.holders import NODES
from diagnostics.model import Scope, Subject
from diagnostics.scan import gather
from diagnostics.verdicts import fences_of
from runbooks.guards import Answer, Ruling, all_guards
from runbooks.model import Risk
from runbooks.situation import Planned, Situation
from tests.integration.stage import Unstick
from tests.lab.ceph import Ceph
from tests.lab.clients import Client, add_lock, remove_lock
from tests.lab.kubelet import Kubelet
from tests.lab.kubernetes import Kubernetes
from tests.lab.objects import Object
from tests.lab.waiting import until

POOL = "fences"
YEARS = "157784760"
COOKIE = "kubelet_lock_magic_fence-66"


@pytest.fixture
def unstick(ceph: Ceph, kubernetes: Kubernetes, tmp_path: Path) -> Unstick:
    """The command line, with a state of its own."""
    ceph.create_pool(POOL)
    return Unstick(kubernetes, ceph, tmp_path)


@pytest.fixture
def lifted(ceph: Ceph) -> Iterator[list[str]]:
    """Entries that the test leaves behind: they are lifted, so that the addresses may be used again."""
    entries: list[str] = []
    yield entries
    for entry in entries:
        ceph.run("ceph", "osd", "blocklist", "rm", entry, check=False)


def blocklist(ceph: Ceph, ip: str) -> dict[str, datetime]:
    """The entries at an IP and their ends."""
    dump = json.loads(ceph.run("ceph", "osd", "dump", "--format", "json"))["blocklist"]
    return {entry: datetime.fromisoformat(until) for entry, until in dump.items() if entry.startswith(f"{ip}:")}


def outcome(unstick: Unstick, check: str) -> tuple[int, Object]:
    """One check by itself: the exit code, and what it came to."""
    ran = unstick.run("check", "--check", check, "-o", "json")
    [told] = ran.json["outcomes"]
    return ran.code, told


def finding_of(told: Object, name: str) -> Object | None:
    """The finding about one subject, if there is one."""
    return next((finding for finding in told["findings"] if finding["subject"]["name"] == name), None)


def test_a_takeovers_fence_that_ends_lets_the_frozen_client_write_again_and_is_found_before(
    ceph: Ceph, kubernetes: Kubernetes, unstick: Unstick, lifted: list[str]
) -> None:
    image = f"{POOL}/taken-over"
    ceph.create_image(image, format=2, features="exclusive-lock")
    with (
        Kubelet(kubernetes, ceph, "fence-64", "127.0.0.64"),
        Client(ceph, image, "managed", address="127.0.0.64") as old,
    ):
        old.wait_for_writes()
        old.freeze()
        with Client(ceph, image, "managed", address="127.0.0.65") as new:
            new.wait_for_writes(timeout=90)

            # The takeover left a fence of one hour, on the exact address and on nothing else.
            [(entry, end)] = blocklist(ceph, "127.0.0.64").items()
            lifted.append(entry)
            assert not entry.endswith("/0")
            assert timedelta(minutes=55) < end - datetime.now(UTC) <= timedelta(hours=1)

            # No look can know of a reboot before the first one: of a node that is Ready all the while it is told as `info`.
            _, first = outcome(unstick, "ceph/fences_expiring")
            assert (found := finding_of(first, "fence-64"))
            assert found["severity"] == "info"
            _, second = outcome(unstick, "ceph/fences_expiring")
            assert (found := finding_of(second, "fence-64"))
            assert (found["severity"], found["root"]["name"]) == ("info", "fence-64")
            assert entry in found["summary"]
            assert [link["subject"]["kind"] for link in found["chain"]] == ["CephBlocklistEntry", "Node"]

            # It ends, here after seconds instead of an hour, and the frozen client comes back: no error tells anybody.
            # (Adding an entry that is there changes nothing: Ceph 16.2 keeps its first end.)
            ceph.run("ceph", "osd", "blocklist", "rm", entry)
            ceph.run("ceph", "osd", "blocklist", "add", entry, "2")
            assert entry in blocklist(ceph, "127.0.0.64")
            until("the fence to end", lambda: not blocklist(ceph, "127.0.0.64"), timeout=60, every=0.5)
            old.thaw()
            old.wait_for_writes(timeout=60)
            new.wait_for_writes(timeout=60)
            assert (old.error, new.error) == (None, None)
            assert finding_of(outcome(unstick, "ceph/fences_expiring")[1], "fence-64") is None


def guard_says(unstick: Unstick, image: str, entry: str) -> tuple[Ruling, Snapshot]:
    """What `fence_covers_every_address` says, by a fresh look, of a plan that fenced `entry`."""

    async def look() -> Snapshot:
        async with target(configuration.load(str(unstick.config))).sources() as sources:
            reads = [Read(LOCKS), Read(OSDMAP), Read(NODES)]
            scope = Scope("lab", subject=Subject("RBDImage", None, image, ""))
            return await gather(sources, reads, scope, (), datetime.now(UTC))

    snapshot = asyncio.run(look())
    fence = Planned("ceph.fence", "fence", (), {"entries": [entry]}, Risk.CRITICAL)
    situation = Situation(snapshot, {"image": image}, done=(fence,))
    return all_guards()["fence_covers_every_address"].judge(situation), snapshot


def test_a_fence_on_an_address_that_the_writer_does_not_use_is_seen_not_to_cover_it(
    ceph: Ceph, unstick: Unstick, lifted: list[str]
) -> None:
    """The node's InternalIP is .66; its Ceph traffic leaves from .67, as over a storage network."""
    image = f"{POOL}/other-address"
    ceph.create_image(image)
    add_lock(ceph, image, COOKIE, "127.0.0.67")
    with Client(ceph, image, "writer", address="127.0.0.67") as writer:
        writer.wait_for_writes()
        lifted += ["127.0.0.66:0/0", "127.0.0.67:0/0"]
        ceph.run("ceph", "osd", "blocklist", "add", "127.0.0.66:0/0", YEARS)
        assert "127.0.0.66:0/0" in blocklist(ceph, "127.0.0.66"), "Ceph confirms it, and it stops nothing"
        writer.wait_for_writes(100)
        assert writer.error is None

        ruling, snapshot = guard_says(unstick, image, "127.0.0.67:0/0")
        assert ruling.answer is Answer.REFUSED
        assert "no fence that lasts covers 127.0.0.67:0/0" in ruling.reasons
        locks, osdmap = snapshot.seen(LOCKS), snapshot.seen(OSDMAP)
        assert locks
        assert osdmap
        [locked] = locks.images
        for address in (locked.lockers[0].address, *(w.address for w in locked.watchers or ())):
            assert address.ip == "127.0.0.67"
            assert fences_of(address, osdmap.fences, snapshot.taken_at, host=False) == ()
        [row] = unstick.locks(image)
        assert row["verdict"] == "live"

        ceph.run("ceph", "osd", "blocklist", "add", "127.0.0.67:0/0", YEARS)
        assert writer.wait_for("error")["errno"] == 108
        assert guard_says(unstick, image, "127.0.0.67:0/0")[0].answer is Answer.ALLOWED
    ceph.run("ceph", "osd", "blocklist", "rm", lifted.pop())
    remove_lock(ceph, image, COOKIE)


DENIED = (
    'MapVolume.WaitForAttach failed for volume "data" : rbd: map failed exit status 13, rbd output: rbd: map failed: (13) '
    "Permission denied"
)


@pytest.fixture
def waiting_pod(kubernetes: Kubernetes) -> Iterator[str]:
    """A pod with a ceph-csi volume of the image `denied` that waits, as if on a node, and is told errno 13."""
    if not kubernetes.has_controllers:
        pytest.skip("KUBEBUILDER_ASSETS brings an API server alone: nothing binds claims there")
    space, name = f"fences-{os.getpid()}", {"name": "data", "namespace": f"fences-{os.getpid()}"}
    size = {"storage": "16Mi"}
    csi = {
        "driver": "rbd.csi.ceph.com",
        "volumeHandle": "denied",
        "volumeAttributes": {"pool": POOL, "imageName": "denied"},
    }
    volume = {"capacity": size, "accessModes": ["ReadWriteOnce"], "storageClassName": "", "csi": csi, "claimRef": name}
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "",
        "volumeName": space,
        "resources": {"requests": size},
    }
    mounted = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    spec = {
        "nodeName": "fence-69",
        "automountServiceAccountToken": False,
        "containers": [{"name": "app", "image": "app:1"}],
        "volumes": mounted,
    }
    for made in (
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}},
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": space}, "spec": volume},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": name, "spec": claim},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {**name, "name": "default"}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {**name, "name": "app"}, "spec": spec},
    ):
        kubernetes.apply(made)
    try:
        pod = kubernetes.get("Pod", "app", space)
        about = {"kind": "Pod", "name": "app", "namespace": space, "uid": pod["metadata"]["uid"]}
        at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        kubernetes.create({
            "apiVersion": "v1", "kind": "Event", "metadata": {**name, "name": "app.1"}, "involvedObject": about,
            "type": "Warning", "reason": "FailedMount", "message": DENIED, "firstTimestamp": at, "lastTimestamp": at,
        })  # fmt: skip
        until("the claim to be bound", lambda: _is_bound(kubernetes, space), timeout=60)
        yield space
    finally:
        kubernetes.delete("Pod", "app", space, grace=0)
        kubernetes.delete("Namespace", space)
        kubernetes.delete("PersistentVolume", space)


def _is_bound(kubernetes: Kubernetes, space: str) -> bool:
    return bool(kubernetes.get("PersistentVolumeClaim", "data", space)["status"].get("phase") == "Bound")


def test_a_takeover_without_the_cap_to_blocklist_ends_in_errno_13_and_is_found(
    ceph: Ceph, unstick: Unstick, waiting_pod: str
) -> None:
    image = f"{POOL}/denied"
    ceph.create_image(image, format=2, features="exclusive-lock")
    weak = ceph.identity("fences-weak", {"mon": "allow r", "osd": "allow rwx"})
    with Client(ceph, image, "managed", address="127.0.0.68") as old:
        old.wait_for_writes()
        old.kill()
    with Client(ceph, image, "managed", address="127.0.0.69", identity=weak) as new:
        assert new.wait_for("error", timeout=90)["errno"] == 13
    [row] = unstick.locks(image)
    assert (row["locker"], row["watchers"]) == (old.id, []), "the dead client's lock is as it was"
    assert blocklist(ceph, "127.0.0.68") == {}

    ran = unstick.run("check", "-n", waiting_pod, "--check", "ceph/lock_takeovers_denied", "-o", "json")
    [told] = ran.json["outcomes"]
    found = finding_of(told, image)
    assert ran.code == 1, told
    assert found, told
    assert (found["severity"], found["cause"]) == ("critical", "rbd-lock-takeover-denied")
    assert f"{waiting_pod}/app waits for it" in found["summary"]
    assert "likely:" in found["summary"], "errno 13 alone names no cap"
