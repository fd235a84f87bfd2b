"""What the contract tests work with: a broker, messages, and replicas that note what they get."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import TYPE_CHECKING

from bridge import message as wire
from bridge.brokers import open_broker
from bridge.brokers.partition import partition_of
from bridge.message import Message
from bridge.topics import Group
from tests.services.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from bridge.brokers.base import (
        Broker,
        DeadLetter,
        Delivery,
        LagEntry,
        Lane,
        Publisher,
        Subscriber,
    )
    from bridge.settings import Settings

LANES = 4
"""Partitions, shards, lanes: what `bench` sets on every broker."""
OPTOUT = "contact_optout"
OPTIN = "contact_optin"
DEADLINE = 45.0
"""Seconds for a condition to come true; generous, since two cores run three brokers."""


def group(name: str = "loyalty", *types: str, tests: bool = False) -> Group:
    """A group of opt-outs and opt-ins, unless told otherwise."""
    return Group(name, frozenset(types or (OPTOUT, OPTIN)), tests)


class Replica:
    """One replica of a group. Notes each delivery, then acks it unless `acks` is false.

    Attributes:
        received: every delivery, in the order received over all lanes.
        lanes: number -> lane, of those in its hands now.
        lost: how many acks were refused because the lane had gone.
    """

    def __init__(self, subscriber: Subscriber, *, acks: bool, limit: int) -> None:
        self.subscriber = subscriber
        self.received: list[Delivery] = []
        self.lanes: dict[int, Lane] = {}
        self.on_delivery: Callable[[Delivery], None] | None = None
        self._acks = acks
        self._limit = limit

    @property
    def ids(self) -> list[str]:
        """The event ids received, in order."""
        return [delivery.message.text(wire.CE_ID) for delivery in self.received]

    async def work(self) -> None:
        """Work every lane that is assigned, until the subscriber ends."""
        async with asyncio.TaskGroup() as tasks:
            async for lane in self.subscriber.lanes():
                tasks.create_task(self._work(lane))

    async def _work(self, lane: Lane) -> None:
        self.lanes[lane.number] = lane
        try:
            while deliveries := await lane.receive(self._limit):
                for delivery in deliveries:
                    self.received.append(delivery)
                    if self.on_delivery is not None:
                        self.on_delivery(delivery)
                if self._acks:
                    await lane.ack(deliveries)
        finally:
            if self.lanes.get(lane.number) is lane:
                del self.lanes[lane.number]
            await lane.close()

    async def has(self, *ids: str) -> None:
        """Wait until all of these ids were received."""

        async def they_are_there() -> bool:
            return set(ids) <= set(self.ids)

        await eventually(they_are_there, f"{len(ids)} ids", DEADLINE)

    async def has_lanes(self, count: int) -> None:
        """Wait until it has exactly so many lanes."""

        async def so_many() -> bool:
            return len(self.lanes) == count

        await eventually(so_many, f"{count} lanes", DEADLINE)


class HandDriven:
    """A replica whose lanes the test works itself."""

    def __init__(self, subscriber: Subscriber) -> None:
        self.subscriber = subscriber
        self._lanes: dict[int, Lane] = {}

    async def gather(self) -> None:
        """Take every lane that is assigned."""
        async for lane in self.subscriber.lanes():
            self._lanes[lane.number] = lane

    async def lane_of(self, key: str) -> Lane:
        """The lane in which messages of this key come."""
        number = partition_of(key.encode(), LANES)

        async def it_is_here() -> bool:
            return number in self._lanes and not self._lanes[number].over.is_set()

        await eventually(it_is_here, f"lane {number}", DEADLINE)
        return self._lanes[number]

    async def close(self) -> None:
        """Close every lane."""
        for lane in self._lanes.values():
            await lane.close()


class Bench:
    """One broker under a prefix of its own."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.topics = settings.topics
        self.broker: Broker = open_broker(settings)

    def message(
        self,
        id_: str = "",
        *,
        key: str = "",
        type_: str = OPTOUT,
        test: bool = False,
        body: bytes = b"",
    ) -> Message:
        """A message as the source makes them."""
        id_ = id_ or uuid.uuid4().hex
        key = key or f"1|{id_}"
        headers = [
            (wire.CE_SPECVERSION, b"1.0"),
            (wire.CE_ID, id_.encode()),
            (wire.CE_SOURCE, b"/dialog-insight/1/1"),
            (wire.CE_TYPE, type_.encode()),
            (wire.CE_PARTITIONKEY, key.encode()),
            (wire.CONTENT_TYPE, b"application/json"),
        ]
        if test:
            headers.append((wire.CE_TEST, b"true"))
        return Message(
            topic=self.topics.test if test else self.topics.of(type_),
            key=key.encode(),
            body=body or b'{"EventUniqueID": "%s"}' % id_.encode(),
            headers=tuple(headers),
        )

    async def apply(self, *groups: Group) -> None:
        async with self.broker.topology() as topology:
            await topology.apply(groups)

    @asynccontextmanager
    async def publisher(self) -> AsyncIterator[Publisher]:
        """A publisher that has confirmed one message (to `malformed`, which no group here reads).

        Kafka and RabbitMQ publishers connect in the background.
        """
        async with self.broker.publisher() as publisher:
            hello = self.message("hello")
            await publisher.publish(
                [Message(self.topics.malformed, hello.key, hello.body, hello.headers)]
            )
            yield publisher

    @asynccontextmanager
    async def replica(
        self, of: Group, *, acks: bool = True, limit: int = 10
    ) -> AsyncIterator[Replica]:
        """A replica at work. Leaving ends it and waits for its lanes."""
        async with self.broker.subscriber(of) as subscriber:
            replica = Replica(subscriber, acks=acks, limit=limit)
            working = asyncio.create_task(replica.work())
            try:
                yield replica
            finally:
                subscriber.end()
                await working

    @asynccontextmanager
    async def hand_driven(self, of: Group) -> AsyncIterator[HandDriven]:
        """A replica whose lanes the test works itself."""
        async with self.broker.subscriber(of) as subscriber:
            replica = HandDriven(subscriber)
            gathering = asyncio.create_task(replica.gather())
            try:
                yield replica
            finally:
                subscriber.end()
                await gathering
                await replica.close()

    async def dead(self, name: str) -> list[DeadLetter]:
        """The dead letters of a group."""
        async with AsyncExitStack() as stack:
            letters = await stack.enter_async_context(self.broker.dead_letters(name))
            found = await stack.enter_async_context(aclosing(letters.read()))
            return [letter async for letter in found]

    async def lag(self, of: Group) -> Sequence[LagEntry]:
        async with self.broker.lag_reader() as reader:
            return await reader.read([of])

    async def waiting_is(self, count: int, of: Group) -> None:
        """Wait until exactly so many messages of the group are not acked."""
        async with self.broker.lag_reader() as reader:

            async def so_many() -> bool:
                known = [entry.messages for entry in await reader.read([of])]
                return None not in known and sum(n or 0 for n in known) == count

            await eventually(so_many, f"{count} messages to wait", DEADLINE)


def first_copies(deliveries: Sequence[Delivery]) -> dict[bytes, list[str]]:
    """Key -> its event ids in the order of their first copies."""
    order: dict[bytes, list[str]] = defaultdict(list)
    for delivery in deliveries:
        id_ = delivery.message.text(wire.CE_ID)
        if id_ not in order[delivery.message.key]:
            order[delivery.message.key].append(id_)
    return dict(order)
