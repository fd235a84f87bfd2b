"""The one loop, for one lane: receive, handle, set aside, ack; and wait when the outside is down.

receive ─► handle ─┬─ done ──────────────► ack
                   ├─ dead ─► set aside ──► ack      (not acked unless stored)
                   └─ down ─► suspend, wait, probe with one, resume
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import structlog

from bridge.brokers.base import DeadLetters, Delivery, Lane
from bridge.errors import LaneLost, PublishError
from consumers.consumer import Unavailable
from consumers.dead_lettering import dead_letter
from consumers.group_run import GroupRun
from consumers.handling import Dead, Done, Down, Handling
from consumers.outage import Outage, wait_unless

_log = structlog.get_logger()
_FIRST_PROBE: Final = 1.0
"""Seconds after which an outage is probed first."""
_TAKE_UP_AGAIN: Final = 0.5
"""Seconds before a lane whose work broke off is taken up again."""
_PROBE_RECEIVE: Final = 30.0
_RECEIVE: Final = 32
"""Deliveries in one hand-over to single handlers: few enough to end within a drain."""


class _UnfinishedError(Exception):
    """Deliveries in hand stay unacked, and nothing tries them again here."""


class LaneLoop:
    """Works one lane from its assignment until it is over.

    Args:
        lane: in the hands of this replica.
        group: what it shares with the other lanes.
        dead: the group's dead letters.
        probe_receive: seconds to wait for the delivery that probes an outage: it may have gone
            meanwhile, by retention.
    """

    def __init__(
        self,
        lane: Lane,
        group: GroupRun,
        dead: DeadLetters,
        *,
        probe_receive: float = _PROBE_RECEIVE,
    ) -> None:
        self._lane = lane
        self._group = group
        self._dead = dead
        self._probe_receive = probe_receive
        self._handling = Handling(group.consumer, group.settings, lane.over)
        registrations = group.consumer.registrations.values()
        self._limit = max(_RECEIVE, *(registration.size for registration in registrations))
        self._fill_wait = max(registration.wait for registration in registrations)

    async def run(self) -> None:
        """Return when the lane is over, or the group stops; then it is closed."""
        try:
            while not self._ended():
                try:
                    await self._work()
                except LaneLost as error:
                    _log.info(
                        "lane_lost",
                        group=self._group.name,
                        lane=self._lane.number,
                        why=str(error),
                    )
                except _UnfinishedError:
                    pass
                if not self._ended():
                    # It is ours still, with deliveries in hand: take it up at the oldest of them.
                    await wait_unless(self._lane.over, _TAKE_UP_AGAIN)
                    await self._lane.suspend()
                    await self._lane.resume()
        finally:
            await self._lane.close()

    def _ended(self) -> bool:
        return self._lane.over.is_set() or self._group.dead_letter_run.is_set()

    async def _work(self) -> None:
        """Round after round until the lane is over."""
        while await self._admitted() and (deliveries := await self._receive()):
            cause = await self._settle(deliveries)
            if cause is not None:
                await self._sit_out(cause)

    async def _admitted(self) -> bool:
        """Wait while another lane sits out an outage of the whole group. False: lane over."""
        if self._group.gate.is_open:
            return True
        await self._lane.suspend()
        admitted = await self._group.gate.wait(self._lane.over)
        if admitted:
            await self._lane.resume()
        return admitted

    async def _receive(self) -> Sequence[Delivery]:
        """Deliveries for one round; for batch handlers, wait a little for it to fill."""
        deliveries = list(await self._lane.receive(self._limit))
        if not deliveries or not self._fill_wait:
            return deliveries
        try:
            async with asyncio.timeout(self._fill_wait):
                while len(deliveries) < self._limit and (
                    more := await self._lane.receive(self._limit - len(deliveries))
                ):
                    deliveries += more
        except TimeoutError:
            pass  # not full, but long enough
        return deliveries

    async def _settle(self, deliveries: Sequence[Delivery]) -> Unavailable | None:
        """Handle, set aside what is dead, ack what is done up to the first that is not.

        Returns:
            Why it cannot go on for now, or None when all of them are settled.

        Raises:
            _UnfinishedError: some are not settled, and nobody knows why it should wait. This lane
                must not take the next ones: their ack would ack these too.
        """
        outcomes = await self._handling.outcomes(deliveries)
        # Whichever of them met the outage: what stands before it may be left because of it.
        cause = next((one.cause for one in outcomes if isinstance(one, Down)), None)
        settled = 0
        for delivery, outcome in zip(deliveries, outcomes, strict=True):
            if not isinstance(outcome, Done | Dead):
                break
            if isinstance(outcome, Dead) and (full := await self._set_aside(delivery, outcome)):
                cause = full
                break
            settled += 1
            self._group.count(delivery, outcome)
            if self._group.dead_letter_run.is_set():
                break
        if settled:
            await self._lane.ack(deliveries[:settled])
        if cause is None and settled < len(deliveries):
            raise _UnfinishedError
        return cause

    async def _set_aside(self, delivery: Delivery, outcome: Dead) -> Unavailable | None:
        """Store a dead letter. Where it cannot be stored the delivery is not acked but waits."""
        message = dead_letter(
            delivery,
            group=self._group.name,
            error=outcome.error,
            attempts=outcome.attempts,
            first=outcome.first,
        )
        try:
            await self._dead.put(message, delivery.origin)
        except PublishError as error:
            return Unavailable(f"the dead letters cannot be stored: {error}")
        return None

    async def _sit_out(self, cause: Unavailable) -> None:
        """Pause until the outside is back: nothing is set aside, one delivery probes."""
        longest = self._group.settings.outage_max_delay
        self._group.pause(+1)
        try:
            with Outage(self._group.gate, first=_FIRST_PROBE, longest=longest) as outage:
                await self._lane.suspend()
                if await self._probe(cause, outage):
                    await self._lane.resume()
        finally:
            self._group.pause(-1)

    async def _probe(self, cause: Unavailable, outage: Outage) -> bool:
        """Try the oldest delivery again and again. True: settled or gone. False: lane over."""
        lane = self._lane
        held: Sequence[Delivery] = ()
        held_since = 0.0
        failure: Unavailable | None = cause
        while failure is not None:
            wait = outage.seconds_after(failure)
            _log.warning(
                "outage",
                group=self._group.name,
                lane=lane.number,
                wait=round(wait, 1),
                why=str(failure),
            )
            if await wait_unless(lane.over, wait) or not await outage.my_turn(lane.over):
                return False
            if held and lane.hold_limit and time.monotonic() - held_since > lane.hold_limit:
                await lane.suspend()
                held = ()
            if not held:
                try:
                    async with asyncio.timeout(self._probe_receive):
                        held = await lane.receive(1)
                except TimeoutError:
                    return True
                held_since = time.monotonic()
            if not held:
                return False
            failure = await self._settle(held)
        return True
