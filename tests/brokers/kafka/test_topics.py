"""Topics as they must be, read by clients that are not ours."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer, TopicPartition

from bridge.brokers.kafka import KafkaBroker
from bridge.brokers.partition import partition_of
from tests.brokers.bench import OPTOUT, Bench
from tests.brokers.kafka.tools import (
    PARTITIONS,
    headers_of,
    open_publisher,
    set_on,
)

if TYPE_CHECKING:
    from tests.services.kafka import Kafka


async def test_foreign_clients_read_the_same_bytes_and_a_cloudevents_sdk_parses_them(
    bench: Bench, kafka: Kafka
) -> None:
    from cloudevents.core.bindings.kafka import (  # noqa: PLC0415 - only this test needs it
        KafkaMessage,
        from_binary_event,
    )

    await bench.apply()
    body = '{"EventUniqueID":"e1",  "é": 1.0e2, "dup":1,"dup":2}\n'.encode()
    sent = bench.message("e1", key="7|42", body=body)
    async with open_publisher(bench) as publisher:
        await publisher.publish([sent])

    def read() -> tuple[bytes | None, bytes | None, dict[str, bytes]]:
        consumer = Consumer(
            {"bootstrap.servers": kafka.bootstrap, "group.id": "r", "enable.auto.commit": False}
        )
        try:
            number = partition_of(b"7|42", PARTITIONS)
            consumer.assign([TopicPartition(sent.topic, number, 0)])
            record = consumer.consume(1, timeout=30)[0]
            return record.key(), record.value(), headers_of(record)
        finally:
            consumer.close()

    key, value, headers = await asyncio.to_thread(read)
    assert (key, value) == (b"7|42", body)
    assert tuple(headers.items()) == sent.headers
    event = from_binary_event(KafkaMessage(headers=headers, key=key, value=value or b""))
    assert event.get_id() == "e1"
    assert event.get_type() == OPTOUT
    assert event.get_extension("partitionkey") == "7|42"


async def test_another_number_of_partitions_is_refused_with_what_to_set(
    bench: Bench, kafka: Kafka
) -> None:
    await bench.apply()
    other = KafkaBroker(bench.settings.model_copy(update={"kafka_partitions": PARTITIONS + 1}))
    async with other.topology() as topology:
        for refused in (topology.plan([]), topology.verify([])):
            with pytest.raises(Exception, match=f"BRIDGE_KAFKA_PARTITIONS={PARTITIONS}"):
                await refused
    del kafka


async def test_a_setting_changed_behind_our_back_is_planned_and_mended_and_others_stay(
    bench: Bench, kafka: Kafka
) -> None:
    await bench.apply()
    topic = bench.topics.of(OPTOUT)
    await set_on(kafka, topic, unclean_leader_election_enable="true", segment_ms="3600000")
    async with bench.broker.topology() as topology:
        plan = await topology.plan([])
        assert [(change.action, change.name) for change in plan] == [("alter", topic)]
        assert "unclean.leader.election.enable=false" in plan[0].detail
        await topology.apply([])
        assert await topology.plan([]) == []
    now = await set_on(kafka, topic)
    assert now["segment.ms"] == "3600000"
    assert now["unclean.leader.election.enable"] == "false"


async def test_topics_whose_confirm_means_too_little_are_said_aloud_or_refused(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    await bench.apply()
    capsys.readouterr()
    async with bench.broker.publisher():
        pass
    assert "kafka_not_replicated" in "".join(capsys.readouterr())
