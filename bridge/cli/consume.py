"""`bridge consume`: the role that brings notifications to one consumer."""

from collections.abc import Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.output import say

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator

    from bridge.ingress.health import Health
    from bridge.settings import Settings


def consume(
    consumer: Annotated[
        str, typer.Argument(help="crm, suppression, alerts, or module:consumer of your own.")
    ],
) -> None:
    """Run one replica of a consumer. Start as many as you like: they share the work.

    SIGTERM drains: handlers that run end and are acked, no new ones begin.

    Examples:
      bridge consume suppression
      bridge consume loyalty:consumer
    """
    from bridge.brokers import open_broker  # noqa: PLC0415
    from bridge.cli.loading import load_consumer  # noqa: PLC0415
    from bridge.cli.running import run_role  # noqa: PLC0415
    from bridge.ingress.health import Health  # noqa: PLC0415
    from bridge.settings import load_settings  # noqa: PLC0415
    from consumers.worker import State, Worker  # noqa: PLC0415

    settings = load_settings()
    found = load_consumer(consumer, settings)

    def details() -> Mapping[str, object]:
        return {"group": found.name, "state": worker.state, "paused_lanes": worker.paused_lanes}

    def show(state: State) -> None:
        health.started = True
        health.draining = state in {"draining", "ended"}
        if state == "stopped":
            health.fail("a run of dead letters stopped the group", restart_helps=False)

    health = Health(details)
    worker = Worker(found, open_broker(settings), settings, on_state=show)

    async def role(stop: "asyncio.Event") -> None:
        async with _admin_port(settings, health):
            await worker.run(stop)

    run_role(settings, role)


@asynccontextmanager
async def _admin_port(settings: "Settings", health: "Health") -> "AsyncIterator[None]":
    """Health and metrics; on any free port where the usual one is taken and none was asked for.

    Several roles on one machine is how people begin.
    """
    from bridge.errors import ConfigurationError  # noqa: PLC0415
    from bridge.ingress.admin import admin_app  # noqa: PLC0415
    from bridge.ingress.listener import listen  # noqa: PLC0415

    async with AsyncExitStack() as stack:

        async def open_port(port: int) -> int:
            listener = await stack.enter_async_context(
                listen(
                    admin_app(health),
                    host=settings.admin_host,
                    port=port,
                    receive_timeout=settings.receive_timeout,
                )
            )
            return listener.port

        try:
            port = await open_port(settings.admin_port)
        except ConfigurationError:
            if "admin_port" in settings.model_fields_set:
                raise
            port = await open_port(0)
        say(f"Health and metrics on port {port}.")
        yield
