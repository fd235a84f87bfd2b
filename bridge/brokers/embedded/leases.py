"""Which replica of a group has which lanes.

Members renew their own row; a lane belongs to a member for as long as that row lives. Each member
ends surplus lanes itself and claims free ones up to its share. A claim raises the lane's epoch,
and every ack names the epoch it works under: whoever lost a lane unawares cannot ack any more.

A member whose process is gone is dead at once; one that hangs is when its lease has run out.

Times are `time.monotonic()`, one clock for all processes of a machine. It starts anew at boot:
a lease that ends later than any could is from before.
"""

import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import apsw
import msgspec

from bridge.brokers.embedded.connections import rows, transaction
from bridge.errors import LaneLost

LEASE: Final = 10.0
"""Seconds after which the lanes of a silent member go to others."""
RENEW: Final = 3.0
"""Seconds between renewals."""
CHECK: Final = 1.0
"""Seconds between looks at whether the others live."""


class Claim(msgspec.Struct, frozen=True):
    """A lane that is this member's from now on."""

    lane: int
    epoch: int
    position: int


class Held(msgspec.Struct, frozen=True):
    """A lane that this member thinks it has."""

    epoch: int
    ending: bool


class Share(msgspec.Struct, frozen=True):
    """What a look at the group says.

    Attributes:
        lost: lanes that went to others.
        surplus: lanes to end, for members with fewer.
        claimed: lanes that are new here.
    """

    lost: tuple[int, ...]
    surplus: tuple[int, ...]
    claimed: tuple[Claim, ...]


class _Seen(msgspec.Struct, frozen=True):
    lost: tuple[int, ...]
    surplus: tuple[int, ...]
    free: tuple[int, ...]


def tend(
    connection: apsw.Connection,
    member: str,
    held: Mapping[int, Held],
    *,
    renew: bool,
    take: bool,
) -> Share:
    """Renew, and take a fair share. Writes only to renew or to claim.

    Args:
        connection: to the group's file.
        member: this one.
        held: the lanes it has.
        renew: whether its lease is to be renewed now.
        take: whether it wants more lanes.
    """
    seen = _look(connection, member, held)
    if not renew and not (take and seen.free):
        return Share(seen.lost, seen.surplus, ())
    with transaction(connection):
        now = time.monotonic()
        alive = set(living(connection))
        for (id_,) in rows(connection, "SELECT id FROM members"):
            if id_ not in alive:
                connection.execute("DELETE FROM members WHERE id = ?", (id_,))
        connection.execute(
            "INSERT INTO members (id, expires) VALUES (?, ?) "
            "ON CONFLICT (id) DO UPDATE SET expires = excluded.expires",
            (member, now + LEASE),
        )
        seen = _look(connection, member, held)
        claimed = tuple(_claim(connection, member, lane) for lane in seen.free if take)
    return Share(seen.lost, seen.surplus, claimed)


def _look(connection: apsw.Connection, member: str, held: Mapping[int, Held]) -> _Seen:
    alive = living(connection)
    if member not in alive:
        alive.append(member)
    owners: dict[int, tuple[int, str | None]] = {
        lane: (epoch, owner)
        for lane, epoch, owner in rows(connection, "SELECT lane, epoch, owner FROM lanes")
    }
    lost = tuple(n for n, mine in held.items() if owners.get(n) != (mine.epoch, member))
    kept = {number: mine for number, mine in held.items() if number not in lost}
    each, more = divmod(len(owners), len(alive))
    quota = each + (alive.index(member) < more)
    working = sorted(number for number, mine in kept.items() if not mine.ending)
    free = [n for n, (_, owner) in owners.items() if n not in kept and owner not in alive]
    # Its own from before a stall: not held any more, so free.
    free += [n for n, (_, owner) in owners.items() if n not in kept and owner == member]
    return _Seen(
        lost=lost,
        surplus=tuple(working[quota:]),
        free=tuple(sorted(free)[: max(0, quota - len(kept))]),
    )


def living(connection: apsw.Connection) -> list[str]:
    """The members whose lease runs, in the order in which they joined."""
    now = time.monotonic()
    found = rows(
        connection,
        "SELECT id FROM members WHERE expires >= ? AND expires <= ? ORDER BY joined",
        (now, now + 2 * LEASE),
    )
    return [str(row[0]) for row in found if not _process_is_gone(str(row[0]))]


def new_member() -> str:
    """An id that says which process it is of."""
    return f"{_namespace()}/{os.getpid()}/{uuid.uuid4().hex}"


def _namespace() -> str:
    """Process numbers mean something within one namespace only: containers have their own."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return "machine"


def _process_is_gone(member: str) -> bool:
    """Whether it is certain. Of other containers it never is."""
    namespace, _, rest = member.partition("/")
    pid = rest.partition("/")[0]
    if namespace != _namespace() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)  # asks, sends nothing
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _claim(connection: apsw.Connection, member: str, lane: int) -> Claim:
    epoch, position = connection.execute(
        "UPDATE lanes SET epoch = epoch + 1, owner = ? WHERE lane = ? RETURNING epoch, position",
        (member, lane),
    ).get
    return Claim(lane, int(epoch), int(position))


def leave(connection: apsw.Connection, member: str) -> None:
    """Give everything back at once."""
    with transaction(connection):
        connection.execute("UPDATE lanes SET owner = NULL WHERE owner = ?", (member,))
        connection.execute("DELETE FROM members WHERE id = ?", (member,))


def settle(connection: apsw.Connection, claim: Claim, *, position: int, retries: list[int]) -> None:
    """Ack: the lane's position, and replays that are done, in one transaction.

    Raises:
        LaneLost: the lane is another's by now; nothing was acked.
    """
    with transaction(connection):
        connection.execute(
            "UPDATE lanes SET position = max(position, ?) "
            "WHERE lane = ? AND epoch = ? AND owner IS NOT NULL",
            (position, claim.lane, claim.epoch),
        )
        if connection.changes() == 0:
            raise LaneLost(f"lane {claim.lane} went to another replica")
        connection.executemany("DELETE FROM retry WHERE id = ?", [(id_,) for id_ in retries])


def release(connection: apsw.Connection, claim: Claim, *, position: int) -> None:
    """Give one lane back, if it is ours still; with what was looked at and was not ours to take."""
    with transaction(connection):
        connection.execute(
            "UPDATE lanes SET position = max(position, ?), owner = NULL "
            "WHERE lane = ? AND epoch = ?",
            (position, claim.lane, claim.epoch),
        )
