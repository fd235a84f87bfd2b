"""How far groups are behind on RabbitMQ.

How many messages are ready is asked of each queue and exact. How many are with a consumer, not yet
acked, only the management API says, some seconds late; while a queue has no consumer it is none.
How old the oldest message is, RabbitMQ does not say.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import aiormq

from bridge.brokers.base import LagEntry
from bridge.brokers.rabbitmq.connection import RPC_TIMEOUT, close_channel, connected, unavailable
from bridge.brokers.rabbitmq.layout import Layout
from bridge.brokers.rabbitmq.management import Management, open_management
from bridge.errors import TopologyMissing
from bridge.settings import Settings
from bridge.topics import Group


class RabbitLagReader:
    """`LagReader` on RabbitMQ. Connects at the first read, and again after a failure."""

    def __init__(self, settings: Settings, management: Management | None) -> None:
        self._settings = settings
        self._layout = Layout(settings)
        self._management = management
        self._stack = AsyncExitStack()
        self._connection: aiormq.Connection | None = None

    async def read(self, groups: Sequence[Group]) -> Sequence[LagEntry]:
        """See `LagReader`. Needs no right but to look."""
        unacked: dict[str, int | None] = {}
        if self._management is not None:
            queues = await self._management.queues(self._layout.exchange)
            unacked = {name: queue.messages_unacknowledged for name, queue in queues.items()}
        return [
            await self._entry(group.name, shard, unacked)
            for group in groups
            for shard in range(self._layout.shards)
        ]

    async def close(self) -> None:
        """Give the connection back."""
        await self._stack.aclose()
        self._connection = None

    async def _entry(self, group: str, shard: int, unacked: dict[str, int | None]) -> LagEntry:
        queue = self._layout.shard_queue(group, shard)
        found = await self._ask(queue)
        if found is None:
            return LagEntry(group, queue, shard, None, None, None)
        ready, consumers = found
        held = unacked.get(queue) if consumers else 0
        messages = None if held is None else ready + held
        return LagEntry(group, queue, shard, messages, None, consumers)

    async def _ask(self, queue: str) -> tuple[int, int] | None:
        """Ready messages and consumers, or None where the queue is not there."""
        try:
            with unavailable(f"look at {queue}"):
                connection = await self._connected()
                channel = await connection.channel(timeout=RPC_TIMEOUT, publisher_confirms=False)
                try:
                    state = await channel.queue_declare(queue, passive=True, timeout=RPC_TIMEOUT)
                finally:
                    await close_channel(channel)
        except TopologyMissing:
            return None
        return state.message_count or 0, state.consumer_count or 0

    async def _connected(self) -> aiormq.Connection:
        if self._connection is None or self._connection.is_closed:
            await self.close()
            self._connection = await self._stack.enter_async_context(
                connected(self._settings, "lag")
            )
        return self._connection


@asynccontextmanager
async def open_lag_reader(settings: Settings) -> AsyncIterator[RabbitLagReader]:
    """A lag reader; connects when it is first asked."""
    async with open_management(settings) as management:
        reader = RabbitLagReader(settings, management)
        try:
            yield reader
        finally:
            await reader.close()
