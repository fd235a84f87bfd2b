"""`Lane` on the embedded log: one hash range, read from its position."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import msgspec
import structlog

from bridge.brokers.base import Delivery
from bridge.brokers.embedded import leases
from bridge.brokers.embedded.connections import BUSY_PAUSE, Database
from bridge.brokers.embedded.leases import Claim
from bridge.brokers.embedded.reading import Stored, View, read_log, read_retries
from bridge.errors import BridgeError, BrokerUnavailable, LaneLost

LOOKED_AT: Final = 10_000
"""Positions of others after which an idle lane notes how far it has looked."""


_log = structlog.get_logger()


class Token(msgspec.Struct, frozen=True):
    """Where a delivery lies: in the log, or among the replays."""

    position: int
    replay: bool


class EmbeddedLane:
    """`Lane` on the embedded log. Made by the subscriber, worked by one task.

    Args:
        claim: number, epoch, and the position acked last.
        view: what it reads.
        log: to read from.
        group: the group's file, for acks and replays.
        retry_topic: named as the origin of replays.
        released: called when it is given back.
    """

    def __init__(
        self,
        claim: Claim,
        view: View,
        *,
        log: Database,
        group: Database,
        retry_topic: str,
        released: Callable[["EmbeddedLane"], None],
    ) -> None:
        self.claim = claim
        self._view = view
        self._log = log
        self._group = group
        self._retry_topic = retry_topic
        self._released = released
        self._acked = claim.position
        self._scanned = claim.position
        self._retried = 0
        self._replays_wait = True
        self._newest_given = claim.position
        self._unacked: deque[Token] = deque()
        self._suspended = False
        self._news = asyncio.Event()
        self._over = asyncio.Event()
        self._closed = False
        self._failure: BridgeError | None = None

    @property
    def number(self) -> int:
        """See `Lane`."""
        return self.claim.lane

    @property
    def hold_limit(self) -> float | None:
        """See `Lane`. The lease is renewed apart from the work, so there is none."""
        return None

    @property
    def over(self) -> asyncio.Event:
        """See `Lane`."""
        return self._over

    @property
    def closing(self) -> bool:
        """Whether it is given back, or about to be."""
        return self._closed

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """See `Lane`. Nothing changes until the read has ended: it may be cancelled."""
        size = 1 if self._suspended else max(1, limit)
        while not self._over.is_set():
            self._news.clear()
            try:
                if deliveries := await self._read(size):
                    # Ended meanwhile: another replica may begin with these.
                    return [] if self._over.is_set() else self._give(deliveries)
                await self._note_progress()
            except BrokerUnavailable:
                await asyncio.sleep(BUSY_PAUSE)
                continue
            await self._news.wait()
        if self._failure is not None:
            raise self._failure
        return []

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See `Lane`."""
        if not deliveries:
            return
        if self._closed:
            raise LaneLost(f"lane {self.number} was closed")
        done: list[Token] = [delivery.token for delivery in deliveries]
        replays = [token.position for token in done if token.replay]
        position = max((t.position for t in done if not t.replay), default=self._acked)
        rest = set(self._unacked) - set(done)
        if not rest:
            # What lies between is of other lanes and topics.
            position = max(position, self._scanned)
        await self._settle(position, replays)
        self._acked = max(self._acked, position)
        self._unacked = deque(token for token in self._unacked if token in rest)

    async def _settle(self, position: int, replays: list[int]) -> None:
        """Write the ack; a locked file or a full disk is waited out as long as the lane lasts."""
        step = partial(leases.settle, claim=self.claim, position=position, retries=replays)
        while True:
            try:
                return await self._group.run(step)
            except BrokerUnavailable as error:
                if self._over.is_set():
                    raise LaneLost(f"lane {self.number} ended before its ack: {error}") from error
                _log.warning("ack_waits", lane=self.number, why=str(error))
                await asyncio.sleep(BUSY_PAUSE)

    async def suspend(self) -> None:
        """See `Lane`."""
        self._suspended = True
        self._unacked.clear()
        self._scanned = self._acked
        self._retried = 0
        self._replays_wait = True

    async def resume(self) -> None:
        """See `Lane`."""
        self._suspended = False

    async def close(self) -> None:
        """See `Lane`."""
        if self._closed:
            return
        self._closed = True
        self.finish()
        position = self._acked if self._unacked else self._scanned
        try:
            await self._group.run(partial(leases.release, claim=self.claim, position=position))
        except BrokerUnavailable as error:
            # It stays ours until the lease ends, or is claimed again here.
            _log.warning("lane_not_released", lane=self.number, why=str(error))
        finally:
            self._released(self)

    def finish(self, failure: BridgeError | None = None) -> None:
        """The lane is over: nothing more is given out."""
        self._failure = self._failure or failure
        self._over.set()
        self._news.set()

    def wake(self, *, replays: bool) -> None:
        """There may be something new, in the log or among the replays."""
        self._replays_wait = self._replays_wait or replays
        self._news.set()

    async def _read(self, limit: int) -> list[tuple[Stored, bool]]:
        """What comes next, replays first; each with whether it is one."""
        found: list[tuple[Stored, bool]] = []
        if self._replays_wait:
            self._replays_wait = False
            try:
                replays = await self._group.run(
                    partial(read_retries, view=self._view, after=self._retried, limit=limit)
                )
            except BaseException:
                self._replays_wait = True
                raise
            found = [(stored, True) for stored in replays.found]
            # There may be more; and if this read is cancelled now, these come again.
            self._replays_wait = self._replays_wait or bool(found)
        if found:
            return found
        part = await self._log.run(
            partial(read_log, view=self._view, after=self._scanned, limit=limit)
        )
        if not part.found:
            self._scanned = max(self._scanned, part.scanned)
        return [(stored, False) for stored in part.found]

    def _give(self, found: Sequence[tuple[Stored, bool]]) -> list[Delivery]:
        deliveries: list[Delivery] = []
        for stored, replay in found:
            position, message = stored.position, stored.message
            token = Token(position, replay)
            topic = self._retry_topic if replay else message.topic
            again = not replay and position <= self._newest_given
            if replay:
                self._retried = position
            else:
                self._scanned = position
                self._newest_given = max(self._newest_given, position)
            self._unacked.append(token)
            origin = f"{topic}/{self.number}@{position}"
            deliveries.append(Delivery(message, origin, stored.stored_at, again, token))
        return deliveries

    async def _note_progress(self) -> None:
        """Keep how far an idle lane has looked, so that a restart need not look again."""
        if self._unacked or self._scanned - self._acked < LOOKED_AT:
            return
        position = self._scanned
        try:
            await self._group.run(
                partial(leases.settle, claim=self.claim, position=position, retries=[])
            )
            self._acked = max(self._acked, position)
        except LaneLost:
            self.finish()
