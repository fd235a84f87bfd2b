"""kill -9 of the process that writes: what was confirmed is there."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.brokers.bench import Bench, first_copies, group
from tests.brokers.embedded.publishing import EACH, TASKS

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 6


def publish_until_killed(url: str, round_: int, confirmations: int) -> list[str]:
    """Run the publisher, kill it after so many confirmed ids; every id it confirmed."""
    command = [sys.executable, "-m", "tests.brokers.embedded.publishing", url, f"{round_}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        confirmed = [child.stdout.readline().strip() for _ in range(confirmations)]
        child.kill()
        confirmed += [line.strip() for line in child.stdout]
    assert child.returncode == -9
    assert all(confirmed)
    return confirmed


async def test_every_confirmed_id_survives_kill_9(bench: Bench, log: Path, seed: int) -> None:
    await bench.apply(group())
    chance = random.Random(seed)
    confirmed: list[str] = []
    for round_ in range(ROUNDS):
        confirmed += await asyncio.to_thread(
            publish_until_killed, f"sqlite:///{log}", round_, chance.randrange(1, 1_500)
        )

    async with bench.publisher(), bench.replica(group(), limit=100) as replica:
        await replica.has(*confirmed)
        await bench.waiting_is(0, group())
    found = replica.ids
    assert len(found) == len(set(found))
    for ids in first_copies(replica.received).values():
        assert ids == sorted(ids)
    # A request is there whole or not at all.
    assert len(found) % EACH == 0
    assert len(found) - len(set(confirmed)) <= ROUNDS * TASKS * EACH
