"""Nothing is left behind, nothing clashes, and what cannot be had says so."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.services import docker
from tests.services import kafka as kafka_service
from tests.services import postgres as postgres_service
from tests.services.ports import Ports
from tests.services.postgres import Postgres
from tests.services.process import Process
from tests.services.service import FaultImpossible, Unobtainable
from tests.services.waiting import TooLate, until

if TYPE_CHECKING:
    from tests.services.kafka import Kafka
    from tests.services.rabbitmq import RabbitMQ
    from tests.services.workspace import Workspace

LOCAL_ONLY = os.environ.get(docker.WAY) == "local"


def refuses(url: str) -> bool:
    """Nobody listens at the address."""
    address = urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((address.hostname, address.port)) != 0


@pytest.mark.parametrize("way", ["local", "docker"])
def test_nothing_is_left_when_a_run_is_killed(way: str) -> None:
    if way == "docker" and (LOCAL_ONLY or not docker.usable(postgres_service.IMAGE)):
        pytest.skip("no running Docker engine")
    with subprocess.Popen(
        [sys.executable, "-m", "tests.services", "postgres"],
        cwd=Path(__file__).parents[2],
        env=os.environ | {docker.WAY: way},
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout is not None
        url = run.stdout.readline().strip()
        if not url:
            pytest.skip(postgres_service.HOW_TO_GET)
        with psycopg.connect(url) as connection:
            row = connection.execute("show data_directory").fetchone()
        run.kill()
    assert row is not None
    data = Path(row[0])  # in a container it is no folder of this machine
    until(lambda: refuses(url) and (way == "docker" or not data.exists()), "the guard to end it")


def test_a_given_service_is_used_and_not_broken(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(kafka_service.GIVEN, "127.0.0.1:1")
    given = kafka_service.obtain(workspace)
    assert given.bootstrap == "127.0.0.1:1"
    assert not given.breakable
    for fault in (given.kill, given.pause, given.resume, given.restart):
        with pytest.raises(FaultImpossible, match=kafka_service.GIVEN):
            fault()
    with pytest.raises(Unobtainable, match=kafka_service.GIVEN):
        kafka_service.obtain(workspace, own=True)


def test_a_service_that_dies_at_once_says_why(workspace: Workspace) -> None:
    folder = workspace.folder("broken")
    broken = Process(["sh", "-c", "echo the reason; exit 1"], folder, workspace.guard)
    with pytest.raises(TooLate, match="ended before it answered") as failure:
        Postgres(broken, "postgresql://127.0.0.1:1/none").start()
    assert "the reason" in failure.value.__notes__[0]


def test_two_runs_never_share_a_port() -> None:
    first, second = Ports(), Ports()
    port = first.take()
    with pytest.raises(OSError, match="in use"):
        second.take(port)
    first.close()
    assert second.take(port) == port
    second.close()


def test_the_shared_services_answer(kafka: Kafka, rabbitmq: RabbitMQ, postgres: Postgres) -> None:
    assert kafka.answers()
    assert rabbitmq.answers()
    assert postgres.answers()


@pytest.mark.parametrize(("ci", "outcome"), [("", "1 skipped"), ("true", "1 error")])
def test_what_cannot_be_had_is_skipped_and_fails_in_ci(
    ci: str, outcome: str, tmp_path: Path
) -> None:
    without = {key: value for key, value in os.environ.items() if not key.startswith("BRIDGE_TEST")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", f"{__file__}::test_the_shared_services_answer"],
        cwd=Path(__file__).parents[2],
        env=without | {"CI": ci, "PATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    assert kafka_service.HOW_TO_GET in done.stdout
    assert f"{outcome} in" in done.stdout.splitlines()[-1]
