"""The alerts consumer: count, decide, write the page; all in the transaction of the ledger entry.

Delivery is somebody else's (`consumers.alerts.dispatcher`): a sink that is down never holds up the
group. Tests are rehearsed: they say so in the log and change nothing.
"""

import asyncio
from collections.abc import AsyncIterator
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
from consumers.alerts.page import page
from consumers.alerts.rules import Signal, day_of, is_fresh, step_due
from consumers.alerts.signals import signal_of
from consumers.alerts.sinks import open_sinks
from consumers.consumer import Consumer
from consumers.notifications import Notification
from consumers.store import Store

GROUP = "alerts"
TYPES = ("sending_Bounce", "sending_ProductionError", "contact_complaint")
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
            asyncio.TaskGroup() as tasks,
        ):
            self._dispatcher = Dispatcher(self._store, sinks)
            tasks.create_task(self._dispatcher.run())
            try:
                yield
            finally:
                self._dispatcher.end()

    async def handle(self, notification: Notification) -> None:
        """Count one notification of any of `TYPES`, and write the page that is due.

        Raises:
            Unavailable: the database is down.
        """
        signal = signal_of(notification)
        if notification.is_test:
            _log.info("alerts_rehearsal", key=signal.key, counted=False)
            return
        now = datetime.now(UTC)
        await self._store.once(
            GROUP, notification, lambda connection: self._count(connection, signal, now)
        )
        self._dispatcher.wake()

    def _count(self, connection: Connection, signal: Signal, now: datetime) -> None:
        day = day_of(signal.at, self._zone)
        incident = state.update_incident(connection, signal)
        today, alerted = state.count(connection, signal, day=day)
        step = None if signal.every else step_due(today, alerted=alerted)
        if not is_fresh(signal.at, now=now) or (step is None and not signal.every):
            return
        if step is not None:
            state.mark_alerted(connection, signal, day=day, step=step)
        outbox.put(
            connection,
            page(signal, incident, day=day, today=today, step=step),
            sinks=self._dispatcher.sink_names,
        )


def consumer(settings: Settings) -> Consumer:
    """The consumer of the group `alerts`.

    Raises:
        ConfigurationError: an unknown zone, or an address that cannot work.
    """
    alerts = Alerts(settings)
    result = Consumer(GROUP, lifespan=alerts.open)
    result.on(*TYPES, tests=True)(alerts.handle)
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
