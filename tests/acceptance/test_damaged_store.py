"""What `bridge up` does with a store that it cannot trust, and with a group that stopped."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.acceptance.installation import Installation
from tests.acceptance.sender import Sender, real
from tests.consumers.crm.server import CrmServer, Failure, crm_server
from tests.services.waiting import eventually, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services.workspace import Workspace


@pytest.fixture
def embedded(workspace: Workspace, prefix: str) -> Iterator[Installation]:
    made = Installation(workspace, "sqlite:///var/bridge.db", prefix=prefix)
    yield made
    made.close()


@pytest.fixture
def crm() -> Iterator[CrmServer]:
    with crm_server() as server:
        yield server


def answers(installation: Installation) -> bool:
    try:
        httpx2.get(f"http://127.0.0.1:{installation.admin_port}/health/live")
    except httpx2.TransportError:
        return False
    return True


async def test_a_log_found_corrupt_is_answered_with_503_by_a_live_process_that_says_why(
    embedded: Installation,
) -> None:
    # given: a log with notifications in it, then damaged
    up = embedded.start("up", name="first")
    until(lambda: answers(embedded), "the first start")
    sender = Sender(embedded.url)
    async with httpx2.AsyncClient() as client:
        await sender.deliver(client, [real("contact_created") for _ in range(200)])
    await asyncio.to_thread(up.stop)
    log = embedded.folder / "var" / "bridge.db"
    with log.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(log.stat().st_size - 4096))

    # when: it is started again
    up = embedded.start("up", name="again")
    await asyncio.to_thread(until, lambda: answers(embedded), "the start with a damaged log")

    # then: the sender is told to repeat, and the operator why
    async with httpx2.AsyncClient() as client:
        assert await sender.post(client, json.dumps([real("contact_created")]).encode()) == 503
        admin = f"http://127.0.0.1:{embedded.admin_port}/health"
        assert (await client.get(f"{admin}/live")).status_code == 200
        ready = await client.get(f"{admin}/ready")
    assert ready.status_code == 503
    assert "bridge.db" in ready.json()["failed"]
    await asyncio.to_thread(up.stop)
    assert not up.running


async def test_a_group_that_stopped_is_shown_and_webhooks_are_taken_all_the_same(
    embedded: Installation, crm: CrmServer
) -> None:
    # given: a CRM that is in the way of one contact, whatever is tried
    crm.always = Failure(status=409)
    embedded.environment |= {
        "BRIDGE_CRM_URL": crm.url,
        "BRIDGE_RETRY_ATTEMPTS": "1",
        "BRIDGE_DEAD_LETTER_RUN": "1",
    }
    embedded.start("up")
    until(lambda: answers(embedded), "the start")
    sender = Sender(embedded.url)

    async with httpx2.AsyncClient() as client:
        await sender.deliver(client, [real("contact_created")])

        async def shown() -> bool:
            ready = await client.get(f"http://127.0.0.1:{embedded.admin_port}/health/ready")
            assert ready.status_code == 200
            return bool(ready.json()["groups"].get("crm") == "stopped")

        await eventually(shown, "the stopped group in /health/ready")
        assert await sender.post(client, json.dumps([real("contact_optout")]).encode()) == 200
