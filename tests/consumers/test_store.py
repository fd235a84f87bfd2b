"""The store on real SQLite files and a real PostgreSQL: once, together, or not at all."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from sqlalchemy import Column, Connection, Integer, MetaData, Table
from sqlalchemy.exc import IntegrityError

from bridge import telemetry
from bridge.errors import ConfigurationError, StoreError
from consumers import ledger
from consumers.columns import KEY, UtcTime, insert, key_text
from consumers.consumer import Unavailable
from consumers.store import LEDGER_RETENTION, AlreadyHandled, Handled, Store, upgrade
from tests.consumers.messages import notification

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from consumers.notifications import Notification
    from tests.services.postgres import Postgres

EFFECTS = Table(
    "effects", MetaData(), Column("name", KEY, primary_key=True), Column("count", Integer)
)


def note(id_: str, **values: object) -> Notification:
    return notification("contact_created", id_, **values)  # type: ignore[arg-type]  # body keys


def count(connection: Connection, name: str = "x") -> None:
    """An effect that doubles when it runs twice."""
    connection.execute(
        insert(connection, EFFECTS)
        .values(name=name, count=1)
        .on_conflict_do_update(index_elements=["name"], set_={"count": EFFECTS.c.count + 1})
    )


async def counted(store: Store) -> dict[str, int]:
    rows = await store.read(lambda connection: connection.execute(sa.select(EFFECTS)).all())
    return {name: number for name, number in rows}  # noqa: C416 - rows are not pairs to a type checker


async def ledger_ids(store: Store) -> set[str]:
    query = sa.select(ledger.LEDGER.c.event_id)
    return set(await store.read(lambda connection: connection.scalars(query).all()))


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with Store.open(database_url) as opened:
        await opened.run(EFFECTS.create)
        yield opened


def handled_before(group: str) -> float:
    name = "bridge_group_handled_before_total"
    return telemetry.REGISTRY.get_sample_value(name, {"group": group}) or 0


# The ledger


async def test_an_effect_runs_once_per_group_project_and_id(store: Store) -> None:
    notes = [note("e1"), note("e1"), note("e2"), note("e1", idProject=7), note("e1", idCompany=7)]
    outcomes = [await store.once("g", item, count) for item in notes]
    outcomes.append(await store.once("other", notes[0], count))
    assert outcomes == [Handled(None), AlreadyHandled(), *[Handled(None)] * 4]
    assert await counted(store) == {"x": 5}


async def test_a_failing_effect_leaves_neither_effect_nor_entry(store: Store) -> None:
    def fail(connection: Connection) -> None:
        count(connection)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.once("g", note("e1"), fail)
    assert await counted(store) == {}
    assert await ledger_ids(store) == set()
    assert await store.once("g", note("e1"), count) == Handled(None)


async def test_of_many_with_one_id_at_the_same_time_one_runs(
    database_url: str, store: Store
) -> None:
    async with Store.open(database_url) as replica:
        outcomes = await asyncio.gather(
            *(
                side.once("g", note(f"e{n % 5}"), count)
                for n in range(50)
                for side in (store, replica)
            )
        )
    assert outcomes.count(Handled(None)) == 5
    assert await counted(store) == {"x": 5}


async def test_a_test_notification_is_rehearsed(store: Store) -> None:
    test = note("e1", isTest=True)
    assert await store.once("g", test, count) == Handled(None, rehearsed=True)
    assert await counted(store) == {}
    assert await store.once("g", note("e1"), count) == Handled(None), "no entry was made"


async def test_a_batch_runs_for_what_is_new_in_it(store: Store) -> None:
    def count_each(connection: Connection, notes: Sequence[Notification]) -> list[str]:
        for item in notes:
            count(connection, item.id)
        return [item.id for item in notes]

    await store.once("g", note("e1"), count)
    test = note("e4", isTest=True)
    batch = [note("e3"), note("e1"), test, note("e2"), note("e3"), note("e4")]
    done = await store.once_many("g", batch, count_each)
    assert done.result == ["e3", "e2", "e4"], "in order, each id once"
    assert done.rehearsed == ["e4"]
    assert done.fresh == [True, False, True, True, False, True]
    skipped = handled_before("g")
    again = await store.once_many("g", batch, count_each)
    assert handled_before("g") == skipped + 5
    assert (again.result, again.fresh) == (None, [False, False, True, False, False, False])
    assert await counted(store) == {"x": 1, "e2": 1, "e3": 1, "e4": 1}


async def test_a_failing_batch_leaves_nothing(store: Store) -> None:
    def fail(connection: Connection, notes: Sequence[Notification]) -> None:
        count(connection, notes[0].id)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.once_many("g", [note("e1"), note("e2")], fail)
    assert (await counted(store), await ledger_ids(store)) == ({}, set())


async def test_batches_that_share_ids_do_not_deadlock(database_url: str, store: Store) -> None:
    def count_all(connection: Connection, notes: Sequence[Notification]) -> None:
        for item in notes:
            count(connection, item.id)

    forwards = [note(f"e{n}") for n in range(40)]
    async with Store.open(database_url) as replica:
        await asyncio.gather(
            *(s.once_many("g", order, count_all)
              for s in (store, replica) for order in (forwards, forwards[::-1]) for _ in range(3))
        )  # fmt: skip
    assert await counted(store) == {f"e{n}": 1 for n in range(40)}


async def test_ids_of_any_length_and_kind_have_an_entry(store: Store) -> None:
    ids = ["é" * 100_000, "é" * 99_999, "", " ", "\U0001f600", "'; DROP TABLE effects; --"]
    for id_ in ids:
        item = note("e").model_copy(update={"id": id_, "project": id_, "company": id_})
        assert await store.once("g" * 60, item, count) == Handled(None)
        assert await store.once("g" * 60, item, count) == AlreadyHandled()
    assert await counted(store) == {"x": len(ids)}


async def test_old_entries_are_forgotten_in_portions(store: Store) -> None:
    for id_ in ("e1", "e2"):
        await store.once("g", note(id_), count)
    old = datetime.now(UTC) - LEDGER_RETENTION - timedelta(hours=1)
    rows = [
        {"group_name": "g", "company": "1", "project": "1", "event_id": f"old{n}",
         "handled_at": old, "outcome": "done"}
        for n in range(5001)
    ]  # fmt: skip
    await store.run(lambda connection: connection.execute(sa.insert(ledger.LEDGER), rows))
    assert await store.prune(before=datetime.now(UTC) - LEDGER_RETENTION) == 5001
    assert await ledger_ids(store) == {"e1", "e2"}
    assert await store.prune(before=datetime.now(UTC) - LEDGER_RETENTION) == 0


KILLED = """
import asyncio, sys
from consumers.store import Store
from tests.consumers.messages import notification
from tests.consumers.test_store import count

def hang(connection):
    count(connection)
    print("inside", flush=True)
    sys.stdin.read()

async def main(url):
    async with Store.open(url) as store:
        await store.once("g", notification("contact_created", "e1"), hang)

asyncio.run(main(sys.argv[1]))
"""


async def test_a_process_killed_inside_an_effect_leaves_neither(
    database_url: str, store: Store
) -> None:
    # given a process that is between its effect and the commit
    process = subprocess.Popen(  # noqa: ASYNC220 - starting it takes no time
        [sys.executable, "-c", KILLED, database_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == b"inside\n"
    finally:
        # when it is killed
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    # then the next one finds nothing done, and does it
    assert (await counted(store), await ledger_ids(store)) == ({}, set())
    assert await store.once("g", note("e1"), count) == Handled(None)
    assert await counted(store) == {"x": 1}


# Transactions


async def test_a_constraint_that_is_violated_is_a_bug_and_not_an_outage(store: Store) -> None:
    def twice(connection: Connection) -> None:
        for _ in range(2):
            connection.execute(sa.insert(EFFECTS).values(name="x"))

    with pytest.raises(IntegrityError):
        await store.run(twice)
    assert await counted(store) == {}


async def test_an_error_does_not_show_the_values(store: Store) -> None:
    def wrong(connection: Connection) -> None:
        connection.execute(sa.text("INSERT INTO absent VALUES (:a)"), {"a": "jo@example.com"})

    with pytest.raises(sa.exc.DBAPIError) as failure:
        await store.run(wrong)
    assert "absent" in str(failure.value)
    assert "jo@example.com" not in str(failure.value)


async def test_a_row_past_a_limit_of_the_database_is_a_bug_and_not_an_outage(
    postgresql_url: str,
) -> None:
    # The library calls it an OperationalError, as if the server were gone.
    async with Store.open(postgresql_url) as store:
        await store.run(EFFECTS.create)
        with pytest.raises(sa.exc.OperationalError, match="index row requires"):
            await store.run(
                lambda c: c.execute(sa.insert(EFFECTS).values(name=os.urandom(9000).hex()))
            )


async def test_a_deadlock_is_tried_again(postgresql_url: str) -> None:
    async with Store.open(postgresql_url) as store:
        await store.run(EFFECTS.create)
        for name in "ab":
            await store.once("g", note(name), lambda c, name=name: count(c, name))  # type: ignore[misc]  # mypy cannot infer defaults of a lambda
        both_hold_one = threading.Barrier(2)

        def in_order(names: str, attempts: list[int]) -> Callable[[Connection], None]:
            def work(connection: Connection) -> None:
                count(connection, names[0])
                if not attempts:
                    both_hold_one.wait(timeout=10)
                attempts.append(1)
                count(connection, names[1])

            return work

        first: list[int] = []
        second: list[int] = []
        await asyncio.gather(store.run(in_order("ab", first)), store.run(in_order("ba", second)))
        assert sorted([len(first), len(second)]) == [1, 2]
        assert await counted(store) == {"a": 3, "b": 3}


async def test_replicas_that_read_first_and_write_later_wait_for_each_other(
    database_url: str, store: Store
) -> None:
    # SQLite ends a transaction that would write after another wrote since it began to read.
    def read_then_write(connection: Connection) -> None:
        connection.execute(sa.select(EFFECTS)).all()
        count(connection)

    async with Store.open(database_url) as replica:
        await asyncio.gather(*(s.run(read_then_write) for s in (store, replica) for _ in range(10)))
    assert await counted(store) == {"x": 20}


async def test_a_cancelled_caller_does_not_leave_half_a_transaction(store: Store) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slow(connection: Connection) -> None:
        count(connection)
        inside.set()
        go_on.wait(timeout=10)

    task = asyncio.create_task(store.once("g", note("e1"), slow))
    await asyncio.to_thread(inside.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    assert await store.once("g", note("e1"), count) == AlreadyHandled(), "it committed whole"
    assert await counted(store) == {"x": 1}


async def test_a_time_comes_back_aware_and_is_ordered_as_time(store: Store) -> None:
    times = Table("times", MetaData(), Column("time", UtcTime), Column("none", UtcTime))
    zone = datetime.fromisoformat("2026-01-01T00:00:00+05:00").tzinfo
    moments = [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 1, tzinfo=zone),
        datetime(2025, 12, 31, 19, 0, 0, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    ]
    await store.run(times.create)
    await store.run(
        lambda c: c.execute(sa.insert(times), [{"time": item} for item in reversed(moments)])
    )
    query = sa.select(times).order_by(times.c.time)
    rows = await store.read(lambda c: c.execute(query).all())
    assert [row.time for row in rows] == moments
    assert all(row.time.tzinfo is UTC and row.none is None for row in rows)


async def test_keys_are_ordered_by_code_point(store: Store) -> None:
    names = ["\U0001f600", "é", "a", "Z", "10", "9", "_", ""]
    await store.run(lambda c: c.execute(sa.insert(EFFECTS), [{"name": name} for name in names]))
    query = sa.select(EFFECTS.c.name).order_by(EFFECTS.c.name)
    assert await store.read(lambda c: c.scalars(query).all()) == sorted(names)


def test_long_texts_have_short_keys_of_their_own() -> None:
    assert key_text("a" * 255) == "a" * 255
    assert key_text("é" * 128) != key_text("é" * 129)
    assert len(key_text("é" * 1000)) < 80


# Outages


async def test_a_full_disk_is_an_outage(sqlite_url: str) -> None:
    async with Store.open(sqlite_url) as store:
        await store.run(EFFECTS.create)
        await store.run(lambda c: c.exec_driver_sql("PRAGMA max_page_count = 1"))
        with pytest.raises(Unavailable, match="OperationalError") as outage:
            await store.once("g", note("e1"), lambda c: count(c, "x" * 100_000))
        assert outage.value.scope == "group"
        await store.run(lambda c: c.exec_driver_sql("PRAGMA max_page_count = 100000"))
        assert await store.once("g", note("e1"), count) == Handled(None)


async def test_a_database_that_dies_and_comes_back_is_an_outage_that_ends(
    own_postgres: Postgres,
) -> None:
    upgrade(own_postgres.url)
    async with Store.open(own_postgres.url) as store:
        await store.run(EFFECTS.create)
        await store.once("g", note("e1"), count)
        # when the server is killed
        own_postgres.kill()
        for _ in range(3):
            with pytest.raises(Unavailable, match="does not serve us") as outage:
                await store.once("g", note("e2"), count)
            assert outage.value.scope == "group"
        # and comes back
        own_postgres.start()
        for id_ in ("e1", "e2"):
            await _retried(store, id_)
        assert await counted(store) == {"x": 2}


async def test_a_database_that_freezes_is_an_outage_and_does_not_hold_up_the_end(
    own_postgres: Postgres,
) -> None:
    upgrade(own_postgres.url)
    async with Store.open(own_postgres.url, answer_seconds=1) as store:
        await store.run(EFFECTS.create)
        # when the server freezes, and thaws
        own_postgres.pause()
        with pytest.raises(Unavailable, match="does not answer") as outage:
            await store.once("g", note("e1"), count)
        assert outage.value.scope == "group"
        own_postgres.resume()
        # then the effect is there once, whether or not the first attempt went through
        await _retried(store, "e1")
        assert await counted(store) == {"x": 1}
        # and when it is frozen at the end, the store closes all the same
        own_postgres.pause()
        with pytest.raises(Unavailable):
            await store.once("g", note("e2"), count)
    with pytest.raises(StoreError, match="does not answer"):
        async with Store.open(own_postgres.url, answer_seconds=0.2):
            pass
    own_postgres.resume()


async def _retried(store: Store, id_: str) -> None:
    # Each pooled connection may first notice that its server is another one.
    for _ in range(20):
        try:
            await store.once("g", note(id_), count)
        except Unavailable:
            continue
        return
    pytest.fail("still unavailable")


async def test_a_right_that_was_taken_away_is_an_outage(postgresql_url: str) -> None:
    name = postgresql_url.rpartition("/")[2]
    url = postgresql_url.replace("bridge@", f"{name}@")
    async with Store.open(postgresql_url) as admin:
        await admin.run(lambda c: c.exec_driver_sql(f"CREATE ROLE {name} LOGIN"))
        try:
            await admin.run(
                lambda c: c.exec_driver_sql(f"GRANT SELECT ON bridge_schema_version TO {name}")
            )
            async with Store.open(url) as store:
                with pytest.raises(Unavailable, match="InsufficientPrivilege"):
                    await store.once("g", note("e1"), count)
        finally:
            await admin.run(lambda c: c.exec_driver_sql(f"DROP OWNED BY {name}"))
            await admin.run(lambda c: c.exec_driver_sql(f"DROP ROLE {name}"))


# Opening


async def test_sqlite_has_its_safe_settings(sqlite_url: str) -> None:
    wanted = {"journal_mode": "delete", "synchronous": 3, "foreign_keys": 1}

    def found(connection: Connection) -> dict[str, object]:
        return {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in wanted}

    async with Store.open(sqlite_url) as store:
        assert await store.read(found) == wanted


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "sqlite://", "sqlite:///:memory:", "sqlite:///file.db?mode=ro",
     "mysql://u:secret@h/d", "postgresql+asyncpg://u:secret@h/d", "postgresql://u:secret@h:port/d"],
)  # fmt: skip
def test_an_address_that_cannot_work_says_which_can(url: str) -> None:
    with pytest.raises(ConfigurationError, match="sqlite:///") as refusal:
        upgrade(url)
    assert "secret" not in str(refusal.value)


async def test_a_database_that_cannot_be_reached_is_a_store_error_without_the_password(
    postgres: Postgres,
) -> None:
    url = postgres.url.replace("bridge@", "bridge:hunter2@").rpartition(":")[0] + ":1/postgres"
    with pytest.raises(StoreError) as failure:
        async with Store.open(url):
            pass
    assert "hunter2" not in str(failure.value)


async def test_an_exception_of_the_user_comes_out_as_it_is(sqlite_url: str) -> None:
    with pytest.raises(ZeroDivisionError):
        async with Store.open(sqlite_url, prune=True):
            raise ZeroDivisionError


async def test_reading_waits_for_no_writer(sqlite_url: str) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slow(connection: Connection) -> None:
        count(connection)
        inside.set()
        go_on.wait(timeout=10)

    async with Store.open(sqlite_url) as writer, Store.open(sqlite_url) as reader:
        await writer.run(EFFECTS.create)
        writing = asyncio.create_task(writer.run(slow))
        await asyncio.to_thread(inside.wait, 10)
        assert await counted(reader) == {}
        go_on.set()
        await writing
        assert await counted(reader) == {"x": 1}
