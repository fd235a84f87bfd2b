"""The seam between a sender's format and the bridge: request body -> messages."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from bridge.message import Message


class Source(Protocol):
    """One sender's format: how to split its requests, identify and route its notifications."""

    @property
    def name(self) -> str:
        """The path segment after `/hooks/`, e.g. `dialog-insight`."""

    def messages(self, body: bytes, received: datetime) -> Sequence[Message]:
        """Split one authentic request body into messages, in the body's order.

        Never raises for what a sender could post: what cannot be split or identified comes back
        as a message to the `malformed` topic with its reason, and nothing is left out. An empty
        array gives an empty sequence.

        Args:
            body: the request body as received.
            received: aware time at which the ingress received it.
        """
