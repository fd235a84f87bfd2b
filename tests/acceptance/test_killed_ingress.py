"""kill -9 of the ingress under load: what was answered 200 is found."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import httpx2
import pytest
from pydantic import SecretStr

from bridge.brokers import open_broker
from bridge.settings import Settings
from bridge.topics import KNOWN_TYPES, Group
from tests.acceptance.sender import Sender, real
from tests.services.waiting import eventually

if TYPE_CHECKING:
    from bridge.brokers.base import Lane, Subscriber
    from tests.acceptance.installation import Installation

KILLS = 20
SENDERS = 12

AUDITOR = Group(name="auditor", types=frozenset(KNOWN_TYPES))


def settings_of(installation: Installation) -> Settings:
    """The settings that the installation's commands see, for a reader in this process."""
    env = installation.environment
    url = env["BRIDGE_BROKER_URL"].replace("sqlite:///", f"sqlite:///{installation.folder}/")
    return Settings(
        broker_url=SecretStr(url),
        topic_prefix=env["BRIDGE_TOPIC_PREFIX"],
        kafka_partitions=int(env["BRIDGE_KAFKA_PARTITIONS"]),
        rabbitmq_management_url=SecretStr(env.get("BRIDGE_RABBITMQ_MANAGEMENT_URL", "")),
        embedded_min_free_bytes=0,
    )


async def found_ids(installation: Installation) -> set[str]:
    """Every id that the auditor's group is given, until nothing is left."""
    broker = open_broker(settings_of(installation))
    found: set[str] = set()

    async def read(lane: Lane) -> None:
        while deliveries := await lane.receive(500):
            found.update(delivery.message.text("ce_id") for delivery in deliveries)
            await lane.ack(deliveries)
        await lane.close()

    async def watch(end: Subscriber) -> None:
        async with broker.lag_reader() as reader:

            async def nothing_left() -> bool:
                return all(entry.messages == 0 for entry in await reader.read([AUDITOR]))

            await eventually(nothing_left, "the auditor to have read everything", 120)
        end.end()

    async with broker.subscriber(AUDITOR) as subscriber, asyncio.TaskGroup() as tasks:
        tasks.create_task(watch(subscriber))
        async for lane in subscriber.lanes():
            tasks.create_task(read(lane))
    return found


@pytest.mark.slow
async def test_every_id_answered_200_is_found_though_the_ingress_is_killed_twenty_times(
    installation: Installation, seed: int
) -> None:
    chance = random.Random(seed)
    async with open_broker(settings_of(installation)).topology() as topology:
        await topology.apply([AUDITOR])
    ingress = await asyncio.to_thread(installation.start_ingress)
    sender = Sender(installation.url)
    enough = asyncio.Event()

    async def keep_sending(contact: int) -> None:
        async with httpx2.AsyncClient(timeout=15) as client:
            while not enough.is_set():
                type_ = chance.choice(KNOWN_TYPES)
                size = chance.choice((1, 1, 1, 20))
                await sender.deliver(client, [real(type_, contact=contact) for _ in range(size)])

    async with asyncio.TaskGroup() as tasks:
        for contact in range(SENDERS):
            tasks.create_task(keep_sending(contact))
        for _ in range(KILLS):
            await until_answers(sender, more=chance.randrange(20, 200))
            await asyncio.to_thread(ingress.kill)
            await asyncio.to_thread(ingress.start)
        await until_answers(sender, more=20)
        enough.set()

    answered = sender.answered
    found = await found_ids(installation)
    missing = set(answered) - found
    assert not missing, f"{len(missing)} of {len(answered)} answered ids are lost"
    assert len(answered) == len(set(answered))
    assert len(answered) > KILLS * 20


async def until_answers(sender: Sender, *, more: int) -> None:
    """Wait until so many more notifications were answered with 200."""
    wanted = len(sender.answered) + more

    async def enough() -> bool:
        return len(sender.answered) >= wanted

    await eventually(enough, f"{wanted} answers of 200, beside {sender.statuses}", 60)
