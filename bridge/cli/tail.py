"""`bridge tail`: watch what is published."""

from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.output import emit, emit_json, say

if TYPE_CHECKING:
    from bridge.brokers.base import Delivery


def tail(
    types: Annotated[
        list[str] | None,
        typer.Argument(help="Only these types, or test, unknown, malformed.", show_default=False),
    ] = None,
    *,
    bodies: Annotated[
        bool, typer.Option("--bodies", help="Show bodies too: they hold personal data.")
    ] = False,
    count: Annotated[int, typer.Option("--count", "-n", help="End after so many; 0: never.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show notifications as they are published, from now on.

    Examples:
      bridge tail
      bridge tail contact_optout contact_complaint
      bridge tail --json --bodies -n 10
    """
    from bridge.brokers import open_broker  # noqa: PLC0415
    from bridge.cli.running import run_command  # noqa: PLC0415
    from bridge.settings import load_settings  # noqa: PLC0415

    settings = load_settings()
    topics = settings.topics
    special = {"test": topics.test, "unknown": topics.unknown, "malformed": topics.malformed}
    chosen = tuple(dict.fromkeys(special.get(name) or topics.of(name) for name in types or ()))

    async def run() -> None:
        say("Watching; Ctrl-C ends.", style="dim")
        seen = 0
        deliveries = open_broker(settings).tail(chosen or topics.published)
        async with aclosing(deliveries) as stream:
            async for delivery in stream:
                _show(delivery, bodies=bodies, as_json=json)
                seen += 1
                if seen == count:
                    return

    run_command(settings, run())


def _show(delivery: "Delivery", *, bodies: bool, as_json: bool) -> None:
    message = delivery.message
    stored = (
        datetime.fromtimestamp(delivery.stored_at, UTC).isoformat() if delivery.stored_at else None
    )
    if as_json:
        row: dict[str, object] = {
            "stored": stored,
            "origin": delivery.origin,
            "topic": message.topic,
            "key": message.key.decode("utf-8", "replace"),
            "headers": {name: value.decode("utf-8", "replace") for name, value in message.headers},
        }
        if bodies:
            row["body"] = message.body.decode("utf-8", "replace")
        emit_json(row)
        return
    line = f"{stored or '-'}  {message.topic:<38} {message.text('ce_id'):<36}"
    line += f" {message.text('ce_partitionkey')}"
    if message.is_test:
        line += "  test"
    if reason := message.text("ce_malformedreason"):
        line += f"  {reason}"
    emit(line)
    if bodies:
        emit(message.body.decode("utf-8", "replace"))
