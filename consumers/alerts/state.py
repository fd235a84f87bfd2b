"""Counts and incidents in the consumers' database; every function runs in the caller's transaction.

The counters are single statements (`INSERT … ON CONFLICT DO UPDATE`), so that replicas that count
the same key wait for each other's row and none is lost.
"""

import json
from datetime import date, timedelta
from typing import Final

import msgspec
from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    Table,
    Text,
    delete,
    update,
)

from consumers.alerts.page import Incident
from consumers.alerts.rules import Signal
from consumers.columns import KEY, UtcTime, insert

METADATA: Final = MetaData()

DAYS: Final = Table(
    "alerts_days",
    METADATA,
    Column("key", KEY, primary_key=True),
    Column("day", KEY, primary_key=True),
    Column("total", Integer, nullable=False),
    Column("alerted", Integer, nullable=False),
)

INCIDENTS: Final = Table(
    "alerts_incidents",
    METADATA,
    Column("key", KEY, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("first_seen", UtcTime, nullable=False),
    Column("last_seen", UtcTime, nullable=False),
    Column("samples", Text, nullable=False),
)

QUIET: Final = timedelta(hours=24)
"""An incident is over when its key was quiet for so long; the next signal opens another."""
_SAMPLES = 3


def count(connection: Connection, signal: Signal, *, day: date) -> tuple[int, int]:
    """Count one signal in its day.

    Returns:
        How many there are now, and the greatest step alerted so far.
    """
    row = connection.execute(
        insert(connection, DAYS)
        .values(key=signal.key, day=day.isoformat(), total=1, alerted=0)
        .on_conflict_do_update(index_elements=["key", "day"], set_={"total": DAYS.c.total + 1})
        .returning(DAYS.c.total, DAYS.c.alerted)
    ).one()
    return row.total, row.alerted


def mark_alerted(connection: Connection, signal: Signal, *, day: date, step: int) -> None:
    """Note that a step of a day is alerted."""
    connection.execute(
        update(DAYS)
        .where(DAYS.c.key == signal.key, DAYS.c.day == day.isoformat())
        .values(alerted=step)
    )


def forget_days(connection: Connection, *, before: date) -> None:
    """Forget the counts of days long gone. ISO dates sort as dates do."""
    connection.execute(delete(DAYS).where(DAYS.c.day < before.isoformat()))


def update_incident(connection: Connection, signal: Signal) -> Incident:
    """Count one signal in the incident of its key: the open one, else a new one.

    A signal from before the open incident began, by more than `QUIET`, belongs to one that is
    over: the answer counts it alone, and the open incident stays as it is.
    """
    # Takes the key's row, made empty if there is none, or waits for the transaction that holds it.
    row = connection.execute(
        insert(connection, INCIDENTS)
        .values(
            key=signal.key,
            number=1,
            total=0,
            first_seen=signal.at,
            last_seen=signal.at,
            samples="[]",
        )
        .on_conflict_do_update(index_elements=["key"], set_={"number": INCIDENTS.c.number})
        .returning(*INCIDENTS.c)
    ).one()
    alone = Incident(
        id=_incident_id(signal, 0),
        count=1,
        first_seen=signal.at,
        last_seen=signal.at,
        samples=(signal.event_id,),
    )
    if signal.at < row.first_seen - QUIET:
        return alone
    if signal.at > row.last_seen + QUIET:
        number, incident = row.number + 1, alone
    else:
        number = row.number
        incident = Incident(
            id="",
            count=row.total + 1,
            first_seen=min(row.first_seen, signal.at),
            last_seen=max(row.last_seen, signal.at),
            samples=(*json.loads(row.samples), signal.event_id)[-_SAMPLES:],
        )
    incident = msgspec.structs.replace(incident, id=_incident_id(signal, number))
    _write(connection, signal, incident, number=number)
    return incident


def _write(connection: Connection, signal: Signal, incident: Incident, *, number: int) -> None:
    connection.execute(
        update(INCIDENTS)
        .where(INCIDENTS.c.key == signal.key)
        .values(
            number=number,
            total=incident.count,
            first_seen=incident.first_seen,
            last_seen=incident.last_seen,
            samples=json.dumps(incident.samples),
        )
    )


def _incident_id(signal: Signal, number: int) -> str:
    return f"{signal.key}|{number}"
