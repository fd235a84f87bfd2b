"""Ends what a test run started, also when that run was killed with SIGKILL.

A child process reads from a pipe what it must end. When the run ends, in whatever way, the
kernel closes the pipe, and the child kills, removes and exits. PR_SET_PDEATHSIG would not do:
it fires when the *thread* that started a child ends, and it does not reach containers.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path


class Guard:
    """The run's end of the pipe. `watch` and `forget` take a kind and what identifies it."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-I", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C goes to the run, not to its guard
        )

    def watch(self, kind: str, what: str) -> None:
        """End `what` when this run ends. Kinds: process (pid), container (id), folder (path)."""
        self._say(f"watch {kind} {what}")

    def forget(self, kind: str, what: str) -> None:
        """`what` has ended: its pid may soon belong to somebody else."""
        self._say(f"forget {kind} {what}")

    def close(self) -> None:
        """End everything still watched, now; return when it is done."""
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait()

    def _say(self, line: str) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write(line.encode() + b"\n")
        self._child.stdin.flush()


def family(pid: int) -> list[int]:
    """`pid` and its descendants; without /proc, `pid` alone.

    A process group is not enough: PostgreSQL's backends have groups of their own.
    """
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # "pid (name) state ppid ...": the name may hold blanks and parentheses.
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.parent.name))
    found = [pid]
    for member in found:
        found.extend(children.get(member, ()))
    return found


def signal_family(pid: int, number: signal.Signals) -> None:
    """Send a signal to `pid`, its process group and its descendants."""
    members = family(pid)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
    for member in members[1:]:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(member, number)


def _end(kind: str, what: str) -> None:
    match kind:
        case "process":
            signal_family(int(what), signal.SIGKILL)
        case "container":
            subprocess.run(
                ["docker", "rm", "--force", "--volumes", what],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )
        case "folder":
            shutil.rmtree(what, ignore_errors=True)


def _main() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    watched: dict[tuple[str, str], None] = {}
    for line in sys.stdin:
        verb, kind, what = line.rstrip("\n").split(" ", 2)
        if verb == "watch":
            watched[kind, what] = None
        else:
            watched.pop((kind, what), None)
    # Folders were named first and go last, when nobody writes to them any more.
    for kind, what in reversed(watched):
        _end(kind, what)


if __name__ == "__main__":
    _main()
