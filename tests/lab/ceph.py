"""A real, small Ceph: one mon and one memstore OSD with cephx on 127.0.0.1 or ::1, or the cluster that CEPH_CONF names.

A manager, which counts placement groups and measures pools, runs only where a test starts one (3 s).

It exists so that locks, watchers, sessions and fences in the tests are Ceph's own. It must never touch a cluster's
data beyond the pools, images and users that a test asked for. A given cluster must listen on 127.0.0.1 too: the clients
of `clients` come from addresses of the loopback.
"""

import json
import os
import signal
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from tests.lab.errors import LabError
from tests.lab.processes import Daemon, free_ports
from tests.lab.waiting import until

# librados ignores the time-outs that are passed to its calls (16.2 to 20.2): only these bound a command.
_BOUNDS = "--client_mount_timeout=15 --rados_mon_op_timeout=20 --rados_osd_op_timeout=30"

# Far more than the few ports that one OSD binds (two for each of its four messengers).
_OSD_PORTS = 20

_CONF = """\
[global]
fsid = {fsid}
mon host = {mon}
public addr = {host}
cluster addr = {host}
ms bind ipv4 = {ipv4}
ms bind ipv6 = {ipv6}
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = false
keyring = {folder}/keyring
run dir = {folder}/run
admin socket = {folder}/run/$name.asok
log file = {folder}/$name.ceph.log
crash dir = {folder}/run
ms bind port min = {first_port}
ms bind port max = {last_port}
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon allow pool delete = true
mon warn on pool no redundancy = false
mon warn on insecure global id reclaim = false
mon warn on insecure global id reclaim allowed = false
# a test must not wait for the batching of map changes, nor for a full disk of the machine
paxos propose interval = 0.05
paxos min wait = 0.01
mon data avail warn = 1
mon data avail crit = 1
mgr initial modules =
[mon]
mon data = {folder}/mon
[mgr]
mgr data = {folder}/mgr
keyring = {folder}/mgr/keyring
# none of its Python modules: they take time, and one makes a pool of its own
mgr disabled modules = {modules}
# a test must not wait for reports of five seconds, nor a minute until a placement group counts as stuck
mgr stats period = 1
mgr tick period = 1
mon pg stuck threshold = 5
[osd]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 2147483648
osd op num shards = 2
[client]
log to file = false
log file = /dev/null
admin socket = ""
"""


# Those that a manager of 16.2 runs whether they are enabled or not.
_ALWAYS_ON = "balancer crash devicehealth orchestrator pg_autoscaler progress rbd_support status telemetry volumes"


class Identity(NamedTuple):
    """A cephx user: the ceph.conf that leads to its key, and its name (`client.NAME`)."""

    conf: Path
    user: str


class Ceph:
    """One real Ceph cluster. Use it as a context manager, or call start() and stop().

    `own` is False when CEPH_CONF named the cluster: then nothing is started, and its daemons cannot be stopped.
    """

    def __init__(self, folder: Path, ports: Sequence[int] | None = None, *, ipv6: bool = False) -> None:
        """Keep everything under `folder`, which should be short, as it holds unix sockets.

        `ports` are two for the mon (v2, v1) and at least eight in a row for the OSD; free ones are found if not given.
        With `ipv6` all of it is on ::1, and so are its clients, whatever address they are given.
        """
        given = os.environ.get("CEPH_CONF")
        self.own = not given
        self.folder = folder
        self.conf = Path(given) if given else folder / "ceph.conf"
        self.user = "client.admin"
        self._ports = ports
        self._ipv6 = ipv6
        self._mon = Daemon("mon", folder)
        self._osd = Daemon("osd", folder)
        self._mgr = Daemon("mgr", folder)
        self._osd_uuid = str(uuid.uuid4())
        self._identities: list[str] = []
        self._pools: list[str] = []
        self._images: list[str] = []

    def __enter__(self) -> "Ceph":
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> "Ceph":
        """Bring the cluster up, ready for I/O, within about 3 s.

        Raises:
            LabError: a daemon did not come up; says where its log is.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.own:
            try:
                self._write_conf()
                self._make_mon()
                self.mon_start()
                self._make_osd()
            except BaseException:
                self.stop()
                raise
        self.fsid = self.run("ceph", "fsid").strip()
        return self

    def stop(self) -> None:
        """Stop the daemons that start() recorded; from a given cluster remove the users and pools made here."""
        if self.own:
            self._mgr.stop()
            self._osd.stop()
            self._mon.stop()
            return
        for user in self._identities:
            self.run("ceph", "auth", "del", user)
        for image in self._images:
            self.run("rbd", "rm", "--no-progress", image, check=False)  # a test may have removed it
        for pool in self._pools:
            # Refused by most clusters, which do not allow it: an empty pool stays.
            self.run("ceph", "osd", "pool", "delete", pool, pool, "--yes-i-really-really-mean-it", check=False)

    def run(self, *command: str, timeout: float = 60, check: bool = True, env: Mapping[str, str] | None = None) -> str:
        """Run one of Ceph's own commands (`ceph`, `rbd`, `rados`) as client.admin and return its standard output.

        Raises:
            LabError: it failed (unless `check` is off), or took longer than `timeout` seconds.
        """
        surroundings = {**os.environ, "CEPH_CONF": str(self.conf), "CEPH_ARGS": _BOUNDS, **(env or {})}
        said = " ".join(command)
        try:
            done = subprocess.run(
                command, env=surroundings, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
            )
        except subprocess.TimeoutExpired as error:
            raise LabError(f"`{said}` took longer than {timeout:g} s") from error
        except FileNotFoundError as error:
            raise LabError(f"{command[0]} is not installed: run `make test-real`, which installs it") from error
        if check and done.returncode:
            raise LabError(f"`{said}` failed with {done.returncode}: {done.stderr.strip()[-500:]}")
        return done.stdout

    def create_pool(self, name: str) -> None:
        """Create a pool for RBD; nothing happens if it exists."""
        if name in self.run("ceph", "osd", "pool", "ls").split():
            return
        self.run("ceph", "osd", "pool", "create", name, "4", "4", "replicated")
        self.run("ceph", "osd", "pool", "application", "enable", name, "rbd")
        self._pools.append(name)

    def create_image(
        self,
        spec: str,
        format: int = 1,  # noqa: A002 - rbd's own word
        features: str | None = None,
        size: str = "16M",
    ) -> None:
        """Create the RBD image `pool[/namespace]/image`; `features` as the rbd command takes them (format 2 only)."""
        wanted = ["--image-feature", features] if features else []
        self.run(
            *("rbd", "create", "--image-format", str(format), "--size", size, *wanted, spec),
            env={"RBD_FORCE_ALLOW_V1": "1"},  # what lets this rbd still make images of format 1
        )
        self._images.append(spec)

    def identity(self, name: str, caps: Mapping[str, str]) -> Identity:
        """Make the cephx user `client.NAME` with exactly these caps, for example {"mon": "allow r"}; none are allowed.

        The conf that is returned serves client.admin no less: only the user's name chooses.
        """
        user = f"client.{name}"
        keyring, conf = self.folder / f"{user}.keyring", self.folder / f"{user}.conf"
        self.run("ceph", "auth", "get-or-create", user, "-o", str(keyring))
        self._identities.append(user)
        if caps:
            self.run("ceph", "auth", "caps", user, *(word for pair in caps.items() for word in pair))
        keyring.chmod(0o600)
        conf.write_text(f"{self.conf.read_text()}\n[{user}]\nkeyring = {keyring}\n")
        return Identity(conf, user)

    def mon_stop(self) -> None:
        """Stop the mon: whoever asks it something waits for its own time-out."""
        self._require_own()
        self._mon.stop()

    def mon_start(self) -> None:
        """Start the mon, on its old ports and with its old data, and wait until it answers."""
        self._require_own()
        self._mon.start(["ceph-mon", "-f", "-c", self.conf, "-i", "a"])
        until("the mon to answer", self._mon_answers, timeout=30)

    def mon_freeze(self) -> None:
        """Freeze the mon: connections to it are taken, and nothing is ever answered."""
        self._require_own()
        self._mon.send(signal.SIGSTOP)

    def mon_thaw(self) -> None:
        """Thaw the mon, and wait until it answers."""
        self._require_own()
        self._mon.send(signal.SIGCONT)
        until("the mon to answer", self._mon_answers, timeout=30)

    def osd_stop(self) -> None:
        """Freeze the OSD: it falls silent and keeps its data, which a memstore OSD would lose by ending."""
        self._require_own()
        self._osd.send(signal.SIGSTOP)

    def osd_start(self) -> None:
        """Thaw the OSD."""
        self._require_own()
        self._osd.send(signal.SIGCONT)

    def mgr_start(self) -> None:
        """Start a manager and wait until it has counted the placement groups of all pools (about 3 s)."""
        self._require_own()
        keyring = self.folder / "mgr" / "keyring"
        caps = ("mon", "allow profile mgr", "osd", "allow *", "mds", "allow *")
        self.run("ceph", "auth", "get-or-create", "mgr.x", *caps, "-o", str(keyring))
        self._mgr.start(["ceph-mgr", "-f", "-c", self.conf, "-i", "x"])
        until("the mgr to count the placement groups", self._mgr_counts, timeout=60)
        # That its modules are missing is our own doing, and would make the cluster's health an error.
        self.run("ceph", "health", "mute", "MGR_MODULE_ERROR", "--sticky")

    def mgr_stop(self) -> None:
        """Stop the manager: at once for the monitors too, which would go on believing in it for half a minute."""
        self._require_own()
        self._mgr.stop()
        self.run("ceph", "mgr", "fail", "x")

    def _mgr_counts(self) -> bool:
        self._mgr.check()
        told = json.loads(self.run("ceph", "status", "-f", "json"))
        pools = self.run("ceph", "osd", "pool", "ls").split()
        states = told["pgmap"]["pgs_by_state"]
        known = told["mgrmap"]["available"] and told["pgmap"]["num_pools"] == len(pools)
        return bool(known and all(state["state_name"] != "unknown" for state in states))

    def _require_own(self) -> None:
        if not self.own:
            raise LabError("CEPH_CONF names this cluster: the lab does not stop or start daemons of a given cluster")

    def _write_conf(self) -> None:
        if self.conf.exists():
            raise LabError(f"{self.folder} holds a cluster already: give each one a folder of its own")
        ports = list(self._ports or free_ports(2 + _OSD_PORTS))
        for part in ("mon", "osd", "mgr", "run"):
            (self.folder / part).mkdir()
        host = "[::1]" if self._ipv6 else "127.0.0.1"
        self._mon_address = f"[v2:{host}:{ports[0]},v1:{host}:{ports[1]}]"
        self.fsid = str(uuid.uuid4())
        self.conf.write_text(
            _CONF.format(
                fsid=self.fsid,
                mon=self._mon_address,
                host=host.strip("[]"),
                ipv4=str(not self._ipv6).lower(),
                ipv6=str(self._ipv6).lower(),
                folder=self.folder,
                first_port=ports[2],
                last_port=ports[-1],
                modules=_ALWAYS_ON,
            )
        )

    def _make_mon(self) -> None:
        keyring, monmap = str(self.folder / "keyring"), str(self.folder / "monmap")
        keys: dict[str, dict[str, str]] = {
            "mon.": {"mon": "allow *"},
            "client.admin": {"mon": "allow *", "osd": "allow *", "mgr": "allow *", "mds": "allow *"},
            "osd.0": {"mon": "allow profile osd", "osd": "allow *", "mgr": "allow profile osd"},
        }
        for name, caps in keys.items():
            allowed = [word for kind, cap in caps.items() for word in ("--cap", kind, cap)]
            create = [] if Path(keyring).exists() else ["--create-keyring"]
            self.run("ceph-authtool", keyring, *create, "--gen-key", "--name", name, *allowed)
        self.run("monmaptool", "--create", "--fsid", self.fsid, "--addv", "a", self._mon_address, monmap)
        self.run("ceph-mon", "-i", "a", "--mkfs", "--monmap", monmap, "--keyring", keyring)

    def _make_osd(self) -> None:
        # The mon knows the OSD by this id; an OSD that was made with another one is never let in.
        self.run("ceph", "osd", "new", self._osd_uuid)
        self.run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", self._osd_uuid)
        self._osd.start(["ceph-osd", "-f", "-c", self.conf, "-i", "0"])
        until("the OSD to be up", self._osd_is_up, timeout=30)

    def _mon_answers(self) -> bool:
        self._mon.check()
        return bool(self.run("ceph", "--connect-timeout", "2", "fsid", check=False))

    def _osd_is_up(self) -> bool:
        self._osd.check()
        return "1 up" in self.run("ceph", "osd", "stat")
