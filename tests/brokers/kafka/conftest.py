"""A Kafka that may be broken, besides the one that all tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.brokers.kafka.tools import (
    bench_on,
)
from tests.services import kafka as kafka_service
from tests.services.service import Unobtainable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.brokers.bench import Bench
    from tests.services.kafka import Kafka
    from tests.services.workspace import Workspace


@pytest.fixture
def bench(kafka: Kafka, prefix: str) -> Bench:
    """On the run's Kafka, never broken."""
    return bench_on(kafka, prefix)


@pytest.fixture(scope="package")
def fragile(workspace: Workspace) -> Iterator[Kafka]:
    """A Kafka for the tests of this folder that break it; each leaves it running."""
    try:
        service = kafka_service.obtain(workspace, own=True)
    except Unobtainable as reason:
        pytest.skip(str(reason))
    service.start()
    yield service
    service.discard()


@pytest.fixture
def broken_bench(fragile: Kafka, prefix: str) -> Bench:
    """On the Kafka that may be broken."""
    return bench_on(fragile, prefix)
