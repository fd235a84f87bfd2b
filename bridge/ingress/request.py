"""One request on its way through the endpoint."""

from time import monotonic
from typing import TYPE_CHECKING, Final

from starlette.types import Scope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.message import Message

FIRST_BYTE: Final = "bridge.first_byte"
"""Scope key: `time.monotonic()` of the request's first byte. Set by our protocol."""
BEGAN: Final = "bridge.began"
"""Scope key: the same; for the first request of a connection, when it was accepted."""


class Request:
    """What is known of one request so far.

    Attributes:
        scope: the ASGI scope.
        method: the HTTP method.
        first_byte: `time.monotonic()` of its first byte.
        began: from which its answer is due: the first byte or, earlier, the accept.
        token: the name of its token; None until it is authentic.
        whole: whether its body was read to the end.
        messages: what the source made of it.
    """

    __slots__ = ("began", "first_byte", "messages", "method", "scope", "token", "whole")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.first_byte: float = scope.get(FIRST_BYTE) or monotonic()
        self.began: float = scope.get(BEGAN) or self.first_byte
        self.token: str | None = None
        self.whole = False
        self.messages: Sequence[Message] = ()

    @property
    def seconds(self) -> float:
        """How long it has taken since its first byte."""
        return monotonic() - self.first_byte

    @property
    def peer(self) -> str:
        """The address that the connection came from; empty where the server does not know it."""
        client = self.scope.get("client")
        return client[0] if client else ""
