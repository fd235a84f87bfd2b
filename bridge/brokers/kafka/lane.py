"""One lane on Kafka: a partition number across all topics of a group."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiokafka import TopicPartition

from bridge.brokers.base import Delivery
from bridge.errors import LaneLost

FULL: Final = 500
"""Deliveries in memory at which a lane takes no more for now."""
FULL_BYTES: Final = 4 * 1024 * 1024
"""The same for their bodies, so that one lane of large messages stays small too."""


class KafkaLane:
    """`Lane` on Kafka. Filled by the subscriber's poll task, worked by one task of the worker.

    Args:
        number: the partition number.
        commit: waits until the broker has these positions.
        want_more: called when there is room again.
    """

    def __init__(
        self,
        number: int,
        commit: Callable[[dict[TopicPartition, int]], Awaitable[None]],
        want_more: Callable[["KafkaLane"], None],
    ) -> None:
        self._number = number
        self._commit = commit
        self._want_more = want_more
        self._waiting: deque[Delivery] = deque()
        self._unacked: deque[Delivery] = deque()
        self._bytes = 0
        self._suspended = False
        self._arrived = asyncio.Event()
        self._over = asyncio.Event()
        self.closed = asyncio.Event()
        """Set when the task that works it has closed it."""
        self.given = False
        """Whether somebody took it to work it; nobody waits for a lane that was not given out."""
        self.paused = False
        """Whether the subscriber stopped fetching for it; the subscriber's own."""

    @property
    def number(self) -> int:
        """See `Lane`."""
        return self._number

    @property
    def hold_limit(self) -> float | None:
        """See `Lane`. Polling goes on while a delivery is held, so there is none."""
        return None

    @property
    def over(self) -> asyncio.Event:
        """See `Lane`."""
        return self._over

    @property
    def full(self) -> bool:
        """Whether it should take no more for now."""
        return self._suspended or len(self._waiting) >= FULL or self._bytes >= FULL_BYTES

    @property
    def hungry(self) -> bool:
        """Whether it is time to fetch for it again. Well below `full`: a pause costs a fetch."""
        return not self._suspended and len(self._waiting) <= FULL // 2 and not self.full

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """See `Lane`."""
        while not self._over.is_set() and (
            not self._waiting or (self._suspended and self._unacked)
        ):
            self._arrived.clear()
            await self._arrived.wait()
        if self._over.is_set():
            return []
        size = 1 if self._suspended else max(1, limit)
        taken = [self._waiting.popleft() for _ in range(min(size, len(self._waiting)))]
        self._unacked.extend(taken)
        self._bytes -= sum(len(delivery.message.body) for delivery in taken)
        self._ask_for_more()
        return taken

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See `Lane`."""
        if not deliveries:
            return
        positions: dict[TopicPartition, int] = {}
        for delivery in deliveries:
            tp, offset = delivery.token
            positions[tp] = max(positions.get(tp, 0), offset + 1)
        if self.closed.is_set():
            raise LaneLost(f"lane {self._number} was closed")
        try:
            await self._commit(positions)
        except LaneLost:
            self.finish()
            raise
        # Only now: where the commit failed they are unacked still, and `suspend` brings them back.
        done = {delivery.token for delivery in deliveries}
        while self._unacked and self._unacked[0].token in done:
            self._unacked.popleft()
        self._arrived.set()

    async def suspend(self) -> None:
        """See `Lane`. What is unacked lies in memory still: it goes back to the front."""
        self._suspended = True
        self._bytes += sum(len(delivery.message.body) for delivery in self._unacked)
        self._waiting.extendleft(reversed(self._unacked))
        self._unacked.clear()

    async def resume(self) -> None:
        """See `Lane`."""
        self._suspended = False
        self._arrived.set()
        self._ask_for_more()

    async def close(self) -> None:
        """See `Lane`."""
        self.finish()
        self.closed.set()

    def feed(self, deliveries: Sequence[Delivery]) -> None:
        """Put what was fetched behind what waits."""
        self._waiting.extend(deliveries)
        self._bytes += sum(len(delivery.message.body) for delivery in deliveries)
        self._arrived.set()

    def finish(self) -> None:
        """The lane is over: nothing more is given out."""
        self._over.set()
        self._arrived.set()
        self._waiting.clear()

    def _ask_for_more(self) -> None:
        if self.paused and self.hungry:
            self._want_more(self)
