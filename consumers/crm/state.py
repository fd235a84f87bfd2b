"""What the CRM was told last: the version of each field of each contact. No values are kept."""

from typing import Final

from sqlalchemy import Boolean, Column, Connection, MetaData, Table, Text, delete, insert, select

from consumers.columns import KEY, UtcTime
from consumers.crm.change import Change, Field, Version
from consumers.ledger import LEDGER, ledger_key
from consumers.notifications import Notification

METADATA: Final = MetaData()
TOLD: Final = Table(
    "crm_told",
    METADATA,
    Column("project", KEY, primary_key=True),
    Column("contact", KEY, primary_key=True),
    Column("slot", KEY, primary_key=True),
    Column("time", UtcTime, nullable=False),
    Column("suppresses", Boolean, nullable=False),
    Column("executed", UtcTime, nullable=False),
    Column("event_id", Text, nullable=False),
    sqlite_with_rowid=False,
)


def handled(connection: Connection, group: str, notification: Notification) -> bool:
    """Whether the ledger has this id. Asked before the request, for a repeat must not be sent.

    A repeat may carry a new dtExecution: by version alone it could look newer than what came
    between the first copy and it.
    """
    columns = (LEDGER.c.group_name, LEDGER.c.company, LEDGER.c.project, LEDGER.c.event_id)
    query = select(LEDGER.c.event_id).where(
        *(
            column == value
            for column, value in zip(columns, ledger_key(group, notification), strict=True)
        )
    )
    return connection.execute(query).first() is not None


def newer(connection: Connection, change: Change, *, lock: bool = False) -> Change:
    """What of `change` is strictly newer than what the CRM was told.

    Args:
        connection: of the transaction.
        change: what a notification says.
        lock: hold the rows until the transaction ends (PostgreSQL; SQLite has one writer).
    """
    known = _versions(connection, change, lock=lock)
    return change.only(
        frozenset(
            field.slot
            for field in change.fields
            if field.slot not in known or known[field.slot] < field.version
        )
    )


def record(connection: Connection, change: Change) -> bool:
    """Note that the CRM was told `change`. An older version never replaces a newer one.

    Returns:
        Whether every field was still newer; if not, another replica told the CRM something newer
        while this change was under way.
    """
    still = newer(connection, change, lock=True)
    if still.fields:
        slots = [field.slot for field in still.fields]
        connection.execute(
            delete(TOLD).where(
                TOLD.c.project == change.project,
                TOLD.c.contact == change.contact,
                TOLD.c.slot.in_(slots),
            )
        )
        connection.execute(insert(TOLD), [_row(still, field) for field in still.fields])
    return len(still.fields) == len(change.fields)


def _row(change: Change, field: Field) -> dict[str, object]:
    return {
        "project": change.project,
        "contact": change.contact,
        "slot": field.slot,
        "time": field.version.time,
        "suppresses": field.version.suppresses,
        "executed": field.version.executed,
        "event_id": field.version.event_id,
    }


def _versions(connection: Connection, change: Change, *, lock: bool) -> dict[str, Version]:
    query = select(
        TOLD.c.slot, TOLD.c.time, TOLD.c.suppresses, TOLD.c.executed, TOLD.c.event_id
    ).where(TOLD.c.project == change.project, TOLD.c.contact == change.contact)
    if lock:
        query = query.with_for_update()
    return {
        row.slot: Version(
            time=row.time,
            suppresses=row.suppresses,
            executed=row.executed,
            event_id=row.event_id,
        )
        for row in connection.execute(query)
    }
