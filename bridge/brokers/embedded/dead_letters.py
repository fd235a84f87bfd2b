"""`DeadLetters` on the embedded log: a table in the group's file, beside the replays."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import apsw

from bridge.brokers.base import DeadLetter
from bridge.brokers.embedded.connections import Database, open_database, rows, transaction
from bridge.brokers.embedded.paths import Places, is_there
from bridge.brokers.embedded.records import Row, message_of, row_of
from bridge.brokers.embedded.schema import APPLY
from bridge.brokers.embedded.signals import notify
from bridge.errors import BrokerUnavailable, PublishRejected, TopologyMissing
from bridge.message import DEAD_HEADERS, MAX_LARGE_MESSAGE_BYTES, REPLAYED_TIME, Message

_PAGE: Final = 20
"""Dead letters in memory while reading: they may be 9 MB each."""
_CHUNK: Final = 50
"""Dead letters replayed or discarded in one transaction."""
_PUT: Final = """
INSERT INTO dead (stored_at, topic, hash, key, headers, checksum, body, origin)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_READ: Final = """
SELECT id, topic, hash, key, headers, checksum, body FROM dead
WHERE id > ? AND id <= ? ORDER BY id LIMIT ?
"""
_ONE: Final = "SELECT topic, hash, key, headers, checksum, body FROM dead WHERE id = ?"
_RETRY: Final = """
INSERT INTO retry (stored_at, topic, hash, key, headers, checksum, body)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""


class EmbeddedDeadLetters:
    """`DeadLetters` on the embedded log. Made by `open_dead_letters`."""

    def __init__(self, path: Path, database: Database) -> None:
        self._path = path
        self._database = database

    async def put(self, message: Message, origin: str) -> None:
        """See `DeadLetters`."""
        row = row_of(message)
        if len(row[2]) + len(row[3]) + len(row[5]) > MAX_LARGE_MESSAGE_BYTES:
            raise PublishRejected(f"a dead letter is at most {MAX_LARGE_MESSAGE_BYTES} bytes")
        try:
            await self._database.run(partial(_put, row=row, origin=origin))
        except BrokerUnavailable as error:
            raise PublishRejected(str(error)) from error

    async def read(self) -> AsyncGenerator[DeadLetter, None]:
        """See `DeadLetters`."""
        last = await self._database.run(_last)
        after = 0
        while page := await self._database.run(partial(_page, after=after, last=last)):
            for id_, message in page:
                yield DeadLetter(str(id_), message)
            after = page[-1][0]

    async def replay(self, ids: Sequence[str]) -> int:
        """See `DeadLetters`. Here each moves in one transaction: never twice."""
        mark = datetime.now(UTC).isoformat(timespec="milliseconds").encode()
        count = 0
        for chunk in _chunks(ids):
            count += await self._database.run(partial(_replay, ids=chunk, mark=mark))
            notify(self._path)
        return count

    async def discard(self, ids: Sequence[str]) -> int:
        """See `DeadLetters`."""
        count = 0
        for chunk in _chunks(ids):
            count += await self._database.run(partial(_discard, ids=chunk))
        return count


def _chunks(ids: Sequence[str]) -> list[list[int]]:
    """Ids that can be ours, each once, a transaction's worth at a time."""
    numbers = list(dict.fromkeys(int(id_) for id_ in ids if id_.isascii() and id_.isdigit()))
    return [numbers[start : start + _CHUNK] for start in range(0, len(numbers), _CHUNK)]


def _put(connection: apsw.Connection, row: Row, origin: str) -> None:
    connection.execute(_PUT, (time.time(), *row, origin))


def _last(connection: apsw.Connection) -> int:
    return int(connection.execute("SELECT coalesce(max(id), 0) FROM dead").get)


def _page(connection: apsw.Connection, after: int, last: int) -> list[tuple[int, Message]]:
    found = rows(connection, _READ, (after, last, _PAGE))
    return [(id_, message_of(rest, f"dead letter {id_}")) for id_, *rest in found]


def _replay(connection: apsw.Connection, ids: list[int], mark: bytes) -> int:
    count = 0
    with transaction(connection):
        for id_ in ids:
            row = connection.execute(_ONE, (id_,)).fetchone()
            if row is None:
                continue
            message = _marked(message_of(row, f"dead letter {id_}"), mark)
            connection.execute(_RETRY, (time.time(), *row_of(message)))
            connection.execute("DELETE FROM dead WHERE id = ?", (id_,))
            count += 1
    return count


def _marked(message: Message, mark: bytes) -> Message:
    """As it was first stored, with the time of this replay."""
    dropped = DEAD_HEADERS | {REPLAYED_TIME}
    headers = [(name, value) for name, value in message.headers if name not in dropped]
    return Message(message.topic, message.key, message.body, (*headers, (REPLAYED_TIME, mark)))


def _discard(connection: apsw.Connection, ids: list[int]) -> int:
    count = 0
    with transaction(connection):
        for id_ in ids:
            connection.execute("DELETE FROM dead WHERE id = ?", (id_,))
            count += connection.changes()
    return count


@asynccontextmanager
async def open_dead_letters(places: Places, group: str) -> AsyncIterator[EmbeddedDeadLetters]:
    """The dead letters of a group.

    Raises:
        TopologyMissing: there is no such group; says the command.
        StorageFailed: its file cannot be trusted.
    """
    path = places.group(group)
    if not is_there(path):
        raise TopologyMissing(f"group {group} is not there ({path}): {APPLY}")
    async with open_database(path, "write") as database:
        yield EmbeddedDeadLetters(path, database)
