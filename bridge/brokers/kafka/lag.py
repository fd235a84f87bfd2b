"""How far groups are behind on Kafka, read from outside the groups."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from bridge.brokers.base import LagEntry
from bridge.brokers.kafka import layout
from bridge.brokers.kafka.admin import Admin, open_admin
from bridge.brokers.kafka.connection import unavailable
from bridge.brokers.kafka.reading import reader
from bridge.settings import Settings
from bridge.topics import Group

_PEEK_TIMEOUT: Final = 3.0
_PEEK_BYTES: Final = 16 * 1024
"""A fetch gives at least one record whatever its size, so a small fetch is enough."""


class KafkaLagReader:
    """`LagReader` on Kafka."""

    def __init__(self, settings: Settings, admin: Admin, consumer: AIOKafkaConsumer) -> None:
        self._settings = settings
        self._admin = admin
        self._consumer = consumer
        self._stamps: dict[TopicPartition, tuple[int, float]] = {}

    async def read(self, groups: Sequence[Group]) -> Sequence[LagEntry]:
        """See `LagReader`."""
        topics = self._settings.topics
        names = {g.name: (*topics.read_by(g), topics.retry(g.name)) for g in groups}
        counts = await self._admin.partitions([name for some in names.values() for name in some])
        every = [TopicPartition(name, n) for name, count in counts.items() for n in range(count)]
        with unavailable("read the ends of the topics"):
            ends = await self._consumer.end_offsets(every)
            begins = await self._consumer.beginning_offsets(every)
        entries: list[LagEntry] = []
        for group in groups:
            group_id = layout.group_id(topics, group.name)
            committed = await self._admin.offsets(group_id)
            members = await self._admin.members(group_id)
            mine = [tp for tp in every if tp.topic in names[group.name]]
            # Without a commit a group begins at the earliest message.
            starts = {tp: max(committed.get(tp, 0), begins[tp]) for tp in mine}
            oldest = await self._oldest({tp: at for tp, at in starts.items() if at < ends[tp]})
            entries += [
                LagEntry(
                    group=group.name,
                    topic=tp.topic,
                    partition=tp.partition,
                    messages=max(0, ends[tp] - starts[tp]),
                    oldest=oldest.get(tp),
                    members=members,
                )
                for tp in mine
            ]
            entries += [
                LagEntry(group.name, name, 0, None, None, members)
                for name in names[group.name]
                if name not in counts
            ]
        return entries

    async def _oldest(self, starts: dict[TopicPartition, int]) -> dict[TopicPartition, float]:
        """The time of the record at each position: one tiny fetch each, kept until it moves."""
        known = {
            tp: self._stamps[tp][1]
            for tp, at in starts.items()
            if tp in self._stamps and self._stamps[tp][0] == at
        }
        wanted = {tp: at for tp, at in starts.items() if tp not in known}
        if not wanted:
            return known
        with unavailable("read the oldest messages"):
            self._consumer.assign(list(wanted))
            for tp, at in wanted.items():
                self._consumer.seek(tp, at)
            deadline = time.monotonic() + _PEEK_TIMEOUT
            while wanted and time.monotonic() < deadline:
                for tp, records in (await self._consumer.getmany(timeout_ms=200)).items():
                    if tp in wanted:
                        known[tp] = records[0].timestamp / 1000
                        self._stamps[tp] = (wanted.pop(tp), known[tp])
                        self._consumer.pause(tp)
            self._consumer.unsubscribe()
        return known


@asynccontextmanager
async def open_lag_reader(settings: Settings) -> AsyncIterator[KafkaLagReader]:
    """A view on lag.

    Raises:
        BrokerUnavailable: not reachable at start.
    """
    async with (
        open_admin(settings) as admin,
        reader(settings, max_partition_fetch_bytes=_PEEK_BYTES) as consumer,
    ):
        yield KafkaLagReader(settings, admin, consumer)
