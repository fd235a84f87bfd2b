"""From deliveries to outcomes: decode, call the handler, try again, give up.

Nothing here talks to the broker: `consumers.lane_loop` acks, sets aside and pauses.
"""

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec
import structlog

from bridge import telemetry
from bridge.brokers.base import Delivery
from bridge.settings import Settings
from consumers.consumer import Consumer, Registration, Reject, Unavailable
from consumers.notifications import Notification, Undecodable, read
from consumers.outage import backoff, wait_unless

_log = structlog.get_logger()


class Done(msgspec.Struct, frozen=True):
    """Ack it. `passed_over`: this group has no handler for it."""

    passed_over: bool = False


class Dead(msgspec.Struct, frozen=True):
    """Set it aside: what the last attempt raised, how many there were, when the first began."""

    error: BaseException
    attempts: int
    first: datetime


class Down(msgspec.Struct, frozen=True):
    """The outside is down: not handled, to be tried again."""

    cause: Unavailable


class Left(msgspec.Struct, frozen=True):
    """Not tried: the worker stops, or an earlier one found the outside down."""


Outcome = Done | Dead | Down | Left


class Work(msgspec.Struct):
    """One delivery on its way through this replica. Without a registration it needs no handler."""

    delivery: Delivery
    notification: Notification | None = None
    registration: Registration | None = None
    outcome: Outcome = Left()


class Handling:
    """Runs one consumer's handlers over the deliveries of one lane.

    Args:
        consumer: the group and its handlers.
        settings: retry budget, timeout, concurrency.
        stop: set when no further handler may start.
    """

    def __init__(self, consumer: Consumer, settings: Settings, stop: asyncio.Event) -> None:
        self._consumer = consumer
        self._settings = settings
        self._stop = stop
        self._slots = asyncio.Semaphore(settings.handler_concurrency)
        self._seconds = telemetry.PROCESS_SECONDS.labels(consumer.name)

    async def outcomes(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        """One outcome for each delivery, in order.

        Deliveries of one key are handled one after the other, in order; other keys may run at the
        same time. What has not begun when one is `Down`, or when the worker stops, is `Left`.
        """
        works = [self._decode(delivery) for delivery in deliveries]
        down = asyncio.Event()
        for segment in _segments(works):
            registration = segment[0].registration
            if registration is None:
                continue
            if registration.batch:
                for start in range(0, len(segment), registration.size):
                    await self._handle(segment[start : start + registration.size], down)
            else:
                await self._handle_by_key(segment, down)
        return [work.outcome for work in works]

    def _decode(self, delivery: Delivery) -> Work:
        first = datetime.now(UTC)
        try:
            notification = read(delivery.message)
        except Undecodable as error:
            return Work(delivery, outcome=Dead(error=error, attempts=1, first=first))
        registration = self._consumer.registration_for(notification)
        if registration is None:
            return Work(delivery, outcome=Done(passed_over=True))
        return Work(delivery, notification, registration)

    async def _handle_by_key(self, segment: Sequence[Work], down: asyncio.Event) -> None:
        chains: dict[bytes, list[Work]] = {}
        for work in segment:
            chains.setdefault(work.delivery.message.key, []).append(work)
        if len(chains) == 1:  # usual when little waits, and not worth a task
            await self._handle_chain(segment, down)
            return
        async with asyncio.TaskGroup() as tasks:
            for chain in chains.values():
                tasks.create_task(self._handle_chain(chain, down))

    async def _handle_chain(self, chain: Sequence[Work], down: asyncio.Event) -> None:
        for work in chain:
            async with self._slots:
                await self._handle([work], down)
            if isinstance(work.outcome, Down | Left):
                return

    async def _handle(self, works: Sequence[Work], down: asyncio.Event) -> None:
        """Give each work its outcome: call, and call again for those that failed, to the budget."""
        first = datetime.now(UTC)
        pending = works
        for attempt in itertools.count(1):
            if self._stop.is_set() or down.is_set():
                return
            results = await self._call(pending)
            for work, result in zip(pending, results, strict=True):
                work.outcome = self._judge(result, attempt=attempt, first=first)
                if isinstance(work.outcome, Down):
                    down.set()
            pending = [work for work in pending if isinstance(work.outcome, Left)]
            if not pending:
                return
            await wait_unless(
                self._stop,
                backoff(
                    attempt,
                    first=self._settings.retry_delay,
                    longest=self._settings.retry_max_delay,
                ),
            )

    def _judge(self, result: BaseException | None, *, attempt: int, first: datetime) -> Outcome:
        if result is None:
            return Done()
        if isinstance(result, Unavailable):
            return Down(cause=result)
        if isinstance(result, Reject) or attempt >= self._settings.retry_attempts:
            return Dead(error=result, attempts=attempt, first=first)
        _log.warning(
            "handler_failed",
            group=self._consumer.name,
            attempt=attempt,
            of=self._settings.retry_attempts,
            error=type(result).__name__,
            exc_info=result,
        )
        return Left()

    async def _call(self, works: Sequence[Work]) -> Sequence[BaseException | None]:
        """Call the handler once; one result for each work: None for done, or what it raised."""
        registration = works[0].registration
        if registration is None:  # _segments never mixes; said for the type checker
            raise AssertionError
        notifications = [work.notification for work in works]
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._settings.handler_timeout):
                if not registration.batch:
                    await registration.handler(notifications[0])
                    return [None]
                results = await registration.handler(notifications)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Nobody cancelled us: the handler awaited something that was cancelled.
            error = RuntimeError("the handler was cancelled by something it awaited")
            return [error] * len(works)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - any failure is an outcome
            return [error] * len(works)
        finally:
            self._seconds.observe(time.perf_counter() - started)
        return _outcomes_of_batch(results, len(works))


def _outcomes_of_batch(results: object, count: int) -> Sequence[BaseException | None]:
    """What a batch handler returned, one for each; a TypeError for all where it makes no sense."""
    if results is None:
        return [None] * count
    if isinstance(results, Sequence) and len(results) == count:
        outcomes = [one for one in results if one is None or isinstance(one, BaseException)]
        if len(outcomes) == count:
            return outcomes
    wrong = TypeError(
        f"an on_batch handler returns None, or for each of its {count} notifications None or an "
        f"exception; this one returned {type(results).__name__}"
        + (f" of {len(results)}" if isinstance(results, Sequence) else "")
    )
    return [wrong] * count


def _segments(works: Sequence[Work]) -> Iterator[Sequence[Work]]:
    """Split into runs that one call, or one round of concurrent calls, may take.

    Consecutive works of one batch handler are a run; so are consecutive works of single handlers.
    """

    def kind(work: Work) -> object:
        registration = work.registration
        return registration if registration is None or registration.batch else "single"

    for _, run in itertools.groupby(works, key=kind):
        yield list(run)
