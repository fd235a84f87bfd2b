"""One shard queue in the hands of this replica: a channel, its deliveries, its acks.

Every consumer of a shard queue has the same prefetch, `PREFETCH`, always. A quorum queue puts what
a consumer gives back *behind* what others gave back before; only a consumer with room for all of
it gets it in order again. Twenty given back and a probe that takes one and gives it back would
turn 1, 2, 3 into 2, 3, 1. That is also why a suspended lane keeps its deliveries here instead of
returning them for each probe, which besides would use up the delivery limit.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from aiormq.abc import AbstractChannel, DeliveredMessage

from bridge.brokers.base import Delivery
from bridge.brokers.rabbitmq import frames
from bridge.brokers.rabbitmq.connection import RPC_TIMEOUT, LibraryError, close_channel, reason
from bridge.brokers.rabbitmq.layout import Layout
from bridge.errors import LaneLost

PREFETCH: Final = 100
"""Also the most that a worker can hold at once. Never change it while replicas with another value
run: see above."""
HOLD_LIMIT: Final = 900.0
"""Seconds for which a worker may hold one delivery."""
BUFFER_LIMIT: Final = 600.0
"""Seconds for which a delivery may wait here: both limits together stay under the broker's 30 min
for an ack, after which it would end the channel."""
HELLO: Final = "bridge-hello"
"""Header of a message without content, which tells a consumer without work that it is active."""


class _Held(msgspec.Struct, frozen=True, gc=False):
    arrived: float
    tag: int
    delivered: DeliveredMessage


class RabbitLane:
    """A `Lane` on RabbitMQ. Until its first delivery it is only a claim.

    Args:
        number: the shard.
        queue: its queue.
        channel: a channel of its own, open.
        layout: names.
        on_active: called once, when the broker has shown that this consumer is the active one.
        on_closed: called once, when the channel is closed, by whomever.
    """

    def __init__(
        self,
        number: int,
        queue: str,
        channel: AbstractChannel,
        *,
        layout: Layout,
        on_active: "Callable[[RabbitLane], None]",
        on_closed: "Callable[[RabbitLane], None]",
    ) -> None:
        self.queue = queue
        self.claimed = time.monotonic()
        self.finished: float | None = None
        self.active = False
        self.closed = False
        self._number = number
        self._channel = channel
        self._layout = layout
        self._on_active = on_active
        self._on_closed = on_closed
        self._over = asyncio.Event()
        self._wake = asyncio.Event()
        self._buffer: deque[_Held] = deque()
        self._given: deque[_Held] = deque()
        self._probing = False
        self._closing = channel.closing
        self._closing.add_done_callback(self._channel_closed)

    @property
    def number(self) -> int:
        """See `Lane`."""
        return self._number

    @property
    def hold_limit(self) -> float | None:
        """See `Lane`."""
        return HOLD_LIMIT

    @property
    def over(self) -> asyncio.Event:
        """See `Lane`."""
        return self._over

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """See `Lane`."""
        while not self._over.is_set():
            if self._buffer and time.monotonic() - self._buffer[0].arrived > BUFFER_LIMIT:
                # Too old to be held as long as the worker may; the next lane gets it anew.
                self.finish()
            elif self._buffer and not (self._probing and self._given):
                return self._take(1 if self._probing else limit)
            else:
                self._wake.clear()
                await self._wake.wait()
        return ()

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See `Lane`."""
        if not deliveries:
            return
        channel, tag = deliveries[-1].token
        if channel is not self._channel or self.closed:
            raise LaneLost(f"{self.queue} is no longer in the hands of this replica")
        try:
            await self._channel.basic_ack(tag, multiple=True, wait=False)
        except LibraryError as error:
            raise LaneLost(f"{self.queue} went away: {reason(error)}") from error
        for held in (self._given, self._buffer):
            while held and held[0].tag <= tag:
                held.popleft()
        self._wake.set()

    async def suspend(self) -> None:
        """See `Lane`. The broker hears nothing of it."""
        self._probing = True
        self._buffer.extendleft(reversed(self._given))
        self._given.clear()

    async def resume(self) -> None:
        """See `Lane`."""
        self._probing = False
        self._wake.set()

    async def close(self) -> None:
        """See `Lane`. The broker takes back what is not acked, in order.

        By closing the channel: `basic.cancel` would make the next consumer active while
        deliveries are still out here.
        """
        self.finish()
        if not self.closed:
            await close_channel(self._channel)
            self._ended()

    # For the subscriber.

    async def consume(self) -> None:
        """Register on the queue; raises what the library raises."""
        await self._channel.basic_qos(prefetch_count=PREFETCH, timeout=RPC_TIMEOUT)
        cancelled: Any = self._cancelled
        self._channel.on_consumer_cancel_callbacks.add(cancelled)
        await self._channel.basic_consume(self.queue, self._feed, timeout=RPC_TIMEOUT)

    def finish(self) -> None:
        """The lane is over: no more is received from it. What is in hand can still be acked."""
        if not self._over.is_set():
            self.finished = time.monotonic()
        self._over.set()
        self._wake.set()

    async def _feed(self, delivered: DeliveredMessage) -> None:
        tag = delivered.delivery_tag
        if tag is None:
            return
        hello = HELLO in (delivered.header.properties.headers or {})
        if not hello:
            self._buffer.append(_Held(time.monotonic(), tag, delivered))
            self._wake.set()
        if not self.active:
            self.active = True
            self._on_active(self)
        if hello:
            await self._channel.basic_ack(tag, wait=False)

    def _take(self, limit: int) -> Sequence[Delivery]:
        taken = [self._buffer.popleft() for _ in range(min(limit, len(self._buffer)))]
        self._given.extend(taken)
        return [self._delivery(held) for held in taken]

    def _delivery(self, held: _Held) -> Delivery:
        delivered = held.delivered
        return Delivery(
            message=frames.decode(delivered, self._layout.topic_of(delivered.routing_key or "")),
            origin=f"{self.queue}@{frames.message_id(delivered) or held.tag}",
            stored_at=frames.stored_at(delivered),
            redelivered=bool(delivered.redelivered),
            token=(self._channel, held.tag),
        )

    def _cancelled(self, _frame: object) -> None:
        """The broker cancelled the consumer, e.g. because the queue's leader went away."""
        self.finish()

    def _channel_closed(self, closing: "asyncio.Future[Any]") -> None:
        if not closing.cancelled():
            closing.exception()
        self.finish()
        self._ended()

    def _ended(self) -> None:
        if not self.closed:
            self.closed = True
            self._on_closed(self)
