"""Key -> partition must be the Java client's: foreign producers share our topics."""

import random
import uuid

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from pydantic import SecretStr

from bridge.brokers.kafka import KafkaBroker
from bridge.brokers.partition import murmur2, partition_of
from bridge.settings import Settings
from tests.services.kafka import Kafka

PARTITIONS = 7


@pytest.mark.parametrize(
    ("key", "java"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_equals_the_vectors_of_the_java_clients_own_test(key: bytes, java: int) -> None:
    assert murmur2(key) == java & 0xFFFFFFFF


async def test_a_foreign_producer_with_the_java_partitioner_chooses_the_same_partitions(
    kafka: Kafka, prefix: str, seed: int
) -> None:
    # Given a topic, and keys of every length, our own shape among them.
    settings = Settings(
        broker_url=SecretStr(kafka.url), topic_prefix=prefix, kafka_partitions=PARTITIONS
    )
    async with KafkaBroker(settings).topology() as topology:
        await topology.apply([])
    chance = random.Random(seed)
    keys = [b"%d|%d" % (chance.randrange(500), chance.randrange(10**9)) for _ in range(200)]
    keys += [chance.randbytes(length) for length in range(1, 300)]

    # When librdkafka publishes them as the Java client would.
    producer = Producer(
        {"bootstrap.servers": kafka.bootstrap, "partitioner": "murmur2_random", "linger.ms": 50}
    )
    topic = settings.topics.unknown
    for key in keys:
        producer.produce(topic, key=key, value=key)
    assert producer.flush(30) == 0

    # Then every one lies where we would have put it.
    consumer = Consumer(
        {"bootstrap.servers": kafka.bootstrap, "group.id": uuid.uuid4().hex,
         "enable.auto.commit": False}
    )  # fmt: skip
    try:
        consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
        seen: dict[bytes | None, int | None] = {}
        while len(seen) < len(set(keys)):
            for message in consumer.consume(500, timeout=10) or pytest.fail("no more records"):
                assert message.error() is None
                seen[message.key()] = message.partition()
    finally:
        consumer.close()
    assert seen == {key: partition_of(key, PARTITIONS) for key in keys}
