"""The `Publisher` of the seam: topics and keys become an exchange and routing keys."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import aiormq

from bridge.brokers.rabbitmq.confirms import Outgoing
from bridge.brokers.rabbitmq.connection import RPC_TIMEOUT, close_channel, unavailable
from bridge.brokers.rabbitmq.layout import Layout
from bridge.brokers.rabbitmq.publisher import GroupPublisher, open_publisher
from bridge.errors import PublishRejected, TopologyMissing
from bridge.message import Message
from bridge.settings import Settings

_SURELY_FITS: Final = 64 * 1024
"""Bytes of a body below which no limit is near: headers are cut from the same bytes."""


class RabbitPublisher:
    """A `Publisher` on RabbitMQ."""

    def __init__(self, layout: Layout, publisher: GroupPublisher) -> None:
        self._layout = layout
        self._publisher = publisher
        self._keys = layout.routing_keys()

    @property
    def last_confirmed(self) -> float | None:
        """See `Publisher`."""
        return self._publisher.last_confirmed

    async def publish(self, messages: Sequence[Message]) -> None:
        """See `Publisher`."""
        await self._publisher.write([self._outgoing(message) for message in messages])

    def _outgoing(self, message: Message) -> Outgoing:
        keys = self._keys.get(message.topic)
        if keys is None:
            raise PublishRejected(f"{message.topic} is no topic of this bridge")
        if len(message.body) > _SURELY_FITS:
            size = len(message.body) + sum(len(n) + len(v) for n, v in message.headers)
            limit = self._layout.limit_of(message.topic)
            if size > limit:
                raise PublishRejected(
                    f"a message of {size} bytes is over the limit of {message.topic}, {limit} bytes"
                )
        return Outgoing(self._layout.exchange, keys[self._layout.shard_of(message.key)], message)


async def check_exchanges(layout: Layout, connection: aiormq.Connection) -> None:
    """Return if what the ingress publishes to is there. Asks passively: needs no right to create.

    Raises:
        TopologyMissing: with the command that creates it.
        BrokerUnavailable: it cannot be known now.
    """
    try:
        with unavailable("look for the exchanges"):
            channel = await connection.channel(timeout=RPC_TIMEOUT, publisher_confirms=False)
            for exchange in layout.exchanges():
                await channel.exchange_declare(exchange.name, passive=True, timeout=RPC_TIMEOUT)
            for queue in layout.queues(()):
                await channel.queue_declare(queue.name, passive=True, timeout=RPC_TIMEOUT)
    except TopologyMissing as error:
        raise TopologyMissing(f"{error}: run `bridge topology apply`") from error
    await close_channel(channel)


@asynccontextmanager
async def open_ingress_publisher(settings: Settings) -> AsyncIterator[RabbitPublisher]:
    """A publisher for the ingress; see `Broker.publisher`."""
    layout = Layout(settings)

    async def check(connection: aiormq.Connection) -> None:
        await check_exchanges(layout, connection)

    async with open_publisher(settings, purpose="ingress", check=check) as publisher:
        yield RabbitPublisher(layout, publisher)
