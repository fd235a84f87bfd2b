"""The ingress of a process whose store cannot be trusted: it answers, and stores nothing.

A process that ended instead would leave the sender with refused connections and the operator with
a restart loop. This one answers 503, is alive and not ready, and says why on its admin port.
"""

import asyncio
from collections.abc import Callable, Sequence

from bridge.errors import PublishRejected
from bridge.ingress.health import Health
from bridge.ingress.server import Ports, serve
from bridge.message import Message
from bridge.settings import Settings
from bridge.sources.base import Source


class ClosedPublisher:
    """Stands in for a publisher that could not be opened (see `bridge.brokers.base.Publisher`)."""

    last_confirmed: float | None = None

    async def publish(self, messages: Sequence[Message]) -> None:
        """Never stores anything.

        Raises:
            PublishRejected: always.
        """
        del messages
        raise PublishRejected("the store was found unusable at start")


async def serve_closed(
    settings: Settings,
    *,
    reason: str,
    source: Source,
    stop: asyncio.Event,
    on_start: Callable[[Ports], None] | None = None,
) -> None:
    """Like `bridge.ingress.server.serve`, for a store found corrupt at start.

    Args:
        settings: of this process.
        reason: what an operator must know to decide; shown by `/health/ready`.
        source: whose webhooks to refuse.
        stop: set when the process is to end.
        on_start: called once with the bound ports.
    """
    health = Health()
    health.fail(reason, restart_helps=False)
    await serve(
        settings,
        publisher=ClosedPublisher(),
        source=source,
        stop=stop,
        health=health,
        on_start=on_start,
    )
