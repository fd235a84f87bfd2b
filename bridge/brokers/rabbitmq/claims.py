"""The shard queues on which this replica has registered, proven active or not yet.

A replica registers on a queue only when nobody is active there. Whether it became the active
consumer, the broker shows by a delivery; where nothing waits, the replica sends that queue a
message without content itself, since RabbitMQ gives no other sign. Messages are at most this one
late for it: whoever is active takes it off.
"""

import time
from collections.abc import Callable, Collection, Sequence
from typing import Final

import aiormq
import structlog
from aiormq import spec
from aiormq.abc import AbstractChannel

from bridge.brokers.rabbitmq.connection import (
    RPC_TIMEOUT,
    LibraryError,
    connected,
    reason,
    unavailable,
)
from bridge.brokers.rabbitmq.lane import HELLO, RabbitLane
from bridge.brokers.rabbitmq.layout import Layout
from bridge.errors import BrokerError
from bridge.settings import Settings

PROOF_SECONDS: Final = 3.0
"""How long a claim waits for the sign that it is active before it is given up."""

_log = structlog.get_logger()


class Claims:
    """The lanes of one replica over one connection.

    Args:
        settings: where to.
        group: the group's name.
        on_active: called with a lane once it is proven.
        on_closed: called when the channel of a lane is closed.
    """

    def __init__(
        self,
        settings: Settings,
        group: str,
        *,
        on_active: Callable[[RabbitLane], None],
        on_closed: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._group = group
        self._layout = Layout(settings)
        self._on_active = on_active
        self._on_closed = on_closed
        self._lanes: dict[int, RabbitLane] = {}
        self._greeted: list[RabbitLane] = []

    @property
    def held(self) -> list[RabbitLane]:
        """Lanes at work, lowest number first."""
        lanes = [lane for lane in self._lanes.values() if lane.active and not lane.over.is_set()]
        return sorted(lanes, key=lambda lane: lane.number)

    @property
    def unproven(self) -> list[RabbitLane]:
        """Claims that have not seen a delivery."""
        return [lane for lane in self._lanes.values() if not lane.active and not lane.closed]

    @property
    def greeting(self) -> bool:
        """Whether a hello is on its way that nobody has taken off yet, as far as is known."""
        return any(not lane.active and not lane.closed for lane in self._greeted)

    def finish(self) -> None:
        """All lanes are over."""
        for lane in self._lanes.values():
            lane.finish()

    async def close(self) -> None:
        """Close all lanes: what is not acked goes to whoever is next."""
        for lane in list(self._lanes.values()):
            await lane.close()

    async def tidy(self, drain_seconds: float) -> None:
        """Forget what is closed, give up what was never proven, close what no worker closes."""
        self._lanes = {n: lane for n, lane in self._lanes.items() if not lane.closed}
        now = time.monotonic()
        await self.withdraw([c for c in self.unproven if c.claimed < now - PROOF_SECONDS])
        for lane in list(self._lanes.values()):
            if lane.finished is not None and lane.finished < now - drain_seconds:
                await lane.close()

    async def withdraw(self, claims: Sequence[RabbitLane]) -> None:
        """Give up those of these claims that are still not proven."""
        for claim in claims:
            # It may have become active this very moment; then its worker closes it.
            if not claim.active:
                await claim.close()

    async def free(self, control: AbstractChannel) -> dict[int, int]:
        """The shards on which nobody is active -> how many messages wait there.

        Ends a lane whose consumer the broker has lost without a word.
        """
        free = {}
        for number in range(self._layout.shards):
            lane = self._lanes.get(number)
            if lane is not None and (lane.over.is_set() or not lane.active):
                continue
            state = await look_at(control, self._layout.shard_queue(self._group, number))
            if state.consumer_count:
                continue
            if lane is None:
                free[number] = state.message_count or 0
            elif not lane.closed:
                _log.warning("rabbitmq_consumer_gone", queue=lane.queue)
                lane.finish()
        return free

    async def claim(
        self, connection: aiormq.Connection, numbers: Sequence[int], *, quiet: Collection[int]
    ) -> None:
        """Register on these shards; say hello on those where nothing waits, the quiet ones."""
        for number in numbers:
            queue = self._layout.shard_queue(self._group, number)
            with unavailable(f"consume from {queue}"):
                channel = await connection.channel(timeout=RPC_TIMEOUT, publisher_confirms=False)
                lane = RabbitLane(
                    number,
                    queue,
                    channel,
                    layout=self._layout,
                    on_active=self._on_active,
                    on_closed=lambda _: self._on_closed(),
                )
                self._lanes[number] = lane
                await lane.consume()
        self._greeted = [self._lanes[number] for number in quiet]
        if self._greeted:
            await self._say_hello([lane.queue for lane in self._greeted])

    async def _say_hello(self, queues: Sequence[str]) -> None:
        """Send each queue a message without content, over a connection that does nothing else.

        The broker blocks connections that publish during an alarm; the one that carries the acks
        must not be among them.
        """
        try:
            async with connected(self._settings, f"group {self._group} hello") as connection:
                channel = await connection.channel(timeout=RPC_TIMEOUT, publisher_confirms=True)
                for queue in queues:
                    await channel.basic_publish(
                        b"",
                        routing_key=queue,
                        properties=spec.Basic.Properties(headers={HELLO: "1"}, delivery_mode=2),
                        timeout=PROOF_SECONDS,
                    )
        except (*LibraryError, BrokerError) as error:
            # Then the first message is the sign.
            _log.info("rabbitmq_hello_failed", group=self._group, reason=reason(error))


async def look_at(control: AbstractChannel, queue: str) -> spec.Queue.DeclareOk:
    """How many messages are ready in a queue and how many consumers are active on it.

    Raises:
        TopologyMissing: the queue is not there; the channel is closed then.
        BrokerUnavailable: it cannot be known now.
    """
    with unavailable(f"look at the queue {queue}"):
        return await control.queue_declare(queue, passive=True, timeout=RPC_TIMEOUT)
