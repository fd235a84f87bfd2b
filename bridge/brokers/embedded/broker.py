"""The embedded log behind the seam."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal

from bridge.brokers.base import Delivery
from bridge.brokers.embedded.dead_letters import EmbeddedDeadLetters, open_dead_letters
from bridge.brokers.embedded.lag import EmbeddedLagReader, open_lag_reader
from bridge.brokers.embedded.paths import places_of
from bridge.brokers.embedded.publisher import EmbeddedPublisher, open_publisher
from bridge.brokers.embedded.subscriber import EmbeddedSubscriber, open_subscriber
from bridge.brokers.embedded.tail import tail
from bridge.brokers.embedded.topology import EmbeddedTopology, open_topology
from bridge.settings import Settings
from bridge.topics import Group


class EmbeddedBroker:
    """`Broker` for `sqlite:///bridge.db`: one ingress, any number of workers, one machine.

    Raises:
        ConfigurationError: the URL names no file.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._places = places_of(settings.broker_url.get_secret_value())

    @property
    def system(self) -> Literal["embedded"]:
        """See `Broker`."""
        return "embedded"

    def publisher(self) -> AbstractAsyncContextManager[EmbeddedPublisher]:
        """See `Broker`."""
        return open_publisher(self._places, self._settings)

    def subscriber(self, group: Group) -> AbstractAsyncContextManager[EmbeddedSubscriber]:
        """See `Broker`."""
        return open_subscriber(self._places, self._settings, group)

    def lag_reader(self) -> AbstractAsyncContextManager[EmbeddedLagReader]:
        """See `Broker`."""
        return open_lag_reader(self._places, self._settings)

    def topology(self) -> AbstractAsyncContextManager[EmbeddedTopology]:
        """See `Broker`."""
        return open_topology(self._places, self._settings)

    def dead_letters(self, group: str) -> AbstractAsyncContextManager[EmbeddedDeadLetters]:
        """See `Broker`."""
        return open_dead_letters(self._places, group)

    def tail(self, topics: Sequence[str]) -> AsyncGenerator[Delivery, None]:
        """See `Broker`."""
        return tail(self._places, topics, self._settings.embedded_lanes)
