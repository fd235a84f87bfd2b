"""What only RabbitMQ does: its defaults that lose messages, its queues, its connections.

The letters and numbers are the rows of known traps of aio-pika and RabbitMQ; everything that the
three brokers share is in `contract/`.
"""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import aio_pika
import aiormq
import httpx2
import pytest
from aiormq import spec
from cloudevents.core.bindings.rabbitmq import RabbitMQMessage, from_rabbitmq_event
from pydantic import SecretStr

from bridge import message as wire
from bridge.brokers.rabbitmq import topology_watch
from bridge.brokers.rabbitmq.confirms import Outgoing
from bridge.brokers.rabbitmq.lane import PREFETCH
from bridge.brokers.rabbitmq.layout import Layout
from bridge.brokers.rabbitmq.publisher import GroupPublisher, open_publisher
from bridge.brokers.rabbitmq.sharing import SETTLE_SECONDS, Sharing
from bridge.errors import (
    BrokerUnavailable,
    NotSupported,
    PublishError,
    PublishRejected,
    PublishUnconfirmed,
    TopologyMissing,
)
from bridge.message import Message
from bridge.settings import Settings
from bridge.telemetry import REGISTRY
from tests.brokers.bench import LANES, OPTIN, OPTOUT, Bench, first_copies, group
from tests.services.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from tests.services.rabbitmq import RabbitMQ


def settings_for(service: RabbitMQ, prefix: str, **more: object) -> Settings:
    return Settings(
        **{
            "broker_url": SecretStr(service.url),
            "rabbitmq_management_url": SecretStr(service.management_url),
            "topic_prefix": prefix,
            "publish_timeout": 5.0,
            "rabbitmq_shards": LANES,
            **more,
        }  # type: ignore[arg-type]  # validated by pydantic
    )


@pytest.fixture
def settings(rabbitmq: RabbitMQ, prefix: str) -> Settings:
    return settings_for(rabbitmq, prefix)


@pytest.fixture
def bench(settings: Settings) -> Bench:
    return Bench(settings)


@pytest.fixture
async def channel(rabbitmq: RabbitMQ) -> AsyncIterator[aiormq.abc.AbstractChannel]:
    """A plain AMQP client's channel."""
    connection = await aiormq.connect(rabbitmq.url)
    try:
        yield await connection.channel()
    finally:
        await connection.close()


class Api:
    """The management API, as an operator's tools use it."""

    def __init__(self, service: RabbitMQ) -> None:
        url = urlsplit(service.management_url)
        self._client = httpx2.AsyncClient(
            base_url=f"http://{url.hostname}:{url.port}/api",
            auth=(url.username or "", url.password or ""),
            timeout=20,
            # It closes idle connections when it likes, also the one a request is sent on.
            limits=httpx2.Limits(max_keepalive_connections=0),
        )

    async def ask(self, verb: str, path: str, body: object = None) -> Any:
        content = None if body is None else json.dumps(body)
        answer = await self._client.request(verb, path, content=content)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    async def close_connections(self, name: str) -> int:
        """Close every connection whose name holds `name`, as an operator does in the page."""
        closed = 0
        for connection in await self.ask("GET", "/connections"):
            if name in connection["client_properties"].get("connection_name", ""):
                # It answers late, or not at all, when the client has gone meanwhile.
                with suppress(httpx2.HTTPStatusError, httpx2.TimeoutException):
                    await self.ask("DELETE", f"/connections/{quote(connection['name'])}")
                    closed += 1
        return closed

    async def close(self) -> None:
        await self._client.aclose()


@pytest.fixture
async def api(rabbitmq: RabbitMQ) -> AsyncIterator[Api]:
    found = Api(rabbitmq)
    yield found
    await found.close()


async def _nothing(_connection: aiormq.Connection) -> None:
    """No topology is needed."""


@asynccontextmanager
async def raw_publisher(settings: Settings) -> AsyncIterator[GroupPublisher]:
    async with open_publisher(settings, purpose="test", check=_nothing) as publisher:
        yield publisher


async def drain(channel: aiormq.abc.AbstractChannel, queue: str) -> list[Any]:
    """Everything in a queue."""
    found: list[Any] = []
    while True:
        message = await channel.basic_get(queue, no_ack=True)
        if not isinstance(message.delivery, spec.Basic.GetOk):
            return found
        found.append(message)


async def confirms_again(bench: Bench, publisher: Any, seconds: float = 30) -> None:
    async def it_confirms() -> bool:
        try:
            await publisher.publish([bench.message("again")])
        except PublishError:
            return False
        return True

    await eventually(it_confirms, "a confirm", seconds)


# The publisher.


async def test_a1_equal_ids_in_flight_do_not_swap_their_outcomes(
    settings: Settings, bench: Bench, channel: aiormq.abc.AbstractChannel
) -> None:
    queue = f"{settings.topic_prefix}.exists"
    await channel.queue_declare(queue, durable=True, arguments={"x-expires": 60_000})
    message = bench.message("the same id")
    async with raw_publisher(settings) as publisher:
        outcomes = await asyncio.gather(
            *(
                publisher.write([Outgoing("", queue if n % 2 else "no-such-queue", message)])
                for n in range(40)
            ),
            return_exceptions=True,
        )

    assert [type(outcome) for outcome in outcomes] == [PublishRejected, type(None)] * 20
    assert len(await drain(channel, queue)) == 20


async def test_a2_a_request_with_one_unroutable_message_is_unconfirmed_not_rejected(
    settings: Settings, bench: Bench, channel: aiormq.abc.AbstractChannel
) -> None:
    queue = f"{settings.topic_prefix}.exists"
    await channel.queue_declare(queue, durable=True, arguments={"x-expires": 60_000})
    good = Outgoing("", queue, bench.message())
    bad = Outgoing("", "no-such-queue", bench.message())
    async with raw_publisher(settings) as publisher:
        with pytest.raises(PublishUnconfirmed):
            await publisher.write([good, bad, good])
        with pytest.raises(PublishRejected):
            await publisher.write([bad, bad])
        await publisher.write([good])


async def test_a_type_without_a_subscriber_is_kept_in_unrouted_and_returned_without_that(
    bench: Bench, channel: aiormq.abc.AbstractChannel
) -> None:
    await bench.apply()
    unrouted = f"{bench.topics.prefix}.unrouted"
    async with bench.publisher() as publisher:
        await publisher.publish([bench.message("kept")])
        (kept,) = await drain(channel, unrouted)
        assert kept.header.properties.headers["ce-id"] == "kept"

        await channel.queue_unbind(unrouted, unrouted, "")
        with pytest.raises(PublishRejected, match="topology apply"):
            await publisher.publish([bench.message("returned")])


async def test_a16_a_full_queue_that_rejects_leaves_the_publish_unconfirmed(
    bench: Bench, channel: aiormq.abc.AbstractChannel
) -> None:
    await bench.apply(group())
    full = f"{bench.topics.prefix}.full"
    await channel.queue_declare(
        full,
        durable=True,
        arguments={"x-max-length": 1, "x-overflow": "reject-publish", "x-expires": 60_000},
    )
    await channel.queue_bind(full, bench.topics.prefix, f"{OPTOUT}.*")
    async with bench.publisher() as publisher, bench.replica(group()) as replica:
        await publisher.publish([bench.message("fits")])
        with pytest.raises(PublishUnconfirmed):
            await publisher.publish([bench.message("refused by one")])
        # The group's own queue has it all the same: the sender's repeat will be a duplicate.
        await replica.has("fits", "refused by one")


@pytest.mark.parametrize("size", [0, 1, 131_063, 131_064, 131_065, 262_128, 900 * 1024])
async def test_bodies_around_the_frame_size_come_out_whole(
    size: int, bench: Bench, channel: aiormq.abc.AbstractChannel
) -> None:
    await bench.apply()
    body = random.Random(size).randbytes(size)
    plain = bench.message("large")
    async with bench.publisher() as publisher:
        await publisher.publish([Message(plain.topic, plain.key, body, plain.headers)])
    (found,) = await drain(channel, f"{bench.topics.prefix}.unrouted")
    assert found.body == body


async def test_eight_mebibytes_of_malformed_come_out_whole(
    bench: Bench, channel: aiormq.abc.AbstractChannel
) -> None:
    await bench.apply()
    body = random.Random(8).randbytes(8 * 1024 * 1024)
    plain = bench.message("huge")
    async with bench.publisher() as publisher:
        await drain(channel, bench.topics.malformed)
        await publisher.publish([Message(bench.topics.malformed, plain.key, body, plain.headers)])
    (found,) = await drain(channel, bench.topics.malformed)
    assert found.body == body


async def test_a_plain_client_reads_equal_bytes_from_a_queue_of_its_own(
    bench: Bench, rabbitmq: RabbitMQ
) -> None:
    await bench.apply(group())
    body = '{"EventUniqueID": "é", "Type":"contact_optout"}'.encode()
    connection = await aio_pika.connect(rabbitmq.url)
    async with connection:
        foreign = await connection.channel()
        queue = await foreign.declare_queue(exclusive=True)
        await queue.bind(bench.topics.prefix, f"{OPTOUT}.*")
        async with bench.publisher() as publisher:
            await publisher.publish([bench.message("abc", key="1|7", body=body)])
        found = await queue.get(no_ack=True, timeout=5)
        assert found is not None

    assert found.body == body
    assert found.delivery_mode == aio_pika.DeliveryMode.PERSISTENT  # A3
    headers = {name: str(value) for name, value in found.headers.items()}
    event = from_rabbitmq_event(RabbitMQMessage(headers, found.content_type, found.body))
    assert event.get_id() == "abc"
    assert event.get_type() == OPTOUT
    assert event.get_source() == "/dialog-insight/1/1"
    assert event.get_extension("partitionkey") == "1|7"
    assert event.get_datacontenttype() == "application/json"
    assert event.get_data() == json.loads(body)


async def test_headers_that_are_no_text_survive_and_impossible_ones_are_refused(
    bench: Bench,
) -> None:
    await bench.apply(group())
    plain = bench.message("odd", key="1|1")
    odd = (*plain.headers, ("ce_subject", b"\xff\xfe\x00"), ("x-mine", b"kept"))
    impossible: Iterable[tuple[str, bytes]] = (("n" * 256, b""), ("ce_subject", b"x" * 200_000))
    async with bench.publisher() as publisher, bench.replica(group()) as replica:
        for header in impossible:
            with pytest.raises(PublishRejected):
                await publisher.publish([Message(plain.topic, plain.key, b"{}", (header,))])
        await publisher.publish([Message(plain.topic, plain.key, plain.body, odd)])
        await replica.has("odd")
        assert dict(replica.received[0].message.headers) == dict(odd)


async def test_a8_callers_learn_at_once_when_the_connection_is_lost(bench: Bench, api: Api) -> None:
    await bench.apply(group())
    outcomes: list[str] = []
    stop = asyncio.Event()
    async with bench.publisher() as publisher:

        async def publish() -> None:
            while not stop.is_set():
                try:
                    await publisher.publish([bench.message() for _ in range(20)])
                    outcomes.append("confirmed")
                except PublishUnconfirmed:
                    outcomes.append("unconfirmed")
                except PublishRejected:
                    outcomes.append("rejected")
                    await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(8):
                tasks.create_task(publish())

            async def it_is_closed() -> bool:
                return bool(await api.close_connections("bridge ingress"))

            await eventually(it_is_closed, "the connection to be known to the API")

            async def somebody_noticed() -> bool:
                return outcomes[-1:] != ["confirmed"] or "unconfirmed" in outcomes

            await eventually(somebody_noticed, "a failure")
            await confirms_again(bench, publisher)
            stop.set()
    assert "confirmed" in outcomes


async def test_a_publisher_opens_while_the_broker_is_down_and_works_once_it_is_up(
    own_rabbitmq: RabbitMQ, prefix: str
) -> None:
    bench = Bench(settings_for(own_rabbitmq, prefix))
    await bench.apply(group())
    await asyncio.to_thread(own_rabbitmq.settle)
    await asyncio.to_thread(own_rabbitmq.stop)
    async with bench.broker.publisher() as publisher:
        with pytest.raises(PublishRejected):
            await publisher.publish([bench.message("too early")])
        await asyncio.to_thread(own_rabbitmq.start)
        await confirms_again(bench, publisher)


async def test_a3_every_id_confirmed_before_a_kill_is_found_after_it(
    own_rabbitmq: RabbitMQ, prefix: str, seed: int
) -> None:
    bench = Bench(settings_for(own_rabbitmq, prefix))
    await bench.apply(group())
    await asyncio.to_thread(own_rabbitmq.settle)
    confirmed: list[str] = []
    killed = asyncio.Event()
    chance = random.Random(seed)
    async with bench.publisher() as publisher:

        async def publish() -> None:
            while not killed.is_set():
                ids = [uuid.uuid4().hex for _ in range(chance.randint(1, 30))]
                try:
                    await publisher.publish([bench.message(id_) for id_ in ids])
                    confirmed.extend(ids)
                except PublishError:
                    return

        async with asyncio.TaskGroup() as tasks:
            for _ in range(16):
                tasks.create_task(publish())

            async def enough() -> bool:
                return len(confirmed) > 2000

            await eventually(enough, "2,000 confirms", 60)
            await asyncio.to_thread(own_rabbitmq.kill)
            killed.set()
        await asyncio.to_thread(own_rabbitmq.start)
        await confirms_again(bench, publisher, 60)
    async with bench.replica(group(), limit=100) as replica:
        await replica.has(*confirmed)


async def test_a6_an_alarm_fails_publishes_in_time_and_never_as_not_stored(
    own_rabbitmq: RabbitMQ, prefix: str
) -> None:
    bench = Bench(settings_for(own_rabbitmq, prefix, publish_timeout=1.5))
    await bench.apply(group())
    async with bench.publisher() as publisher:
        await publisher.publish([bench.message("before")])
        await asyncio.to_thread(
            own_rabbitmq.control, "set_vm_memory_high_watermark", "absolute", "1MB"
        )
        outcomes = []
        for n in range(6):
            async with asyncio.timeout(6):
                with pytest.raises(PublishError) as failure:
                    await publisher.publish([bench.message(f"during {n}")])
                outcomes.append(failure.type)
        # The first were written before the broker said so, and may be stored later. Once it has
        # said so, nothing is written, and nobody waits.
        assert outcomes[0] is PublishUnconfirmed
        assert outcomes[-1] is PublishRejected
        await asyncio.to_thread(own_rabbitmq.control, "set_vm_memory_high_watermark", "0.4")
        await confirms_again(bench, publisher, 60)
    async with bench.replica(group()) as replica:
        await replica.has("before", "again")
        assert "during 5" not in replica.ids


# The subscriber.


async def test_a_lost_connection_gives_the_lanes_anew_and_loses_nothing(
    bench: Bench, api: Api
) -> None:
    mine = group("loses")
    await bench.apply(mine)
    async with bench.publisher() as publisher, bench.replica(mine) as replica:
        await replica.has_lanes(LANES)

        async def it_is_closed() -> bool:
            return bool(await api.close_connections("bridge group loses"))

        await eventually(it_is_closed, "the connection to be known to the API")
        await publisher.publish([bench.message(f"{n}") for n in range(20)])
        await replica.has(*(f"{n}" for n in range(20)))
        await replica.has_lanes(LANES)


async def test_a13_a_consumer_that_the_broker_cancels_comes_back(
    bench: Bench, channel: aiormq.abc.AbstractChannel
) -> None:
    await bench.apply(group())
    async with bench.publisher() as publisher, bench.replica(group()) as replica:
        await replica.has_lanes(LANES)
        for shard in range(LANES):
            await channel.queue_delete(f"{bench.topics.prefix}.loyalty.{shard}")
        await replica.has_lanes(0)
        await bench.apply(group())
        await replica.has_lanes(LANES)
        await publisher.publish([bench.message(f"{n}") for n in range(20)])
        await replica.has(*(f"{n}" for n in range(20)))


async def test_a4_a_cancelled_handler_loses_nothing(bench: Bench) -> None:
    await bench.apply(group())
    ids = [f"{n:02}" for n in range(20)]
    async with bench.publisher() as publisher, bench.hand_driven(group()) as hand:
        await publisher.publish([bench.message(id_, key="1|1") for id_ in ids])
        lane = await hand.lane_of("1|1")

        async def handle() -> None:
            assert await lane.receive(10)
            await asyncio.Event().wait()

        handling = asyncio.create_task(handle())
        await asyncio.sleep(0)
        handling.cancel()
        await asyncio.gather(handling, return_exceptions=True)
        await lane.close()
    async with bench.replica(group()) as replica:
        await replica.has(*ids)
        assert first_copies(replica.received) == {b"1|1": ids}


async def test_order_holds_however_often_lanes_with_unacked_work_are_closed(
    bench: Bench, seed: int
) -> None:
    await bench.apply(group())
    chance = random.Random(seed)
    ids = [f"{n:03}" for n in range(PREFETCH * 4)]
    done: list[str] = []
    async with bench.publisher() as publisher, bench.hand_driven(group()) as hand:
        await publisher.publish([bench.message(id_, key="1|1") for id_ in ids])
        for _ in range(8):
            lane = await hand.lane_of("1|1")
            taken = list(await lane.receive(chance.randint(1, PREFETCH)))
            acked = taken[: chance.randint(0, len(taken))]
            await lane.ack(acked)
            done += [delivery.message.text(wire.CE_ID) for delivery in acked]
            await lane.close()
    async with bench.replica(group()) as replica:
        await replica.has(*ids[len(done) :])
        assert done + list(dict.fromkeys(replica.ids)) == ids


async def test_three_replicas_of_four_shards_all_get_one_and_then_nothing_moves(
    bench: Bench,
) -> None:
    await bench.apply(group())
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(bench.replica(group())) for _ in range(3)]

        async def shared() -> bool:
            return sorted(len(replica.lanes) for replica in replicas) == [1, 1, 2]

        await eventually(shared, "2, 1 and 1 lanes", 45)
        before = [dict(replica.lanes) for replica in replicas]
        rounds = asyncio.Event()
        asyncio.get_running_loop().call_later(2 * SETTLE_SECONDS, rounds.set)
        await rounds.wait()
        assert [dict(replica.lanes) for replica in replicas] == before


def test_sharing_leaves_nobody_without_a_part_and_comes_to_rest(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(200):
        shards, count = chance.randint(1, 16), chance.randint(1, 8)
        replicas = [Sharing(shards) for _ in range(count)]
        held = [0] * count
        away = [2.0 * n for n in range(count)]  # they start one after the other
        moved = 0.0
        for step in range(4000):
            now = step / 10
            n = chance.choice([n for n in range(count) if 2.0 * n <= now])
            if away[n] > now:
                continue
            replicas[n].observe(sum(until <= now for until in away), now)
            wanted = min(replicas[n].allowed, held[n] + shards - sum(held))
            if wanted != held[n]:
                held[n], moved = wanted, now
            elif replicas[n].starves(held[n]):
                away[n] = now + 3
        assert sum(held) == shards
        assert max(held) - min(held) <= 1
        assert moved < 300


async def test_a_minute_after_a_binding_went_missing_there_is_an_alarm(
    bench: Bench, channel: aiormq.abc.AbstractChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topology_watch, "VERIFY_SECONDS", 0.1)
    mine = group("watched")
    await bench.apply(mine)

    def mismatch() -> float | None:
        return REGISTRY.get_sample_value("bridge_topology_mismatch", {"group": "watched"})

    async with bench.broker.subscriber(mine):

        async def all_is_well() -> bool:
            return mismatch() == 0

        async def alarm() -> bool:
            return mismatch() == 1

        await eventually(all_is_well, "a verified topology")
        await channel.queue_unbind(
            f"{bench.topics.prefix}.watched.0", bench.topics.prefix, f"{OPTIN}.0"
        )
        await eventually(alarm, "the alarm")
        await bench.apply(mine)
        await eventually(all_is_well, "the end of the alarm")


# Topology, lag, dead letters.


async def test_a11_a_queue_in_another_form_is_named_with_what_to_do(
    bench: Bench, settings: Settings, channel: aiormq.abc.AbstractChannel
) -> None:
    await bench.apply()
    queue = f"{bench.topics.prefix}.loyalty.0"
    await channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
    blind = settings.model_copy(update={"rabbitmq_management_url": SecretStr("")})
    for one in (bench, Bench(blind)):
        with pytest.raises(TopologyMissing, match=r"loyalty\.0.*by hand"):
            await one.apply(group())


async def test_without_the_management_api_bindings_and_lag_are_unknown_and_nothing_breaks(
    settings: Settings,
) -> None:
    bench = Bench(settings.model_copy(update={"rabbitmq_management_url": SecretStr("")}))
    await bench.apply(group())
    async with bench.broker.topology() as topology:
        assert list(await topology.apply([group()])) == []
        with pytest.raises(NotSupported, match="BRIDGE_RABBITMQ_MANAGEMENT_URL"):
            await topology.groups()
    async with bench.publisher() as publisher:
        await publisher.publish([bench.message(f"{n}") for n in range(5)])
        assert sum(entry.messages or 0 for entry in await bench.lag(group())) == 5
        async with bench.hand_driven(group()) as hand:
            for n in range(5):
                await hand.lane_of(f"1|{n}")
            held = await bench.lag(group())
            assert any(entry.messages is None for entry in held)
            assert all(entry.messages is None for entry in held if entry.members)


async def test_services_need_no_right_to_create(
    bench: Bench, settings: Settings, api: Api, prefix: str
) -> None:
    await bench.apply(group())
    await api.ask("PUT", f"/users/{prefix}", {"password": "secret", "tags": ""})
    try:
        await api.ask(
            "PUT",
            f"/permissions/%2F/{prefix}",
            {"configure": "", "write": ".*", "read": ".*"},
        )
        url = urlsplit(settings.broker_url.get_secret_value())
        poor = Bench(
            settings.model_copy(
                update={
                    "broker_url": SecretStr(
                        f"amqp://{prefix}:secret@{url.hostname}:{url.port}{url.path}"
                    )
                }
            )
        )
        async with poor.publisher() as publisher, poor.replica(group()) as replica:
            await replica.has_lanes(LANES)
            await publisher.publish([bench.message("a")])
            await replica.has("a")
        with pytest.raises(BrokerUnavailable):
            await poor.apply(group("another"))
    finally:
        await api.ask("DELETE", f"/users/{prefix}")


async def test_what_the_broker_itself_sets_aside_is_a_dead_letter_with_its_reason(
    bench: Bench, channel: aiormq.abc.AbstractChannel
) -> None:
    await bench.apply(group())
    queue = Layout(bench.settings).shard_queue("loyalty", 0)
    await channel.basic_publish(
        b"{}",
        routing_key=queue,
        properties=spec.Basic.Properties(message_id="m", headers={"ce-id": "often"}),
    )
    reject: asyncio.Queue[Any] = asyncio.Queue()

    async def note(message: Any) -> None:
        reject.put_nowait(message)

    await channel.basic_consume(queue, note)
    message = await asyncio.wait_for(reject.get(), 10)
    await channel.basic_reject(message.delivery_tag, requeue=False)

    async def it_is_there() -> bool:
        return bool(await bench.dead("loyalty"))

    await eventually(it_is_there, "the dead letter")
    (letter,) = await bench.dead("loyalty")
    assert letter.message.text(wire.CE_ID) == "often"
    assert "rejected" in letter.message.text(wire.DEAD_REASON)
    assert letter.message.text(wire.DEAD_GROUP) == "loyalty"


async def test_looking_at_many_dead_letters_keeps_their_order(bench: Bench) -> None:
    await bench.apply(group())
    ids = [f"{n:03}" for n in range(150)]
    async with bench.broker.dead_letters("loyalty") as letters:
        async with asyncio.TaskGroup() as tasks:
            for id_ in ids:
                tasks.create_task(letters.put(bench.message(id_), id_))
        for _ in range(3):
            found = [letter.message.text(wire.CE_ID) for letter in await bench.dead("loyalty")]
            assert found == ids


async def test_two_people_can_look_at_the_same_dead_letters(bench: Bench) -> None:
    await bench.apply(group())
    async with bench.broker.dead_letters("loyalty") as letters:
        for n in range(10):
            await letters.put(bench.message(f"{n}"), f"{n}")
    looks = await asyncio.gather(*(bench.dead("loyalty") for _ in range(4)))
    assert [len(look) for look in looks] == [10] * 4
