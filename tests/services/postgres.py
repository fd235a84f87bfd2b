"""A PostgreSQL cluster of our own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from tests.services import docker
from tests.services.process import Process
from tests.services.service import Given, Runner, Service, Unobtainable

if TYPE_CHECKING:
    from tests.services.workspace import Workspace

IMAGE = os.environ.get("BRIDGE_TEST_POSTGRES_IMAGE", "postgres:17-alpine")
GIVEN = "BRIDGE_TEST_POSTGRES"
HOW_TO_GET = (
    "PostgreSQL: needs a running Docker engine, or Debian's package "
    f"(apt-get install postgresql), or {GIVEN}=postgresql://user:pass@host:port/database"
)


class Postgres(Service):
    """`url` is a libpq address: postgresql://user@host:port/database."""

    name = "PostgreSQL"

    def __init__(self, runner: Runner, url: str) -> None:
        super().__init__(runner)
        self._url = url

    @property
    def url(self) -> str:
        return self._url

    def answers(self, seconds: float = 2.0) -> bool:
        # libpq's own deadline covers the connection only, and not less than 2 s.
        try:
            with psycopg.connect(self._url, connect_timeout=max(2, round(seconds))) as connection:
                return connection.execute("select 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False


def obtain(workspace: Workspace, *, own: bool = False, port: int | None = None) -> Postgres:
    """Whatever way there is: given, from Docker, from Debian's package; raises Unobtainable.

    `own` is for tests that break it: a given one will not do.
    """
    url = os.environ.get(GIVEN)
    if url and own:
        raise Unobtainable(f"PostgreSQL: this test breaks it, so {GIVEN} must be unset")
    if url:
        return Postgres(Given(GIVEN), url)
    if docker.usable(IMAGE):
        return in_docker(workspace, port)
    return local(workspace, port)


def in_docker(workspace: Workspace, port: int | None = None) -> Postgres:
    """A cluster of our own in a container."""
    number = workspace.ports.take(port)
    environment = {
        "POSTGRES_USER": "bridge",
        "POSTGRES_DB": "postgres",
        "POSTGRES_HOST_AUTH_METHOD": "trust",
    }
    container = docker.Container(
        IMAGE, workspace.guard, ports={5432: number}, environment=environment
    )
    return _ours(container, number)


def local(workspace: Workspace, port: int | None = None) -> Postgres:
    """A cluster of our own from Debian's package; raises Unobtainable."""
    programs = _programs()
    user = "postgres" if os.getuid() == 0 else None  # it refuses to run as root
    folder = workspace.folder("postgres")
    if user is not None:
        shutil.chown(folder, user)
    number = workspace.ports.take(port)
    data = folder / "data"
    made = subprocess.run(
        [programs / "initdb", "-D", data, "-U", "bridge", "-A", "trust", "-E", "UTF8"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    if made.returncode:
        raise RuntimeError(f"initdb: {made.stdout}{made.stderr}")
    command = [str(programs / "postgres"), "-D", str(data), "-p", str(number)]
    command += ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"]
    server = Process(
        command,
        folder,
        workspace.guard,
        name="postgres",
        user=user,
        stop_signal=signal.SIGINT,  # "fast": SIGTERM would wait for every client to leave
    )
    return _ours(server, number)


def _ours(runner: Runner, port: int) -> Postgres:
    return Postgres(runner, f"postgresql://bridge@127.0.0.1:{port}/postgres")


def _programs() -> Path:
    """The newest of Debian's versioned folders, else the folder of the initdb in the PATH."""
    versions = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"),
        key=lambda path: int(path.parts[-3]),
    )
    if versions:
        return versions[-1].parent
    found = shutil.which("initdb")
    if found is None:
        raise Unobtainable(HOW_TO_GET)
    return Path(found).resolve().parent
