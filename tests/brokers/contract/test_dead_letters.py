"""`DeadLetters`: set aside, read, replayed to the one group, discarded."""

from __future__ import annotations

from contextlib import aclosing

from bridge import message as wire
from bridge.message import Message
from tests.brokers.bench import DEADLINE, Bench, group
from tests.services.waiting import eventually

REASONS = (
    (wire.DEAD_REASON, "the CRM says: no such contact é".encode()),
    (wire.DEAD_ERROR, b"Reject"),
    (wire.DEAD_ATTEMPTS, b"5"),
    (wire.DEAD_FIRST_TIME, b"2026-01-01T00:00:00Z"),
    (wire.DEAD_LAST_TIME, b"2026-01-01T00:01:00Z"),
    (wire.DEAD_ORIGIN, b"somewhere@1"),
    (wire.DEAD_GROUP, b"loyalty"),
)


def set_aside(message: Message) -> Message:
    """The message as a worker sets it aside."""
    return Message(message.topic, message.key, message.body, message.headers + REASONS)


async def test_a_dead_letter_is_found_as_it_was_put(bench: Bench) -> None:
    await bench.apply(group())
    first = set_aside(bench.message("a", body=bytes(range(256))))
    second = set_aside(bench.message("b"))
    async with bench.broker.dead_letters("loyalty") as letters:
        await letters.put(first, "somewhere@1")
        await letters.put(second, "somewhere@2")

    found = await bench.dead("loyalty")
    assert [letter.message.text(wire.CE_ID) for letter in found] == ["a", "b"]
    assert found[0].message.topic == first.topic
    assert found[0].message.key == first.key
    assert found[0].message.body == first.body
    assert dict(found[0].message.headers) == dict(first.headers)
    assert found[0].id != found[1].id
    again = await bench.dead("loyalty")
    assert [letter.id for letter in again] == [letter.id for letter in found]


async def test_dead_letters_belong_to_their_group(bench: Bench) -> None:
    await bench.apply(group("one"), group("other"))
    async with bench.broker.dead_letters("one") as letters:
        await letters.put(set_aside(bench.message("a")), "somewhere@1")

    assert len(await bench.dead("one")) == 1
    assert await bench.dead("other") == []


async def test_a_large_message_can_be_set_aside(bench: Bench) -> None:
    await bench.apply(group())
    large = set_aside(bench.message("large", body=b"x" * (8 * 1024 * 1024)))
    async with bench.broker.dead_letters("loyalty") as letters:
        await letters.put(large, "somewhere@1")

    assert [len(letter.message.body) for letter in await bench.dead("loyalty")] == [8 * 1024 * 1024]


async def test_reading_can_be_stopped_early(bench: Bench) -> None:
    await bench.apply(group())
    async with bench.broker.dead_letters("loyalty") as letters:
        for n in range(5):
            await letters.put(set_aside(bench.message(f"{n}")), f"somewhere@{n}")
        async with aclosing(letters.read()) as found:
            async for letter in found:
                assert letter.message.text(wire.CE_ID) == "0"
                break
    assert len(await bench.dead("loyalty")) == 5


async def test_a_replay_reaches_only_that_group_with_its_mark_and_leaves_the_dead_letters(
    bench: Bench,
) -> None:
    await bench.apply(group(), group("other"))
    original = bench.message("poison", key="1|1", body=b'{"EventUniqueID": "poison"}')
    async with (
        bench.publisher() as publisher,
        bench.replica(group()) as replica,
        bench.replica(group("other")) as other,
        bench.broker.dead_letters("loyalty") as letters,
    ):
        await letters.put(set_aside(original), "somewhere@1")
        await letters.put(set_aside(bench.message("stays", key="1|1")), "somewhere@2")
        (id_,) = [
            letter.id
            for letter in await bench.dead("loyalty")
            if letter.message.text(wire.CE_ID) == "poison"
        ]

        assert await letters.replay([id_]) == 1

        await replica.has("poison")
        (replayed,) = [d.message for d in replica.received]
        assert replayed.key == original.key
        assert replayed.body == original.body
        headers = dict(replayed.headers)
        assert headers.pop(wire.REPLAYED_TIME)
        assert headers == dict(original.headers)

        left = [letter.message.text(wire.CE_ID) for letter in await bench.dead("loyalty")]
        assert left == ["stays"]
        await publisher.publish([bench.message("after", key="1|1")])
        await other.has("after")
        assert other.ids == ["after"]
        await bench.waiting_is(0, group())


async def test_a_replay_waits_for_a_group_that_does_not_run_and_counts_as_lag(
    bench: Bench,
) -> None:
    await bench.apply(group())
    async with bench.broker.dead_letters("loyalty") as letters:
        await letters.put(set_aside(bench.message("a")), "somewhere@1")
        assert await letters.replay([letter.id for letter in await bench.dead("loyalty")]) == 1
    await bench.waiting_is(1, group())

    async with bench.replica(group()) as replica:
        await replica.has("a")
    await bench.waiting_is(0, group())
    async with bench.publisher() as publisher, bench.replica(group()) as replica:
        await publisher.publish([bench.message("b")])
        await replica.has("b")
        assert replica.ids == ["b"]


async def test_a_replayed_message_can_be_set_aside_and_replayed_again(bench: Bench) -> None:
    await bench.apply(group())
    async with bench.replica(group()) as replica, bench.broker.dead_letters("loyalty") as letters:
        await letters.put(set_aside(bench.message("a")), "somewhere@1")
        for round_ in (1, 2):
            assert await letters.replay([i.id for i in await bench.dead("loyalty")]) == 1

            async def so_many(count: int = round_) -> bool:
                return len(replica.received) >= count

            await eventually(so_many, f"replay {round_}", DEADLINE)
            message = replica.received[-1].message
            await letters.put(set_aside(message), replica.received[-1].origin)
        (last,) = await bench.dead("loyalty")
    names = [name for name, _ in last.message.headers]
    assert len(names) == len(set(names))


async def test_ids_that_are_not_there_are_skipped(bench: Bench) -> None:
    await bench.apply(group())
    async with bench.broker.dead_letters("loyalty") as letters:
        await letters.put(set_aside(bench.message("a")), "somewhere@1")
        (letter,) = await bench.dead("loyalty")
        assert await letters.replay(["no-such-id"]) == 0
        assert await letters.discard(["no-such-id", letter.id]) == 1
        assert await letters.replay([letter.id]) == 0


async def test_what_is_discarded_is_gone(bench: Bench) -> None:
    await bench.apply(group())
    async with bench.replica(group()) as replica, bench.broker.dead_letters("loyalty") as letters:
        for n in range(3):
            await letters.put(set_aside(bench.message(f"{n}")), f"somewhere@{n}")
        ids = [letter.id for letter in await bench.dead("loyalty")]
        assert await letters.discard(ids[:2]) == 2
        assert [i.message.text(wire.CE_ID) for i in await bench.dead("loyalty")] == ["2"]
        assert await letters.replay(ids[2:]) == 1
        await replica.has("2")
        assert replica.ids == ["2"]
