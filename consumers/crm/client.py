"""Carries a profile's requests to the CRM, and is where the HTTP library's failures become ours."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import httpx2

from bridge.settings import Settings
from consumers.consumer import Unavailable
from consumers.crm.profile import Answer, Request

MAX_CONNECTIONS: Final = 32
"""Requests under way at the same time, of one replica."""
_CONNECT_TIMEOUT = 5.0  # seconds; a CRM that takes longer to accept is as good as down
_KEEPALIVE = 4.0  # seconds; below the 5 s after which many servers close an idle connection
_MAX_ANSWER_BYTES = 64 * 1024  # a longer answer is cut: we only read why, never what


class Busy(Unavailable):
    """All connections were in use for too long: says nothing about any one request."""


class Client:
    """An HTTP client to one CRM. Made by `open_client`.

    Args:
        http: the library's client, owned by `open_client`.
        timeout: seconds for one exchange, from connecting to the last byte.
        patience: seconds to wait for one of `MAX_CONNECTIONS` to be free.
    """

    def __init__(self, http: httpx2.AsyncClient, *, timeout: float, patience: float) -> None:
        self._http = http
        self._timeout = timeout
        self._patience = patience
        # Here and not in the library's pool: waiting for others is not the CRM's silence.
        self._free = asyncio.Semaphore(MAX_CONNECTIONS)

    async def exchange(self, request: Request) -> Answer:
        """Send one request and return the answer, whatever its status. Redirects are not followed.

        A connection that breaks is tried a second time at once: most often the server closed it
        while idle, and a request that is idempotent may be repeated.

        Raises:
            Unavailable: no answer. Scope `group` if no connection can be made, for that concerns
                every contact; `partition` if the CRM took the request and then was silent, which
                may be about this contact.
            Busy: not sent, all connections are in use.
        """
        try:
            async with asyncio.timeout(self._patience):
                await self._free.acquire()
        except TimeoutError as error:
            raise Busy(f"{MAX_CONNECTIONS} requests to the CRM are under way") from error
        try:
            async with asyncio.timeout(self._timeout):
                return await self._twice(request)
        except TimeoutError as error:
            raise Unavailable(f"the CRM did not answer within {self._timeout:g} s") from error
        finally:
            self._free.release()

    async def _twice(self, request: Request) -> Answer:
        with _as_unavailable():
            try:
                return await self._once(request)
            except (httpx2.ReadError, httpx2.WriteError, httpx2.RemoteProtocolError):
                return await self._once(request)

    async def _once(self, request: Request) -> Answer:
        async with self._http.stream(
            request.method, request.url, headers=request.headers, content=request.body
        ) as response:
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) >= _MAX_ANSWER_BYTES:
                    break
            return Answer(
                status=response.status_code,
                headers={name.lower(): value for name, value in response.headers.items()},
                body=bytes(body[:_MAX_ANSWER_BYTES]),
            )


@asynccontextmanager
async def open_client(settings: Settings) -> AsyncIterator[Client]:
    """A client with the token and the timeouts of the settings."""
    headers = {"user-agent": "notification-bridge", "accept-encoding": "identity"}
    if token := settings.crm_token.get_secret_value():
        headers["authorization"] = f"Bearer {token}"
    seconds = settings.crm_timeout
    async with httpx2.AsyncClient(
        headers=headers,
        follow_redirects=False,
        timeout=httpx2.Timeout(seconds, connect=min(_CONNECT_TIMEOUT, seconds)),
        limits=httpx2.Limits(
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=MAX_CONNECTIONS,
            keepalive_expiry=_KEEPALIVE,
        ),
    ) as http:
        yield Client(http, timeout=seconds, patience=settings.handler_timeout / 2)


@contextmanager
def _as_unavailable() -> Iterator[None]:
    """The one mapping of the library's exceptions, most specific first.

    Names the kind only: the library's own words may hold the URL, and the URL the contact.
    """
    try:
        yield
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
        raise Unavailable(
            f"the CRM cannot be reached ({type(error).__name__})", scope="group"
        ) from error
    except httpx2.TimeoutException as error:
        raise Unavailable(f"the CRM did not answer in time ({type(error).__name__})") from error
    except httpx2.TransportError as error:
        raise Unavailable(f"the CRM broke the connection ({type(error).__name__})") from error
