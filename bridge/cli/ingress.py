"""`bridge ingress`: the role that answers the sender."""

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from bridge.cli.output import say

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from bridge.brokers.base import Broker
    from bridge.errors import StorageFailed
    from bridge.ingress.health import Health
    from bridge.ingress.server import Ports
    from bridge.settings import Settings


def ingress() -> None:
    """Take webhooks, publish them, answer 200 only after the broker confirmed.

    SIGTERM drains: what is in flight ends, nothing new is taken.

    Example:
      BRIDGE_TOKENS=production=$TOKEN BRIDGE_BROKER_URL=kafka://kafka:9092 bridge ingress
    """
    from bridge.brokers import open_broker  # noqa: PLC0415
    from bridge.cli.running import run_role  # noqa: PLC0415
    from bridge.settings import load_settings  # noqa: PLC0415

    settings = load_settings()

    def ready(ports: "Ports") -> None:
        say(f"Taking webhooks on port {ports.public}; health and metrics on {ports.admin}.")

    run_role(settings, lambda stop: take_webhooks(settings, open_broker(settings), stop, ready))


async def take_webhooks(
    settings: "Settings",
    broker: "Broker",
    stop: "asyncio.Event",
    on_start: "Callable[[Ports], None]",
    health: "Health | None" = None,
) -> None:
    """The ingress until `stop`, its publisher closed last.

    With a store that is corrupt at start it answers 503 and waits for an operator: a process that
    ended would be started again and again, and hide why.
    """
    from bridge.errors import ConfigurationError, StorageFailed  # noqa: PLC0415
    from bridge.ingress.server import serve  # noqa: PLC0415
    from bridge.sources.dialog_insight import DialogInsight  # noqa: PLC0415

    if not settings.named_tokens:
        raise ConfigurationError(
            "BRIDGE_TOKENS is not set: anybody could post. Make a token with: "
            'python3 -c "import secrets; print(secrets.token_urlsafe(32))"'
        )
    source = DialogInsight(settings.topics)
    async with AsyncExitStack() as stack:
        try:
            publisher = await stack.enter_async_context(broker.publisher())
        except StorageFailed as error:
            await refuse_webhooks(settings, error, stop)
            return
        await serve(
            settings,
            publisher=publisher,
            source=source,
            stop=stop,
            health=health,
            on_start=on_start,
        )


async def refuse_webhooks(
    settings: "Settings",
    error: "StorageFailed",
    stop: "asyncio.Event",
) -> None:
    """Answer 503 to everything until `stop`: the store cannot be used, and an operator decides."""
    from bridge.ingress.closed import serve_closed  # noqa: PLC0415
    from bridge.sources.dialog_insight import DialogInsight  # noqa: PLC0415

    say(f"error: {error}", style="red")
    say("Every webhook is answered 503 until this is mended.", style="red")
    await serve_closed(
        settings, reason=str(error), source=DialogInsight(settings.topics), stop=stop
    )
