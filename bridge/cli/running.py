"""What every long-running role shares: logging, signals, the loop."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

from bridge.logs import configure_logging
from bridge.settings import Settings


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
