"""What the tests of the Kafka adapter share: clients that are not ours, and patience."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType
from pydantic import SecretStr

from bridge.brokers.kafka.publisher import GroupPublisher
from bridge.errors import PublishError
from bridge.settings import Settings
from tests.brokers.bench import LANES, OPTOUT, Bench
from tests.services.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.services.kafka import Kafka

PARTITIONS = LANES
DEADLINE = 5.0
"""The publish deadline of these tests, in seconds."""
GRACE = 3.0
"""What a busy machine may add to it before a test calls it hanging."""


def bench_on(service: Kafka, prefix: str) -> Bench:
    return Bench(
        Settings(
            broker_url=SecretStr(service.url),
            topic_prefix=prefix,
            kafka_partitions=PARTITIONS,
            publish_timeout=DEADLINE,
            consume_drain_timeout=5.0,
        )
    )


@asynccontextmanager
async def open_publisher(bench: Bench) -> AsyncIterator[GroupPublisher]:
    async with bench.publisher() as publisher:
        assert isinstance(publisher, GroupPublisher)
        yield publisher


async def publishes_again(bench: Bench, publisher: GroupPublisher, id_: str) -> None:
    """Publish until the broker confirms: what was refused meanwhile is tried again."""

    async def confirmed() -> bool:
        try:
            await publisher.publish([bench.message(id_)])
        except PublishError:
            return False
        return True

    await eventually(confirmed, "the publisher to recover", 60)


def headers_of(record: Any) -> dict[str, bytes]:
    """The headers of a record of confluent-kafka, whose annotation says more than it gives."""
    return dict(record.headers() or [])


def stored_ids(bench: Bench, service: Kafka, topic: str = "") -> list[str]:
    """The ids that a foreign client finds in a topic."""
    consumer = Consumer(
        {"bootstrap.servers": service.bootstrap, "group.id": "foreign", "enable.auto.commit": False,
         "enable.partition.eof": True, "auto.offset.reset": "earliest"}
    )  # fmt: skip
    topic = topic or bench.topics.of(OPTOUT)
    found = []
    try:
        consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
        ended = 0
        while ended < PARTITIONS:
            record = consumer.poll(30)
            assert record is not None, "no answer"
            if (error := record.error()) is None:
                found.append(headers_of(record)["ce_id"].decode())
            elif error.code() == KafkaError._PARTITION_EOF:
                ended += 1
    finally:
        consumer.close()
    return found


async def set_on(service: Kafka, topic: str, **configs: str) -> dict[str, str]:
    """Set configs of a topic as somebody else would; gives all of them as they are then."""

    def work() -> dict[str, str]:
        admin = AdminClient({"bootstrap.servers": service.bootstrap})
        entries = [
            ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
            for name, value in configs.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        if entries:
            admin.incremental_alter_configs([resource])[resource].result(30)
        found = admin.describe_configs([resource])[resource].result(30)
        return {name: entry.value for name, entry in found.items()}

    async def taken() -> bool:
        now.update(await asyncio.to_thread(work))
        return all(now[name.replace("_", ".")] == value for name, value in configs.items())

    now: dict[str, str] = {}
    await eventually(taken, f"the configs of {topic}")
    return now
