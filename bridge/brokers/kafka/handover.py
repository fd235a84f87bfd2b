"""Handing groups over to the client: slots, and a queue before each partition.

At most `GROUPS_OUT` groups are out, so that one is at work while the next travels. The client gets
a batch only when it takes it without waiting: one that waits would hold up every other partition.
A partition without a leader, or on a dead broker, keeps its own queue only: once it is slow its
batches take no slot any more.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerClosed,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
)

from bridge.brokers.kafka.batches import Batch, Group, Partition
from bridge.brokers.kafka.connection import REQUEST_TIMEOUT, RETRY_BACKOFF_MS
from bridge.brokers.kafka.producer import LivingProducer
from bridge.errors import PublishError, PublishRejected, PublishUnconfirmed
from bridge.telemetry import LAST_CONFIRMED, SENT_MESSAGES

if TYPE_CHECKING:
    from aiokafka import TopicPartition
    from prometheus_client import Counter

GROUPS_OUT: Final = 2
BATCHES_OUT: Final = 2
QUEUE_TIMEOUT: Final = REQUEST_TIMEOUT
"""Seconds that a batch may wait for its turn; then it fails, and nothing of it was sent."""
SLOW_AFTER: Final = 0.5
"""Seconds after which a partition's batches take no slot any more."""
_TICK: Final = 0.1
_REFRESH: Final = 60.0
_REFRESH_MISSING: Final = 2.0

# The broker looks at these before it appends anything, and the client does not try again.
_REFUSED: Final = (
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    InvalidTopicError,
    TopicAuthorizationFailedError,
    ClusterAuthorizationFailedError,
)


class Handover:
    """Everything between a sealed group and the client's answer, in one task and its callbacks.

    Args:
        producer: the client.
        next_group: takes the oldest group off, None where nothing waits.
    """

    def __init__(self, producer: LivingProducer, next_group: Callable[[], Group | None]) -> None:
        self._producer = producer
        self._next_group = next_group
        self._slots = GROUPS_OUT
        self._partitions: dict[TopicPartition, Partition] = {}
        self._ready: deque[Partition] = deque()
        self._leaderless: set[Partition] = set()
        self._counters: dict[tuple[str, str], Counter] = {}
        self.wake = asyncio.Event()
        """Set when there may be something to do."""
        self.last_confirmed: float | None = None
        """`time.monotonic()` of the newest confirmed batch."""

    async def submit(self) -> None:
        """Hand groups over as slots get free. Runs until cancelled."""
        while True:
            await self.wake.wait()
            self.wake.clear()
            while self._slots > 0 and (group := self._next_group()) is not None:
                self._start(group)
            while self._ready:
                partition = self._ready.popleft()
                partition.queued = False
                await self._hand_over(partition)

    def _start(self, group: Group) -> None:
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
        if partition.waiting and len(partition.out) < BATCHES_OUT and not partition.queued:
            partition.queued = True
            self._ready.append(partition)

    async def _hand_over(self, partition: Partition) -> None:
        if len(partition.out) >= BATCHES_OUT or not partition.waiting:
            return
        producer = self._producer.current
        if producer is None:
            self._fail_waiting(partition, PublishRejected("not connected to Kafka"))
            return
        tp = partition.tp
        if not self._producer.has_leader(tp):
            # The client would wait for a leader and hold up every other partition with it.
            self._leaderless.add(partition)
            producer.client.force_metadata_update()
            return
        if not self._producer.takes_at_once(tp):
            return  # an answer for this partition makes it ready again
        batch = partition.waiting.popleft()
        batch.since = time.monotonic()
        partition.out.append(batch)
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
        if batch not in partition.out:
            return  # given up with its producer before
        partition.out.remove(batch)
        if error is None:
            partition.stuck = False
            self.last_confirmed = time.monotonic()
            self._producer.succeeded()
            self._finish(partition.tp.topic, batch, None)
        else:
            # Not `KafkaError` itself: that, and what is no Kafka error, is a dead sender task.
            fatal = type(error) is KafkaError or not isinstance(error, KafkaError)
            self._producer.failed(fatal=fatal or isinstance(error, ProducerClosed))
            self._finish(partition.tp.topic, batch, _failure(error, batch.since))
        self._make_ready(partition)
        self.wake.set()

    def _finish(self, topic: str, batch: Batch, failure: PublishError | None) -> None:
        error = "" if failure is None else type(failure).__name__
        counter = self._counters.get((topic, error))
        if counter is None:
            counter = SENT_MESSAGES.labels("kafka", topic, error)
            self._counters[topic, error] = counter
        counter.inc(batch.records)
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

    def give_up(self, why: str) -> None:
        """Fail everything: what the client has may be stored, what waits was never sent."""
        while (group := self._next_group()) is not None:
            for tp, batch in group.batches:
                batch.holds = False
                self._finish(tp.topic, batch, PublishRejected(why))
        for partition in self._partitions.values():
            while partition.out:
                self._finish(partition.tp.topic, partition.out.popleft(), PublishUnconfirmed(why))
            self._fail_waiting(partition, PublishRejected(why))

    @property
    def busy(self) -> bool:
        """Whether anything is on its way or waits for its turn."""
        return any(partition.out or partition.waiting for partition in self._partitions.values())

    async def tick(self) -> None:
        """What time alone brings about. Runs until cancelled."""
        refresh_at = time.monotonic() + _REFRESH_MISSING
        seen = self.last_confirmed
        while True:
            await asyncio.sleep(_TICK)
            for partition in self._partitions.values():
                self._look_at(partition)
            for partition in self._leaderless:
                self._make_ready(partition)
            self._leaderless.clear()
            if self.last_confirmed != seen:
                seen = self.last_confirmed
                LAST_CONFIRMED.set_to_current_time()
            if time.monotonic() >= refresh_at:
                self._producer.refresh()
                missing = not self._producer.complete
                refresh_at = time.monotonic() + (_REFRESH_MISSING if missing else _REFRESH)
            if self._ready or self._slots:
                self.wake.set()

    def _look_at(self, partition: Partition) -> None:
        if not partition.stuck and partition.slow(SLOW_AFTER):
            partition.stuck = True
            for batch in (*partition.out, *partition.waiting):
                self._release(batch)
        for batch in partition.expired(QUEUE_TIMEOUT):
            self._producer.failed(fatal=False)
            name = f"{partition.tp.topic}/{partition.tp.partition}"
            failure = PublishRejected(f"Kafka took nothing for {name} in {QUEUE_TIMEOUT:.0f} s")
            self._finish(partition.tp.topic, batch, failure)


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
