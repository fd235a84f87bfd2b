"""A replica in a process of its own: writes each id received, and its lanes, as lines on stdout.

python -m tests.brokers.embedded.consuming URL
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from pydantic import SecretStr

from bridge import message as wire
from bridge.settings import Settings
from tests.brokers.bench import LANES, Bench, group

if TYPE_CHECKING:
    from bridge.brokers.base import Delivery


def tell(delivery: Delivery) -> None:
    os.write(1, f"{delivery.message.text(wire.CE_ID)}\n".encode())


async def main(url: str) -> None:
    bench = Bench(
        Settings(broker_url=SecretStr(url), embedded_min_free_bytes=0, embedded_lanes=LANES)
    )
    async with bench.replica(group(), acks=False) as replica:
        replica.on_delivery = tell
        await replica.has_lanes(LANES)
        os.write(1, b"ready\n")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
