"""The suppression consumer: from deliveries to the list, on both databases and through a worker."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from bridge.brokers import open_broker
from bridge.errors import SchemaOutOfDate
from bridge.settings import Settings
from bridge.sources.dialog_insight import DialogInsight
from bridge.sources.samples import notification as sample_notification
from bridge.topics import KNOWN_TYPES
from consumers.consumer import Reject, Unavailable
from consumers.ledger import LEDGER
from consumers.store import Store
from consumers.suppression import Verdict, check, consumer
from consumers.suppression.handlers import TYPES
from consumers.suppression.tables import ADDRESSES, ENTRIES, HISTORY
from consumers.worker import Worker
from tests.consumers.messages import notification, optin_info
from tests.consumers.suppression.test_list import Snapshot, empty, snapshot
from tests.consumers.suppression.test_rules import random_history
from tests.services.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from bridge.message import Message
    from consumers.notifications import Notification

    Handler = Callable[[Sequence[Notification]], Awaitable[Sequence[BaseException | None] | None]]


@asynccontextmanager
async def at_work(database_url: str) -> AsyncIterator[Handler]:
    """The consumer's handler, inside its lifespan."""
    made = consumer(Settings(database_url=database_url))
    assert made.lifespan is not None
    async with made.lifespan():
        yield made.registrations["contact_optout"].handler


async def listed(database_url: str, address: str = "jo@example.com") -> Verdict:
    async with Store.open(database_url) as store:
        return await check(store, address)


async def counted(database_url: str) -> dict[str, int]:
    async with Store.open(database_url) as store:

        def work(connection: sa.Connection) -> dict[str, int]:
            return {
                table.name: connection.execute(
                    sa.select(sa.func.count()).select_from(table)
                ).scalar_one()
                for table in (LEDGER, ENTRIES, HISTORY, ADDRESSES)
            }

        return await store.read(work)


def optout(id_: str, minutes: int = 1, **values: Any) -> Notification:
    return notification("contact_optout", id_, OptinInfo=optin_info(news=minutes), **values)


def test_it_handles_what_the_list_needs_and_asks_for_tests() -> None:
    group = consumer(Settings()).group
    assert group.name == "suppression"
    assert group.types == set(TYPES) == set(KNOWN_TYPES) - {"sending_ProductionError"}
    assert group.tests


async def test_a_batch_takes_effect_once_however_often_it_comes(database_url: str) -> None:
    batch = [optout("e1"), notification("contact_complaint", "e2"), optout("e1")]
    async with at_work(database_url) as handle:
        with capture_logs() as logs:
            assert await handle(batch) == [None] * 3
            before = await counted(database_url)
            assert await handle(batch) == [None] * 3
    assert await counted(database_url) == before
    assert before[LEDGER.name] == 2
    recorded = [line for line in logs if line["event"] == "suppression_recorded"]
    assert [line["notifications"] for line in recorded] == [2, 0]
    assert [line["handled_before"] for line in recorded] == [1, 3]
    assert "jo@" not in json.dumps(logs), "addresses do not reach the log"


async def test_a_test_notification_is_rehearsed_and_changes_nothing(database_url: str) -> None:
    tests = [
        notification(type_, f"t{n}", isTest=True, isActive=False, OptinInfo=optin_info(news=1))
        for n, type_ in enumerate(TYPES)
    ]
    before = await counted(database_url)
    async with at_work(database_url) as handle:
        with capture_logs() as logs:
            assert await handle(tests) == [None] * len(tests)
            assert await handle([optout("e1"), optout("e1", isTest=True)]) == [None] * 2
    (line, mixed) = [line for line in logs if line["event"] == "suppression_rehearsed"]
    assert (line["notifications"], mixed["notifications"]) == (len(tests), 1)
    assert line["statements"] > 0, "the rules ran"
    assert "nothing" in line["changed"]
    assert before == dict.fromkeys(before, 0)
    assert (await counted(database_url))[LEDGER.name] == 1
    assert [entry.event_id for entry in (await listed(database_url)).entries] == ["e1", "e1"]


async def test_one_that_names_nobody_is_rejected_and_the_others_are_done(sqlite_url: str) -> None:
    nobody = optout("e1", contact=None, email=None)
    harmless = notification("contact_modified", "e3", contact=None, email=None)
    async with at_work(sqlite_url) as handle:
        outcomes = await handle([nobody, optout("e2"), harmless])
        assert await handle([nobody]) is not None
    assert outcomes is not None
    assert isinstance(outcomes[0], Reject)
    assert "f_EMail" in outcomes[0].reason
    assert list(outcomes[1:]) == [None, None]
    assert not (await listed(sqlite_url)).sendable("news")


async def test_one_that_cannot_be_stored_does_not_take_the_others_with_it(sqlite_url: str) -> None:
    # given a row that the database refuses
    async with Store.open(sqlite_url) as store:
        await store.run(
            lambda c: c.exec_driver_sql(
                "CREATE TRIGGER refuse BEFORE INSERT ON suppression_history "
                "WHEN new.event_id = 'poison' BEGIN SELECT RAISE(ABORT, 'refused'); END"
            )
        )
    batch = [
        optout("e1"),
        optout("poison"),
        optout("nobody", contact=None, email=None),
        optout("e2"),
    ]
    # when it comes in a batch
    async with at_work(sqlite_url) as handle:
        outcomes = await handle(batch)
        with pytest.raises(sa.exc.IntegrityError):
            await handle([optout("poison")])
    # then the others are done, and it has its own outcome
    assert outcomes is not None
    assert [type(outcome) for outcome in outcomes] == [
        type(None), sa.exc.IntegrityError, Reject, type(None)
    ]  # fmt: skip
    assert (await counted(sqlite_url))[LEDGER.name] == 2


async def test_a_database_that_refuses_is_an_outage_for_all(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with at_work(sqlite_url) as handle:
        journal = tmp_path / "consumers.db-journal"
        journal.mkdir()  # SQLite cannot write its journal
        with pytest.raises(Unavailable):
            await handle([optout("e1"), optout("e2")])
        journal.rmdir()
        assert await handle([optout("e1"), optout("e2")]) == [None, None]
    assert (await counted(sqlite_url))[LEDGER.name] == 2


async def test_without_its_tables_it_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(SchemaOutOfDate, match="bridge db upgrade"):
        async with at_work(f"sqlite:///{tmp_path / 'absent.db'}"):
            pass


async def test_replicas_that_get_the_same_deliveries_in_any_order_make_one_list(
    database_url: str, seed: int
) -> None:
    choose = random.Random(seed)
    history = [item for item in random_history(choose, 40) if item.contact or item.email("f_EMail")]
    found: list[Snapshot] = []
    async with (
        at_work(database_url) as one,
        at_work(database_url) as two,
        Store.open(database_url) as store,
    ):
        for _ in range(3):
            await empty(store)
            await store.run(lambda c: c.execute(LEDGER.delete()))
            orders = [choose.sample(history, len(history)) for _ in range(4)]
            await asyncio.gather(
                *(
                    handle(order[start : start + 7])
                    for handle, order in zip((one, two, one, two), orders, strict=True)
                    for start in range(0, len(order), 7)
                )
            )
            found.append(await snapshot(store))
    assert found[0] == found[1] == found[2]


# Through the source, the embedded log and the worker


def posted(settings: Settings, notes: Sequence[dict[str, Any]]) -> Sequence[Message]:
    source = DialogInsight(settings.topics)
    return source.messages(json.dumps(notes).encode(), datetime.now(UTC))


async def test_what_is_posted_reaches_the_list_and_tests_do_not(
    tmp_path: Path, database_url: str
) -> None:
    settings = Settings(
        broker_url=f"sqlite:///{tmp_path}/bridge.db",
        database_url=database_url,
        embedded_min_free_bytes=0,
    )
    made, broker, stop = consumer(settings), open_broker(settings), asyncio.Event()
    moment = datetime(2026, 8, 1, 12, tzinfo=UTC)
    real = [
        sample_notification(type_, id=f"{type_}-{n}", at=moment, contact=n, test=False,
                            email=f"{type_}@example.com")
        for n, type_ in enumerate(KNOWN_TYPES)
    ]  # fmt: skip
    tests = [note | {"isTest": True, "EventUniqueID": "t" + note["EventUniqueID"],
                     "ContactID": {"idContact": 99, "f_EMail": "test@example.com"}}
             for note in real]  # fmt: skip
    # given a worker
    async with broker.topology() as topology:
        await topology.apply([made.group])
    async with broker.publisher() as publisher:
        worker = asyncio.create_task(Worker(made, broker, settings).run(stop))
        # when all eight types are posted, twice, and as tests
        for notes in (real, tests, real):
            await publisher.publish(posted(settings, notes))

        async def all_acked() -> bool:
            async with broker.lag_reader() as reader:
                return all(lag.messages == 0 for lag in await reader.read([made.group]))

        await eventually(all_acked, "every message to be acked")
        stop.set()
        await worker
    # then the real ones took effect, once, and the tests none
    verdicts = {
        type_: {
            entry.reason.value
            for entry in (await listed(database_url, f"{type_}@example.com")).entries
        }
        for type_ in KNOWN_TYPES
    }
    assert verdicts == {type_: set[str]() for type_ in KNOWN_TYPES} | {
        "contact_optout": {"opt_out"},
        "contact_complaint": {"complaint"},
        "contact_quarantine": {"quarantine"},
        "sending_Bounce": {"hard_bounce"},
    }
    assert (await listed(database_url, "test@example.com")).entries == []
    assert (await counted(database_url))[LEDGER.name] == len(TYPES)
