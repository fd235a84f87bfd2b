"""A power cut at any moment: what was confirmed is there, whatever the disk lost or tore."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING

import apsw
from pydantic import SecretStr

from bridge import message as wire
from bridge.brokers.embedded.records import message_of
from bridge.errors import StorageFailed
from bridge.settings import Settings
from tests.brokers.bench import Bench, group
from tests.brokers.embedded.files import Disk, faulty_disk

if TYPE_CHECKING:
    from pathlib import Path

TASKS = 5
CUTS = 25
"""Enough bytes go by for the write-ahead log to be checkpointed in between."""
BETWEEN = 25
"""Confirmed requests from one cut to the next."""
ROWS = (
    "SELECT t.name, s.hash, m.key, m.headers, m.checksum, m.body "
    "FROM slots AS s JOIN topics AS t ON t.id = s.topic "
    "LEFT JOIN messages AS m ON m.position = s.position"
)


async def publish_with_cuts(
    bench: Bench, disk: Disk, chance: random.Random, folder: Path
) -> list[list[str]]:
    """Publish, cut the power again and again; for each cut, what was confirmed before it."""
    confirmed: list[str] = []
    cuts: list[list[str]] = []
    async with bench.broker.publisher() as publisher:

        async def publish(task: int) -> None:
            n = 0
            while len(cuts) < CUTS:
                ids = [f"{task}-{n}-{part}" for part in range(chance.randrange(1, 4))]
                n += 1
                await publisher.publish(
                    [bench.message(id_, body=chance.randbytes(20_000)) for id_ in ids]
                )
                confirmed.extend(ids)
                if n % BETWEEN == 0:
                    cuts.append(list(confirmed))
                    own = random.Random(chance.getrandbits(32))
                    where = folder / f"{len(cuts) - 1}"
                    # In a thread: somewhere in the middle of the writes of the others.
                    await asyncio.to_thread(disk.cut_power, own, where)

        async with asyncio.TaskGroup() as tasks:
            for task in range(TASKS):
                tasks.create_task(publish(task))
    return cuts


async def found_after(cut: Path) -> list[str]:
    """Every id in the log after the power is back, each record checked.

    Raises:
        StorageFailed: the log is damaged.
    """
    url = SecretStr(f"sqlite:///{cut}/bridge.db")
    # Opening it checks the whole file, as after any start.
    async with Bench(Settings(broker_url=url, embedded_min_free_bytes=0)).broker.publisher():
        connection = apsw.Connection(str(cut / "bridge.db"))
        try:
            rows = connection.execute(ROWS).fetchall()
        finally:
            connection.close()
    return [message_of(row, "a record").text(wire.CE_ID) for row in rows]


async def test_what_was_confirmed_survives_a_power_cut(
    bench: Bench, tmp_path: Path, seed: int
) -> None:
    await bench.apply(group())
    cuts = tmp_path / "cuts"
    cuts.mkdir()
    with faulty_disk() as disk:
        expected = await publish_with_cuts(bench, disk, random.Random(seed), cuts)

    for number, confirmed in enumerate(expected):
        found = await found_after(cuts / f"{number}")
        assert set(confirmed) <= set(found)
        assert len(found) == len(set(found))


async def test_a_disk_that_lies_about_its_syncs_is_seen_to_lose(
    bench: Bench, tmp_path: Path, seed: int
) -> None:
    """The control: were confirms given before a sync, the test above would fail."""
    await bench.apply(group())
    cuts = tmp_path / "cuts"
    cuts.mkdir()
    with faulty_disk() as disk:
        disk.sync_lies = True
        expected = await publish_with_cuts(bench, disk, random.Random(seed), cuts)

    lost = 0
    for number, confirmed in enumerate(expected):
        found: list[str] = []
        with contextlib.suppress(StorageFailed):
            found = await found_after(cuts / f"{number}")
        lost += not set(confirmed) <= set(found)
    assert lost > CUTS // 2
