"""The group publisher: many requests, few writes, one channel, one waiter for each request.

`publish` queues its request and waits. One task takes what has gathered, encodes it into one
buffer and hands that to the connection; meanwhile the next gathers, without any linger. At most
`WINDOW_MESSAGES` are unconfirmed at a time. The channel publishes nothing else, since its tags are
counted here. When the connection ends, or is stuck, everything written is unconfirmed, everything
still queued is rejected, and another connection is made.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import aiormq
import structlog
from aiormq.channel import Channel

from bridge.brokers.rabbitmq.confirms import Outgoing, Request
from bridge.brokers.rabbitmq.connection import (
    RECOVER_SECONDS,
    RPC_TIMEOUT,
    connected,
    is_blocked,
    unavailable,
)
from bridge.brokers.rabbitmq.group_writer import GroupWriter
from bridge.errors import (
    BrokerError,
    PublishRejected,
    PublishUnconfirmed,
    TopologyMissing,
)
from bridge.settings import Settings
from bridge.telemetry import LAST_CONFIRMED, SENT_MESSAGES

WINDOW_MESSAGES: Final = 4000
WINDOW_BYTES: Final = 16 * 1024 * 1024
GROUP_BYTES: Final = 1024 * 1024
"""Bytes of bodies in one write, so that a group never blocks the loop for long."""
OPEN_TIMEOUT: Final = 5.0
"""Seconds that opening waits for a first connection."""
FLUSH_TIMEOUT: Final = 5.0
_TICK: Final = 0.1
_RECHECK: Final = 2.0
"""Seconds between looks while the topology is missing."""

Check = Callable[[aiormq.Connection], Awaitable[None]]

_log = structlog.get_logger()


class GroupPublisher:
    """Publishes with confirms, over a connection of its own. Made by `open_publisher`."""

    def __init__(self, settings: Settings, purpose: str, check: Check) -> None:
        self._settings = settings
        self._purpose = purpose
        self._check = check
        self._queue: deque[Request] = deque()
        self._out: dict[Request, None] = {}
        self._out_messages = 0
        self._out_bytes = 0
        self._wake = asyncio.Event()
        self._broken = asyncio.Event()
        self._settled = asyncio.Event()
        self._channel: Channel | None = None
        self._why_not = "not connected to RabbitMQ"
        self._closing = False
        self._blocked = False
        self.missing: TopologyMissing | None = None
        self.last_confirmed: float | None = None

    async def write(self, entries: Sequence[Outgoing]) -> None:
        """Return when the broker confirmed all of `entries`. Cancelling does not cancel it.

        Raises:
            PublishRejected: certainly nothing of it is stored.
            PublishUnconfirmed: some or all of it may be stored.
        """
        if not entries:
            return
        if self._channel is None or self._closing:
            raise PublishRejected(self._why_not)
        if self._blocked:
            raise PublishRejected("RabbitMQ takes no messages: it has a memory or disk alarm")
        loop = asyncio.get_running_loop()
        request = Request(
            entries,
            size=sum(len(entry.message.body) for entry in entries),
            waiter=loop.create_future(),
            deadline=loop.time() + self._settings.publish_timeout,
            ended=self._confirmed,
        )
        self._queue.append(request)
        self._wake.set()
        await request.waiter

    # Connecting.

    async def run(self) -> None:
        """Stay connected until cancelled."""
        failures = 0
        while True:
            wait = RECOVER_SECONDS[min(failures, len(RECOVER_SECONDS) - 1)]
            try:
                async with connected(self._settings, self._purpose) as connection:
                    await self._check(connection)
                    self.missing = None
                    failures = 0
                    await self._serve(connection)
                    self._why_not = "the connection to RabbitMQ was lost"
            except TopologyMissing as error:
                if self.missing is None:
                    _log.error("topology_missing", broker="rabbitmq", reason=str(error))
                self.missing = error
                self._why_not = str(error)
                wait = _RECHECK
            except BrokerError as error:
                self._why_not = str(error)
                if failures == 0:
                    _log.warning("rabbitmq_unreachable", purpose=self._purpose, reason=str(error))
            except Exception:  # noqa: BLE001 - without this task nothing would ever be published again
                _log.exception("rabbitmq_publisher_failed", purpose=self._purpose)
            failures += 1
            self._settled.set()
            await asyncio.sleep(wait)

    async def _serve(self, connection: aiormq.Connection) -> None:
        """Publish over this connection until it ends or is stuck."""
        with unavailable("open a channel"):
            channel = await connection.channel(
                timeout=RPC_TIMEOUT, publisher_confirms=True, on_return_raises=True
            )
        if not isinstance(channel, Channel):
            raise TypeError("aiormq gives another kind of channel than this was written for")
        self._broken.clear()
        closing = channel.closing
        closing.add_done_callback(lambda _: self._broken.set())
        writing = asyncio.create_task(
            self._write_forever(GroupWriter(channel)), name="rabbitmq-writer"
        )
        writing.add_done_callback(lambda _: self._broken.set())
        self._channel = channel
        self._settled.set()
        try:
            await self._broken.wait()
        finally:
            self._channel = None
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            self._give_up()

    def _give_up(self) -> None:
        """Nothing more will be heard of what is out; nothing was written of what is queued."""
        for request in self._out:
            self._count(request, "PublishUnconfirmed")
            request.fail(PublishUnconfirmed("the connection to RabbitMQ was lost before a confirm"))
        for request in self._queue:
            self._count(request, "PublishRejected")
            request.fail(PublishRejected("the connection to RabbitMQ was lost"))
        self._out.clear()
        self._queue.clear()
        self._out_messages = self._out_bytes = 0

    # Writing: only the one writing task.

    async def _write_forever(self, writer: GroupWriter) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue and self._has_room:
                await writer.write(self._take_group(writer))

    @property
    def _has_room(self) -> bool:
        return self._out_messages < WINDOW_MESSAGES and self._out_bytes < WINDOW_BYTES

    def _take_group(self, writer: GroupWriter) -> list[bytes]:
        """Encode what has gathered. A request is written whole or not at all."""
        parts: list[bytes] = []
        size = 0
        while self._queue and self._has_room and size < GROUP_BYTES:
            request = self._queue.popleft()
            try:
                parts += writer.encode(request)
            except PublishRejected as failure:
                request.fail(failure)
                continue
            except Exception:
                # A bug of ours: no caller may wait for ever, and the writer is built anew.
                request.fail(PublishUnconfirmed("the message could not be encoded"))
                raise
            self._out[request] = None
            self._out_messages += len(request.entries)
            self._out_bytes += request.size
            size += request.size
        return parts

    # Outcomes.

    def _confirmed(self, request: Request) -> None:
        """The last answer to a request has come, also for one whose caller is long gone."""
        if request not in self._out:
            return
        del self._out[request]
        self._out_messages -= len(request.entries)
        self._out_bytes -= request.size
        self._wake.set()
        failure = request.failure
        if failure is None:
            self.last_confirmed = time.monotonic()
            self._count(request, "")
            if not request.waiter.done():
                request.waiter.set_result(None)
        else:
            self._count(request, type(failure).__name__)
            request.fail(failure)

    def _count(self, request: Request, error: str) -> None:
        if len(request.entries) == 1:
            SENT_MESSAGES.labels("rabbitmq", request.entries[0].message.topic, error).inc()
            return
        for topic, count in Counter(e.message.topic for e in request.entries).items():
            SENT_MESSAGES.labels("rabbitmq", topic, error).inc(count)

    async def watch(self) -> None:
        """Look for alarms; end the wait of callers whose deadline has passed. Until cancelled."""
        shown: float | None = None
        while True:
            await asyncio.sleep(_TICK)
            now = asyncio.get_running_loop().time()
            self._blocked = self._channel is not None and is_blocked(self._channel.connection)
            while self._queue and self._queue[0].deadline <= now:
                # It has waited for room all the time, and will not be written now.
                self._queue.popleft().fail(PublishRejected("RabbitMQ takes no more messages"))
            for request in self._out:
                if request.deadline > now:
                    break
                request.fail(
                    PublishUnconfirmed("RabbitMQ did not confirm within the publish deadline")
                )
            if self._is_stuck(now):
                _log.warning("rabbitmq_stuck", purpose=self._purpose, unconfirmed=len(self._out))
                self._broken.set()
            if shown != self.last_confirmed:
                shown = self.last_confirmed
                LAST_CONFIRMED.set_to_current_time()

    def _is_stuck(self, now: float) -> bool:
        """Whether nothing was confirmed since the oldest write, for as long as a caller waits.

        One queue without its quorum does not stop the others: then confirms still come, and only
        the number of those that never come decides.
        """
        oldest = next(iter(self._out), None)
        if oldest is None or oldest.deadline > now or self._blocked:
            return False
        quiet = self.last_confirmed is None or (
            time.monotonic() - self.last_confirmed > self._settings.publish_timeout
        )
        return quiet or not self._has_room

    # Opening and leaving.

    async def settle(self) -> None:
        """Wait for the first connection, or for the first reason why there is none."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._settled.wait(), OPEN_TIMEOUT)

    async def flush(self) -> None:
        """Take no new; wait for what is out, but no longer than the flush timeout."""
        self._closing = True
        self._why_not = "the publisher is closed"
        waiters = [request.waiter for request in (*self._out, *self._queue)]
        if waiters:
            await asyncio.wait(waiters, timeout=FLUSH_TIMEOUT)


@asynccontextmanager
async def open_publisher(
    settings: Settings, *, purpose: str, check: Check
) -> AsyncIterator[GroupPublisher]:
    """A publisher that connects in the background.

    Args:
        settings: where to.
        purpose: names the connection, for people who look at the broker.
        check: run on each new connection before anything is published over it.

    Raises:
        TopologyMissing: `check` said so on the first connection.
    """
    publisher = GroupPublisher(settings, purpose, check)
    running = [
        asyncio.create_task(publisher.run(), name="rabbitmq-publisher"),
        asyncio.create_task(publisher.watch(), name="rabbitmq-publisher-watch"),
    ]
    try:
        await publisher.settle()
        if publisher.missing is not None:
            raise publisher.missing
        yield publisher
        await publisher.flush()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
