"""Statements and sightings into the database: the rules of `rules.apply`, said in SQL."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, Table, tuple_

from consumers.columns import insert
from consumers.suppression.rules import Sighting, Statement, apply
from consumers.suppression.tables import ADDRESSES, ENTRIES, HISTORY

_RANK: Final = ("event_time", "suppressed", "executed", "event_id")
_SEEN: Final = ("event_time", "executed", "event_id")


def record(
    connection: Connection, statements: Sequence[Statement], seen: Sequence[Sighting]
) -> None:
    """Add to the history, and raise each entry to the greatest statement made on it.

    Any order of calls, any number of times, gives the same entries, history and addresses.
    """
    now = datetime.now(UTC)
    rows = {statement: _row(statement) | {"recorded_at": now} for statement in statements}
    if rows:
        connection.execute(
            insert(connection, HISTORY).on_conflict_do_nothing(),
            _sorted(HISTORY, rows.values()),
        )
    # Reduced first: PostgreSQL refuses to touch a row twice in one statement, and sorted: two
    # batches that share entries then wait for each other instead of deadlocking.
    winners = apply({}, statements).values()
    _raise(connection, ENTRIES, [rows[winner] for winner in winners], _RANK)
    newest: dict[tuple[str, str, str], Sighting] = {}
    for sighting in sorted(seen, key=lambda sighting: sighting.order):
        newest[sighting.project, sighting.contact, sighting.address_key] = sighting
    _raise(connection, ADDRESSES, [_seen_row(sighting) for sighting in newest.values()], _SEEN)


def _raise(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    rank: Sequence[str],
) -> None:
    """Insert rows; where the key exists, replace it if the new one's rank is greater."""
    if not rows:
        return
    statement = insert(connection, table)
    columns = [column.name for column in table.columns if not column.primary_key]
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=list(table.primary_key.columns),
            set_={name: statement.excluded[name] for name in columns},
            where=tuple_(*(statement.excluded[name] for name in rank))
            > tuple_(*(table.c[name] for name in rank)),
        ),
        _sorted(table, rows),
    )


def _sorted(table: Table, rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    names = [column.name for column in table.primary_key.columns]
    return sorted(rows, key=lambda row: [row[name] for name in names])


def _row(statement: Statement) -> dict[str, Any]:
    return {
        "project": statement.project,
        "kind": statement.kind.value,
        "subject": statement.subject,
        "scope": statement.scope,
        "reason": statement.reason.value,
        "suppressed": statement.suppressed,
        "event_time": statement.order.event_time,
        "executed": statement.order.executed,
        "event_id": statement.order.id,
        "source": statement.source,
        "address": statement.address,
        "contact": statement.contact,
    }


def _seen_row(sighting: Sighting) -> dict[str, Any]:
    return {
        "project": sighting.project,
        "contact": sighting.contact,
        "address_key": sighting.address_key,
        "address": sighting.address,
        "event_time": sighting.order.event_time,
        "executed": sighting.order.executed,
        "event_id": sighting.order.id,
    }
