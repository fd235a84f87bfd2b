"""An alarm while the topology of a group that runs is not as it must be.

On RabbitMQ a binding that went missing is silent loss for one group: nothing fails.
"""

import asyncio
from typing import Final

import structlog

from bridge.brokers.rabbitmq.topology import open_topology
from bridge.errors import BrokerError, TopologyMissing
from bridge.settings import Settings
from bridge.telemetry import TOPOLOGY_MISMATCH
from bridge.topics import Group

VERIFY_SECONDS: Final = 60.0
"""How often the group's topology is verified."""

_log = structlog.get_logger()


class TopologyWatch:
    """Keeps the gauge of one group, and says once what is wrong."""

    def __init__(self, settings: Settings, group: Group) -> None:
        self._settings = settings
        self._group = group
        self._said = ""

    async def run(self) -> None:
        """Verify every minute until cancelled."""
        TOPOLOGY_MISMATCH.labels(self._group.name).set(0)
        while True:
            await asyncio.sleep(VERIFY_SECONDS)
            try:
                async with open_topology(self._settings) as topology:
                    await topology.verify([self._group])
            except TopologyMissing as error:
                self.raise_alarm(error)
            except BrokerError as error:
                _log.warning("topology_not_verified", group=self._group.name, reason=str(error))
            else:
                TOPOLOGY_MISMATCH.labels(self._group.name).set(0)
                self._said = ""

    def raise_alarm(self, error: TopologyMissing) -> None:
        """Something is missing; the next verification that finds nothing ends the alarm."""
        TOPOLOGY_MISMATCH.labels(self._group.name).set(1)
        if str(error) != self._said:
            self._said = str(error)
            _log.error("topology_missing", group=self._group.name, reason=self._said)
