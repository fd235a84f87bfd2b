"""Connections to SQLite files: opened with pragmas that are read back, used in their own thread."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import apsw

from bridge.errors import BrokerUnavailable, StorageFailed

BUSY_TIMEOUT_MS: Final = 5_000
"""How long one statement waits for another process's short transaction."""
BUSY_PAUSE: Final = 1.0
"""Seconds until whoever met a locked file or a full disk tries again."""
WAL_PAGES: Final = 4_000
"""Pages of the write-ahead log after which its writer checkpoints: 16 MB."""
WAL_KEEP_BYTES: Final = 64 * 1024 * 1024
"""To this size the write-ahead log shrinks again after a checkpoint."""
LOG_APPLICATION: Final = 0x4E424C47  # "NBLG", shown by `file bridge.db`
GROUP_APPLICATION: Final = 0x4E424752  # "NBGR"
APPLICATIONS: Final = frozenset({LOG_APPLICATION, GROUP_APPLICATION})
_FIRST_SAFE: Final = (3, 51, 3)
_FULL: Final = 2
_PRIVATE: Final = 0o600  # the files hold addresses

Result = TypeVar("Result")
Mode = Literal["write", "read"]


def refuse_old_library(version: str) -> None:
    """SQLite before 3.51.3 can corrupt a write-ahead log that two connections reset together.

    Raises:
        StorageFailed: it is older.
    """
    if tuple(map(int, version.split(".")[:3])) < _FIRST_SAFE:
        raise StorageFailed(f"SQLite {version} is too old, and can lose data: install apsw anew")


@contextmanager
def mapped(path: Path) -> Iterator[None]:
    """The one place where SQLite's errors become the bridge's.

    Raises:
        BrokerUnavailable: locked by another program, or no space; it may work later.
        StorageFailed: anything else.
    """
    try:
        yield
    except (apsw.BusyError, apsw.LockedError) as error:
        raise BrokerUnavailable(f"{path} is locked by another program") from error
    except apsw.FullError as error:
        raise BrokerUnavailable(f"no space left for {path}") from error
    except apsw.Error as error:
        raise StorageFailed(f"{path}: {error}") from error


def connect(path: Path, mode: Mode) -> apsw.Connection:
    """Open an existing file.

    A connection that writes syncs at each commit (`synchronous=FULL`: NORMAL would not, and lose
    confirmed messages in a power cut); one that reads never checkpoints.

    Raises:
        StorageFailed: it cannot be opened, or a pragma was not taken.
    """
    refuse_old_library(apsw.sqlite_lib_version())
    with mapped(path):
        # Readers too open for writing: the shared memory of the write-ahead log is written by all.
        connection = apsw.Connection(str(path), apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(BUSY_TIMEOUT_MS)
            _refuse_foreign(connection, path)
            _expect(connection, path, "journal_mode", "wal")
            if mode == "write":
                _expect(connection, path, "synchronous", _FULL)
                _expect(connection, path, "wal_autocheckpoint", WAL_PAGES)
                _expect(connection, path, "journal_size_limit", WAL_KEEP_BYTES)
            else:
                connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
                _expect(connection, path, "wal_autocheckpoint", 0)
                _expect(connection, path, "query_only", 1)
        except BaseException:
            connection.close()
            raise
    return connection


def _refuse_foreign(connection: apsw.Connection, path: Path) -> None:
    """Before anything that would change a file of somebody else."""
    if connection.pragma("application_id") not in APPLICATIONS:
        raise StorageFailed(f"{path} is a file of something else")


def _expect(connection: apsw.Connection, path: Path, pragma: str, value: str | int) -> None:
    connection.pragma(pragma, value)
    if (found := connection.pragma(pragma)) != value:
        raise StorageFailed(f"{path}: SQLite keeps {pragma}={found}, not {value}")


def create(path: Path, schema: str, *first: tuple[str, Sequence[Sequence[Any]]]) -> None:
    """Make a file, whole or not at all, readable by its owner only.

    Args:
        path: where; its folders are made too.
        schema: statements that make its tables.
        first: statements that fill them, with their rows.

    Raises:
        StorageFailed: it cannot be made.
    """
    made = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        made.unlink(missing_ok=True)
        os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_RDWR, _PRIVATE))
        with mapped(made):
            connection = apsw.Connection(str(made), apsw.SQLITE_OPEN_READWRITE)
            try:
                _expect(connection, made, "synchronous", _FULL)
                with transaction(connection):
                    connection.execute(schema)
                    for statement, values in first:
                        connection.executemany(statement, values)
                # Last, since it stays in the file; closing leaves no -wal or -shm behind.
                _expect(connection, made, "journal_mode", "wal")
            finally:
                connection.close()
        made.rename(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise StorageFailed(f"cannot make {path}: {error}") from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def transaction(connection: apsw.Connection) -> Iterator[None]:
    """One write transaction: committed on leaving, rolled back by an exception."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # SQLite itself rolls back after some errors.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def rows(
    connection: apsw.Connection, statement: str, bindings: Sequence[str | int | float] = ()
) -> list[tuple[Any, ...]]:
    """All rows. Their types are those of the schema, which the type checker cannot know."""
    return connection.execute(statement, bindings).fetchall()


class Database:
    """A connection in a thread of its own: no SQLite call runs on the event loop."""

    def __init__(self, path: Path, connection: apsw.Connection, thread: ThreadPoolExecutor) -> None:
        self.path = path
        self._connection = connection
        self._thread = thread

    async def run(self, step: Callable[[apsw.Connection], Result]) -> Result:
        """Run one short step in the thread. Cancelling the caller does not stop the step.

        Raises:
            BrokerUnavailable: locked by another program, or no space.
            StorageFailed: the file cannot be trusted.
        """

        def mapped_step() -> Result:
            with mapped(self.path):
                return step(self._connection)

        return await asyncio.get_running_loop().run_in_executor(self._thread, mapped_step)


@asynccontextmanager
async def open_database(path: Path, mode: Mode) -> AsyncIterator[Database]:
    """A connection to an existing file, with a thread.

    Raises:
        StorageFailed: it cannot be opened, or a pragma was not taken.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix=f"sqlite-{path.stem}")
    loop = asyncio.get_running_loop()
    try:
        connection = await loop.run_in_executor(thread, connect, path, mode)
        try:
            yield Database(path, connection, thread)
        finally:
            await asyncio.shield(loop.run_in_executor(thread, connection.close))
    finally:
        thread.shutdown(wait=False)
