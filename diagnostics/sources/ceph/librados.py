"""The Rados protocol over the distribution's librados and librbd, imported only once somebody asks for Ceph.

It never writes by itself: what is executed is the caller's choice. Ceph 16 to 20 ignore the `timeout=` arguments of
their bindings and can hang for ever, so every connection carries the three configured time-outs, and the calls
that they do not cover are given up on.
"""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import ModuleType
from typing import Any, NoReturn

from diagnostics.facts.ceph import Address
from diagnostics.sources import CouldNotLook
from diagnostics.sources.ceph.calls import ENOTCONN, ETIMEDOUT, Calls
from diagnostics.sources.ceph.rados import RadosError
from diagnostics.sources.ceph.threads import on_each

EIO, ENOENT, EACCES, EINVAL, ERANGE, EFBIG = 5, 2, 13, 22, 34, 27
REPLY_SIZES = (1024, 65_536, 2_097_152)
OMAP_PAGE = 1000
READ_SIZE = 65_536
MOST_READ = 16 * 1024 * 1024
AT_ONCE, MOST_AT_ONCE = 32, 512
"""How many calls of a batch are under way at a time, and how many where they all wait for an OSD that is silent.

librados itself holds back more than 1024 (`objecter_inflight_ops`).
"""
SILENT = 32
"""After so many calls of a batch without an answer, and none with one, the rest are not tried."""


class CephConfError(CouldNotLook):
    """The configuration file that was named is missing or cannot be used: a mistake of whoever named it."""


class BindingMissing(CouldNotLook):
    """The Python modules of librados or librbd are not installed for this Python."""


@dataclass(frozen=True)
class Timeouts:
    """How long Ceph may take, in seconds: to connect, for a monitor's answer, for an OSD's, to begin a batch of calls.

    A batch of 10,000 takes a second. A slow one must leave time for the other pools of a scan, which has a minute.
    """

    mount: int = 5
    mon: int = 10
    osd: int = 10
    batch: int = 25

    @property
    def conf(self) -> dict[str, str]:
        """The options that librados heeds. Without them a monitor that is down means waiting for ever."""
        return {
            "client_mount_timeout": str(self.mount),
            "rados_mon_op_timeout": str(self.mon),
            "rados_osd_op_timeout": str(self.osd),
            "log_to_stderr": "false",
            "err_to_stderr": "false",
        }


@dataclass
class _Heard:
    """Whether anything was heard of the calls of a batch. Threads count without a lock: about right is enough."""

    answered: bool = False
    time_outs: int = 0

    def note(self, answered: bool) -> None:
        if not answered:
            self.time_outs += 1
        elif not self.answered:
            self.answered = True

    @property
    def silence(self) -> bool:
        return self.time_outs >= SILENT and not self.answered


class LibRados:
    """A connection to a real cluster; the Rados protocol says what each method promises. Threads may share it.

    It mends itself: after Ceph was away, the same connection works again. Only a fenced client (errno 108) stays so.
    """

    def __init__(self, conffile: str | Path, user: str = "client.admin", timeouts: Timeouts | None = None) -> None:
        self._conffile = Path(conffile)
        self._user = user if user.startswith("client.") else f"client.{user}"
        self._timeouts = timeouts or Timeouts()
        self._cluster: Any = None
        self._errors: tuple[type[Exception], ...] = ()
        self._ioctxs: dict[tuple[str, str], Any] = {}
        self._opening = threading.Lock()
        self._left: list[object] = []
        self._calls = Calls()

    def connect(self) -> "LibRados":
        """Connect, and return this connection.

        Raises:
            CephConfError: the configuration file is missing, unreadable or names no monitors.
            BindingMissing: the bindings are not installed for this Python.
            CouldNotLook: no monitor answers, or the key is refused.
        """
        _check_readable(self._conffile)
        rados, rbd = _binding("rados"), _binding("rbd")
        self._errors = (rados.Error, rbd.Error)
        try:
            cluster = rados.Rados(name=self._user, conffile=str(self._conffile), conf=self._timeouts.conf)
        except rados.Error as error:
            raise CephConfError(
                f"{self._conffile} is not a Ceph configuration that librados can read (errno {_errno(error)}):"
                " correct it, or name another with --ceph-conf or CEPH_CONF"
            ) from None
        try:
            cluster.connect()
        except rados.Error as error:
            monitors = cluster.conf_get("mon_host")
            cluster.shutdown()
            self._say_why(_errno(error), monitors)
        self._cluster = cluster
        self._calls.open()
        return self

    def _say_why(self, errno: int, monitors: str) -> NoReturn:
        if not monitors:
            raise CephConfError(f"{self._conffile} names no monitors: give it a `mon host` line")
        reasons = {
            ETIMEDOUT: f"no monitor of {monitors} answered in {self._timeouts.mount} s: check that they are up and can"
            " be reached from here",
            EACCES: f"the monitors refuse {self._user}: check its name and its key",
            ENOENT: f"there is no key for {self._user}: check the `keyring` line of {self._conffile}",
            EINVAL: f"the monitors' addresses ({monitors}) or the key of {self._user} cannot be used: check them in"
            f" {self._conffile}",
        }
        why = reasons.get(errno, f"connecting failed with errno {errno}: try `ceph -s` with {self._conffile}")
        raise CouldNotLook(f"Ceph could not be asked: {why}", unreachable=True)

    @property
    def fsid(self) -> str:
        """The cluster's id."""
        with self._call("asking for the cluster's id") as cluster:
            return str(cluster.get_fsid())

    @property
    def client(self) -> str:
        """Our own client: `client.N`."""
        with self._call("asking for our own client") as cluster:
            return f"client.{cluster.get_instance_id()}"

    def own_ips(self) -> tuple[str, ...]:
        """The IPs that Ceph sees us at."""
        with self._call("asking for our own address") as cluster:
            text = str(cluster.get_addrs())
        try:
            return tuple(dict.fromkeys(Address.parse(one).ip for one in _addresses(text)))
        except ValueError:
            raise RadosError(EIO, f"our own address {text!r} cannot be read") from None

    def pools(self) -> tuple[str, ...]:
        """Names of all pools."""
        with self._call("listing pools") as cluster:
            return tuple(cluster.list_pools())

    def omap(self, pool: str, namespace: str, oid: str, prefix: str) -> dict[str, bytes]:
        """All omap entries of an object whose keys begin with `prefix`."""
        found: dict[str, bytes] = {}
        last = ""
        with self._pool_call(pool, namespace, f"reading the omap of {oid}") as ioctx:
            while page := self._omap_page(ioctx, oid, last, prefix):
                found |= page
                last = max(page)
        return found

    def _omap_page(self, ioctx: Any, oid: str, after: str, prefix: str) -> dict[str, bytes]:
        """One page, which may be short of what was asked: only an empty one is the last."""
        with _binding("rados").ReadOpCtx() as operation:
            entries, _ = ioctx.get_omap_vals(operation, after, prefix, OMAP_PAGE)
            ioctx.operate_read_op(operation, oid)
            return {key: value or b"" for key, value in entries}  # the binding gives None for an empty value

    def read(self, pool: str, namespace: str, oid: str) -> bytes:
        """The data of an object, at most 16 MiB."""
        data = b""
        with self._pool_call(pool, namespace, f"reading {oid}") as ioctx:
            while part := ioctx.read(oid, READ_SIZE, len(data)):
                data += part
                if len(data) > MOST_READ:
                    raise RadosError(EFBIG, f"{oid} is larger than {MOST_READ} bytes, which none of RBD's indexes is")
        return data

    def execute(self, pool: str, namespace: str, oid: str, cls: str, method: str, data: bytes) -> bytes:
        """Call a method of an object class; the room for its reply grows as needed, up to 2 MiB."""
        with self._pool_call(pool, namespace, f"{cls}.{method} on {oid}") as ioctx:
            return self._execute(ioctx, oid, cls, method, data)

    def _execute(self, ioctx: Any, oid: str, cls: str, method: str, data: bytes) -> bytes:
        for size in REPLY_SIZES[:-1]:
            try:
                return ioctx.execute(oid, cls, method, data, size)[1]  # type: ignore[no-any-return]
            except self._errors as error:
                if _errno(error) != ERANGE:
                    raise
        return ioctx.execute(oid, cls, method, data, REPLY_SIZES[-1])[1]  # type: ignore[no-any-return]

    def execute_each(
        self, pool: str, namespace: str, oids: Sequence[str], cls: str, method: str, data: bytes
    ) -> list[bytes | RadosError]:
        """The same call on many objects, in threads.

        Not with aio_execute: where a reply is longer than its buffer, librados 16.2 writes past the end of it and the
        process dies, and how long the list of lockers is, others decide. It also calls back into Python for each reply,
        which takes longer than what these threads do.
        """
        late = f"{cls}.{method}: not asked within the {self._timeouts.batch} s that the whole batch may take"
        ends = monotonic() + self._timeouts.batch
        heard = _Heard()

        def work(oid: str) -> bytes | RadosError:
            if not self._calls.are_open:
                return RadosError(ENOTCONN, "the connection to Ceph was closed meanwhile")
            if monotonic() >= ends:
                return RadosError(ETIMEDOUT, late)
            if heard.silence:
                return RadosError(ETIMEDOUT, f"{cls}.{method}: not asked, as none of {SILENT} others was answered")
            try:
                reply = self._execute(ioctx, oid, cls, method, data)
            except self._errors as error:
                errno = _errno(error)
                heard.note(errno != ETIMEDOUT)
                return RadosError(errno, f"{cls}.{method} failed")
            heard.note(True)
            return reply

        with self._pool_call(pool, namespace, f"{cls}.{method}") as ioctx:
            return on_each(work, oids, AT_ONCE, MOST_AT_ONCE)

    def watchers(self, pool: str, namespace: str, image: str, image_id: str | None = None) -> list[tuple[int, str]]:
        """Who watches an image's header. It is opened read-only: opened for writing, we would be a watcher too."""
        rbd = _binding("rbd")
        with self._pool_call(pool, namespace, f"reading the watchers of image {image}") as ioctx:
            opened = (
                rbd.Image(ioctx, image_id=image_id, read_only=True)
                if image_id
                else rbd.Image(ioctx, image, read_only=True)
            )
            with opened:
                return [(int(watcher["id"]), str(watcher["addr"])) for watcher in opened.watchers_list()]

    def mon(self, command: Mapping[str, object], mon: str | None = None) -> bytes:
        """Send a command to the monitors, or to the one named `mon`."""
        text = json.dumps({"format": "json", **command})
        with self._call(f"the monitor command {command.get('prefix')!r}") as cluster:
            target = (mon,) if mon else ()
            result, output, message = cluster.mon_command(text, b"", 0, *target)
        if result:
            asked = f"{command.get('prefix')!r}" + (f" of mon.{mon}" if mon else "")
            raise RadosError(abs(result), f"the monitor command {asked}: {message or 'no answer'}")
        return bytes(output or b"")

    def wait_for_map(self) -> None:
        """Return once this client has the newest OSD map. librados would wait for ever; here it is given up on."""

        def wait() -> None:
            with self._call("waiting for the newest OSD map") as cluster:
                cluster.wait_for_latest_osdmap()

        self._calls.given_up_after(self._timeouts.mon, wait, "waiting for the newest OSD map")

    def close(self) -> None:
        """End the connection, once the calls that are under way have ended; no new one begins. Twice does no harm.

        Where a call does not end within its time-outs, the connection is left to it: librados frees what the call
        works with, and the process would die.
        """
        ended = self._calls.end(self._timeouts.mon + self._timeouts.osd)
        with self._opening:
            ioctxs, self._ioctxs = self._ioctxs, {}
            cluster, self._cluster = self._cluster, None
        if not ended:
            self._left.append((cluster, ioctxs))
            return
        for ioctx in ioctxs.values():
            ioctx.close()
        if cluster is not None:
            cluster.shutdown()

    @contextmanager
    def _call(self, doing: str) -> Iterator[Any]:
        """The connection for one call, which keeps it from being closed and whose errors become RadosError."""
        with self._calls.one():
            try:
                yield self._cluster
            except self._errors as error:
                raise RadosError(_errno(error), f"{doing} failed") from None

    @contextmanager
    def _pool_call(self, pool: str, namespace: str, doing: str) -> Iterator[Any]:
        """The way into a pool, for one call."""
        with self._call(doing):
            yield self._ioctx(pool, namespace)

    def _ioctx(self, pool: str, namespace: str) -> Any:
        """The way into a pool. For a pool that it does not know, librados waits for a newer map, for ever."""

        def open_pool() -> Any:
            with self._call(f"opening pool {pool}") as cluster:
                ioctx = cluster.open_ioctx(pool)
                ioctx.set_namespace(namespace)
                return ioctx

        with self._opening:
            if (pool, namespace) not in self._ioctxs:
                opened = self._calls.given_up_after(self._timeouts.mon, open_pool, f"opening pool {pool}")
                self._ioctxs[pool, namespace] = opened
            return self._ioctxs[pool, namespace]


def connect(conffile: str | Path, user: str = "client.admin", timeouts: Timeouts | None = None) -> LibRados:
    """Connect to the cluster that a configuration file names, with one cephx identity; raises as LibRados.connect."""
    return LibRados(conffile, user, timeouts).connect()


def _check_readable(conffile: Path) -> None:
    try:
        conffile.open("rb").close()
    except OSError as error:
        raise CephConfError(
            f"the Ceph configuration {conffile} cannot be read ({error.strerror}):"
            " name one with --ceph-conf or CEPH_CONF"
        ) from None


def _binding(name: str) -> ModuleType:
    """Import `rados` or `rbd`. A plain import statement each: the tests over imports see which module uses them."""
    try:
        if name == "rbd":
            import rbd

            return rbd  # type: ignore[no-any-return]
        import rados

        return rados  # type: ignore[no-any-return]
    except ImportError:
        raise BindingMissing(
            f"Ceph could not be asked: this Python has no module {name}; install the Debian packages python3-rados and"
            " python3-rbd, and run Unstick with the Python they are built for (a virtual environment must have the"
            " same version and see them)"
        ) from None


def _errno(error: Exception) -> int:
    """The errno of a binding's exception, EIO where it has none (a wrong state of its own object)."""
    return abs(int(getattr(error, "errno", None) or EIO))


def _addresses(text: str) -> list[str]:
    """Split what librados says of its own addresses: one, or several as `[v2:ADDRESS,v1:ADDRESS]`."""
    several = text.startswith(("[v", "[any"))
    return (text[1:-1] if several else text).split(",")
