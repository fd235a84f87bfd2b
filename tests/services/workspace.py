"""What all services of one test run share: a folder, ports, a guard."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.services.guard import Guard
from tests.services.ports import Ports

if TYPE_CHECKING:
    from types import TracebackType


class Workspace:
    """A folder that goes away, ports that are reserved, a guard that ends what is left."""

    def __init__(self) -> None:
        self.guard = Guard()
        self.ports = Ports()
        self._folder = Path(tempfile.mkdtemp(prefix="bridge-test-"))
        self._folder.chmod(0o755)  # PostgreSQL runs as another user when we are root
        self.guard.watch("folder", str(self._folder))
        self._made = 0

    def folder(self, name: str) -> Path:
        """Make a new folder for one service."""
        self._made += 1
        path = self._folder / f"{self._made}-{name}"
        path.mkdir(mode=0o755)
        return path

    def close(self) -> None:
        """Give back the ports; kill and remove whatever is left."""
        self.guard.close()
        self.ports.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
