"""A single RabbitMQ node with the management and Prometheus plugins."""

from __future__ import annotations

import base64
import http.client
import os
import shutil
import socket
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Protocol, runtime_checkable
from urllib.parse import unquote, urlsplit

from tests.services import docker
from tests.services.rabbitmq_node import PASSWORD, SERVER, USER, Node, Ports
from tests.services.service import FaultImpossible, Given, Runner, Service, Unobtainable

if TYPE_CHECKING:
    from tests.services.workspace import Workspace

IMAGE = os.environ.get("BRIDGE_TEST_RABBITMQ_IMAGE", "rabbitmq:4-management")
GIVEN = "BRIDGE_TEST_RABBITMQ"
GIVEN_MANAGEMENT = "BRIDGE_TEST_RABBITMQ_MANAGEMENT"
HOW_TO_GET = (
    "RabbitMQ: needs a running Docker engine, or Debian's package "
    "(apt-get install rabbitmq-server), or "
    f"{GIVEN}=amqp://user:pass@host:port/ with {GIVEN_MANAGEMENT}=http://user:pass@host:port"
)


@runtime_checkable
class Controllable(Protocol):
    """A runner that can run the node's own commands."""

    def execute(self, *command: str) -> str: ...


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

    def control(self, *arguments: str) -> str:
        """Run `rabbitmqctl ARGUMENTS` on it and return what it prints: `stop_app`, alarms, ..."""
        if not isinstance(self._runner, Controllable):
            raise FaultImpossible(f"cannot run rabbitmqctl on a given {self.name}")
        return self._runner.execute("rabbitmqctl", *arguments)

    def settle(self) -> None:
        """Call between declaring a quorum queue and a kill, unless seconds pass anyway.

        RabbitMQ lists its quorum queues in files that it writes with a delay. A kill before that
        leaves the queue without a leader for ever, and its confirmed messages are gone.
        """
        self.control("eval", "[ok = dets:sync(Table) || Table <- dets:all()].")

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


def obtain(
    workspace: Workspace,
    *,
    own: bool = False,
    port: int | None = None,
    management_port: int | None = None,
) -> RabbitMQ:
    """Whatever way there is: given, from Docker, from Debian's package; raises Unobtainable.

    `own` is for tests that break it: a given one will not do.
    """
    url, management = os.environ.get(GIVEN), os.environ.get(GIVEN_MANAGEMENT)
    if url and own:
        raise Unobtainable(f"RabbitMQ: this test breaks it, so {GIVEN} must be unset")
    if url and not management:
        raise Unobtainable(f"{GIVEN} needs {GIVEN_MANAGEMENT}=http://user:pass@host:port beside it")
    if url and management:
        return RabbitMQ(Given(GIVEN), url, management)
    if docker.usable(IMAGE):
        return in_docker(workspace, port, management_port)
    return local(workspace, port, management_port)


def in_docker(
    workspace: Workspace, port: int | None = None, management_port: int | None = None
) -> RabbitMQ:
    """A node of our own in a container."""
    amqp, management = workspace.ports.take(port), workspace.ports.take(management_port)
    container = docker.Container(
        IMAGE,
        workspace.guard,
        ports={5672: amqp, 15672: management},
        environment={"RABBITMQ_DEFAULT_USER": USER, "RABBITMQ_DEFAULT_PASS": PASSWORD},
    )
    return _ours(container, amqp, management)


def local(
    workspace: Workspace, port: int | None = None, management_port: int | None = None
) -> RabbitMQ:
    """A node of our own from Debian's package; raises Unobtainable."""
    mapper = shutil.which("epmd")
    if mapper is None or not SERVER.exists():
        raise Unobtainable(HOW_TO_GET)
    ports = Ports(
        amqp=workspace.ports.take(port),
        management=workspace.ports.take(management_port),
        metrics=workspace.ports.take(),
        mapper=workspace.ports.take(),
        peers=workspace.ports.take(),
    )
    folder = workspace.folder("rabbitmq")
    node = Node(mapper, folder, workspace.guard, ports)
    return _ours(node, ports.amqp, ports.management)


def _ours(runner: Runner, amqp: int, management: int) -> RabbitMQ:
    login = f"{USER}:{PASSWORD}"
    return RabbitMQ(
        runner, f"amqp://{login}@127.0.0.1:{amqp}/", f"http://{login}@127.0.0.1:{management}"
    )
