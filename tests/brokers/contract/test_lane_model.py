"""A lane against a model of it: whatever is done in whatever order, it gives what comes next."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from bridge import message as wire
from tests.brokers.bench import Bench, group

if TYPE_CHECKING:
    from bridge.brokers.base import Delivery, Lane, Publisher

STEPS = 40
OPENINGS = 3
HELD = 20
KEY = "1|1"


class Model:
    """What one lane must do, with one key in it.

    Attributes:
        stored: ids in order.
        acked: how many of these are done.
        given: how many were given out since the last start over.
    """

    def __init__(self, bench: Bench, publisher: Publisher, chance: random.Random) -> None:
        self.bench = bench
        self.publisher = publisher
        self.chance = chance
        self.stored: list[str] = []
        self.acked = 0
        self.given = 0
        self.held: list[Delivery] = []
        self.suspended = False

    @property
    def most(self) -> int:
        """A worker has one probe in hand while it sits out an outage, else a batch at most."""
        return 1 if self.suspended else HELD

    def start_over(self) -> None:
        self.given = self.acked
        self.held.clear()

    async def publish(self, lane: Lane) -> None:
        del lane
        ids = [f"{len(self.stored) + n:04}" for n in range(self.chance.randrange(1, 5))]
        await self.publisher.publish([self.bench.message(id_, key=KEY) for id_ in ids])
        self.stored += ids

    async def receive(self, lane: Lane) -> None:
        if self.given == len(self.stored) or len(self.held) >= self.most:
            return
        limit = self.chance.randrange(1, 6)
        async with asyncio.timeout(45):
            taken = await lane.receive(limit)
        assert 1 <= len(taken) <= (1 if self.suspended else limit)
        ids = [delivery.message.text(wire.CE_ID) for delivery in taken]
        assert ids == self.stored[self.given : self.given + len(ids)]
        self.given += len(ids)
        self.held += taken

    async def ack(self, lane: Lane) -> None:
        count = self.chance.randrange(len(self.held) + 1)
        await lane.ack(self.held[:count])
        del self.held[:count]
        self.acked += count

    async def suspend(self, lane: Lane) -> None:
        await lane.suspend()
        self.suspended = True
        self.start_over()

    async def resume(self, lane: Lane) -> None:
        await lane.resume()
        self.suspended = False

    async def step(self, lane: Lane) -> None:
        """One thing that a worker may do."""
        steps = [self.publish, self.receive, self.receive, self.ack, self.ack, self.suspend]
        await self.chance.choice([*steps, self.resume])(lane)

    async def drain(self, lane: Lane) -> None:
        await self.resume(lane)
        while self.acked < len(self.stored):
            await self.receive(lane)
            await lane.ack(self.held)
            self.acked += len(self.held)
            self.held.clear()


async def test_a_lane_gives_what_comes_next_whatever_was_done_before(
    bench: Bench, seed: int
) -> None:
    await bench.apply(group())
    async with bench.publisher() as publisher:
        model = Model(bench, publisher, random.Random(seed))
        for _ in range(OPENINGS):
            async with bench.hand_driven(group()) as hand:
                lane = await hand.lane_of(KEY)
                for _ in range(STEPS):
                    await model.step(lane)
            model.suspended = False
            model.start_over()
        async with bench.hand_driven(group()) as hand:
            await model.drain(await hand.lane_of(KEY))
        await bench.waiting_is(0, group())
    assert await bench.dead("loyalty") == []
