"""Exchanges, queues and bindings on RabbitMQ. Only this creates them; services verify.

Declares and binds go over AMQP and need the right to configure. What is there is asked of the
management API; without it, existence is asked passively, and bindings cannot be known.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiormq
import structlog

from bridge.brokers.base import Change
from bridge.brokers.rabbitmq.changes import command, creation, name_of, other_form, removal
from bridge.brokers.rabbitmq.connection import (
    RPC_TIMEOUT,
    close_channel,
    connected,
    unavailable,
)
from bridge.brokers.rabbitmq.layout import Binding, Exchange, Layout, Queue, Thing
from bridge.brokers.rabbitmq.management import Management, open_management
from bridge.errors import NotSupported, TopologyMissing
from bridge.settings import Settings
from bridge.topics import Group

_log = structlog.get_logger()
_warned: set[str] = set()


class RabbitTopology:
    """`Topology` on RabbitMQ."""

    def __init__(
        self, layout: Layout, connection: aiormq.Connection, management: Management | None
    ) -> None:
        self._layout = layout
        self._connection = connection
        self._management = management
        if management is None and "bindings" not in _warned:
            _warned.add("bindings")
            _log.warning(
                "bindings_not_verified",
                meaning="a queue that lost its binding misses messages and nobody notices",
                remedy="set BRIDGE_RABBITMQ_MANAGEMENT_URL=http://user:password@host:15672",
            )

    async def plan(self, groups: Sequence[Group]) -> Sequence[Change]:
        """See `Topology`. Without the management API, bindings of existing queues are left out."""
        return [change for change, _ in await self._steps(groups)]

    async def apply(self, groups: Sequence[Group]) -> Sequence[Change]:
        """See `Topology`. Without the management API, all is declared and bound again, unseen."""
        steps = await self._steps(groups)
        if self._management is None:
            # Declaring what is there changes nothing, and tells where it has another form.
            layout = self._layout
            for exchange in layout.exchanges():
                await self._create(exchange)
            for queue in layout.queues(groups):
                await self._create(queue)
            for binding in layout.bindings(groups):
                await self._create(binding)
            return [change for change, _ in steps]
        for change, thing in steps:
            if change.action == "remove":
                await self._unbind(thing)
            else:
                await self._create(thing)
        return [change for change, _ in steps]

    async def remove(self, group: str) -> Sequence[Change]:
        """See `Topology`."""
        layout = self._layout
        names = [queue.name for queue in layout.queues([Group(group, frozenset())])[2:]]
        changes = []
        for name in names:
            if await self._there("queue", name):
                await self._ask("delete_queue", name)
                changes.append(Change("remove", "queue", name, "with its messages and bindings"))
        if changes:
            changes.append(Change("remove", "group", group))
        return changes

    async def verify(self, groups: Sequence[Group]) -> None:
        """See `Topology`. Without the management API, arguments and bindings are not looked at."""
        for change, _ in await self._steps(groups, recorded=False):
            if change.action == "create":
                raise TopologyMissing(
                    f"RabbitMQ has no {change.kind} {change.name} {change.detail}".rstrip()
                    + f": run {command(groups)}"
                )

    async def groups(self) -> Sequence[Group]:
        """See `Topology`.

        Raises:
            NotSupported: without the management API.
        """
        if self._management is None:
            raise NotSupported(
                "RabbitMQ lists its groups through the management API only: "
                "set BRIDGE_RABBITMQ_MANAGEMENT_URL"
            )
        marks: dict[str, list[str]] = {}
        for binding in await self._management.bindings([self._layout.groups]):
            marks.setdefault(binding.queue, []).append(binding.key)
        found = [self._layout.group_of(queue, keys) for queue, keys in marks.items()]
        return sorted(found, key=lambda group: group.name)

    async def _steps(
        self, groups: Sequence[Group], *, recorded: bool = True
    ) -> list[tuple[Change, Thing]]:
        """What differs, with the thing it is about; `recorded` takes in all recorded groups."""
        everyone = {group.name: group for group in groups}
        if recorded and self._management is not None:
            everyone = {**{g.name: g for g in await self.groups()}, **everyone}
        wanted = list(everyone.values())
        if self._management is None:
            return await self._steps_by_asking(wanted)
        return await self._steps_by_management(self._management, wanted)

    async def _steps_by_management(
        self, management: Management, groups: Sequence[Group]
    ) -> list[tuple[Change, Thing]]:
        layout = self._layout
        exchanges = await management.exchanges()
        queues = await management.queues(layout.exchange)
        bound = await management.bindings([e.name for e in layout.exchanges()])
        steps: list[tuple[Change, Thing]] = []
        for exchange in layout.exchanges():
            if (state := exchanges.get(exchange.name)) is None:
                steps.append((creation(exchange), exchange))
            elif (state.type, state.arguments) != (exchange.type, exchange.arguments):
                raise TopologyMissing(other_form("exchange", exchange.name))
        for queue in layout.queues(groups):
            if (there := queues.get(queue.name)) is None:
                steps.append((creation(queue), queue))
            elif there.arguments != queue.arguments:
                raise TopologyMissing(other_form("queue", queue.name))
        wanted = layout.bindings(groups)
        steps += [(creation(b), b) for b in wanted if b not in bound]
        ours = {queue.name for queue in layout.queues(groups)}
        for extra in sorted(bound - set(wanted), key=lambda b: (b.queue, b.key)):
            if extra.queue in ours:
                steps.append((removal(extra), extra))
        return steps

    async def _steps_by_asking(self, groups: Sequence[Group]) -> list[tuple[Change, Thing]]:
        layout = self._layout
        steps: list[tuple[Change, Thing]] = [
            (creation(exchange), exchange)
            for exchange in layout.exchanges()
            if not await self._there("exchange", exchange.name)
        ]
        new = [q for q in layout.queues(groups) if not await self._there("queue", q.name)]
        steps += [(creation(queue), queue) for queue in new]
        names = {queue.name for queue in new}
        steps += [(creation(b), b) for b in layout.bindings(groups) if b.queue in names]
        return steps

    async def _there(self, kind: str, name: str) -> bool:
        try:
            await self._ask(f"find_{kind}", name)
        except TopologyMissing:
            return False
        return True

    async def _ask(self, what: str, name: str) -> None:
        """One question over a channel of its own: an answer of no ends the channel."""
        with unavailable(f"{what.replace('_', ' ')} {name}"):
            channel = await self._connection.channel(timeout=RPC_TIMEOUT, publisher_confirms=False)
            try:
                if what == "find_exchange":
                    await channel.exchange_declare(name, passive=True, timeout=RPC_TIMEOUT)
                elif what == "find_queue":
                    await channel.queue_declare(name, passive=True, timeout=RPC_TIMEOUT)
                else:
                    await channel.queue_delete(name, timeout=RPC_TIMEOUT)
            finally:
                await close_channel(channel)

    async def _create(self, thing: Thing) -> None:
        channel = await self._channel()
        try:
            with unavailable(f"create {name_of(thing)}"):
                if isinstance(thing, Exchange):
                    await channel.exchange_declare(
                        thing.name,
                        exchange_type=thing.type,
                        durable=True,
                        arguments=thing.arguments,
                        timeout=RPC_TIMEOUT,
                    )
                elif isinstance(thing, Queue):
                    await channel.queue_declare(
                        thing.name, durable=True, arguments=thing.arguments, timeout=RPC_TIMEOUT
                    )
                else:
                    await channel.queue_bind(
                        thing.queue, thing.exchange, thing.key, timeout=RPC_TIMEOUT
                    )
        except TopologyMissing as error:
            raise TopologyMissing(f"{error}. {other_form('thing', name_of(thing))}") from error
        finally:
            await close_channel(channel)

    async def _unbind(self, thing: Thing) -> None:
        if not isinstance(thing, Binding):
            return
        channel = await self._channel()
        with unavailable(f"unbind {name_of(thing)}"):
            await channel.queue_unbind(thing.queue, thing.exchange, thing.key, timeout=RPC_TIMEOUT)
        await close_channel(channel)

    async def _channel(self) -> aiormq.abc.AbstractChannel:
        with unavailable("open a channel"):
            return await self._connection.channel(timeout=RPC_TIMEOUT, publisher_confirms=False)


@asynccontextmanager
async def open_topology(settings: Settings) -> AsyncIterator[RabbitTopology]:
    """Topology, over a connection of its own.

    Raises:
        BrokerUnavailable: not reachable.
    """
    async with (
        open_management(settings) as management,
        connected(settings, "topology") as connection,
    ):
        yield RabbitTopology(Layout(settings), connection, management)
