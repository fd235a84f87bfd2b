"""`Topology` on the embedded log: the log's file, and one file for each group."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Final

import apsw
import structlog

from bridge.brokers.base import Change
from bridge.brokers.embedded.connections import Mode, connect, mapped
from bridge.brokers.embedded.leases import living
from bridge.brokers.embedded.paths import Places, is_there, refuse_network_file_system
from bridge.brokers.embedded.schema import (
    APPLY,
    GroupFile,
    alter_group,
    check_log,
    create_group,
    create_log,
    read_group,
    refuse_difference,
)
from bridge.errors import NotSupported, StorageFailed, TopologyMissing
from bridge.settings import Settings
from bridge.topics import Group

_log = structlog.get_logger()
_ASIDE: Final = ("", "-wal", "-shm")
_POSITIONS: Final = (
    "SELECT (SELECT min(position) FROM slots), (SELECT coalesce(max(position), 0) FROM slots)"
)


class EmbeddedTopology:
    """`Topology` on the embedded log: short work on local files, in a thread."""

    def __init__(self, places: Places, settings: Settings) -> None:
        self._places = places
        self._settings = settings

    async def plan(self, groups: Sequence[Group]) -> Sequence[Change]:
        """See `Topology`."""
        return await asyncio.to_thread(self._change, groups, apply=False)

    async def apply(self, groups: Sequence[Group]) -> Sequence[Change]:
        """See `Topology`."""
        return await asyncio.to_thread(self._change, groups, apply=True)

    async def remove(self, group: str) -> Sequence[Change]:
        """See `Topology`.

        Raises:
            NotSupported: a replica of it is at work.
        """
        return await asyncio.to_thread(self._remove, group)

    async def verify(self, groups: Sequence[Group]) -> None:
        """See `Topology`."""

        def each() -> None:
            _log_id(self._places)
            for group in groups:
                verify_group(self._places, self._settings, group)

        await asyncio.to_thread(each)

    async def groups(self) -> Sequence[Group]:
        """See `Topology`."""

        def each() -> list[Group]:
            paths = sorted(self._places.groups.glob("*.db"))
            found = [_read(path) for path in paths if not path.name.startswith(".")]
            prefix = self._settings.topic_prefix
            return [file.group for file in found if file.prefix == prefix]

        return await asyncio.to_thread(each)

    def _change(self, groups: Sequence[Group], *, apply: bool) -> list[Change]:
        places = self._places
        refuse_network_file_system(places.log)
        changes: list[Change] = []
        if not is_there(places.log):
            changes.append(Change("create", "file", str(places.log), "the log"))
            if apply:
                create_log(places.log)
        log_id = _log_id(places) if is_there(places.log) else ""
        for group in groups:
            wanted = GroupFile(
                log_id, self._settings.topic_prefix, group, self._settings.embedded_lanes
            )
            changes += _change_group(places.group(group.name), wanted, apply=apply)
        return changes

    def _remove(self, name: str) -> list[Change]:
        path = self._places.group(name)
        if not is_there(path):
            return []
        with _opened(path, "read") as connection:
            if at_work := len(living(connection)):
                raise NotSupported(f"{at_work} replicas of group {name} are at work: stop them")
        for ending in _ASIDE:
            Path(f"{path}{ending}").unlink(missing_ok=True)
        return [Change("remove", "group", name, str(path))]


def _change_group(path: Path, wanted: GroupFile, *, apply: bool) -> list[Change]:
    name = wanted.group.name
    detail = f"{', '.join(sorted(wanted.group.types))}{' and tests' if wanted.group.tests else ''}"
    if not is_there(path):
        if apply:
            create_group(path, wanted)
        return [Change("create", "group", name, detail)]
    found = _read(path)
    if found == wanted:
        return []
    if found.prefix != wanted.prefix:
        raise TopologyMissing(
            f"group {name} ({path}) belongs to the topic prefix {found.prefix}: give each prefix "
            "a log of its own"
        )
    if found.lanes != wanted.lanes:
        detail += f"; {found.lanes} lanes become {wanted.lanes}: some messages come again"
    if found.log_id != wanted.log_id:
        detail += "; another log: it starts at the earliest message"
    if apply:
        with _opened(path, "write") as connection:
            same = (found.log_id, found.lanes) == (wanted.log_id, wanted.lanes)
            if not same and living(connection):
                raise TopologyMissing(
                    f"replicas of group {name} are at work: stop them, then {APPLY}"
                )
            alter_group(connection, wanted, found)
    return [Change("alter", "group", name, detail)]


def verify_group(places: Places, settings: Settings, group: Group) -> None:
    """Return if a replica of this group can work.

    Raises:
        TopologyMissing: with the command.
        StorageFailed: a file cannot be trusted, or the log is older than the group's positions.
    """
    refuse_network_file_system(places.log)
    log_id = _log_id(places)
    path = places.group(group.name)
    if not is_there(path):
        raise TopologyMissing(f"group {group.name} is not there ({path}): {APPLY}")
    wanted = GroupFile(log_id, settings.topic_prefix, group, settings.embedded_lanes)
    refuse_difference(path, wanted, _read(path))
    with _opened(path, "read") as connection:
        low, high = connection.execute("SELECT min(position), max(position) FROM lanes").get
    with _opened(places.log, "read") as connection:
        first, last = connection.execute(_POSITIONS).get
    if high > last:
        raise StorageFailed(
            f"{places.log} ends at {last}, but group {group.name} has read up to {high}: an older "
            f"copy was put back? To read all of it again: `bridge topology remove {group.name}`, "
            f"then {APPLY}"
        )
    if first is not None and 0 < low < first - 1:
        _log.error(
            "retention_overtook_group",
            group=group.name,
            positions=first - 1 - low,
            why="messages were older than embedded_retention_days before the group read them",
        )


def _log_id(places: Places) -> str:
    if not is_there(places.log):
        raise TopologyMissing(f"there is no log {places.log}: {APPLY}")
    with _opened(places.log, "read") as connection:
        return check_log(connection, places.log)


def _read(path: Path) -> GroupFile:
    with _opened(path, "read") as connection:
        return read_group(connection, path)


@contextmanager
def _opened(path: Path, mode: Mode) -> Iterator[apsw.Connection]:
    with closing(connect(path, mode)) as connection, mapped(path):
        yield connection


@asynccontextmanager
async def open_topology(places: Places, settings: Settings) -> AsyncIterator[EmbeddedTopology]:
    """The topology of one log."""
    yield EmbeddedTopology(places, settings)
