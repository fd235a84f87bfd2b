"""`bridge suppression check`, `list`: who must not be contacted."""

from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from bridge.cli.output import ANSWER_IS_NO, emit, emit_json, emit_rows, say

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from consumers.store import Store
    from consumers.suppression.list import Entry

T = TypeVar("T")

verbs = typer.Typer(no_args_is_help=True, help="The suppression list: who must not be contacted.")

Project = Annotated[
    str | None, typer.Option("--project", help="Only this idProject.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="JSON; a list has one object a line.")]


@verbs.command()
def check(
    address: Annotated[str, typer.Argument(help="The e-mail address, in any spelling.")],
    *,
    scope: Annotated[
        str, typer.Option("--scope", help="An opt-in field; by default what holds for all.")
    ] = "*",
    project: Project = None,
    json: Json = False,
) -> None:
    """Say whether an address may be sent to. Exit code 0: yes; 5: no.

    Examples:
      bridge suppression check jane.doe@example.com
      bridge suppression check jane.doe@example.com --scope newsletter --json
    """
    from bridge.errors import ConfigurationError  # noqa: PLC0415
    from consumers.suppression.list import check as ask  # noqa: PLC0415

    if "@" not in address:
        # "May be sent to" would be the answer to a typing error.
        raise ConfigurationError(f"{address!r} is no e-mail address")
    verdict = _with_store(lambda store: ask(store, address, project=project))
    sendable = verdict.sendable(scope, project=project)
    if json:
        emit_json(
            {
                "address": verdict.address,
                "scope": scope,
                "sendable": sendable,
                "entries": [_row(entry) for entry in verdict.entries],
            }
        )
    else:
        emit(f"{verdict.address}: {'may be sent to' if sendable else 'suppressed'} (scope {scope})")
        emit_rows(
            [_row(entry) for entry in verdict.entries], as_json=False, empty="No active entries."
        )
    if not sendable:
        raise typer.Exit(ANSWER_IS_NO)


@verbs.command("list")
def list_(
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 100,
    cursor: Annotated[
        str | None, typer.Option("--cursor", help="Go on after a list.", show_default=False)
    ] = None,
    project: Project = None,
    cleared: Annotated[
        bool, typer.Option("--cleared", help="Also entries that were cleared.")
    ] = False,
    json: Json = False,
) -> None:
    """Show the entries of the list.

    Examples:
      bridge suppression list
      bridge suppression list --limit 1000 --json
    """
    from consumers.suppression.list import page  # noqa: PLC0415

    found = _with_store(
        lambda store: page(store, cursor=cursor, limit=limit, project=project, cleared=cleared)
    )
    rows = [_row(entry) for entry in found.entries]
    emit_rows(rows, as_json=json, empty="The list is empty.")
    if found.next_cursor:
        say(f"There is more: --cursor {found.next_cursor}")


def _row(entry: "Entry") -> dict[str, object]:
    return {
        "project": entry.project,
        "kind": entry.kind.value,
        "subject": entry.subject,
        "scope": entry.scope,
        "reason": entry.reason.value,
        "active": entry.active,
        "since": entry.event_time.isoformat(),
        "source": entry.source,
        "event": entry.event_id,
    }


def _with_store(ask: "Callable[[Store], Awaitable[T]]") -> T:
    """Ask one question of the consumers' database."""
    from bridge.cli.running import run_command  # noqa: PLC0415
    from bridge.errors import StoreError  # noqa: PLC0415
    from bridge.settings import load_settings  # noqa: PLC0415
    from consumers.consumer import Unavailable  # noqa: PLC0415
    from consumers.store import Store  # noqa: PLC0415

    settings = load_settings()

    async def run() -> T:
        async with Store.open(settings.database_url.get_secret_value()) as store:
            return await ask(store)

    try:
        return run_command(settings, run())
    except Unavailable as error:
        raise StoreError(f"the consumers' database does not answer: {error}") from error
