"""One port: uvicorn's protocol without uvicorn's process management.

Signals, the order of the drain and the end of the process belong to the composition root.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import uvicorn
from uvicorn.server import ServerState

from bridge.errors import ConfigurationError
from bridge.ingress.connections import Connections
from bridge.ingress.deadlines import sweeping
from bridge.ingress.protocol import HardenedProtocol

BACKLOG: Final = 2048
"""Connections that the kernel keeps until they are accepted."""
CLOSE_TIMEOUT: Final = 1.0
"""Seconds for the last answers to leave the socket buffers; then connections are cut."""
_ADMIN_MAX_BODY_BYTES: Final = 1024 * 1024


class Listener:
    """An application on one port. Made by `listen`.

    Attributes:
        port: the port that is bound, also where 0 was asked for.
        connections: those that wait for their client.
    """

    def __init__(
        self, server: asyncio.Server, state: ServerState, connections: Connections
    ) -> None:
        self._server = server
        self._state = state
        self.connections: Final = connections
        self.port: Final[int] = server.sockets[0].getsockname()[1]

    @property
    def open_connections(self) -> int:
        """Connections that are open now."""
        return len(self._state.connections)

    def stop_accepting(self) -> None:
        """No new connections; those that are open go on."""
        self._server.close()

    async def finish(self, timeout: float) -> bool:  # noqa: ASYNC109 - the drain's own deadline
        """Wait until no request is in flight. False where the timeout (seconds) came first."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._state.tasks:
                    await asyncio.wait(self._state.tasks)
        return not self._state.tasks

    async def close(self) -> None:
        """Close every connection, cut those that do not close, end what still runs."""
        self.stop_accepting()
        for connection in list(self._state.connections):
            connection.shutdown()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                while self._state.connections:  # noqa: ASYNC110 - uvicorn's set has no event
                    await asyncio.sleep(0.01)
        for connection in list(self._state.connections):
            connection.transport.abort()
        for task in list(self._state.tasks):
            task.cancel()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks)


@asynccontextmanager
async def listen(  # noqa: D417 - `app` is an ASGI application, whose type is the server's affair
    app: Any,
    *,
    host: str,
    port: int,
    receive_timeout: float,
    max_body_bytes: int = _ADMIN_MAX_BODY_BYTES,
    variable: str = "BRIDGE_ADMIN",
) -> AsyncIterator[Listener]:
    """Serve an ASGI 3 application on one port until the context is left.

    Args:
        host: the address to bind.
        port: the port to bind; 0 takes any free one.
        receive_timeout: seconds for a request's headers.
        max_body_bytes: the largest body.
        variable: how the settings of this port begin, for the message of a failure.

    Raises:
        ConfigurationError: the port cannot be bound.
    """
    config = uvicorn.Config(
        app,
        http=HardenedProtocol,
        interface="asgi3",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
    )
    config.load()
    state = ServerState()
    connections = Connections(receive_timeout=receive_timeout)

    def accept() -> asyncio.Protocol:
        return HardenedProtocol(
            config, state, connections=connections, max_body_bytes=max_body_bytes
        )

    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(accept, host, port, backlog=BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"{variable}_HOST, {variable}_PORT: cannot listen on {host}:{port}: {error.strerror}"
        ) from error
    listener = Listener(server, state, connections)
    async with sweeping(connections.sweep):
        try:
            yield listener
        finally:
            await listener.close()
