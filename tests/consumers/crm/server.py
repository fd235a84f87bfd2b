"""A small real CRM: keeps documents in memory, merges what is put, and can be told to fail.

To the alerts' tests, which only look at what was posted, it is a webhook's receiver.

It speaks HTTP over a real socket from a thread of its own, so that the consumer under test cannot
tell it from any other server.
"""

import json
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec


class Failure(msgspec.Struct, frozen=True):
    """How one request fails. `stored` failures happen after the document was stored.

    Attributes:
        status: the answer; 0 breaks the connection without one.
        headers: of the answer.
        body: of the answer.
        stored: whether the document is stored all the same.
        silent: seconds of silence before the answer.
        drip: seconds of silence before each byte of the answer's body.
    """

    status: int = 503
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    stored: bool = False
    silent: float = 0.0
    drip: float = 0.0


class Seen(msgspec.Struct, frozen=True):
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


class CrmServer:
    """The CRM's memory.

    Attributes:
        port: where it listens.
        url: of the contact collection.
        contacts: key -> merged document.
        requests: every request, in order of arrival.
        failures: what the next requests get, one each; then they succeed.
        always: what every request gets while it is set.
        connections: how many were accepted.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/contacts"
        self.contacts: dict[str, dict[str, Any]] = {}
        self.requests: list[Seen] = []
        self.failures: deque[Failure] = deque()
        self.always: Failure | None = None
        self.connections = 0
        self._lock = threading.Lock()

    def take(self, seen: Seen) -> Failure | None:
        """Record a request, store its document unless it is to fail; says how it fails."""
        with self._lock:
            self.requests.append(seen)
            failure = self.failures.popleft() if self.failures else self.always
            if failure is None or failure.stored:
                self._merge(unquote(seen.path.rsplit("/", 1)[1]), seen.document)
        return failure

    def _merge(self, key: str, document: dict[str, Any]) -> None:
        contact = self.contacts.setdefault(key, {})
        for name, value in document.items():
            if isinstance(value, dict):
                contact.setdefault(name, {}).update(value)
            else:
                contact[name] = value


@contextmanager
def crm_server(port: int = 0) -> Iterator[CrmServer]:
    """A running CRM; on leaving, its port refuses connections again."""
    server = _Server(("127.0.0.1", port), _Handler)
    server.crm = CrmServer(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.crm
    finally:
        server.shutdown()
        server.close_connections()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    crm: CrmServer
    daemon_threads = False
    block_on_close = True

    def __init__(self, *args: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        self.crm.connections += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """End idle keep-alive connections, which would hold their threads for ever."""
        for connection in tuple(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # the peer was faster

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        failure = self.server.crm.take(
            Seen(
                method=self.command,
                path=urlsplit(self.path).path,
                headers={name.lower(): value for name, value in self.headers.items()},
                body=body,
            )
        )
        if failure is None:
            self._answer(Failure(status=200, body=b"{}"))
            return
        if failure.silent:
            time.sleep(failure.silent)  # in the server's own thread: this is the failure
        if failure.status:
            self._answer(failure)
        else:
            self.close_connection = True

    do_PUT = do_POST = do_PATCH = _serve  # noqa: N815 - the library finds them by these names

    def _answer(self, answer: Failure) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        if not answer.drip:
            self.wfile.write(answer.body)
            return
        for byte in answer.body:
            time.sleep(answer.drip)  # as above
            try:
                self.wfile.write(bytes([byte]))
            except OSError:
                return  # the client gave up, as it should

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """No access log in test output."""
