"""Whether the disk has room for more: refused cleanly before it is full, not after."""

import os
from pathlib import Path
from typing import Final

import apsw

from bridge.settings import Settings

_OVERHEAD: Final = 2
"""A message is written twice, to the write-ahead log and to the file."""


class Room:
    """Looks at the free space and at the size of the log.

    Args:
        path: the log.
        settings: the floor under the free space, and the cap over the log.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self._folder = path.parent
        self._min_free = settings.embedded_min_free_bytes
        self._max = settings.embedded_max_bytes

    def lacking(self, connection: apsw.Connection, size: int) -> str:
        """Why `size` more bytes must not be written; empty if they may."""
        disk = os.statvfs(self._folder)
        free = disk.f_bavail * disk.f_frsize
        if free - _OVERHEAD * size < self._min_free:
            return f"the disk has {free} bytes free; embedded_min_free_bytes keeps {self._min_free}"
        if self._max is not None and self._used(connection) + size > self._max:
            return f"the log has reached embedded_max_bytes, {self._max}"
        return ""

    def _used(self, connection: apsw.Connection) -> int:
        pages = connection.pragma("page_count") - connection.pragma("freelist_count")
        return int(pages * connection.pragma("page_size"))
