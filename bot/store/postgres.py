"""PostgreSQL as the state database: every wait is bounded, one writes at a time, and what was written survives.

It must never let two transactions both act on what they read before either wrote.
"""

import json
import time
from collections.abc import Generator
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event

from runbooks.database import MIGRATES, READS

CONNECTS = 5
"""Seconds to connect to one server."""
LOCK = 10
"""Seconds to wait for whoever else writes."""
STATEMENT = 15
"""Seconds that the server works on one statement."""
IDLE = 8
"""Seconds after which the server ends a transaction whose process stands still: less than the others wait for it."""
ANSWER = 20
"""Seconds to wait for any answer: a server that stands still keeps no time itself. A lease lasts longer than two."""
MIGRATION = 600
"""Seconds for one statement of a migration."""
CONNECTIONS = 10
"""How many connections one process opens at most."""

_DIALECT = "postgresql+psycopg"
_WRITER = int.from_bytes(b"unstick", "big")


def is_ours(url: URL) -> bool:
    """Whether this is the address of a PostgreSQL server, in any of the usual spellings."""
    return url.drivername in ("postgres", "postgresql", _DIALECT)


def make_engine(url: URL) -> Engine:
    """The engine for an address. Nothing is connected yet; what the address itself sets stays.

    Raises:
        ValueError: the address cannot be meant.
    """
    if "@" in (url.host or ""):
        raise ValueError("its password holds an @; write @ as %40, : as %3A and / as %2F")
    # A server that only reads is no place for an intent: of several hosts the one that takes writes is meant.
    wanted = {"connect_timeout": str(CONNECTS), "application_name": "unstick", "target_session_attrs": "read-write"}
    asked = url.set(drivername=_DIALECT).update_query_dict(wanted | dict(url.query) | {"client_encoding": "utf8"})
    engine = create_engine(
        asked, json_serializer=as_json, use_native_hstore=False, pool_pre_ping=True, pool_size=CONNECTIONS // 2,
        max_overflow=CONNECTIONS - CONNECTIONS // 2, pool_timeout=LOCK, pool_recycle=1800, hide_parameters=True,
        connect_args={"prepare_threshold": None},  # a pooler in between may give each transaction another session
    )  # fmt: skip
    event.listen(engine, "do_connect", _connect)
    event.listen(engine, "connect", _insist_on_utf8)
    event.listen(engine, "begin", _begin)
    event.listen(engine, "before_cursor_execute", _without_nul, retval=True)
    return engine


class _Bounded(psycopg.Connection[Any]):
    """A connection that is given up when the server does not answer in time."""

    patience: float | None = None

    def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
        return super().wait(self._in_time(gen), *args, **options)

    def _in_time(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        # psycopg resumes the generator several times a second, with nothing while nothing has come.
        patience = self.patience or ANSWER
        end = time.monotonic() + patience
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() > end:
                    self.close()
                    raise psycopg.OperationalError(f"the server has not answered for {patience:g} seconds")
                wanted = gen.send(ready)
        except StopIteration as done:
            return done.value


def _connect(_dialect: Any, _record: Any, args: Any, options: Any) -> Any:
    return _Bounded.connect(*args, **options)


def _insist_on_utf8(connection: Any, _record: Any) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in (None, "UTF8"):
        raise ValueError(f"its encoding is {encoding}; create the database with ENCODING 'UTF8'")


def _begin(connection: Connection) -> None:
    """Bound the transaction; one that writes waits here for the one before it, as with SQLite.

    Then nobody writes by what somebody else is just changing, numbers are in the order of the commits, and two
    transactions cannot wait for each other. One that only reads waits for nobody. All of it ends with the transaction,
    so that it holds behind a pooler too.
    """
    options = connection.get_execution_options()
    statement, lock, idle = (MIGRATION, MIGRATION, 0) if options.get(MIGRATES) else (STATEMENT, LOCK, IDLE)
    _session(connection).patience = MIGRATION + CONNECTS if options.get(MIGRATES) else None
    bounds = {"statement_timeout": statement, "lock_timeout": lock, "idle_in_transaction_session_timeout": idle}
    said = [f"SET LOCAL {name} = '{seconds}s'" for name, seconds in bounds.items()]
    if not options.get(READS):
        # An intent must survive a power cut before its act begins.
        said += ["SET LOCAL synchronous_commit = on", f"SELECT pg_advisory_xact_lock({_WRITER})"]
    connection.exec_driver_sql("; ".join(said))


def _session(connection: Connection) -> Any:
    return connection.connection.dbapi_connection


def _without_nul(_c: Any, _cursor: Any, statement: str, values: Any, _context: Any, many: bool) -> tuple[str, Any]:
    """PostgreSQL keeps no text with a NUL: what people, cookies and error texts bring is kept without."""
    return statement, [_clean(row) for row in values] if many else _clean(values)


def _clean(value: Any) -> Any:
    """The same with a sign in the place of every NUL, at any depth; other values as they are."""
    match value:
        case str():
            return value.replace("\0", "\ufffd")
        case dict():
            return {_clean(name): _clean(each) for name, each in value.items()}
        case list() | tuple():
            return [_clean(each) for each in value]
    return value


def as_json(value: Any) -> str:
    """JSON that PostgreSQL can look into: neither a NUL nor half of a surrogate pair."""
    text = json.dumps(value)
    if "\\u0000" in text:
        text = json.dumps(_clean(value))
    if "\\ud" in text:
        text = json.dumps(json.loads(text), ensure_ascii=False).encode(errors="replace").decode()
    return text
