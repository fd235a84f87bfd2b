"""The database engine, its safe settings, and the one mapping of its errors."""

import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from bridge.errors import ConfigurationError, StoreError
from consumers.consumer import Unavailable

SQLITE_BUSY_SECONDS: Final = 5.0
POOL_SIZE: Final = 8
"""PostgreSQL connections, and worker threads, of one process."""
POOL_WAIT_SECONDS: Final = 10
STATEMENT_SECONDS: Final = 30
"""A statement that takes longer is cancelled: no handler waits for it any more."""
READ_ONLY: Final = "bridge_read_only"
"""Execution option of a connection whose transaction takes no write lock on SQLite."""

_POSTGRESQL: Final = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # ms; a server that vanished is noticed, not waited for
}
_EXTRA: Final = 3  # PRAGMA synchronous
_SQLITE_OUTSIDE: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
    }
)
# Connection lost, out of resources, shut down or starting, an operator's or a timeout's cancel,
# lock timeout, a standby, no right, wrong password or database: no notification is to blame.
# Not class 54 (a limit that this very row exceeds).
_POSTGRESQL_OUTSIDE: Final = (
    "08", "53", "57", "58", "55P03", "25006", "25P03", "25P04", "42501", "28", "3D", "XX",
)  # fmt: skip
_POSTGRESQL_TRY_AGAIN: Final = frozenset({"40001", "40P01"})

_connections_of: Final[WeakKeyDictionary[Engine, WeakSet[Any]]] = WeakKeyDictionary()


class TryAgain(Exception):
    """A deadlock or serialization failure: the same transaction may succeed now."""


def database_url(url: str) -> URL:
    """Check and complete a database address.

    Raises:
        ConfigurationError: neither `sqlite:///file` nor `postgresql://…`; never shows the address,
            which may hold a password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is not None and parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed is not None and parsed.drivername == "sqlite":
        if parsed.database and parsed.database != ":memory:" and not parsed.query:
            return parsed
        raise ConfigurationError("BRIDGE_DATABASE_URL: SQLite needs a file, sqlite:///path/file.db")
    raise ConfigurationError(
        "BRIDGE_DATABASE_URL: use sqlite:///path/file.db or postgresql://user:password@host/name"
    )


def make_engine(url: URL, *, sqlite_busy_seconds: float = SQLITE_BUSY_SECONDS) -> Engine:
    """An engine for an address that `database_url` completed. Connects on first use.

    Args:
        url: the address.
        sqlite_busy_seconds: how long a transaction waits for another process's.

    Raises:
        ConfigurationError: PostgreSQL without its driver; says what to install.
    """
    if url.drivername == "sqlite":
        engine = create_engine(
            url,
            pool_size=1,
            max_overflow=0,
            hide_parameters=True,  # addresses; the text of an error goes to logs and dead letters
            connect_args={"timeout": sqlite_busy_seconds, "isolation_level": None},
        )
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    try:
        engine = create_engine(
            url,
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_timeout=POOL_WAIT_SECONDS,
            hide_parameters=True,  # as above
            connect_args=_POSTGRESQL,
        )
    except ImportError as error:
        raise ConfigurationError(
            "BRIDGE_DATABASE_URL: PostgreSQL needs a driver: "
            "pip install 'notification-bridge[postgres]'"
        ) from error
    event.listen(engine, "connect", _set_up_postgresql)
    connections = _connections_of.setdefault(engine, WeakSet())
    event.listen(engine, "connect", lambda connection, _record: connections.add(connection))
    return engine


def cut(engine: Engine) -> None:
    """End PostgreSQL connections under statements that a frozen server will not answer.

    The threads that wait for them get an error, and the server, when it thaws, rolls back.
    """
    for connection in list(_connections_of.get(engine, ())):
        with (
            suppress(Exception),  # closed long ago
            socket.socket(fileno=os.dup(connection.fileno())) as other_handle,
        ):
            other_handle.shutdown(socket.SHUT_RDWR)


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # EXTRA, not FULL: a rollback journal is deleted at commit, and FULL does not sync its folder,
    # so that a power cut soon after would roll the commit back.
    for pragma in ("journal_mode = DELETE", f"synchronous = {_EXTRA}", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")
    found = [
        connection.execute(f"PRAGMA {pragma}").fetchone()[0]
        for pragma in ("journal_mode", "synchronous", "foreign_keys")
    ]
    if found != ["delete", _EXTRA, 1]:
        raise StoreError(f"SQLite refused its safe settings: {found}")


def _begin_sqlite(connection: Connection) -> None:
    # IMMEDIATE: a transaction that reads first and writes later cannot wait for the lock.
    read_only = connection.get_execution_options().get(READ_ONLY)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _set_up_postgresql(connection: Any, _record: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET statement_timeout = {STATEMENT_SECONDS * 1000}")
        cursor.execute("SET TIME ZONE 'UTC'")
    connection.commit()


@contextmanager
def mapped_errors() -> Iterator[None]:
    """Turn errors of the library that mean "the database is down" into `Unavailable`.

    Others, such as a violated constraint, pass through: they are bugs of the statement.

    Raises:
        Unavailable: of the group: no connection, no space, no right, locked for too long.
        TryAgain: a deadlock or serialization failure.
    """
    try:
        yield
    except PoolTimeout as error:
        raise Unavailable("all database connections are in use", scope="group") from error
    except DBAPIError as error:
        state = getattr(error.orig, "sqlstate", None)
        if state in _POSTGRESQL_TRY_AGAIN:
            raise TryAgain from error
        if error.connection_invalidated or _is_outside(error.orig, state):
            # The class, not the text: libpq's text may hold the user's name and the address.
            raise Unavailable(
                f"the consumers' database does not serve us: {type(error.orig).__name__}",
                scope="group",
            ) from error
        raise


def _is_outside(error: BaseException | None, state: str | None) -> bool:
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0)
        return code & 0xFF in _SQLITE_OUTSIDE
    if state is None:
        # Without a state the server never answered: psycopg could not connect or was cut off.
        return type(error).__name__ in ("OperationalError", "InterfaceError", "ConnectionTimeout")
    return state.startswith(_POSTGRESQL_OUTSIDE)


@contextmanager
def store_errors() -> Iterator[None]:
    """At start and in commands, every failure of the database is a `StoreError`.

    Raises:
        StoreError: with the library's own words.
    """
    try:
        yield
    except Unavailable as error:
        raise StoreError(str(error)) from error
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise StoreError(f"the consumers' database failed: {cause}") from error


def file_of(url: URL) -> Path | None:
    """The file of an SQLite database; None for PostgreSQL."""
    return Path(url.database or "") if url.drivername == "sqlite" else None
