"""A single RabbitMQ node with the management and Prometheus plugins."""

from __future__ import annotations

import base64
import http.client
import os
import shutil
import socket
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.services.process import Process
from tests.services.service import Given, Runner, Service, Unobtainable
from tests.services.waiting import until
from tests.services.workspace import Workspace

GIVEN = "BRIDGE_TEST_RABBITMQ"
GIVEN_MANAGEMENT = "BRIDGE_TEST_RABBITMQ_MANAGEMENT"
HOW_TO_GET = (
    "RabbitMQ: needs a running Docker engine, or Debian's package "
    "(apt-get install rabbitmq-server), or "
    f"{GIVEN}=amqp://user:pass@host:port/ with {GIVEN_MANAGEMENT}=http://user:pass@host:port"
)
USER, PASSWORD = "bridge", "bridge-tests"  # noqa: S105 - a broker on the loopback, for minutes
PLUGINS = "[rabbitmq_management,rabbitmq_prometheus]."


class RabbitMQ(Service):
    """`url` is the AMQP address, `management_url` the API's with user and password in it."""

    name = "RabbitMQ"

    def __init__(self, runner: Runner, url: str, management_url: str) -> None:
        super().__init__(runner)
        self._url = url
        self.management_url = management_url

    @property
    def url(self) -> str:
        return self._url

    def answers(self, seconds: float = 2.0) -> bool:
        return self._amqp_answers(seconds) and self._management_answers(seconds)

    def _amqp_answers(self, seconds: float) -> bool:
        """Open the handshake; a broker that is up sends Connection.Start, a method frame."""
        address = urlsplit(self._url)
        try:
            with socket.create_connection(
                (address.hostname or "127.0.0.1", address.port or 5672), seconds
            ) as connection:
                connection.settimeout(seconds)
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return connection.recv(1) == b"\x01"
        except OSError:
            return False

    def _management_answers(self, seconds: float) -> bool:
        address = urlsplit(self.management_url)
        login = f"{unquote(address.username or '')}:{unquote(address.password or '')}"
        request = urllib.request.Request(  # noqa: S310 - the address is ours
            f"{address.scheme}://{address.hostname}:{address.port}/api/overview",
            headers={"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=seconds) as response:  # noqa: S310
                return bool(response.status == 200)
        except (OSError, urllib.error.URLError, http.client.HTTPException):
            return False


class _Node:
    """A node's process and the port mapper that belongs to it alone."""

    def __init__(self, mapper: Process, broker: Process, mapper_port: int) -> None:
        self._mapper = mapper
        self._broker = broker
        self._mapper_port = mapper_port

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

    def pause(self) -> None:
        self._broker.pause()

    def resume(self) -> None:
        self._broker.resume()

    def output(self) -> str:
        return self._broker.output()

    def _mapper_listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._mapper_port)) == 0


def given() -> RabbitMQ | None:
    """The RabbitMQ that the environment names."""
    url, management = os.environ.get(GIVEN), os.environ.get(GIVEN_MANAGEMENT)
    if not url:
        return None
    if not management:
        raise Unobtainable(f"{GIVEN} needs {GIVEN_MANAGEMENT}=http://user:pass@host:port beside it")
    return RabbitMQ(Given(GIVEN), url, management)


def local(
    workspace: Workspace, port: int | None = None, management_port: int | None = None
) -> RabbitMQ:
    """A node of our own from Debian's package; raises Unobtainable."""
    server, mapper = _server(), shutil.which("epmd")
    if mapper is None:
        raise Unobtainable(HOW_TO_GET)
    folder = workspace.folder("rabbitmq")
    amqp, management = workspace.ports.take(port), workspace.ports.take(management_port)
    mapper_port = workspace.ports.take()
    _write_settings(folder, amqp, management, workspace.ports.take())
    environment = _environment(folder, amqp, mapper_port, workspace.ports.take())
    node = _Node(
        # In the foreground it is our child; the one that Erlang starts outlives everything.
        Process([mapper], folder, workspace.guard, name="epmd", environment=environment),
        Process([server], folder, workspace.guard, name="rabbitmq", environment=environment),
        mapper_port,
    )
    login = f"{USER}:{PASSWORD}"
    return RabbitMQ(
        node, f"amqp://{login}@127.0.0.1:{amqp}/", f"http://{login}@127.0.0.1:{management}"
    )


def _server() -> str:
    """The script itself: the wrapper in the PATH switches to another user and folder."""
    for script in (Path("/usr/lib/rabbitmq/bin/rabbitmq-server"),):
        if script.exists():
            return str(script)
    raise Unobtainable(HOW_TO_GET)


def _write_settings(folder: Path, amqp: int, management: int, metrics: int) -> None:
    (folder / "rabbitmq.conf").write_text(
        f"listeners.tcp.1 = 127.0.0.1:{amqp}\n"
        "management.tcp.ip = 127.0.0.1\n"
        f"management.tcp.port = {management}\n"
        "prometheus.tcp.ip = 127.0.0.1\n"
        f"prometheus.tcp.port = {metrics}\n"
        f"default_user = {USER}\n"
        f"default_pass = {PASSWORD}\n"
    )
    (folder / "enabled_plugins").write_text(PLUGINS + "\n")
    # Files of the machine must not leak in.
    (folder / "advanced.config").write_text("[].\n")
    (folder / "rabbitmq-env.conf").write_text("")


def _environment(folder: Path, amqp: int, mapper_port: int, peer_port: int) -> dict[str, str]:
    inherited = {
        key: value for key, value in os.environ.items() if not key.startswith(("RABBITMQ_", "ERL_"))
    }
    return inherited | {
        "HOME": str(folder),  # Erlang's cookie
        "detached": "1",  # the script becomes the node, so that its pid is the node's
        "ERL_EPMD_PORT": str(mapper_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"bridge-{amqp}@localhost",
        "RABBITMQ_DIST_PORT": str(peer_port),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
    }
