"""The alerts consumer: count, decide, write the page; all in the transaction of the ledger entry.

Keys are counted in sorted order, so that replicas wait for each other's rows and never deadlock.

Delivery is somebody else's (`consumers.alerts.dispatcher`): a sink that is down never holds up the
group. Tests are rehearsed: they say so in the log and change nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx2
import structlog
from sqlalchemy import Connection

from bridge.errors import ConfigurationError
from bridge.settings import Settings
from consumers.alerts import outbox, state
from consumers.alerts.dispatcher import Dispatcher
from consumers.alerts.page import Page, page
from consumers.alerts.rules import Signal, day_of, is_fresh, step_due
from consumers.alerts.signals import signal_of
from consumers.alerts.sinks import open_sinks
from consumers.consumer import Consumer, Unavailable
from consumers.notifications import Notification
from consumers.store import Store

GROUP = "alerts"
TYPES = ("sending_Bounce", "sending_ProductionError", "contact_complaint")
BATCH = 100
"""Notifications in one transaction: a campaign that bounces does so by the thousand."""
_log = structlog.get_logger()


class Alerts:
    """What the handler needs, opened for as long as the worker runs.

    Args:
        settings: zone, sinks, database.

    Raises:
        ConfigurationError: an unknown zone, or an address that cannot work.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._zone = _zone(settings)
        _check_webhook(settings)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Open the database and the sinks, and deliver while open."""
        async with (
            Store.open(self._settings.database_url.get_secret_value(), prune=True) as self._store,
            open_sinks(self._settings) as sinks,
        ):
            self._dispatcher = Dispatcher(self._store, sinks)
            # No task group: it would wrap what the worker raises through this context.
            delivering = asyncio.create_task(self._dispatcher.run())
            try:
                yield
            finally:
                self._dispatcher.end()
                await delivering

    async def handle(
        self, notifications: Sequence[Notification]
    ) -> Sequence[BaseException | None] | None:
        """Count notifications of any of `TYPES`, and write the pages that are due.

        Returns:
            None when all are done, else one outcome for each.

        Raises:
            Unavailable: the database is down.
        """
        for test in (each for each in notifications if each.is_test):
            _log.info("alerts_rehearsal", key=signal_of(test).key, counted=False)
        real = [each for each in notifications if not each.is_test]
        try:
            await self._count(real)
        except Unavailable:
            raise
        except Exception:  # one that cannot be counted must not take the others along
            if len(notifications) == 1:
                raise
            _log.warning("alerts_one_by_one", size=len(notifications), exc_info=True)
            return [await self._outcome(each) for each in notifications]
        return None

    async def _outcome(self, notification: Notification) -> BaseException | None:
        if notification.is_test:
            return None
        try:
            await self._count([notification])
        except Exception as error:  # noqa: BLE001 - the worker judges it
            return error
        return None

    async def _count(self, notifications: Sequence[Notification]) -> None:
        if not notifications:
            return
        now = datetime.now(UTC)
        sinks = self._dispatcher.sink_names

        def count(connection: Connection, fresh: Sequence[Notification]) -> bool:
            signals = sorted(map(signal_of, fresh), key=lambda signal: signal.key)
            pages = [self._page(connection, signal, now) for signal in signals]
            for page_ in filter(None, pages):
                outbox.put(connection, page_, sinks=sinks)
            return any(pages)

        counted = await self._store.once_many(GROUP, notifications, count)
        if counted.result:
            self._dispatcher.wake()

    def _page(self, connection: Connection, signal: Signal, now: datetime) -> Page | None:
        """Count one signal; the page it makes due, if any."""
        day = day_of(signal.at, self._zone)
        incident = state.update_incident(connection, signal)
        today, alerted = state.count(connection, signal, day=day)
        step = None if signal.every else step_due(today, alerted=alerted)
        if not is_fresh(signal.at, now=now) or (step is None and not signal.every):
            return None
        if step is not None:
            state.mark_alerted(connection, signal, day=day, step=step)
        return page(signal, incident, day=day, today=today, step=step)


def consumer(settings: Settings) -> Consumer:
    """The consumer of the group `alerts`.

    Raises:
        ConfigurationError: an unknown zone, or an address that cannot work.
    """
    alerts = Alerts(settings)
    result = Consumer(GROUP, lifespan=alerts.open)
    result.on_batch(*TYPES, size=BATCH, tests=True)(alerts.handle)
    return result


def _zone(settings: Settings) -> tzinfo:
    try:
        return ZoneInfo(settings.alert_day_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigurationError(
            f"BRIDGE_ALERT_DAY_ZONE: {settings.alert_day_zone!r} is not known here; use a name "
            "like America/Toronto, and install tzdata if there are no zones at all"
        ) from error


def _check_webhook(settings: Settings) -> None:
    address = settings.alert_webhook_url.get_secret_value()
    try:
        url = httpx2.URL(address)
    except httpx2.InvalidURL:
        url = httpx2.URL("invalid:")
    if address and (url.scheme not in {"http", "https"} or not url.host):
        raise ConfigurationError(
            "BRIDGE_ALERT_WEBHOOK_URL: use http://host/path or https://host/path"
        )
