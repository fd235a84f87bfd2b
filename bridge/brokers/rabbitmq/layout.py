"""Which exchanges, queues and bindings there are, and how messages are routed into them.

    exchange <prefix> (topic) ── <word>.<shard> ──► <prefix>.<group>.<shard>      one per shard
        │                     ── malformed.* ─────► <prefix>.malformed
        └─ unrouted ─► exchange <prefix>.unrouted (fanout) ─► <prefix>.unrouted
    <prefix>.dead.<group>      its dead letters
    <prefix>.<group>.members   always empty; each replica has one consumer on it, to be counted
    exchange <prefix>.groups   its bindings to `members` record what a group reads

The word is the last part of a topic's name, the shard comes from the key.
"""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import msgspec

from bridge.brokers.partition import partition_of
from bridge.errors import ConfigurationError
from bridge.message import MAX_LARGE_MESSAGE_BYTES, MAX_MESSAGE_BYTES
from bridge.settings import Settings
from bridge.topics import Group, Topics

DELIVERY_LIMIT: Final = 1000
"""A backstop only: the worker's own budget decides what is poison."""
UNLIMITED: Final = 1_000_000_000
"""Looking into a queue costs its messages a delivery each time. Since RabbitMQ 4.0 the default is
20, after which a message without a dead-letter exchange is dropped."""
_KEPT: Final = {"x-queue-type": "quorum", "x-delivery-limit": UNLIMITED}
TESTS_MARK: Final = "tests"
TYPE_MARK: Final = "type."


class Exchange(msgspec.Struct, frozen=True):
    """An exchange as it must be."""

    name: str
    type: str
    arguments: dict[str, Any] = {}


class Queue(msgspec.Struct, frozen=True):
    """A durable queue as it must be."""

    name: str
    arguments: dict[str, Any]


class Binding(msgspec.Struct, frozen=True):
    """A queue bound to an exchange."""

    exchange: str
    queue: str
    key: str


Thing: TypeAlias = Exchange | Queue | Binding
"""What a topology consists of."""


class Layout:
    """All names under one prefix."""

    def __init__(self, settings: Settings) -> None:
        self.topics: Topics = settings.topics
        self.shards = settings.rabbitmq_shards
        self.exchange = self.topics.prefix
        self.unrouted = f"{self.topics.prefix}.unrouted"
        self.groups = f"{self.topics.prefix}.groups"

    def word(self, topic: str) -> str:
        """The word of a topic in routing keys, e.g. `contact_optout`."""
        return topic.removeprefix(f"{self.exchange}.")

    def routing_keys(self) -> dict[str, tuple[str, ...]]:
        """Topic -> routing key of each shard, for every topic that is published to."""
        return {
            topic: tuple(f"{self.word(topic)}.{shard}" for shard in range(self.shards))
            for topic in self.topics.published
        }

    def shard_of(self, key: bytes) -> int:
        """The shard of a key."""
        return partition_of(key, self.shards)

    def limit_of(self, topic: str) -> int:
        """The most bytes that a message of this topic may have, headers included."""
        return MAX_LARGE_MESSAGE_BYTES if topic == self.topics.malformed else MAX_MESSAGE_BYTES

    def shard_queue(self, group: str, shard: int) -> str:
        """One of a group's queues."""
        return f"{self.exchange}.{group}.{shard}"

    def members(self, group: str) -> str:
        """The queue on which a group's replicas are counted."""
        return f"{self.exchange}.{group}.members"

    def topic_of(self, routing_key: str) -> str:
        """The topic that a routing key belongs to."""
        return f"{self.exchange}.{routing_key.rpartition('.')[0] or routing_key}"

    def exchanges(self) -> tuple[Exchange, ...]:
        """Those that the bridge needs."""
        return (
            Exchange(self.unrouted, "fanout"),
            Exchange(self.exchange, "topic", {"alternate-exchange": self.unrouted}),
            Exchange(self.groups, "direct"),
        )

    def queues(self, groups: Sequence[Group]) -> list[Queue]:
        """The bridge's own, and those of these groups."""
        found = [
            Queue(self.unrouted, dict(_KEPT)),
            Queue(self.topics.malformed, dict(_KEPT)),
        ]
        for group in groups:
            if group.name == "dead":
                raise ConfigurationError("a group cannot be named 'dead' on RabbitMQ")
            found.append(
                Queue(self.topics.dead(group.name), {**_KEPT, "x-single-active-consumer": True})
            )
            found.append(Queue(self.members(group.name), dict(_KEPT)))
            found += [self._shard(group.name, shard) for shard in range(self.shards)]
        return found

    def bindings(self, groups: Sequence[Group]) -> list[Binding]:
        """The bridge's own, and those of these groups."""
        malformed = self.topics.malformed
        found = [
            Binding(self.unrouted, self.unrouted, ""),
            Binding(self.exchange, malformed, f"{self.word(malformed)}.*"),
        ]
        for group in groups:
            found += self.bindings_of(group)
        return found

    def bindings_of(self, group: Group) -> list[Binding]:
        """What makes a group read its types, and the record of them."""
        words = [self.word(topic) for topic in self.topics.read_by(group)]
        found = [
            Binding(self.exchange, self.shard_queue(group.name, shard), f"{word}.{shard}")
            for word in words
            for shard in range(self.shards)
        ]
        marks = [f"{TYPE_MARK}{name}" for name in sorted(group.types)]
        marks += [TESTS_MARK] * group.tests
        found += [Binding(self.groups, self.members(group.name), mark) for mark in marks]
        return found

    def group_of(self, members: str, marks: Sequence[str]) -> Group:
        """The group that these marks on its `members` queue record."""
        name = members.removeprefix(f"{self.exchange}.").removesuffix(".members")
        types = frozenset(
            mark.removeprefix(TYPE_MARK) for mark in marks if mark.startswith(TYPE_MARK)
        )
        return Group(name, types, TESTS_MARK in marks)

    def _shard(self, group: str, shard: int) -> Queue:
        return Queue(
            self.shard_queue(group, shard),
            {
                "x-queue-type": "quorum",
                "x-single-active-consumer": True,
                "x-delivery-limit": DELIVERY_LIMIT,
                # At-least-once dead-lettering works only on a queue that rejects when full.
                "x-overflow": "reject-publish",
                "x-dead-letter-strategy": "at-least-once",
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": self.topics.dead(group),
            },
        )
