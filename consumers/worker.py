"""One replica of a group, from its start to its drain. The loop of each lane is `lane_loop`."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, nullcontext
from typing import Literal

import structlog

from bridge import telemetry
from bridge.brokers.base import Broker, DeadLetters, Subscriber
from bridge.settings import Settings
from consumers.consumer import Consumer
from consumers.group_run import GroupRun
from consumers.lane_loop import LaneLoop

_log = structlog.get_logger()

State = Literal["starting", "running", "draining", "stopped", "ended"]


class Worker:
    """One replica of a group: takes deliveries from a broker to the handlers of a consumer.

    Args:
        consumer: the group and its handlers.
        broker: where the messages are.
        settings: budgets, timeouts, prefix.
        on_state: told each new state, e.g. for a health check.

    Attributes:
        state: `starting`, `running`, `draining`, `stopped` (by a run of dead letters), `ended`.
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
        self._shared = GroupRun(consumer, settings, broker.system)
        self._lanes: set[asyncio.Task[None]] = set()
        self._on_state = on_state
        self.state: State = "starting"

    @property
    def paused_lanes(self) -> int:
        """How many lanes wait for the outside."""
        return self._shared.paused_lanes

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
        if self._shared.dead_letter_run.is_set():
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
            causes = [tasks.create_task(e.wait()) for e in (stop, self._shared.dead_letter_run)]
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
        """Give each lane its loop; return when no lane comes any more and all loops have ended."""
        async for lane in subscriber.lanes():
            task = tasks.create_task(LaneLoop(lane, self._shared, dead).run())
            self._lanes.add(task)
            task.add_done_callback(self._forget)
            self._show_lanes()
        while self._lanes:
            await asyncio.wait(self._lanes)

    def _forget(self, lane: "asyncio.Task[None]") -> None:
        self._lanes.discard(lane)
        self._show_lanes()

    def _show_lanes(self) -> None:
        telemetry.GROUP_LANES.labels(self._group.name).set(len(self._lanes))
