"""What the ingress counts: its requests and their notifications."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from time import time
from typing import TYPE_CHECKING, Final

from bridge import telemetry
from bridge.ingress.admission import Admission
from bridge.message import CE_TYPE, Message
from bridge.topics import Topics

if TYPE_CHECKING:
    from prometheus_client import Counter as Metric
    from prometheus_client import Gauge, Histogram

UNKNOWN: Final = "unknown"
"""The type of notifications without a topic of their own, so that labels stay few."""


class Accounts:
    """Counts into `bridge.telemetry`. Label values are looked up once: the hot path only adds.

    Args:
        topics: decides which types have a name of their own in the metrics.
        tokens: names of all tokens; empty where none are set.
        admission: its caps are shown as gauges, read when somebody looks.
    """

    def __init__(self, topics: Topics, tokens: Iterable[str], admission: Admission) -> None:
        self._topics = topics
        self._types = {topic: name for name, topic in topics.by_type.items()}
        self._types[topics.unknown] = UNKNOWN
        self._last = 0.0
        self._requests: dict[tuple[str, str], Metric] = {}
        self._seconds: dict[str, Histogram] = {}
        self._notifications: dict[tuple[str, str, str], Metric] = {}
        self._failures: dict[str, tuple[Gauge, int]] = {}
        for token in tokens or ("",):
            gauge = telemetry.INGRESS_CONSECUTIVE_FAILURES.labels(token)
            gauge.set(0)
            self._failures[token] = (gauge, 0)
        telemetry.INGRESS_LAST_NOTIFICATION.set_function(lambda: self._last)
        telemetry.INGRESS_IN_FLIGHT_BYTES.set_function(lambda: admission.bytes_in_flight)
        telemetry.INGRESS_IN_FLIGHT_REQUESTS.set_function(lambda: admission.requests_in_flight)

    def request(self, *, status: str, token: str | None, outcome: str, seconds: float) -> None:
        """Count one request that ended, with an answer or without.

        Args:
            status: the HTTP status, or `gone` where nobody was left to be answered.
            token: the token's name; None for a request that was not authentic.
            outcome: `stored`, `refused`, `rejected`, `unconfirmed`, `failed` or `gone`.
            seconds: from its first byte.
        """
        key = (status, token or "")
        if (requests := self._requests.get(key)) is None:
            requests = self._requests[key] = telemetry.INGRESS_REQUESTS.labels(*key)
        requests.inc()
        if (histogram := self._seconds.get(outcome)) is None:
            histogram = self._seconds[outcome] = telemetry.INGRESS_ANSWER_SECONDS.labels(outcome)
        histogram.observe(seconds)
        if token is not None:
            self._run(token, failed=outcome != "stored")

    def published(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Count one request's confirmed notifications; returns those that are malformed."""
        if not messages:
            return ()
        self._last = time()
        topics = self._by_topic(messages, "published")
        if self._topics.malformed not in topics:
            return ()
        malformed = [one for one in messages if one.topic == self._topics.malformed]
        self._count(UNKNOWN, "malformed", "false", len(malformed))
        return malformed

    def not_confirmed(self, messages: Sequence[Message], outcome: str) -> None:
        """Count one request's notifications that ended `rejected` or `unconfirmed`."""
        topics = self._by_topic(messages, outcome)
        if malformed := topics.get(self._topics.malformed):
            self._count(UNKNOWN, outcome, "false", malformed)

    def _by_topic(self, messages: Sequence[Message], outcome: str) -> Mapping[str, int]:
        """Count all but the malformed; returns how many went to each topic."""
        # One notification is the common case, and twice as fast without a Counter.
        one = len(messages) == 1
        topics = {messages[0].topic: 1} if one else Counter([each.topic for each in messages])
        for topic, count in topics.items():
            if (name := self._types.get(topic)) is not None:
                self._count(name, outcome, "false", count)
            elif topic == self._topics.test:
                self._count_tests(messages, outcome)
        return topics

    def _count_tests(self, messages: Sequence[Message], outcome: str) -> None:
        for message in messages:
            if message.topic == self._topics.test:
                name = message.text(CE_TYPE)
                known = name if name in self._topics.by_type else UNKNOWN
                self._count(known, outcome, "true", 1)

    def _count(self, name: str, outcome: str, test: str, count: int) -> None:
        key = (name, outcome, test)
        if (metric := self._notifications.get(key)) is None:
            metric = self._notifications[key] = telemetry.INGRESS_NOTIFICATIONS.labels(*key)
        metric.inc(count)

    def _run(self, token: str, *, failed: bool) -> None:
        gauge, before = self._failures[token]
        if failed or before:
            now = before + 1 if failed else 0
            self._failures[token] = (gauge, now)
            gauge.set(now)
