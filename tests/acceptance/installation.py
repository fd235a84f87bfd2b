"""The bridge as a user installs it: its commands as processes, in a folder of their own."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from tests.services.process import Process
from tests.services.waiting import until

if TYPE_CHECKING:
    from tests.services.workspace import Workspace

BRIDGE = Path(sys.executable).with_name("bridge")
_START_SECONDS = 60.0


class Installation:
    """One installation on one broker. Its folder is outside the repository.

    Attributes:
        folder: the working directory of every command.
        environment: what every command sees, and nothing else of ours.
        url: where the sender posts.
        admin_port: of the ingress or `up`.
    """

    def __init__(
        self, workspace: Workspace, broker_url: str, *, prefix: str, **variables: str
    ) -> None:
        self._workspace = workspace
        self._processes: list[Process] = []
        self.folder = workspace.folder("installation")
        self.port, self.admin_port = workspace.ports.take(), workspace.ports.take()
        token = secrets.token_urlsafe(24)
        self.url = f"http://127.0.0.1:{self.port}/hooks/dialog-insight/{token}"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "BRIDGE_BROKER_URL": broker_url,
            "BRIDGE_TOKENS": f"test={token}",
            "BRIDGE_TOPIC_PREFIX": prefix,
            "BRIDGE_PORT": str(self.port),
            "BRIDGE_ADMIN_PORT": str(self.admin_port),
            "BRIDGE_EMBEDDED_MIN_FREE_BYTES": "0",
            **variables,
        }

    def run(self, *arguments: str, expect: int = 0) -> str:
        """Run a command to its end; returns its stdout. Fails with what it said."""
        done = subprocess.run(
            [BRIDGE, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == expect, f"bridge {arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self, *arguments: str, name: str = "", **variables: str) -> Process:
        """Start a role that runs until it is stopped."""
        process = Process(
            [str(BRIDGE), *arguments],
            self.folder,
            self._workspace.guard,
            name=name or "-".join(part.replace("/", "_") for part in arguments),
            environment={**self.environment, **variables},
        )
        process.start()
        self._processes.append(process)
        return process

    def consume(self, consumer: str, *, replica: str = "", **variables: str) -> Process:
        """Start a replica of a consumer, its admin port its own, and wait until it works."""
        port = self._workspace.ports.take()
        process = self.start(
            "consume",
            consumer,
            name=f"{consumer.replace(':', '-')}{replica}",
            BRIDGE_ADMIN_PORT=str(port),
            **variables,
        )
        until_ready(port, process)
        return process

    def start_ingress(self) -> Process:
        """Start the ingress and wait until it takes webhooks."""
        process = self.start("ingress")
        until_ready(self.admin_port, process)
        return process

    def close(self) -> None:
        """Kill what still runs."""
        for process in self._processes:
            process.kill()


def until_ready(admin_port: int, process: Process) -> None:
    """Wait for a role's `/health/ready` to say yes."""

    def ready() -> bool:
        assert process.running, f"it ended:\n{process.output()}"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/health/ready") as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError):
            return False

    until(ready, f"readiness; it said:\n{process.output()}", _START_SECONDS)
