"""The drain, in its order, and the end of `serve`."""

from __future__ import annotations

import asyncio
import gc
import resource
from typing import TYPE_CHECKING

import httpx2
import pytest

from bridge.errors import ConfigurationError
from bridge.ingress import server
from bridge.settings import Settings
from bridge.sources.dialog_insight import DialogInsight
from tests.ingress.publisher import SwitchedPublisher
from tests.ingress.rig import PATH, TOKEN, post, until

if TYPE_CHECKING:
    from tests.ingress.conftest import StartRig
    from tests.ingress.rig import Rig


async def begin_drain(rig: Rig) -> asyncio.Task[None]:
    task = asyncio.create_task(rig.drain())
    await until(lambda: rig.ingress.health.draining)
    return task


async def test_what_is_in_flight_ends_before_the_drain_does(rig: Rig) -> None:
    rig.publisher.hold()
    async with rig.wire() as wire:
        await wire.send(post())
        await until(lambda: rig.publisher.waiting == 1)
        draining = await begin_drain(rig)
        assert not draining.done()

        rig.publisher.release()
        response = await wire.response()

        assert (response.status, response.headers["connection"]) == (200, "close")
        assert await wire.closed() == b""
        await draining
    assert len(rig.publisher.stored) == 1


async def test_while_it_drains_new_connections_are_refused(rig: Rig) -> None:
    rig.publisher.hold()
    async with rig.wire() as busy:
        await busy.send(post())
        await until(lambda: rig.publisher.waiting == 1)
        draining = await begin_drain(rig)

        with pytest.raises(ConnectionRefusedError):
            await rig.exchange(post())

        rig.publisher.release()
        await draining


async def test_while_it_drains_a_kept_connection_is_told_503_and_closed(rig: Rig) -> None:
    rig.publisher.hold()
    async with rig.wire() as kept, rig.wire() as busy:
        await kept.send(b"GET %s HTTP/1.1\r\nHost: bridge\r\n\r\n" % PATH.encode())
        await kept.response()
    async with rig.wire() as kept, rig.wire() as busy:
        rig.publisher.release()
        await kept.send(post())
        assert (await kept.response()).status == 200
        rig.publisher.hold()
        await busy.send(post())
        await until(lambda: rig.publisher.waiting == 1)
        draining = await begin_drain(rig)

        await kept.send(post())
        response = await kept.response()

        assert (response.status, response.headers["connection"]) == (503, "close")
        assert await kept.closed() == b""
        assert len(rig.publisher.stored) == 2
        rig.publisher.release()
        await draining


async def test_while_it_drains_it_is_alive_but_not_ready(rig: Rig) -> None:
    rig.publisher.hold()
    async with rig.wire() as busy, httpx2.AsyncClient(base_url=rig.admin) as admin:
        await busy.send(post())
        await until(lambda: rig.publisher.waiting == 1)
        draining = await begin_drain(rig)

        ready = await admin.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json()["draining"] is True
        assert (await admin.get("/health/live")).status_code == 200

        rig.publisher.release()
        await draining


async def test_idle_and_half_sent_connections_do_not_hold_the_drain(rig: Rig) -> None:
    async with rig.wire() as idle, rig.wire() as silent, rig.wire() as half:
        await idle.send(post())
        await idle.response()
        await half.send(post()[:30])
        await until(lambda: rig.ingress.public.open_connections == 3)

        await rig.drain()

        for wire in (idle, silent, half):
            assert await wire.closed() == b""
    assert rig.ingress.public.open_connections == 0


async def test_what_does_not_end_in_time_is_cut_off_without_an_answer(start: StartRig) -> None:
    rig = await start(drain_timeout=0.2)
    rig.publisher.hold()
    async with rig.wire() as wire:
        await wire.send(post())
        await until(lambda: rig.publisher.waiting == 1)

        await rig.drain()

        assert await wire.closed() == b""
    assert rig.everything_is_given_back()
    assert rig.publisher.waiting == 0


@pytest.mark.usefixtures("_garbage_collector_as_before")
async def test_serve_runs_until_it_is_told_to_stop() -> None:
    settings = Settings(port=0, admin_port=0, tokens=TOKEN)
    stop = asyncio.Event()
    started: asyncio.Future[server.Ports] = asyncio.get_running_loop().create_future()
    publisher = SwitchedPublisher()
    serving = asyncio.create_task(
        server.serve(
            settings,
            publisher=publisher,
            source=DialogInsight(settings.topics),
            stop=stop,
            on_start=started.set_result,
        )
    )
    ports = await started
    assert gc.get_threshold() == server.GC_THRESHOLDS
    assert gc.get_freeze_count() > 0
    async with httpx2.AsyncClient() as client:
        response = await client.post(f"http://127.0.0.1:{ports.public}{PATH}", content=b"[]")
        assert response.status_code == 200

    stop.set()
    await serving

    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", ports.public)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", ports.admin)


async def test_a_port_in_use_is_named_with_its_variable(rig: Rig, start: StartRig) -> None:
    with pytest.raises(ConfigurationError, match=r"BRIDGE_PORT.*in use"):
        await start(port=rig.ingress.ports.public)
    with pytest.raises(ConfigurationError, match=r"BRIDGE_ADMIN_PORT.*in use"):
        await start(admin_port=rig.ingress.ports.admin)


async def test_a_cancelled_ingress_leaves_nothing_behind(rig: Rig) -> None:
    await rig.drain()

    names = {task.get_name() for task in asyncio.all_tasks()}
    assert "sweeper" not in names


def test_the_limit_of_open_files_is_raised_and_never_lowered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits: dict[int, tuple[int, int]] = {}
    monkeypatch.setattr(resource, "setrlimit", limits.__setitem__)

    for before, after in [
        ((1024, 1_000_000), (server.MIN_OPEN_FILES, 1_000_000)),
        ((1024, 4096), (4096, 4096)),
        ((1024, -1), (server.MIN_OPEN_FILES, -1)),
        ((100_000, 1_000_000), None),
        ((-1, -1), None),
    ]:
        limits.clear()
        monkeypatch.setattr(resource, "getrlimit", lambda _, before=before: before)
        server.allow_open_files()
        assert list(limits.values()) == ([] if after is None else [after])
