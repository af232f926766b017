"""Real Ceph clients in processes of their own, each with its own source address: what a node looks like to Ceph.

A client that a test froze or killed must stay so: nothing here starts one again, and each one's life is bounded.
"""

import functools
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from tests.lab.ceph import Ceph, Identity
from tests.lab.errors import LabError
from tests.lab.processes import spawn

Mode = Literal["advisory", "managed", "watch", "writer"]

_HERE = Path(__file__).parent


def cache_folder() -> Path:
    """Where the lab keeps what it built, outside the tree."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unstick-lab"


@functools.cache
def _bindsrc() -> Path:
    """Return the compiled bindsrc.c, compiling it at its first use on this machine."""
    source = _HERE / "bindsrc.c"
    built = cache_folder() / f"bindsrc-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}.so"
    if not built.exists():
        built.parent.mkdir(parents=True, exist_ok=True)
        draft = built.with_suffix(f".{os.getpid()}")
        try:
            subprocess.run(
                ["gcc", "-shared", "-fPIC", "-O2", "-o", draft, source, "-ldl"],
                check=True,
                capture_output=True,
                text=True,
                timeout=60,
            )
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", None) or error
            raise LabError(
                f"gcc cannot build {source.name}: run `make test-real`, which installs gcc ({said})"
            ) from error
        draft.rename(built)
    return built


def from_address(address: str) -> dict[str, str]:
    """The variables that make a process leave from `address`; pass them as `env` to Ceph.run().

    An address of IPv6 is left to the kernel: a loopback has none but ::1.
    """
    return {"LD_PRELOAD": str(_bindsrc()), "BIND_SRC": address}


def add_lock(ceph: Ceph, image: str, cookie: str, address: str, *, shared: str | None = None) -> None:
    """Take the advisory lock on `pool/image` with a short-lived client from `address`, as the in-tree kubelet did.

    A lock that is `shared`, which is its tag, may be taken by several.

    Raises:
        LabError: somebody holds the lock.
    """
    together = ["--shared", shared] if shared else []
    ceph.run("rbd", "lock", "add", *together, image, cookie, env=from_address(address))


def add_lock_in_trash(ceph: Ceph, pool: str, image_id: str, cookie: str, address: str) -> None:
    """Take the advisory lock on an image in the trash, which has lost its name: on its header itself.

    (The other way round, `rbd trash mv` of a locked image waits for the lock for minutes.)

    Raises:
        LabError: somebody holds the lock.
    """
    lock = ["lock", "get", f"rbd_header.{image_id}", "rbd_lock", "--lock-cookie", cookie, "--lock-type", "exclusive"]
    ceph.run("rados", "-p", pool, *lock, env=from_address(address))


def lockers(ceph: Ceph, image: str) -> list[dict[str, str]]:
    """The lockers of `pool/image` as `rbd lock ls` knows them: dicts of id (the cookie), locker and address."""
    rows: list[dict[str, str]] = json.loads(ceph.run("rbd", "lock", "ls", "--format", "json", image))
    return rows


def remove_lock(ceph: Ceph, image: str, cookie: str, address: str | None = None) -> None:
    """Remove the lock with this cookie, if it is there; rbd puts its locker on the blocklist for an hour."""
    for row in lockers(ceph, image):
        if row["id"] == cookie:
            surroundings = from_address(address) if address else None
            ceph.run("rbd", "lock", "rm", image, cookie, row["locker"], env=surroundings)


class Client:
    """One client of one image, from one address. Use it as a context manager, or call start() and stop().

    Modes:
        advisory: takes the advisory lock with a client that goes at once, then writes with another one, as a kubelet
            and its kernel mount did: the lock's `client.N` is not the writer.
        managed: writes, so that librbd takes the exclusive lock by itself (the image needs the feature exclusive-lock).
        watch: has the image open for writing, and writes nothing.
        writer: writes, and asks for no advisory lock.
    """

    def __init__(
        self,
        ceph: Ceph,
        image: str,
        mode: Mode,
        *,
        address: str = "127.0.0.12",
        cookie: str = "kubelet_lock_magic_node1",
        identity: Identity | None = None,
        life: int = 900,
    ) -> None:
        """`image` is `pool[/namespace]/image`; `life` is in seconds; client.admin is used without an `identity`."""
        self.image, self.mode, self.address, self.cookie = image, mode, address, cookie
        self._ceph = ceph
        self._identity = identity or Identity(ceph.conf, ceph.user)
        self._life = life
        self._child: subprocess.Popen[str] | None = None
        self._news = threading.Condition()
        self._latest: dict[str, dict[str, Any]] = {}
        self._ended = False
        self._frozen = False
        self._last_words = ""

    def __enter__(self) -> "Client":
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> "Client":
        """Start it, without waiting for what it does: wait_for() does that."""
        if self.mode == "advisory":
            add_lock(self._ceph, self.image, self.cookie, self.address)
        pool, *namespace, name = self.image.split("/")
        named = {
            "conf": str(self._identity.conf),
            "user": self._identity.user,
            "pool": pool,
            "namespace": "".join(namespace),
            "image": name,
            "life": str(self._life),
        }
        options = [f"--{option}={value}" for option, value in named.items()]
        self._child = spawn(
            [sys.executable, _HERE / "holder.py", "watch" if self.mode == "watch" else "write", *options],
            env={**os.environ, **from_address(self.address)},
        )
        threading.Thread(target=self._listen, args=[self._child], daemon=True).start()
        return self

    def wait_for(self, event: Literal["open", "writing", "error", "end"], timeout: float = 30) -> dict[str, Any]:
        """Wait for the event and return the latest one of its kind: `client`, `writes`, or `errno` and `message`.

        Raises:
            LabError: it did not come within `timeout` seconds, or the client ended without it.
        """
        with self._news:
            self._news.wait_for(lambda: event in self._latest or self._ended, timeout)
            if event in self._latest:
                return self._latest[event]
            raise LabError(f"the client at {self.address} never told {event!r}: {self._latest} {self._last_words}")

    def wait_for_writes(self, more: int = 10, timeout: float = 30) -> int:
        """Wait until it has written `more` blocks than now, and return the number.

        Raises:
            LabError: it did not within `timeout` seconds, or ended.
        """
        with self._news:
            goal = self.writes + more
            self._news.wait_for(lambda: self.writes >= goal or self._ended, timeout)
            if self.writes < goal:
                raise LabError(f"the client at {self.address} stopped at {self.writes} writes: {self._latest}")
            return self.writes

    @property
    def id(self) -> str:
        """`client.N` of the process that has the image open (in mode advisory not the locker's)."""
        return f"client.{self.wait_for('open')['client']}"

    @property
    def writes(self) -> int:
        """How many blocks it has written so far, as far as it told (five times a second)."""
        return int(self._latest.get("writing", {}).get("writes", 0))

    @property
    def error(self) -> dict[str, Any] | None:
        """The error that ended it, with `errno` and `message`, or None."""
        return self._latest.get("error")

    @property
    def alive(self) -> bool:
        """Whether its process exists; a frozen one does."""
        return self._child is not None and self._child.poll() is None

    def freeze(self) -> None:
        """Stop the process in its tracks (SIGSTOP): it loses its watch after about 30 s and knows nothing of it."""
        self._frozen = True
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        self._frozen = False
        self._send(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process (SIGKILL): its session ends at once, its watch lasts about 30 s, its lock for ever."""
        self._send(signal.SIGKILL)
        if self._child is not None:
            self._child.wait(10)

    def stop(self) -> None:
        """End the process, if it is not ended: it closes the image, unless it is frozen or hangs, and is killed then.

        An advisory lock stays: remove_lock() is the test's business.
        """
        if self._child is None:
            return
        if not self._frozen:
            self._send(signal.SIGTERM)
        try:
            self._child.wait(0 if self._frozen else 3)
        except subprocess.TimeoutExpired:
            self.kill()
        self.wait_for("end")

    def _send(self, number: signal.Signals) -> None:
        if self._child is not None and self.alive:
            os.kill(self._child.pid, number)

    def _listen(self, child: "subprocess.Popen[str]") -> None:
        assert child.stdout is not None
        with child.stdout as lines:
            for line in lines:
                with self._news:
                    try:
                        told = json.loads(line)
                        self._latest[told["event"]] = told
                    except ValueError:
                        self._last_words = line.strip()
                    self._news.notify_all()
        with self._news:
            self._latest["end"] = {"event": "end"}
            self._ended = True
            self._news.notify_all()
