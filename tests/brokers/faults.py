"""Ways to hurt each broker that the contract needs, one class for each."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlsplit

import apsw
import httpx2
from confluent_kafka.admin import AdminClient

from tests.services.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.brokers.bench import Bench
    from tests.services.service import Service


class Faults(Protocol):
    """What a test can do to a broker."""

    def frozen(self) -> AbstractAsyncContextManager[None]:
        """While inside, the broker confirms nothing; then it goes on."""

    async def take_away(self, bench: Bench, group: str) -> None:
        """Remove one thing without which this group would lose messages or not run."""


class EmbeddedFaults:
    """Another process holds the log's write lock; the group's file goes away."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @asynccontextmanager
    async def frozen(self) -> AsyncIterator[None]:
        # The same SQLite as the adapter's: two of them in one process undo each other's locks.
        holder = apsw.Connection(str(self._path))
        holder.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            holder.execute("ROLLBACK")
            holder.close()

    async def take_away(self, bench: Bench, group: str) -> None:
        del bench
        folder = self._path.with_suffix(".d")
        for file in list(folder.glob(f"{group}.db*")):
            file.unlink()


class _ServiceFaults:
    def __init__(self, service: Service) -> None:
        self._service = service

    @asynccontextmanager
    async def frozen(self) -> AsyncIterator[None]:
        await asyncio.to_thread(self._service.pause)
        try:
            yield
        finally:
            await asyncio.to_thread(self._service.resume)


class KafkaFaults(_ServiceFaults):
    """The broker's process stops; a topic is deleted."""

    async def take_away(self, bench: Bench, group: str) -> None:
        topic = bench.topics.retry(group)
        servers = self._service.url.removeprefix("kafka://")
        admin = AdminClient({"bootstrap.servers": servers})
        await asyncio.to_thread(admin.delete_topics([topic])[topic].result)

        async def it_is_gone() -> bool:
            listed = await asyncio.to_thread(admin.list_topics, timeout=10)
            return topic not in listed.topics

        await eventually(it_is_gone, f"{topic} to go")


class RabbitFaults(_ServiceFaults):
    """The broker's process stops; one binding of the group's first queue is deleted."""

    async def take_away(self, bench: Bench, group: str) -> None:
        management = urlsplit(self._service.management_url)  # type: ignore[attr-defined]  # RabbitMQ
        host = quote(urlsplit(self._service.url).path[1:] or "/", safe="")
        queue = quote(f"{bench.topics.prefix}.{group}.0", safe="")
        async with httpx2.AsyncClient(
            base_url=f"http://{management.hostname}:{management.port}/api",
            auth=(management.username or "guest", management.password or "guest"),
        ) as client:
            answer = await client.get(f"/queues/{host}/{queue}/bindings")
            answer.raise_for_status()
            bindings: list[dict[str, Any]] = answer.json()
            binding = next(b for b in bindings if b["source"] == bench.topics.prefix)
            exchange = quote(binding["source"], safe="")
            properties = quote(binding["properties_key"], safe="")
            gone = await client.delete(
                f"/bindings/{host}/e/{exchange}/q/{queue}/{properties}",
            )
            gone.raise_for_status()
