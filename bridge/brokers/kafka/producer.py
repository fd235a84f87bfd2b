"""One living aiokafka producer: connected in the background, rebuilt when it is beyond help."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, ProducerClosed

from bridge.brokers.kafka.connection import CLOSE_TIMEOUT, client_arguments, within
from bridge.settings import Settings

MAX_BATCH_BYTES: Final = 256 * 1024
"""Of one batch of one partition; a single larger record travels alone."""
SUCCESS_PATIENCE: Final = 15.0
"""Seconds of failures without one success after which the producer is built anew: it knows only
the broker addresses it resolved at its start."""
_RECONNECT_SECONDS: Final = (0.2, 0.5, 1.0, 2.0)
_METADATA_TRIES: Final = 10
_METADATA_PAUSE: Final = 0.2
_CANCEL_TRIES: Final = 10

_log = structlog.get_logger()


class LivingProducer:
    """Keeps one producer connected.

    Args:
        settings: where and how.
        topics: what it must know the partitions of.
        on_change: called after `current` changed, before the old producer is closed.
    """

    def __init__(
        self, settings: Settings, topics: Sequence[str], on_change: Callable[[], None]
    ) -> None:
        self._arguments = client_arguments(settings)
        self._topics = tuple(topics)
        self._on_change = on_change
        self._broken = asyncio.Event()
        self._failing_since: float | None = None
        self._retired: set[asyncio.Task[None]] = set()
        self.tried = asyncio.Event()
        """Set after the first attempt to connect, whatever came of it."""
        self.current: AIOKafkaProducer | None = None
        self.partitions: dict[str, int] = {}
        """Topic -> number of partitions, for those of `topics` that exist."""

    @property
    def complete(self) -> bool:
        """Whether all of `topics` were found."""
        return len(self.partitions) == len(self._topics)

    def succeeded(self) -> None:
        """Something was confirmed."""
        self._failing_since = None

    def failed(self, *, fatal: bool) -> None:
        """Something failed; `fatal` where this producer will never work again."""
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        if fatal or now - self._failing_since > SUCCESS_PATIENCE:
            self._broken.set()

    def refresh(self) -> None:
        """Read the partition counts again, and where leaders are, in the background."""
        if self.current is not None:
            self.current.client.force_metadata_update()
            self._read_partitions(self.current)

    def has_leader(self, tp: TopicPartition) -> bool:
        """Whether some broker takes writes for it, as far as the client knows."""
        if self.current is None:
            return False
        leader = self.current.client.cluster.leader_for_partition(tp)
        return leader is not None and leader != -1

    def takes_at_once(self, tp: TopicPartition) -> bool:
        """Whether `send_batch` would take a batch without waiting for one before it."""
        if self.current is None:
            return False
        return not self.current._message_accumulator._batches.get(tp)  # noqa: SLF001 - no other way

    async def keep(self) -> None:
        """Connect, wait until it is broken, connect again. Runs until cancelled."""
        try:
            while True:
                producer = await self._connect()
                self._failing_since = None
                self._broken.clear()
                self.current = producer
                self._on_change()
                await self._broken.wait()
                _log.warning("kafka_producer_rebuilt")
                self.current = None
                self._on_change()
                self._retire(producer)
        finally:
            for task in self._retired:
                task.cancel()
            await asyncio.gather(*self._retired, return_exceptions=True)
            if (last := self.current) is not None:
                self.current = None
                await _abandon(last)

    async def _connect(self) -> AIOKafkaProducer:
        attempt = 0
        while True:
            producer = _build(self._arguments)
            try:
                await producer.start()
                await self._learn(producer)
            except (KafkaError, OSError, TimeoutError) as error:
                await _abandon(producer)
                if attempt == 0:
                    _log.warning("kafka_unreachable", error=str(error))
            except BaseException:
                await _abandon(producer)
                raise
            else:
                self.tried.set()
                return producer
            self.tried.set()
            await asyncio.sleep(_RECONNECT_SECONDS[min(attempt, len(_RECONNECT_SECONDS) - 1)])
            attempt += 1

    async def _learn(self, producer: AIOKafkaProducer) -> None:
        # Never `set_topics` or `partitions_for`: a request that names a topic creates it on a
        # broker with auto-create on. Without names the client asks for all that exist.
        # A broker that has just started may not know all its topics yet, hence the tries.
        for _ in range(_METADATA_TRIES):
            await producer.client.force_metadata_update()
            self._read_partitions(producer)
            if self.complete:
                return
            await asyncio.sleep(_METADATA_PAUSE)

    def _read_partitions(self, producer: AIOKafkaProducer) -> None:
        cluster = producer.client.cluster
        counts = {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in self._topics}
        # A topic that vanished from the metadata for a moment (a restart) keeps its number.
        self.partitions.update({topic: count for topic, count in counts.items() if count})

    def _retire(self, producer: AIOKafkaProducer) -> None:
        task = asyncio.create_task(_abandon(producer), name="kafka-producer-retired")
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)


def _build(arguments: dict[str, Any]) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        **arguments,
        acks="all",
        # An idempotent batch never expires and a refused one kills its partition for good
        # (aiokafka #1101, #1017); our one batch per partition keeps the order without it.
        enable_idempotence=False,
        max_batch_size=MAX_BATCH_BYTES,
        linger_ms=0,
        compression_type=None,
    )


async def _abandon(producer: AIOKafkaProducer) -> None:
    """Close a producer whose batches are given up already, without its usual last retries."""
    await within(CLOSE_TIMEOUT, producer.client.close())
    # `stop` alone waits until every batch is retried to its end, and for metadata that never comes.
    producer._message_accumulator.fail_all(ProducerClosed())  # noqa: SLF001
    sender = producer._sender.sender_task  # noqa: SLF001
    for _ in range(_CANCEL_TRIES):
        if sender is None or sender.done():
            break
        sender.cancel()
        await asyncio.wait([sender], timeout=0.1)
    await within(1.0, producer.stop())
