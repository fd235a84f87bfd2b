"""How a connection ends: the protocol's own last words, and the way out for a request's answer."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Final


def _last_word(status: HTTPStatus) -> bytes:
    text = f"{status.phrase.lower()}\n"
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: text/plain; charset=utf-8\r\n"
        f"content-length: {len(text)}\r\nconnection: close\r\n\r\n{text}"
    ).encode("ascii")


NOT_HTTP: Final = _last_word(HTTPStatus.BAD_REQUEST)
HEAD_TOO_SLOW: Final = _last_word(HTTPStatus.REQUEST_TIMEOUT)
HEAD_TOO_LARGE: Final = _last_word(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
BODY_TOO_LARGE: Final = _last_word(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


class Exit(asyncio.Transport):
    """The transport as a request's answer sees it: to close it is to `part`.

    uvicorn closes the transport right behind the answer. Closing a socket with unread bytes resets
    it, and a client that is still sending its body would lose the answer.

    Args:
        transport: the connection's.
        part: called instead of its `close`.
    """

    def __init__(self, transport: asyncio.Transport, part: Callable[[], None]) -> None:
        super().__init__()
        self._transport = transport
        self._part = part

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write to the connection."""
        self._transport.write(data)

    def is_closing(self) -> bool:
        """Whether the connection is closing."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Everything is answered."""
        self._part()
