"""A newcomer's terminal: an empty folder, nothing set, `bridge` typed into it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from typing import TYPE_CHECKING

from tests.acceptance.installation import BRIDGE
from tests.services.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.services.workspace import Workspace

START_SECONDS = 60.0
_END_SECONDS = 15.0
"""The longest that Ctrl-C may take."""
COMMAND_SECONDS = 60.0
_URL = re.compile(r"http://127\.0\.0\.1:\d+/hooks/dialog-insight/[\w-]{43}")


class Terminal:
    """A folder that was empty, and commands in it. Only the ports are set, to be our own.

    Attributes:
        folder: where everything happens.
    """

    def __init__(self, workspace: Workspace, folder: Path, ports: tuple[int, int]) -> None:
        self.folder = folder
        self._guard = workspace.guard
        self._children: list[subprocess.Popen[str]] = []
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "BRIDGE_PORT": str(ports[0]),
            "BRIDGE_ADMIN_PORT": str(ports[1]),
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [BRIDGE, *arguments],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def start(self, *arguments: str, name: str) -> subprocess.Popen[str]:
        """Start a command; what it says is in `out` and `err` of that name."""
        with (
            (self.folder / f"{name}.out").open("w") as out,
            (self.folder / f"{name}.err").open("w") as err,
        ):
            child = subprocess.Popen(
                [BRIDGE, *arguments],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                text=True,
                start_new_session=True,
            )
        self._guard.watch("process", str(child.pid))
        self._children.append(child)
        return child

    def out(self, name: str) -> str:
        return (self.folder / f"{name}.out").read_text()

    def err(self, name: str) -> str:
        return (self.folder / f"{name}.err").read_text()

    def up(self, name: str) -> tuple[subprocess.Popen[str], str]:
        """`bridge up`; returns its process and the URL it prints, once all of it works."""
        process = self.start("up", name=name)

        def works() -> bool:
            assert process.poll() is None, self.err(name)
            return bool(_URL.search(self.err(name))) and self.err(name).count("group_running") == 3

        until(works, "the URL and three groups", START_SECONDS)
        found = _URL.search(self.err(name))
        assert found
        return process, found[0]

    def until_all_is_handled(self) -> None:
        def handled() -> bool:
            said = self.run("lag", "--json").stdout.splitlines()
            rows = {row["group"]: row["messages"] for row in map(json.loads, said)}
            return rows == {"crm": 0, "suppression": 0, "alerts": 0}

        until(handled, "no lag")

    def close(self) -> None:
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.wait()
            self._guard.forget("process", str(child.pid))


def end(process: subprocess.Popen[str]) -> int:
    """Ctrl-C; returns the exit code."""
    process.send_signal(signal.SIGINT)
    return process.wait(_END_SECONDS)
