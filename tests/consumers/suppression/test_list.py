"""The list on both databases: the same as the pure rules, in any order, and its questions."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from bridge.errors import ConfigurationError
from consumers.store import Store
from consumers.suppression import check, page
from consumers.suppression.recording import record
from consumers.suppression.rules import ALL, Kind, Reason, apply, decide, sightings
from consumers.suppression.tables import ADDRESSES, ENTRIES, HISTORY
from tests.consumers.messages import notification, optin_info, utc
from tests.consumers.suppression.test_rules import random_history

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sqlalchemy import Connection, Table

    from consumers.notifications import Notification


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with Store.open(database_url) as opened:
        yield opened


async def recorded(store: Store, *batches: Sequence[Notification]) -> None:
    for batch in batches:
        statements = [s for item in batch for s in decide(item, email_field="f_EMail")]
        seen = [s for item in batch for s in sightings(item, email_field="f_EMail")]
        await store.run(lambda c, one=statements, two=seen: record(c, one, two))  # type: ignore[misc]  # mypy cannot infer defaults of a lambda


def rows(connection: Connection, table: Table) -> set[tuple[Any, ...]]:
    columns = [column for column in table.columns if column.name != "recorded_at"]
    return {tuple(row) for row in connection.execute(sa.select(*columns))}


Snapshot = tuple[set[tuple[Any, ...]], ...]


async def snapshot(store: Store) -> Snapshot:
    return await store.read(lambda c: tuple(rows(c, t) for t in (ENTRIES, HISTORY, ADDRESSES)))


async def empty(store: Store) -> None:
    def delete(connection: Connection) -> None:
        for table in (ENTRIES, HISTORY, ADDRESSES):
            connection.execute(table.delete())

    await store.run(delete)


def in_batches(
    history: Sequence[Notification], choose: random.Random
) -> list[Sequence[Notification]]:
    batches: list[Sequence[Notification]] = []
    rest = list(history)
    while rest:
        size = choose.randint(1, 4)
        batches.append(rest[:size])
        rest = rest[size:]
    return batches


async def test_every_order_of_a_history_gives_one_list(store: Store, seed: int) -> None:
    history = random_history(random.Random(seed), 4)
    found = []
    for order in itertools.permutations(history):
        await empty(store)
        await recorded(store, *([item] for item in order))
        found.append(await snapshot(store))
    assert all(other == found[0] for other in found)


async def test_any_batches_with_repeats_give_the_list_of_the_pure_rules(
    store: Store, seed: int
) -> None:
    choose = random.Random(seed)
    for _ in range(6):
        history = random_history(choose, 12)
        statements = [s for item in history for s in decide(item, email_field="f_EMail")]
        pure = {
            (*key, s.suppressed, s.order.event_time, s.order.executed, s.order.id)
            for key, s in apply({}, statements).items()
        }
        found = []
        for _ in range(4):
            delivered = history + choose.sample(history, 4)
            choose.shuffle(delivered)
            await empty(store)
            await recorded(store, *in_batches(delivered, choose))
            found.append(await snapshot(store))
        assert all(other == found[0] for other in found)
        entries = (await page(store, limit=1000, cleared=True)).entries
        assert {
            (e.project, e.kind, e.subject, e.scope, e.reason, e.active, e.event_time)
            for e in entries
        } == {row[:7] for row in pure}
        assert len(found[0][1]) == len(statements), "the history has every statement once"


async def test_an_entry_is_the_greatest_of_its_history_soft_bounces_apart(
    store: Store, seed: int
) -> None:
    await recorded(store, *in_batches(random_history(random.Random(seed), 30), random.Random(seed)))
    history = await store.read(lambda c: c.execute(sa.select(HISTORY)).mappings().all())
    greatest: dict[tuple[str, ...], tuple[Any, ...]] = {}
    for row in history:
        if row["reason"] != Reason.SOFT_BOUNCE:
            key = tuple(row[name] for name in ("project", "kind", "subject", "scope", "reason"))
            rank = tuple(row[n] for n in ("event_time", "suppressed", "executed", "event_id"))
            greatest[key] = max(greatest.get(key, rank), rank)
    entries = await store.read(lambda c: c.execute(sa.select(ENTRIES)).mappings().all())
    assert greatest == {
        tuple(row[name] for name in ("project", "kind", "subject", "scope", "reason")): tuple(
            row[name] for name in ("event_time", "suppressed", "executed", "event_id")
        )
        for row in entries
    }


# Questions


def optout(id_: str, minutes: int, **values: Any) -> Notification:
    return notification("contact_optout", id_, OptinInfo=optin_info(news=minutes), **values)


async def test_an_address_is_found_in_any_spelling(store: Store) -> None:
    await recorded(store, [optout("e1", 1, email="Jo@Exämple.com", contact=None)])
    verdict = await check(store, " JO@xn--EXMPLE-cua.com")
    assert verdict.address == "jo@xn--exmple-cua.com"
    (entry,) = verdict.entries
    assert (entry.project, entry.kind, entry.scope) == ("1234", Kind.ADDRESS, "news")
    assert (entry.reason, entry.active, entry.event_time) == (Reason.OPT_OUT, True, utc(1))
    assert (entry.address, entry.source, entry.event_id) == (
        "Jo@Exämple.com",
        "contact_optout",
        "e1",
    )


async def test_a_scope_may_be_sent_to_unless_it_or_everything_is_suppressed(store: Store) -> None:
    await recorded(store, [optout("e1", 1)])
    verdict = await check(store, "jo@example.com")
    assert not verdict.sendable("news")
    assert verdict.sendable("offers")
    assert verdict.sendable()
    await recorded(store, [notification("contact_complaint", "e2")])
    verdict = await check(store, "jo@example.com")
    assert not any(verdict.sendable(scope) for scope in ("news", "offers", ALL))
    assert verdict.blocks == {"1234": {"news": [Reason.OPT_OUT], ALL: [Reason.COMPLAINT]}}


async def test_an_address_that_is_not_on_the_list_may_be_sent_to(store: Store) -> None:
    await recorded(store, [optout("e1", 1), notification("contact_optin", "e2", email="kim@b.c",
                           OptinInfo=optin_info(news=1), contact=2)])  # fmt: skip
    for address in ("kim@b.c", "nobody@b.c", "", "1"):
        verdict = await check(store, address)
        assert (verdict.entries, verdict.blocks, verdict.sendable("news")) == ([], {}, True)


async def test_a_contact_s_block_is_found_under_every_address_it_was_seen_with(
    store: Store,
) -> None:
    # given a contact suppressed without an address
    await recorded(store, [optout("e1", 1, email=None)])
    assert (await check(store, "jo@example.com")).entries == []
    # when it is seen under two
    await recorded(
        store,
        [notification("contact_created", "e2", email="jo@example.com"),
         notification("contact_modified", "e3", ContactData={"f_EMail": "new@example.com"})],
    )  # fmt: skip
    # then it is found under both, and under no other
    for address in ("jo@example.com", "NEW@example.com"):
        (entry,) = (await check(store, address)).entries
        assert (entry.kind, entry.subject) == (Kind.CONTACT, "1")
    assert (await check(store, "other@example.com")).entries == []


async def test_a_dead_mailbox_does_not_follow_the_contact_to_its_next_address(
    store: Store,
) -> None:
    bounce = notification("sending_Bounce", "e1", DeliveryErrorInfo={"BounceCode": "5.1.1"})
    moved = notification("contact_modified", "e2", email="new@example.com")
    await recorded(store, [bounce, optout("e3", 1), moved])
    old, new = await check(store, "jo@example.com"), await check(store, "new@example.com")
    assert {entry.reason for entry in old.entries} == {Reason.HARD_BOUNCE, Reason.OPT_OUT}
    assert {entry.reason for entry in new.entries} == {Reason.OPT_OUT}, "a person's wish follows"


async def test_projects_are_apart(store: Store) -> None:
    await recorded(
        store, [optout("e1", 1, idProject=1), notification("contact_created", "e2", idProject=2)]
    )
    assert not (await check(store, "jo@example.com")).sendable("news")
    assert not (await check(store, "jo@example.com", project="1")).sendable("news")
    assert (await check(store, "jo@example.com", project="2")).sendable("news")
    assert (await check(store, "jo@example.com")).sendable("news", project="2")


async def test_pages_show_every_entry_once_in_order(store: Store, seed: int) -> None:
    choose = random.Random(seed)
    contacts = [f"{choose.choice('aÄ😀Z9_')}{n}" for n in range(25)]
    await recorded(store, [optout(f"e{c}", 1, contact=c, email=None) for c in contacts])
    await recorded(store, [notification("contact_optin", "in", contact=contacts[0], email=None,
                           OptinInfo=optin_info(news=2))])  # fmt: skip
    for cleared, expected in ((False, contacts[1:]), (True, contacts)):
        found: list[str] = []
        cursor = None
        while True:
            shown = await page(store, cursor=cursor, limit=7, cleared=cleared)
            assert len(shown.entries) <= 7
            found += [entry.subject for entry in shown.entries]
            cursor = shown.next_cursor
            if cursor is None:
                break
        assert found == sorted(expected)
    assert (await page(store, project="absent")).entries == []
    assert len((await page(store, project="1234", limit=1000)).entries) == 24


@pytest.mark.parametrize("cursor", ["", "x", "e30=", "WzFd", "WzEsMiwzLDQsNV0=", "é", "////"])
async def test_what_is_no_cursor_is_refused(sqlite_url: str, cursor: str) -> None:
    async with Store.open(sqlite_url) as opened:
        with pytest.raises(ConfigurationError, match="cursor"):
            await page(opened, cursor=cursor)
        for limit in (0, 1001):
            with pytest.raises(ConfigurationError, match="limit"):
                await page(opened, limit=limit)


async def test_texts_of_any_length_and_kind_have_entries(store: Store) -> None:
    long = "é" * 10_000
    item = notification(
        "contact_optout", long, contact=long, email=f"{long}@b.c", idProject=long,
        OptinInfo={"Fields": [{"OptinField": long}, {"OptinField": "'; --\x00"}]},
    )  # fmt: skip
    await recorded(store, [item, item])
    verdict = await check(store, f"{long.upper()}@b.c", project=long)
    assert len(verdict.entries) == 4
    assert not verdict.sendable(long)
    assert not verdict.sendable("'; --\ufffd")
    assert verdict.sendable("other")
