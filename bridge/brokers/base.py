"""The seam between the bridge and a broker: two verbs (publish, receive) and the view on them.

One broker is one `Broker`; everything else is made from it as an async context manager, owns its
connection, and is used from one event loop. No library exception leaves an adapter: callers see
`bridge.errors` only. The embedded adapter is a peer of the other two and the fake of the tests;
`tests/brokers/contract/` holds all three to what is written here.

Words: a *lane* is the unit of order for a consumer. Messages with one key always share a lane, and
a lane is in the hands of one replica of a group at a time. On Kafka a lane is one partition number
across all the group's topics, on RabbitMQ one shard queue, on the embedded log one hash range.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol

import msgspec

from bridge.message import Message
from bridge.topics import Group


class Publisher(Protocol):
    """Hands messages over and waits for the broker's word that they are stored."""

    @property
    def last_confirmed(self) -> float | None:
        """`time.monotonic()` of the newest confirmed publish; None before the first."""

    async def publish(self, messages: Sequence[Message]) -> None:
        """Return when the broker confirmed all of `messages`; an empty sequence returns at once.

        Messages of one key keep the order of their publish calls. Any number of tasks may publish
        at the same time. Cancelling the caller does not cancel the write. Waits no longer than the
        publish deadline of the settings.

        Raises:
            PublishRejected: certainly nothing of it is stored.
            PublishUnconfirmed: some or all of it may be stored.
            StorageFailed: the embedded log cannot be trusted any more; nothing further is stored.
        """


class Delivery(msgspec.Struct, frozen=True):
    """One hand-over of a message to a group.

    Attributes:
        message: what the broker holds.
        origin: where it lies, for people: `notifications.contact_optout/3@1742`.
        stored_at: unix time in seconds at which the broker (or publisher) stamped it, if known.
        redelivered: whether the broker knows that it was handed over before.
        token: the adapter's own; nobody else reads it.
    """

    message: Message
    origin: str
    stored_at: float | None
    redelivered: bool
    token: Any


class Lane(Protocol):
    """One lane in the hands of this replica. Used by one task."""

    @property
    def number(self) -> int:
        """Which lane, from 0."""

    @property
    def hold_limit(self) -> float | None:
        """Seconds for which one delivery may stay unacked; None where the broker sets no limit."""

    @property
    def over(self) -> asyncio.Event:
        """Set when the lane is over (revoked, or the subscriber ends): finish and `close`."""

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """Wait for deliveries: at least one, at most `limit`, oldest first.

        An empty sequence means that the lane is over: what is not acked will be delivered again,
        here or to another replica. Cancelling a `receive` takes nothing: the next one gives it.

        Raises:
            BrokerUnavailable: only where the adapter cannot reconnect by itself.
            StorageFailed: the embedded log cannot be trusted.
        """

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """These are done. They are given in the order received, with no gap in the lane.

        Returns when the broker has it (RabbitMQ: when it is written). Work acked is not delivered
        again, apart from an ack lost on the way.

        Raises:
            LaneLost: the lane went to another replica; the deliveries may come again there.
        """

    async def suspend(self) -> None:
        """Put aside everything unacked and stop prefetching, for an outage of unknown length.

        The next `receive` starts again at the oldest unacked delivery and gives one at a time
        until `resume`; while one is held it does not give another. Neither the length nor the
        number of such pauses loses or dead-letters anything, as long as one delivery is not held
        longer than `hold_limit`.
        """

    async def resume(self) -> None:
        """End what `suspend` began: prefetch again."""

    async def close(self) -> None:
        """The task that works this lane is done with it. Idempotent; a rebalance waits for it."""


class Subscriber(Protocol):
    """One replica of one group. It owns rebalance, prefetch and revocation."""

    def lanes(self) -> AsyncIterator[Lane]:
        """Give each lane as it is assigned to this replica; ends after `end`.

        The replicas of a group share the lanes evenly; a lane comes here again after a rebalance.
        """

    def end(self) -> None:
        """Take no new: every lane's `receive` gives an empty sequence, `lanes` stops. No wait."""


class LagEntry(msgspec.Struct, frozen=True):
    """How far one group is behind in one partition. None means unknown, which is never zero.

    Attributes:
        group: the group's name.
        topic: topic, or on RabbitMQ the queue.
        partition: partition, shard or lane number.
        messages: how many are stored and not acked.
        oldest: unix time in seconds of the oldest message not acked; None also where nothing waits.
        members: replicas at work on it.
    """

    group: str
    topic: str
    partition: int
    messages: int | None
    oldest: float | None
    members: int | None


class LagReader(Protocol):
    """Reads how far groups are behind, without touching what they read."""

    async def read(self, groups: Sequence[Group]) -> Sequence[LagEntry]:
        """One entry for each group and partition.

        Raises:
            BrokerUnavailable: nothing can be known now.
        """


class Change(msgspec.Struct, frozen=True):
    """One step of a topology plan.

    Attributes:
        action: what is done.
        kind: `topic`, `exchange`, `queue`, `binding`, `group`, `file`.
        name: of the thing.
        detail: settings that matter, for people.
    """

    action: Literal["create", "alter", "remove"]
    kind: str
    name: str
    detail: str = ""


class Topology(Protocol):
    """Topics, exchanges, queues, bindings. Only this creates them; services verify."""

    async def plan(self, groups: Sequence[Group]) -> Sequence[Change]:
        """What `apply` would do. Empty when everything is as it must be."""

    async def apply(self, groups: Sequence[Group]) -> Sequence[Change]:
        """Create or alter what the bridge and these groups need, and record the groups.

        Idempotent. Never deletes messages; a difference that cannot be altered in place raises.

        Raises:
            TopologyMissing: something is there in a form that must be changed by hand; says how.
            BrokerUnavailable: not reachable, or without the right to create.
        """

    async def remove(self, group: str) -> Sequence[Change]:
        """Take a group away with its positions, queues, dead letters. Unknown groups: no change."""

    async def verify(self, groups: Sequence[Group]) -> None:
        """Return if everything these groups (and the ingress) need is there.

        Raises:
            TopologyMissing: with the command that creates it.
            BrokerUnavailable: it cannot be known now.
        """

    async def groups(self) -> Sequence[Group]:
        """The groups recorded by `apply`."""


class DeadLetter(msgspec.Struct, frozen=True):
    """One message set aside for one group.

    Attributes:
        id: names it within its group; stable.
        message: topic is the one it came from; body and headers as first stored, and the
            `bridge_*` headers of `bridge.message` that say why.
    """

    id: str
    message: Message


class DeadLetters(Protocol):
    """The dead letters of one group."""

    async def put(self, message: Message, origin: str) -> None:
        """Set a message aside; returns when it is confirmed.

        `message` already carries the `bridge_*` headers. Putting the same delivery (`origin`)
        twice, after a crash before its ack, may store it twice; readers then see both or one.

        Raises:
            PublishRejected: not stored.
            PublishUnconfirmed: may be stored.
        """

    def read(self) -> AsyncGenerator[DeadLetter, None]:
        """All that lie there now, oldest first. Removes nothing; ends when they are read."""

    async def replay(self, ids: Sequence[str]) -> int:
        """Hand these back to the group: same id, body and headers, plus the replay mark.

        Each leaves the dead letters only after the broker confirmed its copy; a crash in between
        can replay it twice. Ids that are not there are skipped. Returns how many were replayed.
        """

    async def discard(self, ids: Sequence[str]) -> int:
        """Remove these for good. Returns how many were there."""


class Broker(Protocol):
    """One broker, from its URL. Holds settings only; what it makes holds connections."""

    @property
    def system(self) -> Literal["embedded", "kafka", "rabbitmq"]:
        """Which one, as metrics name it."""

    def publisher(self) -> AbstractAsyncContextManager[Publisher]:
        """A publisher. Opening verifies that what it publishes to exists and is safe.

        An unreachable broker does not fail the opening of Kafka or RabbitMQ publishers: they
        connect in the background, and publishes fail until then. Leaving flushes for at most 5 s.

        Raises:
            TopologyMissing: topics are not there; says the command.
            StorageFailed: the embedded log cannot be trusted.
            BrokerUnavailable: another process writes the embedded log.
        """

    def subscriber(self, group: Group) -> AbstractAsyncContextManager[Subscriber]:
        """A replica of `group`. Leaving gives back what is not acked and leaves the group.

        Raises:
            TopologyMissing: this group's topology is not applied; says the command.
            BrokerUnavailable: not reachable at start.
        """

    def lag_reader(self) -> AbstractAsyncContextManager[LagReader]:
        """A view on lag."""

    def topology(self) -> AbstractAsyncContextManager[Topology]:
        """Topology, for the command line and for verification."""

    def dead_letters(self, group: str) -> AbstractAsyncContextManager[DeadLetters]:
        """The dead letters of one group."""

    def tail(self, topics: Sequence[str]) -> AsyncGenerator[Delivery, None]:
        """What is published to these topics from now on, for people to watch; acks nothing.

        May miss messages while it reconnects: a view, not a group.
        """
