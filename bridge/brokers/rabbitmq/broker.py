"""RabbitMQ behind the seam."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal

from bridge.brokers.base import Delivery
from bridge.brokers.rabbitmq.connection import amqp_url
from bridge.brokers.rabbitmq.dead_letters import RabbitDeadLetters, open_dead_letters
from bridge.brokers.rabbitmq.ingress_publisher import RabbitPublisher, open_ingress_publisher
from bridge.brokers.rabbitmq.lag import RabbitLagReader, open_lag_reader
from bridge.brokers.rabbitmq.subscriber import RabbitSubscriber, open_subscriber
from bridge.brokers.rabbitmq.tail import tail
from bridge.brokers.rabbitmq.topology import RabbitTopology, open_topology
from bridge.settings import Settings
from bridge.topics import Group


class RabbitBroker:
    """`Broker` for `amqp://user:password@host:5672/vhost`, and `amqps://` for TLS.

    Raises:
        ConfigurationError: a URL that cannot work.
    """

    def __init__(self, settings: Settings) -> None:
        amqp_url(settings, "")
        self._settings = settings

    @property
    def system(self) -> Literal["rabbitmq"]:
        """See `Broker`."""
        return "rabbitmq"

    def publisher(self) -> AbstractAsyncContextManager[RabbitPublisher]:
        """See `Broker`."""
        return open_ingress_publisher(self._settings)

    def subscriber(self, group: Group) -> AbstractAsyncContextManager[RabbitSubscriber]:
        """See `Broker`."""
        return open_subscriber(self._settings, group)

    def lag_reader(self) -> AbstractAsyncContextManager[RabbitLagReader]:
        """See `Broker`."""
        return open_lag_reader(self._settings)

    def topology(self) -> AbstractAsyncContextManager[RabbitTopology]:
        """See `Broker`."""
        return open_topology(self._settings)

    def dead_letters(self, group: str) -> AbstractAsyncContextManager[RabbitDeadLetters]:
        """See `Broker`."""
        return open_dead_letters(self._settings, group)

    def tail(self, topics: Sequence[str]) -> AsyncGenerator[Delivery, None]:
        """See `Broker`."""
        return tail(self._settings, topics)
