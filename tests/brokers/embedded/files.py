"""A file layer under SQLite that counts syncs, fails where it is told to, and loses power.

SQLite's own interface for that (a VFS): the adapter's code runs as it is.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import apsw

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

_NAME = "faulty"
_BELOW = apsw.vfs_names()[0]
"""The default layer, named: an empty name would be ours again."""
_SECTOR = 512


class _Content:
    """One file: what is safe, and what was written since the last sync."""

    def __init__(self, safe: bytes) -> None:
        self._safe = bytearray(safe)
        self._pending: list[tuple[int, bytes | None]] = []

    def write(self, offset: int, data: bytes | None) -> None:
        """Without data: cut at that offset."""
        self._pending.append((offset, data))

    def sync(self) -> None:
        for offset, data in self._pending:
            _apply(self._safe, offset, data)
        self._pending.clear()

    def after_a_cut(self, chance: random.Random) -> bytes:
        """What is safe, and any of the sectors that were on their way."""
        image = bytearray(self._safe)
        share = chance.random()
        for offset, data in self._pending:
            if data is None:
                if chance.random() < share:
                    _apply(image, offset, None)
                continue
            for start in range(0, len(data), _SECTOR):
                if chance.random() < share:
                    _apply(image, offset + start, data[start : start + _SECTOR])
        return bytes(image)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        return
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


class Disk:
    """What happened, and what is to happen.

    Attributes:
        syncs: how often a write-ahead log was synced.
        sync_fails: the next syncs fail, as a disk that dies.
        sync_lies: syncs say yes and do nothing.
        full: writes find no space.
    """

    def __init__(self) -> None:
        self.syncs = 0
        self.sync_fails = False
        self.sync_lies = False
        self.full = False
        self._lock = Lock()
        self._contents: dict[str, _Content] = {}

    def opened(self, path: str) -> None:
        with self._lock:
            if path not in self._contents:
                file = Path(path)
                self._contents[path] = _Content(file.read_bytes() if file.exists() else b"")

    def wrote(self, path: str, offset: int, data: bytes | None) -> None:
        with self._lock:
            self._contents[path].write(offset, data)

    def synced(self, path: str) -> None:
        with self._lock:
            if not self.sync_lies:
                self._contents[path].sync()

    def cut_power(self, chance: random.Random, folder: Path) -> None:
        """Leave in `folder` what a power cut at this moment could leave of every file."""
        with self._lock:
            images = {
                Path(path).name: content.after_a_cut(chance)
                for path, content in self._contents.items()
            }
        folder.mkdir()
        for name, image in images.items():
            (folder / name).write_bytes(image)


class _File(apsw.VFSFile):
    def __init__(self, name: Any, flags: list[int], disk: Disk) -> None:
        self._disk = disk
        self._is_wal = bool(flags[0] & apsw.SQLITE_OPEN_WAL)
        self._path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        disk.opened(self._path)
        super().__init__(_BELOW, name, flags)

    def xSync(self, flags: int) -> None:  # noqa: N802 - the interface's own name
        if self._is_wal:
            self._disk.syncs += 1
        if self._disk.sync_fails:
            raise apsw.IOError("the disk died")
        super().xSync(flags)
        self._disk.synced(self._path)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - same
        if self._disk.full:
            raise apsw.FullError("no space")
        super().xWrite(data, offset)
        self._disk.wrote(self._path, offset, bytes(data))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - same
        super().xTruncate(newsize)
        self._disk.wrote(self._path, newsize, None)


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
