"""`Subscriber` on the embedded log: a member of its group, with a fair share of the lanes."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from bridge.brokers.base import Lane
from bridge.brokers.embedded import leases, signals
from bridge.brokers.embedded.connections import BUSY_PAUSE, Database, open_database
from bridge.brokers.embedded.following import Follower, change_counter
from bridge.brokers.embedded.lane import EmbeddedLane
from bridge.brokers.embedded.leases import Claim, Held
from bridge.brokers.embedded.paths import Places
from bridge.brokers.embedded.reading import View
from bridge.brokers.embedded.topology import verify_group
from bridge.errors import BridgeError, BrokerError, BrokerUnavailable
from bridge.settings import Settings
from bridge.topics import Group

LOOK: Final = 0.25
"""Seconds between looks at the group's file: other members, replays by the command line."""

_log = structlog.get_logger()


class EmbeddedSubscriber:
    """`Subscriber` on the embedded log. Made by `open_subscriber`.

    Args:
        settings: number of lanes, drain timeout, prefix.
        group: what it reads.
        places: the files.
        log: reads messages.
        acks: writes positions.
        shares: writes leases; apart from acks, so that a slow ack does not cost the lease.
    """

    def __init__(
        self,
        settings: Settings,
        group: Group,
        *,
        places: Places,
        log: Database,
        acks: Database,
        shares: Database,
    ) -> None:
        self._settings = settings
        self._group = group
        self._places = places
        self._log = log
        self._acks = acks
        self._shares = shares
        self._member = leases.new_member()
        self._lanes: dict[int, EmbeddedLane] = {}
        self._ended_at: dict[int, float] = {}
        self._assigned: asyncio.Queue[EmbeddedLane | None] = asyncio.Queue()
        self._ended = False
        self._failure: BridgeError | None = None
        self._renew_at = 0.0
        self._check_at = 0.0
        self._follower = Follower(
            log,
            places.log,
            lanes=settings.embedded_lanes,
            topics=settings.topics.read_by(group),
            tell=self._wake,
        )

    async def lanes(self) -> AsyncIterator[Lane]:
        """See `Subscriber`."""
        while (lane := await self._assigned.get()) is not None:
            if lane.over.is_set():
                await lane.close()
            else:
                yield lane
        if self._failure is not None:
            raise self._failure

    def end(self) -> None:
        """See `Subscriber`."""
        self._ended = True
        for lane in self._lanes.values():
            lane.finish()
        self._assigned.put_nowait(None)

    async def run(self) -> None:
        """Keep the share and follow the news until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follower.run())
                tasks.create_task(self._keep_share())
        except* Exception as failures:  # noqa: BLE001 - a defect of ours too: nobody must wait for ever
            # Whoever works a lane learns why it ended.
            first = failures.exceptions[0]
            self._failure = first if isinstance(first, BridgeError) else BrokerError(repr(first))
            for lane in self._lanes.values():
                lane.finish(self._failure)
            self.end()

    async def join(self) -> None:
        """Become a member and take what is free."""
        await self._follower.begin()
        await self.tend()

    async def leave(self) -> None:
        """Leave the group; what is not acked goes to whoever gets the lane."""
        self.end()
        for lane in tuple(self._lanes.values()):
            lane.finish()
            with suppress(BrokerError):
                await lane.close()
        with suppress(BrokerError):
            await self._shares.run(partial(leases.leave, member=self._member))
        signals.notify(self._file)

    async def tend(self) -> None:
        """Renew when it is time, end what is surplus or lost, take what is free."""
        held = {
            number: Held(lane.claim.epoch, lane.over.is_set())
            for number, lane in self._lanes.items()
        }
        renew = time.monotonic() >= self._renew_at
        self._check_at = time.monotonic() + leases.CHECK
        share = await self._shares.run(
            partial(leases.tend, member=self._member, held=held, renew=renew, take=not self._ended)
        )
        if renew or share.claimed:
            self._renew_at = time.monotonic() + leases.RENEW
        for number in share.lost:
            # One that is being given back is nobody's in the file already.
            if (lane := self._lanes.get(number)) and not lane.closing:
                del self._lanes[number]
                _log.warning("lane_lost", group=self._group.name, lane=number)
                lane.finish()
        for number in share.surplus:
            if lane := self._lanes.get(number):
                lane.finish()
        await self._close_overdue()
        for claim in share.claimed:
            self._take(claim)
        if share.claimed:
            signals.notify(self._file)

    async def _close_overdue(self) -> None:
        """A lane whose task does not end keeps no other replica waiting for ever."""
        now = time.monotonic()
        for number, lane in tuple(self._lanes.items()):
            if not lane.over.is_set():
                self._ended_at.pop(number, None)
            elif (
                now - self._ended_at.setdefault(number, now) > self._settings.consume_drain_timeout
            ):
                await lane.close()

    def _take(self, claim: Claim) -> None:
        lane = EmbeddedLane(
            claim,
            View(claim.lane, self._settings.embedded_lanes, self._topics),
            log=self._log,
            group=self._acks,
            retry_topic=self._settings.topics.retry(self._group.name),
            released=self._given_back,
        )
        self._lanes[claim.lane] = lane
        if self._ended:
            lane.finish()
        self._assigned.put_nowait(lane)

    def _given_back(self, lane: EmbeddedLane) -> None:
        if self._lanes.get(lane.number) is lane:
            del self._lanes[lane.number]
        self._ended_at.pop(lane.number, None)
        signals.notify(self._file)

    @property
    def _file(self) -> Path:
        return self._places.group(self._group.name)

    @property
    def _topics(self) -> tuple[str, ...]:
        return self._settings.topics.read_by(self._group)

    def _wake(self, number: int) -> None:
        if lane := self._lanes.get(number):
            lane.wake(replays=False)

    async def _keep_share(self) -> None:
        with signals.listening(self._file) as news:
            seen = -1
            while True:
                told = await news.wait(LOOK)
                try:
                    version = await self._shares.run(change_counter)
                    if told or version != seen or time.monotonic() >= self._check_at:
                        await self.tend()
                except BrokerUnavailable as error:
                    # The lease runs out if that lasts; then the lanes are lost, and taken again.
                    _log.warning("lease_not_renewed", group=self._group.name, why=str(error))
                    await asyncio.sleep(BUSY_PAUSE)
                    continue
                if told or version != seen:
                    for lane in self._lanes.values():
                        lane.wake(replays=True)
                seen = version


@asynccontextmanager
async def open_subscriber(
    places: Places, settings: Settings, group: Group
) -> AsyncIterator[EmbeddedSubscriber]:
    """A replica of the group.

    Raises:
        TopologyMissing: the group is not applied as it is wanted; says the command.
        StorageFailed: a file cannot be trusted.
    """
    await asyncio.to_thread(verify_group, places, settings, group)
    file = places.group(group.name)
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(open_database(places.log, "read"))
        acks = await stack.enter_async_context(open_database(file, "write"))
        shares = await stack.enter_async_context(open_database(file, "write"))
        subscriber = EmbeddedSubscriber(
            settings, group, places=places, log=log, acks=acks, shares=shares
        )
        try:
            await subscriber.join()
            running = asyncio.create_task(subscriber.run(), name=f"subscriber-{group.name}")
            try:
                yield subscriber
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
        finally:
            await asyncio.shield(subscriber.leave())
