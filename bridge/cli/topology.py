"""`bridge topology plan`, `apply`, `remove`: topics, queues, bindings."""

from typing import Annotated

import msgspec
import typer

from bridge.cli.output import emit_rows, say

verbs = typer.Typer(
    no_args_is_help=True, help="Topics, queues and bindings: show what is missing, create it."
)

Consumers = Annotated[
    list[str] | None,
    typer.Argument(
        help="Consumers of your own, as module:consumer, beside the built-in ones.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@verbs.command()
def plan(consumers: Consumers = None, *, json: Json = False) -> None:
    """Show what `apply` would do; changes nothing.

    Examples:
      bridge topology plan
      bridge topology plan loyalty:consumer --json
    """
    _change(consumers or [], apply=False, as_json=json)


@verbs.command()
def apply(consumers: Consumers = None, *, json: Json = False) -> None:
    """Create what is missing. Safe to repeat; never deletes messages.

    Examples:
      bridge topology apply
      bridge topology apply loyalty:consumer
    """
    _change(consumers or [], apply=True, as_json=json)


def _change(consumers: list[str], *, apply: bool, as_json: bool) -> None:
    from bridge.brokers import open_broker  # noqa: PLC0415
    from bridge.cli.loading import load_groups  # noqa: PLC0415
    from bridge.cli.running import run_command  # noqa: PLC0415
    from bridge.settings import load_settings  # noqa: PLC0415

    settings = load_settings()
    groups = load_groups(consumers, settings)

    async def run() -> None:
        async with open_broker(settings).topology() as topology:
            changes = await (topology.apply(groups) if apply else topology.plan(groups))
        rows = [msgspec.to_builtins(change) for change in changes]
        emit_rows(rows, as_json=as_json, empty="Everything is as it must be.")
        if rows and not as_json:
            say(f"{len(rows)} changes {'made' if apply else 'to make: bridge topology apply'}")

    run_command(settings, run())


@verbs.command()
def remove(
    group: Annotated[str, typer.Argument(help="The group's name.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Take a group away: its positions, queues and dead letters.

    Example:
      bridge topology remove loyalty
    """
    from bridge.brokers import open_broker  # noqa: PLC0415
    from bridge.cli.running import run_command  # noqa: PLC0415
    from bridge.settings import load_settings  # noqa: PLC0415

    settings = load_settings()
    if not yes:
        typer.confirm(
            f"Remove the group {group} with its positions and dead letters?", abort=True, err=True
        )

    async def run() -> None:
        async with open_broker(settings).topology() as topology:
            changes = await topology.remove(group)
        rows = [msgspec.to_builtins(change) for change in changes]
        emit_rows(rows, as_json=json, empty=f"There is no group {group}.")

    run_command(settings, run())
