"""What the admin port says; fail stop (I14)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx2
import pytest

from bridge.errors import PublishRejected, StorageFailed
from bridge.ingress.admin import admin_app
from bridge.ingress.closed import ClosedPublisher, serve_closed
from bridge.ingress.health import Health
from bridge.settings import Settings
from bridge.sources.dialog_insight import DialogInsight
from tests.ingress.rig import BODY, PATH, TOKEN, post, until

if TYPE_CHECKING:
    from bridge.ingress.server import Ports
    from tests.ingress.rig import Rig


async def ask(health: Health, path: str) -> httpx2.Response:
    transport = httpx2.ASGITransport(app=admin_app(health))
    async with httpx2.AsyncClient(transport=transport, base_url="http://admin") as client:
        return await client.get(path)


async def test_a_role_that_has_not_started_is_alive_and_not_ready() -> None:
    health = Health()

    assert (await ask(health, "/health/live")).status_code == 200
    assert (await ask(health, "/health/ready")).status_code == 503


async def test_a_started_role_is_ready_and_shows_its_details() -> None:
    health = Health(lambda: {"lanes": 3})
    health.started = True

    response = await ask(health, "/health/ready")

    assert response.status_code == 200
    assert response.json() == {
        "ready": True,
        "started": True,
        "draining": False,
        "failed": None,
        "lanes": 3,
    }


@pytest.mark.parametrize(("restart_helps", "live"), [(True, 503), (False, 200)])
async def test_a_failed_role_is_not_ready_and_alive_only_if_a_new_process_cannot_help(
    restart_helps: bool,  # noqa: FBT001 - a parameter of the table
    live: int,
) -> None:
    health = Health()
    health.started = True
    health.fail("the disk is gone", restart_helps=restart_helps)
    health.fail("something later", restart_helps=not restart_helps)

    ready = await ask(health, "/health/ready")

    assert ready.status_code == 503
    assert ready.json()["failed"] == "the disk is gone"
    assert (await ask(health, "/health/live")).status_code == live


async def test_the_detail_is_the_age_of_the_last_confirmed_write(rig: Rig) -> None:
    async with httpx2.AsyncClient(base_url=rig.admin) as admin:
        before = (await admin.get("/health/ready")).json()
        await rig.exchange(post())
        after = (await admin.get("/health/ready")).json()

    assert before["seconds_since_last_confirmed_write"] is None
    assert after["seconds_since_last_confirmed_write"] >= 0


async def test_metrics_are_prometheus_text(rig: Rig) -> None:
    await rig.exchange(post())
    async with httpx2.AsyncClient(base_url=rig.admin) as admin:
        response = await admin.get("/metrics")

    assert response.headers["content-type"].startswith("text/plain")
    assert 'bridge_ingress_requests_total{status="200",token="default"}' in response.text


async def test_the_admin_port_has_no_webhook_and_no_documentation(rig: Rig) -> None:
    async with httpx2.AsyncClient(base_url=rig.admin) as admin:
        for path in ("/docs", "/redoc", "/openapi.json", "/hooks/dialog-insight"):
            assert (await admin.get(path)).status_code == 404


async def test_after_a_storage_error_this_process_answers_no_200(rig: Rig) -> None:
    rig.publisher.error = StorageFailed("fdatasync: input/output error")
    assert (await rig.exchange(post())).status == 503
    rig.publisher.error = None

    for _ in range(3):
        assert (await rig.exchange(post())).status == 503
        assert (await rig.exchange(post(b"[]"))).status == 503

    assert rig.publisher.calls == 1
    async with httpx2.AsyncClient(base_url=rig.admin) as admin:
        ready = await admin.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json()["failed"] == "fdatasync: input/output error"
        assert (await admin.get("/health/live")).status_code == 503


async def test_a_request_in_flight_during_a_storage_error_is_not_200_either(rig: Rig) -> None:
    rig.publisher.hold()
    async with rig.wire() as wire:
        await wire.send(post())
        await until(lambda: rig.publisher.waiting == 1)
        rig.publisher.error = StorageFailed("disk")
        await rig.exchange(post())

        rig.publisher.release()
        assert (await wire.response()).status == 503


@pytest.mark.usefixtures("_garbage_collector_as_before")
async def test_a_store_found_corrupt_at_start_is_503_alive_and_not_ready() -> None:
    settings = Settings(port=0, admin_port=0, tokens=TOKEN)
    stop = asyncio.Event()
    started: asyncio.Future[Ports] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(
        serve_closed(
            settings,
            reason="quick_check failed",
            source=DialogInsight(settings.topics),
            stop=stop,
            on_start=started.set_result,
        )
    )
    ports = await started
    async with httpx2.AsyncClient() as client:
        answer = await client.post(f"http://127.0.0.1:{ports.public}{PATH}", content=BODY)
        live = await client.get(f"http://127.0.0.1:{ports.admin}/health/live")
        ready = await client.get(f"http://127.0.0.1:{ports.admin}/health/ready")

    assert (answer.status_code, live.status_code, ready.status_code) == (503, 200, 503)
    assert ready.json()["failed"] == "quick_check failed"
    stop.set()
    await serving


async def test_the_stand_in_for_a_publisher_stores_nothing() -> None:
    with pytest.raises(PublishRejected):
        await ClosedPublisher().publish(())
