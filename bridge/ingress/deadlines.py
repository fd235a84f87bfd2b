"""Deadlines for many tasks at once, at the price of a dictionary entry each.

`asyncio.timeout` costs a timer to arm and to cancel, about a tenth of a whole request here. These
deadlines are looked at every SWEEP_INTERVAL seconds instead, so they end that much late at most.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic
from types import TracebackType
from typing import Final

from bridge import telemetry
from bridge.ingress.logbook import Logbook, where

SWEEP_INTERVAL: Final = 0.25
"""Seconds between two looks."""


class Deadlines:
    """All deadlines of one event loop."""

    def __init__(self) -> None:
        self._open: dict[Deadline, None] = {}

    def at(self, due: float) -> "Deadline":
        """A deadline at a `time.monotonic()` moment, for the body of one `with` statement.

        When it passes, the task is cancelled inside the body and `with` raises TimeoutError.
        """
        return Deadline(self._open, due)

    def sweep(self) -> None:
        """Cancel what is past due."""
        now = monotonic()
        for deadline in list(self._open):
            if deadline.due < now:
                deadline.pass_by()


class Deadline:
    """One deadline. Made by `Deadlines.at`, entered once, by the task it bounds."""

    __slots__ = ("_cancelled_before", "_open", "_passed", "_task", "due")

    def __init__(self, among: dict["Deadline", None], due: float) -> None:
        self.due = due
        self._open = among
        self._task: asyncio.Task[object] | None = None
        self._cancelled_before = 0
        self._passed = False

    def pass_by(self) -> None:
        """It is past due: cancel the task, once."""
        if self._task is not None and not self._passed:
            self._passed = True
            self._task.cancel()

    def __enter__(self) -> None:
        self._task = task = asyncio.current_task()
        if task is not None:
            self._cancelled_before = task.cancelling()
        self._open[self] = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Turn our own cancellation into a TimeoutError; leave anybody else's alone.

        Raises:
            TimeoutError: the deadline passed.
        """
        task = self._task
        # A reference from the deadline to its task would make every request a cycle to collect.
        self._task = None
        del self._open[self]
        if self._passed and task is not None:
            ours = task.uncancel() <= self._cancelled_before
            if ours and isinstance(error, asyncio.CancelledError):
                raise TimeoutError from error


@asynccontextmanager
async def sweeping(sweep: Callable[[], None]) -> AsyncIterator[None]:
    """Call `sweep` every SWEEP_INTERVAL seconds while the context is open."""
    logbook = Logbook()

    async def forever() -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            try:
                sweep()
            except Exception as error:  # noqa: BLE001 - without sweeps nothing would end in time
                name = type(error).__name__
                logbook.report(telemetry.SWEEP_FAILED, error=name, where=where(error))

    task = asyncio.create_task(forever(), name="sweeper")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
