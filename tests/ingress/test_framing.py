"""Shapes of HTTP that could make two parties read two different requests, or lose a body."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.ingress.protocol import MAX_PIPELINED
from tests.ingress.rig import BODY, NOTIFICATION, PATH, chunked, post, until

if TYPE_CHECKING:
    from tests.ingress.rig import Rig

HEAD = f"POST {PATH} HTTP/1.1\r\nHost: bridge\r\n".encode()
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


@pytest.mark.parametrize(
    "request_",
    [
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + CHUNKS,
        HEAD + b"Content-Length: %d\r\nContent-Length: 2\r\n\r\n" % len(BODY) + BODY,
        HEAD + b"Content-Length: 2, 2\r\n\r\n[]",
        HEAD + b"Content-Length: +2\r\n\r\n[]",
        HEAD + b"Content-Length: -2\r\n\r\n[]",
        HEAD + b"Content-Length: 0x2\r\n\r\n[]",
        HEAD + b"Content-Length: 99999999999999999999999999\r\n\r\n[]",
        HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKS,
        HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n" + CHUNKS,
        HEAD + b"Transfer-Encoding : chunked\r\n\r\n" + CHUNKS,
        HEAD + b" folded: yes\r\n\r\n",
        HEAD + b"Bare: newline\n\n",
        HEAD + b"Null: \x00\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS on the plain port
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT bridge:80 HTTP/1.1\r\nHost: bridge\r\n\r\n",
        b"garbage\r\n\r\n",
        b"\x00" * 100,
    ],
)
async def test_an_ambiguous_or_broken_request_is_400_and_closed(rig: Rig, request_: bytes) -> None:
    async with rig.wire() as wire:
        await wire.send(request_)

        assert (await wire.response()).status == 400
        assert await wire.closed() == b""
    await until(rig.everything_is_given_back)
    assert rig.publisher.stored == []


async def test_a_request_hidden_behind_both_lengths_is_not_handled(rig: Rig) -> None:
    async with rig.wire() as wire:
        await wire.send(
            HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + post()
        )

        assert (await wire.response()).status == 400
        assert await wire.closed() == b""
    assert rig.publisher.calls == 0


async def test_a_coded_transfer_is_415(rig: Rig) -> None:
    response = await rig.exchange(HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKS)

    assert response.status == 415


@pytest.mark.parametrize("offer", ["h2c", "websocket", "TLS/1.0"])
@pytest.mark.parametrize("split", [None, -1, 150])
async def test_an_offer_to_upgrade_is_declined_and_the_body_kept(
    rig: Rig, offer: str, split: int | None
) -> None:
    # The parser ends at these headers: uvicorn alone hands an empty body to the application, and
    # this request would be answered 200 with its notifications lost. Java's client sends it.
    headers = ("Connection: Upgrade, HTTP2-Settings", f"Upgrade: {offer}", "HTTP2-Settings: AAMA")
    request = post(headers=headers)
    async with rig.wire() as wire:
        await wire.send(request[:split])
        if split is not None:
            await wire.send(request[split:])

        assert (await wire.response()).status == 200
        assert await wire.closed() == b""
    assert [message.body for message in rig.publisher.stored] == [NOTIFICATION]


async def test_an_offer_to_upgrade_with_a_chunked_body_is_declined(rig: Rig) -> None:
    request = chunked(BODY[:20], BODY[20:]).replace(
        b"Host: bridge", b"Host: bridge\r\nConnection: upgrade\r\nUpgrade: h2c"
    )

    assert (await rig.exchange(request)).status == 200
    assert [message.body for message in rig.publisher.stored] == [NOTIFICATION]


async def test_a_client_that_waits_for_100_continue_is_told_to_go_on(rig: Rig) -> None:
    request = post(headers=("Expect: 100-continue",))
    async with rig.wire() as wire:
        await wire.send(request[: -len(BODY)])
        assert (await wire.response()).status == 100

        await wire.send(BODY)
        assert (await wire.response()).status == 200


async def test_a_client_that_does_not_wait_for_100_continue_is_served(rig: Rig) -> None:
    async with rig.wire() as wire:
        await wire.send(post(headers=("Expect: 100-continue",)))
        response = await wire.response()
        if response.status == 100:
            response = await wire.response()

    assert response.status == 200


async def test_a_wrong_token_is_refused_without_100_continue(rig: Rig) -> None:
    request = post(path=PATH + "x", headers=("Expect: 100-continue",))
    async with rig.wire() as wire:
        await wire.send(request[: -len(BODY)])

        assert (await wire.response()).status == 404


async def test_http_1_0_is_answered_and_closed(rig: Rig) -> None:
    async with rig.wire() as wire:
        await wire.send(post(version="1.0"))
        response = await wire.response()

        assert (response.status, response.headers["connection"]) == (200, "close")
        assert await wire.closed() == b""


async def test_connection_close_is_honoured(rig: Rig) -> None:
    async with rig.wire() as wire:
        await wire.send(post(headers=("Connection: close",)))
        response = await wire.response()

        assert (response.status, response.headers["connection"]) == (200, "close")
        assert await wire.closed() == b""


async def test_what_follows_connection_close_is_not_handled(rig: Rig) -> None:
    async with rig.wire() as wire:
        await wire.send(post(headers=("Connection: close",)) + post())

        assert (await wire.response()).status == 200
        assert await wire.closed() == b""
    assert rig.publisher.calls == 1


async def test_many_requests_share_a_connection(rig: Rig) -> None:
    async with rig.wire() as wire:
        for _ in range(20):
            await wire.send(post())
            assert (await wire.response()).status == 200
    assert rig.publisher.calls == 20


async def test_pipelined_requests_are_answered_in_order(rig: Rig) -> None:
    async with rig.wire() as wire:
        await wire.send(post() + post(path="/nowhere")[: -len(BODY)].replace(b"POST", b"GET"))
        assert (await wire.response()).status == 200
        await wire.send(b"")
    async with rig.wire() as wire:
        await wire.send(post() * 5)
        assert [(await wire.response()).status for _ in range(5)] == [200] * 5
    assert len(rig.publisher.stored) == 6


async def test_more_pipelined_requests_than_allowed_close_the_connection(rig: Rig) -> None:
    rig.publisher.hold()
    async with rig.wire() as wire:
        await wire.send(post() * (MAX_PIPELINED + 20))
        await until(lambda: rig.publisher.waiting == 1)
        rig.publisher.release()

        assert (await wire.response()).status == 200
        assert b"HTTP/1.1 200" not in await wire.closed()


async def test_garbage_behind_a_request_does_not_overtake_its_answer(rig: Rig) -> None:
    rig.publisher.hold()
    async with rig.wire() as wire:
        await wire.send(post() + b"\x00garbage\r\n\r\n")
        await until(lambda: rig.publisher.waiting == 1)
        rig.publisher.release()

        assert (await wire.response()).status == 200
        assert await wire.closed() == b""


async def test_a_request_that_comes_byte_by_byte_is_whole(rig: Rig) -> None:
    async with rig.wire() as wire:
        for byte in post():
            await wire.send(bytes([byte]))

        assert (await wire.response()).status == 200
    assert [message.body for message in rig.publisher.stored] == [NOTIFICATION]


async def test_a_body_in_many_parts_is_whole(rig: Rig) -> None:
    large = NOTIFICATION.replace(b"{", b'{"pad":"%s",' % (b"x" * 8000), 1)

    response = await rig.exchange(post(b"[" + b",".join([large] * 900) + b"]"))

    assert response.status == 200
    assert [message.body for message in rig.publisher.stored] == [large] * 900
