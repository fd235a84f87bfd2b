"""The one loop: receive, handle, back off, set aside, ack, drain.

    receive ─► handle ─┬─ done ──────────────► ack
                       ├─ dead ─► set aside ──► ack      (not acked unless stored)
                       └─ down ─► suspend, wait, probe with one, resume

One `Worker` is one replica of one group. Each lane in its hands has one task.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, nullcontext
from typing import Literal

import structlog

from bridge import telemetry
from bridge.brokers.base import Broker, DeadLetters, Delivery, Lane, Subscriber
from bridge.errors import LaneLost, PublishError
from bridge.settings import Settings
from consumers.consumer import Consumer, Unavailable
from consumers.dead_lettering import dead_letter
from consumers.handling import Dead, Done, Down, Handling
from consumers.outage import Gate, Outage, wait_unless

_log = structlog.get_logger()
_FIRST_PROBE = 1.0  # seconds after which an outage is probed first
_RECEIVE = 32  # deliveries in one hand-over to single handlers: few enough to end within a drain


State = Literal["starting", "running", "draining", "stopped", "ended"]


class _UnfinishedError(Exception):
    """Deliveries in hand stay unacked, and nothing tries them again here."""


class Worker:
    """One replica of a group: takes deliveries from a broker to the handlers of a consumer.

    Args:
        consumer: the group and its handlers.
        broker: where the messages are.
        settings: budgets, timeouts, prefix.
        on_state: told each new state, e.g. for a health check.

    Attributes:
        state: `starting`, `running`, `draining`, `stopped` (by a run of dead letters), `ended`.
        paused_lanes: how many lanes wait for the outside.
    """

    def __init__(
        self,
        consumer: Consumer,
        broker: Broker,
        settings: Settings,
        *,
        on_state: Callable[[State], None] | None = None,
    ) -> None:
        self._consumer = consumer
        self._group = consumer.group
        self._broker = broker
        self._settings = settings
        registrations = consumer.registrations.values()
        self._limit = max(_RECEIVE, *(registration.size for registration in registrations))
        self._fill_wait = max(registration.wait for registration in registrations)
        self._gate = Gate()
        self._dead_in_a_row = 0
        self._dead_letter_run = asyncio.Event()
        self._lanes: set[asyncio.Task[None]] = set()
        self._on_state = on_state
        self.state: State = "starting"
        self.paused_lanes = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then drain: handlers that run end, no new ones begin.

        Stopped by a run of dead letters, it takes no more but does not return before `stop`: a
        restart would set aside another run of them.

        Raises:
            TopologyMissing: this group's topics or queues are not there; says the command.
            BrokerUnavailable: not reachable at start.
            StorageFailed: the embedded log cannot be trusted.
        """
        lifespan = self._consumer.lifespan
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(nullcontext() if lifespan is None else lifespan())
            dead = await stack.enter_async_context(self._broker.dead_letters(self._group.name))
            subscriber = await stack.enter_async_context(self._broker.subscriber(self._group))
            self._enter("running")
            _log.info("group_running", group=self._group.name, system=self._broker.system)
            try:
                async with asyncio.TaskGroup() as tasks:
                    ending = tasks.create_task(self._end(subscriber, stop))
                    await self._work_lanes(subscriber, dead, tasks)
                    ending.cancel()
            except BaseExceptionGroup as failures:
                # The first is the cause; the others are lanes cancelled because of it.
                raise failures.exceptions[0] from failures
        if self._dead_letter_run.is_set():
            self._enter("stopped")
            await stop.wait()
        self._enter("ended")
        _log.info("group_ended", group=self._group.name)

    def _enter(self, state: State) -> None:
        self.state = state
        telemetry.GROUP_STOPPED.labels(self._group.name).set(state == "stopped")
        if self._on_state is not None:
            self._on_state(state)

    async def _end(self, subscriber: Subscriber, stop: asyncio.Event) -> None:
        """When it is time, take no new, and give what runs its drain timeout."""
        async with asyncio.TaskGroup() as tasks:
            causes = [tasks.create_task(e.wait()) for e in (stop, self._dead_letter_run)]
            await asyncio.wait(causes, return_when=asyncio.FIRST_COMPLETED)
            for cause in causes:
                cause.cancel()
        subscriber.end()
        self._enter("draining")
        await asyncio.sleep(self._settings.consume_drain_timeout)
        _log.warning("drain_timeout", group=self._group.name, lanes=len(self._lanes))
        for lane in self._lanes:
            lane.cancel()

    async def _work_lanes(
        self, subscriber: Subscriber, dead: DeadLetters, tasks: asyncio.TaskGroup
    ) -> None:
        held = telemetry.GROUP_LANES.labels(self._group.name)
        async for lane in subscriber.lanes():
            task = tasks.create_task(self._work(lane, dead))
            self._lanes.add(task)
            task.add_done_callback(self._lanes.discard)
            held.set(len(self._lanes))
        while self._lanes:
            await asyncio.wait(self._lanes)
        held.set(0)

    async def _work(self, lane: Lane, dead: DeadLetters) -> None:
        """One lane, from its assignment until it is over."""
        handling = Handling(self._consumer, self._settings, lane.over)
        try:
            while await self._admitted(lane) and (deliveries := await self._receive(lane)):
                cause = await self._settle(deliveries, handling, lane, dead)
                if cause is not None:
                    await self._sit_out(cause, handling, lane, dead)
        except LaneLost:
            _log.info("lane_lost", group=self._group.name, lane=lane.number)
        except _UnfinishedError:
            pass  # the lane is over, or the group stops: the rest is delivered again
        finally:
            await lane.close()

    async def _admitted(self, lane: Lane) -> bool:
        """Wait while another lane sits out an outage of the whole group. False: lane over."""
        if self._gate.is_open:
            return True
        await lane.suspend()
        admitted = await self._gate.wait(lane.over)
        if admitted:
            await lane.resume()
        return admitted

    async def _receive(self, lane: Lane) -> Sequence[Delivery]:
        """Deliveries for one round; for batch handlers, wait a little for it to fill."""
        deliveries = list(await lane.receive(self._limit))
        if not deliveries or not self._fill_wait:
            return deliveries
        try:
            async with asyncio.timeout(self._fill_wait):
                while len(deliveries) < self._limit and (
                    more := await lane.receive(self._limit - len(deliveries))
                ):
                    deliveries += more
        except TimeoutError:
            pass  # not full, but long enough
        return deliveries

    async def _settle(
        self, deliveries: Sequence[Delivery], handling: Handling, lane: Lane, dead: DeadLetters
    ) -> Unavailable | None:
        """Handle, set aside what is dead, ack what is done up to the first that is not.

        Returns:
            Why it cannot go on for now, or None when all of them are settled.

        Raises:
            _UnfinishedError: some are not settled and will not be tried here. This lane must take
                no more: an ack of later deliveries would ack these too.
        """
        outcomes = await handling.outcomes(deliveries)
        cause: Unavailable | None = None
        settled = 0
        for delivery, outcome in zip(deliveries, outcomes, strict=True):
            if isinstance(outcome, Dead):
                cause = await self._set_aside(delivery, outcome, dead)
            elif isinstance(outcome, Down):
                cause = outcome.cause
            if cause is not None or not isinstance(outcome, Done | Dead):
                break
            settled += 1
            self._count(delivery, outcome)
            if self._dead_letter_run.is_set():
                break
        if settled:
            await lane.ack(deliveries[:settled])
        if cause is None and settled < len(deliveries):
            raise _UnfinishedError
        return cause

    async def _set_aside(
        self, delivery: Delivery, outcome: Dead, dead: DeadLetters
    ) -> Unavailable | None:
        """Store a dead letter. Where it cannot be stored the delivery is not acked but waits."""
        message = dead_letter(
            delivery,
            group=self._group.name,
            error=outcome.error,
            attempts=outcome.attempts,
            first=outcome.first,
        )
        try:
            await dead.put(message, delivery.origin)
        except PublishError as error:
            return Unavailable(f"the dead letters cannot be stored: {error}")
        return None

    def _count(self, delivery: Delivery, outcome: Done | Dead) -> None:
        error = type(outcome.error).__name__ if isinstance(outcome, Dead) else ""
        group, topic = self._group.name, delivery.message.topic
        telemetry.CONSUMED_MESSAGES.labels(self._broker.system, topic, group, error).inc()
        if isinstance(outcome, Done):
            if not outcome.passed_over:
                self._dead_in_a_row = 0
            return
        telemetry.DEAD_LETTERS.labels(group, error).inc()
        self._dead_in_a_row += 1
        _log.error(
            "dead_letter",
            group=group,
            origin=delivery.origin,
            error=error,
            attempts=outcome.attempts,
        )
        if self._dead_in_a_row >= self._settings.dead_letter_run:
            _log.critical(
                "group_stopped",
                group=group,
                why=f"{self._dead_in_a_row} dead letters in a row: nothing more is taken; "
                "mend the consumer, restart it, then replay them",
            )
            self._dead_letter_run.set()

    async def _sit_out(
        self, cause: Unavailable, handling: Handling, lane: Lane, dead: DeadLetters
    ) -> None:
        """Pause until the outside is back: nothing is set aside, one delivery probes."""
        self._pause(+1)
        try:
            with Outage(
                self._gate, first=_FIRST_PROBE, longest=self._settings.outage_max_delay
            ) as outage:
                await lane.suspend()
                if await self._probe(cause, outage, handling, lane, dead):
                    await lane.resume()
        finally:
            self._pause(-1)

    async def _probe(
        self,
        cause: Unavailable,
        outage: Outage,
        handling: Handling,
        lane: Lane,
        dead: DeadLetters,
    ) -> bool:
        """Try the oldest delivery again and again. True: it is settled. False: the lane is over."""
        held: Sequence[Delivery] = ()
        held_since = 0.0
        failure: Unavailable | None = cause
        while failure is not None:
            wait = outage.seconds_after(failure)
            _log.warning(
                "outage", group=self._group.name, lane=lane.number, wait=wait, why=str(failure)
            )
            if await wait_unless(lane.over, wait) or not await outage.my_turn(lane.over):
                return False
            if held and lane.hold_limit and time.monotonic() - held_since > lane.hold_limit:
                await lane.suspend()
                held = ()
            if not held:
                held = await lane.receive(1)
                held_since = time.monotonic()
            if not held:
                return False
            failure = await self._settle(held, handling, lane, dead)
        return True

    def _pause(self, change: int) -> None:
        self.paused_lanes += change
        telemetry.GROUP_PAUSED.labels(self._group.name).set(self.paused_lanes)
