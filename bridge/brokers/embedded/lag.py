"""`LagReader` on the embedded log: counts what lies behind each lane's position."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import Final

import apsw

from bridge.brokers.base import LagEntry
from bridge.brokers.embedded.connections import Database, connect, mapped, open_database, rows
from bridge.brokers.embedded.leases import living
from bridge.brokers.embedded.paths import Places, is_there
from bridge.brokers.embedded.reading import newest
from bridge.brokers.embedded.schema import APPLY
from bridge.errors import BrokerUnavailable, TopologyMissing
from bridge.settings import Settings
from bridge.topics import Group

WINDOW: Final = 50_000
"""Positions counted in one read transaction."""

_COUNT: Final = """
SELECT t.name, count(*), min(s.position) FROM slots AS s JOIN topics AS t ON t.id = s.topic
WHERE s.position > ? AND s.position <= ? AND s.hash % ? = ?
  AND t.name IN (SELECT value FROM json_each(?))
GROUP BY t.name
"""
_RETRIES: Final = "SELECT hash % ?, count(*), min(stored_at) FROM retry GROUP BY 1"

Waiting = tuple[int, float | None]
"""How many, and the time of the oldest."""


class EmbeddedLagReader:
    """`LagReader` on the embedded log. Made by `open_lag_reader`."""

    def __init__(self, places: Places, settings: Settings, log: Database) -> None:
        self._places = places
        self._topics = settings.topics
        self._log = log

    async def read(self, groups: Sequence[Group]) -> Sequence[LagEntry]:
        """See `LagReader`."""
        entries: list[LagEntry] = []
        for group in groups:
            entries += await self._log.run(partial(self._read_group, group))
        return entries

    def _read_group(self, group: Group, log: apsw.Connection) -> list[LagEntry]:
        path = self._places.group(group.name)
        if not is_there(path):
            raise BrokerUnavailable(f"group {group.name} is not there ({path}): {APPLY}")
        with closing(connect(path, "read")) as connection, mapped(path):
            alive = living(connection)
            lanes = rows(connection, "SELECT lane, position, owner FROM lanes ORDER BY lane")
            retries: dict[int, Waiting] = {
                lane: (count, oldest)
                for lane, count, oldest in rows(connection, _RETRIES, (len(lanes),))
            }
        names = self._topics.read_by(group)
        entries: list[LagEntry] = []
        for lane, position, owner in lanes:
            waiting: dict[str, Waiting] = dict.fromkeys(names, (0, None))
            waiting |= _waiting(log, names, lane=lane, lanes=len(lanes), after=position)
            waiting[self._topics.retry(group.name)] = retries.get(lane, (0, None))
            members = int(owner in alive)
            entries += [
                LagEntry(group.name, topic, lane, count, oldest, members)
                for topic, (count, oldest) in waiting.items()
            ]
        return entries


def _waiting(
    log: apsw.Connection, names: Sequence[str], *, lane: int, lanes: int, after: int
) -> dict[str, Waiting]:
    """Topic -> what waits in one lane after a position."""
    counts: dict[str, int] = {}
    firsts: dict[str, int] = {}
    last = newest(log)
    first = log.execute("SELECT min(position) FROM slots WHERE position > ?", (after,)).get
    after = last if first is None else first - 1
    topics = json.dumps(list(names))
    while after < last:
        end = min(after + WINDOW, last)
        for name, count, oldest in rows(log, _COUNT, (after, end, lanes, lane, topics)):
            counts[name] = counts.get(name, 0) + count
            firsts.setdefault(name, oldest)
        after = end
    return {
        name: (
            count,
            log.execute("SELECT stored_at FROM slots WHERE position = ?", (firsts[name],)).get,
        )
        for name, count in counts.items()
    }


@asynccontextmanager
async def open_lag_reader(places: Places, settings: Settings) -> AsyncIterator[EmbeddedLagReader]:
    """A view on lag.

    Raises:
        TopologyMissing: there is no log; says the command.
        StorageFailed: it cannot be trusted.
    """
    if not is_there(places.log):
        raise TopologyMissing(f"there is no log {places.log}: {APPLY}")
    async with open_database(places.log, "read") as log:
        yield EmbeddedLagReader(places, settings, log)
