"""What the bridge stored on RabbitMQ, read by a client that is not ours."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import aio_pika
import pytest
from cloudevents.core.bindings.rabbitmq import RabbitMQMessage, from_rabbitmq_event

from bridge.topics import KNOWN_TYPES
from tests.acceptance.posted import ODD, Posted, check_events, post_everything
from tests.services.waiting import eventually

if TYPE_CHECKING:
    from cloudevents.core.base import BaseCloudEvent

    from tests.acceptance.installation import Installation
    from tests.services.rabbitmq import RabbitMQ

CONTACTS = 40
on_rabbitmq = pytest.mark.parametrize("system", ["rabbitmq"], indirect=True)


class Binding:
    """A queue of a foreign client, bound to the bridge's exchange; it keeps what it gets."""

    def __init__(self) -> None:
        self.messages: list[aio_pika.abc.AbstractIncomingMessage] = []

    async def open(
        self, channel: aio_pika.abc.AbstractChannel, exchange: str, routing_key: str
    ) -> None:
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(exchange, routing_key)
        await queue.consume(self._keep, no_ack=True)

    async def _keep(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        self.messages.append(message)

    def bodies(self) -> list[bytes]:
        return [message.body for message in self.messages]

    async def until(self, count: int) -> None:
        async def there() -> bool:
            return len(self.messages) >= count

        await eventually(there, f"{count} messages, not {len(self.messages)}", 60)


async def read_by_amqp(
    installation: Installation, rabbitmq: RabbitMQ, prefix: str
) -> tuple[Posted, Binding, Binding]:
    """Bind two queues, post everything; returns what `contact_optout.*` and `#` brought."""
    installation.run("topology", "apply")
    await asyncio.to_thread(installation.start_ingress)
    optout, everything = Binding(), Binding()
    async with await aio_pika.connect(rabbitmq.url) as connection, connection.channel() as channel:
        await optout.open(channel, prefix, "contact_optout.*")
        await everything.open(channel, prefix, "#")
        posted = await post_everything(installation, contacts=CONTACTS)
        await everything.until(len(posted.everything()))
        await optout.until(len(posted.of_optout()))
    return posted, optout, everything


@on_rabbitmq
async def test_a_plain_amqp_client_reads_from_a_queue_of_its_own(
    installation: Installation, rabbitmq: RabbitMQ, prefix: str
) -> None:
    posted, optout, everything = await read_by_amqp(installation, rabbitmq, prefix)

    # then: a queue bound with the type's routing keys has these, in order, byte for byte
    assert optout.bodies() == posted.of_optout()
    assert {str(message.routing_key).split(".")[0] for message in optout.messages} == {
        "contact_optout"
    }
    # and: one bound with everything has every body once
    assert sorted(everything.bodies()) == posted.everything()
    words = Counter(str(message.routing_key).rpartition(".")[0] for message in everything.messages)
    assert words == Counter(dict.fromkeys(KNOWN_TYPES, 1)) + Counter(
        test=8, malformed=1, contact_optout=len(ODD), contact_modified=CONTACTS
    )
    # and: tests come under the routing key of tests alone
    for message in everything.messages:
        is_test = str(message.routing_key).startswith("test.")
        assert (message.headers.get("ce-test") == "true") is is_test
    # and: messages survive a restart, and each copy has an id of its own
    assert {m.delivery_mode for m in everything.messages} == {aio_pika.DeliveryMode.PERSISTENT}
    assert len({m.message_id for m in everything.messages}) == len(everything.messages)
    assert all(message.timestamp is not None for message in everything.messages)


@on_rabbitmq
async def test_the_cloudevents_sdk_reads_amqp_messages(
    installation: Installation, rabbitmq: RabbitMQ, prefix: str
) -> None:
    posted, _, everything = await read_by_amqp(installation, rabbitmq, prefix)
    events: dict[bytes, BaseCloudEvent] = {}
    for message in everything.messages:
        headers = dict(message.headers.items())
        assert all(isinstance(value, str) for value in headers.values()), headers
        events[message.body] = from_rabbitmq_event(
            RabbitMQMessage(headers, message.content_type, message.body)  # type: ignore[arg-type]  # asserted above
        )
    check_events(posted, events)
