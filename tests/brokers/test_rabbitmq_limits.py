"""The limits that the adapter sets against RabbitMQ's own defaults, as the broker sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import httpx2
import pytest

from tests.brokers.bench import LANES, Bench, group
from tests.brokers.test_rabbitmq import settings_for
from tests.services.waiting import eventually

if TYPE_CHECKING:
    from tests.services.rabbitmq import RabbitMQ

ACK_TIMEOUT_SECONDS = 1800
"""RabbitMQ closes the channel of a consumer that holds a delivery for longer."""


@pytest.fixture
def bench(rabbitmq: RabbitMQ, prefix: str) -> Bench:
    return Bench(settings_for(rabbitmq, prefix))


async def ask(service: RabbitMQ, path: str) -> Any:
    url = urlsplit(service.management_url)
    async with httpx2.AsyncClient(
        base_url=f"http://{url.hostname}:{url.port}/api",
        auth=(url.username or "", url.password or ""),
    ) as client:
        answer = await client.get(path)
        answer.raise_for_status()
        return answer.json()


async def arguments_of(service: RabbitMQ, queue: str) -> dict[str, Any]:
    host = quote(urlsplit(service.url).path[1:] or "/", safe="")
    found = await ask(service, f"/queues/{host}/{quote(queue, safe='')}")
    arguments: dict[str, Any] = found["arguments"]
    return arguments


async def test_a7_every_connection_notices_a_dead_peer_by_a_heartbeat_of_five_seconds(
    bench: Bench, rabbitmq: RabbitMQ
) -> None:
    mine = group("beats")
    await bench.apply(mine)
    async with bench.publisher(), bench.replica(mine) as replica:
        await replica.has_lanes(LANES)

        async def heartbeats() -> dict[str, int]:
            return {
                item["client_properties"].get("connection_name", ""): item.get("timeout", 0)
                for item in await ask(rabbitmq, "/connections")
            }

        async def both_known() -> bool:
            names = await heartbeats()
            return any("group beats" in name for name in names) and any(
                "ingress" in name or "publish" in name for name in names
            )

        await eventually(both_known, "both connections in the API")
        found = await heartbeats()
        assert {beat for name, beat in found.items() if name.startswith("notification-bridge")} == {
            5
        }


async def test_a14_no_delivery_is_held_for_as_long_as_the_broker_waits_for_an_ack(
    bench: Bench,
) -> None:
    await bench.apply(group())
    async with bench.publisher() as publisher, bench.hand_driven(group()) as hand:
        await publisher.publish([bench.message("a", key="1|1")])
        lane = await hand.lane_of("1|1")
        assert lane.hold_limit is not None
        assert lane.hold_limit < ACK_TIMEOUT_SECONDS / 1.5


async def test_a15_a_delivery_limit_sets_aside_and_never_drops(
    bench: Bench, rabbitmq: RabbitMQ
) -> None:
    await bench.apply(group())
    prefix = bench.topics.prefix
    shard = await arguments_of(rabbitmq, f"{prefix}.loyalty.0")
    assert shard["x-delivery-limit"] == 1000
    assert shard["x-dead-letter-routing-key"] == f"{prefix}.dead.loyalty"
    assert shard["x-dead-letter-strategy"] == "at-least-once"
    assert shard["x-overflow"] == "reject-publish"
    # Since 4.0 a queue without a limit of its own drops after 20, where nothing catches it.
    for queue in ("dead.loyalty", "malformed", "unrouted"):
        limit = (await arguments_of(rabbitmq, f"{prefix}.{queue}"))["x-delivery-limit"]
        assert limit >= 1_000_000
