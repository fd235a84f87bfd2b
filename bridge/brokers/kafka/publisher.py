"""The group publisher: many requests, few produce requests.

`publish` encodes its messages at once into the open group and waits. While earlier groups are out
the open one gathers, without any linger; `handover` takes it when a slot is free.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog
from aiokafka import TopicPartition
from aiokafka.producer.message_accumulator import BatchBuilder

from bridge.brokers.kafka.batches import Batch, Group, Request
from bridge.brokers.kafka.handover import Handover
from bridge.brokers.kafka.producer import MAX_BATCH_BYTES, LivingProducer
from bridge.brokers.kafka.records import BATCH_OVERHEAD, record_size
from bridge.brokers.partition import partition_of
from bridge.errors import PublishRejected, TopologyMissing
from bridge.message import Headers, Message
from bridge.settings import Settings

GROUP_RECORDS: Final = 2000
GROUP_BYTES: Final = 4 * 1024 * 1024
FLUSH_TIMEOUT: Final = 5.0
OPEN_TIMEOUT: Final = 5.0
"""Seconds that opening waits for a first connection."""
_SURELY_FITS: Final = 64 * 1024
"""Bytes of key and value below which no limit is near: headers are cut from the same bytes."""
_TICK: Final = 0.1

Record = tuple[str, bytes, bytes | None, Headers]
"""Topic, key, value (None: a tombstone), headers."""

_log = structlog.get_logger()


class GroupPublisher:
    """A `Publisher` on Kafka. Made by `open_publisher`."""

    def __init__(
        self, settings: Settings, topics: Sequence[str], limits: Callable[[str], int]
    ) -> None:
        self._timeout = settings.publish_timeout
        self._limits = {topic: limits(topic) - BATCH_OVERHEAD for topic in topics}
        self.producer = LivingProducer(settings, topics, self._producer_changed)
        self._open = Group()
        self._sealed: deque[Group] = deque()
        self.handover = Handover(self.producer, self._next_group)
        self._closed = False
        self._waiting: list[Request] = []

    @property
    def last_confirmed(self) -> float | None:
        """See `Publisher`."""
        return self.handover.last_confirmed

    async def publish(self, messages: Sequence[Message]) -> None:
        """See `Publisher`."""
        await self.write([(m.topic, m.key, m.body, m.headers) for m in messages])

    async def write(self, records: Sequence[Record]) -> None:
        """`publish` for records of any kind.

        Raises:
            PublishRejected: certainly nothing of it is stored.
            PublishUnconfirmed: some or all of it may be stored.
        """
        if not records:
            return
        self._refuse(records)
        waiter = asyncio.get_running_loop().create_future()
        request = Request(waiter, time.monotonic() + self._timeout)
        stamp = int(time.time() * 1000)
        for record in records:
            self._append(request, stamp, record)
        self.handover.wake.set()
        self._waiting.append(request)
        await waiter

    def _refuse(self, records: Sequence[Record]) -> None:
        """Everything that can be known before a byte is sent."""
        if self.producer.current is None or self._closed:
            raise PublishRejected("not connected to Kafka")
        counts = self.producer.partitions
        for topic, key, value, headers in records:
            if topic not in counts:
                raise PublishRejected(f"Kafka has no topic {topic}: run `bridge topology apply`")
            if len(key) + len(value or b"") > _SURELY_FITS:
                size = record_size(key, value, headers)
                if size > self._limits[topic]:
                    raise PublishRejected(
                        f"a message of {size} bytes is over the limit of {topic}, "
                        f"{self._limits[topic]} bytes"
                    )

    def _append(self, request: Request, stamp: int, record: Record) -> None:
        topic, key, value, headers = record
        number = partition_of(key, self.producer.partitions[topic])
        group = self._open
        batch = group.open.get((topic, number))
        if batch is None or not batch.append(stamp, key, value, headers):
            batch = Batch(BatchBuilder(MAX_BATCH_BYTES, 0), group)
            batch.append(stamp, key, value, headers)  # the first always fits
            group.open[topic, number] = batch
            group.batches.append((TopicPartition(topic, number), batch))
        batch.records += 1
        if not batch.requests or batch.requests[-1] is not request:
            batch.requests.append(request)
            request.joined()
        group.records += 1
        group.size += len(key) + (0 if value is None else len(value))
        if group.records >= GROUP_RECORDS or group.size >= GROUP_BYTES:
            self._seal()

    def _seal(self) -> None:
        if self._open.batches:
            self._sealed.append(self._open)
            self._open = Group()

    def _next_group(self) -> Group | None:
        if not self._sealed:
            self._seal()
        return self._sealed.popleft() if self._sealed else None

    def _producer_changed(self) -> None:
        if self.producer.current is None:
            self.handover.give_up("the connection to Kafka was built anew")
        self.handover.wake.set()

    async def expire(self) -> None:
        """Answer the requests whose deadline passed. Runs until cancelled.

        One pass for all of them: a timer of its own would be the dearest part of a small request.
        """
        while True:
            await asyncio.sleep(_TICK)
            now = time.monotonic()
            self._waiting = [r for r in self._waiting if not r.waiter.done()]
            for request in self._waiting:
                if request.deadline <= now:
                    request.expire()

    async def survive(self, step: Callable[[], Awaitable[None]]) -> None:
        """Run one of the endless tasks again should it fail: without it nothing would be sent."""
        while True:
            try:
                await step()
            except Exception:  # noqa: BLE001 - whatever it is, the others must be answered
                _log.exception("kafka_publisher_failed", step=step.__name__)
                self.handover.give_up("the publisher failed")
                await asyncio.sleep(_TICK)

    async def flush(self) -> None:
        """Take no more; wait until everything is answered, at most `FLUSH_TIMEOUT`."""
        self._closed = True
        deadline = time.monotonic() + FLUSH_TIMEOUT
        while self._busy() and time.monotonic() < deadline:
            self.handover.wake.set()
            await asyncio.sleep(_TICK / 10)
        self.handover.give_up("the publisher was closed")

    def _busy(self) -> bool:
        return bool(self._sealed or self._open.batches or self.handover.busy)


@asynccontextmanager
async def open_publisher(
    settings: Settings, topics: Sequence[str], limits: Callable[[str], int]
) -> AsyncIterator[GroupPublisher]:
    """A publisher to these topics.

    Args:
        settings: where, and the publish deadline.
        topics: every topic that will be published to.
        limits: max.message.bytes of a topic.

    Raises:
        TopologyMissing: Kafka answers, and does not have all of them.
    """
    publisher = GroupPublisher(settings, topics, limits)
    living = publisher.producer
    tasks = [
        asyncio.create_task(publisher.survive(step), name=f"kafka-publisher-{step.__name__}")
        for step in (
            living.keep,
            publisher.handover.submit,
            publisher.handover.tick,
            publisher.expire,
        )
    ]
    try:
        with suppress(TimeoutError):
            await asyncio.wait_for(living.tried.wait(), OPEN_TIMEOUT)
        missing = [topic for topic in topics if topic not in living.partitions]
        if living.current is not None and missing:
            raise TopologyMissing(
                f"Kafka has no topic {', '.join(missing)}: run `bridge topology apply`"
            )
        yield publisher
    finally:
        await publisher.flush()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
