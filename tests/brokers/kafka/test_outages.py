"""A Kafka that goes away: every request is answered in time, nothing confirmed is lost.

K1 and so on are rows of the list of what aiokafka does by default and loses messages with.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from bridge.brokers.kafka.publisher import GroupPublisher
from bridge.errors import PublishError, PublishRejected, PublishUnconfirmed
from tests.brokers.kafka.tools import (
    DEADLINE,
    GRACE,
    open_publisher,
    publishes_again,
    stored_ids,
)
from tests.services.waiting import eventually

if TYPE_CHECKING:
    from tests.brokers.bench import Bench
    from tests.services.kafka import Kafka


async def test_a_broker_that_is_down_is_an_error_within_the_deadline_and_then_it_recovers(
    broken_bench: Bench, fragile: Kafka
) -> None:
    """K1, K13."""
    await broken_bench.apply()
    async with open_publisher(broken_bench) as publisher:
        await asyncio.to_thread(fragile.kill)
        try:
            # When many requests come while it is down, then each has its answer in time.
            async with asyncio.timeout(DEADLINE + GRACE):
                outcomes = await asyncio.gather(
                    *(publisher.publish([broken_bench.message(f"down-{n}")]) for n in range(200)),
                    return_exceptions=True,
                )
            assert {isinstance(outcome, PublishError) for outcome in outcomes} == {True}
        finally:
            await asyncio.to_thread(fragile.start)
        await publishes_again(broken_bench, publisher, "up")
    found = await asyncio.to_thread(stored_ids, broken_bench, fragile)
    assert "up" in found


async def test_a_publisher_opens_while_the_broker_is_down_and_connects_later(
    broken_bench: Bench, fragile: Kafka
) -> None:
    await broken_bench.apply()
    await asyncio.to_thread(fragile.kill)
    try:
        async with broken_bench.broker.publisher() as publisher:
            assert isinstance(publisher, GroupPublisher)
            # Nothing can have been stored, and nobody waits for a connection.
            with pytest.raises(PublishRejected):
                await publisher.publish([broken_bench.message("early")])
            assert publisher.last_confirmed is None
            await asyncio.to_thread(fragile.start)
            await publishes_again(broken_bench, publisher, "later")
            assert publisher.last_confirmed is not None
    finally:
        if not fragile.answers():
            await asyncio.to_thread(fragile.start)


async def test_a_frozen_broker_is_unconfirmed_in_time_and_what_it_had_may_appear_later(
    broken_bench: Bench, fragile: Kafka
) -> None:
    """K3."""
    await broken_bench.apply()
    async with open_publisher(broken_bench) as publisher:
        await asyncio.to_thread(fragile.pause)
        try:
            async with asyncio.timeout(DEADLINE + GRACE):
                with pytest.raises(PublishUnconfirmed):
                    await publisher.publish([broken_bench.message("ghost")])
        finally:
            await asyncio.to_thread(fragile.resume)
        await publishes_again(broken_bench, publisher, "after")
    found = await asyncio.to_thread(stored_ids, broken_bench, fragile)
    assert "after" in found


async def test_leaving_while_the_broker_is_frozen_takes_a_bounded_time(
    broken_bench: Bench, fragile: Kafka
) -> None:
    """K1."""
    await broken_bench.apply()
    waiting: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(30):
            async with open_publisher(broken_bench) as publisher:
                await asyncio.to_thread(fragile.pause)
                waiting = asyncio.create_task(publisher.publish([broken_bench.message("stuck")]))
                await asyncio.sleep(0)
            with pytest.raises(PublishUnconfirmed):
                await waiting
    finally:
        await asyncio.to_thread(fragile.resume)


async def test_every_id_confirmed_before_during_and_after_a_kill_is_found(
    broken_bench: Bench, fragile: Kafka
) -> None:
    await broken_bench.apply()
    confirmed: list[str] = []
    stop = asyncio.Event()

    async def publish_on(publisher: GroupPublisher, worker: int) -> None:
        number = 0
        while not stop.is_set():
            ids = [f"{worker}-{number + n}" for n in range(5)]
            number += 5
            with suppress(PublishError):
                await publisher.publish([broken_bench.message(id_) for id_ in ids])
                confirmed.extend(ids)
            await asyncio.sleep(0.005)

    async def more_than(count: int) -> None:
        async def enough() -> bool:
            return len(confirmed) > count

        await eventually(enough, "more confirmed ids", 60)

    async with open_publisher(broken_bench) as publisher, asyncio.TaskGroup() as tasks:
        for worker in range(8):
            tasks.create_task(publish_on(publisher, worker))
        await more_than(200)
        await asyncio.to_thread(fragile.kill)
        await asyncio.to_thread(fragile.start)
        await more_than(len(confirmed) + 200)
        stop.set()
    missing = set(confirmed) - set(await asyncio.to_thread(stored_ids, broken_bench, fragile))
    assert not missing


async def test_a_producer_whose_sender_died_is_built_anew(bench: Bench) -> None:
    """K4: An unexpected exception ends aiokafka's sender task; every later send fails."""
    await bench.apply()
    async with open_publisher(bench) as publisher:
        broken = publisher.producer.current
        assert broken is not None

        async def fail(*_: object, **__: object) -> None:
            raise RuntimeError("a bug in the client")

        broken.client.send = fail
        with pytest.raises(PublishUnconfirmed):
            await publisher.publish([bench.message("lost")])
        await publishes_again(bench, publisher, "found")
        assert publisher.producer.current is not broken
