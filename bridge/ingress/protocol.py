"""uvicorn's HTTP/1.1 protocol, made safe to face the internet without a proxy.

What uvicorn leaves open and this class closes: no limit on slow or endless headers, none on
connections that never send or never read, none on pipelined requests; a body that is thrown away
when the client offers an upgrade; an answer that is lost when the client is still sending.
"""

import asyncio
from time import monotonic
from typing import Any, Final

import httptools
from uvicorn import Config
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from bridge.ingress.connections import Connections, Place
from bridge.ingress.parting import (
    BODY_TOO_LARGE,
    HEAD_TOO_LARGE,
    HEAD_TOO_SLOW,
    NOT_HTTP,
    Exit,
)
from bridge.ingress.request import BEGAN, FIRST_BYTE

MAX_HEAD_BYTES: Final = 32 * 1024
"""Request line and headers of one request."""
MAX_PIPELINED: Final = 16
"""Requests that wait on one connection behind the one in flight."""
MAX_PARTING_BYTES: Final = 1024 * 1024
"""So much of an unwanted body is read and dropped, so that its sender can read the answer."""
_FRAMING_FACTOR: Final = 2
"""The chunks' own bytes may be as many as the body's."""


class HardenedProtocol(HttpToolsProtocol):
    """One connection.

    Args:
        config: uvicorn's, loaded.
        state: uvicorn's connections and tasks of this port.
        connections: where connections of this port wait.
        max_body_bytes: the largest body that may reach the application.
    """

    def __init__(
        self,
        config: Config,
        state: ServerState,
        *,
        connections: Connections,
        max_body_bytes: int,
    ) -> None:
        super().__init__(config, state, {}, asyncio.get_running_loop())
        self.access_log = False  # whatever handlers the root logger has: paths hold tokens
        self.place: Place | None = None
        self._waiting = connections
        self._max_raw_bytes = MAX_HEAD_BYTES + _FRAMING_FACTOR * max_body_bytes
        self._accepted: float | None = None
        self._first_byte = 0.0
        self._raw_bytes = 0
        self._in_head = True
        self._active: RequestResponseCycle | None = None
        self._deaf = False
        self._complaint = NOT_HTTP
        self._exit: Exit | None = None

    # The connection's life

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """Accepted: the first byte is due."""
        super().connection_made(transport)
        self._exit = Exit(transport, self.part)
        self._accepted = self._waiting.enter(self, self._waiting.receiving)

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone: nothing here may keep memory until some timer ends."""
        self._waiting.leave(self)
        super().connection_lost(exc)
        self.pipeline.clear()
        if self._active is not None:
            self._active.disconnected = True
            self._active.message_event.set()
        self._active = None
        self._exit = None

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio allows a bool, uvicorn declares None
        """The client ends its side. Whoever waits for an answer still gets it."""
        active = self._active
        if active is None or active.response_complete or active.more_body or self._deaf:
            return False
        self._end_after(active)
        return True

    def expire(self) -> None:
        """The client was waited for long enough, or must make room."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        elif self._raw_bytes and self._in_head and not self._deaf:
            self._refuse(HEAD_TOO_SLOW)
        else:
            self.transport.close()

    def part(self) -> None:
        """The last answer is given: close, after hearing out a client that is still sending."""
        self._close(whole=self._active is None or not self._active.more_body)

    def _close(self, *, whole: bool) -> None:
        self._deaf = True
        if whole and not self.transport.get_write_buffer_size():
            self._waiting.leave(self)
            self.transport.close()
            return
        self._raw_bytes = 0
        self._waiting.enter(self, self._waiting.parting)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()

    # Bytes

    def data_received(self, data: bytes) -> None:
        """Feed the parser, within the limits."""
        if self._deaf:
            self._drop(data)
            return
        if not self._raw_bytes:
            self._begin()
        self._raw_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline_upgrade(data[offer.args[0] :])
        except httptools.HttpParserError:
            self._refuse(self._complaint)
        else:
            if self._raw_bytes > MAX_HEAD_BYTES:
                self._check_size()

    def _begin(self) -> None:
        """The first byte of a request."""
        if self._answering():
            self._first_byte = monotonic()  # it waits for us as well as we for it
        else:
            self._first_byte = self._waiting.enter(self, self._waiting.receiving)

    def _check_size(self) -> None:
        if self._in_head:
            self._refuse(HEAD_TOO_LARGE)
        elif self._raw_bytes > self._max_raw_bytes:
            self._refuse(BODY_TOO_LARGE)

    def _drop(self, data: bytes) -> None:
        self._raw_bytes += len(data)
        if self._raw_bytes > MAX_PARTING_BYTES and not self._answering():
            self.transport.abort()

    def _answering(self) -> bool:
        return self._active is not None and not self._active.response_complete

    def _refuse(self, answer: bytes) -> None:
        """The bytes are no request that we take: answer and close, in the order of the requests."""
        active = self._active
        if active is not None and not active.response_complete:
            if not active.more_body:
                self._end_after(active)
                return
            active.disconnected = True
            active.message_event.set()
            self._active = None
        self.transport.write(answer)
        self._close(whole=False)

    def _end_after(self, cycle: RequestResponseCycle) -> None:
        """Answer what is in flight, hear and answer nothing more, close."""
        self.pipeline.clear()
        cycle.keep_alive = False
        self._deaf = True
        self._waiting.leave(self)

    def _decline_upgrade(self, rest: bytes) -> None:
        """Read the request as if the offer (`Upgrade: h2c`) had not been made.

        The parser ends at such headers and takes the body for another protocol's bytes; uvicorn
        would hand an empty body to the application. So the head is parsed again without the offer.
        """
        if self.parser.get_method() == b"CONNECT":
            self._refuse(NOT_HTTP)
            return
        lines = [b"%s %s HTTP/1.1\r\n" % (self.parser.get_method(), self.url)]
        lines += [
            b"%s: %s\r\n" % header
            for header in self.headers
            if header[0] not in (b"upgrade", b"connection")
        ]
        self.parser = httptools.HttpRequestParser(self)
        try:
            self.parser.feed_data(b"".join([*lines, b"connection: close\r\n\r\n", rest]))
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(self._complaint)

    # The parser's callbacks

    def on_message_begin(self) -> None:
        """A request begins, at the connection's beginning or behind another one."""
        super().on_message_begin()
        self._in_head = True
        self._raw_bytes = self._raw_bytes or 1  # behind another request in the same read
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]  # keys of ours beside ASGI's
        scope[FIRST_BYTE] = self._first_byte
        scope[BEGAN] = self._accepted or self._first_byte

    def on_headers_complete(self) -> None:
        """The request goes to the application, unless it must be parsed again or is one too many.

        Raises:
            ValueError: too large a head, too many requests. The parser makes its own error of it.
        """
        if self.parser.should_upgrade():
            return
        if self._raw_bytes > MAX_HEAD_BYTES and self._head_bytes() > MAX_HEAD_BYTES:
            self._complaint = HEAD_TOO_LARGE
            raise ValueError("head too large")
        if len(self.pipeline) >= MAX_PIPELINED:
            raise ValueError("too many pipelined requests")
        self._in_head = False
        self._accepted = None
        self._waiting.leave(self)
        super().on_headers_complete()

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def on_message_complete(self) -> None:
        """The request is whole; what comes next is another one."""
        if self.parser.should_upgrade():
            return
        self._raw_bytes = 0
        super().on_message_complete()

    # The application's side

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if self._exit is not None:
            cycle.transport = self._exit
        self._active = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Answered: the next pipelined request, or idle, or the end. Sets no timer."""
        self.server_state.total_requests += 1
        active = self._active
        if self._deaf or self.transport.is_closing() or active is None:
            return
        if active.more_body:
            self.part()  # answered early: what is still to come of this body is nobody's
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            waiting = self._waiting
            self._waiting.enter(self, waiting.receiving if self._raw_bytes else waiting.idle)

    def pause_writing(self) -> None:
        """Answers pile up: the client must read."""
        super().pause_writing()
        self._waiting.enter(self, self._waiting.unread)

    def resume_writing(self) -> None:
        """The client reads."""
        super().resume_writing()
        if self.place is self._waiting.unread:
            self._waiting.leave(self)

    def shutdown(self) -> None:
        """The port drains: close now if nothing is in flight, else after the answer."""
        active = self._active
        if active is not None and not active.response_complete:
            active.keep_alive = False
        elif not self._deaf:
            self.transport.close()
