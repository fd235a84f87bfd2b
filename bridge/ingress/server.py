"""The ingress as a whole: the public and the admin port in one event loop, and their drain."""

import asyncio
import gc
import resource
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from fastapi import FastAPI

from bridge import telemetry
from bridge.brokers.base import Publisher
from bridge.ingress.accounts import Accounts
from bridge.ingress.admin import admin_app
from bridge.ingress.admission import Admission
from bridge.ingress.app import Front, public_app
from bridge.ingress.authentication import PathToken
from bridge.ingress.deadlines import Deadlines, sweeping
from bridge.ingress.endpoint import Endpoint
from bridge.ingress.health import Health, age
from bridge.ingress.listener import Listener, listen
from bridge.ingress.logbook import Logbook
from bridge.ingress.outcomes import Outcomes
from bridge.settings import Settings
from bridge.sources.base import Source

GC_THRESHOLDS: Final = (50_000, 50, 50)
"""After start-up: a full collection of FastAPI's and pydantic's heap costs 20 ms each time."""

MIN_OPEN_FILES: Final = 8192
"""Connections that wait and requests in flight at their caps; many systems begin with 1,024."""


class Ports(NamedTuple):
    """What is bound, also where the settings say 0."""

    public: int
    admin: int


class Ingress(NamedTuple):
    """A running ingress. Made by `open_ingress`.

    Attributes:
        ports: what is bound.
        public: the port that the sender posts to.
        health: its state, as the admin port shows it.
        admission: the caps, and how much of them is free.
    """

    ports: Ports
    public: Listener
    health: Health
    admission: Admission


async def serve(
    settings: Settings,
    *,
    publisher: Publisher,
    source: Source,
    stop: asyncio.Event,
    health: Health | None = None,
    admin: FastAPI | None = None,
    on_start: Callable[[Ports], None] | None = None,
) -> None:
    """Run the ingress until `stop` is set, then drain it.

    Takes no signals: the composition root sets `stop`, closes the publisher (which flushes it)
    after this returns, and exits 0. Best on uvloop.

    Args:
        settings: of this process.
        publisher: open; stays open.
        source: whose webhooks to take.
        stop: set when the ingress is to end.
        health: what the admin port shows, and to whose details the age of the last confirmed
            write is added; one is made by default.
        admin: the application of the admin port; by default `admin_app(health)`.
        on_start: called once with the bound ports when both accept connections.

    Raises:
        ConfigurationError: a port cannot be bound.
    """
    async with open_ingress(
        settings, publisher=publisher, source=source, health=health, admin=admin
    ) as ingress:
        allow_open_files()
        quiet_garbage_collector()
        if on_start is not None:
            on_start(ingress.ports)
        await stop.wait()


@asynccontextmanager
async def open_ingress(
    settings: Settings,
    *,
    publisher: Publisher,
    source: Source,
    health: Health | None = None,
    admin: FastAPI | None = None,
) -> AsyncIterator[Ingress]:
    """The ingress as a context: entered when both ports accept, left when it is drained.

    Arguments and errors are those of `serve`.
    """
    health = health or Health()
    of_the_role = health.details

    def details() -> Mapping[str, object]:
        age_of_write = age(publisher.last_confirmed)
        return {"seconds_since_last_confirmed_write": age_of_write, **of_the_role()}

    health.details = details
    tokens = settings.named_tokens
    admission = Admission(
        max_body_bytes=settings.max_body_bytes,
        in_flight_bytes=settings.in_flight_bytes,
        in_flight_requests=settings.in_flight_requests,
    )
    deadlines = Deadlines()
    logbook = Logbook()
    endpoint = Endpoint(
        source=source,
        publisher=publisher,
        authentication=PathToken(source.name, tokens),
        admission=admission,
        health=health,
        deadlines=deadlines,
        outcomes=Outcomes(Accounts(settings.topics, tokens, admission), logbook),
        receive_timeout=settings.receive_timeout,
    )
    app = public_app(endpoint, source=source.name, with_token=bool(tokens))
    async with (
        sweeping(deadlines.sweep),
        listen(
            admin or admin_app(health),
            host=settings.admin_host,
            port=settings.admin_port,
            receive_timeout=settings.receive_timeout,
        ) as admin_port,
        listen(
            Front(endpoint, app),
            host=settings.host,
            port=settings.port,
            receive_timeout=settings.receive_timeout,
            max_body_bytes=settings.max_body_bytes,
            variable="BRIDGE",
        ) as public,
    ):
        ports = Ports(public.port, admin_port.port)
        health.started = True
        logbook.inform(telemetry.INGRESS_STARTED, port=ports.public, admin_port=ports.admin)
        try:
            yield Ingress(ports, public, health, admission)
        finally:
            await drain(public, health, logbook, settings.drain_timeout)


async def drain(public: Listener, health: Health, logbook: Logbook, timeout: float) -> None:  # noqa: ASYNC109 - the drain's own deadline
    """End without losing an answer, in this order.

    1. Draining: not ready; requests on kept-alive connections are answered 503 and closed.
    2. No new connections.
    3. What is in flight ends, each within its 12 s; past `timeout` seconds it is cut off. Its
       publish goes on: the sender repeats what it has no answer for.
    4. Connections close.
    """
    health.draining = True
    public.stop_accepting()
    logbook.inform(telemetry.INGRESS_DRAINING, open_connections=public.open_connections)
    finished = await public.finish(timeout)
    await public.close()
    logbook.inform(telemetry.INGRESS_STOPPED, all_answered=finished)


def allow_open_files() -> None:
    """Raise this process's limit to MIN_OPEN_FILES, or as near as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= MIN_OPEN_FILES:
        return
    allowed = MIN_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MIN_OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def quiet_garbage_collector() -> None:
    """Collect once, keep what start-up made out of later collections, and make these rarer."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
