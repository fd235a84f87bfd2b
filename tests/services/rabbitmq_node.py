"""A RabbitMQ node from Debian's package that shares nothing with the package's own service."""

from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.services.process import Process
from tests.services.waiting import until

if TYPE_CHECKING:
    from tests.services.guard import Guard

USER, PASSWORD = "bridge", "bridge-tests"

# The script itself: Debian's wrapper in the PATH switches to another user and folder.
SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


@dataclass(frozen=True)
class Ports:
    """One of its own for everything it listens on."""

    amqp: int
    management: int
    metrics: int
    mapper: int
    peers: int


class Node:
    """A node's process and the port mapper that belongs to it alone."""

    def __init__(self, mapper: str, folder: Path, guard: Guard, ports: Ports) -> None:
        _write_settings(folder, ports)
        self._environment = _environment(folder, ports)
        # In the foreground it is our child; the one that Erlang starts outlives everything.
        self._mapper = Process([mapper], folder, guard, name="epmd", environment=self._environment)
        self._broker = Process(
            [str(SERVER)], folder, guard, name="rabbitmq", environment=self._environment
        )
        self._programs = SERVER.parent
        self._mapper_port = ports.mapper

    @property
    def running(self) -> bool:
        return self._broker.running

    def start(self) -> None:
        if not self._mapper.running:
            self._mapper.start()
            until(self._mapper_listens, "the Erlang port mapper")
        self._broker.start()

    def stop(self) -> None:
        self._broker.stop()
        self._mapper.stop()

    def kill(self) -> None:
        self._broker.kill()

    def discard(self) -> None:
        self._broker.kill()
        self._mapper.kill()

    def pause(self) -> None:
        self._broker.pause()

    def resume(self) -> None:
        self._broker.resume()

    def output(self) -> str:
        return self._broker.output()

    def execute(self, program: str, *arguments: str) -> str:
        """Run one of the node's commands; return what it prints, raise RuntimeError on failure."""
        done = subprocess.run(
            [self._programs / program, *arguments],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stdout}")
        return done.stdout

    def _mapper_listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._mapper_port)) == 0


def _write_settings(folder: Path, ports: Ports) -> None:
    (folder / "rabbitmq.conf").write_text(
        f"listeners.tcp.1 = 127.0.0.1:{ports.amqp}\n"
        "management.tcp.ip = 127.0.0.1\n"
        f"management.tcp.port = {ports.management}\n"
        "prometheus.tcp.ip = 127.0.0.1\n"
        f"prometheus.tcp.port = {ports.metrics}\n"
        f"default_user = {USER}\n"
        f"default_pass = {PASSWORD}\n"
    )
    (folder / "enabled_plugins").write_text("[rabbitmq_management,rabbitmq_prometheus].\n")
    # Files of the machine must not leak in.
    (folder / "advanced.config").write_text("[].\n")
    (folder / "rabbitmq-env.conf").write_text("")


def _environment(folder: Path, ports: Ports) -> dict[str, str]:
    inherited = {
        key: value for key, value in os.environ.items() if not key.startswith(("RABBITMQ_", "ERL_"))
    }
    return inherited | {
        "HOME": str(folder),  # Erlang's cookie
        "detached": "1",  # the script becomes the node, so that its pid is the node's
        "ERL_EPMD_PORT": str(ports.mapper),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"bridge-{ports.amqp}@localhost",
        "RABBITMQ_DIST_PORT": str(ports.peers),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
    }
