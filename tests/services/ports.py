"""Free ports on 127.0.0.1 that stay ours until we give them back."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

# Below the usual ephemeral ranges: an outgoing connection must not take the port of a broker
# that a test has just killed and is about to start again.
_FIRST, _LAST = 20_000, 32_000


class Ports:
    """Reserves ports among all test runs of this user: one locked file per port.

    The locks end with the process, however it ends.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.gettempdir()) / f"bridge-test-ports-{os.getuid()}"
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._held: dict[int, int] = {}
        self._random = random.SystemRandom()  # a seeded one would give two runs the same ports

    def take(self, wanted: int | None = None) -> int:
        """Reserve `wanted`, or any free port; raise OSError if `wanted` is not free."""
        if wanted is not None:
            if not self._reserve(wanted):
                raise OSError(f"port {wanted} is in use")
            return wanted
        for _ in range(10_000):
            port = self._random.randint(_FIRST, _LAST)
            if self._reserve(port):
                return port
        raise OSError(f"no free port between {_FIRST} and {_LAST}")

    def close(self) -> None:
        """Give all ports back."""
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()

    def _reserve(self, port: int) -> bool:
        descriptor = os.open(self._folder / str(port), os.O_RDWR | os.O_CREAT, 0o600)
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _bindable(port):
                self._held[port] = descriptor
                return True
        os.close(descriptor)
        return False


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do: connections of a predecessor in TIME_WAIT do not matter.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
