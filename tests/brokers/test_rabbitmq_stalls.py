"""A connection to RabbitMQ that stalls in the middle of being made, seen through a TCP proxy."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from bridge.errors import PublishError
from bridge.settings import Settings
from bridge.topics import Group
from tests.brokers.bench import Bench
from tests.services.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.services.rabbitmq import RabbitMQ

CHANNEL_OPEN: Final = b"\x00\x14\x00\x0a"
"""Class and method of the AMQP method by which a client opens a channel."""
RECOVERY_SECONDS: Final = 60.0
LOYALTY: Final = Group("loyalty", frozenset({"contact_optout"}))


class StallingProxy:
    """Passes bytes to RabbitMQ. Armed, it stalls the next connection at its first Channel.Open."""

    def __init__(self, service: RabbitMQ) -> None:
        target = urlsplit(service.url)
        self._host, self._port = target.hostname or "", target.port or 5672
        self._writers: set[asyncio.StreamWriter] = set()
        self._armed = False
        self.stalled = asyncio.Event()

    def cut_and_arm(self) -> None:
        """Cut every connection; the next one will stall."""
        self._armed = True
        for writer in self._writers:
            writer.transport.abort()

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._host, self._port)
        self._writers |= {writer, back}
        try:
            stuck = asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(reader, back, stuck, from_client=True))
                tasks.create_task(self._pump(there, writer, stuck, from_client=False))
        finally:
            self._writers -= {writer, back}
            writer.transport.abort()
            back.transport.abort()

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        stuck: asyncio.Event,
        *,
        from_client: bool,
    ) -> None:
        try:
            while data := await source.read(65536):
                if from_client and self._armed and CHANNEL_OPEN in data:
                    self._armed = False
                    stuck.set()
                    self.stalled.set()
                if not stuck.is_set():
                    sink.write(data)
                    await sink.drain()
        except ConnectionError:
            pass
        if from_client or not stuck.is_set():
            # What the broker does to a stalled connection does not reach the client.
            sink.transport.abort()


@asynccontextmanager
async def proxied(service: RabbitMQ, prefix: str) -> AsyncIterator[tuple[StallingProxy, Bench]]:
    proxy = StallingProxy(service)
    server = await asyncio.start_server(proxy.pass_on, "127.0.0.1", 0)
    url = urlsplit(service.url)
    port = server.sockets[0].getsockname()[1]
    settings = Settings(
        broker_url=SecretStr(
            f"amqp://{url.username}:{url.password}@127.0.0.1:{port}{url.path or '/'}"
        ),
        rabbitmq_management_url=SecretStr(service.management_url),
        rabbitmq_shards=2,
        topic_prefix=prefix,
        publish_timeout=2,
    )
    try:
        yield proxy, Bench(settings)
    finally:
        server.close()
        proxy.cut_and_arm()


@pytest.mark.slow
async def test_a_publisher_whose_new_connection_stalls_makes_another(
    rabbitmq: RabbitMQ, prefix: str
) -> None:
    async with proxied(rabbitmq, prefix) as (proxy, bench):
        await bench.apply(LOYALTY)
        async with bench.publisher() as publisher:
            await publisher.publish([bench.message("before")])
            proxy.cut_and_arm()
            async with asyncio.timeout(RECOVERY_SECONDS):
                await proxy.stalled.wait()

            async def published() -> bool:
                try:
                    await publisher.publish([bench.message("after")])
                except PublishError:
                    return False
                return True

            await eventually(published, "a confirm over a third connection", RECOVERY_SECONDS)


@pytest.mark.slow
async def test_a_replica_whose_new_connection_stalls_makes_another(
    rabbitmq: RabbitMQ, prefix: str
) -> None:
    async with proxied(rabbitmq, prefix) as (proxy, bench):
        await bench.apply(LOYALTY)
        async with bench.publisher() as publisher, bench.replica(LOYALTY) as replica:
            await replica.has_lanes(2)
            proxy.cut_and_arm()
            async with asyncio.timeout(RECOVERY_SECONDS):
                await proxy.stalled.wait()

            async def published() -> bool:
                try:
                    await publisher.publish([bench.message("after")])
                except PublishError:
                    return False
                return True

            await eventually(published, "a confirm", RECOVERY_SECONDS)
            async with asyncio.timeout(RECOVERY_SECONDS):
                await replica.has("after")
