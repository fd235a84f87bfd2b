"""`bridge suppression check`, `list`: who must not be contacted."""

import typer

verbs = typer.Typer(no_args_is_help=True, help="The suppression list: who must not be contacted.")
