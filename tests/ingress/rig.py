"""What tests of the ingress hold in their hands."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

import httpx2

from bridge import telemetry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AsyncExitStack

    from bridge.ingress.server import Ingress
    from tests.ingress.publisher import SwitchedPublisher

TOKEN: Final = "a-token-for-tests-only"
PATH: Final = f"/hooks/dialog-insight/{TOKEN}"
NOTIFICATION: Final = (
    b'{"type":"contact_optout","EventUniqueID":"e-1","dtExecution":"2016.09.19 10:54:49-04:00",'
    b'"idCompany":1,"idProject":2,"ContactID":{"idContact":3}}'
)
BODY: Final = b"[" + NOTIFICATION + b"]"
PATIENCE: Final = 15.0
"""Seconds after which a condition that did not come is a failure."""


class Response(NamedTuple):
    """One answer read from a raw connection."""

    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """A client that sends exactly the bytes it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def response(self) -> Response:
        """Read one answer."""
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readuntil(b"\r\n\r\n")
            status, *lines = head.decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in lines if line)
            }
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Response(int(status.split()[1]), headers, body)

    async def closed(self) -> bytes:
        """Wait until the server closes or resets; returns what it still sent."""
        rest = b""
        async with asyncio.timeout(PATIENCE):
            with suppress(ConnectionError):
                while part := await self.reader.read(65536):
                    rest += part
        return rest

    def reset(self) -> None:
        """Go without a word: the server sees a reset, not an end."""
        now = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


def post(
    body: bytes = BODY, *, path: str = PATH, headers: tuple[str, ...] = (), version: str = "1.1"
) -> bytes:
    """The bytes of one POST."""
    lines = [f"POST {path} HTTP/{version}", "Host: bridge", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


def chunked(*parts: bytes, path: str = PATH) -> bytes:
    """The bytes of one POST without a length."""
    head = f"POST {path} HTTP/1.1\r\nHost: bridge\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, b""))
    return head + chunks


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, at most PATIENCE seconds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - a condition of somebody else's state
            await asyncio.sleep(0.005)


def metric(name: str, **labels: str) -> float:
    """The value of one metric now; 0 where it was never counted."""
    return telemetry.REGISTRY.get_sample_value(name, labels) or 0.0


class Rig:
    """One running ingress."""

    def __init__(
        self, ingress: Ingress, publisher: SwitchedPublisher, leave: AsyncExitStack
    ) -> None:
        self.ingress = ingress
        self.publisher = publisher
        self._leave = leave

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ingress.ports.public}"

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{self.ingress.ports.admin}"

    @asynccontextmanager
    async def wire(self) -> AsyncIterator[Wire]:
        """A raw connection to the public port."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ingress.ports.public)
        wire = Wire(reader, writer)
        try:
            yield wire
        finally:
            await wire.close()

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx2.AsyncClient]:
        async with httpx2.AsyncClient(base_url=self.url, timeout=PATIENCE) as client:
            yield client

    async def exchange(self, data: bytes) -> Response:
        """Send these bytes on a connection of their own; the answer."""
        async with self.wire() as wire:
            await wire.send(data)
            return await wire.response()

    async def drain(self) -> None:
        await self._leave.aclose()

    def everything_is_given_back(self) -> bool:
        admission = self.ingress.admission
        return admission.bytes_in_flight == 0 and admission.requests_in_flight == 0
