"""Replicas of one group: they share the lanes, and order holds while they come and go."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from tests.brokers.bench import LANES, Bench, first_copies, group
from tests.services.waiting import eventually

if TYPE_CHECKING:
    from bridge.brokers.base import Delivery


async def test_one_replica_has_all_lanes(bench: Bench) -> None:
    await bench.apply(group())
    async with bench.replica(group()) as replica:
        await replica.has_lanes(LANES)


async def test_replicas_of_one_group_share_the_work(bench: Bench) -> None:
    await bench.apply(group())
    async with bench.publisher() as publisher, bench.replica(group()) as first:
        await first.has_lanes(LANES)
        async with bench.replica(group()) as second:
            await second.has_lanes(LANES // 2)
            await first.has_lanes(LANES // 2)
            assert not first.lanes.keys() & second.lanes.keys()

            ids = [f"{n}" for n in range(80)]
            await publisher.publish([bench.message(id_) for id_ in ids])

            async def all_are_done() -> bool:
                return {*first.ids, *second.ids} >= set(ids)

            await eventually(all_are_done, "all messages")
            assert first.ids
            assert second.ids
            assert len(first.ids) + len(second.ids) == len(ids)
        await first.has_lanes(LANES)


async def test_each_key_keeps_its_order_while_replicas_come_and_go(bench: Bench) -> None:
    await bench.apply(group())
    together: list[Delivery] = []
    keys = [f"1|{n}" for n in range(16)]
    rounds = 0
    stop = asyncio.Event()

    async with AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(bench.publisher())

        async def publish() -> None:
            nonlocal rounds
            while not stop.is_set():
                await publisher.publish(
                    [bench.message(f"{key}-{rounds:05}", key=key) for key in keys]
                )
                rounds += 1
                await asyncio.sleep(0.01)

        first = await stack.enter_async_context(bench.replica(group()))
        first.on_delivery = together.append
        publishing = asyncio.create_task(publish())
        await first.has_lanes(LANES)
        async with bench.replica(group()) as second:
            second.on_delivery = together.append
            await second.has_lanes(LANES // 2)
            await first.has_lanes(LANES // 2)
        await first.has_lanes(LANES)
        stop.set()
        await publishing
        await bench.waiting_is(0, group())

        expected = {key.encode(): [f"{key}-{n:05}" for n in range(rounds)] for key in keys}
        assert first_copies(together) == expected


async def test_a_lane_with_work_in_hand_moves_only_when_it_is_closed(bench: Bench) -> None:
    await bench.apply(group())
    async with bench.publisher() as publisher, bench.hand_driven(group()) as hand:
        await publisher.publish(
            [bench.message(f"{key}-{n}", key=f"1|{key}") for n in range(3) for key in range(12)]
        )
        lanes = [await hand.lane_of(f"1|{key}") for key in range(12)]
        held = {lane.number: (lane, list(await lane.receive(1))) for lane in dict.fromkeys(lanes)}

        async with bench.replica(group()) as second:
            # Some lane of the first must end, so that the second gets its share.
            over = [asyncio.create_task(lane.over.wait()) for lane, _ in held.values()]
            async with asyncio.timeout(45):
                await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
            in_hand = {d.message.text("ce_id") for _, taken in held.values() for d in taken}
            assert not in_hand & set(second.ids)
            for lane, taken in held.values():
                if lane.over.is_set():
                    await lane.ack(taken)
                    await lane.close()

            async def it_has_a_lane() -> bool:
                return bool(second.lanes)

            await eventually(it_has_a_lane, "a lane of the second", 45)
            for task in over:
                task.cancel()
            await asyncio.gather(*over, return_exceptions=True)
