"""Hearing of new messages: from the writer in this process, or by looking at the log."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import apsw

from bridge.brokers.embedded import signals
from bridge.brokers.embedded.connections import BUSY_PAUSE, Database
from bridge.brokers.embedded.reading import lanes_with_news, newest
from bridge.errors import BrokerUnavailable

POLL: Final = 0.05
"""Seconds between looks at the log's change counter while another process writes it."""
SAFETY_POLL: Final = 1.0
"""The same while this process writes it, and tells."""
GATHER: Final = 0.01
"""Seconds from one look for new messages to the next, at least: one serves all of a burst."""


class Follower:
    """Says in which lanes something new was stored.

    Args:
        log: to look at.
        path: the same log, for signals.
        lanes: how many there are.
        topics: only these count.
        tell: called with the number of each lane that has news.
    """

    def __init__(
        self,
        log: Database,
        path: Path,
        *,
        lanes: int,
        topics: Sequence[str],
        tell: Callable[[int], None],
    ) -> None:
        self._log = log
        self._path = path
        self._lanes = lanes
        self._topics = topics
        self._tell = tell
        self._seen = 0

    async def begin(self) -> None:
        """What is stored after this is told. Lanes that first look after this miss nothing."""
        self._seen = await self._log.run(newest)

    async def run(self) -> None:
        """Follow until cancelled."""
        with signals.listening(self._path) as news:
            version = -1
            while True:
                here = signals.written_here(self._path)
                told = await news.wait(SAFETY_POLL if here else POLL)
                try:
                    before, version = version, await self._log.run(change_counter)
                    if told or version != before:
                        await self._look()
                except BrokerUnavailable:
                    version = -1
                    await asyncio.sleep(BUSY_PAUSE)
                await asyncio.sleep(GATHER)

    async def _look(self) -> None:
        look = partial(lanes_with_news, lanes=self._lanes, topics=self._topics, after=self._seen)
        numbers, self._seen = await self._log.run(look)
        for number in numbers:
            self._tell(number)


def change_counter(connection: apsw.Connection) -> int:
    """Changes when another connection has committed."""
    return int(connection.pragma("data_version"))
