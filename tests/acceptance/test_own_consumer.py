"""A consumer that a user wrote, outside the repository, killed while it works."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.acceptance.sender import Sender, real
from tests.services.waiting import until

if TYPE_CHECKING:
    from tests.acceptance.installation import Installation

NOTIFICATIONS = 10_000
KILLS = 5

LOYALTY = """
from contextlib import asynccontextmanager
from sqlalchemy import text
from consumers import Consumer
from consumers.store import Store

@asynccontextmanager
async def lifespan():
    global store
    async with Store.open("sqlite:///members.db") as store:
        yield

consumer = Consumer(group="loyalty", lifespan=lifespan)
ENROLL = text("INSERT INTO enrolled (id, contact) VALUES (:id, :contact)")

@consumer.on_batch("contact_created")
async def enroll(created):
    def effect(connection, new):
        connection.execute(ENROLL, [{"id": n.id, "contact": n.contact} for n in new])
    await store.once_many("loyalty", created, effect)
"""


@pytest.mark.slow
async def test_ten_thousand_notifications_are_processed_once_each_through_five_kills(
    installation: Installation, seed: int
) -> None:
    chance = random.Random(seed)
    # given: a consumer in a file, its topology applied, its database made
    (installation.folder / "loyalty.py").write_text(LOYALTY)
    installation.environment |= {
        "BRIDGE_DATABASE_URL": "sqlite:///members.db",
        "BRIDGE_KAFKA_SESSION_TIMEOUT": "6",
    }
    installation.run("db", "upgrade")
    # Read from a thread as well: one statement at a time.
    members = sqlite3.connect(
        installation.folder / "members.db", timeout=30, check_same_thread=False
    )
    members.execute("CREATE TABLE enrolled (id TEXT, contact TEXT)")
    members.commit()
    installation.run("topology", "apply", "loyalty:consumer")
    installation.start_ingress()
    replicas = [installation.consume("loyalty:consumer", replica=str(n)) for n in range(2)]

    def enrolled() -> int:
        return int(members.execute("SELECT count(*) FROM enrolled").fetchone()[0])

    # when: notifications pour in, and one replica or the other is killed while it works
    sender = Sender(installation.url)

    async def send_all() -> None:
        async with httpx2.AsyncClient(timeout=15) as client:
            for start in range(0, NOTIFICATIONS, 50):
                batch = [real("contact_created", contact=start + n) for n in range(50)]
                await sender.deliver(client, batch)

    def kill_now_and_then() -> None:
        for number in range(1, KILLS + 1):
            target = NOTIFICATIONS * number // (KILLS + 1)
            until(lambda: enrolled() >= target, f"{target} enrolled, not {enrolled()}", 120)  # noqa: B023
            victim = chance.choice(replicas)
            victim.kill()
            victim.start()
        until(lambda: enrolled() >= NOTIFICATIONS, f"all enrolled, not {enrolled()}", 180)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(send_all())
        tasks.create_task(asyncio.to_thread(kill_now_and_then))

    # then: each is enrolled once
    ids = [row[0] for row in members.execute("SELECT id FROM enrolled")]
    assert len(ids) == NOTIFICATIONS
    assert sorted(ids) == sorted(sender.answered)
    assert installation.run("dead", "list", "loyalty", "--json") == ""
    # and: both replicas end when asked
    for replica in replicas:
        replica.stop()
        assert "group_ended" in replica.output()
