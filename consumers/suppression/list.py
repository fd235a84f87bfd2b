"""Asking the suppression list: may this address be sent to, and what is on the list."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, and_, select, tuple_

from bridge.errors import ConfigurationError
from consumers.columns import key_text
from consumers.store import Store
from consumers.suppression.addresses import normalise
from consumers.suppression.rules import ALL, Kind, Reason
from consumers.suppression.tables import ADDRESSES, ENTRIES

MAX_PAGE: Final = 1000

_KEY: Final = tuple(ENTRIES.primary_key.columns)


class Entry(msgspec.Struct, frozen=True):
    """One entry of the list.

    Attributes:
        project: idProject as text.
        kind: `address` or `contact`: what `subject` is.
        subject: a normalised address, or idContact.
        scope: `*` or an opt-in field.
        reason: why.
        active: False for a tombstone, which suppresses nothing.
        event_time: when it happened, UTC.
        source: the type of the notification that decided.
        event_id: its id.
        address: as the sender spelled it, empty when the notification had none.
        contact: idContact, empty when the notification had none.
        recorded_at: when it was written here, UTC.
    """

    project: str
    kind: Kind
    subject: str
    scope: str
    reason: Reason
    active: bool
    event_time: datetime
    source: str
    event_id: str
    address: str
    contact: str
    recorded_at: datetime


class Verdict(msgspec.Struct, frozen=True):
    """What the list says of one address.

    Attributes:
        address: normalised.
        entries: the active ones: of the address, then of every contact known under it.
    """

    address: str
    entries: Sequence[Entry]

    def sendable(self, scope: str = ALL, *, project: str | None = None) -> bool:
        """Whether it may be sent to.

        Args:
            scope: an opt-in field; `*` asks for a message that belongs to none.
            project: only this one's entries; None: those of all.
        """
        wanted = {ALL, key_text(scope)}
        return not any(
            entry.scope in wanted and (project is None or entry.project == key_text(project))
            for entry in self.entries
        )

    @property
    def blocks(self) -> Mapping[str, Mapping[str, Sequence[Reason]]]:
        """Project -> scope -> reasons, sorted. Empty: nothing stands in the way."""
        found: dict[str, dict[str, list[Reason]]] = {}
        for entry in self.entries:
            reasons = found.setdefault(entry.project, {}).setdefault(entry.scope, [])
            if entry.reason not in reasons:
                reasons.append(entry.reason)
        return found


class Page(msgspec.Struct, frozen=True):
    """Some entries, and the cursor of those after them; None at the end."""

    entries: Sequence[Entry]
    next_cursor: str | None


async def check(store: Store, address: str, *, project: str | None = None) -> Verdict:
    """What the list says of an address, in any spelling.

    Args:
        store: the consumers' database.
        address: an e-mail address.
        project: idProject; None looks in all projects.

    Raises:
        Unavailable: the database is down. Do not send then.
    """
    key = key_text(normalise(address))
    # Two queries: neither database uses an index for the one that joins them with OR.
    of_address = select(ENTRIES).where(
        ENTRIES.c.kind == Kind.ADDRESS.value, ENTRIES.c.subject == key
    )
    of_contacts = select(ENTRIES).join(
        ADDRESSES,
        and_(
            ADDRESSES.c.address_key == key,
            ENTRIES.c.project == ADDRESSES.c.project,
            ENTRIES.c.kind == Kind.CONTACT.value,
            ENTRIES.c.subject == ADDRESSES.c.contact,
        ),
    )

    def work(connection: Connection) -> Sequence[Entry]:
        found: list[Entry] = []
        for query in (of_address, of_contacts):
            asked = query.where(ENTRIES.c.suppressed)
            if project is not None:
                asked = asked.where(ENTRIES.c.project == key_text(project))
            found += [_entry(row) for row in connection.execute(asked.order_by(*_KEY))]
        return found

    return Verdict(address=normalise(address), entries=await store.read(work))


async def page(
    store: Store,
    *,
    cursor: str | None = None,
    limit: int = 100,
    project: str | None = None,
    cleared: bool = False,
) -> Page:
    """Entries in the order of their keys.

    Args:
        store: the consumers' database.
        cursor: `next_cursor` of the page before; None for the first.
        limit: at most so many, 1 to `MAX_PAGE`.
        project: only this one's.
        cleared: tombstones too.

    Raises:
        ConfigurationError: not a cursor of this list, or a limit out of range.
        Unavailable: the database is down.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise ConfigurationError(f"limit: 1 to {MAX_PAGE}")
    query = select(ENTRIES).order_by(*_KEY).limit(limit + 1)
    if cursor is not None:
        query = query.where(tuple_(*_KEY) > tuple_(*_position(cursor)))
    if project is not None:
        query = query.where(ENTRIES.c.project == key_text(project))
    if not cleared:
        query = query.where(ENTRIES.c.suppressed)
    found = await store.read(lambda c: [_entry(row) for row in c.execute(query)])
    more = len(found) > limit
    return Page(entries=found[:limit], next_cursor=_cursor(found[limit - 1]) if more else None)


def _entry(row: Row[Any]) -> Entry:
    return Entry(
        project=row.project,
        kind=Kind(row.kind),
        subject=row.subject,
        scope=row.scope,
        reason=Reason(row.reason),
        active=row.suppressed,
        event_time=row.event_time,
        source=row.source,
        event_id=row.event_id,
        address=row.address,
        contact=row.contact,
        recorded_at=row.recorded_at,
    )


def _cursor(entry: Entry) -> str:
    position = [entry.project, entry.kind, entry.subject, entry.scope, entry.reason]
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode()


def _position(cursor: str) -> Sequence[str]:
    try:
        position = json.loads(base64.urlsafe_b64decode(cursor))
    except (binascii.Error, ValueError) as error:
        raise ConfigurationError("cursor: not one of this list") from error
    if (
        not isinstance(position, list)
        or len(position) != len(_KEY)
        or not all(isinstance(part, str) for part in position)
    ):
        raise ConfigurationError("cursor: not one of this list")
    return position
