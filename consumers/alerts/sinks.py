"""Where pages go. A sink takes one page and returns when it is delivered."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import httpx2
import msgspec
import structlog

from bridge.settings import Settings

POST_TIMEOUT = 10.0
"""Seconds for one post, from connecting to the answer."""
_CONNECT_TIMEOUT = 5.0  # seconds
_log = structlog.get_logger()


class SinkFailed(Exception):
    """The page was not delivered, as far as we know.

    Args:
        reason: without the sink's address, which is a secret.
        this_page: whether the sink refused this page, and might take another.
    """

    def __init__(self, reason: str, *, this_page: bool = False) -> None:
        super().__init__(reason)
        self.this_page = this_page


class Sink(Protocol):
    """One place where pages go."""

    @property
    def name(self) -> str:
        """What the outbox knows it by; stable over restarts."""

    async def deliver(self, page: bytes) -> None:
        """Return when `page`, the JSON of a `Page`, is delivered.

        Raises:
            SinkFailed: it is tried again later.
        """


class LogSink:
    """Writes each page as one line of the log. Never fails."""

    name = "log"

    async def deliver(self, page: bytes) -> None:
        """See `Sink.deliver`."""
        content = msgspec.json.decode(page)
        severity = content.pop("severity")
        write = _log.error if severity == "critical" else _log.warning
        write("alert", severity=severity, **content)


class WebhookSink:
    """Posts each page as JSON. A status of the 2xx class is delivered, anything else is not.

    Args:
        http: the library's client, owned by `open_sinks`.
        url: where to post; a secret.
    """

    name = "webhook"

    def __init__(self, http: httpx2.AsyncClient, url: str) -> None:
        self._http = http
        self._url = url

    async def deliver(self, page: bytes) -> None:
        """See `Sink.deliver`."""
        headers = {"content-type": "application/json"}
        try:
            async with (
                asyncio.timeout(POST_TIMEOUT),
                self._http.stream("POST", self._url, content=page, headers=headers) as response,
            ):
                status = response.status_code
        except (httpx2.HTTPError, TimeoutError) as error:
            raise SinkFailed(f"the sink cannot be reached ({type(error).__name__})") from error
        if not 200 <= status < 300:  # noqa: PLR2004 - the class of statuses
            # 408 and 429 are about the moment; the other 4xx may be about this page.
            this_page = 400 <= status < 500 and status not in {408, 429}  # noqa: PLR2004
            raise SinkFailed(f"the sink answered {status}", this_page=this_page)


@asynccontextmanager
async def open_sinks(settings: Settings) -> AsyncIterator[Sequence[Sink]]:
    """The log, and the webhook if one is set."""
    url = settings.alert_webhook_url.get_secret_value()
    if not url:
        yield (LogSink(),)
        return
    async with httpx2.AsyncClient(
        headers={"user-agent": "notification-bridge"},
        follow_redirects=False,
        timeout=httpx2.Timeout(POST_TIMEOUT, connect=_CONNECT_TIMEOUT),
    ) as http:
        yield (LogSink(), WebhookSink(http, url))
