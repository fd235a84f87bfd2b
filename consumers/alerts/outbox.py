"""Pages that are decided and not yet delivered: written with the count, delivered on their own.

`put` runs in the transaction that counts, so that a page exists exactly if its count does. One
`Dispatcher` per replica delivers (`consumers.alerts.dispatcher`).

Claiming a row moves its due time past the longest post: other replicas leave it alone, and a
replica that dies gives it back by the passing of time.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from sqlalchemy import (
    Column,
    Connection,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    delete,
    func,
    select,
    update,
)

from consumers.alerts.page import Page
from consumers.alerts.sinks import POST_TIMEOUT
from consumers.alerts.state import METADATA
from consumers.columns import KEY, UtcTime, insert

CLAIM: Final = timedelta(seconds=3 * POST_TIMEOUT)
"""For how long a claimed page is left to the replica that claimed it."""
KEPT: Final = timedelta(days=30)
"""For how long delivered pages are remembered, and with them their dedup keys."""

OUTBOX: Final = Table(
    "alerts_outbox",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("sink", KEY, nullable=False),
    Column("dedup_key", KEY, nullable=False),
    Column("page", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due", UtcTime, nullable=False),
    Column("delivered", UtcTime),
    UniqueConstraint("sink", "dedup_key", name="alerts_outbox_page"),
    Index("alerts_outbox_due", "sink", "delivered", "due"),
)


class Claimed(msgspec.Struct, frozen=True):
    """A page in the hands of this replica.

    Attributes:
        id: of its row.
        page: the JSON of a `Page`.
        attempts: how many there were, this one included.
    """

    id: int
    page: bytes
    attempts: int


def put(connection: Connection, page: Page, *, sinks: Iterable[str]) -> None:
    """Write one page for each of these sinks. One that was written before is left as it is."""
    content = msgspec.json.encode(page).decode()
    for sink in sinks:
        connection.execute(
            insert(connection, OUTBOX)
            .values(sink=sink, dedup_key=page.dedup_key, page=content, attempts=0, due=_now())
            .on_conflict_do_nothing(index_elements=["sink", "dedup_key"])
        )


def claim(connection: Connection, sink: str) -> Claimed | None:
    """Take the oldest page that is due; None if there is none."""
    now = _now()
    waiting = (OUTBOX.c.sink == sink, OUTBOX.c.delivered.is_(None), OUTBOX.c.due <= now)
    oldest = (
        select(OUTBOX.c.id)
        .where(*waiting)
        .order_by(OUTBOX.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    row = connection.execute(
        update(OUTBOX)
        .where(OUTBOX.c.id == oldest, *waiting)
        .values(due=now + CLAIM, attempts=OUTBOX.c.attempts + 1)
        .returning(OUTBOX.c.id, OUTBOX.c.page, OUTBOX.c.attempts)
    ).one_or_none()
    return None if row is None else Claimed(row.id, row.page.encode(), row.attempts)


def mark_delivered(connection: Connection, claimed: Claimed) -> None:
    """It is delivered: never again."""
    connection.execute(update(OUTBOX).where(OUTBOX.c.id == claimed.id).values(delivered=_now()))


def give_back(connection: Connection, claimed: Claimed, *, wait: float) -> None:
    """It was not delivered: due again in `wait` seconds."""
    connection.execute(
        update(OUTBOX)
        .where(OUTBOX.c.id == claimed.id, OUTBOX.c.delivered.is_(None))
        .values(due=_now() + timedelta(seconds=wait))
    )


def undelivered(connection: Connection, sink: str) -> int:
    """How many pages wait for this sink."""
    return connection.execute(
        select(func.count())
        .select_from(OUTBOX)
        .where(OUTBOX.c.sink == sink, OUTBOX.c.delivered.is_(None))
    ).scalar_one()


def prune(connection: Connection) -> None:
    """Forget pages that were delivered long ago."""
    connection.execute(delete(OUTBOX).where(OUTBOX.c.delivered < _now() - KEPT))


def _now() -> datetime:
    """Wall-clock time, which is what replicas share."""
    return datetime.now(UTC)
