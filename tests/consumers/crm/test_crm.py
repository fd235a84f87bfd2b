"""The CRM consumer against a real server and real databases."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select
from structlog.testing import capture_logs

from bridge.errors import ConfigurationError
from bridge.settings import Settings
from consumers import crm as crm_consumer
from consumers.consumer import Reject, Unavailable
from consumers.crm.answers import TryAgain
from consumers.crm.state import TOLD
from consumers.ledger import LEDGER
from consumers.notifications import Notification
from consumers.store import Store
from tests.consumers.crm.messages import modified, notification, optin_info, sender_time
from tests.consumers.crm.replica import TOKEN, running
from tests.consumers.crm.server import CrmServer, Failure
from tests.services.waiting import eventually

T = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def consent(
    event_id: str, at: datetime, field: str, *, subscribed: bool, **parts: Any
) -> Notification:
    return notification(
        "contact_optin" if subscribed else "contact_optout",
        event_id,
        executed=at,
        OptinInfo=optin_info((field, at)),
        **parts,
    )


async def rows(database_url: str) -> tuple[int, int]:
    """How many versions are kept, and how many ids are in the ledger."""
    async with Store.open(database_url) as store:
        return await store.read(
            lambda connection: (
                connection.execute(select(func.count()).select_from(TOLD)).scalar_one(),
                connection.execute(select(func.count()).select_from(LEDGER)).scalar_one(),
            )
        )


async def test_a_contact_is_created_modified_and_its_consent_kept(
    crm: CrmServer, database_url: str
) -> None:
    async with running(database_url, crm.url) as handle:
        await handle(
            notification(
                "contact_created",
                "e1",
                executed=T,
                ContactData={"f_First": "Ann", "f_Last": "Lee", "dtCreated": sender_time(T)},
            )
        )
        await handle(modified("e2", T + HOUR, First="Anna"))
        await handle(consent("e3", T + HOUR, "news", subscribed=True))
        await handle(consent("e4", T + 2 * HOUR, "news", subscribed=False, isActive=False))

    assert crm.contacts["1234-1"]["fields"] == {
        "f_EMail": "c1@example.com",
        "f_First": "Anna",
        "f_Last": "Lee",
        "dtCreated": "2026-11-24T12:00:00+00:00",
        "dtModified": "2026-11-24T13:00:00+00:00",
        "isActive": False,
    }
    assert crm.contacts["1234-1"]["optins"] == {
        "news": {"subscribed": False, "date": "2026-11-24T14:00:00+00:00"}
    }


async def test_only_what_is_newer_is_sent(crm: CrmServer, database_url: str) -> None:
    async with running(database_url, crm.url) as handle:
        await handle(modified("e2", T + HOUR, First="Anna"))
        await handle(modified("e1", T, First="Ann", Last="Lee"))

    assert crm.requests[1].document["fields"] == {"f_Last": "Lee"}
    assert crm.contacts["1234-1"]["fields"]["f_First"] == "Anna"


async def test_when_nothing_is_newer_nothing_is_sent_and_it_counts_as_handled(
    crm: CrmServer, database_url: str
) -> None:
    async with running(database_url, crm.url) as handle:
        await handle(modified("e2", T + HOUR, First="Anna"))
        await handle(modified("e1", T, First="Ann"))

    assert len(crm.requests) == 1
    assert (await rows(database_url))[1] == 2


async def test_an_opt_out_wins_a_tie_in_either_order(crm: CrmServer, database_url: str) -> None:
    in_ = consent("z", T, "news", subscribed=True)
    out = consent("a", T, "news", subscribed=False)
    async with running(database_url, crm.url) as handle:
        await handle(in_)
        await handle(out)
    first = crm.contacts["1234-1"]["optins"]["news"]["subscribed"]

    crm.contacts.clear()
    async with running(database_url, crm.url) as handle:
        await handle(consent("b", T + HOUR, "news", subscribed=False))
        await handle(consent("y", T + HOUR, "news", subscribed=True))

    assert first is False
    assert crm.contacts["1234-1"]["optins"]["news"]["subscribed"] is False


async def test_a_repeat_with_a_new_execution_date_is_not_sent_over_what_came_between(
    crm: CrmServer, database_url: str
) -> None:
    first_copy = notification("contact_modified", "e1", executed=T, ContactData={"f_A": "old"})
    between = notification("contact_modified", "e2", executed=T + HOUR, ContactData={"f_A": "new"})
    repeat = notification(
        "contact_modified", "e1", executed=T + 2 * HOUR, ContactData={"f_A": "old"}
    )

    async with running(database_url, crm.url) as handle:
        for told in (first_copy, between, repeat):
            await handle(told)

    assert crm.contacts["1234-1"]["fields"]["f_A"] == "new"
    assert len(crm.requests) == 2


async def test_what_was_told_is_remembered_over_a_restart(
    crm: CrmServer, database_url: str
) -> None:
    async with running(database_url, crm.url) as handle:
        await handle(modified("e2", T + HOUR, First="Anna"))
    async with running(database_url, crm.url) as handle:
        await handle(modified("e1", T, First="Ann"))
        await handle(modified("e2", T + HOUR, First="Anna"))

    assert len(crm.requests) == 1


async def test_what_the_ledger_forgot_is_known_by_its_version(
    crm: CrmServer, database_url: str
) -> None:
    told = modified("e1", T, First="Ann")
    async with running(database_url, crm.url) as handle:
        await handle(told)
        async with Store.open(database_url) as store:
            assert await store.prune(before=datetime.now(UTC) + HOUR) == 1
        await handle(told)

    assert len(crm.requests) == 1


async def test_a_replica_that_was_overtaken_says_so_and_leaves_the_newer_note(
    crm: CrmServer, database_url: str
) -> None:
    crm.failures.append(Failure(status=200, stored=True, silent=0.5))
    with capture_logs() as logs:
        async with (
            running(database_url, crm.url) as stalled,
            running(database_url, crm.url) as other,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(stalled(modified("e1", T, First="Ann")))

            async def arrived() -> bool:
                return bool(crm.requests)

            await eventually(arrived, "the first request")
            await other(modified("e3", T + 2 * HOUR, First="Anna"))
        async with running(database_url, crm.url) as handle:
            await handle(modified("e2", T + HOUR, First="Anne"))

    assert [line["id"] for line in logs if line["event"] == "crm_overtaken"] == ["e1"]
    assert crm.contacts["1234-1"]["fields"]["f_First"] == "Anna"
    assert len(crm.requests) == 2


async def test_an_answer_lost_after_the_effect_repeats_the_same_request(
    crm: CrmServer, sqlite_url: str
) -> None:
    crm.failures.extend([Failure(status=0, stored=True)] * 2)  # the client itself tries twice
    told = modified("e1", T, First="Ann")

    async with running(sqlite_url, crm.url) as handle:
        with pytest.raises(Unavailable):
            await handle(told)
        assert await rows(sqlite_url) == (0, 0)
        await handle(told)

    assert len({request.body for request in crm.requests}) == 1
    assert {request.headers["idempotency-key"] for request in crm.requests} == {"e1"}
    assert (await rows(sqlite_url))[1] == 1


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (Failure(status=422, body=b"no such field"), Reject),
        (Failure(status=401), Unavailable),
        (Failure(status=503, headers=(("retry-after", "30"),)), Unavailable),
        (Failure(status=500), Unavailable),
        (Failure(status=409), TryAgain),
    ],
)
async def test_a_failure_leaves_nothing_behind_and_the_next_try_succeeds(
    crm: CrmServer, sqlite_url: str, failure: Failure, expected: type[Exception]
) -> None:
    crm.failures.append(failure)
    told = modified("e1", T, First="Ann")

    async with running(sqlite_url, crm.url) as handle:
        with pytest.raises(expected):
            await handle(told)
        assert await rows(sqlite_url) == (0, 0)
        await handle(told)

    assert crm.contacts["1234-1"]["fields"]["f_First"] == "Ann"


async def test_a_test_notification_is_rehearsed_and_changes_nothing(
    crm: CrmServer, sqlite_url: str
) -> None:
    test = notification(
        "contact_modified", "e1", executed=T, test=True, ContactData={"f_First": "FirstName"}
    )
    with capture_logs() as logs:
        async with running(sqlite_url, crm.url) as handle:
            await handle(test)

    assert crm.requests == []
    assert await rows(sqlite_url) == (0, 0)
    (line,) = [line for line in logs if line["event"] == "crm_rehearsal"]
    assert line["sent"] is False
    assert line["method"] == "PUT"


async def test_a_test_notification_that_would_be_rejected_says_so(
    crm: CrmServer, sqlite_url: str
) -> None:
    with capture_logs() as logs:
        async with running(sqlite_url, crm.url) as handle:
            await handle(notification("contact_created", "e1", executed=T, contact="", test=True))

    assert any("idContact" in line.get("would_reject", "") for line in logs)


async def test_without_an_address_it_shows_what_it_would_send_and_a_replay_can_send_it_yet(
    crm: CrmServer, sqlite_url: str
) -> None:
    with capture_logs() as logs:
        async with running(sqlite_url, "") as handle:
            await handle(modified("e1", T, First="Ann"))
            await handle(modified("e2", T + HOUR, First="Anna"))

    assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["crm_log_only"]
    assert [line["id"] for line in logs if line["event"] == "crm_would_send"] == ["e1", "e2"]
    assert "Anna" not in str(logs)

    async with running(sqlite_url, crm.url) as handle:
        await handle(modified("e2", T + HOUR, First="Anna"))
    assert len(crm.requests) == 1


async def test_logs_and_reasons_hold_neither_token_nor_personal_data(
    crm: CrmServer, sqlite_url: str
) -> None:
    crm.failures.append(Failure(status=422, body=b'{"error": "c1@example.com Secretname"}'))
    reasons = []
    with capture_logs() as logs:
        async with running(sqlite_url, crm.url) as handle:
            for number in range(2):
                try:
                    await handle(modified(f"e{number}", T, First="Secretname"))
                except Reject as error:
                    reasons.append(error.reason)

    said = repr(logs) + repr(reasons)
    assert reasons == ['the CRM answered 422: {"error": "<f_EMail> <f_First>"}']
    assert "c1@example.com" not in said
    assert "Secretname" not in said
    assert TOKEN not in said


async def test_a_contact_that_breaks_the_crm_does_not_hold_its_partition_for_ever(
    crm: CrmServer, sqlite_url: str
) -> None:
    outcomes: list[type[BaseException]] = []
    async with running(sqlite_url, crm.url) as handle:
        for number in range(11):
            crm.failures.append(Failure(status=500))
            with pytest.raises((Unavailable, Reject)) as raised:
                await handle(modified("poison", T, First="Ann"))
            outcomes.append(raised.type)
            await handle(modified(f"e{number}", T, contact=2 + number, First="Ann"))

    assert outcomes == [Unavailable] * 10 + [Reject]


@pytest.mark.parametrize(
    "wrong",
    [
        {"crm_url": "ftp://crm/contacts"},
        {"crm_url": "crm.example.com"},
        {"crm_url": "https://user:password@crm/contacts"},
        {"crm_url": "https://crm/contacts?key=1"},
        {"crm_url": "https://crm/contacts#x"},
        {"crm_url": "https://crm:port/contacts"},
        {"crm_url": "https://user:password@crm:port/contacts"},
        {"crm_timeout": 31.0},
        {"crm_token": SecretStr("two words")},
        {"crm_token": SecretStr("line\nbreak")},
        {"crm_token": SecretStr("tökén")},
    ],
)
def test_what_cannot_work_is_refused_at_start(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="BRIDGE_CRM_") as raised:
        crm_consumer.consumer(Settings(**wrong))

    assert "password" not in str(raised.value)
