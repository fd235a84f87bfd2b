"""A sender as the guide describes it: it repeats what was not answered with 200."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import httpx2

from bridge.sources import samples

if TYPE_CHECKING:
    from collections.abc import Sequence

_ATTEMPTS = 400
_PAUSE = 0.05


class Sender:
    """Posts to one URL.

    Attributes:
        answered: the ids of notifications in requests answered with 200, in the order answered.
        statuses: every status seen; 0 for no answer.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.answered: list[str] = []
        self.statuses: set[int] = set()

    async def post(self, client: httpx2.AsyncClient, body: bytes) -> int:
        """Post once; 0 where no answer came."""
        try:
            answer = await client.post(
                self._url, content=body, headers={"content-type": "application/json"}
            )
        except httpx2.TransportError:
            status = 0
        else:
            status = answer.status_code
        self.statuses.add(status)
        return status

    async def deliver(
        self, client: httpx2.AsyncClient, notifications: Sequence[dict[str, object]]
    ) -> None:
        """Post until the answer is 200."""
        body = json.dumps(notifications).encode()
        for _ in range(_ATTEMPTS):
            if await self.post(client, body) == 200:
                self.answered.extend(str(item["EventUniqueID"]) for item in notifications)
                return
            await asyncio.sleep(_PAUSE)  # the sender's own pause, in small
        raise AssertionError(f"never answered with 200, but with {self.statuses}")


def real(type_: str, *, contact: int = 1, email: str = "jane.doe@example.com") -> dict[str, object]:
    """A real notification of one type, with an id of its own."""
    return samples.notification(
        type_,
        id=str(uuid.uuid4()),
        at=datetime.now(UTC),
        contact=contact,
        email=email,
        test=False,
    )
