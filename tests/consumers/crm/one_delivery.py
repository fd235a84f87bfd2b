"""A process that hands one delivery to the CRM consumer, to be killed by a test.

python -m tests.consumers.crm.one_delivery DATABASE_URL CRM_URL
"""

import asyncio
import sys
from datetime import UTC, datetime

from tests.consumers.crm.messages import modified
from tests.consumers.crm.replica import running


async def main(database_url: str, crm_url: str) -> None:
    async with running(database_url, crm_url) as handle:
        await handle(modified("e1", datetime(2026, 11, 24, 12, tzinfo=UTC), First="Ann"))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
