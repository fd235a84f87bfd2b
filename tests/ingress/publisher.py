"""A publisher whose broker does as the test says."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.message import Message


class SwitchedPublisher:
    """Implements `bridge.brokers.base.Publisher` in memory.

    Attributes:
        stored: every message that this broker holds, in order.
        error: raised by every publish, after `stored` where `store_anyway` is set.
        waiting: publishes that hang now.
    """

    def __init__(self) -> None:
        self.stored: list[Message] = []
        self.last_confirmed: float | None = None
        self.error: Exception | None = None
        self.store_anyway = False
        self.waiting = 0
        self.calls = 0
        self._confirming = asyncio.Event()
        self._confirming.set()

    def hold(self) -> None:
        """From now on the broker confirms nothing, until `release`."""
        self._confirming.clear()

    def release(self) -> None:
        """The broker confirms again, also what it was given before."""
        self._confirming.set()

    async def publish(self, messages: Sequence[Message]) -> None:
        """As the seam says, except that it waits as long as `hold` lasts."""
        self.calls += 1
        if self.error is None or self.store_anyway:
            self.stored += messages
        if self.error is not None:
            raise self.error
        self.waiting += 1
        try:
            await self._confirming.wait()
        finally:
            self.waiting -= 1
        self.last_confirmed = monotonic()
