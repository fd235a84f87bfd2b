"""One replica of the CRM consumer, without a worker."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from pydantic import SecretStr

from bridge.settings import Settings
from consumers import crm as crm_consumer
from consumers.notifications import Notification

TOKEN = "a-token-of-the-crm"
Handle = Callable[[Notification], Coroutine[Any, Any, None]]


@asynccontextmanager
async def running(database_url: str, crm_url: str, **more: Any) -> AsyncIterator[Handle]:
    """One replica of the consumer, as the worker runs it."""
    consumer = crm_consumer.consumer(
        Settings(
            database_url=SecretStr(database_url),
            crm_url=crm_url,
            crm_token=SecretStr(TOKEN),
            **more,
        )
    )
    assert consumer.lifespan is not None

    async def handle(told: Notification) -> None:
        registration = consumer.registration_for(told)
        assert registration is not None
        await registration.handler(told)

    async with consumer.lifespan():
        yield handle
