"""What all lanes of one replica of a group share while it runs."""

import asyncio

import structlog

from bridge import telemetry
from bridge.brokers.base import Delivery
from bridge.settings import Settings
from consumers.consumer import Consumer, Reject
from consumers.handling import Dead, Done
from consumers.notifications import Undecodable
from consumers.outage import Gate

_log = structlog.get_logger()


class GroupRun:
    """The group's gate, its count of dead letters in a row, and its metrics.

    Args:
        consumer: the group and its handlers.
        settings: the budgets.
        system: the broker, as metrics name it.

    Attributes:
        gate: shut while the outside is down for the whole group.
        dead_letter_run: set when so many deliveries failed to the last attempt in a row, none
            handled between them, that no more may be taken.
        paused_lanes: how many lanes wait for the outside.
    """

    def __init__(self, consumer: Consumer, settings: Settings, system: str) -> None:
        self.consumer = consumer
        self.settings = settings
        self.name = consumer.name
        self.gate = Gate()
        self.dead_letter_run = asyncio.Event()
        self.paused_lanes = 0
        self._system = system
        self._dead_in_a_row = 0

    def count(self, delivery: Delivery, outcome: Done | Dead) -> None:
        """One delivery is settled: done, or stored among the dead letters."""
        error = type(outcome.error).__name__ if isinstance(outcome, Dead) else ""
        topic = delivery.message.topic
        telemetry.CONSUMED_MESSAGES.labels(self._system, topic, self.name, error).inc()
        if isinstance(outcome, Done):
            if not outcome.passed_over:
                self._dead_in_a_row = 0
            return
        telemetry.DEAD_LETTERS.labels(self.name, error).inc()
        _log.error(
            "dead_letter",
            group=self.name,
            origin=delivery.origin,
            error=error,
            attempts=outcome.attempts,
        )
        if delivery.message.is_test or isinstance(outcome.error, Reject | Undecodable):
            # A verdict on the data, or a rehearsal: neither says that this release is broken, and
            # a sender with bad data must not stop the suppression list.
            return
        self._dead_in_a_row += 1
        if self._dead_in_a_row >= self.settings.dead_letter_run:
            self._stop()

    def _stop(self) -> None:
        if self.dead_letter_run.is_set():
            return
        _log.critical(
            "group_stopped",
            group=self.name,
            why=f"{self._dead_in_a_row} dead letters in a row: nothing more is taken; "
            "mend the consumer, restart it, then replay them",
        )
        self.dead_letter_run.set()

    def pause(self, change: int) -> None:
        """One lane more (+1) or less (-1) waits for the outside."""
        self.paused_lanes += change
        telemetry.GROUP_PAUSED.labels(self.name).set(self.paused_lanes)
