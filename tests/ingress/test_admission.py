"""The door: bounded bytes and requests, given back after every outcome (I13)."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from bridge.errors import (
    Overloaded,
    PublishRejected,
    PublishUnconfirmed,
    StorageFailed,
    TooLarge,
)
from bridge.ingress import endpoint
from bridge.ingress.admission import UNKNOWN_LENGTH, Admission
from bridge.ingress.deadlines import SWEEP_INTERVAL
from tests.ingress.rig import BODY, PATH, chunked, post, until

if TYPE_CHECKING:
    from tests.ingress.conftest import StartRig
    from tests.ingress.rig import Rig

MIB = 1024 * 1024


def admission(**caps: int) -> Admission:
    return Admission(
        **({"max_body_bytes": 10, "in_flight_bytes": 25, "in_flight_requests": 3} | caps)
    )


def test_a_known_length_reserves_itself_and_an_unknown_one_the_cap() -> None:
    door = admission()

    with door.admit(4), door.admit(UNKNOWN_LENGTH):
        assert (door.bytes_in_flight, door.requests_in_flight) == (14, 2)
    assert (door.bytes_in_flight, door.requests_in_flight) == (0, 0)


def test_a_place_shrinks_to_what_the_body_turned_out_to_be() -> None:
    door = admission()

    with door.admit(UNKNOWN_LENGTH) as place:
        place.shrink(3)
        assert door.bytes_in_flight == 3
    assert door.bytes_in_flight == 0


def test_over_the_cap_is_too_large_even_when_nothing_is_free() -> None:
    door = admission(in_flight_requests=1)

    with door.admit(10), pytest.raises(TooLarge):
        door.admit(11)


@pytest.mark.parametrize(("lengths", "last"), [((10, 10), 6), ((0, 0, 0), 0)])
def test_a_spent_budget_is_overloaded_and_reserves_nothing(
    lengths: tuple[int, ...], last: int
) -> None:
    door = admission()
    places = [door.admit(length) for length in lengths]
    before = door.bytes_in_flight

    with pytest.raises(Overloaded):
        door.admit(last)
    assert door.bytes_in_flight == before
    for place in places:
        place.__exit__(None, None, None)
    assert (door.bytes_in_flight, door.requests_in_flight) == (0, 0)


def test_a_place_is_given_back_when_its_request_fails() -> None:
    door = admission()

    with pytest.raises(RuntimeError), door.admit(5):
        raise RuntimeError
    assert (door.bytes_in_flight, door.requests_in_flight) == (0, 0)


@pytest.mark.parametrize(
    "error",
    [
        None,
        PublishRejected("no"),
        PublishUnconfirmed("perhaps"),
        StorageFailed("disk"),
        RuntimeError("ours"),
    ],
)
async def test_the_budget_is_whole_again_after_every_end_of_a_publish(
    rig: Rig, error: Exception | None
) -> None:
    rig.publisher.error = error

    await rig.exchange(post())
    await rig.exchange(chunked(BODY))

    await until(rig.everything_is_given_back)


async def test_over_the_request_cap_it_is_503_before_the_body(start: StartRig) -> None:
    rig = await start(in_flight_requests=2)
    rig.publisher.hold()
    async with rig.wire() as first, rig.wire() as second, rig.wire() as third:
        await first.send(post())
        await second.send(post())
        await until(lambda: rig.publisher.waiting == 2)

        await third.send(post()[: -len(BODY)])
        response = await third.response()
        assert (response.status, response.headers["connection"]) == (503, "close")

        rig.publisher.release()
        assert [(await wire.response()).status for wire in (first, second)] == [200, 200]
        assert (await rig.exchange(post())).status == 200


async def test_over_the_byte_budget_it_is_503_before_the_body(start: StartRig) -> None:
    rig = await start(in_flight_bytes=8 * MIB)
    rig.publisher.hold()
    large = b"[" + b" " * (5 * MIB) + b"]"
    async with rig.wire() as first, rig.wire() as second:
        await first.send(post(large))
        await until(lambda: rig.publisher.waiting == 1)

        await second.send(post(large)[: -len(large)])
        assert (await second.response()).status == 503

        rig.publisher.release()
        assert (await first.response()).status == 200
    assert (await rig.exchange(post(large))).status == 200


async def test_a_chunked_body_holds_the_cap_only_until_it_is_read(start: StartRig) -> None:
    rig = await start(in_flight_bytes=9 * MIB)
    rig.publisher.hold()
    async with rig.wire() as first, rig.wire() as second:
        await first.send(chunked(BODY))
        await until(lambda: rig.publisher.waiting == 1)
        await second.send(chunked(BODY))
        await until(lambda: rig.publisher.waiting == 2)

        rig.publisher.release()
        assert [(await wire.response()).status for wire in (first, second)] == [200, 200]


async def test_strangers_cannot_spend_the_budget(start: StartRig) -> None:
    rig = await start(in_flight_requests=1, in_flight_bytes=8 * MIB)
    wires = [rig.wire() for _ in range(10)]
    for wire in wires:
        stranger = await wire.__aenter__()
        await stranger.send(post(b" " * MIB, path=PATH + "x")[:-1])

    assert (await rig.exchange(post())).status == 200
    for wire in wires:
        await wire.__aexit__(None, None, None)


async def test_a_publisher_that_never_returns_is_503_within_the_promise(
    start: StartRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "ANSWER_TIMEOUT", 0.3)
    rig = await start()
    rig.publisher.hold()

    response = await rig.exchange(post())

    assert response.status == 503
    assert rig.everything_is_given_back()


def test_the_deadlines_keep_the_promise_of_12_seconds() -> None:
    assert endpoint.ANSWER_TIMEOUT + SWEEP_INTERVAL < 12


async def test_a_request_that_is_cancelled_gives_its_place_back(start: StartRig) -> None:
    rig = await start()
    rig.publisher.hold()
    async with rig.wire() as wire:
        await wire.send(post())
        await until(lambda: rig.publisher.waiting == 1)
        for task in asyncio.all_tasks():
            if "run_asgi" in repr(task):
                task.cancel()

        await until(rig.everything_is_given_back)
        assert b" 200 " not in await wire.reader.read(100)


async def test_while_the_broker_is_frozen_no_more_is_held_than_the_budget(start: StartRig) -> None:
    rig = await start(in_flight_bytes=8 * MIB)
    rig.publisher.hold()
    body = b"[" + b" " * (100 * 1024 - 2) + b"]"
    admitted = 8 * MIB // len(body)
    async with AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(rig.wire()) for _ in range(3 * admitted)]
        for wire in wires:
            wire.writer.write(post(body))
        answers = [asyncio.ensure_future(wire.response()) for wire in wires]
        await until(lambda: sum(answer.done() for answer in answers) == 2 * admitted)

        assert rig.publisher.waiting == admitted
        assert rig.ingress.admission.bytes_in_flight == admitted * len(body)

        rig.publisher.release()
        statuses = [answer.status for answer in await asyncio.gather(*answers)]
    assert (statuses.count(200), statuses.count(503)) == (admitted, 2 * admitted)
    assert rig.everything_is_given_back()
