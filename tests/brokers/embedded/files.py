"""A file layer under SQLite that counts syncs and fails where it is told to.

SQLite's own interface for that (a VFS): the adapter's code runs as it is.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import apsw

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME = "faulty"
_BELOW = apsw.vfs_names()[0]
"""The default layer, named: an empty name would be ours again."""


class Disk:
    """What happened, and what is to happen.

    Attributes:
        syncs: how often a write-ahead log was synced.
        sync_fails: the next syncs fail, as a disk that dies.
        full: writes find no space.
    """

    def __init__(self) -> None:
        self.syncs = 0
        self.sync_fails = False
        self.full = False


class _File(apsw.VFSFile):
    def __init__(self, name: Any, flags: list[int], disk: Disk) -> None:
        self._disk = disk
        self._is_wal = bool(flags[0] & apsw.SQLITE_OPEN_WAL)
        super().__init__(_BELOW, name, flags)

    def xSync(self, flags: int) -> None:  # noqa: N802 - the interface's own name
        if self._is_wal:
            self._disk.syncs += 1
        if self._disk.sync_fails:
            raise apsw.IOError("the disk died")
        super().xSync(flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - same
        if self._disk.full:
            raise apsw.FullError("no space")
        super().xWrite(data, offset)


class _Vfs(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        super().__init__(_NAME, _BELOW, makedefault=False)

    def xOpen(self, name: Any, flags: list[int]) -> _File:  # noqa: N802 - same
        return _File(name, flags, self._disk)


@contextmanager
def faulty_disk() -> Iterator[Disk]:
    """Every file opened while inside lies on this disk."""
    disk = Disk()
    vfs = _Vfs(disk)
    apsw.set_default_vfs(_NAME)
    try:
        yield disk
    finally:
        apsw.set_default_vfs(_BELOW)
        vfs.unregister()
