"""What is published from now on, for people to watch."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

import structlog
from aiormq.abc import DeliveredMessage

from bridge.brokers.base import Delivery
from bridge.brokers.rabbitmq import frames
from bridge.brokers.rabbitmq.connection import RECOVER_SECONDS, RPC_TIMEOUT, connected, unavailable
from bridge.brokers.rabbitmq.layout import Layout
from bridge.errors import BrokerUnavailable
from bridge.settings import Settings

_MOST_WAITING: Final = 10_000
"""Messages kept for a watcher who does not keep up; older ones go first."""

_log = structlog.get_logger()


async def tail(settings: Settings, topics: Sequence[str]) -> AsyncGenerator[Delivery, None]:
    """See `Broker.tail`. The queue it makes is its own and goes with the connection."""
    while True:
        try:
            async with aclosing(_watch(settings, topics)) as watched:
                async for delivery in watched:
                    yield delivery
        except BrokerUnavailable as error:
            _log.warning("tail_interrupted", reason=str(error))
        await asyncio.sleep(RECOVER_SECONDS[-1])


async def _watch(settings: Settings, topics: Sequence[str]) -> AsyncGenerator[Delivery, None]:
    layout = Layout(settings)
    found: asyncio.Queue[DeliveredMessage | None] = asyncio.Queue()

    async def note(delivered: DeliveredMessage) -> None:
        found.put_nowait(delivered)

    async with connected(settings, "tail") as connection:
        with unavailable("watch topics"):
            channel = await connection.channel(timeout=RPC_TIMEOUT, publisher_confirms=False)
            queue = f"{layout.exchange}.tail.{uuid.uuid4().hex}"
            await channel.queue_declare(
                queue,
                exclusive=True,
                auto_delete=True,
                arguments={"x-max-length": _MOST_WAITING},
                timeout=RPC_TIMEOUT,
            )
            for topic in topics:
                await channel.queue_bind(
                    queue, layout.exchange, f"{layout.word(topic)}.*", timeout=RPC_TIMEOUT
                )
            await channel.basic_consume(queue, note, no_ack=True, timeout=RPC_TIMEOUT)
        closing = channel.closing
        closing.add_done_callback(lambda _: found.put_nowait(None))
        while (delivered := await found.get()) is not None:
            routing_key = delivered.routing_key or ""
            yield Delivery(
                message=frames.decode(delivered, layout.topic_of(routing_key)),
                origin=f"{layout.exchange}/{routing_key}@{frames.message_id(delivered)}",
                stored_at=frames.stored_at(delivered),
                redelivered=bool(delivered.redelivered),
                token=None,
            )
