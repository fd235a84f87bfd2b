"""Every test of the contract runs once for each broker, under the same name."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from bridge.settings import Settings
from tests.brokers.bench import LANES, Bench
from tests.brokers.faults import EmbeddedFaults, Faults, KafkaFaults, RabbitFaults

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.services.rabbitmq import RabbitMQ

SYSTEMS = ("embedded", "kafka", "rabbitmq")

DIFFERENCES = {
    ("rabbitmq", "test_a_new_group_starts_at_the_earliest_message"): (
        "a queue holds what was published since it was bound: a new group starts at its binding"
    ),
}
"""(broker, test) -> why this broker is meant to differ. Strict: once it passes, it must go."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "system" in metafunc.fixturenames:
        metafunc.parametrize("system", SYSTEMS, indirect=True)


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    for item in items:
        callspec = getattr(item, "callspec", None)
        system = callspec.params.get("system") if callspec else None
        name = getattr(item, "originalname", "")
        if system is not None and (reason := DIFFERENCES.get((system, name))):
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.fixture
def system(request: pytest.FixtureRequest) -> str:
    """The broker of this run of the test."""
    name = str(request.param)
    if importlib.util.find_spec(f"bridge.brokers.{name}") is None:
        pytest.skip(f"bridge.brokers.{name} is not written yet")
    return name


@pytest.fixture
def settings(system: str, prefix: str, tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    """Settings for the broker that all tests of this run share."""
    service = None if system == "embedded" else request.getfixturevalue(system)
    return settings_for(system, service, prefix=prefix, folder=tmp_path)


@pytest.fixture
def bench(settings: Settings) -> Bench:
    """The shared broker under a prefix of this test's own."""
    return Bench(settings)


@pytest.fixture
def faults(bench: Bench, system: str, tmp_path: Path, request: pytest.FixtureRequest) -> Faults:
    """Harm to things under this test's prefix. Never freeze the shared broker."""
    del bench
    if system == "embedded":
        return EmbeddedFaults(tmp_path / "bridge.db")
    service = request.getfixturevalue(system)
    return KafkaFaults(service) if system == "kafka" else RabbitFaults(service)


@pytest.fixture
def own_bench(
    system: str, prefix: str, tmp_path: Path, request: pytest.FixtureRequest
) -> tuple[Bench, Faults]:
    """A broker of this test's own, and how to hurt it."""
    if system == "embedded":
        settings = settings_for(system, None, prefix=prefix, folder=tmp_path)
        return Bench(settings), EmbeddedFaults(tmp_path / "bridge.db")
    service = request.getfixturevalue(f"own_{system}")
    if not service.breakable:
        pytest.skip(f"{system} was given: it is not ours to freeze")
    settings = settings_for(system, service, prefix=prefix, folder=tmp_path)
    return Bench(settings), KafkaFaults(service) if system == "kafka" else RabbitFaults(service)


def settings_for(system: str, service: RabbitMQ | None, *, prefix: str, folder: Path) -> Settings:
    """Few lanes, short waits; everything else as a user gets it."""
    url = f"sqlite:///{folder}/bridge.db" if service is None else service.url
    management = service.management_url if service is not None and system == "rabbitmq" else ""
    return Settings(
        broker_url=SecretStr(url),
        topic_prefix=prefix,
        publish_timeout=5.0,
        consume_drain_timeout=5.0,
        kafka_partitions=LANES,
        rabbitmq_shards=LANES,
        rabbitmq_management_url=SecretStr(management),
        embedded_lanes=LANES,
        embedded_min_free_bytes=0,
    )
