"""The open connections of one port that wait for their client, and for how long they may.

uvicorn sets no limit on slow headers, on connections that never send anything or on clients that
never read their answers; without one, a thousand such clients keep real ones out. One sweep over
ordered dictionaries sets the limits for all connections, at no cost to a request.
"""

from time import monotonic
from typing import Final, Protocol

KEEP_ALIVE_TIMEOUT: Final = 75.0
"""Seconds: longer than a proxy's own, or its POST dies in the gap."""
PARTING_TIMEOUT: Final = 2.0
"""Seconds for a client to read its answer and stop sending what we will not read."""
UNREAD_TIMEOUT: Final = 5.0
"""Seconds in which a client that lets its answers pile up must read some."""
MAX_WAITING: Final = 2000
"""Connections without a request in flight; over it the oldest goes, answered ones first."""


class Waiting(Protocol):
    """A connection, as this module sees it."""

    place: "Place | None"

    def expire(self) -> None:
        """It waited too long, or must make room: end it."""


class Place:
    """Connections that wait for the same thing, the longest first.

    Args:
        limit: seconds that one may wait here.
    """

    def __init__(self, limit: float) -> None:
        self.limit: Final = limit
        self.since: dict[Waiting, float] = {}

    def expire_before(self, moment: float) -> None:
        """End those that came before this `time.monotonic()` moment."""
        while self.since:
            oldest = next(iter(self.since))
            if self.since[oldest] > moment:
                return
            self.expire_oldest()

    def expire_oldest(self) -> None:
        """End the one that waits the longest."""
        oldest = next(iter(self.since))
        del self.since[oldest]
        oldest.place = None
        oldest.expire()


class Connections:
    """Where the connections of one port wait. Each is in one place at most.

    Args:
        receive_timeout: seconds from the accept to a request's first byte, and from there to the
            end of its headers (the endpoint goes on to count for the body).
        max_waiting: parting, idle and receiving connections together.

    Attributes:
        idle: between two requests.
        receiving: accepted and silent, or in the middle of a request's headers.
        parting: answered; the client may still be sending what nobody will read.
        unread: the client does not read its answers.
    """

    def __init__(self, *, receive_timeout: float, max_waiting: int = MAX_WAITING) -> None:
        self.idle = Place(KEEP_ALIVE_TIMEOUT)
        self.receiving = Place(receive_timeout)
        self.parting = Place(PARTING_TIMEOUT)
        self.unread = Place(UNREAD_TIMEOUT)
        self._max_waiting = max_waiting

    def enter(self, connection: Waiting, place: Place) -> float:
        """`connection` waits in `place` from now on. Returns now."""
        if connection.place is not None:
            del connection.place.since[connection]
        connection.place = place
        now = place.since[connection] = monotonic()
        self._make_room()
        return now

    def _make_room(self) -> None:
        """Those that have their answer go first; real requests are never long in `receiving`."""
        parting, idle, receiving = self.parting, self.idle, self.receiving
        if len(parting.since) + len(idle.since) + len(receiving.since) > self._max_waiting:
            (parting if parting.since else idle if idle.since else receiving).expire_oldest()

    @staticmethod
    def leave(connection: Waiting) -> None:
        """`connection` waits for us now, or is gone."""
        if connection.place is not None:
            del connection.place.since[connection]
            connection.place = None

    def sweep(self) -> None:
        """End every connection that waited too long."""
        now = monotonic()
        for place in (self.idle, self.receiving, self.parting, self.unread):
            place.expire_before(now - place.limit)
