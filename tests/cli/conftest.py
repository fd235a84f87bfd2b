"""The `bridge` command as a user runs it: a process, in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

BRIDGE = Path(sys.executable).with_name("bridge")
_DEADLINE = 60.0  # seconds; far above what any of these commands needs


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Shell:
    """A folder, and an environment in which nothing is set but what a test sets."""

    folder: Path

    def run(self, *arguments: str, stdin: str = "", **variables: str) -> Ended:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "COLUMNS": "200"}
        done = subprocess.run(
            [BRIDGE, *arguments],
            cwd=self.folder,
            env=environment | variables,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_DEADLINE,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)
