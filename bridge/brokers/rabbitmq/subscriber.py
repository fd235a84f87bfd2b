"""One replica of a group: it counts its peers, claims its share of the shard queues, gives back.

A replica registers on a shard queue only when nobody is active there, and its lane begins when the
broker shows that it is the active consumer: by a delivery, or, where nothing waits, by a message
without content that the replica sends to that queue itself (RabbitMQ has no other sign for it).
The queue's own rule, one active consumer, keeps two replicas apart whatever happens here.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import aiormq
import structlog
from aiormq import spec
from aiormq.abc import AbstractChannel

from bridge.brokers.rabbitmq.connection import (
    CLOSE_TIMEOUT,
    RECOVER_SECONDS,
    RPC_TIMEOUT,
    LibraryError,
    close_channel,
    connected,
    reason,
    unavailable,
)
from bridge.brokers.rabbitmq.lane import HELLO, RabbitLane
from bridge.brokers.rabbitmq.layout import Layout
from bridge.brokers.rabbitmq.sharing import Sharing
from bridge.brokers.rabbitmq.topology import open_topology
from bridge.errors import BrokerError, BrokerUnavailable, TopologyMissing
from bridge.settings import Settings
from bridge.telemetry import TOPOLOGY_MISMATCH
from bridge.topics import Group

ROUND_SECONDS: Final = 1.0
"""About how often a replica looks at its peers and at the queues."""
PROOF_SECONDS: Final = 3.0
"""How long a claim waits for the sign that it is active before it is given up."""
RECOUNT_ROUNDS: Final = 3
"""Rounds for which a replica that was left without its part leaves the count."""
TOPOLOGY_SECONDS: Final = 60.0
"""How often the group's bindings are verified."""

_log = structlog.get_logger()


class RabbitSubscriber:
    """A `Subscriber` on RabbitMQ. Made by `open_subscriber`."""

    def __init__(self, settings: Settings, group: Group) -> None:
        self._settings = settings
        self._group = group
        self._layout = Layout(settings)
        self._claims: dict[int, RabbitLane] = {}
        self._assigned: asyncio.Queue[RabbitLane | None] = asyncio.Queue()
        self._ending = asyncio.Event()
        self._look = asyncio.Event()
        self._away = 0
        self._missing = ""
        self._greeted: set[RabbitLane] = set()
        self._left = asyncio.Event()
        self._random = random.Random()  # noqa: S311 - spreads replicas, guards nothing

    async def lanes(self) -> AsyncGenerator[RabbitLane, None]:
        """See `Subscriber`."""
        while not self._ending.is_set():
            lane = await self._assigned.get()
            if lane is None:
                return
            if not lane.over.is_set():
                yield lane
            else:
                await lane.close()

    def end(self) -> None:
        """See `Subscriber`."""
        if self._ending.is_set():
            return
        self._ending.set()
        for lane in self._claims.values():
            lane.finish()
        self._assigned.put_nowait(None)
        self._look.set()

    async def run(self) -> None:
        """Stay connected and keep the share until cancelled."""
        failures = 0
        while not self._ending.is_set():
            try:
                async with connected(self._settings, f"group {self._group.name}") as connection:
                    failures = 0
                    await self._serve(connection)
            except BrokerError as error:
                _log.warning(
                    "rabbitmq_unreachable", purpose=f"group {self._group.name}", reason=str(error)
                )
            except Exception:  # noqa: BLE001 - without this task the replica would do nothing for ever
                _log.exception("rabbitmq_subscriber_failed", group=self._group.name)
            finally:
                for lane in list(self._claims.values()):
                    lane.finish()
            if self._ending.is_set():
                break
            await asyncio.sleep(RECOVER_SECONDS[min(failures, len(RECOVER_SECONDS) - 1)])
            failures += 1
        self._left.set()

    async def _serve(self, connection: aiormq.Connection) -> None:
        """Look, round after round, until the connection ends."""
        lost = asyncio.Event()
        closing = connection.closing
        closing.add_done_callback(lambda _: lost.set())
        closing.add_done_callback(lambda _: self._look.set())
        self._claims = {}
        sharing = Sharing(self._layout.shards)
        control: AbstractChannel | None = None
        while not lost.is_set() and not self._ending.is_set():
            try:
                if self._away:
                    # Out of the count, so that the others notice a change and share anew.
                    self._away -= 1
                    if control is not None:
                        await close_channel(control)
                        control = None
                else:
                    if control is None or control.is_closed:
                        control = await self._join(connection)
                    await self._round(connection, control, sharing)
            except TopologyMissing as error:
                self._mismatch(error)
            except BrokerUnavailable as error:
                _log.warning("rabbitmq_round_failed", group=self._group.name, reason=str(error))
            await self._pause()
        if not lost.is_set():
            await self._leave_group(control)
            # The lanes still need the connection for their acks.
            await lost.wait()

    async def _leave_group(self, control: AbstractChannel | None) -> None:
        """Leave the count, drop claims. A hello must not stay behind: it would look like lag."""
        if control is not None:
            await close_channel(control)
        limit = time.monotonic() + PROOF_SECONDS
        while any(not lane.active for lane in self._greeted) and time.monotonic() < limit:
            self._look.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), ROUND_SECONDS)
        await self._withdraw([lane for lane in self._claims.values() if not lane.active])
        self._left.set()

    async def _pause(self) -> None:
        self._look.clear()
        if self._ending.is_set():
            return
        try:
            async with asyncio.timeout(ROUND_SECONDS * self._random.uniform(0.7, 1.3)):
                await self._look.wait()
        except TimeoutError:
            return

    async def _join(self, connection: aiormq.Connection) -> AbstractChannel:
        """A channel for questions, on which this replica is counted."""
        with unavailable(f"join the group {self._group.name}"):
            control = await connection.channel(publisher_confirms=False)
            await control.basic_consume(
                self._layout.members(self._group.name), _ignore, timeout=RPC_TIMEOUT
            )
        return control

    async def _round(
        self, connection: aiormq.Connection, control: AbstractChannel, sharing: Sharing
    ) -> None:
        """One look at peers and queues, and what follows from it."""
        peers = await self._count(control, self._layout.members(self._group.name))
        sharing.observe(peers.consumer_count or 0, time.monotonic())
        self._claims = {n: lane for n, lane in self._claims.items() if not lane.closed}
        held = [lane for lane in self._claims.values() if lane.active and not lane.over.is_set()]
        for lane in sorted(held, key=lambda lane: lane.number)[sharing.allowed :]:
            lane.finish()
        await self._withdraw(self._unproven())
        await self._insist()
        wanted = sharing.allowed - len(held) - sum(not c.active for c in self._claims.values())
        free = await self._free(control)
        if wanted > 0 and free:
            chosen = self._random.sample(sorted(free), min(wanted, len(free)))
            await self._claim(connection, chosen, quiet=[n for n in chosen if not free[n]])
        elif sharing.starves(len(held)):
            self._away = RECOUNT_ROUNDS

    async def _count(self, control: AbstractChannel, queue: str) -> spec.Queue.DeclareOk:
        with unavailable(f"look at the queue {queue}"):
            return await control.queue_declare(queue, passive=True, timeout=RPC_TIMEOUT)

    async def _free(self, control: AbstractChannel) -> dict[int, int]:
        """The shards on which nobody is active -> how many messages wait there."""
        free = {}
        for number in range(self._layout.shards):
            lane = self._claims.get(number)
            if lane is not None and (lane.over.is_set() or not lane.active):
                continue
            queue = self._layout.shard_queue(self._group.name, number)
            state = await self._count(control, queue)
            if state.consumer_count:
                continue
            if lane is None:
                free[number] = state.message_count or 0
            elif not lane.closed:
                # The broker has lost our consumer without a word: the worker gets a new lane.
                _log.warning("rabbitmq_consumer_gone", queue=queue)
                lane.finish()
        return free

    async def _insist(self) -> None:
        """Close lanes whose worker does not, long after they were over: their peers wait."""
        limit = time.monotonic() - self._settings.consume_drain_timeout
        for lane in list(self._claims.values()):
            if lane.finished is not None and lane.finished < limit:
                await lane.close()

    def _unproven(self) -> list[RabbitLane]:
        limit = time.monotonic() - PROOF_SECONDS
        return [c for c in self._claims.values() if not c.active and c.claimed < limit]

    async def _withdraw(self, claims: Sequence[RabbitLane]) -> None:
        for claim in claims:
            # It may have become active this very moment; then its worker closes it.
            if not claim.active:
                await claim.close()

    async def _claim(
        self, connection: aiormq.Connection, numbers: Sequence[int], *, quiet: Sequence[int]
    ) -> None:
        """Register on these shards; where nothing waits, ask for the sign."""
        for number in numbers:
            queue = self._layout.shard_queue(self._group.name, number)
            with unavailable(f"consume from {queue}"):
                channel = await connection.channel(publisher_confirms=False)
                lane = RabbitLane(
                    number,
                    queue,
                    channel,
                    layout=self._layout,
                    on_active=self._proven,
                    on_closed=lambda _: self._look.set(),
                )
                self._claims[number] = lane
                await lane.consume()
        if quiet and not self._ending.is_set():
            self._greeted = {self._claims[number] for number in quiet}
            await self._say_hello([lane.queue for lane in self._greeted])

    def _proven(self, lane: RabbitLane) -> None:
        self._assigned.put_nowait(lane)
        self._look.set()

    async def _say_hello(self, queues: Sequence[str]) -> None:
        """Send a message without content to each queue, over a connection that only does this.

        The broker blocks connections that publish during an alarm; this one must not be the one
        that carries the acks.
        """
        try:
            async with connected(self._settings, f"group {self._group.name} hello") as connection:
                channel = await connection.channel(publisher_confirms=True)
                for queue in queues:
                    await channel.basic_publish(
                        b"",
                        routing_key=queue,
                        properties=spec.Basic.Properties(headers={HELLO: "1"}, delivery_mode=2),
                        timeout=PROOF_SECONDS,
                    )
        except (*LibraryError, BrokerError) as error:
            # Then the first message is the sign.
            _log.info("rabbitmq_hello_failed", group=self._group.name, reason=reason(error))

    async def watch_topology(self) -> None:
        """Verify the group's topology every minute; an alarm while it is not as it must be."""
        TOPOLOGY_MISMATCH.labels(self._group.name).set(0)
        while True:
            await asyncio.sleep(TOPOLOGY_SECONDS)
            try:
                async with open_topology(self._settings) as topology:
                    await topology.verify([self._group])
                TOPOLOGY_MISMATCH.labels(self._group.name).set(0)
                self._missing = ""
            except TopologyMissing as error:
                self._mismatch(error)
            except BrokerError as error:
                _log.warning("topology_not_verified", group=self._group.name, reason=str(error))

    def _mismatch(self, error: TopologyMissing) -> None:
        TOPOLOGY_MISMATCH.labels(self._group.name).set(1)
        if str(error) != self._missing:
            self._missing = str(error)
            _log.error("topology_missing", group=self._group.name, reason=self._missing)

    async def leave(self) -> None:
        """Close every lane: what is not acked goes to whoever is next."""
        self.end()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._left.wait(), PROOF_SECONDS + CLOSE_TIMEOUT)
        for lane in list(self._claims.values()):
            await lane.close()


async def _ignore(_message: object) -> None:
    """Nothing is ever sent to the queue of members."""


@asynccontextmanager
async def open_subscriber(settings: Settings, group: Group) -> AsyncIterator[RabbitSubscriber]:
    """A replica of a group; see `Broker.subscriber`."""
    async with open_topology(settings) as topology:
        await topology.verify([group])
    subscriber = RabbitSubscriber(settings, group)
    running = [
        asyncio.create_task(subscriber.run(), name="rabbitmq-subscriber"),
        asyncio.create_task(subscriber.watch_topology(), name="rabbitmq-topology-watch"),
    ]
    try:
        yield subscriber
    finally:
        await subscriber.leave()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
