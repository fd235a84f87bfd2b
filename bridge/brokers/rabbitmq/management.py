"""RabbitMQ's management API: what AMQP itself cannot ask."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

import httpx2
import msgspec

from bridge.brokers.rabbitmq.connection import virtual_host
from bridge.brokers.rabbitmq.layout import Binding
from bridge.errors import BrokerUnavailable, ConfigurationError
from bridge.settings import Settings

TIMEOUT: Final = 10.0
_NOT_FOUND: Final = 404


class QueueState(msgspec.Struct, frozen=True):
    """One queue as it is. Counts are up to some seconds old; None where they are not known yet."""

    name: str
    arguments: dict[str, Any] = {}
    messages_unacknowledged: int | None = None


class ExchangeState(msgspec.Struct, frozen=True):
    """One exchange as it is."""

    name: str
    type: str
    arguments: dict[str, Any] = {}


class _BindingState(msgspec.Struct, frozen=True):
    source: str
    destination: str
    routing_key: str


class Management:
    """The questions asked of the API. Made by `open_management`."""

    def __init__(self, client: httpx2.AsyncClient, vhost: str) -> None:
        self._client = client
        self._vhost = quote(vhost, safe="")

    async def queues(self, prefix: str) -> dict[str, QueueState]:
        """The queues whose names begin with `prefix` and a dot."""
        found = await self._get(
            f"/queues/{self._vhost}",
            list[QueueState],
            name=f"^{re.escape(prefix)}\\.",
            use_regex="true",
        )
        return {queue.name: queue for queue in found}

    async def exchanges(self) -> dict[str, ExchangeState]:
        """Every exchange."""
        found = await self._get(f"/exchanges/{self._vhost}", list[ExchangeState])
        return {exchange.name: exchange for exchange in found}

    async def bindings(self, exchanges: Sequence[str]) -> set[Binding]:
        """The queues bound to these exchanges; one that does not exist has none."""
        found = set()
        for exchange in exchanges:
            path = f"/exchanges/{self._vhost}/{quote(exchange, safe='')}/bindings/source"
            for item in await self._get(path, list[_BindingState]):
                found.add(Binding(item.source, item.destination, item.routing_key))
        return found

    async def _get(self, path: str, kind: type[list[Any]], **query: str) -> list[Any]:
        try:
            answer = await self._client.get(path, params=query)
            if answer.status_code == _NOT_FOUND:
                return []
            answer.raise_for_status()
            found: list[Any] = msgspec.json.decode(answer.content, type=kind)
        except httpx2.HTTPStatusError as error:
            raise BrokerUnavailable(
                f"RabbitMQ's management API answers {error.response.status_code}: the user of "
                "BRIDGE_RABBITMQ_MANAGEMENT_URL needs the tag `management` and this virtual host"
            ) from error
        except (httpx2.HTTPError, msgspec.DecodeError) as error:
            text = str(error) or type(error).__name__
            raise BrokerUnavailable(f"RabbitMQ's management API: {text}") from error
        return found


@asynccontextmanager
async def open_management(settings: Settings) -> AsyncIterator[Management | None]:
    """The API, or None where no URL is set.

    Raises:
        ConfigurationError: a URL that cannot work.
    """
    text = settings.rabbitmq_management_url.get_secret_value()
    if not text:
        yield None
        return
    url = urlsplit(text)
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise ConfigurationError(
            "BRIDGE_RABBITMQ_MANAGEMENT_URL: use http://user:password@host:15672"
        )
    port = f":{url.port}" if url.port else ""
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    async with httpx2.AsyncClient(
        base_url=f"{url.scheme}://{host}{port}{url.path.rstrip('/')}/api",
        auth=(unquote(url.username or ""), unquote(url.password or "")),
        timeout=TIMEOUT,
        # Questions are rare: a connection kept for the next one would be closed by then.
        limits=httpx2.Limits(max_keepalive_connections=0),
    ) as client:
        yield Management(client, virtual_host(settings))
