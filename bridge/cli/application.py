"""All verbs in one application."""

from typing import Annotated

import typer

from bridge import __version__
from bridge.cli import (
    consume,
    database,
    dead,
    ingress,
    lag,
    send,
    suppression,
    tail,
    topology,
    up,
)
from bridge.cli.output import emit

application = typer.Typer(
    name="bridge",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Stores webhook notifications on a broker before it answers, and brings each of them to "
    "its consumers. Start with: bridge up",
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback signature
    if wanted:
        emit(f"bridge {__version__}")
        raise typer.Exit


@application.callback()
def _options(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    del version


application.command("up")(up.up)
application.command("ingress")(ingress.ingress)
application.command("consume")(consume.consume)
application.command("send")(send.send)
application.command("tail")(tail.tail)
application.command("lag")(lag.lag)
application.add_typer(topology.verbs, name="topology")
application.add_typer(dead.verbs, name="dead")
application.add_typer(suppression.verbs, name="suppression")
application.add_typer(database.verbs, name="db")
