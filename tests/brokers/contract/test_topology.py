"""`Topology`: planned, applied, verified, removed; services declare nothing themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.errors import TopologyMissing
from tests.brokers.bench import OPTIN, Bench, group
from tests.services.waiting import eventually

if TYPE_CHECKING:
    from tests.brokers.faults import Faults


async def test_a_plan_says_what_apply_will_do_and_changes_nothing(bench: Bench) -> None:
    async with bench.broker.topology() as topology:
        planned = await topology.plan([group()])
        assert planned
        assert {change.action for change in planned} == {"create"}
        assert await topology.plan([group()]) == planned

        applied = await topology.apply([group()])
        assert {(c.kind, c.name) for c in applied} == {(c.kind, c.name) for c in planned}


async def test_apply_is_idempotent(bench: Bench) -> None:
    async with bench.broker.topology() as topology:
        assert await topology.apply([group()])
        assert list(await topology.plan([group()])) == []
        assert list(await topology.apply([group()])) == []
    async with bench.broker.topology() as topology:
        assert list(await topology.apply([group()])) == []


async def test_verify_refuses_with_the_command_until_it_is_applied(bench: Bench) -> None:
    async with bench.broker.topology() as topology:
        with pytest.raises(TopologyMissing, match="bridge topology apply"):
            await topology.verify([group()])
        await topology.apply([group()])
        await topology.verify([group()])


async def test_a_group_of_ones_own_is_created_recorded_and_removed(bench: Bench) -> None:
    own = group("own", OPTIN, tests=True)
    async with bench.broker.topology() as topology:
        await topology.apply([group()])
        with pytest.raises(TopologyMissing):
            await topology.verify([own])

        assert await topology.apply([own])
        await topology.verify([own])
        assert sorted(await topology.groups(), key=lambda g: g.name) == [group(), own]

        assert {change.action for change in await topology.remove("own")} == {"remove"}
        assert list(await topology.groups()) == [group()]
        with pytest.raises(TopologyMissing):
            await topology.verify([own])
        await topology.verify([group()])


async def test_removing_an_unknown_group_changes_nothing(bench: Bench) -> None:
    async with bench.broker.topology() as topology:
        await topology.apply([group()])
        assert list(await topology.remove("nobody")) == []


async def test_a_group_that_reads_more_types_than_before_is_altered(bench: Bench) -> None:
    before, after = group("own", OPTIN), group("own", OPTIN, "contact_complaint")
    await bench.apply(before)
    async with bench.broker.topology() as topology:
        with pytest.raises(TopologyMissing):
            await topology.verify([after])
        assert await topology.apply([after])
        await topology.verify([after])
        assert list(await topology.groups()) == [after]
    async with bench.publisher() as publisher, bench.replica(after) as replica:
        await publisher.publish([bench.message("c", type_="contact_complaint")])
        await replica.has("c")


async def test_what_went_missing_is_noticed_and_mended(bench: Bench, faults: Faults) -> None:
    await bench.apply(group())
    await faults.take_away(bench, "loyalty")

    async with bench.broker.topology() as topology:

        async def it_is_noticed() -> bool:
            try:
                await topology.verify([group()])
            except TopologyMissing as missing:
                return "bridge topology apply" in str(missing)
            return False

        await eventually(it_is_noticed, "the loss to be noticed")
        with pytest.raises(TopologyMissing):
            async with bench.broker.subscriber(group()):
                pass
        assert await topology.apply([group()])
        await topology.verify([group()])
    async with bench.publisher() as publisher, bench.replica(group()) as replica:
        await publisher.publish([bench.message(f"{n}") for n in range(8)])
        await replica.has(*(f"{n}" for n in range(8)))
