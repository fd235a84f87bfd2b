"""The way of a request, from its path to the broker's confirmation. Read it top to bottom."""

from datetime import UTC, datetime
from typing import Final

from starlette.types import Receive, Scope, Send

from bridge.brokers.base import Publisher
from bridge.errors import (
    MethodNotAllowed,
    Overloaded,
    PublishUnconfirmed,
    StorageFailed,
    TooSlow,
)
from bridge.ingress.admission import Admission
from bridge.ingress.answers import GREETING, STORED, Answer
from bridge.ingress.authentication import PathToken
from bridge.ingress.body import ClientGone, Framing, read_body, read_framing
from bridge.ingress.deadlines import Deadlines
from bridge.ingress.health import Health
from bridge.ingress.outcomes import Outcomes
from bridge.ingress.request import Request
from bridge.sources.base import Source

ANSWER_TIMEOUT: Final = 11.5
"""Seconds from a request's beginning to its answer; the promise is 12."""


class Endpoint:
    """The webhook endpoint: one ASGI callable for everything under `/hooks/`.

    It answers 200 only after the publisher confirmed every notification of the request, all or
    nothing, and never another 2xx. Every other end is one of the fixed answers of
    `bridge.ingress.answers`; nothing is answered where the client left before its body was whole.

    Args:
        source: splits a body into messages.
        publisher: stores them.
        authentication: who may post.
        admission: how much may be in flight.
        health: draining and fail stop; a storage error is reported to it.
        deadlines: of this event loop.
        outcomes: accounts for each request when it ended.
        receive_timeout: seconds from a request's first byte to the last of its body.
    """

    def __init__(
        self,
        *,
        source: Source,
        publisher: Publisher,
        authentication: PathToken,
        admission: Admission,
        health: Health,
        deadlines: Deadlines,
        outcomes: Outcomes,
        receive_timeout: float,
    ) -> None:
        self._source = source
        self._publisher = publisher
        self._authentication = authentication
        self._admission = admission
        self._health = health
        self._deadlines = deadlines
        self._outcomes = outcomes
        self._receive_timeout = receive_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request."""
        request = Request(scope)
        try:
            answer = await self._handle(request, receive)
        except ClientGone:
            self._outcomes.left(request)
            return
        except Exception as error:  # noqa: BLE001 - whatever failed, the answer is never 200 or 500
            if isinstance(error, StorageFailed):
                self._health.fail(str(error), restart_helps=True)
            answer = self._outcomes.failed(request, error)
        keep_alive = request.whole and not self._health.draining
        await send(answer.start if keep_alive else answer.closing)
        await send(answer.body)

    async def _handle(self, request: Request, receive: Receive) -> Answer:
        """Each step returns or raises; what passes all of them is stored."""
        request.token = self._authentication.authenticate(request.scope["path"])
        if request.method != "POST":
            return self._greet(request)
        framing = read_framing(request.scope["headers"])
        framing.refuse_encoded()
        self._refuse_when_closed()
        with self._admission.admit(framing.length) as place:
            body = await self._receive(request, receive, framing)
            place.shrink(len(body))
            request.messages = self._source.messages(body, datetime.now(UTC))
            await self._publish(request)
        self._outcomes.stored(request)
        return STORED

    def _greet(self, request: Request) -> Answer:
        """A person opened the URL in a browser."""
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(request.method)
        return GREETING

    def _refuse_when_closed(self) -> None:
        if self._health.draining:
            raise Overloaded("draining")
        if self._health.failed is not None:
            raise Overloaded("stopped by a failure")

    async def _receive(self, request: Request, receive: Receive, framing: Framing) -> bytes:
        try:
            with self._deadlines.at(request.first_byte + self._receive_timeout):
                body = await read_body(receive, framing, self._admission.max_body_bytes)
        except TimeoutError:
            raise TooSlow("body") from None
        request.whole = True
        return body

    async def _publish(self, request: Request) -> None:
        try:
            with self._deadlines.at(request.began + ANSWER_TIMEOUT):
                await self._publisher.publish(request.messages)
        except TimeoutError as error:
            # The publisher's own deadline is shorter: this one only holds the promise to answer.
            raise PublishUnconfirmed("no confirmation before the answer was due") from error
        if self._health.failed is not None:
            # Another request met a storage error meanwhile: no 200 from this process any more.
            raise PublishUnconfirmed("stopped by a failure")
