"""News between parts of one process: something was written to this file.

`bridge up` runs ingress and consumers in one process; with this they hear of a new message at once
and need not poll. Other processes look at SQLite's own change counter.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

# One process, one set of files: shared by whatever brokers it opens on them.
_lock = Lock()
_listeners: dict[Path, set["Signal"]] = defaultdict(set)
_writers: dict[Path, int] = defaultdict(int)


class Signal:
    """Set when the file it listens to was written by this process."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def set(self) -> None:
        """Set it, from the thread of its own loop or another."""
        try:
            own = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            own = False
        if own:
            self._event.set()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, seconds: float) -> bool:
        """Wait for it and clear it. False: not set within `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


@contextmanager
def listening(path: Path) -> Iterator[Signal]:
    """A signal for this file."""
    signal = Signal()
    with _lock:
        _listeners[path].add(signal)
    try:
        yield signal
    finally:
        with _lock:
            _listeners[path].discard(signal)


def notify(path: Path) -> None:
    """Tell every listener in this process."""
    with _lock:
        listeners = tuple(_listeners[path])
    for signal in listeners:
        signal.set()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """While inside, this process is the only writer of the file and notifies."""
    with _lock:
        _writers[path] += 1
    try:
        yield
    finally:
        with _lock:
            _writers[path] -= 1


def written_here(path: Path) -> bool:
    """Whether the file's writer is in this process: then nobody needs to poll it."""
    return _writers[path] > 0
