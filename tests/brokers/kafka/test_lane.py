"""A lane of the Kafka adapter by itself: what its acks and pauses keep."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import TopicPartition

from bridge.brokers.base import Delivery
from bridge.brokers.kafka.lane import KafkaLane
from bridge.errors import LaneLost
from bridge.message import Message

TP = TopicPartition("notifications.contact_created", 0)


def delivery(offset: int) -> Delivery:
    message = Message(topic=TP.topic, key=b"1|1", body=b"{}", headers=())
    token = (TP, offset)
    return Delivery(message, f"{TP.topic}/0@{offset}", None, redelivered=False, token=token)


async def test_what_a_failed_commit_left_unacked_is_given_again() -> None:
    committed: list[dict[TopicPartition, int]] = []
    failures = [LaneLost("the coordinator moved")]

    async def commit(positions: dict[TopicPartition, int]) -> None:
        if failures:
            raise failures.pop()
        committed.append(positions)

    lane = KafkaLane(0, commit, lambda _: None)
    lane.feed([delivery(0), delivery(1), delivery(2)])
    first = await lane.receive(2)
    with pytest.raises(LaneLost):
        await lane.ack(first)

    await lane.suspend()
    await lane.resume()
    again = await lane.receive(10)
    await lane.ack(again)

    assert [each.token[1] for each in again] == [0, 1, 2]
    assert committed == [{TP: 3}]


async def test_a_cancelled_receive_takes_nothing() -> None:
    async def commit(positions: dict[TopicPartition, int]) -> None:
        raise AssertionError(positions)

    lane = KafkaLane(0, commit, lambda _: None)
    waiting = asyncio.ensure_future(lane.receive(1))
    await asyncio.sleep(0)
    waiting.cancel()
    lane.feed([delivery(0)])
    await asyncio.wait([waiting])

    assert [each.token[1] for each in await lane.receive(1)] == [0]
