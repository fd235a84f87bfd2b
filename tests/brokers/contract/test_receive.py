"""`Subscriber` and `Lane` of one replica: order, redelivery, pauses, drain."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from bridge import message as wire
from bridge.errors import TopologyMissing
from tests.brokers.bench import OPTIN, OPTOUT, Bench, first_copies, group
from tests.services.waiting import eventually


async def test_each_key_arrives_in_order_and_in_one_lane(bench: Bench) -> None:
    await bench.apply(group())
    async with bench.publisher() as publisher, bench.replica(group(), limit=3) as replica:
        for n in range(20):
            await publisher.publish(
                [
                    bench.message(f"{key}-{n}", key=f"1|{key}", type_=(OPTOUT, OPTIN)[key % 2])
                    for key in range(10)
                ]
            )
        ids = [f"{key}-{n}" for key in range(10) for n in range(20)]
        await replica.has(*ids)

        expected = {f"1|{key}".encode(): [f"{key}-{n}" for n in range(20)] for key in range(10)}
        assert first_copies(replica.received) == expected


async def test_two_groups_both_see_all(bench: Bench) -> None:
    one, other = group("one"), group("other")
    await bench.apply(one, other)
    ids = [f"{n}" for n in range(30)]
    async with (
        bench.publisher() as publisher,
        bench.replica(one) as first,
        bench.replica(other) as second,
    ):
        await publisher.publish([bench.message(id_) for id_ in ids])
        await first.has(*ids)
        await second.has(*ids)

        assert sorted(first.ids) == sorted(second.ids) == sorted(ids)


async def test_a_group_gets_its_own_types_only(bench: Bench) -> None:
    await bench.apply(group("optins", OPTIN))
    async with bench.publisher() as publisher, bench.replica(group("optins", OPTIN)) as replica:
        await publisher.publish(
            [
                bench.message("out", key="1|1", type_=OPTOUT),
                bench.message("test", key="1|1", type_=OPTIN, test=True),
                bench.message("in", key="1|1", type_=OPTIN),
            ]
        )
        await replica.has("in")
        assert replica.ids == ["in"]


async def test_a_group_with_tests_reads_the_test_topic(bench: Bench) -> None:
    rehearsing = group("rehearsing", OPTIN, tests=True)
    await bench.apply(rehearsing)
    async with bench.publisher() as publisher, bench.replica(rehearsing) as replica:
        await publisher.publish([bench.message("test", type_=OPTIN, test=True)])
        await replica.has("test")
        assert replica.received[0].message.is_test


async def test_a_type_without_a_topic_comes_through_unknown(bench: Bench) -> None:
    merged = group("merged", "contact_merged")
    await bench.apply(merged)
    async with bench.publisher() as publisher, bench.replica(merged) as replica:
        message = bench.message("merged", type_="contact_merged")
        assert message.topic == bench.topics.unknown
        await publisher.publish([message])
        await replica.has("merged")


async def test_a_new_group_starts_at_the_earliest_message(bench: Bench) -> None:
    await bench.apply()
    async with bench.publisher() as publisher:
        await publisher.publish([bench.message("a", key="1|1"), bench.message("b", key="1|1")])
        await bench.apply(group())
        async with bench.replica(group()) as replica:
            await publisher.publish([bench.message("c", key="1|1")])
            await replica.has("c")
            assert replica.ids == ["a", "b", "c"]


async def test_what_is_not_acked_is_delivered_again(bench: Bench) -> None:
    await bench.apply(group())
    async with bench.publisher() as publisher:
        await publisher.publish([bench.message(f"{n}", key="1|1") for n in range(3)])
        async with bench.replica(group(), acks=False) as replica:
            await replica.has("0", "1", "2")

        async with bench.replica(group()) as replica:
            await replica.has("0", "1", "2")
            assert first_copies(replica.received) == {b"1|1": ["0", "1", "2"]}


async def test_what_is_acked_is_not_delivered_again(bench: Bench) -> None:
    await bench.apply(group())
    async with bench.publisher() as publisher:
        await publisher.publish([bench.message(f"{n}", key="1|1") for n in range(5)])
        async with bench.replica(group()) as replica:
            await replica.has(*(f"{n}" for n in range(5)))
        await publisher.publish([bench.message("after", key="1|1")])

        async with bench.replica(group()) as replica:
            await replica.has("after")
            assert replica.ids == ["after"]


async def test_an_ack_of_some_leaves_the_rest(bench: Bench) -> None:
    await bench.apply(group())
    async with bench.publisher() as publisher:
        await publisher.publish([bench.message(f"{n}", key="1|1") for n in range(6)])
    async with bench.hand_driven(group()) as hand:
        lane = await hand.lane_of("1|1")
        taken = list(await lane.receive(3))
        while len(taken) < 3:
            taken += await lane.receive(3 - len(taken))
        await lane.ack(taken[:2])

    async with bench.replica(group()) as replica:
        await replica.has("5")
        assert replica.ids == ["2", "3", "4", "5"]


async def test_receive_gives_no_more_than_asked_for(bench: Bench) -> None:
    await bench.apply(group())
    async with bench.publisher() as publisher, bench.hand_driven(group()) as hand:
        await publisher.publish([bench.message(f"{n}", key="1|1") for n in range(10)])
        lane = await hand.lane_of("1|1")
        found: list[str] = []
        for limit in (1, 4, 2, 10):
            deliveries = await lane.receive(limit)
            assert 1 <= len(deliveries) <= limit
            found += [delivery.message.text(wire.CE_ID) for delivery in deliveries]
            await lane.ack(deliveries)
        assert found == [f"{n}" for n in range(len(found))]


async def test_a_delivery_says_where_it_lies_and_when_it_was_stored(bench: Bench) -> None:
    await bench.apply(group())
    async with bench.publisher() as publisher, bench.replica(group()) as replica:
        await publisher.publish([bench.message("a", key="1|1"), bench.message("b", key="1|1")])
        await replica.has("a", "b")
        first, second = replica.received
        assert first.origin
        assert first.origin != second.origin
        assert first.stored_at is None or first.stored_at <= (second.stored_at or 0)


async def test_cancelling_a_receive_takes_nothing(bench: Bench) -> None:
    await bench.apply(group())
    async with bench.publisher() as publisher, bench.hand_driven(group()) as hand:
        lane = await hand.lane_of("1|1")
        for n in range(30):
            receiving = asyncio.create_task(lane.receive(10))
            publishing = asyncio.create_task(
                publisher.publish([bench.message(f"{n:02}", key="1|1")])
            )
            for _ in range(n):
                await asyncio.sleep(0)
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)
            await publishing
            # Given while it was being cancelled: it counts as received.
            if not receiving.cancelled():
                await lane.ack(receiving.result())

        await publisher.publish([bench.message("last", key="1|1")])
        found: list[str] = []
        while not found or found[-1] != "last":
            deliveries = await lane.receive(10)
            found += [delivery.message.text(wire.CE_ID) for delivery in deliveries]
            await lane.ack(deliveries)
        assert found == sorted(found)
        await bench.waiting_is(0, group())


async def test_a_long_pause_loses_nothing_sets_nothing_aside_and_keeps_the_order(
    bench: Bench,
) -> None:
    await bench.apply(group())
    ids = [f"{n:02}" for n in range(20)]
    async with bench.publisher() as publisher, bench.hand_driven(group()) as hand:
        await publisher.publish([bench.message(id_, key="1|1") for id_ in ids])
        lane = await hand.lane_of("1|1")
        assert await lane.receive(5)

        for _ in range(30):
            await lane.suspend()
            probe = await lane.receive(5)
            assert [d.message.text(wire.CE_ID) for d in probe] == ["00"]
        await lane.ack(probe)
        await lane.resume()

        found: list[str] = ["00"]
        while len(found) < len(ids):
            deliveries = await lane.receive(5)
            found += [delivery.message.text(wire.CE_ID) for delivery in deliveries]
            await lane.ack(deliveries)
        assert found == ids
    assert await bench.dead("loyalty") == []


async def test_while_suspended_it_gives_one_at_a_time(bench: Bench) -> None:
    await bench.apply(group())
    async with bench.publisher() as publisher, bench.hand_driven(group()) as hand:
        await publisher.publish([bench.message(f"{n}", key="1|1") for n in range(4)])
        lane = await hand.lane_of("1|1")
        await lane.suspend()
        for n in range(3):
            deliveries = await lane.receive(10)
            assert [d.message.text(wire.CE_ID) for d in deliveries] == [f"{n}"]
            await lane.ack(deliveries)
        await lane.resume()
        deliveries = await lane.receive(10)
        assert [d.message.text(wire.CE_ID) for d in deliveries] == ["3"]
        await lane.ack(deliveries)


async def test_after_end_a_waiting_receive_is_empty_and_unacked_work_comes_again(
    bench: Bench,
) -> None:
    await bench.apply(group())
    async with bench.publisher() as publisher:
        async with bench.hand_driven(group()) as hand:
            lane = await hand.lane_of("1|1")
            await publisher.publish([bench.message("held", key="1|1")])
            assert await lane.receive(1)
            waiting = asyncio.create_task(lane.receive(1))
            await asyncio.sleep(0)

            hand.subscriber.end()

            async with asyncio.timeout(10):
                assert list(await waiting) == []
            assert lane.over.is_set()
            assert list(await lane.receive(1)) == []

        async with bench.replica(group()) as replica:
            await replica.has("held")


async def test_after_end_work_in_hand_can_still_be_acked(bench: Bench) -> None:
    await bench.apply(group())
    async with bench.publisher() as publisher:
        await publisher.publish([bench.message("held", key="1|1")])
        async with bench.hand_driven(group()) as hand:
            lane = await hand.lane_of("1|1")
            held = await lane.receive(1)
            hand.subscriber.end()
            await lane.ack(held)

        await publisher.publish([bench.message("after", key="1|1")])
        async with bench.replica(group()) as replica:
            await replica.has("after")
            assert replica.ids == ["after"]


async def test_a_subscriber_of_a_group_that_is_not_applied_is_refused(bench: Bench) -> None:
    await bench.apply(group("another"))
    with pytest.raises(TopologyMissing, match="bridge topology apply"):
        async with bench.broker.subscriber(group()):
            pass


async def test_tail_shows_what_is_published_from_now_on_and_acks_nothing(bench: Bench) -> None:
    await bench.apply(group())
    seen: list[str] = []
    async with AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(bench.publisher())
        await publisher.publish([bench.message("before")])
        tail = bench.broker.tail([bench.topics.of(OPTOUT)])
        stack.push_async_callback(tail.aclose)

        async def watch() -> None:
            async for delivery in tail:
                seen.append(delivery.message.text(wire.CE_ID))  # noqa: PERF401 - seen as it comes

        watching = asyncio.create_task(watch())
        sent: list[str] = []

        async def it_watches() -> bool:
            sent.append(f"{len(sent):03}")
            await publisher.publish([bench.message(sent[-1])])
            return bool(seen)

        await eventually(it_watches, "the tail to begin")
        await publisher.publish(
            [bench.message("optin", type_=OPTIN), bench.message("last")],
        )

        async def it_shows_the_last() -> bool:
            return "last" in seen

        await eventually(it_shows_the_last, "the tail to show the last")
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert "before" not in seen
    assert "optin" not in seen
    await bench.waiting_is(len(sent) + 2 + 1, group())
