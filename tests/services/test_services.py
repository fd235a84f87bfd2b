"""The services are real: they store, die, come back and freeze, in each way of having them."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aio_pika
import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.services import docker
from tests.services import kafka as kafka_service
from tests.services import postgres as postgres_service
from tests.services import rabbitmq as rabbitmq_service
from tests.services.service import Service, Unobtainable
from tests.services.waiting import eventually, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from tests.services.kafka import Kafka
    from tests.services.postgres import Postgres
    from tests.services.rabbitmq import RabbitMQ
    from tests.services.workspace import Workspace

WAYS = ["local", "docker"]


def start(way: str, module: ModuleType, workspace: Workspace) -> Iterator[Service]:
    """One service in one way; a way that is not here is skipped, in CI too: one is enough."""
    skip_without(way, module.IMAGE)
    make: Callable[[Workspace], Service] = module.in_docker if way == "docker" else module.local
    try:
        service = make(workspace)
    except Unobtainable as reason:
        pytest.skip(str(reason))
    service.start()
    yield service
    service.discard()


def skip_without(way: str, image: str) -> None:
    if way == "docker" and (os.environ.get(docker.WAY) == "local" or not docker.usable(image)):
        pytest.skip(f"no running Docker engine can have {image}")


@pytest.fixture(scope="module", params=WAYS)
def a_kafka(request: pytest.FixtureRequest, workspace: Workspace) -> Iterator[Service]:
    yield from start(request.param, kafka_service, workspace)


@pytest.fixture(scope="module", params=WAYS)
def a_rabbitmq(request: pytest.FixtureRequest, workspace: Workspace) -> Iterator[Service]:
    yield from start(request.param, rabbitmq_service, workspace)


@pytest.fixture(scope="module", params=WAYS)
def a_postgres(request: pytest.FixtureRequest, workspace: Workspace) -> Iterator[Service]:
    yield from start(request.param, postgres_service, workspace)


async def produce(kafka: Kafka, topic: str, value: bytes) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all")
    await producer.start()
    await producer.send_and_wait(topic, value)
    await producer.stop()


async def consume(kafka: Kafka, topic: str) -> bytes:
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka.bootstrap, group_id=topic, auto_offset_reset="earliest"
    )
    await consumer.start()
    record = await asyncio.wait_for(consumer.getone(), 20)
    await consumer.stop()
    return bytes(record.value)


async def publish(rabbitmq: RabbitMQ, queue: str, body: bytes) -> None:
    async with await aio_pika.connect(rabbitmq.url) as connection:
        channel = await connection.channel(publisher_confirms=True)
        await channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, routing_key=queue)


async def fetch(rabbitmq: RabbitMQ, queue: str) -> bytes:
    async with await aio_pika.connect(rabbitmq.url) as connection:
        channel = await connection.channel()
        source = await channel.get_queue(queue)
        bodies: list[bytes] = []

        async def one_arrived() -> bool:
            message = await source.get(fail=False, timeout=30)
            if message is not None:
                await message.ack()
                bodies.append(message.body)
            return bool(bodies)

        await eventually(one_arrived, f"a message in {queue}")
        return bodies[0]


def refuses(url: str) -> bool:
    """Nobody listens at the address."""
    address = urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((address.hostname, address.port)) != 0


async def test_kafka_stores_and_returns(a_kafka: Kafka, prefix: str) -> None:
    await produce(a_kafka, prefix, b"one")
    assert await consume(a_kafka, prefix) == b"one"


async def test_kafka_keeps_its_records_over_a_kill(a_kafka: Kafka, prefix: str) -> None:
    await produce(a_kafka, prefix, b"two")
    a_kafka.kill()
    assert refuses(a_kafka.url)
    a_kafka.restart()
    assert await consume(a_kafka, prefix) == b"two"


async def test_kafka_keeps_its_records_over_a_restart(a_kafka: Kafka, prefix: str) -> None:
    await produce(a_kafka, prefix, b"three")
    a_kafka.restart()
    assert await consume(a_kafka, prefix) == b"three"


async def test_rabbitmq_stores_and_returns(a_rabbitmq: RabbitMQ, prefix: str) -> None:
    await publish(a_rabbitmq, prefix, b"one")
    assert await fetch(a_rabbitmq, prefix) == b"one"


async def test_rabbitmq_keeps_its_messages_over_a_kill(a_rabbitmq: RabbitMQ, prefix: str) -> None:
    await publish(a_rabbitmq, prefix, b"two")
    a_rabbitmq.settle()
    a_rabbitmq.kill()
    assert refuses(a_rabbitmq.url)
    a_rabbitmq.restart()
    assert await fetch(a_rabbitmq, prefix) == b"two"


async def test_rabbitmq_keeps_its_messages_over_a_restart(
    a_rabbitmq: RabbitMQ, prefix: str
) -> None:
    await publish(a_rabbitmq, prefix, b"three")
    a_rabbitmq.restart()
    assert await fetch(a_rabbitmq, prefix) == b"three"


async def test_rabbitmq_shows_its_queues_to_the_management_api(
    a_rabbitmq: RabbitMQ, prefix: str
) -> None:
    await publish(a_rabbitmq, prefix, b"four")
    address = urlsplit(a_rabbitmq.management_url)
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    base = f"http://{address.hostname}:{address.port}"
    assert address.username is not None
    assert address.password is not None
    passwords.add_password(None, base, address.username, address.password)
    opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(passwords))
    with opener.open(f"{base}/api/queues/%2F/{prefix}", timeout=10) as answer:
        assert json.load(answer)["type"] == "quorum"


def test_rabbitmq_takes_commands(a_rabbitmq: RabbitMQ) -> None:
    a_rabbitmq.control("stop_app")
    assert not a_rabbitmq.answers(1)
    a_rabbitmq.control("start_app")
    until(a_rabbitmq.answers, "RabbitMQ to answer again")


def test_postgres_answers(a_postgres: Postgres) -> None:
    with psycopg.connect(a_postgres.url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


@pytest.mark.parametrize("how", ["kill", "restart"])
def test_postgres_keeps_its_rows(a_postgres: Postgres, how: str) -> None:
    with psycopg.connect(a_postgres.url) as connection:
        connection.execute("drop table if exists kept")
        connection.execute("create table kept as select 2 as number")
    if how == "kill":
        a_postgres.kill()
        assert refuses(a_postgres.url)
    a_postgres.restart()
    with psycopg.connect(a_postgres.url) as connection:
        assert connection.execute("select number from kept").fetchone() == (2,)


def frozen_and_thawed(service: Service) -> None:
    service.pause()
    assert not refuses(service.url)  # the kernel still accepts, nobody answers
    assert not service.answers(1)
    service.resume()
    assert service.answers(10)


def test_kafka_freezes(a_kafka: Kafka) -> None:
    frozen_and_thawed(a_kafka)


def test_rabbitmq_freezes(a_rabbitmq: RabbitMQ) -> None:
    frozen_and_thawed(a_rabbitmq)


def test_postgres_freezes(a_postgres: Postgres) -> None:
    frozen_and_thawed(a_postgres)


def test_the_backends_of_postgres_freeze_too(a_postgres: Postgres) -> None:
    with ThreadPoolExecutor() as threads, psycopg.connect(a_postgres.url) as connection:
        a_postgres.pause()
        answer = threads.submit(connection.execute, "select 2")
        with pytest.raises(TimeoutError):
            answer.result(1)
        a_postgres.resume()
        assert answer.result(10).fetchone() == (2,)
