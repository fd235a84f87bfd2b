"""Own a child process: its folder, its log, its end."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.services.guard import Guard, signal_family

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class Process:
    """One child process in a folder of its own, ended by pid.

    It leads a process group of its own, so Ctrl-C in the terminal does not reach it. It can be
    started again after it ended. Its output goes to `log`, all starts in one file.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        guard: Guard,
        *,
        name: str = "output",
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.log = folder / f"{name}.log"
        self._command = list(command)
        self._folder = folder
        self._guard = guard
        self._environment = dict(os.environ if environment is None else environment)
        self._user = user
        self._stop_signal = stop_signal
        self._child: subprocess.Popen[bytes] | None = None
        self._paused = False

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        """Of the running process; RuntimeError when there is none."""
        if self._child is None:
            raise RuntimeError(f"{self._command[0]} is not running")
        return self._child.pid

    def start(self) -> None:
        """Start it. Being ready is for the caller to find out."""
        if self.running:
            raise RuntimeError(f"{self._command[0]} is already running")
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=self._user,
                group=self._user,
                extra_groups=None if self._user is None else [],
            )
        self._guard.watch("process", str(self._child.pid))

    def stop(self, seconds: float = 30.0) -> None:
        """Ask it to end and wait; kill it if it has not ended after `seconds`."""
        if self._child is None:
            return
        self.resume()  # a stopped process would not see the signal
        if self.running:
            self._child.send_signal(self._stop_signal)
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(seconds)
        self.kill()

    def kill(self) -> None:
        """SIGKILL, children included; returns when it is gone."""
        if self._child is None:
            return
        if self.running:
            signal_family(self._child.pid, signal.SIGKILL)
            self._child.wait()
        self._guard.forget("process", str(self._child.pid))
        self._child = None
        self._paused = False

    def discard(self) -> None:
        """Kill it for good."""
        self.kill()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        signal_family(self.pid, signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """SIGCONT; nothing happens if it was not paused."""
        if self._paused:
            signal_family(self.pid, signal.SIGCONT)
            self._paused = False

    def output(self, lines: int = 30) -> str:
        """The end of its log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
