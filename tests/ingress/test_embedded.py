"""The ingress on a real broker: what was answered 200 is read back, byte for byte."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from bridge.brokers import open_broker
from bridge.ingress.server import open_ingress
from bridge.settings import Settings
from bridge.sources.dialog_insight import DialogInsight
from bridge.topics import Group
from tests.ingress.rig import TOKEN, post, until

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.brokers.base import Lane

POSTS = 40
EACH = 5
GROUP = Group("readers", frozenset({"contact_optout"}))


def body(number: int) -> list[bytes]:
    return [
        b'{"type":"contact_optout", "EventUniqueID":"%d-%d", "idCompany":1, "idProject":2,'
        b' "ContactID":{"idContact":%d}}' % (number, part, number)
        for part in range(EACH)
    ]


async def answer(port: int, number: int) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(post(b"[" + b",".join(body(number)) + b"]", headers=("Connection: close",)))
    status = int((await reader.read()).split()[1])
    writer.close()
    await writer.wait_closed()
    return status


async def test_everything_answered_200_is_in_the_log_in_order_of_its_key(tmp_path: Path) -> None:
    settings = Settings(
        port=0, admin_port=0, tokens=TOKEN, broker_url=f"sqlite:///{tmp_path}/bridge.db"
    )
    broker = open_broker(settings)
    async with broker.topology() as topology:
        await topology.apply([GROUP])

    async with (
        broker.publisher() as publisher,
        open_ingress(
            settings, publisher=publisher, source=DialogInsight(settings.topics)
        ) as ingress,
    ):
        statuses = await asyncio.gather(
            *(answer(ingress.ports.public, number) for number in range(POSTS))
        )
        assert publisher.last_confirmed is not None
    assert statuses == [200] * POSTS

    read: dict[bytes, list[bytes]] = {}

    async def work(lane: Lane) -> None:
        while deliveries := await lane.receive(100):
            for delivery in deliveries:
                read.setdefault(delivery.message.key, []).append(delivery.message.body)
            await lane.ack(deliveries)
        await lane.close()

    async with AsyncExitStack() as stack:
        subscriber = await stack.enter_async_context(broker.subscriber(GROUP))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())

        async def take_lanes() -> None:
            async for lane in subscriber.lanes():
                tasks.create_task(work(lane))

        tasks.create_task(take_lanes())
        await until(lambda: sum(map(len, read.values())) == POSTS * EACH)
        subscriber.end()
    assert read == {b"2|%d" % number: body(number) for number in range(POSTS)}
