"""Kafka behind the seam."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Literal

from bridge.brokers.base import Delivery
from bridge.brokers.kafka import layout, reading
from bridge.brokers.kafka.connection import client_arguments
from bridge.brokers.kafka.dead_letters import KafkaDeadLetters, open_dead_letters
from bridge.brokers.kafka.lag import KafkaLagReader, open_lag_reader
from bridge.brokers.kafka.publisher import GroupPublisher, open_publisher
from bridge.brokers.kafka.subscriber import KafkaSubscriber, open_subscriber
from bridge.brokers.kafka.topology import KafkaTopology, open_topology
from bridge.errors import BrokerUnavailable
from bridge.settings import Settings
from bridge.topics import Group


class KafkaBroker:
    """`Broker` for `kafka://host:9092,host2:9092`.

    Raises:
        ConfigurationError: the URL or the security settings cannot work.
    """

    def __init__(self, settings: Settings) -> None:
        client_arguments(settings)
        self._settings = settings

    @property
    def system(self) -> Literal["kafka"]:
        """See `Broker`."""
        return "kafka"

    @asynccontextmanager
    async def publisher(self) -> AsyncIterator[GroupPublisher]:
        """See `Broker`."""
        topics = self._settings.topics
        async with open_publisher(
            self._settings, topics.published, lambda topic: layout.max_bytes(topics, topic)
        ) as publisher:
            if publisher.producer.current is not None:
                with suppress(BrokerUnavailable):
                    async with open_topology(self._settings) as topology:
                        await topology.check_safety()
            yield publisher

    @asynccontextmanager
    async def subscriber(self, group: Group) -> AsyncIterator[KafkaSubscriber]:
        """See `Broker`."""
        topics = self._settings.topics
        async with open_topology(self._settings) as topology:
            await topology.verify([group])
        async with open_subscriber(
            self._settings,
            group_id=layout.group_id(topics, group.name),
            topics=(*topics.read_by(group), topics.retry(group.name)),
        ) as subscriber:
            yield subscriber

    def lag_reader(self) -> AbstractAsyncContextManager[KafkaLagReader]:
        """See `Broker`."""
        return open_lag_reader(self._settings)

    def topology(self) -> AbstractAsyncContextManager[KafkaTopology]:
        """See `Broker`."""
        return open_topology(self._settings)

    def dead_letters(self, group: str) -> AbstractAsyncContextManager[KafkaDeadLetters]:
        """See `Broker`."""
        return open_dead_letters(self._settings, group)

    def tail(self, topics: Sequence[str]) -> AsyncGenerator[Delivery, None]:
        """See `Broker`."""
        return reading.tail(self._settings, topics)
