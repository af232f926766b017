"""A Ceph that cannot be asked, or only in part: what needs it is unknown with the next move, within the time-outs that
every connection carries, and everything that needs Kubernetes alone is answered as if nothing were wrong.

Each trouble is a real one, at a Ceph of this module's own. Which checks there are is not known here, only their areas.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from diagnostics.catalog import all_checks
from diagnostics.facts.ceph import LOCKS
from diagnostics.sources.ceph.librados import Timeouts
from tests.integration.stage import DIAGNOSE, Ran, Unstick
from tests.lab.ceph import Ceph
from tests.lab.clients import add_lock
from tests.lab.kubernetes import Kubernetes
from tests.lab.objects import Object
from tests.lab.waiting import until

POOL, IMAGE = "trouble", "held"
STUCK, CALM, NODE = (f"{word}-{os.getpid()}" for word in ("stuck", "calm", "nowhere"))
# Seconds that a command may take besides its time-outs. It needs 1 to 2; but four of them share two processors here.
OF_ITS_OWN = 15
TIMEOUTS = Timeouts()


@dataclass(frozen=True)
class Trouble:
    """What is wrong with Ceph.

    `make` brings it about, to be undone with the stack, and gives the `ceph` part of a configuration that meets it. Each
    reason `says` so; the time-outs on the way add up to so many seconds. Where the monitors are `reached`, only what
    lies in the pools is unknown.
    """

    make: Callable[[Ceph, ExitStack], Object]
    says: tuple[str, ...]
    timeouts: int = 0
    reached: bool = False


def healthy(ceph: Ceph) -> Object:
    reader = ceph.identity("trouble", DIAGNOSE)
    return {"conf": str(reader.conf), "user": reader.user}


def mon_down(ceph: Ceph, stack: ExitStack) -> Object:
    settings = healthy(ceph)
    stack.callback(ceph.mon_start)
    ceph.mon_stop()
    return settings


def mon_silent(ceph: Ceph, stack: ExitStack) -> Object:
    settings = healthy(ceph)
    stack.callback(ceph.mon_thaw)
    ceph.mon_freeze()
    return settings


def osd_silent(ceph: Ceph, stack: ExitStack) -> Object:
    settings = healthy(ceph)
    stack.callback(ceph.osd_start)
    ceph.osd_stop()
    return settings


def wrong_key(ceph: Ceph, stack: ExitStack) -> Object:
    settings = healthy(ceph)
    theirs = Path(ceph.identity("other", DIAGNOSE).conf.parent, "client.other.keyring").read_text()
    keyring = ceph.folder / "wrong.keyring"
    keyring.write_text(theirs.replace("client.other", settings["user"]))
    return {**settings, "conf": str(naming(ceph, keyring))}


def missing_keyring(ceph: Ceph, stack: ExitStack) -> Object:
    return {**healthy(ceph), "conf": str(naming(ceph, ceph.folder / "removed.keyring"))}


def unknown_user(ceph: Ceph, stack: ExitStack) -> Object:
    return {"conf": str(ceph.conf), "user": "client.never-made"}


def no_caps(ceph: Ceph, stack: ExitStack) -> Object:
    nobody = ceph.identity("nothing-allowed", {})
    return {"conf": str(nobody.conf), "user": nobody.user}


def no_pool_caps(ceph: Ceph, stack: ExitStack) -> Object:
    blind = ceph.identity("no-pools-allowed", {"mon": "allow r, allow command sessions"})
    return {"conf": str(blind.conf), "user": blind.user}


def naming(ceph: Ceph, keyring: Path) -> Path:
    """A ceph.conf that names this keyring."""
    conf = keyring.with_suffix(".conf")
    lines = [
        f"keyring = {keyring}" if line.startswith("keyring =") else line for line in ceph.conf.read_text().splitlines()
    ]
    conf.write_text("\n".join(lines) + "\n")
    return conf


UNREACHED = ("no monitor of", "check that they are up and can be reached from here")
TROUBLES = {
    "mon down": Trouble(mon_down, UNREACHED, TIMEOUTS.mount),
    "mon silent": Trouble(mon_silent, UNREACHED, TIMEOUTS.mount),
    "wrong key": Trouble(wrong_key, ("the monitors refuse client.trouble: check its name and its key",)),
    "keyring missing": Trouble(missing_keyring, ("there is no key for client.trouble: check the `keyring` line",)),
    "unknown user": Trouble(unknown_user, ("the monitors refuse client.never-made: check its name and its key",)),
    "no caps": Trouble(no_caps, ("the monitors refuse client.nothing-allowed: check its name",)),
    "osd silent": Trouble(
        osd_silent, ("check `ceph health` for inactive placement groups and for OSDs that are down",),
        2 * TIMEOUTS.osd + TIMEOUTS.mon,  # what the pool holds, then what lies on the image; and the monitors
        reached=True,
    ),
    "no caps for pools": Trouble(no_pool_caps, ("give the cephx user the caps osd 'profile rbd-read-only'",), reached=True),
}  # fmt: skip


def stuck_pod(monitor: str) -> list[Object]:
    """A pod on a node that nobody cares for, which waits for the image of the pool."""
    rbd = {"monitors": [monitor], "pool": POOL, "image": IMAGE, "user": "admin", "fsType": "ext4"}
    spec = {
        "nodeName": NODE,
        "automountServiceAccountToken": False,
        "containers": [{"name": "app", "image": "app:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
        "volumes": [{"name": "data", "rbd": rbd}],
        "tolerations": [{"operator": "Exists"}],
    }
    return [
        *({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in (STUCK, CALM)),
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "waits", "namespace": STUCK}, "spec": spec},
    ]


class Scene:
    """A stuck pod in one namespace, nothing in another, and the command line at a Ceph with or without trouble."""

    def __init__(self, ceph: Ceph, unstick: Unstick) -> None:
        self.ceph = ceph
        self._unstick = unstick

    def all(self, settings: Object) -> dict[str, Ran]:
        """Each looking command, by name, with this for the `ceph` part; they run side by side, each in a process."""
        commands = {
            "check": ("check", "-n", STUCK),
            "check calm": ("check", "-n", CALM),
            "why": ("why", "pod/waits", "-n", STUCK),
            "locks": ("locks", "--pool", POOL),
        }
        kubernetes = self._unstick.settings["clusters"]["lab"]["kubernetes"]

        def run(name: str, words: tuple[str, ...]) -> Ran:
            folder = self._unstick.folder / name.replace(" ", "-")
            folder.mkdir(exist_ok=True)
            config = {
                "clusters": {"lab": {"kubernetes": kubernetes, "ceph": settings}},
                "state": str(folder / "state.db"),
            }
            (folder / "unstick.yaml").write_text(yaml.safe_dump(config))
            return self._unstick.run(*words, "-o", "json", env={"UNSTICK_CONFIG": str(folder / "unstick.yaml")})

        with ThreadPoolExecutor(max_workers=len(commands)) as pool:
            begun = {name: pool.submit(run, name, words) for name, words in commands.items()}
            return {name: running.result() for name, running in begun.items()}


@pytest.fixture(scope="module")
def scene(kubernetes: Kubernetes, lab_folder: Path) -> Iterator[Scene]:
    with Ceph(lab_folder / "trouble") as ceph:
        if not ceph.own:
            pytest.skip("CEPH_CONF names a given cluster: its daemons are not stopped")
        ceph.create_pool(POOL)
        ceph.create_image(f"{POOL}/{IMAGE}")
        add_lock(ceph, f"{POOL}/{IMAGE}", "kubelet_lock_magic_gone", "127.0.63.2")
        *before, pod = stuck_pod("127.0.0.1:6789")
        started = {"status": {"startTime": "2026-01-01T00:00:00Z"}}
        folder = lab_folder / "trouble-looks"
        folder.mkdir()
        try:  # a node that nobody cares for must not stay: while it is not Ready, pods of other tests are not moved
            for manifest in before:
                kubernetes.apply(manifest)
            if kubernetes.has_controllers:
                until("the service account", lambda: kubernetes.find("ServiceAccount", "default", STUCK), 30)
            kubernetes.apply(pod)
            kubernetes.patch("Pod", "waits", started, STUCK, subresource="status")
            yield Scene(ceph, Unstick(kubernetes, ceph, folder))
        finally:
            kubernetes.delete("Pod", "waits", STUCK, grace=0)
            for kind, name in (("Node", NODE), ("Namespace", STUCK), ("Namespace", CALM)):
                kubernetes.delete(kind, name)


def outcomes(ran: Ran, area: str) -> dict[str, Object]:
    """What the checks of an area came to."""
    return {one["check"]: one for one in ran.json["outcomes"] if one["check"].startswith(f"{area}/")}


def expected_code(ran: Ran) -> int:
    """What the exit code says: 1 something is found, which beats 3 something could not be looked at, and 0."""
    told = ran.json["outcomes"]
    if any(finding["severity"] in ("warning", "critical") for one in told for finding in one["findings"]):
        return 1
    return 3 if any(one["status"] == "unknown" or (one["status"] == "found" and one["reason"]) for one in told) else 0


Met = tuple[Trouble, dict[str, Ran]]


@pytest.fixture(scope="module", params=TROUBLES)
def met(request: pytest.FixtureRequest, scene: Scene) -> Met:
    """A trouble, and what each command came to while it was there."""
    trouble = TROUBLES[request.param]
    with ExitStack() as stack:
        ran = scene.all(trouble.make(scene.ceph, stack))
    print({name: f"{one.took:.1f} s" for name, one in ran.items()})
    return trouble, ran


def needing_ceph() -> set[str]:
    """The checks that say nothing without some fact of Ceph."""
    reads = {one.id: [read for read in one.check.reads if not read.optional] for one in all_checks()}
    return {check for check, needed in reads.items() if any(read.kind.name.startswith("ceph.") for read in needed)}


def needing_pools() -> set[str]:
    """The checks that say nothing without the locks."""
    return {one.id for one in all_checks() if any(read.kind is LOCKS and not read.optional for read in one.check.reads)}


@pytest.fixture(scope="module")
def untroubled(scene: Scene) -> dict[str, Ran]:
    """What each command comes to while all is well."""
    return scene.all(healthy(scene.ceph))


def test_without_trouble_everything_is_answered(untroubled: dict[str, Ran]) -> None:
    ran = untroubled
    assert ran["locks"].json["problems"] == []
    assert [row["image"] for row in ran["locks"].json["locks"]] == [IMAGE]
    for outcome in outcomes(ran["check"], "ceph").values():
        for trouble in TROUBLES.values():
            assert not any(words in (outcome["reason"] or "") for words in trouble.says), outcome
    assert ran["why"].code == 1
    chain = [link["subject"]["kind"] for link in ran["why"].json["chain"]]
    assert chain[:1] == ["Pod"]
    assert "RBDLock" in chain


def test_what_needs_ceph_is_unknown_and_says_what_to_do(met: Met) -> None:
    trouble, ran = met
    told = outcomes(ran["check"], "ceph")
    assert told.keys() >= {"ceph/locks_stale", "ceph/locks_blocking_pods"}
    needing = needing_pools() if trouble.reached else needing_ceph()
    blind = {check: one for check, one in told.items() if check in needing}
    assert blind.keys() >= {"ceph/locks_stale", "ceph/locks_blocking_pods"}
    for check, outcome in blind.items():
        assert outcome["status"] == "unknown", (check, outcome)
        assert all(words in outcome["reason"] for words in trouble.says), (check, outcome)
        assert outcome["findings"] == []


def test_what_needs_no_ceph_is_answered_as_before(met: Met, untroubled: dict[str, Ran]) -> None:
    _, ran = met
    for name in ("check", "check calm"):
        before, now = ({c: o["status"] for c, o in outcomes(r[name], "storage").items()} for r in (untroubled, ran))
        of_kubernetes = before.keys() - needing_ceph()
        assert of_kubernetes >= {"storage/pods_stuck_creating", "storage/mounts_failing"}
        assert [check for check in of_kubernetes if before[check] != "unknown" == now[check]] == []
    stuck = outcomes(ran["check"], "storage")["storage/pods_stuck_creating"]
    assert [finding["subject"]["name"] for finding in stuck["findings"]] == ["waits"]
    assert outcomes(ran["check calm"], "storage")["storage/pods_stuck_creating"]["status"] == "ok"


def test_what_was_found_beats_what_could_not_be_looked_at(met: Met) -> None:
    _, ran = met
    assert ran["check"].code == 1
    assert ran["check calm"].code == expected_code(ran["check calm"]) != 0


def test_why_tells_the_symptom_and_what_it_could_not_see(met: Met) -> None:
    trouble, ran = met
    why = ran["why"]
    assert (why.code, why.json["status"]) == (1, "found")
    assert why.json["subject"]["name"] == "waits"
    assert any(all(words in unseen for words in trouble.says) for unseen in why.json["unseen"]), why.json["unseen"]
    assert "RBDLock" not in [link["subject"]["kind"] for link in why.json["chain"]], "the chain ends where proof ends"


def test_locks_lists_none_and_calls_no_pool_free(met: Met) -> None:
    trouble, ran = met
    locks = ran["locks"]
    assert (locks.code, locks.json["locks"], locks.json["pools"]) == (3, [], [])
    [problem] = locks.json["problems"]
    assert problem["pool"] == POOL
    assert all(words in problem["reason"] for words in trouble.says), problem
    if not trouble.reached:
        assert locks.err.count("\n") == 1, locks.err


def test_all_that_takes_no_longer_than_the_time_outs_on_the_way(met: Met) -> None:
    trouble, ran = met
    took = {name: round(one.took, 1) for name, one in ran.items()}
    assert max(took.values()) < trouble.timeouts + OF_ITS_OWN, took
