"""The suppression consumer: notifications to statements to the list, each once."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import structlog
from sqlalchemy import Connection

from bridge.settings import Settings
from consumers.consumer import Consumer, Reject, Unavailable
from consumers.notifications import ContactCreated, ContactModified, Notification
from consumers.store import Store
from consumers.suppression.recording import record
from consumers.suppression.rules import decide, names_somebody, sightings

GROUP: Final = "suppression"
TYPES: Final = (
    "contact_created",
    "contact_modified",
    "contact_optin",
    "contact_optout",
    "contact_complaint",
    "contact_quarantine",
    "sending_Bounce",
)
"""Created and modified only tell under which addresses a contact is known."""
BATCH: Final = 200
BATCH_WAIT: Final = 0.05  # seconds

_log = structlog.get_logger()


def consumer(settings: Settings) -> Consumer:
    """The suppression consumer.

    Test notifications are rehearsed: rules and SQL run, everything is rolled back.

    Args:
        settings: `database_url` and `email_field` count.
    """
    handlers = _Handlers(settings)
    made = Consumer(GROUP, lifespan=handlers.lifespan)
    made.on_batch(*TYPES, size=BATCH, wait=BATCH_WAIT, tests=True)(handlers.handle)
    return made


class _Handlers:
    def __init__(self, settings: Settings) -> None:
        self._database_url = settings.database_url
        self._email_field = settings.email_field
        self._store: Store | None = None

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with Store.open(self._database_url.get_secret_value(), prune=True) as store:
            self._store = store
            try:
                yield
            finally:
                self._store = None

    async def handle(self, notifications: Sequence[Notification]) -> Sequence[BaseException | None]:
        """One transaction for all; where a single one of them cannot be stored, one for each."""
        outcomes = [self._refusal(notification) for notification in notifications]
        good = [n for n, refusal in zip(notifications, outcomes, strict=True) if refusal is None]
        if not good:
            return outcomes
        try:
            await self._record(good)
        except Unavailable:
            raise
        except Exception as error:
            if len(good) == 1:
                raise
            _log.warning(
                "suppression_batch_split", notifications=len(good), error=type(error).__name__
            )
            alone = iter([await self._record_alone(notification) for notification in good])
            return [next(alone) if refusal is None else refusal for refusal in outcomes]
        return outcomes

    def _refusal(self, notification: Notification) -> Reject | None:
        # A test that names nobody rehearses nothing, and is not worth a dead letter.
        only_an_address_seen = isinstance(notification, ContactCreated | ContactModified)
        if (
            notification.is_test
            or only_an_address_seen
            or names_somebody(notification, email_field=self._email_field)
        ):
            return None
        return Reject(
            f"it names neither a contact nor an address ({self._email_field}): nobody to suppress"
        )

    async def _record_alone(self, notification: Notification) -> BaseException | None:
        try:
            await self._record([notification])
        except Exception as error:  # noqa: BLE001 - it is this notification's outcome
            return error
        return None

    async def _record(self, notifications: Sequence[Notification]) -> None:
        if self._store is None:  # a handler never runs outside its lifespan
            raise AssertionError
        done = await self._store.once_many(GROUP, notifications, self._effect)
        tests = sum(notification.is_test for notification in notifications)
        if done.rehearsed is not None:
            _log.info(
                "suppression_rehearsed",
                notifications=tests,
                statements=done.rehearsed,
                changed="nothing: these are test notifications",
            )
        if tests < len(notifications):
            _log.info(
                "suppression_recorded",
                notifications=sum(done.fresh) - tests,
                statements=done.result or 0,
                handled_before=done.fresh.count(False),
            )

    def _effect(self, connection: Connection, notifications: Sequence[Notification]) -> int:
        statements = [
            statement
            for notification in notifications
            for statement in decide(notification, email_field=self._email_field)
        ]
        seen = [
            sighting
            for notification in notifications
            for sighting in sightings(notification, email_field=self._email_field)
        ]
        record(connection, statements, seen)
        return len(statements)
