"""Reading a request's body under a cap."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from starlette.types import Receive

from bridge.errors import TooLarge, TooSlow, UnsupportedEncoding
from bridge.ingress.admission import UNKNOWN_LENGTH

_BODY_WITHOUT_LENGTH: Final = "chunked"


class ClientGone(Exception):
    """The client left before its body was whole. Nothing of it may be used."""


class Framing(NamedTuple):
    """What the headers say about the body.

    Attributes:
        length: Content-Length; UNKNOWN_LENGTH for a chunked body; 0 without either.
        encoded: whether the bytes are not the notification's own (compressed).
    """

    length: int
    encoded: bool

    def refuse_encoded(self) -> None:
        """Only identity is accepted.

        Raises:
            UnsupportedEncoding: otherwise.
        """
        if self.encoded:
            raise UnsupportedEncoding


def read_framing(headers: Iterable[tuple[bytes, bytes]]) -> Framing:
    """Find the body's length and encoding. The server has already refused impossible lengths."""
    length = 0
    encoded = False
    for name, value in headers:
        if name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding":
            length = UNKNOWN_LENGTH
            encoded |= value.strip().lower() != b"chunked"
        elif name == b"content-encoding":
            encoded |= value.strip().lower() not in {b"", b"identity"}
    return Framing(length, encoded)


async def read_body(receive: Receive, framing: Framing, cap: int) -> bytes:
    """The whole body. The caller sets the deadline.

    Raises:
        TooLarge: a body without a length grew over `cap` bytes.
        TooSlow: the server says that the body is whole, but it is not as long as announced.
        ClientGone: the client left before the end.
    """
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > cap:
            raise TooLarge(_BODY_WITHOUT_LENGTH)
        parts.append(part)
        if not message.get("more_body", False):
            break
    if framing.length not in (UNKNOWN_LENGTH, size):
        # Answering 200 to half a body would lose the other half for ever.
        raise TooSlow("the body is shorter than its Content-Length")
    return parts[0] if len(parts) == 1 else b"".join(parts)
