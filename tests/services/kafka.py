"""A single-node Apache Kafka (KRaft)."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import TYPE_CHECKING

from tests.services import docker
from tests.services.process import Process
from tests.services.service import Given, Runner, Service, Unobtainable

if TYPE_CHECKING:
    from tests.services.workspace import Workspace

VERSION = "4.3.1"
IMAGE = os.environ.get("BRIDGE_TEST_KAFKA_IMAGE", f"apache/kafka:{VERSION}")
GIVEN = "BRIDGE_TEST_KAFKA"
HOW_TO_GET = (
    f"Kafka: needs a running Docker engine, or Java 17+ and Maven "
    f"(apt-get install default-jre-headless maven), or {GIVEN}=host:port"
)


class Kafka(Service):
    """`bootstrap` is host:port as Kafka clients take it."""

    name = "Kafka"

    def __init__(self, runner: Runner, bootstrap: str) -> None:
        super().__init__(runner)
        self.bootstrap = bootstrap

    @property
    def url(self) -> str:
        return f"kafka://{self.bootstrap}"

    def answers(self, seconds: float = 2.0) -> bool:
        host, _, port = self.bootstrap.split(",")[0].rpartition(":")
        try:
            with socket.create_connection((host, int(port)), seconds) as connection:
                connection.settimeout(seconds)
                return _has_brokers(connection)
        except OSError:
            return False


def _has_brokers(connection: socket.socket) -> bool:
    """Ask for metadata: a broker that is not registered yet accepts and names no broker."""
    request = struct.pack(">hhih", 3, 1, 1, -1) + struct.pack(">i", 0)
    connection.sendall(struct.pack(">i", len(request)) + request)
    with connection.makefile("rb") as stream:
        head = stream.read(12)
    return len(head) == 12 and struct.unpack(">iii", head)[2] > 0


def settings(data: str, clients: str, controller: str, advertised: str) -> dict[str, str]:
    """The broker's properties, the same in every way of running it."""
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{clients},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{advertised}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": data,
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "unclean.leader.election.enable": "false",
        # After a kill the node waits until its former self has expired: 3 s, not 9.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
    }


def obtain(workspace: Workspace, *, own: bool = False, port: int | None = None) -> Kafka:
    """Whatever way there is: given, from Docker, from Java and Maven; raises Unobtainable.

    `own` is for tests that break it: a given one will not do.
    """
    address = os.environ.get(GIVEN)
    if address and own:
        raise Unobtainable(f"Kafka: this test breaks it, so {GIVEN} must be unset")
    if address:
        return Kafka(Given(GIVEN), address)
    if docker.usable(IMAGE):
        return in_docker(workspace, port)
    return local(workspace, port)


def in_docker(workspace: Workspace, port: int | None = None) -> Kafka:
    """A Kafka of our own in a container."""
    number = workspace.ports.take(port)
    address = f"127.0.0.1:{number}"
    properties = settings("/var/lib/kafka/data", f"0.0.0.0:{number}", "127.0.0.1:9093", address)
    environment = {
        f"KAFKA_{key.upper().replace('.', '_')}": value for key, value in properties.items()
    }
    environment["KAFKA_HEAP_OPTS"] = "-Xmx512m"
    container = docker.Container(
        IMAGE, workspace.guard, ports={number: number}, environment=environment
    )
    return Kafka(container, address)


def local(workspace: Workspace, port: int | None = None) -> Kafka:
    """A Kafka of our own from Java and Maven; raises Unobtainable."""
    jars = _jars()
    folder = workspace.folder("kafka")
    address = f"127.0.0.1:{workspace.ports.take(port)}"
    controller = f"127.0.0.1:{workspace.ports.take()}"
    properties = folder / "server.properties"
    lines = settings(str(folder / "data"), address, controller, address)
    properties.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
    classpath = ["-cp", str(jars / "*")]
    # The zero in front keeps the text from starting with a dash, which would read as an option.
    cluster = urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
    format_storage = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties)]
    formatted = subprocess.run(
        ["java", "-Xmx128m", *_QUICK_JVM, *classpath, *format_storage],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if formatted.returncode:
        raise RuntimeError(f"Kafka storage: {formatted.stdout}{formatted.stderr}")
    server = ["java", "-Xmx512m", "-XX:+UseSerialGC", *classpath, "kafka.Kafka", str(properties)]
    return Kafka(Process(server, folder, workspace.guard, name="kafka"), address)


_QUICK_JVM = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")

_POM = f"""\
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>bridge.tests</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka-tools</artifactId>
      <version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"""


def _jars() -> Path:
    """The folder with Kafka's jars, fetched once per machine and version."""
    if shutil.which("java") is None:
        raise Unobtainable(HOW_TO_GET)
    cache = _cache()
    cache.mkdir(parents=True, exist_ok=True)
    jars = cache / f"kafka-{VERSION}"
    # One run fetches, the others wait; a fetch that was cut short leaves no folder of that name.
    with (cache / f"kafka-{VERSION}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not jars.exists():
            _fetch_jars(jars)
    return jars


def _fetch_jars(jars: Path) -> None:
    if shutil.which("mvn") is None:
        raise Unobtainable(HOW_TO_GET)
    partial = jars.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    (partial / "pom.xml").write_text(_POM)
    copy = ["dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=."]
    done = subprocess.run(
        ["mvn", "-q", "-B", *copy],
        cwd=partial,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unobtainable(f"{HOW_TO_GET}. Maven said: {done.stdout.strip().splitlines()[:1]}")
    partial.rename(jars)


def _cache() -> Path:
    chosen = os.environ.get("BRIDGE_TEST_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "notification-bridge-tests"
