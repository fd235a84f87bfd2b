"""How the bridge connects to RabbitMQ, and what the library's failures are called here.

Everything here speaks through aiormq's plain connection: a robust one that reconnects by itself
gives back channels and consumers that look open and are not.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final

import aiormq
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from aiormq.exceptions import (
    AMQPError,
    ChannelInvalidStateError,
    ChannelLockedResource,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)
from yarl import URL

from bridge.errors import BrokerError, BrokerUnavailable, ConfigurationError, TopologyMissing
from bridge.settings import Settings

HEARTBEAT: Final = 5
"""Seconds; a dead peer is noticed after three times one more than this: 18 s."""
CONNECT_TIMEOUT: Final = 4.0
RPC_TIMEOUT: Final = 10.0
"""Seconds for one question to the broker, e.g. a declare."""
CLOSE_TIMEOUT: Final = 2.0
"""Seconds for a goodbye; after that the socket is cut."""
RECOVER_SECONDS: Final = (0.1, 0.3, 1.0, 2.0)
"""Waits between attempts to connect again."""

# The library logs each failed attempt as an error of its own; we report what it means for us.
logging.getLogger("aiormq").setLevel(logging.CRITICAL)

LibraryError: Final = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError, RuntimeError)
"""What aiormq raises when something is wrong with the broker or the way to it."""


def amqp_url(settings: Settings, purpose: str) -> URL:
    """The broker's URL with our heartbeat and a connection name.

    Raises:
        ConfigurationError: not a URL with a host.
    """
    try:
        url = URL(settings.broker_url.get_secret_value())
    except ValueError:
        url = URL()
    if url.scheme not in {"amqp", "amqps"} or not url.host:
        raise ConfigurationError("BRIDGE_BROKER_URL: use amqp://user:password@host:5672/vhost")
    return url.update_query(heartbeat=str(HEARTBEAT), name=f"notification-bridge {purpose}")


def virtual_host(settings: Settings) -> str:
    """The virtual host that the URL names."""
    path = URL(settings.broker_url.get_secret_value()).path
    return path[1:].replace("%2F", "/") or "/"


class _Transport(TransportFactory):
    """Remembers the socket, so that a connection whose peer is silent can be cut."""

    def __init__(self, scheme: str) -> None:
        self._way = TLSTransportFactory() if scheme == "amqps" else TCPTransportFactory()
        self._writer: asyncio.StreamWriter | None = None

    async def create(
        self, url: URL, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, self._writer = await self._way.create(url, **kwargs)
        return reader, self._writer

    def cut(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()


@asynccontextmanager
async def connected(settings: Settings, purpose: str) -> AsyncIterator[aiormq.Connection]:
    """A connection of one's own; closed, if need be cut, on leaving.

    Raises:
        BrokerUnavailable: not reachable, or it refused us.
    """
    url = amqp_url(settings, purpose)
    transport = _Transport(url.scheme)
    connection = aiormq.Connection(url, transport_factory=transport)
    try:
        with unavailable("connect"):
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await connection.connect()
        yield connection
    finally:
        await _close(connection, transport)


async def _close(connection: aiormq.Connection, transport: _Transport) -> None:
    try:
        if connection.is_opened:
            # A cancelled close is what a connection rejects its own futures with.
            with suppress(*LibraryError), _not_cancelled():
                await asyncio.wait_for(connection.close(), CLOSE_TIMEOUT)
    finally:
        transport.cut()


async def close_channel(channel: aiormq.abc.AbstractChannel) -> None:
    """Close a channel: the broker takes back what is not acked, in order. Never raises."""
    with suppress(*LibraryError), _not_cancelled():
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await channel.close()


def is_blocked(connection: aiormq.abc.AbstractConnection) -> bool:
    """Whether the broker has said that it reads nothing from us for now: memory or disk alarm."""
    waiting = connection.ready()
    try:
        waiting.send(None)
    except StopIteration:
        return False
    finally:
        waiting.close()
    return True


@contextmanager
def _not_cancelled() -> Iterator[None]:
    """The library rejects its own futures with `CancelledError`; only ours may cancel a task."""
    try:
        yield
    except asyncio.CancelledError as error:
        if (task := asyncio.current_task()) is None or task.cancelling():
            raise
        raise ConnectionError("the connection ended") from error


@contextmanager
def unavailable(doing: str) -> Iterator[None]:
    """Turn the library's failures into ours, cause kept.

    Args:
        doing: what was tried, to complete "RabbitMQ: cannot …".

    Raises:
        TopologyMissing: a queue or exchange is not there, or there in another form.
        BrokerUnavailable: the broker could not be reached, or refused.
    """
    try:
        with _not_cancelled():
            yield
    except BrokerError:
        raise
    except (ChannelNotFoundEntity, ChannelPreconditionFailed, ChannelLockedResource) as error:
        raise TopologyMissing(f"RabbitMQ: cannot {doing}: {reason(error)}") from error
    except LibraryError as error:
        raise BrokerUnavailable(f"RabbitMQ: cannot {doing}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """What the broker or the library said, never with the URL's password."""
    if isinstance(error, AMQPError) and error.args and isinstance(error.args[-1], str):
        return error.args[-1] or type(error).__name__
    return str(error) or type(error).__name__
