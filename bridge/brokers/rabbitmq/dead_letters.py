"""The dead letters of one group: a queue that is looked through without taking from it."""

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

import aiormq
from aiormq.abc import AbstractChannel, DeliveredMessage

from bridge.brokers.base import DeadLetter
from bridge.brokers.rabbitmq import frames
from bridge.brokers.rabbitmq.confirms import Outgoing
from bridge.brokers.rabbitmq.connection import RPC_TIMEOUT, close_channel, connected, unavailable
from bridge.brokers.rabbitmq.layout import Layout
from bridge.brokers.rabbitmq.publisher import GroupPublisher, open_publisher
from bridge.errors import BrokerUnavailable, TopologyMissing
from bridge.message import (
    DEAD_ERROR,
    DEAD_GROUP,
    DEAD_HEADERS,
    DEAD_REASON,
    REPLAYED_TIME,
    Message,
)
from bridge.settings import Settings

_MOST: Final = 65_535
"""The largest prefetch AMQP can say: so many are looked at in one walk, the oldest first."""
_NEXT_TIMEOUT: Final = 10.0
"""Seconds for the next message of a walk."""
_TURN_TIMEOUT: Final = 30.0
"""Seconds to wait while somebody else looks through the same dead letters."""
_TURN_PAUSE: Final = 0.1
_REPLAY_GROUP: Final = 50
"""How many copies are confirmed together."""


class RabbitDeadLetters:
    """`DeadLetters` on RabbitMQ."""

    def __init__(
        self,
        layout: Layout,
        group: str,
        connection: aiormq.Connection,
        publisher: GroupPublisher,
    ) -> None:
        self._layout = layout
        self._group = group
        self._queue = layout.topics.dead(group)
        self._connection = connection
        self._publisher = publisher

    async def put(self, message: Message, origin: str) -> None:
        """See `DeadLetters`."""
        del origin  # the message's own headers say it
        topic = (frames.TOPIC, message.topic.encode())
        await self._publisher.write([Outgoing("", self._queue, message, (topic,))])

    async def read(self) -> AsyncGenerator[DeadLetter, None]:
        """See `DeadLetters`."""
        async with self._looking() as (_, found):
            async for delivered in found:
                yield self._letter(delivered)

    async def replay(self, ids: Sequence[str]) -> int:
        """See `DeadLetters`."""
        return await self._take(ids, replay=True)

    async def discard(self, ids: Sequence[str]) -> int:
        """See `DeadLetters`."""
        return await self._take(ids, replay=False)

    async def _take(self, ids: Sequence[str], *, replay: bool) -> int:
        wanted = set(ids)
        taken = 0
        batch: list[DeliveredMessage] = []
        async with self._looking() as (channel, found):
            async for delivered in found:
                if _id(delivered) not in wanted:
                    continue
                wanted.discard(_id(delivered))
                batch.append(delivered)
                if len(batch) == _REPLAY_GROUP:
                    taken += await self._settle(channel, batch, replay=replay)
                    batch = []
                if not wanted:
                    break
            taken += await self._settle(channel, batch, replay=replay)
        return taken

    async def _settle(
        self, channel: AbstractChannel, batch: Sequence[DeliveredMessage], *, replay: bool
    ) -> int:
        """Replay if asked to, and only then take these off."""
        if replay:
            now = datetime.now(UTC).isoformat(timespec="milliseconds").encode()
            await self._publisher.write([self._copy(delivered, now) for delivered in batch])
        for delivered in batch:
            with unavailable("take a dead letter off"):
                await channel.basic_ack(delivered.delivery_tag or 0)
        return len(batch)

    def _copy(self, delivered: DeliveredMessage, now: bytes) -> Outgoing:
        letter = self._letter(delivered).message
        headers = [
            (name, value)
            for name, value in letter.headers
            if name not in DEAD_HEADERS and name != REPLAYED_TIME
        ]
        message = Message(letter.topic, letter.key, letter.body, (*headers, (REPLAYED_TIME, now)))
        queue = self._layout.shard_queue(self._group, self._layout.shard_of(letter.key))
        return Outgoing("", queue, message, ((frames.TOPIC, letter.topic.encode()),))

    def _letter(self, delivered: DeliveredMessage) -> DeadLetter:
        message = frames.decode(delivered, self._layout.topics.unknown)
        if message.header(DEAD_REASON) is None:
            message = self._set_aside_by_broker(delivered, message)
        return DeadLetter(_id(delivered), message)

    def _set_aside_by_broker(self, delivered: DeliveredMessage, message: Message) -> Message:
        """RabbitMQ set it aside: it was handed over too often without an ack."""
        headers: dict[str, Any] = delivered.header.properties.headers or {}
        deaths: list[Any] = headers.get("x-death") or []
        keys = deaths[0].get("routing-keys") if deaths and isinstance(deaths[0], dict) else None
        topic = message.topic
        if frames.TOPIC not in headers and keys:
            topic = self._layout.topic_of(str(keys[0]))
        why = headers.get("x-first-death-reason", "unknown")
        said = (
            (DEAD_REASON, f"RabbitMQ set it aside ({why}): handed over too often".encode()),
            (DEAD_ERROR, b"DeliveryLimit"),
            (DEAD_GROUP, self._group.encode()),
        )
        return Message(topic, message.key, message.body, (*message.headers, *said))

    @asynccontextmanager
    async def _looking(
        self,
    ) -> AsyncIterator[tuple[AbstractChannel, AsyncIterator[DeliveredMessage]]]:
        """Everything that lies there now, unacked. Leaving gives back, in order, what stays."""
        queue: asyncio.Queue[DeliveredMessage] = asyncio.Queue()

        async def note(delivered: DeliveredMessage) -> None:
            queue.put_nowait(delivered)

        with unavailable("look through the dead letters"):
            channel = await self._connection.channel(timeout=RPC_TIMEOUT, publisher_confirms=False)
        try:
            count = await self._my_turn(channel)
            with unavailable("look through the dead letters"):
                await channel.basic_qos(prefetch_count=_MOST, timeout=RPC_TIMEOUT)
                await channel.basic_consume(self._queue, note, timeout=RPC_TIMEOUT)
            yield channel, _take_from(queue, channel, min(count, _MOST))
        finally:
            await close_channel(channel)

    async def _my_turn(self, channel: AbstractChannel) -> int:
        """Wait until nobody else looks; how many lie there. The queue serves one at a time."""
        limit = time.monotonic() + _TURN_TIMEOUT
        while time.monotonic() < limit:
            with unavailable("look through the dead letters"):
                state = await channel.queue_declare(self._queue, passive=True, timeout=RPC_TIMEOUT)
            if not state.consumer_count:
                return state.message_count or 0
            await asyncio.sleep(_TURN_PAUSE)
        raise BrokerUnavailable("somebody else is looking through these dead letters")


async def _take_from(
    queue: asyncio.Queue[DeliveredMessage], channel: AbstractChannel, count: int
) -> AsyncIterator[DeliveredMessage]:
    for _ in range(count):
        try:
            yield await asyncio.wait_for(queue.get(), _NEXT_TIMEOUT)
        except TimeoutError:
            if channel.is_closed:
                raise BrokerUnavailable("RabbitMQ went away") from None
            return  # somebody took the rest meanwhile


def _id(delivered: DeliveredMessage) -> str:
    """Ours have an id of their own; for others, what they hold names them."""
    if id_ := frames.message_id(delivered):
        return id_
    return hashlib.sha256(delivered.body).hexdigest()[:32]


@asynccontextmanager
async def open_dead_letters(settings: Settings, group: str) -> AsyncIterator[RabbitDeadLetters]:
    """The dead letters of a group.

    Raises:
        TopologyMissing: the group's topology is not applied.
        BrokerUnavailable: not reachable at start.
    """
    layout = Layout(settings)
    queue = layout.topics.dead(group)
    async with connected(settings, f"dead letters of {group}") as connection:
        check = _check(queue)
        await check(connection)
        async with open_publisher(
            settings, purpose=f"dead letters of {group}", check=check
        ) as publisher:
            yield RabbitDeadLetters(layout, group, connection, publisher)


def _check(queue: str) -> Callable[[aiormq.Connection], Any]:
    async def look(connection: aiormq.Connection) -> None:
        try:
            with unavailable("look for the dead letters"):
                channel = await connection.channel(timeout=RPC_TIMEOUT, publisher_confirms=False)
                await channel.queue_declare(queue, passive=True, timeout=RPC_TIMEOUT)
        except TopologyMissing as error:
            raise TopologyMissing(
                f"{error}: run `bridge topology apply`, or name the consumer to it"
            ) from error
        await close_channel(channel)

    return look
