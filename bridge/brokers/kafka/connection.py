"""How every Kafka client of the bridge connects, and what its failures are called here."""

import asyncio
import ssl
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final
from urllib.parse import urlsplit

from aiokafka.errors import KafkaError

from bridge.errors import BrokerUnavailable, ConfigurationError
from bridge.settings import Settings

REQUEST_TIMEOUT: Final = 4.0
"""Seconds for one request to a broker; about half of the publish deadline."""
CLOSE_TIMEOUT: Final = 5.0
"""Seconds for a client to say goodbye; after that it is left to itself."""
RETRY_BACKOFF_MS: Final = 100
METADATA_MAX_AGE_MS: Final = 60_000


def bootstrap_servers(settings: Settings) -> list[str]:
    """The `host:port` list of `kafka://host:9092,host2:9092`.

    Raises:
        ConfigurationError: nothing to connect to, or a user name in the URL.
    """
    netloc = urlsplit(settings.broker_url.get_secret_value()).netloc
    if "@" in netloc:
        raise ConfigurationError(
            "BRIDGE_BROKER_URL: a kafka URL holds no user; set BRIDGE_KAFKA_SASL_USERNAME and "
            "BRIDGE_KAFKA_SASL_PASSWORD"
        )
    servers = [part.strip() for part in netloc.split(",") if part.strip()]
    if not servers:
        raise ConfigurationError("BRIDGE_BROKER_URL: use kafka://host:9092,host2:9092")
    return [server if ":" in server else f"{server}:9092" for server in servers]


def client_arguments(settings: Settings) -> dict[str, Any]:
    """What producer, consumer and admin client are made with: servers, security, patience.

    Raises:
        ConfigurationError: security settings that cannot work.
    """
    arguments: dict[str, Any] = {
        "bootstrap_servers": bootstrap_servers(settings),
        "client_id": "notification-bridge",
        "retry_backoff_ms": RETRY_BACKOFF_MS,
        "metadata_max_age_ms": METADATA_MAX_AGE_MS,
        "request_timeout_ms": int(REQUEST_TIMEOUT * 1000),
        "security_protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_security_protocol.endswith("SSL"):
        try:
            arguments["ssl_context"] = ssl.create_default_context(
                cafile=None if settings.kafka_ca_file is None else str(settings.kafka_ca_file)
            )
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"BRIDGE_KAFKA_CA_FILE: {error}") from error
    if settings.kafka_security_protocol.startswith("SASL"):
        if not settings.kafka_sasl_username:
            raise ConfigurationError(
                "BRIDGE_KAFKA_SASL_USERNAME: needed with "
                f"BRIDGE_KAFKA_SECURITY_PROTOCOL={settings.kafka_security_protocol}"
            )
        arguments["sasl_mechanism"] = settings.kafka_sasl_mechanism
        arguments["sasl_plain_username"] = settings.kafka_sasl_username
        arguments["sasl_plain_password"] = settings.kafka_sasl_password.get_secret_value()
    return arguments


@contextmanager
def unavailable(doing: str) -> Iterator[None]:
    """Turn the client's failures into `BrokerUnavailable`, cause kept.

    Args:
        doing: what was tried, to complete "Kafka: cannot …".

    Raises:
        BrokerUnavailable: the broker could not be reached, or refused.
    """
    try:
        yield
    except (KafkaError, OSError, TimeoutError) as error:
        text = str(error) or type(error).__name__
        raise BrokerUnavailable(f"Kafka: cannot {doing}: {text}") from error


async def within(seconds: float, closing: Awaitable[object]) -> None:
    """Wait for a goodbye, but no longer than `seconds`, and whatever it says."""
    with suppress(KafkaError, OSError, TimeoutError, RuntimeError):
        await asyncio.wait_for(closing, seconds)
