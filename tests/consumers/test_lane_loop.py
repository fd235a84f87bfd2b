"""The loop of one lane, on a lane that holds it to the seam: no ack past what is not settled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from bridge import message as wire
from bridge.brokers.base import Delivery
from bridge.errors import LaneLost
from bridge.message import Message
from bridge.settings import Settings
from consumers import Consumer, Notification, Reject, Unavailable
from consumers.group_run import GroupRun
from consumers.lane_loop import LaneLoop
from tests.services.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence


class StrictLane:
    """A lane whose deliveries are all there from the start.

    Attributes:
        acked: how many are acked, from the oldest on.
        suspensions: how often it was suspended.
        lose_acks: so many acks fail first, as where a commit went wrong.
    """

    number = 0

    def __init__(self, *ids: str, hold_limit: float | None = None) -> None:
        self._deliveries = [_delivery(id_) for id_ in ids]
        self._given = 0
        self.hold_limit = hold_limit
        self.over = asyncio.Event()
        self.acked = 0
        self.suspensions = 0
        self.one_at_a_time = False
        self.lose_acks = 0
        self.closed = False

    async def receive(self, limit: int) -> Sequence[Delivery]:
        if self._given == len(self._deliveries):
            await self.over.wait()
        if self.over.is_set():
            return []
        upto = self._given + (1 if self.one_at_a_time else limit)
        found = self._deliveries[self._given : upto]
        self._given += len(found)
        return found

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        expected = self._deliveries[self.acked : self.acked + len(deliveries)]
        assert list(deliveries) == expected, "an ack with a gap before it"
        if self.lose_acks:
            self.lose_acks -= 1
            raise LaneLost("the commit failed")
        self.acked += len(deliveries)
        if self.acked == len(self._deliveries):
            self.over.set()

    async def suspend(self) -> None:
        self._given = self.acked
        self.suspensions += 1
        self.one_at_a_time = True

    async def resume(self) -> None:
        self.one_at_a_time = False

    async def close(self) -> None:
        self.closed = True


class KeptLetters:
    """Dead letters in memory."""

    def __init__(self) -> None:
        self.kept: list[Message] = []

    async def put(self, message: Message, origin: str) -> None:
        del origin
        self.kept.append(message)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def _delivery(id_: str) -> Delivery:
    message = Message(
        topic="notifications.contact_created",
        key=id_.encode(),
        body=b'{"type": "contact_created"}',
        headers=((wire.CE_ID, id_.encode()), (wire.CE_TYPE, b"contact_created")),
    )
    return Delivery(message=message, origin=id_, stored_at=None, redelivered=False, token=None)


async def work(consumer: Consumer, lane: StrictLane, **changes: object) -> KeptLetters:
    """Run the loop until the lane is over."""
    values: dict[str, Any] = {
        "retry_delay": 0.01,
        "retry_max_delay": 0.01,
        "outage_max_delay": 0.01,
        **changes,
    }
    letters = KeptLetters()
    loop = LaneLoop(lane, GroupRun(consumer, Settings(**values), "embedded"), letters)
    async with asyncio.timeout(20):
        await loop.run()
    assert lane.closed
    return letters


async def test_a_retry_that_meets_an_outage_waits_with_it_and_loses_nothing() -> None:
    consumer = Consumer("loyalty")
    failed = asyncio.Event()
    done: list[str] = []

    @consumer.on("contact_created")
    async def handle(notification: Notification) -> None:
        if notification.id == "a" and not failed.is_set():
            failed.set()
            raise ValueError
        if notification.id == "b" and "b" not in done:
            await failed.wait()
            done.append("b")
            raise Unavailable("down", retry_after=0)
        done.append(notification.id)

    lane = StrictLane("a", "b", "c")
    letters = await work(consumer, lane)

    assert lane.acked == 3
    assert lane.suspensions >= 1
    assert set(done) == {"a", "b", "c"}
    assert letters.kept == []


async def test_an_ack_that_failed_on_a_lane_still_ours_is_made_up_for() -> None:
    consumer = Consumer("loyalty")
    calls: list[str] = []

    @consumer.on("contact_created")
    async def handle(notification: Notification) -> None:
        calls.append(notification.id)

    lane = StrictLane("a", "b")
    lane.lose_acks = 1
    await work(consumer, lane)

    assert lane.acked == 2
    assert calls == ["a", "b", "a", "b"]


async def test_a_handler_cancelled_from_inside_is_tried_again_and_then_set_aside() -> None:
    consumer = Consumer("loyalty")

    @consumer.on("contact_created")
    async def handle(notification: Notification) -> None:
        if notification.id == "a":
            gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            gone.cancel()
            await gone

    lane = StrictLane("a", "b")
    letters = await work(consumer, lane, retry_attempts=2)

    assert lane.acked == 2
    assert [letter.text(wire.DEAD_ATTEMPTS) for letter in letters.kept] == ["2"]
    assert "cancelled" in letters.kept[0].text(wire.DEAD_REASON)


async def test_a_handler_that_wants_to_exit_the_process_is_a_failure_like_any_other() -> None:
    consumer = Consumer("loyalty")

    @consumer.on("contact_created")
    async def handle(notification: Notification) -> None:
        raise SystemExit(notification.id)

    lane = StrictLane("a")
    letters = await work(consumer, lane, retry_attempts=1)

    assert lane.acked == 1
    assert letters.kept[0].text(wire.DEAD_ERROR) == "SystemExit"


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Reject("bad name \ud800"), "bad name \\ud800"),
        (UnprintableError(), "UnprintableError"),
        (Reject("x" * 5000), "x" * 2000),
    ],
)
async def test_whatever_an_error_says_the_dead_letter_is_stored(
    error: Exception, reason: str
) -> None:
    consumer = Consumer("loyalty")

    @consumer.on("contact_created")
    async def handle(notification: Notification) -> None:
        del notification
        raise error

    lane = StrictLane("a")
    letters = await work(consumer, lane, retry_attempts=1)

    assert lane.acked == 1
    assert letters.kept[0].text(wire.DEAD_REASON) == reason


@pytest.mark.parametrize("nonsense", [7, "no", [True, True], [None], {}])
async def test_a_batch_handler_that_returns_nonsense_loses_nothing(nonsense: object) -> None:
    consumer = Consumer("loyalty")

    @consumer.on_batch("contact_created", wait=0)
    async def handle(notifications: Sequence[Notification]) -> object:
        del notifications
        return nonsense

    lane = StrictLane("a", "b")
    letters = await work(consumer, lane, retry_attempts=1)

    assert lane.acked == 2
    assert [letter.text(wire.DEAD_ERROR) for letter in letters.kept] == ["TypeError"] * 2


async def test_a_delivery_held_past_the_limit_is_given_back_between_probes() -> None:
    consumer = Consumer("loyalty")
    lane = StrictLane("a", hold_limit=0.001)
    calls = 0

    @consumer.on("contact_created")
    async def handle(notification: Notification) -> None:
        nonlocal calls
        calls += 1
        if calls < 5:
            raise Unavailable(notification.id, retry_after=0.01)

    await work(consumer, lane)

    assert lane.acked == 1
    assert lane.suspensions > 2  # the first begins the outage


async def test_a_delivery_without_a_limit_is_held_through_the_whole_outage() -> None:
    consumer = Consumer("loyalty")
    lane = StrictLane("a")
    calls = 0

    @consumer.on("contact_created")
    async def handle(notification: Notification) -> None:
        nonlocal calls
        calls += 1
        if calls < 5:
            raise Unavailable(notification.id, retry_after=0.01)

    await work(consumer, lane)

    assert lane.acked == 1
    assert lane.suspensions == 1


async def test_a_run_of_dead_letters_leaves_what_comes_after_it_unacked() -> None:
    consumer = Consumer("loyalty")

    @consumer.on("contact_created")
    async def handle(notification: Notification) -> None:
        raise KeyError(notification.id)

    lane = StrictLane("a", "b", "c", "d")
    letters = await work(consumer, lane, dead_letter_run=2, retry_attempts=1)

    assert lane.acked == 2
    assert len(letters.kept) == 2


async def test_a_probe_whose_delivery_has_gone_lets_the_others_go_on() -> None:
    consumer = Consumer("loyalty")

    @consumer.on("contact_created")
    async def handle(notification: Notification) -> None:
        raise Unavailable(notification.id, retry_after=0, scope="group")

    class EmptiedLane(StrictLane):
        async def suspend(self) -> None:
            await super().suspend()
            self._deliveries.clear()
            self._given = self.acked = 0

    lane = EmptiedLane("a")
    group = GroupRun(consumer, Settings(outage_max_delay=0.01), "embedded")
    task = asyncio.create_task(LaneLoop(lane, group, KeptLetters(), probe_receive=0.05).run())

    async def shut_and_opened() -> bool:
        return lane.suspensions > 0 and group.gate.is_open

    await eventually(shut_and_opened, "the gate to open again")
    lane.over.set()
    await task
