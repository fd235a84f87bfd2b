"""`bridge up`: everything in one process, for the first run and for small installations."""

import asyncio
import shutil
import sys
from typing import TYPE_CHECKING

from bridge.cli.output import paint, say

if TYPE_CHECKING:
    from bridge.brokers.base import Broker
    from bridge.ingress.health import Health
    from bridge.ingress.server import Ports
    from bridge.settings import Settings
    from consumers.consumer import Consumer


def up() -> None:
    """Ingress and the three consumers in one process, on the embedded log by default.

    Makes and keeps a token on its first run, creates topics and tables, prints the URL to paste
    at the sender.

    Examples:
      bridge up
      BRIDGE_BROKER_URL=kafka://localhost:9092 bridge up
    """
    from bridge.brokers import open_broker  # noqa: PLC0415
    from bridge.cli.loading import BUILT_IN, load_consumer  # noqa: PLC0415
    from bridge.cli.running import run_role  # noqa: PLC0415
    from bridge.cli.webhook_url import with_kept_token  # noqa: PLC0415
    from bridge.settings import load_settings  # noqa: PLC0415
    from consumers.schema import upgrade  # noqa: PLC0415

    settings = with_kept_token(load_settings())
    consumers = [load_consumer(name, settings) for name in BUILT_IN]
    upgrade(settings.database_url.get_secret_value())
    run_role(settings, lambda stop: _run(settings, open_broker(settings), consumers, stop))


async def _run(
    settings: "Settings", broker: "Broker", consumers: "list[Consumer]", stop: asyncio.Event
) -> None:
    """Topology, then all roles; the ingress drains before its publisher closes."""
    from bridge.cli.ingress import refuse_webhooks, take_webhooks  # noqa: PLC0415
    from bridge.errors import StorageFailed  # noqa: PLC0415
    from bridge.ingress.health import Health  # noqa: PLC0415

    def greet(ports: "Ports") -> None:
        _greet(settings, ports)

    try:
        async with broker.topology() as topology:
            await topology.apply([consumer.group for consumer in consumers])
    except StorageFailed as error:
        await refuse_webhooks(settings, error, stop)
        return
    groups: dict[str, str] = {}
    health = Health(lambda: {"groups": groups})
    roles = [
        take_webhooks(settings, broker, stop, greet, health),
        *(
            _consume(settings, broker, each, stop, health=health, groups=groups)
            for each in consumers
        ),
    ]
    tasks = [asyncio.ensure_future(role) for role in roles]
    try:
        # One role that fails ends the process, all others drained: half a bridge looks healthy.
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        stop.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


async def _consume(
    settings: "Settings",
    broker: "Broker",
    consumer: "Consumer",
    stop: asyncio.Event,
    *,
    health: "Health",
    groups: dict[str, str],
) -> None:
    """One consumer, its state shown beside the ingress's.

    A store that it cannot trust stops the ingress too, which stays to say so: no further 200.
    """
    from bridge.errors import StorageFailed  # noqa: PLC0415
    from consumers.worker import State, Worker  # noqa: PLC0415

    def show(state: State) -> None:
        groups[consumer.name] = state

    try:
        await Worker(consumer, broker, settings, on_state=show).run(stop)
    except StorageFailed as error:
        show("stopped")
        health.fail(str(error), restart_helps=False)
        say(f"error: {error}", style="red")
        await stop.wait()


def _greet(settings: "Settings", ports: "Ports") -> None:
    from bridge.cli.webhook_url import local_base, webhook_url  # noqa: PLC0415

    public = settings.public_url or local_base(settings.host, ports.public)
    url = webhook_url(settings, public)
    where = settings.broker_url.get_secret_value()
    scheme, _, rest = where.partition("://")
    broker = where if scheme == "sqlite" else f"{scheme}://{rest.rpartition('@')[2]}"
    say("")
    say("The notification bridge is up.", style="green")
    say("")
    say("Paste this URL at the sender (webhook, callback URL):")
    say(f"  {paint(url, 'bold')}")
    if not settings.public_url:
        say(
            "  It must be reachable from outside: put an HTTPS proxy in front of it and set\n"
            "  BRIDGE_PUBLIC_URL=https://hooks.example.com to have it printed so.",
            style="dim",
        )
    say("")
    program = "bridge" if shutil.which("bridge") else sys.argv[0]
    say("In another terminal:")
    for command, does in (
        ("send --all", "the eight kinds of notification, marked as tests: nothing changes"),
        ("send --all --real", "the same for real: watch them take effect"),
        ("tail", "notifications as they are published"),
        ("lag", "how far each consumer is behind"),
        ("suppression list", "who must not be contacted"),
    ):
        say(f"  {paint(f'{program} {command:<24}', 'cyan')} {does}")
    say("")
    say(f"Broker   {broker}")
    admin = local_base(settings.admin_host, ports.admin)
    say(f"Metrics  {admin}/metrics, {admin}/health/ready")
    say("Ctrl-C ends it cleanly.", style="dim")
    say("")
