"""From what the sender posts to a consumer at work: source, embedded log, worker."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from bridge.brokers import open_broker
from bridge.brokers.base import Broker, DeadLetter, Publisher
from bridge.settings import Settings
from bridge.sources.dialog_insight import DialogInsight
from consumers.consumer import Consumer
from consumers.worker import Worker
from tests.services.waiting import eventually


class Pipeline:
    """One consumer at work on the embedded log."""

    def __init__(
        self, consumer: Consumer, settings: Settings, broker: Broker, publisher: Publisher
    ) -> None:
        self._consumer = consumer
        self._settings = settings
        self._broker = broker
        self._publisher = publisher

    async def post(self, notifications: Sequence[dict[str, Any]]) -> None:
        """Take a request's array, as the ingress does."""
        source = DialogInsight(self._settings.topics)
        body = json.dumps(notifications).encode()
        await self._publisher.publish(source.messages(body, datetime.now(UTC)))

    async def waiting(self) -> int:
        """How many messages the group has not acked."""
        async with self._broker.lag_reader() as reader:
            return sum(each.messages or 0 for each in await reader.read([self._consumer.group]))

    async def all_acked(self) -> None:
        async def none_waits() -> bool:
            return await self.waiting() == 0

        await eventually(none_waits, "every message to be acked")

    async def dead(self) -> list[DeadLetter]:
        async with (
            self._broker.dead_letters(self._consumer.name) as letters,
            aclosing(letters.read()) as found,
        ):
            return [letter async for letter in found]


@asynccontextmanager
async def at_work(consumer: Consumer, settings: Settings) -> AsyncIterator[Pipeline]:
    """A worker that runs `consumer`; drained on leaving."""
    broker, stop = open_broker(settings), asyncio.Event()
    async with broker.topology() as topology:
        await topology.apply([consumer.group])
    async with broker.publisher() as publisher:
        worker = asyncio.create_task(Worker(consumer, broker, settings).run(stop))
        try:
            yield Pipeline(consumer, settings, broker, publisher)
        finally:
            stop.set()
            await worker
