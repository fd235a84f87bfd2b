"""One replica of one group on Kafka: polling, lanes, rebalance, and recovery by itself.

One task polls, always: while lanes are full or suspended their partitions are paused, so that the
group sees a living member however long a handler or an outage takes. A rebalance first ends the
lanes and waits until their tasks have closed them, so that no partition has two workers.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import IllegalStateError

from bridge.brokers.base import Lane
from bridge.brokers.kafka.commits import Commits
from bridge.brokers.kafka.connection import CLOSE_TIMEOUT, client_arguments, unavailable, within
from bridge.brokers.kafka.lane import KafkaLane
from bridge.brokers.kafka.records import delivery_of
from bridge.errors import BrokerUnavailable
from bridge.settings import Settings

HEARTBEAT: Final = 3.0
"""Seconds between signs of life; a third of the session timeout where that is shorter."""
SILENCE: Final = 150.0
"""Seconds without one answer to the regular questions for the cluster's layout after which the
client is built anew: it knows only the addresses it resolved at its start."""
MAX_POLL_MS: Final = 300_000
FETCH_WAIT_MS: Final = 200
"""How long a fetch may wait at the broker; a resumed lane may wait behind one."""
MAX_FETCH_BYTES: Final = 16 * 1024 * 1024
_POLL_MS: Final = 1_000
_POLL_RECORDS: Final = 1_000
_RECOVER_SECONDS: Final = (0.5, 1.0, 2.0, 5.0)
_REQUEST_TIMEOUT_MS: Final = 10_000
_COMMIT_TIMEOUT: Final = 10.0

_log = structlog.get_logger()


class KafkaSubscriber:
    """`Subscriber` on Kafka. Made by `open_subscriber`."""

    def __init__(self, settings: Settings, *, group_id: str, topics: Iterable[str]) -> None:
        self._drain_timeout = settings.consume_drain_timeout
        self._session = settings.kafka_session_timeout
        self._arguments = client_arguments(settings)
        self._group_id = group_id
        self._topics = list(topics)
        self._lanes: dict[int, KafkaLane] = {}
        self._assigned: asyncio.Queue[KafkaLane | None] = asyncio.Queue()
        self._ended = False
        self._consumer: AIOKafkaConsumer | None = None
        self._commits = Commits(self._commit, self._owned)
        self._failure: BaseException | None = None

    async def lanes(self) -> AsyncIterator[Lane]:
        """See `Subscriber`."""
        while (lane := await self._assigned.get()) is not None:
            if not lane.over.is_set():
                lane.given = True
                yield lane
        if self._failure is not None:
            raise BrokerUnavailable(
                f"the replica of {self._group_id} broke off: {self._failure!r}"
            ) from self._failure

    def fail(self, running: "asyncio.Task[None]") -> None:
        """The task that polls has ended: without it nothing comes, so whoever waits must hear."""
        if not running.cancelled() and (failure := running.exception()) is not None:
            self._failure = failure
            self.end()

    def end(self) -> None:
        """See `Subscriber`."""
        self._ended = True
        for lane in self._lanes.values():
            lane.finish()
        self._assigned.put_nowait(None)

    async def start(self) -> None:
        """Connect and ask to join the group; lanes come when the group has agreed.

        Raises:
            BrokerUnavailable: not reachable.
        """
        consumer = AIOKafkaConsumer(
            **{**self._arguments, "request_timeout_ms": _REQUEST_TIMEOUT_MS},
            group_id=self._group_id,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            # The same partition number of all topics goes to one replica: that is a lane.
            partition_assignment_strategy=(RangePartitionAssignor,),
            session_timeout_ms=int(self._session * 1000),
            heartbeat_interval_ms=int(min(HEARTBEAT, self._session / 3) * 1000),
            # A rebalance waits while the lanes are drained, however short the session is.
            rebalance_timeout_ms=int(max(self._session, self._drain_timeout + 10) * 1000),
            max_poll_interval_ms=MAX_POLL_MS,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            fetch_max_bytes=MAX_FETCH_BYTES,
        )
        try:
            with unavailable(f"join the group {self._group_id}"):
                await consumer.start()
        except BaseException:
            await within(CLOSE_TIMEOUT, consumer.stop())
            raise
        self._consumer = consumer
        consumer.subscribe(self._topics, listener=_Listener(self))

    async def run(self) -> None:
        """Poll until cancelled; after a failure of the client, join anew with a new one."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._commits.run(), name="kafka-commits")
            tasks.create_task(self._poll_forever(), name="kafka-poll")

    async def leave(self) -> None:
        """Leave the group. What is not acked is delivered again, to whoever gets the lane."""
        self.end()
        for lane in self._lanes.values():
            await lane.close()
        if self._consumer is not None:
            await within(CLOSE_TIMEOUT, self._consumer.stop())

    async def revoked(self) -> None:
        """A rebalance begins: end all lanes and wait until they are closed."""
        lanes, self._lanes = list(self._lanes.values()), {}
        for lane in lanes:
            lane.finish()
            if not lane.given:
                await lane.close()
        done = asyncio.gather(*(lane.closed.wait() for lane in lanes))
        with suppress(TimeoutError):
            await asyncio.wait_for(done, self._drain_timeout)
        for lane in lanes:
            await lane.close()

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """The group has agreed: give out new lanes."""
        for number in sorted({tp.partition for tp in partitions}):
            lane = self._lanes[number] = KafkaLane(number, self._commits.commit, self._resume)
            if self._ended:
                lane.finish()
            self._assigned.put_nowait(lane)

    async def _poll_forever(self) -> None:
        failures = 0
        while True:
            try:
                if self._consumer is None:
                    await self.start()
                await self._poll()
                failures = 0
            except (Exception, asyncio.CancelledError) as error:
                if (task := asyncio.current_task()) is None or task.cancelling():
                    raise
                _log.warning("kafka_consumer_rebuilt", group=self._group_id, error=str(error))
                await self._drop_consumer()
                await asyncio.sleep(_RECOVER_SECONDS[min(failures, len(_RECOVER_SECONDS) - 1)])
                failures += 1

    async def _poll(self) -> None:
        consumer = self._consumer
        if consumer is None:
            return
        heard = consumer._client.cluster._last_successful_refresh_ms / 1000  # noqa: SLF001
        if time.time() - heard > SILENCE:
            raise BrokerUnavailable(f"Kafka has not answered for {SILENCE:.0f} s")
        batches = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
        for tp, records in batches.items():
            lane = self._lanes.get(tp.partition)
            if lane is None or lane.over.is_set():
                # Fetched before the lane is there: fetch it again.
                with suppress(IllegalStateError):
                    consumer.seek(tp, records[0].offset)
                    if lane is not None:
                        consumer.pause(tp)  # nothing more is taken from it in this generation
                continue
            lane.feed([delivery_of(record) for record in records])
        if not batches:
            # Nothing waits in the client; give other tasks a turn even if it answers at once.
            await asyncio.sleep(0)
        for lane in self._lanes.values():
            if lane.full and not lane.paused:
                lane.paused = True
                self._switch(lane, on=False)
            elif lane.paused and lane.hungry:
                self._resume(lane)

    def _resume(self, lane: KafkaLane) -> None:
        lane.paused = False
        self._switch(lane, on=True)

    def _switch(self, lane: KafkaLane, *, on: bool) -> None:
        consumer = self._consumer
        if consumer is None:
            return
        partitions = [tp for tp in consumer.assignment() if tp.partition == lane.number]
        with suppress(IllegalStateError):
            (consumer.resume if on else consumer.pause)(*partitions)

    async def _drop_consumer(self) -> None:
        consumer, self._consumer = self._consumer, None
        await self.revoked()
        if consumer is None:
            return
        try:
            await within(CLOSE_TIMEOUT, consumer.stop())
        except (Exception, asyncio.CancelledError) as error:
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise
            # The old client is given up whatever it says; the new one is what counts.
            _log.warning("kafka_consumer_not_closed", group=self._group_id, error=str(error))

    async def _commit(self, positions: dict[TopicPartition, int]) -> None:
        while (consumer := self._consumer) is not None:
            # The client tries for ever, even after its own end. A partition that is not ours any
            # more ends this with `IllegalStateError`.
            with suppress(TimeoutError):
                async with asyncio.timeout(_COMMIT_TIMEOUT):
                    await consumer.commit(positions)
                return
        raise IllegalStateError("the consumer is built anew")

    def _owned(self) -> set[TopicPartition]:
        return set() if self._consumer is None else set(self._consumer.assignment())


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # the library has no types
    """Hears of rebalances. The client logs and forgets what is raised here, so nothing is."""

    def __init__(self, subscriber: KafkaSubscriber) -> None:
        self._subscriber = subscriber

    async def on_partitions_revoked(self, revoked: Any) -> None:
        del revoked
        await self._subscriber.revoked()

    async def on_partitions_assigned(self, assigned: Any) -> None:
        self._subscriber.assigned(assigned)


@asynccontextmanager
async def open_subscriber(
    settings: Settings, *, group_id: str, topics: Iterable[str]
) -> AsyncIterator[KafkaSubscriber]:
    """A replica of a consumer group on these topics, which all have as many partitions.

    Raises:
        BrokerUnavailable: not reachable at start.
    """
    subscriber = KafkaSubscriber(settings, group_id=group_id, topics=topics)
    await subscriber.start()
    running = asyncio.create_task(subscriber.run(), name="kafka-subscriber")
    running.add_done_callback(subscriber.fail)
    try:
        yield subscriber
    finally:
        subscriber.end()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await subscriber.leave()
