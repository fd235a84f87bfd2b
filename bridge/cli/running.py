"""How commands run: those that end by themselves, and the long-running roles."""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from bridge.logs import configure_logging
from bridge.settings import Settings

T = TypeVar("T")


def run_command(settings: Settings, work: Coroutine[Any, Any, T]) -> T:
    """Run the work of a command that ends by itself; returns what it returns.

    Log lines go to stderr: stdout is for data. What client libraries say is left out, since the
    error that ends the command says it too.
    """
    configure_logging(settings)
    logging.getLogger().handlers = [logging.NullHandler()]
    return asyncio.run(work)


def run_role(settings: Settings, role: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run `role` on uvloop until it returns, or until SIGTERM or SIGINT sets its event.

    The first signal drains; a second SIGINT ends at once: what was not answered or acked is then
    repeated by the sender or delivered again by the broker.

    Args:
        settings: for logging.
        role: takes the event that says stop.
    """
    import uvloop  # noqa: PLC0415 - the command line starts without it

    configure_logging(settings)

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def interrupt() -> None:
            if stop.is_set():
                os._exit(130)
            stop.set()

        loop.add_signal_handler(signal.SIGTERM, stop.set)
        loop.add_signal_handler(signal.SIGINT, interrupt)
        await role(stop)

    uvloop.run(main())
