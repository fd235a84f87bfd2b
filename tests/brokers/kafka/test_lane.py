"""A lane of the Kafka adapter by itself: what its acks and pauses keep."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError

from bridge.brokers.base import Delivery
from bridge.brokers.kafka.commits import Commits
from bridge.brokers.kafka.lane import KafkaLane
from bridge.errors import LaneLost
from bridge.message import Message

TP = TopicPartition("notifications.contact_created", 0)
Positions = dict[TopicPartition, int]


def delivery(offset: int) -> Delivery:
    message = Message(topic=TP.topic, key=b"1|1", body=b"{}", headers=())
    token = (TP, offset)
    return Delivery(message, f"{TP.topic}/0@{offset}", None, redelivered=False, token=token)


def lane_with(*offsets: int, failure: Exception | None = None) -> tuple[KafkaLane, list[Positions]]:
    committed: list[Positions] = []

    async def commit(positions: Positions) -> None:
        if failure is not None:
            raise failure
        committed.append(positions)

    lane = KafkaLane(0, commit, lambda _: None)
    lane.feed([delivery(offset) for offset in offsets])
    return lane, committed


async def test_a_lane_that_is_lost_gives_nothing_more() -> None:
    lane, _ = lane_with(0, 1, 2, failure=LaneLost("it went to another replica"))
    first = await lane.receive(1)
    with pytest.raises(LaneLost):
        await lane.ack(first)

    assert lane.over.is_set()
    assert await lane.receive(1) == []


async def test_a_suspended_lane_gives_one_and_no_other_before_that_is_acked() -> None:
    lane, committed = lane_with(0, 1, 2)
    await lane.receive(2)
    await lane.suspend()
    probe = await lane.receive(10)
    assert [each.token[1] for each in probe] == [0]

    next_one = asyncio.ensure_future(lane.receive(10))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not next_one.done()
    await lane.ack(probe)
    await lane.resume()

    assert [each.token[1] for each in await next_one] == [1, 2]
    assert committed == [{TP: 1}]


async def test_a_cancelled_receive_takes_nothing() -> None:
    lane, _ = lane_with()
    waiting = asyncio.ensure_future(lane.receive(1))
    await asyncio.sleep(0)
    waiting.cancel()
    lane.feed([delivery(0)])
    await asyncio.wait([waiting])

    assert [each.token[1] for each in await lane.receive(1)] == [0]


async def test_a_commit_that_is_refused_is_tried_again_while_the_partition_is_ours() -> None:
    tries: list[Positions] = []

    async def send(positions: Positions) -> None:
        tries.append(positions)
        if len(tries) == 1:
            raise GroupAuthorizationFailedError("not now")

    commits = Commits(send, lambda: {TP})
    running = asyncio.create_task(commits.run())
    async with asyncio.timeout(20):
        await commits.commit({TP: 7})
    running.cancel()
    await asyncio.wait([running])

    assert tries == [{TP: 7}, {TP: 7}]
