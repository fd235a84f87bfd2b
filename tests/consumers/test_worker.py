"""The worker's loop over the embedded log: every outcome, pauses, the stop, the drain."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from bridge import message as wire
from bridge.brokers import open_broker
from bridge.errors import PublishRejected
from bridge.message import Message
from bridge.settings import Settings
from consumers import Consumer, Notification, Reject, Unavailable
from consumers.worker import Worker
from tests.services.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from bridge.brokers.base import Broker, DeadLetter, DeadLetters, Publisher

CREATED = "contact_created"


class Scene:
    """One broker with a publisher, and workers that are stopped at the end of the test."""

    def __init__(self, settings: Settings, broker: Broker, publisher: Publisher) -> None:
        self.settings = settings
        self.broker = broker
        self.publisher = publisher

    async def publish(
        self, *ids: str, key: str | None = None, type_: str = CREATED, test: bool = False
    ) -> None:
        topics = self.settings.topics
        for id_ in ids:
            own_key = key or f"1|{id_}"
            headers = [
                (wire.CE_ID, id_.encode()),
                (wire.CE_TYPE, type_.encode()),
                (wire.CE_SOURCE, b"/dialog-insight/1/1"),
                (wire.CE_PARTITIONKEY, own_key.encode()),
            ]
            if test:
                headers.append((wire.CE_TEST, b"true"))
            message = Message(
                topic=topics.test if test else topics.of(type_),
                key=own_key.encode(),
                body=b'{"type": "%s", "EventUniqueID": "%s"}' % (type_.encode(), id_.encode()),
                headers=tuple(headers),
            )
            await self.publisher.publish([message])

    async def apply(self, consumer: Consumer) -> None:
        async with self.broker.topology() as topology:
            await topology.apply([consumer.group])

    @asynccontextmanager
    async def running(
        self, consumer: Consumer, broker: Broker | None = None, **changes: object
    ) -> AsyncIterator[Worker]:
        """The consumer at work; drained on leaving. A worker that fails fails the test."""
        await self.apply(consumer)
        settings = self.settings.model_copy(update=changes)
        worker = Worker(consumer, broker or self.broker, settings)
        stop = asyncio.Event()
        task = asyncio.create_task(worker.run(stop))
        try:
            yield worker
        finally:
            stop.set()
            await task

    async def dead(self, group: str) -> list[DeadLetter]:
        async with (
            self.broker.dead_letters(group) as letters,
            aclosing(letters.read()) as found,
        ):
            return [letter async for letter in found]

    async def waiting(self, consumer: Consumer) -> int:
        """How many messages the group has not acked."""
        async with self.broker.lag_reader() as reader:
            entries = await reader.read([consumer.group])
        assert all(entry.messages is not None for entry in entries)
        return sum(entry.messages or 0 for entry in entries)

    async def until_all_acked(self, consumer: Consumer) -> None:
        async def none_waits() -> bool:
            return await self.waiting(consumer) == 0

        await eventually(none_waits, "every message to be acked")


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    settings = Settings(
        broker_url=SecretStr(f"sqlite:///{tmp_path}/bridge.db"),
        retry_delay=0.01,
        retry_max_delay=0.02,
        retry_attempts=3,
        outage_max_delay=0.05,
        embedded_min_free_bytes=0,
    )
    broker = open_broker(settings)
    async with AsyncExitStack() as stack:
        async with broker.topology() as topology:
            await topology.apply([])
        publisher = await stack.enter_async_context(broker.publisher())
        yield Scene(settings, broker, publisher)


def recording(group: str = "loyalty") -> tuple[Consumer, list[str]]:
    """A consumer that notes the ids it is given."""
    consumer = Consumer(group)
    seen: list[str] = []

    @consumer.on(CREATED)
    async def note(notification: Notification) -> None:
        seen.append(notification.id)

    return consumer, seen


async def until_seen(seen: Sequence[Any], count: int) -> None:
    async def enough() -> bool:
        return len(seen) >= count

    await eventually(enough, f"{count} calls")


async def test_what_a_handler_returned_from_is_acked_and_not_delivered_again(scene: Scene) -> None:
    consumer, seen = recording()
    await scene.apply(consumer)
    await scene.publish("a", "b", "c")

    async with scene.running(consumer):
        await scene.until_all_acked(consumer)
    async with scene.running(consumer):
        await scene.publish("d")
        await scene.until_all_acked(consumer)

    assert sorted(seen) == ["a", "b", "c", "d"]


async def test_a_rejected_notification_is_set_aside_at_once_with_its_reason(scene: Scene) -> None:
    consumer = Consumer("loyalty")
    calls: list[str] = []

    @consumer.on(CREATED)
    async def refuse(notification: Notification) -> None:
        calls.append(notification.id)
        raise Reject("no such programme\r\nat all")

    async with scene.running(consumer):
        await scene.publish("a")
        await scene.until_all_acked(consumer)

    [letter] = await scene.dead("loyalty")
    assert calls == ["a"]
    assert letter.message.text(wire.DEAD_REASON) == "no such programme at all"
    assert letter.message.text(wire.DEAD_ERROR) == "Reject"
    assert letter.message.text(wire.DEAD_ATTEMPTS) == "1"
    assert letter.message.text(wire.DEAD_GROUP) == "loyalty"
    assert letter.message.text(wire.DEAD_ORIGIN)
    assert letter.message.text(wire.DEAD_FIRST_TIME) <= letter.message.text(wire.DEAD_LAST_TIME)
    assert letter.message.text(wire.CE_ID) == "a"
    assert letter.message.body == b'{"type": "contact_created", "EventUniqueID": "a"}'


async def test_an_error_is_retried_up_to_the_budget_and_then_set_aside(scene: Scene) -> None:
    consumer = Consumer("loyalty")
    calls: list[str] = []

    @consumer.on(CREATED)
    async def fail(notification: Notification) -> None:
        calls.append(notification.id)
        raise ZeroDivisionError

    async with scene.running(consumer):
        await scene.publish("a")
        await scene.until_all_acked(consumer)

    [letter] = await scene.dead("loyalty")
    assert calls == ["a", "a", "a"]
    assert letter.message.text(wire.DEAD_ERROR) == "ZeroDivisionError"
    assert letter.message.text(wire.DEAD_ATTEMPTS) == "3"


async def test_an_error_that_passes_sets_nothing_aside(scene: Scene) -> None:
    consumer = Consumer("loyalty")
    calls: list[str] = []

    @consumer.on(CREATED)
    async def fail_twice(notification: Notification) -> None:
        calls.append(notification.id)
        if len(calls) < 3:
            raise ZeroDivisionError

    async with scene.running(consumer):
        await scene.publish("a")
        await scene.until_all_acked(consumer)

    assert calls == ["a", "a", "a"]
    assert await scene.dead("loyalty") == []


async def test_a_handler_that_hangs_is_cancelled_and_tried_again(scene: Scene) -> None:
    consumer = Consumer("loyalty")
    calls: list[str] = []

    @consumer.on(CREATED)
    async def hang_once(notification: Notification) -> None:
        calls.append(notification.id)
        if len(calls) == 1:
            await asyncio.Event().wait()

    async with scene.running(consumer, handler_timeout=0.05):
        await scene.publish("a")
        await scene.until_all_acked(consumer)

    assert calls == ["a", "a"]


async def test_a_body_that_cannot_be_read_is_set_aside_and_the_next_is_handled(
    scene: Scene,
) -> None:
    consumer, seen = recording()
    await scene.apply(consumer)
    broken = Message(
        topic=scene.settings.topics.of(CREATED),
        key=b"1|a",
        body=b"{broken",
        headers=((wire.CE_ID, b"a"), (wire.CE_TYPE, CREATED.encode())),
    )
    await scene.publisher.publish([broken])
    await scene.publish("b", key="1|a")

    async with scene.running(consumer):
        await scene.until_all_acked(consumer)

    [letter] = await scene.dead("loyalty")
    assert letter.message.body == b"{broken"
    assert seen == ["b"]


async def test_an_outage_sets_nothing_aside_and_keeps_the_order(scene: Scene) -> None:
    consumer = Consumer("loyalty")
    calls: list[str] = []
    done: list[str] = []

    @consumer.on(CREATED)
    async def fail_ten_times(notification: Notification) -> None:
        calls.append(notification.id)
        if len(calls) <= 10:
            raise Unavailable("the programme is down", retry_after=0)
        done.append(notification.id)

    async with scene.running(consumer) as worker:
        await scene.publish("a", "b", "c", key="1|1")
        await until_seen(calls, 3)
        assert worker.paused_lanes == 1
        await scene.until_all_acked(consumer)

    assert done == ["a", "b", "c"]
    assert calls[:11] == ["a"] * 11  # the oldest alone probes
    assert await scene.dead("loyalty") == []
    assert worker.paused_lanes == 0


async def test_an_outage_of_the_group_is_probed_by_one_lane_for_all(scene: Scene) -> None:
    consumer = Consumer("loyalty")
    up = asyncio.Event()
    running: set[str] = set()
    probes: list[str] = []
    done: list[str] = []

    @consumer.on(CREATED)
    async def need_the_outside(notification: Notification) -> None:
        if not up.is_set():
            probes.append(notification.id)
            raise Unavailable("down", scope="group")
        running.add(notification.id)
        done.append(notification.id)

    ids = [f"n{number}" for number in range(40)]
    async with scene.running(consumer):
        await scene.publish(*ids)
        await until_seen(probes, 12)
        late = set(probes[8:])
        up.set()
        await scene.until_all_acked(consumer)

    assert len(late) == 1  # once every lane knows, a single delivery probes
    assert sorted(set(done)) == sorted(ids)
    assert await scene.dead("loyalty") == []


async def test_a_lane_that_waits_for_the_outside_can_be_drained_at_once(scene: Scene) -> None:
    consumer = Consumer("loyalty")
    calls: list[str] = []

    @consumer.on(CREATED)
    async def never(notification: Notification) -> None:
        calls.append(notification.id)
        raise Unavailable("down for long", retry_after=3600)

    async with asyncio.timeout(10):
        async with scene.running(consumer):
            await scene.publish("a")
            await until_seen(calls, 1)

    assert await scene.waiting(consumer) == 1


def broken_release(*, works: Callable[[str], bool]) -> Consumer:
    """A consumer whose handler fails on every notification but those that work."""
    consumer = Consumer("loyalty")

    @consumer.on(CREATED, tests=True)
    async def fail(notification: Notification) -> None:
        if not works(notification.id):
            raise ZeroDivisionError

    return consumer


async def test_a_run_of_dead_letters_stops_the_group_and_leaves_the_rest(scene: Scene) -> None:
    consumer = broken_release(works=lambda _: False)
    await scene.apply(consumer)
    await scene.publish(*(f"n{number}" for number in range(50)), key="1|1")

    async with scene.running(consumer, dead_letter_run=5, retry_attempts=1) as worker:

        async def stopped() -> bool:
            return worker.state == "stopped"

        await eventually(stopped, "the group to stop")

    assert len(await scene.dead("loyalty")) == 5
    assert await scene.waiting(consumer) == 45


async def test_a_success_in_between_ends_a_run_of_dead_letters(scene: Scene) -> None:
    consumer = broken_release(works=lambda id_: int(id_) % 3 == 0)

    async with scene.running(consumer, dead_letter_run=3, retry_attempts=1):
        await scene.publish(*(str(number) for number in range(20)), key="1|1")
        await scene.until_all_acked(consumer)

    assert len(await scene.dead("loyalty")) == 13


async def test_bad_data_and_tests_are_set_aside_without_stopping_the_group(scene: Scene) -> None:
    rejecting = Consumer("loyalty")

    @rejecting.on(CREATED, tests=True)
    async def judge(notification: Notification) -> None:
        if notification.is_test:
            raise ZeroDivisionError
        raise Reject("no contact")

    async with scene.running(rejecting, dead_letter_run=2, retry_attempts=1):
        await scene.publish(*(f"r{number}" for number in range(5)), key="1|1")
        await scene.publish(*(f"t{number}" for number in range(5)), key="1|1", test=True)
        await scene.until_all_acked(rejecting)

    assert len(await scene.dead("loyalty")) == 10


async def test_a_dead_letter_that_cannot_be_stored_is_not_acked(scene: Scene) -> None:
    consumer = Consumer("loyalty")
    calls: list[str] = []

    @consumer.on(CREATED)
    async def refuse(notification: Notification) -> None:
        calls.append(notification.id)
        raise Reject("no")

    full = FullDeadLetters(scene.broker)
    async with scene.running(consumer, broker=full):
        await scene.publish("a")
        await until_seen(full.attempts, 3)
        assert await scene.waiting(consumer) == 1
        full.full = False
        await scene.until_all_acked(consumer)

    assert len(await scene.dead("loyalty")) == 1


class FullDeadLetters:
    """The broker, but its dead letters have no room until told otherwise."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.full = True
        self.attempts: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    @asynccontextmanager
    async def dead_letters(self, group: str) -> AsyncIterator[Any]:
        async with self._broker.dead_letters(group) as letters:
            yield _Full(self, letters)


class _Full:
    def __init__(self, owner: FullDeadLetters, letters: DeadLetters) -> None:
        self._owner = owner
        self._letters = letters

    async def put(self, message: Message, origin: str) -> None:
        self._owner.attempts.append(origin)
        if self._owner.full:
            raise PublishRejected("no space left")
        await self._letters.put(message, origin)


async def test_test_notifications_are_passed_over_unless_asked_for(scene: Scene) -> None:
    plain, seen = recording("plain")
    asking = Consumer("asking")
    tests: list[tuple[str, bool]] = []

    @asking.on(CREATED, tests=True)
    async def rehearse(notification: Notification) -> None:
        tests.append((notification.id, notification.is_test))

    async with scene.running(plain), scene.running(asking):
        await scene.publish("t", test=True)
        await scene.publish("r")
        await scene.until_all_acked(plain)
        await scene.until_all_acked(asking)

    assert seen == ["r"]
    assert sorted(tests) == [("r", False), ("t", True)]


async def test_an_unlisted_type_reaches_its_handler_and_others_are_passed_over(
    scene: Scene,
) -> None:
    consumer = Consumer("loyalty")
    seen: list[str] = []

    @consumer.on("contact_merged")
    async def note(notification: Notification) -> None:
        seen.append(f"{notification.type} {notification.id}")

    async with scene.running(consumer):
        await scene.publish("a", type_="contact_merged")
        await scene.publish("b", type_="contact_split")
        await scene.until_all_acked(consumer)

    assert seen == ["contact_merged a"]


async def test_one_contact_is_handled_in_order_and_others_at_the_same_time(scene: Scene) -> None:
    consumer = Consumer("loyalty")
    at_work: set[bytes] = set()
    order: dict[bytes, list[str]] = {}
    most = 0

    @consumer.on(CREATED)
    async def note(notification: Notification) -> None:
        nonlocal most
        key = notification.message.key
        assert key not in at_work, "one contact twice at the same time"
        at_work.add(key)
        most = max(most, len(at_work))
        for _ in range(3):
            await asyncio.sleep(0)
        order.setdefault(key, []).append(notification.id)
        at_work.discard(key)

    await scene.apply(consumer)
    for number in range(60):
        await scene.publish(f"{number:02}", key=f"1|{number % 6}")
    async with scene.running(consumer):
        await scene.until_all_acked(consumer)

    assert most > 1
    assert sum(map(len, order.values())) == 60
    for ids in order.values():
        assert ids == sorted(ids)


async def test_a_batch_handler_gets_batches_and_says_the_outcome_of_each(scene: Scene) -> None:
    consumer = Consumer("loyalty")
    sizes: list[int] = []

    @consumer.on_batch(CREATED, size=10, wait=0.01)
    async def judge(notifications: Sequence[Notification]) -> Sequence[BaseException | None]:
        sizes.append(len(notifications))
        return [Reject("odd") if int(n.id) % 2 else None for n in notifications]

    await scene.apply(consumer)
    await scene.publish(*(str(number) for number in range(25)), key="1|1")
    async with scene.running(consumer):
        await scene.until_all_acked(consumer)

    assert max(sizes) == 10
    assert sorted(int(x.message.text(wire.CE_ID)) for x in await scene.dead("loyalty")) == [
        *range(1, 25, 2)
    ]


async def test_in_a_batch_only_those_that_failed_are_tried_again(scene: Scene) -> None:
    consumer = Consumer("loyalty")
    calls: list[list[str]] = []

    @consumer.on_batch(CREATED, size=10, wait=0.01)
    async def judge(notifications: Sequence[Notification]) -> Sequence[BaseException | None]:
        calls.append([n.id for n in notifications])
        first = len(calls) == 1
        return [ValueError() if first and n.id == "1" else None for n in notifications]

    await scene.apply(consumer)
    await scene.publish("0", "1", "2", key="1|1")
    async with scene.running(consumer):
        await scene.until_all_acked(consumer)

    assert calls == [["0", "1", "2"], ["1"]]
    assert await scene.dead("loyalty") == []


async def test_a_batch_handler_that_miscounts_loses_nothing(scene: Scene) -> None:
    consumer = Consumer("loyalty")

    @consumer.on_batch(CREATED, size=10, wait=0.01)
    async def miscount(notifications: Sequence[Notification]) -> Sequence[BaseException | None]:
        del notifications
        return [None, None, None, None]

    await scene.apply(consumer)
    await scene.publish("0", "1", key="1|1")
    async with scene.running(consumer):
        await scene.until_all_acked(consumer)

    letters = await scene.dead("loyalty")
    assert [x.message.text(wire.DEAD_ERROR) for x in letters] == ["TypeError", "TypeError"]


async def test_a_drain_finishes_and_acks_what_runs_and_begins_nothing(scene: Scene) -> None:
    consumer = Consumer("loyalty")
    begun: list[str] = []
    finished: list[str] = []
    go = asyncio.Event()

    @consumer.on(CREATED)
    async def slow(notification: Notification) -> None:
        begun.append(notification.id)
        await go.wait()
        finished.append(notification.id)

    await scene.apply(consumer)
    await scene.publish("a", "b", "c", key="1|1")
    worker = Worker(consumer, scene.broker, scene.settings)
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    await until_seen(begun, 1)
    stop.set()

    async def draining() -> bool:
        return worker.state == "draining"

    await eventually(draining, "the drain to begin")
    go.set()
    await task

    assert begun == finished == ["a"]
    assert await scene.waiting(consumer) == 2


async def test_a_handler_that_outlives_the_drain_is_cancelled_and_not_acked(scene: Scene) -> None:
    consumer = Consumer("loyalty")
    begun: list[str] = []

    @consumer.on(CREATED)
    async def never_ends(notification: Notification) -> None:
        begun.append(notification.id)
        await asyncio.Event().wait()

    async with scene.running(consumer, consume_drain_timeout=0.1):
        await scene.publish("a")
        await until_seen(begun, 1)

    assert await scene.waiting(consumer) == 1


async def test_replayed_dead_letters_reach_the_handler_with_their_mark(scene: Scene) -> None:
    consumer = Consumer("loyalty")
    broken = True
    replayed: list[tuple[str, bool]] = []

    @consumer.on(CREATED)
    async def mend_later(notification: Notification) -> None:
        if broken:
            raise Reject("not yet")
        replayed.append((notification.id, notification.replayed))

    async with scene.running(consumer):
        await scene.publish("a", "b")
        await scene.until_all_acked(consumer)
        broken = False
        async with scene.broker.dead_letters("loyalty") as letters:
            assert await letters.replay([x.id for x in await scene.dead("loyalty")]) == 2
        await until_seen(replayed, 2)
        await scene.until_all_acked(consumer)

    assert sorted(replayed) == [("a", True), ("b", True)]
    assert await scene.dead("loyalty") == []


async def test_what_was_in_hand_when_a_worker_died_comes_again(scene: Scene) -> None:
    consumer = Consumer("loyalty")
    begun: list[str] = []

    @consumer.on(CREATED)
    async def die(notification: Notification) -> None:
        begun.append(notification.id)
        await asyncio.Event().wait()

    await scene.apply(consumer)
    await scene.publish("a")
    task = asyncio.create_task(Worker(consumer, scene.broker, scene.settings).run(asyncio.Event()))
    await until_seen(begun, 1)
    task.cancel()
    await asyncio.wait([task])

    again, seen = recording()
    async with scene.running(again):
        await scene.until_all_acked(again)
    assert seen == ["a"]


async def test_a_lifespan_spans_the_handlers_and_is_closed(scene: Scene) -> None:
    events: list[str] = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        events.append("open")
        yield
        events.append("closed")

    consumer = Consumer("loyalty", lifespan=lifespan)

    @consumer.on(CREATED)
    async def note(notification: Notification) -> None:
        events.append(notification.id)

    async with scene.running(consumer):
        await scene.publish("a")
        await scene.until_all_acked(consumer)

    assert events == ["open", "a", "closed"]


def register_twice(consumer: Consumer) -> None:
    for _ in range(2):

        @consumer.on(CREATED)
        async def handler(notification: Notification) -> None: ...


def register_plain(consumer: Consumer) -> None:
    @consumer.on(CREATED)  # type: ignore[type-var]  # the mistake
    def handler(notification: Notification) -> None: ...


def register_nothing(consumer: Consumer) -> None:
    @consumer.on()
    async def handler(notification: Notification) -> None: ...


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        (register_twice, "already has a handler"),
        (register_plain, "must be async"),
        (register_nothing, "name the types"),
        (lambda consumer: consumer.group, "has no handler"),
        (lambda _: Consumer("no spaces"), "group name"),
        (lambda consumer: consumer.on_batch(CREATED, size=0), "size must be"),
    ],
)
def test_a_mistake_in_a_consumer_is_told_at_once(
    mistake: Callable[[Consumer], object], says: str
) -> None:
    from bridge.errors import ConfigurationError  # noqa: PLC0415

    with pytest.raises(ConfigurationError, match=says):
        mistake(Consumer("loyalty"))
