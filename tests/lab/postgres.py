"""A real PostgreSQL on loopback, of its own data and ports, for as long as the tests run.

Nobody's server is touched: the distribution's cluster, if one runs, stays as it is. The server runs as an ordinary user,
since it refuses root, in namespaces of its own, so that with the tests everything of it ends. What it has committed is
on disk (`fsync` is on).
"""

import itertools
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
from psycopg import sql

from tests.lab.errors import LabError
from tests.lab.processes import Daemon, free_ports, wait_until_stopped
from tests.lab.waiting import until

_USER = "nobody"
_ROLE = "unstick"
# Its data is in the tests' folder, which is root's alone: this lets the server pass through, and write nothing there.
_PASSES = ("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search")
_AS_NOBODY = ("setpriv", f"--reuid={_USER}", "--regid=nogroup", "--clear-groups", *_PASSES, "--pdeathsig=KILL", "--")
_SETTINGS = {
    "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "80", "shared_buffers": "16MB",
    "dynamic_shared_memory_type": "mmap", "logging_collector": "off", "timezone": "UTC",
}  # fmt: skip


def folder_of_programs() -> Path:
    """Where Debian keeps the newest server's programs: they are not on the PATH.

    Raises:
        LabError: there is no server.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    beside = shutil.which("postgres")
    if not found and beside is None:
        raise LabError("there is no PostgreSQL on this machine; tests/lab/install.sh installs it")
    return found[-1].parent if found else Path(str(beside)).resolve().parent


class Postgres:
    """One server. Its databases belong to an ordinary role with a password, as an administrator would make it."""

    def __init__(self, folder: Path) -> None:
        self.port = free_ports(1)[0]
        self.password = secrets.token_hex(8)
        self._administrators = secrets.token_hex(8)
        self._programs = folder_of_programs()
        self._data = folder / "postgres-data"
        self._daemon = Daemon("postgres", folder)
        self._postmaster = 0
        self._numbers = itertools.count(1)
        self._templates: set[str] = set()

    @classmethod
    def start(cls, folder: Path) -> "Postgres":
        """Make a new server's data in this folder, and start it (2 s).

        Raises:
            LabError: it does not come up.
        """
        made = cls(folder)
        made._make()
        try:
            made._run()
            with made._administer() as admin:
                create = sql.SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}")
                admin.execute(create.format(sql.Identifier(_ROLE), sql.Literal(made.password)))
        except BaseException:
            made.stop()
            raise
        return made

    def url(self, database: str) -> str:
        """The address of a database, password and all."""
        return f"postgresql://{_ROLE}:{self.password}@127.0.0.1:{self.port}/{database}"

    def create_database(self, template: str = "template0", **options: str) -> str:
        """Make a new database, and give its address. `options` are CREATE DATABASE's, such as encoding."""
        name = f"test_{next(self._numbers)}"
        said = [sql.SQL("{} {}").format(sql.SQL(key), sql.Literal(value)) for key, value in options.items()]
        create = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} {}").format(
            sql.Identifier(name), sql.Identifier(_ROLE), sql.Identifier(template), sql.SQL(" ").join(said)
        )
        with self._administer() as admin:
            admin.execute(create)
        return self.url(name)

    def prepared(self, name: str, prepare: Callable[[str], None]) -> str:
        """A new database as `prepare` leaves one; it is done once, and then copied."""
        if name not in self._templates:
            with self._administer() as admin:
                admin.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(_ROLE))
                )
            prepare(self.url(name))
            self._templates.add(name)
        return self.create_database(name)

    def do(self, statement: str, database: str = "postgres") -> None:
        """Carry out a statement as the server's administrator."""
        with self._administer(database) as admin:
            admin.execute(statement.encode())

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server: by SIGINT in order, cutting its sessions; by SIGKILL as a crash does."""
        if self._postmaster and self._daemon.alive:
            self.thaw()
            os.kill(self._postmaster, how)
            until("PostgreSQL to end", lambda: not self._daemon.alive, timeout=20, every=0.02)
        self._postmaster = 0
        self._daemon.stop()

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it, and start it on the same data and port."""
        self.stop(how)
        self._run()

    def again(self) -> None:
        """Start it after a stop."""
        self._run()

    def freeze(self) -> None:
        """Let every process of the server stand still; its connections stay open, and nothing answers."""
        stopped: set[int] = set()
        while new := set(self._processes()) - stopped:
            for pid in sorted(new, key=lambda pid: pid != self._postmaster):
                with suppress(ProcessLookupError, FileNotFoundError):  # a session that ended just now
                    os.kill(pid, signal.SIGSTOP)
                    wait_until_stopped(pid)
            stopped |= new

    def thaw(self) -> None:
        """Let them go on."""
        for pid in self._processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _make(self) -> None:
        if os.geteuid() != 0:
            raise LabError("only root can start PostgreSQL as somebody else; run the real tests as root")
        self._data.mkdir(mode=0o700)
        shutil.chown(self._data, _USER, "nogroup")
        word = self._data.with_name("postgres-password")
        word.touch(mode=0o600)
        word.write_text(self._administrators)
        command = [
            *_AS_NOBODY, self._programs / "initdb", "--pgdata", self._data, "--username", "postgres",
            "--auth", "scram-sha-256", "--pwfile", word, "--encoding", "UTF8", "--locale", "C", "--no-sync",
            "--no-instructions",
        ]  # fmt: skip
        made = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd="/")
        if made.returncode:
            raise LabError(f"initdb did not make {self._data}: {made.stderr[-800:]}")

    def _run(self) -> None:
        settings = [f"--{name}={value}" for name, value in {**_SETTINGS, "port": str(self.port)}.items()]
        namespaces = ["unshare", "--pid", "--ipc", "--fork", "--kill-child=KILL", "--"]
        self._daemon.start([*namespaces, *_AS_NOBODY, self._programs / "postgres", "-D", self._data, *settings])
        until("PostgreSQL to take connections", self._answers, timeout=30, every=0.05)
        record = self._daemon.log.with_name("postgres.pid")
        self._postmaster = next(_children(int(record.read_text())))

    def _answers(self) -> bool:
        self._daemon.check()
        try:
            self._administer().close()
        except psycopg.OperationalError:
            return False
        return True

    def _administer(self, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", password=self._administrators, dbname=database,
            autocommit=True, connect_timeout=5,
        )  # fmt: skip

    def _processes(self) -> list[int]:
        """The server's own, and one for each session and duty."""
        return [self._postmaster, *_children(self._postmaster)] if self._postmaster else []


def _children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        yield from map(int, task.read_text().split())
