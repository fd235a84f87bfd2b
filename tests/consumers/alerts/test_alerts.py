"""The alerts consumer against a real sink and real databases."""

import asyncio
import random
import socket
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import select
from structlog.testing import capture_logs

from bridge.errors import ConfigurationError
from bridge.settings import Settings
from consumers import alerts as alerts_consumer
from consumers.alerts.dispatcher import _prune
from consumers.alerts.outbox import OUTBOX
from consumers.alerts.state import DAYS, INCIDENTS
from consumers.notifications import Notification
from consumers.store import Store
from tests.consumers.crm.messages import notification
from tests.consumers.crm.server import CrmServer, Failure, crm_server
from tests.consumers.crm.test_effect_once import Crash, crashing_at
from tests.services.waiting import eventually

Handle = Callable[..., Coroutine[Any, Any, Any]]
SECRET_PATH = "a-secret-path"
ALONE = 20.0  # seconds; deadline of a condition, not a duration


@pytest.fixture
def sink() -> Iterator[CrmServer]:
    with crm_server() as server:
        yield server


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def noon_zone() -> str:
    """A zone where it is about noon: no test meets midnight."""
    offset = 12 - datetime.now(UTC).hour
    return f"Etc/GMT{-offset:+d}"  # POSIX: west is positive


@asynccontextmanager
async def running(database_url: str, sink_port: int | None) -> AsyncIterator[Handle]:
    """One replica of the consumer, as the worker runs it."""
    url = "" if sink_port is None else f"http://127.0.0.1:{sink_port}/{SECRET_PATH}"
    consumer = alerts_consumer.consumer(
        Settings(
            database_url=SecretStr(database_url),
            alert_webhook_url=SecretStr(url),
            alert_day_zone=noon_zone(),
        )
    )
    assert consumer.lifespan is not None
    async with consumer.lifespan():
        handler = consumer.registrations["sending_Bounce"].handler

        async def handle(notifications: Sequence[Notification]) -> None:
            assert await handler(notifications) is None

        yield handle


def bounce(
    event_id: str, at: datetime, *, code: str = "5.1.1", project: int = 1234, test: bool = False
) -> Notification:
    return notification(
        "sending_Bounce",
        event_id,
        executed=at,
        project=project,
        test=test,
        DeliveryErrorInfo={"BounceCode": code, "dsnDiag": "smtp;550 c1@example.com unknown"},
    )


def complaint(event_id: str, at: datetime) -> Notification:
    return notification(
        "contact_complaint", event_id, executed=at, ComplaintInfo={"FBL_Report": "To: c1@x.com"}
    )


def posted(sink: CrmServer) -> list[dict[str, Any]]:
    return [seen.document for seen in sink.requests]


async def table(database_url: str, of: Any) -> list[Any]:
    async with Store.open(database_url) as store:
        return await store.read(lambda c: list(c.execute(select(of)).all()))


async def delivered(database_url: str, count: int, *, sink: str = "webhook") -> None:
    """Wait until so many pages are noted as delivered."""

    async def enough() -> bool:
        rows = await table(database_url, OUTBOX)
        return len([row for row in rows if row.sink == sink and row.delivered]) >= count

    await eventually(enough, f"{count} delivered pages", ALONE)


async def test_each_decade_of_a_day_is_alerted_once_and_counts_are_exact(
    sink: CrmServer, database_url: str, now: datetime, seed: int
) -> None:
    random_ = random.Random(seed)
    events = [bounce(f"e{number}", now) for number in range(112)]
    copies = [event.model_copy() for event in events for _ in range(random_.randint(1, 3))]
    random_.shuffle(copies)

    async with running(database_url, sink.port) as handle:
        while copies:
            size = random_.randint(1, 30)
            batch, copies = copies[:size], copies[size:]
            try:
                await crashing_at(random_.choice((1, 2, 1000)), handle(batch))
            except Crash:
                copies.extend(batch)
        await delivered(database_url, 3)

    assert [page["step"] for page in posted(sink)] == [1, 10, 100]
    assert [page["today"] for page in posted(sink)] == [1, 10, 100]
    (day,) = await table(database_url, DAYS)
    assert (day.total, day.alerted) == (112, 100)
    (incident,) = await table(database_url, INCIDENTS)
    assert incident.total == 112


async def test_replicas_that_count_the_same_keys_lose_none_and_alert_once(
    sink: CrmServer, database_url: str, now: datetime
) -> None:
    codes = ("5.1.1", "4.2.1", "2.0.0")
    events = [bounce(f"e{number}", now, code=codes[number % 3]) for number in range(90)]

    async def lane(handle: Handle, share: Sequence[Notification]) -> None:
        for start in range(0, len(share), 7):
            await handle(share[start : start + 7])

    async with (
        running(database_url, sink.port) as one,
        running(database_url, sink.port) as other,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(lane(one, events[::2]))
        tasks.create_task(lane(other, events[1::2]))
        tasks.create_task(lane(one, [event.model_copy() for event in events[::-1]]))
        await delivered(database_url, 6)

    assert {row.total for row in await table(database_url, DAYS)} == {30}
    keys = Counter(page["dedup_key"] for page in posted(sink))
    assert set(keys.values()) == {1}
    assert sorted(page["step"] for page in posted(sink)) == [1, 1, 1, 10, 10, 10]


async def test_projects_types_and_kinds_of_error_are_counted_apart(
    sink: CrmServer, sqlite_url: str, now: datetime
) -> None:
    def production(event_id: str, code: object) -> Notification:
        return notification(
            "sending_ProductionError",
            event_id,
            executed=now,
            ProductionErrorInfo={"ErrorCode": code},
        )

    async with running(sqlite_url, sink.port) as handle:
        await handle(
            [
                bounce("e1", now),
                bounce("e2", now, code="4.2.1"),
                bounce("e3", now, project=99),
                production("e4", "NoContent"),
                production("e5", 103),
                production("e6", 2),
            ]
        )
        await delivered(sqlite_url, 5)

    assert {row.key: row.total for row in await table(sqlite_url, DAYS)} == {
        "1234|sending_Bounce|hard": 1,
        "1234|sending_Bounce|soft": 1,
        "99|sending_Bounce|hard": 1,
        "1234|sending_ProductionError|NoContent": 2,
        "1234|sending_ProductionError|Compilation": 1,
    }


async def test_every_complaint_is_alerted_once(
    sink: CrmServer, database_url: str, now: datetime
) -> None:
    complaints = [complaint(f"e{number}", now) for number in range(12)]
    async with running(database_url, sink.port) as handle:
        await handle(complaints)
        await handle(complaints[::-1])
        await delivered(database_url, 12)

    pages = posted(sink)
    assert [page["samples"][-1] for page in pages] == [f"e{number}" for number in range(12)]
    assert {page["severity"] for page in pages} == {"critical"}
    assert pages[-1]["text"].startswith("Project 1234: a spam complaint, number 12 of ")


async def test_a_key_has_one_incident_that_is_updated_in_place(
    sink: CrmServer, database_url: str, now: datetime
) -> None:
    minute = timedelta(minutes=1)
    async with running(database_url, sink.port) as handle:
        for number in range(10):
            await handle([bounce(f"e{number}", now - number * minute)])
        await delivered(database_url, 2)

    first, tenth = posted(sink)
    assert first["incident"] == tenth["incident"]
    assert (tenth["count"], len(tenth["samples"])) == (10, 3)
    assert tenth["samples"] == ["e7", "e8", "e9"]
    assert datetime.fromisoformat(tenth["first_seen"]) == now - 9 * minute
    assert datetime.fromisoformat(tenth["last_seen"]) == now


async def test_after_a_quiet_day_the_next_error_opens_another_incident(
    sink: CrmServer, sqlite_url: str, now: datetime
) -> None:
    async with running(sqlite_url, sink.port) as handle:
        await handle([bounce("e1", now - timedelta(days=3))])
        await handle([bounce("e2", now)])
        await handle([bounce("e0", now - timedelta(days=3))])  # of the one that is over
        await delivered(sqlite_url, 1)

    (incident,) = await table(sqlite_url, INCIDENTS)
    assert (incident.number, incident.total) == (2, 1)
    assert posted(sink)[0]["samples"] == ["e2"]


async def test_a_replay_of_last_week_is_counted_and_wakes_nobody(
    sink: CrmServer, sqlite_url: str, now: datetime
) -> None:
    last_week = now - timedelta(days=7)
    async with running(sqlite_url, sink.port) as handle:
        await handle([bounce(f"e{number}", last_week) for number in range(20)])
        await handle([complaint("c1", last_week)])
        await handle([bounce("today", now)])
        await delivered(sqlite_url, 1)

    assert [page["samples"][-1] for page in posted(sink)] == ["today"]
    totals = {row.key: row.total for row in await table(sqlite_url, DAYS) if row.total != 1}
    assert totals == {"1234|sending_Bounce|hard": 20}


async def test_a_sink_that_is_down_holds_up_nothing_and_gets_its_pages_when_it_is_up(
    database_url: str, now: datetime
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with capture_logs() as logs:
        async with running(database_url, port) as handle:
            await handle([bounce(f"e{number}", now) for number in range(10)])
            await handle([complaint("c1", now)])

            async def failed() -> bool:
                return any(line["event"] == "alerts_waiting" for line in logs)

            await eventually(failed, "the first failure", ALONE)
            await delivered(database_url, 3, sink="log")
            with crm_server(port) as sink:
                await delivered(database_url, 3)

    assert [page["step"] for page in posted(sink)] == [1, 10, None]
    assert SECRET_PATH not in repr(logs)
    assert "c1@" not in repr(logs)


async def test_pages_that_wait_survive_a_restart_and_counting_goes_on(
    database_url: str, now: datetime
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with running(database_url, port) as handle:
        await handle([bounce(f"e{number}", now) for number in range(9)])
    with crm_server(port) as sink:
        async with running(database_url, port) as handle:
            await handle([bounce("e0", now), bounce("e9", now)])
            await delivered(database_url, 2)

    assert [page["step"] for page in posted(sink)] == [1, 10]


async def test_replicas_that_find_the_same_pages_waiting_post_each_once(
    database_url: str, now: datetime
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with running(database_url, port) as handle:
        await handle([complaint(f"c{number}", now) for number in range(5)])
    with crm_server(port) as sink:
        sink.always = Failure(status=200, silent=0.2)  # time for the other to take the same page
        async with running(database_url, port), running(database_url, port):
            await delivered(database_url, 5)

    assert sorted(page["samples"][-1] for page in posted(sink)) == ["c0", "c1", "c2", "c3", "c4"]


@pytest.mark.slow  # SQLite waits five seconds for a lock
async def test_a_database_that_is_down_after_the_post_is_waited_for_and_nothing_posted_twice(
    sink: CrmServer, sqlite_url: str, now: datetime
) -> None:
    sink.failures.append(Failure(status=200, silent=0.5))
    with capture_logs() as logs, closing(sqlite3.connect(sqlite_url[10:])) as blocker:

        async def arrived() -> bool:
            return bool(sink.requests)

        async def not_noted() -> bool:
            return any(line["event"] == "alert_not_noted" for line in logs)

        async with running(sqlite_url, sink.port) as handle:
            await handle([complaint("c1", now)])
            await eventually(arrived, "the post", ALONE)
            blocker.execute("BEGIN IMMEDIATE")
            await eventually(not_noted, "a note that fails", ALONE)
            blocker.rollback()
            await delivered(sqlite_url, 1)

    assert len(sink.requests) == 1


async def test_a_page_whose_answer_is_lost_is_posted_again_under_the_same_dedup_key(
    sink: CrmServer, sqlite_url: str, now: datetime
) -> None:
    sink.failures.append(Failure(status=0, stored=True))
    async with running(sqlite_url, sink.port) as handle:
        await handle([complaint("c1", now)])
        await delivered(sqlite_url, 1)

    assert len(sink.requests) == 2
    assert len({page["dedup_key"] for page in posted(sink)}) == 1


async def test_a_page_that_the_sink_refuses_does_not_hold_up_the_others(
    sink: CrmServer, sqlite_url: str, now: datetime
) -> None:
    sink.failures.append(Failure(status=400))
    async with running(sqlite_url, sink.port) as handle:
        await handle([complaint("c1", now)])
        await handle([complaint("c2", now)])
        await delivered(sqlite_url, 1)

    waiting = [row for row in await table(sqlite_url, OUTBOX) if row.delivered is None]
    assert len(waiting) == 1
    assert waiting[0].due > datetime.now(UTC)


@pytest.mark.parametrize("status", [302, 404, 429, 500, 503])
async def test_only_a_2xx_counts_as_delivered(
    sink: CrmServer, sqlite_url: str, now: datetime, status: int
) -> None:
    sink.always = Failure(status=status)
    async with running(sqlite_url, sink.port) as handle:
        await handle([complaint("c1", now)])

        async def tried() -> bool:
            return bool(sink.requests)

        await eventually(tried, "the first post", ALONE)

    rows = await table(sqlite_url, OUTBOX)
    assert [row.delivered for row in rows if row.sink == "webhook"] == [None]


async def test_without_a_webhook_the_log_is_the_sink(sqlite_url: str, now: datetime) -> None:
    with capture_logs() as logs:
        async with running(sqlite_url, None) as handle:
            await handle([bounce("e1", now), complaint("c1", now)])
            await delivered(sqlite_url, 2, sink="log")

    lines = [line for line in logs if line["event"] == "alert"]
    assert {(line["type"], line["log_level"]) for line in lines} == {
        ("sending_Bounce", "warning"),
        ("contact_complaint", "error"),
    }
    assert {row.sink for row in await table(sqlite_url, OUTBOX)} == {"log"}


async def test_a_test_notification_is_rehearsed_and_changes_nothing(
    sink: CrmServer, sqlite_url: str, now: datetime
) -> None:
    with capture_logs() as logs:
        async with running(sqlite_url, sink.port) as handle:
            await handle([bounce("e1", now, test=True)])

    assert [line["key"] for line in logs if line["event"] == "alerts_rehearsal"] == [
        "1234|sending_Bounce|hard"
    ]
    for each in (DAYS, INCIDENTS, OUTBOX):
        assert await table(sqlite_url, each) == []
    assert sink.requests == []


async def test_a_test_among_real_ones_leaves_them_alone(
    sink: CrmServer, sqlite_url: str, now: datetime
) -> None:
    async with running(sqlite_url, sink.port) as handle:
        await handle([bounce("e1", now, test=True), bounce("e2", now), bounce("e1", now)])

    assert [row.total for row in await table(sqlite_url, DAYS)] == [2]


@pytest.mark.parametrize("date", ["0001.01.01 00:00:00+00:00", "9999.12.31 23:59:59+00:00", "", 7])
async def test_a_date_that_is_none_is_counted_all_the_same(
    sqlite_url: str, now: datetime, date: object
) -> None:
    odd = notification("contact_complaint", "e1", executed=now, dtExecution=date)
    async with running(sqlite_url, None) as handle:
        await handle([odd])

    assert [row.total for row in await table(sqlite_url, DAYS)] == [1]


@pytest.mark.parametrize("step", range(1, 6))
async def test_a_crash_at_any_step_counts_once(
    sink: CrmServer, sqlite_url: str, now: datetime, step: int
) -> None:
    async with running(sqlite_url, sink.port) as handle:
        with suppress(Crash):
            await crashing_at(step, handle([complaint("c1", now)]))
        await handle([complaint("c1", now)])
        await delivered(sqlite_url, 1)

    assert [row.total for row in await table(sqlite_url, DAYS)] == [1]
    assert len(sink.requests) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"alert_day_zone": "Mars/Olympus"},
        {"alert_day_zone": "../etc/passwd"},
        {"alert_day_zone": ""},
        {"alert_webhook_url": SecretStr("ftp://sink/x")},
        {"alert_webhook_url": SecretStr("sink.example.com")},
        {"alert_webhook_url": SecretStr("https://sink:port/a-secret-path")},
    ],
)
def test_what_cannot_work_is_refused_at_start(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="BRIDGE_ALERT_") as raised:
        alerts_consumer.consumer(Settings(**wrong))

    assert SECRET_PATH not in str(raised.value)


async def test_what_the_worker_raises_while_it_is_open_arrives_as_it_is(sqlite_url: str) -> None:
    with pytest.raises(ConfigurationError, match="from within"):
        async with running(sqlite_url, None):
            raise ConfigurationError("from within")


async def test_days_and_pages_long_gone_are_forgotten_and_others_kept(
    sqlite_url: str, now: datetime
) -> None:
    async with running(sqlite_url, None) as handle:
        await handle([complaint("old", now - timedelta(days=40)), complaint("new", now)])
        await delivered(sqlite_url, 1, sink="log")
    async with Store.open(sqlite_url) as store:
        await store.run(_prune)

    assert [row.total for row in await table(sqlite_url, DAYS)] == [1]
    assert len(await table(sqlite_url, OUTBOX)) == 1
