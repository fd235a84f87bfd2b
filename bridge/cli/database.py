"""`bridge db upgrade`: the consumers' database."""

from typing import Annotated

import typer

from bridge.cli.output import emit_json, say

verbs = typer.Typer(no_args_is_help=True, help="The consumers' database.")


@verbs.command()
def upgrade(
    *, json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False
) -> None:
    """Create or upgrade the tables. Safe to repeat, and for two to start at once.

    Example:
      BRIDGE_DATABASE_URL=postgresql://bridge:secret@localhost/bridge bridge db upgrade
    """
    from bridge.settings import load_settings  # noqa: PLC0415
    from consumers.schema import upgrade as run_migrations  # noqa: PLC0415

    for revision in run_migrations(load_settings().database_url.get_secret_value()):
        if json:
            emit_json({"revision": revision.id, "title": revision.title})
        say(f"{revision.id}: {revision.title}")
    say("The consumers' database is up to date.", style="green")
