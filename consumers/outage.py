"""Waiting for the outside: how long, and who probes for all."""

import asyncio
import random
from types import TracebackType
from typing import Self

from consumers.consumer import Unavailable


def backoff(attempt: int, *, first: float, longest: float) -> float:
    """Seconds to wait before the next try: doubling up to a cap, then jitter down to one half.

    Args:
        attempt: how many tries have failed, from 1.
        first: the wait after the first failure.
        longest: the cap.
    """
    ceiling = min(longest, first * 2.0 ** min(attempt - 1, 30))
    # Not a secret: jitter only keeps replicas from knocking at the same moment.
    return ceiling * (0.5 + random.random() / 2)  # noqa: S311


async def wait_unless(stop: asyncio.Event, seconds: float) -> bool:
    """Wait `seconds`, or less if `stop` is set. Returns whether `stop` is set."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return False
    return True


class Gate:
    """Open in normal times; shut by the lane that found the outside down for the whole group.

    The lane that shut it probes, and opens it on success or when it ends; the others wait.
    """

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()

    @property
    def is_open(self) -> bool:
        """Whether handlers may run."""
        return self._open.is_set()

    async def wait(self, over: asyncio.Event) -> bool:
        """Return when it is open (True), or when the lane that waits is over (False)."""
        waiting = [asyncio.ensure_future(event.wait()) for event in (self._open, over)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        return not over.is_set()

    def shut(self) -> bool:
        """Shut it. Returns False if another lane already did: that one probes."""
        if not self._open.is_set():
            return False
        self._open.clear()
        return True

    def open(self) -> None:
        """Let all lanes go on."""
        self._open.set()


class Outage:
    """One outage as one lane sees it: counts probes, holds the gate while it probes for all.

    Args:
        gate: the group's gate.
        first: seconds before the first probe.
        longest: the cap between probes.
    """

    def __init__(self, gate: Gate, *, first: float, longest: float) -> None:
        self._gate = gate
        self._first = first
        self._longest = longest
        self._probes = 0
        self._holds_gate = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Whatever ends the outage for this lane, the others must not wait for it."""
        if self._holds_gate:
            self._gate.open()

    def seconds_after(self, cause: Unavailable) -> float:
        """Note one more failure and say how long to wait before the next probe."""
        if cause.scope == "group" and not self._holds_gate:
            self._holds_gate = self._gate.shut()
        self._probes += 1
        wait = backoff(self._probes, first=self._first, longest=self._longest)
        return wait if cause.retry_after is None else max(wait, cause.retry_after)

    async def my_turn(self, over: asyncio.Event) -> bool:
        """Wait while another lane probes for the whole group. False: this lane is over."""
        return self._holds_gate or self._gate.is_open or await self._gate.wait(over)
