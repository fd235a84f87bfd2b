"""The one writer of the log: a thread that commits whatever waits, as one group.

    publish ─► queue ─► [ BEGIN · INSERT every row · COMMIT (synced) ] ─► one call to the loop

There is no linger: while one group is being synced the next gathers by itself.
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final

import apsw

from bridge.brokers.embedded.connections import rows, transaction
from bridge.brokers.embedded.requests import Request
from bridge.brokers.embedded.retention import Retention
from bridge.brokers.embedded.room import Room
from bridge.errors import BridgeError, PublishRejected, PublishUnconfirmed, StorageFailed

GROUP_ROWS: Final = 2_000
GROUP_BYTES: Final = 8 * 1024 * 1024
_IDLE: Final = 1.0  # seconds after which an idle writer looks at retention
_SLOT: Final = "INSERT INTO slots VALUES (?, ?, ?, ?)"
_MESSAGE: Final = "INSERT INTO messages VALUES (?, ?, ?, ?, ?)"


class Writer:
    """Owns the writing connection, in a thread of its own, until `stop`.

    Args:
        connection: opened and checked; used by the thread only from here on.
        room: whether there is space.
        retention: what is old.
        report: called on the event loop after each group with how many rows each topic got, and
            with what the group failed of, if it did.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        *,
        room: Room,
        retention: Retention,
        report: Callable[[Counter[str], BridgeError | None], None],
    ) -> None:
        self._connection = connection
        self._room = room
        self._retention = retention
        self._report = report
        self._queue: SimpleQueue[Request | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        # A disk that hangs for ever must not keep the process: hence a daemon.
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._ended = asyncio.Event()
        self._stopping = False
        self._topics: dict[str, int] = {}
        self._next = 1
        self.failed: StorageFailed | None = None
        """Set once: from then on everything is refused."""

    def start(self) -> None:
        """Begin. The connection is the thread's from now on."""
        self._thread.start()

    def write(self, request: Request) -> None:
        """Queue it; `request.finished` is set on the loop when it is decided."""
        self._queue.put(request)

    def withdraw(self, request: Request) -> bool:
        """Take a request back. False: too late, it may be stored."""
        with self._lock:
            if request.state != "waiting":
                return False
            request.state = "withdrawn"
            return True

    async def stop(self, seconds: float) -> bool:
        """Commit what waits, close the connection. False: not ended within `seconds`."""
        self._stopping = True
        self._queue.put(None)
        try:
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        except TimeoutError:
            return False
        return True

    # Everything below runs in the thread.

    def _run(self) -> None:
        try:
            self._load()
            while (group := self._gather()) is not None:
                if group:
                    self._commit(group)
                if self.failed is None and self._retention.due:
                    self._retain()
        except BaseException as error:
            # A bug of ours: without the thread every publish would wait for its deadline.
            self.failed = StorageFailed(f"writing the log ended: {error!r}")
            raise
        finally:
            self._refuse_rest()
            self._close()
            self._call(self._ended.set)

    def _load(self) -> None:
        try:
            last = self._connection.execute("SELECT coalesce(max(position), 0) FROM slots").get
            self._next = last + 1
            self._topics = dict(rows(self._connection, "SELECT name, id FROM topics"))
        except apsw.Error as error:
            self.failed = StorageFailed(f"reading the log failed: {error}")

    def _gather(self) -> list[Request] | None:
        """Everything that waits, up to the caps; None at the end."""
        try:
            request = self._queue.get(timeout=_IDLE)
        except Empty:
            return []
        group: list[Request] = []
        rows = size = 0
        while request is not None:
            if self._take(request):
                group.append(request)
                rows += len(request.rows)
                size += request.size
            if rows >= GROUP_ROWS or size >= GROUP_BYTES:
                return group
            try:
                request = self._queue.get_nowait()
            except Empty:
                return group
        if group:
            self._queue.put(None)  # the end again, behind what was before it
            return group
        return None

    def _take(self, request: Request) -> bool:
        with self._lock:
            if request.state == "withdrawn":
                return False
            request.state = "taken"
            return True

    def _commit(self, group: Sequence[Request]) -> None:
        failure: BridgeError | None = self._refusal()
        counts: Counter[str] = Counter()
        size = sum(request.size for request in group)
        try:
            if failure is None and (why := self._room.lacking(self._connection, size)):
                failure = PublishRejected(why)
            if failure is None and not self._insert(group, counts):
                failure = PublishUnconfirmed("the log is locked by another program")
        except apsw.FullError:
            # Nothing of the transaction is in the file: SQLite has rolled it back.
            failure = PublishRejected("no space left on the disk")
        except (apsw.Error, OSError) as error:
            # After a failed sync nobody knows what the disk holds: no further word of ours counts.
            failure = self.failed = StorageFailed(f"writing the log failed: {error}")
            failure.__cause__ = error
        if failure is not None:
            for request in group:
                counts.update(row[0] for row in request.rows)
        self._call(lambda: self._finish(group, counts, failure))

    def _refusal(self) -> BridgeError | None:
        return None if self.failed is None else StorageFailed(str(self.failed))

    def _insert(self, group: Sequence[Request], counts: Counter[str]) -> bool:
        """Store the group in one transaction. False: stopped while another program held it."""
        while True:
            try:
                with transaction(self._connection):
                    topics, position = self._insert_rows(group, counts)
            except apsw.BusyError:
                counts.clear()
                # Somebody's backup or shell: their callers give up by themselves.
                if self._stopping:
                    return False
                continue
            self._topics.update(topics)
            self._next = position
            return True

    def _insert_rows(
        self, group: Sequence[Request], counts: Counter[str]
    ) -> tuple[dict[str, int], int]:
        """New topics (kept only once they are committed) and the next position."""
        now = time.time()
        position = self._next
        new: dict[str, int] = {}
        slots: list[tuple[int, int, int, float]] = []
        messages: list[tuple[int, bytes, bytes, int, bytes]] = []
        for request in group:
            for topic, hash_, key, headers, checksum, body in request.rows:
                number = self._topics.get(topic) or new.get(topic)
                if number is None:
                    self._connection.execute("INSERT INTO topics (name) VALUES (?)", (topic,))
                    number = new[topic] = self._connection.last_insert_rowid()
                counts[topic] += 1
                slots.append((position, number, hash_, now))
                messages.append((position, key, headers, checksum, body))
                position += 1
        self._connection.executemany(_SLOT, slots)
        self._connection.executemany(_MESSAGE, messages)
        return new, position

    def _retain(self) -> None:
        try:
            self._retention.turn(self._connection)
        except (apsw.BusyError, apsw.FullError):
            pass  # next time
        except apsw.Error as error:
            self.failed = self.failed or StorageFailed(f"trimming the log failed: {error}")

    def _refuse_rest(self) -> None:
        """Answer whoever still waits: after the end, or a defect of ours in the thread."""
        rest: list[Request] = []
        with suppress(Empty):
            while True:
                request = self._queue.get_nowait()
                if request is not None and self._take(request):
                    rest.append(request)
        if rest:
            failure = self._refusal() or PublishRejected("the publisher has ended")
            self._call(lambda: self._finish(rest, Counter(), failure))

    def _close(self) -> None:
        try:
            self._connection.close()
        except apsw.Error as error:
            self.failed = self.failed or StorageFailed(f"closing the log failed: {error}")

    def _call(self, step: Callable[[], object]) -> None:
        # A closed loop: nobody waits any more.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(step)

    # On the loop again.

    def _finish(
        self, group: Sequence[Request], counts: Counter[str], failure: BridgeError | None
    ) -> None:
        for request in group:
            request.failure = failure
            request.finished.set()
        self._report(counts, failure)
