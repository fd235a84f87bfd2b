"""Reading a body, as any ASGI server might hand it over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bridge.errors import TooLarge, TooSlow
from bridge.ingress.admission import UNKNOWN_LENGTH
from bridge.ingress.body import ClientGone, Framing, read_body, read_framing

if TYPE_CHECKING:
    from starlette.types import Receive


def server(*messages: dict[str, Any]) -> Receive:
    """A server that hands these over, then nothing."""
    left = iter(messages)

    async def receive() -> dict[str, Any]:
        return next(left)

    return receive


def part(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


GONE = {"type": "http.disconnect"}


async def test_parts_are_joined_in_order() -> None:
    receive = server(part(b"ab", more=True), part(b"", more=True), part(b"c", more=False))

    assert await read_body(receive, Framing(3, encoded=False), cap=3) == b"abc"


@pytest.mark.parametrize("length", [2, 4, 0])
async def test_a_body_that_is_not_as_long_as_announced_is_never_taken(length: int) -> None:
    with pytest.raises(TooSlow):
        await read_body(server(part(b"abc", more=False)), Framing(length, encoded=False), cap=9)


async def test_a_body_of_unknown_length_ends_where_the_server_says() -> None:
    receive = server(part(b"abc", more=False))

    assert await read_body(receive, Framing(UNKNOWN_LENGTH, encoded=False), cap=9) == b"abc"


async def test_a_body_over_the_cap_is_not_read_to_its_end() -> None:
    receive = server(part(b"abc", more=True), part(b"def", more=True))

    with pytest.raises(TooLarge):
        await read_body(receive, Framing(UNKNOWN_LENGTH, encoded=False), cap=5)


@pytest.mark.parametrize("before", [(), (part(b"ab", more=True),)])
async def test_a_client_that_left_leaves_no_body(before: tuple[dict[str, Any], ...]) -> None:
    with pytest.raises(ClientGone):
        await read_body(server(*before, GONE), Framing(2, encoded=False), cap=9)


@pytest.mark.parametrize(
    ("headers", "framing"),
    [
        ([], Framing(0, encoded=False)),
        ([(b"content-length", b"12")], Framing(12, encoded=False)),
        ([(b"transfer-encoding", b"Chunked")], Framing(UNKNOWN_LENGTH, encoded=False)),
        ([(b"transfer-encoding", b"gzip, chunked")], Framing(UNKNOWN_LENGTH, encoded=True)),
        ([(b"content-encoding", b" identity ")], Framing(0, encoded=False)),
        ([(b"content-encoding", b"gzip"), (b"content-encoding", b"")], Framing(0, encoded=True)),
    ],
)
def test_the_framing_is_read_from_the_headers(
    headers: list[tuple[bytes, bytes]], framing: Framing
) -> None:
    assert read_framing(headers) == framing
