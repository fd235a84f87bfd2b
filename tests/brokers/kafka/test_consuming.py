"""Acks, recovery, and records that are not ours.

K5 and so on are rows of the list of what aiokafka does by default and loses messages with.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer

from bridge.errors import LaneLost
from tests.brokers.bench import OPTOUT, Bench, group
from tests.brokers.kafka.tools import open_publisher, publishes_again
from tests.services.waiting import eventually

if TYPE_CHECKING:
    from tests.services.kafka import Kafka

SHORTEST_SESSION = 6.0
"""Seconds; Kafka allows no less."""


async def test_nothing_is_committed_that_was_not_acked(bench: Bench) -> None:
    """K6."""
    mine = group()
    await bench.apply(mine)
    async with open_publisher(bench) as publisher:
        await publisher.publish([bench.message(f"{n}", key="1|1") for n in range(10)])
    async with bench.hand_driven(mine) as replica:
        lane = await replica.lane_of("1|1")
        deliveries = await lane.receive(10)
        assert len(deliveries) == 10
        await lane.ack(deliveries[:4])
        await bench.waiting_is(6, mine)
    # Leaving commits nothing either.
    await bench.waiting_is(6, mine)


async def test_acks_of_many_lanes_are_committed_together(bench: Bench) -> None:
    mine = group()
    await bench.apply(mine)
    async with open_publisher(bench) as publisher:
        await publisher.publish([bench.message(f"{n}", key=f"1|{n}") for n in range(300)])
    async with bench.replica(mine, limit=1) as replica:
        await replica.has(*(f"{n}" for n in range(300)))
        await bench.waiting_is(0, mine)


async def test_a_consumer_survives_a_broker_restart_without_loss(
    broken_bench: Bench, fragile: Kafka
) -> None:
    """K5."""
    mine = group()
    await broken_bench.apply(mine)
    async with (
        open_publisher(broken_bench) as publisher,
        broken_bench.replica(mine) as replica,
    ):
        await publisher.publish([broken_bench.message(f"before-{n}") for n in range(50)])
        await replica.has(*(f"before-{n}" for n in range(50)))
        await asyncio.to_thread(fragile.kill)
        await asyncio.to_thread(fragile.start)
        await publishes_again(broken_bench, publisher, "after")
        await replica.has("after")
        await broken_bench.waiting_is(0, mine)


async def test_a_replica_that_stalled_past_its_session_is_told_and_gets_the_work_again(
    bench: Bench,
) -> None:
    """K7, K8: heartbeats share the event loop, and commits of a lost member are refused."""
    mine = group()
    await bench.apply(mine)
    async with open_publisher(bench) as publisher:
        await publisher.publish([bench.message("work", key="1|1")])
    quick = bench.settings.model_copy(update={"kafka_session_timeout": SHORTEST_SESSION})
    async with Bench(quick).hand_driven(mine) as replica:
        lane = await replica.lane_of("1|1")
        held = await lane.receive(1)
        # When the whole process stands still for longer than the broker waits.
        time.sleep(SHORTEST_SESSION + 2)  # noqa: ASYNC251 - the stall is the point
        with pytest.raises(LaneLost):
            await lane.ack(held)
        await lane.close()
        # Then a new lane brings it again.
        again = await (await replica.lane_of("1|1")).receive(1)
        assert [delivery.origin for delivery in again] == [delivery.origin for delivery in held]


async def test_a_consumer_whose_client_broke_joins_anew(bench: Bench) -> None:
    """K8: A failure inside the client must not leave a replica that reads nothing."""
    mine = group()
    await bench.apply(mine)
    async with open_publisher(bench) as publisher, bench.replica(mine) as replica:
        await publisher.publish([bench.message("before")])
        await replica.has("before")
        subscriber = replica.subscriber
        broken = subscriber._consumer  # type: ignore[attr-defined]  # the adapter's own

        async def fail() -> None:
            raise RuntimeError("a bug in the client")

        broken._coordinator.ensure_coordinator_known = fail
        broken._coordinator.request_rejoin()
        await publisher.publish([bench.message("after")])
        await replica.has("after")

        async def is_new() -> bool:
            return subscriber._consumer not in (None, broken)  # type: ignore[attr-defined]  # the same

        await eventually(is_new, "a new client")
        await bench.waiting_is(0, mine)


async def test_records_of_foreign_producers_are_delivered_whatever_they_lack(
    bench: Bench, kafka: Kafka
) -> None:
    mine = group()
    await bench.apply(mine)
    foreign = Producer({"bootstrap.servers": kafka.bootstrap})
    topic = bench.topics.of(OPTOUT)
    foreign.produce(topic, value=b"no key", partition=0)
    foreign.produce(topic, key=b"tombstone", partition=0)
    foreign.produce(topic, value=b"null header", headers=[("a", None), ("ä", b"\xff")], partition=0)
    assert foreign.flush(30) == 0
    async with bench.replica(mine) as replica:

        async def all_there() -> bool:
            return len(replica.received) == 3

        await eventually(all_there, "three records")
    bodies = [delivery.message.body for delivery in replica.received]
    assert bodies == [b"no key", b"", b"null header"]
    assert replica.received[2].message.headers == (("a", b""), ("ä", b"\xff"))


async def test_the_dead_letter_of_a_foreign_record_is_replayed_under_its_own_key(
    bench: Bench, kafka: Kafka
) -> None:
    mine = group()
    await bench.apply(mine)
    foreign = Producer({"bootstrap.servers": kafka.bootstrap})
    foreign.produce(bench.topics.of(OPTOUT), key=b"foreign key", value=b"body")
    assert foreign.flush(30) == 0
    async with (
        bench.broker.dead_letters(mine.name) as letters,
        bench.replica(mine) as replica,
    ):

        async def received(count: int) -> bool:
            return len(replica.received) == count

        await eventually(lambda: received(1), "the record")
        first = replica.received[0]
        # When the same delivery is set aside twice, it is one dead letter.
        await letters.put(first.message, first.origin)
        await letters.put(first.message, first.origin)
        assert [letter.message for letter in await bench.dead(mine.name)] == [first.message]
        assert await letters.replay([first.origin]) == 1
        await eventually(lambda: received(2), "the replay")
    again = replica.received[1].message
    assert (again.key, again.body) == (b"foreign key", b"body")
    assert again.topic == bench.topics.retry(mine.name)
    assert [name for name, _ in again.headers] == ["bridge_replayedtime"]
