"""`LagReader`: behind by how many, since when, with how many members."""

from __future__ import annotations

import time

from tests.brokers.bench import OPTIN, Bench, group
from tests.services.waiting import eventually


async def test_lag_counts_what_is_stored_and_not_acked(bench: Bench) -> None:
    await bench.apply(group())
    async with bench.publisher() as publisher:
        await publisher.publish([bench.message(f"{n}", key="1|1") for n in range(7)])
        await publisher.publish([bench.message(f"b{n}", key="1|2", type_=OPTIN) for n in range(5)])
        await bench.waiting_is(12, group())

        async with bench.hand_driven(group()) as hand:
            lane = await hand.lane_of("1|1")
            deliveries = await lane.receive(2)
            await lane.ack(deliveries)
            await bench.waiting_is(12 - len(deliveries), group())


async def test_lag_is_zero_when_all_is_acked(bench: Bench) -> None:
    await bench.apply(group())
    async with bench.publisher() as publisher, bench.replica(group()) as replica:
        await publisher.publish([bench.message(f"{n}") for n in range(20)])
        await replica.has(*(f"{n}" for n in range(20)))
        await bench.waiting_is(0, group())
        assert all(entry.oldest is None for entry in await bench.lag(group()))


async def test_lag_of_a_group_that_never_ran_is_all_that_is_stored(bench: Bench) -> None:
    await bench.apply(group("never"))
    async with bench.publisher() as publisher:
        await publisher.publish([bench.message(f"{n}") for n in range(9)])
        await publisher.publish([bench.message("other", type_="contact_created")])
    await bench.waiting_is(9, group("never"))


async def test_lag_of_one_group_is_not_that_of_another(bench: Bench) -> None:
    await bench.apply(group("one"), group("other", OPTIN))
    async with bench.publisher() as publisher:
        await publisher.publish([bench.message(f"{n}") for n in range(3)])
        await publisher.publish([bench.message("in", type_=OPTIN)])
    await bench.waiting_is(4, group("one"))
    await bench.waiting_is(1, group("other", OPTIN))
    async with bench.broker.lag_reader() as reader:
        entries = await reader.read([group("one"), group("other", OPTIN)])
    assert {entry.group for entry in entries} == {"one", "other"}
    places = [(entry.group, entry.topic, entry.partition) for entry in entries]
    assert len(places) == len(set(places))


async def test_the_oldest_message_is_as_old_as_it_is_where_it_is_known(bench: Bench) -> None:
    await bench.apply(group())
    before = time.time()
    async with bench.publisher() as publisher:
        await publisher.publish([bench.message("a", key="1|1")])
        between = time.time()
        await publisher.publish([bench.message("b", key="1|1")])
    await bench.waiting_is(2, group())
    known = [entry.oldest for entry in await bench.lag(group()) if entry.oldest is not None]
    if bench.broker.system != "rabbitmq":  # a queue does not say how old its head is
        assert len(known) == 1
    # Brokers stamp in whole milliseconds, or seconds.
    assert all(before - 1 <= oldest <= between + 1 for oldest in known)


async def test_members_are_counted(bench: Bench) -> None:
    await bench.apply(group())

    async def members() -> int:
        return max(entry.members or 0 for entry in await bench.lag(group()))

    async def none() -> bool:
        return await members() == 0

    async def some() -> bool:
        return await members() >= 1

    await eventually(none, "no members")
    async with bench.replica(group()):
        await eventually(some, "a member", 45)
