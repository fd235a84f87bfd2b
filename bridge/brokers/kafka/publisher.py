"""The group publisher: many requests, few produce requests, one batch at a time per partition.

`publish` encodes its messages at once into the open group and waits. One task hands groups over:
at most `GROUPS_OUT` are out, so that one is at work while the next travels, and the one after
gathers without any linger. Each partition has a queue of its own with one batch out, which keeps
the order of a key whatever the client retries, and keeps a partition without a leader, or on a
dead broker, from holding up the others: a slow partition soon takes no slot any more.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerClosed,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
)
from aiokafka.producer.message_accumulator import BatchBuilder

from bridge.brokers.kafka.batches import Batch, Group, Partition, Request
from bridge.brokers.kafka.connection import REQUEST_TIMEOUT, RETRY_BACKOFF_MS
from bridge.brokers.kafka.producer import MAX_BATCH_BYTES, LivingProducer
from bridge.brokers.kafka.records import BATCH_OVERHEAD, record_size
from bridge.brokers.partition import partition_of
from bridge.errors import PublishError, PublishRejected, PublishUnconfirmed, TopologyMissing
from bridge.message import Headers, Message
from bridge.settings import Settings
from bridge.telemetry import LAST_CONFIRMED, SENT_MESSAGES

GROUPS_OUT: Final = 2
GROUP_RECORDS: Final = 2000
GROUP_BYTES: Final = 4 * 1024 * 1024
QUEUE_TIMEOUT: Final = REQUEST_TIMEOUT
"""Seconds that a batch may wait for its turn; then it fails, and nothing of it was sent."""
SLOW_AFTER: Final = 0.5
"""Seconds after which a partition's batches take no slot any more."""
FLUSH_TIMEOUT: Final = 5.0
OPEN_TIMEOUT: Final = 5.0
"""Seconds that opening waits for a first connection."""
_SURELY_FITS: Final = 64 * 1024
"""Bytes of key and value below which no limit is near: headers are cut from the same bytes."""
_TICK: Final = 0.1
_REFRESH: Final = 60.0
_REFRESH_MISSING: Final = 2.0

Record = tuple[str, bytes, bytes | None, Headers]
"""Topic, key, value (None: a tombstone), headers."""

# The broker looks at these before it appends anything, and the client does not try again.
_REFUSED: Final = (
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    InvalidTopicError,
    TopicAuthorizationFailedError,
    ClusterAuthorizationFailedError,
)


_log = structlog.get_logger()


class GroupPublisher:
    """A `Publisher` on Kafka. Made by `open_publisher`."""

    def __init__(
        self, settings: Settings, topics: Sequence[str], limits: Callable[[str], int]
    ) -> None:
        self._timeout = settings.publish_timeout
        self._limits = {topic: limits(topic) - BATCH_OVERHEAD for topic in topics}
        self._topics = tuple(topics)
        self.producer = LivingProducer(settings, topics, self._producer_changed)
        self._open = Group()
        self._sealed: deque[Group] = deque()
        self._slots = GROUPS_OUT
        self._partitions: dict[TopicPartition, Partition] = {}
        self._ready: deque[Partition] = deque()
        self._leaderless: set[Partition] = set()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._last_confirmed: float | None = None
        self._closed = False

    @property
    def last_confirmed(self) -> float | None:
        """See `Publisher`."""
        return self._last_confirmed

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
        loop = asyncio.get_running_loop()
        request = Request(loop.create_future())
        stamp = int(time.time() * 1000)
        for record in records:
            self._append(request, stamp, record)
        self._wake.set()
        deadline = loop.call_later(self._timeout, request.expire)
        try:
            await request.waiter
        finally:
            deadline.cancel()

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

    async def survive(self, step: Callable[[], Awaitable[None]]) -> None:
        """Run one of the endless tasks again should it fail: without it nothing would be sent."""
        while True:
            try:
                await step()
            except Exception:  # noqa: BLE001 - whatever it is, the others must be answered
                _log.exception("kafka_publisher_failed", step=step.__name__)
                self._give_up("the publisher failed")
                await asyncio.sleep(_TICK)

    # Handing over: everything below runs in the one submitting task, its ticker, or a callback.

    async def submit(self) -> None:
        """Hand groups over as slots get free. Runs until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._slots > 0 and (self._sealed or self._open.batches):
                self._start_group()
            while self._ready:
                partition = self._ready.popleft()
                partition.queued = False
                await self._hand_over(partition)

    def _start_group(self) -> None:
        if not self._sealed:
            self._seal()
        group = self._sealed.popleft()
        now = time.monotonic()
        for tp, batch in group.batches:
            partition = self._partitions.get(tp)
            if partition is None:
                partition = self._partitions[tp] = Partition(tp)
            batch.since = now
            batch.holds = not partition.stuck
            group.holding += batch.holds
            partition.waiting.append(batch)
            self._make_ready(partition)
        if group.holding:
            self._slots -= 1

    def _make_ready(self, partition: Partition) -> None:
        if partition.waiting and partition.out is None and not partition.queued:
            partition.queued = True
            self._ready.append(partition)

    async def _hand_over(self, partition: Partition) -> None:
        if partition.out is not None or not partition.waiting:
            return
        producer = self.producer.current
        if producer is None:
            self._fail_waiting(partition, PublishRejected("not connected to Kafka"))
            return
        tp = partition.tp
        if not self.producer.has_leader(tp):
            # The client would wait for a leader and hold up every other partition with it.
            self._leaderless.add(partition)
            producer.client.force_metadata_update()
            return
        batch = partition.waiting.popleft()
        batch.since = time.monotonic()
        partition.out = batch
        try:
            future = await producer.send_batch(batch.builder, tp.topic, partition=tp.partition)
        except (KafkaError, AssertionError, OSError, TimeoutError) as error:
            self._ended(partition, batch, error)
        else:
            future.add_done_callback(partial(self._answered, partition, batch))

    def _answered(self, partition: Partition, batch: Batch, future: "asyncio.Future[Any]") -> None:
        if future.cancelled():
            self._ended(partition, batch, ProducerClosed())
        else:
            self._ended(partition, batch, future.exception())

    def _ended(self, partition: Partition, batch: Batch, error: BaseException | None) -> None:
        if partition.out is not batch:
            return  # given up with its producer before
        partition.out = None
        if error is None:
            partition.stuck = False
            self._last_confirmed = time.monotonic()
            self.producer.succeeded()
            self._finish(partition.tp.topic, batch, None)
        else:
            # Not `KafkaError` itself: that, and what is no Kafka error, is a dead sender task.
            fatal = type(error) is KafkaError or not isinstance(error, KafkaError)
            self.producer.failed(fatal=fatal or isinstance(error, ProducerClosed))
            self._finish(partition.tp.topic, batch, _failure(error, batch.since))
        self._make_ready(partition)
        self._wake.set()

    def _finish(self, topic: str, batch: Batch, failure: PublishError | None) -> None:
        error = "" if failure is None else type(failure).__name__
        SENT_MESSAGES.labels("kafka", topic, error).inc(batch.records)
        self._release(batch)
        batch.settle(failure)

    def _release(self, batch: Batch) -> None:
        if batch.holds:
            batch.holds = False
            batch.group.holding -= 1
            if batch.group.holding == 0:
                self._slots += 1

    def _fail_waiting(self, partition: Partition, failure: PublishRejected) -> None:
        while partition.waiting:
            self._finish(partition.tp.topic, partition.waiting.popleft(), failure)

    def _producer_changed(self) -> None:
        """The producer is new, or gone: then what it had is unknown, what waits was never sent."""
        if self.producer.current is None:
            self._give_up("the connection to Kafka was built anew")
        self._wake.set()

    def _give_up(self, why: str) -> None:
        self._seal()
        for group in self._sealed:
            for tp, batch in group.batches:
                batch.holds = False
                self._finish(tp.topic, batch, PublishRejected(why))
        self._sealed.clear()
        for partition in self._partitions.values():
            if (out := partition.out) is not None:
                partition.out = None
                self._finish(partition.tp.topic, out, PublishUnconfirmed(why))
            self._fail_waiting(partition, PublishRejected(why))

    async def tick(self) -> None:
        """What time alone brings about. Runs until cancelled."""
        refresh_at = time.monotonic() + _REFRESH_MISSING
        seen = self._last_confirmed
        while True:
            await asyncio.sleep(_TICK)
            for partition in self._partitions.values():
                self._look_at(partition)
            for partition in self._leaderless:
                self._make_ready(partition)
            self._leaderless.clear()
            if self._last_confirmed != seen:
                seen = self._last_confirmed
                LAST_CONFIRMED.set_to_current_time()
            if time.monotonic() >= refresh_at:
                self.producer.refresh()
                missing = len(self.producer.partitions) < len(self._topics)
                refresh_at = time.monotonic() + (_REFRESH_MISSING if missing else _REFRESH)
            if self._ready or self._slots:
                self._wake.set()

    def _look_at(self, partition: Partition) -> None:
        if not partition.stuck and partition.slow(SLOW_AFTER):
            partition.stuck = True
            for batch in (partition.out, *partition.waiting):
                if batch is not None:
                    self._release(batch)
        for batch in partition.expired(QUEUE_TIMEOUT):
            self.producer.failed(fatal=False)
            name = f"{partition.tp.topic}/{partition.tp.partition}"
            failure = PublishRejected(f"Kafka took nothing for {name} in {QUEUE_TIMEOUT:.0f} s")
            self._finish(partition.tp.topic, batch, failure)

    async def flush(self) -> None:
        """Take no more; wait until everything is answered, at most `FLUSH_TIMEOUT`."""
        self._closed = True
        deadline = time.monotonic() + FLUSH_TIMEOUT
        while self._busy() and time.monotonic() < deadline:
            self._wake.set()
            await asyncio.sleep(_TICK / 10)
        self._give_up("the publisher was closed")

    def _busy(self) -> bool:
        return bool(self._sealed or self._open.batches) or any(
            partition.out or partition.waiting for partition in self._partitions.values()
        )


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
        for step in (living.keep, publisher.submit, publisher.tick)
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


def _failure(error: BaseException, since: float) -> PublishError:
    """What the end of one batch means for what was in it.

    Only a refusal of the first attempt is certain: the client retries within its deadline, and a
    lost answer to an earlier attempt may have been a yes.
    """
    text = f"Kafka: {str(error) or type(error).__name__}"
    first_attempt = time.monotonic() - since < RETRY_BACKOFF_MS / 1000
    if isinstance(error, _REFUSED) and first_attempt:
        return PublishRejected(text)
    return PublishUnconfirmed(text)
