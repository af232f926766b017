"""Child processes of the lab: started, recorded by pid, and stopped by exactly that pid.

Every child is bound to this process by the kernel (a parent-death signal), so that nothing real outlives the tests,
not even when they are killed. Nothing here ever looks for a process by its name.
"""

import os
import random
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.lab.errors import LabError
from tests.lab.waiting import until

# The parent-death signal comes when the *thread* that forked ends: one thread, as old as the process, forks them all.
_forker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lab-forker")

# Below the range from which the kernel takes ports for outgoing connections: such a port may not be free again later.
_FIRST_PORT, _LAST_PORT = 20000, 32000


def free_ports(count: int) -> list[int]:
    """Return `count` consecutive TCP ports that nothing listens on at 127.0.0.1 right now."""
    for _ in range(200):
        first = random.randrange(_FIRST_PORT, _LAST_PORT - count)  # noqa: S311 - not a secret
        ports = list(range(first, first + count))
        if all(_is_free(port) for port in ports):
            return ports
    raise LabError(f"found no {count} free ports in a row between {_FIRST_PORT} and {_LAST_PORT} on 127.0.0.1")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def has_ipv6() -> bool:
    """Whether this machine has the address ::1."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def spawn(
    command: Sequence[str | Path],
    *,
    stdout: int | None = subprocess.PIPE,
    stderr: int | None = subprocess.STDOUT,
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Start a child that the kernel kills when this process ends."""
    bound = ["setpriv", "--pdeathsig", "KILL", "--", *map(str, command)]

    def fork() -> subprocess.Popen[str]:
        return subprocess.Popen(
            bound,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=env,
            text=True,
            bufsize=1,
            start_new_session=True,
        )

    return _forker.submit(fork).result()


def wait_until_stopped(pid: int) -> None:
    """Wait until every thread of a process stands still."""

    def stopped() -> bool:
        states = [stat.read_text().rpartition(")")[2].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
        return all(state in "TtZX" for state in states)

    until(f"process {pid} to stand still", stopped, timeout=10, every=0.01)


class Daemon:
    """One long-lived child: its pid is in `folder/NAME.pid`, its output in `folder/NAME.log`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._record = folder / f"{name}.pid"
        self._child: subprocess.Popen[str] | None = None

    def start(self, command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> None:
        """Start it; a second start appends to the same log.

        Raises:
            LabError: it runs already.
        """
        if self.alive:
            raise LabError(f"{self.name} runs already (pid in {self._record})")
        with self.log.open("a") as log:
            self._child = spawn(command, stdout=log.fileno(), env=env)
        self._record.write_text(f"{self._child.pid}\n")

    @property
    def alive(self) -> bool:
        """Whether the process exists; a frozen one does."""
        return self._child is not None and self._child.poll() is None

    def check(self) -> None:
        """Raise LabError, with the end of its log, when it is not alive."""
        if not self.alive:
            tail = self.log.read_text(errors="replace")[-800:] if self.log.exists() else ""
            raise LabError(f"{self.name} ended by itself; the end of {self.log}: {tail}")

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it is alive. SIGSTOP is waited for: a thread may run on for a while until it has it."""
        if self._child is not None and self.alive:
            os.kill(self._child.pid, number)
            if number == signal.SIGSTOP:
                wait_until_stopped(self._child.pid)

    def stop(self, timeout: float = 10) -> None:
        """Ask it to end, and make it end after `timeout` seconds."""
        if self._child is None:
            return
        self.send(signal.SIGTERM)
        self.send(signal.SIGCONT)
        try:
            self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait(5)
        self._child = None
        self._record.unlink(missing_ok=True)
