"""The CRM consumer in its place: what the sender posts, through log and worker, to the CRM."""

import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from bridge.settings import Settings
from bridge.sources.samples import notification as sample
from bridge.topics import KNOWN_TYPES
from consumers import crm as crm_consumer
from tests.consumers.crm.pipeline import at_work
from tests.consumers.crm.server import CrmServer, Failure, crm_server
from tests.services.waiting import eventually

T = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


def settings_of(tmp_path: Path, sqlite_url: str, crm_url: str, **more: Any) -> Settings:
    return Settings(
        broker_url=SecretStr(f"sqlite:///{tmp_path}/bridge.db"),
        database_url=SecretStr(sqlite_url),
        crm_url=crm_url,
        embedded_min_free_bytes=0,
        outage_max_delay=0.2,
        retry_delay=0.01,
        **more,
    )


def real(type_: str, number: int, *, after: int = 0) -> dict[str, Any]:
    """The sample of a type, made real, of the contact `number`."""
    return sample(
        type_,
        id=f"{type_}-{number}",
        at=T + timedelta(minutes=after),
        contact=number,
        email=f"c{number}@example.com",
        test=False,
    )


async def test_the_eight_samples_as_tests_change_nothing_and_as_real_ones_take_effect(
    tmp_path: Path, sqlite_url: str, crm: CrmServer
) -> None:
    settings = settings_of(tmp_path, sqlite_url, crm.url)
    tests = [sample(type_, id=f"test-{type_}", at=T) for type_ in KNOWN_TYPES]
    with capture_logs() as logs:
        async with at_work(crm_consumer.consumer(settings), settings) as pipeline:
            await pipeline.post(tests)
            await pipeline.all_acked()
            assert crm.requests == []
            await pipeline.post([real(type_, 1, after=n) for n, type_ in enumerate(KNOWN_TYPES)])
            await pipeline.all_acked()
            assert await pipeline.dead() == []

    assert len([line for line in logs if line["event"] == "crm_rehearsal"]) == 4
    contact = crm.contacts["1234-1"]
    assert contact["fields"]["f_FirstName"] == "FirstName"
    assert contact["fields"]["f_EMail"] == "c1@example.com"
    assert {each["subscribed"] for each in contact["optins"].values()} == {False}


async def test_while_the_crm_is_down_nothing_is_set_aside_and_then_all_of_it_arrives(
    tmp_path: Path, sqlite_url: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = settings_of(tmp_path, sqlite_url, CrmServer(port).url, retry_attempts=1)
    with capture_logs() as logs:
        async with at_work(crm_consumer.consumer(settings), settings) as pipeline:
            await pipeline.post([real("contact_created", number) for number in range(30)])

            async def probed_twice() -> bool:
                return len([line for line in logs if line["event"] == "outage"]) >= 2

            await eventually(probed_twice, "two outage lines")
            assert await pipeline.waiting() == 30
            with crm_server(port) as crm:
                await pipeline.all_acked()
            assert await pipeline.dead() == []

    assert len(crm.contacts) == 30
    assert "@example.com" not in repr(logs)


async def test_a_refused_contact_becomes_a_dead_letter_with_the_crms_words(
    tmp_path: Path, sqlite_url: str, crm: CrmServer
) -> None:
    settings = settings_of(tmp_path, sqlite_url, crm.url)
    crm.failures.append(Failure(status=422, body=b"no consent of c1@example.com"))
    async with at_work(crm_consumer.consumer(settings), settings) as pipeline:
        await pipeline.post([real("contact_created", 1)])
        await pipeline.all_acked()
        await pipeline.post([real("contact_created", 2)])
        await pipeline.all_acked()
        (dead,) = await pipeline.dead()

    assert dead.message.text("bridge_error") == "Reject"
    assert dead.message.text("bridge_reason") == ("the CRM answered 422: no consent of <f_EMail>")
    assert list(crm.contacts) == ["1234-2"]


@pytest.mark.parametrize("status", [401, 403])
async def test_a_wrong_token_sets_nothing_aside(
    tmp_path: Path, sqlite_url: str, crm: CrmServer, status: int
) -> None:
    settings = settings_of(tmp_path, sqlite_url, crm.url, retry_attempts=1, dead_letter_run=1)
    crm.always = Failure(status=status)
    async with at_work(crm_consumer.consumer(settings), settings) as pipeline:
        await pipeline.post([real("contact_created", number) for number in range(5)])

        async def refused() -> bool:
            return len(crm.requests) >= 2

        await eventually(refused, "two requests")
        crm.always = None
        await pipeline.all_acked()
        assert await pipeline.dead() == []

    assert len(crm.contacts) == 5
