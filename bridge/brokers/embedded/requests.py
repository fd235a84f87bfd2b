"""What one publish hands to the writer."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bridge.brokers.embedded.records import Row

if TYPE_CHECKING:
    from bridge.errors import BridgeError


class Request:
    """The rows of one publish, all in one transaction, and who waits for them."""

    __slots__ = ("failure", "finished", "rows", "size", "state")

    def __init__(self, rows: Sequence[Row], size: int) -> None:
        self.rows = rows
        self.size = size
        self.finished = asyncio.Event()
        self.failure: BridgeError | None = None
        self.state = "waiting"  # then taken, or withdrawn
