"""Publishes until it is killed; writes each confirmed id as a line on stdout.

python -m tests.brokers.embedded.publishing URL ROUND
"""

from __future__ import annotations

import asyncio
import os
import sys

from pydantic import SecretStr

from bridge.settings import Settings
from tests.brokers.bench import Bench

TASKS = 6
EACH = 3
"""Notifications in one request."""


async def main(url: str, round_: str) -> None:
    bench = Bench(Settings(broker_url=SecretStr(url), embedded_min_free_bytes=0))
    async with bench.broker.publisher() as publisher:

        async def publish(task: int) -> None:
            for n in range(1_000_000):
                ids = [f"{round_}-{task}-{n:06}-{part}" for part in range(EACH)]
                await publisher.publish([bench.message(id_, key=f"1|{task}") for id_ in ids])
                # One write for a whole request: a kill never cuts a line.
                os.write(1, "".join(f"{id_}\n" for id_ in ids).encode())

        async with asyncio.TaskGroup() as tasks:
            for task in range(TASKS):
                tasks.create_task(publish(task))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
