"""Fixtures for every test: real brokers on first use, unique names, a seed.

`kafka`, `rabbitmq`, `postgres` are shared by the whole run: leave them running. A test that
breaks its broker takes `own_kafka`, `own_rabbitmq` or `own_postgres`.
"""

from __future__ import annotations

import os
import random
import signal
import uuid
from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.services import kafka as kafka_service
from tests.services import postgres as postgres_service
from tests.services import rabbitmq as rabbitmq_service
from tests.services.service import Service, Unobtainable
from tests.services.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from tests.services.kafka import Kafka
    from tests.services.postgres import Postgres
    from tests.services.rabbitmq import RabbitMQ

SEED = pytest.StashKey[int]()

AService = TypeVar("AService", bound=Service)


def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed of this run: $BRIDGE_TEST_SEED, else a random one; hear Ctrl-C."""
    given = os.environ.get("BRIDGE_TEST_SEED")
    config.stash[SEED] = int(given) if given else random.SystemRandom().getrandbits(32)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Started in the background of a shell: without this, no child of ours would hear Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: BRIDGE_TEST_SEED={config.stash[SEED]}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the seed beside each failure of a test that uses it."""
    report = yield
    if report.failed and "seed" in getattr(item, "fixturenames", ()):
        report.sections.append(("seed", f"BRIDGE_TEST_SEED={item.config.stash[SEED]}"))
    return report


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """The seed of this run; make a random.Random of your own from it."""
    return pytestconfig.stash[SEED]


@pytest.fixture
def prefix() -> str:
    """A topic prefix that no other test uses, in this run or another."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def workspace() -> Iterator[Workspace]:
    """The folder, ports and guard of this run; at its end everything started is killed."""
    with Workspace() as shared:
        yield shared


@pytest.fixture(scope="session")
def kafka(workspace: Workspace) -> Iterator[Kafka]:
    """The run's Kafka. Never break it: others use it."""
    yield from _lend(lambda: kafka_service.obtain(workspace))


@pytest.fixture(scope="session")
def rabbitmq(workspace: Workspace) -> Iterator[RabbitMQ]:
    """The run's RabbitMQ. Never break it: others use it."""
    yield from _lend(lambda: rabbitmq_service.obtain(workspace))


@pytest.fixture(scope="session")
def postgres(workspace: Workspace) -> Iterator[Postgres]:
    """The run's PostgreSQL. Never break it: others use it."""
    yield from _lend(lambda: postgres_service.obtain(workspace))


@pytest.fixture
def own_kafka(workspace: Workspace) -> Iterator[Kafka]:
    """A Kafka for this test alone, to be killed, paused, restarted."""
    yield from _lend(lambda: kafka_service.obtain(workspace, own=True))


@pytest.fixture
def own_rabbitmq(workspace: Workspace) -> Iterator[RabbitMQ]:
    """A RabbitMQ for this test alone, to be killed, paused, restarted."""
    yield from _lend(lambda: rabbitmq_service.obtain(workspace, own=True))


@pytest.fixture
def own_postgres(workspace: Workspace) -> Iterator[Postgres]:
    """A PostgreSQL for this test alone, to be killed, paused, restarted."""
    yield from _lend(lambda: postgres_service.obtain(workspace, own=True))


def _lend(obtain: Callable[[], AService]) -> Iterator[AService]:
    """Obtain, start, end; what cannot be had skips the test, and fails it where CI=true."""
    try:
        service = obtain()
    except Unobtainable as reason:
        if os.environ.get("CI") == "true":
            pytest.fail(str(reason), pytrace=False)
        pytest.skip(str(reason))
    service.start()
    yield service
    service.discard()
