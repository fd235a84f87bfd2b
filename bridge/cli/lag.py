"""`bridge lag`: how far each group is behind."""

import asyncio
import time
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.output import emit_rows, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.brokers.base import LagEntry


def lag(
    groups: Annotated[
        list[str] | None, typer.Argument(help="Only these groups.", show_default=False)
    ] = None,
    *,
    partitions: Annotated[
        bool, typer.Option("--partitions", help="A row for each topic and partition.")
    ] = False,
    watch: Annotated[
        float, typer.Option("--watch", help="Repeat every so many seconds; 0: once.")
    ] = 0,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show how far groups are behind, in messages and seconds. Unknown is shown as '-'.

    Examples:
      bridge lag
      bridge lag crm --partitions
      bridge lag --watch 5 --json
    """
    from bridge.brokers import open_broker  # noqa: PLC0415
    from bridge.cli.running import run_command  # noqa: PLC0415
    from bridge.errors import ConfigurationError  # noqa: PLC0415
    from bridge.settings import load_settings  # noqa: PLC0415

    settings = load_settings()
    broker = open_broker(settings)

    async def run() -> None:
        async with broker.topology() as topology:
            known = await topology.groups()
        if missing := set(groups or ()) - {group.name for group in known}:
            raise ConfigurationError(f"no such group: {', '.join(sorted(missing))}")
        chosen = [group for group in known if not groups or group.name in groups]
        async with broker.lag_reader() as reader:
            while True:
                rows = _rows(await reader.read(chosen), partitions=partitions, now=time.time())
                emit_rows(rows, as_json=json, empty="No groups yet: bridge topology apply")
                if not watch:
                    return
                await asyncio.sleep(watch)
                if not json:
                    say("")

    run_command(settings, run())


def _rows(
    entries: "Sequence[LagEntry]", *, partitions: bool, now: float
) -> list[dict[str, object]]:
    parts: dict[tuple[str, str, int], list[LagEntry]] = {}
    for entry in entries:
        whole = (entry.group, "", 0)
        key = (entry.group, entry.topic, entry.partition) if partitions else whole
        parts.setdefault(key, []).append(entry)
    rows: list[dict[str, object]] = []
    for (group, topic, partition), part in sorted(parts.items()):
        where = {"topic": topic, "partition": partition} if partitions else {}
        # One unknown part makes the sum unknown: a smaller number would be a lie.
        counts = [entry.messages for entry in part]
        members = [entry.members for entry in part if entry.members is not None]
        rows.append(
            {
                "group": group,
                **where,
                "messages": None if None in counts else sum(filter(None, counts)),
                "seconds": _seconds(part, now),
                "members": max(members) if members else None,
            }
        )
    return rows


def _seconds(part: "Sequence[LagEntry]", now: float) -> float | None:
    if any(e.messages is None or (e.messages and e.oldest is None) for e in part):
        return None
    oldest = [e.oldest for e in part if e.oldest is not None]
    return round(max(0.0, now - min(oldest)), 1) if oldest else 0.0
