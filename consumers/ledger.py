"""The ledger: which group has handled which notification, and what `Store.once` says of it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, TypeVar

import msgspec
from sqlalchemy import Column, Connection, Index, MetaData, Table, Text, select, tuple_

from consumers.columns import KEY, UtcTime, insert, key_text
from consumers.notifications import Notification

LEDGER_RETENTION: Final = timedelta(days=30)
"""Longer than a broker keeps a message, and than the sender repeats one (106 minutes)."""
_FORGET_AT_ONCE: Final = 5000  # rows in one transaction, so that nobody waits long for the lock

METADATA: Final = MetaData()
LEDGER: Final = Table(
    "handled_notifications",
    METADATA,
    Column("group_name", KEY, primary_key=True),
    Column("company", KEY, primary_key=True),
    Column("project", KEY, primary_key=True),
    Column("event_id", KEY, primary_key=True),
    Column("handled_at", UtcTime, nullable=False),
    Column("outcome", Text, nullable=False),
    Index("handled_notifications_handled_at", "handled_at"),
    sqlite_with_rowid=False,
)
_KEY_NAMES: Final = ("group_name", "company", "project", "event_id")
_KEY_COLUMNS: Final = tuple(LEDGER.c[name] for name in _KEY_NAMES)

LedgerKey = tuple[str, str, str, str]
T = TypeVar("T")


class Handled(msgspec.Struct, Generic[T], frozen=True):
    """The effect's result. `rehearsed`: a test notification, so everything was rolled back."""

    result: T
    rehearsed: bool = False


class AlreadyHandled(msgspec.Struct, frozen=True):
    """This group handled the notification before: the effect did not run."""


class HandledMany(msgspec.Struct, Generic[T], frozen=True):
    """What became of a batch.

    Attributes:
        result: of the effect over the real notifications; None when all were handled before.
        rehearsed: of the effect over the test notifications, rolled back; None without any.
        fresh: for each notification, in order, whether the effect ran for it.
    """

    result: T | None
    rehearsed: T | None
    fresh: Sequence[bool]


def ledger_key(group: str, notification: Notification) -> LedgerKey:
    """What makes a notification the same one again: group, company, project, event id."""
    return (
        group,
        key_text(notification.company),
        key_text(notification.project),
        key_text(notification.id),
    )


def enter(
    connection: Connection, group: str, notifications: Sequence[Notification]
) -> set[LedgerKey]:
    """Enter ids; the keys of those that were not there.

    Call it before the effect: another transaction that has entered the same id, and has not
    committed, is waited for.
    """
    now = datetime.now(UTC)
    # Sorted: transactions that share ids then wait for each other instead of deadlocking.
    keys = sorted({ledger_key(group, notification) for notification in notifications})
    rows = [
        dict(zip(_KEY_NAMES, key, strict=True)) | {"handled_at": now, "outcome": "done"}
        for key in keys
    ]
    statement = insert(connection, LEDGER).on_conflict_do_nothing().returning(*_KEY_COLUMNS)
    return {(row[0], row[1], row[2], row[3]) for row in connection.execute(statement, rows)}


def forget(connection: Connection, before: datetime) -> int:
    """Delete some ids handled before a moment; how many. None are left when it returns 0."""
    some = select(*_KEY_COLUMNS).where(LEDGER.c.handled_at < before).limit(_FORGET_AT_ONCE)
    return connection.execute(LEDGER.delete().where(tuple_(*_KEY_COLUMNS).in_(some))).rowcount
