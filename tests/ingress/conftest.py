"""A whole ingress in this process, with a publisher that does as it is told."""

from __future__ import annotations

import gc
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from bridge.ingress.server import open_ingress
from bridge.settings import Settings
from bridge.sources.dialog_insight import DialogInsight
from tests.ingress.publisher import SwitchedPublisher
from tests.ingress.rig import TOKEN, Rig

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop of production: its transports differ from asyncio's own in what they forgive."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("BRIDGE_TOKENS", "BRIDGE_CONFIG", "BRIDGE_PORT", "BRIDGE_ADMIN_PORT"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def _garbage_collector_as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


class StartRig:
    """Starts ingresses; all of them are drained when the test ends."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    async def __call__(self, *, tokens: str = f"default={TOKEN}", **settings: Any) -> Rig:
        values: dict[str, Any] = {"port": 0, "admin_port": 0, "tokens": tokens} | settings
        made = Settings(**values)
        publisher = SwitchedPublisher()
        leave = AsyncExitStack()
        ingress = await leave.enter_async_context(
            open_ingress(made, publisher=publisher, source=DialogInsight(made.topics))
        )
        rig = Rig(ingress, publisher, leave)
        self._stack.push_async_callback(rig.drain)
        self._stack.callback(publisher.release)
        return rig


@pytest.fixture
async def start() -> AsyncIterator[StartRig]:
    """Call it with settings, await a running ingress."""
    async with AsyncExitStack() as stack:
        yield StartRig(stack)


@pytest.fixture
async def rig(start: StartRig) -> Rig:
    """A running ingress with the usual settings."""
    return await start()
