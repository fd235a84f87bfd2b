"""`bridge ingress`: the role that answers the sender."""

from typing import TYPE_CHECKING

from bridge.cli.output import say

if TYPE_CHECKING:
    import asyncio


def ingress() -> None:
    """Take webhooks, publish them, answer 200 only after the broker confirmed.

    SIGTERM drains: what is in flight ends, nothing new is taken.

    Example:
      BRIDGE_TOKENS=production=$TOKEN BRIDGE_BROKER_URL=kafka://kafka:9092 bridge ingress
    """
    from bridge.brokers import open_broker  # noqa: PLC0415
    from bridge.cli.running import run_role  # noqa: PLC0415
    from bridge.errors import ConfigurationError  # noqa: PLC0415
    from bridge.ingress.server import Ports, serve  # noqa: PLC0415
    from bridge.settings import load_settings  # noqa: PLC0415
    from bridge.sources.dialog_insight import DialogInsight  # noqa: PLC0415

    settings = load_settings()
    if not settings.named_tokens:
        raise ConfigurationError(
            "BRIDGE_TOKENS is not set: anybody could post. Make a token with: "
            'python3 -c "import secrets; print(secrets.token_urlsafe(32))"'
        )

    def ready(ports: Ports) -> None:
        say(f"Taking webhooks on port {ports.public}; health and metrics on {ports.admin}.")

    async def role(stop: "asyncio.Event") -> None:
        async with open_broker(settings).publisher() as publisher:
            await serve(
                settings,
                publisher=publisher,
                source=DialogInsight(settings.topics),
                stop=stop,
                on_start=ready,
            )

    run_role(settings, role)
