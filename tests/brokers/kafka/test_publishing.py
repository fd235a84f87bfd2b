"""Requests that must not hurt each other, and what a refusal means.

K2 and so on are rows of the list of what aiokafka does by default and loses messages with.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest
from confluent_kafka.admin import AdminClient

from bridge.brokers.partition import partition_of
from bridge.errors import PublishError, PublishRejected, PublishUnconfirmed
from bridge.message import MAX_MESSAGE_BYTES
from tests.brokers.bench import OPTIN, OPTOUT, Bench
from tests.brokers.kafka.tools import (
    DEADLINE,
    GRACE,
    PARTITIONS,
    open_publisher,
    set_on,
    stored_ids,
)
from tests.services.waiting import eventually

if TYPE_CHECKING:
    from tests.services.kafka import Kafka


async def test_a_record_that_only_the_broker_refuses_leaves_its_partition_alive(
    bench: Bench, kafka: Kafka
) -> None:
    """K2, K10: With idempotence on, the partition would be dead from here on."""
    await bench.apply()
    # Given a topic whose limit somebody lowered behind our back.
    await set_on(kafka, bench.topics.of(OPTOUT), max_message_bytes="20000")
    async with open_publisher(bench) as publisher:
        large = bench.message("large", key="1|1", body=b"x" * 50_000)
        for number in range(3):
            with pytest.raises(PublishError, match="MessageSizeTooLarge"):
                await publisher.publish([large])
            await publisher.publish([bench.message(f"small-{number}", key="1|1")])
    found = await asyncio.to_thread(stored_ids, bench, kafka)
    assert found == ["small-0", "small-1", "small-2"]


async def test_a_rejected_part_makes_a_request_unconfirmed_when_another_part_is_stored(
    bench: Bench, kafka: Kafka
) -> None:
    await bench.apply()
    await set_on(kafka, bench.topics.of(OPTOUT), max_message_bytes="20000")
    keys = iter(f"1|{number}" for number in range(100))
    one = next(keys)
    other = next(
        key
        for key in keys
        if partition_of(key.encode(), PARTITIONS) != partition_of(one.encode(), PARTITIONS)
    )
    async with open_publisher(bench) as publisher:
        with pytest.raises(PublishUnconfirmed):
            await publisher.publish(
                [bench.message("a", key=one), bench.message("b", key=other, body=b"x" * 50_000)]
            )
    assert await asyncio.to_thread(stored_ids, bench, kafka) == ["a"]


async def test_a_topic_that_is_not_there_is_refused_at_once_and_blocks_nobody(
    bench: Bench,
) -> None:
    """`send_batch` alone would hold up every topic for its whole timeout."""
    await bench.apply()
    async with open_publisher(bench) as publisher:
        nowhere = bench.message("nowhere", type_=OPTOUT)
        nowhere = type(nowhere)("nowhere", nowhere.key, nowhere.body, nowhere.headers)
        refused = asyncio.create_task(publisher.publish([nowhere]))
        await publisher.publish([bench.message("somewhere")])
        # The one that was begun first has ended by the time the second is confirmed.
        assert refused.done()
        with pytest.raises(PublishRejected, match="bridge topology apply"):
            await refused
        # Asking for a topic by name would create it on a broker with auto-create on.
        assert publisher.producer.current is not None
        assert publisher.producer.current.client._topics == set()


async def test_a_topic_deleted_under_a_running_publisher_fails_only_its_own_requests(
    bench: Bench, kafka: Kafka
) -> None:
    await bench.apply()
    async with open_publisher(bench) as publisher:
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        topic = bench.topics.of(OPTIN)
        await asyncio.to_thread(admin.delete_topics([topic])[topic].result)

        async def it_is_gone() -> bool:
            return topic not in (await asyncio.to_thread(admin.list_topics, timeout=10)).topics

        await eventually(it_is_gone, f"{topic} to go")
        # Given a client that has heard of it: it would wait for the topic, and all others with it.
        assert publisher.producer.current is not None
        await publisher.producer.current.client.force_metadata_update()

        async def failed(id_: str) -> bool:
            try:
                await publisher.publish([bench.message(id_, type_=OPTIN)])
            except PublishError:
                return True
            return False

        async with asyncio.timeout(DEADLINE + GRACE):
            gone = asyncio.create_task(failed("gone"))
            for number in range(20):
                await publisher.publish([bench.message(f"{number}")])
            # All twenty were confirmed one after the other while the first still tries.
            assert not gone.done()
            assert await gone


async def test_a_cancelled_caller_cancels_nobody_else_and_not_the_write(
    bench: Bench, kafka: Kafka
) -> None:
    await bench.apply()
    async with open_publisher(bench) as publisher:
        # Given two requests in one batch.
        callers = [
            asyncio.create_task(publisher.publish([bench.message(id_, key="1|1")]))
            for id_ in ("cancelled", "other")
        ]
        await asyncio.sleep(0)
        callers[0].cancel()
        await callers[1]
        assert callers[0].cancelled()
    assert await asyncio.to_thread(stored_ids, bench, kafka) == ["cancelled", "other"]


async def test_a_group_larger_than_its_cap_is_stored_whole_and_in_order(
    bench: Bench, kafka: Kafka
) -> None:
    await bench.apply()
    async with open_publisher(bench) as publisher:
        await asyncio.gather(
            *(
                publisher.publish(
                    [bench.message(f"{n}-{m}", key="1|1", body=b"x" * 400) for m in range(500)]
                )
                for n in range(12)
            )
        )
    found = await asyncio.to_thread(stored_ids, bench, kafka)
    assert found == [f"{n}-{m}" for n in range(12) for m in range(500)]


async def test_requests_of_any_size_mixed_are_each_stored_once_and_in_order_per_key(
    bench: Bench, kafka: Kafka, seed: int
) -> None:
    await bench.apply()
    chance = random.Random(seed)
    sent: list[str] = []
    async with open_publisher(bench) as publisher:
        calls = []
        for n in range(60):
            size = chance.choice((10, 400, 100_000, MAX_MESSAGE_BYTES - 1_000))
            ids = [f"{n}-{m}" for m in range(chance.randrange(1, 4))]
            sent += ids
            calls.append(
                publisher.publish([bench.message(id_, key="1|1", body=b"x" * size) for id_ in ids])
            )
        await asyncio.gather(*calls)
    assert await asyncio.to_thread(stored_ids, bench, kafka) == sent
