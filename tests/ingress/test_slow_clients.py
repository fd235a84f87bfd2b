"""Clients that are slow, silent, endless or gone harm nobody else (pitfalls U1, U3, U4, U5, U7)."""

from __future__ import annotations

import asyncio
import gc
import itertools
import socket
import weakref
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest

from bridge.ingress import connections as limits
from bridge.ingress.protocol import MAX_HEAD_BYTES, MAX_PARTING_BYTES
from tests.ingress.rig import BODY, PATH, PATIENCE, Wire, metric, post, until

if TYPE_CHECKING:
    from tests.ingress.conftest import StartRig
    from tests.ingress.rig import Rig

QUICK = 0.3
"""Seconds: the receive timeout of tests that wait for it."""


async def send_until_cut_off(rig: Rig, wire: Wire, data: bytes) -> None:
    """Send this again and again until the server has closed its side."""

    async def for_ever() -> None:
        with suppress(ConnectionError):
            while True:
                await wire.send(data)
                await asyncio.sleep(0)

    sending = asyncio.ensure_future(for_ever())
    await until(lambda: rig.ingress.public.open_connections == 0)
    sending.cancel()
    await asyncio.wait([sending])


async def test_a_connection_that_never_sends_is_closed(start: StartRig) -> None:
    rig = await start(receive_timeout=QUICK)
    async with rig.wire() as wire:
        assert await wire.closed() == b""


@pytest.mark.parametrize("sent", [1, 20, 60])
async def test_headers_that_never_end_are_408(start: StartRig, sent: int) -> None:
    rig = await start(receive_timeout=QUICK)
    async with rig.wire() as wire:
        await wire.send(post()[:sent])

        assert (await wire.response()).status == 408
        async with asyncio.timeout(PATIENCE):
            assert await wire.reader.read() == b""


async def test_headers_that_trickle_are_408_all_the_same(start: StartRig) -> None:
    rig = await start(receive_timeout=QUICK)
    async with rig.wire() as wire:
        await wire.send(b"POST /hooks HTTP/1.1\r\n")
        answered = asyncio.ensure_future(wire.response())
        while not answered.done():
            wire.writer.write(b"X-Drop: 1\r\n")
            await asyncio.sleep(0.02)

        assert (await answered).status == 408


async def test_a_body_that_stops_is_408_and_gives_its_bytes_back(start: StartRig) -> None:
    rig = await start(receive_timeout=QUICK)
    async with rig.wire() as wire:
        await wire.send(post()[:-1])
        await until(lambda: rig.ingress.admission.bytes_in_flight == len(BODY))

        response = await wire.response()

        assert response.status == 408
        assert response.headers["connection"] == "close"
        assert rig.everything_is_given_back()
        assert rig.publisher.calls == 0
        await wire.closed()


async def test_a_body_that_trickles_is_408(start: StartRig) -> None:
    rig = await start(receive_timeout=QUICK)
    async with rig.wire() as wire:
        await wire.send(post(b" " * 1000)[:-1000])
        answered = asyncio.ensure_future(wire.response())
        while not answered.done():
            wire.writer.write(b" ")
            await asyncio.sleep(0.02)

        assert (await answered).status == 408


async def test_slow_headers_on_a_kept_connection_are_408_too(start: StartRig) -> None:
    rig = await start(receive_timeout=QUICK)
    async with rig.wire() as wire:
        await wire.send(post())
        assert (await wire.response()).status == 200

        await wire.send(post()[:30])

        assert (await wire.response()).status == 408


async def test_a_head_over_the_cap_is_431(rig: Rig) -> None:
    async with rig.wire() as wire:
        await wire.send(b"POST / HTTP/1.1\r\nX-Long: " + b"x" * MAX_HEAD_BYTES)

        assert (await wire.response()).status == 431


async def test_a_head_over_the_cap_is_431_also_when_it_comes_whole(rig: Rig) -> None:
    many = tuple(f"X-{number}: {'x' * 90}" for number in range(400))

    assert (await rig.exchange(post(headers=many))).status == 431
    assert rig.publisher.calls == 0


async def test_a_head_under_the_cap_with_a_large_body_is_fine(rig: Rig) -> None:
    headers = (f"X-Long: {'x' * (MAX_HEAD_BYTES - 1000)}",)

    assert (await rig.exchange(post(b"[" + b" " * 200_000 + b"]", headers=headers))).status == 200


async def test_an_endless_head_is_not_kept_in_memory(rig: Rig) -> None:
    async with rig.wire() as wire:
        await wire.send(b"POST / HTTP/1.1\r\n")
        await send_until_cut_off(rig, wire, b"X-Header: " + b"x" * 8000 + b"\r\n")


async def test_endless_trailers_are_refused(start: StartRig) -> None:
    rig = await start(max_body_bytes=1024)
    async with rig.wire() as wire:
        await wire.send(
            f"POST {PATH} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n".encode()
            + b"X-Trailer: xxxxxxxxxxxxxxxxxxx\r\n" * 2000
        )

        assert (await wire.response()).status == 413
    await until(rig.everything_is_given_back)
    assert rig.publisher.calls == 0


async def test_idle_connections_end_at_the_keep_alive_timeout(
    start: StartRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "KEEP_ALIVE_TIMEOUT", QUICK)
    rig = await start()
    async with rig.wire() as wire:
        await wire.send(post())
        assert (await wire.response()).status == 200

        assert await wire.closed() == b""


def test_an_idle_connection_outlives_the_receive_timeout_and_a_proxy() -> None:
    assert limits.Connections(receive_timeout=5).idle.limit == 75


async def test_over_the_cap_the_oldest_idle_connection_makes_room(start: StartRig) -> None:
    rig = await start()
    rig.ingress.public.connections._max_waiting = 3
    async with rig.wire() as first, rig.wire() as second, rig.wire() as third:
        for wire in (first, second, third):
            await wire.send(post())
            assert (await wire.response()).status == 200
        await second.send(post()[:10])  # no longer idle

        async with rig.wire() as fourth, rig.wire() as fifth:
            assert await first.closed() == b""
            assert await third.closed() == b""
            for wire, rest in ((second, post()[10:]), (fourth, post()), (fifth, post())):
                await wire.send(rest)
                assert (await wire.response()).status == 200


async def test_a_thousand_slow_connections_do_not_harm_real_traffic(start: StartRig) -> None:
    rig = await start(receive_timeout=2)
    slow = [
        Wire(*await asyncio.open_connection("127.0.0.1", rig.ingress.ports.public))
        for _ in range(1000)
    ]
    for number, wire in enumerate(slow):
        if number % 3:
            wire.writer.write(post()[: -1 if number % 3 == 1 else 40])

    answers = [await rig.exchange(post()) for _ in range(100)]
    ends = await asyncio.gather(*(wire.closed() for wire in slow))

    assert [answer.status for answer in answers] == [200] * 100
    assert {end.partition(b"\r\n")[0] for end in ends} == {b"", b"HTTP/1.1 408 Request Timeout"}
    await until(lambda: rig.ingress.public.open_connections == 0)
    assert rig.everything_is_given_back()
    for wire in slow:
        await wire.close()


async def test_a_client_that_leaves_in_the_middle_of_its_body_leaves_nothing(rig: Rig) -> None:
    gone = metric("bridge_ingress_requests_total", status="gone", token="default")
    async with rig.wire() as wire:
        await wire.send(post()[:-1])
        await until(lambda: rig.ingress.admission.requests_in_flight == 1)

    await until(rig.everything_is_given_back)
    assert rig.publisher.calls == 0
    assert metric("bridge_ingress_requests_total", status="gone", token="default") == gone + 1


async def test_a_client_gone_while_it_is_published_leaves_a_whole_publish(rig: Rig) -> None:
    rig.publisher.hold()
    async with rig.wire() as wire:
        await wire.send(post())
        await until(lambda: rig.publisher.waiting == 1)
        wire.reset()
    await until(lambda: rig.ingress.public.open_connections == 0)

    assert rig.publisher.waiting == 1  # not cancelled
    rig.publisher.release()
    await until(rig.everything_is_given_back)
    assert len(rig.publisher.stored) == 1


async def test_a_connection_that_was_reset_keeps_no_memory(rig: Rig) -> None:
    # uvicorn's keep-alive timer holds such a connection, and all it read, until it fires.
    async with rig.wire() as wire:
        await wire.send(post())
        await wire.response()
        (connection,) = map(weakref.ref, rig.ingress.public._state.connections)
        wire.reset()
    await until(lambda: rig.ingress.public.open_connections == 0)

    gc.collect()
    assert connection() is None


async def test_a_client_that_ends_its_side_still_gets_its_answer(rig: Rig) -> None:
    rig.publisher.hold()
    async with rig.wire() as wire:
        await wire.send(post())
        wire.writer.write_eof()
        await until(lambda: rig.publisher.waiting == 1)
        rig.publisher.release()

        assert (await wire.response()).status == 200
        assert await wire.closed() == b""


async def test_a_client_that_is_still_sending_can_read_its_refusal(start: StartRig) -> None:
    rig = await start(max_body_bytes=1024)
    async with rig.wire() as wire:
        # Far more than the socket buffers hold: without a reader the client would be reset.
        await wire.send(post(b"x" * (MAX_PARTING_BYTES - 10_000)))

        assert (await wire.response()).status == 413
        # An end and not a reset, which makes other systems throw the answer away unread.
        async with asyncio.timeout(PATIENCE):
            assert await wire.reader.read() == b""


@pytest.mark.parametrize("at_once", [0, 100, 100_000])
async def test_a_client_that_never_stops_sending_is_cut_off(
    start: StartRig, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(limits, "PARTING_TIMEOUT", 1000)
    rig = await start(max_body_bytes=1024)
    async with rig.wire() as wire:
        head = f"POST {PATH} HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n".encode()
        await wire.send(head + b"x" * at_once)
        await send_until_cut_off(rig, wire, b"x" * 100_000)


async def test_a_client_that_does_not_read_its_answers_is_cut_off(
    start: StartRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "UNREAD_TIMEOUT", QUICK)
    rig = await start()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)  # noqa: FBT003 - the standard library's signature
        await asyncio.get_running_loop().sock_connect(
            client, ("127.0.0.1", rig.ingress.ports.public)
        )
        await until(lambda: rig.ingress.public.open_connections == 1)
        for connection in rig.ingress.public._state.connections:
            server = connection.transport.get_extra_info("socket")
            server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            connection.transport.set_write_buffer_limits(high=1024)

        async def send_and_never_read() -> None:
            with suppress(ConnectionError):
                for sent in itertools.count(8, 8):
                    await asyncio.get_running_loop().sock_sendall(client, post(b"[]") * 8)
                    await until(partial(reached, sent))

        def reached(sent: int) -> bool:
            return rig.publisher.calls >= sent

        sending = asyncio.ensure_future(send_and_never_read())
        await until(lambda: rig.ingress.public.open_connections == 0)
        sending.cancel()
        await asyncio.wait([sending])
    assert rig.publisher.calls > 10
    await until(rig.everything_is_given_back)
