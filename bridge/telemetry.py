"""Every metric and log event name, typed, in one place.

Metric names follow OpenTelemetry's messaging conventions in their Prometheus spelling where these
exist, and the prefix `bridge_` elsewhere. No label ever holds an address, a contact or an id.
"""

from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

# One process per container: one registry, made with the process. Counters are process-wide by
# nature; passing them through every constructor would hide the code behind its instruments.
REGISTRY: Final = CollectorRegistry()
# A second series for each counter and histogram, that no rule or dashboard reads.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library left it bare

_FAST: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 14, 15)

SENT_MESSAGES: Final = Counter(
    "messaging_client_sent_messages",
    "Messages handed to the broker, by result (error_type empty: confirmed).",
    ["messaging_system", "messaging_destination_name", "error_type"],
    registry=REGISTRY,
)
CONSUMED_MESSAGES: Final = Counter(
    "messaging_client_consumed_messages",
    "Deliveries finished by a group, by outcome (error_type empty: done).",
    [
        "messaging_system",
        "messaging_destination_name",
        "messaging_consumer_group_name",
        "error_type",
    ],
    registry=REGISTRY,
)
PROCESS_SECONDS: Final = Histogram(
    "messaging_process_duration_seconds",
    "Time a handler took for one delivery or batch.",
    ["messaging_consumer_group_name"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
    registry=REGISTRY,
)
INGRESS_NOTIFICATIONS: Final = Counter(
    "bridge_ingress_notifications",
    "Notifications by type and outcome (published, malformed, unconfirmed, rejected). Types "
    "without a topic of their own count as `unknown`.",
    ["type", "outcome", "test"],
    registry=REGISTRY,
)
INGRESS_REQUESTS: Final = Counter(
    "bridge_ingress_requests",
    "Requests to the webhook endpoint by HTTP status; token is the name of the token, or empty.",
    ["status", "token"],
    registry=REGISTRY,
)
INGRESS_ANSWER_SECONDS: Final = Histogram(
    "bridge_ingress_ack_seconds",
    "From the first byte of a request to its answer. The sender waits 15 s.",
    ["outcome"],
    buckets=_FAST,
    registry=REGISTRY,
)
INGRESS_CONSECUTIVE_FAILURES: Final = Gauge(
    "bridge_ingress_consecutive_failures",
    "Answers other than 200 in a row. The sender switches a webhook off at 100 over 8 hours.",
    ["token"],
    registry=REGISTRY,
)
INGRESS_LAST_NOTIFICATION: Final = Gauge(
    "bridge_ingress_last_notification_timestamp_seconds",
    "Unix time of the newest accepted notification.",
    registry=REGISTRY,
)
INGRESS_IN_FLIGHT_BYTES: Final = Gauge(
    "bridge_ingress_in_flight_bytes", "Bytes reserved by requests in flight.", registry=REGISTRY
)
INGRESS_IN_FLIGHT_REQUESTS: Final = Gauge(
    "bridge_ingress_in_flight_requests", "Requests in flight.", registry=REGISTRY
)
LAST_CONFIRMED: Final = Gauge(
    "bridge_publish_last_confirmed_timestamp_seconds",
    "Unix time of the newest publish that the broker confirmed.",
    registry=REGISTRY,
)
GROUP_PAUSED: Final = Gauge(
    "bridge_group_paused",
    "Lanes of the group that wait for the outside.",
    ["group"],
    registry=REGISTRY,
)
GROUP_STOPPED: Final = Gauge(
    "bridge_group_stopped",
    "1 after a run of dead letters: the group takes no more until its process is restarted.",
    ["group"],
    registry=REGISTRY,
)
GROUP_LANES: Final = Gauge(
    "bridge_group_lanes", "Lanes in the hands of this replica.", ["group"], registry=REGISTRY
)
DEAD_LETTERS: Final = Counter(
    "bridge_dead_letters",
    "Dead letters stored by this replica, by error class.",
    ["group", "error_type"],
    registry=REGISTRY,
)
ALERTS_UNDELIVERED: Final = Gauge(
    "bridge_alerts_undelivered",
    "Alerts that are decided and wait for a sink.",
    ["sink"],
    registry=REGISTRY,
)
HANDLED_BEFORE: Final = Counter(
    "bridge_group_handled_before",
    "Deliveries without an effect because the group had handled their id.",
    ["group"],
    registry=REGISTRY,
)
TOPOLOGY_MISMATCH: Final = Gauge(
    "bridge_topology_mismatch",
    "1 while topics, queues or bindings of a group are not as they must be.",
    ["group"],
    registry=REGISTRY,
)

# Log events of the ingress. One line for each request that was refused or failed, rate-bounded.
REQUEST_REFUSED: Final = "request_refused"
PUBLISH_FAILED: Final = "publish_failed"
REQUEST_FAILED: Final = "request_failed"
"""An exception that nobody named: a defect of ours; where it was raised, never its text."""
CLIENT_GONE: Final = "client_gone"
MALFORMED_STORED: Final = "malformed_stored"
FAIL_STOP: Final = "fail_stop"
SWEEP_FAILED: Final = "sweep_failed"
"""A defect of ours while deadlines were looked at; the next look goes on."""
INGRESS_STARTED: Final = "ingress_started"
INGRESS_DRAINING: Final = "ingress_draining"
INGRESS_STOPPED: Final = "ingress_stopped"
