"""Takes pages from the outbox to the sinks, each sink at its own pace.

A sink that is down waits on its own: the group goes on counting, other sinks go on delivering.
A page is delivered twice only if this process dies, or is frozen for longer than a claim holds,
between the post and the note of it; its dedup key is then the same.
"""

import asyncio
import itertools
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import structlog
from sqlalchemy import Connection

from bridge import telemetry
from consumers.alerts import outbox, state
from consumers.alerts.outbox import Claimed
from consumers.alerts.sinks import Sink, SinkFailed
from consumers.consumer import Unavailable
from consumers.outage import backoff, wait_unless
from consumers.store import Store

_POLL: Final = 5.0  # seconds between looks for what other replicas wrote or gave back
_FIRST_WAIT: Final = 1.0  # seconds after a sink failed first
_LONGEST_WAIT: Final = 60.0  # seconds between tries of a sink that is down
_FIRST_PAGE_WAIT: Final = 30.0  # seconds after a sink refused one page
_LONGEST_PAGE_WAIT: Final = 3600.0  # seconds between tries of a page that is refused
_PRUNE_EVERY: Final = 3600.0  # seconds
_log = structlog.get_logger()


class Dispatcher:
    """Delivers the pages of one replica's sinks.

    Args:
        store: the consumers' database.
        sinks: where to deliver.
    """

    def __init__(self, store: Store, sinks: Sequence[Sink]) -> None:
        self._store = store
        self._sinks = sinks
        self._news = {sink.name: asyncio.Event() for sink in sinks}
        self._stop = asyncio.Event()
        self._pruned = time.monotonic()

    @property
    def sink_names(self) -> tuple[str, ...]:
        """The sinks that each page is written for."""
        return tuple(self._news)

    def wake(self) -> None:
        """Something was put into the outbox: look now."""
        for news in self._news.values():
            news.set()

    def end(self) -> None:
        """Begin no further delivery. `run` returns when those under way have ended."""
        self._stop.set()
        self.wake()

    async def run(self) -> None:
        """Deliver until `end`. Never raises because a sink or the database failed."""
        async with asyncio.TaskGroup() as tasks:
            for sink in self._sinks:
                tasks.create_task(self._serve(sink))

    async def _serve(self, sink: Sink) -> None:
        news = self._news[sink.name]
        failures = 0
        while not self._stop.is_set():
            news.clear()
            try:
                busy = await self._deliver_next(sink)
                if not busy:
                    await self._rest(sink, news)
                failures = 0
            except (SinkFailed, Unavailable) as error:
                failures += 1
                _log.warning("alerts_waiting", sink=sink.name, failures=failures, error=str(error))
            except Exception:  # noqa: BLE001 - a defect of one sink must not end the others
                failures += 1
                _log.exception("alerts_waiting", sink=sink.name, failures=failures)
            if failures:
                wait = backoff(failures, first=_FIRST_WAIT, longest=_LONGEST_WAIT)
                await wait_unless(self._stop, wait)

    async def _deliver_next(self, sink: Sink) -> bool:
        """Deliver the oldest page that is due. Returns False if there is none.

        Raises:
            SinkFailed: the sink is down.
            Unavailable: the database is.
        """
        claimed = await self._store.run(lambda connection: outbox.claim(connection, sink.name))
        if claimed is None:
            return False
        try:
            await sink.deliver(claimed.page)
        except SinkFailed as error:
            await self._give_back(sink, claimed, error)
            if not error.this_page:
                raise
            _log.error("alert_refused", sink=sink.name, page=claimed.id, error=str(error))
        else:
            await self._mark_delivered(claimed)
        return True

    async def _give_back(self, sink: Sink, claimed: Claimed, error: SinkFailed) -> None:
        wait = 0.0  # the sink is down: every page is due as soon as it is up
        if error.this_page:
            wait = backoff(claimed.attempts, first=_FIRST_PAGE_WAIT, longest=_LONGEST_PAGE_WAIT)

        def give_back(connection: Connection) -> int:
            outbox.give_back(connection, claimed, wait=wait)
            return outbox.undelivered(connection, sink.name)

        telemetry.ALERTS_UNDELIVERED.labels(sink.name).set(await self._store.run(give_back))

    async def _mark_delivered(self, claimed: Claimed) -> None:
        """Note it, and insist while the database is down: what is not noted is posted again."""
        for attempt in itertools.count(1):
            try:
                await self._store.run(lambda connection: outbox.mark_delivered(connection, claimed))
            except Unavailable as error:
                _log.warning("alert_not_noted", page=claimed.id, error=str(error))
                wait = backoff(attempt, first=_FIRST_WAIT, longest=_LONGEST_WAIT)
                if await wait_unless(self._stop, wait):
                    raise
            else:
                return

    async def _rest(self, sink: Sink, news: asyncio.Event) -> None:
        """Nothing is due: say how many wait, tidy, sleep until there is news."""
        waiting = await self._store.read(
            lambda connection: outbox.undelivered(connection, sink.name)
        )
        telemetry.ALERTS_UNDELIVERED.labels(sink.name).set(waiting)
        if time.monotonic() - self._pruned > _PRUNE_EVERY:
            self._pruned = time.monotonic()
            await self._store.run(_prune)
        await wait_unless(news, _POLL)


def _prune(connection: Connection) -> None:
    """Forget what no notification can ask for any more: brokers keep them for two weeks."""
    outbox.prune(connection)
    state.forget_days(connection, before=(datetime.now(UTC) - outbox.KEPT).date())
