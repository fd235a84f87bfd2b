"""`Publisher` on the embedded log."""

import asyncio
import fcntl
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import apsw

from bridge.brokers.embedded.connections import connect, mapped
from bridge.brokers.embedded.paths import Places, is_there, refuse_network_file_system
from bridge.brokers.embedded.records import Row, row_of
from bridge.brokers.embedded.requests import Request
from bridge.brokers.embedded.retention import Retention
from bridge.brokers.embedded.room import Room
from bridge.brokers.embedded.schema import APPLY, check_log
from bridge.brokers.embedded.signals import notify, writing
from bridge.brokers.embedded.writer import Writer
from bridge.errors import (
    BridgeError,
    BrokerUnavailable,
    PublishRejected,
    PublishUnconfirmed,
    StorageFailed,
    TopologyMissing,
)
from bridge.message import MAX_LARGE_MESSAGE_BYTES, MAX_MESSAGE_BYTES, Message
from bridge.settings import Settings
from bridge.telemetry import LAST_CONFIRMED, SENT_MESSAGES

FLUSH_TIMEOUT: Final = 5.0
"""Seconds that leaving waits for what was handed over."""
_PRIVATE: Final = 0o600


class EmbeddedPublisher:
    """A `Publisher` on the embedded log. Made by `open_publisher`."""

    def __init__(self, places: Places, settings: Settings, connection: apsw.Connection) -> None:
        self._places = places
        self._timeout = settings.publish_timeout
        topics = settings.topics
        self._limits = dict.fromkeys(topics.published, MAX_MESSAGE_BYTES)
        self._limits[topics.malformed] = MAX_LARGE_MESSAGE_BYTES
        self._last_confirmed: float | None = None
        self._writer = Writer(
            connection,
            room=Room(places.log, settings),
            retention=Retention(settings.embedded_retention_days),
            report=self._report,
        )
        self._closed = False

    @property
    def last_confirmed(self) -> float | None:
        """See `Publisher`."""
        return self._last_confirmed

    async def publish(self, messages: Sequence[Message]) -> None:
        """See `Publisher`.

        Raises:
            PublishRejected: certainly nothing of it is stored.
            PublishUnconfirmed: all or nothing of it may be stored.
            StorageFailed: writing failed, now or before: nothing is confirmed any more.
        """
        if not messages:
            return
        if self._writer.failed is not None:
            raise StorageFailed(str(self._writer.failed)) from self._writer.failed
        if self._closed:
            raise PublishRejected("the publisher has ended")
        request = self._request(messages)
        self._writer.write(request)
        try:
            async with asyncio.timeout(self._timeout):
                await request.finished.wait()
        except TimeoutError as late:
            if self._writer.withdraw(request):
                raise PublishRejected("the disk did not get to it in time") from late
            raise PublishUnconfirmed("the disk did not confirm in time") from late
        if request.failure is not None:
            # A new one for each caller: a traceback belongs to one.
            raise type(request.failure)(str(request.failure)) from request.failure

    def _request(self, messages: Sequence[Message]) -> Request:
        """Pack the messages.

        Raises:
            PublishRejected: a topic that is not there, or a message over its limit.
        """
        rows: list[Row] = []
        total = 0
        for message in messages:
            row = row_of(message)
            size = len(row[2]) + len(row[3]) + len(row[5])
            limit = self._limits.get(message.topic)
            if limit is None:
                raise PublishRejected(f"the log has no topic {message.topic}")
            if size > limit:
                raise PublishRejected(
                    f"a message of {size} bytes is over the limit of {message.topic}, {limit} bytes"
                )
            total += size
            rows.append(row)
        return Request(rows, total)

    def _report(self, counts: Counter[str], failure: BridgeError | None) -> None:
        error = "" if failure is None else type(failure).__name__
        for topic, count in counts.items():
            SENT_MESSAGES.labels("embedded", topic, error).inc(count)
        if failure is None:
            self._last_confirmed = time.monotonic()
            LAST_CONFIRMED.set_to_current_time()
            notify(self._places.log)

    def start(self) -> None:
        """Begin to write."""
        self._writer.start()

    async def close(self) -> bool:
        """Take no more, commit what waits. False: the disk did not end in time."""
        self._closed = True
        return await self._writer.stop(FLUSH_TIMEOUT)


@asynccontextmanager
async def open_publisher(places: Places, settings: Settings) -> AsyncIterator[EmbeddedPublisher]:
    """The one publisher of this log.

    Raises:
        TopologyMissing: there is no log; says the command.
        StorageFailed: it cannot be trusted.
        BrokerUnavailable: another process writes it.
        ConfigurationError: it lies on a network file system.
    """
    if not is_there(places.log):
        raise TopologyMissing(f"there is no log {places.log}: {APPLY}")
    refuse_network_file_system(places.log)
    with _only_writer(places) as lock:
        # The check reads the whole file: not on the event loop.
        connection = await asyncio.to_thread(_open_checked, places)
        try:
            publisher = EmbeddedPublisher(places, settings, connection)
            publisher.start()
        except BaseException:
            connection.close()
            raise
        with writing(places.log):
            try:
                yield publisher
            finally:
                if not await asyncio.shield(publisher.close()):
                    # The thread may write still: only the end of the process frees the lock.
                    lock.keep()


def _open_checked(places: Places) -> apsw.Connection:
    connection = connect(places.log, "write")
    try:
        with mapped(places.log):
            check_log(connection, places.log)
            found = connection.execute("PRAGMA quick_check(1)").get
        _refuse_damage(places, found)
    except BaseException:
        connection.close()
        raise
    return connection


def _refuse_damage(places: Places, found: object) -> None:
    if found != "ok":
        raise StorageFailed(f"{places.log} is damaged: {found}")


class _Lock:
    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._kept = False

    def keep(self) -> None:
        self._kept = True

    def release(self) -> None:
        if not self._kept:
            os.close(self._handle)


@contextmanager
def _only_writer(places: Places) -> Iterator[_Lock]:
    """Hold the lock of the log's writer.

    Raises:
        BrokerUnavailable: another process holds it; it may end.
        StorageFailed: it cannot be locked at all.
    """
    try:
        handle = os.open(places.lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, _PRIVATE)
    except OSError as error:
        raise StorageFailed(f"cannot lock {places.log}: {error}") from error
    lock = _Lock(handle)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(handle, 100, 0).decode("ascii", "replace").strip()
            raise BrokerUnavailable(
                f"{places.log} is written by another process ({holder or 'unknown'}): one ingress "
                "for each embedded log; use Kafka or RabbitMQ for several"
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"pid {os.getpid()}\n".encode(), 0)
        yield lock
    finally:
        lock.release()
