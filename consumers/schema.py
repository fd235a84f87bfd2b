"""The database's schema: migrations run by command and verified at start.

A consumer's tables are made by files of its own in `consumers/migrations/versions/`.
"""

import threading
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Final

import msgspec
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from bridge.errors import SchemaOutOfDate, StoreError
from consumers.engine import READ_ONLY, database_url, file_of, make_engine, store_errors

# Any number; all releases must use the same: two that start at once wait for each other.
UPGRADE_LOCK: Final = 0x6272_6964_6765
_UPGRADE_SECONDS: Final = 600  # of waiting for another upgrade on SQLite
VERSION_TABLE: Final = "bridge_schema_version"
"""A name of our own: the database may be shared with another application that uses Alembic."""
_ONE_AT_A_TIME: Final = threading.Lock()  # Alembic keeps its context in module globals


class Revision(msgspec.Struct, frozen=True):
    """One migration: its id and the first line of its docstring."""

    id: str
    title: str


class Plan(msgspec.Struct, frozen=True):
    """What `upgrade` would do.

    Attributes:
        current: the revision of the database; None before the first upgrade.
        head: the revision that this release needs.
        pending: the migrations between, in order.
    """

    current: str | None
    head: str
    pending: Sequence[Revision]


def upgrade(url: str) -> Sequence[Revision]:
    """Create or upgrade all tables, in one transaction. Safe for two to start at once.

    Args:
        url: `sqlite:///file.db` (made, with its folder, where absent) or `postgresql://…`.

    Returns:
        The migrations that were run; empty when there was nothing to do.

    Raises:
        ConfigurationError: not such an address.
        StoreError: the database failed; nothing was changed.
        SchemaOutOfDate: the database is of a newer release than this one.
    """
    address = database_url(url)
    if (file := file_of(address)) is not None:
        _make_private(file)
    engine = make_engine(address, sqlite_busy_seconds=_UPGRADE_SECONDS)
    try:
        with _ONE_AT_A_TIME, store_errors(), engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SET LOCAL statement_timeout = 0"))
                connection.execute(
                    text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": UPGRADE_LOCK}
                )
            pending = _plan(connection).pending
            if pending:
                config = _config()
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
            return pending
    finally:
        engine.dispose()


def plan(url: str) -> Plan:
    """What `upgrade` would do. Changes nothing, makes no file.

    Raises:
        ConfigurationError: not such an address.
        StoreError: the database failed.
        SchemaOutOfDate: the database is of a newer release than this one.
    """
    address = database_url(url)
    file = file_of(address)
    if file is not None and not file.exists():
        return _pending(None)
    engine = make_engine(address)
    try:
        with store_errors(), engine.connect() as connection:
            return _plan(connection.execution_options(**{READ_ONLY: True}))
    finally:
        engine.dispose()


def _make_private(file: Path) -> None:
    """Make the file, and its folder, where absent: addresses lie in it, so only we may read it."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
    except OSError as error:
        raise StoreError(f"cannot make {file}: {error.strerror}") from error


def verify(connection: Connection) -> None:
    """Do nothing when the schema is as this release needs it.

    Raises:
        SchemaOutOfDate: it is not; says the command to run.
    """
    found = _plan(connection)
    if found.pending:
        raise SchemaOutOfDate(
            f"the consumers' database is at {found.current or 'nothing yet'} but this release "
            f"needs {found.head}: run `bridge db upgrade`"
        )


def _plan(connection: Connection) -> Plan:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return _pending(context.get_current_revision())


def _pending(current: str | None) -> Plan:
    scripts = ScriptDirectory.from_config(_config())
    head = scripts.get_current_head()
    if head is None:  # a package without its migrations
        raise SchemaOutOfDate("this installation has no migrations: install it again")
    known = {script.revision for script in scripts.walk_revisions()}
    if current is not None and current not in known:
        raise SchemaOutOfDate(
            f"the consumers' database is at {current}, which is newer than this release: "
            "use the release that upgraded it, or a later one"
        )
    steps = [] if current == head else list(scripts.iterate_revisions(head, current or "base"))
    return Plan(
        current=current,
        head=head,
        pending=[Revision(id=step.revision, title=step.doc) for step in reversed(steps)],
    )


def _config() -> Config:
    config = Config()
    config.set_main_option(
        "script_location", str(resources.files("consumers") / "migrations").replace("%", "%%")
    )
    config.set_main_option("path_separator", "os")
    return config
