"""Wait for a condition, never for a time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_PAUSE = 0.05


class TooLate(AssertionError):
    """The condition did not hold before its deadline."""


def until(condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Return as soon as `condition()` is true; raise TooLate naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            raise TooLate(f"waited {seconds:g} s for {what}")
        time.sleep(_PAUSE)


async def eventually(
    condition: Callable[[], Awaitable[bool]], what: str, seconds: float = 30.0
) -> None:
    """The same for a coroutine function; the event loop goes on in between."""
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() >= deadline:
            raise TooLate(f"waited {seconds:g} s for {what}")
        await asyncio.sleep(_PAUSE)
