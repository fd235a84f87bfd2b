"""Old messages leave the log, a few at a time, between the groups of the writer."""

import time
from typing import Final

import apsw

from bridge.brokers.embedded.connections import transaction

CHUNK: Final = 1_000
"""Positions deleted in one transaction: new messages wait for no more than that."""
PAUSE: Final = 60.0
"""Seconds until it looks again when nothing was old enough."""
_DAY: Final = 24 * 60 * 60


class Retention:
    """Deletes what is older than so many days. The newest message always stays.

    The clock is read once, at the start, and counted on by the monotonic one: a clock that jumps
    a month ahead must not empty the log.
    """

    def __init__(self, days: float) -> None:
        self._seconds = days * _DAY
        self._clock = time.time() - time.monotonic()
        self._next = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time for a turn."""
        return time.monotonic() >= self._next

    def turn(self, connection: apsw.Connection) -> int:
        """Delete one chunk.

        Returns:
            How many positions were deleted.
        """
        cutoff = self._clock + time.monotonic() - self._seconds
        first, last = connection.execute(
            "SELECT (SELECT min(position) FROM slots), (SELECT max(position) FROM slots)"
        ).get
        deleted = 0
        if first is not None:
            end = min(first + CHUNK, last)
            # Stored times follow positions but for a clock that was set back: stop at the first
            # that is young enough.
            young = connection.execute(
                "SELECT min(position) FROM slots WHERE position < ? AND stored_at >= ?",
                (end, cutoff),
            ).get
            end = end if young is None else young
            if end > first:
                with transaction(connection):
                    connection.execute("DELETE FROM messages WHERE position < ?", (end,))
                    connection.execute("DELETE FROM slots WHERE position < ?", (end,))
                deleted = end - first
        self._next = time.monotonic() + (PAUSE if deleted < CHUNK else 0.0)
        return int(deleted)
