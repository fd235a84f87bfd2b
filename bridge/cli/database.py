"""`bridge db upgrade`: the consumers' database."""

import typer

from bridge.cli.output import say

verbs = typer.Typer(no_args_is_help=True, help="The consumers' database.")


@verbs.command()
def upgrade() -> None:
    """Create or upgrade the tables. Safe to repeat, and for two to start at once.

    Example:
      BRIDGE_DATABASE_URL=postgresql://bridge:secret@localhost/bridge bridge db upgrade
    """
    from bridge.settings import load_settings  # noqa: PLC0415
    from consumers.schema import upgrade as run_migrations  # noqa: PLC0415

    for revision in run_migrations(load_settings().database_url.get_secret_value()):
        say(f"{revision.id}: {revision.title}")
    say("The consumers' database is up to date.", style="green")
