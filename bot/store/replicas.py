"""Which replicas live, as all of them see it: what belongs to one that does not is anybody's.

A replica beats. One that could not beat in time takes itself for dead (`Pulse.alive`) before another one can take it
for dead, so that no two of them bring the same thing to Slack.
"""

import fcntl
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from bot.store.tables import channel_owners, jobs, replicas
from runbooks.database import READS, Database, StoreError, stored

_log = logging.getLogger("unstick")
LIVES = timedelta(seconds=12)
"""How long a replica is taken for alive after it beat last."""
BEAT = 2.0
"""Seconds between two beats."""


def moment(database: Database, connection: Connection) -> datetime:
    """Now, by the one clock that all replicas share: the server's, where there is one."""
    if connection.dialect.name == "postgresql":
        at: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return at
    return database.now()


def bury(database: Database, connection: Connection, but: str) -> None:
    """Take for dead, within a transaction, whoever has not beaten in time. `but`: the replica that asks."""
    late = stored(moment(database, connection))
    connection.execute(delete(replicas).where(replicas.c.alive_until < late, replicas.c.id != but))


def living(connection: Connection, replica: str) -> bool:
    """Whether nobody has taken a replica for dead."""
    return connection.execute(select(replicas.c.id).where(replicas.c.id == replica)).first() is not None


class Replicas(Database):
    """All replicas. Methods block: call them in threads."""

    def begin(self, replica: str, alone: bool) -> None:
        """A replica lives from now on. `alone`: no other one does.

        Raises:
            StoreError: the database cannot be written.
        """
        with self.write() as connection:
            now = moment(self, connection)
            others = replicas.c.id == replica
            connection.execute(delete(replicas) if alone else delete(replicas).where(others))
            row = {"id": replica, "started": stored(now), "alive_until": stored(now + LIVES)}
            connection.execute(insert(replicas).values(**row))

    def beat(self, replica: str) -> bool:
        """A replica still lives. False: it was taken for dead, and what it owned is somebody else's; it begins anew.

        Raises:
            StoreError: the database cannot be written.
        """
        with self._apart() as connection:
            until = stored(moment(self, connection) + LIVES)
            beaten = update(replicas).where(replicas.c.id == replica).values(alive_until=until)
            return connection.execute(beaten.returning(replicas.c.id)).first() is not None

    def leave(self, replica: str) -> None:
        """A replica ends: what it owns is anybody's at once.

        Raises:
            StoreError: the database cannot be written.
        """
        with self.write() as connection:
            connection.execute(delete(replicas).where(replicas.c.id == replica))
            connection.execute(delete(channel_owners).where(channel_owners.c.owner == replica))
            connection.execute(update(jobs).where(jobs.c.owner == replica).values(owner=None))

    def alive(self) -> tuple[str, ...]:
        """The replicas that live, the eldest first.

        Raises:
            StoreError: the database cannot be read.
        """
        with self.read() as connection:
            now = stored(moment(self, connection))
            rows = select(replicas.c.id).where(replicas.c.alive_until >= now)
            return tuple(connection.execute(rows.order_by(replicas.c.started, replicas.c.id)).scalars())

    @contextmanager
    def _apart(self) -> Iterator[Connection]:
        """A transaction that waits for no other writer, where the server can: only its own row is touched.

        Else a replica that stands still in the middle of a write would make all others look dead.
        """
        if self.engine.dialect.name != "postgresql":
            with self.write() as connection:
                yield connection
            return
        with self._translated("written"), self.engine.connect() as opened:
            connection = opened.execution_options(**{READS: True})
            yield connection
            connection.commit()


class Pulse:
    """This process as a replica. `now` is a clock in seconds that nobody sets.

    `alone`: it is the only one and always alive, so that nobody has to be told. On a server nobody is: a roll-out has two
    for a while, and nothing like a file's lock (`only_one`) keeps a second one away, whatever the configuration says.
    """

    def __init__(
        self, kept: Replicas, *, alone: bool, replica: str | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.id = replica or f"{socket.gethostname()[:48]}-{secrets.token_hex(4)}"
        self.alone = alone and kept.engine.dialect.name == "sqlite"
        self._kept = kept
        self._now = now
        self._until = float("-inf")
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._said = ""

    def begin(self) -> None:
        """Live from now on.

        Raises:
            StoreError: the database cannot be written.
        """
        began = self._now()
        self._kept.begin(self.id, self.alone)
        self._until = began + LIVES.total_seconds()

    def start(self) -> None:
        """Beat from now on, in a thread of its own: neither loop can be too busy for it. `begin` comes first."""
        if not self.alone:
            self._thread = threading.Thread(target=self._run, name="unstick-pulse", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Beat no more, and give back at once whatever is owned."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        missed, self._until = not self.alive(0), float("-inf")
        if missed:
            return  # the database is away or slow: others have it all by themselves, and the end must not wait
        try:
            self._kept.leave(self.id)
        except StoreError as error:
            _log.error("%s Other replicas go on with what this one leaves in %d s.", error, LIVES.total_seconds())

    def alive(self, for_seconds: float) -> bool:
        """Whether nobody can take this replica for dead so soon: for something that ends within that time."""
        return self.alone or self._now() + for_seconds < self._until

    def beat(self) -> None:
        """Beat once.

        Raises:
            StoreError: the database cannot be written; for how long it is alive stays as it was.
        """
        began = self._now()
        if not self._kept.beat(self.id):
            self._until = float("-inf")
            _log.warning("This replica was taken for dead: others have gone on with its work. It begins anew.")
            self._kept.begin(self.id, self.alone)
        self._until = began + LIVES.total_seconds()

    def _run(self) -> None:
        while not self._ended.wait(BEAT):
            try:
                self.beat()
                self._said = ""
            except StoreError as error:
                if str(error) != self._said:
                    self._said = str(error)
                    _log.error("%s Until then this replica says nothing in Slack.", error)
            except Exception:  # noqa: BLE001 - without a beat the replica is mute for ever
                _log.exception("a beat went wrong")


@contextmanager
def only_one(url: str) -> Iterator[None]:
    """Be the only `unstick serve` on a SQLite file; the command line may use it meanwhile. Others take any number.

    Raises:
        StoreError: another one uses the file, or nothing can be written beside it.
    """
    path = _file_of(url)
    if path is None:
        yield
        return
    lock = path.with_name(f"{path.name}.serve")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        held = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        what = error.strerror or type(error).__name__
        raise StoreError(f"{lock} cannot be opened ({what}): let `unstick serve` write in its folder.") from None
    try:
        if path.parent.stat().st_mode & 0o020 and os.fstat(held).st_uid == os.geteuid():
            os.fchmod(held, 0o660)  # people who share the folder may serve in turn
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreError(
                f"Another `unstick serve` uses {path}: stop it, or name a PostgreSQL database with `state:` for several."
            ) from None
        yield
    finally:
        os.close(held)


def _file_of(url: str) -> Path | None:
    """The file of a SQLite database; None for any other, and for an address that `open_state` will refuse."""
    try:
        made: Any = make_url(url)
        return Path(made.database) if made.get_backend_name() == "sqlite" and made.database else None
    except (ArgumentError, ValueError, ImportError):
        return None
