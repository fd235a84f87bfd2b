"""Records that are damaged, retention, another process's news."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import apsw
import pytest

from bridge.brokers.embedded import retention
from bridge.brokers.embedded.retention import Retention
from bridge.errors import StorageFailed, TopologyMissing
from tests.brokers.bench import DEADLINE, LANES, Bench, group
from tests.brokers.embedded.conftest import changed, child, execute, overwrite
from tests.services.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path


async def publish(bench: Bench, *ids: str, key: str = "1|1") -> None:
    async with bench.broker.publisher() as publisher:
        await publisher.publish([bench.message(id_, key=key) for id_ in ids])


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE messages SET body = replace(body, 'b', 'x') WHERE position = 2",
        "UPDATE messages SET key = x'317c32' WHERE position = 2",
        "UPDATE messages SET checksum = checksum + 1 WHERE position = 2",
        "UPDATE messages SET headers = x'90' WHERE position = 2",
        "DELETE FROM messages WHERE position = 2",
    ],
)
async def test_a_damaged_record_is_reported_and_never_delivered_or_skipped(
    bench: Bench, log: Path, damage: str
) -> None:
    await bench.apply(group())
    await publish(bench, "a", "b", "c")
    execute(log, damage)

    async with bench.hand_driven(group()) as hand:
        lane = await hand.lane_of("1|1")
        await lane.ack(await lane.receive(1))
        for _ in range(2):
            with pytest.raises(StorageFailed, match="position 2 is damaged"):
                await lane.receive(10)


async def test_a_flipped_byte_on_the_disk_is_reported(bench: Bench, log: Path) -> None:
    await bench.apply(group())
    async with bench.broker.publisher() as publisher:
        await publisher.publish([bench.message("a", body=b"find me here")])

    def flip(content: bytearray) -> None:
        content[content.index(b"find me here")] ^= 1

    overwrite(log, flip)

    async with bench.hand_driven(group()) as hand:
        lane = await hand.lane_of("1|a")
        with pytest.raises(StorageFailed, match="damaged"):
            await lane.receive(1)


async def test_old_messages_leave_and_positions_go_on(bench: Bench, log: Path) -> None:
    await bench.apply(group(), group("late"))
    await publish(bench, "a", "b", "c")
    async with bench.replica(group()) as replica:
        await replica.has("a", "b", "c")

    connection = apsw.Connection(str(log))
    try:
        old = Retention(days=0.000001)
        await asyncio.sleep(0.1)  # until they are older than that: 86 ms
        while old.turn(connection):
            pass
        # The newest stays: the writer counts on from it.
        assert connection.execute("SELECT position FROM slots").get == 3
        assert connection.execute("SELECT position FROM messages").get == 3
    finally:
        connection.close()

    await publish(bench, "d")
    async with bench.replica(group()) as replica, bench.replica(group("late")) as late:
        await replica.has("d")
        await late.has("d")
        assert replica.ids == ["d"]
        assert late.ids == ["c", "d"]


async def test_retention_takes_no_more_than_a_chunk_at_once_and_spares_the_young(
    bench: Bench, log: Path
) -> None:
    await bench.apply()
    async with bench.broker.publisher() as publisher:
        await publisher.publish([bench.message() for _ in range(retention.CHUNK + 500)])
    old = (retention.CHUNK + 200,)
    execute(log, "UPDATE slots SET stored_at = 1000 WHERE position <= ?", old)
    connection = apsw.Connection(str(log))
    try:
        days = Retention(days=1)
        assert days.turn(connection) == retention.CHUNK
        assert days.due
        assert days.turn(connection) == 200
        assert connection.execute("SELECT count(*) FROM slots").get == 300
    finally:
        connection.close()


async def test_the_writer_itself_trims_the_log(bench: Bench, log: Path) -> None:
    await bench.apply()
    await publish(bench, "a", "b")
    execute(log, "UPDATE slots SET stored_at = 1000")
    connection = apsw.Connection(str(log))
    try:
        async with bench.publisher():

            async def only_new_ones() -> bool:
                return bool(connection.execute("SELECT min(position) FROM slots").get == 3)

            await eventually(only_new_ones, "the log to be trimmed")
    finally:
        connection.close()


async def test_messages_of_another_process_are_noticed(bench: Bench, log: Path) -> None:
    await bench.apply(group())
    async with bench.replica(group()) as replica:
        with child("publishing", f"sqlite:///{log}", "0"):

            async def some_came() -> bool:
                return len(replica.ids) > 20

            await eventually(some_came, "messages of the other process", DEADLINE)


async def test_another_log_under_the_same_name_is_noticed(bench: Bench, log: Path) -> None:
    await bench.apply(group())
    await publish(bench, "a")
    async with bench.replica(group()) as replica:
        await replica.has("a")
    for file in log.parent.glob("bridge.db*"):
        file.unlink()
    await bench.apply()

    with pytest.raises(TopologyMissing, match=r"another log.*bridge topology apply"):
        async with bench.broker.subscriber(group()):
            pass

    await bench.apply(group())
    await publish(bench, "b")
    async with bench.replica(group()) as replica:
        await replica.has("b")


async def test_an_older_copy_of_the_log_is_noticed(bench: Bench, log: Path) -> None:
    await bench.apply(group())
    copy = log.with_name("copy")
    shutil.copy(log, copy)
    await publish(bench, "a", "b")
    async with bench.replica(group()) as replica:
        await replica.has("a", "b")
    shutil.copy(copy, log)

    with pytest.raises(StorageFailed, match="older copy"):
        async with bench.broker.subscriber(group()):
            pass


async def test_another_number_of_lanes_needs_apply_and_loses_nothing(bench: Bench) -> None:
    await bench.apply(group())
    keys = [f"1|{n}" for n in range(20)]
    async with bench.publisher() as publisher:
        await publisher.publish([bench.message(f"{key}-a", key=key) for key in keys])
        async with bench.hand_driven(group()) as hand:
            lane = await hand.lane_of(keys[0])
            await lane.ack(await lane.receive(2))
        wider = changed(bench, embedded_lanes=LANES * 2)
        with pytest.raises(TopologyMissing, match=rf"{LANES} lanes, not {LANES * 2}"):
            async with wider.broker.subscriber(group()):
                pass

        await wider.apply(group())
        await publisher.publish([bench.message(f"{key}-b", key=key) for key in keys])
        async with wider.replica(group()) as replica:
            await replica.has(*(f"{key}-{n}" for key in keys for n in "ab"))
            await replica.has_lanes(LANES * 2)
        await wider.waiting_is(0, group())


async def test_the_number_of_lanes_is_not_changed_under_replicas_at_work(bench: Bench) -> None:
    await bench.apply(group())
    wider = changed(bench, embedded_lanes=LANES * 2)
    async with bench.replica(group()):
        with pytest.raises(TopologyMissing, match="stop them"):
            await wider.apply(group())
    await wider.apply(group())
