"""What is inside the files: the log, and one file for each group.

The log keeps what a scan looks at (`slots`) apart from what is delivered (`messages`), so that
looking for a lane's next message touches no body of another. Positions only grow: the newest row
is never deleted, and the writer counts on from it.
"""

import uuid
from pathlib import Path
from typing import Final

import apsw
import msgspec

from bridge.brokers.embedded.connections import (
    GROUP_APPLICATION,
    LOG_APPLICATION,
    create,
    transaction,
)
from bridge.errors import StorageFailed, TopologyMissing
from bridge.topics import Group

FORMAT: Final = 1
APPLY: Final = "run `bridge topology apply`"

_LOG: Final = f"""
PRAGMA application_id = {LOG_APPLICATION};
PRAGMA user_version = {FORMAT};
CREATE TABLE about (log_id TEXT NOT NULL);
CREATE TABLE topics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE slots (
    position INTEGER PRIMARY KEY, topic INTEGER NOT NULL, hash INTEGER NOT NULL,
    stored_at REAL NOT NULL
);
CREATE TABLE messages (
    position INTEGER PRIMARY KEY, key BLOB NOT NULL, headers BLOB NOT NULL,
    checksum INTEGER NOT NULL, body BLOB NOT NULL
);
"""

_STORED: Final = """
    id INTEGER PRIMARY KEY AUTOINCREMENT, stored_at REAL NOT NULL, topic TEXT NOT NULL,
    hash INTEGER NOT NULL, key BLOB NOT NULL, headers BLOB NOT NULL, checksum INTEGER NOT NULL,
    body BLOB NOT NULL
"""
_GROUP: Final = f"""
PRAGMA application_id = {GROUP_APPLICATION};
PRAGMA user_version = {FORMAT};
CREATE TABLE about (log_id TEXT NOT NULL, prefix TEXT NOT NULL, record BLOB NOT NULL);
CREATE TABLE lanes (
    lane INTEGER PRIMARY KEY, position INTEGER NOT NULL DEFAULT 0,
    epoch INTEGER NOT NULL DEFAULT 0, owner TEXT
);
CREATE TABLE members (
    joined INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, expires REAL NOT NULL
);
CREATE TABLE dead ({_STORED}, origin TEXT NOT NULL);
CREATE TABLE retry ({_STORED});
"""


class GroupFile(msgspec.Struct, frozen=True):
    """What a group's file says about itself.

    Attributes:
        log_id: the log that its positions are of.
        prefix: the topic prefix it was applied under.
        group: name, types, tests.
        lanes: how many its positions are kept for.
    """

    log_id: str
    prefix: str
    group: Group
    lanes: int


def create_log(path: Path) -> None:
    """Make an empty log.

    Raises:
        StorageFailed: it cannot be made.
    """
    create(path, _LOG, ("INSERT INTO about VALUES (?)", [(uuid.uuid4().hex,)]))


def check_log(connection: apsw.Connection, path: Path) -> str:
    """Its log id.

    Raises:
        StorageFailed: not a log, or one of another version of the bridge.
    """
    _check(connection, path, LOG_APPLICATION)
    return str(connection.execute("SELECT log_id FROM about").get)


def create_group(path: Path, wanted: GroupFile) -> None:
    """Make the file of a new group: every lane starts at the earliest message.

    Raises:
        StorageFailed: it cannot be made.
    """
    about = (wanted.log_id, wanted.prefix, _record(wanted.group))
    create(
        path,
        _GROUP,
        ("INSERT INTO about VALUES (?, ?, ?)", [about]),
        ("INSERT INTO lanes (lane) VALUES (?)", [(number,) for number in range(wanted.lanes)]),
    )


def read_group(connection: apsw.Connection, path: Path) -> GroupFile:
    """What the file says.

    Raises:
        StorageFailed: not a group's file, or one of another version of the bridge.
    """
    _check(connection, path, GROUP_APPLICATION)
    row = connection.execute("SELECT log_id, prefix, record FROM about").get
    lanes = connection.execute("SELECT count(*) FROM lanes").get
    if not isinstance(row, tuple):
        raise StorageFailed(f"{path} does not say whose it is")
    log_id, prefix, record = row
    try:
        group = msgspec.json.decode(record, type=Group)
    except msgspec.MsgspecError as error:
        raise StorageFailed(f"{path} does not say what its group reads") from error
    return GroupFile(log_id, prefix, group, lanes)


def alter_group(connection: apsw.Connection, wanted: GroupFile, found: GroupFile) -> None:
    """Make the file say what is wanted. Its dead letters and replays stay.

    With another number of lanes every lane starts where the furthest behind was: some messages
    come twice, none is missed. For another log it starts at the earliest message.
    """
    with transaction(connection):
        connection.execute(
            "UPDATE about SET log_id = ?, prefix = ?, record = ?",
            (wanted.log_id, wanted.prefix, _record(wanted.group)),
        )
        if (wanted.log_id, wanted.lanes) == (found.log_id, found.lanes):
            return
        start = 0
        if wanted.log_id == found.log_id:
            start = connection.execute("SELECT min(position) FROM lanes").get
        epoch = connection.execute("SELECT max(epoch) + 1 FROM lanes").get
        connection.execute("DELETE FROM lanes")
        connection.executemany(
            "INSERT INTO lanes (lane, position, epoch) VALUES (?, ?, ?)",
            [(number, start, epoch) for number in range(wanted.lanes)],
        )


def refuse_difference(path: Path, wanted: GroupFile, found: GroupFile) -> None:
    """Return if a replica of the wanted group can work with this file.

    Raises:
        TopologyMissing: with the command.
    """
    name = wanted.group.name
    problems = (
        (found.prefix != wanted.prefix, f"belongs to the topic prefix {found.prefix}"),
        (found.log_id != wanted.log_id, "holds positions of another log"),
        (found.lanes != wanted.lanes, f"has {found.lanes} lanes, not {wanted.lanes}"),
        (not found.group.types >= wanted.group.types, "is not applied for all of its types"),
        (wanted.group.tests and not found.group.tests, "is not applied for test notifications"),
    )
    for is_one, what in problems:
        if is_one:
            raise TopologyMissing(f"group {name} ({path}) {what}: {APPLY}")


def _check(connection: apsw.Connection, path: Path, application: int) -> None:
    if connection.pragma("application_id") != application:
        raise StorageFailed(f"{path} is a file of something else")
    if (found := connection.pragma("user_version")) != FORMAT:
        raise StorageFailed(f"{path} has format {found}; this version reads {FORMAT}")


def _record(group: Group) -> bytes:
    # Sorted, since a set has no order of its own and people read it.
    return msgspec.json.encode(group, order="sorted")
