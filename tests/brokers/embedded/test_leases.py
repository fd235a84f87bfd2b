"""Members, leases, epochs: a replica that dies or stalls loses its lanes, and cannot ack."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import apsw
import pytest

from bridge.brokers.embedded import leases
from bridge.errors import LaneLost, NotSupported
from tests.brokers.bench import LANES, Bench, group
from tests.brokers.embedded.conftest import child
from tests.services.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
def file(log: Path) -> Path:
    return log.with_suffix(".d") / "loyalty.db"


@pytest.fixture
async def connection(bench: Bench, file: Path) -> AsyncIterator[apsw.Connection]:
    await bench.apply(group())
    opened = apsw.Connection(str(file))
    yield opened
    opened.close()


async def test_a_stalled_replica_loses_its_lanes_and_its_late_ack_is_refused(
    bench: Bench, connection: apsw.Connection
) -> None:
    async with bench.publisher() as publisher, bench.hand_driven(group()) as stalled:
        await publisher.publish([bench.message("a", key="1|1")])
        lane = await stalled.lane_of("1|1")
        held = await lane.receive(1)
        async with bench.replica(group()) as other:
            # As if it had not renewed for so long.
            connection.execute("UPDATE lanes SET owner = 'gone'")
            await other.has("a")

            with pytest.raises(LaneLost):
                await lane.ack(held)

            async def it_knows() -> bool:
                return lane.over.is_set()

            await eventually(it_knows, "the stalled replica to notice")
            assert list(await lane.receive(1)) == []
    await bench.waiting_is(0, group())


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGSTOP])
async def test_the_lanes_of_a_replica_that_was_killed_or_hangs_go_to_others(
    bench: Bench, log: Path, ending: signal.Signals
) -> None:
    await bench.apply(group())
    async with bench.publisher() as publisher:
        await publisher.publish([bench.message("held", key="1|1")])
        with child("consuming", f"sqlite:///{log}") as other:
            assert other.stdout is not None
            told = {await asyncio.to_thread(other.stdout.readline) for _ in range(2)}
            assert told == {"ready\n", "held\n"}
            other.send_signal(ending)
            if ending == signal.SIGKILL:
                other.wait()
            # Killed, it is dead at once; stopped, when its lease has run out.
            async with bench.replica(group()) as replica:
                await replica.has("held")
                await replica.has_lanes(LANES)


async def test_shares_differ_by_one_at_most_however_many_members(
    connection: apsw.Connection,
) -> None:
    for count in range(1, LANES + 3):
        members = [f"m{n}" for n in range(count)]
        held: dict[str, dict[int, leases.Held]] = {member: {} for member in members}
        for _ in range(3):  # claims, then what the others let go, then nothing more
            for member in members:
                share = leases.tend(connection, member, held[member], renew=True, take=True)
                for number in share.surplus:
                    epoch = held[member].pop(number).epoch
                    leases.release(connection, leases.Claim(number, epoch, 0), position=0)
                for claim in share.claimed:
                    held[member][claim.lane] = leases.Held(claim.epoch, ending=False)
        sizes = [len(lanes) for lanes in held.values()]
        assert sum(sizes) == LANES
        assert max(sizes) - min(sizes) <= 1
        assert sorted(lane for lanes in held.values() for lane in lanes) == list(range(LANES))
        for member in members:
            leases.leave(connection, member)


async def test_a_lease_from_before_a_reboot_holds_nothing(connection: apsw.Connection) -> None:
    connection.execute("INSERT INTO members (id, expires) VALUES ('before', 1e12)")
    connection.execute("UPDATE lanes SET owner = 'before'")

    share = leases.tend(connection, "after", {}, renew=True, take=True)

    assert len(share.claimed) == LANES
    assert leases.living(connection) == ["after"]


async def test_a_member_of_another_container_is_alive_until_its_lease_ends(
    connection: apsw.Connection,
) -> None:
    expires = time.monotonic() + leases.LEASE
    gone = f"{leases.new_member().partition('/')[0]}/4194305/x"  # beyond any process number
    elsewhere = "pid:[1]/4194305/x"
    for member in (gone, elsewhere):
        connection.execute("INSERT INTO members (id, expires) VALUES (?, ?)", (member, expires))

    assert leases.living(connection) == [elsewhere]


async def test_a_claim_fences_the_epoch_before_it(connection: apsw.Connection) -> None:
    (old, *_) = leases.tend(connection, "old", {}, renew=True, take=True).claimed
    connection.execute("DELETE FROM members")
    (new, *_) = leases.tend(connection, "new", {}, renew=True, take=True).claimed
    assert (new.lane, new.epoch) == (old.lane, old.epoch + 1)

    with pytest.raises(LaneLost):
        leases.settle(connection, old, position=5, retries=[])
    leases.release(connection, old, position=5)
    assert connection.execute("SELECT position, owner FROM lanes WHERE lane = 0").get == (0, "new")
    leases.settle(connection, new, position=3, retries=[])
    assert connection.execute("SELECT position FROM lanes WHERE lane = 0").get == 3


async def test_a_group_at_work_is_not_removed(bench: Bench) -> None:
    await bench.apply(group())
    async with bench.broker.topology() as topology:
        async with bench.replica(group()):
            with pytest.raises(NotSupported, match="at work"):
                await topology.remove("loyalty")
        assert await topology.remove("loyalty")


async def test_a_replay_by_another_process_is_noticed(
    bench: Bench, connection: apsw.Connection
) -> None:
    async with bench.broker.dead_letters("loyalty") as letters:
        await letters.put(bench.message("a"), "somewhere@1")
    async with bench.replica(group()) as replica:
        await replica.has_lanes(LANES)
        # What `replay` does, from a connection that tells nobody.
        connection.execute(
            "INSERT INTO retry (stored_at, topic, hash, key, headers, checksum, body) "
            "SELECT stored_at, topic, hash, key, headers, checksum, body FROM dead"
        )
        await replica.has("a")
    assert connection.execute("SELECT count(*) FROM retry").get == 0


async def test_an_idle_lane_does_not_look_at_the_same_messages_again(
    bench: Bench, connection: apsw.Connection
) -> None:
    async with bench.publisher() as publisher:
        for _ in range(11):
            await publisher.publish([bench.message(type_="contact_created") for _ in range(1_000)])
        async with bench.replica(group()):

            async def all_lanes_have_moved() -> bool:
                return bool(connection.execute("SELECT min(position) FROM lanes").get >= 11_000)

            await eventually(all_lanes_have_moved, "the lanes to note how far they looked")
