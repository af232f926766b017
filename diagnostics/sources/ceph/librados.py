"""The Rados protocol over the distribution's librados and librbd, imported only once somebody asks for Ceph.

It never writes by itself: what is executed is the caller's choice. Ceph 16 to 20 ignore the `timeout=` arguments of
their bindings and can hang for ever, so every connection carries the three configured time-outs, and the calls
that they do not cover are given up on.
"""

import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import ModuleType
from typing import Any, NoReturn, TypeVar

from diagnostics.facts.ceph import Address
from diagnostics.sources import CouldNotLook
from diagnostics.sources.ceph.rados import RadosError

T = TypeVar("T")

EIO, ENOENT, EACCES, EINVAL, ERANGE, ETIMEDOUT, EFBIG = 5, 2, 13, 22, 34, 110, 27
REPLY_SIZES = (8192, 131_072, 2_097_152)
OMAP_PAGE = 1000
READ_SIZE = 65_536
MOST_READ = 16 * 1024 * 1024
WORKERS = 16


class CephConfError(CouldNotLook):
    """The configuration file that was named is missing or cannot be used: a mistake of whoever named it."""


class BindingMissing(CouldNotLook):
    """The Python modules of librados or librbd are not installed for this Python."""


@dataclass(frozen=True)
class Timeouts:
    """How long Ceph may take, in seconds: to connect, for a monitor's answer, for an OSD's, for a batch of calls."""

    mount: int = 5
    mon: int = 10
    osd: int = 10
    batch: int = 60

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


class LibRados:
    """A connection to a real cluster; the Rados protocol says what each method promises. Threads may share it."""

    def __init__(self, conffile: str | Path, user: str = "client.admin", timeouts: Timeouts | None = None) -> None:
        self._conffile = Path(conffile)
        self._user = user if user.startswith("client.") else f"client.{user}"
        self._timeouts = timeouts or Timeouts()
        self._cluster: Any = None
        self._ioctxs: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()

    def connect(self) -> "LibRados":
        """Connect, and return this connection.

        Raises:
            CephConfError: the configuration file is missing, unreadable or names no monitors.
            BindingMissing: the bindings are not installed for this Python.
            CouldNotLook: no monitor answers, or the key is refused.
        """
        _check_readable(self._conffile)
        rados, _ = _binding("rados"), _binding("rbd")
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
        with _translated("asking for the cluster's id"):
            return str(self._connected().get_fsid())

    @property
    def client(self) -> str:
        """Our own client: `client.N`."""
        with _translated("asking for our own client"):
            return f"client.{self._connected().get_instance_id()}"

    def own_ips(self) -> tuple[str, ...]:
        """The IPs that Ceph sees us at."""
        with _translated("asking for our own address"):
            text = str(self._connected().get_addrs())
        try:
            return tuple(dict.fromkeys(Address.parse(one).ip for one in _addresses(text)))
        except ValueError:
            raise RadosError(EIO, f"our own address {text!r} cannot be read") from None

    def pools(self) -> tuple[str, ...]:
        """Names of all pools."""
        with _translated("listing pools"):
            return tuple(self._connected().list_pools())

    def omap(self, pool: str, namespace: str, oid: str, prefix: str) -> dict[str, bytes]:
        """All omap entries of an object whose keys begin with `prefix`."""
        ioctx = self._ioctx(pool, namespace)
        found: dict[str, bytes] = {}
        last = ""
        with _translated(f"reading the omap of {oid}"):
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
        ioctx = self._ioctx(pool, namespace)
        data = b""
        with _translated(f"reading {oid}"):
            while part := ioctx.read(oid, READ_SIZE, len(data)):
                data += part
                if len(data) > MOST_READ:
                    raise RadosError(EFBIG, f"{oid} is larger than {MOST_READ} bytes, which none of RBD's indexes is")
        return data

    def execute(self, pool: str, namespace: str, oid: str, cls: str, method: str, data: bytes) -> bytes:
        """Call a method of an object class; the room for its reply grows as needed, up to 2 MiB."""
        ioctx = self._ioctx(pool, namespace)
        for size in REPLY_SIZES:
            try:
                with _translated(f"{cls}.{method} on {oid}"):
                    return bytes(ioctx.execute(oid, cls, method, data, size)[1])
            except RadosError as error:
                if error.errno != ERANGE or size == REPLY_SIZES[-1]:
                    raise
        raise AssertionError("unreachable: the last size either returns or raises")

    def execute_each(
        self, pool: str, namespace: str, oids: Sequence[str], cls: str, method: str, data: bytes
    ) -> list[bytes | RadosError]:
        """The same call on many objects, in threads.

        Not with aio_execute, although it is a little faster: where a reply is longer than its buffer, librados 16.2
        writes past the end of it and the process dies, and how long the list of lockers is, others decide.
        """
        late = RadosError(ETIMEDOUT, f"not asked within the {self._timeouts.batch} s that the whole batch may take")
        answers: list[bytes | RadosError] = [late] * len(oids)
        ends = monotonic() + self._timeouts.batch
        turn = itertools.count()

        def work(_: int) -> None:
            while (index := next(turn)) < len(oids) and monotonic() < ends:
                try:
                    answers[index] = self.execute(pool, namespace, oids[index], cls, method, data)
                except RadosError as error:
                    answers[index] = error

        if oids:
            workers = min(WORKERS, len(oids))
            with ThreadPoolExecutor(workers, "rados") as threads:
                list(threads.map(work, range(workers)))
        return answers

    def watchers(self, pool: str, namespace: str, image: str, image_id: str | None = None) -> list[tuple[int, str]]:
        """Who watches an image's header. It is opened read-only: opened for writing, we would be a watcher too."""
        ioctx = self._ioctx(pool, namespace)
        rbd = _binding("rbd")
        with _translated(f"reading the watchers of image {image}"):
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
        with _translated(f"the monitor command {command.get('prefix')!r}"):
            target = (mon,) if mon else ()
            result, output, message = self._connected().mon_command(text, b"", 0, *target)
        if result:
            asked = f"{command.get('prefix')!r}" + (f" of mon.{mon}" if mon else "")
            raise RadosError(abs(result), f"the monitor command {asked}: {message or 'no answer'}")
        return bytes(output or b"")

    def wait_for_map(self) -> None:
        """Return once this client has the newest OSD map. librados would wait for ever; here it is given up on."""
        cluster = self._connected()

        def wait() -> None:
            with _translated("waiting for the newest OSD map"):
                cluster.wait_for_latest_osdmap()

        _given_up_after(self._timeouts.mon, wait, "waiting for the newest OSD map")

    def close(self) -> None:
        """End the connection. Closing twice does no harm."""
        with self._lock:
            ioctxs, cluster = list(self._ioctxs.values()), self._cluster
            self._ioctxs, self._cluster = {}, None
        for ioctx in ioctxs:
            ioctx.close()
        if cluster is not None:
            cluster.shutdown()

    def _connected(self) -> Any:
        if self._cluster is None:
            raise RadosError(107, "the connection to Ceph is not open")
        return self._cluster

    def _ioctx(self, pool: str, namespace: str) -> Any:
        """The way into a pool. For a pool that it does not know, librados waits for a newer map, for ever."""
        cluster = self._connected()

        def open_pool() -> Any:
            with _translated(f"opening pool {pool}"):
                ioctx = cluster.open_ioctx(pool)
                ioctx.set_namespace(namespace)
                return ioctx

        with self._lock:
            if (pool, namespace) not in self._ioctxs:
                self._ioctxs[pool, namespace] = _given_up_after(self._timeouts.mon, open_pool, f"opening pool {pool}")
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


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    """Turn whatever the bindings raise into RadosError."""
    rados, rbd = _binding("rados"), _binding("rbd")
    try:
        yield
    except (rados.Error, rbd.Error) as error:
        raise RadosError(_errno(error), f"{doing} failed") from None


def _given_up_after(seconds: int, call: Callable[[], T], doing: str) -> T:
    """Run a call that nothing else bounds. Its thread is left behind where it does not end, as a daemon."""
    answers: list[T | RadosError] = []

    def run() -> None:
        try:
            answers.append(call())
        except RadosError as error:
            answers.append(error)

    thread = threading.Thread(target=run, name="rados-wait", daemon=True)
    thread.start()
    thread.join(seconds)
    if not answers:
        raise RadosError(ETIMEDOUT, f"{doing} took longer than {seconds} s")
    if isinstance(answers[0], RadosError):
        raise answers[0]
    return answers[0]


def _addresses(text: str) -> list[str]:
    """Split what librados says of its own addresses: one, or several as `[v2:ADDRESS,v1:ADDRESS]`."""
    several = text.startswith(("[v", "[any"))
    return (text[1:-1] if several else text).split(",")
