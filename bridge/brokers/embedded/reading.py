"""Reading the log and a group's replays: short transactions, bounded in rows and bytes."""

import json
from collections.abc import Sequence
from typing import Final

import apsw
import msgspec

from bridge.brokers.embedded.connections import rows
from bridge.brokers.embedded.records import message_of
from bridge.message import Message

WINDOW: Final = 20_000
"""Positions looked at in one read transaction: a long one would keep the log from shrinking."""
_BYTES: Final = 4 * 1024 * 1024
"""Bodies after which a read ends early."""

_ENDS: Final = (
    "SELECT (SELECT min(position) FROM slots WHERE position > ?), "
    "(SELECT coalesce(max(position), 0) FROM slots)"
)
# LEFT: a slot without its message is damage and must be seen.
_ROWS: Final = """
SELECT s.position, s.stored_at, t.name, s.hash, m.key, m.headers, m.checksum, m.body
FROM slots AS s JOIN topics AS t ON t.id = s.topic
LEFT JOIN messages AS m ON m.position = s.position
WHERE s.position > :after AND s.position <= :end AND s.hash % :lanes = :lane
  AND +s.topic IN (SELECT id FROM topics WHERE name IN (SELECT value FROM json_each(:topics)))
ORDER BY s.position LIMIT :limit
"""
_NEWS: Final = """
SELECT DISTINCT hash % ? FROM slots WHERE position > ? AND position <= ?
  AND +topic IN (SELECT id FROM topics WHERE name IN (SELECT value FROM json_each(?)))
"""
_RETRIES: Final = """
SELECT id, stored_at, topic, hash, key, headers, checksum, body FROM retry
WHERE id > :after AND hash % :lanes = :lane ORDER BY id LIMIT :limit
"""


class Stored(msgspec.Struct, frozen=True):
    """One message where it lies.

    Attributes:
        position: in the log, or the id of a replay.
        stored_at: unix time in seconds.
        message: what it is.
    """

    position: int
    stored_at: float
    message: Message


class Slice(msgspec.Struct, frozen=True):
    """What was found after a position.

    Attributes:
        found: oldest first.
        scanned: up to here nothing else is to be found.
    """

    found: Sequence[Stored]
    scanned: int


class View(msgspec.Struct, frozen=True):
    """What is looked for: one lane of so many, these topics."""

    lane: int
    lanes: int
    topics: Sequence[str]


def read_log(connection: apsw.Connection, view: View, after: int, limit: int) -> Slice:
    """The next messages of a lane, at most `limit`. Empty: there are none up to the end.

    Raises:
        StorageFailed: a record is damaged. It is never skipped.
    """
    topics = json.dumps(list(view.topics))
    while True:
        first, last = connection.execute(_ENDS, (after,)).get
        if first is None:
            return Slice((), max(after, last))
        # Over what retention took away in one step.
        after = max(after, first - 1)
        end = min(after + WINDOW, last)
        bindings: dict[str, str | int] = {
            "after": after,
            "end": end,
            "lanes": view.lanes,
            "lane": view.lane,
            "topics": topics,
            "limit": limit,
        }
        found, whole = _collect(connection.execute(_ROWS, bindings), limit, "position")
        if found:
            return Slice(found, end if whole else found[-1].position)
        after = end


def read_retries(connection: apsw.Connection, view: View, after: int, limit: int) -> Slice:
    """The next replays of a lane, at most `limit`.

    Raises:
        StorageFailed: a record is damaged.
    """
    bindings = {"after": after, "lanes": view.lanes, "lane": view.lane, "limit": limit}
    found, _ = _collect(connection.execute(_RETRIES, bindings), limit, "replay")
    return Slice(found, found[-1].position if found else after)


def lanes_with_news(
    connection: apsw.Connection, *, lanes: int, topics: Sequence[str], after: int
) -> tuple[frozenset[int], int]:
    """In which lanes something was stored after a position, and the newest position."""
    last = newest(connection)
    if last - after > WINDOW:
        return frozenset(range(lanes)), last
    found = rows(connection, _NEWS, (lanes, after, last, json.dumps(list(topics))))
    return frozenset(row[0] for row in found), last


def newest(connection: apsw.Connection) -> int:
    """The newest position, 0 in an empty log."""
    return int(connection.execute("SELECT coalesce(max(position), 0) FROM slots").get)


def _collect(cursor: apsw.Cursor, limit: int, what: str) -> tuple[list[Stored], bool]:
    """Rows up to the caps, and whether these are all of the window."""
    found: list[Stored] = []
    size = 0
    for row in cursor:
        position, stored_at, *rest = row
        message = message_of(rest, f"{what} {position}")
        found.append(Stored(int(str(position)), float(str(stored_at)), message))
        size += len(message.body)
        if size >= _BYTES:
            cursor.close()
            return found, False
    return found, len(found) < limit
