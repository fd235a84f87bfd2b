"""One replica of a group: it counts its peers, claims its share of the shard queues, gives back.

The rule of the queues, one active consumer, keeps two replicas apart whatever happens here; what
is decided here is only who is active where.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import aiormq
import structlog
from aiormq.abc import AbstractChannel

from bridge.brokers.rabbitmq.claims import PROOF_SECONDS, Claims, look_at
from bridge.brokers.rabbitmq.connection import (
    CLOSE_TIMEOUT,
    RECOVER_SECONDS,
    RPC_TIMEOUT,
    close_channel,
    connected,
    unavailable,
)
from bridge.brokers.rabbitmq.lane import RabbitLane
from bridge.brokers.rabbitmq.layout import Layout
from bridge.brokers.rabbitmq.sharing import Sharing
from bridge.brokers.rabbitmq.topology import open_topology
from bridge.brokers.rabbitmq.topology_watch import TopologyWatch
from bridge.errors import BrokerError, BrokerUnavailable, TopologyMissing
from bridge.settings import Settings
from bridge.topics import Group

ROUND_SECONDS: Final = 1.0
"""About how often a replica looks at its peers and at the queues."""
RECOUNT_ROUNDS: Final = 3
"""Rounds for which a replica that was left without its part leaves the count."""

_log = structlog.get_logger()


class RabbitSubscriber:
    """A `Subscriber` on RabbitMQ. Made by `open_subscriber`."""

    def __init__(self, settings: Settings, group: str, watch: TopologyWatch) -> None:
        self._settings = settings
        self._group = group
        self._watch = watch
        self._layout = Layout(settings)
        self._look = asyncio.Event()
        self._claims = self._no_claims()
        self._assigned: asyncio.Queue[RabbitLane | None] = asyncio.Queue()
        self._ending = asyncio.Event()
        self._left = asyncio.Event()
        self._away = 0
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
        if not self._ending.is_set():
            self._ending.set()
            self._claims.finish()
            self._assigned.put_nowait(None)
            self._look.set()

    async def leave(self) -> None:
        """Close every lane: what is not acked goes to whoever is next."""
        self.end()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._left.wait(), PROOF_SECONDS + CLOSE_TIMEOUT)
        await self._claims.close()

    async def run(self) -> None:
        """Stay connected and keep the share, until cancelled or ended and disconnected."""
        failures = 0
        while not self._ending.is_set():
            try:
                async with connected(self._settings, f"group {self._group}") as connection:
                    failures = 0
                    await self._serve(connection)
            except BrokerError as error:
                _log.warning(
                    "rabbitmq_unreachable", purpose=f"group {self._group}", reason=str(error)
                )
            except Exception:  # noqa: BLE001 - without this task the replica would stand still
                _log.exception("rabbitmq_subscriber_failed", group=self._group)
            finally:
                self._claims.finish()
            if not self._ending.is_set():
                await asyncio.sleep(RECOVER_SECONDS[min(failures, len(RECOVER_SECONDS) - 1)])
            failures += 1
        self._left.set()

    async def _serve(self, connection: aiormq.Connection) -> None:
        """Look, round after round, until the connection ends."""
        lost = asyncio.Event()
        closing = connection.closing
        closing.add_done_callback(lambda _: lost.set())
        closing.add_done_callback(lambda _: self._look.set())
        self._claims = self._no_claims()
        sharing = Sharing(self._layout.shards)
        control: AbstractChannel | None = None
        while not lost.is_set() and not self._ending.is_set():
            try:
                control = await self._counted(connection, control)
                if control is not None:
                    await self._round(connection, control, sharing)
            except TopologyMissing as error:
                self._watch.raise_alarm(error)
            except BrokerUnavailable as error:
                _log.warning("rabbitmq_round_failed", group=self._group, reason=str(error))
            await self._pause()
        if not lost.is_set():
            await self._leave_group(control)
            # The lanes still need the connection for their acks.
            await lost.wait()

    async def _counted(
        self, connection: aiormq.Connection, control: AbstractChannel | None
    ) -> AbstractChannel | None:
        """The channel for questions, on which this replica is counted; None while it is away."""
        if self._away:
            # Out of the count, so that the others notice a change and share anew.
            self._away -= 1
            if control is not None:
                await close_channel(control)
            return None
        if control is None or control.is_closed:
            with unavailable(f"join the group {self._group}"):
                control = await connection.channel(timeout=RPC_TIMEOUT, publisher_confirms=False)
                await control.basic_consume(
                    self._layout.members(self._group), _ignore, timeout=RPC_TIMEOUT
                )
        return control

    async def _round(
        self, connection: aiormq.Connection, control: AbstractChannel, sharing: Sharing
    ) -> None:
        """One look at peers and queues, and what follows from it."""
        claims = self._claims
        peers = await look_at(control, self._layout.members(self._group))
        sharing.observe(peers.consumer_count or 0, time.monotonic())
        await claims.tidy(self._settings.consume_drain_timeout)
        for surplus in claims.held[sharing.allowed :]:
            surplus.finish()
        free = await claims.free(control)
        held = len(claims.held)
        wanted = sharing.allowed - held - len(claims.unproven)
        if wanted > 0 and free and not self._ending.is_set():
            chosen = self._random.sample(sorted(free), min(wanted, len(free)))
            await claims.claim(connection, chosen, quiet=[n for n in chosen if not free[n]])
        elif sharing.starves(held):
            self._away = RECOUNT_ROUNDS

    async def _pause(self) -> None:
        self._look.clear()
        if not self._ending.is_set():
            with suppress(TimeoutError):
                seconds = ROUND_SECONDS * self._random.uniform(0.7, 1.3)
                await asyncio.wait_for(self._look.wait(), seconds)

    async def _leave_group(self, control: AbstractChannel | None) -> None:
        """Leave the count, drop claims. A hello must not stay behind: it would look like lag."""
        if control is not None:
            await close_channel(control)
        limit = time.monotonic() + PROOF_SECONDS
        while self._claims.greeting and time.monotonic() < limit:
            self._look.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), ROUND_SECONDS)
        await self._claims.withdraw(self._claims.unproven)
        self._left.set()

    def _no_claims(self) -> Claims:
        return Claims(
            self._settings,
            self._group,
            on_active=self._proven,
            on_closed=self._look.set,
        )

    def _proven(self, lane: RabbitLane) -> None:
        self._assigned.put_nowait(lane)
        self._look.set()


async def _ignore(_message: object) -> None:
    """Nothing is ever sent to the queue of members."""


@asynccontextmanager
async def open_subscriber(settings: Settings, group: Group) -> AsyncIterator[RabbitSubscriber]:
    """A replica of a group; see `Broker.subscriber`."""
    async with open_topology(settings) as topology:
        await topology.verify([group])
    watch = TopologyWatch(settings, group)
    subscriber = RabbitSubscriber(settings, group.name, watch)
    running = [
        asyncio.create_task(subscriber.run(), name="rabbitmq-subscriber"),
        asyncio.create_task(watch.run(), name="rabbitmq-topology-watch"),
    ]
    try:
        yield subscriber
    finally:
        await subscriber.leave()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
