"""What the bridge stored on Kafka, read by clients that are not ours."""

from __future__ import annotations

import asyncio
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

import confluent_kafka
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from bridge.topics import KNOWN_TYPES, Topics
from tests.acceptance.foreign import need
from tests.acceptance.posted import MALFORMED, ODD, check_events, post_everything
from tests.services.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.acceptance.installation import Installation
    from tests.services.kafka import Kafka

PARTITIONS = 5
"""No power of two: with one, the sign of the hash would not show."""
CONTACTS = 40
on_kafka = pytest.mark.parametrize("system", ["kafka"], indirect=True)


class Record(NamedTuple):
    """One record as a Kafka client has it."""

    topic: str
    partition: int
    key: bytes
    headers: dict[str, bytes]
    value: bytes


async def run_ingress(installation: Installation) -> None:
    installation.environment["BRIDGE_KAFKA_PARTITIONS"] = str(PARTITIONS)
    installation.run("topology", "apply")
    await asyncio.to_thread(installation.start_ingress)


def kcat(*arguments: str) -> bytes:
    """What kcat says."""
    return subprocess.run(
        ["kcat", "-q", *arguments], capture_output=True, timeout=60, check=True
    ).stdout


@on_kafka
async def test_kcat_reads_every_body_byte_for_byte(
    installation: Installation, kafka: Kafka, prefix: str
) -> None:
    need("kcat")
    await run_ingress(installation)
    posted = await post_everything(installation, contacts=0)

    def bodies(topic: str) -> list[bytes]:
        """Each written as its size, a line feed, and so many bytes."""
        rest = kcat(
            *("-b", kafka.bootstrap, "-C", "-t", f"{prefix}.{topic}", "-o", "beginning", "-e"),
            *("-f", "%S\n%s"),
        )
        found = []
        while rest:
            size, _, rest = rest.partition(b"\n")
            found.append(rest[: int(size)])
            rest = rest[int(size) :]
        return found

    for type_ in KNOWN_TYPES:
        expected = posted.of_optout() if type_ == "contact_optout" else [posted.real[type_]]
        assert sorted(bodies(type_)) == sorted(expected)
    assert sorted(bodies("test")) == sorted(posted.tests.values())
    assert bodies("malformed") == [MALFORMED]
    assert bodies("unknown") == []


def read_all(kafka: Kafka, topics: Sequence[str], count: int) -> list[Record]:
    """Read with librdkafka as a group of its own until so many are there."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": f"{topics[0]}.foreign",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    records: list[Record] = []

    def complete() -> bool:
        for message in consumer.consume(num_messages=count, timeout=0.5):
            assert message.error() is None
            pairs: Any = message.headers() or []
            headers = {name: value for name, value in pairs if isinstance(value, bytes)}
            assert len(headers) == len(pairs)
            records.append(
                Record(
                    message.topic() or "",
                    message.partition() or 0,
                    bytes(message.key() or b""),
                    headers,
                    bytes(message.value() or b""),
                )
            )
        return len(records) >= count

    try:
        consumer.subscribe(list(topics))
        until(complete, f"{count} records", 60)
    finally:
        consumer.close()
    return records


def partitions_of_librdkafka(kafka: Kafka, topic: str, keys: set[bytes]) -> dict[bytes, int]:
    """Where librdkafka puts these keys with the Java client's algorithm."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(30)
    found: dict[bytes, int] = {}

    def note(error: Any, message: Any) -> None:
        assert error is None
        found[message.key()] = message.partition()

    producer = confluent_kafka.Producer(
        {"bootstrap.servers": kafka.bootstrap, "partitioner": "murmur2"}
    )
    for key in keys:
        producer.produce(topic, key=key, value=b"", on_delivery=note)
    assert producer.flush(30) == 0
    return found


@on_kafka
async def test_confluent_kafka_reads_every_kind_where_a_java_producer_would_have_put_it(
    installation: Installation, kafka: Kafka, prefix: str
) -> None:
    await run_ingress(installation)
    topics = Topics(prefix)
    posted = await post_everything(installation, contacts=CONTACTS)

    records = await asyncio.to_thread(read_all, kafka, topics.published, len(posted.everything()))

    # then: every body is there once, byte for byte, in the topic of its type
    assert sorted(record.value for record in records) == posted.everything()
    by_body = {record.value: record for record in records}
    for type_, body in posted.real.items():
        assert by_body[body].topic == topics.of(type_)
    # and: tests are in the topic of tests and nowhere else
    tests = [record for record in records if record.headers.get("ce_test") == b"true"]
    assert sorted(record.value for record in tests) == sorted(posted.tests.values())
    assert {record.topic for record in tests} == {topics.test}
    assert all("ce_test" not in record.headers for record in records if record not in tests)
    # and: the key is the contact, its partition that of the Java client
    assert by_body[posted.contacts[0]].key == b"1234|100"
    assert all(record.headers["ce_partitionkey"] == record.key for record in records)
    where = await asyncio.to_thread(
        partitions_of_librdkafka, kafka, f"{prefix}.foreign", {record.key for record in records}
    )
    assert {record.key: record.partition for record in records} == where
    assert len(set(where.values())) == PARTITIONS
    # and: those of one contact are in the order posted
    of_77 = [
        r.value for r in records if r.key == b"1234|77" and r.topic.endswith(".contact_optout")
    ]
    assert of_77 == list(ODD.values())[:5]


@on_kafka
async def test_the_cloudevents_sdk_reads_records(
    installation: Installation, kafka: Kafka, prefix: str
) -> None:
    await run_ingress(installation)
    topics = Topics(prefix)
    posted = await post_everything(installation, contacts=0)
    records = await asyncio.to_thread(read_all, kafka, topics.published, len(posted.everything()))
    events = {
        record.value: from_kafka_event(KafkaMessage(record.headers, record.key, record.value))
        for record in records
    }
    check_events(posted, events)
    without_time = next(r for r in records if r.value == ODD["ids that are text"])
    assert "ce_time" not in without_time.headers
