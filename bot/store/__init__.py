"""Opens the state database and brings it up to date. What the bot keeps lies beside; all migrations live here."""

import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import URL, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from bot.store.alerts import Alerts
from bot.store.counts import Counts
from bot.store.incidents import Incidents
from bot.store.jobs import Jobs
from bot.store.leaders import Leaders
from bot.store.messages import Messages
from bot.store.places import Places
from bot.store.replicas import Replicas
from bot.store.reports import Reports
from bot.store.requests import Requests
from bot.store.sightings import Sightings
from bot.store.signatures import Signatures
from runbooks.database import MIGRATES, READS, StoreError, cause
from runbooks.store import Store

HEAD = "0004"
_OTHERS = 10.0  # seconds for other processes that open a new file at the same time
# Alembic's context is one for the whole process.
_MIGRATING = threading.Lock()
# Between user and host of a URL, be it one that does not parse, or among its settings.
_PASSWORD = re.compile(r"(//[^:/@\s]*:)\S*@")
_SETTING = re.compile(r"((?:^|[?&;\s])\w*password\s*=)[^&;\s]*", re.IGNORECASE)


@dataclass(frozen=True)
class State:
    """The opened database: the engine's store, and what the bot itself keeps."""

    runbooks: Store
    sightings: Sightings
    incidents: Incidents
    messages: Messages
    requests: Requests
    reports: Reports
    jobs: Jobs
    counts: Counts
    alerts: Alerts
    signatures: Signatures
    leaders: Leaders
    replicas: Replicas
    places: Places


def open_state(url: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> State:
    """Open the state database, creating or migrating it first.

    Raises:
        StoreError: it cannot be opened.
    """
    try:
        engine = _engine(make_url(url))
        try:
            with _MIGRATING:
                _migrate(engine)
        except BaseException:
            engine.dispose()
            raise
    except (SQLAlchemyError, ArgumentError, OSError, ImportError, ValueError) as error:
        what = _without_password(url, f"{url} cannot be opened: {cause(error)}")
        raise StoreError(f"The state database {what}; name another with `state:`.") from None
    return State(
        Store(engine, now), Sightings(engine, now), Incidents(engine, now), Messages(engine, now),
        Requests(engine, now), Reports(engine, now), Jobs(engine, now), Counts(engine, now), Alerts(engine, now), Signatures(engine, now),
        Leaders(engine, now), Replicas(engine, now), Places(engine, now),
    )  # fmt: skip


def _engine(url: URL) -> Engine:
    if url.drivername.partition("+")[0] in ("postgres", "postgresql"):
        from bot.store import postgres  # slow to import, and most need it not

        if postgres.is_ours(url):
            return postgres.make_engine(url)
    engine = create_engine(url)
    if url.get_backend_name() == "sqlite":
        if url.database:
            _make_private(Path(url.database))
        event.listen(engine, "connect", _durable)
        event.listen(engine, "begin", _immediate)
    return engine


def _without_password(url: str, said: str) -> str:
    said = _SETTING.sub(r"\1***", _PASSWORD.sub(r"\1***@", said))
    try:
        password = make_url(url).password
    except (ArgumentError, ValueError):
        return said
    return said.replace(str(password), "***") if password and len(str(password)) > 3 else said


def _make_private(path: Path) -> None:
    """The state says who did what: its folder and file are for its owner alone.

    People who approve for each other share one: in a folder that a group may write to, the file is the group's too.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        shared = path.parent.stat().st_mode & 0o020
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        if shared:
            os.fchmod(descriptor, 0o660)
        os.close(descriptor)


def _durable(connection, _record) -> None:  # type: ignore[no-untyped-def]
    # An intent must survive a power cut before its act begins: WAL with full synchronisation.
    connection.isolation_level = None
    for pragma in ("busy_timeout=10000", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
    _write_ahead(connection)


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Have writes go to a log of their own. Whoever makes that change while others open the file is refused at once."""
    end = time.monotonic() + _OTHERS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return


def _immediate(connection) -> None:  # type: ignore[no-untyped-def]
    # The audit chain reads its head before it writes: a deferred transaction could lose that race. One that only reads
    # has none to lose, and must not keep an intent from being written.
    connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get(READS) else "BEGIN IMMEDIATE")


def _migrate(engine: Engine) -> None:
    with engine.connect().execution_options(**{READS: True}) as connection:
        known = inspect(connection).has_table("alembic_version")
        if known and connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == HEAD:
            return  # alembic is slow to import: most runs need not
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.connect().execution_options(**{MIGRATES: True}) as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise ValueError(
                f"another version of Unstick wrote it ({error}), and only that or a newer one can"
            ) from None
        connection.commit()
