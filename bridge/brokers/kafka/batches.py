"""What is on its way to Kafka: requests, the batches that carry their records, and partitions.

A request (one publish call) is encoded at once into the open group. A group holds one or more
batches for each partition it touches. Nothing is kept per record: a batch knows the requests that
put something in it, a request counts its batches, and the last one to end wakes the caller.
"""

import asyncio
import time
from collections import deque

from aiokafka import TopicPartition
from aiokafka.producer.message_accumulator import BatchBuilder

from bridge.errors import PublishError, PublishRejected, PublishUnconfirmed
from bridge.message import Headers


class Request:
    """One publish call on its way.

    Args:
        waiter: a future of the running loop.
        deadline: `time.monotonic()` after which the caller is told that it is unknown.

    Attributes:
        waiter: done when the outcome is known; owned by one caller, so a cancelled caller
            cancels nobody else's.
    """

    __slots__ = ("_failure", "_pending", "_stored", "_unknown", "deadline", "waiter")

    def __init__(self, waiter: asyncio.Future[None], deadline: float) -> None:
        self.waiter = waiter
        self.deadline = deadline
        self._pending = 0
        self._stored = False
        self._unknown = False
        self._failure = ""

    def joined(self) -> None:
        """One more batch carries something of it."""
        self._pending += 1

    def settled(self, failure: PublishError | None) -> None:
        """One of its batches ended."""
        self._pending -= 1
        if failure is None:
            self._stored = True
        else:
            self._failure = self._failure or str(failure)
            self._unknown = self._unknown or not isinstance(failure, PublishRejected)
        if self._pending == 0 and not self.waiter.done():
            self._decide()

    def expire(self) -> None:
        """Its deadline passed: the outcome is unknown and stays so."""
        if not self.waiter.done():
            self.waiter.set_exception(
                PublishUnconfirmed("Kafka did not confirm within the publish deadline")
            )

    def _decide(self) -> None:
        if not self._failure:
            self.waiter.set_result(None)
        elif self._stored or self._unknown:
            self.waiter.set_exception(PublishUnconfirmed(self._failure))
        else:
            self.waiter.set_exception(PublishRejected(self._failure))


class Batch:
    """Records of one partition that travel together, and the requests they belong to.

    Attributes:
        holds: whether it still counts for the slot of its group.
        since: `time.monotonic()` when it was sealed, later when it was handed to the client.
    """

    __slots__ = ("builder", "group", "holds", "records", "requests", "since")

    def __init__(self, builder: BatchBuilder, group: "Group") -> None:
        self.builder = builder
        self.group = group
        self.requests: list[Request] = []
        self.records = 0
        self.holds = True
        self.since = 0.0

    def append(self, stamp: int, key: bytes, value: bytes | None, headers: Headers) -> bool:
        """Encode one record into it; False where it is full. `stamp` is unix time in ms."""
        taken = self.builder.append(timestamp=stamp, key=key, value=value, headers=list(headers))
        return taken is not None

    def settle(self, failure: PublishError | None) -> None:
        """Tell every request that has something in it."""
        for request in self.requests:
            request.settled(failure)


class Group:
    """What gathers while earlier groups are out.

    Attributes:
        batches: in the order they were begun, with their partition.
        open: the batch of each partition that still takes records.
        holding: batches that keep its slot taken.
    """

    __slots__ = ("batches", "holding", "open", "records", "size")

    def __init__(self) -> None:
        self.batches: list[tuple[TopicPartition, Batch]] = []
        self.open: dict[tuple[str, int], Batch] = {}
        self.records = 0
        self.size = 0
        self.holding = 0


class Partition:
    """The queue before one partition.

    Attributes:
        out: the batches that the client has: one on the wire and one behind it at most. It keeps
            their order whatever it retries.
        waiting: sealed batches behind these.
        stuck: whether it was slow; then its batches take no slot, so that others go on.
    """

    __slots__ = ("out", "queued", "stuck", "tp", "waiting")

    def __init__(self, tp: TopicPartition) -> None:
        self.tp = tp
        self.out: deque[Batch] = deque()
        self.waiting: deque[Batch] = deque()
        self.stuck = False
        self.queued = False

    def slow(self, seconds: float) -> bool:
        """Whether its oldest batch has been waiting or out for longer than `seconds`."""
        oldest = self.out[0] if self.out else self.waiting[0] if self.waiting else None
        return oldest is not None and time.monotonic() - oldest.since > seconds

    def expired(self, seconds: float) -> list[Batch]:
        """Take off the batches that waited longer than `seconds`; nothing of them was sent."""
        taken = []
        limit = time.monotonic() - seconds
        while self.waiting and self.waiting[0].since < limit:
            taken.append(self.waiting.popleft())
        return taken
