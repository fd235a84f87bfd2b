"""The CRM consumer: tell the CRM what is newer than what it was told, then note it.

    change ─► what is newer? ─► PUT ─► note versions + handled, in one transaction
                   │ nothing                    ▲
                   └────────────────────────────┘

The effect comes before the note: a crash between them repeats a PUT that changes nothing. Tests are
rehearsed: the request is built, nothing is sent, nothing is noted.

What is newer is decided before the PUT, and one contact is in the hands of one replica. A replica
that is frozen at just this point, for longer than its broker waits for it, can still tell the CRM
something older when it wakes. The log then says `crm_overtaken`, and the contact's next change
mends the fields it names.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import structlog
from sqlalchemy import Connection

from bridge.errors import ConfigurationError
from bridge.settings import Settings
from consumers.consumer import Consumer, Reject, Unavailable
from consumers.crm import state
from consumers.crm.change import Change
from consumers.crm.client import Busy, open_client
from consumers.crm.profile import Profile
from consumers.crm.reading import change_of
from consumers.crm.rest import PlainRest
from consumers.crm.suspects import Suspects
from consumers.notifications import Notification
from consumers.store import Handled, Store

GROUP = "crm"
TYPES = ("contact_created", "contact_modified", "contact_optin", "contact_optout")
_log = structlog.get_logger()


class Crm:
    """What the handler needs, opened for as long as the worker runs.

    Args:
        settings: where the CRM and the database are.
        profile: which kind of CRM it is.
    """

    def __init__(self, settings: Settings, profile: Profile) -> None:
        self._settings = settings
        self._profile = profile
        self._log_only = not settings.crm_url
        self._suspects = Suspects()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Open the database and the HTTP client."""
        if self._log_only:
            _log.warning("crm_log_only", reason="BRIDGE_CRM_URL is not set: nothing is sent")
        async with (
            Store.open(self._settings.database_url.get_secret_value(), prune=True) as self._store,
            open_client(self._settings) as self._client,
        ):
            yield

    async def handle(self, notification: Notification) -> None:
        """Handle one notification of any of `TYPES`.

        Raises:
            Reject: the CRM refuses this contact, or it cannot be told.
            Unavailable: the CRM or the database is down.
            TryAgain: another write was in the way.
        """
        if notification.is_test:
            self._rehearse(notification)
            return
        change = change_of(notification)
        newer = await self._store.read(lambda c: _not_yet_told(c, notification, change))
        if newer is None:
            return
        if self._log_only:
            self._say(newer)
            return
        if newer.fields:
            await self._tell(newer)
        noted = await self._store.once(GROUP, notification, lambda c: state.record(c, newer))
        if newer.fields and noted != Handled(result=True):
            # Only after a stall so long that the broker gave this lane to another replica.
            _log.warning("crm_overtaken", id=notification.id)

    def _rehearse(self, notification: Notification) -> None:
        """Build the request and say what it would be; send and note nothing."""
        try:
            request = self._profile.request(change_of(notification))
        except Reject as error:
            _log.info("crm_rehearsal", sent=False, would_reject=error.reason)
        else:
            _log.info("crm_rehearsal", sent=False, method=request.method, bytes=len(request.body))

    def _say(self, change: Change) -> None:
        """Without a CRM: what would be sent. Nothing is noted, so that a replay can send it yet."""
        request = self._profile.request(change)
        slots = [field.slot for field in change.fields]
        _log.info("crm_would_send", method=request.method, id=change.event_id, slots=slots)

    async def _tell(self, change: Change) -> None:
        request = self._profile.request(change)
        try:
            answer = await self._client.exchange(request)
            failure = self._profile.outcome(change, answer)
        except Busy:
            raise
        except Unavailable as error:
            failure = error
        if isinstance(failure, Unavailable):
            failure = self._suspects.judge(change.event_id, failure)
        if failure is not None:
            raise failure
        self._suspects.succeeded(change.event_id)


def _not_yet_told(
    connection: Connection, notification: Notification, change: Change
) -> Change | None:
    """What the CRM does not know yet; None if this id was handled before."""
    if state.handled(connection, GROUP, notification):
        return None
    return state.newer(connection, change)


def consumer(settings: Settings) -> Consumer:
    """The consumer of the group `crm`.

    Raises:
        ConfigurationError: an address or a token that cannot work.
    """
    crm = Crm(settings, PlainRest(_checked(settings)))
    result = Consumer(GROUP, lifespan=crm.open)
    result.on(*TYPES, tests=True)(crm.handle)
    return result


def _checked(settings: Settings) -> str:
    """The base URL without a trailing slash.

    Raises:
        ConfigurationError: no http address, or one that carries more than a place; a token no
            header can carry; a timeout that the worker's would cut short.
    """
    if settings.crm_timeout > settings.handler_timeout / 2:
        # The worker counts its own timeout as an attempt: a silent CRM would make dead letters.
        raise ConfigurationError(
            "BRIDGE_CRM_TIMEOUT: use at most half of BRIDGE_HANDLER_TIMEOUT "
            f"({settings.handler_timeout:g} s)"
        )
    token = settings.crm_token.get_secret_value()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ConfigurationError("BRIDGE_CRM_TOKEN: use printable ASCII without spaces")
    if not settings.crm_url:
        return "http://crm.invalid"
    try:
        url = httpx2.URL(settings.crm_url)
    except httpx2.InvalidURL:  # the library's words may hold a password
        url = httpx2.URL("invalid:")
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigurationError("BRIDGE_CRM_URL: use http://host/path or https://host/path")
    if url.userinfo or url.query or url.fragment:
        raise ConfigurationError(
            "BRIDGE_CRM_URL: leave out user, query and fragment; a secret goes to BRIDGE_CRM_TOKEN"
        )
    return settings.crm_url.rstrip("/")
