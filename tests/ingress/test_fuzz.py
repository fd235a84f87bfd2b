"""Requests with random damage: every one is answered or closed, none is stored unsaid."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from tests.ingress.rig import BODY, PATIENCE, chunked, post, until

if TYPE_CHECKING:
    from tests.ingress.conftest import StartRig

ROUNDS: Final = 400
ALLOWED: Final = {100, 200, 400, 404, 405, 408, 413, 415, 431, 503}
MORSELS: Final = (
    b"\r\n",
    b"\r\n\r\n",
    b"\x00",
    b"0",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Upgrade: h2c\r\nConnection: upgrade\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"Content-Encoding: gzip\r\n",
    b"\xff\xfe",
    b"GET / HTTP/1.1\r\n\r\n",
)


def damaged(chance: random.Random) -> bytes:
    """A request with up to three changes."""
    request = bytearray(chance.choice([post(), chunked(BODY[:9], BODY[9:]), post() + post()]))
    for _ in range(chance.randint(0, 3)):
        at = chance.randrange(len(request))
        kind = chance.randrange(4)
        if kind == 0:
            request[at] = chance.randrange(256)
        elif kind == 1:
            del request[at : at + chance.randint(1, 20)]
        elif kind == 2:
            request[at:at] = chance.choice(MORSELS)
        else:
            line = request.find(b"\r\n", at)
            request[line + 2 : line + 2] = chance.choice(MORSELS)
    return bytes(request)


async def exchange(port: int, request: bytes, chance: random.Random) -> bytes:
    """Send it in one to three parts, end our side, read to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    with suppress(ConnectionError):
        while request:
            size = chance.choice([len(request), len(request), chance.randint(1, len(request))])
            writer.write(request[:size])
            await writer.drain()
            request = request[size:]
        writer.write_eof()
        async with asyncio.timeout(PATIENCE):
            while part := await reader.read(65536):
                answer += part
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return answer


async def test_damaged_requests_are_answered_or_closed_and_never_stored_unsaid(
    start: StartRig, seed: int
) -> None:
    rig = await start(receive_timeout=1)
    chance = random.Random(seed)
    stored = 0
    for _ in range(ROUNDS):
        request = damaged(chance)

        answer = await exchange(rig.ingress.ports.public, request, chance)

        lines = [line for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
        assert {int(line.split()[1]) for line in lines} <= ALLOWED, request
        stored += answer.count(b"stored\n") - answer.count(b"not stored\n")
        assert rig.publisher.calls >= stored, request

    await until(rig.everything_is_given_back)
    assert stored > ROUNDS / 10
    assert (await rig.exchange(post())).status == 200
