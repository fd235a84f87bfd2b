"""Brokers behind one seam (`base`): `embedded`, `kafka`, `rabbitmq`."""

from bridge.brokers.base import Broker
from bridge.errors import ConfigurationError
from bridge.settings import Settings

__all__ = ["open_broker"]


def open_broker(settings: Settings) -> Broker:
    """The broker that `settings.broker_url` names. Opens no connection.

    Raises:
        ConfigurationError: a scheme that none of the adapters serves.
    """
    # Each adapter is imported only when asked for: the command line must start fast.
    url = settings.broker_url.get_secret_value()
    scheme = url.partition(":")[0]
    if scheme == "sqlite":
        from bridge.brokers.embedded import EmbeddedBroker  # noqa: PLC0415

        return EmbeddedBroker(settings)
    if scheme == "kafka":
        from bridge.brokers.kafka import KafkaBroker  # noqa: PLC0415

        return KafkaBroker(settings)
    if scheme in {"amqp", "amqps"}:
        from bridge.brokers.rabbitmq import RabbitBroker  # noqa: PLC0415

        return RabbitBroker(settings)
    raise ConfigurationError(
        f"BRIDGE_BROKER_URL has the scheme {scheme!r}: use sqlite:///file.db, "
        "kafka://host:9092 or amqp://user:password@host:5672/vhost"
    )
