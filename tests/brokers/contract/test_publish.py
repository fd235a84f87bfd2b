"""`Publisher`: confirmed, rejected, unconfirmed; concurrent, cancelled, byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from bridge import message as wire
from bridge.errors import PublishError, PublishRejected, PublishUnconfirmed, TopologyMissing
from bridge.message import Message
from tests.brokers.bench import OPTIN, Bench, first_copies, group
from tests.services.waiting import eventually

if TYPE_CHECKING:
    from tests.brokers.faults import Faults


async def test_what_was_confirmed_is_found(bench: Bench) -> None:
    await bench.apply(group())
    async with bench.publisher() as publisher:
        before = time.monotonic()
        await publisher.publish([bench.message("a"), bench.message("b", type_=OPTIN)])

        assert publisher.last_confirmed is not None
        assert before <= publisher.last_confirmed <= time.monotonic()
    async with bench.replica(group()) as replica:
        await replica.has("a", "b")
        assert sorted(replica.ids) == ["a", "b"]


async def test_an_empty_publish_returns_at_once(bench: Bench) -> None:
    await bench.apply()
    async with bench.publisher() as publisher:
        await publisher.publish([])


async def test_a_publisher_opens_only_after_the_topology_is_applied(bench: Bench) -> None:
    with pytest.raises(TopologyMissing, match="bridge topology apply"):
        async with bench.broker.publisher() as publisher:
            await publisher.publish([bench.message()])


async def test_a_message_over_the_limit_is_rejected_and_nothing_of_its_request_is_stored(
    bench: Bench,
) -> None:
    await bench.apply(group())
    too_large = bench.message("large", key="1|1", body=b"x" * (wire.MAX_MESSAGE_BYTES + 1))
    async with bench.publisher() as publisher, bench.replica(group()) as replica:
        with pytest.raises(PublishRejected):
            await publisher.publish([bench.message("small", key="1|1"), too_large])

        await publisher.publish([bench.message("after", key="1|1")])
        await replica.has("after")
        assert replica.ids == ["after"]


async def test_malformed_takes_bodies_that_other_topics_refuse(bench: Bench) -> None:
    await bench.apply()
    large = bench.message(body=b"x" * (8 * 1024 * 1024))
    async with bench.publisher() as publisher:
        await publisher.publish(
            [Message(bench.topics.malformed, large.key, large.body, large.headers)]
        )


async def test_a_topic_that_is_not_there_is_an_error(bench: Bench) -> None:
    await bench.apply()
    elsewhere = bench.message()
    elsewhere = Message(
        f"elsewhere-{bench.topics.prefix}.x", elsewhere.key, elsewhere.body, elsewhere.headers
    )
    async with bench.publisher() as publisher:
        with pytest.raises(PublishError):
            await publisher.publish([elsewhere])

        await publisher.publish([bench.message()])


async def test_a_frozen_broker_leaves_a_publish_unconfirmed_within_the_deadline(
    own_bench: tuple[Bench, Faults],
) -> None:
    bench, faults = own_bench
    quick = Bench(bench.settings.model_copy(update={"publish_timeout": 1.0}))
    await bench.apply(group())
    async with quick.publisher() as publisher:
        async with faults.frozen():
            with pytest.raises(PublishUnconfirmed):
                async with asyncio.timeout(8):
                    await publisher.publish([quick.message("unknown", key="1|1")])

        async def it_confirms_again() -> bool:
            with contextlib.suppress(PublishError):
                await publisher.publish([quick.message("after", key="1|1")])
                return True
            return False

        await eventually(it_confirms_again, "a confirm after the thaw", 60)
    async with quick.replica(group()) as replica:
        await replica.has("after")


async def test_many_tasks_publish_at_once_and_each_key_keeps_its_order(bench: Bench) -> None:
    await bench.apply(group())
    expected = {f"1|{task}".encode(): [f"{task}-{n}" for n in range(15)] for task in range(20)}

    async with bench.publisher() as publisher, bench.replica(group()) as replica:

        async def publish_one_by_one(key: bytes, ids: list[str]) -> None:
            for id_ in ids:
                await publisher.publish([bench.message(id_, key=key.decode())])

        async with asyncio.TaskGroup() as tasks:
            for key, ids in expected.items():
                tasks.create_task(publish_one_by_one(key, ids))
        await replica.has(*(id_ for ids in expected.values() for id_ in ids))

        assert first_copies(replica.received) == expected


async def test_calls_that_do_not_wait_for_each_other_keep_the_order_of_their_key(
    bench: Bench,
) -> None:
    await bench.apply(group())
    ids = [f"{n:03}" for n in range(200)]
    async with bench.publisher() as publisher, bench.replica(group()) as replica:
        async with asyncio.TaskGroup() as tasks:
            for id_ in ids:
                tasks.create_task(publisher.publish([bench.message(id_, key="1|1")]))
        await replica.has(*ids)

        assert first_copies(replica.received) == {b"1|1": ids}


async def test_cancelling_the_caller_never_stores_half_of_its_request(bench: Bench) -> None:
    await bench.apply(group())
    requests = {turns: [f"{turns}-{n}" for n in range(50)] for turns in range(8)}
    async with bench.publisher() as publisher, bench.replica(group()) as replica:
        for turns, ids in requests.items():
            caller = asyncio.create_task(publisher.publish([bench.message(id_) for id_ in ids]))
            for _ in range(turns):
                await asyncio.sleep(0)
            caller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await caller
        # One in each lane, behind whatever was stored.
        last = [f"last-{n}" for n in range(40)]
        await publisher.publish([bench.message(id_) for id_ in last])
        await replica.has(*last)
        await bench.waiting_is(0, group())

        for ids in requests.values():
            assert len(set(ids) & set(replica.ids)) in {0, 50}


async def test_bodies_and_headers_come_out_as_they_went_in(bench: Bench) -> None:
    await bench.apply(group())
    plain = bench.message()
    bodies = (bytes(range(256)), b"\x00", "Éloïse ✉ 漢字".encode(), b"\xff\xfe{", b" " * 70_000)
    published = [
        Message(plain.topic, b"1|1", body, bench.message(f"{n}").headers)
        for n, body in enumerate(bodies)
    ]
    odd = (*published[0].headers, ("ce_subject", "Zoë".encode()), ("ce_empty", b""))
    published.append(Message(plain.topic, b"1|1", b"{}", odd))
    async with bench.publisher() as publisher, bench.replica(group()) as replica:
        await publisher.publish(published)

        async def all_are_there() -> bool:
            return len(replica.received) >= len(published)

        await eventually(all_are_there, "all messages")
        found = [delivery.message for delivery in replica.received]
        assert [m.body for m in found] == [m.body for m in published]
        assert [m.key for m in found] == [m.key for m in published]
        assert [dict(m.headers) for m in found] == [dict(m.headers) for m in published]
        assert [m.topic for m in found] == [m.topic for m in published]


async def test_a_message_without_headers_or_body_is_stored_as_it_is(bench: Bench) -> None:
    await bench.apply(group())
    bare = Message(bench.topics.of(OPTIN), b"1|1", b"", ())
    async with bench.publisher() as publisher, bench.replica(group()) as replica:
        await publisher.publish([bare])

        async def it_is_there() -> bool:
            return bool(replica.received)

        await eventually(it_is_there, "the message")
        assert replica.received[0].message.body == b""
        assert replica.received[0].message.key == b"1|1"
