"""The stage of the verdict table on a real Ceph: everybody who may hold a lock, and looks by the command line.

A killed client's watch lasts half a minute, and two looks must be further apart than that. So everybody is brought on
stage first, dies or freezes at the same moment, and is looked at three times: `early`, `first` (the watches are gone)
and, more than 30 s later, `second`. The addresses, 127.0.61.*, are nobody else's: fences are on them.
"""

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from tests.integration.stage import DIAGNOSE, Ran, Unstick
from tests.lab.ceph import Ceph, Identity
from tests.lab.clients import Client, Mode, add_lock, add_lock_in_trash, lockers
from tests.lab.kubernetes import Kubernetes
from tests.lab.objects import Object
from tests.lab.processes import has_ipv6
from tests.lab.waiting import until

POOL = f"verdicts-{os.getpid()}"
COOKIE = "kubelet_lock_magic_node1"
YEARS, HOUR = "157784760", "3600"  # seconds; the first is how long ceph-csi fences
RANGE, IN_RANGE = "127.0.62.0/24", "127.0.62.7"
SECOND_SHARER, OTHER_USER, NOBODY, SUCCESSOR = (f"127.0.61.{last}" for last in range(201, 205))
BESIDE_FENCED_ELSEWHERE = "127.0.61.205"  # what somebody took for the address of that image's writer
IDENTITIES = {
    "verdicts": DIAGNOSE,
    "verdicts-no-sessions": {"mon": "allow r", "osd": "profile rbd-read-only"},
    "verdicts-no-osd": {"mon": "allow r, allow command sessions"},
}

# Images that a client writes to: it holds the lock itself (`managed`), or a command took it before (`advisory`).
WRITTEN: dict[str, Mode] = {
    "managed": "managed", "kubelet": "advisory", "fenced-elsewhere": "advisory", "fenced-exactly": "managed",
    "killed": "advisory", "team/killed": "advisory", "killed-managed": "managed", "taken-over": "managed",
    "in-use-managed": "managed", "fenced-for-an-hour-managed": "managed", "fenced-by-another-nonce": "managed",
    "frozen": "advisory", "frozen-managed": "managed",
}  # fmt: skip
FROZEN = ("frozen", "frozen-managed")
KILLED = ("killed", "team/killed", "killed-managed", "taken-over", "in-use-managed", "fenced-for-an-hour-managed",
          "fenced-by-another-nonce")  # fmt: skip
# Images that a command locked, and that nobody writes to.
LOCKED = ("in-use", "in-use-fenced", "beside-kubelet", "fenced", "fenced-by-range", "fenced-command-only",
          "fenced-for-an-hour", "format-2", "shared")  # fmt: skip
LAYERED = ("team/killed", "format-2", "trashed")  # of format 2, and not for managed locks
# Images that somebody else has open, beside the holder of the lock.
OPENED = ("in-use", "in-use-fenced", "in-use-managed")


def address_of(name: str) -> str:
    """The address of whoever locks this image: of nobody else's, but for those whose name says so."""
    if name == "beside-kubelet":
        return address_of("kubelet")
    return IN_RANGE if name == "fenced-by-range" else f"127.0.61.{[*WRITTEN, *LOCKED].index(name) + 2}"


def opened_from(image: str) -> str:
    """The address of another client that has the image open; of a managed lock, at its holder's own host."""
    return address_of(image) if image == "in-use-managed" else OTHER_USER


@dataclass(frozen=True)
class Look:
    """One run of `unstick locks`, with the rows of each image."""

    ran: Ran

    def rows(self, image: str) -> list[Object]:
        """The rows of `[namespace/]image`, one a locker."""
        namespace, _, name = image.rpartition("/")
        return [row for row in self.ran.json["locks"] if (row["namespace"], row["image"]) == (namespace, name)]

    def row(self, image: str) -> Object:
        """The only row of an image."""
        [row] = self.rows(image)
        return row

    def verdict(self, image: str) -> str:
        """The verdict on the only locker of an image."""
        return str(self.row(image)["verdict"])


class Observer:
    """Looks at one Ceph with one identity; `store` names the state that the look finds and leaves."""

    def __init__(self, unstick: Unstick, identity: Identity) -> None:
        self._unstick, self._identity = unstick, identity

    def run(self, store: str, *words: str) -> Ran:
        """Run `unstick WORDS -o json` in a process of its own."""
        folder = self._unstick.folder / f"looks-{self._identity.conf.parent.name}"
        folder.mkdir(exist_ok=True)
        kubernetes = self._unstick.settings["clusters"]["lab"]["kubernetes"]
        ceph = {"conf": str(self._identity.conf), "user": self._identity.user, "pools": [POOL]}
        config = folder / f"{self._identity.user}-{store}.yaml"
        config.write_text(
            yaml.safe_dump(
                {"clusters": {"lab": {"kubernetes": kubernetes, "ceph": ceph}}, "state": str(folder / f"{store}.db")}
            )
        )
        return self._unstick.run(*words, "-o", "json", env={"UNSTICK_CONFIG": str(config)})

    def locks(self, store: str) -> Look:
        """Run `unstick locks`."""
        return Look(self.run(store, "locks"))

    def check(self, store: str) -> Object:
        """Run `unstick check` for stale locks, and return its outcome."""
        [outcome] = self.run(store, "check", "--check", "ceph/locks_stale").json["outcomes"]
        return dict(outcome)


class Stage:
    """A pool of images, and everybody who locks them, by the image's name."""

    def __init__(self, ceph: Ceph, stack: ExitStack) -> None:
        self.ceph = ceph
        self.clients: dict[str, Client] = {}
        self._stack = stack
        ceph.create_pool(POOL)
        stack.callback(
            ceph.run, "ceph", *f"osd pool delete {POOL} {POOL} --yes-i-really-really-mean-it".split(), check=False
        )

    def image(self, name: str, format: int = 1, features: str | None = None) -> None:  # noqa: A002 - rbd's own word
        """Create an image; one of format 2 without `features` is for a managed lock."""
        self.ceph.create_image(f"{POOL}/{name}", format, features)

    def begin(self, who: str, mode: Mode, address: str, image: str | None = None, *, wait: bool = True) -> None:
        """Start a client of an image, and wait until it does what it is for."""
        client = Client(self.ceph, f"{POOL}/{image or who}", mode, address=address, cookie=COOKIE)
        self.clients[who] = self._stack.enter_context(client)
        if wait and mode == "watch":
            client.wait_for("open")
        elif wait:
            client.wait_for_writes()

    def fence(self, *words: str, seconds: str = YEARS) -> None:
        """Put an entry on the blocklist; it is taken off at the end."""
        self.ceph.run("ceph", "osd", "blocklist", *words, seconds)
        undo = ["rm" if word == "add" else word for word in words]
        self._stack.callback(self.ceph.run, "ceph", "osd", "blocklist", *undo, check=False)

    def locker(self, image: str) -> str:
        """The address of the image's only locker, with its nonce."""
        [locker] = lockers(self.ceph, f"{POOL}/{image}")
        return locker["address"]

    def watchers(self, image: str) -> int:
        """How many watch an image."""
        return len(json.loads(self.ceph.run("rbd", "status", "--format", "json", f"{POOL}/{image}"))["watchers"])


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Do several slow things that do not depend on each other; gives what each returned."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        return [running.result() for running in [pool.submit(call) for call in calls]]


def begin(stage: Stage) -> None:
    """Bring the writers on stage. At the end some of them die and some freeze, all at once."""
    managed = [name for name, mode in WRITTEN.items() if mode == "managed"]
    plain = [name for name in (*WRITTEN, *LOCKED) if name not in (*managed, *LAYERED)]
    stage.ceph.run("rbd", "namespace", "create", f"{POOL}/team")
    at_once(
        *(partial(stage.image, name, 1) for name in plain),
        *(partial(stage.image, name, 2) for name in managed),
        *(partial(stage.image, name, 2, "layering") for name in LAYERED),
    )
    at_once(*(partial(stage.begin, name, mode, address_of(name)) for name, mode in WRITTEN.items()))
    for name in KILLED:
        stage.clients[name].kill()
    for name in FROZEN:
        stage.clients[name].freeze()


def go_on(stage: Stage) -> None:
    """Bring the others on: locks that nobody writes under, clients without locks, and fences, all as the names say."""
    ceph = stage.ceph
    image_id = json.loads(ceph.run("rbd", "info", "--format", "json", f"{POOL}/trashed"))["id"]
    ceph.run("rbd", "trash", "mv", f"{POOL}/trashed")
    at_once(
        partial(stage.begin, "successor", "managed", SUCCESSOR, "taken-over", wait=False),
        *(partial(stage.begin, f"user of {image}", "watch", opened_from(image), image) for image in OPENED),
        partial(add_lock_in_trash, ceph, POOL, image_id, COOKIE, NOBODY),
        *(partial(add_lock, ceph, f"{POOL}/{name}", COOKIE, address_of(name)) for name in LOCKED if name != "shared"),
        partial(add_lock, ceph, f"{POOL}/shared", COOKIE, address_of("shared"), shared="together"),
        partial(add_lock, ceph, f"{POOL}/shared", "another", SECOND_SHARER, shared="together"),
    )
    hosts = [address_of("fenced"), address_of("in-use-fenced"), SECOND_SHARER, BESIDE_FENCED_ELSEWHERE]
    at_once(
        *(partial(stage.fence, "add", f"{host}:0/0") for host in hosts),
        partial(stage.fence, "range", "add", RANGE),
        partial(stage.fence, "add", stage.locker("fenced-exactly")),
        partial(stage.fence, "add", stage.locker("fenced-command-only")),
        partial(stage.fence, "add", f"{address_of('fenced-for-an-hour')}:0/0", seconds=HOUR),
        partial(stage.fence, "add", stage.locker("fenced-for-an-hour-managed"), seconds=HOUR),
        partial(stage.fence, "add", f"{address_of('fenced-by-another-nonce')}:0/1"),
    )


class OnIPv6:
    """A second Ceph, on ::1, where all clients have the same address: they leave when they have been seen early."""

    def __init__(self, unstick: Unstick, stack: ExitStack) -> None:
        ceph = stack.enter_context(Ceph(unstick.folder / "v6", ipv6=True))
        self.stage = Stage(ceph, stack)
        self.observer = Observer(unstick, ceph.identity("verdicts", DIAGNOSE))
        for name, number in (("kubelet", 1), ("killed", 2), ("fenced", 2)):
            self.stage.image(name, number)

    def begin(self) -> None:
        """Bring them on stage."""
        at_once(
            partial(self.stage.begin, "kubelet", "advisory", "::1"),
            *(partial(self.stage.begin, name, "managed", "::1") for name in ("killed", "fenced")),
        )
        self.stage.fence("add", self.stage.locker("fenced"))
        self.stage.clients["killed"].kill()

    def go_on(self) -> None:
        """Let the kubelet's writer go: its lock stays."""
        self.stage.clients["kubelet"].stop()


Told = dict[str, Any]


def perform(ceph: Ceph, kubernetes: Kubernetes, folder: Path, stack: ExitStack) -> Told:
    """Play the whole piece; gives each look by its name, and the stage. What was started ends with `stack`.

    It takes about 100 s, of which the table itself asks for 60.
    """
    folder.mkdir()
    unstick = Unstick(kubernetes, ceph, folder)
    admin, blind, no_osd = (Observer(unstick, ceph.identity(name, caps)) for name, caps in IDENTITIES.items())
    stage = Stage(ceph, stack)
    v6 = OnIPv6(unstick, stack) if ceph.own and has_ipv6() else None
    begin(stage)
    told: Told = {"stage": stage, "early": admin.locks("early")}
    if v6:
        v6.begin()
        told["v6 early"] = v6.observer.locks("early")
        v6.go_on()
    go_on(stage)
    wait_for_the_watches_to_go(stage, v6)
    stage.clients["successor"].wait_for_writes(timeout=60)

    first: dict[str, Callable[[], Any]] = {
        "first": partial(admin.locks, "main"),
        "begun by locks": partial(admin.locks, "a"),
        "begun by check": partial(admin.check, "b"),
        "blind first": partial(blind.locks, "blind"),
        **({"v6 first": partial(v6.observer.locks, "main")} if v6 else {}),
    }
    told |= zip(first, at_once(*first.values()), strict=True)
    looked = time.monotonic()
    # One more at once; then one that sees no sessions, which neither completes nor ends what others began.
    told |= {
        "again": admin.locks("main"),
        "blind between": blind.locks("main"),
        "no osd": no_osd.run("no-osd", "locks"),
    }
    until("the 30 s between two looks", lambda: time.monotonic() - looked > 31, timeout=60)
    second: dict[str, Callable[[], Any]] = {
        "second": partial(admin.locks, "main"),
        "ended by check": partial(admin.check, "a"),
        "ended by locks": partial(admin.locks, "b"),
        "blind second": partial(blind.locks, "blind"),
        "fresh": partial(admin.locks, "fresh"),
        **({"v6 second": partial(v6.observer.locks, "main")} if v6 else {}),
    }
    told |= zip(second, at_once(*second.values()), strict=True)
    for name in FROZEN:
        stage.clients[name].thaw()
        stage.clients[name].wait_for_writes()
    return {**told, "thawed": admin.locks("main")}


def wait_for_the_watches_to_go(stage: Stage, v6: OnIPv6 | None) -> None:
    """Wait until the dead and the frozen watch nothing any more; nothing looks meanwhile."""
    left = {(stage, name) for name in (*KILLED, *FROZEN)} | ({(v6.stage, "killed")} if v6 else set())

    def none_left() -> bool:
        others = {"in-use-managed": 1, "taken-over": 1}  # who has the image open, or has taken it over, watches it on
        left.difference_update([(at, name) for at, name in left if at.watchers(name) == others.get(name, 0)])
        return not left

    until("the watches of the dead and the frozen to go", none_left, timeout=90, every=0.5)
