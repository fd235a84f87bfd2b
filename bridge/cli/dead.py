"""`bridge dead list`, `show`, `replay`, `discard`: what was set aside for a group."""

from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from bridge import message as wire
from bridge.cli.output import FAILED, emit_json, emit_rows, say

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bridge.brokers.base import Broker, DeadLetter, DeadLetters

T = TypeVar("T")

verbs = typer.Typer(no_args_is_help=True, help="Dead letters: what was set aside for a group.")

Group = Annotated[str, typer.Argument(help="The group's name.")]
Ids = Annotated[list[str] | None, typer.Argument(help="Ids, as `list` shows.", show_default=False)]
All = Annotated[bool, typer.Option("--all", help="All that lie there now.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@verbs.command("list")
def list_(group: Group, *, json: Json = False) -> None:
    """Show a group's dead letters, oldest first, with their reasons.

    Example:
      bridge dead list crm
    """
    letters = _with(group, _read)
    rows = [
        {
            "id": letter.id,
            "type": letter.message.text(wire.CE_TYPE),
            "event": letter.message.text(wire.CE_ID),
            "attempts": letter.message.text(wire.DEAD_ATTEMPTS),
            "last": letter.message.text(wire.DEAD_LAST_TIME),
            "error": letter.message.text(wire.DEAD_ERROR),
            "reason": letter.message.text(wire.DEAD_REASON),
        }
        for letter in letters
    ]
    emit_rows(rows, as_json=json, empty=f"No dead letters for {group}.")


@verbs.command()
def show(group: Group, ids: Ids = None) -> None:
    """Show dead letters whole, as JSON; bodies hold personal data.

    Example:
      bridge dead show crm notifications.contact_created/3@17
    """
    for letter in _with(group, _read):
        if not ids or letter.id in ids:
            emit_json(
                {
                    "id": letter.id,
                    "topic": letter.message.topic,
                    "headers": {n: v.decode("utf-8", "replace") for n, v in letter.message.headers},
                    "body": letter.message.body.decode("utf-8", "replace"),
                }
            )


@verbs.command()
def replay(group: Group, ids: Ids = None, *, all_: All = False, json: Json = False) -> None:
    """Hand dead letters back to their group.

    Examples:
      bridge dead replay crm notifications.contact_created/3@17
      bridge dead replay crm --all
    """

    async def act(letters: "DeadLetters") -> int:
        return await letters.replay(await _chosen(letters, ids, everything=all_))

    _report(group, _with(group, act), ids, as_json=json, word="replayed")


@verbs.command()
def discard(
    group: Group,
    ids: Ids = None,
    *,
    all_: All = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Remove dead letters for good.

    Example:
      bridge dead discard crm --all
    """
    if not yes:
        typer.confirm(f"Remove dead letters of {group} for good?", abort=True, err=True)

    async def act(letters: "DeadLetters") -> int:
        return await letters.discard(await _chosen(letters, ids, everything=all_))

    _report(group, _with(group, act), ids, as_json=json, word="discarded")


async def _read(letters: "DeadLetters") -> "list[DeadLetter]":
    async with aclosing(letters.read()) as found:
        return [letter async for letter in found]


async def _chosen(letters: "DeadLetters", ids: list[str] | None, *, everything: bool) -> list[str]:
    from bridge.errors import ConfigurationError  # noqa: PLC0415

    if bool(ids) == everything:
        raise ConfigurationError("name ids, or say --all")
    return [letter.id for letter in await _read(letters)] if everything else list(ids or ())


async def _refuse_unknown(broker: "Broker", group: str) -> None:
    """A misspelt group must not look like one without dead letters."""
    from bridge.errors import ConfigurationError, NotSupported, TopologyMissing  # noqa: PLC0415

    try:
        async with broker.topology() as topology:
            known = sorted(each.name for each in await topology.groups())
    except NotSupported:
        return
    if not known:
        raise TopologyMissing("no group is there yet: run `bridge topology apply`")
    if group not in known:
        raise ConfigurationError(f"no group {group!r}: there is {', '.join(known)}")


def _report(group: str, done: int, ids: list[str] | None, *, as_json: bool, word: str) -> None:
    """How many were replayed or discarded; exit code 1 where some of the ids are not there."""
    if as_json:
        emit_json({"group": group, word: done})
    say(f"{done} {word}.", style="green" if done else None)
    if ids and done < len(set(ids)):
        say(
            f"{len(set(ids)) - done} of these ids are not there: see `bridge dead list`",
            style="red",
        )
        raise typer.Exit(FAILED)


def _with(group: str, act: "Callable[[DeadLetters], Awaitable[T]]") -> T:
    from bridge.brokers import open_broker  # noqa: PLC0415
    from bridge.cli.running import run_command  # noqa: PLC0415
    from bridge.settings import load_settings  # noqa: PLC0415

    settings = load_settings()

    async def run() -> T:
        broker = open_broker(settings)
        await _refuse_unknown(broker, group)
        async with broker.dead_letters(group) as letters:
            return await act(letters)

    return run_command(settings, run())
