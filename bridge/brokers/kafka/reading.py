"""Reading topics without a group: all that lies in one now, or what comes from now on."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from bridge.brokers.base import Delivery
from bridge.brokers.kafka.connection import CLOSE_TIMEOUT, client_arguments, unavailable, within
from bridge.brokers.kafka.records import delivery_of
from bridge.errors import BrokerUnavailable, TopologyMissing
from bridge.settings import Settings

_POLL_MS: Final = 500
_STALL_TIMEOUT: Final = 15.0
"""Seconds without any record after which reading to the end is given up."""


@asynccontextmanager
async def reader(settings: Settings, **arguments: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """A started consumer of no group. Positions are the caller's, nothing is committed.

    Raises:
        BrokerUnavailable: not reachable.
    """
    consumer = AIOKafkaConsumer(
        **client_arguments(settings),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        fetch_max_wait_ms=_POLL_MS,
        **arguments,
    )
    try:
        with unavailable("connect"):
            await consumer.start()
        yield consumer
    finally:
        await within(CLOSE_TIMEOUT, consumer.stop())


async def partitions_of(consumer: AIOKafkaConsumer, topics: Sequence[str]) -> list[TopicPartition]:
    """Every partition of these topics.

    Raises:
        TopologyMissing: a topic is not there.
        BrokerUnavailable: it cannot be known now.
    """
    with unavailable("read the list of topics"):
        metadata = await consumer._client.fetch_all_metadata()  # noqa: SLF001 - `topics` hides a failure
    found: list[TopicPartition] = []
    for topic in topics:
        numbers = metadata.partitions_for_topic(topic)
        if not numbers:
            raise TopologyMissing(f"Kafka has no topic {topic}: run `bridge topology apply`")
        found.extend(TopicPartition(topic, number) for number in sorted(numbers))
    return found


async def scan(settings: Settings, topic: str) -> AsyncGenerator[ConsumerRecord, None]:
    """Everything that lies in a topic now, each partition in its order; then it ends.

    Raises:
        TopologyMissing: the topic is not there.
        BrokerUnavailable: not reachable, or it stopped answering.
    """
    async with reader(settings) as consumer:
        partitions = await partitions_of(consumer, [topic])
        with unavailable(f"read {topic}"):
            ends = await consumer.end_offsets(partitions)
            begins = await consumer.beginning_offsets(partitions)
            open_ = {tp for tp in partitions if begins[tp] < ends[tp]}
            if not open_:
                return
            consumer.assign(open_)
            for tp in open_:
                consumer.seek(tp, begins[tp])
        heard = time.monotonic()
        while open_:
            with unavailable(f"read {topic}"):
                batches = await consumer.getmany(timeout_ms=_POLL_MS)
            for tp, records in batches.items():
                heard = time.monotonic()
                for record in records:
                    if record.offset < ends[tp]:
                        yield record
            with unavailable(f"read {topic}"):
                # Not the last record's offset: compaction and transactions leave gaps.
                open_ = {tp for tp in open_ if await consumer.position(tp) < ends[tp]}
            if time.monotonic() - heard > _STALL_TIMEOUT:
                raise BrokerUnavailable(f"Kafka: cannot read {topic}: no answer")


async def tail(settings: Settings, topics: Sequence[str]) -> AsyncGenerator[Delivery, None]:
    """What is published to these topics from now on. The client reconnects by itself.

    Raises:
        TopologyMissing: a topic is not there.
        BrokerUnavailable: not reachable at start, or refused.
    """
    async with reader(settings) as consumer:
        partitions = await partitions_of(consumer, topics)
        with unavailable("read the newest messages"):
            ends = await consumer.end_offsets(partitions)
            consumer.assign(partitions)
            for tp, offset in ends.items():
                consumer.seek(tp, offset)
        while True:
            with unavailable("read the newest messages"):
                batches = await consumer.getmany(timeout_ms=_POLL_MS)
            records = [record for batch in batches.values() for record in batch]
            for record in sorted(records, key=lambda record: record.timestamp):
                yield delivery_of(record)
